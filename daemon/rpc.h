// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * JSON-RPC 2.0 over the server's lines: parsing, batches, ids, rights, the table of methods, replies now or later. It knows
 * the contract (api/) but not what the methods do: the manager hands in one handler a method.
 */
#include "api/contract.h"
#include "daemon/server.h"

struct nk_rpc;
struct nk_request; /* one call; lives until it is answered */

/*
 * A handler answers at once or later, exactly once, by nk_request_reply or nk_request_fail. Notifications (no id) are
 * handled too and their answer is dropped. fds belong to the message. params are cleared after the call: the handler takes
 * references, or moves a pointer out and leaves NULL.
 */
typedef void (*nk_method_fn)(struct nk_request *r, union nk_params *params, void *arg);

#define NK_BATCH_MAX 1024                 /* calls in one batch */
#define NK_BATCH_REPLY_MAX NK_MESSAGE_MAX /* bytes of a batch's answers, from which on its further calls are refused */
#define NK_PENDING_MAX 2048               /* calls of one client that wait for their answers */
#define NK_VALUES_MAX (1u << 20)          /* JSON values in one message */

/*
 * A method without handler (NULL) is `unsupported`. unseeing: what the kernel holds is just being read; then a client's line that asks for
 * something which observes that waits for nk_server_go_on, with all that it sent after it. NULL: never. NULL when memory is out.
 */
struct nk_rpc *nk_rpc_new(const nk_method_fn handlers[NK_METHODS], void (*idle)(void *arg),
			  void (*peer_closed)(struct nk_peer *p, const char *why, void *arg), bool (*unseeing)(void *arg), void *arg);
/* Requests that are not answered yet outlive it. */
struct nk_rpc *nk_rpc_free(struct nk_rpc *rpc);
/* What to give to nk_server_new. */
struct nk_server_handlers nk_rpc_server_handlers(struct nk_rpc *rpc);

/* Takes the reference to result. The request is gone afterwards. */
void nk_request_reply(struct nk_request *r, json_t *result);
/* Sends err and clears it. The request is gone afterwards. */
void nk_request_fail(struct nk_request *r, struct nk_error *err);
struct nk_peer *nk_request_peer(struct nk_request *r);
/* Descriptors that came with the message; the i-th, or -1. They are closed when the handlers of all its calls have returned, which may
 * be long before the answer: dup what is kept. */
int nk_request_fd(const struct nk_request *r, size_t i);
/* A notification line {"jsonrpc":"2.0","method":…,"params":…}, serialised once for many peers; free() it. Borrows params. */
char *nk_rpc_notification(const char *method, json_t *params);
