/*
 * The configuration as YAML again, by the same tables that read it.
 */
#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "config/config.h"
#include "config/keys.h"
#include "text/units.h"
#include "text/yaml.h"

static void
indent(struct buf *out, unsigned depth)
{
	for (unsigned i = 0; i < depth; i++)
		buf_append_str(out, "  ");
}

/* Letters, digits and a few marks that cannot be taken for anything else stand unquoted; control characters need double quotes. */
static void
print_text(const char *s, struct buf *out)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._";
	size_t n = strlen(s);

	if (n > 0 && strspn(s, plain) == n && yaml_resolve(s, n) == YAML_STR) {
		buf_append_str(out, s);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)s[i] >= ' ' && s[i] != 0x7F)
			continue;
		buf_append_u8(out, '"');
		for (; *s != '\0'; s++) {
			if ((unsigned char)*s < ' ' || *s == 0x7F)
				buf_printf(out, "\\x%02X", (unsigned)(unsigned char)*s);
			else
				buf_printf(out, *s == '"' || *s == '\\' ? "\\%c" : "%c", *s);
		}
		buf_append_u8(out, '"');
		return;
	}
	buf_append_u8(out, '\'');
	for (; *s != '\0'; s++)
		buf_printf(out, *s == '\'' ? "''" : "%c", *s);
	buf_append_u8(out, '\'');
}

static void
print_texts(const struct config_strings *list, struct buf *out)
{
	buf_append_u8(out, '[');
	for (size_t i = 0; i < list->count; i++) {
		buf_append_str(out, i > 0 ? ", " : "");
		print_text(list->items[i], out);
	}
	buf_append_u8(out, ']');
}

/* Values may hold tokens: only the names are shown. A name that comes again follows itself, as lists are read. */
static void
print_headers(const struct config_headers *list, struct buf *out)
{
	buf_append_u8(out, '{');
	for (size_t i = 0; i < list->count; i++) {
		size_t same = 1;

		while (i + same < list->count && strcmp(list->items[i].name, list->items[i + same].name) == 0)
			same++;
		buf_append_str(out, i > 0 ? ", " : "");
		print_text(list->items[i].name, out);
		buf_append_str(out, same > 1 ? ": [" : ": ");
		for (size_t k = 0; k < same; k++)
			buf_append_str(out, k > 0 ? ", '***'" : "'***'");
		buf_append_str(out, same > 1 ? "]" : "");
		i += same - 1;
	}
	buf_append_u8(out, '}');
}

static const char *
find_word(const struct schema_word *words, int value)
{
	while (words->value != value)
		words++;
	return words->word;
}

static void
print_value(const struct schema_key *key, const void *at, struct buf *out)
{
	char text[UNITS_OUT_MAX];

	switch (key->type == SCHEMA_CUSTOM ? key->stored : key->type) {
	case SCHEMA_BOOL:
		buf_append_str(out, *(const bool *)at ? "true" : "false");
		break;
	case SCHEMA_U8:
		buf_printf(out, "%u", (unsigned)*(const uint8_t *)at);
		break;
	case SCHEMA_U16:
		buf_printf(out, "%u", (unsigned)*(const uint16_t *)at);
		break;
	case SCHEMA_U32:
		buf_printf(out, "%" PRIu32, *(const uint32_t *)at);
		break;
	case SCHEMA_OCTAL:
		buf_printf(out, "'%04" PRIo32 "'", *(const uint32_t *)at);
		break;
	case SCHEMA_U64:
	case SCHEMA_BYTES:
		buf_printf(out, "%" PRIu64, *(const uint64_t *)at);
		break;
	case SCHEMA_MS:
		buf_append_str(out, units_format_duration(*(const int64_t *)at * 1000000, text));
		break;
	case SCHEMA_WORD:
		buf_append_str(out, find_word(key->words, *(const int *)at));
		break;
	case SCHEMA_TEXTS:
		print_texts(at, out);
		break;
	case SCHEMA_HEADERS:
		print_headers(at, out);
		break;
	default:
		print_text(key->flags & SCHEMA_SECRET ? "***" : *(const char *const *)at, out);
		break;
	}
}

/* A text that is not set has no line at all. */
static bool
is_absent(const struct schema_key *key, const void *at)
{
	enum schema_type type = key->type == SCHEMA_CUSTOM ? key->stored : key->type;

	return (type == SCHEMA_TEXT || type == SCHEMA_IP) && *(const char *const *)at == NULL;
}

static void print_table(const struct schema *s, const void *base, unsigned depth, bool is_item, struct buf *out);

static void
print_rules(const struct config_proxy *proxy, unsigned depth, struct buf *out)
{
	if (proxy->rule_count == 0)
		buf_append_str(out, " []");
	buf_append_u8(out, '\n');
	for (size_t i = 0; i < proxy->rule_count; i++)
		print_table(&keys_rule, &proxy->rules[i], depth, true, out);
}

static void
print_table(const struct schema *s, const void *base, unsigned depth, bool is_item, struct buf *out)
{
	for (size_t i = 0; i < s->count; i++) {
		const struct schema_key *key = &s->keys[i];
		const void *at = (const char *)base + key->offset;

		if (key->type != SCHEMA_SECTION && is_absent(key, at))
			continue;
		indent(out, depth - is_item);
		buf_printf(out, "%s%s:", is_item ? i == 0 ? "- " : "  " : "", key->name);
		if (key->table == &keys_rule) {
			print_rules(&((const struct config *)base)->proxy, depth + 1, out);
		} else if (key->type == SCHEMA_SECTION) {
			buf_append_u8(out, '\n');
			if (!key->has_presence || *(const bool *)at)
				print_table(key->table, base, depth + 1, false, out);
		} else {
			buf_append_u8(out, ' ');
			print_value(key, at, out);
			buf_append_u8(out, '\n');
		}
	}
}

void
config_print(const struct config *c, struct buf *out)
{
	print_table(&keys_root, c, 0, false, out);
}
