/*
 * The content file of a task: making, opening, recognising, moving it out of the way; and which descriptors stay open.
 */
#include "store/private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"

/* The removal of a deleted task's files by another thread, which the task of the same id waits for. */
#define RECLAIM_MAX_MS 2000

int
store_ready_shard(struct store_task *t, struct err *e)
{
	struct store *s = t->store;
	unsigned shard = store_shard(t->id);
	uint8_t *state = &s->shards[t->kind][shard];
	char name[STORE_NAME_MAX];

	store_shard_name(name, t->kind, shard);
	if (!(*state & SHARD_META)) {
		if (s->sys->mkdirat(s->meta_fd, name, s->dir_mode) == 0)
			*state |= SHARD_META_NEW;
		else if (errno != EEXIST)
			return err_sys(e, errno, "make %s/meta/%s", s->dir, name);
		*state |= SHARD_META;
	}
	if (!(*state & SHARD_CONTENT)) {
		if (s->sys->mkdirat(s->content_fd, name, s->dir_mode) == 0)
			*state |= SHARD_CONTENT_NEW;
		else if (errno != EEXIST)
			return err_sys(e, errno, "make %s/content/%s", s->dir, name);
		*state |= SHARD_CONTENT;
	}
	if ((*state & SHARD_DELETED) && s->o.sync != STORE_SYNC_NONE) {
		if (store_sync_dir(s->sys, s->meta_fd, name) < 0)
			return err_sys(e, errno, "sync %s/meta/%s", s->dir, name);
		s->deleted_shards -= (*state & SHARD_DELETED_AGAIN) != 0;
		*state &= (uint8_t)~(SHARD_DELETED | SHARD_DELETED_AGAIN);
	}
	return 0;
}

void
store_shard_deleted(struct store *s, enum store_kind kind, unsigned shard)
{
	uint8_t *state = &s->shards[kind][shard];

	if (!(*state & SHARD_DELETED_AGAIN) && s->deleted_shards++ == 0)
		s->deleted_since = clock_mono_ns();
	*state |= SHARD_DELETED | SHARD_DELETED_AGAIN;
}

void
store_opened(struct store_task *t)
{
	struct store *s = t->store;

	if (list_is_empty(&t->open_order))
		s->open_count++;
	list_del(&t->open_order);
	list_add_tail(&s->open_files, &t->open_order);
}

void
store_close_files(struct store_task *t)
{
	if (!list_is_empty(&t->open_order))
		t->store->open_count--;
	list_del(&t->open_order);
	store_file_unref(t->file);
	t->file = NULL;
	if (t->journal_fd >= 0)
		t->store->sys->close(t->journal_fd);
	t->journal_fd = -1;
}

void
store_shrink_open(struct store *s)
{
	LIST_EACH(it, next, &s->open_files) {
		struct store_task *t = CONTAINER_OF(it, struct store_task, open_order);

		if (s->open_count <= s->o.max_open)
			break;
		if (t->uses == 0)
			store_close_files(t);
	}
}

static struct store_file *
adopt(struct store_task *t, int fd)
{
	struct store *s = t->store;
	char name[STORE_NAME_MAX], *path;
	struct store_file *f;
	size_t n = strlen(s->dir) + sizeof("/content/") + STORE_NAME_MAX;

	store_name(name, t->kind, t->id, "");
	f = xcalloc(1, sizeof(*f) + n);
	path = (char *)(f + 1);
	snprintf(path, n, "%s/content/%s", s->dir, name);
	f->fd = fd;
	f->path = path;
	f->sys = s->sys;
	atomic_init(&f->refs, 1);
	t->file = f;
	store_opened(t);
	store_shrink_open(s);
	return f;
}

struct store_file *
store_content_open(struct store_task *t, struct err *e)
{
	struct store *s = t->store;
	char name[STORE_NAME_MAX];
	int fd;

	if (t->file) {
		store_opened(t);
		return t->file;
	}
	store_name(name, t->kind, t->id, "");
	fd = store_open_at(s->sys, s->content_fd, name, O_RDWR, 0);
	if (fd < 0 && (errno == EACCES || errno == EROFS) && t->finished_at != 0)
		fd = store_open_at(s->sys, s->content_fd, name, O_RDONLY, 0);
	if (fd < 0) {
		err_sys(e, errno, "open %s/content/%s", s->dir, name);
		return NULL;
	}
	return adopt(t, fd);
}

static int
no_space(struct store_task *t, int errnum, struct err *e)
{
	struct store_usage u = {0};

	store_usage(t->store, &u, NULL);
	store_gc_demand(t->store, t->content_length == STORE_LENGTH_UNKNOWN ? t->piece_length : t->content_length);
	err_set(e, ERR_RESOURCE_EXHAUSTED, "no space left on device: not enough space to store the task: content_length=%" PRIu64
		", available=%" PRIu64 "%s", t->content_length, u.available, errnum == EDQUOT ? ": disk quota exceeded" : "");
	if (e)
		e->sys = errnum;
	return -1;
}

/* A file without record under our name is left from a crash. */
static int
open_fresh(struct store_task *t, const char *name)
{
	struct store *s = t->store;
	int fd = store_open_at(s->sys, s->content_fd, name, O_RDWR | O_CREAT | O_EXCL, s->file_mode);

	if (fd < 0 && errno == ENOENT && store_heal(t) == 0)
		fd = store_open_at(s->sys, s->content_fd, name, O_RDWR | O_CREAT | O_EXCL, s->file_mode);
	if (fd >= 0 || errno != EEXIST)
		return fd;
	if (s->sys->unlinkat(s->content_fd, name, 0) < 0)
		return -1;
	return store_open_at(s->sys, s->content_fd, name, O_RDWR | O_CREAT | O_EXCL, s->file_mode);
}

static int
size_fresh(struct store_task *t, int fd)
{
	const struct store_sys *sys = t->store->sys;
	int rc;

	if (t->content_length == STORE_LENGTH_UNKNOWN || t->content_length == 0)
		return 0;
	do
		rc = sys->ftruncate(fd, (off_t)t->content_length);
	while (rc < 0 && errno == EINTR);
	if (rc < 0)
		return -1;
	do
		rc = sys->preallocate(fd, (off_t)t->content_length);
	while (rc < 0 && errno == EINTR);
	/* Preallocation is for speed and an early answer; a file system may know it under none of its names. */
	if (rc < 0 && errno != ENOSPC && errno != EDQUOT && errno != EIO)
		rc = 0;
	return rc;
}

int
store_content_create(struct store_task *t, struct err *e)
{
	struct store *s = t->store;
	char name[STORE_NAME_MAX];
	int fd, saved;

	if (store_content_reclaim(t, e) < 0)
		return -1;
	if (store_ready_shard(t, e) < 0 && (errno != ENOENT || store_heal(t) < 0))
		return -1;
	store_name(name, t->kind, t->id, "");
	fd = open_fresh(t, name);
	if (fd >= 0 && size_fresh(t, fd) < 0) {
		saved = errno;
		s->sys->close(fd);
		s->sys->unlinkat(s->content_fd, name, 0);
		errno = saved;
		fd = -1;
	}
	if (fd < 0 && (errno == ENOSPC || errno == EDQUOT))
		return no_space(t, errno, e);
	if (fd < 0)
		return err_sys(e, errno, "create %s/content/%s", s->dir, name);
	store_close_files(t);
	adopt(t, fd);
	t->journal_records = 0;
	t->generation++;
	store_content_look(t);
	return 0;
}

void
store_content_look(struct store_task *t)
{
	struct stat st;

	if (store_content_open(t, NULL) && t->store->sys->fstat(t->file->fd, &st) == 0)
		store_task_account(t, (uint64_t)st.st_blocks * 512);
}

void
store_content_remember(struct store_task *t)
{
	struct store_identity id;

	t->has_identity = store_content_open(t, NULL) && store_file_identity(t->file, &id, NULL) == 0;
	if (!t->has_identity)
		return;
	t->id_ino = id.ino;
	t->id_size = id.size;
	t->id_mtime_ns = id.mtime_ns;
}

static int
unlink_name(struct store *s, int dir, const char *under, const char *name, struct err *e)
{
	if (s->sys->unlinkat(dir, name, 0) == 0 || errno == ENOENT)
		return 0;
	return err_sys(e, errno, "unlink %s/%s/%s", s->dir, under, name);
}

int
store_content_discard(struct store_task *t, struct err *e)
{
	struct store *s = t->store;
	struct trash *item = xcalloc(1, sizeof(*item));
	char name[STORE_NAME_MAX], aside[32];
	int rc;

	item->kind = t->kind;
	item->shard = store_shard(t->id);
	item->number = s->next_tmp++;

	t->generation++;
	store_close_files(t);
	/* The record first: without it the rest is rubbish that the next start removes. */
	store_name(name, t->kind, t->id, ".m");
	rc = unlink_name(s, s->meta_fd, "meta", name, e);
	if (rc == 0)
		store_shard_deleted(s, t->kind, item->shard);
	store_name(name, t->kind, t->id, ".p");
	if (unlink_name(s, s->meta_fd, "meta", name, rc == 0 ? e : NULL) < 0)
		rc = -1;
	store_name(name, t->kind, t->id, "");
	snprintf(aside, sizeof(aside), "d-%" PRIu32, item->number);
	item->has_file = s->sys->renameat(s->content_fd, name, s->tmp_fd, aside) == 0;
	if (!item->has_file && errno != ENOENT && unlink_name(s, s->content_fd, "content", name, rc == 0 ? e : NULL) < 0)
		rc = -1;
	store_trash_add(s, item);
	t->journal_records = 0;
	if (rc == 0) {
		t->on_disk = false;
		t->meta_is_synced = false;
	}
	return rc;
}

void
store_content_discard_later(struct store_task *t, uint64_t disk_bytes)
{
	struct store *s = t->store;
	struct trash *item = xcalloc(1, sizeof(*item));

	t->generation++;
	store_close_files(t);
	item->kind = t->kind;
	item->shard = store_shard(t->id);
	item->has_names = true;
	item->bytes = disk_bytes;
	snprintf(item->id, sizeof(item->id), "%s", t->id);
	s->leaving_bytes += item->bytes;
	map_put(&s->leaving[t->kind], slice_str(item->id), item);
	store_trash_add(s, item);
}

int
store_content_reclaim(struct store_task *t, struct err *e)
{
	struct store *s = t->store;
	struct trash *item = map_get(&s->leaving[t->kind], slice_str(t->id));
	int64_t until = clock_mono_ms() + RECLAIM_MAX_MS;
	unsigned waiting = TRASH_WAITING;

	if (!item)
		return 0;
	if (atomic_compare_exchange_strong(&item->state, &waiting, TRASH_AT_WORK)) {
		if (store_trash_unlink(s, item) < 0)
			log_warn("files of a deleted task not removed dir=%s task=%s error=\"%s\"", s->dir, t->id, strerror(errno));
		atomic_store(&item->state, TRASH_DONE);
	}
	/* Another thread is at these very files: a few calls, unless the disk hangs. */
	while (atomic_load(&item->state) != TRASH_DONE) {
		if (clock_mono_ms() >= until)
			return err_set(e, ERR_UNAVAILABLE, "files of the deleted task %s are still being removed after %d ms", t->id, RECLAIM_MAX_MS);
		nanosleep(&(struct timespec){ .tv_nsec = 100000 }, NULL);
	}
	map_del(&s->leaving[t->kind], slice_str(t->id));
	store_shard_deleted(s, t->kind, item->shard);
	return 0;
}

struct store_file *
store_task_file(struct store_task *t, struct err *e)
{
	if (t->is_deleted || t->piece_length == 0) {
		err_set(e, ERR_NOT_FOUND, t->is_deleted ? "task %s was deleted" : "task %s has no content yet", t->id);
		return NULL;
	}
	return store_content_open(t, e) ? store_file_ref(t->file) : NULL;
}

void
store_task_linked(struct store_task *t, const struct store_file *f)
{
	if (t->is_deleted || t->file != f)
		return;
	/* Makes a careless edit fail; a wilful one is found by the identity. */
	if (t->store->sys->fchmod(f->fd, 0444) < 0)
		log_warn("content not made read-only path=%s error=\"%s\"", f->path, strerror(errno));
	if (t->is_linked)
		return;
	t->is_linked = true;
	store_content_remember(t);
	store_task_changed_late(t);
}

bool
store_content_is_shared(struct store_task *t)
{
	struct stat st;

	/* The record of a link may be lost in a crash, the link itself is not. */
	return t->is_linked || (store_content_open(t, NULL) && t->store->sys->fstat(t->file->fd, &st) == 0 && st.st_nlink > 1);
}

void
store_content_cut(struct store_task *t)
{
	struct store *s = t->store;
	struct stat st;
	struct err e = {0};

	if (t->content_length == STORE_LENGTH_UNKNOWN || !store_content_open(t, NULL) || s->sys->fstat(t->file->fd, &st) < 0 ||
	    (uint64_t)st.st_size <= t->content_length)
		return;
	log_warn("content is longer than it should be task=%s path=%s size=%" PRIu64, t->id, t->file->path, (uint64_t)st.st_size);
	/* A user's file is theirs; ours is cut to what it should be. */
	if (!store_content_is_shared(t) && s->sys->ftruncate(t->file->fd, (off_t)t->content_length) == 0)
		return;
	if (store_task_reset(t, &e) < 0)
		log_warn("content not replaced task=%s error=\"%s\"", t->id, e.text);
}

bool
store_task_content_changed(struct store_task *t, const struct store_file *f)
{
	struct store_identity id;

	if (t->is_deleted || t->finished_at == 0 || store_load(t, NULL) < 0)
		return false;
	/* A record from before the end of its download: whatever the file is now is what its pieces are checked in. */
	if (!t->has_identity) {
		store_content_cut(t);
		store_content_remember(t);
		return t->finished_at == 0;
	}
	if (store_file_identity(f, &id, NULL) == 0 && id.ino == t->id_ino && id.size == t->id_size && id.mtime_ns == t->id_mtime_ns)
		return false;
	log_warn("content was changed by another program, checking its pieces task=%s path=%s", t->id, f->path);
	store_content_cut(t);
	if (t->finished_at == 0)
		return true;
	store_distrust(t);
	store_content_remember(t);
	return true;
}

bool
store_content_is_lost(const struct err *e)
{
	return e->sys == ENOENT || e->sys == EACCES || e->sys == EPERM || e->sys == ELOOP;
}

void
store_task_content_missing(struct store_task *t)
{
	struct err e = {0};

	if (t->is_deleted || !t->on_disk || store_content_open(t, &e) || !store_content_is_lost(&e))
		return;
	log_error("content is missing or not ours, pieces dropped task=%s error=\"%s\"", t->id, e.text);
	if (store_task_reset(t, &e) < 0)
		log_warn("content not replaced task=%s error=\"%s\"", t->id, e.text);
}
