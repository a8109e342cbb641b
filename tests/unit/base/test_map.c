#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/map.h"
#include "base/mem.h"
#include "base/rand.h"

#define ITEMS 500

struct item {
	uint32_t key;
	bool is_inside;
	bool seen;
};

static struct slice
key_of(const struct item *it)
{
	return slice_make(&it->key, sizeof(it->key));
}

static void
empty_map_answers(void **state)
{
	size_t at = 0;
	struct map m;

	(void)state;
	map_init(&m);
	assert_null(map_get(&m, slice_str("x")));
	assert_null(map_del(&m, slice_str("x")));
	assert_null(map_next(&m, &at));
	map_free(&m);
}

static void
put_replaces_and_tells_what_was_there(void **state)
{
	char a[] = "a", b[] = "b";
	struct map m;

	(void)state;
	map_init(&m);
	assert_null(map_put(&m, slice_str("k"), a));
	assert_ptr_equal(map_put(&m, slice_str("k"), b), a);
	assert_ptr_equal(map_get(&m, slice_str("k")), b);
	assert_int_equal(m.count, 1);
	assert_null(map_put(&m, slice_str(""), a));
	assert_ptr_equal(map_get(&m, (struct slice){0}), a);
	assert_ptr_equal(map_del(&m, slice_str("k")), b);
	assert_null(map_del(&m, slice_str("k")));
	assert_int_equal(m.count, 1);
	map_free(&m);
}

/* Random puts and removals against flags. */
static void
it_holds_exactly_what_was_put(void **state)
{
	static struct item items[ITEMS];
	size_t inside = 0, at = 0, walked = 0;
	struct item *it;
	struct map m;

	(void)state;
	map_init(&m);
	for (uint32_t i = 0; i < ITEMS; i++)
		items[i].key = i;
	for (int i = 0; i < 100000; i++) {
		it = &items[rand_below(ITEMS)];
		if (it->is_inside) {
			assert_ptr_equal(map_del(&m, key_of(it)), it);
			inside--;
		} else {
			assert_null(map_put(&m, key_of(it), it));
			inside++;
		}
		it->is_inside = !it->is_inside;
		assert_int_equal(m.count, inside);
	}
	for (size_t i = 0; i < ITEMS; i++)
		assert_ptr_equal(map_get(&m, key_of(&items[i])), items[i].is_inside ? &items[i] : NULL);
	while ((it = map_next(&m, &at)) != NULL) {
		assert_true(it->is_inside);
		assert_false(it->seen);
		it->seen = true;
		walked++;
	}
	assert_int_equal(walked, inside);
	assert_true(m.cap <= 4096);
	map_free(&m);
}

static void
a_walk_may_remove_what_it_stands_on(void **state)
{
	static struct item items[ITEMS];
	size_t at = 0, walked = 0;
	struct item *it;
	struct map m;

	(void)state;
	map_init(&m);
	for (uint32_t i = 0; i < ITEMS; i++) {
		items[i].key = i;
		map_put(&m, key_of(&items[i]), &items[i]);
	}
	while ((it = map_next(&m, &at)) != NULL) {
		assert_ptr_equal(map_del(&m, key_of(it)), it);
		walked++;
	}
	assert_int_equal(walked, ITEMS);
	assert_int_equal(m.count, 0);
	map_free(&m);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty_map_answers),
		cmocka_unit_test(put_replaces_and_tells_what_was_there),
		cmocka_unit_test(it_holds_exactly_what_was_put),
		cmocka_unit_test(a_walk_may_remove_what_it_stands_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
