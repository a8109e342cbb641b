#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "text/toml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool condition)
{
	if (!condition)
		abort();
}

/* Places lie inside each other and in order. */
static void
walk(const struct toml_value *v, size_t from, size_t to, unsigned depth)
{
	size_t count = 0, at = v->start;

	require(depth <= TOML_DEPTH_MAX);
	require(from <= v->start && v->start < v->end && v->end <= to);
	for (const struct toml_value *it = v->first; it; it = it->next) {
		require((v->kind == TOML_TABLE) == (it->key.count > 0));
		walk(it, at, v->end, depth + 1);
		at = it->end;
		count++;
	}
	require(count == v->count);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = slice_make(data, size);
	struct toml *doc;
	struct arena a;
	size_t at = 0, count = 0;

	arena_init(&a, TOML_ARENA_MAX);
	doc = toml_parse(text, &a, NULL);
	for (const struct toml_item *it = doc ? doc->first : NULL; it; it = it->next) {
		require(at <= it->start && it->start <= it->at && it->at < it->end && it->end <= size);
		require(it->key.count > 0 && it->key.count <= TOML_KEY_MAX);
		require((it->kind == TOML_PAIR) == (it->value != NULL));
		if (it->value)
			walk(it->value, it->at, it->end, 1);
		at = it->end;
		count++;
	}
	require(doc == NULL || count == doc->count);
	arena_free(&a);
	return 0;
}
