#include "base/map.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/rand.h"
#include "base/siphash.h"

#define MAP_FIRST 16

/* Open addressing with linear probing. Free: value and key.p are NULL. Removed: value is NULL, key.p is `removed`. */
struct map_entry {
	struct slice key;
	void *value;
	uint64_t hash;
};

static const uint8_t removed[1];
static struct siphash_key map_key;
static pthread_once_t map_key_once = PTHREAD_ONCE_INIT;

static void
make_key(void)
{
	map_key.k0 = rand_u64();
	map_key.k1 = rand_u64();
}

static uint64_t
hash_of(struct slice key)
{
	pthread_once(&map_key_once, make_key);
	return siphash(&map_key, key.p, key.n);
}

void
map_init(struct map *m)
{
	*m = (struct map){0};
}

void
map_free(struct map *m)
{
	free(m->entries);
	map_init(m);
}

static struct map_entry *
find(const struct map *m, struct slice key, uint64_t hash)
{
	if (m->cap == 0)
		return NULL;
	for (size_t i = (size_t)hash & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
		struct map_entry *e = &m->entries[i];

		if (e->value == NULL && e->key.p != removed)
			return NULL;
		if (e->value != NULL && e->hash == hash && slice_eq(e->key, key))
			return e;
	}
}

void *
map_get(const struct map *m, struct slice key)
{
	struct map_entry *e = m->count > 0 ? find(m, key, hash_of(key)) : NULL;

	return e != NULL ? e->value : NULL;
}

/* Where a key that is not inside goes: the first free or removed place on its way. */
static struct map_entry *
place(const struct map *m, uint64_t hash)
{
	size_t i = (size_t)hash & (m->cap - 1);

	while (m->entries[i].value != NULL)
		i = (i + 1) & (m->cap - 1);
	return &m->entries[i];
}

/* A table of twice the live entries or more, without the removed ones. */
static void
rebuild(struct map *m)
{
	struct map old = *m;

	m->cap = MAP_FIRST;
	while (m->cap < old.count * 2 + 2)
		m->cap *= 2;
	m->entries = xcalloc(m->cap, sizeof(*m->entries));
	m->used = m->count;
	for (size_t i = 0; i < old.cap; i++) {
		if (old.entries[i].value != NULL)
			*place(m, old.entries[i].hash) = old.entries[i];
	}
	free(old.entries);
}

void *
map_put(struct map *m, struct slice key, void *value)
{
	uint64_t hash = hash_of(key);
	struct map_entry *e = find(m, key, hash);
	void *before = NULL;

	if (e != NULL) {
		before = e->value;
	} else {
		if (m->used + 1 > m->cap - m->cap / 4)
			rebuild(m);
		e = place(m, hash);
		if (e->key.p != removed)
			m->used++;
		m->count++;
	}
	*e = (struct map_entry){key, value, hash};
	return before;
}

void *
map_del(struct map *m, struct slice key)
{
	struct map_entry *e = m->count > 0 ? find(m, key, hash_of(key)) : NULL;
	void *value;

	if (e == NULL)
		return NULL;
	value = e->value;
	*e = (struct map_entry){.key = {removed, 0}};
	m->count--;
	return value;
}

void *
map_next(const struct map *m, size_t *at)
{
	while (*at < m->cap) {
		void *value = m->entries[(*at)++].value;

		if (value != NULL)
			return value;
	}
	return NULL;
}
