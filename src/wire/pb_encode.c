/* Structs to bytes. */
#include "wire/pb.h"

#include "base/buf.h"
#include "wire/pb_member.h"

size_t
pb_varint_size(uint64_t v)
{
	size_t n = 1;

	while (v >= 0x80) {
		v >>= 7;
		n++;
	}
	return n;
}

void
pb_append_varint(struct buf *out, uint64_t v)
{
	uint8_t bytes[PB_VARINT_MAX];
	size_t n = 0;

	while (v >= 0x80) {
		bytes[n++] = (uint8_t)(v | 0x80);
		v >>= 7;
	}
	bytes[n++] = (uint8_t)v;
	buf_append(out, bytes, n);
}

/* What goes on the wire for the scalar at `at`; a negative int32 is as long as a negative int64. */
static uint64_t
scalar_at(const struct pb_field *f, const void *at)
{
	bool flag;
	int32_t narrow;
	uint32_t half;
	uint64_t v;

	switch ((enum pb_type)f->type) {
	case PB_BOOL:
		memcpy(&flag, at, sizeof(flag));
		return flag;
	case PB_INT32:
	case PB_ENUM:
		memcpy(&narrow, at, sizeof(narrow));
		return (uint64_t)(int64_t)narrow;
	case PB_UINT32:
		memcpy(&half, at, sizeof(half));
		return half;
	default:
		memcpy(&v, at, sizeof(v));
		return v;
	}
}

static uint64_t
tag_of(const struct pb_field *f)
{
	bool is_packed = f->label == PB_REPEATED && pb_is_scalar(f);

	return (uint64_t)f->number << 3 | (is_packed ? (unsigned)WIRE_BYTES : pb_wire_of(f));
}

static size_t
scalar_size(const struct pb_field *f, const void *at)
{
	return f->type == PB_DOUBLE ? 8 : pb_varint_size(scalar_at(f, at));
}

static void
put_scalar(const struct pb_field *f, const void *at, struct buf *out)
{
	uint64_t v = scalar_at(f, at);

	if (f->type != PB_DOUBLE) {
		pb_append_varint(out, v);
		return;
	}
	for (unsigned i = 0; i < 8; i++)
		buf_append_u8(out, (uint8_t)(v >> (8 * i)));
}

bool
pb_is_written(const struct pb_field *f, const void *msg)
{
	const void *at = pb_member_of(msg, f->offset);
	bool has;
	int number;

	if (pb_is_array(f))
		return pb_count_of(msg, f) > 0;
	switch ((enum pb_label)f->label) {
	case PB_ONEOF:
		memcpy(&number, pb_member_of(msg, f->aux), sizeof(number));
		return number == (int)f->number;
	case PB_ALWAYS:
		return true;
	case PB_OPTIONAL:
		if (pb_is_scalar(f)) {
			memcpy(&has, pb_member_of(msg, f->aux), sizeof(has));
			return has;
		}
		return f->type == PB_MESSAGE ? pb_pointer_at(at) != NULL : pb_bytes_at(at).p != NULL;
	default:
		if (f->type == PB_MESSAGE)
			return pb_pointer_at(at) != NULL;
		return pb_is_scalar(f) ? scalar_at(f, at) != 0 : pb_bytes_at(at).n > 0;
	}
}

static size_t
packed_size(const struct pb_field *f, const char *array, size_t n)
{
	size_t total = 0;

	for (size_t i = 0; i < n; i++)
		total += scalar_size(f, array + i * pb_element_size(f));
	return total;
}

/* Length of the value of one length-delimited element; `at` is a struct slice or the message itself (NULL counts as empty). */
static size_t
value_size(const struct pb_field *f, const void *at)
{
	if (f->type != PB_MESSAGE)
		return pb_bytes_at(at).n;
	return at != NULL ? pb_size(f->sub, at) : 0;
}

static size_t
field_size(const struct pb_field *f, const void *msg)
{
	const void *at = pb_member_of(msg, f->offset);
	size_t tag = pb_varint_size(tag_of(f)), total = 0, n;

	if (pb_is_array(f)) {
		const char *array = pb_pointer_at(at);

		n = pb_count_of(msg, f);
		if (n > 0 && pb_is_scalar(f)) {
			size_t list = packed_size(f, array, n);

			return tag + pb_varint_size(list) + list;
		}
		for (size_t i = 0; i < n; i++) {
			size_t value = value_size(f, array + i * pb_element_size(f));

			total += tag + pb_varint_size(value) + value;
		}
		return total;
	}
	if (!pb_is_written(f, msg))
		return 0;
	if (pb_is_scalar(f))
		return tag + scalar_size(f, at);
	n = value_size(f, f->type == PB_MESSAGE ? pb_pointer_at(at) : at);
	return tag + pb_varint_size(n) + n;
}

size_t
pb_size(const struct pb_desc *desc, const void *msg)
{
	size_t total = 0;

	for (size_t i = 0; i < desc->n_fields; i++)
		total += field_size(&desc->fields[i], msg);
	if (desc->unknown_at != PB_NO_UNKNOWN)
		total += pb_bytes_at(pb_member_of(msg, desc->unknown_at)).n;
	return total;
}

static void
put_value(const struct pb_field *f, const void *at, struct buf *out)
{
	pb_append_varint(out, tag_of(f));
	pb_append_varint(out, value_size(f, at));
	if (f->type != PB_MESSAGE)
		buf_append_slice(out, pb_bytes_at(at));
	else if (at != NULL)
		pb_encode(f->sub, at, out);
}

static void
put_array(const struct pb_field *f, const char *array, size_t n, struct buf *out)
{
	size_t size = pb_element_size(f);

	if (n == 0)
		return;
	if (!pb_is_scalar(f)) {
		for (size_t i = 0; i < n; i++)
			put_value(f, array + i * size, out);
		return;
	}
	pb_append_varint(out, tag_of(f));
	pb_append_varint(out, packed_size(f, array, n));
	for (size_t i = 0; i < n; i++)
		put_scalar(f, array + i * size, out);
}

void
pb_encode(const struct pb_desc *desc, const void *msg, struct buf *out)
{
	for (size_t i = 0; i < desc->n_fields; i++) {
		const struct pb_field *f = &desc->fields[i];
		const void *at = pb_member_of(msg, f->offset);

		if (pb_is_array(f)) {
			put_array(f, pb_pointer_at(at), pb_count_of(msg, f), out);
		} else if (pb_is_written(f, msg)) {
			if (pb_is_scalar(f)) {
				pb_append_varint(out, tag_of(f));
				put_scalar(f, at, out);
			} else {
				put_value(f, f->type == PB_MESSAGE ? pb_pointer_at(at) : at, out);
			}
		}
	}
	if (desc->unknown_at != PB_NO_UNKNOWN)
		buf_append_slice(out, pb_bytes_at(pb_member_of(msg, desc->unknown_at)));
}
