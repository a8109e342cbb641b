#include "net/dns_query.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rand.h"
#include "net/socket.h"

static void ask(struct dns_query *q);

static void
close_socket(struct dns_query *q)
{
	loop_io_clear(q->loop, &q->io);
	loop_timer_clear(q->loop, &q->timer);
	if (q->fd >= 0)
		close(q->fd);
	q->fd = -1;
}

void
dns_query_stop(struct dns_query *q)
{
	if (q->loop == NULL)
		return;
	close_socket(q);
	buf_free(&q->tcp_out);
	buf_free(&q->tcp_in);
	q->is_done = true;
}

static void
finish(struct dns_query *q)
{
	dns_query_stop(q);
	q->done(q);
}

static const struct addr *
server_of(const struct dns_query *q)
{
	return &q->conf->servers[q->tries % q->conf->n_servers];
}

/* This server did not help: `failed` says why. Asks the next, or gives up when all had their turns. */
static void
next_server(struct dns_query *q)
{
	close_socket(q);
	q->is_tcp = false;
	q->tries++;
	if (q->tries >= q->conf->n_servers * q->conf->attempts)
		finish(q);
	else
		ask(q);
}

static void
server_failed(struct dns_query *q, int errnum, const char *doing)
{
	char text[ADDR_TEXT_MAX];

	err_sys(&q->failed, errnum, "%s: %s name server %s", q->name, doing, addr_format(server_of(q), text));
	/* A server that cannot be reached is no fact about the name. */
	q->failed.code = ERR_UNAVAILABLE;
	next_server(q);
}

static void
on_timeout(void *ctx)
{
	struct dns_query *q = ctx;
	char text[ADDR_TEXT_MAX];

	err_set(&q->failed, ERR_DEADLINE_EXCEEDED, "%s: no answer from name server %s in %u s", q->name,
	    addr_format(server_of(q), text), q->conf->timeout_s);
	next_server(q);
}

/* A believable message: 1 when the question is settled or taken further, 0 when it was no answer to our question. */
static int
take_message(struct dns_query *q, struct slice msg)
{
	static const char *const names[] = {
		"no error", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED",
	};
	char text[ADDR_TEXT_MAX];
	struct dns_answer *a = &q->answer;

	if (dns_answer_read(a, msg, q->id, q->name, q->type) != 0)
		return 0;
	if (a->is_truncated && !q->is_tcp) {
		close_socket(q);
		q->is_tcp = true;
		ask(q);
		return 1;
	}
	if (a->is_truncated || (a->rcode != DNS_OK && a->rcode != DNS_NO_NAME)) {
		err_set(&q->failed, ERR_UNAVAILABLE, "%s: name server %s failed (%s)", q->name, addr_format(server_of(q), text),
		    a->is_truncated ? "cut answer over TCP" : a->rcode < (int)COUNT_OF(names) ? names[a->rcode] : "other error");
		next_server(q);
		return 1;
	}
	err_clear(&q->failed);
	if (a->alias[0] != '\0') {
		if (++q->chased > DNS_CHASE_MAX) {
			err_set(&q->failed, ERR_UNAVAILABLE, "%s: too many aliases", q->name);
			finish(q);
			return 1;
		}
		memcpy(q->name, a->alias, sizeof(q->name));
		close_socket(q);
		q->is_tcp = false;
		q->tries = 0;
		ask(q);
		return 1;
	}
	finish(q);
	return 1;
}

static void
on_udp(struct loop_io *io, unsigned ready)
{
	struct dns_query *q = CONTAINER_OF(io, struct dns_query, io);
	uint8_t *p = loop_scratch(q->loop);

	(void)ready;
	for (;;) {
		ssize_t n = recv(q->fd, p, 65535, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			if (errno != EAGAIN && errno != EWOULDBLOCK)
				server_failed(q, errno, "ask");
			return;
		}
		if (take_message(q, slice_make(p, (size_t)n)) != 0)
			return;
		if (++q->forged > DNS_FORGED_MAX) {
			server_failed(q, EPROTO, "wrong answers from");
			return;
		}
	}
}

static void
on_tcp(struct loop_io *io, unsigned ready)
{
	struct dns_query *q = CONTAINER_OF(io, struct dns_query, io);
	uint8_t *p = loop_scratch(q->loop);
	ssize_t n;

	if (q->tcp_out.len > 0 && (ready & LOOP_WRITE)) {
		n = send(q->fd, buf_data(&q->tcp_out), q->tcp_out.len, MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ENOTCONN) {
			server_failed(q, errno, "ask");
			return;
		}
		if (n > 0)
			buf_consume(&q->tcp_out, (size_t)n);
		if (q->tcp_out.len == 0)
			loop_io_set(q->loop, io, q->fd, LOOP_READ, on_tcp);
		return;
	}
	n = recv(q->fd, p, LOOP_SCRATCH_BYTES, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		server_failed(q, n < 0 ? errno : ECONNRESET, "ask");
		return;
	}
	buf_append(&q->tcp_in, p, (size_t)n);
	if (q->tcp_in.len >= 2) {
		struct slice s = buf_slice(&q->tcp_in);
		size_t len = (size_t)s.p[0] << 8 | s.p[1];

		if (s.n - 2 < len)
			return;
		if (take_message(q, slice_sub(s, 2, len)) == 0)
			server_failed(q, EPROTO, "wrong answer from");
	}
}

/* Sends the question to the server whose turn it is. */
static void
ask(struct dns_query *q)
{
	uint8_t question[DNS_QUERY_MAX];
	const struct addr *to = server_of(q);
	size_t n;

	q->id = (uint16_t)rand_below(65536);
	q->forged = 0;
	n = dns_query_write(question, q->id, q->name, q->type);
	q->fd = socket(addr_family(to), q->is_tcp ? SOCK_STREAM : SOCK_DGRAM, 0);
	/* Timer first: it stands even when everything below fails at once. */
	if (q->fd < 0 || socket_prepare(q->fd) != 0) {
		server_failed(q, errno, "make a socket for");
		return;
	}
	loop_timer_set(q->loop, &q->timer, (int64_t)q->conf->timeout_s * 1000, on_timeout, q);
	if (connect(q->fd, &to->u.sa, to->len) != 0 && errno != EINPROGRESS) {
		server_failed(q, errno, "reach");
		return;
	}
	if (q->is_tcp) {
		uint8_t len[2] = {(uint8_t)(n >> 8), (uint8_t)n};

		buf_clear(&q->tcp_in);
		buf_clear(&q->tcp_out);
		buf_append(&q->tcp_out, len, 2);
		buf_append(&q->tcp_out, question, n);
		loop_io_set(q->loop, &q->io, q->fd, LOOP_READ | LOOP_WRITE, on_tcp);
	} else {
		if (send(q->fd, question, n, MSG_NOSIGNAL) < 0 && errno != EAGAIN) {
			server_failed(q, errno, "ask");
			return;
		}
		loop_io_set(q->loop, &q->io, q->fd, LOOP_READ, on_udp);
	}
}

/* The first question goes out from the loop, so that `done` is never called inside dns_query_start. */
static void
on_start(void *ctx)
{
	ask(ctx);
}

void
dns_query_start(struct dns_query *q, struct loop *loop, const struct dns_conf *conf, const char *name, enum dns_type type,
    void (*done)(struct dns_query *q))
{
	size_t n = strlen(name);

	memset(q, 0, sizeof(*q));
	q->loop = loop;
	q->conf = conf;
	q->done = done;
	q->type = type;
	q->fd = -1;
	memcpy(q->name, name, n < DNS_NAME_SIZE ? n + 1 : 0);
	loop_timer_set(loop, &q->timer, 0, on_start, q);
}
