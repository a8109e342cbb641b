/*
 * registries.conf of CRI-O and Podman (version 2 of containers-registries.conf): the entries that are managed get the mirror.
 */
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "text/mirror_conf.h"
#include "text/splice.h"
#include "text/toml.h"

struct edit {
	struct toml *doc;
	const struct mirror_registries *want;
	const char *eol;
	struct splice changes;
	struct buf tail;                /* entries that are new */
	struct err *e;
};

/* ---- looking ---- */

static bool
is_named(const struct toml_item *it, enum toml_item_kind kind, const char *a, const char *b)
{
	return it->kind == kind && it->key.count == (b != NULL ? 2u : 1u) && slice_eq_str(it->key.parts[0], a) &&
	    (b == NULL || slice_eq_str(it->key.parts[1], b));
}

/* The pair of this name below the header. */
static const struct toml_item *
pair_of(const struct toml_item *header, const char *name)
{
	for (const struct toml_item *it = header->next; it != NULL && it->kind == TOML_PAIR; it = it->next)
		if (is_named(it, TOML_PAIR, name, NULL))
			return it;
	return NULL;
}

static bool
has_text(const struct toml_item *pair, const char *text)
{
	return pair != NULL && pair->value->kind == TOML_STRING && slice_eq_str(pair->value->text, text);
}

/* The last statement of the header's own. */
static const struct toml_item *
last_of(const struct toml_item *header)
{
	const struct toml_item *last = header;

	while (last->next != NULL && last->next->kind == TOML_PAIR)
		last = last->next;
	return last;
}

static int
refuse(struct edit *d, const struct toml_item *it, const char *what)
{
	return err_set(d->e, ERR_INVALID_ARGUMENT, "line %u: %s", it->line, what);
}

/* Forms that tools read and that are not changed here. */
static int
check_forms(struct edit *d)
{
	for (const struct toml_item *it = d->doc->first; it != NULL; it = it->next) {
		bool at_root = it->header == NULL;

		if (at_root && slice_eq_str(it->key.parts[0], "registries"))
			return refuse(d, it, "a file of version 1 (registries.search and so on): write it as [[registry]] entries first");
		if (at_root && it->kind != TOML_ARRAY_HEADER && slice_eq_str(it->key.parts[0], "registry"))
			return refuse(d, it, "registry must be written as [[registry]] entries");
		if (it->header != NULL && is_named(it->header, TOML_ARRAY_HEADER, "registry", NULL) && slice_eq_str(it->key.parts[0], "mirror"))
			return refuse(d, it, "mirror must be written as [[registry.mirror]] entries");
	}
	return 0;
}

/* ---- writing ---- */

static void
put_pair(struct edit *d, struct buf *out, struct slice indent, const char *name, const char *text)
{
	buf_append_slice(out, indent);
	buf_printf(out, "%s = ", name);
	toml_put_string(out, slice_str(text));
	buf_append_str(out, d->eol);
}

static void
put_mirror(struct edit *d, struct buf *out, struct slice indent)
{
	buf_append_slice(out, indent);
	buf_printf(out, "[[registry.mirror]]%s", d->eol);
	buf_append_slice(out, indent);
	buf_printf(out, "insecure = true%s", d->eol);
	put_pair(d, out, indent, "location", d->want->mirror);
}

static void
put_unqualified(struct edit *d, struct buf *out)
{
	buf_append_u8(out, '[');
	for (size_t i = 0; i < d->want->unqualified_count; i++) {
		if (i > 0)
			buf_append_str(out, ", ");
		toml_put_string(out, slice_str(d->want->unqualified[i]));
	}
	buf_append_u8(out, ']');
}

static struct slice
indentation(const struct edit *d, const struct toml_item *it)
{
	return slice_sub(d->doc->text, it->start, it->at - it->start);
}

/* Lines behind a statement, also when it is the end of a text whose last line has no end. */
static void
insert_behind(struct edit *d, const struct toml_item *it, struct slice lines)
{
	struct buf all = BUF_INIT;

	if (d->doc->text.p[it->end - 1] != '\n')
		buf_append_str(&all, d->eol);
	buf_append_slice(&all, lines);
	splice_insert(&d->changes, it->end, buf_slice(&all));
	buf_free(&all);
}

static void
set_value(struct edit *d, const struct toml_item *pair, const char *text)
{
	struct buf value = BUF_INIT;

	toml_put_string(&value, slice_str(text));
	splice_replace(&d->changes, pair->value->start, pair->value->end, buf_slice(&value));
	buf_free(&value);
}

/* ---- the top-level key ---- */

static bool
lists_the_same(const struct edit *d, const struct toml_value *list)
{
	const struct toml_value *v = list->first;

	if (list->kind != TOML_ARRAY || list->count != d->want->unqualified_count)
		return false;
	for (size_t i = 0; i < d->want->unqualified_count; i++, v = v->next)
		if (v->kind != TOML_STRING || !slice_eq_str(v->text, d->want->unqualified[i]))
			return false;
	return true;
}

static int
set_unqualified(struct edit *d)
{
	static const char name[] = "unqualified-search-registries";
	const struct toml_item *last = NULL;
	struct buf text = BUF_INIT;

	for (const struct toml_item *it = d->doc->first; it != NULL && it->kind == TOML_PAIR; it = it->next) {
		last = it;
		if (!is_named(it, TOML_PAIR, name, NULL))
			continue;
		if (it->value->kind != TOML_ARRAY)
			return refuse(d, it, "unqualified-search-registries is not a list");
		if (lists_the_same(d, it->value))
			return 0;
		put_unqualified(d, &text);
		splice_replace(&d->changes, it->value->start, it->value->end, buf_slice(&text));
		buf_free(&text);
		return 0;
	}
	buf_printf(&text, "%s = ", name);
	put_unqualified(d, &text);
	buf_append_str(&text, d->eol);
	if (last != NULL) {
		insert_behind(d, last, buf_slice(&text));
	} else {
		if (d->doc->text.n > 0)
			buf_append_str(&text, d->eol);
		splice_insert(&d->changes, slice_starts(d->doc->text, "\xef\xbb\xbf") ? 3 : 0, buf_slice(&text));
	}
	buf_free(&text);
	return 0;
}

/* ---- entries ---- */

/* [[registry]] of that prefix; one without prefix has its location as such. */
static const struct toml_item *
find_entry(const struct edit *d, const char *prefix)
{
	for (const struct toml_item *it = d->doc->first; it != NULL; it = it->next) {
		const struct toml_item *own;

		if (!is_named(it, TOML_ARRAY_HEADER, "registry", NULL))
			continue;
		own = pair_of(it, "prefix");
		if (own == NULL)
			own = pair_of(it, "location");
		if (has_text(own, prefix))
			return it;
	}
	return NULL;
}

/* Our mirror among the entry's. */
static const struct toml_item *
find_mirror(const struct edit *d, const struct toml_item *entry)
{
	for (const struct toml_item *it = entry->next; it != NULL && !is_named(it, TOML_ARRAY_HEADER, "registry", NULL); it = it->next)
		if (is_named(it, TOML_ARRAY_HEADER, "registry", "mirror") && has_text(pair_of(it, "location"), d->want->mirror))
			return it;
	return NULL;
}

static void
add_entry(struct edit *d, const struct mirror_registry *r)
{
	buf_printf(&d->tail, "%s[[registry]]%s", d->eol, d->eol);
	put_pair(d, &d->tail, (struct slice){0}, "prefix", r->prefix);
	put_pair(d, &d->tail, (struct slice){0}, "location", r->location);
	buf_append_str(&d->tail, d->eol);
	put_mirror(d, &d->tail, (struct slice){0});
}

static int
change_entry(struct edit *d, const struct toml_item *entry, const struct mirror_registry *r)
{
	const struct toml_item *prefix = pair_of(entry, "prefix"), *location = pair_of(entry, "location"), *mirror = find_mirror(d, entry);
	struct slice indent = indentation(d, last_of(entry));
	struct buf lines = BUF_INIT;

	if (prefix == NULL && strcmp(r->prefix, r->location) != 0)
		put_pair(d, &lines, indent, "prefix", r->prefix);
	if (location == NULL)
		put_pair(d, &lines, indent, "location", r->location);
	else if (!has_text(location, r->location))
		set_value(d, location, r->location);
	if (mirror == NULL) {
		buf_append_str(&lines, d->eol);
		put_mirror(d, &lines, indentation(d, entry));
	} else {
		const struct toml_item *insecure = pair_of(mirror, "insecure");
		struct slice yes = slice_str("true"), line = slice_str(d->eol[0] == '\r' ? "insecure = true\r\n" : "insecure = true\n");

		if (insecure == NULL)
			splice_insert(&d->changes, mirror->end, line);
		else if (insecure->value->kind != TOML_BOOL)
			return refuse(d, insecure, "insecure is neither true nor false");
		else if (!insecure->value->truth)
			splice_replace(&d->changes, insecure->value->start, insecure->value->end, yes);
	}
	if (lines.len > 0)
		insert_behind(d, last_of(entry), buf_slice(&lines));
	buf_free(&lines);
	return 0;
}

static int
change(struct edit *d)
{
	if (check_forms(d) != 0 || set_unqualified(d) != 0)
		return -1;
	for (size_t i = 0; i < d->want->count; i++) {
		const struct toml_item *entry = find_entry(d, d->want->registries[i].prefix);

		if (entry == NULL)
			add_entry(d, &d->want->registries[i]);
		else if (change_entry(d, entry, &d->want->registries[i]) != 0)
			return -1;
	}
	return 0;
}

int
mirror_registries(struct slice text, const struct mirror_registries *r, struct buf *out, struct arena *a, struct err *e)
{
	ptrdiff_t first_line = slice_find(text, '\n');
	struct edit d = {.want = r, .e = e, .eol = first_line > 0 && text.p[first_line - 1] == '\r' ? "\r\n" : "\n"};
	size_t start = out->len;
	int rc;

	d.doc = toml_parse(text, a, e);
	if (d.doc == NULL)
		return -1;
	rc = change(&d);
	if (rc == 0) {
		splice_apply(&d.changes, text, out);
		if (d.tail.len > 0 && out->len > start && buf_data(out)[out->len - 1] != '\n')
			buf_append_str(out, d.eol);
		buf_append_slice(out, buf_slice(&d.tail));
		if (toml_parse(slice_sub(buf_slice(out), start, out->len), a, e) == NULL)
			rc = err_wrap(e, "the file cannot be changed: its new text is wrong");
	}
	splice_free(&d.changes);
	buf_free(&d.tail);
	return rc;
}
