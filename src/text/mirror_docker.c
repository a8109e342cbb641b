/*
 * Docker's daemon.json: member "proxies" with the proxy for http and https.
 */
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "text/json.h"
#include "text/mirror_conf.h"
#include "text/splice.h"

static const char *const names[] = {"http-proxy", "https-proxy"};

/* An object in a text that is known to be JSON. */
struct object {
	size_t start, end;              /* of its braces: [start, end) */
	size_t first;                   /* of the first member's name; 0 when it is empty */
	size_t last_end;                /* behind the last member's value */
};

struct member {
	bool found;
	size_t count;                   /* of that name */
	size_t start, end;              /* of its value */
};

/* ---- places in JSON ---- */

static size_t
skip_blanks(struct slice s, size_t at)
{
	while (at < s.n && memchr(" \t\r\n", s.p[at], 4) != NULL)
		at++;
	return at;
}

static size_t
skip_string(struct slice s, size_t at)
{
	for (at++; at < s.n && s.p[at] != '"'; at++)
		if (s.p[at] == '\\')
			at++;
	return at < s.n ? at + 1 : s.n;
}

static size_t
skip_value(struct slice s, size_t at)
{
	size_t depth = 0;

	while (at < s.n) {
		uint8_t c = s.p[at];

		if (c == '"') {
			at = skip_string(s, at);
		} else if (c == '{' || c == '[') {
			depth++;
			at++;
		} else if (c == '}' || c == ']') {
			if (depth == 0)
				return at;
			depth--;
			at++;
		} else if (depth == 0 && memchr(", \t\r\n:", c, 6) != NULL) {
			return at;
		} else {
			at++;
			continue;
		}
		if (depth == 0)
			return at;
	}
	return at;
}

/* The object whose brace is at `at`, and its member of that name as it stands, without escapes. */
static struct object
read_object(struct slice s, size_t at, const char *name, struct member *m)
{
	struct object o = {.start = at};

	*m = (struct member){0};
	at = skip_blanks(s, at + 1);
	while (at < s.n && s.p[at] == '"') {
		size_t key = at, value;
		struct slice text;

		if (o.first == 0)
			o.first = key;
		at = skip_string(s, at);
		text = slice_sub(s, key + 1, at - key - 2);
		value = skip_blanks(s, skip_blanks(s, at) + 1);
		at = skip_value(s, value);
		o.last_end = at;
		if (slice_eq_str(text, name)) {
			m->found = true;
			m->count++;
			m->start = value;
			m->end = at;
		}
		at = skip_blanks(s, at);
		if (at < s.n && s.p[at] == ',')
			at = skip_blanks(s, at + 1);
	}
	o.end = at + 1;
	return o;
}

/* Whether reading with and without regard to escapes finds the same, once. */
static int
check_member(const struct json *object, const char *name, const struct member *m, struct err *e)
{
	if (m->count > 1 || m->found != (json_get(object, name) != NULL))
		return err_set(e, ERR_INVALID_ARGUMENT, "\"%s\" is written twice or with escapes", name);
	return 0;
}

/* ---- writing ---- */

static void
put_text(struct buf *out, const char *s)
{
	struct json_writer w;

	json_write_init(&w, out);
	json_write_str(&w, s);
}

/* {"http-proxy": ..., "https-proxy": ...}; `lines` is a line end and the indentation of the member, or empty for one line. */
static void
put_proxies(struct buf *out, const char *proxy, struct slice lines, struct slice unit)
{
	buf_append_u8(out, '{');
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		if (i > 0)
			buf_append_str(out, lines.n > 0 ? "," : ", ");
		buf_append_slice(out, lines);
		if (lines.n > 0)
			buf_append_slice(out, unit);
		buf_printf(out, "\"%s\": ", names[i]);
		put_text(out, proxy);
	}
	buf_append_slice(out, lines);
	buf_append_u8(out, '}');
}

/* What stands between the brace and the first member: where it has a line end the object is written in lines. */
static struct slice
layout(struct slice s, const struct object *o)
{
	struct slice between = slice_sub(s, o->start + 1, o->first - o->start - 1);

	return memchr(between.n > 0 ? (const void *)between.p : "", '\n', between.n) != NULL ? between : (struct slice){0};
}

/* The last line's indentation. */
static struct slice
indentation(struct slice lines)
{
	size_t at = lines.n;

	while (at > 0 && lines.p[at - 1] != '\n')
		at--;
	return slice_sub(lines, at, lines.n);
}

/* One line end and the indentation, however many empty lines there are. */
static struct slice
one_line(struct slice lines)
{
	size_t at = lines.n - indentation(lines).n;

	at -= at > 0;
	at -= at > 0 && lines.p[at - 1] == '\r';
	return slice_sub(lines, at, lines.n);
}

static void
insert_member(struct splice *changes, struct slice s, const struct object *o, const char *name, struct slice value)
{
	struct slice lines = layout(s, o);
	struct buf text = BUF_INIT;

	buf_append_str(&text, lines.n > 0 ? "," : ", ");
	if (lines.n > 0)
		buf_append_slice(&text, one_line(lines));
	buf_printf(&text, "\"%s\": ", name);
	buf_append_slice(&text, value);
	splice_insert(changes, o->last_end, buf_slice(&text));
	buf_free(&text);
}

/* ---- the two changes ---- */

static int
change_proxies(struct splice *changes, struct slice s, const struct member *proxies, const struct json *tree, const char *proxy, struct err *e)
{
	struct buf value = BUF_INIT;
	struct object o;
	struct member m;

	if (tree->kind != JSON_OBJECT)
		return err_set(e, ERR_INVALID_ARGUMENT, "\"proxies\" is not an object");
	put_text(&value, proxy);
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		const struct json *present = json_get(tree, names[i]);

		o = read_object(s, proxies->start, names[i], &m);
		if (check_member(tree, names[i], &m, e) != 0) {
			buf_free(&value);
			return -1;
		}
		if (o.first == 0) {
			buf_clear(&value);
			put_proxies(&value, proxy, (struct slice){0}, (struct slice){0});
			splice_replace(changes, proxies->start, proxies->end, buf_slice(&value));
			break;
		}
		if (!m.found)
			insert_member(changes, s, &o, names[i], buf_slice(&value));
		else if (present->kind != JSON_STRING || !slice_eq_str(present->text, proxy))
			splice_replace(changes, m.start, m.end, buf_slice(&value));
	}
	buf_free(&value);
	return 0;
}

static void
put_new(struct buf *out, const char *proxy)
{
	buf_append_str(out, "{\n  \"proxies\": ");
	put_proxies(out, proxy, slice_str("\n  "), slice_str("  "));
	buf_append_str(out, "\n}");
}

static int
change(struct splice *changes, struct slice s, const struct json *tree, const char *proxy, struct err *e)
{
	struct buf value = BUF_INIT;
	struct member proxies;
	struct object root;

	if (tree->kind != JSON_OBJECT)
		return err_set(e, ERR_INVALID_ARGUMENT, "not an object");
	root = read_object(s, skip_blanks(s, 0), "proxies", &proxies);
	if (check_member(tree, "proxies", &proxies, e) != 0)
		return -1;
	if (proxies.found)
		return change_proxies(changes, s, &proxies, json_get(tree, "proxies"), proxy, e);
	if (root.first == 0) {
		put_new(&value, proxy);
		splice_replace(changes, root.start, root.end, buf_slice(&value));
	} else {
		struct slice lines = layout(s, &root);

		if (lines.n > 0)
			lines = one_line(lines);
		put_proxies(&value, proxy, lines, indentation(lines));
		insert_member(changes, s, &root, "proxies", buf_slice(&value));
	}
	buf_free(&value);
	return 0;
}

int
mirror_docker(struct slice text, const char *proxy, struct buf *out, struct arena *a, struct err *e)
{
	struct splice changes = SPLICE_INIT;
	struct json *tree;
	int rc;

	if (skip_blanks(text, 0) == text.n) {
		put_new(out, proxy);
		buf_append_u8(out, '\n');
		return 0;
	}
	tree = json_parse(a, text, e);
	if (tree == NULL)
		return -1;
	rc = change(&changes, text, tree, proxy, e);
	if (rc == 0)
		splice_apply(&changes, text, out);
	splice_free(&changes);
	return rc;
}
