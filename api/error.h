// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * An error as the socket tells it: a code of the contract, a sentence for a person, and the places and causes. Decoders,
 * checks and methods fill it; rpc sends it; the client library reads it back.
 */
#include <jansson.h>
#include <stdarg.h>

enum nk_error_code {
	NK_E_NONE = 0,
	NK_E_PARSE = -32700,
	NK_E_INVALID_REQUEST = -32600,
	NK_E_METHOD_NOT_FOUND = -32601,
	NK_E_INVALID_PARAMS = -32602,
	NK_E_INTERNAL = -32603,
	NK_E_CONFLICT = 1,
	NK_E_NOT_FOUND = 2,
	NK_E_DENIED = 3,
	NK_E_LIMIT = 4,
	NK_E_KERNEL = 5,
	NK_E_TIMEOUT = 6,
	NK_E_UNSUPPORTED = 7,
};

/* Zero-initialise; clear with nk_error_clear. At most NK_ERROR_PROBLEMS_MAX problems are kept, the rest is counted. */
#define NK_ERROR_PROBLEMS_MAX 64
struct nk_error {
	enum nk_error_code code;
	char *message;    /* owned; the first problem's text when only problems were added */
	json_t *problems; /* owned: [{"pointer": "/devices/0/mtu", "message": "…"}] or NULL */
	size_t n_problems; /* all, also those not kept */
	int error;        /* positive errno, 0 for none */
	char *extack;     /* owned, the kernel's extended-ACK text, or NULL */
};

void nk_error_clear(struct nk_error *e);
/* Set code and message; a code that is already set stays (the first cause is the one to tell). Returns a negative value, for
 * `return nk_error_set(…)`: -EINVAL. */
int nk_error_set(struct nk_error *e, enum nk_error_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Note an offending place. Sets code where none is set. Returns -EINVAL. */
int nk_error_at(struct nk_error *e, enum nk_error_code code, const char *pointer, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* The JSON-RPC error object {code, message, data?: {problems?, more?, errno?, extack?}}; new reference, NULL without memory. */
json_t *nk_error_encode(const struct nk_error *e);
/* Read one back (client). 0 or -EINVAL. */
int nk_error_decode(const json_t *json, struct nk_error *ret);
/* "conflict", "invalid params", …: for people. */
const char *nk_error_code_name(enum nk_error_code code);
