#include "store/format.h"

#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "store/crc32c.h"

#define META_MAGIC "DFM1"
#define META_VERSION 1
#define META_HEAD 12            /* magic, version, kind, flags, payload length */
#define META_PERSISTENT 1
#define META_IMPORTED 2
#define META_LINKED 4
#define META_PRIVATE 8
#define RECORD_MAGIC "DFP1"
#define HINT_MAGIC "DFX1"
#define HINT_IS 1
#define HINT_REMOVED 2

enum {
	TAG_ID = 1, TAG_PIECE_LENGTH, TAG_CONTENT_LENGTH, TAG_CREATED_AT, TAG_UPDATED_AT, TAG_FINISHED_AT, TAG_FAILED_AT, TAG_PREFETCHED_AT,
	TAG_TTL, TAG_HEADER, TAG_ETAG, TAG_COMPLETE_AT, TAG_LAST_MODIFIED, TAG_URL, TAG_IDENTITY,
};

static void
put(uint8_t *p, uint64_t v, size_t n)
{
	while (n-- > 0) {
		p[n] = (uint8_t)(v & 0xff);
		v >>= 8;
	}
}

static unsigned
digit_of(char c)
{
	return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

static uint64_t
get(const uint8_t *p, size_t n)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n; i++)
		v = v << 8 | p[i];
	return v;
}

static void
add_number(struct buf *out, uint64_t v, size_t n)
{
	put(buf_reserve(out, n), v, n);
	buf_added(out, n);
}

static void
add_tag(struct buf *out, unsigned tag, const void *p, size_t n)
{
	add_number(out, tag, 2);
	add_number(out, n, 4);
	buf_append(out, p, n);
}

static void
add_u64(struct buf *out, unsigned tag, uint64_t v)
{
	uint8_t b[8];

	put(b, v, 8);
	add_tag(out, tag, b, 8);
}

static void
add_time(struct buf *out, unsigned tag, int64_t v)
{
	if (v != 0)
		add_u64(out, tag, (uint64_t)v);
}

static void
add_text(struct buf *out, unsigned tag, const char *text)
{
	if (text)
		add_tag(out, tag, text, strlen(text));
}

static void
add_header(struct buf *out, const struct store_header *h)
{
	size_t name = strlen(h->name), value = strlen(h->value);

	add_number(out, TAG_HEADER, 2);
	add_number(out, name + 1 + value, 4);
	buf_append(out, h->name, name + 1);
	buf_append(out, h->value, value);
}

void
store_meta_encode(const struct store_meta *m, struct buf *out)
{
	size_t start = buf_slice(out).n;
	uint8_t identity[24];

	buf_append_str(out, META_MAGIC);
	add_number(out, META_VERSION, 2);
	buf_append_u8(out, (uint8_t)m->kind);
	buf_append_u8(out, (uint8_t)((m->is_persistent ? META_PERSISTENT : 0) | (m->is_imported ? META_IMPORTED : 0) |
		(m->is_linked ? META_LINKED : 0) | (m->is_private ? META_PRIVATE : 0)));
	add_number(out, 0, 4);
	add_text(out, TAG_ID, m->id);
	if (m->piece_length > 0)
		add_u64(out, TAG_PIECE_LENGTH, m->piece_length);
	if (m->content_length != STORE_LENGTH_UNKNOWN)
		add_u64(out, TAG_CONTENT_LENGTH, m->content_length);
	add_time(out, TAG_CREATED_AT, m->created_at);
	add_time(out, TAG_UPDATED_AT, m->updated_at);
	add_time(out, TAG_FINISHED_AT, m->finished_at);
	add_time(out, TAG_FAILED_AT, m->failed_at);
	add_time(out, TAG_PREFETCHED_AT, m->prefetched_at);
	add_time(out, TAG_TTL, m->ttl);
	add_time(out, TAG_COMPLETE_AT, m->complete_at);
	for (size_t i = 0; i < m->header_count; i++)
		add_header(out, &m->headers[i]);
	add_text(out, TAG_ETAG, m->etag);
	add_text(out, TAG_LAST_MODIFIED, m->last_modified);
	add_text(out, TAG_URL, m->url);
	if (m->has_identity) {
		put(identity, m->identity.ino, 8);
		put(identity + 8, m->identity.size, 8);
		put(identity + 16, (uint64_t)m->identity.mtime_ns, 8);
		add_tag(out, TAG_IDENTITY, identity, sizeof(identity));
	}
	put(buf_data(out) + start + 8, buf_slice(out).n - start - META_HEAD, 4);
	add_number(out, crc32c_update(0, buf_data(out) + start, buf_slice(out).n - start), 4);
}

static bool
has_nul(struct slice s)
{
	return slice_find(s, 0) >= 0;
}

/* One number of 8 bytes. */
static int
take_u64(struct slice v, uint64_t *out)
{
	if (v.n != 8)
		return -1;
	*out = get(v.p, 8);
	return 0;
}

static int
take_time(struct slice v, int64_t *out)
{
	uint64_t u;

	if (take_u64(v, &u) < 0 || u > INT64_MAX)
		return -1;
	*out = (int64_t)u;
	return 0;
}

static int
take_text(struct slice v, struct arena *a, const char **out)
{
	if (has_nul(v))
		return -1;
	*out = arena_copy(a, v.p, v.n);
	return *out ? 0 : -1;
}

static int
take_header(struct slice v, struct arena *a, struct store_meta *m)
{
	ptrdiff_t nul = slice_find(v, 0);
	struct store_header *h;

	if (nul <= 0 || m->header_count == STORE_HEADERS_MAX)
		return -1;
	h = &m->headers[m->header_count];
	if (take_text(slice_sub(v, 0, (size_t)nul), a, &h->name) < 0)
		return -1;
	if (take_text(slice_sub(v, (size_t)nul + 1, v.n), a, &h->value) < 0)
		return -1;
	m->header_count++;
	return 0;
}

static int
take_tag(unsigned tag, struct slice v, struct arena *a, struct store_meta *m)
{
	switch (tag) {
	case TAG_ID:
		return take_text(v, a, &m->id);
	case TAG_PIECE_LENGTH:
		return take_u64(v, &m->piece_length);
	case TAG_CONTENT_LENGTH:
		return take_u64(v, &m->content_length);
	case TAG_CREATED_AT:
		return take_time(v, &m->created_at);
	case TAG_UPDATED_AT:
		return take_time(v, &m->updated_at);
	case TAG_FINISHED_AT:
		return take_time(v, &m->finished_at);
	case TAG_FAILED_AT:
		return take_time(v, &m->failed_at);
	case TAG_PREFETCHED_AT:
		return take_time(v, &m->prefetched_at);
	case TAG_TTL:
		return take_time(v, &m->ttl);
	case TAG_COMPLETE_AT:
		return take_time(v, &m->complete_at);
	case TAG_HEADER:
		return take_header(v, a, m);
	case TAG_ETAG:
		return take_text(v, a, &m->etag);
	case TAG_LAST_MODIFIED:
		return take_text(v, a, &m->last_modified);
	case TAG_URL:
		return take_text(v, a, &m->url);
	case TAG_IDENTITY:
		if (v.n != 24)
			return -1;
		m->has_identity = true;
		m->identity.ino = get(v.p, 8);
		m->identity.size = get(v.p + 8, 8);
		m->identity.mtime_ns = (int64_t)get(v.p + 16, 8);
		return 0;
	default:
		return 0;
	}
}

static bool
is_sound_size(uint64_t content_length, uint64_t piece_length, bool is_finished)
{
	if (piece_length > STORE_PIECE_LENGTH_MAX)
		return false;
	if (content_length == STORE_LENGTH_UNKNOWN)
		return !is_finished;
	return piece_length > 0 && content_length <= STORE_CONTENT_MAX &&
		content_length / piece_length + (content_length % piece_length > 0) <= STORE_PIECES_MAX;
}

static bool
is_sound(const struct store_meta *m)
{
	return m->id && store_id_is_valid(m->id) && is_sound_size(m->content_length, m->piece_length, m->finished_at != 0 || m->complete_at != 0);
}

/* At most STORE_HEADERS_MAX. Damage is found later. */
static size_t
count_headers(struct slice tags)
{
	size_t count = 0;

	while (tags.n >= 6 && count < STORE_HEADERS_MAX) {
		count += get(tags.p, 2) == TAG_HEADER;
		tags = slice_sub(tags, 6 + (size_t)get(tags.p + 2, 4), tags.n);
	}
	return count;
}

int
store_meta_decode(struct slice in, struct arena *a, struct store_meta *out, struct err *e)
{
	size_t at = META_HEAD, end, n;

	memset(out, 0, sizeof(*out));
	out->content_length = STORE_LENGTH_UNKNOWN;
	if (in.n < META_HEAD + 4 || in.n > STORE_META_MAX || memcmp(in.p, META_MAGIC, 4) != 0)
		return err_set(e, ERR_DATA_LOSS, "not a task record (%zu bytes)", in.n);
	end = in.n - 4;
	if (crc32c_update(0, in.p, end) != get(in.p + end, 4))
		return err_set(e, ERR_DATA_LOSS, "task record has a wrong checksum");
	if (get(in.p + 4, 2) != META_VERSION)
		return err_set(e, ERR_FAILED_PRECONDITION, "task record of version %u", (unsigned)get(in.p + 4, 2));
	if (in.p[6] >= STORE_KINDS || get(in.p + 8, 4) != end - META_HEAD)
		return err_set(e, ERR_DATA_LOSS, "task record has a wrong kind or length");
	out->kind = (enum store_kind)in.p[6];
	out->is_persistent = in.p[7] & META_PERSISTENT;
	out->is_imported = in.p[7] & META_IMPORTED;
	out->is_linked = in.p[7] & META_LINKED;
	out->is_private = in.p[7] & META_PRIVATE;
	out->headers = arena_alloc(a, (count_headers(slice_sub(in, META_HEAD, end - META_HEAD)) + 1) * sizeof(*out->headers));
	if (!out->headers)
		return err_set(e, ERR_RESOURCE_EXHAUSTED, "no memory for a task record");
	while (at < end) {
		if (end - at < 6 || (n = get(in.p + at + 2, 4)) > end - at - 6 ||
		    take_tag((unsigned)get(in.p + at, 2), slice_sub(in, at + 6, n), a, out) < 0)
			return err_set(e, ERR_DATA_LOSS, "task record is damaged at byte %zu", at);
		at += 6 + n;
	}
	if (!is_sound(out))
		return err_set(e, ERR_DATA_LOSS, "task record has impossible values");
	return 0;
}

void
store_record_encode(const struct store_record *r, uint8_t out[STORE_RECORD_BYTES])
{
	memset(out, 0, STORE_RECORD_BYTES);
	memcpy(out, RECORD_MAGIC, 4);
	out[4] = r->type;
	out[5] = r->flags;
	out[6] = r->traffic_type;
	put(out + 8, r->number, 4);
	put(out + 12, r->crc, 4);
	put(out + 16, r->offset, 8);
	put(out + 24, r->length, 8);
	put(out + 32, r->cost_ns, 8);
	put(out + 40, (uint64_t)r->created_at, 8);
	put(out + 48, (uint64_t)r->finished_at, 8);
	put(out + 56, r->sequence, 4);
	put(out + 60, crc32c_update(0, out, 60), 4);
}

int
store_record_decode(const uint8_t in[STORE_RECORD_BYTES], uint32_t sequence, struct store_record *out)
{
	if (memcmp(in, RECORD_MAGIC, 4) != 0 || get(in + 60, 4) != crc32c_update(0, in, 60) || get(in + 56, 4) != sequence)
		return -1;
	out->type = in[4];
	out->flags = in[5];
	out->traffic_type = in[6];
	out->number = (uint32_t)get(in + 8, 4);
	out->crc = (uint32_t)get(in + 12, 4);
	out->offset = get(in + 16, 8);
	out->length = get(in + 24, 8);
	out->cost_ns = get(in + 32, 8);
	out->created_at = (int64_t)get(in + 40, 8);
	out->finished_at = (int64_t)get(in + 48, 8);
	out->sequence = sequence;
	if (out->type < STORE_RECORD_FINISHED || out->type > STORE_RECORD_CHECKPOINT)
		return -1;
	return 0;
}

void
store_hint_encode(const struct store_hint *h, uint32_t sequence, uint8_t out[STORE_INDEX_BYTES])
{
	const int64_t times[] = { h->created_at, h->updated_at, h->finished_at, h->failed_at, h->prefetched_at, h->ttl };
	size_t n = strlen(h->id);

	memset(out, 0, STORE_INDEX_BYTES);
	memcpy(out, HINT_MAGIC, 4);
	out[4] = h->is_removed ? HINT_REMOVED : HINT_IS;
	out[5] = (uint8_t)h->kind;
	out[6] = (uint8_t)((h->is_persistent ? META_PERSISTENT : 0) | (h->is_imported ? META_IMPORTED : 0) | (h->is_private ? META_PRIVATE : 0));
	out[7] = (uint8_t)(n / 2);
	for (size_t i = 0; i < n; i++)
		out[8 + i / 2] |= (uint8_t)(digit_of(h->id[i]) << (i % 2 == 0 ? 4 : 0));
	if (!h->is_removed) {
		put(out + 72, h->content_length, 8);
		put(out + 80, h->piece_length, 8);
		for (size_t i = 0; i < COUNT_OF(times); i++)
			put(out + 88 + 8 * i, (uint64_t)times[i], 8);
		put(out + 136, h->disk_bytes, 8);
	}
	put(out + 152, sequence, 4);
	put(out + 156, crc32c_update(0, out, 156), 4);
}

int
store_hint_decode(const uint8_t in[STORE_INDEX_BYTES], uint32_t sequence, struct store_hint *out)
{
	int64_t *const times[] = { &out->created_at, &out->updated_at, &out->finished_at, &out->failed_at, &out->prefetched_at, &out->ttl };
	size_t n = (size_t)in[7] * 2;

	if (memcmp(in, HINT_MAGIC, 4) != 0 || get(in + 156, 4) != crc32c_update(0, in, 156) || get(in + 152, 4) != sequence)
		return -1;
	if ((in[4] != HINT_IS && in[4] != HINT_REMOVED) || in[5] >= STORE_KINDS || (n != 64 && n != 128))
		return -1;
	memset(out, 0, sizeof(*out));
	out->is_removed = in[4] == HINT_REMOVED;
	out->kind = (enum store_kind)in[5];
	for (size_t i = 0; i < n; i++)
		out->id[i] = "0123456789abcdef"[in[8 + i / 2] >> (i % 2 == 0 ? 4 : 0) & 15];
	if (out->is_removed)
		return 0;
	out->is_persistent = in[6] & META_PERSISTENT;
	out->is_imported = in[6] & META_IMPORTED;
	out->is_private = in[6] & META_PRIVATE;
	out->content_length = get(in + 72, 8);
	out->piece_length = get(in + 80, 8);
	for (size_t i = 0; i < COUNT_OF(times); i++)
		if (take_time(slice_make(in + 88 + 8 * i, 8), times[i]) < 0)
			return -1;
	out->disk_bytes = get(in + 136, 8);
	return is_sound_size(out->content_length, out->piece_length, out->finished_at != 0) && out->disk_bytes <= 2 * STORE_CONTENT_MAX ? 0 : -1;
}
