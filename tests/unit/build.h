// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/* Devices and programs for tests, a line each. Abort without memory or on text that doesn't parse: then the test is wrong. */
#include "daemon/model/value.h"

/* Mode l3, policies pass; peer "eth0" in the named namespace, or a single device with netns NULL. */
struct nk_device *build_device(const char *name, const char *netns);
void build_address(struct nk_device *d, enum nk_end_id end, const char *prefix);
/* via and src may be NULL. */
void build_route(struct nk_device *d, enum nk_end_id end, const char *to, const char *via, const char *src);
void build_attachment(struct nk_device *d, const char *name, const char *program, enum nk_hook hook, bool required);
struct nk_program *build_program(const char *name, const char *path);
