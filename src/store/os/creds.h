/*
 * Files in the name of another user: what the calling thread opens, links and renames in between is judged by that user's rights, and new
 * files are theirs. The store's own files stay the daemon's.
 */
#ifndef STORE_OS_CREDS_H
#define STORE_OS_CREDS_H

#include <sys/types.h>

struct err;

/* 0 for the daemon's own user without doing anything; PERMISSION_DENIED where the system or our rights do not allow it. */
int creds_become(uid_t uid, gid_t gid, struct err *e);
/* Back to the daemon's user, in the same thread. */
void creds_restore(uid_t uid);

#endif
