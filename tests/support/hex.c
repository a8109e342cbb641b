#include "support/hex.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"

static int
digit(char c)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = strchr(digits, c);

	return c != '\0' && at != NULL ? (int)(at - digits) : -1;
}

void
hex_append(struct buf *out, const char *text)
{
	while (*text != '\0') {
		if (*text == ' ' || *text == '\n' || *text == '\t') {
			text++;
			continue;
		}
		if (digit(text[0]) < 0 || digit(text[1]) < 0)
			fail_msg("not hex: %.16s", text);
		buf_append_u8(out, (uint8_t)(digit(text[0]) << 4 | digit(text[1])));
		text += 2;
	}
}

void
vector_read(struct buf *out, const char *name)
{
	const char *dir = getenv("TEST_VECTORS");
	char path[512];
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "%s/%s", dir != NULL ? dir : "tests/vectors", name);
	f = fopen(path, "rb");
	if (f == NULL)
		fail_msg("cannot open %s", path);
	while ((n = fread(buf_reserve(out, 65536), 1, 65536, f)) > 0)
		buf_added(out, n);
	fclose(f);
}
