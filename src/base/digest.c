#include "base/digest.h"

#include <bearssl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/crc32.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/sha256_hw.h"

/* SHA-256 on the CPU's own instructions. */
struct fast_sha256 {
	uint32_t h[8];
	uint64_t count;                 /* bytes taken, those in `block` too */
	uint8_t block[SHA256_BLOCK];    /* count % SHA256_BLOCK bytes that wait for the rest of a block */
};

union digest_state {
	br_sha256_context sha256;
	struct fast_sha256 fast;
	br_sha512_context sha512;
	br_md5_context md5;
	uint32_t crc;
};

_Static_assert(sizeof(union digest_state) <= sizeof(((struct digest *)0)->state), "digest state too small");
_Static_assert(_Alignof(union digest_state) <= _Alignof(uint64_t), "digest state badly aligned");

/* The same for the whole process, so that a state never changes sides. NULL: BearSSL does it. */
static sha256_blocks *hardware;
static pthread_once_t choose_once = PTHREAD_ONCE_INIT;

static const struct {
	const char *name;
	size_t size;
} kinds[] = {
	[DIGEST_SHA256] = {"sha256", 32},
	[DIGEST_SHA512] = {"sha512", 64},
	[DIGEST_MD5] = {"md5", 16},
	[DIGEST_CRC32] = {"crc32", 4},
};

static union digest_state *
state_of(struct digest *d)
{
	return (union digest_state *)(void *)&d->state;
}

static void
choose(void)
{
	hardware = sha256_x86();
	if (hardware == NULL)
		hardware = sha256_arm();
}

static void
fast_init(struct fast_sha256 *s)
{
	static const uint32_t first[8] = {
		0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
	};

	memcpy(s->h, first, sizeof(first));
	s->count = 0;
}

static void
fast_update(struct fast_sha256 *s, const uint8_t *p, size_t n)
{
	size_t held = s->count % SHA256_BLOCK, take;

	s->count += n;
	if (held > 0) {
		take = n < SHA256_BLOCK - held ? n : SHA256_BLOCK - held;
		memcpy(s->block + held, p, take);
		if (held + take < SHA256_BLOCK)
			return;
		hardware(s->h, s->block, 1);
		p += take;
		n -= take;
	}
	if (n >= SHA256_BLOCK)
		hardware(s->h, p, n / SHA256_BLOCK);
	memcpy(s->block, p + n / SHA256_BLOCK * SHA256_BLOCK, n % SHA256_BLOCK);
}

/* A 1 bit, zeros, and the length in bits as 8 bytes at the end of a block. */
static void
fast_final(struct fast_sha256 *s, uint8_t *out)
{
	uint8_t tail[2 * SHA256_BLOCK] = {0};
	size_t held = s->count % SHA256_BLOCK, n = held + 9 <= SHA256_BLOCK ? SHA256_BLOCK : sizeof(tail);

	memcpy(tail, s->block, held);
	tail[held] = 0x80;
	for (size_t i = 0; i < 8; i++)
		tail[n - 1 - i] = (uint8_t)(s->count * 8 >> (8 * i));
	hardware(s->h, tail, n / SHA256_BLOCK);
	for (size_t i = 0; i < 32; i++)
		out[i] = (uint8_t)(s->h[i / 4] >> (24 - i % 4 * 8));
}

void
digest_init(struct digest *d, enum digest_kind kind)
{
	union digest_state *s = state_of(d);

	d->kind = kind;
	switch (kind) {
	case DIGEST_SHA256:
		pthread_once(&choose_once, choose);
		if (hardware != NULL)
			fast_init(&s->fast);
		else
			br_sha256_init(&s->sha256);
		break;
	case DIGEST_SHA512:
		br_sha512_init(&s->sha512);
		break;
	case DIGEST_MD5:
		br_md5_init(&s->md5);
		break;
	case DIGEST_CRC32:
		s->crc = 0;
		break;
	}
}

void
digest_update(struct digest *d, const void *p, size_t n)
{
	union digest_state *s = state_of(d);

	if (n == 0)
		return;
	switch (d->kind) {
	case DIGEST_SHA256:
		if (hardware != NULL)
			fast_update(&s->fast, p, n);
		else
			br_sha256_update(&s->sha256, p, n);
		break;
	case DIGEST_SHA512:
		br_sha512_update(&s->sha512, p, n);
		break;
	case DIGEST_MD5:
		br_md5_update(&s->md5, p, n);
		break;
	case DIGEST_CRC32:
		s->crc = crc32_update(s->crc, p, n);
		break;
	}
}

void
digest_final(struct digest *d, uint8_t *out)
{
	union digest_state *s = state_of(d);

	switch (d->kind) {
	case DIGEST_SHA256:
		if (hardware != NULL)
			fast_final(&s->fast, out);
		else
			br_sha256_out(&s->sha256, out);
		break;
	case DIGEST_SHA512:
		br_sha512_out(&s->sha512, out);
		break;
	case DIGEST_MD5:
		br_md5_out(&s->md5, out);
		break;
	case DIGEST_CRC32:
		for (int i = 0; i < 4; i++)
			out[i] = (uint8_t)(s->crc >> (24 - 8 * i));
		break;
	}
}

size_t
digest_size(enum digest_kind kind)
{
	return kinds[kind].size;
}

void
digest_final_hex(struct digest *d, char *out)
{
	static const char digits[] = "0123456789abcdef";
	uint8_t bytes[DIGEST_MAX];
	size_t n = digest_size(d->kind);

	digest_final(d, bytes);
	for (size_t i = 0; i < n; i++) {
		out[2 * i] = digits[bytes[i] >> 4];
		out[2 * i + 1] = digits[bytes[i] & 15];
	}
	out[2 * n] = 0;
}

void
digest_hex(enum digest_kind kind, const void *p, size_t n, char *out)
{
	struct digest d;

	digest_init(&d, kind);
	digest_update(&d, p, n);
	digest_final_hex(&d, out);
}

/* Decimal, 1 to 10 digits, leading zeros allowed. */
static int
parse_crc32(struct slice text, char *hex)
{
	uint64_t v;

	if (text.n > 10 || slice_to_u64(text, &v) < 0 || v > UINT32_MAX)
		return -1;
	snprintf(hex, DIGEST_HEX_MAX, "%08lx", (unsigned long)v);
	return 0;
}

static int
parse_hex(struct slice text, size_t size, char *hex)
{
	if (text.n != 2 * size)
		return -1;
	for (size_t i = 0; i < text.n; i++) {
		uint8_t c = text.p[i];

		if (c >= 'A' && c <= 'F')
			c = (uint8_t)(c + ('a' - 'A'));
		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
			return -1;
		hex[i] = (char)c;
	}
	hex[text.n] = 0;
	return 0;
}

int
digest_parse(const char *text, enum digest_kind *kind, char *hex, struct err *e)
{
	struct slice all = slice_str(text), name, value;
	ptrdiff_t colon = slice_find(all, ':');

	if (colon < 0)
		return err_set(e, ERR_INVALID_ARGUMENT, "invalid digest: %.200s", text);
	name = slice_sub(all, 0, (size_t)colon);
	value = slice_sub(all, (size_t)colon + 1, all.n);
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		size_t size = kinds[i].size;

		if (i == DIGEST_MD5 || !slice_eq_str(name, kinds[i].name))
			continue;
		*kind = (enum digest_kind)i;
		if (*kind == DIGEST_CRC32 && parse_crc32(value, hex) == 0)
			return 0;
		if (parse_hex(value, size, hex) == 0)
			return 0;
		if (*kind == DIGEST_CRC32)
			return err_set(e, ERR_INVALID_ARGUMENT, "invalid crc32 digest: want a decimal number below 2^32 or 8 hex digits");
		if (value.n != 2 * size)
			return err_set(e, ERR_INVALID_ARGUMENT, "invalid %s digest length: %zu, expected %zu", kinds[i].name, value.n, 2 * size);
		return err_set(e, ERR_INVALID_ARGUMENT, "invalid %s digest: not hex", kinds[i].name);
	}
	return err_set(e, ERR_INVALID_ARGUMENT, "invalid digest algorithm: %.*s", SLICE_ARG(slice_sub(name, 0, 100)));
}

bool
digest_matches(const char *text, enum digest_kind kind, const char *hex)
{
	char want[DIGEST_HEX_MAX];
	enum digest_kind want_kind;

	if (digest_parse(text, &want_kind, want, NULL) < 0 || want_kind != kind)
		return false;
	if (strcmp(want, hex) == 0)
		return true;
	return kind == DIGEST_CRC32 && slice_ieq_str(slice_sub(slice_str(text), strlen("crc32:"), strlen(text)), hex);
}

const char *
digest_kind_name(enum digest_kind kind)
{
	return kinds[kind].name;
}
