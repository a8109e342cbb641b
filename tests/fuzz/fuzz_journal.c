#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "store/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool condition)
{
	if (!condition)
		abort();
}

/* A record that decodes is what encoding gives, but for the reserved byte. */
static void
check_journal(const uint8_t *data, size_t size)
{
	uint8_t again[STORE_RECORD_BYTES];
	struct store_record r, back;

	for (uint32_t n = 0; size / STORE_RECORD_BYTES > n; n++) {
		if (store_record_decode(data + (size_t)n * STORE_RECORD_BYTES, n, &r) < 0)
			return;
		store_record_encode(&r, again);
		require(store_record_decode(again, n, &back) == 0);
		require(r.number == back.number && r.offset == back.offset && r.length == back.length && r.crc == back.crc);
	}
}

static void
check_meta(struct slice in)
{
	struct store_meta m, back;
	struct buf out = BUF_INIT;
	struct arena a, b;

	arena_init(&a, 2 * STORE_META_MAX);
	arena_init(&b, 2 * STORE_META_MAX);
	if (store_meta_decode(in, &a, &m, NULL) == 0) {
		store_meta_encode(&m, &out);
		require(store_meta_decode(buf_slice(&out), &b, &back, NULL) == 0);
		require(strcmp(m.id, back.id) == 0 && m.content_length == back.content_length && m.header_count == back.header_count);
	}
	buf_free(&out);
	arena_free(&a);
	arena_free(&b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check_journal(data, size);
	check_meta(slice_make(data, size));
	return 0;
}
