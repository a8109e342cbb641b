#include "base/crc32.h"

#include <pthread.h>

#include "base/crc32_hw.h"

#define CRC32_POLY 0xEDB88320u

/* tables[k][b]: the effect of byte b followed by k zero bytes, so that eight bytes are done in one step. */
static uint32_t tables[8][256];
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static crc32_raw *hardware;
static pthread_once_t choose_once = PTHREAD_ONCE_INIT;

static void
make_tables(void)
{
	for (uint32_t b = 0; b < 256; b++) {
		uint32_t c = b;

		for (int bit = 0; bit < 8; bit++)
			c = c & 1 ? c >> 1 ^ CRC32_POLY : c >> 1;
		tables[0][b] = c;
	}
	for (int k = 1; k < 8; k++) {
		for (int b = 0; b < 256; b++)
			tables[k][b] = tables[k - 1][b] >> 8 ^ tables[0][tables[k - 1][b] & 0xff];
	}
}

static uint32_t
load_le32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint32_t
crc32_raw_portable(uint32_t state, const uint8_t *p, size_t n)
{
	uint32_t c = state;

	pthread_once(&tables_once, make_tables);
	for (; n >= 8; n -= 8, p += 8) {
		uint32_t lo = load_le32(p) ^ c, hi = load_le32(p + 4);

		c = tables[7][lo & 0xff] ^ tables[6][lo >> 8 & 0xff] ^ tables[5][lo >> 16 & 0xff] ^ tables[4][lo >> 24] ^
			tables[3][hi & 0xff] ^ tables[2][hi >> 8 & 0xff] ^ tables[1][hi >> 16 & 0xff] ^ tables[0][hi >> 24];
	}
	for (; n > 0; n--, p++)
		c = c >> 8 ^ tables[0][(c ^ *p) & 0xff];
	return c;
}

uint32_t
crc32_update_portable(uint32_t crc, const void *p, size_t n)
{
	return ~crc32_raw_portable(~crc, p, n);
}

static void
choose(void)
{
	hardware = crc32_x86_wide();
	if (hardware == NULL)
		hardware = crc32_x86();
	if (hardware == NULL)
		hardware = crc32_arm();
}

uint32_t
crc32_update(uint32_t crc, const void *p, size_t n)
{
	pthread_once(&choose_once, choose);
	if (hardware == NULL || n < CRC32_HW_MIN)
		return crc32_update_portable(crc, p, n);
	return ~hardware(~crc, p, n);
}
