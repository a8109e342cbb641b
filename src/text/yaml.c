/*
 * YAML structure: documents, block and flow collections. Scalars are read in yaml_scalar.c; moving, anchors and tags are in yaml_parser.c.
 */
#include "text/yaml.h"

#include <string.h>

#include "base/arena.h"
#include "base/err.h"
#include "text/utf8.h"
#include "text/yaml_parser.h"

enum where { AFTER_KEY, AFTER_DASH, AFTER_MARKER };

static struct yaml_node *read_block_node(struct yaml_parser *y, int parent, struct yaml_props *props);
static struct yaml_node *read_flow_node(struct yaml_parser *y);

/* ---- flow ---- */

/* To the next content inside brackets; fails at the end of the document. */
static int
skip_flow(struct yaml_parser *y, const struct yaml_node *open)
{
	bool is_map = open->kind == YAML_MAPPING;

	yaml_skip_lines(y, true);
	if (!yaml_at_stop(y))
		return 0;
	yaml_fail_at(y, open->line, open->column, "missing \"%c\" for \"%c\" at line %u", is_map ? '}' : ']', is_map ? '{' : '[', open->line);
	return -1;
}

/* Whether a colon at pos separates key and value: a quoted key needs no blank behind it, as in JSON. */
static bool
is_flow_colon(const struct yaml_parser *y, const struct yaml_node *key)
{
	char next = yaml_peek(y, 1);

	return yaml_peek(y, 0) == ':' && (yaml_is_end(next) || yaml_is_flow_mark(next)
	    || (key && (key->style == YAML_SINGLE || key->style == YAML_DOUBLE)));
}

static int
check_key(struct yaml_parser *y, const struct yaml_node *key)
{
	if (key->kind != YAML_SCALAR) {
		yaml_fail_at(y, key->line, key->column, "a list or mapping cannot be a key");
		return -1;
	}
	if (key->line != y->line) {
		yaml_fail_at(y, key->line, key->column, "a key must stand on one line");
		return -1;
	}
	if (key->len > YAML_KEY_MAX) {
		yaml_fail_at(y, key->line, key->column, "key longer than %d bytes", YAML_KEY_MAX);
		return -1;
	}
	return 0;
}

/* The value behind a colon at pos, or an empty one when the collection goes on at once. */
static struct yaml_node *
read_flow_value(struct yaml_parser *y, const struct yaml_node *open)
{
	char c;

	y->pos++;
	if (skip_flow(y, open) < 0)
		return NULL;
	c = yaml_peek(y, 0);
	if (c == ',' || c == ']' || c == '}')
		return yaml_new_node(y, YAML_SCALAR, YAML_EMPTY);
	return read_flow_node(y);
}

/* One "key: value", or a key alone. */
static struct yaml_node *
read_flow_pair(struct yaml_parser *y, const struct yaml_node *open, struct yaml_node **key)
{
	*key = read_flow_node(y);
	if (*key == NULL || check_key(y, *key) < 0 || skip_flow(y, open) < 0)
		return NULL;
	if (!is_flow_colon(y, *key))
		return yaml_new_node(y, YAML_SCALAR, YAML_EMPTY);
	if (check_key(y, *key) < 0)
		return NULL;
	return read_flow_value(y, open);
}

/* An item of a sequence; "[a: b]" makes it a mapping of one pair. */
static struct yaml_node *
read_flow_item(struct yaml_parser *y, const struct yaml_node *open)
{
	struct yaml_node *item = read_flow_node(y);
	struct yaml_node *pair;
	struct yaml_node *value;
	struct yaml_node *tail = NULL;

	if (item == NULL || skip_flow(y, open) < 0)
		return NULL;
	if (!is_flow_colon(y, item))
		return item;
	if (check_key(y, item) < 0 || (pair = yaml_open_collection(y, YAML_MAPPING, YAML_FLOW)) == NULL)
		return NULL;
	pair->line = item->line;
	pair->column = item->column;
	value = read_flow_value(y, open);
	if (value == NULL)
		return NULL;
	yaml_append(pair, &tail, value, item);
	y->depth--;
	return pair;
}

static struct yaml_node *
read_flow_collection(struct yaml_parser *y)
{
	bool is_map = yaml_peek(y, 0) == '{';
	char close = is_map ? '}' : ']';
	struct yaml_node *node = yaml_open_collection(y, is_map ? YAML_MAPPING : YAML_SEQUENCE, YAML_FLOW);
	struct yaml_node *tail = NULL;

	if (node == NULL)
		return NULL;
	y->pos++;
	for (;;) {
		struct yaml_node *key = NULL;
		struct yaml_node *child;

		if (skip_flow(y, node) < 0)
			return NULL;
		if (yaml_peek(y, 0) == close)
			break;
		child = is_map ? read_flow_pair(y, node, &key) : read_flow_item(y, node);
		if (child == NULL)
			return NULL;
		yaml_append(node, &tail, child, key);
		if (skip_flow(y, node) < 0)
			return NULL;
		if (yaml_peek(y, 0) == ',')
			y->pos++;
		else if (yaml_peek(y, 0) != close)
			return yaml_fail(y, "expected \",\" or \"%c\"", close);
	}
	y->pos++;
	y->depth--;
	return node;
}

/* A node inside brackets, at its first byte. */
static struct yaml_node *
read_flow_node(struct yaml_parser *y)
{
	struct yaml_props props = {0};
	struct yaml_node *node;
	char c;

	if (yaml_read_props(y, &props) < 0)
		return NULL;
	c = yaml_peek(y, 0);
	if ((props.anchor || props.has_tag) && (c == '\0' || yaml_is_break(c) || c == ',' || c == ']' || c == '}'))
		node = yaml_new_node(y, YAML_SCALAR, YAML_EMPTY);
	else if (c == '[' || c == '{')
		node = read_flow_collection(y);
	else if (c == '"' || c == '\'')
		node = yaml_read_quoted(y);
	else if (c == '*')
		node = yaml_read_alias(y);
	else if (strchr(",]}#|>%@`", c) != NULL || ((c == '-' || c == '?' || c == ':')
	    && (yaml_is_end(yaml_peek(y, 1)) || yaml_is_flow_mark(yaml_peek(y, 1)))))
		return yaml_fail(y, "unexpected \"%c\" inside brackets; quote the value", c);
	else
		node = yaml_read_plain_flow(y);
	return yaml_apply_props(y, node, &props);
}

/* ---- block ---- */

/* Nothing but a comment may follow a value on its line. */
static struct yaml_node *
end_of_value(struct yaml_parser *y, struct yaml_node *node, const char *what)
{
	if (node == NULL)
		return NULL;
	yaml_skip_blanks(y);
	/* Right behind a quote or bracket a comment needs no blank: the reference takes it, so files may have it. */
	if (yaml_peek(y, 0) == '#')
		while (y->pos < y->n && !yaml_is_break(yaml_peek(y, 0)))
			y->pos++;
	if (yaml_at_line_end(y))
		return node;
	if (yaml_peek(y, 0) == ':' && yaml_is_end(yaml_peek(y, 1)))
		return yaml_fail(y, "second \":\" in value; quote the value");
	return yaml_fail(y, "unexpected text after %s; quote the value", what);
}

/* A scalar, alias or flow collection at pos that is no mapping. */
static struct yaml_node *
read_inline_node(struct yaml_parser *y, int parent)
{
	char c = yaml_peek(y, 0);

	switch (c) {
	case '[':
		return end_of_value(y, read_flow_collection(y), "\"]\"");
	case '{':
		return end_of_value(y, read_flow_collection(y), "\"}\"");
	case '"':
	case '\'':
		return end_of_value(y, yaml_read_quoted(y), "the closing quote");
	case '*':
		return end_of_value(y, yaml_read_alias(y), "an alias");
	case '|':
	case '>':
		return yaml_read_block_scalar(y, parent);
	case '%':
	case '@':
	case '`':
	case ',':
	case ']':
	case '}':
		return yaml_fail(y, "a value cannot start with \"%c\"; quote the value", c);
	default:
		break;
	}
	if (yaml_at_dash(y))
		return yaml_fail(y, "start the list on the next line");
	if (c == '?' && yaml_is_end(yaml_peek(y, 1)))
		return yaml_fail(y, "keys written with \"?\" are not supported");
	if (c == ':' && yaml_is_end(yaml_peek(y, 1)))
		return yaml_fail(y, "key missing before \":\"");
	return yaml_read_plain(y, parent);
}

/* The node behind "key:", "-" or "---", on the same line or below; an empty one when there is none. */
static struct yaml_node *
read_node_after(struct yaml_parser *y, int parent, enum where where)
{
	struct yaml_props props = {0};
	struct yaml_node *empty;
	int at;

	yaml_skip_blanks(y);
	if (yaml_read_props(y, &props) < 0)
		return NULL;
	if (!yaml_at_line_end(y)) {
		if ((props.anchor || props.has_tag) && where == AFTER_KEY)
			return yaml_apply_props(y, read_inline_node(y, parent), &props);
		return where == AFTER_KEY ? read_inline_node(y, parent) : read_block_node(y, parent, &props);
	}
	empty = yaml_new_node(y, YAML_SCALAR, YAML_EMPTY);
	if (empty == NULL || yaml_skip_lines(y, false) < 0)
		return NULL;
	at = yaml_indent(y);
	if (yaml_at_stop(y))
		return yaml_apply_props(y, empty, &props);
	if (at > parent)
		return read_block_node(y, parent, &props);
	/* A list may stand at the column of its key. */
	if (where == AFTER_KEY && at == parent && yaml_at_dash(y))
		return read_block_node(y, parent - 1, &props);
	return yaml_apply_props(y, empty, &props);
}

static struct yaml_node *
read_key(struct yaml_parser *y)
{
	struct yaml_props props = {0};
	char c;
	struct yaml_node *key;

	if (yaml_read_props(y, &props) < 0)
		return NULL;
	c = yaml_peek(y, 0);
	key = c == '"' || c == '\'' ? yaml_read_quoted(y) : yaml_read_plain_key(y);
	if (key == NULL || check_key(y, key) < 0)
		return NULL;
	yaml_skip_blanks(y);
	return yaml_apply_props(y, key, &props);
}

/* Whether a key of a block mapping starts at pos, perhaps with an anchor before it. */
static bool
at_block_key(const struct yaml_parser *y)
{
	struct yaml_parser ahead = *y;

	while (yaml_peek(&ahead, 0) == '&' || yaml_peek(&ahead, 0) == '!') {
		while (!yaml_is_end(yaml_peek(&ahead, 0)))
			ahead.pos++;
		yaml_skip_blanks(&ahead);
	}
	return yaml_at_key(&ahead);
}

/* What is wrong with a line that is indented deeper than the entries around it. */
static struct yaml_node *
fail_deeper(struct yaml_parser *y, const struct yaml_node *last)
{
	if (last->style == YAML_BLOCK || last->key == NULL)
		return yaml_fail(y, "indentation does not match any open block");
	return yaml_fail(y, "unexpected indentation; \"%.60s\" already has a value", last->key->text);
}

static struct yaml_node *
fail_no_key(struct yaml_parser *y)
{
	size_t at = y->pos;

	if (yaml_at_dash(y))
		return yaml_fail(y, "a list item among the keys of a mapping");
	if (yaml_peek(y, 0) == '?' && yaml_is_end(yaml_peek(y, 1)))
		return yaml_fail(y, "keys written with \"?\" are not supported");
	if (yaml_peek(y, 0) == ':' && yaml_is_end(yaml_peek(y, 1)))
		return yaml_fail(y, "key missing before \":\"");
	for (; at < y->n && !yaml_is_break(y->p[at]); at++)
		if (y->p[at] == ':')
			return yaml_fail(y, "missing blank after \":\"");
	return yaml_fail(y, "expected a key and \":\"");
}

static struct yaml_node *
read_block_mapping(struct yaml_parser *y)
{
	int indent = yaml_indent(y);
	struct yaml_node *map = yaml_open_collection(y, YAML_MAPPING, YAML_BLOCK);
	struct yaml_node *tail = NULL;

	if (map == NULL)
		return NULL;
	do {
		struct yaml_node *key;
		struct yaml_node *value;

		if (!at_block_key(y))
			return fail_no_key(y);
		key = read_key(y);
		if (key == NULL)
			return NULL;
		y->pos++;
		value = read_node_after(y, indent, AFTER_KEY);
		if (value == NULL)
			return NULL;
		yaml_append(map, &tail, value, key);
		if (yaml_skip_lines(y, false) < 0)
			return NULL;
		if (!yaml_at_stop(y) && yaml_indent(y) > indent)
			return fail_deeper(y, value);
	} while (!yaml_at_stop(y) && yaml_indent(y) == indent);
	y->depth--;
	return map;
}

static struct yaml_node *
read_block_sequence(struct yaml_parser *y)
{
	int indent = yaml_indent(y);
	struct yaml_node *seq = yaml_open_collection(y, YAML_SEQUENCE, YAML_BLOCK);
	struct yaml_node *tail = NULL;

	if (seq == NULL)
		return NULL;
	do {
		struct yaml_node *item;

		y->pos++;
		item = read_node_after(y, indent, AFTER_DASH);
		if (item == NULL)
			return NULL;
		yaml_append(seq, &tail, item, NULL);
		if (yaml_skip_lines(y, false) < 0)
			return NULL;
		if (!yaml_at_stop(y) && yaml_indent(y) > indent)
			return fail_deeper(y, item);
	} while (!yaml_at_stop(y) && yaml_indent(y) == indent && yaml_at_dash(y));
	y->depth--;
	return seq;
}

/* The node at pos, which is the first content of its line or follows "- ". What stood before it is in props. */
static struct yaml_node *
read_block_node(struct yaml_parser *y, int parent, struct yaml_props *props)
{
	struct yaml_node *node;

	if (yaml_at_dash(y))
		return yaml_apply_props(y, read_block_sequence(y), props);
	if (at_block_key(y))
		return yaml_apply_props(y, read_block_mapping(y), props);
	if (yaml_peek(y, 0) == '&' || yaml_peek(y, 0) == '!') {
		if (yaml_read_props(y, props) < 0)
			return NULL;
		if (yaml_at_line_end(y)) {
			if (yaml_skip_lines(y, false) < 0)
				return NULL;
			if (yaml_at_stop(y) || yaml_indent(y) <= parent)
				return yaml_apply_props(y, yaml_new_node(y, YAML_SCALAR, YAML_EMPTY), props);
			if (yaml_peek(y, 0) == '&' || yaml_peek(y, 0) == '!')
				return at_block_key(y) ? yaml_apply_props(y, read_block_mapping(y), props)
				    : yaml_fail(y, "anchors and tags of one node stand on one line");
			return read_block_node(y, parent, props);
		}
	}
	node = read_inline_node(y, parent);
	return yaml_apply_props(y, node, props);
}

/* ---- document ---- */

/* Control characters that YAML forbids, and bytes that are no UTF-8. */
static int
check_bytes(struct yaml_parser *y)
{
	size_t at = y->pos;

	while (at < y->n) {
		unsigned char c = (unsigned char)y->p[at];
		uint32_t code = c;
		size_t bad;
		size_t len = c < 0x80 ? 1 : utf8_decode(slice_make(y->p + at, y->n - at), &code, &bad);

		if (len == 0) {
			err_set(y->err, ERR_INVALID_ARGUMENT, "%u:%zu: invalid UTF-8 at byte %zu", y->line, at - y->line_start + 1, at + 1);
			return -1;
		}
		if ((code < 0x20 && code != '\t' && code != '\n' && code != '\r') || code == 0x7F || (code >= 0x80 && code < 0xA0 && code != 0x85)) {
			err_set(y->err, ERR_INVALID_ARGUMENT, "%u:%zu: control character U+%04X", y->line, at - y->line_start + 1, (unsigned)code);
			return -1;
		}
		if (c == '\n' || (c == '\r' && (at + 1 == y->n || y->p[at + 1] != '\n'))) {
			y->line++;
			y->line_start = at + 1;
		}
		at += len;
	}
	y->line = 1;
	y->line_start = y->pos;
	return 0;
}

/* "%YAML 1.1" or "%YAML 1.2" lines before the document. */
static int
read_directives(struct yaml_parser *y)
{
	bool has_directive = false;

	while (yaml_peek(y, 0) == '%' && yaml_indent(y) == 0) {
		struct slice rest = slice_make(y->p + y->pos, y->n - y->pos);

		if (has_directive || (!slice_starts(rest, "%YAML 1.1") && !slice_starts(rest, "%YAML 1.2")) || !yaml_is_end(yaml_peek(y, 9))) {
			yaml_fail(y, "unsupported directive");
			return -1;
		}
		has_directive = true;
		y->pos += 9;
		yaml_skip_blanks(y);
		if (!yaml_at_line_end(y)) {
			yaml_fail(y, "unexpected text after a directive");
			return -1;
		}
		if (yaml_skip_lines(y, false) < 0)
			return -1;
	}
	if (has_directive && !(yaml_at_marker(y) && yaml_peek(y, 0) == '-')) {
		yaml_fail(y, "expected \"---\" after a directive");
		return -1;
	}
	return 0;
}

static struct yaml_node *
read_document(struct yaml_parser *y)
{
	struct yaml_props props = {0};
	struct yaml_node *root;

	if (check_bytes(y) < 0 || yaml_skip_lines(y, false) < 0 || read_directives(y) < 0)
		return NULL;
	if (yaml_at_marker(y) && yaml_peek(y, 0) == '-') {
		y->pos += 3;
		root = read_node_after(y, -1, AFTER_MARKER);
	} else if (yaml_at_stop(y)) {
		root = yaml_new_node(y, YAML_SCALAR, YAML_EMPTY);
	} else {
		root = read_block_node(y, -1, &props);
	}
	if (root == NULL || yaml_skip_lines(y, false) < 0)
		return NULL;
	if (!yaml_at_stop(y))
		return yaml_fail(y, root->style == YAML_BLOCK ? "indentation does not match any open block" : "unexpected text after the value");
	while (yaml_at_marker(y) && yaml_peek(y, 0) == '.') {
		y->pos += 3;
		yaml_skip_blanks(y);
		if (!yaml_at_line_end(y))
			return yaml_fail(y, "unexpected text after \"...\"");
		if (yaml_skip_lines(y, false) < 0)
			return NULL;
	}
	if (y->pos < y->n)
		return yaml_fail(y, "only one document allowed");
	return root;
}

struct yaml_node *
yaml_parse(const char *text, size_t len, struct arena *a, struct err *e)
{
	struct yaml_parser y = {.p = text, .n = len, .line = 1, .arena = a, .err = e};
	struct yaml_node *root;

	if (len > YAML_TEXT_MAX)
		return yaml_fail(&y, "document too large");
	if (slice_starts(slice_make(text, len), "\xEF\xBB\xBF"))
		y.pos = y.line_start = 3;
	root = read_document(&y);
	buf_free(&y.scratch);
	return root;
}

struct yaml_node *
yaml_get(const struct yaml_node *map, const char *key)
{
	struct yaml_node *found = NULL;

	if (map && map->kind == YAML_MAPPING)
		for (struct yaml_node *it = map->first; it; it = it->next)
			if (slice_eq_str(slice_make(it->key->text, it->key->len), key))
				found = it;
	return found;
}
