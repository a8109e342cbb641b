/*
 * Whole files into memory, up to a limit.
 */
#ifndef BASE_READ_FILE_H
#define BASE_READ_FILE_H

#include <stddef.h>

#include "base/buf.h"

/* Appends what is left to read. 0, or -1 with errno: EFBIG where it is more than `max` bytes (the first `max` are appended). */
int read_fd(int fd, size_t max, struct buf *out);
/* The same for a regular file; anything else is EINVAL, and does not block. */
int read_file(const char *path, size_t max, struct buf *out);

#endif
