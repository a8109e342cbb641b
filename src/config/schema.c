#include "config/schema.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/mem.h"
#include "config/file.h"
#include "config/suggest.h"
#include "text/units.h"
#include "text/yaml.h"

/* Bytes of a value that a message shows; the rest is cut. */
#define SHOWN_MAX 60

/* ---- places and notes ---- */

size_t
schema_enter(struct schema_walk *w, const char *name)
{
	size_t mark = w->path.len;

	buf_printf(&w->path, "%s%s", mark > 0 ? "." : "", name);
	return mark;
}

size_t
schema_enter_item(struct schema_walk *w, size_t index)
{
	size_t mark = w->path.len;

	buf_printf(&w->path, "[%zu]", index);
	return mark;
}

void
schema_leave(struct schema_walk *w, size_t mark)
{
	w->path.len = mark;
}

static char *
note(struct schema_walk *w, const struct yaml_node *node, const char *fmt, va_list ap) __attribute__((format(printf, 3, 0)));

static char *
note(struct schema_walk *w, const struct yaml_node *node, const char *fmt, va_list ap)
{
	struct buf out = BUF_INIT;

	buf_printf(&out, "%s: ", w->file);
	if (node && w->has_places) {
		out.len -= 2;
		buf_printf(&out, ":%u:%u: ", node->line, node->column);
	}
	if (w->path.len > 0)
		buf_printf(&out, "%s: ", buf_cstr(&w->path));
	buf_vprintf(&out, fmt, ap);
	return buf_take(&out);
}

int
schema_error(struct schema_walk *w, const struct yaml_node *node, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	notes_add_error(w->notes, note(w, node, fmt, ap));
	va_end(ap);
	return -1;
}

void
schema_warn(struct schema_walk *w, const struct yaml_node *node, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	notes_add_warning(w->notes, note(w, node, fmt, ap));
	va_end(ap);
}

/* "a sequence", "integer 5", "string \"x\"", with nothing of a secret. */
static void
describe(const struct schema_key *key, const struct yaml_node *node, struct buf *out)
{
	static const char *const names[] = {
		[YAML_NULL] = "null", [YAML_BOOL] = "boolean", [YAML_INT] = "integer", [YAML_FLOAT] = "number", [YAML_STR] = "string",
	};
	bool is_secret = key && key->flags & SCHEMA_SECRET;

	if (node->kind == YAML_MAPPING)
		buf_append_str(out, "a mapping");
	else if (node->kind == YAML_SEQUENCE)
		buf_append_str(out, "a sequence");
	else if (node->style == YAML_EMPTY)
		buf_append_str(out, "nothing");
	else if (is_secret || node->type == YAML_NULL)
		buf_append_str(out, names[node->type]);
	else
		buf_printf(out, node->type == YAML_STR ? "%s \"%.*s\"" : "%s %.*s", names[node->type], SHOWN_MAX, node->text);
}

int
schema_wrong_type(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, const char *what)
{
	struct buf found = BUF_INIT;

	describe(key, node, &found);
	if (what[0] == 'b' && node->kind == YAML_SCALAR)
		buf_append_str(&found, "; use true or false");
	schema_error(w, node, "expected %s, found %s", what, buf_cstr(&found));
	buf_free(&found);
	return -1;
}

static int
out_of_memory(struct schema_walk *w, const struct yaml_node *node)
{
	return schema_error(w, node, "document too large");
}

/* ---- values ---- */

bool
schema_is_unset(const struct schema_key *key, const struct yaml_node *node)
{
	if (node->kind != YAML_SCALAR)
		return false;
	if (key->flags & SCHEMA_NULL_IS_LIST && node->style == YAML_EMPTY)
		return false;
	return node->type == YAML_NULL || (key->flags & SCHEMA_EMPTY_UNSETS && node->len == 0);
}

const char *
schema_text(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node)
{
	const char *text;

	if (node->kind != YAML_SCALAR) {
		schema_wrong_type(w, key, node, "a string");
		return NULL;
	}
	if (memchr(node->text, '\0', node->len) != NULL) {
		schema_error(w, node, "a NUL character is not allowed");
		return NULL;
	}
	text = arena_copy(w->arena, node->text, node->len);
	if (text == NULL)
		out_of_memory(w, node);
	return text;
}

/* A YAML integer, also when quoted: 0, -1 when it is none or does not fit 64 bits. A negative one has is_negative set and its size in *out. */
static int
parse_integer(const struct yaml_node *node, bool *is_negative, uint64_t *out)
{
	const char *s = node->text;
	unsigned base = 10;

	*is_negative = false;
	*out = 0;
	if (node->kind != YAML_SCALAR || yaml_resolve(node->text, node->len) != YAML_INT)
		return -1;
	if (*s == '-' || *s == '+')
		*is_negative = *s++ == '-';
	if (s[0] == '0' && s[1] != '\0') {
		base = s[1] == 'x' ? 16 : s[1] == 'o' ? 8 : 2;
		s += 2;
	}
	for (; *s != '\0'; s++) {
		unsigned digit = (unsigned char)*s <= '9' ? (unsigned)(*s - '0') : (unsigned)((*s | 0x20) - 'a') + 10;

		if (*out > (UINT64_MAX - digit) / base)
			return -1;
		*out = *out * base + digit;
	}
	return 0;
}

static int
check_range(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, uint64_t value)
{
	if (value >= key->min && (key->max == 0 || value <= key->max))
		return 0;
	if (key->type == SCHEMA_MS && key->max == 0)
		return schema_error(w, node, "must be greater than 0");
	if (key->max == 0)
		return schema_error(w, node, "must be at least %llu", (unsigned long long)key->min);
	if (key->min == 0)
		return schema_error(w, node, "must be at most %llu", (unsigned long long)key->max);
	return schema_error(w, node, "must be between %llu and %llu", (unsigned long long)key->min, (unsigned long long)key->max);
}

static int
apply_integer(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *at)
{
	uint64_t most = key->type == SCHEMA_U8 ? UINT8_MAX : key->type == SCHEMA_U16 ? UINT16_MAX : key->type == SCHEMA_U32 ? UINT32_MAX : UINT64_MAX;
	bool is_negative;
	uint64_t value;
	char what[64];

	if (parse_integer(node, &is_negative, &value) < 0 || (is_negative && value > 0) || value > most) {
		snprintf(what, sizeof(what), "integer 0..%llu", (unsigned long long)most);
		if (node->kind != YAML_SCALAR || node->type != YAML_INT)
			return schema_wrong_type(w, key, node, what);
		return schema_error(w, node, "expected %s, found %.*s", what, SHOWN_MAX, node->text);
	}
	if (check_range(w, key, node, value) < 0)
		return -1;
	switch (key->type) {
	case SCHEMA_U8:
		*(uint8_t *)at = (uint8_t)value;
		break;
	case SCHEMA_U16:
		*(uint16_t *)at = (uint16_t)value;
		break;
	case SCHEMA_U32:
		*(uint32_t *)at = (uint32_t)value;
		break;
	default:
		*(uint64_t *)at = value;
		break;
	}
	return 0;
}

int
schema_i32(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, int32_t *out)
{
	bool is_negative;
	uint64_t value;

	if (parse_integer(node, &is_negative, &value) < 0 || value > (uint64_t)INT32_MAX + is_negative)
		return schema_wrong_type(w, key, node, "integer -2147483648..2147483647");
	*out = is_negative ? (int32_t)-(int64_t)value : (int32_t)value;
	return 0;
}

static int
apply_bool(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *at)
{
	if (node->kind != YAML_SCALAR || yaml_resolve(node->text, node->len) != YAML_BOOL)
		return schema_wrong_type(w, key, node, "boolean");
	*(bool *)at = node->text[0] == 't' || node->text[0] == 'T';
	return 0;
}

static int
apply_bytes(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *at)
{
	struct err e = {0};
	bool is_negative;
	uint64_t value;

	if (node->kind != YAML_SCALAR)
		return schema_wrong_type(w, key, node, "a size");
	if (parse_integer(node, &is_negative, &value) == 0 && !(is_negative && value > 0))
		;
	else if (units_parse_size(slice_make(node->text, node->len), &value, &e) < 0)
		return schema_error(w, node, "%s", e.text);
	if (check_range(w, key, node, value) < 0)
		return -1;
	*(uint64_t *)at = value;
	return 0;
}

static int
apply_ms(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *at)
{
	struct err e = {0};
	int64_t ns;
	int64_t ms;

	if (node->kind != YAML_SCALAR)
		return schema_wrong_type(w, key, node, "a duration");
	if (units_parse_duration(slice_make(node->text, node->len), &ns, &e) < 0)
		return schema_error(w, node, "%s", e.text);
	ms = ns / 1000000 + (ns % 1000000 > 0);
	if (check_range(w, key, node, (uint64_t)ms) < 0)
		return -1;
	*(int64_t *)at = ms;
	return 0;
}

static int
apply_text(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *at)
{
	const char *text = schema_text(w, key, node);

	if (text == NULL)
		return -1;
	*(const char **)at = text;
	return 0;
}

static int
apply_ip(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *at)
{
	const char *text = schema_text(w, key, node);
	unsigned char bytes[16];

	if (text == NULL)
		return -1;
	if (inet_pton(AF_INET, text, bytes) != 1 && inet_pton(AF_INET6, text, bytes) != 1)
		return schema_error(w, node, "bad IP address \"%.*s\"", SHOWN_MAX, text);
	*(const char **)at = text;
	return 0;
}

static int
apply_word(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *at)
{
	const char *text = schema_text(w, key, node);
	struct buf words = BUF_INIT;
	size_t offered = 0;
	size_t done = 0;

	if (text == NULL)
		return -1;
	for (const struct schema_word *it = key->words; it->word; it++) {
		if (strcmp(it->word, text) == 0) {
			if (it->warning)
				schema_warn(w, node, "%s", it->warning);
			*(int *)at = it->value;
			return 0;
		}
		offered += it->warning == NULL;
	}
	for (const struct schema_word *it = key->words; it->word; it++) {
		if (it->warning)
			continue;
		buf_printf(&words, "%s\"%s\"", done == 0 ? "" : done + 1 == offered ? " or " : ", ", it->word);
		done++;
	}
	schema_error(w, node, "bad value \"%.*s\": use %s", SHOWN_MAX, text, buf_cstr(&words));
	buf_free(&words);
	return -1;
}

int
schema_apply_texts(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *at)
{
	const char **items;
	size_t count = 0;

	if (node->kind != YAML_SEQUENCE && node->style != YAML_EMPTY)
		return schema_wrong_type(w, key, node, "a sequence");
	items = arena_alloc(w->arena, (node->count + 1) * sizeof(*items));
	if (items == NULL)
		return out_of_memory(w, node);
	for (const struct yaml_node *it = node->first; it; it = it->next) {
		size_t mark = schema_enter_item(w, count);

		items[count] = schema_text(w, key, it);
		schema_leave(w, mark);
		if (items[count++] == NULL)
			return -1;
	}
	*(struct config_strings *)at = (struct config_strings){items, count};
	return 0;
}

/* ---- header maps ---- */

static bool
is_header_name(const char *s)
{
	if (*s == '\0')
		return false;
	for (; *s != '\0'; s++)
		if (!((*s >= '0' && *s <= '9') || (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || strchr("!#$%&'*+-.^_`|~", *s) != NULL))
			return false;
	return true;
}

static int
add_header(struct schema_walk *w, const struct schema_key *key, const char *name, const struct yaml_node *value, struct config_headers *list)
{
	const char *text = schema_text(w, key, value);

	if (text == NULL)
		return -1;
	if (strpbrk(text, "\r\n") != NULL)
		return schema_error(w, value, "a line end is not allowed in a header");
	list->items[list->count++] = (struct config_header){name, text};
	return 0;
}

static int
apply_headers(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *at)
{
	struct config_headers list = {0};
	size_t count = 0;
	int result = 0;

	if (node->kind != YAML_MAPPING)
		return schema_wrong_type(w, key, node, "a mapping");
	for (const struct yaml_node *it = node->first; it; it = it->next)
		count += it->kind == YAML_SEQUENCE ? it->count : 1;
	list.items = arena_alloc(w->arena, (count + 1) * sizeof(*list.items));
	if (list.items == NULL)
		return out_of_memory(w, node);
	for (const struct yaml_node *it = node->first; it && result == 0; it = it->next) {
		const char *name = schema_text(w, key, it->key);

		if (name == NULL)
			return -1;
		if (!is_header_name(name))
			return schema_error(w, it->key, "\"%.*s\" cannot be the name of a header", SHOWN_MAX, name);
		if (it->kind == YAML_SEQUENCE)
			for (const struct yaml_node *item = it->first; item && result == 0; item = item->next)
				result = add_header(w, key, name, item, &list);
		else
			result = add_header(w, key, name, it, &list);
	}
	*(struct config_headers *)at = list;
	return result;
}

/* ---- mappings ---- */

static void
apply_value(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *base)
{
	void *at = (char *)base + key->offset;

	if (key->type == SCHEMA_SECTION) {
		if (key->has_presence)
			*(bool *)at = !schema_is_unset(key, node);
		if (!schema_is_unset(key, node))
			schema_apply_mapping(w, key->table, node, base);
		return;
	}
	if (schema_is_unset(key, node))
		return;
	switch (key->type) {
	case SCHEMA_BOOL:
		apply_bool(w, key, node, at);
		break;
	case SCHEMA_BYTES:
		apply_bytes(w, key, node, at);
		break;
	case SCHEMA_MS:
		apply_ms(w, key, node, at);
		break;
	case SCHEMA_TEXT:
		apply_text(w, key, node, at);
		break;
	case SCHEMA_IP:
		apply_ip(w, key, node, at);
		break;
	case SCHEMA_WORD:
		apply_word(w, key, node, at);
		break;
	case SCHEMA_TEXTS:
		schema_apply_texts(w, key, node, at);
		break;
	case SCHEMA_HEADERS:
		apply_headers(w, key, node, at);
		break;
	case SCHEMA_CUSTOM:
		key->apply(w, key, node, at);
		break;
	default:
		apply_integer(w, key, node, at);
		break;
	}
}

static bool
is_named(const struct schema_key *key, const struct yaml_node *name)
{
	struct slice text = slice_make(name->text, name->len);

	return slice_eq_str(text, key->name) || (key->alias && slice_eq_str(text, key->alias));
}

static void
note_unknown(struct schema_walk *w, const struct schema *s, const struct yaml_node *name)
{
	const char *verb = w->is_strict ? "" : " ignored";
	struct buf text = BUF_INIT;

	for (size_t i = 0; i < s->old_count; i++)
		if (slice_eq_str(slice_make(name->text, name->len), s->old[i].name))
			buf_printf(&text, "obsolete key \"%s\"%s: %s", s->old[i].name, verb, s->old[i].hint);
	if (text.len == 0) {
		buf_printf(&text, "unknown key \"%.*s\"%s", SHOWN_MAX, name->text, verb);
		suggest_key(s, w->root, name->text, &text);
	}
	if (w->is_strict)
		schema_error(w, name, "%s", buf_cstr(&text));
	else
		schema_warn(w, name, "%s", buf_cstr(&text));
	buf_free(&text);
}

/* Whether the key stands once more before `it`; notes it. */
static bool
note_duplicate(struct schema_walk *w, const struct yaml_node *map, const struct yaml_node *it, const struct schema_key *key)
{
	for (const struct yaml_node *before = map->first; before != it; before = before->next) {
		if (key ? !is_named(key, before->key) : !slice_eq(slice_make(before->key->text, before->key->len), slice_make(it->key->text, it->key->len)))
			continue;
		if (key)
			schema_error(w, it->key, "duplicate key \"%s\", first given at line %u", it->key->text, before->key->line);
		else
			schema_warn(w, it->key, "duplicate key \"%.*s\", first given at line %u", SHOWN_MAX, it->key->text, before->key->line);
		return true;
	}
	return false;
}

int
schema_apply_mapping(struct schema_walk *w, const struct schema *s, const struct yaml_node *node, void *base)
{
	if (node->kind != YAML_MAPPING)
		return schema_wrong_type(w, NULL, node, "a mapping");
	for (const struct yaml_node *it = node->first; it; it = it->next) {
		const struct schema_key *key = NULL;
		size_t mark;

		for (size_t i = 0; i < s->count && key == NULL; i++)
			if (is_named(&s->keys[i], it->key))
				key = &s->keys[i];
		/* Past the limits nothing more would be shown; looking for it would only cost time. */
		if (w->notes->error_count >= CONFIG_ERRORS_MAX)
			return 0;
		if (key == NULL && w->notes->warning_count >= CONFIG_WARNINGS_MAX) {
			w->notes->warnings_dropped++;
			continue;
		}
		if (note_duplicate(w, node, it, key))
			continue;
		if (key == NULL) {
			note_unknown(w, s, it->key);
			continue;
		}
		mark = schema_enter(w, key->name);
		apply_value(w, key, it, base);
		schema_leave(w, mark);
	}
	return 0;
}

void
schema_set_defaults(struct schema_walk *w, const struct schema *s, void *base)
{
	struct config_notes *callers = w->notes;
	struct config_notes own = CONFIG_NOTES_INIT;

	/* cppcheck-suppress autoVariables; put back below */
	w->notes = &own;
	for (size_t i = 0; i < s->count; i++) {
		const struct schema_key *key = &s->keys[i];
		struct yaml_node node = {.kind = YAML_SCALAR, .style = YAML_PLAIN, .type = YAML_STR};

		if (key->type == SCHEMA_SECTION)
			schema_set_defaults(w, key->table, base);
		if (key->initial == NULL)
			continue;
		node.text = key->initial;
		node.len = strlen(key->initial);
		if (key->type == SCHEMA_SECTION)
			*(bool *)((char *)base + key->offset) = true;
		else
			apply_value(w, key, &node, base);
	}
	if (own.error_count > 0)
		abort();
	w->notes = callers;
}
