// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * What this kernel offers, found out once by trying: a short-lived child process makes throw-away devices in a namespace of its own and reads
 * back what the kernel took; the rest is read from where the kernel says it. Never by version. Serves the daemon's capabilities,
 * the `unsupported` refusals and `netkitd --check`.
 */
#include <stdbool.h>
#include <stdio.h>

/* Where the kernel shows its own types (CONFIG_DEBUG_INFO_BTF). */
#define NK_BTF_PATH "/sys/kernel/btf/vmlinux"

enum nk_feature {
	NK_FEATURE_NETKIT,
	NK_FEATURE_NETKIT_SCRUB,
	NK_FEATURE_NETKIT_HEADROOM, /* headroom and tailroom */
	NK_FEATURE_NETKIT_SINGLE,
	NK_FEATURE_NETKIT_LINK,     /* BPF links on both hooks */
	NK_FEATURE_TCX,
	NK_FEATURE_BIG_TCP_IPV4,    /* gso_ipv4_max_size */
	NK_FEATURE_ADDR_PROTO,      /* IFA_PROTO is kept */
	NK_FEATURE_BPF_JIT,
	NK_FEATURE_BTF,
	NK_FEATURE_BPFFS,
	NK_FEATURE_TRACING,         /* fentry on netkit: drift of programs is noticed at once */
	NK_FEATURE_CAP_NET_ADMIN,   /* and the other capabilities of the process that netkitd uses */
	NK_FEATURE_CAP_BPF,
	NK_FEATURE_CAP_PERFMON,
	NK_FEATURE_CAP_SYS_ADMIN,
};
#define NK_FEATURES 16

enum nk_found { NK_UNKNOWN, NK_MISSING, NK_PRESENT };

struct nk_feature_info {
	const char *name;   /* "netkit.scrub" */
	const char *text;   /* for a person */
	const char *config; /* CONFIG_… that gives it, or NULL */
	bool needed;        /* netkitd can't work without it */
};
extern const struct nk_feature_info nk_features[NK_FEATURES];

struct nk_probe {
	struct {
		enum nk_found found;
		char how[120]; /* how it was found out, or why not */
	} feature[NK_FEATURES];
};

/*
 * All but tracing, which costs some hundred milliseconds to try: types of the whole kernel are read, and it waits for RCU. 0 or -errno
 * when not even trying was possible. A needed feature that is missing is not an error here.
 */
int nk_probe_run(const char *bpffs, struct nk_probe *ret);
/* Tracing too. */
void nk_probe_tracing(struct nk_probe *p);
/* Who uses a feature knows best: the way in which it was found, as printf. */
void nk_probe_tell(struct nk_probe *p, enum nk_feature f, enum nk_found state, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* `netkitd --check`: a line each, and exit status 0 (all that is needed is there) or 1. */
int nk_probe_print(const struct nk_probe *p, FILE *f);
