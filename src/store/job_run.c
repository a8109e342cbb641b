/*
 * The work of jobs, on any thread: touches nothing of the store but its descriptors and its table of calls.
 */
#include "store/job.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/ahead.h"
#include "store/os/file_os.h"

#define TREE_DEPTH 4                            /* trash-n / kind / shard / file */

static void
failed(struct store_job *job, const char *what)
{
	if (job->errnum == 0) {
		job->errnum = errno == 0 ? EIO : errno;
		job->what = what;
	}
}

static void
run_content(struct store_job *job)
{
	struct store *s = job->s;

	if (store_datasync(s->sys, job->content->fd) < 0)
		failed(job, "sync content");
	if (store_sync_dir(s->sys, s->content_fd, job->shard) < 0)
		failed(job, "sync content directory");
	if (job->syncs_content_parent && store_sync_dir(s->sys, s->content_fd, store_kind_dirs[job->kind]) < 0)
		failed(job, "sync content directory");
}

static void
sync_journal(struct store_job *job)
{
	struct store *s = job->s;
	int fd = store_open_at(s->sys, s->meta_fd, job->journal, O_RDWR, 0);

	/* A task without content bytes has none. */
	if (fd < 0 && errno == ENOENT)
		return;
	if (fd < 0 || store_datasync(s->sys, fd) < 0)
		failed(job, "sync journal");
	if (fd >= 0)
		s->sys->close(fd);
}

static void
run_record(struct store_job *job)
{
	struct store *s = job->s;

	if (job->covered > 0)
		sync_journal(job);
	if (job->writes_record && job->errnum == 0 && store_write_file(s->sys, s->tmp_fd, job->tmp, s->file_mode, buf_data(&job->meta),
	    buf_slice(&job->meta).n, s->o.sync != STORE_SYNC_NONE) < 0)
		failed(job, "write record");
}

static void
run_name(struct store_job *job)
{
	struct store *s = job->s;

	if (store_sync_dir(s->sys, s->meta_fd, job->shard) < 0)
		failed(job, "sync record directory");
	if (job->syncs_meta_parent && store_sync_dir(s->sys, s->meta_fd, store_kind_dirs[job->kind]) < 0)
		failed(job, "sync record directory");
}

/* The record first: without it the rest is rubbish that a start removes. */
int
store_trash_unlink(struct store *s, const struct trash *item)
{
	static const struct { bool is_meta; const char *suffix; } files[] = { { true, ".m" }, { true, ".p" }, { false, "" } };
	char name[STORE_NAME_MAX];
	int errnum = 0;

	for (size_t i = 0; i < COUNT_OF(files); i++) {
		store_name(name, item->kind, item->id, files[i].suffix);
		if (s->sys->unlinkat(files[i].is_meta ? s->meta_fd : s->content_fd, name, 0) < 0 && errno != ENOENT && errnum == 0)
			errnum = errno;
	}
	errno = errnum;
	return errnum == 0 ? 0 : -1;
}

static void
unlink_trash(struct store_job *job, struct trash *item)
{
	unsigned waiting = TRASH_WAITING;
	char name[STORE_NAME_MAX];

	if (item->has_names && atomic_compare_exchange_strong(&item->state, &waiting, TRASH_AT_WORK)) {
		if (store_trash_unlink(job->s, item) < 0)
			failed(job, "unlink files of a deleted task");
		atomic_store(&item->state, TRASH_DONE);
	}
	snprintf(name, sizeof(name), "d-%" PRIu32, item->number);
	if (item->has_file && job->s->sys->unlinkat(job->s->tmp_fd, name, 0) < 0 && errno != ENOENT)
		failed(job, "unlink deleted content");
}

static void
run_trash(struct store_job *job)
{
	LIST_EACH(it, next, &job->trash)
		unlink_trash(job, CONTAINER_OF(it, struct trash, link));
}

static void
run_shards(struct store_job *job)
{
	struct store *s = job->s;
	char name[STORE_NAME_MAX];

	for (size_t i = 0; i < job->shard_count; i++) {
		store_shard_name(name, job->shards[i].kind, job->shards[i].shard);
		/* After a crash there may be content alone. */
		if (store_sync_dir(s->sys, s->meta_fd, name) < 0 && errno != ENOENT)
			failed(job, "sync record directory");
	}
	for (int kind = 0; kind < STORE_KINDS; kind++)
		if ((job->syncs_meta_kind[kind] && store_sync_dir(s->sys, s->meta_fd, store_kind_dirs[kind]) < 0) ||
		    (job->syncs_content_kind[kind] && store_sync_dir(s->sys, s->content_fd, store_kind_dirs[kind]) < 0))
			failed(job, "sync directory of shards");
}

static void
run_tree(struct store_job *job)
{
	char name[32];

	for (uint32_t n = job->tree_from; n < job->tree_to; n++) {
		snprintf(name, sizeof(name), "trash-%" PRIu32, n);
		if (store_remove_tree(job->s->sys, job->s->dir_fd, name, TREE_DEPTH) < 0)
			failed(job, "remove the store of an earlier run");
	}
}

static void
run_verify(struct store_job *job)
{
	void *buf = xmalloc(STORE_IO_BYTES);
	struct err e = {0};

	for (size_t i = 0; i < job->check_count; i++) {
		struct check *c = &job->checks[i];

		if (store_file_check(job->content, c->offset, c->length, c->crc, buf, &e) < 0)
			c->is_bad = true;
	}
	free(buf);
}

static void
run_cache(struct store_job *job)
{
	store_os_drop_cache(job->content->fd);
}

/* Another user's directory: what is opened may be anything, and is only synced. */
static void
sync_placed(const struct store_sys *sys, const char *path)
{
	const char *slash = strrchr(path, '/');
	char *dir = xstrndup(path, slash == path ? 1 : (size_t)(slash - path));
	int fd = store_open_at(sys, AT_FDCWD, path, O_RDONLY | O_NONBLOCK, 0);
	struct stat st;

	if (fd >= 0) {
		if (sys->fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && store_datasync(sys, fd) == 0 &&
		    store_sync_dir(sys, AT_FDCWD, dir) < 0)
			log_debug("directory of an output not synced path=%s error=\"%s\"", path, strerror(errno));
		sys->close(fd);
	}
	free(dir);
}

static void
run_placed(struct store_job *job)
{
	LIST_EACH(it, next, &job->placed)
		sync_placed(job->s->sys, CONTAINER_OF(it, struct placed, link)->path);
}

static void
run_index(struct store_job *job)
{
	const struct store_sys *sys = job->s->sys;

	if (store_write_all(sys, job->fd, buf_data(&job->meta), job->meta.len, job->at) < 0 ||
	    (job->syncs_index && job->s->o.sync != STORE_SYNC_NONE && store_datasync(sys, job->fd) < 0))
		failed(job, "write index");
}

/* Brings into memory what the control loop reads next (store_scan_shard): it shall not wait for a disk. */
static void
run_look(struct store_job *job)
{
	store_ahead_look(job->s, job->kind, job->look_at);
}

void
store_job_run(struct store_job *job)
{
	static void (*const steps[])(struct store_job *) = {
		[STEP_CONTENT] = run_content, [STEP_RECORD] = run_record, [STEP_NAME] = run_name,
		[STEP_TRASH] = run_trash, [STEP_SHARDS] = run_shards, [STEP_TREE] = run_tree, [STEP_VERIFY] = run_verify,
		[STEP_CACHE] = run_cache, [STEP_PLACED] = run_placed, [STEP_INDEX] = run_index, [STEP_LOOK] = run_look,
	};

	steps[job->step](job);
}
