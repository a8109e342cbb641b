/*
 * What yaml.c (structure) and yaml_scalar.c (scalars) share; nobody else includes this. The reader is a recursive descent over the
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

/* Sets "line:column: text"; always NULL. The first form complains about the place of pos. */
struct yaml_node *yaml_fail(struct yaml_parser *y, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
struct yaml_node *yaml_fail_at(struct yaml_parser *y, unsigned line, unsigned column, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

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
/* "---" or "..." at the start of a line. */
bool yaml_at_marker(const struct yaml_parser *y);
/* Whether a key with its colon starts at pos: looks at this line only. */
bool yaml_at_key(const struct yaml_parser *y);

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
