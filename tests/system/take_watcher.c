// SPDX-License-Identifier: GPL-2.0-only
/*
 * Takes the watcher away from a running netkitd, for test_watcher.py: as a debugger can, it makes the process close descriptors. Usage:
 * take_watcher PID FD…; the machine is x86-64 or arm64. Prints what each close returned.
 */
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__x86_64__)
static const unsigned char code[] = { 0x0f, 0x05 }; /* syscall */
typedef struct user_regs_struct registers;

static void prepare(registers *r, long fd)
{
	r->rax = SYS_close;
	r->orig_rax = -1ull; /* no system call is to be restarted */
	r->rdi = (unsigned long long)fd;
}

static unsigned long where(const registers *r)
{
	return r->rip;
}

static long result(const registers *r)
{
	return (long)r->rax;
}
#elif defined(__aarch64__)
static const unsigned char code[] = { 0x01, 0x00, 0x00, 0xd4 }; /* svc #0 */
typedef struct user_regs_struct registers;

static void prepare(registers *r, long fd)
{
	r->regs[8] = SYS_close;
	r->regs[0] = (unsigned long long)fd;
}

static unsigned long where(const registers *r)
{
	return r->pc;
}

static long result(const registers *r)
{
	return (long)r->regs[0];
}
#else
#error "how does this machine make a system call?"
#endif

static pid_t pid;

static void check(const char *what, long r)
{
	if (r >= 0)
		return;
	fprintf(stderr, "take_watcher: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void get(registers *r)
{
	struct iovec v = { r, sizeof(*r) };

	check("reading registers", ptrace(PTRACE_GETREGSET, pid, NT_PRSTATUS, &v));
}

static void set(registers *r)
{
	struct iovec v = { r, sizeof(*r) };

	check("writing registers", ptrace(PTRACE_SETREGSET, pid, NT_PRSTATUS, &v));
}

/* One instruction of ours in place of what stands where the process is; then all as it was. */
static long close_there(long fd)
{
	registers before, r;
	unsigned long old, with;
	int status;

	get(&before);
	r = before;
	errno = 0;
	old = (unsigned long)ptrace(PTRACE_PEEKTEXT, pid, where(&before), NULL);
	check("reading text", errno ? -1 : 0);
	with = old;
	memcpy(&with, code, sizeof(code));
	check("writing text", ptrace(PTRACE_POKETEXT, pid, where(&before), with));
	prepare(&r, fd);
	set(&r);
	check("stepping", ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL));
	check("waiting", waitpid(pid, &status, __WALL));
	get(&r);
	check("writing text", ptrace(PTRACE_POKETEXT, pid, where(&before), old));
	set(&before);
	return result(&r);
}

int main(int argc, char **argv)
{
	int status;

	if (argc < 3) {
		fprintf(stderr, "usage: take_watcher PID FD...\n");
		return 2;
	}
	pid = atoi(argv[1]);
	check("attaching", ptrace(PTRACE_SEIZE, pid, NULL, NULL));
	check("interrupting", ptrace(PTRACE_INTERRUPT, pid, NULL, NULL));
	check("waiting", waitpid(pid, &status, __WALL));
	for (int i = 2; i < argc; i++)
		printf("%s: %ld\n", argv[i], close_there(atol(argv[i])));
	check("detaching", ptrace(PTRACE_DETACH, pid, NULL, NULL));
	return 0;
}
