/*
 * What the store uses of an operating system beyond POSIX. Where there is no way, the call says EOPNOTSUPP and the store goes on.
 */
#ifndef STORE_OS_FILE_OS_H
#define STORE_OS_FILE_OS_H

#include <sys/types.h>

/* An exclusive lock for the life of the descriptor, also against other descriptors of this process; EWOULDBLOCK when taken. */
int store_os_lock(int fd);
/* Blocks for n bytes without changing the size. */
int store_os_preallocate(int fd, off_t n);
/* The pages of the file need not stay in memory. Best effort. */
void store_os_drop_cache(int fd);

#endif
