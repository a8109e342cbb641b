#include "text/url.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "text/url_host.h"

static const struct {
	const char *scheme;
	int port;       /* -1: no default */
} specials[] = {
	{"http", 80}, {"https", 443}, {"ws", 80}, {"wss", 443}, {"ftp", 21}, {"file", -1},
};

/* Characters that are encoded beside controls, blanks and everything past ASCII. */
#define IN_PATH "\"#<>?`{}"
#define IN_USER IN_PATH "/:;=@[\\]^|"
#define IN_QUERY "\"#<>"
#define IN_SPECIAL_QUERY IN_QUERY "'"
#define IN_FRAGMENT "\"<>`"

/* Where a part stands in the serialisation; `from` is meaningless unless there is one. */
struct span {
	size_t from;
	size_t n;
	bool is_there;
};

/* A URL while it is put together, left to right. */
struct build {
	struct slice in;        /* what is still to be read */
	struct buf out;         /* the serialisation so far */
	struct span scheme, user, password, host, path, query, fragment;
	struct url *u;          /* takes port and flags */
	struct err *err;
};

static int
fail(struct build *b, const char *text)
{
	return err_set(b->err, ERR_INVALID_ARGUMENT, "%s", text);
}

static int
special_index(struct slice scheme)
{
	for (size_t i = 0; i < COUNT_OF(specials); i++) {
		if (slice_eq_str(scheme, specials[i].scheme))
			return (int)i;
	}
	return -1;
}

static void
span_open(struct build *b, struct span *s)
{
	*s = (struct span){.from = b->out.len, .is_there = true};
}

static void
span_close(struct build *b, struct span *s)
{
	s->n = b->out.len - s->from;
}

static struct slice
span_slice(const struct build *b, const struct span *s)
{
	return s->is_there ? slice_sub(buf_slice(&b->out), s->from, s->n) : (struct slice){0};
}

static void
append_encoded(struct buf *out, struct slice in, const char *also)
{
	static const char digits[] = "0123456789ABCDEF";

	for (size_t i = 0; i < in.n; i++) {
		uint8_t c = in.p[i];

		if (c <= 0x20 || c >= 0x7f || strchr(also, c) != NULL) {
			buf_append_u8(out, '%');
			buf_append_u8(out, (uint8_t)digits[c >> 4]);
			buf_append_u8(out, (uint8_t)digits[c & 15]);
		} else {
			buf_append_u8(out, c);
		}
	}
}

static bool
is_slash(const struct build *b, uint8_t c)
{
	return c == '/' || (c == '\\' && b->u->is_special);
}

/* How many slashes the input starts with, at most `max`. */
static size_t
slashes(const struct build *b, size_t max)
{
	size_t n = 0;

	while (n < max && n < b->in.n && is_slash(b, b->in.p[n]))
		n++;
	return n;
}

static void
skip(struct build *b, size_t n)
{
	b->in = slice_sub(b->in, n, b->in.n);
}

/* Length of the input up to '?' or '#'; up to a slash too, when asked. */
static size_t
length_until(const struct build *b, bool stop_at_slash)
{
	size_t n = 0;

	while (n < b->in.n && b->in.p[n] != '?' && b->in.p[n] != '#' && !(stop_at_slash && is_slash(b, b->in.p[n])))
		n++;
	return n;
}

static void
read_user(struct build *b, struct slice text)
{
	ptrdiff_t colon = slice_find(text, ':');
	struct slice user = slice_sub(text, 0, colon < 0 ? text.n : (size_t)colon);
	struct slice password = colon < 0 ? slice_make(NULL, 0) : slice_sub(text, (size_t)colon + 1, text.n);

	if (user.n == 0 && password.n == 0)
		return;
	span_open(b, &b->user);
	append_encoded(&b->out, user, IN_USER);
	span_close(b, &b->user);
	if (password.n > 0) {
		buf_append_u8(&b->out, ':');
		span_open(b, &b->password);
		append_encoded(&b->out, password, IN_USER);
		span_close(b, &b->password);
	}
	buf_append_u8(&b->out, '@');
}

static int
read_port(struct build *b, struct slice text)
{
	int port = 0, special = special_index(span_slice(b, &b->scheme));

	if (text.n == 0)
		return 0;
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return fail(b, "invalid port number");
		port = port * 10 + (text.p[i] - '0');
		if (port > 65535)
			return fail(b, "invalid port number");
	}
	if (special >= 0 && specials[special].port == port)
		return 0;
	b->u->port = port;
	buf_printf(&b->out, ":%d", port);
	return 0;
}

/* [user[:password]@]host[:port], behind the slashes. */
static int
read_authority(struct build *b)
{
	size_t n = length_until(b, true), host_n = 0;
	struct slice text = slice_sub(b->in, 0, n);
	bool has_user = false, in_brackets = false;

	skip(b, n);
	buf_append_str(&b->out, "//");
	for (size_t i = text.n; i-- > 0;) {
		if (text.p[i] == '@') {
			read_user(b, slice_sub(text, 0, i));
			text = slice_sub(text, i + 1, text.n);
			has_user = true;
			break;
		}
	}
	while (host_n < text.n && (text.p[host_n] != ':' || in_brackets)) {
		in_brackets = (in_brackets || text.p[host_n] == '[') && text.p[host_n] != ']';
		host_n++;
	}
	if (host_n == 0 && (b->u->is_special || has_user || text.n > 0))
		return fail(b, "empty host");
	span_open(b, &b->host);
	if (host_n > 0 && url_host_parse(slice_sub(text, 0, host_n), b->u->is_special, &b->out, &b->u->host_kind, b->err) < 0)
		return -1;
	span_close(b, &b->host);
	return read_port(b, slice_sub(text, host_n + 1, text.n));
}

/* file: a host only behind two slashes, no port, no user; "localhost" is no host. */
static int
read_file_authority(struct build *b)
{
	size_t n;

	buf_append_str(&b->out, "//");
	span_open(b, &b->host);
	if (slashes(b, 2) == 2) {
		skip(b, 2);
		n = length_until(b, true);
		if (n > 0 && url_host_parse(slice_sub(b->in, 0, n), true, &b->out, &b->u->host_kind, b->err) < 0)
			return -1;
		skip(b, n);
	}
	span_close(b, &b->host);
	if (slice_eq_str(span_slice(b, &b->host), "localhost")) {
		b->out.len = b->host.from;
		b->host.n = 0;
		b->u->host_kind = URL_HOST_NONE;
	}
	return 0;
}

/* Number of dots when the segment is "." or "..", in any spelling; else 0. */
static int
dots(struct slice s)
{
	int n = 0;

	while (s.n > 0 && n < 3) {
		if (s.p[0] == '.')
			s = slice_sub(s, 1, s.n);
		else if (s.n >= 3 && s.p[0] == '%' && s.p[1] == '2' && (s.p[2] | 0x20) == 'e')
			s = slice_sub(s, 3, s.n);
		else
			return 0;
		n++;
	}
	return n < 3 ? n : 0;
}

static void
drop_segment(struct build *b)
{
	size_t n = b->out.len;

	while (n > b->path.from && buf_data(&b->out)[n - 1] != '/')
		n--;
	b->out.len = n > b->path.from ? n - 1 : n;
}

/* Adds the segments up to '?' or '#' behind those that are already there. */
static void
read_path(struct build *b)
{
	struct slice text = slice_sub(b->in, 0, length_until(b, false));
	bool is_last = false;

	skip(b, text.n);
	if (text.n == 0) {
		if (b->u->is_special && b->out.len == b->path.from)
			buf_append_u8(&b->out, '/');
		return;
	}
	if (is_slash(b, text.p[0]))
		text = slice_sub(text, 1, text.n);
	while (!is_last) {
		size_t n = 0;
		struct slice segment;
		int dot_count;

		while (n < text.n && !is_slash(b, text.p[n]))
			n++;
		is_last = n == text.n;
		segment = slice_sub(text, 0, n);
		text = slice_sub(text, n + 1, text.n);
		dot_count = dots(segment);
		if (dot_count == 2)
			drop_segment(b);
		if (dot_count == 0 || is_last)
			buf_append_u8(&b->out, '/');
		if (dot_count == 0)
			append_encoded(&b->out, segment, IN_PATH);
	}
}

/* Without a host a path that starts with "//" would read as a host: "/." before it tells them apart. */
static void
protect_path(struct build *b)
{
	struct slice path = span_slice(b, &b->path);
	struct buf tail = BUF_INIT;

	if (b->host.is_there || b->u->is_opaque || !slice_starts(path, "//"))
		return;
	buf_append_slice(&tail, path);
	b->out.len = b->path.from;
	buf_append_str(&b->out, "/.");
	b->path.from += 2;
	buf_append_slice(&b->out, buf_slice(&tail));
	buf_free(&tail);
}

static void
read_opaque_path(struct build *b)
{
	size_t n = length_until(b, false);

	b->u->is_opaque = true;
	for (size_t i = 0; i < n; i++) {
		if (b->in.p[i] == ' ')
			buf_append_u8(&b->out, ' ');
		else
			append_encoded(&b->out, slice_sub(b->in, i, 1), "");
	}
	skip(b, n);
}

static void
read_query_and_fragment(struct build *b)
{
	if (b->in.n > 0 && b->in.p[0] == '?') {
		size_t n = 1;

		while (n < b->in.n && b->in.p[n] != '#')
			n++;
		buf_append_u8(&b->out, '?');
		span_open(b, &b->query);
		append_encoded(&b->out, slice_sub(b->in, 1, n - 1), b->u->is_special ? IN_SPECIAL_QUERY : IN_QUERY);
		span_close(b, &b->query);
		skip(b, n);
	}
	if (b->in.n > 0) {
		buf_append_u8(&b->out, '#');
		span_open(b, &b->fragment);
		append_encoded(&b->out, slice_sub(b->in, 1, b->in.n), IN_FRAGMENT);
		span_close(b, &b->fragment);
	}
}

static struct span
span_of(const struct url *u, struct slice part)
{
	if (part.p == NULL)
		return (struct span){0};
	return (struct span){.from = (size_t)(part.p - (const uint8_t *)u->text), .n = part.n, .is_there = true};
}

/* Starts with what base has up to its path. */
static void
take_base(struct build *b, const struct url *base)
{
	size_t n = base->host.p != NULL ? (size_t)(base->path.p - (const uint8_t *)base->text) : base->scheme.n + 1;

	buf_append(&b->out, base->text, n);
	b->scheme = span_of(base, base->scheme);
	b->user = span_of(base, base->user);
	b->password = span_of(base, base->password);
	b->host = span_of(base, base->host);
	b->u->port = base->port;
	b->u->host_kind = base->host_kind;
	b->u->is_special = base->is_special;
	b->u->is_opaque = base->is_opaque;
	span_open(b, &b->path);
}

static bool
is_file(const struct build *b)
{
	return slice_eq_str(span_slice(b, &b->scheme), "file");
}

/* Behind "scheme:". */
static int
read_absolute(struct build *b)
{
	int r = 0;

	if (is_file(b)) {
		r = read_file_authority(b);
	} else if (b->u->is_special) {
		skip(b, slashes(b, b->in.n));
		r = read_authority(b);
	} else if (slashes(b, 2) == 2) {
		skip(b, 2);
		r = read_authority(b);
	}
	if (r < 0)
		return -1;
	span_open(b, &b->path);
	if (!b->host.is_there && slashes(b, 1) == 0)
		read_opaque_path(b);
	else
		read_path(b);
	return 0;
}

static int
read_relative(struct build *b, const struct url *base)
{
	if (base->is_opaque && (b->in.n == 0 || b->in.p[0] != '#'))
		return fail(b, "relative URL with a cannot-be-a-base base");
	b->u->is_special = base->is_special;
	if (slashes(b, 2) == 2) {
		buf_append(&b->out, base->text, base->scheme.n + 1);
		b->scheme = span_of(base, base->scheme);
		return read_absolute(b);
	}
	take_base(b, base);
	if (slashes(b, 1) == 1) {
		read_path(b);
		return 0;
	}
	buf_append_slice(&b->out, base->path);
	if (b->in.n == 0 || b->in.p[0] == '#') {
		if (base->query.p != NULL) {
			span_close(b, &b->path);
			protect_path(b);
			buf_append_u8(&b->out, '?');
			span_open(b, &b->query);
			buf_append_slice(&b->out, base->query);
			span_close(b, &b->query);
		}
		return 0;
	}
	if (b->in.p[0] != '?') {
		drop_segment(b);
		read_path(b);
	}
	return 0;
}

/* Length of "scheme:" without the colon; 0 when the text does not start with one. */
static size_t
scheme_length(struct slice s)
{
	size_t n = 0;

	while (n < s.n) {
		uint8_t c = s.p[n], l = (uint8_t)(c | 0x20);
		bool is_letter = l >= 'a' && l <= 'z';

		if (c == ':')
			return n;
		if (!is_letter && (n == 0 || !((c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.')))
			break;
		n++;
	}
	return 0;
}

static int
read_url(struct build *b, const struct url *base)
{
	size_t n = scheme_length(b->in);

	if (n == 0) {
		if (base == NULL)
			return fail(b, "relative URL without a base");
		return read_relative(b, base);
	}
	span_open(b, &b->scheme);
	for (size_t i = 0; i < n; i++) {
		uint8_t c = b->in.p[i];

		buf_append_u8(&b->out, c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c);
	}
	span_close(b, &b->scheme);
	b->u->is_special = special_index(span_slice(b, &b->scheme)) >= 0;
	skip(b, n + 1);
	/* "https:path" is relative to a base of the same scheme: an old form that browsers kept. */
	if (base != NULL && b->u->is_special && slice_eq(base->scheme, span_slice(b, &b->scheme)) && !slice_starts(b->in, "//") &&
		!(is_file(b) && slashes(b, 2) == 2)) {
		buf_clear(&b->out);
		return read_relative(b, base);
	}
	buf_append_u8(&b->out, ':');
	return read_absolute(b);
}

/* The text without blanks and controls around it, and without tabs and line ends anywhere. */
static void
clean(struct slice text, struct buf *out)
{
	while (text.n > 0 && text.p[0] <= 0x20)
		text = slice_sub(text, 1, text.n);
	while (text.n > 0 && text.p[text.n - 1] <= 0x20)
		text.n--;
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] != '\t' && text.p[i] != '\n' && text.p[i] != '\r')
			buf_append_u8(out, text.p[i]);
	}
}

static void
finish(struct build *b)
{
	struct url *u = b->u;

	u->scheme = span_slice(b, &b->scheme);
	u->user = span_slice(b, &b->user);
	u->password = span_slice(b, &b->password);
	u->host = span_slice(b, &b->host);
	u->path = span_slice(b, &b->path);
	u->query = span_slice(b, &b->query);
	u->fragment = span_slice(b, &b->fragment);
}

int
url_join(struct url *u, const struct url *base, struct slice text, struct err *e)
{
	struct buf cleaned = BUF_INIT;
	struct build b = {.u = u, .err = e};
	int r;

	*u = (struct url){.port = -1};
	if (text.n > URL_TEXT_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "URL longer than %d bytes", URL_TEXT_MAX);
	clean(text, &cleaned);
	b.in = buf_slice(&cleaned);
	r = read_url(&b, base);
	if (r == 0) {
		if (!b.query.is_there) {
			span_close(&b, &b.path);
			protect_path(&b);
		}
		read_query_and_fragment(&b);
		/* Only a relative text can get here: a chain of them must not pile up paths without end. */
		if (b.out.len > 3 * URL_TEXT_MAX + 3)
			r = err_set(e, ERR_INVALID_ARGUMENT, "URL longer than %d bytes", 3 * URL_TEXT_MAX);
	}
	if (r == 0) {
		buf_cstr(&b.out);
		finish(&b);
		u->text = buf_take(&b.out);
	} else {
		*u = (struct url){.port = -1};
	}
	buf_free(&cleaned);
	buf_free(&b.out);
	return r;
}

int
url_parse(struct url *u, struct slice text, struct err *e)
{
	return url_join(u, NULL, text, e);
}

void
url_free(struct url *u)
{
	free(u->text);
	*u = (struct url){.port = -1};
}

int
url_port(const struct url *u)
{
	int special = special_index(u->scheme);

	if (u->port >= 0)
		return u->port;
	return special >= 0 ? specials[special].port : -1;
}

struct slice
url_hostname(const struct url *u)
{
	return u->host_kind == URL_HOST_IPV6 ? slice_sub(u->host, 1, u->host.n - 2) : u->host;
}

bool
url_same_origin(const struct url *a, const struct url *b)
{
	return slice_eq(a->scheme, b->scheme) && slice_eq(a->host, b->host) && url_port(a) == url_port(b);
}
