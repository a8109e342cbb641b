#include "serve/front.h"

#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/conn.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/rpc_server.h"
#include "serve/piece.h"
#include "wire/vortex.h"

/* Refused connections are written of so often at most. */
#define REFUSED_LOG_MS 1000
#define TLS_HANDSHAKE 0x16      /* content type of the first TLS record */

struct front {
	struct front_options o;
	struct listener *listener;
	struct list guests;
	int64_t refused_ms;             /* one was last written of */
	size_t count;
};

/* A connection that has not said yet what it is. */
struct guest {
	struct list link;
	struct front *front;
	struct conn *conn;
};

static void
guest_free(struct guest *g)
{
	struct front *f = g->front;

	list_del(&g->link);
	free(g);
	if (--f->count == FRONT_WAITING_MAX - 1 && f->listener != NULL)
		listener_resume(f->listener);
}

/* Takes the socket out of the connection. */
static int
take_socket(struct guest *g)
{
	struct buf unread = BUF_INIT;   /* the bytes that on_data was shown, which the caller keeps */
	struct err e;
	int fd = conn_detach(g->conn, &unread, &e);

	if (fd < 0) {
		log_warn("connection lost on its way in error=\"%s\"", e.text);
		conn_abort(g->conn);
	}
	buf_free(&unread);
	guest_free(g);
	return fd;
}

static size_t
on_data(struct conn *c, void *ctx, const uint8_t *p, size_t n)
{
	struct guest *g = ctx;
	struct front *f = g->front;
	struct buf early = BUF_INIT;
	int is_vortex = f->o.pieces != NULL ? vortex_is_request(slice_make(p, n)) : 0;
	bool wants_tls = p[0] == TLS_HANDSHAKE, has_tls = f->o.tls != NULL && *f->o.tls != NULL;
	int fd;

	if (is_vortex < 0)
		return 0;
	if (is_vortex == 0 && wants_tls != has_tls) {
		if (loop_now_ms(f->o.loop) - f->refused_ms >= REFUSED_LOG_MS) {
			log_warn("connection refused peer=%s reason=\"%s\"", conn_peer_text(c),
			    has_tls ? "plaintext where TLS is required" : "TLS where none is configured");
			f->refused_ms = loop_now_ms(f->o.loop);
		}
		conn_abort(c);
		guest_free(g);
		return n;
	}
	buf_append(&early, p, n);
	fd = take_socket(g);
	if (fd >= 0 && is_vortex)
		piece_server_adopt(f->o.pieces, fd, buf_slice(&early));
	else if (fd >= 0)
		rpc_server_serve(f->o.rpc, fd, has_tls ? *f->o.tls : NULL, buf_slice(&early));
	buf_free(&early);
	return n;
}

static void
on_close(struct conn *c, void *ctx, const struct err *e)
{
	(void)c;
	log_debug("connection ended before it began reason=\"%s\"", e->text);
	guest_free(ctx);
}

static void
on_accept(void *ctx, int fd, const struct addr *peer)
{
	static const struct conn_events events = {.on_data = on_data, .on_close = on_close};
	struct front *f = ctx;
	struct guest *g = xcalloc(1, sizeof *g);

	(void)peer;
	g->front = f;
	list_add_tail(&f->guests, &g->link);
	if (++f->count == FRONT_WAITING_MAX)
		listener_pause(f->listener);
	g->conn = conn_adopt(f->o.loop, fd, &(struct conn_opts){0}, &events, g);
	conn_set_read_ms(g->conn, FRONT_FIRST_MS);
}

struct front *
front_new(const struct front_options *o)
{
	struct front *f = xcalloc(1, sizeof *f);

	f->o = *o;
	list_init(&f->guests);
	return f;
}

int
front_listen(struct front *f, const struct addr *a, struct addr *bound, struct err *e)
{
	f->listener = listener_tcp(f->o.loop, a, on_accept, f, e);
	if (f->listener == NULL)
		return -1;
	*bound = *listener_addr(f->listener);
	return 0;
}

void
front_stop(struct front *f)
{
	if (f->listener != NULL)
		listener_free(f->listener);
	f->listener = NULL;
	LIST_EACH(it, next, &f->guests) {
		struct guest *g = CONTAINER_OF(it, struct guest, link);

		conn_abort(g->conn);
		guest_free(g);
	}
}

void
front_free(struct front *f)
{
	if (f == NULL)
		return;
	front_stop(f);
	free(f);
}
