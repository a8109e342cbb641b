/*
 * The index: one file that says of every task what a start wants to know, so that many tasks are one sequential read. A line is appended for
 * each change and each end of a task, within a second; when most lines are history it is made anew, in small parts. Jobs do the writing.
 *
 * It vouches for nothing. A task known from it alone is a hint, compared with its own record before it is used, and a start goes on to read
 * all records behind its back (recover.c): lines that are missing, late or wrong cost time and nothing else. So it may be lost at any moment,
 * and what fails here is no error of the caller's.
 */
#include "store/private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define INDEX_NAME "index"
#define INDEX_FROM 1024         /* tasks; fewer are read in no time */
#define CHUNK_LINES 1024        /* read, or made in a turn of the control loop: 160 KiB */
#define HISTORY_MAX 1024        /* lines beyond twice the tasks before the file is written anew */
#define RETRY_NS ((int64_t)60 * 1000000000)

static size_t
task_count(const struct store *s)
{
	size_t count = 0;

	for (int kind = 0; kind < STORE_KINDS; kind++)
		count += s->tasks[kind].count;
	return count;
}

/* ---- reading ---- */

static void
forget(struct store *s, struct store_task *t)
{
	map_del(&s->tasks[t->kind], slice_str(t->id));
	heap_del(&s->expiry, &t->expiry);
	store_task_account(t, 0);
	s->hints--;
	free(t);
}

static void
take_hint(struct store *s, const struct store_hint *h)
{
	struct store_task *t = map_get(&s->tasks[h->kind], slice_str(h->id));

	if (h->is_removed) {
		if (t)
			forget(s, t);
		return;
	}
	if (!t && task_count(s) >= STORE_TASKS_MAX)
		return;
	if (!t) {
		t = store_task_new(s, h->kind, h->id);
		t->is_hint = t->is_recovered = t->on_disk = t->meta_is_synced = true;
		s->hints++;
	}
	t->is_persistent = h->is_persistent;
	t->is_imported = h->is_imported;
	t->is_private = h->is_private;
	t->content_length = h->content_length;
	t->piece_length = h->piece_length;
	t->created_at = h->created_at;
	t->updated_at = t->written_at = h->updated_at;
	t->finished_at = h->finished_at;
	t->failed_at = h->failed_at;
	t->prefetched_at = h->prefetched_at;
	t->ttl = h->ttl;
	t->pieces_finished = h->finished_at != 0 ? store_task_piece_count(t) : 0;
	t->bytes_finished = h->finished_at != 0 ? t->content_length : 0;
	store_task_account(t, h->disk_bytes);
}

/* Lines up to the first that is none; false where the file cannot be read. */
static bool
read_lines(struct store *s, int fd, uint8_t *chunk)
{
	struct store_hint h;
	uint32_t n = 0;
	ssize_t got;

	do {
		got = store_read_all(s->sys, fd, chunk, (size_t)CHUNK_LINES * STORE_INDEX_BYTES, (uint64_t)n * STORE_INDEX_BYTES);
		for (size_t at = 0; got > 0 && at + STORE_INDEX_BYTES <= (size_t)got; at += STORE_INDEX_BYTES, n++) {
			if (store_hint_decode(chunk + at, n, &h) < 0) {
				got = 0;
				break;
			}
			take_hint(s, &h);
		}
	} while (got == CHUNK_LINES * STORE_INDEX_BYTES);
	s->index.records = n;
	return got >= 0;
}

bool
store_index_load(struct store *s)
{
	int fd = store_open_at(s->sys, s->meta_fd, INDEX_NAME, O_RDWR, 0);
	uint8_t *chunk;

	if (fd < 0)
		return false;
	chunk = xmalloc((size_t)CHUNK_LINES * STORE_INDEX_BYTES);
	if (!read_lines(s, fd, chunk))
		log_warn("index not read to its end path=%s/meta/" INDEX_NAME " error=\"%s\"", s->dir, strerror(errno));
	free(chunk);
	s->index.fd = fd;
	/* Without a line there is nothing to go by. */
	return s->index.records > 0;
}

/* ---- a line ---- */

static void
encode(const struct store_task *t, bool is_removed, uint32_t sequence, uint8_t out[STORE_INDEX_BYTES])
{
	struct store_hint h = {
		.is_removed = is_removed, .kind = t->kind, .is_persistent = t->is_persistent, .is_imported = t->is_imported,
		.is_private = t->is_private,
		.content_length = t->content_length, .piece_length = t->piece_length, .created_at = t->created_at,
		.updated_at = t->updated_at, .finished_at = t->finished_at, .failed_at = t->failed_at, .prefetched_at = t->prefetched_at,
		.ttl = t->ttl, .disk_bytes = t->disk_bytes,
	};

	snprintf(h.id, sizeof(h.id), "%s", t->id);
	store_hint_encode(&h, sequence, out);
}

static void
add_line(const struct store_task *t, bool is_removed, uint32_t *records, struct buf *lines)
{
	encode(t, is_removed, (*records)++, buf_reserve(lines, STORE_INDEX_BYTES));
	buf_added(lines, STORE_INDEX_BYTES);
}

void
store_index_note(struct store_task *t, bool is_removed)
{
	struct index *x = &t->store->index;

	if (x->fd >= 0)
		add_line(t, is_removed, &x->records, &x->lines);
	if (x->is_renewing)
		add_line(t, is_removed, &x->new_records, &x->new_lines);
}

/* ---- writing ---- */

static void
drop(struct store *s, int *fd, struct buf *lines)
{
	if (*fd >= 0)
		s->sys->close(*fd);
	*fd = -1;
	buf_free(lines);
}

static void
give_up_renewal(struct store *s)
{
	char tmp[32];

	snprintf(tmp, sizeof(tmp), "x-%" PRIu32, s->index.number);
	drop(s, &s->index.new_fd, &s->index.new_lines);
	s->sys->unlinkat(s->tmp_fd, tmp, 0);
	s->index.is_renewing = false;
	s->index.failed_at = clock_mono_ns();
}

static bool
is_due(const struct store *s)
{
	size_t count = task_count(s), from = s->o.index_from ? s->o.index_from : INDEX_FROM;

	if (s->index.failed_at != 0 && clock_mono_ns() - s->index.failed_at < RETRY_NS)
		return false;
	if (s->index.fd < 0)
		return count >= from;
	return s->index.records / 2 > count + HISTORY_MAX / 2;
}

static void
begin_renewal(struct store *s)
{
	struct index *x = &s->index;
	char tmp[32];

	x->number = s->next_tmp++;
	snprintf(tmp, sizeof(tmp), "x-%" PRIu32, x->number);
	x->new_fd = store_open_at(s->sys, s->tmp_fd, tmp, O_RDWR | O_CREAT | O_TRUNC, s->file_mode);
	if (x->new_fd < 0) {
		x->failed_at = clock_mono_ns();
		return;
	}
	x->is_renewing = true;
	x->is_walked = false;
	x->new_records = 0;
	x->kind = 0;
	x->at = 0;
	x->cap = s->tasks[0].cap;
}

/* The next task of the walk. A table that grew meanwhile is walked again: a line twice says the same twice. */
static struct store_task *
next(struct store *s)
{
	struct index *x = &s->index;

	for (; x->kind < STORE_KINDS; x->kind++, x->at = 0) {
		struct store_task *t;

		if (x->cap != s->tasks[x->kind].cap)
			x->at = 0;
		x->cap = s->tasks[x->kind].cap;
		t = map_next(&s->tasks[x->kind], &x->at);
		if (t)
			return t;
	}
	return NULL;
}

static void
add_some(struct store *s)
{
	struct index *x = &s->index;
	struct store_task *t = NULL;

	for (unsigned n = 0; n < CHUNK_LINES && (t = next(s)) != NULL; n++)
		if (t->on_disk)
			add_line(t, false, &x->new_records, &x->new_lines);
	x->is_walked = t == NULL;
}

static void
take_renewed(struct store *s)
{
	struct index *x = &s->index;
	char tmp[32];

	snprintf(tmp, sizeof(tmp), "x-%" PRIu32, x->number);
	if (s->sys->renameat(s->tmp_fd, tmp, s->meta_fd, INDEX_NAME) < 0) {
		log_warn("index not made anew path=%s/meta/" INDEX_NAME " error=\"%s\"", s->dir, strerror(errno));
		give_up_renewal(s);
		return;
	}
	drop(s, &x->fd, &x->lines);
	x->fd = x->new_fd;
	x->records = x->new_records;
	x->lines = x->new_lines;
	x->new_fd = -1;
	x->new_lines = BUF_INIT;
	x->is_renewing = false;
	x->failed_at = 0;
}

/* The next job, if there is something to do: of the new file to its end, then of lines for the one that is there. */
static void
go_on(struct store *s)
{
	struct index *x = &s->index;

	if (x->has_job)
		return;
	if (x->is_renewing) {
		add_some(s);
		store_index_job(s, x->new_fd, &x->new_lines, x->new_records, x->is_walked);
	} else if (x->fd >= 0 && x->lines.len > 0) {
		store_index_job(s, x->fd, &x->lines, x->records, false);
	}
}

void
store_index_written(struct store *s, int fd, int errnum)
{
	struct index *x = &s->index;

	x->has_job = false;
	if (errnum != 0)
		x->failed_at = clock_mono_ns();
	if (!x->is_renewing || fd != x->new_fd) {
		if (errnum != 0)
			drop(s, &x->fd, &x->lines);
	} else if (errnum != 0) {
		give_up_renewal(s);
	} else if (x->is_walked) {
		take_renewed(s);
	} else {
		go_on(s);
	}
}

void
store_index_lost(struct store *s)
{
	/* Under a job the file without a name is written on; a renewal follows one day, or the next start reads all. */
	if (!s->index.has_job)
		drop(s, &s->index.fd, &s->index.lines);
}

void
store_index_tick(struct store *s)
{
	if (!s->index.is_renewing && !s->index.has_job && is_due(s))
		begin_renewal(s);
	go_on(s);
}

void
store_index_close(struct store *s)
{
	struct index *x = &s->index;

	/* One that is half made is made to its end, and one that is missing at once: jobs run in their call by now. */
	x->failed_at = 0;
	store_index_tick(s);
	if (x->is_renewing)
		give_up_renewal(s);
	drop(s, &x->fd, &x->lines);
}
