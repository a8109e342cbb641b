#if defined(__linux__)
/* struct ucred and SO_PEERCRED stand behind this; it must come before any header. */
#define _GNU_SOURCE
#else
/* The BSDs show getpeereid and their TCP options only without the POSIX macros. */
#undef _POSIX_C_SOURCE
#undef _XOPEN_SOURCE
#endif

#include "net/os/sockopt.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#if defined(__linux__)
#include <linux/sockios.h>
#endif

static void
set_int(int fd, int level, int name, int value)
{
	setsockopt(fd, level, name, &value, sizeof(value));
}

void
sockopt_keepalive(int fd, int idle_s, int interval_s, int probes)
{
	if (idle_s <= 0)
		return;
	set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
#if defined(TCP_KEEPIDLE)
	set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, idle_s);
#elif defined(TCP_KEEPALIVE)
	set_int(fd, IPPROTO_TCP, TCP_KEEPALIVE, idle_s);
#endif
#if defined(TCP_KEEPINTVL)
	if (interval_s > 0)
		set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, interval_s);
#endif
#if defined(TCP_KEEPCNT)
	if (probes > 0)
		set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, probes);
#endif
	(void)interval_s;
	(void)probes;
}

void
sockopt_user_timeout(int fd, int ms)
{
#if defined(TCP_USER_TIMEOUT)
	if (ms > 0)
		set_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, ms);
#endif
	(void)fd;
	(void)ms;
}

void
sockopt_fastopen(int fd, int queue)
{
#if defined(TCP_FASTOPEN)
	set_int(fd, IPPROTO_TCP, TCP_FASTOPEN, queue);
#endif
	(void)fd;
	(void)queue;
}

void
sockopt_fastopen_connect(int fd)
{
#if defined(TCP_FASTOPEN_CONNECT)
	set_int(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1);
#endif
	(void)fd;
}

void
sockopt_congestion(int fd, const char *name)
{
#if defined(TCP_CONGESTION)
	setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name));
#endif
	(void)fd;
	(void)name;
}

long
sockopt_unsent(int fd)
{
#if defined(SIOCOUTQ)
	int n = 0;

	if (ioctl(fd, SIOCOUTQ, &n) == 0)
		return n;
#endif
	(void)fd;
	return -1;
}

void
sockopt_notsent_max(int fd, int bytes)
{
#if defined(TCP_NOTSENT_LOWAT)
	set_int(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, bytes);
#endif
	(void)fd;
	(void)bytes;
}

bool
sockopt_peercred(int fd, struct peercred *out)
{
#if defined(__linux__)
	struct ucred cred;
	socklen_t n = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &n) != 0 || n != sizeof(cred))
		return false;
	/* A TCP socket answers too, with nobody in it. */
	if (cred.uid == (uid_t)-1)
		return false;
	*out = (struct peercred){.uid = cred.uid, .gid = cred.gid, .pid = cred.pid};
	return true;
#elif defined(__FreeBSD__) || defined(__OpenBSD__) || defined(__NetBSD__) || defined(__APPLE__) || defined(__DragonFly__)
	*out = (struct peercred){0};
	return getpeereid(fd, &out->uid, &out->gid) == 0;
#else
	(void)fd;
	(void)out;
	return false;
#endif
}
