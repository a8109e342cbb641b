#include "peer/announce.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/loop.h"
#include "net/pb_time.h"
#include "net/rpc_client.h"
#include "peer/announce_kind.h"
#include "peer/ids.h"
#include "peer/origin.h"
#include "proto/errordetails.h"
#include "proto/scheduler.h"
#include "store/store.h"

/* Memory of one decoded answer: 16 parents take some KiB, a hostile one may try more. */
#define ANSWER_BYTES ((size_t)4 << 20)

struct announce {
	struct loop *loop;
	struct rpc_call *call;          /* NULL once it ended */
	const struct announce_events *events;   /* NULL after our last word */
	void *ctx;
	char host_id[HOST_ID_SIZE];
	char task_id[TASK_ID_SIZE];
	char peer_id[PEER_ID_SIZE];
	struct announce_kind kind;
	bool streams_parents;
	bool send_failed;
	struct loop_timer goodbye;
};

/* ---- saying ---- */

static void
say(struct announce *a, struct scheduler_announce_peer_request *m)
{
	struct buf bytes = BUF_INIT;
	struct err e;

	if (a->call == NULL)
		return;
	m->host_id = slice_str(a->host_id);
	m->task_id = slice_str(a->task_id);
	m->peer_id = slice_str(a->peer_id);
	if (announce_kind_encode(&a->kind, m, &bytes) == 0 && rpc_call_send_bytes(a->call, buf_slice(&bytes), &e) < 0 && !a->send_failed) {
		a->send_failed = true;
		log_warn("report to the scheduler was not sent task=%s scheduler=%s error=\"%s\"", a->task_id,
		    rpc_channel_target(rpc_call_channel(a->call)), e.text);
	}
	buf_free(&bytes);
}

static void
say_register(struct announce *a, const struct common_download *d)
{
	struct common_download copy = *d;
	struct scheduler_register_peer_request r = {.download = &copy};

	say(a, &(struct scheduler_announce_peer_request){
		.request_case = SCHEDULER_ANNOUNCE_PEER_REQUEST_REGISTER_PEER_REQUEST, .register_peer_request = &r});
}

void
announce_started(struct announce *a)
{
	struct scheduler_download_peer_started_request r = {0};

	say(a, &(struct scheduler_announce_peer_request){
		.request_case = SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PEER_STARTED_REQUEST, .download_peer_started_request = &r});
}

void
announce_source_started(struct announce *a)
{
	struct scheduler_download_peer_back_to_source_started_request r = {0};

	say(a, &(struct scheduler_announce_peer_request){
		.request_case = SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PEER_BACK_TO_SOURCE_STARTED_REQUEST,
		.download_peer_back_to_source_started_request = &r});
}

void
announce_piece(struct announce *a, const struct store_piece *p, bool from_source)
{
	/* Never 0: that counts as missing. */
	uint64_t ns = p->cost_ns > 0 ? (uint64_t)p->cost_ns : 1;
	struct google_duration cost = pb_duration((int64_t)ns);
	struct google_timestamp created = pb_timestamp(p->created_at);
	char digest[32];
	struct common_piece piece = {
		.number = p->number, .offset = p->offset, .length = p->length, .has_traffic_type = true, .traffic_type = from_source ? 0 : 1,
		.cost = &cost, .created_at = &created, .parent_id = slice_str(p->parent_id),
	};
	struct scheduler_download_piece_finished_request r = {.piece = &piece};
	struct scheduler_download_piece_back_to_source_finished_request s = {.piece = &piece};
	struct scheduler_announce_peer_request m = {0};

	if (p->has_crc) {
		snprintf(digest, sizeof digest, "crc32:%lu", (unsigned long)p->crc);
		piece.digest = slice_str(digest);
	}
	if (from_source) {
		m.request_case = SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PIECE_BACK_TO_SOURCE_FINISHED_REQUEST;
		m.download_piece_back_to_source_finished_request = &s;
	} else {
		m.request_case = SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PIECE_FINISHED_REQUEST;
		m.download_piece_finished_request = &r;
	}
	say(a, &m);
}

void
announce_piece_failed(struct announce *a, uint32_t number, const char *parent_id)
{
	struct scheduler_download_piece_failed_request r = {
		.has_piece_number = true, .piece_number = number, .parent_id = slice_str(parent_id), .temporary = true,
	};

	say(a, &(struct scheduler_announce_peer_request){
		.request_case = SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PIECE_FAILED_REQUEST, .download_piece_failed_request = &r});
}

void
announce_source_piece_failed(struct announce *a, const struct err *err, const struct origin_error *origin)
{
	struct scheduler_download_piece_back_to_source_failed_request r = {0};
	struct errordetails_unknown unknown = {.message = slice_str(err->text)};
	struct errordetails_backend backend = {0};

	if (origin != NULL && origin->e.is_backend) {
		backend.message = slice_str(origin->e.message);
		backend.has_status_code = origin->e.status != 0;
		backend.status_code = origin->e.status;
		r.response_case = 2;
		r.backend = &backend;
	} else {
		r.response_case = 3;
		r.unknown = &unknown;
	}
	say(a, &(struct scheduler_announce_peer_request){
		.request_case = SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PIECE_BACK_TO_SOURCE_FAILED_REQUEST,
		.download_piece_back_to_source_failed_request = &r});
}

void
announce_reschedule(struct announce *a, struct common_peer *peers, size_t n, const char *why)
{
	struct scheduler_reschedule_peer_request r = {
		.candidate_parents = peers, .n_candidate_parents = n, .description = slice_str(why),
	};

	say(a, &(struct scheduler_announce_peer_request){
		.request_case = SCHEDULER_ANNOUNCE_PEER_REQUEST_RESCHEDULE_PEER_REQUEST, .reschedule_peer_request = &r});
}

/* ---- the last word ---- */

static void
announce_free(struct announce *a)
{
	loop_timer_clear(a->loop, &a->goodbye);
	announce_kind_free(&a->kind);
	free(a);
}

static void
goodbye_is_late(void *ctx)
{
	struct announce *a = ctx;

	log_warn("scheduler did not end the conversation in %d s task=%s scheduler=%s", ANNOUNCE_GOODBYE_MS / 1000, a->task_id,
	    rpc_channel_target(rpc_call_channel(a->call)));
	rpc_call_cancel(a->call);
	announce_free(a);
}

static void
say_last(struct announce *a, struct scheduler_announce_peer_request *m)
{
	a->events = NULL;
	if (a->call == NULL) {
		announce_free(a);
		return;
	}
	say(a, m);
	rpc_call_half_close(a->call);
	rpc_call_set_message_ms(a->call, 0);
	loop_timer_set(a->loop, &a->goodbye, ANNOUNCE_GOODBYE_MS, goodbye_is_late, a);
}

void
announce_finished(struct announce *a)
{
	struct scheduler_download_peer_finished_request r = {0};

	say_last(a, &(struct scheduler_announce_peer_request){
		.request_case = SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PEER_FINISHED_REQUEST, .download_peer_finished_request = &r});
}

void
announce_source_finished(struct announce *a)
{
	struct scheduler_download_peer_back_to_source_finished_request r = {0};

	say_last(a, &(struct scheduler_announce_peer_request){
		.request_case = SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PEER_BACK_TO_SOURCE_FINISHED_REQUEST,
		.download_peer_back_to_source_finished_request = &r});
}

void
announce_failed(struct announce *a, const char *why)
{
	struct scheduler_download_peer_failed_request r = {.description = slice_str(why)};

	say_last(a, &(struct scheduler_announce_peer_request){
		.request_case = SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PEER_FAILED_REQUEST, .download_peer_failed_request = &r});
}

void
announce_source_failed(struct announce *a, const char *why)
{
	struct scheduler_download_peer_back_to_source_failed_request r = {.description = slice_str(why)};

	say_last(a, &(struct scheduler_announce_peer_request){
		.request_case = SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PEER_BACK_TO_SOURCE_FAILED_REQUEST,
		.download_peer_back_to_source_failed_request = &r});
}

void
announce_cancel(struct announce *a)
{
	if (a->call != NULL)
		rpc_call_cancel(a->call);
	announce_free(a);
}

bool
announce_streams_parents(const struct announce *a)
{
	return a->streams_parents;
}

/* ---- hearing ---- */

static void
on_headers(struct rpc_call *call, void *ctx, const struct hpack_field *fields, size_t n)
{
	struct announce *a = ctx;

	(void)call;
	for (size_t i = 0; i < n; i++)
		if (slice_eq_str(fields[i].name, ANNOUNCE_STREAM_HEADER) && slice_eq_str(fields[i].value, ANNOUNCE_STREAM_VALUE))
			a->streams_parents = true;
}

static void
on_message(struct rpc_call *call, void *ctx, struct slice bytes)
{
	struct announce *a = ctx;
	const struct announce_events *ev = a->events;
	struct scheduler_announce_peer_response m;
	struct arena arena;
	struct err e = {0};

	if (ev == NULL)
		return;
	arena_init(&arena, ANSWER_BYTES);
	if (announce_kind_decode(&a->kind, bytes, &arena, &m, &e) < 0) {
		err_wrap(&e, "scheduler %s", rpc_channel_target(rpc_call_channel(call)));
		goto broken;
	}
	switch (m.response_case) {
	case SCHEDULER_ANNOUNCE_PEER_RESPONSE_EMPTY_TASK_RESPONSE:
		ev->on_empty(a->ctx);
		break;
	case SCHEDULER_ANNOUNCE_PEER_RESPONSE_NORMAL_TASK_RESPONSE:
		ev->on_parents(a->ctx, m.normal_task_response->candidate_parents, m.normal_task_response->n_candidate_parents);
		break;
	case SCHEDULER_ANNOUNCE_PEER_RESPONSE_NEED_BACK_TO_SOURCE_RESPONSE:
		ev->on_need_source(a->ctx, m.need_back_to_source_response->description);
		break;
	case SCHEDULER_ANNOUNCE_PEER_RESPONSE_METADATA_ONLY_RESPONSE:
		ev->on_metadata_only(a->ctx);
		break;
	default:
		err_set(&e, ERR_INTERNAL, "unexpected response from scheduler %s", rpc_channel_target(rpc_call_channel(call)));
		goto broken;
	}
	arena_free(&arena);
	return;
broken:
	arena_free(&arena);
	rpc_call_cancel(a->call);
	a->call = NULL;
	a->events = NULL;
	ev->on_end(a->ctx, &e);
	announce_free(a);
}

static void
on_end(struct rpc_call *call, void *ctx, const struct rpc_status *st)
{
	struct announce *a = ctx;
	const struct announce_events *ev = a->events;
	struct err e;

	a->call = NULL;
	if (ev == NULL) {
		if (st->code != ERR_OK)
			log_info("conversation ended task=%s scheduler=%s code=%s message=\"%s\"", a->task_id,
			    rpc_channel_target(rpc_call_channel(call)), err_code_name(st->code), st->message);
		announce_free(a);
		return;
	}
	a->events = NULL;
	if (st->code == ERR_OK) {
		ev->on_end(a->ctx, NULL);
	} else {
		err_set(&e, st->code, "%s", st->message);
		ev->on_end(a->ctx, &e);
	}
	announce_free(a);
}

struct announce *
announce_start(struct rpc_channel *ch, const struct announce_opts *o, const struct common_download *d, const struct announce_events *ev,
    void *ctx)
{
	static const struct rpc_call_events events = {.on_headers = on_headers, .on_message = on_message, .on_end = on_end};
	const struct hpack_field metadata = {.name = slice_str(ANNOUNCE_STREAM_HEADER), .value = slice_str(ANNOUNCE_STREAM_VALUE)};
	struct rpc_call_opts opts = {
		.headers_ms = ANNOUNCE_HEADERS_MS, .message_ms = o->answer_ms > INT32_MAX ? INT32_MAX : (int)o->answer_ms,
		.metadata = &metadata, .n_metadata = 1,
	};
	struct announce *a = xcalloc(1, sizeof *a);

	a->loop = o->loop;
	a->events = ev;
	a->ctx = ctx;
	announce_kind_init(&a->kind, o->kind, o->is_persistent);
	snprintf(a->host_id, sizeof a->host_id, "%s", o->host_id);
	snprintf(a->task_id, sizeof a->task_id, "%s", o->task_id);
	snprintf(a->peer_id, sizeof a->peer_id, "%s", o->peer_id);
	a->call = rpc_call_start(ch, announce_kind_path(o->kind), &events, a, &opts);
	say_register(a, d);
	return a;
}
