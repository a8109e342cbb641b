#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store/crc32c.h"
#include "store/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool condition)
{
	if (!condition)
		abort();
}

static void
seal(uint8_t line[STORE_INDEX_BYTES])
{
	uint32_t crc;

	memcpy(line, "DFX1", 4);
	memset(line + 152, 0, 4);
	crc = crc32c_update(0, line, STORE_INDEX_BYTES - 4);
	for (unsigned i = 0; i < 4; i++)
		line[STORE_INDEX_BYTES - 4 + i] = (uint8_t)(crc >> (24 - 8 * i));
}

/* A line that decodes names a task that may exist, and its hint encodes to a line that says the same. */
static void
check_line(const uint8_t *line, uint32_t k)
{
	uint8_t again[STORE_INDEX_BYTES], third[STORE_INDEX_BYTES];
	struct store_hint h, back;

	if (store_hint_decode(line, k, &h) < 0)
		return;
	require(store_id_is_valid(h.id) && (unsigned)h.kind < STORE_KINDS);
	if (!h.is_removed)
		require(h.content_length == STORE_LENGTH_UNKNOWN || (h.content_length <= STORE_CONTENT_MAX && h.piece_length > 0));
	store_hint_encode(&h, k, again);
	require(store_hint_decode(again, k, &back) == 0);
	store_hint_encode(&back, k, third);
	require(memcmp(again, third, sizeof(again)) == 0);
	require(store_hint_decode(again, k + 1, &back) < 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t line[STORE_INDEX_BYTES];
	uint32_t k = 0;

	for (; size >= (k + 1) * (size_t)STORE_INDEX_BYTES; k++)
		check_line(data + k * (size_t)STORE_INDEX_BYTES, k);
	/* The same with a checksum that is right: the values behind it are judged, too. */
	if (size >= STORE_INDEX_BYTES - 4) {
		memcpy(line, data, STORE_INDEX_BYTES - 4);
		seal(line);
		check_line(line, 0);
	}
	return 0;
}
