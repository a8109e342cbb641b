/*
 * Bytes into files that were opened elsewhere, and what makes their names last.
 */
#ifndef BASE_WRITE_FILE_H
#define BASE_WRITE_FILE_H

#include "base/slice.h"

/* All of it. 0, or -1 with errno. */
int write_fd(int fd, struct slice s);
/* "/a" of "/a/b", "/" of "/a", "." of "a"; the caller's. */
char *parent_of(const char *path);
/* The name of this file or directory is there after a loss of power, too. Where the system refuses it, nothing happens. */
void sync_parent(const char *path);

#endif
