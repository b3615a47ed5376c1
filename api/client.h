// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * The client library: netkitd-cli and the runtime plugins speak to the daemon through it. Synchronous: one call at a time,
 * notifications are read in between. No reconnecting: whoever wants that connects again.
 */
#include <stddef.h>
#include <stdint.h>

#include "api/error.h"

struct nk_client; /* opaque */

#define NK_SOCKET_DEFAULT "/run/netkitd/netkitd.sock"

/* Connect. 0 or -errno. Free with nk_client_free, which takes NULL and returns NULL. */
int nk_client_connect(const char *path, struct nk_client **ret);
struct nk_client *nk_client_free(struct nk_client *c);

/*
 * Call a method and wait for its reply, timeout_ms milliseconds at most (-1: no end). params is borrowed and may be NULL; fds
 * are passed along and stay the caller's. 0 with *ret_result a new reference; -EREMOTEIO with err as the daemon told it;
 * -ETIMEDOUT; -ECONNRESET when the daemon closed; -EPROTO when it spoke nonsense.
 */
int nk_client_call(struct nk_client *c, const char *method, json_t *params, const int *fds, size_t n_fds, int timeout_ms,
		   json_t **ret_result, struct nk_error *err);
/* Wait for the next notification: its params, a new reference. Same errors. */
int nk_client_next_event(struct nk_client *c, int timeout_ms, json_t **ret_params);
int nk_client_fd(const struct nk_client *c);
