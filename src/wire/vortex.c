#include "wire/vortex.h"

#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "text/utf8.h"

/* ---- numbers ---- */

static uint8_t *
put_u32(uint8_t *p, uint32_t v)
{
	for (int shift = 24; shift >= 0; shift -= 8)
		*p++ = (uint8_t)(v >> shift);
	return p;
}

static uint8_t *
put_u64(uint8_t *p, uint64_t v)
{
	return put_u32(put_u32(p, (uint32_t)(v >> 32)), (uint32_t)v);
}

static uint32_t
get_u32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint64_t
get_u64(const uint8_t *p)
{
	return (uint64_t)get_u32(p) << 32 | get_u32(p + 4);
}

/* ---- writing ---- */

static uint8_t *
put_header(uint8_t *p, uint8_t id, uint8_t tag, uint32_t len)
{
	*p++ = id;
	*p++ = tag;
	return put_u32(p, len);
}

void
vortex_write_request(uint8_t out[VORTEX_REQUEST_BYTES], uint8_t id, uint8_t tag, struct slice task_id, uint32_t number)
{
	uint8_t *p = put_header(out, id, tag, VORTEX_REQUEST_VALUE_BYTES);

	memcpy(p, task_id.p, VORTEX_TASK_ID_BYTES);
	put_u32(p + VORTEX_TASK_ID_BYTES, number);
}

static uint8_t *
put_text(uint8_t *p, struct slice text)
{
	p = put_u32(p, (uint32_t)text.n);
	if (text.n > 0)
		memcpy(p, text.p, text.n);
	return p + text.n;
}

void
vortex_write_content(struct buf *out, uint8_t id, const struct vortex_content *c)
{
	const size_t room = VORTEX_METADATA_MAX - VORTEX_METADATA_FIXED_BYTES;
	struct slice digest = c->digest, parent_id = c->parent_id;
	uint32_t m;
	uint8_t *p;

	/* Nobody reads the parent; without a digest the child checks nothing but goes on. Ours are always shorter. */
	if (digest.n > room)
		digest = (struct slice){NULL, 0};
	if (parent_id.n > room - digest.n)
		parent_id = (struct slice){NULL, 0};
	m = (uint32_t)(VORTEX_METADATA_FIXED_BYTES + digest.n + parent_id.n);
	p = buf_reserve(out, VORTEX_HEADER_BYTES + 4 + m);
	p = put_header(p, id, c->tag, 4 + m);
	p = put_u32(p, m);
	p = put_u32(p, c->number);
	p = put_u64(p, c->offset);
	p = put_u64(p, c->length);
	p = put_text(p, digest);
	p = put_text(p, parent_id);
	*p++ = c->traffic_type;
	p = put_u64(p, c->cost_s);
	put_u64(p, (uint64_t)c->created_at_s);
	buf_added(out, VORTEX_HEADER_BYTES + 4 + m);
}

/* The longest beginning of at most `max` bytes that does not end inside a character. */
static struct slice
cut_text(struct slice s, size_t max)
{
	if (s.n <= max)
		return s;
	while (max > 0 && (s.p[max] & 0xc0) == 0x80)
		max--;
	return slice_sub(s, 0, max);
}

void
vortex_write_error(struct buf *out, uint8_t id, uint8_t code, struct slice message)
{
	uint8_t head[VORTEX_HEADER_BYTES + 1];

	message = cut_text(message, VORTEX_MESSAGE_KEPT);
	*put_header(head, id, VORTEX_ERROR, (uint32_t)(1 + message.n)) = code;
	buf_append(out, head, sizeof(head));
	buf_append_slice(out, message);
}

void
vortex_write_close(struct buf *out, uint8_t id)
{
	uint8_t head[VORTEX_HEADER_BYTES];

	put_header(head, id, VORTEX_CLOSE, 0);
	buf_append(out, head, sizeof(head));
}

/* ---- reading requests ---- */

/* Moves bytes from the front of *in until `bytes` holds `want`; true when it does. */
static bool
fill(uint8_t *bytes, size_t *n, size_t want, struct slice *in)
{
	size_t take = *n < want ? want - *n : 0;

	if (take > in->n)
		take = in->n;
	if (take > 0) {
		memcpy(bytes + *n, in->p, take);
		*n += take;
		*in = slice_sub(*in, take, in->n - take);
	}
	return *n >= want;
}

static bool
is_request_tag(uint8_t tag)
{
	return tag <= VORTEX_DOWNLOAD_CACHE_PIECE && tag % 2 == 0;
}

/* Ids become parts of file names: digits, letters, '-' and '_' (real ones are lower-case hex). */
static bool
is_task_id(const uint8_t *p)
{
	for (size_t i = 0; i < VORTEX_TASK_ID_BYTES; i++)
		if (!((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'a' && p[i] <= 'z') || (p[i] >= 'A' && p[i] <= 'Z') || p[i] == '-' || p[i] == '_'))
			return false;
	return true;
}

static enum vortex_result
broken_request(struct err *e, const char *what, unsigned long value)
{
	err_set(e, ERR_INVALID_ARGUMENT, "piece request: %s %lu", what, value);
	return VORTEX_BROKEN;
}

enum vortex_result
vortex_read_request(struct vortex_request_reader *r, struct slice *in, struct vortex_request *out, struct err *e)
{
	uint32_t len;

	if (!fill(r->bytes, &r->n, VORTEX_HEADER_BYTES, in))
		return VORTEX_MORE;
	len = get_u32(r->bytes + 2);
	if (r->bytes[1] == VORTEX_CLOSE) {
		r->n = 0;
		return len == 0 ? VORTEX_END : broken_request(e, "close packet with a value of length", len);
	}
	if (!is_request_tag(r->bytes[1]))
		return broken_request(e, "unknown tag", r->bytes[1]);
	if (len != VORTEX_REQUEST_VALUE_BYTES)
		return broken_request(e, "value has length", len);
	if (!fill(r->bytes, &r->n, VORTEX_REQUEST_BYTES, in))
		return VORTEX_MORE;
	r->n = 0;
	if (!is_task_id(r->bytes + VORTEX_HEADER_BYTES)) {
		err_set(e, ERR_INVALID_ARGUMENT, "piece request: malformed task id");
		return VORTEX_BROKEN;
	}
	out->tag = r->bytes[1];
	memcpy(out->task_id, r->bytes + VORTEX_HEADER_BYTES, VORTEX_TASK_ID_BYTES);
	out->task_id[VORTEX_TASK_ID_BYTES] = '\0';
	out->number = get_u32(r->bytes + VORTEX_HEADER_BYTES + VORTEX_TASK_ID_BYTES);
	return VORTEX_READY;
}

int
vortex_is_request(struct slice first)
{
	static const uint8_t length[] = {0, 0, 0, VORTEX_REQUEST_VALUE_BYTES};

	if (first.n > 1 && !is_request_tag(first.p[1]))
		return 0;
	for (size_t i = 2; i < first.n && i < VORTEX_HEADER_BYTES; i++)
		if (first.p[i] != length[i - 2])
			return 0;
	return first.n >= VORTEX_HEADER_BYTES ? 1 : -1;
}

/* ---- reading replies ---- */

void
vortex_reply_start(struct vortex_reply_reader *r, uint8_t request_tag)
{
	r->tag = (uint8_t)(request_tag + 1);
	r->n = 0;
	r->skip = 0;
}

static enum vortex_result
broken_reply(struct err *e, const char *what, unsigned long value)
{
	err_set(e, ERR_INTERNAL, "answer to a piece request: %s %lu", what, value);
	return VORTEX_BROKEN;
}

/* A text of the metadata and its length before it; `end` bounds what may still follow. */
static bool
take_text(const uint8_t **p, const uint8_t *end, struct slice *out)
{
	uint32_t n;

	if (end - *p < 4)
		return false;
	n = get_u32(*p);
	*p += 4;
	if (n > (size_t)(end - *p))
		return false;
	*out = slice_make(*p, n);
	*p += n;
	return true;
}

static enum vortex_result
parse_content(const struct vortex_reply_reader *r, uint32_t m, struct vortex_content *c, struct err *e)
{
	const uint8_t *p = r->bytes + VORTEX_HEADER_BYTES + 4, *end = p + m;

	*c = (struct vortex_content){.tag = r->tag, .number = get_u32(p), .offset = get_u64(p + 4), .length = get_u64(p + 12)};
	p += 20;
	/* Behind the texts 17 bytes must follow: traffic type, cost, created at. */
	if (!take_text(&p, end - 17, &c->digest) || !take_text(&p, end - 17, &c->parent_id))
		return broken_reply(e, "texts reach past the metadata of length", m);
	if (!utf8_is_valid(c->digest) || !utf8_is_valid(c->parent_id)) {
		err_set(e, ERR_INTERNAL, "answer to a piece request: digest or parent id is not UTF-8");
		return VORTEX_BROKEN;
	}
	c->traffic_type = p[0];
	c->cost_s = get_u64(p + 1);
	c->created_at_s = (int64_t)get_u64(p + 9);
	return VORTEX_READY;
}

static enum vortex_result
read_content(struct vortex_reply_reader *r, uint32_t len, struct slice *in, struct vortex_reply *out, struct err *e)
{
	uint32_t m;

	if (len < 4 + VORTEX_METADATA_FIXED_BYTES || len > 4 + VORTEX_METADATA_MAX)
		return broken_reply(e, "metadata packet of length", len);
	if (!fill(r->bytes, &r->n, VORTEX_HEADER_BYTES + 4, in))
		return VORTEX_MORE;
	m = get_u32(r->bytes + VORTEX_HEADER_BYTES);
	if (m != len - 4)
		return broken_reply(e, "packet and metadata lengths differ, metadata has", m);
	if (!fill(r->bytes, &r->n, VORTEX_HEADER_BYTES + (size_t)len, in))
		return VORTEX_MORE;
	*out = (struct vortex_reply){.is_error = false};
	return parse_content(r, m, &out->content, e);
}

/* Writes `in` behind itself with what is no UTF-8 replaced; one bad byte may become three. */
static struct slice
repair_text(struct slice in, uint8_t *to, bool is_cut)
{
	uint8_t *p = to;

	while (in.n > 0) {
		uint32_t code = UTF8_REPLACEMENT;
		size_t bad = 0, n = utf8_decode(in, &code, &bad);

		/* A character that the cut went through. */
		if (n == 0 && is_cut && bad == in.n)
			break;
		p += utf8_encode(n > 0 ? code : UTF8_REPLACEMENT, p);
		in = slice_sub(in, n > 0 ? n : bad, in.n);
	}
	return slice_make(to, (size_t)(p - to));
}

static enum vortex_result
read_error(struct vortex_reply_reader *r, uint32_t len, struct slice *in, struct vortex_reply *out, struct err *e)
{
	size_t kept = len < 1 + VORTEX_MESSAGE_KEPT ? len : 1 + VORTEX_MESSAGE_KEPT;
	size_t take;

	if (len < 1 || len > VORTEX_ERROR_MAX)
		return broken_reply(e, "error packet of length", len);
	if (r->n == VORTEX_HEADER_BYTES)
		r->skip = (uint32_t)(len - kept);
	if (!fill(r->bytes, &r->n, VORTEX_HEADER_BYTES + kept, in))
		return VORTEX_MORE;
	take = r->skip < in->n ? r->skip : in->n;
	*in = slice_sub(*in, take, in->n);
	r->skip -= (uint32_t)take;
	if (r->skip > 0)
		return VORTEX_MORE;
	*out = (struct vortex_reply){.is_error = true, .code = r->bytes[VORTEX_HEADER_BYTES]};
	out->message = repair_text(slice_make(r->bytes + VORTEX_HEADER_BYTES + 1, kept - 1), r->bytes + VORTEX_HEADER_BYTES + kept, kept < len);
	return VORTEX_READY;
}

enum vortex_result
vortex_read_reply(struct vortex_reply_reader *r, struct slice *in, struct vortex_reply *out, struct err *e)
{
	uint32_t len;

	if (!fill(r->bytes, &r->n, VORTEX_HEADER_BYTES, in))
		return VORTEX_MORE;
	len = get_u32(r->bytes + 2);
	if (r->bytes[1] == r->tag)
		return read_content(r, len, in, out, e);
	if (r->bytes[1] == VORTEX_ERROR)
		return read_error(r, len, in, out, e);
	return broken_reply(e, "unexpected tag", r->bytes[1]);
}

int
vortex_check_content(const struct vortex_content *c, uint32_t number, uint64_t offset, uint64_t length, struct err *e)
{
	if (c->number != number)
		return err_set(e, ERR_INTERNAL, "parent sent piece %lu instead of %lu", (unsigned long)c->number, (unsigned long)number);
	if (c->offset != offset)
		return err_set(e, ERR_INTERNAL, "parent sent piece %lu with offset %llu instead of %llu", (unsigned long)number,
		    (unsigned long long)c->offset, (unsigned long long)offset);
	if (c->length != length)
		return err_set(e, ERR_INTERNAL, "parent sent piece %lu with length %llu instead of %llu", (unsigned long)number,
		    (unsigned long long)c->length, (unsigned long long)length);
	return 0;
}

int
vortex_code_to_err(uint8_t code)
{
	switch (code) {
	case VORTEX_INVALID_ARGUMENT:
		return ERR_INVALID_ARGUMENT;
	case VORTEX_NOT_FOUND:
		return ERR_NOT_FOUND;
	case VORTEX_INTERNAL:
		return ERR_INTERNAL;
	default:
		return ERR_UNKNOWN;
	}
}
