/*
 * Small things about POSIX sockets that several files of this room need.
 */
#ifndef NET_SOCKET_H
#define NET_SOCKET_H

struct err;

/* A non-blocking, close-on-exec stream socket, TCP_NODELAY where it is TCP. -1 with the reason. */
int socket_stream(int family, struct err *e);
/* Makes a descriptor non-blocking and close-on-exec. 0 or -1 (errno). */
int socket_prepare(int fd);
void socket_nodelay(int fd);
/* Its close tells the other side at once, even one that does not read: what was not sent is dropped. fd may be -1. */
void socket_reset_on_close(int fd);
/* The pending error of a socket (SO_ERROR), 0 when none. */
int socket_error(int fd);

/* "3 s", "1.5 s", "300 ms": a wait as a person says it. Returns out. */
#define SOCKET_WAIT_MAX 32
const char *socket_wait_text(int ms, char out[SOCKET_WAIT_MAX]);

#endif
