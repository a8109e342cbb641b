/*
 * The ground of the YAML reader: moving over the bytes, making nodes, anchors, aliases and tags.
 */
#include "text/yaml_parser.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/mem.h"

/* Looked up one after the other; configuration has a handful. */
#define ANCHORS_MAX 1000

struct yaml_anchor {
	struct yaml_anchor *next;
	const char *name;
	size_t len;
	const struct yaml_node *node;
};

struct yaml_node *
yaml_fail_at(struct yaml_parser *y, unsigned line, unsigned column, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	err_set(y->err, ERR_INVALID_ARGUMENT, "%u:%u: %s", line, column, text);
	return NULL;
}

struct yaml_node *
yaml_fail(struct yaml_parser *y, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return yaml_fail_at(y, y->line, yaml_column(y), "%s", text);
}

struct yaml_node *
yaml_new_node(struct yaml_parser *y, enum yaml_kind kind, enum yaml_style style)
{
	struct yaml_node *node;

	if (y->nodes >= YAML_NODES_MAX)
		return yaml_fail(y, "document too large");
	node = arena_alloc(y->arena, sizeof(*node));
	if (node == NULL)
		return yaml_fail(y, "document too large");
	y->nodes++;
	node->kind = kind;
	node->style = style;
	node->type = style == YAML_EMPTY ? YAML_NULL : YAML_STR;
	node->line = y->line;
	node->column = yaml_column(y);
	node->text = "";
	node->weight = 1;
	return node;
}

/* ---- moving ---- */

void
yaml_skip_blanks(struct yaml_parser *y)
{
	while (yaml_is_blank(yaml_peek(y, 0)))
		y->pos++;
}

void
yaml_skip_break(struct yaml_parser *y)
{
	y->pos += yaml_peek(y, 0) == '\r' && yaml_peek(y, 1) == '\n' ? 2 : 1;
	y->line++;
	y->line_start = y->pos;
}

bool
yaml_at_marker(const struct yaml_parser *y)
{
	char c = yaml_peek(y, 0);

	return y->pos == y->line_start && (c == '-' || c == '.') && yaml_peek(y, 1) == c && yaml_peek(y, 2) == c
	    && yaml_is_end(yaml_peek(y, 3));
}

bool
yaml_at_comment(const struct yaml_parser *y)
{
	return yaml_peek(y, 0) == '#' && (y->pos == y->line_start || yaml_is_blank(y->p[y->pos - 1]));
}

static void
skip_comment(struct yaml_parser *y)
{
	if (yaml_at_comment(y))
		while (y->pos < y->n && !yaml_is_break(yaml_peek(y, 0)))
			y->pos++;
}

/* Past blanks, comments and line ends to the next content. In block context a tab in front of that content is an error. */
int
yaml_skip_lines(struct yaml_parser *y, bool is_flow)
{
	for (;;) {
		bool is_line_start = y->pos == y->line_start;
		unsigned tab = 0;       /* column of the first tab */

		for (; yaml_is_blank(yaml_peek(y, 0)); y->pos++)
			if (tab == 0 && yaml_peek(y, 0) == '\t')
				tab = yaml_column(y);
		skip_comment(y);
		if (!yaml_is_break(yaml_peek(y, 0))) {
			if (tab == 0 || !is_line_start || is_flow || y->pos == y->n)
				return 0;
			yaml_fail_at(y, y->line, tab, "tab used for indentation");
			return -1;
		}
		yaml_skip_break(y);
	}
}

/* End of the document: end of the text, or a marker that ends it. */
bool
yaml_at_stop(const struct yaml_parser *y)
{
	return y->pos == y->n || yaml_at_marker(y);
}

bool
yaml_at_dash(const struct yaml_parser *y)
{
	return yaml_peek(y, 0) == '-' && yaml_is_end(yaml_peek(y, 1));
}

bool
yaml_at_line_end(const struct yaml_parser *y)
{
	return y->pos == y->n || yaml_is_break(yaml_peek(y, 0)) || yaml_at_comment(y);
}

/* Whether the bytes from `at` on, behind blanks, are a colon that ends a key. */
static bool
is_colon_behind(const struct yaml_parser *y, size_t at)
{
	while (at < y->n && yaml_is_blank(y->p[at]))
		at++;
	return at < y->n && y->p[at] == ':' && (at + 1 == y->n || yaml_is_end(y->p[at + 1]));
}

bool
yaml_at_key(const struct yaml_parser *y)
{
	char first = yaml_peek(y, 0);
	size_t at = y->pos;

	if (first == '\0' || strchr(",[]{}#&*!|>%@`", first) != NULL || yaml_at_dash(y) || ((first == '?' || first == ':') && yaml_is_end(yaml_peek(y, 1))))
		return false;
	if (first != '"' && first != '\'') {
		for (; at < y->n && !yaml_is_break(y->p[at]); at++) {
			if (y->p[at] == ':' && is_colon_behind(y, at))
				return true;
			if (y->p[at] == '#' && at > y->pos && yaml_is_blank(y->p[at - 1]))
				return false;
		}
		return false;
	}
	for (at++; at < y->n && !yaml_is_break(y->p[at]); at++) {
		if (y->p[at] == '\\' && first == '"')
			at++;
		else if (y->p[at] == first && first == '\'' && at + 1 < y->n && y->p[at + 1] == first)
			at++;
		else if (y->p[at] == first)
			return is_colon_behind(y, at + 1);
		if (at < y->n && yaml_is_break(y->p[at]))
			return false;
	}
	return false;
}

/* ---- building ---- */

void
yaml_append(struct yaml_node *parent, struct yaml_node **tail, struct yaml_node *child, struct yaml_node *key)
{
	child->key = key;
	if (*tail == NULL)
		parent->first = child;
	else
		(*tail)->next = child;
	*tail = child;
	parent->count++;
	parent->weight += child->weight + (key ? 1 : 0);
	if (child->height + 1 > parent->height)
		parent->height = child->height + 1;
}

struct yaml_node *
yaml_open_collection(struct yaml_parser *y, enum yaml_kind kind, enum yaml_style style)
{
	struct yaml_node *node;

	if (y->depth >= YAML_DEPTH_MAX)
		return yaml_fail(y, "document too deep");
	node = yaml_new_node(y, kind, style);
	if (node == NULL)
		return NULL;
	node->height = 1;
	y->depth++;
	return node;
}

/* ---- anchors, aliases, tags ---- */

static bool
is_name_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

/* The name behind '&' or '*' at pos; its length, 0 when it is none. */
static size_t
name_length(const struct yaml_parser *y)
{
	size_t len = 0;
	char after;

	while (is_name_byte(yaml_peek(y, 1 + len)))
		len++;
	after = yaml_peek(y, 1 + len);
	return yaml_is_end(after) || yaml_is_flow_mark(after) || after == ':' ? len : 0;
}

static int
read_tag(struct yaml_parser *y, struct yaml_props *props)
{
	static const struct {
		const char *name;
		enum yaml_type type;
	} tags[] = {{"!!str", YAML_STR}, {"!!int", YAML_INT}, {"!!bool", YAML_BOOL}, {"!!float", YAML_FLOAT}, {"!!null", YAML_NULL}};
	size_t len = 0;

	while (!yaml_is_end(yaml_peek(y, len)) && !yaml_is_flow_mark(yaml_peek(y, len)))
		len++;
	for (size_t i = 0; i < COUNT_OF(tags); i++)
		if (len == strlen(tags[i].name) && memcmp(y->p + y->pos, tags[i].name, len) == 0) {
			if (props->has_tag)
				break;
			props->tag = tags[i].type;
			props->has_tag = true;
			y->pos += len;
			return 0;
		}
	yaml_fail(y, "unsupported tag; quote the value if \"!\" belongs to it");
	return -1;
}

/* Reads the anchors and tags at pos and the blanks behind them, all on this line. */
int
yaml_read_props(struct yaml_parser *y, struct yaml_props *props)
{
	for (;; yaml_skip_blanks(y)) {
		char c = yaml_peek(y, 0);

		if (c != '&' && c != '!')
			return 0;
		props->line = y->line;
		props->column = yaml_column(y);
		if (c == '!') {
			if (read_tag(y, props) < 0)
				return -1;
		} else {
			size_t len = name_length(y);

			if (len == 0 || props->anchor) {
				yaml_fail(y, "\"&\" starts an anchor; quote the value");
				return -1;
			}
			props->anchor = y->p + y->pos + 1;
			props->anchor_len = len;
			y->pos += 1 + len;
		}
	}
}

/* Applies what stood before a finished node. */
struct yaml_node *
yaml_apply_props(struct yaml_parser *y, struct yaml_node *node, const struct yaml_props *props)
{
	struct yaml_anchor *anchor;

	if (node == NULL || (props->anchor == NULL && !props->has_tag))
		return node;
	if (props->has_tag) {
		enum yaml_type plain = node->kind == YAML_SCALAR ? yaml_resolve(node->text, node->len) : YAML_STR;

		if (node->kind != YAML_SCALAR || (props->tag != YAML_STR && plain != props->tag
		    && !(props->tag == YAML_FLOAT && plain == YAML_INT)))
			return yaml_fail_at(y, props->line, props->column, "the value does not fit its tag");
		node->type = props->tag;
	}
	if (props->anchor) {
		if (y->anchor_count++ >= ANCHORS_MAX || (anchor = arena_alloc(y->arena, sizeof(*anchor))) == NULL)
			return yaml_fail_at(y, props->line, props->column, "document too large");
		*anchor = (struct yaml_anchor){y->anchors, props->anchor, props->anchor_len, node};
		y->anchors = anchor;
	}
	return node;
}

/* "*name" at pos: a node of its own that shares the children of the first. */
struct yaml_node *
yaml_read_alias(struct yaml_parser *y)
{
	size_t len = name_length(y);
	struct yaml_node *node;

	if (len == 0)
		return yaml_fail(y, "\"*\" starts an alias; quote the value");
	for (const struct yaml_anchor *it = y->anchors; it; it = it->next) {
		if (it->len != len || memcmp(it->name, y->p + y->pos + 1, len) != 0)
			continue;
		if (y->depth + it->node->height > YAML_DEPTH_MAX)
			return yaml_fail(y, "document too deep");
		if (it->node->weight > YAML_NODES_MAX - y->nodes)
			return yaml_fail(y, "document too large");
		node = yaml_new_node(y, it->node->kind, it->node->style);
		if (node == NULL)
			return NULL;
		y->nodes += it->node->weight - 1;
		node->type = it->node->type;
		node->text = it->node->text;
		node->len = it->node->len;
		node->first = it->node->first;
		node->count = it->node->count;
		node->weight = it->node->weight;
		node->height = it->node->height;
		y->pos += 1 + len;
		return node;
	}
	return yaml_fail(y, "unknown anchor \"%.*s\"", (int)(len < 60 ? len : 60), y->p + y->pos + 1);
}
