/*
 * Calls that the scheduler makes: DownloadTask of a seed, and the question to a host whether it has a task.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/addr.h"
#include "net/rpc_client.h"
#include "proto/dfdaemon.h"
#include "scheduler/service.h"
#include "wire/pb.h"

#define HEADERS_MS 10000
/* A seed says something with each piece; one that is silent for so long has lost its source or us. */
#define TRIGGER_IDLE_MS (5 * 60000)
#define ASK_MS 2000
#define IDLE_CLOSE_MS (5 * 60000)
/* What comes back is only counted: pieces without their content. */
#define ANSWER_MAX (4u * 1024 * 1024)
#define PORT_MIN 1024

struct callee {
	struct rpc_channel *ch;
	char name[ADDR_TEXT_MAX];
};

struct trigger_call {
	struct scheduler *s;
	struct sched_trigger *g;
	struct rpc_call *call;
	struct list link;
};

struct ask_call {
	struct scheduler *s;
	struct rpc_call *call;
	struct list link;
	char *host_id;
	char *task_id;
};

struct rpc_channel *
service_call_channel(struct scheduler *s, const char *ip, int32_t port)
{
	struct rpc_channel_opts o = { 0 };
	struct callee *c;
	char name[ADDR_TEXT_MAX];

	if (port < PORT_MIN || port > UINT16_MAX || addr_from_ip(&o.addr, slice_str(ip), (uint16_t)port) < 0)
		return NULL;
	addr_format(&o.addr, name);
	c = map_get(&s->channels, slice_str(name));
	if (c)
		return c->ch;
	c = xcalloc(1, sizeof *c);
	memcpy(c->name, name, sizeof name);
	o.idle_close_ms = IDLE_CLOSE_MS;
	o.tls = s->peer_tls;
	c->ch = rpc_channel_new(s->loop, &o);
	map_put(&s->channels, slice_str(c->name), c);
	return c->ch;
}

/* ---- triggers ---- */

static void
trigger_said(struct rpc_call *call, void *ctx, struct slice msg)
{
	struct trigger_call *t = ctx;

	(void)call;
	(void)msg;
	service_now(t->s);
	sched_trigger_live(&t->s->core, t->g);
}

static void
trigger_ended(struct rpc_call *call, void *ctx, const struct rpc_status *st)
{
	struct trigger_call *t = ctx;
	struct scheduler *s = t->s;
	struct sched_trigger *g = t->g;

	(void)call;
	service_now(s);
	if (st->code != ERR_OK)
		log_warn("seed call ended task=%s seed=%s code=%s error=\"%s\"", g->task->id, g->seed ? g->seed->id : "gone",
			err_code_name(st->code), st->message);
	g->call = NULL;
	list_del(&t->link);
	free(t);
	/* With details it is the origin's answer, which other seeds would get as well. */
	sched_trigger_done(&s->core, g, st->code == ERR_INTERNAL && st->details.n > 0 ? ERR_FAILED_PRECONDITION : st->code);
	service_after(s);
}

void
service_call_trigger(void *ctx, struct sched_trigger *g)
{
	static const struct rpc_call_events events = { .on_message = trigger_said, .on_end = trigger_ended };
	struct rpc_call_opts o = { .headers_ms = HEADERS_MS, .message_ms = TRIGGER_IDLE_MS, .message_max = ANSWER_MAX };
	struct scheduler *s = ctx;
	struct rpc_channel *ch = service_call_channel(s, g->seed->ip, g->seed->port);
	struct trigger_call *t;
	uint8_t head[11] = { 0x0a };
	size_t n = 1, v = g->n_download;

	/* Announced addresses were checked; without one the trigger counts as a silent source and is overtaken. */
	if (!ch)
		return;
	t = xcalloc(1, sizeof *t);
	t->s = s;
	t->g = g;
	list_add_tail(&s->triggers, &t->link);
	t->call = rpc_call_start(ch, DFDAEMON_DFDAEMON_UPLOAD_DOWNLOAD_TASK, &events, t, &o);
	g->call = t;
	for (; v >= 0x80; v >>= 7)
		head[n++] = (uint8_t)(v | 0x80);
	head[n++] = (uint8_t)v;
	buf_clear(&s->out);
	buf_append(&s->out, head, n);
	buf_append(&s->out, g->download, g->n_download);
	rpc_call_send_bytes(t->call, buf_slice(&s->out), NULL);
	rpc_call_half_close(t->call);
}

void
service_call_cancel_trigger(void *ctx, struct sched_trigger *g)
{
	struct trigger_call *t = g->call;

	(void)ctx;
	if (!t)
		return;
	rpc_call_cancel(t->call);
	list_del(&t->link);
	free(t);
	g->call = NULL;
}

/* ---- questions ---- */

static void
ask_free(struct ask_call *a)
{
	list_del(&a->link);
	free(a->host_id);
	free(a->task_id);
	free(a);
}

static void
ask_answered(void *ctx, const void *answer, const struct rpc_status *st)
{
	struct ask_call *a = ctx;
	struct scheduler *s = a->s;
	const struct dfdaemon_stat_local_task_response *m = answer;

	(void)st;
	service_now(s);
	sched_holder_answer(&s->core, slice_str(a->host_id), slice_str(a->task_id), m && m->finished_at);
	ask_free(a);
	service_after(s);
}

void
service_call_ask_holder(void *ctx, const struct sched_host *h, const char *task_id)
{
	struct rpc_call_opts o = { .grpc_timeout_ms = ASK_MS, .headers_ms = ASK_MS, .total_ms = ASK_MS };
	struct dfdaemon_stat_local_task_request m = { .task_id = slice_str(task_id) };
	struct scheduler *s = ctx;
	struct rpc_channel *ch = service_call_channel(s, h->ip, h->port);
	struct ask_call *a;

	if (!ch)
		return;
	a = xcalloc(1, sizeof *a);
	a->s = s;
	a->host_id = xstrdup(h->id);
	a->task_id = xstrdup(task_id);
	list_add_tail(&s->asks, &a->link);
	a->call = rpc_unary(ch, &dfdaemon_dfdaemon_upload_service.methods[DFDAEMON_DFDAEMON_UPLOAD_STAT_LOCAL_TASK_AT], &m, &o,
		ask_answered, a);
}

/* Channels of hosts that have not been called for long are closed already; their records go too. */
void
service_call_sweep(struct scheduler *s)
{
	struct callee *c;

	for (size_t at = 0; (c = map_next(&s->channels, &at)) != NULL;) {
		if (rpc_channel_is_connected(c->ch) || rpc_channel_call_count(c->ch) > 0)
			continue;
		map_del(&s->channels, slice_str(c->name));
		rpc_channel_free(c->ch);
		free(c);
	}
}

void
service_call_free(struct scheduler *s)
{
	struct callee *c;

	while (!list_is_empty(&s->triggers)) {
		struct trigger_call *t = CONTAINER_OF(s->triggers.next, struct trigger_call, link);

		rpc_call_cancel(t->call);
		list_del(&t->link);
		free(t);
	}
	while (!list_is_empty(&s->asks)) {
		struct ask_call *a = CONTAINER_OF(s->asks.next, struct ask_call, link);

		rpc_call_cancel(a->call);
		ask_free(a);
	}
	for (size_t at = 0; (c = map_next(&s->channels, &at)) != NULL;) {
		map_del(&s->channels, slice_str(c->name));
		rpc_channel_free(c->ch);
		free(c);
	}
}
