#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/heap.h"
#include "base/rand.h"

#define NODES 200

static int64_t
smallest(const struct heap_node *nodes)
{
	int64_t min = INT64_MAX;

	for (size_t i = 0; i < NODES; i++) {
		if (nodes[i].place != 0 && nodes[i].key < min)
			min = nodes[i].key;
	}
	return min;
}

static void
the_smallest_is_on_top_whatever_happens(void **state)
{
	static struct heap_node nodes[NODES];
	struct heap h;

	(void)state;
	heap_init(&h);
	assert_null(heap_min(&h));
	for (int i = 0; i < 20000; i++) {
		struct heap_node *n = &nodes[rand_below(NODES)];

		if (rand_below(3) == 0)
			heap_del(&h, n);
		else
			heap_put(&h, n, (int64_t)rand_below(100) - 50);
		if (h.count > 0)
			assert_int_equal(heap_min(&h)->key, smallest(nodes));
	}
	while (h.count > 0) {
		struct heap_node *n = heap_min(&h);

		assert_int_equal(n->key, smallest(nodes));
		heap_del(&h, n);
		assert_int_equal(n->place, 0);
	}
	assert_null(heap_min(&h));
	heap_free(&h);
}

static void
removing_twice_is_harmless(void **state)
{
	struct heap_node a = {0}, b = {0};
	struct heap h;

	(void)state;
	heap_init(&h);
	heap_put(&h, &a, 1);
	heap_put(&h, &b, 2);
	heap_put(&h, &a, 3);
	assert_int_equal(h.count, 2);
	assert_ptr_equal(heap_min(&h), &b);
	heap_del(&h, &b);
	heap_del(&h, &b);
	assert_ptr_equal(heap_min(&h), &a);
	heap_free(&h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_smallest_is_on_top_whatever_happens),
		cmocka_unit_test(removing_twice_is_harmless),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
