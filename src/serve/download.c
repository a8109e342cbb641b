#include "serve/download.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/cluster.h"
#include "config/config.h"
#include "net/pb_time.h"
#include "net/os/sockopt.h"
#include "peer/engine.h"
#include "peer/origin.h"
#include "peer/task.h"
#include "proto/dfdaemon.h"
#include "serve/callers.h"
#include "serve/prefetch.h"
#include "store/file.h"
#include "store/output.h"
#include "text/url.h"
#include "wire/grpc.h"
#include "wire/pb.h"

/* Content goes from the file to the stream in such parts. */
#define CONTENT_PART_BYTES 65536

struct download {
	const struct download_service *service;
	struct rpc_stream *stream;      /* NULL once the client is gone */
	struct task_caller *caller;     /* NULL once the task is over */
	enum store_kind kind;
	char task_id[TASK_ID_SIZE];
	char peer_id[PEER_ID_SIZE];

	/* Pieces with their content, in order (need_piece_content). */
	bool with_content;
	struct store_task *store;       /* in use */
	struct store_file *file;
	uint64_t *ready;                /* bitmap of pieces that came */
	uint8_t *traffic;               /* of each */
	uint32_t next, last;            /* the piece to be sent now; `next` past `last`: all sent */
	bool is_sending;
	struct buf head, tail;          /* of the message around the content */
	uint64_t at, left;              /* content still to be sent */
	bool is_over;                   /* the task ended well; the rest is still to be sent */
	struct err failure;             /* code 0: none. It is told when the message under way is complete */
	struct buf details;
};

/* ---- messages ---- */

static void
send_message(struct download *d, struct dfdaemon_download_task_response *r)
{
	struct err e;

	r->host_id = slice_str(d->service->host_id);
	r->task_id = slice_str(d->task_id);
	r->peer_id = slice_str(d->peer_id);
	if (d->stream != NULL && rpc_stream_send(d->stream, &dfdaemon_download_task_response_desc, r, &e) < 0)
		log_warn("client of a download does not read task=%s error=\"%s\"", d->task_id, e.text);
}

/* Answers of all kinds have the same fields; those of persistent kinds tell the length alone. */
static void
send_length(struct download *d, const struct task_started *s)
{
	struct dfdaemon_download_task_started_response r = {.content_length = s->store->content_length};

	send_message(d, &(struct dfdaemon_download_task_response){.response_case = 4, .download_task_started_response = &r});
}

static void
send_started(struct download *d, const struct task_started *s)
{
	struct google_timestamp now = pb_timestamp(clock_wall_ns());
	struct common_range range = {.start = s->range.start, .length = s->range.length};
	struct dfdaemon_download_task_started_response r = {
		.content_length = s->store->content_length, .range = s->has_range ? &range : NULL, .is_finished = s->is_finished,
	};

	r.n_response_header = store_task_header_count(s->store);
	r.response_header = xcalloc(r.n_response_header + 1, sizeof *r.response_header);
	for (size_t i = 0; i < r.n_response_header; i++) {
		struct store_header h = store_task_header(s->store, i);

		r.response_header[i] = (struct pb_pair){.key = slice_str(h.name), .value = slice_str(h.value)};
	}
	if (!s->span.is_empty)
		r.n_pieces = s->span.last - s->span.first + 1;
	r.pieces = xcalloc(r.n_pieces + 1, sizeof *r.pieces);
	for (size_t i = 0; i < r.n_pieces; i++) {
		r.pieces[i].number = s->span.first + (uint32_t)i;
		store_task_piece_span(s->store, r.pieces[i].number, &r.pieces[i].offset, &r.pieces[i].length);
		r.pieces[i].created_at = &now;
	}
	send_message(d, &(struct dfdaemon_download_task_response){.response_case = 4, .download_task_started_response = &r});
	free(r.response_header);
	free(r.pieces);
}

/* A piece as a message; the texts and sub-messages live in *room. */
struct piece_room {
	char digest[32];
	struct google_duration cost;
	struct google_timestamp created;
};

static struct common_piece
piece_message(const struct store_piece *p, enum task_traffic traffic, struct piece_room *room)
{
	struct common_piece m = {
		.number = p->number, .offset = p->offset, .length = p->length, .has_traffic_type = true, .traffic_type = (int32_t)traffic,
		.cost = &room->cost, .created_at = &room->created,
	};

	room->cost = pb_duration((int64_t)p->cost_ns);
	room->created = pb_timestamp(p->created_at);
	if (p->has_crc) {
		snprintf(room->digest, sizeof room->digest, "crc32:%lu", (unsigned long)p->crc);
		m.digest = slice_str(room->digest);
	}
	if (p->parent_id != NULL && traffic == TASK_REMOTE_PEER)
		m.parent_id = slice_str(p->parent_id);
	return m;
}

static void
send_piece(struct download *d, const struct store_piece *p, enum task_traffic traffic)
{
	struct piece_room room;
	struct common_piece m = piece_message(p, traffic, &room);
	struct dfdaemon_download_piece_finished_response r = {.piece = &m};

	send_message(d, &(struct dfdaemon_download_task_response){.response_case = 5, .download_piece_finished_response = &r});
}

/* ---- content ---- */

/* The bytes of a DownloadTaskResponse before and behind the content of its piece, which is field 6 of common.v2.Piece. */
static int
begin_content(struct download *d, const struct store_piece *p, enum task_traffic traffic, struct err *e)
{
	struct piece_room room;
	struct common_piece whole = piece_message(p, traffic, &room), front = whole, back = {0};
	struct dfdaemon_download_task_response ids = {
		.host_id = slice_str(d->service->host_id), .task_id = slice_str(d->task_id), .peer_id = slice_str(d->peer_id),
	};
	struct buf fields = BUF_INIT;
	uint64_t piece_size, finished_size;

	front.has_traffic_type = false;
	front.cost = NULL;
	front.created_at = NULL;
	back.has_traffic_type = true;
	back.traffic_type = whole.traffic_type;
	back.cost = whole.cost;
	back.created_at = whole.created_at;
	buf_clear(&d->head);
	buf_clear(&d->tail);
	pb_encode(&common_piece_desc, &front, &fields);
	pb_encode(&common_piece_desc, &back, &d->tail);
	piece_size = fields.len + 1 + pb_varint_size(p->length) + p->length + d->tail.len;
	finished_size = 1 + pb_varint_size(piece_size) + piece_size;
	pb_encode(&dfdaemon_download_task_response_desc, &ids, &d->head);
	buf_append_u8(&d->head, 0x2a);          /* download_piece_finished_response = 5 */
	pb_append_varint(&d->head, finished_size);
	buf_append_u8(&d->head, 0x0a);          /* piece = 1 */
	pb_append_varint(&d->head, piece_size);
	buf_append_slice(&d->head, buf_slice(&fields));
	buf_append_u8(&d->head, 0x32);          /* content = 6 */
	pb_append_varint(&d->head, p->length);
	buf_free(&fields);
	d->at = p->offset;
	d->left = p->length;
	d->is_sending = true;
	if (d->head.len + p->length + d->tail.len > UINT32_MAX)
		return err_set(e, ERR_OUT_OF_RANGE, "piece %u is too large for a message", (unsigned)p->number);
	return rpc_stream_send_begin(d->stream, (uint32_t)(d->head.len + p->length + d->tail.len), e);
}

/* Sends the rest of b; true when nothing is left. */
static bool
send_rest(struct download *d, struct buf *b)
{
	if (b->len > 0)
		buf_consume(b, rpc_stream_send_part(d->stream, buf_data(b), b->len));
	return b->len == 0;
}

static void
download_free(struct download *d)
{
	if (d->store != NULL)
		store_task_release(d->store);
	store_file_unref(d->file);
	free(d->ready);
	free(d->traffic);
	buf_free(&d->head);
	buf_free(&d->tail);
	buf_free(&d->details);
	free(d);
}

static void
fail_stream(struct download *d, const struct err *e)
{
	if (d->caller != NULL)
		task_caller_cancel(d->caller);
	rpc_stream_fail(d->stream, e);
	download_free(d);
}

/* Goes on with the message under way; 1 when it is complete, 0 to wait for on_drain, -1 on an error. */
static int
send_content(struct download *d, struct err *e)
{
	uint8_t part[CONTENT_PART_BYTES];

	if (!send_rest(d, &d->head))
		return 0;
	while (d->left > 0) {
		size_t room = rpc_stream_send_room(d->stream), n = d->left < sizeof part ? (size_t)d->left : sizeof part, taken;

		/* Without room one byte is tried: on_drain follows only where less was taken than offered. */
		if (n > room)
			n = room > 0 ? room : 1;
		if (store_file_pread(d->file, part, n, d->at, e) < 0)
			return -1;
		taken = rpc_stream_send_part(d->stream, part, n);
		d->at += taken;
		d->left -= taken;
		if (taken < n)
			return 0;
	}
	if (!send_rest(d, &d->tail))
		return 0;
	d->is_sending = false;
	d->next++;
	return 1;
}

static void
end_with_failure(struct download *d)
{
	rpc_stream_end(d->stream, d->failure.code, d->failure.text, buf_slice(&d->details));
	download_free(d);
}

static void
push_content(struct download *d)
{
	struct store_piece p;
	struct err e;
	int rc;

	for (;;) {
		if (d->is_sending) {
			rc = send_content(d, &e);
			if (rc == 0)
				return;
			if (rc < 0)
				goto fail;
		}
		if (d->failure.code != 0) {
			end_with_failure(d);
			return;
		}
		if (d->ready == NULL || d->next > d->last || !bit_get(d->ready, d->next))
			break;
		if (store_piece_get(d->store, d->next, &p) < 0) {
			err_set(&e, ERR_DATA_LOSS, "piece %s-%u not found", d->task_id, (unsigned)d->next);
			goto fail;
		}
		if (begin_content(d, &p, d->traffic[d->next], &e) < 0)
			goto fail;
	}
	if (d->is_over && (d->ready == NULL || d->next > d->last)) {
		rpc_stream_end(d->stream, ERR_OK, NULL, (struct slice){0});
		download_free(d);
	}
	return;
fail:
	fail_stream(d, &e);
}

/* ---- the task's events ---- */

static void
on_started(void *ctx, const struct task_started *s)
{
	struct download *d = ctx;

	memcpy(d->task_id, d->caller->task->id, TASK_ID_SIZE);
	snprintf(d->peer_id, sizeof d->peer_id, "%s", s->peer_id);
	if (d->kind == STORE_STANDARD)
		send_started(d, s);
	else
		send_length(d, s);
	if (d->with_content && !s->span.is_empty) {
		struct err e;

		d->store = s->store;
		store_task_use(d->store);
		d->file = store_task_file(d->store, &e);
		if (d->file == NULL) {
			fail_stream(d, &e);
			return;
		}
		d->next = s->span.first;
		d->last = s->span.last;
		d->ready = xcalloc((size_t)d->last / 64 + 1, sizeof *d->ready);
		d->traffic = xcalloc((size_t)d->last + 1, 1);
	}
	if (d->caller->download.prefetch && s->has_range)
		prefetch_start(d->service->engine, &d->caller->download, d->caller->is_guarded, s->store);
}

static void
on_piece(void *ctx, const struct store_piece *p, enum task_traffic traffic)
{
	struct download *d = ctx;

	if (!d->with_content) {
		send_piece(d, p, traffic);
		return;
	}
	bit_set(d->ready, p->number);
	d->traffic[p->number] = (uint8_t)traffic;
	if (!d->is_sending && p->number == d->next)
		push_content(d);
}

/* What the origin answered, for dfget and the proxy: JSON in the status details (spec: download.md 6.6). */
static void
append_details(const struct origin_error *origin, struct buf *out)
{
	size_t n = origin->e.headers.count;
	struct pb_pair *header = xcalloc(n + 1, sizeof *header);
	struct grpc_backend b = {
		.message = slice_str(origin->e.message), .header = header, .n_header = n, .has_status_code = origin->e.status != 0,
		.status_code = origin->e.status,
	};

	for (size_t i = 0; i < n; i++) {
		header[i].key = slice_str(origin->e.headers.at[i].name);
		header[i].value = slice_str(origin->e.headers.at[i].value);
	}
	grpc_write_backend(&b, out);
	free(header);
}

static void
on_end(void *ctx, const struct task_end *end)
{
	struct download *d = ctx;
	bool is_backend = end->origin != NULL && end->origin->e.is_backend;

	d->caller = NULL;
	if (end->err == NULL && d->with_content) {
		d->is_over = true;
		if (!d->is_sending)
			push_content(d);
		return;
	}
	if (end->err == NULL) {
		rpc_stream_end(d->stream, ERR_OK, NULL, (struct slice){0});
		download_free(d);
		return;
	}
	if (is_backend)
		append_details(end->origin, &d->details);
	d->failure = *end->err;
	if (is_backend)
		d->failure.code = ERR_INTERNAL;
	/* Half a message could only be followed by a reset, which tells no reason. */
	if (!d->is_sending)
		end_with_failure(d);
}

/* ---- the stream's events ---- */

/* Where an output for somebody in the network may be: NULL for nowhere. */
static const char *
find_root(const struct config_strings *dirs, struct slice path)
{
	const char *root = NULL;
	char *text;

	if (dirs == NULL || dirs->count == 0)
		return NULL;
	text = slice_dup(path);
	for (size_t i = 0; i < dirs->count && root == NULL; i++)
		if (strlen(text) == path.n && store_output_is_beneath(text, dirs->items[i]))
			root = dirs->items[i];
	free(text);
	return root;
}

/* What only users of this host may ask for: files of it. */
static int
check_files(const struct download_service *service, struct task_request *ask, struct err *e)
{
	if (service->is_local)
		return 0;
	if (callers_check_credentials(ask->download->object_storage, e) < 0)
		return -1;
	if (ask->download->output_path.n == 0)
		return 0;
	ask->output_root = find_root(service->output_dirs, ask->download->output_path);
	return ask->output_root != NULL ? 0 : err_set(e, ERR_PERMISSION_DENIED, "output path is not allowed on the upload server");
}

void
download_begin(struct rpc_stream *s, const struct download_service *service, struct task_request *ask)
{
	static const struct task_caller_events events = {.on_started = on_started, .on_piece = on_piece, .on_end = on_end};
	char url[URL_REDACTED_MAX];
	struct peercred cred;
	struct download *d;
	struct err e = {0};

	if (check_files(service, ask, &e) < 0) {
		rpc_stream_fail(s, &e);
		return;
	}
	ask->is_guarded = callers_is_guarded(s);
	if (rpc_stream_peercred(s, &cred)) {
		ask->has_owner = true;
		ask->uid = cred.uid;
		ask->gid = cred.gid;
	}
	d = xcalloc(1, sizeof *d);
	d->service = service;
	d->stream = s;
	d->kind = ask->kind;
	d->with_content = ask->download->need_piece_content;
	d->caller = task_request(service->engine, ask, &events, d, &e);
	if (d->caller == NULL) {
		download_free(d);
		rpc_stream_fail(s, &e);
		return;
	}
	log_info("download asked for task=%s url=\"%s\" by=%s", d->caller->task->id, url_redact_text(ask->download->url, url),
	    service->is_local ? "user" : "scheduler");
	rpc_stream_set_user(s, d);
	rpc_stream_send_headers(s);
}

void
download_on_request(struct rpc_stream *s, void *ctx, const void *request)
{
	const struct dfdaemon_download_task_request *r = request;
	const struct download_service *service = ctx;
	struct task_request ask = {.download = r->download, .asker = service->is_local ? TASK_FOR_USER : TASK_FOR_SCHEDULER};
	struct err e = {0};

	if (r->download == NULL) {
		err_set(&e, ERR_INVALID_ARGUMENT, "missing download");
		rpc_stream_fail(s, &e);
		return;
	}
	if (r->download->is_prefetch)
		ask.asker = TASK_FOR_PREFETCH;
	if (service->obeys_block_list && service->cluster != NULL && cluster_check_download(service->cluster, r->download, &e) < 0) {
		service->engine->metrics.download_blocked[STORE_STANDARD]++;
		rpc_stream_fail(s, &e);
		return;
	}
	download_begin(s, service, &ask);
}

void
download_on_drain(struct rpc_stream *s, void *ctx)
{
	struct download *d = rpc_stream_user(s);

	(void)ctx;
	if (d != NULL && d->with_content)
		push_content(d);
}

void
download_on_cancel(struct rpc_stream *s, void *ctx, const struct err *why)
{
	struct download *d = rpc_stream_user(s);

	(void)ctx;
	if (d == NULL)
		return;
	if (d->caller != NULL) {
		log_info("client of a download went away task=%s reason=\"%s\"", d->caller->task->id, why->text);
		task_caller_cancel(d->caller);
	}
	download_free(d);
}
