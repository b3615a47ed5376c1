// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * What libbpf says while it works (the verifier's log above all) belongs into the error that its caller gets, not to stderr. Between
 * begin and end the calling thread's messages are kept; all others are dropped.
 */

/* Begin to keep. Once a thread at a time. */
void nk_libbpf_log_begin(void);
/* End; returns what was said, without closing newlines, "" when nothing was. NULL without memory. The caller frees it. */
char *nk_libbpf_log_end(void);
