/*
 * A scheduler behind a real gRPC server on loopback, a client beside it, and hosts that can be asked to download: all on one loop.
 */
#ifndef UNIT_SCHEDULER_CLUSTER_H
#define UNIT_SCHEDULER_CLUSTER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/addr.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/rpc_client.h"
#include "net/rpc_server.h"
#include "proto/common.h"
#include "proto/dfdaemon.h"
#include "proto/google.h"
#include "proto/health.h"
#include "proto/scheduler.h"
#include "scheduler/scheduler.h"
#include "wire/pb.h"

#define LIMIT_MS 20000
#define ANSWERS_MAX 16
#define ARENA_BYTES ((size_t)64 << 20)

struct cluster {
	struct loop *loop;
	struct scheduler_options opt;
	struct scheduler *scheduler;
	struct rpc_server *server;
	struct listener *listener;
	struct rpc_channel *channel;
};

/* A host that takes DownloadTask and StatLocalTask. */
struct seed {
	struct rpc_server *server;
	struct listener *listener;
	struct rpc_method methods[2];
	uint16_t port;
	unsigned n_downloads, n_stats;
	struct arena arena;
	struct common_download download;        /* the last one asked for */
	struct rpc_stream *stream;              /* still open */
	bool has_task;
	bool was_asked;
	int refuse_code;                        /* of DownloadTask; 0: takes it */
};

/* One AnnouncePeer stream of the client. */
struct announcement {
	struct rpc_call *call;
	char host_id[128], task_id[128], peer_id[128];
	struct arena arena;
	struct scheduler_announce_peer_response answers[ANSWERS_MAX];
	unsigned n_answers;
	bool has_headers;
	bool has_live_header;
	bool has_answer;
	bool is_over;
	int code;
	char message[1200];
};

static inline void
cluster_accept(void *ctx, int fd, const struct addr *peer)
{
	(void)peer;
	rpc_server_serve(ctx, fd, NULL, slice_make(NULL, 0));
}

static inline uint16_t
cluster_listen(struct loop *loop, struct rpc_server *server, struct listener **l)
{
	struct err e = { 0 };
	struct addr a;

	assert_int_equal(addr_from_ip(&a, slice_str("127.0.0.1"), 0), 0);
	*l = listener_tcp(loop, &a, cluster_accept, server, &e);
	assert_non_null(*l);
	return addr_port(listener_addr(*l));
}

static inline void
cluster_start(struct cluster *c)
{
	struct rpc_server_opts so = { .name = "scheduler" };
	struct rpc_channel_opts co = { 0 };
	struct err e = { 0 };

	c->scheduler = scheduler_new(c->loop, &c->opt, &e);
	assert_non_null(c->scheduler);
	c->server = rpc_server_new(c->loop, &so);
	scheduler_serve(c->scheduler, c->server);
	addr_from_ip(&co.addr, slice_str("127.0.0.1"), cluster_listen(c->loop, c->server, &c->listener));
	c->channel = rpc_channel_new(c->loop, &co);
}

static inline void
cluster_stop(struct cluster *c)
{
	rpc_channel_free(c->channel);
	listener_free(c->listener);
	rpc_server_free(c->server);
	scheduler_free(c->scheduler);
}

static inline struct cluster *
cluster_new(void)
{
	struct cluster *c = xcalloc(1, sizeof *c);
	struct err e = { 0 };

	log_set_level(LOG_ERROR);
	c->loop = loop_new("test", &e);
	assert_non_null(c->loop);
	scheduler_options_default(&c->opt);
	c->opt.random_seed = 1;
	return c;
}

static inline void
cluster_free(struct cluster *c)
{
	cluster_stop(c);
	loop_free(c->loop);
	free(c);
}

/* ---- unary calls ---- */

struct answered {
	const struct pb_desc *desc;
	struct arena arena;
	void *message;
	bool is_over;
	int code;
	char text[1200];
};

static inline void
cluster_on_answer(void *ctx, const void *answer, const struct rpc_status *st)
{
	struct answered *a = ctx;

	a->is_over = true;
	a->code = st->code;
	snprintf(a->text, sizeof a->text, "%s", st->message);
	if (answer) {
		a->message = arena_alloc(&a->arena, a->desc->size);
		assert_int_equal(pb_copy(a->desc, answer, &a->arena, a->message, NULL), 0);
	}
}

/* The caller frees a->arena. */
static inline int
cluster_ask(struct cluster *c, const struct pb_method *m, const void *request, struct answered *a)
{
	memset(a, 0, sizeof *a);
	a->desc = m->response;
	arena_init(&a->arena, ARENA_BYTES);
	rpc_unary(c->channel, m, request, NULL, cluster_on_answer, a);
	assert_true(loop_run_until(c->loop, &a->is_over, LIMIT_MS));
	return a->code;
}

/* A call whose answer does not matter: its status, and *text (may be NULL). */
static inline int
cluster_do(struct cluster *c, size_t method, const void *request, char *text)
{
	struct answered a;

	cluster_ask(c, &scheduler_scheduler_service.methods[method], request, &a);
	if (text)
		memcpy(text, a.text, sizeof a.text);
	arena_free(&a.arena);
	return a.code;
}

static inline int
cluster_announce(struct cluster *c, const char *ip, const char *name, uint32_t type, int32_t port, char *text)
{
	struct common_network network = { .max_tx_bandwidth = 1000000000 };
	struct google_duration interval = { 300, 0 };
	struct common_host h = { 0 };
	struct scheduler_announce_host_request m = { .host = &h, .interval = &interval };
	char id[128];

	snprintf(id, sizeof id, "%s-%s", ip, name);
	h.id = slice_str(id);
	h.hostname = slice_str(name);
	h.ip = slice_str(ip);
	h.type = type;
	h.port = h.download_port = port;
	h.network = &network;
	return cluster_do(c, SCHEDULER_SCHEDULER_ANNOUNCE_HOST_AT, &m, text);
}

/* ---- AnnouncePeer ---- */

static inline void
announcement_headers(struct rpc_call *call, void *ctx, const struct hpack_field *f, size_t n)
{
	struct announcement *a = ctx;

	(void)call;
	a->has_headers = true;
	for (size_t i = 0; i < n; i++)
		if (slice_eq_str(f[i].name, SCHEDULER_LIVE_HEADER) && slice_eq_str(f[i].value, SCHEDULER_LIVE_VALUE))
			a->has_live_header = true;
}

static inline void
announcement_answer(struct rpc_call *call, void *ctx, struct slice msg)
{
	struct announcement *a = ctx;
	struct err e = { 0 };

	(void)call;
	assert_true(a->n_answers < ANSWERS_MAX);
	assert_int_equal(pb_decode_copy(&scheduler_announce_peer_response_desc, msg, &a->arena, &a->answers[a->n_answers++], &e), 0);
	a->has_answer = true;
}

static inline void
announcement_end(struct rpc_call *call, void *ctx, const struct rpc_status *st)
{
	struct announcement *a = ctx;

	(void)call;
	a->call = NULL;
	a->is_over = true;
	a->code = st->code;
	snprintf(a->message, sizeof a->message, "%s", st->message);
}

static inline struct announcement *
announcement_open(struct cluster *c, const char *host, const char *task, const char *peer, bool is_live)
{
	static const struct rpc_call_events events = {
		.on_headers = announcement_headers, .on_message = announcement_answer, .on_end = announcement_end,
	};
	struct hpack_field live = { .name = slice_str(SCHEDULER_LIVE_HEADER), .value = slice_str(SCHEDULER_LIVE_VALUE) };
	struct rpc_call_opts o = { .metadata = &live, .n_metadata = is_live };
	struct announcement *a = xcalloc(1, sizeof *a);

	snprintf(a->host_id, sizeof a->host_id, "%s", host);
	snprintf(a->task_id, sizeof a->task_id, "%s", task);
	snprintf(a->peer_id, sizeof a->peer_id, "%s", peer);
	arena_init(&a->arena, ARENA_BYTES);
	a->call = rpc_call_start(c->channel, SCHEDULER_SCHEDULER_ANNOUNCE_PEER, &events, a, &o);
	return a;
}

static inline void
announcement_free(struct announcement *a)
{
	if (a->call)
		rpc_call_cancel(a->call);
	arena_free(&a->arena);
	free(a);
}

static inline void
announcement_say(struct announcement *a, struct scheduler_announce_peer_request *m)
{
	m->host_id = slice_str(a->host_id);
	m->task_id = slice_str(a->task_id);
	m->peer_id = slice_str(a->peer_id);
	assert_int_equal(rpc_call_send(a->call, &scheduler_announce_peer_request_desc, m, NULL), 0);
}

/* A message without content; `kind` is the number of the oneof's member. */
static inline void
announcement_say_kind(struct announcement *a, int kind)
{
	static struct scheduler_download_peer_started_request started;
	static struct scheduler_download_peer_back_to_source_started_request source_started;
	static struct scheduler_download_peer_finished_request finished;
	static struct scheduler_download_peer_back_to_source_finished_request source_finished;
	static struct scheduler_download_peer_failed_request failed;
	struct scheduler_announce_peer_request m = { 0 };

	m.request_case = kind;
	m.download_peer_started_request = kind == 5 ? &started : NULL;
	m.download_peer_back_to_source_started_request = kind == 6 ? &source_started : NULL;
	m.download_peer_finished_request = kind == 8 ? &finished : NULL;
	m.download_peer_back_to_source_finished_request = kind == 9 ? &source_finished : NULL;
	m.download_peer_failed_request = kind == 10 ? &failed : NULL;
	announcement_say(a, &m);
}

static inline void
download_default(struct common_download *d)
{
	memset(d, 0, sizeof *d);
	d->url = slice_str("https://example.com/file.tar.gz?a=b");
	d->priority = 6;
	d->has_actual_content_length = d->has_actual_piece_length = d->has_actual_piece_count = true;
	d->actual_content_length = (uint64_t)1 << 30;
	d->actual_piece_length = (uint64_t)4 << 20;
	d->actual_piece_count = 256;
}

static inline void
announcement_register(struct announcement *a, struct common_download *d)
{
	struct common_download mine;
	struct scheduler_register_peer_request r = { .download = d ? d : &mine };
	struct scheduler_announce_peer_request m = { 0 };

	download_default(&mine);
	m.request_case = SCHEDULER_ANNOUNCE_PEER_REQUEST_REGISTER_PEER_REQUEST;
	m.register_peer_request = &r;
	announcement_say(a, &m);
}

static inline void
announcement_piece(struct announcement *a, uint32_t number, const char *parent)
{
	struct google_duration cost = { 0, 100000000 };
	struct google_timestamp at = { 1767225600, 0 };
	struct common_piece p = { .number = number, .length = 4 << 20, .has_traffic_type = true, .cost = &cost, .created_at = &at };
	struct scheduler_download_piece_finished_request f = { &p };
	struct scheduler_download_piece_back_to_source_finished_request s = { &p };
	struct scheduler_announce_peer_request m = { 0 };

	p.parent_id = slice_str(parent);
	p.traffic_type = parent ? 1 : 0;
	m.request_case = parent ? 12 : 13;
	m.download_piece_finished_request = parent ? &f : NULL;
	m.download_piece_back_to_source_finished_request = parent ? NULL : &s;
	announcement_say(a, &m);
}

static inline void
announcement_wait(struct cluster *c, struct announcement *a)
{
	assert_true(loop_run_until(c->loop, &a->has_answer, LIMIT_MS));
	a->has_answer = false;
}

static inline void
announcement_wait_end(struct cluster *c, struct announcement *a)
{
	assert_true(loop_run_until(c->loop, &a->is_over, LIMIT_MS));
}

static inline struct announcement *
announcement_registered(struct cluster *c, const char *host, const char *task, const char *peer)
{
	struct announcement *a = announcement_open(c, host, task, peer, false);

	announcement_register(a, NULL);
	return a;
}

static inline int
answer_kind(const struct announcement *a)
{
	return a->n_answers ? a->answers[a->n_answers - 1].response_case : 0;
}

/* ---- a host that is called ---- */

static inline void
seed_on_download(struct rpc_stream *rpc, void *ctx, const void *request)
{
	const struct dfdaemon_download_task_request *m = request;
	struct seed *s = ctx;

	s->n_downloads++;
	s->was_asked = true;
	if (s->refuse_code) {
		rpc_stream_end(rpc, s->refuse_code, "no", slice_make(NULL, 0));
		return;
	}
	assert_int_equal(pb_copy(&common_download_desc, m->download, &s->arena, &s->download, NULL), 0);
	s->stream = rpc;
}

static inline void
seed_on_cancel(struct rpc_stream *rpc, void *ctx, const struct err *why)
{
	(void)rpc;
	(void)why;
	((struct seed *)ctx)->stream = NULL;
}

static inline void
seed_on_stat(struct rpc_stream *rpc, void *ctx, const void *request)
{
	const struct dfdaemon_stat_local_task_request *m = request;
	struct google_timestamp at = { 1767225600, 0 };
	struct dfdaemon_stat_local_task_response r = { .task_id = m->task_id, .finished_at = &at };
	struct seed *s = ctx;

	s->n_stats++;
	if (!s->has_task) {
		rpc_stream_end(rpc, ERR_NOT_FOUND, "task not found", slice_make(NULL, 0));
		return;
	}
	rpc_stream_send(rpc, &dfdaemon_stat_local_task_response_desc, &r, NULL);
	rpc_stream_end(rpc, ERR_OK, NULL, slice_make(NULL, 0));
}

static inline struct seed *
seed_start(struct cluster *c)
{
	struct rpc_server_opts o = { .name = "seed" };
	struct seed *s = xcalloc(1, sizeof *s);

	arena_init(&s->arena, ARENA_BYTES);
	s->server = rpc_server_new(c->loop, &o);
	s->methods[0].method = &dfdaemon_dfdaemon_upload_service.methods[DFDAEMON_DFDAEMON_UPLOAD_DOWNLOAD_TASK_AT];
	s->methods[0].on_message = seed_on_download;
	s->methods[0].on_cancel = seed_on_cancel;
	s->methods[1].method = &dfdaemon_dfdaemon_upload_service.methods[DFDAEMON_DFDAEMON_UPLOAD_STAT_LOCAL_TASK_AT];
	s->methods[1].on_message = seed_on_stat;
	rpc_server_add(s->server, s->methods, 2, s);
	s->port = cluster_listen(c->loop, s->server, &s->listener);
	return s;
}

static inline void
seed_stop(struct seed *s)
{
	listener_free(s->listener);
	rpc_server_free(s->server);
	arena_free(&s->arena);
	free(s);
}

#endif
