// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * Makes a document of what the kernel holds of ours: for a host whose database is lost. Used by the method state.rebuild and, without a
 * daemon and its database, by `netkitd --rebuild`.
 */
#include <jansson.h>

#include "api/error.h"
#include "daemon/kernel/cache.h"
#include "daemon/model/document.h"

/*
 * All followed devices as a document: new reference, NULL without memory. Programs are named as their pins below bpffs are, and stated as
 * they were when they were loaded; where that isn't kept, by that pin, and left out if no link holds them, since no start would leave
 * them there. Settings that the kernel shows but that may have been its own defaults are left out, and what `claimed` names (NULL:
 * nothing).
 */
json_t *nk_rebuild_document(const struct nk_cache *cache, const char *bpffs, const struct nk_document *claimed);

/* Read the kernel once, changing nothing, print the document to standard output. 0, or -errno with err. */
int nk_rebuild_print(const char *settings_path, struct nk_error *err);
