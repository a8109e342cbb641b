/*
 * From a name or address to a connected descriptor: looks the name up, then tries its addresses, the next one when the last has
 * failed or has not answered within CONN_SECOND_FAMILY_MS (happy eyeballs, RFC 8305). Part of conn.h's connecting; TLS is not
 * its affair.
 */
#ifndef NET_DIAL_H
#define NET_DIAL_H

struct addr;
struct conn_opts;
struct dial;
struct err;
struct loop;

/* Attempts under way at once. */
#define DIAL_PARALLEL_MAX 4
/* A unix listener with a full backlog answers "try again": asked again after this. */
#define DIAL_UNIX_RETRY_MS 10

/* fd >= 0 (the callee owns it) and the address it is connected to; or -1 and why. The dial is gone when this is called. */
typedef void dial_fn(void *ctx, int fd, const struct addr *peer, const struct err *e);

/* Never calls fn before it returns. Uses addr or host, port and dns, bind, rules, connect_ms, keepalive and user timeout of opts. */
struct dial *dial_start(struct loop *loop, const struct conn_opts *opts, dial_fn *fn, void *ctx);
/* No callback follows. */
void dial_cancel(struct dial *d);

#endif
