/*
 * What is on disk becomes tasks. A start reads every record, drops what has none, and puts the tasks in order of their last access; with an
 * index (index.c) it takes the index's word at first, and reads the records shard by shard in the background, each one earlier where its task
 * is asked for. Piece journals are left for the first use of their task, so that the time of a start grows with tasks, not with pieces.
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
#include "store/ahead.h"

#define TMP_KEEP_NS ((int64_t)24 * 3600 * 1000000000)   /* scratch of others in tmp/ is left alone for a day */
#define REST_TASKS 4096                                 /* looked at by one turn of the last walk */

struct scan {
	struct store *s;
	enum store_kind kind;
	unsigned shard;
	const char *shard_name;
	struct arena arena;
	struct buf journals;            /* names in the running shard, each with its NUL */
	size_t orphans, damaged, foreign;
};

/* ---- one task ---- */

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
	if (list_is_empty(&t->dirty))
		list_add_tail(&s->dirty, &t->dirty);
}

static void
look_at_content(struct store_task *t)
{
	struct store *s = t->store;
	char name[STORE_NAME_MAX];
	struct stat st;

	store_name(name, t->kind, t->id, "");
	if (s->sys->fstatat(s->content_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		/* Not to be looked at is not gone. */
		if (errno != ENOENT)
			return;
	} else if (S_ISREG(st.st_mode)) {
		store_task_account(t, (uint64_t)st.st_blocks * 512);
		return;
	}
	store_task_account(t, 0);
	lose_content(t);
}

static void
note_unsynced(struct store_task *t)
{
	struct store *s = t->store;

	if (t->is_synced || s->o.sync == STORE_SYNC_NONE || t->piece_length == 0 || (t->finished_at == 0 && s->was_clean))
		return;
	/* What an unclean stop left unsynced gets its checkpoint (after its check) in turn. */
	t->unsynced_bytes = 1;
	t->checkpoint_at = clock_wall_ns();
	list_add_tail(&s->unsynced, &t->unsynced);
}

void
store_adopt(struct store_task *t, const struct store_meta *m)
{
	/* A hint that was right keeps its place in the order. Where it was not, the task changed after the index: it is among the youngest. */
	bool is_news = !t->is_hint || t->updated_at != m->updated_at || (t->finished_at != 0) != (m->finished_at != 0);

	if (t->is_hint)
		t->store->hints--;
	t->is_hint = false;
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
	t->pieces_finished = t->finished_at != 0 ? store_task_piece_count(t) : 0;
	t->bytes_finished = t->finished_at != 0 ? t->content_length : 0;
	look_at_content(t);
	note_unsynced(t);
	if ((is_news || t->finished_at != m->finished_at) && !t->store->is_opening)
		store_task_place(t);
	if (is_news && !t->store->is_opening)
		store_index_note(t, false);
}

/* A task that has no good record, and its hint if there is one. What could not be read is not taken for lost: its files stay. */
static void
end_hint(struct store_task *t, bool files_stay)
{
	if (!t || !t->is_hint)
		return;
	if (files_stay)
		t->on_disk = false;
	store_task_delete(t, STORE_DELETED_DAMAGED, NULL);
}

/* Of a task that the index names, or that may be there all the same. */
static struct store_task *
read_task(struct store *s, enum store_kind kind, const char *id, struct store_task *t)
{
	char name[STORE_NAME_MAX];
	struct store_meta m;
	struct err e = {0};
	struct arena a;

	arena_init(&a, 0);
	store_name(name, kind, id, ".m");
	if (store_meta_read(s, s->meta_fd, name, kind, id, &a, &m, &e) == 0) {
		if (!t)
			t = store_task_new(s, kind, id);
		store_adopt(t, &m);
	} else {
		if (t || e.sys != ENOENT)
			log_warn("task record not read, task left out task=%s error=\"%s\"", id, e.text);
		end_hint(t, e.sys != ENOENT && e.code != ERR_DATA_LOSS);
		t = NULL;
	}
	arena_free(&a);
	return t;
}

struct store_task *
store_sure(struct store_task *t)
{
	return t->is_hint ? read_task(t->store, t->kind, t->id, t) : t;
}

struct store_task *
store_lookup(struct store *s, enum store_kind kind, const char *id)
{
	struct store_task *t = map_get(&s->tasks[kind], slice_str(id));

	if (t)
		return store_sure(t);
	if (!store_id_is_valid(id) || !(s->shards[kind][store_shard(id)] & SHARD_UNSEEN) || map_get(&s->leaving[kind], slice_str(id)))
		return NULL;
	return read_task(s, kind, id, NULL);
}

/* ---- one shard ---- */

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

static int
see_record(void *arg, int fd, const char *name)
{
	struct scan *in = arg;
	char id[STORE_ID_MAX + 1];
	const char *suffix;
	struct store_task *t;
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
	t = map_get(&in->s->tasks[in->kind], slice_str(id));
	/* What this run knows already, or is about to remove. */
	if ((t && !t->is_hint) || map_get(&in->s->leaving[in->kind], slice_str(id)))
		return 0;
	arena_reset(&in->arena);
	if (store_meta_read(in->s, fd, name, in->kind, id, &in->arena, &m, &e) == 0) {
		store_adopt(t ? t : store_task_new(in->s, in->kind, id), &m);
	} else if (e.code == ERR_DATA_LOSS) {
		log_warn("task record is damaged, task removed path=%s/%s error=\"%s\"", in->shard_name, name, e.text);
		in->damaged++;
		end_hint(t, false);
		remove_file(in, fd, name);
	} else {
		log_warn("task record not read, left alone path=%s/%s error=\"%s\"", in->shard_name, name, e.text);
		end_hint(t, true);
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
	if (map_get(&in->s->tasks[in->kind], slice_str(id)) || map_get(&in->s->leaving[in->kind], slice_str(id)) || has_record(in, id))
		return;
	in->orphans++;
	remove_file(in, fd, name);
}

/* The journals of a shard, once all its records were seen. */
static void
see_journals(struct scan *in)
{
	const char *name = (const char *)buf_data(&in->journals), *end;
	char id[STORE_ID_MAX + 1], path[STORE_NAME_MAX + 16];
	const char *suffix;

	if (!name)
		return;
	for (end = name + in->journals.len; name < end; name += strlen(name) + 1) {
		if (split(in, name, id, &suffix) < 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", in->shard_name, name);
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

	if (split(in, name, id, &suffix) < 0 || *suffix != '\0')
		foreign(in, name);
	else
		see_orphan(in, fd, name, id);
	return 0;
}

static void
see_shard(struct scan *in, enum store_kind kind, unsigned shard)
{
	struct store *s = in->s;
	uint8_t *state = &s->shards[kind][shard];
	char path[STORE_NAME_MAX];

	in->kind = kind;
	in->shard = shard;
	store_shard_name(path, kind, shard);
	in->shard_name = path;
	if (*state & SHARD_META && store_each_name(s->sys, s->meta_fd, path, see_record, in) < 0)
		log_warn("directory not read path=meta/%s error=\"%s\"", path, strerror(errno));
	see_journals(in);
	if (*state & SHARD_CONTENT && store_each_name(s->sys, s->content_fd, path, see_content, in) < 0)
		log_warn("directory not read path=content/%s error=\"%s\"", path, strerror(errno));
	*state &= (uint8_t)~SHARD_UNSEEN;
	in->shard_name = NULL;
}

static void
end_scan(struct scan *in)
{
	arena_free(&in->arena);
	buf_free(&in->journals);
	if (in->orphans + in->damaged > 0)
		log_info("store cleaned dir=%s orphans=%zu damaged=%zu", in->s->dir, in->orphans, in->damaged);
}

void
store_scan_shard(struct store *s, enum store_kind kind, unsigned shard)
{
	struct scan in = { .s = s };

	arena_init(&in.arena, 0);
	see_shard(&in, kind, shard);
	end_scan(&in);
}

int
store_scan_next(struct store *s, enum store_kind *kind, unsigned *shard)
{
	for (; s->scan_at < STORE_KINDS * STORE_SHARDS; s->scan_at++) {
		*kind = (enum store_kind)(s->scan_at / STORE_SHARDS);
		*shard = s->scan_at % STORE_SHARDS;
		if (s->shards[*kind][*shard] & SHARD_UNSEEN) {
			s->scan_at++;
			return 0;
		}
	}
	return -1;
}

/* What is a hint still when all shards were read has no record, or it was not to be read. */
void
store_scan_rest(struct store *s)
{
	size_t budget = s->o.run ? REST_TASKS : SIZE_MAX;
	struct store_task *t;

	if (s->is_ending || s->scan_job || s->scan_at < STORE_KINDS * STORE_SHARDS)
		return;
	while (s->hints > 0 && budget-- > 0) {
		t = map_next(&s->tasks[s->hint_kind], &s->hint_at);
		if (t) {
			store_sure(t);
			continue;
		}
		s->hint_kind = (s->hint_kind + 1) % STORE_KINDS;
		s->hint_at = 0;
	}
}

/* ---- the start ---- */

struct shards {
	struct store *s;
	int kind;
	uint8_t exists, is_new;
};

static int
see_shard_name(void *arg, int fd, const char *name)
{
	struct shards *in = arg;
	struct store *s = in->s;

	(void)fd;
	if (strlen(name) != 3 || strspn(name, "0123456789abcdef") != 3)
		log_warn("file is not the store's, left alone path=%s/%s", store_kind_dirs[in->kind], name);
	else
		s->shards[in->kind][store_shard(name)] |= (uint8_t)(in->exists | SHARD_UNSEEN | (s->was_clean ? 0 : in->is_new));
	return 0;
}

static int
list_shards(struct store *s, struct err *e)
{
	for (int kind = 0; kind < STORE_KINDS; kind++) {
		struct shards meta = { s, kind, SHARD_META, SHARD_META_NEW | SHARD_DELETED };
		struct shards content = { s, kind, SHARD_CONTENT, SHARD_CONTENT_NEW };

		if (store_each_name(s->sys, s->meta_fd, store_kind_dirs[kind], see_shard_name, &meta) < 0)
			return err_sys(e, errno, "read %s/meta/%s", s->dir, store_kind_dirs[kind]);
		if (store_each_name(s->sys, s->content_fd, store_kind_dirs[kind], see_shard_name, &content) < 0)
			return err_sys(e, errno, "read %s/content/%s", s->dir, store_kind_dirs[kind]);
	}
	return 0;
}

/* After an unclean stop nobody knows what of them was synced. */
static void
sync_shards_again(struct store *s)
{
	for (int kind = 0; kind < STORE_KINDS; kind++)
		for (unsigned i = 0; i < STORE_SHARDS; i++)
			if (s->shards[kind][i] & (SHARD_DELETED | SHARD_META_NEW | SHARD_CONTENT_NEW))
				store_shard_deleted(s, (enum store_kind)kind, i);
}

static int
by_access(const void *a, const void *b)
{
	const struct store_task *x = *(struct store_task *const *)a, *y = *(struct store_task *const *)b;

	return (x->updated_at > y->updated_at) - (x->updated_at < y->updated_at);
}

static void
put_in_order(struct store *s)
{
	size_t count = 0, n = 0, at;
	struct store_task **all, *t;

	for (int kind = 0; kind < STORE_KINDS; kind++)
		count += s->tasks[kind].count;
	all = xcalloc(count + 1, sizeof(struct store_task *));
	for (int kind = 0; kind < STORE_KINDS; kind++)
		for (at = 0; (t = map_next(&s->tasks[kind], &at)) != NULL;)
			all[n++] = t;
	qsort(all, n, sizeof(struct store_task *), by_access);
	for (size_t i = 0; i < n; i++)
		store_task_place(all[i]);
	free(all);
}

static int
clean_tmp(void *arg, int fd, const char *name)
{
	struct store *s = arg;
	struct stat st;
	bool is_ours = strchr("mpdx", name[0]) && name[1] == '-' && name[2 + strspn(name + 2, "0123456789")] == '\0';

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
	struct ahead *ahead;
	enum store_kind kind;
	unsigned shard;

	if (list_shards(s, e) < 0)
		return -1;
	sync_shards_again(s);
	if (store_each_name(s->sys, s->tmp_fd, ".", clean_tmp, s) < 0)
		log_warn("directory not read path=%s/tmp error=\"%s\"", s->dir, strerror(errno));
	s->scan_at = 0;
	if (!store_index_load(s)) {
		arena_init(&in.arena, 0);
		ahead = store_ahead_start(s);
		while (store_scan_next(s, &kind, &shard) == 0)
			see_shard(&in, kind, shard);
		store_ahead_end(ahead);
		end_scan(&in);
	}
	put_in_order(s);
	return 0;
}
