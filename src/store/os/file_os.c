#ifdef __linux__
#define _GNU_SOURCE
#endif

#include "store/os/file_os.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>

int
store_os_lock(int fd)
{
	return flock(fd, LOCK_EX | LOCK_NB);
}

int
store_os_preallocate(int fd, off_t n)
{
#ifdef __linux__
	return fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, n);
#else
	(void)fd;
	(void)n;
	errno = EOPNOTSUPP;
	return -1;
#endif
}

void
store_os_drop_cache(int fd)
{
#ifdef POSIX_FADV_DONTNEED
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
#else
	(void)fd;
#endif
}
