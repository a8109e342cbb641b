/*
 * Bytes of a file to a socket past our memory, where the system has a call for it.
 */
#ifndef NET_OS_SEND_FILE_H
#define NET_OS_SEND_FILE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* As send(): how many of the n bytes at `at` went, 0 at the end of the file, -1 with errno; ENOSYS where there is no such call. */
ssize_t send_file(int socket, int file, uint64_t at, size_t n);

#endif
