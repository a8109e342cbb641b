#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "text/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool condition)
{
	if (!condition)
		abort();
}

static void
write_number(struct json_writer *w, const struct json *v)
{
	uint64_t u;
	int64_t i;
	double d;

	bool is_plain = slice_find(v->text, '.') < 0 && slice_find(v->text, 'e') < 0 && slice_find(v->text, 'E') < 0;

	if (is_plain && json_u64(v, &u) == 0)
		json_write_u64(w, u);
	else if (is_plain && json_i64(v, &i) == 0)
		json_write_i64(w, i);
	else if (json_double(v, &d) == 0)
		json_write_double(w, d + 0.0);  /* -0 becomes 0, as it is for integers */
	else
		json_write_null(w);
}

static void
write_tree(struct json_writer *w, const struct json *v)
{
	size_t n = 0;

	switch (v->kind) {
	case JSON_NULL:
		json_write_null(w);
		return;
	case JSON_BOOL:
		json_write_bool(w, v->truth);
		return;
	case JSON_NUMBER:
		write_number(w, v);
		return;
	case JSON_STRING:
		require(v->text.p[v->text.n] == 0);
		json_write_slice(w, v->text);
		return;
	case JSON_ARRAY:
		json_begin_array(w);
		break;
	case JSON_OBJECT:
		json_begin_object(w);
		break;
	}
	for (const struct json *i = v->first; i != NULL; i = i->next, n++) {
		if (v->kind == JSON_OBJECT)
			json_write_key_slice(w, i->name);
		write_tree(w, i);
	}
	require(n == v->count);
	if (v->kind == JSON_ARRAY)
		json_end_array(w);
	else
		json_end_object(w);
}

/* What is read and written reads and writes the same again. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf once = BUF_INIT, twice = BUF_INIT;
	struct json_writer w;
	struct arena a;
	struct json *v;

	arena_init(&a, 64 * size + 128);
	v = json_parse(&a, slice_make(data, size), NULL);
	if (v != NULL) {
		json_write_init(&w, &once);
		write_tree(&w, v);
		arena_free(&a);
		arena_init(&a, 0);
		v = json_parse(&a, buf_slice(&once), NULL);
		require(v != NULL);
		json_write_init(&w, &twice);
		write_tree(&w, v);
		require(slice_eq(buf_slice(&once), buf_slice(&twice)));
	}
	arena_free(&a);
	buf_free(&once);
	buf_free(&twice);
	return 0;
}
