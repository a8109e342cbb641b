#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "cluster/ring.h"

static void
points_of_names_are_those_of_the_reference(void **state)
{
	(void)state;
	assert_int_equal(ring_point_of(slice_str("scheduler-0"), 0), UINT64_C(0xcafde51ef5d5f137));
	assert_int_equal(ring_point_of(slice_str("scheduler-0"), 1), UINT64_C(0x06bd37c33badda57));
	assert_int_equal(ring_point_of(slice_str("scheduler-0"), 511), UINT64_C(0x282ccea7b404b60e));
	assert_int_equal(ring_point_of(slice_str("scheduler-1"), 0), UINT64_C(0xa069beb55c69af57));
	assert_int_equal(ring_point_of(slice_str("dragonfly-scheduler-0"), 0), UINT64_C(0xb0d0e95faf8e122f));
	assert_int_equal(ring_point_of(slice_str("10.0.0.1:8002"), 0), UINT64_C(0xdce4b05193f9d653));
	assert_int_equal(ring_point_of(slice_str("[fd00::1]:8002"), 0), UINT64_C(0x5058de0eafe810c8));
}

struct row {
	const char *task_id;
	uint64_t key;
	int a, b, c, d;
};

static const struct row rows[] = {
	{"5844f27a257287e9b734256bb25603d8005422ced8c0377f15063ec11963b25f", UINT64_C(0x845097f8ba91f3ec), 2, 0, 1, 0},
	{"06408fbf247ddaca478f8cb9565fe5591c28efd0994b8fea80a6a87d3203c5ca", UINT64_C(0x0ea2c3d5b0962482), 2, 0, 2, 1},
	{"3c3f230ef9f191dd2821510346a7bc138e4894bee9aee184ba250a3040701d2a", UINT64_C(0x0be701cfbd25ef07), 1, 0, 2, 0},
	{"c9f9261b7305c24371244f9f149f5d4589ed601348fdf22d7f6f4b10658fdba2", UINT64_C(0x57b8daca6b72534a), 0, 1, 1, 1},
	{"457b4328cde278e422c9e243f7bfd1e97f511fec43a80f535cf6b0ef6b086776", UINT64_C(0x04a6b1066b456333), 2, 0, 1, 0},
	{"e2d0fe1585a63ec6009c8016ff8dda8b17719a637405a4e23c0ff81339148249", UINT64_C(0x59fd735f21cd4960), 2, 1, 2, 1},
	{"b2c366cce7e68013d5441c6326d5a3e1b12aeb5ed58564d0fd3fa089bc29cb6e", UINT64_C(0xaa86f08bc4878a68), 0, 1, 0, 1},
	{"0000000000000000000000000000000000000000000000000000000000000000", UINT64_C(0x878aad9323c13ef3), 2, 0, 0, 1},
	{"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff", UINT64_C(0xa3a2026700185ac4), 2, 1, 1, 1},
};

static int
find(const char *const *names, size_t n, enum ring_kind kind, const char *task_id)
{
	struct slice s[4];
	struct ring r;
	int node;

	for (size_t i = 0; i < n; i++)
		s[i] = slice_str(names[i]);
	ring_init(&r, kind);
	assert_int_equal(ring_build(&r, s, n), 0);
	node = ring_find(&r, slice_str(task_id), -1);
	ring_free(&r);
	return node;
}

static void
tasks_go_where_the_reference_sends_them(void **state)
{
	const char *const a[] = {"scheduler-0", "scheduler-1", "scheduler-2"};
	const char *const b[] = {"dragonfly-scheduler-0", "dragonfly-scheduler-1"};
	const char *const c[] = {"10.0.0.1:8002", "10.0.0.2:8002", "10.0.0.3:8002"};
	const char *const d[] = {"[fd00::1]:8002", "10.0.0.1:8002"};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		assert_int_equal(ring_key_of(slice_str(rows[i].task_id)), rows[i].key);
		assert_int_equal(find(a, 3, RING_HOSTNAME, rows[i].task_id), rows[i].a);
		assert_int_equal(find(b, 2, RING_HOSTNAME, rows[i].task_id), rows[i].b);
		assert_int_equal(find(c, 3, RING_HOSTNAME, rows[i].task_id), rows[i].c);
		assert_int_equal(find(d, 2, RING_HOSTNAME, rows[i].task_id), rows[i].d);
	}
}

static void
old_ring_is_kept_for_old_clusters(void **state)
{
	const char *const a[] = {"10.0.0.1:8002", "10.0.0.2:8002", "10.0.0.3:8002"};
	const char *const b[] = {"192.168.1.10:8002", "192.168.1.11:8002", "192.168.1.12:8002", "192.168.1.13:8002"};
	const char *const c[] = {"10.0.0.1:8002", "10.0.0.1:8003"};
	const char *const d[] = {"[fd00::1]:8002", "[fd00::2]:8002", "10.0.0.1:8002"};
	const struct row old[] = {
		{"5844f", 0, 1, 1, 1, 0}, {"06408", 0, 1, 1, 1, 1}, {"3c3f2", 0, 1, 1, 1, 0}, {"c9f92", 0, 1, 1, 1, 1},
		{"9f7c9", 0, 1, 1, 1, 2}, {"457b4", 0, 1, 1, 1, 1}, {"e2d0f", 0, 0, 0, 1, 2}, {"12345", 0, 0, 3, 1, 2},
		{"87007", 0, 0, 2, 0, 2}, {"de995", 0, 0, 0, 1, 2}, {"00000", 0, 1, 1, 1, 2}, {"fffff", 0, 1, 1, 1, 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(old); i++) {
		assert_int_equal(find(a, 3, RING_ADDRESS, old[i].task_id), old[i].a);
		assert_int_equal(find(b, 4, RING_ADDRESS, old[i].task_id), old[i].b);
		assert_int_equal(find(c, 2, RING_ADDRESS, old[i].task_id), old[i].c);
		assert_int_equal(find(d, 3, RING_ADDRESS, old[i].task_id), old[i].d);
	}
}

static void
skipping_a_node_gives_another(void **state)
{
	struct slice names[] = {slice_str("a"), slice_str("b")};
	struct ring r;
	int first;

	(void)state;
	ring_init(&r, RING_HOSTNAME);
	assert_int_equal(ring_find(&r, slice_str("x"), -1), -1);
	assert_int_equal(ring_build(&r, names, 2), 0);
	first = ring_find(&r, slice_str("x"), -1);
	assert_int_equal(ring_find(&r, slice_str("x"), first), 1 - first);
	assert_int_equal(ring_build(&r, names, 1), 0);
	assert_int_equal(ring_find(&r, slice_str("x"), 0), -1);
	ring_free(&r);
}

static void
bad_addresses_and_too_many_nodes_are_refused(void **state)
{
	struct slice bad[] = {slice_str("nowhere:8002"), slice_str("10.0.0.1"), slice_str("10.0.0.1:65536"), slice_str("[::1:1")};
	struct slice *many = xcalloc(RING_NODES_MAX + 1, sizeof *many);
	struct ring r;

	(void)state;
	ring_init(&r, RING_ADDRESS);
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_int_equal(ring_build(&r, &bad[i], 1), -1);
	ring_init(&r, RING_HOSTNAME);
	assert_int_equal(ring_build(&r, many, RING_NODES_MAX + 1), -1);
	ring_free(&r);
	free(many);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(points_of_names_are_those_of_the_reference),
		cmocka_unit_test(tasks_go_where_the_reference_sends_them),
		cmocka_unit_test(old_ring_is_kept_for_old_clusters),
		cmocka_unit_test(skipping_a_node_gives_another),
		cmocka_unit_test(bad_addresses_and_too_many_nodes_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
