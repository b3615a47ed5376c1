// SPDX-License-Identifier: GPL-2.0-only
#pragma once
/*
 * The contract in one place: every object, setting, method and event of the socket as field tables (contract_*.c). The same
 * tables decode and check what comes in, encode what goes out, print the JSON Schema and the reference page, and read the
 * daemon's settings file. Who adds a member adds one row.
 */
#include "daemon/model/document.h"
#include "api/error.h"
#include "daemon/model/observed.h"
#include "daemon/model/plan.h"
#include "api/table.h"

#define NK_API_VERSION "1"
#define NK_MESSAGE_MAX (16u << 20) /* bytes of one line, without its newline */
#define NK_DEPTH_MAX 32            /* nesting of arrays and objects */

/* ---- what comes in ---- */

/* A document as sent: objects in the order of the request, not yet part of any struct nk_document. */
struct nk_document_input {
	struct nk_program **programs; /* owned array of references */
	size_t n_programs;
	struct nk_device **devices;
	size_t n_devices;
	struct nk_device **interfaces;
	size_t n_interfaces;
};

void nk_document_input_clear(struct nk_document_input *in);

/*
 * Decode and check (types, ranges, names, unknown members, and nk_device_check). Two objects of one name are an error, also a
 * device and an interface. pointer
 * is put before each place in errors ("/document"). Devices come back normalised. 0, or -EINVAL with `err` filled, -ENOMEM.
 */
int nk_decode_document(const json_t *json, const char *pointer, struct nk_document_input *ret, struct nk_error *err);
int nk_decode_device(const json_t *json, const char *pointer, struct nk_device **ret, struct nk_error *err);
int nk_decode_interface(const json_t *json, const char *pointer, struct nk_device **ret, struct nk_error *err);
int nk_decode_program(const json_t *json, const char *pointer, struct nk_program **ret, struct nk_error *err);

/* New references; NULL without memory. Only what the document named, plus mode, policies and scrub, in the tables' order. */
json_t *nk_encode_device(const struct nk_device *d); /* or an interface */
json_t *nk_encode_program(const struct nk_program *p);
json_t *nk_encode_document(const struct nk_document *doc);

/* ---- the methods ---- */

enum nk_method {
	NK_M_DAEMON_STATUS,
	NK_M_DAEMON_CAPABILITIES,
	NK_M_STATE_GET,
	NK_M_STATE_APPLY,
	NK_M_STATE_WAIT,
	NK_M_STATE_REBUILD, /* the document of what the kernel holds; "unclaimed": only what nobody claims */
	NK_M_DEVICE_SET,
	NK_M_DEVICE_DELETE,
	NK_M_DEVICE_GET,
	NK_M_DEVICE_LIST,
	NK_M_PROGRAM_LIST,
	NK_M_ATTACHMENT_LIST,
	NK_M_EVENT_SUBSCRIBE,
};
#define NK_METHODS 13

struct nk_method_info {
	const char *name;              /* "state.apply" */
	bool changes;                  /* needs the right to change */
	bool observes;                 /* looks at what the kernel holds: waits while that is being read */
	const struct nk_table *params; /* never NULL; may have no fields */
	const struct nk_table *result;
	const char *text;              /* for the reference */
};

extern const struct nk_method_info nk_methods[NK_METHODS];
/* By name; -ENOENT. */
int nk_method_find(const char *name);

struct nk_params_apply {
	struct nk_document_input document;
	bool replace;               /* "mode": "merge" (default) or "replace" */
	bool dry_run;
	bool has_expected_revision;
	uint64_t expected_revision;
	bool has_wait;
	uint32_t wait_ms;           /* milliseconds */
};

struct nk_params_wait {
	uint64_t revision; /* 0: the newest */
	uint32_t timeout_ms;
};

/* device.set: the device itself, and the same options as apply. */
struct nk_params_device_set {
	struct nk_device *device; /* reference */
	bool dry_run, has_expected_revision, has_wait;
	uint64_t expected_revision;
	uint32_t wait_ms;
};

/* device.delete; also used for device.get (name only). Of a device or an interface. */
struct nk_params_device_name {
	char name[NK_IFNAMSIZ];
	bool dry_run, has_expected_revision, has_wait;
	uint64_t expected_revision;
	uint32_t wait_ms;
};

struct nk_params_list {
	char device[NK_IFNAMSIZ]; /* attachment.list: one device or interface only; empty: all */
	bool interfaces;          /* device.list: these instead of the devices */
	bool owners;              /* attachment.list: find out who keeps foreign links */
};

struct nk_params_rebuild {
	bool unclaimed; /* only what nobody's document names */
};

struct nk_params_subscribe {
	bool has_since;
	uint64_t since; /* send the kept events after this number first */
};

union nk_params {
	struct nk_params_apply apply;
	struct nk_params_wait wait;
	struct nk_params_device_set device_set;
	struct nk_params_device_name device_name;
	struct nk_params_list list;
	struct nk_params_rebuild rebuild;
	struct nk_params_subscribe subscribe;
};

/* Decode the params of a method (json NULL: none were sent). 0; -EINVAL with err; -ENOMEM. Clear with nk_params_clear. */
int nk_decode_params(enum nk_method m, const json_t *json, union nk_params *ret, struct nk_error *err);
void nk_params_clear(enum nk_method m, union nk_params *p);

/* ---- what goes out: views, filled by the manager, encoded by nk_table_encode with the table of the same name ---- */

enum nk_state { NK_STATE_PENDING, NK_STATE_READY, NK_STATE_DEGRADED, NK_STATE_RELEASED };

/* The condition of one object. Borrowed pointers live as long as the view. */
struct nk_condition {
	enum nk_state state;
	const char *reason;  /* one word for programs: "Conflict", "KernelRefused", "ProgramNotLoaded", "NetnsGone", … or NULL */
	const char *message; /* a sentence for a person, or NULL */
	int error;           /* positive errno or 0; on the wire its name */
	const char *extack;
	uint64_t since;      /* microseconds since the epoch */
	uint32_t retries;
	uint32_t retry_in_ms; /* 0: none is waiting */
};

/* All view tables; see contract_views.c for the members. Views that hold observed state are encoded from struct nk_obs_device. */
struct nk_view_device {
	const char *name;
	bool is_interface;                     /* then desired and observed go out in a member of their own */
	bool unclaimed;                        /* marked as ours, in nobody's document */
	const char *source;                    /* file under state.d, or NULL for the socket */
	const struct nk_device *desired;       /* NULL when unclaimed */
	const struct nk_obs_device *observed;  /* NULL when absent */
	struct nk_condition condition;
	uint64_t repairs;                      /* how often drift was put right since the daemon started */
};

struct nk_view_program {
	const char *name;   /* NULL: foreign */
	const char *source_file;
	const struct nk_program *desired;
	uint32_t id;        /* kernel id, 0 while it is not loaded */
	const char *tag;    /* 16 hex digits, or NULL */
	const char *kernel_name;
	uint64_t run_count, run_time_ns; /* 0 unless kernel.bpf_stats_enabled */
	uint32_t users;     /* attachments */
	struct nk_condition condition;
};

/* A process that has a descriptor of a link. */
struct nk_view_holder {
	uint32_t pid;
	const char *comm;
};

/* Who keeps a foreign link. */
struct nk_view_owners {
	bool pins_known, holders_known; /* else that list is not told */
	const char **pins; size_t n_pins; /* paths */
	const struct nk_view_holder *holders; size_t n_holders;
};

struct nk_view_attachment {
	const char *device;   /* or interface */
	const char *name;     /* NULL: foreign */
	const char *hook;
	const char *program;  /* NULL: foreign */
	bool foreign;
	int32_t position;     /* in the chain as packets meet it, from 0; -1 while it is not attached */
	uint32_t link_id, prog_id;
	const char *tag, *kernel_name;
	uint64_t run_count, run_time_ns;
	bool attached;
	struct nk_view_owners owners; /* put in when they are asked for and found */
};

struct nk_view_capability {
	const char *name;   /* "netkit", "netkit.scrub", "bpf.tcx", "btf", … */
	const char *state;  /* "present", "missing", "unknown" */
	const char *how;    /* how that was found out: "created a pair in a namespace of its own" */
	const char *config; /* kernel option that gives it, or NULL */
	bool needed;        /* netkitd can't work without it */
};

struct nk_view_status {
	const char *version;
	uint64_t uptime_s;
	uint64_t revision_desired, revision_attempted, revision_converged;
	const char *health;       /* "ok" or "degraded" */
	const char **health_reasons; size_t n_health_reasons; /* sentences */
	size_t devices, devices_ready, devices_pending, devices_degraded, devices_released, devices_unclaimed;
	size_t interfaces, interfaces_ready, interfaces_pending, interfaces_degraded;
	size_t programs, attachments, clients, subscribers;
	uint64_t repairs, resyncs, kernel_errors;
	const char *watcher;      /* how drift of programs is noticed: "bpf" or "poll" */
	const char **features; size_t n_features; /* names of capabilities present */
};

struct nk_view_op {
	const char *phase, *op, *device; /* device NULL for programs */
	const char *text;                /* a line for a person */
};

/* Who did it. */
struct nk_view_culprit {
	uint32_t pid; /* thread group */
	uint32_t uid;
	const char *comm;
	const char *cgroup; /* last part of its path; empty: the root */
	const char *unit;   /* the innermost service or scope of systemd's in that path; empty: none is */
};

/* What an event says beside its kind; 0 and NULL are not said. */
struct nk_view_event_detail {
	const char *message; /* a sentence for a person */
	uint64_t revision;
	int error;           /* positive errno */
	const char *extack;
	uint64_t took_us;    /* microseconds that a repair took */
	uint32_t count;      /* how often it happened */
	const struct nk_view_culprit *culprit; /* NULL: not known */
};

struct nk_view_event {
	uint64_t seq;
	uint64_t time; /* microseconds since the epoch; on the wire RFC 3339 with microseconds, UTC */
	const char *kind;   /* see nk_event_kinds in the reference */
	const char *object; /* "device/web-1", "interface/eth0", "program/acct", "daemon" */
	const struct nk_view_event_detail *detail; /* NULL: nothing more to say */
};

/*
 * What the methods return, encoded by nk_table_encode with nk_methods[m].result. A json_t is borrowed; NULL stands for an empty
 * object or list. daemon.status returns a struct nk_view_status, device.get a struct nk_view_device.
 */

/*
 * One value. daemon.capabilities: list of nk_view_capability. state.rebuild: a document. device.list, program.list and
 * attachment.list: list of nk_view_device, nk_view_program, nk_view_attachment.
 */
struct nk_result_one {
	json_t *value;
};

/* state.get. */
struct nk_result_document {
	uint64_t revision;
	json_t *document;
};

/* What a change does, counted in devices and interfaces. */
struct nk_view_plan {
	size_t create, change, remove, unchanged; /* remove is "delete" on the wire */
	json_t *ops; /* dry_run only: list of nk_view_op, in the order in which they run; NULL: not told */
};

/* state.apply, device.set, device.delete. */
struct nk_result_apply {
	uint64_t revision; /* dry_run: the one that holds now */
	bool converged;
	json_t *plan;    /* nk_view_plan */
	json_t *pending; /* after waiting in vain: list of nk_view_object; NULL: not told */
};

/* state.wait. */
struct nk_result_wait {
	uint64_t revision;
	bool converged;
	json_t *pending; /* list of nk_view_object */
};

struct nk_result_subscribe {
	uint64_t seq;  /* of the newest event so far */
	uint64_t from; /* with `since`: of kept events none is missing from this number on; else 0 */
	uint64_t kept; /* with `since`: how many kept events follow */
};

/* An object that is not converged, and why. */
struct nk_view_object {
	const char *object; /* "device/web-1" */
	struct nk_condition condition;
};

extern const struct nk_table nk_table_device, nk_table_interface, nk_table_program, nk_table_document, nk_table_condition, nk_table_view_device,
	nk_table_view_program, nk_table_view_attachment, nk_table_view_owners, nk_table_view_capability, nk_table_view_status, nk_table_view_op,
	nk_table_view_event, nk_table_view_event_detail, nk_table_view_object, nk_table_view_plan, nk_table_settings;

/* ---- the daemon's settings: /etc/netkitd/netkitd.json ---- */

struct nk_settings {
	char *socket_path;   /* "/run/netkitd/netkitd.sock" */
	char *socket_group;  /* "netkitd" */
	char *state_dir;     /* "/var/lib/netkitd" */
	char *bpffs;         /* "/sys/fs/bpf/netkitd": where our pins live */
	char **admin_groups; size_t n_admin_groups; /* names of groups that may change, besides uid 0 */
	char **object_dirs; size_t n_object_dirs; /* directories that object files may come from; none: anywhere */
	uint32_t group;      /* IFLA_GROUP that marks our devices; the next 65535 collect what is to be deleted */
	uint32_t max_clients;
	uint32_t retry_min_ms, retry_max_ms; /* back-off of refused work */
	uint32_t event_buffer; /* bytes of kernel memory in which events may wait to be read */
	uint32_t poll_s;     /* how often chains are read when the kernel can't tell of changes */
};

/* Defaults; then what the file names. 0; -ENOENT when there is no file (defaults are set); -EINVAL with err; -errno. */
int nk_settings_load(const char *path, struct nk_settings *ret, struct nk_error *err);
void nk_settings_clear(struct nk_settings *s);

/* ---- publishing ---- */

/* The JSON Schema (draft 2020-12) of document, settings, and each method's params and result: new reference. */
json_t *nk_schema(void);
/* The schema of one thing: "document", "settings", "method:state.apply", …; NULL for an unknown one. */
json_t *nk_schema_of(const char *what);
/* The reference page, Markdown; free() it. */
char *nk_reference(void);
