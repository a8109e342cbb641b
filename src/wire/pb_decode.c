/* Bytes to structs. Every record of a message is read twice: first to count what arrays need, then to fill them. */
#include "wire/pb.h"

#include "base/arena.h"
#include "base/err.h"
#include "text/utf8.h"
#include "wire/pb_member.h"

#define NUMBER_MAX UINT32_C(536870911)  /* largest field number, 2^29 - 1 */

struct decoder {
	struct arena *arena;
	struct err *err;
	size_t elements;        /* of repeated fields so far */
	unsigned merges;
};

/* Rest of one message's bytes. */
struct reader {
	const uint8_t *p;
	const uint8_t *end;
};

struct record {
	uint32_t number;
	unsigned wire;
	uint64_t varint;        /* or the 64 bits */
	struct slice bytes;
	struct slice whole;     /* tag and value */
};

static int decode_message(struct decoder *d, const struct pb_desc *desc, struct slice in, void *out, unsigned depth);

static int
bad(const struct decoder *d, const struct pb_desc *desc, const char *what)
{
	return err_set(d->err, ERR_INTERNAL, "failed to decode Protobuf message: %s: %s", desc->name, what);
}

static int
too_much(const struct decoder *d, const struct pb_desc *desc, const char *what)
{
	return err_set(d->err, ERR_RESOURCE_EXHAUSTED, "failed to decode Protobuf message: %s: %s", desc->name, what);
}

static int
read_varint(struct reader *r, uint64_t *out)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < PB_VARINT_MAX; i++) {
		uint8_t byte;

		if (r->p == r->end)
			return -1;
		byte = *r->p++;
		v |= (uint64_t)(byte & 0x7f) << (7 * i);
		if ((byte & 0x80) == 0) {
			/* The tenth byte has room for one bit. */
			if (i == PB_VARINT_MAX - 1 && byte > 1)
				return -1;
			*out = v;
			return 0;
		}
	}
	return -1;
}

static uint64_t
little_endian(const uint8_t *p)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < 8; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

/* Reads one tag and its value. */
static int
read_record(const struct decoder *d, const struct pb_desc *desc, struct reader *r, struct record *rec)
{
	const uint8_t *start = r->p;
	uint64_t tag, n;

	if (read_varint(r, &tag) < 0)
		return bad(d, desc, "broken tag");
	if (tag >> 3 == 0 || tag >> 3 > NUMBER_MAX)
		return bad(d, desc, "field number out of range");
	rec->number = (uint32_t)(tag >> 3);
	rec->wire = (unsigned)(tag & 7);
	rec->bytes = (struct slice){NULL, 0};
	switch (rec->wire) {
	case WIRE_VARINT:
		if (read_varint(r, &rec->varint) < 0)
			return bad(d, desc, "broken varint");
		break;
	case WIRE_64BIT:
		if (r->end - r->p < 8)
			return bad(d, desc, "truncated 64-bit value");
		rec->varint = little_endian(r->p);
		r->p += 8;
		break;
	case WIRE_BYTES:
		if (read_varint(r, &n) < 0)
			return bad(d, desc, "broken length");
		if (n > (uint64_t)(r->end - r->p))
			return bad(d, desc, "length past the end");
		rec->bytes = slice_make(r->p, (size_t)n);
		r->p += n;
		break;
	case WIRE_32BIT:
		if (r->end - r->p < 4)
			return bad(d, desc, "truncated 32-bit value");
		r->p += 4;
		break;
	default:
		return bad(d, desc, "groups are not supported");
	}
	rec->whole = slice_make(start, (size_t)(r->p - start));
	return 0;
}

static const struct pb_field *
find_field(const struct pb_desc *desc, uint32_t number)
{
	size_t low = 0, high = desc->n_fields;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (desc->fields[mid].number == number)
			return &desc->fields[mid];
		if (desc->fields[mid].number < number)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

/* The field of this record; NULL when it is unknown here, which a known number with another wire type is too. */
static const struct pb_field *
field_of(const struct pb_desc *desc, const struct record *rec)
{
	const struct pb_field *f = find_field(desc, rec->number);

	if (f == NULL || rec->wire == pb_wire_of(f))
		return f;
	return f->label == PB_REPEATED && pb_is_scalar(f) && rec->wire == WIRE_BYTES ? f : NULL;
}

/* Elements that a record of a repeated field holds: one, or those of a packed list. */
static size_t
elements_in(const struct pb_field *f, const struct record *rec)
{
	size_t n = 0;

	if (!pb_is_scalar(f) || rec->wire != WIRE_BYTES)
		return 1;
	if (f->type == PB_DOUBLE)
		return rec->bytes.n / 8;
	for (size_t i = 0; i < rec->bytes.n; i++)
		n += (rec->bytes.p[i] & 0x80) == 0;
	return n;
}

static void
store_scalar(const struct pb_field *f, uint64_t v, void *at)
{
	bool flag;
	uint32_t half;

	switch ((enum pb_type)f->type) {
	case PB_BOOL:
		flag = v != 0;
		memcpy(at, &flag, sizeof(flag));
		break;
	case PB_INT32:
	case PB_UINT32:
	case PB_ENUM:
		half = (uint32_t)v;
		memcpy(at, &half, sizeof(half));
		break;
	default:
		memcpy(at, &v, sizeof(v));
		break;
	}
}

static int
store_bytes(const struct decoder *d, const struct pb_desc *desc, const struct pb_field *f, struct slice bytes, void *at)
{
	if (f->type == PB_STRING && !utf8_is_valid(bytes))
		return err_set(d->err, ERR_INTERNAL, "failed to decode Protobuf message: %s.%s: invalid UTF-8", desc->name, f->name);
	memcpy(at, &bytes, sizeof(bytes));
	return 0;
}

/* Makes room for the elements that this call will add to a repeated field, behind those it already has. */
static int
grow_array(struct decoder *d, const struct pb_desc *desc, const struct pb_field *f, void *out, size_t more)
{
	size_t n = pb_count_of(out, f), size = pb_element_size(f);
	void *array;

	if (more > PB_ELEMENTS_MAX - d->elements)
		return too_much(d, desc, "too many elements");
	d->elements += more;
	array = arena_alloc(d->arena, (n + more) * size);
	if (array == NULL)
		return too_much(d, desc, "message too large");
	if (n > 0)
		memcpy(array, pb_pointer_at(pb_member(out, f->offset)), n * size);
	memcpy(pb_member(out, f->offset), &array, sizeof(array));
	return 0;
}

/* The entry with the last one's key, when there is one before it. */
static char *
earlier_entry(char *array, size_t n, size_t size)
{
	struct slice last, key;

	/* The key is the first member of every entry. */
	memcpy(&last, array + (n - 1) * size, sizeof(last));
	for (size_t i = 0; i + 1 < n; i++) {
		memcpy(&key, array + i * size, sizeof(key));
		if (slice_eq(key, last))
			return array + i * size;
	}
	return NULL;
}

static int
add_entry(struct decoder *d, const struct pb_desc *desc, const struct pb_field *f, char *array, size_t *n)
{
	size_t size = pb_element_size(f);
	char *earlier = earlier_entry(array, *n, size);

	if (earlier != NULL) {
		memcpy(earlier, array + (*n - 1) * size, size);
		memset(array + (*n - 1) * size, 0, size);
		--*n;
	}
	return *n > PB_MAP_MAX ? too_much(d, desc, "too many map entries") : 0;
}

static int
decode_packed(struct decoder *d, const struct pb_desc *desc, const struct pb_field *f, struct slice list, char *array, size_t *n)
{
	struct reader r = {list.p, list.p + list.n};
	size_t size = pb_element_size(f);
	uint64_t v;

	if (f->type == PB_DOUBLE && list.n % 8 != 0)
		return bad(d, desc, "packed list of broken length");
	while (r.p < r.end) {
		if (f->type == PB_DOUBLE) {
			v = little_endian(r.p);
			r.p += 8;
		} else if (read_varint(&r, &v) < 0) {
			return bad(d, desc, "broken varint in a packed list");
		}
		store_scalar(f, v, array + (*n)++ * size);
	}
	return 0;
}

static int
decode_element(struct decoder *d, const struct pb_desc *desc, const struct pb_field *f, const struct record *rec, void *out,
    unsigned depth)
{
	char *array = pb_pointer_at(pb_member(out, f->offset)), *at;
	size_t n = pb_count_of(out, f);
	int rc = 0;

	/* Only an empty packed list can come without an array. */
	at = array != NULL ? array + n * pb_element_size(f) : NULL;
	if (f->type == PB_MESSAGE) {
		rc = decode_message(d, f->sub, rec->bytes, at, depth + 1);
		n++;
		if (rc == 0 && f->label == PB_MAP)
			rc = add_entry(d, desc, f, array, &n);
	} else if (!pb_is_scalar(f)) {
		rc = store_bytes(d, desc, f, rec->bytes, at);
		n++;
	} else if (rec->wire == WIRE_BYTES) {
		rc = decode_packed(d, desc, f, rec->bytes, array, &n);
	} else {
		store_scalar(f, rec->varint, at);
		n++;
	}
	memcpy(pb_member(out, f->aux), &n, sizeof(n));
	return rc;
}

/* A singular message; when it comes in parts, they are put together. */
static int
decode_sub(struct decoder *d, const struct pb_desc *desc, const struct pb_field *f, struct slice bytes, void *out, unsigned depth)
{
	void *sub = pb_pointer_at(pb_member(out, f->offset));

	if (sub != NULL) {
		if (++d->merges > PB_MERGES_MAX)
			return too_much(d, desc, "message in too many parts");
	} else {
		sub = arena_alloc(d->arena, f->sub->size);
		if (sub == NULL)
			return too_much(d, desc, "message too large");
		memcpy(pb_member(out, f->offset), &sub, sizeof(sub));
	}
	return decode_message(d, f->sub, bytes, sub, depth + 1);
}

/* Makes f the member of its oneof that is set; another one set before is forgotten. */
static void
choose_member(const struct pb_desc *desc, const struct pb_field *f, void *out)
{
	int number;

	memcpy(&number, pb_member(out, f->aux), sizeof(number));
	if (number != 0 && number != (int)f->number) {
		const struct pb_field *other = find_field(desc, (uint32_t)number);

		memset(pb_member(out, other->offset), 0, pb_element_size(other));
	}
	number = (int)f->number;
	memcpy(pb_member(out, f->aux), &number, sizeof(number));
}

static int
decode_field(struct decoder *d, const struct pb_desc *desc, const struct pb_field *f, const struct record *rec, void *out,
    unsigned depth)
{
	const bool is_present = true;

	if (pb_is_array(f))
		return decode_element(d, desc, f, rec, out, depth);
	if (f->label == PB_ONEOF)
		choose_member(desc, f, out);
	if (f->type == PB_MESSAGE)
		return decode_sub(d, desc, f, rec->bytes, out, depth);
	if (!pb_is_scalar(f))
		return store_bytes(d, desc, f, rec->bytes, pb_member(out, f->offset));
	if (f->label == PB_OPTIONAL)
		memcpy(pb_member(out, f->aux), &is_present, sizeof(is_present));
	store_scalar(f, rec->varint, pb_member(out, f->offset));
	return 0;
}

/* First pass: reserves the arrays, and the bytes for kept unknown fields. */
static int
reserve_arrays(struct decoder *d, const struct pb_desc *desc, struct slice in, void *out, uint8_t **unknown)
{
	struct reader r = {in.p, in.p + in.n};
	size_t counts[PB_FIELDS_MAX] = {0}, n_unknown = 0;
	struct record rec;

	while (r.p < r.end) {
		const struct pb_field *f;

		if (read_record(d, desc, &r, &rec) < 0)
			return -1;
		f = field_of(desc, &rec);
		if (f == NULL)
			n_unknown += rec.whole.n;
		else if (pb_is_array(f))
			counts[f - desc->fields] += elements_in(f, &rec);
	}
	for (size_t i = 0; i < desc->n_fields; i++)
		if (counts[i] > 0 && grow_array(d, desc, &desc->fields[i], out, counts[i]) < 0)
			return -1;
	if (n_unknown > 0 && desc->unknown_at != PB_NO_UNKNOWN) {
		struct slice kept;

		memcpy(&kept, pb_member(out, desc->unknown_at), sizeof(kept));
		*unknown = arena_alloc(d->arena, kept.n + n_unknown);
		if (*unknown == NULL)
			return too_much(d, desc, "message too large");
		if (kept.n > 0)
			memcpy(*unknown, kept.p, kept.n);
		kept.p = *unknown;
		*unknown += kept.n;
		kept.n += n_unknown;
		memcpy(pb_member(out, desc->unknown_at), &kept, sizeof(kept));
	}
	return 0;
}

/* Adds the fields in `in` to `out`, which is zeroed or holds an earlier part of the same message. */
static int
decode_message(struct decoder *d, const struct pb_desc *desc, struct slice in, void *out, unsigned depth)
{
	struct reader r;
	struct record rec;
	uint8_t *unknown = NULL;

	if (depth > PB_DEPTH_MAX)
		return too_much(d, desc, "messages nest too deeply");
	if (in.n == 0)
		return 0;
	r = (struct reader){in.p, in.p + in.n};
	if (reserve_arrays(d, desc, in, out, &unknown) < 0)
		return -1;
	while (r.p < r.end) {
		const struct pb_field *f;

		if (read_record(d, desc, &r, &rec) < 0)
			return -1;
		f = field_of(desc, &rec);
		if (f != NULL) {
			if (decode_field(d, desc, f, &rec, out, depth) < 0)
				return -1;
		} else if (unknown != NULL) {
			memcpy(unknown, rec.whole.p, rec.whole.n);
			unknown += rec.whole.n;
		}
	}
	return 0;
}

int
pb_decode(const struct pb_desc *desc, struct slice in, struct arena *a, void *out, struct err *e)
{
	struct decoder d = {a, e, 0, 0};

	memset(out, 0, desc->size);
	if (in.n > PB_MESSAGE_MAX)
		return too_much(&d, desc, "message too large");
	return decode_message(&d, desc, in, out, 1);
}

int
pb_decode_copy(const struct pb_desc *desc, struct slice in, struct arena *a, void *out, struct err *e)
{
	struct decoder d = {a, e, 0, 0};
	uint8_t *copy = NULL;

	if (in.n > PB_MESSAGE_MAX)
		return too_much(&d, desc, "message too large");
	if (in.n > 0) {
		copy = arena_copy(a, in.p, in.n);
		if (copy == NULL)
			return too_much(&d, desc, "message too large");
	}
	return pb_decode(desc, slice_make(copy, in.n), a, out, e);
}
