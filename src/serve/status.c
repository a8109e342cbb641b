#include "serve/status.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "net/addr.h"
#include "net/http_server.h"
#include "serve/daemon.h"
#include "serve/metrics.h"
#include "serve/status_state.h"
#include "wire/h1.h"

struct status {
	const struct daemon_parts *parts;
	struct http_server *servers[STATUS_SERVERS];
	struct metrics_base base;
};

static void
reply(struct http_exchange *x, int code, const char *type, struct slice body)
{
	http_exchange_reply(x, code, NULL, 0, type, body);
}

static bool
is_asked(struct http_exchange *x, const char *method, const char *path)
{
	return slice_eq_str(http_exchange_request(x)->method, method) && slice_eq_str(http_exchange_path(x), path);
}

static void
on_health(void *ctx, struct http_exchange *x)
{
	const struct status *s = ctx;

	if (is_asked(x, "GET", "/healthy"))
		reply(x, 200, NULL, (struct slice){0});
	else if (is_asked(x, "GET", "/ready"))
		reply(x, s->parts->is_ready ? 200 : 503, NULL, (struct slice){0});
	else
		reply(x, 404, NULL, (struct slice){0});
}

static void
on_metrics(void *ctx, struct http_exchange *x)
{
	struct status *s = ctx;
	struct buf page = BUF_INIT;

	if (is_asked(x, "GET", "/metrics")) {
		metrics_write(s->parts, &s->base, &page);
		reply(x, 200, "text/plain; charset=utf-8", buf_slice(&page));
	} else if (!is_asked(x, "DELETE", "/metrics")) {
		reply(x, 404, NULL, (struct slice){0});
	} else if (addr_is_loopback(http_exchange_peer(x))) {
		log_info("metrics are counted from zero again");
		metrics_reset(s->parts, &s->base);
		reply(x, 200, NULL, (struct slice){0});
	} else {
		reply(x, 405, NULL, (struct slice){0});
	}
	buf_free(&page);
}

static void
on_stats(void *ctx, struct http_exchange *x)
{
	const struct status *s = ctx;
	struct buf page = BUF_INIT;

	if (is_asked(x, "GET", "/debug/state")) {
		status_state_write(s->parts, &page);
		reply(x, 200, "text/plain; charset=utf-8", buf_slice(&page));
	} else {
		reply(x, 404, NULL, (struct slice){0});
	}
	buf_free(&page);
}

static int
start(struct status *s, enum status_server which, const struct config_listener *c, http_handler_fn *fn, const char *section, struct err *e)
{
	const struct http_server_opts opts = {
		.head_max = STATUS_HEADER_MAX, .head_ms = STATUS_IDLE_MS, .idle_ms = STATUS_IDLE_MS, .send_ms = STATUS_IDLE_MS,
		.body_ms = STATUS_IDLE_MS, .conns_max = STATUS_CONNECTIONS_MAX, .name = section,
	};
	struct addr a;

	if (!c->enable)
		return 0;
	if (addr_from_ip(&a, slice_str(c->ip), c->port) < 0)
		return err_set(e, ERR_INVALID_ARGUMENT, "%s.server: %s is not an IP address", section, c->ip);
	s->servers[which] = http_server_new(s->parts->loop, &opts, fn, s);
	if (http_server_listen(s->servers[which], &a, e) < 0)
		return err_wrap(e, "%s.server", section);
	return 0;
}

struct status *
status_new(const struct daemon_parts *parts, struct err *e)
{
	struct status *s = xcalloc(1, sizeof *s);
	const struct config *c = parts->config;

	s->parts = parts;
	metrics_base_init(&s->base);
	if (start(s, STATUS_HEALTH, &c->health, on_health, "health", e) == 0 &&
	    start(s, STATUS_METRICS, &c->metrics, on_metrics, "metrics", e) == 0 &&
	    start(s, STATUS_STATS, &c->stats, on_stats, "stats", e) == 0)
		return s;
	status_free(s);
	return NULL;
}

uint16_t
status_port(const struct status *s, enum status_server which)
{
	return s->servers[which] != NULL ? addr_port(http_server_addr(s->servers[which], 0)) : 0;
}

void
status_free(struct status *s)
{
	if (s == NULL)
		return;
	for (unsigned i = 0; i < STATUS_SERVERS; i++)
		if (s->servers[i] != NULL)
			http_server_free(s->servers[i]);
	metrics_base_free(&s->base);
	free(s);
}
