/*
 * The walker that maps a YAML tree onto structs from tables: one table per mapping, one line per key. It knows nothing of
 * particular files. All complaints go into notes, with file, line, column and the dotted path of the key, so that one run shows
 * every mistake; the caller looks at notes->error_count in the end.
 */
#ifndef CONFIG_SCHEMA_H
#define CONFIG_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

struct arena;
struct config_notes;
struct schema_key;
struct yaml_node;

enum schema_type {
	SCHEMA_SECTION,         /* a mapping with a table of its own; the same struct, so offsets stay relative to it */
	SCHEMA_BOOL,            /* bool */
	SCHEMA_U8,              /* uint8_t and so on */
	SCHEMA_U16,
	SCHEMA_U32,
	SCHEMA_U64,
	SCHEMA_BYTES,           /* uint64_t: a size with or without unit */
	SCHEMA_MS,              /* int64_t: a duration, rounded up to ms */
	SCHEMA_TEXT,            /* const char * */
	SCHEMA_IP,              /* const char *: IPv4 or IPv6 literal */
	SCHEMA_WORD,            /* an enum (of the size of int): one of the words */
	SCHEMA_TEXTS,           /* struct config_strings: a sequence of scalars */
	SCHEMA_HEADERS,         /* struct config_headers: a mapping of scalars; a sequence of scalars gives several of one name */
	SCHEMA_OCTAL,           /* uint32_t; of custom keys alone, to be printed */
	SCHEMA_CUSTOM,          /* apply does it */
};

enum {
	SCHEMA_EMPTY_UNSETS = 1,        /* "" means not set */
	SCHEMA_SECRET = 2,              /* the value is never shown */
	SCHEMA_NULL_IS_LIST = 4,        /* nothing behind the colon is an empty list */
};

struct schema_word {
	const char *word;               /* NULL ends the list */
	int value;
	const char *warning;            /* of an old word that still works; such are not offered in messages */
};

struct schema {
	const struct schema_key *keys;
	size_t count;
	const struct schema_old *old;   /* names that earlier versions had */
	size_t old_count;
};

struct schema_old {
	const char *name;
	const char *hint;
};

struct schema_walk {
	const char *file;               /* for messages */
	bool has_places;                /* false: the tree was not written in a file, leave line and column out */
	bool is_strict;                 /* unknown keys are errors */
	const struct schema *root;      /* where a misplaced key may belong */
	struct config_notes *notes;
	struct arena *arena;            /* for texts and lists; limited by the caller */
	struct buf path;                /* of the key at hand: "proxy.rules[0].regex" */
	bool skips_patterns;            /* a regex that does not compile is a warning, for those who can go on without it */
};

/* Maps a node into the field at `at`. -1 after an error was noted. */
typedef int schema_apply(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *at);

struct schema_key {
	const char *name;
	enum schema_type type;
	size_t offset;                  /* of the field in the struct that the root table describes */
	const char *initial;            /* default, as it would be written; NULL: zero, absent */
	uint64_t min;                   /* of numbers, sizes and ms; in the message when broken */
	uint64_t max;                   /* 0: as far as the type goes */
	unsigned flags;
	const char *alias;              /* other spelling of name */
	const struct schema *table;     /* SCHEMA_SECTION, and of the items of a custom list where they are mappings */
	const struct schema_word *words;
	schema_apply *apply;            /* SCHEMA_CUSTOM */
	enum schema_type stored;        /* SCHEMA_CUSTOM: as what the field can be printed */
	bool has_presence;              /* SCHEMA_SECTION: the bool at offset tells whether it is there; null switches it off */
};

#define SCHEMA(keys_) {(keys_), COUNT_OF(keys_), NULL, 0}
#define SCHEMA_WITH_OLD(keys_, old_) {(keys_), COUNT_OF(keys_), (old_), COUNT_OF(old_)}

/* Fills base with the defaults of a table, sections included. The tables are our own: a bad default ends the process. */
void schema_set_defaults(struct schema_walk *w, const struct schema *s, void *base);
/* Maps a mapping onto base; what is not in it stays as it is. -1 when the node is no mapping, else 0: other errors are in the notes. */
int schema_apply_mapping(struct schema_walk *w, const struct schema *s, const struct yaml_node *node, void *base);
/* Goes through a sequence of scalars: a copy of each into *out. */
int schema_apply_texts(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *at);

/* "(nothing)", null, or "" where that means the same. */
bool schema_is_unset(const struct schema_key *key, const struct yaml_node *node);

/* Notes about the place of node (NULL: no place) and the current path. error always returns -1. */
int schema_error(struct schema_walk *w, const struct yaml_node *node, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void schema_warn(struct schema_walk *w, const struct yaml_node *node, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Adds ".name" or "[index]" to the path and returns what schema_leave takes to remove it. */
size_t schema_enter(struct schema_walk *w, const char *name);
size_t schema_enter_item(struct schema_walk *w, size_t index);
void schema_leave(struct schema_walk *w, size_t mark);

/* A decimal integer of 32 bits with a sign. */
int schema_i32(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, int32_t *out);

/* A scalar's text as a string in the arena; NULL after noting an error (not a scalar, a NUL inside). */
const char *schema_text(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node);
/* "expected <what>, found <node>". */
int schema_wrong_type(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, const char *what);

#endif
