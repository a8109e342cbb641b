/*
 * Reader of TOML (1.0) for programs that change files of others: it gives the statements of a document with the places where they
 * and their values stand in the text, so that a change touches those bytes and no other. Comments, order and layout are not looked
 * at. Syntax errors are errors; that a key is set twice is not noticed.
 */
#ifndef TEXT_TOML_H
#define TEXT_TOML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct arena;
struct buf;
struct err;

#define TOML_TEXT_MAX ((size_t)1024 * 1024)     /* bytes of a document; configuration is far smaller */
#define TOML_DEPTH_MAX 64                       /* arrays and inline tables inside each other; bounds the recursion */
#define TOML_VALUES_MAX 100000                  /* values and statements of a document */
#define TOML_KEY_MAX 32                         /* parts of one dotted key */
/* A limit for the arena that fits any document within these. */
#define TOML_ARENA_MAX ((size_t)64 * 1024 * 1024)

enum toml_kind { TOML_STRING, TOML_INTEGER, TOML_FLOAT, TOML_BOOL, TOML_DATE, TOML_ARRAY, TOML_TABLE };

/* A dotted key, decoded: a."b c" has two parts. */
struct toml_key {
	const struct slice *parts;
	size_t count;
};

struct toml_value {
	enum toml_kind kind;
	size_t start;                   /* its bytes in the text: [start, end) */
	size_t end;
	struct slice text;              /* TOML_STRING: decoded; else as written */
	bool truth;                     /* TOML_BOOL */
	struct toml_value *first;       /* of TOML_ARRAY and TOML_TABLE (an inline table), in order */
	struct toml_value *next;
	size_t count;                   /* elements or members */
	struct toml_key key;            /* of a member of an inline table */
	size_t key_start;
};

enum toml_item_kind {
	TOML_PAIR,                      /* key = value */
	TOML_HEADER,                    /* [key] */
	TOML_ARRAY_HEADER,              /* [[key]] */
};

/* One statement. */
struct toml_item {
	enum toml_item_kind kind;
	struct toml_key key;            /* of a pair: below the key of its header */
	const struct toml_item *header; /* of a pair: the header above it; NULL: none */
	struct toml_value *value;       /* of a pair */
	size_t start;                   /* whole lines, with indentation, comment and line end: [start, end) */
	size_t end;
	size_t at;                      /* its first byte */
	unsigned line;                  /* from 1 */
	struct toml_item *next;
};

struct toml {
	struct slice text;              /* the caller's; must live as long */
	struct toml_item *first;        /* in order */
	size_t count;
};

/* NULL with "line L: ..." (INVALID_ARGUMENT), or RESOURCE_EXHAUSTED past a limit. */
struct toml *toml_parse(struct slice text, struct arena *a, struct err *e);

/* 0 and the number of a TOML_INTEGER; -1 for other kinds (v may be NULL) and numbers that do not fit. */
int toml_i64(const struct toml_value *v, int64_t *out);

/* ---- writing ---- */

/* A basic string in its quotes. Bytes that are no UTF-8 become U+FFFD. */
void toml_put_string(struct buf *out, struct slice s);
/* One part of a key, bare where it can be. */
void toml_put_key(struct buf *out, struct slice part);

#endif
