#include "peer/fetch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rand.h"
#include "net/conn.h"
#include "net/socket.h"
#include "peer/worker.h"
#include "wire/vortex.h"

/* Times of spec wire.md 1.8. */
#define CONNECT_MS 2000
#define KEEPALIVE_IDLE_S 5
#define KEEPALIVE_INTERVAL_S 3
#define KEEPALIVE_PROBES 3
#define USER_TIMEOUT_MS 15000

struct fetch_pool {
	struct loop *loop;
	struct list idle;               /* links, most recently used first */
	size_t idle_count;
	struct list jobs;               /* fetch_jobs under way */
	struct loop_timer cancel_timer; /* looks for cancelled jobs */
	struct loop_msg nudge;          /* looks now */
	atomic_bool is_nudged;          /* nudge is on its way */
};

/* One connection to a parent: idle in the pool, or busy with one job. */
struct link {
	struct list at;                 /* in pool->idle while idle */
	struct fetch_pool *pool;
	struct conn *conn;
	struct addr parent;
	struct tls_config *tls;         /* NULL: plaintext */
	struct fetch_job *job;          /* NULL while idle */
	bool is_reused;                 /* it carried a piece before this job */
	bool is_open;                   /* the connection was made */
	bool has_reply;                 /* the header of the answer is in */
	struct vortex_reply_reader reader;
	struct loop_timer timer;        /* idle, header or body time */
	struct loop_timer pace;         /* a limit's wait */
	char digest[32];                /* the parent's checksum of the piece */
};

static void link_start(struct fetch_pool *pool, struct fetch_job *job, bool may_reuse);

/* ---- the end of a job ---- */

static void
job_is_home(struct loop_msg *msg)
{
	struct fetch_job *job = CONTAINER_OF(msg, struct fetch_job, msg);

	worker_release(job->worker);
	job->done(job);
}

static void
job_finish(struct fetch_pool *pool, struct fetch_job *job, enum fetch_failure failure)
{
	list_del(&job->link);
	if (list_is_empty(&pool->jobs))
		loop_timer_clear(pool->loop, &pool->cancel_timer);
	job->failure = failure;
	job->cost_ns = clock_mono_ns() - job->cost_ns;
	job->msg.run = job_is_home;
	loop_post(job->home, &job->msg);
}

static void
link_free(struct link *l)
{
	loop_timer_clear(l->pool->loop, &l->timer);
	loop_timer_clear(l->pool->loop, &l->pace);
	if (l->job == NULL && !list_is_empty(&l->at))
		l->pool->idle_count--;
	list_del(&l->at);
	free(l);
}

/* Closes the connection and ends its job; err is already in the job. */
static void
link_fail(struct link *l, enum fetch_failure failure)
{
	struct fetch_job *job = l->job;
	struct fetch_pool *pool = l->pool;

	conn_abort(l->conn);
	link_free(l);
	job_finish(pool, job, failure);
}

/* ---- idle connections ---- */

static void
link_idle_over(void *ctx)
{
	struct link *l = ctx;

	conn_close(l->conn);
	link_free(l);
}

static void
link_make_idle(struct link *l)
{
	struct fetch_pool *pool = l->pool;
	size_t of_parent = 0;

	LIST_EACH(it, next, &pool->idle)
		of_parent += addr_eq(&CONTAINER_OF(it, struct link, at)->parent, &l->parent);
	l->job = NULL;
	if (of_parent >= FETCH_IDLE_PER_PARENT || pool->idle_count >= FETCH_IDLE_MAX) {
		conn_close(l->conn);
		link_free(l);
		return;
	}
	conn_set_read_ms(l->conn, 0);
	list_add_head(&pool->idle, &l->at);
	pool->idle_count++;
	loop_timer_set(pool->loop, &l->timer, FETCH_IDLE_MS, link_idle_over, l);
}

static struct link *
take_idle(struct fetch_pool *pool, const struct addr *parent, const struct tls_config *tls)
{
	LIST_EACH(it, next, &pool->idle) {
		struct link *l = CONTAINER_OF(it, struct link, at);

		if (addr_eq(&l->parent, parent) && l->tls == tls) {
			list_del(&l->at);
			pool->idle_count--;
			return l;
		}
	}
	return NULL;
}

/* ---- one exchange ---- */

static void
link_is_late(void *ctx)
{
	struct link *l = ctx;
	struct fetch_job *job = l->job;

	err_set(&job->err, ERR_DEADLINE_EXCEEDED, "%s: %s", conn_peer_text(l->conn),
	    l->has_reply ? "piece did not arrive in time" : "no answer to a piece request in time");
	link_fail(l, FETCH_BROKEN);
}

static void
send_request(struct link *l)
{
	uint8_t packet[VORTEX_REQUEST_BYTES];
	uint8_t id;

	rand_bytes(&id, 1);
	vortex_write_request(packet, id, l->job->tag, slice_make(l->job->task_id, TASK_ID_LENGTH), l->job->number);
	/* A socket error comes as on_close. */
	conn_write(l->conn, packet, sizeof packet, NULL);
}

static void
link_resume(void *ctx)
{
	struct link *l = ctx;

	conn_resume_read(l->conn);
}

/* The header of the answer is whole: is it what was asked for? */
static int
take_reply(struct link *l, const struct vortex_reply *reply)
{
	struct fetch_job *job = l->job;

	if (reply->is_error) {
		err_set(&job->err, vortex_code_to_err(reply->code), "%s: %.*s", conn_peer_text(l->conn), SLICE_ARG(reply->message));
		link_fail(l, FETCH_REFUSED);
		return -1;
	}
	if (vortex_check_content(&reply->content, job->number, job->sink.offset, job->sink.length, &job->err) < 0) {
		err_wrap(&job->err, "%s", conn_peer_text(l->conn));
		link_fail(l, FETCH_LIED);
		return -1;
	}
	if (reply->content.digest.n >= sizeof l->digest) {
		err_set(&job->err, ERR_INTERNAL, "%s: digest of %zu bytes", conn_peer_text(l->conn), reply->content.digest.n);
		link_fail(l, FETCH_LIED);
		return -1;
	}
	snprintf(l->digest, sizeof l->digest, "%.*s", SLICE_ARG(reply->content.digest));
	l->has_reply = true;
	atomic_store(&job->has_begun, true);
	loop_timer_set(l->pool->loop, &l->timer, job->body_ms, link_is_late, l);
	conn_set_read_ms(l->conn, job->header_ms < FETCH_SILENCE_MS ? (int)job->header_ms : FETCH_SILENCE_MS);
	return 0;
}

/* All bytes are on file: do they have the parent's checksum? */
static void
take_end(struct link *l)
{
	struct fetch_job *job = l->job;
	struct fetch_pool *pool = l->pool;
	char got[32];

	snprintf(got, sizeof got, "crc32:%lu", (unsigned long)job->sink.crc);
	if (l->digest[0] != '\0' && strcmp(got, l->digest) != 0) {
		err_set(&job->err, ERR_DATA_LOSS, "%s: digest mismatch expected: %s, actual: %s", conn_peer_text(l->conn), l->digest, got);
		link_fail(l, FETCH_LIED);
		return;
	}
	link_make_idle(l);      /* or frees it */
	job_finish(pool, job, FETCH_OK);
}

static void
link_on_open(struct conn *c, void *ctx)
{
	struct link *l = ctx;

	(void)c;
	l->is_open = true;
}

static size_t
link_on_data(struct conn *c, void *ctx, const uint8_t *p, size_t n)
{
	struct link *l = ctx;
	struct fetch_job *job = l->job;
	struct slice in = slice_make(p, n);
	struct vortex_reply reply;
	int64_t wait_ms;
	size_t part;

	(void)c;
	if (job == NULL) {
		/* Nobody asked. */
		conn_abort(l->conn);
		link_free(l);
		return n;
	}
	if (!l->has_reply) {
		switch (vortex_read_reply(&l->reader, &in, &reply, &job->err)) {
		case VORTEX_MORE:
			return n;
		case VORTEX_READY:
			break;
		default:
			err_wrap(&job->err, "%s", conn_peer_text(l->conn));
			link_fail(l, FETCH_LIED);
			return n;
		}
		if (take_reply(l, &reply) < 0)
			return n;
	}
	part = in.n < job->sink.length - job->sink.done ? in.n : (size_t)(job->sink.length - job->sink.done);
	if (part > 0 && sink_write(&job->sink, in.p, part, &wait_ms, &job->err) < 0) {
		link_fail(l, FETCH_DISK);
		return n;
	}
	if (job->sink.done == job->sink.length) {
		if (in.n > part) {
			err_set(&job->err, ERR_INTERNAL, "%s: bytes behind the end of a piece", conn_peer_text(l->conn));
			link_fail(l, FETCH_LIED);
		} else {
			take_end(l);
		}
		return n;
	}
	if (part > 0 && wait_ms > 0) {
		conn_pause_read(l->conn);
		loop_timer_set(l->pool->loop, &l->pace, wait_ms, link_resume, l);
	}
	return n;
}

static void
link_on_close(struct conn *c, void *ctx, const struct err *e)
{
	struct link *l = ctx;
	struct fetch_job *job = l->job;
	struct fetch_pool *pool = l->pool;
	bool is_stale = l->is_reused && !l->has_reply;
	bool was_open = l->is_open || l->is_reused;

	(void)c;
	link_free(l);
	if (job == NULL)
		return;
	if (is_stale) {
		/* The parent closed an idle connection while our request was on its way: once more on a new one (spec, wire.md 1.6). */
		link_start(pool, job, false);
		return;
	}
	job->err = *e;
	job_finish(pool, job, was_open ? FETCH_BROKEN : FETCH_UNREACHABLE);
}

static void
link_start(struct fetch_pool *pool, struct fetch_job *job, bool may_reuse)
{
	static const struct conn_events events = {.on_open = link_on_open, .on_data = link_on_data, .on_close = link_on_close};
	struct conn_opts opts = {
		.addr = job->parent, .tls = job->tls, .connect_ms = CONNECT_MS, .keepalive_idle_s = KEEPALIVE_IDLE_S,
		.keepalive_interval_s = KEEPALIVE_INTERVAL_S, .keepalive_probes = KEEPALIVE_PROBES, .user_timeout_ms = USER_TIMEOUT_MS,
		.uses_fastopen = job->uses_fastopen,
	};
	struct link *l = may_reuse ? take_idle(pool, &job->parent, job->tls) : NULL;

	if (l == NULL) {
		l = xcalloc(1, sizeof *l);
		l->pool = pool;
		l->parent = job->parent;
		l->tls = job->tls;
		list_init(&l->at);
		l->conn = conn_connect(pool->loop, &opts, &events, l);
	} else {
		l->is_reused = true;
	}
	l->job = job;
	job->carrier = l;
	l->has_reply = false;
	vortex_reply_start(&l->reader, job->tag);
	loop_timer_set(pool->loop, &l->timer, job->header_ms, link_is_late, l);
	job->sink.done = 0;
	job->sink.crc = 0;
	send_request(l);
}

/* ---- cancelling ---- */

static void
look_for_cancelled(void *ctx)
{
	struct fetch_pool *pool = ctx;

	LIST_EACH(it, next, &pool->jobs) {
		struct fetch_job *job = CONTAINER_OF(it, struct fetch_job, link);

		if (atomic_load(&job->is_cancelled)) {
			err_set(&job->err, ERR_CANCELLED, "cancelled");
			socket_reset_on_close(conn_fd(job->carrier->conn));
			link_fail(job->carrier, FETCH_CANCELLED);
		}
	}
	if (!list_is_empty(&pool->jobs))
		loop_timer_set(pool->loop, &pool->cancel_timer, FETCH_CANCEL_MS, look_for_cancelled, pool);
}

static void
nudged(struct loop_msg *msg)
{
	struct fetch_pool *pool = CONTAINER_OF(msg, struct fetch_pool, nudge);

	atomic_store(&pool->is_nudged, false);
	look_for_cancelled(pool);
}

static void
job_in_thread(struct loop_msg *msg)
{
	struct fetch_job *job = CONTAINER_OF(msg, struct fetch_job, msg);
	struct fetch_pool *pool = job->worker->parents;

	job->started_ns = clock_wall_ns();
	job->cost_ns = clock_mono_ns();
	if (list_is_empty(&pool->jobs))
		loop_timer_set(pool->loop, &pool->cancel_timer, FETCH_CANCEL_MS, look_for_cancelled, pool);
	list_add_tail(&pool->jobs, &job->link);
	link_start(pool, job, true);
}

void
fetch_job_start(struct worker *w, struct loop *home, struct fetch_job *job)
{
	job->worker = w;
	job->home = home;
	job->msg.run = job_in_thread;
	loop_post(w->loop, &job->msg);
}

void
fetch_job_cancel(struct fetch_job *job)
{
	struct fetch_pool *pool = job->worker->parents;

	atomic_store(&job->is_cancelled, true);
	if (!atomic_exchange(&pool->is_nudged, true))
		loop_post(pool->loop, &pool->nudge);
}

struct fetch_pool *
fetch_pool_new(struct loop *loop)
{
	struct fetch_pool *pool = xcalloc(1, sizeof *pool);

	pool->loop = loop;
	pool->nudge.run = nudged;
	atomic_init(&pool->is_nudged, false);
	list_init(&pool->idle);
	list_init(&pool->jobs);
	return pool;
}

void
fetch_pool_free(struct fetch_pool *pool)
{
	LIST_EACH(it, next, &pool->jobs) {
		struct fetch_job *job = CONTAINER_OF(it, struct fetch_job, link);

		err_set(&job->err, ERR_CANCELLED, "cancelled");
		link_fail(job->carrier, FETCH_CANCELLED);
	}
	LIST_EACH(it, next, &pool->idle) {
		struct link *l = CONTAINER_OF(it, struct link, at);

		conn_abort(l->conn);
		link_free(l);
	}
	loop_timer_clear(pool->loop, &pool->cancel_timer);
	free(pool);
}
