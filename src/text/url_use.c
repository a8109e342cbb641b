#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/hex.h"
#include "base/mem.h"
#include "text/encode.h"
#include "text/url.h"
#include "text/utf8.h"

#define HIDDEN "***"

static bool
is_alnum(uint8_t c)
{
	return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

static void
append_escaped(struct buf *out, uint8_t c)
{
	buf_printf(out, "%%%02X", c);
}

static void
decode(struct slice in, bool plus_is_blank, struct buf *out)
{
	for (size_t i = 0; i < in.n; i++) {
		int high = i + 2 < in.n ? hex_value(in.p[i + 1]) : -1, low = high >= 0 ? hex_value(in.p[i + 2]) : -1;

		if (in.p[i] == '%' && low >= 0) {
			buf_append_u8(out, (uint8_t)(high << 4 | low));
			i += 2;
		} else {
			buf_append_u8(out, plus_is_blank && in.p[i] == '+' ? ' ' : in.p[i]);
		}
	}
}

void
url_decode(struct slice in, struct buf *out)
{
	decode(in, false, out);
}

void
url_encode(struct slice in, const char *keep, struct buf *out)
{
	for (size_t i = 0; i < in.n; i++) {
		uint8_t c = in.p[i];

		if (is_alnum(c) || (c != 0 && strchr(keep, c) != NULL))
			buf_append_u8(out, c);
		else
			append_escaped(out, c);
	}
}

int
url_request_target(const struct url *u, struct buf *out, struct err *e)
{
	size_t from = out->len;

	if (u->path.n == 0)
		buf_append_u8(out, '/');
	buf_append_slice(out, u->path);
	if (u->query.p != NULL) {
		buf_append_u8(out, '?');
		buf_append_slice(out, u->query);
	}
	for (size_t i = from; i < out->len; i++) {
		uint8_t c = buf_data(out)[i];

		if (c <= 0x20 || c >= 0x7f) {
			out->len = from;
			return err_set(e, ERR_INVALID_ARGUMENT, "blank or control character in a request target");
		}
	}
	return 0;
}

void
url_host_header(const struct url *u, struct buf *out)
{
	buf_append_slice(out, u->host);
	if (u->port >= 0)
		buf_printf(out, ":%d", u->port);
}

int
url_basic_auth(const struct url *u, struct buf *out, struct err *e)
{
	struct buf plain = BUF_INIT;
	int r = 1;

	if (u->user.n == 0 && u->password.n == 0)
		return 0;
	url_decode(u->user, &plain);
	buf_append_u8(&plain, ':');
	url_decode(u->password, &plain);
	for (size_t i = 0; i < plain.len; i++) {
		if (buf_data(&plain)[i] < 0x20 || buf_data(&plain)[i] == 0x7f)
			r = err_set(e, ERR_INVALID_ARGUMENT, "control character in the user or password of a URL");
	}
	if (r > 0) {
		buf_append_str(out, "Basic ");
		base64_encode(buf_slice(&plain), BASE64_STD, true, out);
	}
	/* A password was in there. */
	buf_wipe(&plain);
	return r;
}

/* Takes the piece up to the next '&' off the query. */
static struct slice
next_piece(struct slice *query)
{
	ptrdiff_t end = slice_find(*query, '&');
	struct slice piece = slice_sub(*query, 0, end < 0 ? query->n : (size_t)end);

	*query = slice_sub(*query, piece.n + 1, query->n);
	return piece;
}

static void
decode_form(struct slice in, struct buf *out)
{
	struct buf raw = BUF_INIT;

	decode(in, true, &raw);
	utf8_append_lossy(buf_slice(&raw), out);
	buf_free(&raw);
}

static void
split_pair(struct slice piece, struct buf *name, struct buf *value)
{
	ptrdiff_t equals = slice_find(piece, '=');

	decode_form(slice_sub(piece, 0, equals < 0 ? piece.n : (size_t)equals), name);
	if (equals >= 0)
		decode_form(slice_sub(piece, (size_t)equals + 1, piece.n), value);
}

bool
url_query_next(struct slice *query, struct buf *name, struct buf *value)
{
	buf_clear(name);
	buf_clear(value);
	while (query->n > 0) {
		struct slice piece = next_piece(query);

		if (piece.n > 0) {
			split_pair(piece, name, value);
			return true;
		}
	}
	return false;
}

/* A decoded pair: views into one buffer that holds them all. */
struct pair {
	struct slice name;
	struct slice value;
	size_t order;
};

struct pairs {
	struct pair *list;
	size_t count;
	struct buf bytes;
};

static int
compare_pairs(const void *a, const void *b)
{
	const struct pair *x = a, *y = b;
	int c = slice_cmp(x->name, y->name);

	if (c != 0)
		return c;
	return x->order < y->order ? -1 : x->order > y->order;
}

static bool
is_filtered(struct slice name, const struct slice *filters, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (slice_eq(name, filters[i]))
			return true;
	}
	return false;
}

/* Fills pairs with those of the query that stay, in name order. Slices are set at the end, when the buffer moves no more. */
static int
read_pairs(struct slice query, const struct slice *filters, size_t filter_count, struct pairs *ps, struct err *e)
{
	struct buf name = BUF_INIT, value = BUF_INIT;
	size_t at = 0, seen = 0;
	int r = 0;

	ps->list = xmalloc(URL_PAIRS_MAX * sizeof(*ps->list));
	while (query.n > 0) {
		struct slice piece = next_piece(&query);

		if (piece.n == 0 || slice_find(piece, ';') >= 0)
			continue;
		if (seen++ == URL_PAIRS_MAX) {
			r = err_set(e, ERR_INVALID_ARGUMENT, "more than %d parameters in the query", URL_PAIRS_MAX);
			break;
		}
		buf_clear(&name);
		buf_clear(&value);
		split_pair(piece, &name, &value);
		if (is_filtered(buf_slice(&name), filters, filter_count))
			continue;
		ps->list[ps->count] = (struct pair){{NULL, name.len}, {NULL, value.len}, ps->count};
		ps->count++;
		buf_append_slice(&ps->bytes, buf_slice(&name));
		buf_append_slice(&ps->bytes, buf_slice(&value));
	}
	for (size_t i = 0; i < ps->count; i++) {
		struct pair *p = &ps->list[i];

		p->name = slice_sub(buf_slice(&ps->bytes), at, p->name.n);
		p->value = slice_sub(buf_slice(&ps->bytes), at + p->name.n, p->value.n);
		at += p->name.n + p->value.n;
	}
	qsort(ps->list, ps->count, sizeof(*ps->list), compare_pairs);
	buf_free(&name);
	buf_free(&value);
	return r;
}

static void
append_form(struct slice s, struct buf *out)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == ' ')
			buf_append_u8(out, '+');
		else
			url_encode(slice_sub(s, i, 1), URL_UNRESERVED, out);
	}
}

/* Whether the text as it was written has a path; decides if the task's form has one (download.md 1.7 step 6). */
static bool
text_has_path(struct slice text, bool is_special)
{
	for (size_t i = 0; i + 3 <= text.n; i++) {
		if (memcmp(text.p + i, "://", 3) != 0)
			continue;
		for (i += 3; i < text.n && text.p[i] != '?' && text.p[i] != '#'; i++) {
			if (text.p[i] == '/' || (is_special && text.p[i] == '\\'))
				return true;
		}
		return false;
	}
	return true;
}

int
url_task_form(struct slice text, const struct slice *filters, size_t filter_count, struct buf *out, struct err *e)
{
	struct pairs ps = {0};
	struct url u;
	int r;

	if (text.n > URL_TEXT_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "ParseError cause: URL longer than %d bytes", URL_TEXT_MAX);
	if (filter_count > URL_FILTERS_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "more than %d filtered query parameters", URL_FILTERS_MAX);
	if (filter_count == 0) {
		buf_append_slice(out, text);
		return 0;
	}
	if (url_parse(&u, text, e) < 0)
		return err_wrap(e, "ParseError cause");
	r = u.query.p != NULL ? read_pairs(u.query, filters, filter_count, &ps, e) : 0;
	if (r < 0) {
		err_wrap(e, "ParseError cause");
		goto done;
	}
	buf_append(out, u.text, (size_t)(u.path.p - (const uint8_t *)u.text));
	if (text_has_path(text, u.is_special))
		buf_append_slice(out, u.path);
	for (size_t i = 0; i < ps.count; i++) {
		buf_append_u8(out, i == 0 ? '?' : '&');
		append_form(ps.list[i].name, out);
		buf_append_u8(out, '=');
		append_form(ps.list[i].value, out);
	}
	if (u.fragment.p != NULL) {
		buf_append_u8(out, '#');
		buf_append_slice(out, u.fragment);
	}
done:
	free(ps.list);
	buf_free(&ps.bytes);
	url_free(&u);
	return r;
}

/* ---- for people ---- */

/* Blanks as %20, so that a log line's fields stay apart. */
static void
append_shown(struct slice s, struct buf *out)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == ' ' || s.p[i] == 0x7f)
			append_escaped(out, s.p[i]);
		else
			buf_append_u8(out, s.p[i]);
	}
}

static void
redact_query(struct slice query, struct buf *out)
{
	for (;;) {
		struct slice piece = next_piece(&query);
		ptrdiff_t equals = slice_find(piece, '=');

		if (equals >= 0)
			append_shown(slice_sub(piece, 0, (size_t)equals + 1), out);
		/* A lone word may be a token; only a written-out empty value shows that it is empty. */
		if (equals >= 0 ? (size_t)equals + 1 < piece.n : piece.n > 0)
			buf_append_str(out, HIDDEN);
		if (query.n == 0)
			break;
		buf_append_u8(out, '&');
	}
}

/* Whether a parser might take what follows as "user@host": the start, behind "scheme:", and behind two slashes of any kind. */
static bool
may_be_authority(struct slice before)
{
	return before.n == 0 || strchr(":/\\", before.p[before.n - 1]) != NULL;
}

/* Everything up to the last '@' of a segment that may hold user info is hidden, whatever else stands there. */
static void
redact_path(struct slice s, struct buf *out)
{
	struct slice before = {0};

	for (;;) {
		ptrdiff_t slash = slice_find(s, '/');
		struct slice segment = slice_sub(s, 0, slash < 0 ? s.n : (size_t)slash);
		size_t host = segment.n;

		while (host > 0 && segment.p[host - 1] != '@')
			host--;
		if (host > 0 && may_be_authority(before))
			buf_append_str(out, HIDDEN "@");
		else
			host = 0;
		append_shown(slice_sub(segment, host, segment.n), out);
		if (slash < 0)
			break;
		buf_append_u8(out, '/');
		before = segment;
		s = slice_sub(s, segment.n + 1, s.n);
	}
}

/* Splits by eye rather than by url_parse, since the text may be anything. */
void
url_redact(struct slice text, struct buf *out)
{
	struct buf cleaned = BUF_INIT;
	struct slice all;
	ptrdiff_t cut;

	text = slice_sub(text, 0, URL_TEXT_MAX);
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] > 0x20 || (text.p[i] == ' ' && cleaned.len > 0))
			buf_append_u8(&cleaned, text.p[i]);
	}
	all = buf_slice(&cleaned);
	cut = slice_find(all, '#');
	all = slice_sub(all, 0, cut < 0 ? all.n : (size_t)cut);
	cut = slice_find(all, '?');
	redact_path(slice_sub(all, 0, cut < 0 ? all.n : (size_t)cut), out);
	if (cut >= 0) {
		buf_append_u8(out, '?');
		redact_query(slice_sub(all, (size_t)cut + 1, all.n), out);
	}
	buf_free(&cleaned);
}

char *
url_redact_text(struct slice text, char out[URL_REDACTED_MAX])
{
	struct buf full = BUF_INIT;
	size_t n;

	url_redact(text, &full);
	n = full.len < URL_REDACTED_MAX ? full.len : URL_REDACTED_MAX - 1;
	if (n > 0)
		memcpy(out, buf_data(&full), n);
	out[n] = 0;
	buf_free(&full);
	return out;
}
