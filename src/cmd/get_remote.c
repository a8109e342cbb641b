/*
 * A download by the daemon of this machine: one DownloadTask call over its unix socket.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/get.h"
#include "cmd/tool.h"
#include "net/addr.h"
#include "net/loop.h"
#include "net/rpc_client.h"
#include "proto/dfdaemon.h"
#include "wire/grpc.h"

/* Memory of one decoded answer without its content: the list of pieces of the longest task. */
#define ANSWER_BYTES ((size_t)512 << 20)
#define DETAILS_BYTES ((size_t)1 << 20)

struct get_remote {
	struct loop *loop;
	const struct get_plan *plan;
	struct rpc_channel *channel;
	struct rpc_call *call;          /* NULL once it is over */
	const struct get_events *events;
	void *ctx;
	char *task_id;
	struct buf answer;              /* what is there of the present one */
	struct arena arena;
	struct loop_later later;        /* tells an error of ours after the call's callback */
	struct err err;
	/* Some daemons put the file in its place when they begin: what is there then goes again when the download fails. */
	bool had_output, has_early;
	dev_t early_dev;
	ino_t early_ino;
	uint64_t taken;                 /* bytes of content, against the rate */
	int64_t first_ms;
	struct loop_timer resume;
};

int
get_remote_probe(const char *path, struct err *e)
{
	struct addr a;
	int fd, rc = 0;

	if (addr_from_unix(&a, path, e) < 0)
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	if (fd < 0)
		return err_sys(e, errno, "socket");
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	/* A full backlog is a busy daemon, not an absent one. */
	if (connect(fd, &a.u.sa, a.len) < 0 && errno != EAGAIN && errno != EINPROGRESS)
		rc = err_sys(e, errno, "connect to %s", path);
	close(fd);
	return rc;
}

/* ---- an output that is there too early ---- */

static void
note_early_output(struct get_remote *r)
{
	struct stat st;

	if (r->plan->takes_content || r->had_output || r->has_early || lstat(r->plan->output, &st) < 0)
		return;
	r->has_early = true;
	r->early_dev = st.st_dev;
	r->early_ino = st.st_ino;
}

static void
remove_early_output(struct get_remote *r)
{
	struct stat st;

	if (r->has_early && lstat(r->plan->output, &st) == 0 && st.st_dev == r->early_dev && st.st_ino == r->early_ino)
		unlink(r->plan->output);
	r->has_early = false;
}

/* ---- answers ---- */

static int
take_started(struct get_remote *r, const struct dfdaemon_download_task_response *m, struct err *e)
{
	const struct dfdaemon_download_task_started_response *s = m->download_task_started_response;
	struct get_started out = {.length = s->content_length, .piece_count = s->n_pieces};
	uint32_t *numbers = xcalloc(s->n_pieces + 1, sizeof *numbers);
	int rc;

	note_early_output(r);
	free(r->task_id);
	r->task_id = slice_dup(m->task_id);
	out.task_id = r->task_id;
	if (s->range != NULL) {
		out.has_range = true;
		out.range_start = s->range->start;
		out.range_length = s->range->length;
	}
	for (size_t i = 0; i < s->n_pieces; i++)
		numbers[i] = s->pieces[i].number;
	out.pieces = numbers;
	out.has_no_list = r->plan->export_id != NULL;
	rc = r->events->on_started(r->ctx, &out, e);
	free(numbers);
	return rc;
}

static void
on_rate_again(void *ctx)
{
	struct get_remote *r = ctx;

	if (r->call != NULL)
		rpc_call_resume(r->call);
}

/* Stops reading until the bytes taken are within the rate. */
static void
keep_rate(struct get_remote *r, uint64_t bytes)
{
	int64_t rate = r->plan->o->limit_rate.n, due;

	if (rate <= 0)
		return;
	if (r->taken == 0)
		r->first_ms = loop_now_ms(r->loop);
	r->taken += bytes;
	due = r->first_ms + (int64_t)((double)r->taken * 1000.0 / (double)rate);
	if (due <= loop_now_ms(r->loop))
		return;
	rpc_call_pause(r->call);
	loop_timer_set(r->loop, &r->resume, due - loop_now_ms(r->loop), on_rate_again, r);
}

static int
take_piece(struct get_remote *r, const struct common_piece *p, struct err *e)
{
	struct get_piece piece;

	if (p == NULL)
		return err_set(e, ERR_INTERNAL, "invalid parameter");
	if (p->offset > UINT64_MAX - p->length)
		return err_set(e, ERR_INTERNAL, "piece %u is beyond the end", (unsigned)p->number);
	if (r->plan->takes_content) {
		/* proto3 leaves an empty content of an empty piece out */
		if ((p->content.p == NULL && p->length > 0) || p->content.n != p->length)
			return err_set(e, ERR_INTERNAL, "invalid parameter");
		if (r->events->on_content(r->ctx, p->offset, p->content, e) < 0)
			return -1;
		keep_rate(r, p->length);
	}
	piece = (struct get_piece){.number = p->number, .offset = p->offset, .length = p->length, .traffic = GET_FROM_SOURCE};
	if (p->has_traffic_type && p->traffic_type >= 0 && p->traffic_type < GET_TRAFFICS)
		piece.traffic = (enum get_traffic)p->traffic_type;
	return r->events->on_piece(r->ctx, &piece, e);
}

static void
tell_failure(struct loop_later *later)
{
	struct get_remote *r = CONTAINER_OF(later, struct get_remote, later);

	remove_early_output(r);
	r->events->on_end(r->ctx, &(struct get_end){.err = &r->err});
}

/* One buffer serves all answers: a fresh one for each piece would cost a page fault for every 4 KiB of content. */
static void
on_part(struct rpc_call *call, void *ctx, uint32_t length, uint32_t at, struct slice part)
{
	struct get_remote *r = ctx;
	struct dfdaemon_download_task_response m;
	int rc;

	if (at == 0)
		buf_clear(&r->answer);
	buf_append_slice(&r->answer, part);
	if (r->answer.len < length)
		return;
	arena_reset(&r->arena);
	rc = pb_decode(&dfdaemon_download_task_response_desc, buf_slice(&r->answer), &r->arena, &m, &r->err);
	if (rc == 0 && m.download_task_started_response != NULL)
		rc = take_started(r, &m, &r->err);
	else if (rc == 0 && m.download_piece_finished_response != NULL)
		rc = take_piece(r, m.download_piece_finished_response->piece, &r->err);
	else if (rc == 0)
		rc = err_set(&r->err, ERR_INTERNAL, "unexpected response");
	if (rc == 0)
		return;
	rpc_call_cancel(call);
	r->call = NULL;
	loop_defer(r->loop, &r->later, tell_failure);
}

static void
on_end(struct rpc_call *call, void *ctx, const struct rpc_status *st)
{
	struct get_remote *r = ctx;
	struct grpc_backend backend;
	struct get_end end = {.is_status = true, .details = st->details};
	struct arena arena;
	struct err e;

	(void)call;
	r->call = NULL;
	if (st->code == ERR_OK) {
		r->has_early = false;
		r->events->on_end(r->ctx, &(struct get_end){0});
		return;
	}
	remove_early_output(r);
	arena_init(&arena, DETAILS_BYTES);
	err_set(&e, st->code, "%s", st->message);
	end.err = &e;
	if (st->details.n > 0 && grpc_read_backend(st->details, &arena, &backend, NULL) == 0)
		end.backend = &backend;
	r->events->on_end(r->ctx, &end);
	arena_free(&arena);
}

/* ---- life ---- */

static int
whole_ms(int64_t ns)
{
	int64_t ms = ns / 1000000;

	return ms > INT_MAX ? INT_MAX : ms < 1 ? 1 : (int)ms;
}

/* Answers have the numbers and fields of a download's. */
static int
send_export(struct get_remote *r, const struct common_download *d, struct err *e)
{
	struct dfdaemon_download_persistent_cache_task_request m = {
		.task_id = slice_str(r->plan->export_id), .tag = d->tag, .application = d->application, .output_path = d->output_path,
		.timeout = d->timeout, .need_piece_content = d->need_piece_content, .force_hard_link = d->force_hard_link, .digest = d->digest,
		.remote_ip = d->remote_ip, .overwrite = d->overwrite,
	};

	return rpc_call_send(r->call, &dfdaemon_download_persistent_cache_task_request_desc, &m, e);
}

struct get_remote *
get_remote_start(struct loop *loop, const char *path, const struct get_plan *p, int64_t timeout_ms, const struct get_events *ev,
    void *ctx, struct err *e)
{
	static const struct rpc_call_events events = {.on_part = on_part, .on_end = on_end};
	struct common_download d = p->request;
	struct dfdaemon_download_task_request request = {.download = &d};
	const struct get_options *o = p->o;
	struct rpc_call_opts opts = {.grpc_timeout_ms = timeout_ms, .headers_ms = -1};
	struct get_remote *r;
	struct stat st;
	struct addr a;

	if (addr_from_unix(&a, path, e) < 0)
		return NULL;
	r = xcalloc(1, sizeof *r);
	r->loop = loop;
	r->plan = p;
	r->events = ev;
	r->ctx = ctx;
	r->had_output = p->takes_content || lstat(p->output, &st) == 0;
	arena_init(&r->arena, ANSWER_BYTES);
	if (p->takes_content)
		d.need_piece_content = true;
	else
		d.output_path = slice_str(p->output);
	if (o->speed_time.n > 0)
		opts.message_ms = whole_ms(o->speed_time.n);
	r->channel = rpc_channel_new(loop, &(struct rpc_channel_opts){
		.addr = a, .user_agent = "dfget/" DRAGONFLY_VERSION, .connect_ms = whole_ms(o->connect_timeout.n), .ping_when_idle = true,
		.keepalive_ms = TOOL_SILENCE_MS});
	r->call = rpc_call_start(r->channel, p->export_id != NULL ? DFDAEMON_DFDAEMON_DOWNLOAD_DOWNLOAD_PERSISTENT_CACHE_TASK :
	    DFDAEMON_DFDAEMON_DOWNLOAD_DOWNLOAD_TASK, &events, r, &opts);
	if ((p->export_id != NULL ? send_export(r, &d, e) : rpc_call_send(r->call, &dfdaemon_download_task_request_desc, &request, e)) < 0) {
		get_remote_free(r);
		return NULL;
	}
	rpc_call_half_close(r->call);
	return r;
}

void
get_remote_free(struct get_remote *r)
{
	if (r == NULL)
		return;
	if (r->call != NULL)
		rpc_call_cancel(r->call);
	remove_early_output(r);
	loop_defer_clear(&r->later);
	loop_timer_clear(r->loop, &r->resume);
	/* The cancel goes out before the connection ends. */
	loop_turn(r->loop, 0);
	rpc_channel_free(r->channel);
	arena_free(&r->arena);
	buf_free(&r->answer);
	free(r->task_id);
	free(r);
}
