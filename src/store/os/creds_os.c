/* Linux has a user for file access alone, per thread. Elsewhere other users are refused. */
#include "store/os/creds.h"

#include <unistd.h>

#include "base/err.h"

#ifdef __linux__

#include <sys/fsuid.h>

int
creds_become(uid_t uid, gid_t gid, struct err *e)
{
	if (uid == geteuid())
		return 0;
	/* The calls tell the old value whether they worked or not; a second call shows it. */
	setfsgid(gid);
	setfsuid(uid);
	if ((uid_t)setfsuid(uid) == uid && (gid_t)setfsgid(gid) == gid)
		return 0;
	setfsuid(geteuid());
	setfsgid(getegid());
	return err_set(e, ERR_PERMISSION_DENIED, "output for user %lu: the daemon runs as user %lu and may not write for others; "
	    "use --transfer-from-dfdaemon", (unsigned long)uid, (unsigned long)geteuid());
}

void
creds_restore(uid_t uid)
{
	if (uid == geteuid())
		return;
	setfsuid(geteuid());
	setfsgid(getegid());
}

#else

int
creds_become(uid_t uid, gid_t gid, struct err *e)
{
	(void)gid;
	if (uid == geteuid())
		return 0;
	return err_set(e, ERR_PERMISSION_DENIED, "output for user %lu: the daemon runs as user %lu; use --transfer-from-dfdaemon",
	    (unsigned long)uid, (unsigned long)geteuid());
}

void
creds_restore(uid_t uid)
{
	(void)uid;
}

#endif
