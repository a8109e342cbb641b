#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "text/encode.h"
#include "text/units.h"
#include "text/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool condition)
{
	if (!condition)
		abort();
}

static void
check_units(struct slice text)
{
	char out[UNITS_OUT_MAX];
	int64_t ns, back;
	uint64_t size;

	if (units_parse_duration(text, &ns, NULL) == 0) {
		require(ns >= 0);
		require(units_parse_duration(slice_str(units_format_duration(ns, out)), &back, NULL) == 0);
		require(ns == back);
	}
	if (units_parse_size(text, &size, NULL) == 0) {
		require(strlen(units_format_size(size, out)) < UNITS_OUT_MAX);
		require(strlen(units_format_rate(size, out)) < UNITS_OUT_MAX);
	}
}

/* A text that decodes is what encoding gives, but for padding and the case of hex. */
static void
check_encodings(struct slice text)
{
	struct buf plain = BUF_INIT, again = BUF_INIT;

	for (int kind = BASE64_STD; kind <= BASE64_URL; kind++) {
		bool padded = text.n > 0 && text.p[text.n - 1] == '=';

		buf_clear(&plain);
		buf_clear(&again);
		if (base64_decode(text, (enum base64_kind)kind, &plain) < 0)
			continue;
		base64_encode(buf_slice(&plain), (enum base64_kind)kind, padded, &again);
		require(slice_eq(buf_slice(&again), text));
	}
	buf_clear(&plain);
	buf_clear(&again);
	if (hex_decode(text, &plain) == 0) {
		hex_encode(buf_slice(&plain), &again);
		require(slice_ieq(buf_slice(&again), text));
	}
	buf_clear(&plain);
	utf8_append_lossy(text, &plain);
	require(utf8_is_valid(buf_slice(&plain)));
	require(!utf8_is_valid(text) || slice_eq(buf_slice(&plain), text));
	buf_free(&plain);
	buf_free(&again);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = slice_make(data, size);

	check_units(text);
	check_encodings(text);
	return 0;
}
