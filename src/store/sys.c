#include "store/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "store/os/file_os.h"

/* openat is variadic, so it does not fit the table itself. */
static int
sys_openat(int dir, const char *path, int flags, mode_t mode)
{
	return openat(dir, path, flags, mode);
}

const struct store_sys store_sys_posix = {
	.openat = sys_openat,
	.close = close,
	.read = read,
	.pread = pread,
	.write = write,
	.pwrite = pwrite,
	.ftruncate = ftruncate,
	.preallocate = store_os_preallocate,
	.fdatasync = fdatasync,
	.fsync = fsync,
	.mkdirat = mkdirat,
	.renameat = renameat,
	.linkat = linkat,
	.unlinkat = unlinkat,
	.fstat = fstat,
	.fstatat = fstatat,
	.fstatvfs = fstatvfs,
	.fchmod = fchmod,
	.fchown = fchown,
	.fdopendir = fdopendir,
};
