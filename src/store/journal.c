/*
 * The piece journal of a task: appended when a piece is whole, replayed on first use, written anew when most of it is history.
 */
#include "store/private.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"

#define CHUNK_RECORDS 1024      /* read at a time: 64 KiB */
#define HISTORY_MAX 256         /* records beyond twice the finished pieces before the journal is written anew */

static int
journal_error(const struct store_task *t, const char *what, struct err *e)
{
	char name[STORE_NAME_MAX];
	int errnum = errno;

	store_name(name, t->kind, t->id, ".p");
	return err_sys(e, errnum, "%s %s/meta/%s", what, t->store->dir, name);
}

/* ---- replay ---- */

struct replay {
	struct store_task *t;
	uint32_t covered;       /* records below this are on stable storage */
	bool is_unseen;         /* of an earlier run: to be checked before use */
	bool trust_all;         /* loaded before in this run, and not in doubt */
	int64_t newest;         /* when the last piece came */
	bool is_counting;       /* first walk: only finds the end and `covered` */
};

static void
apply_finished(struct replay *in, const struct store_record *r)
{
	struct store_task *t = in->t;
	struct entry entry = {0};
	uint64_t offset, length;
	bool durable = r->sequence < in->covered;

	/* A record that does not fit the task (its length changed before a crash) tells of no piece. */
	if (store_task_piece_span(t, r->number, &offset, &length) < 0 || offset != r->offset || length != r->length ||
	    store_entry_room(t->loaded, r->number) < 0)
		return;
	entry.created_at = r->created_at;
	entry.finished_at = r->finished_at;
	if (r->finished_at > in->newest)
		in->newest = r->finished_at;
	entry.cost_ns = r->cost_ns;
	entry.crc = r->crc;
	entry.traffic_type = r->traffic_type;
	entry.flags = (uint8_t)(ENTRY_FINISHED | (r->flags & STORE_RECORD_HAS_CRC ? ENTRY_CRC : 0) | (durable ? ENTRY_DURABLE : 0) |
		(durable || in->trust_all ? ENTRY_TRUSTED : 0) | (in->is_unseen ? ENTRY_UNSEEN : 0));
	store_entry_set(t, r->number, &entry, length);
}

static void
apply(struct replay *in, const struct store_record *r)
{
	if (in->is_counting) {
		if (r->type == STORE_RECORD_CHECKPOINT && r->offset <= r->sequence && r->offset > in->covered)
			in->covered = (uint32_t)r->offset;
	} else if (r->type == STORE_RECORD_FINISHED) {
		apply_finished(in, r);
	} else if (r->type == STORE_RECORD_DROPPED && r->number < in->t->loaded->cap) {
		store_entry_clear(in->t, r->number);
	}
}

/* Walks the good records; *count says how many there are. 1 when bytes that are not one follow, 0 at a clean end, -1 on error. */
static int
walk(struct replay *in, int fd, uint8_t *chunk, uint32_t *count)
{
	struct store_record r;
	uint32_t n = 0;
	ssize_t got;

	do {
		got = store_read_all(in->t->store->sys, fd, chunk, (size_t)CHUNK_RECORDS * STORE_RECORD_BYTES, (uint64_t)n * STORE_RECORD_BYTES);
		if (got < 0)
			return -1;
		for (size_t at = 0; at < (size_t)got; at += STORE_RECORD_BYTES) {
			*count = n;
			if ((size_t)got - at < STORE_RECORD_BYTES || store_record_decode(chunk + at, n, &r) < 0)
				return 1;
			apply(in, &r);
			n++;
		}
	} while (got == CHUNK_RECORDS * STORE_RECORD_BYTES);
	*count = n;
	return 0;
}

static int
replay(struct store_task *t, int fd, struct replay *in)
{
	uint8_t *chunk = xmalloc((size_t)CHUNK_RECORDS * STORE_RECORD_BYTES);
	uint32_t count = 0;
	int rc;

	in->is_counting = true;
	rc = walk(in, fd, chunk, &t->journal_records);
	if (rc == 1) {
		log_warn("piece journal ends in a damaged record, the rest is cut off task=%s records=%" PRIu32, t->id, t->journal_records);
		if (t->store->sys->ftruncate(fd, (off_t)t->journal_records * STORE_RECORD_BYTES) < 0)
			t->journal_records = JOURNAL_MUST_REWRITE;
	}
	in->is_counting = false;
	if (rc >= 0)
		rc = walk(in, fd, chunk, &count);
	free(chunk);
	return rc < 0 ? -1 : 0;
}

/* Pieces that the content file cannot hold, or whose bytes somebody else may have changed. */
static void
compare_content(struct store_task *t)
{
	struct store *s = t->store;
	char name[STORE_NAME_MAX];
	uint64_t offset, length, size = 0;
	struct stat st;

	store_name(name, t->kind, t->id, "");
	if (s->sys->fstatat(s->content_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		if (errno != ENOENT)
			return;
	} else if (S_ISREG(st.st_mode)) {
		size = (uint64_t)st.st_size;
	}
	for (uint32_t n = 0; n < t->loaded->cap; n++)
		if (t->loaded->entries[n].flags & ENTRY_FINISHED && store_task_piece_span(t, n, &offset, &length) == 0 && offset + length > size) {
			log_warn("content is shorter than its pieces task=%s piece=%" PRIu32 " size=%" PRIu64, t->id, n, size);
			store_entry_clear(t, n);
			t->journal_records = JOURNAL_MUST_REWRITE;
		}
	if (size > 0 && t->has_identity && ((uint64_t)st.st_ino != t->id_ino || size != t->id_size ||
	    (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec != t->id_mtime_ns))
		store_distrust(t);
}

int
store_journal_load(struct store_task *t, struct err *e)
{
	struct store *s = t->store;
	struct replay in = { .t = t, .is_unseen = !t->was_seen, .trust_all = t->is_trusted, .covered = t->is_synced ? UINT32_MAX : 0 };
	char name[STORE_NAME_MAX];
	int fd, rc;

	t->pieces_finished = 0;
	t->bytes_finished = 0;
	t->journal_records = 0;
	t->is_trusted = true;
	store_name(name, t->kind, t->id, ".p");
	fd = store_open_at(s->sys, s->meta_fd, name, O_RDWR, 0);
	if (fd < 0 && (errno == EACCES || errno == EROFS))
		fd = store_open_at(s->sys, s->meta_fd, name, O_RDONLY, 0);
	if (fd < 0 && errno != ENOENT) {
		t->is_trusted = in.trust_all;
		return journal_error(t, "open", e);
	}
	if (fd >= 0) {
		rc = replay(t, fd, &in);
		if (rc < 0)
			journal_error(t, "read", e);
		s->sys->close(fd);
		if (rc < 0) {
			t->is_trusted = in.trust_all;
			return -1;
		}
	}
	compare_content(t);
	if (t->finished_at != 0 && t->pieces_finished != store_task_piece_count(t)) {
		log_warn("finished task lacks pieces task=%s have=%" PRIu32 " of=%" PRIu32, t->id, t->pieces_finished, store_task_piece_count(t));
		store_task_unfinish(t);
	} else if (t->finished_at == 0 && t->pieces_finished > 0 && t->content_length != STORE_LENGTH_UNKNOWN &&
	    t->pieces_finished == store_task_piece_count(t)) {
		/* The run that had the last piece ended before its record was written. */
		store_task_complete(t, in.newest);
	}
	return 0;
}

/* ---- append and compaction ---- */

static int
open_journal(struct store_task *t, struct err *e)
{
	struct store *s = t->store;
	char name[STORE_NAME_MAX];

	if (t->journal_fd >= 0)
		return 0;
	store_name(name, t->kind, t->id, ".p");
	if (t->journal_records > 0) {
		t->journal_fd = store_open_at(s->sys, s->meta_fd, name, O_RDWR, 0);
		/* Somebody removed it: what it said is known still. */
		if (t->journal_fd < 0 && errno == ENOENT) {
			if (t->is_busy || store_journal_rewrite(t, e) < 0)
				return journal_error(t, "open", e);
			t->journal_fd = store_open_at(s->sys, s->meta_fd, name, O_RDWR, 0);
		}
	} else {
		t->journal_fd = store_open_at(s->sys, s->meta_fd, name, O_RDWR | O_CREAT | O_TRUNC, s->file_mode);
		if (t->journal_fd < 0 && errno == ENOENT && store_heal(t) == 0)
			t->journal_fd = store_open_at(s->sys, s->meta_fd, name, O_RDWR | O_CREAT | O_TRUNC, s->file_mode);
	}
	if (t->journal_fd < 0)
		return journal_error(t, "open", e);
	store_opened(t);
	return 0;
}

int
store_journal_append(struct store_task *t, struct store_record *r, struct err *e)
{
	uint8_t bytes[STORE_RECORD_BYTES];
	uint32_t wanted = t->pieces_finished;

	if (!t->is_busy && (t->journal_records == JOURNAL_MUST_REWRITE || t->journal_records / 2 > wanted + HISTORY_MAX) &&
	    store_journal_rewrite(t, e) < 0)
		return -1;
	if (t->journal_records == JOURNAL_MUST_REWRITE)
		return err_set(e, ERR_UNAVAILABLE, "the piece journal of task %s is being synced", t->id);
	if (open_journal(t, e) < 0)
		return -1;
	r->sequence = t->journal_records;
	store_record_encode(r, bytes);
	/* At its place, not at the end: what a failed write left behind is written over. */
	if (store_write_all(t->store->sys, t->journal_fd, bytes, sizeof(bytes), (uint64_t)r->sequence * STORE_RECORD_BYTES) < 0)
		return journal_error(t, "write", e);
	t->journal_records++;
	return 0;
}

static void
add_entry(const struct store_task *t, uint32_t n, uint32_t sequence, struct buf *out)
{
	const struct entry *entry = &t->loaded->entries[n];
	struct store_record r = {
		.type = STORE_RECORD_FINISHED,
		.flags = entry->flags & ENTRY_CRC ? STORE_RECORD_HAS_CRC : 0,
		.traffic_type = entry->traffic_type,
		.number = n,
		.crc = entry->crc,
		.cost_ns = entry->cost_ns,
		.created_at = entry->created_at,
		.finished_at = entry->finished_at,
		.sequence = sequence,
	};

	store_task_piece_span(t, n, &r.offset, &r.length);
	store_record_encode(&r, buf_reserve(out, STORE_RECORD_BYTES));
	buf_added(out, STORE_RECORD_BYTES);
}

/* Entries that are (or are not) on stable storage, in order of number. */
static uint32_t
add_entries(const struct store_task *t, bool durable, uint32_t sequence, struct buf *out)
{
	for (uint32_t n = 0; n < t->loaded->cap; n++) {
		unsigned flags = t->loaded->entries[n].flags;

		if (flags & ENTRY_FINISHED && !(flags & ENTRY_DURABLE) == !durable)
			add_entry(t, n, sequence++, out);
	}
	return sequence;
}

int
store_journal_rewrite(struct store_task *t, struct err *e)
{
	struct store *s = t->store;
	struct store_record checkpoint = { .type = STORE_RECORD_CHECKPOINT };
	struct buf out = BUF_INIT;
	uint32_t records, durable;
	int rc;

	durable = records = add_entries(t, true, 0, &out);
	if (durable > 0) {
		checkpoint.offset = durable;
		checkpoint.sequence = records++;
		store_record_encode(&checkpoint, buf_reserve(&out, STORE_RECORD_BYTES));
		buf_added(&out, STORE_RECORD_BYTES);
	}
	records = add_entries(t, false, records, &out);
	/* The old journal was synced up to its checkpoint: the new one must be, too, before it takes the name. */
	rc = store_replace(t, 'p', ".p", buf_slice(&out), durable > 0 && s->o.sync != STORE_SYNC_NONE, e);
	buf_free(&out);
	if (rc < 0)
		return -1;
	if (t->journal_fd >= 0)
		s->sys->close(t->journal_fd);
	t->journal_fd = -1;
	t->journal_records = records;
	return 0;
}
