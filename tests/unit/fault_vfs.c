// SPDX-License-Identifier: GPL-2.0-only
/* See fault_vfs.h: a shim over SQLite's own file layer. */
#include "fault_vfs.h"

#include <sqlite3.h>
#include <string.h>
#include <unistd.h>

struct file {
	sqlite3_file base;
	sqlite3_file *real; /* follows in the same allocation */
};

static sqlite3_vfs *real_vfs, vfs;
static int armed_ops, armed_code, happened;
static unsigned countdown;

/* Should this operation fail? */
static int strikes(enum nk_fault_op op)
{
	if (!(armed_ops & op) || countdown == 0 || --countdown > 0)
		return 0;
	happened = 1;
	return 1;
}

static sqlite3_file *real_of(sqlite3_file *f)
{
	return ((struct file *)f)->real;
}

static int file_close(sqlite3_file *f)
{
	return real_of(f)->pMethods->xClose(real_of(f));
}

static int file_read(sqlite3_file *f, void *buf, int n, sqlite3_int64 at)
{
	return real_of(f)->pMethods->xRead(real_of(f), buf, n, at);
}

static int file_write(sqlite3_file *f, const void *buf, int n, sqlite3_int64 at)
{
	if (strikes(NK_FAULT_WRITE)) {
		real_of(f)->pMethods->xWrite(real_of(f), buf, n / 2, at);
		if (armed_code == 0)
			_exit(9);
		return armed_code;
	}
	return real_of(f)->pMethods->xWrite(real_of(f), buf, n, at);
}

static int file_truncate(sqlite3_file *f, sqlite3_int64 size)
{
	if (strikes(NK_FAULT_TRUNCATE)) {
		if (armed_code == 0)
			_exit(9);
		return armed_code;
	}
	return real_of(f)->pMethods->xTruncate(real_of(f), size);
}

static int file_sync(sqlite3_file *f, int flags)
{
	if (strikes(NK_FAULT_SYNC)) {
		if (armed_code == 0)
			_exit(9);
		return armed_code;
	}
	return real_of(f)->pMethods->xSync(real_of(f), flags);
}

static int file_size(sqlite3_file *f, sqlite3_int64 *size)
{
	return real_of(f)->pMethods->xFileSize(real_of(f), size);
}

static int file_lock(sqlite3_file *f, int level)
{
	if (strikes(NK_FAULT_LOCK)) {
		if (armed_code == 0)
			_exit(9);
		return armed_code;
	}
	return real_of(f)->pMethods->xLock(real_of(f), level);
}

static int file_unlock(sqlite3_file *f, int level)
{
	return real_of(f)->pMethods->xUnlock(real_of(f), level);
}

static int file_check_lock(sqlite3_file *f, int *ret)
{
	return real_of(f)->pMethods->xCheckReservedLock(real_of(f), ret);
}

static int file_control(sqlite3_file *f, int op, void *arg)
{
	return real_of(f)->pMethods->xFileControl(real_of(f), op, arg);
}

static int file_sector_size(sqlite3_file *f)
{
	return real_of(f)->pMethods->xSectorSize(real_of(f));
}

static int file_characteristics(sqlite3_file *f)
{
	return real_of(f)->pMethods->xDeviceCharacteristics(real_of(f));
}

/* Version 1 has no shared memory: the store's log must do without, and so it shows that it does. */
static const sqlite3_io_methods methods = {
	.iVersion = 1,
	.xClose = file_close,
	.xRead = file_read,
	.xWrite = file_write,
	.xTruncate = file_truncate,
	.xSync = file_sync,
	.xFileSize = file_size,
	.xLock = file_lock,
	.xUnlock = file_unlock,
	.xCheckReservedLock = file_check_lock,
	.xFileControl = file_control,
	.xSectorSize = file_sector_size,
	.xDeviceCharacteristics = file_characteristics,
};

static int vfs_open(sqlite3_vfs *v, sqlite3_filename name, sqlite3_file *f, int flags, int *ret_flags)
{
	struct file *file = (struct file *)f;
	int code;

	f->pMethods = NULL;
	if (strikes(NK_FAULT_OPEN)) {
		if (armed_code == 0)
			_exit(9);
		return armed_code;
	}
	file->real = (sqlite3_file *)(file + 1);
	code = real_vfs->xOpen(real_vfs, name, file->real, flags, ret_flags);
	if (file->real->pMethods)
		f->pMethods = &methods;
	return code;
}

static int vfs_delete(sqlite3_vfs *v, const char *name, int sync)
{
	if (strikes(NK_FAULT_DELETE)) {
		if (armed_code == 0)
			_exit(9);
		return armed_code;
	}
	return real_vfs->xDelete(real_vfs, name, sync);
}

static int vfs_access(sqlite3_vfs *v, const char *name, int flags, int *ret)
{
	return real_vfs->xAccess(real_vfs, name, flags, ret);
}

static int vfs_full_pathname(sqlite3_vfs *v, const char *name, int n, char *ret)
{
	return real_vfs->xFullPathname(real_vfs, name, n, ret);
}

void nk_fault_install(void)
{
	real_vfs = sqlite3_vfs_find(NULL);
	vfs = *real_vfs;
	vfs.szOsFile = (int)sizeof(struct file) + real_vfs->szOsFile;
	vfs.zName = "nk-fault";
	vfs.pNext = NULL;
	vfs.xOpen = vfs_open;
	vfs.xDelete = vfs_delete;
	vfs.xAccess = vfs_access;
	vfs.xFullPathname = vfs_full_pathname;
	sqlite3_vfs_register(&vfs, 1);
}

void nk_fault_arm(int ops, unsigned n, int code)
{
	armed_ops = ops;
	countdown = n;
	armed_code = code;
	happened = 0;
}

int nk_fault_disarm(void)
{
	countdown = 0;
	return happened;
}
