/*
 * What a system offers beyond POSIX to bound what a taken-over process could do. Where it offers nothing, nothing happens:
 * that is success. All return 0, or -1 with errno.
 */
#ifndef SERVE_OS_CONFINE_H
#define SERVE_OS_CONFINE_H

#include <sys/types.h>

/* No program that this process starts has more rights than it. */
int confine_no_new_privileges(void);
/* Neither core files nor debuggers of the same user see its memory. */
int confine_no_dump(void);
/* The supplementary groups of this user and gid alone. */
int confine_groups(const char *user, gid_t gid);

#endif
