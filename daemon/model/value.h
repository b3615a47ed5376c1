// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * The nouns of the desired state as plain values: addresses, routes, ends, devices, attachments, programs. Everybody uses
 * them. They know no kernel, no JSON and no clock; what the kernel calls these things is translated in kernel/, what the
 * socket calls them in api/.
 *
 * Devices and programs are counted and immutable once built: whoever holds a reference may read without a lock, from either
 * thread, and a change is a new object. That is what lets the loop hand plans to the executor by value.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NK_IFNAMSIZ 16   /* with the closing NUL, as in the kernel */
#define NK_NAME_MAX 64   /* names of programs and attachments, with the closing NUL */
#define NK_CHAIN_MAX 63  /* programs at one hook; the kernel's limit */
#define NK_ADDRS_MAX 256   /* addresses of one end; ours, so that checks and diffs stay cheap */
#define NK_ROUTES_MAX 1024 /* routes of one end; likewise */

enum nk_mode { NK_MODE_L3, NK_MODE_L2 };
enum nk_policy { NK_POLICY_PASS, NK_POLICY_DROP };
enum nk_scrub { NK_SCRUB_DEFAULT, NK_SCRUB_NONE };
/* What becomes of a difference that somebody else made: it is put back, or told and left. */
enum nk_on_drift { NK_ON_DRIFT_REPAIR, NK_ON_DRIFT_REPORT };
enum nk_end_id { NK_PRIMARY, NK_PEER };
#define NK_ENDS 2

/* Devices have the first two, interfaces the others. */
enum nk_hook { NK_HOOK_NETKIT_PRIMARY, NK_HOOK_NETKIT_PEER, NK_HOOK_TCX_INGRESS, NK_HOOK_TCX_EGRESS };
#define NK_HOOKS 4

/* An IPv4 or IPv6 address; len is 4 or 16 bytes, 0 for "none". Bytes beyond len are zero. */
struct nk_ip {
	uint8_t len;
	uint8_t b[16];
};

/* An address with its prefix length in bits, or a destination network. */
struct nk_prefix {
	struct nk_ip ip;
	uint8_t plen;
};

/*
 * A route of the main table through one end. via and src may be absent (len 0). metric 0 means the kernel's default: 0 for
 * IPv4, 1024 for IPv6. In a destination the bits behind the prefix are zero (checked at decoding).
 */
struct nk_route {
	struct nk_prefix to;
	struct nk_ip via;
	struct nk_ip src;
	uint32_t metric;
	bool onlink; /* via needs no on-link prefix */
};

/* Which optional settings of an end or device the document names; what it does not name is left to the kernel. */
enum {
	NK_SET_MTU = 1u << 0,
	NK_SET_MAC = 1u << 1,
	NK_SET_TXQLEN = 1u << 2,
	NK_SET_GSO_MAX = 1u << 3,      /* bytes, IPv6 and other protocols */
	NK_SET_GRO_MAX = 1u << 4,
	NK_SET_GSO_IPV4_MAX = 1u << 5, /* bytes, IPv4 */
	NK_SET_GRO_IPV4_MAX = 1u << 6,
};

/* One end of a pair, the primary or the peer. Addresses and routes are sorted by nk_prefix_cmp and nk_route_cmp. */
struct nk_end {
	char name[NK_IFNAMSIZ];
	uint8_t policy; /* enum nk_policy: what holds while no program is attached */
	uint8_t scrub;  /* enum nk_scrub */
	uint8_t mac[6]; /* L2 only */
	uint32_t set;   /* NK_SET_… */
	uint32_t mtu;   /* bytes */
	uint32_t txqlen; /* packets */
	uint32_t gso_max, gro_max, gso_ipv4_max, gro_ipv4_max; /* bytes */
	uint32_t n_addrs, n_routes;
	struct nk_prefix *addrs; /* owned */
	struct nk_route *routes; /* owned */
};

/* How the document names the network namespace of a peer. */
enum nk_netns_kind {
	NK_NETNS_HOST, /* absent: the daemon's own */
	NK_NETNS_NAME, /* under /run/netns */
	NK_NETNS_PATH, /* absolute */
	NK_NETNS_PID,
	NK_NETNS_FD, /* the n-th descriptor passed with the request; only until the request is accepted */
	NK_NETNS_ID, /* what a passed descriptor becomes when it is accepted: a cookie, unique for one boot */
};

struct nk_netns {
	enum nk_netns_kind kind;
	char *path;      /* NAME, PATH: owned */
	uint64_t number; /* PID, FD: as given. ID: the cookie (SO_NETNS_COOKIE) */
	uint64_t start;  /* PID: the process's start time in clock ticks since boot, so that a reused pid is not taken for it. ID: the
			    inode of the namespace, a hint where to look for it */
	char boot_id[37]; /* PID, ID: the boot in which number means something; empty until accepted */
};

/* What an attachment stands before or after: another attachment of the same hook, or a program that somebody else put there. */
enum nk_anchor_kind {
	NK_ANCHOR_NAME, /* an attachment */
	NK_ANCHOR_ID,   /* foreign: the program's kernel id */
	NK_ANCHOR_TAG,  /* foreign: the kernel's digest of its instructions; several programs may have one */
	NK_ANCHOR_PIN,  /* foreign: where the program, or its link, is pinned */
};

struct nk_anchor {
	uint8_t kind;   /* enum nk_anchor_kind */
	uint8_t tag[8]; /* TAG */
	uint32_t id;    /* ID */
	char *text;     /* NAME, PIN: owned */
};

/* A program at a hook, with its place in the chain (chain_order.h says what the members make of it together). */
struct nk_attachment {
	char name[NK_NAME_MAX];
	char program[NK_NAME_MAX]; /* name of a program in the same document */
	uint8_t hook;              /* enum nk_hook */
	bool required;             /* close the device while it is not attached; not of interfaces, which aren't ours to close */
	bool first, last;          /* before, or after, all that aren't; foreign programs too */
	int32_t priority;          /* smaller stands earlier */
	uint32_t n_before, n_after;
	struct nk_anchor *before, *after; /* owned, sorted by nk_anchor_cmp */
};

/*
 * A netkit pair, named by its primary; or an interface, a link of the daemon's namespace that isn't ours and of which the document
 * says only what is attached at its tcx hooks. Counted, immutable; free with nk_device_unref.
 */
struct nk_device {
	atomic_uint refs;
	bool interface; /* then it is single, and has nothing but its name, on_drift and attachments */
	uint8_t mode; /* enum nk_mode */
	uint8_t on_drift; /* enum nk_on_drift */
	bool single;  /* no peer */
	bool has_headroom, has_tailroom;
	uint16_t headroom, tailroom; /* bytes */
	uint32_t n_attachments;
	struct nk_end end[NK_ENDS]; /* end[NK_PRIMARY].name is the device's name */
	struct nk_netns netns;      /* of the peer */
	struct nk_attachment *attachments; /* owned, in the document's order */
};

enum nk_program_source {
	NK_PROGRAM_OBJECT, /* a function of an object file */
	NK_PROGRAM_PIN,    /* somebody else's pin */
	NK_PROGRAM_FD,     /* the n-th descriptor passed with the request; only until the request is accepted */
	NK_PROGRAM_ID,     /* what a passed descriptor becomes when it is accepted: the kernel's id of the program */
};

#define NK_TAG_STRLEN 17    /* the kernel's digest of a program's instructions, hexadecimal, with the closing NUL */
#define NK_SHA256_STRLEN 65 /* likewise */

/* A map of an object that is not its own: an existing one is used instead. */
struct nk_program_map {
	char name[NK_NAME_MAX]; /* in the object */
	char *path;             /* where the map is pinned: owned */
};

/* A BPF program the document names. Counted, immutable. */
struct nk_program {
	atomic_uint refs;
	char name[NK_NAME_MAX];
	enum nk_program_source source;
	uint8_t on_drift; /* enum nk_on_drift: of the pin by which netkitd holds it */
	char *path;    /* OBJECT, PIN: the file or the pin. Owned */
	char *program; /* OBJECT: function in the file. Owned */
	char sha256[NK_SHA256_STRLEN]; /* OBJECT: of the file, lower case; empty: any */
	bool replace_maps;             /* OBJECT: an upgrade may leave a map behind whose definition changed */
	uint32_t n_maps;
	struct nk_program_map *maps;   /* OBJECT: sorted by name, owned */
	uint32_t number;               /* FD: as given. ID: the kernel's */
	char tag[NK_TAG_STRLEN];       /* ID: of the program, so that another one of its number isn't taken for it */
	char boot_id[37];              /* ID: the boot in which number means something */
};

/* A fresh object with one reference, all defaults; NULL when memory is out. */
struct nk_device *nk_device_new(void);
struct nk_program *nk_program_new(void);

/* Take a reference; returns its argument. Drop one; takes NULL, returns NULL. */
struct nk_device *nk_device_ref(const struct nk_device *d);
struct nk_device *nk_device_unref(const struct nk_device *d);
struct nk_program *nk_program_ref(const struct nk_program *p);
struct nk_program *nk_program_unref(const struct nk_program *p);

/* Is this a hook that an interface has, or a device? */
static inline bool nk_hook_fits(enum nk_hook hook, bool interface)
{
	return (hook >= NK_HOOK_TCX_INGRESS) == interface;
}

/* The device's name: that of its primary. */
static inline const char *nk_device_name(const struct nk_device *d)
{
	return d->end[NK_PRIMARY].name;
}

/* Free what an attachment owns and zero it. */
void nk_attachment_clear(struct nk_attachment *a);

/* Sort the lists of both ends and of the attachments and zero what is not set, so that equal documents are equal values. */
void nk_device_normalise(struct nk_device *d);

/* Equal in all that the document says. */
bool nk_device_equal(const struct nk_device *a, const struct nk_device *b);
bool nk_program_equal(const struct nk_program *a, const struct nk_program *b);
/* Equal in all that is loaded: from one to the other nothing is to be done in the kernel. */
bool nk_program_loads_same(const struct nk_program *a, const struct nk_program *b);
bool nk_netns_equal(const struct nk_netns *a, const struct nk_netns *b);
void nk_netns_clear(struct nk_netns *ns);
/* Deep copy; 0 or -ENOMEM. */
int nk_netns_copy(struct nk_netns *to, const struct nk_netns *from);

/* Total orders (<0, 0, >0) over all members; for routes metric 0 on IPv6 equals 1024, the kernel's default. */
int nk_ip_cmp(const struct nk_ip *a, const struct nk_ip *b);
int nk_prefix_cmp(const struct nk_prefix *a, const struct nk_prefix *b);
int nk_route_cmp(const struct nk_route *a, const struct nk_route *b);
int nk_anchor_cmp(const struct nk_anchor *a, const struct nk_anchor *b);
/* Same kernel key (destination, metric): two such routes cannot stand side by side. */
bool nk_route_same_key(const struct nk_route *a, const struct nk_route *b);

/* Does net contain ip? False when the families differ. */
bool nk_prefix_contains(const struct nk_prefix *net, const struct nk_ip *ip);

/*
 * Text forms. Parsing takes what inet_pton takes; a prefix without "/n" is a host's (/32, /128). 0 or -EINVAL, the output
 * untouched on failure. Formatting needs NK_PREFIX_STRLEN bytes and returns buf.
 */
#define NK_PREFIX_STRLEN 50
int nk_ip_parse(const char *text, struct nk_ip *ret);
int nk_prefix_parse(const char *text, struct nk_prefix *ret);
char *nk_ip_format(const struct nk_ip *ip, char *buf);
char *nk_prefix_format(const struct nk_prefix *p, char *buf);

/*
 * Is name one that the kernel takes for an interface (dev_valid_name: 1 to 15 bytes, no '/', ':' or white space, not "." or
 * "..") and that is printable? Is it one we take for a program or an attachment (1 to 63 of [A-Za-z0-9_.-], beginning with
 * a letter or digit)? NULL if so, else what is wrong with it, as text for a person.
 */
const char *nk_ifname_problem(const char *name);
const char *nk_name_problem(const char *name);

/* The hook's name on the socket: libbpf's section name, "netkit/primary". */
const char *nk_hook_name(enum nk_hook hook);
/* What it is, in sentences: "device" or "interface". */
const char *nk_device_noun(bool interface);

/* An anchor as a person reads it: "acct", "program 12", "tag 0123456789abcdef", "pin /sys/fs/bpf/x". Cut where it ends; returns buf. */
#define NK_ANCHOR_STRLEN 160
char *nk_anchor_format(const struct nk_anchor *a, char *buf, size_t size);
