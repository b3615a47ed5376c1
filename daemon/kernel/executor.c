// SPDX-License-Identifier: GPL-2.0-only
/*
 * The thread that writes: its start and end, and the two pipes of pointers between it and the loop. What it does with a job is
 * in plan_run.c, snapshot.c and owners.c. The loop calls everything public in here; what runs in the thread says so.
 */
#include "daemon/kernel/executor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>

#include "daemon/kernel/cleanup.h"
#include "daemon/kernel/fail.h"
#include "daemon/kernel/netns.h"
#include "daemon/kernel/rtnl.h"
#include "daemon/kernel/worker.h"

/* Parts of a snapshot that wait for the loop at most; each is about 1 MiB. */
#define PARTS_MAX 4

struct nk_executor {
	struct nk_worker worker;
	pthread_t thread;
	bool running;        /* the thread was started */
	int jobs[2];         /* pipe: the thread reads, the loop writes without waiting */
	int results_read;    /* the loop's end of worker.results */
	uint64_t submitted;  /* jobs, so far */
	uint64_t taken;      /* results, so far */
};

/* A job on its way. */
struct order {
	struct nk_job job;
	uint64_t serial;
};

static void job_clear(struct nk_job *job)
{
	nk_plan_clear(&job->plan);
	for (size_t i = 0; i < job->n_devices; i++)
		nk_device_unref(job->devices[i]);
	free(job->devices);
	nk_owners_free(job->owners);
	*job = (struct nk_job){};
}

/* In the thread. */
static void run(struct nk_worker *w, struct order *o)
{
	struct nk_result *res = calloc(1, sizeof(*res));

	if (!res)
		abort(); /* the loop waits for a result; a restart finds everything again */
	res->kind = o->job.kind;
	res->as_of = o->job.as_of;
	res->last = true;
	w->serial = o->serial;
	switch (o->job.kind) {
	case NK_JOB_PLAN:
		res->plan = o->job.plan;
		o->job.plan = (struct nk_plan){};
		nk_plan_run(w, &o->job, res);
		break;
	case NK_JOB_SNAPSHOT:
		nk_snapshot_run(w, &o->job, res);
		break;
	case NK_JOB_OWNERS:
		res->owners = o->job.owners;
		o->job.owners = NULL;
		nk_owners_look(res->owners, nk_bpf_root(w->bpf));
		break;
	}
	nk_worker_send(w, res);
}

/* The thread. Ends when the loop closes the pipe of jobs. */
static void *serve(void *arg)
{
	struct nk_executor *x = arg;
	struct order *o;

	pthread_setname_np(pthread_self(), "netkitd-exec");
	while (TEMP_FAILURE_RETRY(read(x->jobs[0], &o, sizeof(o))) == sizeof(o)) {
		run(&x->worker, o);
		job_clear(&o->job);
		free(o);
	}
	return NULL;
}

/* In the thread. */
bool nk_worker_stopped(struct nk_worker *w)
{
	return atomic_load(&w->stopping) || atomic_load(&w->cancelled) >= w->serial;
}

/* In the thread. */
int nk_worker_renew_host(struct nk_worker *w)
{
	struct nk_rtnl *fresh;
	int r = nk_rtnl_open(&fresh);

	if (r < 0)
		return r;
	nk_rtnl_close(w->host);
	w->host = fresh;
	return 0;
}

/* In the thread. */
void nk_worker_send(struct nk_worker *w, struct nk_result *res)
{
	if (TEMP_FAILURE_RETRY(write(w->results, &res, sizeof(res))) != sizeof(res))
		nk_result_free(res);
}

static int open_pipes(struct nk_executor *x)
{
	int results[2];

	if (pipe2(x->jobs, O_CLOEXEC) < 0)
		return -errno;
	if (pipe2(results, O_CLOEXEC) < 0)
		return -errno;
	x->results_read = results[0];
	x->worker.results = results[1];
	x->worker.credit = eventfd(PARTS_MAX, EFD_CLOEXEC | EFD_SEMAPHORE);
	if (x->worker.credit < 0)
		return -errno;
	if (fcntl(x->jobs[1], F_SETFL, O_NONBLOCK) < 0 || fcntl(x->results_read, F_SETFL, O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

/* Signals are the loop's. */
static int start_thread(struct nk_executor *x)
{
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = -pthread_create(&x->thread, NULL, serve, x);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	x->running = !r;
	return r;
}

int nk_executor_new(const struct nk_executor_options *o, struct nk_executor **ret, struct nk_error *err)
{
	struct nk_executor *x = calloc(1, sizeof(*x));
	int r;

	if (!x)
		return nk_fail(err, NK_E_KERNEL, -ENOMEM, "cannot start the executor");
	x->jobs[0] = x->jobs[1] = x->results_read = x->worker.results = x->worker.credit = -1;
	x->worker.group = o->group;
	x->worker.objects = o->objects;
	r = o->only_read ? nk_bpf_open_to_read(o->bpffs, &x->worker.bpf, err) :
			   nk_bpf_open(o->bpffs, o->kept_pins, &x->worker.objects, &x->worker.bpf, err);
	if (r < 0) {
		nk_executor_free(x);
		return r;
	}
	x->worker.batch = nk_batch_new();
	r = x->worker.batch ? nk_rtnl_open(&x->worker.host) : -ENOMEM;
	if (r < 0) {
		nk_executor_free(x);
		return nk_fail(err, NK_E_KERNEL, r, "cannot open the rtnetlink socket for requests");
	}
	r = open_pipes(x);
	if (!r)
		r = start_thread(x);
	if (r < 0) {
		nk_executor_free(x);
		return nk_fail(err, NK_E_KERNEL, r, "cannot start the executor's thread");
	}
	*ret = x;
	return 0;
}

struct nk_executor *nk_executor_free(struct nk_executor *x)
{
	struct nk_result *res;

	if (!x)
		return NULL;
	atomic_store(&x->worker.stopping, true);
	/* A part of a snapshot that waits for room must not wait for ever. */
	if (x->worker.credit >= 0)
		eventfd_write(x->worker.credit, 1u << 20);
	nk_cleanup_close(&x->jobs[1]);
	if (x->running)
		pthread_join(x->thread, NULL);
	while (x->results_read >= 0 && (res = nk_executor_next(x)))
		nk_result_free(res);
	nk_cleanup_close(&x->jobs[0]);
	nk_cleanup_close(&x->results_read);
	nk_cleanup_close(&x->worker.results);
	nk_cleanup_close(&x->worker.credit);
	nk_batch_free(x->worker.batch);
	nk_rtnl_close(x->worker.host);
	nk_bpf_close(x->worker.bpf);
	free(x);
	return NULL;
}

int nk_executor_pins(const struct nk_executor *x)
{
	return nk_bpf_root(x->worker.bpf);
}

int nk_executor_fd(const struct nk_executor *x)
{
	return x->results_read;
}

int nk_executor_submit(struct nk_executor *x, struct nk_job *job)
{
	struct order *o = malloc(sizeof(*o));
	int r = -ENOMEM;

	if (o) {
		*o = (struct order){ .job = *job, .serial = ++x->submitted };
		if (write(x->jobs[1], &o, sizeof(o)) == sizeof(o)) {
			*job = (struct nk_job){};
			return 0;
		}
		r = -errno;
		free(o);
	}
	job_clear(job);
	return r;
}

void nk_executor_cancel(struct nk_executor *x)
{
	atomic_store(&x->worker.cancelled, x->submitted);
}

struct nk_result *nk_executor_next(struct nk_executor *x)
{
	struct nk_result *res;

	if (TEMP_FAILURE_RETRY(read(x->results_read, &res, sizeof(res))) != sizeof(res))
		return NULL;
	if (res->kind == NK_JOB_SNAPSHOT && !res->last)
		eventfd_write(x->worker.credit, 1);
	x->taken++;
	return res;
}

uint64_t nk_executor_results(const struct nk_executor *x)
{
	return x->taken;
}

struct nk_result *nk_result_free(struct nk_result *r)
{
	if (!r)
		return NULL;
	nk_plan_clear(&r->plan);
	for (size_t i = 0; i < r->n_failures; i++)
		nk_error_clear(&r->failures[i].error);
	for (size_t i = 0; i < r->n_chains; i++)
		free(r->chains[i].chain.links);
	free(r->failures);
	free(r->chains);
	free(r->places);
	free(r->programs);
	free(r->messages);
	free(r->pins_why);
	nk_owners_free(r->owners);
	free(r);
	return NULL;
}

/* Room for one more in an array that doubles: its size follows from the number it holds. */
static int grow(void *array, size_t n, size_t size)
{
	void **p = array, *larger;

	if (n & (n - 1) || n == 1)
		return 0;
	larger = reallocarray(*p, n ? 2 * n : 2, size);
	if (!larger)
		return -ENOMEM;
	*p = larger;
	return 0;
}

int nk_result_add_chain(struct nk_result *res, uint32_t ifindex, enum nk_hook hook, struct nk_obs_chain *chain)
{
	if (grow(&res->chains, res->n_chains, sizeof(*res->chains)) < 0) {
		free(chain->links);
		return -ENOMEM;
	}
	res->chains[res->n_chains++] = (struct nk_chain_report){ .ifindex = ifindex, .hook = hook, .chain = *chain };
	return 0;
}

int nk_result_add_place(struct nk_result *res, const char *device, int32_t nsid, int netns)
{
	struct nk_place_report place = { .nsid = nsid };
	struct nk_netns_identity id;

	if (grow(&res->places, res->n_places, sizeof(*res->places)) < 0)
		return -ENOMEM;
	if (netns >= 0 && nk_netns_identify(netns, &id) == 0)
		place.ino = (uint32_t)id.ino;
	strncpy(place.device, device, sizeof(place.device) - 1);
	res->places[res->n_places++] = place;
	return 0;
}

int nk_result_add_message(struct nk_result *res, int32_t nsid, const struct nlmsghdr *h)
{
	size_t size = 2 * sizeof(int32_t) + (((size_t)h->nlmsg_len + 7) & ~(size_t)7);
	unsigned char *at;

	if (res->messages_len + size > res->messages_room) {
		size_t room = res->messages_room ? 2 * res->messages_room : 4096;
		unsigned char *larger;

		while (room < res->messages_len + size)
			room *= 2;
		larger = realloc(res->messages, room);
		if (!larger)
			return -ENOMEM;
		res->messages = larger;
		res->messages_room = room;
	}
	at = res->messages + res->messages_len;
	memset(at, 0, size);
	memcpy(at, &nsid, sizeof(nsid));
	memcpy(at + 2 * sizeof(int32_t), h, h->nlmsg_len);
	res->messages_len += size;
	return 0;
}

int nk_result_add_program(struct nk_result *res, const struct nk_program_state *state)
{
	if (grow(&res->programs, res->n_programs, sizeof(*res->programs)) < 0)
		return -ENOMEM;
	res->programs[res->n_programs++] = *state;
	return 0;
}

int nk_result_add_failure(struct nk_result *res, struct nk_failure *f)
{
	if (grow(&res->failures, res->n_failures, sizeof(*res->failures)) < 0) {
		nk_error_clear(&f->error);
		return -ENOMEM;
	}
	res->failures[res->n_failures++] = *f;
	return 0;
}
