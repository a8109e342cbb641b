/*
 * A download without a daemon: the same engine in this process, alone. No scheduler, no parents, nothing shared; its store is a private
 * directory beside the output (so that the finished content only needs a link), or in the user's cache for a stream.
 */
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/get.h"
#include "config/config.h"
#include "net/loop.h"
#include "peer/engine.h"
#include "peer/origin.h"
#include "peer/task.h"
#include "peer/worker.h"
#include "source/source.h"
#include "store/file.h"
#include "wire/grpc.h"

/* One moves bytes, the other computes digests or waits for the disk. */
#define THREADS 2
/* What is cancelled comes home within this time. */
#define HOME_MS 5000
#define READ_BYTES ((size_t)256 * 1024)
/* Descriptors that removing the store may hold open at once. */
#define REMOVE_FDS 16

struct get_local {
	struct loop *loop;
	const struct get_plan *plan;
	const struct get_events *events;
	void *ctx;
	struct config config;
	char *dir;
	bool keep_dir;
	mode_t file_mode;               /* of the output: what this process's umask leaves of 0666 */
	struct store *store;
	struct workers *workers;
	struct engine *engine;
	struct task_caller *caller;     /* NULL once it is over */

	/* Content in order. */
	struct store_task *task;        /* in use */
	struct store_file *file;
	uint64_t *ready;                /* bitmap of pieces that came */
	uint32_t next, last;            /* the piece to be told now */
	struct loop_later later;
	struct err err;
};

/* ---- the private directory ---- */

static int
remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st;
	(void)kind;
	(void)at;
	remove(path);
	return 0;
}

static char *
cache_dir(void)
{
	const char *tmp = getenv("TMPDIR"), *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	char *path;

	if (tmp != NULL && tmp[0] == '/')
		return xstrdup(tmp);
	path = cache != NULL && cache[0] == '/' ? xstrdup(cache) : xasprintf("%s/.cache", home != NULL && home[0] == '/' ? home : "");
	if (access(path, W_OK | X_OK) == 0)
		return path;
	free(path);
	return xstrdup("/tmp");
}

static int
make_dir(struct get_local *l, struct err *e)
{
	const struct get_plan *p = l->plan;
	const char *slash = p->output != NULL && !p->is_stream ? strrchr(p->output, '/') : NULL;

	if (slash == NULL) {
		char *cache = cache_dir();

		l->dir = xasprintf("%s/dfget-XXXXXX", cache);
		free(cache);
	} else if (p->o->is_resume) {
		l->dir = xasprintf("%.*s/.%s.dfpart", (int)(slash - p->output), p->output, slash + 1);
		l->keep_dir = true;
		return 0;
	} else {
		l->dir = xasprintf("%.*s/.dfget-XXXXXX", (int)(slash - p->output), p->output);
	}
	if (mkdtemp(l->dir) == NULL) {
		err_sys(e, errno, "create %s", l->dir);
		free(l->dir);
		l->dir = NULL;
		return -1;
	}
	return 0;
}

/* ---- events of the task ---- */

static void
tell_failure(struct loop_later *later)
{
	struct get_local *l = CONTAINER_OF(later, struct get_local, later);

	l->events->on_end(l->ctx, &(struct get_end){.err = &l->err});
}

/* An error of ours ends the download. */
static void
give_up(struct get_local *l)
{
	task_caller_cancel(l->caller);
	l->caller = NULL;
	loop_defer(l->loop, &l->later, tell_failure);
}

static void
on_started(void *ctx, const struct task_started *s)
{
	struct get_local *l = ctx;
	struct get_started out = {
		.task_id = s->store->id, .length = s->store->content_length, .has_range = s->has_range, .range_start = s->range.start,
		.range_length = s->range.length,
	};
	uint32_t *numbers;
	int rc = 0;

	if (!s->span.is_empty)
		out.piece_count = s->span.last - s->span.first + 1;
	numbers = xcalloc(out.piece_count + 1, sizeof *numbers);
	for (size_t i = 0; i < out.piece_count; i++)
		numbers[i] = s->span.first + (uint32_t)i;
	out.pieces = numbers;
	if (l->plan->takes_content && out.piece_count > 0) {
		l->task = s->store;
		store_task_use(l->task);
		l->next = s->span.first;
		l->last = s->span.last;
		l->ready = xcalloc((size_t)l->last / 64 + 1, sizeof *l->ready);
		l->file = store_task_file(l->task, &l->err);
		rc = l->file == NULL ? -1 : 0;
	}
	if (rc == 0)
		rc = l->events->on_started(l->ctx, &out, &l->err);
	free(numbers);
	if (rc < 0)
		give_up(l);
}

static int
tell_content(struct get_local *l, const struct store_piece *p, struct err *e)
{
	uint8_t *buf = xmalloc(READ_BYTES);
	int rc = 0;

	for (uint64_t at = 0; rc == 0 && at < p->length;) {
		size_t n = p->length - at < READ_BYTES ? (size_t)(p->length - at) : READ_BYTES;

		rc = store_file_pread(l->file, buf, n, p->offset + at, e);
		if (rc == 0)
			rc = l->events->on_content(l->ctx, p->offset + at, slice_make(buf, n), e);
		at += n;
	}
	free(buf);
	return rc;
}

static int
tell_piece(struct get_local *l, const struct store_piece *p, enum task_traffic traffic)
{
	struct get_piece piece = {.number = p->number, .offset = p->offset, .length = p->length, .traffic = (enum get_traffic)traffic};

	return l->events->on_piece(l->ctx, &piece, &l->err);
}

static void
on_piece(void *ctx, const struct store_piece *p, enum task_traffic traffic)
{
	struct get_local *l = ctx;
	struct store_piece next;
	int rc = 0;

	if (l->ready == NULL) {
		if (tell_piece(l, p, traffic) < 0)
			give_up(l);
		return;
	}
	bit_set(l->ready, p->number);
	while (rc == 0 && l->next <= l->last && bit_get(l->ready, l->next)) {
		rc = store_piece_get(l->task, l->next, &next);
		if (rc < 0)
			err_set(&l->err, ERR_DATA_LOSS, "piece %u is gone from %s", (unsigned)l->next, l->dir);
		if (rc == 0)
			rc = tell_content(l, &next, &l->err);
		if (rc == 0)
			rc = tell_piece(l, &next, traffic);
		l->next++;
	}
	if (rc < 0)
		give_up(l);
}

static void
on_end(void *ctx, const struct task_end *end)
{
	struct get_local *l = ctx;
	struct get_end out = {.err = end->err, .is_status = true};
	struct grpc_backend backend = {0};

	l->caller = NULL;
	if (end->err == NULL) {
		l->keep_dir = false;
		/* The store protects what it links; nobody else uses this one. */
		if (!l->plan->takes_content && chmod(l->plan->output, l->file_mode) < 0)
			log_warn("mode of %s: %s", l->plan->output, strerror(errno));
	}
	if (end->err != NULL && end->origin != NULL && end->origin->e.is_backend) {
		const struct source_error *o = &end->origin->e;

		backend.message = slice_str(o->message);
		backend.has_status_code = o->status != 0;
		backend.status_code = o->status;
		backend.header = xcalloc(o->headers.count + 1, sizeof *backend.header);
		for (size_t i = 0; i < o->headers.count; i++)
			backend.header[backend.n_header++] = (struct pb_pair){
				.key = slice_str(o->headers.at[i].name), .value = slice_str(o->headers.at[i].value)};
		out.backend = &backend;
	}
	l->events->on_end(l->ctx, &out);
	free(backend.header);
}

/* ---- life ---- */

static void
on_deleted(void *arg, struct store_task *task, enum store_reason reason)
{
	struct get_local *l = arg;

	if (l->engine != NULL)
		engine_task_deleted(l->engine, task, reason);
}

static int
start_engine(struct get_local *l, struct err *e)
{
	const struct get_options *o = l->plan->o;
	struct source_config source;

	config_defaults(&l->config);
	l->config.host.hostname = "localhost";
	l->config.host.ip = "127.0.0.1";
	l->config.storage.dir = l->dir;
	if (o->limit_rate.is_set)
		l->config.download.bandwidth_limit = (uint64_t)o->limit_rate.n;
	l->store = store_open(&(struct store_options){
		.dir = l->dir, .keep = l->keep_dir, .mode = 0755, .deleted = on_deleted, .arg = l}, e);
	if (l->store == NULL)
		return -1;
	source_config_init(&source);
	source.user_agent = "dfget/" DRAGONFLY_VERSION;
	source.insecure_skip_verify = o->insecure;
	l->workers = workers_new(l->loop, THREADS, &source, e);
	if (l->workers == NULL)
		return -1;
	l->engine = engine_new(&(struct engine_options){
		.loop = l->loop, .config = &l->config, .store = l->store, .workers = l->workers, .insecure_skip_verify = o->insecure});
	return 0;
}

struct get_local *
get_local_start(struct loop *loop, const struct get_plan *p, const struct get_events *ev, void *ctx, struct err *e)
{
	static const struct task_caller_events events = {.on_started = on_started, .on_piece = on_piece, .on_end = on_end};
	struct get_local *l = xcalloc(1, sizeof *l);
	struct common_download d = p->request;
	mode_t mask = umask(022);

	umask(mask);
	l->file_mode = 0666 & ~mask;
	l->loop = loop;
	l->plan = p;
	l->events = ev;
	l->ctx = ctx;
	if (make_dir(l, e) < 0 || start_engine(l, e) < 0)
		goto fail;
	/* Nobody else is there to fetch it. */
	d.disable_back_to_source = false;
	d.timeout = NULL;
	if (p->takes_content)
		d.need_piece_content = true;
	else
		d.output_path = slice_str(p->output);
	l->caller = task_request(l->engine, &(struct task_request){.download = &d, .asker = TASK_FOR_USER}, &events, l, e);
	if (l->caller == NULL)
		goto fail;
	return l;
fail:
	get_local_free(l);
	return NULL;
}

static void
stop_engine(struct get_local *l)
{
	int64_t until = clock_mono_ms() + HOME_MS;

	engine_drain(l->engine);
	while (!engine_is_idle(l->engine) && clock_mono_ms() < until)
		loop_turn(l->loop, 5);
	if (!engine_is_idle(l->engine))
		log_error("some transfers did not end in %d s", HOME_MS / 1000);
	engine_free(l->engine);
	l->engine = NULL;
}

void
get_local_free(struct get_local *l)
{
	if (l == NULL)
		return;
	if (l->caller != NULL)
		task_caller_cancel(l->caller);
	loop_defer_clear(&l->later);
	store_file_unref(l->file);
	if (l->task != NULL)
		store_task_release(l->task);
	if (l->engine != NULL)
		stop_engine(l);
	if (l->workers != NULL)
		workers_free(l->workers);
	loop_turn(l->loop, 0);
	if (l->store != NULL)
		store_close(l->store);
	if (l->dir != NULL && !l->keep_dir)
		nftw(l->dir, remove_entry, REMOVE_FDS, FTW_DEPTH | FTW_PHYS);
	if (l->dir != NULL)
		config_free(&l->config);
	free(l->dir);
	free(l->ready);
	free(l);
}
