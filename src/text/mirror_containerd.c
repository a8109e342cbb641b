/*
 * containerd's config.toml: the registry table of the CRI plugin gets config_path and loses what may not stand beside it; hosts.toml.
 */
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "text/mirror_conf.h"
#include "text/splice.h"
#include "text/toml.h"

#define GRPC_CRI "io.containerd.grpc.v1.cri"
#define IMAGES "io.containerd.cri.v1.images"

/* Parts of a path that are looked at: plugins.<id>.registry.configs.<host>.tls are 6. */
#define PARTS 6
/* plugins.<id>.registry */
#define REGISTRY_PARTS 3

/* From the root of the document. */
struct path {
	struct slice parts[PARTS];
	size_t count;                   /* may be more than are kept */
};

struct edit {
	struct toml *doc;
	const char *id;
	const char *eol;
	struct splice changes;
	struct err *e;
};

/* ---- paths ---- */

static struct path
path_add(struct path p, struct toml_key key)
{
	for (size_t i = 0; i < key.count; i++, p.count++)
		if (p.count < PARTS)
			p.parts[p.count] = key.parts[i];
	return p;
}

static struct path
path_of(const struct toml_item *item)
{
	struct path p = {0};

	if (item->header != NULL)
		p = path_add(p, item->header->key);
	return path_add(p, item->key);
}

static const char *
registry_part(const char *id, size_t i)
{
	return i == 0 ? "plugins" : i == 1 ? id : "registry";
}

/* How many parts, at most n, agree with plugins.<id>.registry. */
static bool
agrees(const struct path *p, const char *id, size_t n)
{
	for (size_t i = 0; i < n && i < p->count; i++)
		if (!slice_eq_str(p->parts[i], registry_part(id, i)))
			return false;
	return true;
}

static bool
is_below(const struct path *p, const char *id, size_t n)
{
	return p->count >= n && agrees(p, id, n);
}

/* The table itself or one around it. */
static bool
is_around_registry(const struct path *p, const char *id)
{
	return p->count <= REGISTRY_PARTS && agrees(p, id, REGISTRY_PARTS);
}

static bool
is_config_path(const struct path *p, const char *id)
{
	return p->count == REGISTRY_PARTS + 1 && is_below(p, id, REGISTRY_PARTS) && slice_eq_str(p->parts[REGISTRY_PARTS], "config_path");
}

/* containerd does not start its CRI plugin with these beside config_path. */
static bool
is_in_the_way(const struct path *p, const char *id)
{
	if (p->count <= REGISTRY_PARTS || !is_below(p, id, REGISTRY_PARTS))
		return false;
	if (slice_eq_str(p->parts[3], "mirrors"))
		return true;
	return p->count >= 6 && slice_eq_str(p->parts[3], "configs") && slice_eq_str(p->parts[5], "tls");
}

/* ---- looking ---- */

typedef bool visit_fn(void *ctx, const struct path *p, const struct toml_value *v);

static bool
visit_value(const struct path *p, const struct toml_value *v, visit_fn *fn, void *ctx)
{
	if (!fn(ctx, p, v))
		return false;
	if (v->kind != TOML_TABLE)
		return true;
	for (const struct toml_value *m = v->first; m != NULL; m = m->next) {
		struct path below = path_add(*p, m->key);

		if (!visit_value(&below, m, fn, ctx))
			return false;
	}
	return true;
}

/* Calls fn for headers (v NULL), pairs and members of inline tables until it returns false. */
static void
visit(const struct toml *doc, visit_fn *fn, void *ctx)
{
	for (const struct toml_item *it = doc->first; it != NULL; it = it->next) {
		struct path p = path_of(it);

		if (it->kind == TOML_PAIR ? !visit_value(&p, it->value, fn, ctx) : !fn(ctx, &p, NULL))
			return;
	}
}

struct search {
	const char *id;
	bool found;
	bool in_the_way;
	size_t config_paths;
	const struct toml_value *config_path;
};

static bool
look_for_plugin(void *ctx, const struct path *p, const struct toml_value *v)
{
	struct search *s = ctx;

	(void)v;
	s->found = is_below(p, s->id, 2);
	return !s->found;
}

static bool
has_plugin(const struct toml *doc, const char *id)
{
	struct search s = {.id = id};

	visit(doc, look_for_plugin, &s);
	return s.found;
}

static bool
look_at_registry(void *ctx, const struct path *p, const struct toml_value *v)
{
	struct search *s = ctx;

	s->in_the_way = s->in_the_way || is_in_the_way(p, s->id);
	if (is_config_path(p, s->id)) {
		s->config_path = v;
		s->config_paths++;
	}
	return true;
}

static struct search
look(const struct toml *doc, const char *id)
{
	struct search s = {.id = id};

	visit(doc, look_at_registry, &s);
	return s;
}

static bool
holds_what_is_in_the_way(const struct path *p, const struct toml_value *v, const char *id)
{
	struct search s = {.id = id};

	visit_value(p, v, look_at_registry, &s);
	return s.in_the_way;
}

static const struct toml_item *
root_pair(const struct toml *doc, const char *name)
{
	for (const struct toml_item *it = doc->first; it != NULL && it->kind == TOML_PAIR; it = it->next)
		if (it->key.count == 1 && slice_eq_str(it->key.parts[0], name))
			return it;
	return NULL;
}

/* ---- which plugin ---- */

static size_t
dots(struct slice s)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += s.p[i] == '.';
	return n;
}

/* Whether a list of plugins uses the short names of version 1, and whether CRI is among them. */
static bool
names_short(const struct toml *doc, const char *list, bool *has_cri)
{
	const struct toml_item *it = root_pair(doc, list);
	bool is_short = false;

	for (const struct toml_value *v = it != NULL ? it->value->first : NULL; v != NULL; v = v->next) {
		if (v->kind != TOML_STRING)
			continue;
		if (dots(v->text) < 3)
			is_short = true;
		if (slice_eq_str(v->text, "cri") || slice_eq_str(v->text, GRPC_CRI) || slice_eq_str(v->text, IMAGES))
			*has_cri = true;
	}
	return is_short;
}

static bool
look_for_plugins(void *ctx, const struct path *p, const struct toml_value *v)
{
	(void)v;
	*(bool *)ctx = slice_eq_str(p->parts[0], "plugins");
	return !*(bool *)ctx;
}

/* *adds_version: the file says no version, and version 2 must be said for the id to count. */
static int
choose_plugin(const struct toml *doc, const char *fixed, const char **id, bool *adds_version, struct mirror_containerd *result, struct err *e)
{
	const struct toml_item *version = root_pair(doc, "version");
	const char *known[] = {GRPC_CRI, IMAGES};
	bool is_short, has_plugins = false, ignored = false;
	int64_t n = 2;

	*adds_version = false;
	if (version != NULL && (toml_i64(version->value, &n) != 0 || n < 1))
		return err_set(e, ERR_INVALID_ARGUMENT, "line %u: version is not a number above 0", version->line);
	is_short = names_short(doc, "disabled_plugins", &result->is_disabled);
	is_short = names_short(doc, "required_plugins", &ignored) || is_short;
	if (fixed != NULL) {
		*id = fixed;
		return 0;
	}
	for (size_t i = 0; i < COUNT_OF(known); i++) {
		*id = known[n > 2 ? COUNT_OF(known) - 1 - i : i];
		if (has_plugin(doc, *id))
			return 0;
	}
	*id = known[n > 2];
	if (version != NULL && n > 1)
		return 0;
	/* A file of version 1 knows the plugin by its short name alone. Without a version it can still become one of version 2, unless
	 * it uses short names. */
	visit(doc, look_for_plugins, &has_plugins);
	if (version != NULL || has_plugins || is_short)
		*id = "cri";
	else
		*adds_version = true;
	return 0;
}

/* ---- changing ---- */

static void
put_config_path(struct buf *out)
{
	buf_append_str(out, "config_path = ");
	toml_put_string(out, slice_str(MIRROR_CERTS_DIR));
}

/* plugins."id".registry from part `from` on. */
static void
put_registry_key(struct buf *out, const char *id, size_t from)
{
	for (size_t i = from; i < REGISTRY_PARTS; i++) {
		if (i > from)
			buf_append_u8(out, '.');
		toml_put_key(out, slice_str(registry_part(id, i)));
	}
}

/* The inline table anew, with config_path in its place and without what is in the way; members that are kept keep their bytes. */
static void
put_inline(const struct edit *d, struct buf *out, const struct path *p, const struct toml_value *v)
{
	const struct slice text = d->doc->text;
	bool around = is_around_registry(p, d->id), has_next = false, comma = false;

	buf_append_str(out, "{ ");
	if (p->count == REGISTRY_PARTS && around) {
		put_config_path(out);
		comma = has_next = true;
	}
	for (const struct toml_value *m = v->first; m != NULL; m = m->next) {
		struct path below = path_add(*p, m->key);

		if (is_in_the_way(&below, d->id) || is_config_path(&below, d->id))
			continue;
		has_next = has_next || (around && is_below(&below, d->id, p->count + 1));
		if (comma)
			buf_append_str(out, ", ");
		comma = true;
		if (m->kind == TOML_TABLE && (is_around_registry(&below, d->id) || holds_what_is_in_the_way(&below, m, d->id))) {
			buf_append_slice(out, slice_sub(text, m->key_start, m->start - m->key_start));
			put_inline(d, out, &below, m);
		} else {
			buf_append_slice(out, slice_sub(text, m->key_start, m->end - m->key_start));
		}
	}
	if (around && !has_next) {
		if (comma)
			buf_append_str(out, ", ");
		put_registry_key(out, d->id, p->count);
		buf_append_str(out, " = { ");
		put_config_path(out);
		buf_append_str(out, " }");
	}
	buf_append_str(out, " }");
}

static int
refuse(struct edit *d, const struct toml_item *it, const char *what)
{
	return err_set(d->e, ERR_INVALID_ARGUMENT, "line %u: %s", it->line, what);
}

static void
write_inline_anew(struct edit *d, const struct path *p, const struct toml_value *v)
{
	struct buf anew = BUF_INIT;

	put_inline(d, &anew, p, v);
	splice_replace(&d->changes, v->start, v->end, buf_slice(&anew));
	buf_free(&anew);
}

static bool
is_blank(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (strchr(" \t\r\n", s.p[i]) == NULL)
			return false;
	return true;
}

/* Statements that are in the way go, with the blank lines between two of them; inline tables are written anew. 1: config_path was
 * set in one of those. */
static int
clear_the_way(struct edit *d)
{
	size_t gone_to = 0;
	int is_set = 0;

	for (const struct toml_item *it = d->doc->first; it != NULL; it = it->next) {
		struct path p = path_of(it);
		bool is_pair = it->kind == TOML_PAIR;

		if (is_in_the_way(&p, d->id)) {
			bool joins = gone_to > 0 && is_blank(slice_sub(d->doc->text, gone_to, it->start - gone_to));

			if (splice_remove(&d->changes, joins ? gone_to : it->start, it->end) != 0)
				return refuse(d, it, "too much to change");
			gone_to = it->end;
		} else if (is_around_registry(&p, d->id)) {
			if (it->kind == TOML_ARRAY_HEADER || (is_pair && it->value->kind != TOML_TABLE))
				return refuse(d, it, "not a table, where one must be");
			if (is_pair) {
				write_inline_anew(d, &p, it->value);
				is_set = 1;
			}
		} else if (is_pair && holds_what_is_in_the_way(&p, it->value, d->id)) {
			write_inline_anew(d, &p, it->value);
		}
	}
	return is_set;
}

static struct slice
indentation(const struct edit *d, const struct toml_item *it)
{
	return slice_sub(d->doc->text, it->start, it->at - it->start);
}

/* As a line below the header. */
static void
insert_below(struct edit *d, const struct toml_item *header)
{
	const struct toml_item *first = header->next;
	struct buf line = BUF_INIT;
	bool has_line_end = d->doc->text.p[header->end - 1] == '\n';

	if (!has_line_end)
		buf_append_str(&line, d->eol);
	if (first != NULL && first->kind == TOML_PAIR) {
		buf_append_slice(&line, indentation(d, first));
	} else {
		buf_append_slice(&line, indentation(d, header));
		buf_append_str(&line, "  ");
	}
	put_config_path(&line);
	buf_append_str(&line, d->eol);
	splice_insert(&d->changes, header->end, buf_slice(&line));
	buf_free(&line);
}

/* registry.configs... = x: a line of the same kind before it. */
static void
insert_dotted(struct edit *d, const struct toml_item *pair)
{
	size_t above = pair->header != NULL ? pair->header->key.count : 0;
	struct buf line = BUF_INIT;

	buf_append_slice(&line, indentation(d, pair));
	put_registry_key(&line, d->id, above);
	buf_append_u8(&line, '.');
	put_config_path(&line);
	buf_append_str(&line, d->eol);
	splice_insert(&d->changes, pair->start, buf_slice(&line));
	buf_free(&line);
}

static void
insert_header(struct edit *d, size_t at, struct slice indent, bool is_end)
{
	const struct slice text = d->doc->text;
	struct buf lines = BUF_INIT;

	if (is_end && text.n > 0)
		buf_printf(&lines, "%s%s", text.p[text.n - 1] != '\n' ? d->eol : "", d->eol);
	buf_append_slice(&lines, indent);
	buf_append_u8(&lines, '[');
	put_registry_key(&lines, d->id, 0);
	buf_printf(&lines, "]%s", d->eol);
	buf_append_slice(&lines, indent);
	buf_append_str(&lines, "  ");
	put_config_path(&lines);
	buf_append_str(&lines, d->eol);
	if (!is_end)
		buf_append_str(&lines, d->eol);
	splice_insert(&d->changes, at, buf_slice(&lines));
	buf_free(&lines);
}

static void
set_config_path(struct edit *d)
{
	const struct toml_item *below = NULL;

	for (const struct toml_item *it = d->doc->first; it != NULL; it = it->next) {
		struct path p = path_of(it);

		if (!is_below(&p, d->id, REGISTRY_PARTS))
			continue;
		if (it->kind == TOML_PAIR && is_config_path(&p, d->id)) {
			struct buf value = BUF_INIT;

			toml_put_string(&value, slice_str(MIRROR_CERTS_DIR));
			splice_replace(&d->changes, it->value->start, it->value->end, buf_slice(&value));
			buf_free(&value);
			return;
		}
		if (it->kind == TOML_HEADER && p.count == REGISTRY_PARTS) {
			struct search s = look(d->doc, d->id);

			/* It may still stand further below. */
			if (s.config_path != NULL)
				continue;
			insert_below(d, it);
			return;
		}
		if (below == NULL)
			below = it;
	}
	if (below == NULL)
		insert_header(d, d->doc->text.n, (struct slice){0}, true);
	else if (below->kind == TOML_PAIR)
		insert_dotted(d, below);
	else
		insert_header(d, below->start, indentation(d, below), false);
}

static const char *
line_end_of(struct slice text)
{
	ptrdiff_t n = slice_find(text, '\n');

	return n > 0 && text.p[n - 1] == '\r' ? "\r\n" : "\n";
}

static int
change(struct edit *d, bool adds_version, struct buf *out)
{
	int is_set;

	if (adds_version) {
		struct buf line = BUF_INIT;

		buf_printf(&line, "version = 2%s%s", d->eol, d->eol);
		splice_insert(&d->changes, slice_starts(d->doc->text, "\xef\xbb\xbf") ? 3 : 0, buf_slice(&line));
		buf_free(&line);
	}
	is_set = clear_the_way(d);
	if (is_set < 0)
		return -1;
	if (is_set == 0)
		set_config_path(d);
	splice_apply(&d->changes, d->doc->text, out);
	return 0;
}

/* What was written must be what was meant. */
static int
check(struct slice text, const char *id, struct arena *a, struct err *e)
{
	struct toml *doc = toml_parse(text, a, e);
	struct search s;

	if (doc == NULL)
		return err_wrap(e, "the file cannot be changed: its new text is wrong");
	s = look(doc, id);
	if (s.in_the_way || s.config_paths != 1 || s.config_path == NULL || !slice_eq_str(s.config_path->text, MIRROR_CERTS_DIR))
		return err_set(e, ERR_INVALID_ARGUMENT, "the registry table is written in a way that is not understood");
	return 0;
}

int
mirror_containerd(struct slice text, const char *plugin_id, struct mirror_containerd *result, struct buf *out, struct arena *a, struct err *e)
{
	struct edit d = {.e = e, .eol = line_end_of(text)};
	size_t start = out->len;
	bool adds_version;
	struct search s;
	int rc;

	*result = (struct mirror_containerd){.certs_dir = MIRROR_CERTS_DIR};
	d.doc = toml_parse(text, a, e);
	if (d.doc == NULL || choose_plugin(d.doc, plugin_id, &d.id, &adds_version, result, e) != 0)
		return -1;
	result->plugin_id = d.id;
	s = look(d.doc, d.id);
	if (s.config_paths > 1)
		return err_set(e, ERR_INVALID_ARGUMENT, "config_path of the registry is set %zu times", s.config_paths);
	if (s.config_path != NULL && s.config_path->kind != TOML_STRING)
		return err_set(e, ERR_INVALID_ARGUMENT, "config_path of the registry is not a text");
	if (s.config_path != NULL && s.config_path->text.n > 0) {
		struct slice dirs = s.config_path->text;
		ptrdiff_t colon = slice_find(dirs, ':');

		result->certs_dir = arena_copy(a, dirs.p, colon >= 0 ? (size_t)colon : dirs.n);
		buf_append_slice(out, text);
		if (result->certs_dir == NULL || result->certs_dir[0] != '/')
			return err_set(e, ERR_INVALID_ARGUMENT, "config_path of the registry is not an absolute path");
		return 0;
	}
	rc = change(&d, adds_version, out);
	splice_free(&d.changes);
	if (rc != 0)
		return -1;
	return check(slice_sub(buf_slice(out), start, out->len), d.id, a, e);
}

/* ---- hosts.toml ---- */

static void
put_list(struct buf *out, const char *const *items, size_t n)
{
	buf_append_u8(out, '[');
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			buf_append_str(out, ", ");
		toml_put_string(out, slice_str(items[i]));
	}
	buf_append_u8(out, ']');
}

void
mirror_hosts(const char *proxy_addr, const struct mirror_host *h, struct buf *out)
{
	bool has_server = h->server_addr != NULL && h->server_addr[0] != '\0';

	if (has_server) {
		buf_append_str(out, "server = ");
		toml_put_string(out, slice_str(h->server_addr));
		buf_append_str(out, "\n\n");
	}
	buf_append_str(out, "[host.");
	toml_put_string(out, slice_str(proxy_addr));
	buf_append_str(out, "]\ncapabilities = ");
	put_list(out, h->capabilities, h->capability_count);
	buf_append_u8(out, '\n');
	if (h->skip_verify != NULL)
		buf_printf(out, "skip_verify = %s\n", *h->skip_verify ? "true" : "false");
	if (h->ca != NULL) {
		buf_append_str(out, "ca = ");
		put_list(out, h->ca, h->ca_count);
		buf_append_u8(out, '\n');
	}
	if (has_server) {
		buf_append_str(out, "\n[host.");
		toml_put_string(out, slice_str(proxy_addr));
		buf_append_str(out, ".header]\nX-Dragonfly-Registry = ");
		toml_put_string(out, slice_str(h->server_addr));
		buf_append_u8(out, '\n');
	}
}
