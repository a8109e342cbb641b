#include "net/dial.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/mem.h"
#include "net/addr.h"
#include "net/cidr.h"
#include "net/conn.h"
#include "net/dns.h"
#include "net/loop.h"
#include "net/os/sockopt.h"
#include "net/socket.h"

struct attempt {
	struct loop_io io;
	struct loop_timer deadline;
	struct addr to;
	struct dial *dial;
	int fd;                         /* -1: free */
	int64_t begun_ms;
};

struct dial {
	struct loop *loop;
	dial_fn *fn;
	void *ctx;
	char *host;                     /* NULL for a fixed address */
	uint16_t port;
	struct addr bind;
	const struct addr_rules *rules;
	int connect_ms;
	int keepalive[3];
	int user_timeout_ms;
	bool uses_fastopen;

	struct dns_lookup *lookup;
	struct addr addrs[DNS_ADDRS_MAX];
	size_t count;
	size_t next;                    /* the first address not tried yet */
	struct attempt attempts[DIAL_PARALLEL_MAX];
	struct loop_timer stagger;
	struct loop_later start;
	struct err last;
};

static void try_next(struct dial *d);

static void
drop_attempt(struct attempt *a)
{
	loop_io_clear(a->dial->loop, &a->io);
	loop_timer_clear(a->dial->loop, &a->deadline);
	if (a->fd >= 0)
		close(a->fd);
	a->fd = -1;
}

void
dial_cancel(struct dial *d)
{
	if (d->lookup != NULL)
		dns_cancel(d->lookup);
	for (size_t i = 0; i < DIAL_PARALLEL_MAX; i++)
		drop_attempt(&d->attempts[i]);
	loop_timer_clear(d->loop, &d->stagger);
	loop_defer_clear(&d->start);
	free(d->host);
	free(d);
}

static void
fail(struct dial *d)
{
	struct err e = d->last;
	dial_fn *fn = d->fn;
	void *ctx = d->ctx;

	if (d->host != NULL && d->count > 1)
		err_wrap(&e, "%s: none of %zu addresses answered, the last", d->host, d->count);
	dial_cancel(d);
	fn(ctx, -1, NULL, &e);
}

static void
succeed(struct attempt *a)
{
	struct dial *d = a->dial;
	struct addr to = a->to;
	dial_fn *fn = d->fn;
	void *ctx = d->ctx;
	int fd = a->fd;

	loop_io_clear(d->loop, &a->io);
	a->fd = -1;
	dial_cancel(d);
	fn(ctx, fd, &to, NULL);
}

static bool
is_any_running(const struct dial *d)
{
	for (size_t i = 0; i < DIAL_PARALLEL_MAX; i++)
		if (d->attempts[i].fd >= 0)
			return true;
	return false;
}

static void
attempt_failed(struct attempt *a, int errnum)
{
	struct dial *d = a->dial;
	char text[ADDR_TEXT_MAX];

	err_sys(&d->last, errnum, "connect to %s", addr_format(&a->to, text));
	drop_attempt(a);
	try_next(d);
}

static void
on_ready(struct loop_io *io, unsigned ready)
{
	struct attempt *a = CONTAINER_OF(io, struct attempt, io);
	int errnum = socket_error(a->fd);

	(void)ready;
	if (errnum != 0)
		attempt_failed(a, errnum);
	else
		succeed(a);
}

static void
on_deadline(void *ctx)
{
	struct attempt *a = ctx;
	struct dial *d = a->dial;
	char text[ADDR_TEXT_MAX], wait[SOCKET_WAIT_MAX];

	err_set(&d->last, ERR_DEADLINE_EXCEEDED, "connect to %s: no answer in %s", addr_format(&a->to, text),
	    socket_wait_text(d->connect_ms, wait));
	drop_attempt(a);
	try_next(d);
}

static void attempt_connect(struct attempt *a);

static void
retry_unix(void *ctx)
{
	attempt_connect(ctx);
}

static void
attempt_connect(struct attempt *a)
{
	struct dial *d = a->dial;

	if (connect(a->fd, &a->to.u.sa, a->to.len) == 0) {
		succeed(a);
		return;
	}
	if (errno == EINPROGRESS || errno == EINTR) {
		loop_io_set(d->loop, &a->io, a->fd, LOOP_WRITE, on_ready);
		loop_timer_set(d->loop, &a->deadline, d->connect_ms, on_deadline, a);
	} else if (errno == EAGAIN && addr_family(&a->to) == AF_UNIX) {
		if (loop_now_ms(d->loop) - a->begun_ms >= d->connect_ms)
			on_deadline(a);
		else
			loop_timer_set(d->loop, &a->deadline, DIAL_UNIX_RETRY_MS, retry_unix, a);
	} else {
		attempt_failed(a, errno);
	}
}

static void
attempt_start(struct attempt *a, const struct addr *to)
{
	struct dial *d = a->dial;

	a->to = *to;
	a->begun_ms = loop_now_ms(d->loop);
	a->fd = socket_stream(addr_family(to), &d->last);
	if (a->fd < 0) {
		try_next(d);
		return;
	}
	if (addr_family(to) != AF_UNIX) {
		sockopt_keepalive(a->fd, d->keepalive[0], d->keepalive[1], d->keepalive[2]);
		sockopt_user_timeout(a->fd, d->user_timeout_ms);
		if (d->uses_fastopen)
			sockopt_fastopen_connect(a->fd);
		if (d->bind.len > 0 && addr_family(&d->bind) == addr_family(to) && bind(a->fd, &d->bind.u.sa, d->bind.len) != 0) {
			char text[ADDR_TEXT_MAX];

			err_sys(&d->last, errno, "bind to %s", addr_format(&d->bind, text));
			drop_attempt(a);
			try_next(d);
			return;
		}
	}
	attempt_connect(a);
}

static void
on_stagger(void *ctx)
{
	try_next(ctx);
}

/* Starts the next address; with none left and nothing under way, this is the end. */
static void
try_next(struct dial *d)
{
	struct attempt *a = NULL;

	loop_timer_clear(d->loop, &d->stagger);
	if (d->next >= d->count) {
		if (!is_any_running(d))
			fail(d);
		return;
	}
	for (size_t i = 0; i < DIAL_PARALLEL_MAX && a == NULL; i++)
		if (d->attempts[i].fd < 0)
			a = &d->attempts[i];
	if (a == NULL)
		return;         /* the next failure or deadline comes back here */
	if (d->next + 1 < d->count)
		loop_timer_set(d->loop, &d->stagger, CONN_SECOND_FAMILY_MS, on_stagger, d);
	attempt_start(a, &d->addrs[d->next++]);
}

/* Leaves the addresses that may be connected to; what a name leads to counts, whoever answers for it. */
static void
apply_rules(struct dial *d)
{
	char text[ADDR_TEXT_MAX];
	size_t n = 0;

	if (d->rules == NULL)
		return;
	for (size_t i = 0; i < d->count; i++) {
		if (addr_rules_admit(d->rules, &d->addrs[i]))
			d->addrs[n++] = d->addrs[i];
		else
			err_set(&d->last, ERR_PERMISSION_DENIED, "connect to %s: the address is not allowed", addr_format(&d->addrs[i], text));
	}
	d->count = n;
}

static void
on_names(void *ctx, const struct addr *addrs, size_t n, const struct err *e)
{
	struct dial *d = ctx;

	d->lookup = NULL;
	if (n == 0) {
		d->last = *e;
		fail(d);
		return;
	}
	if (n > DNS_ADDRS_MAX)
		n = DNS_ADDRS_MAX;
	for (size_t i = 0; i < n; i++) {
		d->addrs[i] = addrs[i];
		addr_set_port(&d->addrs[i], d->port);
	}
	d->count = n;
	apply_rules(d);
	try_next(d);
}

static void
begin(struct loop_later *later)
{
	struct dial *d = CONTAINER_OF(later, struct dial, start);

	if (d->last.code != ERR_OK) {
		fail(d);
		return;
	}
	apply_rules(d);
	try_next(d);
}

struct dial *
dial_start(struct loop *loop, const struct conn_opts *o, dial_fn *fn, void *ctx)
{
	struct dial *d = xcalloc(1, sizeof(*d));

	d->loop = loop;
	d->fn = fn;
	d->ctx = ctx;
	d->port = o->port;
	d->bind = o->bind;
	d->rules = o->rules;
	d->connect_ms = o->connect_ms > 0 ? o->connect_ms : CONN_CONNECT_MS;
	d->keepalive[0] = o->keepalive_idle_s;
	d->keepalive[1] = o->keepalive_interval_s;
	d->keepalive[2] = o->keepalive_probes;
	d->user_timeout_ms = o->user_timeout_ms;
	d->uses_fastopen = o->uses_fastopen;
	for (size_t i = 0; i < DIAL_PARALLEL_MAX; i++) {
		d->attempts[i].dial = d;
		d->attempts[i].fd = -1;
	}
	if (o->addr.len > 0) {
		d->addrs[0] = o->addr;
		d->count = 1;
	} else if (o->host == NULL) {
		err_set(&d->last, ERR_INVALID_ARGUMENT, "connect: no address and no host");
	} else if (addr_from_ip(&d->addrs[0], slice_str(o->host), o->port) == 0) {
		d->count = 1;
	} else if (o->dns == NULL) {
		err_set(&d->last, ERR_INVALID_ARGUMENT, "%s: not an IP address, and no resolver to look it up", o->host);
	} else {
		d->host = xstrdup(o->host);
		d->lookup = dns_lookup(o->dns, o->host, on_names, d);
		return d;
	}
	loop_defer(loop, &d->start, begin);
	return d;
}
