/*
 * Opening and closing the store: whose directory it is, which format, and whether the last stop was an orderly one.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "store/os/file_os.h"
#include "store/private.h"

#define OPEN_FILES_DEFAULT 128

static int
make_dir(struct store *s, int at, const char *name, struct err *e)
{
	if (s->sys->mkdirat(at, name, s->dir_mode) == 0) {
		s->made_dirs = true;
		return 0;
	}
	if (errno == EEXIST)
		return 0;
	return err_sys(e, errno, "make directory %s%s%s", at == AT_FDCWD ? "" : s->dir, at == AT_FDCWD ? "" : "/", name);
}

static int
open_dir(struct store *s, int at, const char *name, struct err *e)
{
	int fd = s->sys->openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);

	if (fd < 0)
		err_sys(e, errno, "open directory %s%s%s", at == AT_FDCWD ? "" : s->dir, at == AT_FDCWD ? "" : "/", name);
	return fd;
}

static int
lock(struct store *s, struct err *e)
{
	s->lock_fd = store_open_at(s->sys, s->dir_fd, "LOCK", O_RDWR | O_CREAT, s->file_mode);
	if (s->lock_fd < 0)
		return err_sys(e, errno, "open %s/LOCK", s->dir);
	if (store_os_lock(s->lock_fd) == 0)
		return 0;
	if (errno == EWOULDBLOCK)
		return err_set(e, ERR_ALREADY_EXISTS, "lock %s/LOCK: another process uses this storage directory", s->dir);
	return err_sys(e, errno, "lock %s/LOCK", s->dir);
}

/* Names that a directory without VERSION may hold and still become ours. */
static int
check_name(void *arg, int fd, const char *name)
{
	static const char *const known[] = { "LOCK", "VERSION.tmp", "lost+found" };
	char *found = arg;

	(void)fd;
	for (size_t i = 0; i < COUNT_OF(known); i++)
		if (strcmp(name, known[i]) == 0)
			return 0;
	snprintf(found, 256, "%s", name);
	return 1;
}

static int
write_version(struct store *s, struct err *e)
{
	if (store_write_file(s->sys, s->dir_fd, "VERSION.tmp", s->file_mode, STORE_VERSION_TEXT, strlen(STORE_VERSION_TEXT), true) < 0 ||
	    s->sys->renameat(s->dir_fd, "VERSION.tmp", s->dir_fd, "VERSION") < 0 || store_sync_dir(s->sys, s->dir_fd, ".") < 0)
		return err_sys(e, errno, "write %s/VERSION", s->dir);
	return 0;
}

static int
take_possession(struct store *s, struct err *e)
{
	char found[256] = "";

	if (store_each_name(s->sys, s->dir_fd, ".", check_name, found) < 0)
		return err_sys(e, errno, "read %s", s->dir);
	if (found[0] != '\0')
		return err_set(e, ERR_FAILED_PRECONDITION,
			"%s is not a storage directory of this program (no VERSION file) and not empty (%s); give it a directory of its own", s->dir, found);
	return write_version(s, e);
}

static int
check_version(struct store *s, struct err *e)
{
	char text[64];
	ssize_t n;
	int fd = store_open_at(s->sys, s->dir_fd, "VERSION", O_RDONLY, 0);

	if (fd < 0 && errno == ENOENT)
		return take_possession(s, e);
	if (fd < 0)
		return err_sys(e, errno, "open %s/VERSION", s->dir);
	n = store_read_all(s->sys, fd, text, sizeof(text) - 1, 0);
	if (n < 0)
		err_sys(e, errno, "read %s/VERSION", s->dir);
	s->sys->close(fd);
	if (n < 0)
		return -1;
	text[n] = '\0';
	if (strcmp(text, STORE_VERSION_TEXT) == 0)
		return 0;
	text[strcspn(text, "\n")] = '\0';
	return err_set(e, ERR_FAILED_PRECONDITION, "%s has the format \"%s\", this program knows \"dfc-storage 1\" only", s->dir, text);
}

/* Neither making nor taking the mark needs a sync: it is only made when all else is on stable storage, and only spares work. */
static int
take_clean_mark(struct store *s, struct err *e)
{
	s->was_clean = s->sys->unlinkat(s->dir_fd, "CLEAN", 0) == 0;
	if (s->was_clean || errno == ENOENT)
		return 0;
	return err_sys(e, errno, "unlink %s/CLEAN", s->dir);
}

static int
see_tree(void *arg, int fd, const char *name)
{
	struct store *s = arg;
	unsigned long n;
	char *end;

	(void)fd;
	if (strncmp(name, "trash-", 6) != 0)
		return 0;
	n = strtoul(name + 6, &end, 10);
	if (*end == '\0' && n < UINT32_MAX && n >= s->old_trees)
		s->old_trees = (uint32_t)n + 1;
	return 0;
}

static int
set_aside(struct store *s, const char *name, struct err *e)
{
	char aside[32];

	snprintf(aside, sizeof(aside), "trash-%" PRIu32, s->old_trees);
	if (s->sys->renameat(s->dir_fd, name, s->dir_fd, aside) < 0)
		return errno == ENOENT ? 0 : err_sys(e, errno, "rename %s/%s to %s", s->dir, name, aside);
	s->old_trees++;
	return 0;
}

static int
make_tree(struct store *s, const char *name, int *fd, struct err *e)
{
	if (make_dir(s, s->dir_fd, name, e) < 0)
		return -1;
	*fd = open_dir(s, s->dir_fd, name, e);
	if (*fd < 0)
		return -1;
	for (int kind = 0; kind < STORE_KINDS; kind++)
		if (make_dir(s, *fd, store_kind_dirs[kind], e) < 0)
			return -1;
	return 0;
}

/* Names that were made now must be there after a power cut, when tasks in them are. */
static int
sync_layout(struct store *s, struct err *e)
{
	static const char *const names[] = { "content", "meta", "." };

	if (s->o.sync == STORE_SYNC_NONE)
		return 0;
	for (size_t i = 0; i < COUNT_OF(names); i++)
		if (store_sync_dir(s->sys, s->dir_fd, names[i]) < 0)
			return err_sys(e, errno, "sync directory %s/%s", s->dir, names[i]);
	/* And the name of the store itself, where we may read that directory. */
	if (store_sync_dir(s->sys, s->dir_fd, "..") < 0 && errno != EACCES && errno != EPERM)
		return err_sys(e, errno, "sync directory %s/..", s->dir);
	s->made_dirs = false;
	return 0;
}

static int
make_layout(struct store *s, struct err *e)
{
	if (store_each_name(s->sys, s->dir_fd, ".", see_tree, s) < 0)
		return err_sys(e, errno, "read %s", s->dir);
	if (!s->o.keep) {
		/* Records first: content without them means nothing. */
		if (set_aside(s, "meta", e) < 0 || set_aside(s, "content", e) < 0)
			return -1;
		s->was_clean = false;
	}
	if (make_tree(s, "content", &s->content_fd, e) < 0 || make_tree(s, "meta", &s->meta_fd, e) < 0 || make_dir(s, s->dir_fd, "tmp", e) < 0)
		return -1;
	s->tmp_fd = open_dir(s, s->dir_fd, "tmp", e);
	return s->tmp_fd < 0 || (s->made_dirs && sync_layout(s, e) < 0) ? -1 : 0;
}

static void
close_fd(struct store *s, int fd)
{
	if (fd >= 0)
		s->sys->close(fd);
}

/* Puts the directory of this name under the descriptor that is in use for it, in one step: jobs on other threads go by its number. */
static int
renew_dir(struct store *s, int at, const char *name, int fd, struct err *e)
{
	int fresh, rc;

	if (make_dir(s, at, name, e) < 0)
		return -1;
	fresh = open_dir(s, at, name, e);
	if (fresh < 0)
		return -1;
	rc = dup2(fresh, fd) < 0 ? err_sys(e, errno, "reopen directory %s", name) : fcntl(fd, F_SETFD, FD_CLOEXEC);
	s->sys->close(fresh);
	return rc < 0 ? -1 : 0;
}

static bool
is_removed(struct store *s, int fd)
{
	struct stat st;

	return s->sys->fstat(fd, &st) == 0 && st.st_nlink == 0;
}

/* The whole directory is gone: a new one is ours with its lock. */
static int
renew_root(struct store *s, struct err *e)
{
	int old_lock = s->lock_fd;

	if (renew_dir(s, AT_FDCWD, s->dir, s->dir_fd, e) < 0)
		return -1;
	if (lock(s, e) < 0) {
		close_fd(s, s->lock_fd);
		s->lock_fd = old_lock;
		return -1;
	}
	close_fd(s, old_lock);
	return 0;
}

static int
renew(struct store *s, bool *made, struct err *e)
{
	const int roots[] = { s->content_fd, s->meta_fd };
	static const char *const names[] = { "content", "meta" };
	struct stat st;

	*made = is_removed(s, s->dir_fd) || is_removed(s, s->content_fd) || is_removed(s, s->meta_fd) || is_removed(s, s->tmp_fd);
	if (is_removed(s, s->dir_fd) && renew_root(s, e) < 0)
		return -1;
	if (s->sys->fstatat(s->dir_fd, "VERSION", &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT && write_version(s, e) < 0)
		return -1;
	for (size_t i = 0; i < COUNT_OF(roots); i++) {
		if (renew_dir(s, s->dir_fd, names[i], roots[i], e) < 0)
			return -1;
		for (int kind = 0; kind < STORE_KINDS; kind++)
			if (make_dir(s, roots[i], store_kind_dirs[kind], e) < 0)
				return -1;
	}
	return renew_dir(s, s->dir_fd, "tmp", s->tmp_fd, e) < 0 || sync_layout(s, e) < 0 ? -1 : 0;
}

int
store_heal(struct store_task *t)
{
	struct store *s = t->store;
	struct err e = {0};
	bool made = false;

	/* Shards are made again when next needed; what is there stays. */
	for (int kind = 0; kind < STORE_KINDS; kind++)
		for (unsigned i = 0; i < STORE_SHARDS; i++)
			s->shards[kind][i] &= (uint8_t)~(SHARD_META | SHARD_CONTENT);
	if (renew(s, &made, &e) < 0 || store_ready_shard(t, &e) < 0) {
		log_error("storage directory cannot be made anew dir=%s error=\"%s\"", s->dir, e.text);
		errno = ENOENT;
		return -1;
	}
	if (made) {
		store_index_lost(s);
		log_error("part of the storage directory was removed, made anew dir=%s", s->dir);
	}
	return 0;
}

static void
forget_trash(struct store *s)
{
	LIST_EACH(it, next, &s->trash)
		free(CONTAINER_OF(it, struct trash, link));
}

static void
free_store(struct store *s)
{
	struct store_task *t;
	size_t at;

	for (int kind = 0; kind < STORE_KINDS; kind++) {
		for (at = 0; (t = map_next(&s->tasks[kind], &at)) != NULL;) {
			heap_del(&s->expiry, &t->expiry);
			store_close_files(t);
			store_unload(t);
			free(t);
		}
		map_free(&s->tasks[kind]);
		map_free(&s->leaving[kind]);
	}
	heap_free(&s->expiry);
	forget_trash(s);
	close_fd(s, s->index.fd);
	close_fd(s, s->index.new_fd);
	buf_free(&s->index.lines);
	buf_free(&s->index.new_lines);
	close_fd(s, s->tmp_fd);
	close_fd(s, s->meta_fd);
	close_fd(s, s->content_fd);
	close_fd(s, s->lock_fd);
	close_fd(s, s->dir_fd);
	free(s->dir);
	free(s);
}

static struct store *
new_store(const struct store_options *o)
{
	struct store *s = xcalloc(1, sizeof(*s));

	s->o = *o;
	s->dir = xstrdup(o->dir);
	s->o.dir = s->dir;
	s->sys = o->sys ? o->sys : &store_sys_posix;
	s->dir_mode = o->mode ? (mode_t)(o->mode & 0777) : 0750;
	s->file_mode = s->dir_mode & 0666;
	if (s->o.max_open == 0)
		s->o.max_open = OPEN_FILES_DEFAULT;
	s->lock_fd = s->dir_fd = s->content_fd = s->meta_fd = s->tmp_fd = -1;
	for (int kind = 0; kind < STORE_KINDS; kind++) {
		map_init(&s->tasks[kind]);
		map_init(&s->leaving[kind]);
		list_init(&s->finished[kind]);
	}
	list_init(&s->partial);
	list_init(&s->open_files);
	list_init(&s->loaded);
	list_init(&s->sync_queue);
	list_init(&s->trash);
	list_init(&s->placed);
	list_init(&s->dirty);
	list_init(&s->unsynced);
	heap_init(&s->expiry);
	s->index.fd = s->index.new_fd = -1;
	s->scan_at = STORE_KINDS * STORE_SHARDS;
	return s;
}

struct store *
store_open(const struct store_options *o, struct err *e)
{
	struct store *s = new_store(o);

	s->is_opening = true;
	if (make_dir(s, AT_FDCWD, s->dir, e) < 0)
		goto fail;
	s->dir_fd = open_dir(s, AT_FDCWD, s->dir, e);
	if (s->dir_fd < 0)
		goto fail;
	if (lock(s, e) < 0 || check_version(s, e) < 0 || take_clean_mark(s, e) < 0 || make_layout(s, e) < 0 || store_recover(s, e) < 0)
		goto fail;
	s->is_opening = false;
	store_pump(s);
	store_scan_rest(s);
	return s;
fail:
	free_store(s);
	return NULL;
}

void
store_end_background(struct store *s)
{
	s->is_ending = true;
}

/* Brings every task to stable storage as far as time allows; true when all are there. */
static bool
settle_all(struct store *s)
{
	int64_t deadline = clock_mono_ms() + STORE_CLOSE_MAX_MS;
	bool all = true;

	LIST_EACH(it, next, &s->unsynced) {
		struct store_task *t = CONTAINER_OF(it, struct store_task, unsynced);

		if (s->o.sync != STORE_SYNC_NONE && clock_mono_ms() < deadline)
			store_sync_now(t);
		if (!list_is_empty(&t->unsynced))
			all = false;
	}
	LIST_EACH(it, next, &s->dirty) {
		struct store_task *t = CONTAINER_OF(it, struct store_task, dirty);

		/* An access time less than a minute old may be lost. */
		if (clock_mono_ms() >= deadline)
			break;
		if (t->meta_version == t->written_version && t->updated_at - t->written_at < STORE_TOUCH_NS)
			continue;
		if (t->meta_is_synced)
			store_sync_now(t);
		else
			store_task_write(t);
		if (t->meta_version != t->written_version)
			all = false;
	}
	return all;
}

/* A later start that goes by the mark syncs no directory of this run again. */
static bool
are_shards_synced(const struct store *s)
{
	for (int kind = 0; kind < STORE_KINDS && s->o.sync != STORE_SYNC_NONE; kind++)
		for (unsigned i = 0; i < STORE_SHARDS; i++)
			if (s->shards[kind][i] & (SHARD_DELETED | SHARD_META_NEW | SHARD_CONTENT_NEW))
				return false;
	return true;
}

void
store_close(struct store *s)
{
	bool is_settled;

	s->o.run = NULL;
	store_end_background(s);
	store_pump(s);
	/* What was not read in this run is as an earlier one left it. */
	is_settled = settle_all(s) && (s->hints == 0 || s->was_clean);
	store_sync_placed(s, INT64_MAX);
	store_pump(s);
	store_index_close(s);
	if (is_settled && are_shards_synced(s) && store_write_file(s->sys, s->dir_fd, "CLEAN", s->file_mode, "", 0, false) < 0)
		log_warn("mark not written path=%s/CLEAN error=\"%s\"", s->dir, strerror(errno));
	free_store(s);
}
