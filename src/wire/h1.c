#include "wire/h1.h"

#include <string.h>

#include "wire/h1_state.h"

/* Memory of a long head is given back before the connection waits for its next message. */
#define HEAD_KEEP (8 * 1024)

static void
forget(struct h1 *p)
{
	buf_clear(&p->head);
	p->start_len = p->line_len = p->line_count = 0;
	p->field_count = 0;
	p->method = p->target = (struct slice){0};
	p->status = 0;
	p->minor = 1;
	p->has_length = p->is_chunked = p->has_body = p->is_close_delimited = false;
	p->keep_alive = p->expects_continue = p->wants_upgrade = p->is_tunnel = false;
	p->length = 0;
}

void
h1_init(struct h1 *p, enum h1_kind kind)
{
	memset(p, 0, sizeof(*p));
	p->kind = kind;
	p->limits.head_max = H1_HEAD_MAX;
	p->limits.line_max = kind == H1_REQUEST ? H1_HEAD_MAX : H1_LINE_MAX;
	p->limits.target_max = H1_TARGET_MAX;
	h1_next(p);
}

void
h1_free(struct h1 *p)
{
	buf_free(&p->head);
	buf_free(&p->trail);
}

void
h1_next(struct h1 *p)
{
	forget(p);
	if (p->head.cap > HEAD_KEEP)
		buf_free(&p->head);
	buf_free(&p->trail);
	p->trailer_count = 0;
	p->error = NULL;
	p->error_status = 0;
	p->state = H1_IN_HEAD;
	p->head_answer = p->connect_answer = p->after_cr = false;
	p->interim_count = p->blank_lines = 0;
	p->left = 0;
	p->size_digits = 0;
	p->ext_len = p->ext_total = 0;
}

void
h1_expect_answer_to(struct h1 *p, const char *method)
{
	p->head_answer = strcmp(method, "HEAD") == 0;
	p->connect_answer = strcmp(method, "CONNECT") == 0;
}

bool
h1_is_idle(const struct h1 *p)
{
	return p->state == H1_IN_HEAD && p->head.len == 0 && p->blank_lines == 0;
}

enum h1_event
h1_fail(struct h1 *p, int status, const char *why)
{
	p->state = H1_BROKEN;
	p->error = why;
	p->error_status = status;
	return H1_ERROR;
}

/* ---- reading what the head says ---- */

struct slice
h1_get(const struct h1 *p, const char *name)
{
	for (size_t i = 0; i < p->field_count; i++)
		if (slice_ieq_str(p->fields[i].name, name))
			return p->fields[i].value;
	return (struct slice){0};
}

bool
h1_list_next(struct slice *rest, struct slice *item)
{
	while (rest->n > 0) {
		ptrdiff_t comma = slice_find(*rest, ',');
		size_t n = comma < 0 ? rest->n : (size_t)comma;

		*item = slice_trim(slice_sub(*rest, 0, n));
		*rest = slice_sub(*rest, n + (comma >= 0), rest->n);
		if (item->n > 0)
			return true;
	}
	return false;
}

bool
h1_has_token(const struct h1 *p, const char *name, const char *token)
{
	for (size_t i = 0; i < p->field_count; i++) {
		struct slice rest = p->fields[i].value, item;

		if (!slice_ieq_str(p->fields[i].name, name))
			continue;
		while (h1_list_next(&rest, &item)) {
			ptrdiff_t semi = slice_find(item, ';');

			if (semi >= 0)
				item = slice_trim(slice_sub(item, 0, (size_t)semi));
			if (slice_ieq_str(item, token))
				return true;
		}
	}
	return false;
}

/* ---- start lines ---- */

/* "HTTP/1.0" or "HTTP/1.1"; -1 for anything else. */
static int
parse_version(struct slice s)
{
	if (slice_eq_str(s, "HTTP/1.1"))
		return 1;
	if (slice_eq_str(s, "HTTP/1.0"))
		return 0;
	return -1;
}

static int
parse_request_line(struct h1 *p, struct slice line)
{
	ptrdiff_t a = slice_find(line, ' '), b;
	struct slice rest;

	if (slice_eq_str(line, "PRI * HTTP/2.0")) {
		h1_fail(p, 0, "HTTP/2 preface on an HTTP/1 port");
		return -1;
	}
	if (a < 0 || a > H1_METHOD_MAX || !h1_is_token(slice_sub(line, 0, (size_t)a))) {
		h1_fail(p, 400, "malformed request line");
		return -1;
	}
	rest = slice_sub(line, (size_t)a + 1, line.n);
	b = slice_find(rest, ' ');
	if (b < 0) {
		h1_fail(p, 400, "request line without version");
		return -1;
	}
	p->method = slice_sub(line, 0, (size_t)a);
	p->target = slice_sub(rest, 0, (size_t)b);
	if (p->target.n > p->limits.target_max) {
		h1_fail(p, 414, "request target too long");
		return -1;
	}
	if (p->target.n == 0 || !h1_is_target(p->target)) {
		h1_fail(p, 400, "malformed request target");
		return -1;
	}
	p->minor = parse_version(slice_sub(rest, (size_t)b + 1, rest.n));
	if (p->minor < 0) {
		p->minor = 1;
		h1_fail(p, 400, "malformed HTTP version");
		return -1;
	}
	return 0;
}

static int
parse_status_line(struct h1 *p, struct slice line)
{
	const uint8_t *c = line.p;

	if (line.n < 12 || c[8] != ' ' || (line.n > 12 && c[12] != ' '))
		goto malformed;
	p->minor = parse_version(slice_sub(line, 0, 8));
	if (p->minor < 0) {
		p->minor = 1;
		goto malformed;
	}
	for (int i = 9; i < 12; i++)
		if (c[i] < '0' || c[i] > '9')
			goto malformed;
	p->status = (c[9] - '0') * 100 + (c[10] - '0') * 10 + (c[11] - '0');
	if (p->status < 100)
		goto malformed;
	if (memchr(line.p, 0, line.n) != NULL || memchr(line.p, '\r', line.n) != NULL)
		goto malformed;
	return 0;
malformed:
	h1_fail(p, 400, "malformed status line");
	return -1;
}

/* ---- field lines ---- */

int
h1_parse_field(struct h1 *p, struct slice line, struct h1_field *out)
{
	ptrdiff_t colon = slice_find(line, ':');

	if (line.n > 0 && (line.p[0] == ' ' || line.p[0] == '\t')) {
		h1_fail(p, 400, "folded header line");
		return -1;
	}
	if (colon <= 0 || !h1_is_token(slice_sub(line, 0, (size_t)colon))) {
		h1_fail(p, 400, "malformed header name");
		return -1;
	}
	out->name = slice_sub(line, 0, (size_t)colon);
	out->value = slice_trim(slice_sub(line, (size_t)colon + 1, line.n));
	if (!h1_is_value(out->value)) {
		h1_fail(p, 400, "control character in a header value");
		return -1;
	}
	return 0;
}

static int
read_length(struct h1 *p)
{
	for (size_t i = 0; i < p->field_count; i++) {
		uint64_t n;

		if (!slice_ieq_str(p->fields[i].name, "content-length"))
			continue;
		if (slice_to_u64(p->fields[i].value, &n) != 0 || n > H1_LENGTH_MAX) {
			h1_fail(p, 400, "malformed Content-Length");
			return -1;
		}
		if (p->has_length && n != p->length) {
			h1_fail(p, 400, "differing Content-Length headers");
			return -1;
		}
		p->has_length = true;
		p->length = n;
	}
	return 0;
}

/* "chunked" must be the last coding, and the only one: others change the bytes, and nobody asked for them. */
static int
read_transfer_encoding(struct h1 *p)
{
	bool other = false, seen = false;

	for (size_t i = 0; i < p->field_count; i++) {
		struct slice rest = p->fields[i].value, item;

		if (!slice_ieq_str(p->fields[i].name, "transfer-encoding"))
			continue;
		seen = true;
		while (h1_list_next(&rest, &item)) {
			if (p->is_chunked)
				goto refused;
			if (slice_ieq_str(item, "chunked"))
				p->is_chunked = true;
			else
				other = true;
		}
	}
	if (!seen)
		return 0;
	if (!p->is_chunked)
		goto refused;
	if (other) {
		h1_fail(p, 501, "Transfer-Encoding other than chunked");
		return -1;
	}
	return 0;
refused:
	h1_fail(p, 400, "chunked is not the last Transfer-Encoding");
	return -1;
}

static int
read_host(struct h1 *p)
{
	size_t seen = 0;

	for (size_t i = 0; i < p->field_count; i++)
		if (slice_ieq_str(p->fields[i].name, "host"))
			seen++;
	if (seen > 1 || (seen == 0 && p->minor == 1)) {
		h1_fail(p, 400, seen > 1 ? "more than one Host header" : "no Host header");
		return -1;
	}
	return 0;
}

/* RFC 9112 6.3: how long is the body. */
static int
frame_request(struct h1 *p)
{
	if (p->is_chunked && p->minor == 0) {
		h1_fail(p, 400, "Transfer-Encoding in HTTP/1.0");
		return -1;
	}
	if (p->is_chunked && p->has_length) {
		h1_fail(p, 400, "both Transfer-Encoding and Content-Length");
		return -1;
	}
	p->has_body = p->is_chunked || p->length > 0;
	p->expects_continue = p->minor == 1 && p->has_body && h1_has_token(p, "expect", "100-continue");
	p->wants_upgrade = p->minor == 1 && h1_get(p, "upgrade").n > 0 && h1_has_token(p, "connection", "upgrade");
	return 0;
}

static void
frame_response(struct h1 *p)
{
	if (p->status == 101 || (p->connect_answer && p->status / 100 == 2)) {
		p->is_tunnel = true;
		p->is_chunked = p->has_length = p->keep_alive = false;
		p->length = 0;
		return;
	}
	if (p->head_answer || p->status / 100 == 1 || p->status == 204 || p->status == 304)
		return;
	if (p->is_chunked && (p->has_length || p->minor == 0)) {
		p->keep_alive = p->has_length = false;
		p->length = 0;
	}
	if (!p->is_chunked && !p->has_length) {
		p->is_close_delimited = true;
		p->keep_alive = false;
	}
	p->has_body = p->is_chunked || p->is_close_delimited || p->length > 0;
}

static int
read_framing(struct h1 *p)
{
	p->keep_alive = p->minor == 1 ? !h1_has_token(p, "connection", "close")
	    : h1_has_token(p, "connection", "keep-alive") && !h1_has_token(p, "connection", "close");
	if (read_length(p) != 0 || read_transfer_encoding(p) != 0)
		return -1;
	if (p->kind == H1_RESPONSE) {
		frame_response(p);
		return 0;
	}
	return read_host(p) != 0 ? -1 : frame_request(p);
}

/* ---- collecting the head ---- */

/* The line without its end; NULL slice when the end is wrong. A bare LF is forgiven in responses: nothing is forwarded raw. */
static int
strip_line_end(struct h1 *p, struct slice *line)
{
	line->n--;
	if (line->n > 0 && line->p[line->n - 1] == '\r') {
		line->n--;
	} else if (p->kind == H1_REQUEST) {
		h1_fail(p, 400, "bare LF");
		return -1;
	}
	if (line->n > 0 && memchr(line->p, '\r', line->n) != NULL) {
		h1_fail(p, 400, "bare CR");
		return -1;
	}
	return 0;
}

static enum h1_event
head_complete(struct h1 *p)
{
	struct slice all = buf_slice(&p->head), line;
	size_t at = 0;

	for (size_t i = 0; i < p->line_count; i++) {
		const uint8_t *from = all.p + at;
		const uint8_t *end = memchr(from, '\n', all.n - at);

		line = slice_make(from, (size_t)(end - from) + 1);
		at += line.n;
		if (strip_line_end(p, &line) != 0)
			return H1_ERROR;
		if (i > 0) {
			if (h1_parse_field(p, line, &p->fields[p->field_count]) != 0)
				return H1_ERROR;
			p->field_count++;
		} else if ((p->kind == H1_REQUEST ? parse_request_line(p, line) : parse_status_line(p, line)) != 0) {
			return H1_ERROR;
		}
	}
	if (p->kind == H1_RESPONSE && p->status / 100 == 1 && p->status != 101) {
		if (++p->interim_count > H1_INFORMATIONAL_MAX)
			return h1_fail(p, 400, "too many 1xx answers");
		p->state = H1_AFTER_INTERIM;
		return H1_INTERIM;
	}
	if (read_framing(p) != 0)
		return H1_ERROR;
	p->left = p->length;
	if (!p->has_body)
		p->state = H1_COMPLETE;
	else
		p->state = p->is_chunked ? H1_CHUNK_SIZE : p->is_close_delimited ? H1_UNTIL_CLOSE : H1_COUNTED;
	return H1_HEAD;
}

/* Room left for the line that is being collected; 0 means its limit is passed. */
static size_t
line_room(const struct h1 *p)
{
	size_t max, head_left;

	if (p->start_len == 0) {
		max = p->kind == H1_REQUEST ? p->limits.target_max + H1_METHOD_MAX + sizeof("  HTTP/1.1\r\n") : H1_STATUS_LINE_MAX;
		return p->line_len < max ? max - p->line_len : 0;
	}
	/* The empty line at the end is not counted. */
	head_left = p->limits.head_max + 2 - (p->head.len - p->start_len);
	max = p->limits.line_max + 2 > p->line_len ? p->limits.line_max + 2 - p->line_len : 0;
	return max < head_left ? max : head_left;
}

static enum h1_event
line_too_long(struct h1 *p)
{
	if (p->start_len > 0)
		return h1_fail(p, 431, p->line_len > p->limits.line_max ? "header line too long" : "headers too large");
	return p->kind == H1_REQUEST ? h1_fail(p, 414, "request target too long") : h1_fail(p, 400, "status line too long");
}

/* One line is whole. True when the head is. */
static bool
line_complete(struct h1 *p)
{
	struct slice line = slice_sub(buf_slice(&p->head), p->head.len - p->line_len, p->line_len);
	bool is_empty = line.n == 1 || (line.n == 2 && line.p[0] == '\r');

	p->line_len = 0;
	if (p->start_len == 0) {
		if (is_empty && p->kind == H1_REQUEST) {
			buf_clear(&p->head);
			if (++p->blank_lines > H1_BLANK_LINES_MAX || line.n == 1)
				h1_fail(p, 400, "malformed request line");
			return false;
		}
		p->start_len = p->head.len;
		p->line_count = 1;
		/* Said at once, not when the head is whole: the rest may never come. */
		if (strip_line_end(p, &line) == 0)
			(void)(p->kind == H1_REQUEST ? parse_request_line(p, line) : parse_status_line(p, line));
		return false;
	}
	if (is_empty) {
		if (line.n == 1 && p->kind == H1_REQUEST)
			h1_fail(p, 400, "bare LF");
		return true;
	}
	if (p->line_count > H1_FIELDS_MAX) {
		h1_fail(p, 431, "too many headers");
		return false;
	}
	p->line_count++;
	return false;
}

static enum h1_event
parse_head(struct h1 *p, struct slice *in)
{
	while (in->n > 0) {
		size_t room = line_room(p);
		const uint8_t *end = memchr(in->p, '\n', in->n);
		size_t n = end != NULL ? (size_t)(end - in->p) + 1 : in->n;
		bool whole;

		if (p->kind == H1_REQUEST && p->head.len == 0 && in->p[0] == 0x16)
			return h1_fail(p, 400, "TLS on a plain-text port");
		if (n > room) {
			p->line_len += n;
			return line_too_long(p);
		}
		buf_append(&p->head, in->p, n);
		p->line_len += n;
		*in = slice_sub(*in, n, in->n);
		if (end == NULL)
			return H1_MORE;
		whole = line_complete(p);
		if (p->state == H1_BROKEN)
			return H1_ERROR;
		if (whole)
			return head_complete(p);
	}
	return H1_MORE;
}

enum h1_event
h1_parse(struct h1 *p, struct slice *in, struct slice *data)
{
	*data = (struct slice){0};
	switch (p->state) {
	case H1_AFTER_INTERIM:
		forget(p);
		p->state = H1_IN_HEAD;
		return parse_head(p, in);
	case H1_IN_HEAD:
		return parse_head(p, in);
	case H1_COMPLETE:
		return H1_END;
	case H1_BROKEN:
		return H1_ERROR;
	default:
		return h1_parse_body(p, in, data);
	}
}

enum h1_event
h1_eof(struct h1 *p)
{
	switch (p->state) {
	case H1_COMPLETE:
		return H1_END;
	case H1_UNTIL_CLOSE:
		p->state = H1_COMPLETE;
		return H1_END;
	case H1_BROKEN:
		return H1_ERROR;
	case H1_IN_HEAD:
		if (h1_is_idle(p) && p->interim_count == 0)
			return H1_MORE;
		return h1_fail(p, 400, "connection closed within the header");
	case H1_AFTER_INTERIM:
		return h1_fail(p, 400, "connection closed before the final answer");
	default:
		return h1_fail(p, 400, "connection closed within the body");
	}
}
