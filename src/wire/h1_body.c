/*
 * Bodies: counted, until the connection closes, and chunked with its trailer section.
 */
#include <string.h>

#include "wire/h1.h"
#include "base/hex.h"
#include "wire/h1_state.h"

static enum h1_event
take_data(struct h1 *p, struct slice *in, struct slice *data)
{
	size_t n = p->left < in->n ? (size_t)p->left : in->n;

	if (n == 0)
		return H1_MORE;
	*data = slice_sub(*in, 0, n);
	*in = slice_sub(*in, n, in->n);
	p->left -= n;
	return H1_DATA;
}

/* One byte of "<hex>[;extension]\r\n". */
static int
size_byte(struct h1 *p, uint8_t c)
{
	int v = hex_value(c);

	if (p->state == H1_CHUNK_SIZE && v >= 0) {
		if (p->size_digits == 16 || p->left > H1_LENGTH_MAX >> 4) {
			h1_fail(p, 400, "chunk size too large");
			return -1;
		}
		p->size_digits++;
		p->left = p->left << 4 | (uint64_t)v;
		return 0;
	}
	if (p->size_digits == 0) {
		h1_fail(p, 400, "malformed chunk size");
		return -1;
	}
	if (c == '\r') {
		p->state = H1_CHUNK_SIZE_LF;
		return 0;
	}
	if (p->state == H1_CHUNK_SIZE) {
		/* Some servers pad the size with blanks; no client does. */
		if (c != ';' && (p->kind == H1_REQUEST || (c != ' ' && c != '\t'))) {
			h1_fail(p, 400, "malformed chunk size");
			return -1;
		}
		p->state = H1_CHUNK_EXT;
		p->ext_len = 0;
	}
	if ((c < 0x20 && c != '\t') || c == 0x7f) {
		h1_fail(p, 400, "control character in a chunk extension");
		return -1;
	}
	if (++p->ext_len > H1_CHUNK_EXT_MAX || ++p->ext_total > H1_CHUNK_EXT_TOTAL_MAX) {
		h1_fail(p, 400, "chunk extension too long");
		return -1;
	}
	return 0;
}

static void
size_complete(struct h1 *p)
{
	p->size_digits = 0;
	p->state = p->left > 0 ? H1_CHUNK_DATA : H1_TRAILER;
	p->line_len = p->line_count = 0;
}

static bool
is_framing(struct slice name)
{
	static const char *const names[] = {"content-length", "transfer-encoding", "host", "trailer", "connection"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (slice_ieq_str(name, names[i]))
			return true;
	return false;
}

/* The whole section is in trail, each line with its CRLF. */
static int
parse_trailers(struct h1 *p)
{
	struct slice rest = buf_slice(&p->trail);

	while (rest.n > 0) {
		size_t n = (size_t)((const uint8_t *)memchr(rest.p, '\n', rest.n) - rest.p) + 1;
		struct slice line = slice_sub(rest, 0, n - 2);

		if (memchr(line.p, '\r', line.n) != NULL) {
			h1_fail(p, 400, "bare CR");
			return -1;
		}
		if (h1_parse_field(p, line, &p->trailers[p->trailer_count]) != 0)
			return -1;
		if (is_framing(p->trailers[p->trailer_count].name)) {
			h1_fail(p, 400, "framing header in the trailers");
			return -1;
		}
		p->trailer_count++;
		rest = slice_sub(rest, n, rest.n);
	}
	return 0;
}

static enum h1_event
parse_trailer(struct h1 *p, struct slice *in)
{
	while (in->n > 0) {
		const uint8_t *end = memchr(in->p, '\n', in->n);
		size_t n = end != NULL ? (size_t)(end - in->p) + 1 : in->n;
		struct slice line;

		if (p->trail.len + n > H1_TRAILER_BYTES_MAX + 2)
			return h1_fail(p, 431, "trailers too large");
		buf_append(&p->trail, in->p, n);
		p->line_len += n;
		*in = slice_sub(*in, n, in->n);
		if (end == NULL)
			return H1_MORE;
		line = slice_sub(buf_slice(&p->trail), p->trail.len - p->line_len, p->line_len);
		if (line.n < 2 || line.p[line.n - 2] != '\r')
			return h1_fail(p, 400, "bare LF");
		if (line.n == 2) {
			p->trail.len -= 2;
			if (parse_trailers(p) != 0)
				return H1_ERROR;
			p->state = H1_COMPLETE;
			return H1_END;
		}
		if (++p->line_count > H1_TRAILERS_MAX)
			return h1_fail(p, 431, "too many trailers");
		p->line_len = 0;
	}
	return H1_MORE;
}

static enum h1_event
parse_chunked(struct h1 *p, struct slice *in, struct slice *data)
{
	while (in->n > 0) {
		uint8_t c = in->p[0];

		switch (p->state) {
		case H1_CHUNK_DATA: {
			enum h1_event ev = take_data(p, in, data);

			if (p->left == 0)
				p->state = H1_CHUNK_DATA_CR;
			return ev;
		}
		case H1_TRAILER:
			return parse_trailer(p, in);
		case H1_CHUNK_SIZE:
		case H1_CHUNK_EXT:
			if (size_byte(p, c) != 0)
				return H1_ERROR;
			break;
		case H1_CHUNK_SIZE_LF:
			if (c != '\n')
				return h1_fail(p, 400, "malformed chunk size");
			size_complete(p);
			break;
		case H1_CHUNK_DATA_CR:
			if (c != '\r')
				return h1_fail(p, 400, "chunk longer than its size");
			p->state = H1_CHUNK_DATA_LF;
			break;
		default:
			if (c != '\n')
				return h1_fail(p, 400, "chunk longer than its size");
			p->state = H1_CHUNK_SIZE;
			break;
		}
		*in = slice_sub(*in, 1, in->n);
	}
	return H1_MORE;
}

enum h1_event
h1_parse_body(struct h1 *p, struct slice *in, struct slice *data)
{
	enum h1_event ev;

	switch (p->state) {
	case H1_COUNTED:
		if (p->left == 0) {
			p->state = H1_COMPLETE;
			return H1_END;
		}
		return take_data(p, in, data);
	case H1_UNTIL_CLOSE:
		p->left = UINT64_MAX;
		return take_data(p, in, data);
	default:
		ev = parse_chunked(p, in, data);
		return ev;
	}
}
