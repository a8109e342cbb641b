#include "serve/health.h"

#include <stdlib.h>

#include "base/err.h"
#include "base/mem.h"
#include "net/rpc_server.h"
#include "proto/health.h"

struct watcher {
	struct list link;
	struct rpc_stream *stream;
};

static int32_t
status_of(const struct health *h)
{
	return h->is_serving ? HEALTH_HEALTH_CHECK_RESPONSE_SERVING_STATUS_SERVING :
	    HEALTH_HEALTH_CHECK_RESPONSE_SERVING_STATUS_NOT_SERVING;
}

static bool
knows(const struct health *h, struct slice service)
{
	return service.n == 0 || slice_eq_str(service, h->service);
}

static void
refuse(struct rpc_stream *s)
{
	rpc_stream_end(s, ERR_NOT_FOUND, "service not registered", (struct slice){0});
}

static void
on_check(struct rpc_stream *s, void *ctx, const void *request)
{
	const struct health_health_check_request *r = request;
	const struct health *h = ctx;
	struct health_health_check_response answer = {.status = status_of(h)};

	if (!knows(h, r->service)) {
		refuse(s);
		return;
	}
	rpc_stream_send(s, &health_health_check_response_desc, &answer, NULL);
	rpc_stream_end(s, ERR_OK, NULL, (struct slice){0});
}

static void
on_watch(struct rpc_stream *s, void *ctx, const void *request)
{
	const struct health_health_check_request *r = request;
	struct health *h = ctx;
	struct health_health_check_response answer = {.status = status_of(h)};
	struct watcher *w;

	if (!knows(h, r->service)) {
		refuse(s);
		return;
	}
	w = xcalloc(1, sizeof *w);
	w->stream = s;
	list_add_tail(&h->watchers, &w->link);
	rpc_stream_set_user(s, w);
	rpc_stream_send(s, &health_health_check_response_desc, &answer, NULL);
}

static void
on_watch_cancel(struct rpc_stream *s, void *ctx, const struct err *why)
{
	struct watcher *w = rpc_stream_user(s);

	(void)ctx;
	(void)why;
	if (w == NULL)
		return;
	list_del(&w->link);
	free(w);
}

void
health_serve(struct health *h, struct rpc_server *srv, const char *service)
{
	static struct rpc_method methods[2];

	methods[0] = (struct rpc_method){
		.method = &health_health_service.methods[HEALTH_HEALTH_CHECK_AT], .on_message = on_check, .is_exempt = true};
	methods[1] = (struct rpc_method){
		.method = &health_health_service.methods[HEALTH_HEALTH_WATCH_AT], .on_message = on_watch, .on_cancel = on_watch_cancel,
		.is_exempt = true};
	h->service = service;
	h->is_serving = false;
	list_init(&h->watchers);
	rpc_server_add(srv, methods, COUNT_OF(methods), h);
}

void
health_set(struct health *h, bool is_serving)
{
	struct health_health_check_response answer;

	if (h->is_serving == is_serving)
		return;
	h->is_serving = is_serving;
	answer.status = status_of(h);
	LIST_EACH(it, next, &h->watchers)
		rpc_stream_send(CONTAINER_OF(it, struct watcher, link)->stream, &health_health_check_response_desc, &answer, NULL);
}
