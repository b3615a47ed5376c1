// SPDX-License-Identifier: GPL-2.0-only
/*
 * Keeps libbpf's messages for whoever called libbpf: program.c in the executor's thread, watch.c and probe.c in the loop's. libbpf
 * has one print function for the whole process, so it looks at a variable of the thread.
 */
#include "daemon/kernel/libbpf_log.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bpf/libbpf.h>

/* Bytes of a log that are told: a reply must hold it. What explains the failure stands at its end. */
#define LOG_MAX (1024 * 1024)

struct log {
	FILE *file; /* NULL while not keeping */
	char *text;
	size_t size;
};

static __thread struct log log_of_thread;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static int keep(enum libbpf_print_level level, const char *format, va_list args)
{
	if (log_of_thread.file && level != LIBBPF_DEBUG)
		return vfprintf(log_of_thread.file, format, args);
	return 0;
}

static void install(void)
{
	libbpf_set_print(keep);
}

void nk_libbpf_log_begin(void)
{
	struct log *log = &log_of_thread;

	pthread_once(&once, install);
	*log = (struct log){};
	log->file = open_memstream(&log->text, &log->size);
}

/* Of a text that is too long keep the end, in whole lines, and say so in the first. */
static void leave_out(char *text, size_t size)
{
	char said[80];
	char *rest = text + size - (LOG_MAX - sizeof(said)), *line = strchr(rest, '\n');
	size_t n;

	if (line)
		rest = line + 1;
	n = (size_t)snprintf(said, sizeof(said), "[the first %zu bytes of this log are left out]\n", (size_t)(rest - text));
	memcpy(text, said, n);
	memmove(text + n, rest, strlen(rest) + 1);
}

char *nk_libbpf_log_end(void)
{
	struct log *log = &log_of_thread;
	char *text;

	if (!log->file)
		return NULL;
	/* Closing is what fills in text and size. */
	if (fclose(log->file)) {
		free(log->text);
		log->text = NULL;
	}
	log->file = NULL;
	text = log->text;
	if (!text)
		return NULL;
	while (log->size && text[log->size - 1] == '\n')
		text[--log->size] = '\0';
	if (log->size > LOG_MAX)
		leave_out(text, log->size);
	return text;
}
