/*
 * The start: reads every task record, drops what has none, and puts the tasks in order of their last access. Piece journals are
 * left for the first use of their task, so that the time of a start grows with tasks, not with pieces.
 */
#include "store/private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"

#define TMP_KEEP_NS ((int64_t)24 * 3600 * 1000000000)   /* scratch of others in tmp/ is left alone for a day */

struct scan {
	struct store *s;
	enum store_kind kind;
	int root;                       /* meta_fd or content_fd */
	unsigned shard;
	const char *shard_name;
	int (*file)(void *arg, int fd, const char *name);
	uint8_t exists, is_new;         /* bits of a shard that is there */
	struct arena arena;
	struct buf journals;            /* names in the running shard, each with its NUL */
	size_t orphans, damaged, foreign;
};

/* Splits "<id><suffix>" of this shard. 0, or -1 for a name that is not ours. */
static int
split(const struct scan *in, const char *name, char id[STORE_ID_MAX + 1], const char **suffix)
{
	size_t n = strcspn(name, ".");

	if (n > STORE_ID_MAX)
		return -1;
	memcpy(id, name, n);
	id[n] = '\0';
	*suffix = name + n;
	return store_id_is_valid(id) && store_shard(id) == in->shard ? 0 : -1;
}

static void
remove_file(struct scan *in, int fd, const char *name)
{
	if (in->s->sys->unlinkat(fd, name, 0) < 0 && errno != ENOENT)
		log_warn("not removed path=%s/%s error=\"%s\"", in->shard_name, name, strerror(errno));
}

static void
foreign(struct scan *in, const char *name)
{
	if (in->foreign++ == 0)
		log_warn("file is not the store's, left alone path=%s/%s", in->shard_name, name);
}

static void
adopt(struct scan *in, const char *id, const struct store_meta *m)
{
	struct store_task *t = store_task_new(in->s, in->kind, id);

	t->is_recovered = true;
	t->is_persistent = m->is_persistent;
	t->is_imported = m->is_imported;
	t->is_linked = m->is_linked;
	t->is_private = m->is_private;
	t->content_length = m->content_length;
	t->piece_length = m->piece_length;
	t->created_at = m->created_at;
	t->updated_at = m->updated_at;
	t->written_at = m->updated_at;
	t->finished_at = m->finished_at;
	t->failed_at = m->failed_at;
	t->prefetched_at = m->prefetched_at;
	t->ttl = m->ttl;
	t->has_identity = m->has_identity;
	t->id_ino = m->identity.ino;
	t->id_size = m->identity.size;
	t->id_mtime_ns = m->identity.mtime_ns;
	t->is_synced = m->finished_at != 0 && m->complete_at != 0;
	t->meta_is_synced = true;
	t->on_disk = true;
	if (t->finished_at != 0) {
		t->pieces_finished = store_task_piece_count(t);
		t->bytes_finished = t->content_length;
	}
}

static int
see_record(void *arg, int fd, const char *name)
{
	struct scan *in = arg;
	char id[STORE_ID_MAX + 1];
	const char *suffix;
	struct store_meta m;
	struct err e = {0};

	if (split(in, name, id, &suffix) < 0 || (strcmp(suffix, ".m") != 0 && strcmp(suffix, ".p") != 0)) {
		foreign(in, name);
		return 0;
	}
	if (suffix[1] != 'm') {
		buf_append(&in->journals, name, strlen(name) + 1);
		return 0;
	}
	arena_reset(&in->arena);
	if (store_meta_read(in->s, fd, name, in->kind, id, &in->arena, &m, &e) == 0) {
		adopt(in, id, &m);
	} else if (e.code == ERR_DATA_LOSS) {
		log_warn("task record is damaged, task removed path=%s/%s error=\"%s\"", in->shard_name, name, e.text);
		in->damaged++;
		remove_file(in, fd, name);
	} else {
		log_warn("task record not read, left alone path=%s/%s error=\"%s\"", in->shard_name, name, e.text);
	}
	return 0;
}

/* A record that could not be read keeps its journal and content. */
static bool
has_record(struct scan *in, const char *id)
{
	char name[STORE_NAME_MAX];
	struct stat st;

	store_name(name, in->kind, id, ".m");
	return in->s->sys->fstatat(in->s->meta_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT;
}

static void
see_orphan(struct scan *in, int fd, const char *name, const char *id)
{
	if (has_record(in, id))
		return;
	in->orphans++;
	remove_file(in, fd, name);
}

/* The journals of a shard, once all its records were seen. */
static void
see_journals(struct scan *in, const char *shard)
{
	const char *name = (const char *)buf_data(&in->journals), *end;
	char id[STORE_ID_MAX + 1], path[STORE_NAME_MAX + 16];
	const char *suffix;

	if (!name)
		return;
	for (end = name + in->journals.len; name < end; name += strlen(name) + 1) {
		if (split(in, name, id, &suffix) < 0 || map_get(&in->s->tasks[in->kind], slice_str(id)))
			continue;
		snprintf(path, sizeof(path), "%s/%s", shard, name);
		see_orphan(in, in->s->meta_fd, path, id);
	}
	buf_clear(&in->journals);
}

static int
see_content(void *arg, int fd, const char *name)
{
	struct scan *in = arg;
	char id[STORE_ID_MAX + 1];
	const char *suffix;
	struct store_task *t;
	struct stat st;

	if (split(in, name, id, &suffix) < 0 || *suffix != '\0') {
		foreign(in, name);
		return 0;
	}
	t = map_get(&in->s->tasks[in->kind], slice_str(id));
	if (!t) {
		see_orphan(in, fd, name, id);
		return 0;
	}
	if (in->s->sys->fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		/* Not to be looked at is not gone. */
		t->has_content = errno != ENOENT;
		return 0;
	}
	if (!S_ISREG(st.st_mode))
		return 0;
	t->has_content = true;
	store_task_account(t, (uint64_t)st.st_blocks * 512);
	return 0;
}

static int
see_shard(void *arg, int fd, const char *name)
{
	struct scan *in = arg;
	char path[STORE_NAME_MAX];

	(void)fd;
	if (strlen(name) != 3 || strspn(name, "0123456789abcdef") != 3) {
		in->shard_name = store_kind_dirs[in->kind];
		foreign(in, name);
		return 0;
	}
	in->shard = store_shard(name);
	store_shard_name(path, in->kind, in->shard);
	in->shard_name = path;
	in->s->shards[in->kind][in->shard] |= in->exists;
	if (!in->s->was_clean)
		in->s->shards[in->kind][in->shard] |= in->is_new;
	if (store_each_name(in->s->sys, in->root, path, in->file, in) < 0) {
		log_warn("directory not read path=%s/%s error=\"%s\"", in->root == in->s->meta_fd ? "meta" : "content", path, strerror(errno));
		if (in->root == in->s->content_fd)
			in->s->shards[in->kind][in->shard] |= SHARD_CONTENT_UNREAD;
	}
	see_journals(in, path);
	return 0;
}

static int
scan_kind(struct scan *in, int root, int (*file)(void *, int, const char *), uint8_t exists, uint8_t is_new, struct err *e)
{
	in->root = root;
	in->file = file;
	in->exists = exists;
	in->is_new = is_new;
	if (store_each_name(in->s->sys, root, store_kind_dirs[in->kind], see_shard, in) < 0)
		return err_sys(e, errno, "read %s/%s/%s", in->s->dir, root == in->s->meta_fd ? "meta" : "content", store_kind_dirs[in->kind]);
	return 0;
}

static int
by_access(const void *a, const void *b)
{
	const struct store_task *x = *(struct store_task *const *)a, *y = *(struct store_task *const *)b;

	return (x->updated_at > y->updated_at) - (x->updated_at < y->updated_at);
}

static void
lose_content(struct store_task *t)
{
	struct store *s = t->store;
	char name[STORE_NAME_MAX];

	log_warn("content file is missing, pieces dropped task=%s", t->id);
	store_name(name, t->kind, t->id, ".p");
	if (s->sys->unlinkat(s->meta_fd, name, 0) < 0 && errno != ENOENT)
		log_warn("not removed path=%s/meta/%s error=\"%s\"", s->dir, name, strerror(errno));
	t->finished_at = 0;
	t->pieces_finished = 0;
	t->bytes_finished = 0;
	t->has_identity = t->is_linked = t->is_synced = false;
	t->meta_version++;
	list_add_tail(&s->dirty, &t->dirty);
}

static void
settle(struct store_task *t, int64_t now)
{
	struct store *s = t->store;

	if (!t->has_content && !(s->shards[t->kind][store_shard(t->id)] & SHARD_CONTENT_UNREAD))
		lose_content(t);
	store_task_place(t);
	if (t->is_synced || s->o.sync == STORE_SYNC_NONE || t->piece_length == 0 || (t->finished_at == 0 && s->was_clean))
		return;
	/* What an unclean stop left unsynced gets its checkpoint (after its check) in turn. */
	t->unsynced_bytes = 1;
	t->checkpoint_at = now;
	list_add_tail(&s->unsynced, &t->unsynced);
}

static void
put_in_order(struct store *s)
{
	size_t count = 0, n = 0, at;
	struct store_task **all, *t;
	int64_t now = clock_wall_ns();

	for (int kind = 0; kind < STORE_KINDS; kind++)
		count += s->tasks[kind].count;
	all = xcalloc(count + 1, sizeof(struct store_task *));
	for (int kind = 0; kind < STORE_KINDS; kind++)
		for (at = 0; (t = map_next(&s->tasks[kind], &at)) != NULL;)
			all[n++] = t;
	qsort(all, n, sizeof(struct store_task *), by_access);
	for (size_t i = 0; i < n; i++)
		settle(all[i], now);
	free(all);
}

static int
clean_tmp(void *arg, int fd, const char *name)
{
	struct store *s = arg;
	struct stat st;
	bool is_ours = (name[0] == 'm' || name[0] == 'p' || name[0] == 'd') && name[1] == '-' && name[2 + strspn(name + 2, "0123456789")] == '\0';

	if (!is_ours && (s->sys->fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode) ||
	    (int64_t)st.st_mtim.tv_sec * 1000000000 > clock_wall_ns() - TMP_KEEP_NS))
		return 0;
	if (s->sys->unlinkat(fd, name, 0) < 0 && errno != ENOENT)
		log_warn("not removed path=%s/tmp/%s error=\"%s\"", s->dir, name, strerror(errno));
	return 0;
}

int
store_recover(struct store *s, struct err *e)
{
	struct scan in = { .s = s };
	int rc = 0;

	arena_init(&in.arena, 0);
	for (int kind = 0; kind < STORE_KINDS && rc == 0; kind++) {
		in.kind = (enum store_kind)kind;
		rc = scan_kind(&in, s->meta_fd, see_record, SHARD_META, SHARD_META_NEW | SHARD_DELETED, e);
		if (rc == 0)
			rc = scan_kind(&in, s->content_fd, see_content, SHARD_CONTENT, SHARD_CONTENT_NEW, e);
	}
	arena_free(&in.arena);
	buf_free(&in.journals);
	if (rc < 0)
		return -1;
	put_in_order(s);
	if (store_each_name(s->sys, s->tmp_fd, ".", clean_tmp, s) < 0)
		log_warn("directory not read path=%s/tmp error=\"%s\"", s->dir, strerror(errno));
	if (in.orphans + in.damaged > 0)
		log_info("store cleaned dir=%s orphans=%zu damaged=%zu", s->dir, in.orphans, in.damaged);
	return 0;
}
