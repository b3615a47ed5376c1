// SPDX-License-Identifier: GPL-2.0-only
/*
 * Errors of the kernel as the contract tells them. It keeps the first cause, as nk_error_set does.
 */
#include "daemon/kernel/fail.h"

#include <stdio.h>
#include <string.h>

#include "daemon/kernel/cleanup.h"

static int tell(struct nk_error *err, enum nk_error_code code, int error, const char *cause, const char *format, va_list args)
{
	_free_ char *text = NULL;

	if (!err)
		return error;
	if (vasprintf(&text, format, args) < 0)
		text = NULL;
	nk_error_set(err, code, "%s%s%s", text ?: "out of memory while telling what failed", cause ? ": " : "", cause ?: "");
	if (!err->error)
		err->error = -error;
	return error;
}

int nk_fail(struct nk_error *err, enum nk_error_code code, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	error = tell(err, code, error, strerror(-error), format, args);
	va_end(args);
	return error;
}

int nk_refuse(struct nk_error *err, enum nk_error_code code, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	error = tell(err, code, error, NULL, format, args);
	va_end(args);
	return error;
}

int nk_fail_at(struct nk_error *err, const char *pointer, struct nk_error *why, int r)
{
	nk_error_at(err, why->code ? why->code : NK_E_KERNEL, pointer, "%s", why->message ? why->message : strerror(-r));
	if (!err->error)
		err->error = -r;
	nk_error_clear(why);
	return r;
}
