// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * Programs that came as descriptors. A descriptor ends with its connection, and the reply promises that the change is durable:
 * so the program is pinned below <bpffs>/passed by its kernel id before the change is written, and stays there for as long as
 * the document names it. Called by the loop, which owns that directory: it knows what the document names.
 */
#include "api/error.h"
#include "daemon/model/document.h"

/*
 * Accept p's descriptor (FD: fds are those that came along) or its number (ID): check that it is a program for a chain of
 * packets, pin it, and make p of the kind ID. 0; -errno with err filled at `pointer`.
 */
int nk_passed_accept(const char *bpffs, struct nk_program *p, const int *fds, size_t n_fds, const char *pointer,
		     struct nk_error *err);
/* Unpin all that the document doesn't name (any more). */
void nk_passed_collect(const char *bpffs, const struct nk_document *doc);
