/*
 * Private to wire/pb_*.c: the members of a struct, reached by the offsets in its table.
 */
#ifndef WIRE_PB_MEMBER_H
#define WIRE_PB_MEMBER_H

#include <string.h>

#include "wire/pb.h"

/* Wire types. */
enum { WIRE_VARINT = 0, WIRE_64BIT = 1, WIRE_BYTES = 2, WIRE_GROUP = 3, WIRE_GROUP_END = 4, WIRE_32BIT = 5 };

#define PB_VARINT_MAX 10

static inline void *
pb_member(void *msg, uint32_t offset)
{
	return (char *)msg + offset;
}

static inline const void *
pb_member_of(const void *msg, uint32_t offset)
{
	return (const char *)msg + offset;
}

static inline size_t
pb_count_of(const void *msg, const struct pb_field *f)
{
	size_t n;

	memcpy(&n, pb_member_of(msg, f->aux), sizeof(n));
	return n;
}

static inline void *
pb_pointer_at(const void *p)
{
	void *v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline size_t
pb_element_size(const struct pb_field *f)
{
	switch ((enum pb_type)f->type) {
	case PB_BOOL:
		return sizeof(bool);
	case PB_INT32:
	case PB_UINT32:
	case PB_ENUM:
		return sizeof(uint32_t);
	case PB_INT64:
	case PB_UINT64:
		return sizeof(uint64_t);
	case PB_DOUBLE:
		return sizeof(double);
	case PB_STRING:
	case PB_BYTES:
		return sizeof(struct slice);
	case PB_MESSAGE:
		break;
	}
	return f->label == PB_REPEATED || f->label == PB_MAP ? f->sub->size : sizeof(void *);
}

static inline bool
pb_is_array(const struct pb_field *f)
{
	return f->label == PB_REPEATED || f->label == PB_MAP;
}

static inline bool
pb_is_scalar(const struct pb_field *f)
{
	return f->type != PB_STRING && f->type != PB_BYTES && f->type != PB_MESSAGE;
}

static inline struct slice
pb_bytes_at(const void *at)
{
	struct slice s;

	memcpy(&s, at, sizeof(s));
	return s;
}

static inline unsigned
pb_wire_of(const struct pb_field *f)
{
	if (f->type == PB_DOUBLE)
		return WIRE_64BIT;
	return pb_is_scalar(f) ? WIRE_VARINT : WIRE_BYTES;
}

/* Whether pb_encode writes anything for this field of msg. */
bool pb_is_written(const struct pb_field *f, const void *msg);

#endif
