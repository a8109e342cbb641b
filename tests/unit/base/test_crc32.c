#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/crc32.h"
#include "base/crc32_hw.h"
#include "base/mem.h"
#include "base/rand.h"

typedef uint32_t crc_function(uint32_t crc, const void *p, size_t n);

/* The definition, bit by bit. */
static uint32_t
crc32_slow(uint32_t crc, const void *p, size_t n)
{
	const uint8_t *in = p;
	uint32_t c = ~crc;

	for (size_t i = 0; i < n; i++) {
		c ^= in[i];
		for (int bit = 0; bit < 8; bit++)
			c = c & 1 ? c >> 1 ^ 0xEDB88320u : c >> 1;
	}
	return ~c;
}

static void
assert_vectors(crc_function *crc)
{
	static const struct {
		const char *text;
		uint32_t crc;
	} rows[] = {
		{"", 0}, {"a", 3904355907u}, {"123456789", 0xcbf43926u}, {"test content", 1475635037u}, {"This is a test file", 107352521u},
		{"hello world", 222957957u}, {"hello world\n", 2936552237u}, {"hello dragonfly\n", 4083874676u},
	};
	uint8_t *zeros = xcalloc(4, 1024 * 1024);

	for (size_t i = 0; i < COUNT_OF(rows); i++)
		assert_int_equal(crc(0, rows[i].text, strlen(rows[i].text)), rows[i].crc);
	assert_int_equal(crc(0, zeros, 4 * 1024 * 1024), 289882218u);
	free(zeros);
}

static void
vectors_hold_for_both_ways(void **state)
{
	(void)state;
	assert_vectors(crc32_update);
	assert_vectors(crc32_update_portable);
	assert_vectors(crc32_slow);
}

static void
every_hardware_version_agrees(void **state)
{
	crc32_raw *const all[] = {crc32_x86_wide(), crc32_x86(), crc32_arm()};
	unsigned tried = 0;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(all); i++) {
		if (all[i] == NULL)
			continue;
		tried++;
		for (size_t n = CRC32_HW_MIN; n <= 2300; n += n < 900 ? 1 : 13) {
			uint8_t *bytes = xmalloc(n);
			uint32_t start = (uint32_t)rand_u64();

			rand_bytes(bytes, n);
			assert_int_equal(~all[i](~start, bytes, n), crc32_slow(start, bytes, n));
			free(bytes);
		}
	}
	if (tried == 0)
		skip();
}

static void
all_lengths_and_alignments_agree(void **state)
{
	uint8_t bytes[1024 + 16];

	(void)state;
	rand_bytes(bytes, sizeof(bytes));
	for (size_t from = 0; from < 16; from++) {
		for (size_t n = 0; n <= 1024; n += n < 300 ? 1 : 37) {
			/* Exact copies, so that a read past the end is seen. */
			uint8_t *copy = xmalloc(from + n);
			uint32_t start = (uint32_t)rand_u64(), expected;

			memcpy(copy, bytes, from + n);
			expected = crc32_slow(start, copy + from, n);
			assert_int_equal(crc32_update(start, copy + from, n), expected);
			assert_int_equal(crc32_update_portable(start, copy + from, n), expected);
			free(copy);
		}
	}
}

static void
parts_continue_each_other(void **state)
{
	uint8_t bytes[500];
	uint32_t whole;

	(void)state;
	rand_bytes(bytes, sizeof(bytes));
	whole = crc32_slow(0, bytes, sizeof(bytes));
	for (size_t cut = 0; cut <= sizeof(bytes); cut++)
		assert_int_equal(crc32_update(crc32_update(0, bytes, cut), bytes + cut, sizeof(bytes) - cut), whole);
}

static void
hardware_is_used_for_one_architecture_at_most(void **state)
{
	(void)state;
	assert_false(crc32_x86() != NULL && crc32_arm() != NULL);
	if (crc32_x86() == NULL && crc32_arm() == NULL)
		skip();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vectors_hold_for_both_ways),
		cmocka_unit_test(every_hardware_version_agrees),
		cmocka_unit_test(all_lengths_and_alignments_agree),
		cmocka_unit_test(parts_continue_each_other),
		cmocka_unit_test(hardware_is_used_for_one_architecture_at_most),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
