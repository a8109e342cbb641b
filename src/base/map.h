/*
 * Hash table from byte strings to pointers. Keys are not copied: they usually lie inside the value and must live and stay
 * unchanged as long as the entry. Hashed with a per-process random key, so that no outsider can choose collisions.
 * For integer keys, pass the bytes of a field inside the value.
 */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include <stddef.h>

#include "base/slice.h"

struct map_entry;

struct map {
	struct map_entry *entries;
	size_t cap;             /* a power of two, or 0 */
	size_t count;           /* live entries */
	size_t used;            /* live entries and tombstones */
};

void map_init(struct map *m);
/* Frees the table, not the values. */
void map_free(struct map *m);
void *map_get(const struct map *m, struct slice key);
/* Sets key to a non-NULL value; returns the value it replaces (with its key), or NULL. */
void *map_put(struct map *m, struct slice key, void *value);
/* Removes and returns the value, or NULL. */
void *map_del(struct map *m, struct slice key);
/* Walks in table order: start with *at == 0; NULL at the end. map_del of the entry just returned is allowed; nothing else. */
void *map_next(const struct map *m, size_t *at);

#endif
