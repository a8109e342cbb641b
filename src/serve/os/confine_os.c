#if defined(__linux__)
/* initgroups stands behind this; it must come before any header. */
#define _GNU_SOURCE
#else
#undef _POSIX_C_SOURCE
#undef _XOPEN_SOURCE
#endif

#include "serve/os/confine.h"

#include <grp.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif

/* The leak checker looks at the process as a debugger does. */
#if defined(__SANITIZE_ADDRESS__)
#define IS_LOOKED_AT 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(leak_sanitizer)
#define IS_LOOKED_AT 1
#endif
#endif

int
confine_no_new_privileges(void)
{
#if defined(PR_SET_NO_NEW_PRIVS)
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
#else
	return 0;
#endif
}

int
confine_no_dump(void)
{
#if defined(PR_SET_DUMPABLE) && !defined(IS_LOOKED_AT)
	return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#else
	return 0;
#endif
}

int
confine_groups(const char *user, gid_t gid)
{
	return initgroups(user, gid);
}
