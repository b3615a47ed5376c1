// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * Field tables: what an object of the socket looks like, said once. A table is a list of rows; a row ties a JSON member to a
 * struct's member and says its type, its limits, its default and its meaning. Four walkers read them: decode (with all checks),
 * encode, schema and reference. The tables themselves are in contract_*.c, and only those files write rows.
 *
 * A type is a small set of functions (types*.c): how one kind of value is read, written and described. Adding a type is adding
 * such a set; adding a member is adding a row.
 */
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "api/error.h"

struct nk_table;
struct nk_field;
struct nk_schema_out; /* schema.c: the definitions collected so far */

/* Where in the JSON a walker stands: a chain up to the root, turned into a JSON pointer only when something is wrong. */
struct nk_place {
	const struct nk_place *up; /* NULL at the root */
	const char *key;           /* member, or NULL for an element of a list */
	size_t index;
};

/* One decoding. */
struct nk_decode {
	struct nk_error *err;
	const char *pointer; /* put before every place */
	const struct nk_place *place;
};

/* Note a problem at the current place, or at one of its members. Returns -EINVAL. */
int nk_decode_problem(struct nk_decode *d, const char *format, ...) __attribute__((format(printf, 2, 3)));
int nk_decode_problem_in(struct nk_decode *d, const char *member, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* The current place as a JSON pointer (RFC 6901); free() it. NULL without memory. */
char *nk_decode_pointer(const struct nk_decode *d);

struct nk_type {
	/* Read `json` into zeroed storage `at`. 0; -EINVAL with each problem noted; -ENOMEM. NULL: a type that only goes out. */
	int (*decode)(const struct nk_field *f, const json_t *json, void *at, struct nk_decode *d);
	/* New reference, NULL without memory. */
	json_t *(*encode)(const struct nk_field *f, const void *at);
	/* The schema's keywords for this value: new reference, NULL without memory. */
	json_t *(*schema)(const struct nk_field *f, struct nk_schema_out *out);
	/* The type in words, for the reference page: Markdown. */
	void (*describe)(const struct nk_field *f, FILE *out);
	/* Free what the value owns and zero it; NULL: it owns nothing. */
	void (*clear)(const struct nk_field *f, void *at);
	/* Is there nothing to say? NULL: yes if all of its bytes are zero. */
	bool (*empty)(const struct nk_field *f, const void *at);
	/* Tables that the type refers to by itself, for the reference page; ends with NULL. May be NULL. */
	const struct nk_table *const *tables;
};

/* Whether a member is there: (the word at offset & mask) == value. size 0: it is always there. */
struct nk_field_has {
	uint32_t offset; /* from the start of the row's struct */
	uint32_t size;   /* of the word: 1 or 4 bytes */
	uint32_t mask, value;
};

enum {
	NK_REQUIRED = 1u << 0,   /* must be sent */
	NK_OMIT_EMPTY = 1u << 1, /* is not written when it is empty or zero */
	NK_DEFAULT = 1u << 2,    /* .def or .def_text holds when it is not sent */
};

struct nk_field {
	const char *name; /* the JSON member; NULL in an included table and in the description of a list's elements */
	const struct nk_type *type;
	const char *text; /* what it means, for schema and reference */
	uint32_t flags;
	uint32_t offset; /* bytes from the start of the row's struct */
	uint32_t size;   /* bytes of the value; its width for numbers */
	struct nk_field_has has;

	int64_t min, max; /* numbers: range. Lists: max is the number of elements, 0 for no limit. Strings: max is bytes, 0 likewise */
	int64_t def;
	const char *def_text;
	const char *const *names;           /* enums: by value, ends with NULL */
	const char *(*problem)(const char *text); /* strings: NULL if it is good, else what is wrong */
	const char *pattern;                /* strings: a regular expression that says the same, for the schema */
	const char *what;                   /* strings: "an interface name", for the reference */
	const struct nk_table *table;       /* objects, and JSON whose members the table describes */
	const struct nk_field *item;        /* lists: the elements, at offset 0 */
	int32_t count_at;                   /* lists: where the number of elements is, from the value */
	uint32_t count_size;                /* lists: its width, 4 or 8 bytes */
};

struct nk_table {
	const char *name; /* in the schema's $defs and the reference's headings */
	const char *text;
	size_t size; /* bytes of the struct */
	const struct nk_field *fields;
	size_t n;
	bool output; /* only goes out: what is always written is required in the schema */
	/* Objects that live behind a pointer (nk_type_ref): make one, give it up. */
	void *(*create)(void);
	void (*drop)(void *obj);
	/* After all members were read: checks that need more than one, and values that follow from others. ok: no member was wrong. */
	int (*finish)(void *obj, const json_t *json, bool ok, struct nk_decode *d);
	/* After all members were written: take out what decoding would add by itself. 0 or -ENOMEM. */
	int (*trim)(const void *obj, json_t *json);
	/* Schema keywords for what finish checks ("oneOf", "dependentRequired"), as JSON text to be merged; NULL: none. */
	const char *schema;
};

/* ---- rows ---- */

#define NK_AT(T, m) .offset = offsetof(T, m), .size = sizeof(((T *)0)->m)
/* A list: pointer `m`, number of elements `c`. */
#define NK_LIST_AT(T, m, c) \
	NK_AT(T, m), .count_at = (int32_t)offsetof(T, c) - (int32_t)offsetof(T, m), .count_size = sizeof(((T *)0)->c)
/* The elements of a list. */
#define NK_ITEM(T) .size = sizeof(T)
#define NK_HAS(T, m, k, v) .has = {offsetof(T, m), sizeof(((T *)0)->m), (k), (v)}
#define NK_IF(T, m) NK_HAS(T, m, 1, 1)     /* a bool that says it is there */
#define NK_UNLESS(T, m) NK_HAS(T, m, 1, 0) /* a bool that says it is not */
#define NK_BIT(T, m, bit) NK_HAS(T, m, (bit), (bit))
#define NK_WHEN(T, m, v) NK_HAS(T, m, 0xff, (v)) /* an enum with this value */
#define NK_FIELDS(a) .fields = (a), .n = sizeof(a) / sizeof((a)[0])

/* ---- the walkers ---- */

/*
 * Read an object into zeroed storage of t->size bytes. 0, -EINVAL with every problem noted, -ENOMEM. On failure obj holds what
 * was read so far; nk_table_clear frees it.
 */
int nk_table_decode(const struct nk_table *t, const json_t *json, void *obj, struct nk_decode *d);
/* New reference, NULL without memory. Members come in the order of the rows. */
json_t *nk_table_encode(const struct nk_table *t, const void *obj);
void nk_table_clear(const struct nk_table *t, void *obj);
/* schema.c: {"$ref": …}, with the table's definition put among those of out. */
json_t *nk_table_schema(const struct nk_table *t, struct nk_schema_out *out);
/* reference.c: a link to the table's heading. */
void nk_table_describe(const struct nk_table *t, FILE *out);

/* Write a number into a value of f->size bytes, whatever its sign. */
void nk_number_put(const struct nk_field *f, void *at, int64_t value);
/* "an integer", "a string", …: what was sent, for sentences. */
const char *nk_json_kind(const json_t *json);

/* ---- the types ---- */

extern const struct nk_type nk_type_bool, nk_type_uint, nk_type_int, nk_type_enum;
extern const struct nk_type nk_type_chars;  /* char[size] inside the struct */
extern const struct nk_type nk_type_string; /* char *, owned where it is read */
extern const struct nk_type nk_type_json;   /* json_t *, borrowed, goes out as it is; .table describes it, .item its elements */
extern const struct nk_type nk_type_object; /* a struct inside the struct */
extern const struct nk_type nk_type_ref;    /* a pointer to a struct, made with table->create */
extern const struct nk_type nk_type_list;   /* a pointer to elements, and their number */
extern const struct nk_type nk_type_include; /* the rows of another table, as if they stood here */

extern const struct nk_type nk_type_maps; /* struct nk_program_map *, and their number: an object of paths */
extern const struct nk_type nk_type_mac, nk_type_prefix, nk_type_address, nk_type_ip, nk_type_destination, nk_type_netns;
extern const struct nk_type nk_type_anchor;
extern const struct nk_type nk_type_time;  /* uint64_t, microseconds since the epoch: RFC 3339 */
extern const struct nk_type nk_type_errno; /* int: its name */
