/*
 * What yaml.c (structure), yaml_scalar.c (scalars) and yaml_parser.c (the ground of both) share; nobody else includes this. The reader is a recursive descent over the
 * bytes: no token list. Reading functions return NULL or -1 after yaml_fail has set the error.
 */
#ifndef TEXT_YAML_PARSER_H
#define TEXT_YAML_PARSER_H

#include "base/buf.h"
#include "text/yaml.h"

struct yaml_parser {
	const char *p;                  /* the whole document; valid UTF-8 without control characters */
	size_t n;
	size_t pos;
	size_t line_start;              /* where the line of pos begins */
	unsigned line;                  /* of pos, from 1 */
	unsigned depth;                 /* open collections */
	size_t nodes;                   /* made so far, aliases expanded */
	size_t anchor_count;
	struct yaml_anchor *anchors;    /* newest first */
	struct buf scratch;             /* the scalar being decoded */
	struct arena *arena;
	struct err *err;
};

/* What may stand before a node: "&anchor" and "!!tag". */
struct yaml_props {
	const char *anchor;             /* NULL when there is none; into the document */
	size_t anchor_len;
	enum yaml_type tag;
	bool has_tag;
	unsigned line;                  /* of the last of them */
	unsigned column;
};

/* Sets "line:column: text"; always NULL. The first form complains about the place of pos. */
struct yaml_node *yaml_fail(struct yaml_parser *y, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
struct yaml_node *yaml_fail_at(struct yaml_parser *y, unsigned line, unsigned column, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* Column of pos from 0, for comparing indentations; -1 stands for "outside the document". */
static inline int
yaml_indent(const struct yaml_parser *y)
{
	return (int)(y->pos - y->line_start);
}

/* A node standing at pos, counted against the limit; NULL past it. */
struct yaml_node *yaml_new_node(struct yaml_parser *y, enum yaml_kind kind, enum yaml_style style);

static inline unsigned
yaml_column(const struct yaml_parser *y)
{
	return (unsigned)(y->pos - y->line_start) + 1;
}

/* The byte k after pos, 0 past the end (the document holds no NUL). */
static inline char
yaml_peek(const struct yaml_parser *y, size_t k)
{
	return k < y->n - y->pos ? y->p[y->pos + k] : '\0';
}

static inline bool
yaml_is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static inline bool
yaml_is_break(char c)
{
	return c == '\n' || c == '\r';
}

/* Blank, line end or end of document: what must follow ':' and '-'. */
static inline bool
yaml_is_end(char c)
{
	return c == '\0' || yaml_is_blank(c) || yaml_is_break(c);
}

static inline bool
yaml_is_flow_mark(char c)
{
	return c == ',' || c == '[' || c == ']' || c == '{' || c == '}';
}

void yaml_skip_blanks(struct yaml_parser *y);
/* Past the line end at pos (LF, CRLF or CR). */
void yaml_skip_break(struct yaml_parser *y);
/* Past blanks, comments and line ends to the next content. In block context a tab in front of that content is an error: -1. */
int yaml_skip_lines(struct yaml_parser *y, bool is_flow);
/* A comment at pos: "#" with a blank or nothing before it. */
bool yaml_at_comment(const struct yaml_parser *y);
/* Nothing more on this line but perhaps a comment. */
bool yaml_at_line_end(const struct yaml_parser *y);
/* End of the document: end of the text, or a marker that ends it. */
bool yaml_at_stop(const struct yaml_parser *y);
/* "-" that starts a list item. */
bool yaml_at_dash(const struct yaml_parser *y);
/* "---" or "..." at the start of a line. */
bool yaml_at_marker(const struct yaml_parser *y);
/* Whether a key with its colon starts at pos: looks at this line only. */
bool yaml_at_key(const struct yaml_parser *y);

/* A collection one level deeper (the reader lowers depth again at its end), and what is in it. */
struct yaml_node *yaml_open_collection(struct yaml_parser *y, enum yaml_kind kind, enum yaml_style style);
void yaml_append(struct yaml_node *parent, struct yaml_node **tail, struct yaml_node *child, struct yaml_node *key);

/* Reads the anchors and tags at pos and the blanks behind them, all on this line. */
int yaml_read_props(struct yaml_parser *y, struct yaml_props *props);
/* Applies what stood before a finished node; NULL stays NULL. */
struct yaml_node *yaml_apply_props(struct yaml_parser *y, struct yaml_node *node, const struct yaml_props *props);
/* "*name" at pos: a node of its own that shares the children of the first. */
struct yaml_node *yaml_read_alias(struct yaml_parser *y);

/* Each reads one scalar at pos into a node. Quoted ones leave pos behind the closing quote. */
struct yaml_node *yaml_read_quoted(struct yaml_parser *y);
/* Continues over lines that are indented deeper than parent (a column from 0, -1 at the top). */
struct yaml_node *yaml_read_plain(struct yaml_parser *y, int parent);
/* A key: one line, up to its colon. */
struct yaml_node *yaml_read_plain_key(struct yaml_parser *y);
/* Inside brackets: indentation does not matter, ",[]{}" end it. */
struct yaml_node *yaml_read_plain_flow(struct yaml_parser *y);
/* "|" and ">". */
struct yaml_node *yaml_read_block_scalar(struct yaml_parser *y, int parent);

#endif
