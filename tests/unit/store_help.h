// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * What the store's tests share: a directory for each test, two states of a document, and looks at what a store holds. All of it
 * fails the test when it cannot do its work.
 */
#include <stdbool.h>
#include <stdint.h>

#include "daemon/store.h"

/* The test's directory, its database, and the sentence of the last failure. */
extern char dir[64], path[96], why[512];

int store_setup(void **state);
int store_teardown(void **state);
#define STORE_TEST(f) cmocka_unit_test_setup_teardown(f, store_setup, store_teardown)

void empty_directory(void);
/* Names and contents of everything in the directory, as one text: free() it. */
char *directory_contents(void);

void put_device(struct nk_document *d, const char *text, const char *source, struct nk_change *c);
void put_interface(struct nk_document *d, const char *text, const char *source, struct nk_change *c);
void put_program(struct nk_document *d, const char *text, const char *source, struct nk_change *c);

struct nk_store *open_store(void);
/* One whole transaction. 0 or what failed. */
int write_all(struct nk_store *s, const struct nk_change *c, uint64_t revision);
/* Everything the store holds, as text: free() it. */
char *contents(struct nk_store *s);
/* The same of the closed database. */
char *reopened_contents(void);

/* After make_states: the document in its second state, the change from the first to the second, and the contents of a store with
 * each; the database has been through both and is closed. */
extern struct nk_document *document;
extern struct nk_change second;
extern char *text_first, *text_second;
void make_states(void);
void free_states(void);
/* Afresh: the database with the first state only, closed. */
void rewrite_first(void);
/* Is this text one of the two? True for the second. */
bool assert_old_or_new(const char *text);

/* Opening fails with this error and this word, and everything in the directory stays as it is. */
void assert_refused(int error, const char *word);
/* Leave the log that a killed daemon leaves: write the second state, or run SQL if any, and end at once. */
void crash_after_commit(const char *sql);
