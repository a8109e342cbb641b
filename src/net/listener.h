/*
 * Listening sockets: TCP and unix. Accepts on its loop and hands each descriptor on; what speaks on it is the owner's affair.
 */
#ifndef NET_LISTENER_H
#define NET_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "net/addr.h"

struct err;
struct listener;
struct loop;

/* daemon.md 1.7. */
#define LISTENER_BACKLOG 1024
/* Wait after accept failed for want of descriptors or memory (daemon.md 1.7). */
#define LISTENER_BACKOFF_MS 50
/* Descriptors that connections from outside leave free, or a tenth of RLIMIT_NOFILE when that is more; half of it at most, and a quarter of
 * that on unix sockets. Connections beyond are closed at once (daemon.md 10). */
#define LISTENER_RESERVE 64
/* Connections taken in one turn, so that a flood leaves the loop time for others. */
#define LISTENER_BATCH 64

/* A new connection; the callee owns fd (non-blocking, close-on-exec, TCP_NODELAY). peer has length 0 parts on unix: see
 * net/os/sockopt.h for who it is. */
typedef void listener_accept_fn(void *ctx, int fd, const struct addr *peer);

/* TCP with SO_REUSEADDR, on the address's port (0: any free one; see listener_addr). IPv6 addresses take IPv4 too when v6 is
 * "::". NULL with "listen on 0.0.0.0:4000: address in use". */
struct listener *listener_tcp(struct loop *loop, const struct addr *a, listener_accept_fn *fn, void *ctx, struct err *e);
/* TCP Fast Open for clients that know it, where the system has it; others connect as before. */
void listener_set_fastopen(struct listener *l);
/* Unix (daemon.md 1.8): makes the parent directory; when something answers at path, refuses with ALREADY_EXISTS naming it;
 * otherwise binds under a temporary name, sets mode and group ((gid_t)-1: leave), and renames into place, so that nobody
 * ever sees a half-made socket. */
struct listener *listener_unix(struct loop *loop, const char *path, mode_t mode, gid_t group, listener_accept_fn *fn,
    void *ctx, struct err *e);
/* The address it is bound to, with the real port. */
const struct addr *listener_addr(const struct listener *l);
/* Stops and starts accepting; connections wait in the backlog meanwhile. */
void listener_pause(struct listener *l);
void listener_resume(struct listener *l);
/* Closes. A unix path is removed when it is still ours. */
void listener_free(struct listener *l);

#endif
