#include "wire/hpack.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "wire/hpack_tables.h"
#include "wire/huffman.h"

#define TABLE_BYTES (2 * HPACK_TABLE_SIZE)

/* ---- dynamic table ---- */

static void
table_init(struct hpack_table *t)
{
	*t = (struct hpack_table){.max_size = HPACK_TABLE_SIZE};
}

static void
table_free(struct hpack_table *t)
{
	free(t->bytes);
	free(t->entries);
	table_init(t);
}

/* i from 0, newest first. */
static const struct hpack_entry *
table_entry(const struct hpack_table *t, uint32_t i)
{
	return &t->entries[(t->newest + HPACK_ENTRIES_MAX - i) % HPACK_ENTRIES_MAX];
}

static struct slice
entry_name(const struct hpack_table *t, const struct hpack_entry *e)
{
	return slice_make(t->bytes + e->at, e->name_n);
}

static struct slice
entry_value(const struct hpack_table *t, const struct hpack_entry *e)
{
	return slice_make(t->bytes + e->at + e->name_n, e->value_n);
}

static void
table_evict_to(struct hpack_table *t, uint32_t size)
{
	while (t->size > size) {
		const struct hpack_entry *oldest = table_entry(t, t->count - 1);

		t->size -= oldest->name_n + oldest->value_n + HPACK_ENTRY_COST;
		t->count--;
	}
	if (t->count == 0)
		t->end = 0;
}

static void
table_set_max(struct hpack_table *t, uint32_t size)
{
	t->max_size = size;
	table_evict_to(t, size);
}

/* Moves the live bytes to the front of their room. */
static void
table_compact(struct hpack_table *t)
{
	uint32_t start = t->count > 0 ? table_entry(t, t->count - 1)->at : t->end;

	memmove(t->bytes, t->bytes + start, t->end - start);
	for (uint32_t i = 0; i < t->count; i++)
		t->entries[(t->newest + HPACK_ENTRIES_MAX - i) % HPACK_ENTRIES_MAX].at -= start;
	t->end -= start;
}

/* name and value do not lie in the table. An entry that is too large just empties it (RFC 7541, 4.4). */
static void
table_add(struct hpack_table *t, struct slice name, struct slice value)
{
	size_t cost = name.n + value.n + HPACK_ENTRY_COST;
	struct hpack_entry *e;

	if (cost > t->max_size) {
		table_evict_to(t, 0);
		return;
	}
	table_evict_to(t, t->max_size - (uint32_t)cost);
	if (!t->bytes) {
		t->bytes = xmalloc(TABLE_BYTES);
		t->entries = xcalloc(HPACK_ENTRIES_MAX, sizeof(*t->entries));
	}
	if (t->end + name.n + value.n > TABLE_BYTES)
		table_compact(t);
	t->newest = (t->newest + 1) % HPACK_ENTRIES_MAX;
	e = &t->entries[t->newest];
	*e = (struct hpack_entry){.at = t->end, .name_n = (uint32_t)name.n, .value_n = (uint32_t)value.n};
	if (name.n > 0)
		memcpy(t->bytes + t->end, name.p, name.n);
	if (value.n > 0)
		memcpy(t->bytes + t->end + name.n, value.p, value.n);
	t->end += e->name_n + e->value_n;
	t->size += (uint32_t)cost;
	t->count++;
}

/* Field at an index of RFC 7541, 2.3.3: static entries first. -1 when there is none. */
static int
table_get(const struct hpack_table *t, uint32_t index, struct slice *name, struct slice *value)
{
	if (index == 0)
		return -1;
	if (index <= HPACK_STATIC_COUNT) {
		const struct hpack_static *s = &hpack_static[index - 1];

		*name = slice_make(s->name, s->name_n);
		*value = slice_make(s->value, s->value_n);
		return 0;
	}
	index -= HPACK_STATIC_COUNT + 1;
	if (index >= t->count)
		return -1;
	*name = entry_name(t, table_entry(t, index));
	*value = entry_value(t, table_entry(t, index));
	return 0;
}

/* ---- decoder ---- */

void
hpack_decoder_init(struct hpack_decoder *d)
{
	*d = (struct hpack_decoder){0};
	table_init(&d->table);
}

void
hpack_decoder_free(struct hpack_decoder *d)
{
	table_free(&d->table);
	buf_free(&d->bytes);
	free(d->fields);
	hpack_decoder_init(d);
}

/* RFC 7541, 5.1: the rest of the first byte holds the integer or, when it is all ones, its start. */
static int
read_int(struct slice *in, unsigned prefix_bits, uint32_t *out)
{
	uint32_t mask = (1u << prefix_bits) - 1;
	uint64_t v;
	uint8_t b;

	if (in->n == 0)
		return -1;
	v = *in->p & mask;
	*in = slice_sub(*in, 1, in->n);
	if (v == mask) {
		for (unsigned shift = 0;; shift += 7) {
			if (in->n == 0 || shift > 28)
				return -1;
			b = *in->p;
			*in = slice_sub(*in, 1, in->n);
			v += (uint64_t)(b & 0x7f) << shift;
			if (v > HPACK_INT_MAX)
				return -1;
			if (!(b & 0x80))
				break;
		}
	}
	*out = (uint32_t)v;
	return 0;
}

/* Appends one string to d->bytes. Its size is bounded by the block's. */
static enum hpack_result
read_string(struct hpack_decoder *d, struct slice *in, size_t *n)
{
	bool is_huffman = in->n > 0 && (*in->p & 0x80);
	struct slice s;
	uint8_t *p;
	uint32_t len;
	ptrdiff_t got;

	if (read_int(in, 7, &len) < 0 || len > in->n)
		return HPACK_BROKEN;
	s = slice_sub(*in, 0, len);
	*in = slice_sub(*in, len, in->n);
	p = buf_try_reserve(&d->bytes, is_huffman ? HUFFMAN_DECODED_MAX(len) : len);
	if (!p)
		return HPACK_NO_MEMORY;
	if (is_huffman) {
		got = huffman_decode(s, p);
		if (got < 0)
			return HPACK_BROKEN;
	} else {
		got = (ptrdiff_t)len;
		if (len > 0)
			memcpy(p, s.p, len);
	}
	*n = (size_t)got;
	buf_added(&d->bytes, *n);
	return HPACK_OK;
}

static enum hpack_result
copy_string(struct hpack_decoder *d, struct slice s, size_t *n)
{
	uint8_t *p = buf_try_reserve(&d->bytes, s.n);

	if (!p)
		return HPACK_NO_MEMORY;
	if (s.n > 0)
		memcpy(p, s.p, s.n);
	buf_added(&d->bytes, s.n);
	*n = s.n;
	return HPACK_OK;
}

/* Notes the field whose bytes were just appended to d->bytes; hpack_decode sets the pointers when they stay where they are. */
static enum hpack_result
keep_field(struct hpack_decoder *d, size_t name_n, size_t value_n, bool is_sensitive)
{
	if (d->n == d->cap) {
		size_t cap = d->cap ? d->cap * 2 : 16;
		struct hpack_field *f = realloc(d->fields, cap * sizeof(*f));

		if (!f)
			return HPACK_NO_MEMORY;
		d->fields = f;
		d->cap = cap;
	}
	d->fields[d->n++] = (struct hpack_field){{NULL, name_n}, {NULL, value_n}, is_sensitive};
	return HPACK_OK;
}

static enum hpack_result
read_indexed(struct hpack_decoder *d, struct slice *in, size_t keep)
{
	struct slice name, value;
	uint32_t index;
	size_t n;

	if (read_int(in, 7, &index) < 0 || table_get(&d->table, index, &name, &value) < 0)
		return HPACK_BROKEN;
	d->list_size += name.n + value.n + HPACK_ENTRY_COST;
	if (d->list_size > keep)
		return HPACK_OK;
	if (copy_string(d, name, &n) != HPACK_OK || copy_string(d, value, &n) != HPACK_OK)
		return HPACK_NO_MEMORY;
	return keep_field(d, name.n, value.n, false);
}

static enum hpack_result
read_literal(struct hpack_decoder *d, struct slice *in, size_t keep)
{
	uint8_t first = *in->p;
	bool is_indexing = (first & 0xc0) == 0x40, is_sensitive = (first & 0xf0) == 0x10;
	size_t start = d->bytes.len, name_n, value_n;
	struct slice name, value;
	uint32_t index;
	enum hpack_result rc;

	if (read_int(in, is_indexing ? 6 : 4, &index) < 0)
		return HPACK_BROKEN;
	if (index == 0)
		rc = read_string(d, in, &name_n);
	else if (table_get(&d->table, index, &name, &value) < 0)
		rc = HPACK_BROKEN;
	else
		rc = copy_string(d, name, &name_n);
	if (rc == HPACK_OK)
		rc = read_string(d, in, &value_n);
	if (rc != HPACK_OK)
		return rc;
	if (is_indexing) {
		name = slice_make(buf_data(&d->bytes) + start, name_n);
		value = slice_make(buf_data(&d->bytes) + start + name_n, value_n);
		table_add(&d->table, name, value);
	}
	d->list_size += name_n + value_n + HPACK_ENTRY_COST;
	if (d->list_size > keep) {
		d->bytes.len = start;
		return HPACK_OK;
	}
	return keep_field(d, name_n, value_n, is_sensitive);
}

/* Size updates stand only at the start of a block (RFC 7541, 4.2). */
static enum hpack_result
read_size_updates(struct hpack_decoder *d, struct slice *in)
{
	uint32_t size;

	for (int i = 0; in->n > 0 && (*in->p & 0xe0) == 0x20; i++) {
		if (i == HPACK_SIZE_UPDATES_MAX || read_int(in, 5, &size) < 0 || size > HPACK_TABLE_SIZE)
			return HPACK_BROKEN;
		table_set_max(&d->table, size);
	}
	return HPACK_OK;
}

enum hpack_result
hpack_decode(struct hpack_decoder *d, struct slice block, size_t keep, size_t give_up)
{
	enum hpack_result rc;
	uint8_t *p;

	buf_clear(&d->bytes);
	d->n = 0;
	d->list_size = 0;
	rc = read_size_updates(d, &block);
	while (rc == HPACK_OK && block.n > 0) {
		if (*block.p & 0x80)
			rc = read_indexed(d, &block, keep);
		else if ((*block.p & 0xe0) == 0x20)
			rc = HPACK_BROKEN;
		else
			rc = read_literal(d, &block, keep);
		if (rc == HPACK_OK && d->list_size > give_up)
			rc = HPACK_FAR_TOO_LARGE;
	}
	if (rc == HPACK_OK && d->list_size > keep)
		rc = HPACK_TOO_LARGE;
	if (rc != HPACK_OK) {
		d->n = 0;
		return rc;
	}
	p = buf_data(&d->bytes);
	for (size_t i = 0; i < d->n; i++) {
		d->fields[i].name.p = p;
		p += d->fields[i].name.n;
		d->fields[i].value.p = p;
		p += d->fields[i].value.n;
	}
	return HPACK_OK;
}

/* ---- encoder ---- */

void
hpack_encoder_init(struct hpack_encoder *e)
{
	*e = (struct hpack_encoder){.lowest_size = HPACK_TABLE_SIZE};
	table_init(&e->table);
}

void
hpack_encoder_free(struct hpack_encoder *e)
{
	table_free(&e->table);
	hpack_encoder_init(e);
}

void
hpack_encoder_resize(struct hpack_encoder *e, uint32_t size)
{
	if (size > HPACK_TABLE_SIZE)
		size = HPACK_TABLE_SIZE;
	if (size == e->table.max_size)
		return;
	if (!e->is_resized || size < e->lowest_size)
		e->lowest_size = size;
	e->is_resized = true;
	table_set_max(&e->table, size);
}

static void
write_int(struct buf *out, uint8_t first, unsigned prefix_bits, size_t v)
{
	size_t mask = (1u << prefix_bits) - 1;

	if (v < mask) {
		buf_append_u8(out, (uint8_t)(first | v));
		return;
	}
	buf_append_u8(out, (uint8_t)(first | mask));
	for (v -= mask; v >= 0x80; v >>= 7)
		buf_append_u8(out, (uint8_t)(v | 0x80));
	buf_append_u8(out, (uint8_t)v);
}

static void
write_string(struct buf *out, struct slice s)
{
	size_t packed = huffman_size(s);

	if (packed < s.n) {
		write_int(out, 0x80, 7, packed);
		huffman_encode(s, out);
	} else {
		write_int(out, 0, 7, s.n);
		buf_append_slice(out, s);
	}
}

/* Index of the whole field, or 0; *by_name gets an index with the same name, or 0. */
static uint32_t
find_field(const struct hpack_table *t, const struct hpack_field *f, uint32_t *by_name)
{
	*by_name = 0;
	for (uint32_t i = 0; i < HPACK_STATIC_COUNT; i++) {
		const struct hpack_static *s = &hpack_static[i];

		if (s->name_n != f->name.n || memcmp(s->name, f->name.p, f->name.n) != 0)
			continue;
		if (*by_name == 0)
			*by_name = i + 1;
		if (s->value_n == f->value.n && (f->value.n == 0 || memcmp(s->value, f->value.p, f->value.n) == 0))
			return i + 1;
	}
	for (uint32_t i = 0; i < t->count; i++) {
		const struct hpack_entry *e = table_entry(t, i);

		if (!slice_eq(entry_name(t, e), f->name))
			continue;
		if (*by_name == 0)
			*by_name = HPACK_STATIC_COUNT + 1 + i;
		if (slice_eq(entry_value(t, e), f->value))
			return HPACK_STATIC_COUNT + 1 + i;
	}
	return 0;
}

/* Whether the field is likely to come again unchanged, and small enough not to push everything else out. */
static bool
is_worth_indexing(const struct hpack_table *t, const struct hpack_field *f)
{
	static const char *const changing[] = {
		"age", "authorization", "content-length", "cookie", "etag", "grpc-message", "grpc-status-details-bin",
		"if-modified-since", "if-none-match", "location", "set-cookie",
	};

	for (size_t i = 0; i < COUNT_OF(changing); i++) {
		if (slice_eq_str(f->name, changing[i]))
			return false;
	}
	return (f->name.n + f->value.n + HPACK_ENTRY_COST) * 4 <= (size_t)t->max_size * 3;
}

static void
encode_field(struct hpack_encoder *e, const struct hpack_field *f, struct buf *out)
{
	uint32_t by_name, index = find_field(&e->table, f, &by_name);

	if (f->is_sensitive) {
		write_int(out, 0x10, 4, by_name);
	} else if (index > 0) {
		write_int(out, 0x80, 7, index);
		return;
	} else if (is_worth_indexing(&e->table, f)) {
		write_int(out, 0x40, 6, by_name);
		table_add(&e->table, f->name, f->value);
	} else {
		write_int(out, 0, 4, by_name);
	}
	if (by_name == 0)
		write_string(out, f->name);
	write_string(out, f->value);
}

void
hpack_encode(struct hpack_encoder *e, const struct hpack_field *fields, size_t n, struct buf *out)
{
	if (e->is_resized) {
		if (e->lowest_size < e->table.max_size)
			write_int(out, 0x20, 5, e->lowest_size);
		write_int(out, 0x20, 5, e->table.max_size);
		e->is_resized = false;
	}
	for (size_t i = 0; i < n; i++)
		encode_field(e, &fields[i], out);
}

size_t
hpack_list_size(const struct hpack_field *fields, size_t n)
{
	size_t size = 0;

	for (size_t i = 0; i < n; i++)
		size += fields[i].name.n + fields[i].value.n + HPACK_ENTRY_COST;
	return size;
}
