#include "peer/import.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crc32.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/cluster.h"
#include "config/config.h"
#include "net/loop.h"
#include "net/pb_time.h"
#include "net/rpc_client.h"
#include "peer/engine.h"
#include "peer/ids.h"
#include "peer/pieces.h"
#include "peer/worker.h"
#include "proto/common.h"
#include "proto/google.h"
#include "proto/scheduler.h"
#include "store/file.h"
#include "store/os/creds.h"
#include "store/store.h"

/* A scheduler that did not know our host is asked once more after so long: it was announced to meanwhile. */
#define RETRY_MS 300

enum phase { OPENING, STARTING, COPYING, FINISHING, FAILING };

struct import {
	struct list link;               /* in engine->imports */
	struct engine *engine;
	enum phase phase;
	import_done_fn *done;           /* NULL: nobody waits */
	void *ctx;
	char *path;
	char *content_for_id, *tag, *application;       /* NULL: absent */
	uint64_t replicas;
	int64_t ttl_ns;
	bool has_owner;
	uid_t uid;
	gid_t gid;

	struct work_job work;
	bool is_working;                /* on its thread: `work` and what it fills are not to be touched */
	atomic_bool is_cancelled;
	int fd;
	struct stat seen;               /* the file as it was opened */
	uint64_t piece_length;
	uint32_t pieces;
	char id[TASK_ID_SIZE];
	char peer_id[PEER_ID_SIZE];
	uint32_t *crcs;
	struct store_task *task;        /* in use */
	struct store_file *file;

	struct rpc_call *call;
	bool was_started;               /* the scheduler counts on us, or may do so */
	bool is_retried;
	struct loop_timer retry, deadline;
	struct loop_later later;
	struct err err;                 /* of the step that failed; the work's while it runs */
	struct err why;                 /* it was ended from outside */
};

static void ask_start(void *ctx);

static struct loop *
loop_of(const struct import *i)
{
	return i->engine->o.loop;
}

/* ---- the end ---- */

static void
import_free(struct import *i)
{
	loop_timer_clear(loop_of(i), &i->retry);
	loop_timer_clear(loop_of(i), &i->deadline);
	loop_defer_clear(&i->later);
	list_del(&i->link);
	if (i->fd >= 0)
		close(i->fd);
	store_file_unref(i->file);
	if (i->task != NULL)
		store_task_release(i->task);
	free(i->crcs);
	free(i->path);
	free(i->content_for_id);
	free(i->tag);
	free(i->application);
	free(i);
}

static void
tell(struct import *i, const struct common_persistent_cache_task *task)
{
	import_done_fn *done = i->done;

	i->done = NULL;
	if (done != NULL)
		done(i->ctx, task, task != NULL ? NULL : &i->err);
}

static void
end(struct import *i, const struct common_persistent_cache_task *task)
{
	tell(i, task);
	import_free(i);
}

static void
on_failed_answer(void *ctx, const void *answer, const struct rpc_status *st)
{
	struct import *i = ctx;

	i->call = NULL;
	/* It does not know of it where our question never came there. */
	if (answer == NULL && st->code != ERR_NOT_FOUND)
		log_warn("scheduler was not told of a failed import task=%s error=\"%s\"", i->id, st->message);
	end(i, NULL);
}

/* The scheduler that counts on us is told before the caller is: a second try right after is not refused. */
static void
tell_scheduler_failed(struct import *i)
{
	struct scheduler_upload_persistent_cache_task_failed_request r = {
		.host_id = slice_str(cluster_host(i->engine->o.cluster)->id), .task_id = slice_str(i->id), .peer_id = slice_str(i->peer_id),
		.description = slice_str(i->err.text),
	};
	struct rpc_channel *ch = cluster_scheduler(i->engine->o.cluster, slice_str(i->id), false, NULL);

	if (ch == NULL) {
		end(i, NULL);
		return;
	}
	i->call = rpc_unary(ch, &scheduler_scheduler_service.methods[SCHEDULER_SCHEDULER_UPLOAD_PERSISTENT_CACHE_TASK_FAILED_AT], &r, NULL,
	    on_failed_answer, i);
}

static void
fail_later(struct loop_later *later)
{
	struct import *i = CONTAINER_OF(later, struct import, later);
	struct err e;

	if (i->why.code != 0)
		i->err = i->why;
	log_warn("import failed task=%s path=\"%s\" error=\"%s\"", i->id, i->path, i->err.text);
	if (i->task != NULL && !i->task->is_deleted && store_task_delete(i->task, STORE_DELETED_BY_CALLER, &e) < 0)
		log_error("content cannot be removed task=%s error=\"%s\"", i->id, e.text);
	if (i->was_started)
		tell_scheduler_failed(i);
	else
		end(i, NULL);
}

/* i->err or i->why says why. What is on its way comes home first. */
static void
fail(struct import *i)
{
	if (i->phase == FAILING)
		return;
	/* A question that has no answer yet may have arrived all the same. */
	if (i->phase == STARTING && i->call != NULL)
		i->was_started = true;
	i->phase = FAILING;
	loop_timer_clear(loop_of(i), &i->retry);
	loop_timer_clear(loop_of(i), &i->deadline);
	if (i->call != NULL)
		rpc_call_cancel(i->call);
	i->call = NULL;
	atomic_store(&i->is_cancelled, true);
	if (!i->is_working)
		loop_defer(loop_of(i), &i->later, fail_later);
}

/* ---- blocking work ---- */

static void
start_work(struct import *i, void (*work)(struct work_job *job), void (*done)(struct work_job *job))
{
	i->is_working = true;
	i->work.work = work;
	i->work.done = done;
	work_start(i->engine->o.workers, &i->work);
}

/* True when the import goes on. i->err set by the work means that it failed. */
static bool
is_home(struct import *i)
{
	i->is_working = false;
	if (i->phase == FAILING) {
		loop_defer(loop_of(i), &i->later, fail_later);
		return false;
	}
	if (i->err.code != 0) {
		fail(i);
		return false;
	}
	return true;
}

static int
open_file(struct import *i)
{
	int rc = -1;

	if (i->has_owner && creds_become(i->uid, i->gid, &i->err) < 0)
		return -1;
	/* Not to wait for the other end of a pipe. */
	i->fd = open(i->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (i->fd < 0)
		err_sys(&i->err, errno, "open %s", i->path);
	else if (fstat(i->fd, &i->seen) < 0)
		err_sys(&i->err, errno, "look at %s", i->path);
	else if (!S_ISREG(i->seen.st_mode))
		err_set(&i->err, ERR_INVALID_ARGUMENT, "%s is not a regular file", i->path);
	else
		rc = 0;
	if (i->has_owner)
		creds_restore(i->uid);
	return rc;
}

/* Up to n bytes at this place; fewer at the end of the file. */
static ssize_t
read_at(struct import *i, void *p, size_t n, uint64_t at)
{
	ssize_t got;

	do
		got = pread(i->fd, p, n, (off_t)at);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		err_sys(&i->err, errno, "read %s", i->path);
	return got;
}

static bool
is_changed(const struct import *i)
{
	struct stat now;

	return fstat(i->fd, &now) < 0 || now.st_size != i->seen.st_size || now.st_mtim.tv_sec != i->seen.st_mtim.tv_sec ||
	    now.st_mtim.tv_nsec != i->seen.st_mtim.tv_nsec;
}

static int
changed(struct import *i)
{
	return err_set(&i->err, ERR_FAILED_PRECONDITION, "%s changed while it was read", i->path);
}

/* sha256 over the file's bytes, tag, application, piece length as asked for and the kind's name (spec: download.md 1.6). */
static int
make_id(struct import *i)
{
	struct digest d;
	char hex[DIGEST_HEX_MAX], number[24];
	uint64_t size = (uint64_t)i->seen.st_size;
	uint8_t *buf;

	if (i->content_for_id != NULL) {
		digest_hex(DIGEST_SHA256, i->content_for_id, strlen(i->content_for_id), hex);
		memcpy(i->id, hex, TASK_ID_SIZE);
		return 0;
	}
	buf = xmalloc(STORE_IO_BYTES);
	digest_init(&d, DIGEST_SHA256);
	for (uint64_t at = 0; at < size;) {
		ssize_t n = read_at(i, buf, size - at < STORE_IO_BYTES ? (size_t)(size - at) : STORE_IO_BYTES, at);

		if (n > 0 && !atomic_load(&i->is_cancelled)) {
			digest_update(&d, buf, (size_t)n);
			at += (uint64_t)n;
			continue;
		}
		if (n == 0)
			changed(i);
		free(buf);
		return -1;
	}
	free(buf);
	if (i->tag != NULL)
		digest_update(&d, i->tag, strlen(i->tag));
	if (i->application != NULL)
		digest_update(&d, i->application, strlen(i->application));
	if (i->piece_length > 0) {
		int n = snprintf(number, sizeof number, "%" PRIu64, i->piece_length);

		digest_update(&d, number, (size_t)n);
	}
	digest_update(&d, "PERSISTENT_CACHE", 16);
	digest_final_hex(&d, hex);
	memcpy(i->id, hex, TASK_ID_SIZE);
	return 0;
}

static void
open_work(struct work_job *work)
{
	struct import *i = CONTAINER_OF(work, struct import, work);

	if (open_file(i) == 0)
		make_id(i);
}

/* One piece into the store's file, its checksum on the way. */
static int
copy_piece(struct import *i, uint32_t number, uint8_t *buf)
{
	uint64_t size = (uint64_t)i->seen.st_size, at = number * i->piece_length;
	uint64_t to = size - at < i->piece_length ? size : at + i->piece_length;
	uint32_t crc = 0;

	while (at < to) {
		ssize_t n = read_at(i, buf, to - at < STORE_IO_BYTES ? (size_t)(to - at) : STORE_IO_BYTES, at);

		if (n < 0)
			return -1;
		if (n == 0)
			return changed(i);
		if (atomic_load(&i->is_cancelled))
			return err_set(&i->err, ERR_CANCELLED, "cancelled");
		crc = crc32_update(crc, buf, (size_t)n);
		if (store_file_pwrite(i->file, buf, (size_t)n, at, &i->err) < 0)
			return -1;
		at += (uint64_t)n;
	}
	i->crcs[number] = crc;
	return 0;
}

static void
copy_work(struct work_job *work)
{
	struct import *i = CONTAINER_OF(work, struct import, work);
	uint8_t *buf = xmalloc(STORE_IO_BYTES);
	int rc = 0;

	for (uint32_t n = 0; rc == 0 && n < i->pieces; n++)
		rc = copy_piece(i, n, buf);
	free(buf);
	if (rc == 0 && is_changed(i))
		changed(i);
}

/* ---- finished ---- */

static void
on_finished_answer(void *ctx, const void *answer, const struct rpc_status *st)
{
	struct import *i = ctx;

	i->call = NULL;
	if (answer == NULL) {
		err_set(&i->err, st->code == ERR_UNAVAILABLE || st->code == ERR_NOT_FOUND ? st->code : ERR_INTERNAL, "%s", st->message);
		fail(i);
		return;
	}
	log_info("imported task=%s path=\"%s\" length=%lld", i->id, i->path, (long long)i->seen.st_size);
	end(i, answer);
}

static void
ask_finish(struct import *i)
{
	struct scheduler_upload_persistent_cache_task_finished_request r = {
		.host_id = slice_str(cluster_host(i->engine->o.cluster)->id), .task_id = slice_str(i->id), .peer_id = slice_str(i->peer_id),
	};
	struct rpc_channel *ch = cluster_scheduler(i->engine->o.cluster, slice_str(i->id), false, &i->err);

	if (ch == NULL) {
		fail(i);
		return;
	}
	i->phase = FINISHING;
	i->call = rpc_unary(ch, &scheduler_scheduler_service.methods[SCHEDULER_SCHEDULER_UPLOAD_PERSISTENT_CACHE_TASK_FINISHED_AT], &r, NULL,
	    on_finished_answer, i);
}

/* All bytes are in the file: the store takes the pieces over. */
static int
finish_in_store(struct import *i)
{
	int64_t now = clock_wall_ns();

	for (uint32_t n = 0; n < i->pieces; n++) {
		struct store_piece p = {.number = n, .has_crc = true, .crc = i->crcs[n], .created_at = now, .finished_at = now};

		store_task_piece_span(i->task, n, &p.offset, &p.length);
		if (store_piece_finish(i->task, &p, &i->err) < 0)
			return -1;
	}
	return store_task_finish(i->task, now, &i->err);
}

static void
copy_done(struct work_job *work)
{
	struct import *i = CONTAINER_OF(work, struct import, work);

	if (!is_home(i))
		return;
	if (i->task->is_deleted)
		err_set(&i->err, ERR_ABORTED, "task %s was deleted meanwhile", i->id);
	else if (finish_in_store(i) == 0) {
		ask_finish(i);
		return;
	}
	fail(i);
}

/* ---- started ---- */

/* An earlier record of this id makes way: the scheduler knows of no copy, and its content may be another. */
static int
start_in_store(struct import *i)
{
	struct store *store = i->engine->o.store;
	struct store_start s = {
		.content_length = (uint64_t)i->seen.st_size, .piece_length = i->piece_length, .is_persistent = true, .is_imported = true,
		.created_at = clock_wall_ns(), .ttl = i->ttl_ns,
	};
	struct store_task *old = store_task_find(store, STORE_PERSISTENT_CACHE, i->id);

	if (old != NULL && store_task_delete(old, STORE_DELETED_BY_CALLER, &i->err) < 0)
		return -1;
	i->task = store_task_begin(store, STORE_PERSISTENT_CACHE, i->id, s.created_at, &i->err);
	if (i->task == NULL)
		return -1;
	store_task_use(i->task);
	if (store_task_start(i->task, &s, s.created_at, NULL, &i->err) < 0)
		return -1;
	i->file = store_task_file(i->task, &i->err);
	return i->file != NULL ? 0 : -1;
}

static void
on_started_answer(void *ctx, const void *answer, const struct rpc_status *st)
{
	struct import *i = ctx;

	i->call = NULL;
	if (answer != NULL) {
		i->was_started = true;
		i->phase = COPYING;
		i->crcs = xcalloc((size_t)i->pieces + 1, sizeof *i->crcs);
		if (start_in_store(i) < 0)
			fail(i);
		else
			start_work(i, copy_work, copy_done);
		return;
	}
	if (st->code == ERR_NOT_FOUND && slice_starts(slice_str(st->message), "host ") && !i->is_retried) {
		i->is_retried = true;
		cluster_announce_soon(i->engine->o.cluster);
		loop_timer_set(loop_of(i), &i->retry, RETRY_MS, ask_start, i);
		return;
	}
	err_set(&i->err, st->code == ERR_ALREADY_EXISTS || st->code == ERR_UNAVAILABLE || st->code == ERR_INVALID_ARGUMENT ||
	    st->code == ERR_FAILED_PRECONDITION || st->code == ERR_DEADLINE_EXCEEDED ? st->code : ERR_INTERNAL, "%s", st->message);
	fail(i);
}

static void
ask_start(void *ctx)
{
	struct import *i = ctx;
	struct google_duration ttl = pb_duration(i->ttl_ns);
	struct scheduler_upload_persistent_cache_task_started_request r = {
		.host_id = slice_str(cluster_host(i->engine->o.cluster)->id), .task_id = slice_str(i->id), .peer_id = slice_str(i->peer_id),
		.persistent_replica_count = i->replicas, .tag = slice_str(i->tag), .application = slice_str(i->application),
		.piece_length = i->piece_length, .content_length = (uint64_t)i->seen.st_size, .piece_count = i->pieces, .ttl = &ttl,
	};
	struct rpc_channel *ch = cluster_scheduler(i->engine->o.cluster, slice_str(i->id), false, &i->err);

	if (ch == NULL) {
		fail(i);
		return;
	}
	i->call = rpc_unary(ch, &scheduler_scheduler_service.methods[SCHEDULER_SCHEDULER_UPLOAD_PERSISTENT_CACHE_TASK_STARTED_AT], &r, NULL,
	    on_started_answer, i);
}

static void
open_done(struct work_job *work)
{
	struct import *i = CONTAINER_OF(work, struct import, work);

	if (!is_home(i))
		return;
	if (i->piece_length == 0)
		i->piece_length = piece_length_auto((uint64_t)i->seen.st_size);
	if (piece_count((uint64_t)i->seen.st_size, i->piece_length, &i->pieces, &i->err) < 0) {
		fail(i);
		return;
	}
	i->phase = STARTING;
	ask_start(i);
}

/* ---- life ---- */

static int
check(struct engine *g, const struct import_request *r, struct err *e)
{
	size_t running = 0;

	if (g->is_draining)
		return err_set(e, ERR_UNAVAILABLE, "the daemon is stopping");
	if (g->o.cluster == NULL)
		return err_set(e, ERR_UNAVAILABLE, "available schedulers not found");
	if (r->path.n == 0 || r->path.p[0] != '/' || memchr(r->path.p, 0, r->path.n) != NULL)
		return err_set(e, ERR_INVALID_ARGUMENT, "path of an import must be absolute");
	if (r->replicas == 0)
		return err_set(e, ERR_INVALID_ARGUMENT, "persistent replica count must be 1 or more");
	if (r->ttl_ns != 0 && (r->ttl_ns < IMPORT_TTL_MIN_S * INT64_C(1000000000) || r->ttl_ns > IMPORT_TTL_MAX_S * INT64_C(1000000000)))
		return err_set(e, ERR_INVALID_ARGUMENT, "ttl must be between 5 minutes and 7 days, but got %lld",
		    (long long)(r->ttl_ns / 1000000000));
	if (r->piece_length != 0 && piece_length_check(r->piece_length, e) < 0)
		return -1;
	LIST_EACH(it, next, &g->imports)
		running++;
	return running < IMPORTS_MAX ? 0 : err_set(e, ERR_RESOURCE_EXHAUSTED, "more than %d imports at once", IMPORTS_MAX);
}

static int64_t
default_ttl(const struct engine *g)
{
	int64_t ms = g->o.config->gc.policy.persistent_cache_task_ttl_ms;

	if (ms < IMPORT_TTL_MIN_S * 1000)
		ms = IMPORT_TTL_MIN_S * 1000;
	return (ms < IMPORT_TTL_MAX_S * INT64_C(1000) ? ms : IMPORT_TTL_MAX_S * INT64_C(1000)) * 1000000;
}

static void
is_late(void *ctx)
{
	struct import *i = ctx;

	err_set(&i->why, ERR_DEADLINE_EXCEEDED, "import did not finish within its timeout");
	fail(i);
}

static char *
dup_or_null(struct slice s)
{
	return s.p != NULL ? slice_dup(s) : NULL;
}

struct import *
import_start(struct engine *g, const struct import_request *r, import_done_fn *done, void *ctx, struct err *e)
{
	struct import *i;

	if (check(g, r, e) < 0)
		return NULL;
	i = xcalloc(1, sizeof *i);
	i->engine = g;
	i->done = done;
	i->ctx = ctx;
	i->fd = -1;
	i->path = slice_dup(r->path);
	i->content_for_id = dup_or_null(r->content_for_id);
	i->tag = dup_or_null(r->tag);
	i->application = dup_or_null(r->application);
	i->piece_length = r->piece_length;
	i->replicas = r->replicas;
	i->ttl_ns = r->ttl_ns != 0 ? r->ttl_ns : default_ttl(g);
	i->has_owner = r->has_owner;
	i->uid = r->uid;
	i->gid = r->gid;
	atomic_init(&i->is_cancelled, false);
	list_init(&i->later.link);
	peer_id_make(i->peer_id, g->o.config->host.ip, g->o.config->host.hostname, g->o.config->seed_peer.enable);
	list_add_tail(&g->imports, &i->link);
	if (r->timeout_ms > 0)
		loop_timer_set(g->o.loop, &i->deadline, r->timeout_ms, is_late, i);
	start_work(i, open_work, open_done);
	return i;
}

void
import_cancel(struct import *i)
{
	i->done = NULL;
	err_set(&i->why, ERR_CANCELLED, "cancelled");
	fail(i);
}

void
import_stop(struct import *i)
{
	err_set(&i->why, ERR_UNAVAILABLE, "the daemon is stopping");
	fail(i);
}

struct import *
import_of(struct list *link)
{
	return CONTAINER_OF(link, struct import, link);
}
