/*
 * Task records in memory: making, changing, ending them. Their files are content.c's and meta.c's, their pieces piece.c's.
 */
#include "store/private.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"

static struct slice
key(const char *id)
{
	return slice_str(id);
}

static int
gone(const struct store_task *t, struct err *e)
{
	return err_set(e, ERR_NOT_FOUND, "task %s was deleted", t->id);
}

struct store_task *
store_task_new(struct store *s, enum store_kind kind, const char *id)
{
	size_t n = strlen(id) + 1;
	struct store_task *t = xcalloc(1, sizeof(*t) + n);

	t->store = s;
	t->kind = kind;
	t->id = memcpy(t + 1, id, n);
	t->content_length = STORE_LENGTH_UNKNOWN;
	t->journal_fd = -1;
	list_init(&t->order);
	list_init(&t->open_order);
	list_init(&t->loaded_order);
	list_init(&t->work);
	list_init(&t->dirty);
	list_init(&t->unsynced);
	map_put(&s->tasks[kind], key(t->id), t);
	return t;
}

void
store_task_leave(struct store_task *t)
{
	struct store *s = t->store;

	if (s->cache_at[t->kind] == &t->order)
		s->cache_at[t->kind] = t->order.prev;
	list_del(&t->order);
}

void
store_task_place(struct store_task *t)
{
	struct store *s = t->store;

	store_task_leave(t);
	list_add_tail(t->finished_at != 0 ? &s->finished[t->kind] : &s->partial, &t->order);
	if (t->kind != STORE_STANDARD && t->ttl > 0)
		heap_put(&s->expiry, &t->expiry, t->ttl < INT64_MAX - t->created_at ? t->created_at + t->ttl : INT64_MAX);
}

/* What a running download will still take. */
static void
promise(struct store_task *t, bool on)
{
	uint64_t rest = 0;

	if (on && t->content_length != STORE_LENGTH_UNKNOWN && t->content_length > t->disk_bytes)
		rest = t->content_length - t->disk_bytes;
	t->store->reserved += rest - t->reserved;
	t->reserved = rest;
}

void
store_task_account(struct store_task *t, uint64_t disk_bytes)
{
	t->store->used += disk_bytes - t->disk_bytes;
	t->disk_bytes = disk_bytes;
	if (t->reserved > 0)
		promise(t, true);
}

void
store_task_free_if_unused(struct store_task *t)
{
	if (!t->is_deleted || t->uses > 0 || t->is_busy)
		return;
	store_close_files(t);
	store_unload(t);
	free(t);
}

void
store_task_written(struct store_task *t)
{
	t->written_at = t->updated_at;
	t->written_version = t->meta_version;
	t->is_failing = false;
	list_del(&t->dirty);
	store_index_note(t, false);
}

static void
write_failed(struct store_task *t, const struct err *e)
{
	if (!t->is_failing)
		log_warn("task record not written, trying again task=%s error=\"%s\"", t->id, e->text);
	t->is_failing = true;
}

void
store_task_write(struct store_task *t)
{
	struct err e = {0};

	if (!t->on_disk || t->is_deleted)
		return;
	if (list_is_empty(&t->dirty))
		list_add_tail(&t->store->dirty, &t->dirty);
	/* A record on stable storage is only replaced by a job, which syncs the new one first. */
	if (t->meta_is_synced || t->is_busy)
		return;
	if (store_meta_write(t, false, &e) < 0)
		write_failed(t, &e);
}

void
store_task_changed(struct store_task *t)
{
	t->meta_version++;
	store_task_write(t);
}

/* The record that says "complete" must be off the disk before the missing piece comes anew, or a power cut would make the old claim
 * about new bytes. Rare, so it may block. */
static void
take_back_complete(struct store_task *t)
{
	struct store *s = t->store;
	char name[STORE_NAME_MAX];
	struct err e = {0};

	t->meta_version++;
	if (t->is_busy || store_meta_write(t, true, &e) < 0) {
		if (e.code != ERR_OK)
			write_failed(t, &e);
		if (list_is_empty(&t->dirty))
			list_add_tail(&s->dirty, &t->dirty);
		return;
	}
	store_shard_name(name, t->kind, store_shard(t->id));
	if (s->o.sync != STORE_SYNC_NONE && store_sync_dir(s->sys, s->meta_fd, name) < 0)
		log_warn("directory not synced path=%s/meta/%s error=\"%s\"", s->dir, name, strerror(errno));
}

void
store_task_unfinish(struct store_task *t)
{
	bool was_synced = t->is_synced;

	t->is_synced = false;
	if (t->finished_at == 0)
		return;
	t->finished_at = 0;
	store_task_place(t);
	if (was_synced)
		take_back_complete(t);
	else
		store_task_changed(t);
}

struct store_task *
store_task_find(struct store *s, enum store_kind kind, const char *id)
{
	struct store_task *t = store_lookup(s, kind, id);
	struct err e = {0};

	if (t && store_load(t, &e) < 0)
		log_warn("pieces not readable task=%s error=\"%s\"", t->id, e.text);
	return t;
}

/* A record that was whole at the start, and is damaged or gone by now, is as good as none. Not while somebody uses the task. */
static bool
remove_damaged(struct store_task *t, const struct err *why)
{
	if (t->uses > 0 || t->is_busy || (why->code != ERR_DATA_LOSS && why->sys != ENOENT))
		return false;
	log_error("task record is damaged, task removed task=%s error=\"%s\"", t->id, why->text);
	return store_task_delete(t, STORE_DELETED_DAMAGED, NULL) == 0;
}

struct store_task *
store_task_begin(struct store *s, enum store_kind kind, const char *id, int64_t now, struct err *e)
{
	struct err load_error = {0};
	struct store_task *t;
	size_t most;

	if (!store_id_is_valid(id)) {
		err_set(e, ERR_INVALID_ARGUMENT, "task id is not 64 or 128 lower-case hex digits");
		return NULL;
	}
	t = store_lookup(s, kind, id);
	if (t && store_load(t, &load_error) < 0) {
		if (!remove_damaged(t, &load_error)) {
			if (e)
				*e = load_error;
			return NULL;
		}
		t = NULL;
	}
	if (t) {
		store_task_touch(t, now);
		return t;
	}
	most = s->o.tasks_max > 0 ? s->o.tasks_max : STORE_TASKS_MAX;
	if (s->tasks[STORE_STANDARD].count + s->tasks[STORE_PERSISTENT].count + s->tasks[STORE_PERSISTENT_CACHE].count >= most && !store_evict_one(s)) {
		err_set(e, ERR_RESOURCE_EXHAUSTED, "the store holds %zu tasks, all in use or persistent: no more fit", most);
		return NULL;
	}
	t = store_task_new(s, kind, id);
	t->created_at = t->updated_at = now;
	store_load(t, NULL);    /* nothing on disk: only makes the empty index */
	store_task_place(t);
	return t;
}

struct store_task *
store_task_next(struct store *s, enum store_kind kind, size_t *at)
{
	return map_next(&s->tasks[kind], at);
}

static int
check_start(const struct store_start *start, struct err *e)
{
	uint64_t n = start->content_length, p = start->piece_length;
	size_t details = 0;

	if (p == 0 || p > STORE_PIECE_LENGTH_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "piece length %" PRIu64 " is not between 1 and %" PRIu64, p, STORE_PIECE_LENGTH_MAX);
	if (n != STORE_LENGTH_UNKNOWN && (n > STORE_CONTENT_MAX || n / p + (n % p > 0) > STORE_PIECES_MAX))
		return err_set(e, ERR_INVALID_ARGUMENT, "content of %" PRIu64 " bytes in pieces of %" PRIu64 " is more than a task may have", n, p);
	if (start->header_count > STORE_HEADERS_MAX)
		return err_set(e, ERR_RESOURCE_EXHAUSTED, "%zu response headers, more than %d", start->header_count, STORE_HEADERS_MAX);
	for (size_t i = 0; i < start->header_count; i++)
		details += strlen(start->headers[i].name) + strlen(start->headers[i].value) + 8;
	details += start->etag ? strlen(start->etag) : 0;
	details += start->last_modified ? strlen(start->last_modified) : 0;
	details += start->url ? strlen(start->url) : 0;
	if (details > STORE_DETAILS_MAX)
		return err_set(e, ERR_RESOURCE_EXHAUSTED, "%zu bytes of response headers, more than %d", details, STORE_DETAILS_MAX);
	for (size_t i = 0; i < start->header_count; i++)
		if (start->headers[i].name[0] == '\0')
			return err_set(e, ERR_INVALID_ARGUMENT, "a response header without a name");
	return 0;
}

static bool
is_same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

/* A caller that did not ask the origin has no validators; it takes what is there. */
static bool
is_same_content(const struct store_task *t, const struct store_start *start)
{
	const struct store_pieces *p = t->loaded;

	if (t->content_length != start->content_length || t->piece_length != start->piece_length)
		return false;
	if (!start->etag && !start->last_modified)
		return true;
	return is_same_text(p->etag, start->etag) && is_same_text(p->last_modified, start->last_modified);
}

static const char *
keep_text(struct arena *a, const char *text)
{
	return text ? arena_strdup(a, text) : NULL;
}

/* Sizes were checked; the arena's limit holds them. The new strings may be the old ones, so the old arena goes last. */
static void
set_details(struct store_pieces *p, const struct store_start *start)
{
	struct arena fresh;

	arena_init(&fresh, 0);
	p->etag = keep_text(&fresh, start->etag ? start->etag : start->last_modified ? NULL : p->etag);
	p->last_modified = keep_text(&fresh, start->last_modified ? start->last_modified : start->etag ? NULL : p->last_modified);
	p->url = keep_text(&fresh, start->url ? start->url : p->url);
	if (start->header_count > 0) {
		p->headers = arena_alloc(&fresh, start->header_count * sizeof(*p->headers));
		for (size_t i = 0; i < start->header_count; i++) {
			p->headers[i].name = keep_text(&fresh, start->headers[i].name);
			p->headers[i].value = keep_text(&fresh, start->headers[i].value);
		}
		p->header_count = start->header_count;
	} else {
		struct store_header *kept = arena_alloc(&fresh, (p->header_count + 1) * sizeof(*kept));

		for (size_t i = 0; i < p->header_count; i++) {
			kept[i].name = keep_text(&fresh, p->headers[i].name);
			kept[i].value = keep_text(&fresh, p->headers[i].value);
		}
		p->headers = kept;
	}
	arena_free(&p->arena);
	p->arena = fresh;
}

static int
admit(struct store_task *t, uint64_t content_length, struct err *e)
{
	struct store_usage u;
	uint64_t rest;

	if (content_length == STORE_LENGTH_UNKNOWN || content_length <= t->disk_bytes)
		return 0;
	rest = content_length - t->disk_bytes;
	if (store_usage(t->store, &u, e) < 0)
		return -1;
	if (u.available + t->reserved >= rest)
		return 0;
	/* What can never fit drives nothing out. */
	if (content_length <= u.total)
		store_gc_demand(t->store, rest - u.available);
	/* Its own budget is known to be free at once; the file system's space only when the files are gone. */
	if (t->store->o.capacity > 0 && content_length <= u.total) {
		t->uses++;
		store_evict_now(t->store);
		t->uses--;
		if (store_usage(t->store, &u, e) < 0)
			return -1;
		if (u.available + t->reserved >= rest)
			return 0;
	}
	return err_set(e, ERR_RESOURCE_EXHAUSTED, "no space left on device: not enough space to store the task: content_length=%" PRIu64
		", available=%" PRIu64, content_length, u.available);
}

/* Everything of the old content goes; the record starts over in memory. */
static int
start_over(struct store_task *t, struct err *e)
{
	int rc = t->on_disk ? store_content_discard(t, e) : 0;

	store_drop_all(t);
	store_task_account(t, 0);
	t->piece_length = 0;
	t->content_length = STORE_LENGTH_UNKNOWN;
	t->finished_at = t->prefetched_at = 0;
	t->is_linked = t->is_imported = t->has_identity = t->is_synced = false;
	return rc;
}

int
store_task_start(struct store_task *t, const struct store_start *start, int64_t now, bool *was_reset, struct err *e)
{
	bool had_pieces;
	struct err open_error;

	if (was_reset)
		*was_reset = false;
	if (t->is_deleted)
		return gone(t, e);
	if (check_start(start, e) < 0 || store_load(t, e) < 0)
		return -1;
	had_pieces = t->pieces_finished > 0;
	/* A record may also be left over from a start that failed half-way. */
	if ((t->piece_length > 0 && !is_same_content(t, start)) ||
	    (t->on_disk && !store_content_open(t, &open_error) && store_content_is_lost(&open_error))) {
		if (start_over(t, e) < 0)
			return err_wrap(e, "start task %s again", t->id);
		if (was_reset)
			*was_reset = had_pieces;
	}
	if (admit(t, start->content_length, e) < 0)
		goto fail;
	t->content_length = start->content_length;
	t->piece_length = start->piece_length;
	t->is_persistent |= start->is_persistent;
	t->is_imported |= start->is_imported;
	t->is_private = start->is_private;
	if (start->created_at != 0)
		t->created_at = start->created_at;
	if (start->ttl != 0)
		t->ttl = start->ttl;
	t->failed_at = 0;
	t->is_recovered = false;
	t->updated_at = now;
	set_details(t->loaded, start);
	if (!t->on_disk) {
		if (store_content_create(t, e) < 0)
			goto fail;
		t->meta_version++;
		if (store_meta_write(t, false, e) < 0) {
			start_over(t, NULL);
			goto fail;
		}
		t->on_disk = true;
		t->meta_is_synced = false;
	} else {
		store_task_changed(t);
	}
	if (t->checkpoint_at == 0)
		t->checkpoint_at = now;
	promise(t, t->finished_at == 0);
	store_task_place(t);
	return 0;
fail:
	store_say_inodes(t->store, e);
	if (!t->on_disk) {
		t->piece_length = 0;
		t->content_length = STORE_LENGTH_UNKNOWN;
	}
	store_task_place(t);
	return -1;
}

int
store_task_set_length(struct store_task *t, uint64_t content_length, struct err *e)
{
	uint64_t whole;
	struct err nested = {0};

	if (t->is_deleted)
		return gone(t, e);
	if (t->content_length == content_length)
		return 0;
	if (t->piece_length == 0 || t->content_length != STORE_LENGTH_UNKNOWN)
		return err_set(e, ERR_FAILED_PRECONDITION, "task %s cannot be given another length", t->id);
	if (content_length > STORE_CONTENT_MAX || content_length / t->piece_length >= STORE_PIECES_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "content of %" PRIu64 " bytes is more than a task may have", content_length);
	whole = content_length / t->piece_length;
	for (uint32_t n = 0; n < t->loaded->cap; n++)
		if (n >= whole && (t->loaded->entries[n].flags & ENTRY_FINISHED))
			return err_set(e, ERR_FAILED_PRECONDITION, "task %s has piece %" PRIu32 ", which %" PRIu64 " bytes do not have", t->id, n,
				content_length);
	if (admit(t, content_length, e) < 0)
		return -1;
	if (!store_content_open(t, e))
		return -1;
	if (t->store->sys->ftruncate(t->file->fd, (off_t)content_length) < 0) {
		err_sys(e, errno, "set length of %s", t->file->path);
		return -1;
	}
	t->content_length = content_length;
	t->meta_version++;
	if (store_meta_write(t, t->meta_is_synced, &nested) < 0) {
		t->content_length = STORE_LENGTH_UNKNOWN;
		if (e)
			*e = nested;
		return -1;
	}
	promise(t, true);
	return 0;
}

/* A finished task is synced a little later: until then its record may wait, since replacing it while the file system is busy with new
 * content may take long. */
void
store_task_changed_late(struct store_task *t)
{
	/* Of a task without content the record is all there is. */
	if (t->store->o.sync == STORE_SYNC_NONE || t->finished_at == 0 || t->content_length == 0 || list_is_empty(&t->unsynced)) {
		store_task_changed(t);
		return;
	}
	t->meta_version++;
	if (t->on_disk && list_is_empty(&t->dirty))
		list_add_tail(&t->store->dirty, &t->dirty);
}

static void
begin_sync(struct store_task *t)
{
	struct store *s = t->store;

	/* Until it is done; a failed try is repeated from there. */
	if (s->o.sync != STORE_SYNC_NONE && list_is_empty(&t->unsynced))
		list_add_tail(&s->unsynced, &t->unsynced);
	t->checkpoint_at = clock_wall_ns();
	store_task_changed_late(t);
	if (s->o.sync == STORE_SYNC_PIECE)
		store_sync_now(t);
}

void
store_task_complete(struct store_task *t, int64_t at)
{
	promise(t, false);
	t->finished_at = at;
	t->meta_version++;
	if (t->store->o.sync != STORE_SYNC_NONE && list_is_empty(&t->unsynced))
		list_add_tail(&t->store->unsynced, &t->unsynced);
	if (t->on_disk && list_is_empty(&t->dirty))
		list_add_tail(&t->store->dirty, &t->dirty);
	store_task_place(t);
}

int
store_task_finish(struct store_task *t, int64_t now, struct err *e)
{
	if (t->is_deleted)
		return gone(t, e);
	if (store_load(t, e) < 0)
		return -1;
	if (t->content_length == STORE_LENGTH_UNKNOWN || t->pieces_finished != store_task_piece_count(t))
		return err_set(e, ERR_FAILED_PRECONDITION, "task %s has %" PRIu32 " of %" PRIu32 " pieces", t->id, t->pieces_finished,
			store_task_piece_count(t));
	t->failed_at = 0;
	t->updated_at = now;
	promise(t, false);
	if (t->finished_at == 0) {
		t->finished_at = now;
		store_content_look(t);
		store_content_remember(t);
		begin_sync(t);
	}
	store_task_place(t);
	return 0;
}

void
store_task_fail(struct store_task *t, int64_t now)
{
	if (t->is_deleted || t->finished_at != 0)
		return;
	promise(t, false);
	t->failed_at = now;
	t->updated_at = now;
	if (t->file)
		store_content_look(t);
	store_task_place(t);
	store_task_changed(t);
}

void
store_task_set_prefetched(struct store_task *t, int64_t now_or_0)
{
	if (t->is_deleted || t->prefetched_at == now_or_0)
		return;
	t->prefetched_at = now_or_0;
	store_task_changed(t);
}

void
store_task_set_persistent(struct store_task *t, bool on)
{
	if (t->is_deleted || t->is_persistent == on)
		return;
	t->is_persistent = on;
	store_task_changed(t);
}

void
store_task_touch(struct store_task *t, int64_t now)
{
	if (t->is_deleted)
		return;
	if (now > t->updated_at)
		t->updated_at = now;
	store_task_place(t);
	if (t->on_disk && list_is_empty(&t->dirty))
		list_add_tail(&t->store->dirty, &t->dirty);
}

int
store_task_reset(struct store_task *t, struct err *e)
{
	struct store_start again = {0};
	struct store_pieces *p;
	int rc;

	if (t->is_deleted)
		return gone(t, e);
	if (store_load(t, e) < 0)
		return -1;
	if (t->piece_length == 0)
		return 0;
	p = t->loaded;
	again.content_length = t->content_length;
	again.piece_length = t->piece_length;
	again.etag = p->etag;
	again.last_modified = p->last_modified;
	again.url = p->url;
	again.headers = p->headers;
	again.header_count = p->header_count;
	again.is_imported = t->is_imported;
	again.is_private = t->is_private;
	rc = start_over(t, e);
	if (rc == 0)
		rc = store_task_start(t, &again, t->updated_at, NULL, e);
	store_task_place(t);
	return rc;
}

static int
end_task(struct store_task *t, enum store_reason reason, bool later, struct err *e)
{
	struct store *s = t->store;
	uint64_t disk_bytes = t->disk_bytes;
	int rc = 0;

	if (t->is_deleted)
		return 0;
	if (t->on_disk)
		store_index_note(t, true);
	if (t->is_hint)
		s->hints--;
	t->is_hint = false;
	map_del(&s->tasks[t->kind], key(t->id));
	promise(t, false);
	store_task_account(t, 0);
	store_task_leave(t);
	list_del(&t->work);
	list_del(&t->dirty);
	list_del(&t->unsynced);
	heap_del(&s->expiry, &t->expiry);
	t->is_deleted = true;
	t->uses++;
	if (s->o.deleted)
		s->o.deleted(s->o.arg, t, reason);
	if (t->on_disk && later)
		store_content_discard_later(t, disk_bytes);
	else if (t->on_disk)
		rc = store_content_discard(t, e);
	t->on_disk = false;
	t->uses--;
	store_close_files(t);
	store_task_free_if_unused(t);
	return rc;
}

int
store_task_delete(struct store_task *t, enum store_reason reason, struct err *e)
{
	return end_task(t, reason, false, e);
}

void
store_task_collect(struct store_task *t, enum store_reason reason)
{
	end_task(t, reason, true, NULL);
}

void
store_task_use(struct store_task *t)
{
	t->uses++;
}

void
store_task_release(struct store_task *t)
{
	t->uses--;
	if (t->uses > 0)
		return;
	if (t->is_deleted)
		store_task_free_if_unused(t);
	else
		promise(t, false);
}

void
store_task_upload_begin(struct store_task *t)
{
	t->uploading_count++;
	store_task_use(t);
}

void
store_task_upload_end(struct store_task *t, bool is_complete, int64_t now)
{
	t->uploading_count--;
	if (is_complete) {
		t->uploaded_count++;
		store_task_touch(t, now);
	}
	store_task_release(t);
}

size_t
store_task_header_count(struct store_task *t)
{
	return store_load(t, NULL) == 0 ? t->loaded->header_count : 0;
}

struct store_header
store_task_header(struct store_task *t, size_t i)
{
	return t->loaded->headers[i];
}

const char *
store_task_etag(struct store_task *t)
{
	return store_load(t, NULL) == 0 ? t->loaded->etag : NULL;
}

const char *
store_task_last_modified(struct store_task *t)
{
	return store_load(t, NULL) == 0 ? t->loaded->last_modified : NULL;
}

const char *
store_task_url(struct store_task *t)
{
	return store_load(t, NULL) == 0 ? t->loaded->url : NULL;
}
