/*
 * Slow work as jobs: what must reach stable storage, what must be unlinked, what must be compared with its checksum. A job goes to
 * another thread with all it needs (store_job_run touches nothing of the store but its descriptors and its table of calls), comes back,
 * and either takes its next step or ends. Names change only on the control loop, so a job can never bring a deleted record back.
 *
 * Making a task durable: 1 sync the content and the directory of its name; then append the checkpoint, and write the record aside;
 * 2 sync both; then rename the record into place; 3 sync the directory.
 */
#include "store/job.h"

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

#define TRASH_BATCH 256                         /* tasks whose files one job removes */
/*
 * Directories that one job syncs after removals. They are synced when nothing is left to remove, so that each takes one sync however many
 * tasks left it, or after this time.
 */
#define SHARD_BATCH 256
#define SHARDS_LATE_NS ((int64_t)60 * 1000000000)
#define VERIFY_BYTES ((uint64_t)64 << 20)       /* read by one background check: it is in nobody's way for long */

static void
go(struct store_job *job)
{
	struct store *s = job->s;

	if (s->o.run) {
		s->o.run(s->o.arg, job);
		return;
	}
	store_job_run(job);
	store_job_done(job);
}

static struct store_job *
new_job(struct store *s, enum step step)
{
	struct store_job *job = xcalloc(1, sizeof(*job));

	job->s = s;
	job->step = step;
	list_init(&job->trash);
	list_init(&job->placed);
	s->jobs++;
	return job;
}

static bool
is_stale(const struct store_job *job)
{
	return job->t->is_deleted || job->t->generation != job->generation;
}

static void
end_job(struct store_job *job)
{
	struct store *s = job->s;
	struct store_task *t = job->t;

	LIST_EACH(it, next, &job->placed)
		free(CONTAINER_OF(it, struct placed, link));
	store_file_unref(job->content);
	buf_free(&job->meta);
	free(job->checks);
	free(job->shards);
	free(job);
	s->jobs--;
	if (t) {
		t->is_busy = false;
		if (t->sync_again && !t->is_deleted)
			store_sync_request(t);
		store_task_free_if_unused(t);
	}
	store_pump(s);
}

static void
encode_record(struct store_job *job)
{
	struct store_meta m;

	job->meta_version = job->t->meta_version;
	store_meta_fill(job->t, job->is_complete ? clock_wall_ns() : 0, &m);
	buf_clear(&job->meta);
	store_meta_encode(&m, &job->meta);
	snprintf(job->tmp, sizeof(job->tmp), "m-%" PRIu32, job->s->next_tmp++);
	job->writes_record = true;
}

static void
after_content(struct store_job *job)
{
	struct store_record r = { .type = STORE_RECORD_CHECKPOINT, .offset = job->covered };
	struct store *s = job->s;
	struct err e = {0};

	s->shards[job->kind][store_shard(job->t->id)] &= (uint8_t)~SHARD_CONTENT_NEW;
	/* Written out it may take a block more or less than before. */
	if (job->t->file)
		store_content_look(job->t);
	if (job->covered > 0 && store_journal_append(job->t, &r, &e) < 0) {
		log_warn("checkpoint not written task=%s error=\"%s\"", job->t->id, e.text);
		end_job(job);
		return;
	}
	job->is_complete = job->t->finished_at != 0 && job->t->is_trusted;
	if (job->is_complete || !job->t->meta_is_synced)
		encode_record(job);
	job->step = STEP_RECORD;
	go(job);
}

static void
after_record(struct store_job *job)
{
	struct store *s = job->s;
	struct store_task *t = job->t;

	if (job->writes_record && job->meta_version != t->meta_version) {
		s->sys->unlinkat(s->tmp_fd, job->tmp, 0);
		job->is_complete = job->is_complete && t->finished_at != 0 && t->is_trusted;
		encode_record(job);
		go(job);
		return;
	}
	if (job->writes_record) {
		if (s->sys->renameat(s->tmp_fd, job->tmp, s->meta_fd, job->record) < 0) {
			log_warn("rename of a task record failed task=%s error=\"%s\"", t->id, strerror(errno));
			s->sys->unlinkat(s->tmp_fd, job->tmp, 0);
			end_job(job);
			return;
		}
		store_task_written(t);
	}
	/* Which of two whole records a power cut leaves does not matter then. */
	if (job->only_record) {
		end_job(job);
		return;
	}
	job->step = STEP_NAME;
	go(job);
}

static void
after_name(struct store_job *job)
{
	struct store_task *t = job->t;

	job->s->shards[job->kind][store_shard(t->id)] &= (uint8_t)~SHARD_META_NEW;
	t->meta_is_synced = true;
	for (uint32_t n = 0; t->loaded && n < t->loaded->cap; n++) {
		struct entry *entry = &t->loaded->entries[n];

		if (entry->flags & ENTRY_SYNCING)
			entry->flags = (uint8_t)((entry->flags & ~ENTRY_SYNCING) | ENTRY_DURABLE);
	}
	t->unsynced_bytes -= job->bytes < t->unsynced_bytes ? job->bytes : t->unsynced_bytes;
	if (job->is_complete && t->finished_at != 0)
		t->is_synced = true;
	if (t->is_synced || t->unsynced_bytes == 0)
		list_del(&t->unsynced);
	end_job(job);
}

static void
after_verify(struct store_job *job)
{
	struct store_piece piece;

	/* A piece that came anew meanwhile is not the one that was read. */
	for (size_t i = 0; i < job->check_count && !is_stale(job); i++)
		if (store_piece_get(job->t, job->checks[i].number, &piece) == 0 && piece.needs_check)
			store_piece_checked(job->t, job->checks[i].number, !job->checks[i].is_bad);
	end_job(job);
}

static void
after_trash(struct store_job *job)
{
	struct store *s = job->s;

	LIST_EACH(it, next, &job->trash) {
		struct trash *item = CONTAINER_OF(it, struct trash, link);

		if (item->has_names)
			store_shard_deleted(s, item->kind, item->shard);
		if (item->has_names && map_get(&s->leaving[item->kind], slice_str(item->id)) == item)
			map_del(&s->leaving[item->kind], slice_str(item->id));
		s->leaving_bytes -= item->bytes;
		s->trash_count--;
		free(item);
	}
	end_job(job);
}

static void
after_shards(struct store_job *job)
{
	for (size_t i = 0; i < job->shard_count && job->errnum == 0; i++) {
		uint8_t *state = &job->s->shards[job->shards[i].kind][job->shards[i].shard];

		*state &= (uint8_t)~(SHARD_META_NEW | SHARD_CONTENT_NEW);
		if (!(*state & SHARD_DELETED_AGAIN))
			*state &= (uint8_t)~SHARD_DELETED;
	}
	end_job(job);
}

/* Somebody removed files or directories of ours. Who uses the task has its bytes still, in a file without a name. */
static void
lost_path(struct store_task *t)
{
	struct store *s = t->store;
	char name[STORE_NAME_MAX];
	struct stat st;
	struct err e = {0};

	store_heal(t);
	store_name(name, t->kind, t->id, "");
	if (t->uses > 0 || s->sys->fstatat(s->content_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT)
		return;
	log_warn("content file is missing, pieces dropped task=%s", t->id);
	if (store_task_reset(t, &e) < 0)
		log_warn("content not replaced task=%s error=\"%s\"", t->id, e.text);
}

/* A job of no task. */
static void
after_common(struct store_job *job)
{
	struct store *s = job->s;

	if (job->step == STEP_TREE)
		s->tree_job = false;
	if (job->step == STEP_INDEX)
		store_index_written(s, job->fd, job->errnum);
	if (job->step == STEP_LOOK) {
		s->scan_job = false;
		store_scan_shard(s, job->kind, job->look_at);
	}
	if (job->step == STEP_TRASH)
		after_trash(job);
	else if (job->step == STEP_SHARDS)
		after_shards(job);
	else
		end_job(job);
}

void
store_job_done(struct store_job *job)
{
	struct store *s = job->s;
	struct store_task *t = job->t;

	if (job->errnum != 0)
		log_warn("%s failed dir=%s task=%s error=\"%s\"", job->what, s->dir, t ? t->id : "-", strerror(job->errnum));
	if (t == NULL) {
		after_common(job);
		return;
	}
	if (job->errnum == ENOENT && !is_stale(job))
		lost_path(t);
	if (job->errnum != 0 || is_stale(job)) {
		if (job->writes_record)
			s->sys->unlinkat(s->tmp_fd, job->tmp, 0);
		end_job(job);
		return;
	}
	switch (job->step) {
	case STEP_CONTENT:
		after_content(job);
		return;
	case STEP_RECORD:
		after_record(job);
		return;
	case STEP_NAME:
		after_name(job);
		return;
	case STEP_VERIFY:
		after_verify(job);
		return;
	case STEP_TRASH:
	case STEP_SHARDS:
	case STEP_CACHE:
	case STEP_PLACED:
	case STEP_INDEX:
	case STEP_LOOK:
	case STEP_TREE:         /* of no task */
		return;
	}
}

unsigned
store_jobs_running(const struct store *s)
{
	return s->jobs;
}

void
store_output_placed(struct store *s, const char *path)
{
	struct placed *p;
	size_t n = strlen(path) + 1;

	if (s->o.sync == STORE_SYNC_NONE || path[0] != '/' || s->placed_count >= STORE_PLACED_MAX)
		return;
	p = xmalloc(sizeof(*p) + n);
	p->at = clock_mono_ns();
	memcpy(p->path, path, n);
	list_add_tail(&s->placed, &p->link);
	s->placed_count++;
}

void
store_sync_placed(struct store *s, int64_t before)
{
	struct store_job *job = NULL;

	while (!list_is_empty(&s->placed)) {
		struct placed *p = CONTAINER_OF(s->placed.next, struct placed, link);

		if (p->at >= before)
			break;
		if (!job)
			job = new_job(s, STEP_PLACED);
		list_del(&p->link);
		list_add_tail(&job->placed, &p->link);
		s->placed_count--;
	}
	if (job)
		go(job);
}

void
store_drop_cache(struct store_task *t)
{
	struct store_job *job;

	if (!store_content_open(t, NULL))
		return;
	job = new_job(t->store, STEP_CACHE);
	job->content = store_file_ref(t->file);
	go(job);
}

static void
start_verify(struct store_task *t)
{
	struct store_pieces *p = t->loaded;
	struct store_job *job;
	uint64_t bytes = 0, offset, length;

	if (t->is_busy || !store_content_open(t, NULL))
		return;
	job = new_job(t->store, STEP_VERIFY);
	for (uint32_t n = 0; n < p->cap && bytes < VERIFY_BYTES; n++) {
		if ((p->entries[n].flags & (ENTRY_FINISHED | ENTRY_TRUSTED)) != ENTRY_FINISHED || store_task_piece_span(t, n, &offset, &length) < 0)
			continue;
		job->checks = xrealloc(job->checks, (job->check_count + 1) * sizeof(*job->checks));
		/* Without a checksum nothing can show that the bytes are good. */
		job->checks[job->check_count++] = (struct check){ n, p->entries[n].crc, offset, length, !(p->entries[n].flags & ENTRY_CRC) };
		bytes += length;
	}
	job->t = t;
	job->generation = t->generation;
	job->content = store_file_ref(t->file);
	t->is_busy = true;
	go(job);
}

static void
start_sync(struct store_task *t)
{
	struct store *s = t->store;
	struct store_job *job;
	unsigned shard = store_shard(t->id);
	struct err e = {0};

	t->sync_again = false;
	t->checkpoint_at = clock_wall_ns();
	if (!t->on_disk || store_load(t, &e) < 0 || (t->journal_records == JOURNAL_MUST_REWRITE && store_journal_rewrite(t, &e) < 0)) {
		if (e.code != ERR_OK)
			log_warn("task not synced task=%s error=\"%s\"", t->id, e.text);
		return;
	}
	/* A checkpoint speaks for all pieces before it, so none of them may be in doubt. */
	if (!t->is_trusted) {
		start_verify(t);
		return;
	}
	job = new_job(s, STEP_CONTENT);
	job->t = t;
	job->kind = t->kind;
	job->generation = t->generation;
	store_shard_name(job->shard, t->kind, shard);
	store_name(job->journal, t->kind, t->id, ".p");
	store_name(job->record, t->kind, t->id, ".m");
	job->syncs_content_parent = s->shards[t->kind][shard] & SHARD_CONTENT_NEW;
	job->syncs_meta_parent = s->shards[t->kind][shard] & SHARD_META_NEW;
	t->is_busy = true;
	if (t->is_synced || (t->unsynced_bytes == 0 && t->finished_at == 0) || s->o.sync == STORE_SYNC_NONE) {
		job->only_record = true;
		job->is_complete = t->is_synced;
		encode_record(job);
		job->step = STEP_RECORD;
		go(job);
		return;
	}
	job->covered = t->journal_records;
	job->bytes = t->unsynced_bytes;
	for (uint32_t n = 0; n < t->loaded->cap; n++)
		if ((t->loaded->entries[n].flags & (ENTRY_FINISHED | ENTRY_DURABLE)) == ENTRY_FINISHED)
			t->loaded->entries[n].flags |= ENTRY_SYNCING;
	if (!store_content_open(t, &e)) {
		log_warn("content not synced task=%s error=\"%s\"", t->id, e.text);
		end_job(job);
		return;
	}
	job->content = store_file_ref(t->file);
	go(job);
}

static void
start_trash(struct store *s)
{
	struct store_job *job = new_job(s, STEP_TRASH);

	for (int i = 0; i < TRASH_BATCH && !list_is_empty(&s->trash); i++) {
		struct trash *item = CONTAINER_OF(s->trash.next, struct trash, link);

		list_del(&item->link);
		list_add_tail(&job->trash, &item->link);
	}
	go(job);
}

static bool
is_shard_sync_due(const struct store *s)
{
	return s->deleted_shards > 0 && s->o.sync != STORE_SYNC_NONE &&
	    (s->trash_count == 0 || clock_mono_ns() - s->deleted_since >= SHARDS_LATE_NS);
}

static void
start_shards(struct store *s)
{
	struct store_job *job = new_job(s, STEP_SHARDS);

	job->shards = xcalloc(SHARD_BATCH, sizeof(*job->shards));
	while (job->shard_count < SHARD_BATCH && s->deleted_shards > 0) {
		enum store_kind kind = (enum store_kind)(s->sync_shard_at / STORE_SHARDS);
		unsigned shard = s->sync_shard_at % STORE_SHARDS;

		s->sync_shard_at = (s->sync_shard_at + 1) % (STORE_KINDS * STORE_SHARDS);
		if (!(s->shards[kind][shard] & SHARD_DELETED_AGAIN))
			continue;
		s->shards[kind][shard] &= (uint8_t)~SHARD_DELETED_AGAIN;
		s->deleted_shards--;
		job->syncs_meta_kind[kind] |= (s->shards[kind][shard] & SHARD_META_NEW) != 0;
		job->syncs_content_kind[kind] |= (s->shards[kind][shard] & SHARD_CONTENT_NEW) != 0;
		job->shards[job->shard_count++] = (struct shard_name){ kind, shard };
	}
	go(job);
}

static void
start_tree(struct store *s)
{
	struct store_job *job = new_job(s, STEP_TREE);

	job->tree_to = s->old_trees;
	s->old_trees = 0;
	s->tree_job = true;
	go(job);
}

void
store_index_job(struct store *s, int fd, struct buf *lines, uint32_t end, bool sync)
{
	struct store_job *job = new_job(s, STEP_INDEX);

	job->fd = fd;
	job->at = (uint64_t)end * STORE_INDEX_BYTES - lines->len;
	job->syncs_index = sync;
	job->meta = *lines;
	*lines = BUF_INIT;
	s->index.has_job = true;
	go(job);
}

/* False when every shard was read. */
static bool
start_look(struct store *s)
{
	struct store_job *job;
	enum store_kind kind;
	unsigned shard;

	if (s->scan_job || s->is_ending || store_scan_next(s, &kind, &shard) < 0)
		return false;
	job = new_job(s, STEP_LOOK);
	job->kind = kind;
	job->look_at = shard;
	store_shard_name(job->shard, kind, shard);
	s->scan_job = true;
	go(job);
	return true;
}

void
store_pump(struct store *s)
{
	if (s->is_pumping)
		return;
	s->is_pumping = true;
	while (s->jobs < STORE_JOBS_MAX) {
		if (!list_is_empty(&s->sync_queue)) {
			struct store_task *t = CONTAINER_OF(s->sync_queue.next, struct store_task, work);

			list_del(&t->work);
			start_sync(t);
		} else if (is_shard_sync_due(s)) {
			start_shards(s);
		} else if (!list_is_empty(&s->trash)) {
			start_trash(s);
		} else if (s->old_trees > 0 && !s->tree_job) {
			start_tree(s);
		} else if (!start_look(s)) {
			break;
		}
	}
	s->is_pumping = false;
}

void
store_trash_add(struct store *s, struct trash *item)
{
	list_add_tail(&s->trash, &item->link);
	s->trash_count++;
	store_pump(s);
}

void
store_sync_request(struct store_task *t)
{
	if (t->is_deleted)
		return;
	if (t->is_busy) {
		t->sync_again = true;
		return;
	}
	if (list_is_empty(&t->work))
		list_add_tail(&t->store->sync_queue, &t->work);
	store_pump(t->store);
}

void
store_sync_now(struct store_task *t)
{
	void (*run)(void *, struct store_job *) = t->store->o.run;

	if (t->is_deleted || t->is_busy)
		return;
	list_del(&t->work);
	t->store->o.run = NULL;
	start_sync(t);
	t->store->o.run = run;
}

void
store_sync_due(struct store_task *t, int64_t now)
{
	int64_t since = now - t->checkpoint_at;

	if (t->store->o.sync == STORE_SYNC_NONE || t->is_busy || t->finished_at != 0)
		return;
	if (t->checkpoint_at == 0)
		t->checkpoint_at = now;
	else if (since >= STORE_CHECKPOINT_NS || (t->unsynced_bytes >= STORE_CHECKPOINT_BYTES && since >= STORE_CHECKPOINT_MIN_NS))
		store_sync_request(t);
}

static void
sync_finished(struct store_task *t, int64_t now)
{
	if (t->finished_at != 0 && !t->is_synced && !t->is_busy && now - t->checkpoint_at >= STORE_SETTLE_NS)
		store_sync_request(t);
}

/* Whatever is done to one task may take others out of the list, so each round begins at its head. */
static void
take_all(struct list *from, struct list *to)
{
	list_init(to);
	if (list_is_empty(from))
		return;
	*to = *from;
	to->next->prev = to;
	to->prev->next = to;
	list_init(from);
}

static void
tick_unsynced(struct store *s, int64_t now)
{
	struct list todo;

	if (s->o.sync == STORE_SYNC_NONE)
		return;
	take_all(&s->unsynced, &todo);
	while (!list_is_empty(&todo)) {
		struct store_task *t = CONTAINER_OF(todo.next, struct store_task, unsynced);

		list_del(&t->unsynced);
		list_add_tail(&s->unsynced, &t->unsynced);
		store_sync_due(t, now);
		sync_finished(t, now);
	}
}

static void
tick_dirty(struct store *s)
{
	struct list todo;

	take_all(&s->dirty, &todo);
	while (!list_is_empty(&todo)) {
		struct store_task *t = CONTAINER_OF(todo.next, struct store_task, dirty);

		list_del(&t->dirty);
		list_add_tail(&s->dirty, &t->dirty);
		if (t->is_busy || (t->meta_version == t->written_version && t->updated_at - t->written_at < STORE_TOUCH_NS))
			continue;
		if (s->o.sync != STORE_SYNC_NONE && t->finished_at != 0 && !list_is_empty(&t->unsynced))
			continue;               /* the sync writes it */
		if (t->meta_is_synced)
			store_sync_request(t);
		else
			store_task_write(t);
	}
}

void
store_tick(struct store *s, int64_t now)
{
	tick_unsynced(s, now);
	tick_dirty(s);
	store_sync_placed(s, clock_mono_ns() - STORE_SETTLE_NS);
	store_scan_rest(s);
	store_index_tick(s);
	store_pump(s);
	store_shrink_loaded(s);
	store_shrink_open(s);
}
