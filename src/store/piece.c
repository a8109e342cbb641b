/*
 * Pieces of a task in memory: an entry per number that arrived, and a bitmap. Loaded from disk on first use, let go when idle.
 */
#include "store/private.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"

#define DETAILS_ARENA_MAX ((size_t)2 * STORE_META_MAX)

uint32_t
store_task_piece_count(const struct store_task *t)
{
	if (t->content_length == STORE_LENGTH_UNKNOWN || t->piece_length == 0)
		return 0;
	return (uint32_t)(t->content_length / t->piece_length + (t->content_length % t->piece_length > 0));
}

int
store_task_piece_span(const struct store_task *t, uint32_t n, uint64_t *offset, uint64_t *length)
{
	uint64_t from, rest;

	if (t->piece_length == 0 || n >= STORE_PIECES_MAX)
		return -1;
	from = (uint64_t)n * t->piece_length;
	if (t->content_length != STORE_LENGTH_UNKNOWN && from >= t->content_length)
		return -1;
	if (t->content_length == STORE_LENGTH_UNKNOWN && from + t->piece_length > STORE_CONTENT_MAX)
		return -1;
	rest = t->content_length == STORE_LENGTH_UNKNOWN ? t->piece_length : t->content_length - from;
	*offset = from;
	*length = rest < t->piece_length ? rest : t->piece_length;
	return 0;
}

/* Room for this number; sized by what arrived, not by what an origin says it will send. */
int
store_entry_room(struct store_pieces *p, uint32_t number)
{
	uint32_t cap = p->cap;
	struct entry *entries;
	uint64_t *bits;

	if (number < cap)
		return 0;
	while (cap <= number)
		cap = cap == 0 ? 64 : cap * 2;
	entries = realloc(p->entries, cap * sizeof(*entries));
	if (!entries)
		return -1;
	p->entries = entries;
	bits = realloc(p->bits, cap / 64 * sizeof(*bits));
	if (!bits)
		return -1;
	p->bits = bits;
	memset(entries + p->cap, 0, (cap - p->cap) * sizeof(*entries));
	memset(bits + p->cap / 64, 0, (cap - p->cap) / 64 * sizeof(*bits));
	p->cap = cap;
	return 0;
}

void
store_entry_set(struct store_task *t, uint32_t n, const struct entry *from, uint64_t length)
{
	struct store_pieces *p = t->loaded;

	store_entry_clear(t, n);
	p->entries[n] = *from;
	p->bits[n / 64] |= (uint64_t)1 << n % 64;
	if (!(from->flags & ENTRY_TRUSTED))
		p->untrusted++;
	if (from->flags & ENTRY_UNSEEN)
		p->unseen++;
	t->is_trusted = p->untrusted == 0;
	t->pieces_finished++;
	t->bytes_finished += length;
}

void
store_entry_clear(struct store_task *t, uint32_t n)
{
	struct store_pieces *p = t->loaded;
	uint64_t offset, length = 0;

	if (!(p->entries[n].flags & ENTRY_FINISHED))
		return;
	if (!(p->entries[n].flags & ENTRY_TRUSTED))
		p->untrusted--;
	if (p->entries[n].flags & ENTRY_UNSEEN)
		p->unseen--;
	t->is_trusted = p->untrusted == 0;
	memset(&p->entries[n], 0, sizeof(p->entries[n]));
	p->bits[n / 64] &= ~((uint64_t)1 << n % 64);
	if (p->prefix > n)
		p->prefix = n;
	store_task_piece_span(t, n, &offset, &length);
	t->pieces_finished--;
	t->bytes_finished -= length;
}

void
store_drop_all(struct store_task *t)
{
	struct store_pieces *p = t->loaded;

	if (p) {
		free(p->entries);
		free(p->bits);
		p->entries = NULL;
		p->bits = NULL;
		p->cap = p->prefix = p->untrusted = p->unseen = 0;
	}
	t->pieces_finished = 0;
	t->bytes_finished = 0;
	t->unsynced_bytes = 0;
	t->is_trusted = true;
	list_del(&t->unsynced);
}

void
store_distrust(struct store_task *t)
{
	struct store_pieces *p = t->loaded;

	p->untrusted = t->pieces_finished;
	for (uint32_t n = 0; n < p->cap; n++)
		p->entries[n].flags &= (uint8_t)~ENTRY_TRUSTED;
	t->is_trusted = p->untrusted == 0;
}

void
store_unload(struct store_task *t)
{
	struct store_pieces *p = t->loaded;

	if (!p)
		return;
	t->store->loaded_count--;
	list_del(&t->loaded_order);
	for (uint16_t i = 0; i < p->parent_count; i++)
		free(p->parents[i]);
	free(p->parents);
	free(p->entries);
	free(p->bits);
	arena_free(&p->arena);
	free(p);
	t->loaded = NULL;
}

static int
load_details(struct store_task *t, struct err *e)
{
	struct store_pieces *p = t->loaded;
	char name[STORE_NAME_MAX];
	struct store_meta m;

	store_name(name, t->kind, t->id, ".m");
	if (store_meta_read(t->store, t->store->meta_fd, name, t->kind, t->id, &p->arena, &m, e) < 0)
		return -1;
	if (t->is_hint)
		store_adopt(t, &m);
	p->headers = m.headers;
	p->header_count = m.header_count;
	p->etag = m.etag;
	p->last_modified = m.last_modified;
	p->url = m.url;
	return 0;
}

int
store_load(struct store_task *t, struct err *e)
{
	struct store *s = t->store;

	if (t->loaded) {
		list_del(&t->loaded_order);
		list_add_tail(&s->loaded, &t->loaded_order);
		return 0;
	}
	t->loaded = xcalloc(1, sizeof(*t->loaded));
	arena_init(&t->loaded->arena, DETAILS_ARENA_MAX);
	s->loaded_count++;
	list_add_tail(&s->loaded, &t->loaded_order);
	if (!t->on_disk) {
		t->is_trusted = true;
		return 0;
	}
	if (load_details(t, e) == 0 && store_journal_load(t, e) == 0)
		return 0;
	store_unload(t);
	t->pieces_finished = 0;
	t->bytes_finished = 0;
	return -1;
}

/* What is not on disk in full stays: a change to be written, bytes to be synced, a job under way. */
static bool
may_unload(const struct store_task *t)
{
	return t->uses == 0 && t->on_disk && !t->is_busy && list_is_empty(&t->dirty) && list_is_empty(&t->work) &&
		(list_is_empty(&t->unsynced) || t->store->o.sync == STORE_SYNC_NONE);
}

void
store_shrink_loaded(struct store *s)
{
	LIST_EACH(it, next, &s->loaded) {
		struct store_task *t = CONTAINER_OF(it, struct store_task, loaded_order);

		if (s->loaded_count <= STORE_LOADED_MAX)
			break;
		if (may_unload(t)) {
			t->was_seen = t->loaded->unseen == 0;
			store_unload(t);
		}
	}
}

static struct entry *
entry_of(struct store_task *t, uint32_t n)
{
	if (store_load(t, NULL) < 0 || n >= t->loaded->cap || !(t->loaded->entries[n].flags & ENTRY_FINISHED))
		return NULL;
	return &t->loaded->entries[n];
}

bool
store_piece_is_finished(struct store_task *t, uint32_t n)
{
	return entry_of(t, n) != NULL;
}

const uint64_t *
store_task_bitmap(struct store_task *t, size_t *words)
{
	*words = store_load(t, NULL) < 0 ? 0 : t->loaded->cap / 64;
	return *words > 0 ? t->loaded->bits : NULL;
}

uint32_t
store_task_prefix(struct store_task *t)
{
	struct store_pieces *p;

	if (store_load(t, NULL) < 0)
		return 0;
	p = t->loaded;
	while (p->prefix < p->cap && p->entries[p->prefix].flags & ENTRY_FINISHED)
		p->prefix++;
	return p->prefix;
}

int
store_piece_get(struct store_task *t, uint32_t n, struct store_piece *out)
{
	const struct entry *entry = entry_of(t, n);

	if (!entry)
		return -1;
	memset(out, 0, sizeof(*out));
	out->number = n;
	store_task_piece_span(t, n, &out->offset, &out->length);
	out->has_crc = entry->flags & ENTRY_CRC;
	out->crc = entry->crc;
	out->needs_check = !(entry->flags & ENTRY_TRUSTED) || entry->flags & ENTRY_UNSEEN;
	out->is_durable = entry->flags & ENTRY_DURABLE;
	out->traffic_type = entry->traffic_type == STORE_FROM_PEER ? STORE_FROM_PEER : STORE_FROM_SOURCE;
	out->parent_id = entry->parent > 0 ? t->loaded->parents[entry->parent - 1] : NULL;
	out->created_at = entry->created_at;
	out->finished_at = entry->finished_at;
	out->cost_ns = entry->cost_ns;
	return 0;
}

static uint16_t
parent_place(struct store_pieces *p, const char *id)
{
	if (!id)
		return 0;
	for (uint16_t i = p->parent_count; i > 0; i--)
		if (strcmp(p->parents[i - 1], id) == 0)
			return i;
	if (p->parent_count == STORE_PARENTS_MAX)
		return 0;
	p->parents = xrealloc(p->parents, (p->parent_count + 1u) * sizeof(*p->parents));
	p->parents[p->parent_count++] = xstrdup(id);
	return p->parent_count;
}

static void
note_unsynced(struct store_task *t, uint64_t length, int64_t now)
{
	struct store *s = t->store;

	t->unsynced_bytes += length;
	if (list_is_empty(&t->unsynced))
		list_add_tail(&s->unsynced, &t->unsynced);
	if (s->o.sync == STORE_SYNC_PIECE)
		store_sync_now(t);
	else
		store_sync_due(t, now);
}

int
store_piece_finish(struct store_task *t, const struct store_piece *piece, struct err *e)
{
	struct store_record r = {0};
	struct entry entry = {0};
	uint64_t offset, length;

	if (t->is_deleted)
		return err_set(e, ERR_NOT_FOUND, "task %s was deleted", t->id);
	if (store_task_piece_span(t, piece->number, &offset, &length) < 0 || offset != piece->offset || length != piece->length)
		return err_set(e, ERR_INVALID_ARGUMENT, "task %s has no piece %" PRIu32 " at %" PRIu64 " of %" PRIu64 " bytes", t->id,
			piece->number, piece->offset, piece->length);
	if (!t->on_disk)
		return err_set(e, ERR_FAILED_PRECONDITION, "task %s is not started", t->id);
	if (store_load(t, e) < 0)
		return -1;
	if (entry_of(t, piece->number))
		return 0;
	if (t->content_length == STORE_LENGTH_UNKNOWN && store_check_budget(t, length, e) < 0)
		return -1;
	if (store_entry_room(t->loaded, piece->number) < 0)
		return err_set(e, ERR_RESOURCE_EXHAUSTED, "no memory for the pieces of task %s", t->id);
	r.type = STORE_RECORD_FINISHED;
	r.flags = piece->has_crc ? STORE_RECORD_HAS_CRC : 0;
	r.traffic_type = (uint8_t)piece->traffic_type;
	r.number = piece->number;
	r.crc = piece->crc;
	r.offset = offset;
	r.length = length;
	r.cost_ns = piece->cost_ns;
	r.created_at = piece->created_at;
	r.finished_at = piece->finished_at;
	if (store_journal_append(t, &r, e) < 0)
		return store_say_inodes(t->store, e);
	entry.created_at = piece->created_at;
	entry.finished_at = piece->finished_at;
	entry.cost_ns = piece->cost_ns;
	entry.crc = piece->crc;
	entry.parent = parent_place(t->loaded, piece->parent_id);
	entry.flags = (uint8_t)(ENTRY_FINISHED | ENTRY_TRUSTED | (piece->has_crc ? ENTRY_CRC : 0));
	entry.traffic_type = (uint8_t)piece->traffic_type;
	store_entry_set(t, piece->number, &entry, length);
	if (t->bytes_finished > t->disk_bytes)
		store_task_account(t, t->bytes_finished);
	note_unsynced(t, length, piece->finished_at);
	return 0;
}

void
store_piece_drop(struct store_task *t, uint32_t n, const char *why)
{
	struct store_record r = { .type = STORE_RECORD_DROPPED, .number = n };
	struct err e = {0};

	if (t->is_deleted || !entry_of(t, n))
		return;
	log_warn("piece dropped task=%s piece=%" PRIu32 " offset=%" PRIu64 " reason=\"%s\"", t->id, n, (uint64_t)n * t->piece_length, why);
	if (store_content_is_shared(t)) {
		/* The inode is also a user's file: the repair goes to a new one. */
		if (store_task_reset(t, &e) < 0)
			log_warn("content not replaced task=%s error=\"%s\"", t->id, e.text);
		return;
	}
	store_entry_clear(t, n);
	/* An identity that no file has: should this drop not reach the disk, the next start checks all pieces. */
	t->has_identity = true;
	t->id_ino = t->id_size = 0;
	store_task_unfinish(t);
	if (store_journal_append(t, &r, &e) < 0)
		log_warn("dropped piece not recorded task=%s error=\"%s\"", t->id, e.text);
}

void
store_piece_checked(struct store_task *t, uint32_t n, bool is_good)
{
	struct entry *entry = t->is_deleted ? NULL : entry_of(t, n);

	if (!entry)
		return;
	if (!is_good) {
		store_piece_drop(t, n, "its bytes do not have its checksum");
		return;
	}
	if (entry->flags & ENTRY_UNSEEN) {
		entry->flags &= (uint8_t)~ENTRY_UNSEEN;
		t->loaded->unseen--;
	}
	if (entry->flags & ENTRY_TRUSTED)
		return;
	entry->flags |= ENTRY_TRUSTED;
	t->loaded->untrusted--;
	t->is_trusted = t->loaded->untrusted == 0;
}
