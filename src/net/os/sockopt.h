/*
 * Socket options beyond POSIX, each best effort: where the system has no such option the call does nothing.
 */
#ifndef NET_OS_SOCKOPT_H
#define NET_OS_SOCKOPT_H

#include <stdbool.h>
#include <sys/types.h>

/* TCP keepalive with its times in seconds; idle 0 leaves it off. */
void sockopt_keepalive(int fd, int idle_s, int interval_s, int probes);
/* How long sent bytes may stay unacknowledged before the connection is given up. */
void sockopt_user_timeout(int fd, int ms);
/* Lets clients send data with their SYN; `queue` of such waiting (daemon.md 1.7). */
void sockopt_fastopen(int fd, int queue);
/* Before connect: the first bytes travel with the SYN where this server has given a cookie before; connect then succeeds at once. */
void sockopt_fastopen_connect(int fd);
/* Congestion control by name, such as "cubic". */
void sockopt_congestion(int fd, const char *name);
/* Bytes sent on a TCP connection that the peer has not acknowledged or the kernel not sent yet; -1 when the system cannot tell. */
long sockopt_unsent(int fd);
/* The kernel takes bytes of a TCP connection only while fewer than this wait there for the network: what it took is about to leave. */
void sockopt_notsent_max(int fd, int bytes);

/* Who is at the other end of a unix socket. False when the system cannot tell. */
struct peercred {
	uid_t uid;
	gid_t gid;
	pid_t pid;      /* 0 when not known */
};
bool sockopt_peercred(int fd, struct peercred *out);

#endif
