#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/siphash.h"

static void
self_test_vector_holds(void **state)
{
	const struct siphash_key key = {0x0706050403020100, 0x0f0e0d0c0b0a0908};
	uint8_t message[15];

	(void)state;
	for (size_t i = 0; i < sizeof(message); i++)
		message[i] = (uint8_t)i;
	assert_int_equal(siphash(&key, message, sizeof(message)), 0xa129ca6149be45e5);
	assert_int_equal(siphash(&key, NULL, 0), 0x726fdb47dd0e0e31);
}

/* Points of the scheduler ring (key 0,0): number as 8 bytes little endian, name, 0xff. */
static void
ring_points_hold(void **state)
{
	static const struct {
		const char *name;
		unsigned number;
		uint64_t point;
	} rows[] = {
		{"scheduler-0", 0, 0xcafde51ef5d5f137}, {"scheduler-0", 1, 0x06bd37c33badda57}, {"scheduler-0", 511, 0x282ccea7b404b60e},
		{"scheduler-1", 0, 0xa069beb55c69af57}, {"dragonfly-scheduler-0", 0, 0xb0d0e95faf8e122f}, {"10.0.0.1:8002", 0, 0xdce4b05193f9d653},
		{"[fd00::1]:8002", 0, 0x5058de0eafe810c8},
	};
	const struct siphash_key zero = {0, 0};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		uint8_t bytes[64] = {(uint8_t)rows[i].number, (uint8_t)(rows[i].number >> 8)};
		size_t n = strlen(rows[i].name);

		memcpy(bytes + 8, rows[i].name, n);
		bytes[8 + n] = 0xff;
		assert_int_equal(siphash(&zero, bytes, 8 + n + 1), rows[i].point);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(self_test_vector_holds),
		cmocka_unit_test(ring_points_hold),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
