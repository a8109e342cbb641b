/*
 * Reader for the subset of YAML that configuration files use, and with it JSON: one document, block and flow collections, all scalar
 * styles, anchors and aliases, the core tags. Not: complex keys, merging ("<<" is an ordinary key), other tags, several documents.
 * The tree lies in the caller's arena; each node knows where it stood, so that every later complaint can name the place.
 * Duplicate keys are kept: whoever walks the tree decides.
 */
#ifndef TEXT_YAML_H
#define TEXT_YAML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;
struct err;

#define YAML_TEXT_MAX (1024 * 1024)     /* bytes of a document; configuration is far smaller */
#define YAML_DEPTH_MAX 64               /* collections inside each other; bounds the recursion */
#define YAML_NODES_MAX 100000           /* nodes, counting an alias as all it stands for */
#define YAML_KEY_MAX 1024               /* bytes of a key's source text, as YAML 1.1 has it */

enum yaml_kind { YAML_SCALAR, YAML_SEQUENCE, YAML_MAPPING };
enum yaml_style { YAML_EMPTY, YAML_PLAIN, YAML_SINGLE, YAML_DOUBLE, YAML_LITERAL, YAML_FOLDED, YAML_BLOCK, YAML_FLOW };
/* What an unquoted scalar looks like; quoted ones are strings. */
enum yaml_type { YAML_NULL, YAML_BOOL, YAML_INT, YAML_FLOAT, YAML_STR };

struct yaml_node {
	enum yaml_kind kind;
	enum yaml_style style;          /* YAML_EMPTY: nothing was written */
	enum yaml_type type;            /* of a scalar */
	unsigned line;                  /* both from 1; columns count bytes */
	unsigned column;
	const char *text;               /* of a scalar: its text without quoting, NUL-terminated (may hold NULs of its own) */
	size_t len;
	struct yaml_node *key;          /* of a mapping's child: its key, a scalar; else NULL */
	struct yaml_node *first;        /* children in document order */
	struct yaml_node *next;         /* the next child of the same parent */
	size_t count;                   /* children */
	size_t weight;                  /* nodes in this tree, itself included */
	unsigned height;                /* collections inside each other, 0 for a scalar */
};

/*
 * Parses one document. An empty one gives a scalar of style YAML_EMPTY. NULL with e set as "line:column: what is wrong" on a syntax
 * error or past a limit (also the arena's). No state is kept.
 */
struct yaml_node *yaml_parse(const char *text, size_t len, struct arena *a, struct err *e);

/* The last child of a mapping with this key, or NULL. */
struct yaml_node *yaml_get(const struct yaml_node *map, const char *key);

/* What the text would be if it stood unquoted. */
enum yaml_type yaml_resolve(const char *text, size_t len);

#endif
