#include "peer/output.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "peer/engine.h"
#include "peer/task.h"
#include "peer/worker.h"
#include "store/file.h"
#include "store/os/creds.h"
#include "store/output.h"

/* Bytes copied between two looks at the cancel flag. */
#define COPY_STEP_BYTES (UINT64_C(16) << 20)
/* Bytes that the digest of a download under way takes in one go: others wait for the same threads. */
#define FOLLOW_STEP_BYTES (UINT64_C(64) << 20)

struct checked_piece {
	uint32_t number, crc;
	uint64_t offset, length;
	bool is_good, was_read;
};

struct output_job {
	struct work_job work;
	struct task *task;              /* kept alive by `watch` */
	struct task_watch watch;
	output_done_fn *done;
	void *ctx;
	atomic_bool is_cancelled;
	struct store_file *file;
	struct err err;

	/* Checking pieces. */
	struct checked_piece *pieces;
	size_t piece_count;

	/* The digest, while pieces still come (following) and of the rest afterwards. */
	bool is_following, is_working, is_due;
	bool is_stale;                  /* what it read came anew: from the beginning */
	bool has_failed;
	uint64_t at;                    /* read so far */
	uint64_t from, until;           /* of the step that is under way */
	uint64_t followed;              /* read, for sure, when the last piece came */
	bool is_early;                  /* something was read before */
	struct digest digest;

	/* Verifying and placing. */
	uint64_t length;
	bool has_digest;
	enum digest_kind kind;
	char want[DIGEST_HEX_MAX];
	bool digest_differs;
	char *target;
	const char *root;
	mode_t mode;
	bool syncs, overwrite, force_link, may_link, was_linked;
	bool has_owner;
	uid_t uid;
	gid_t gid;
};

static void
ignore_piece(struct task_watch *w, uint32_t number)
{
	(void)w;
	(void)number;
}

static struct output_job *
job_new(struct task *t, struct store_file *file, output_done_fn *done, void *ctx)
{
	struct output_job *job = xcalloc(1, sizeof *job);

	job->task = t;
	job->watch.task = t;
	job->watch.on_piece = ignore_piece;
	list_add_tail(&t->watchers, &job->watch.link);
	job->file = file;
	job->done = done;
	job->ctx = ctx;
	atomic_init(&job->is_cancelled, false);
	return job;
}

static void
job_free(struct output_job *job)
{
	task_unwatch(&job->watch);
	store_file_unref(job->file);
	free(job->pieces);
	free(job->target);
	free(job);
}

void
output_cancel(struct output_job *job)
{
	atomic_store(&job->is_cancelled, true);
	if (job->is_following && !job->is_working)
		job_free(job);
}

/* ---- digests as users write them ---- */

/* crc32 is written in decimal (spec: wire.md 1.9); digest_parse takes hexadecimal ones alone. */
static int
parse_digest(struct slice text, enum digest_kind *kind, char hex[DIGEST_HEX_MAX], struct err *e)
{
	char *s;
	uint64_t crc;
	int rc = -1;

	if (text.n > DIGEST_TEXT_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "invalid digest: longer than %d characters", DIGEST_TEXT_MAX);
	s = slice_dup(text);
	if (slice_starts(text, "crc32:")) {
		*kind = DIGEST_CRC32;
		if (slice_to_u64(slice_sub(text, 6, text.n), &crc) < 0 || crc > UINT32_MAX)
			err_set(e, ERR_INVALID_ARGUMENT, "invalid digest(%s): crc32 takes 1 to 10 decimal digits", s);
		else
			rc = snprintf(hex, DIGEST_HEX_MAX, "%08x", (unsigned)crc) == 8 ? 0 : -1;
	} else {
		rc = digest_parse(s, kind, hex, e);
		if (rc < 0)
			err_wrap(e, "invalid digest(%s)", s);
	}
	free(s);
	return rc;
}

static void
format_digest(enum digest_kind kind, const char *hex, char out[DIGEST_TEXT_MAX])
{
	if (kind == DIGEST_CRC32)
		snprintf(out, DIGEST_TEXT_MAX, "crc32:%lu", strtoul(hex, NULL, 16));
	else
		snprintf(out, DIGEST_TEXT_MAX, "%s:%s", digest_kind_name(kind), hex);
}

int
output_check_digest(const struct common_download *d, struct err *e)
{
	enum digest_kind kind;
	char hex[DIGEST_HEX_MAX];

	return d->digest.n == 0 ? 0 : parse_digest(d->digest, &kind, hex, e);
}

/* ---- early check of the path ---- */

static struct store_output_options
options_of(const struct output_job *job)
{
	/* Who has every piece synced has outputs synced, too, before they are answered; else that follows (store_output_placed). */
	return (struct store_output_options){.target = job->target, .beneath = job->root, .overwrite = job->overwrite,
		.sync = job->syncs, .mode = job->mode};
}

int
output_check(struct task *t, const struct task_caller *c, struct err *e)
{
	const struct common_download *d = &c->download;
	struct store_output_options o = {.beneath = c->output_root, .overwrite = d->overwrite};
	struct store_file *f;
	char *target;
	int rc;

	if (d->output_path.n == 0 || c->has_range)
		return 0;
	target = slice_dup(d->output_path);
	o.target = target;
	f = store_task_file(t->store, NULL);
	rc = c->has_owner ? creds_become(c->uid, c->gid, e) : 0;
	if (rc == 0) {
		rc = store_output_check(NULL, &o, t->engine->o.config->storage.dir, f, d->force_hard_link, e);
		if (c->has_owner)
			creds_restore(c->uid);
	}
	store_file_unref(f);
	free(target);
	return rc;
}

/* ---- checking pieces ---- */

static void
check_work(struct work_job *work)
{
	struct output_job *job = CONTAINER_OF(work, struct output_job, work);
	void *buf = xmalloc(STORE_IO_BYTES);
	struct err e;

	for (size_t i = 0; i < job->piece_count && !atomic_load(&job->is_cancelled); i++) {
		struct checked_piece *p = &job->pieces[i];

		p->is_good = store_file_check(job->file, p->offset, p->length, p->crc, buf, &e) == 0;
		p->was_read = true;
	}
	free(buf);
}

static void
check_done(struct work_job *work)
{
	struct output_job *job = CONTAINER_OF(work, struct output_job, work);
	bool is_cancelled = atomic_load(&job->is_cancelled);

	for (size_t i = 0; i < job->piece_count && !job->task->is_deleted; i++)
		if (job->pieces[i].was_read)
			store_piece_checked(job->task->store, job->pieces[i].number, job->pieces[i].is_good);
	if (!is_cancelled)
		job->done(job->ctx, NULL);
	job_free(job);
}

struct output_job *
output_check_pieces(struct task *t, output_done_fn *done, void *ctx)
{
	struct store_file *file;
	struct output_job *job;
	struct checked_piece *list;
	struct store_piece p;
	size_t n = 0;

	if (t->piece_count == 0)
		return NULL;
	file = store_task_file(t->store, NULL);
	if (file == NULL) {
		store_task_content_missing(t->store);
		return NULL;
	}
	store_task_content_changed(t->store, file);
	list = xcalloc(t->piece_count, sizeof *list);
	for (uint32_t i = 0; i < t->piece_count; i++)
		if (store_piece_get(t->store, i, &p) == 0 && p.needs_check && p.has_crc)
			list[n++] = (struct checked_piece){.number = i, .crc = p.crc, .offset = p.offset, .length = p.length};
	if (n == 0) {
		free(list);
		store_file_unref(file);
		return NULL;
	}
	job = job_new(t, file, done, ctx);
	job->pieces = list;
	job->piece_count = n;
	job->work.work = check_work;
	job->work.done = check_done;
	work_start(t->engine->o.workers, &job->work);
	return job;
}

/* ---- the digest ---- */

static void
digest_from_start(struct output_job *job)
{
	digest_init(&job->digest, job->kind);
	job->at = 0;
}

static int
digest_to(struct output_job *job, uint64_t end)
{
	uint8_t *buf = xmalloc(STORE_IO_BYTES);
	int rc = 0;

	while (rc == 0 && job->at < end) {
		size_t n = end - job->at < STORE_IO_BYTES ? (size_t)(end - job->at) : STORE_IO_BYTES;

		if (atomic_load(&job->is_cancelled) || store_file_pread(job->file, buf, n, job->at, &job->err) < 0) {
			rc = -1;
		} else {
			digest_update(&job->digest, buf, n);
			job->at += n;
		}
	}
	free(buf);
	return rc;
}

static int
verify(struct output_job *job)
{
	char hex[DIGEST_HEX_MAX], want[DIGEST_TEXT_MAX], got[DIGEST_TEXT_MAX];

	if (digest_to(job, job->length) < 0)
		return -1;
	digest_final_hex(&job->digest, hex);
	if (strcmp(hex, job->want) == 0)
		return 0;
	/* What was read early is not blamed on the content before it was read again. */
	if (job->is_early) {
		job->is_early = false;
		digest_from_start(job);
		return verify(job);
	}
	format_digest(job->kind, job->want, want);
	format_digest(job->kind, hex, got);
	job->digest_differs = true;
	return err_set(&job->err, ERR_INTERNAL, "digest mismatch expected: %s, actual: %s", want, got);
}

/* ---- the digest of pieces as they come ---- */

static void output_go(struct output_job *job);
static void follow(struct output_job *job);

static void
follow_work(struct work_job *work)
{
	struct output_job *job = CONTAINER_OF(work, struct output_job, work);

	job->has_failed = digest_to(job, job->until) < 0;
}

static void
follow_done(struct work_job *work)
{
	struct output_job *job = CONTAINER_OF(work, struct output_job, work);

	job->is_working = false;
	if (atomic_load(&job->is_cancelled)) {
		job_free(job);
		return;
	}
	if (job->has_failed) {
		err_clear(&job->err);
		job->is_stale = true;
	}
	if (job->is_due)
		output_go(job);
	else if (!job->has_failed)
		follow(job);
}

/* On to the first piece that is missing. */
static void
follow(struct output_job *job)
{
	struct store_task *t = job->task->store;
	uint64_t there = (uint64_t)store_task_prefix(t) * t->piece_length;

	if (job->is_working || job->task->is_deleted)
		return;
	if (job->is_stale)
		digest_from_start(job);
	job->is_stale = false;
	there = there < job->length ? there : job->length;
	if (there <= job->at)
		return;
	job->until = there - job->at < FOLLOW_STEP_BYTES ? there : job->at + FOLLOW_STEP_BYTES;
	job->from = job->at;
	job->is_working = true;
	work_start(job->task->engine->o.workers, &job->work);
}

static void
follow_on_piece(struct task_watch *w, uint32_t number)
{
	struct output_job *job = CONTAINER_OF(w, struct output_job, watch);

	if (!job->is_following)
		return;
	if ((uint64_t)number * job->task->store->piece_length < (job->is_working ? job->until : job->at))
		job->is_stale = true;
	follow(job);
}

struct output_job *
output_follow(struct task *t, const struct task_caller *c)
{
	struct output_job *job;
	struct store_file *file;

	/* Who watches a task wants all of it soon; who reads along does not. */
	if (c->has_range || c->in_order || c->download.digest.n == 0 || t->store->content_length == STORE_LENGTH_UNKNOWN)
		return NULL;
	file = store_task_file(t->store, NULL);
	if (file == NULL)
		return NULL;
	job = job_new(t, file, NULL, NULL);
	if (parse_digest(c->download.digest, &job->kind, job->want, &job->err) < 0) {
		job_free(job);
		return NULL;
	}
	job->has_digest = job->is_following = true;
	job->length = t->store->content_length;
	job->watch.on_piece = follow_on_piece;
	job->work.work = follow_work;
	job->work.done = follow_done;
	digest_from_start(job);
	follow(job);
	return job;
}

/* ---- verifying and placing ---- */

static int
copy(struct output_job *job, const struct store_output_options *o)
{
	struct store_output *out = store_output_open(job->file, job->length, o, &job->err);
	int more = 1;

	if (out == NULL)
		return -1;
	while (more > 0) {
		if (atomic_load(&job->is_cancelled))
			more = err_set(&job->err, ERR_CANCELLED, "cancelled");
		else
			more = store_output_step(out, COPY_STEP_BYTES, &job->err);
	}
	if (more == 0)
		return store_output_commit(out, &job->err);
	store_output_abort(out);
	return -1;
}

/* A link where it is possible and harmless, else a copy. */
static int
place(struct output_job *job)
{
	struct store_output_options o = options_of(job);

	if (store_output_is_same(job->file, job->target))
		return 0;
	if (job->force_link || job->may_link) {
		if (store_output_link(job->file, &o, &job->err) == 0) {
			job->was_linked = true;
			return 0;
		}
		if (job->force_link || job->err.code == ERR_ALREADY_EXISTS)
			return -1;
		err_clear(&job->err);
	}
	return copy(job, &o);
}

static void
output_work(struct work_job *work)
{
	struct output_job *job = CONTAINER_OF(work, struct output_job, work);

	if (job->has_digest && verify(job) < 0)
		return;
	if (job->target == NULL)
		return;
	if (!job->has_owner) {
		place(job);
	} else if (creds_become(job->uid, job->gid, &job->err) == 0) {
		place(job);
		creds_restore(job->uid);
	}
}

static void
output_done(struct work_job *work)
{
	struct output_job *job = CONTAINER_OF(work, struct output_job, work);
	struct task *t = job->task;
	struct err e;

	if (job->was_linked && !t->is_deleted)
		store_task_linked(t->store, job->file);
	if (job->has_digest && job->err.code == ERR_OK)
		log_debug("digest verified task=%s bytes=%llu read_after_last_piece=%llu", t->id, (unsigned long long)job->length,
		    (unsigned long long)(job->length - job->followed));
	if (job->target != NULL && job->err.code == ERR_OK)
		store_output_placed(t->engine->o.store, job->target);
	if (job->digest_differs && !t->is_deleted) {
		log_error("content does not match the digest asked for, dropped task=%s error=\"%s\"", t->id, job->err.text);
		if (store_task_reset(t->store, &e) < 0)
			log_error("content cannot be dropped task=%s error=\"%s\"", t->id, e.text);
		store_task_fail(t->store, clock_wall_ns());
		t->phase = TASK_NEW;
	}
	if (!atomic_load(&job->is_cancelled))
		job->done(job->ctx, job->err.code != 0 ? &job->err : NULL);
	job_free(job);
}

static void
output_go(struct output_job *job)
{
	if (job->is_stale)
		digest_from_start(job);
	job->is_following = false;
	job->is_early = job->at > 0;
	job->work.work = output_work;
	job->work.done = output_done;
	work_start(job->task->engine->o.workers, &job->work);
}

/* The job that followed the download, if it read the file that is the content now; else a new one. */
static struct output_job *
job_for(struct task *t, struct output_job *following, struct store_file *file, const struct common_download *d, struct err *e)
{
	struct output_job *job;

	if (following != NULL && following->file == file && following->length == t->store->content_length) {
		store_file_unref(file);
		return following;
	}
	if (following != NULL)
		output_cancel(following);
	job = job_new(t, file, NULL, NULL);
	job->length = t->store->content_length;
	if (d->digest.n == 0)
		return job;
	job->has_digest = true;
	if (parse_digest(d->digest, &job->kind, job->want, e) < 0) {
		job_free(job);
		return NULL;
	}
	digest_from_start(job);
	return job;
}

struct output_job *
output_start(struct task *t, struct task_caller *c, struct output_job *following, output_done_fn *done, void *ctx, struct err *e)
{
	const struct common_download *d = &c->download;
	struct output_job *job;
	struct store_file *file;

	err_clear(e);
	if (c->has_range || (d->output_path.n == 0 && d->digest.n == 0))
		return NULL;
	file = store_task_file(t->store, e);
	if (file == NULL) {
		if (following != NULL)
			output_cancel(following);
		return NULL;
	}
	job = job_for(t, following, file, d, e);
	if (job == NULL)
		return NULL;
	job->done = done;
	job->ctx = ctx;
	if (d->output_path.n > 0) {
		job->target = slice_dup(d->output_path);
		job->root = c->output_root;
		job->mode = t->engine->o.output_mode;
		job->overwrite = d->overwrite;
		job->syncs = t->engine->o.config->x.storage.sync == CONFIG_SYNC_PIECE;
		job->force_link = d->force_hard_link;
		job->has_owner = c->has_owner;
		job->uid = c->uid;
		job->gid = c->gid;
		/* What others may write to is no place for the content's own inode. */
		job->may_link = c->output_root == NULL && (!c->has_owner || c->uid == geteuid());
	}
	/* Behind the step of the digest that is under way. */
	job->is_due = true;
	job->followed = job->is_stale ? 0 : job->is_working ? job->from : job->at;
	if (!job->is_working)
		output_go(job);
	return job;
}
