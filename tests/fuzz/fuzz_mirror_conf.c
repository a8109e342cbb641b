#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/buf.h"
#include "text/mirror_conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int
change(uint8_t which, struct slice text, struct buf *out, struct arena *a)
{
	static const char *const unqualified[] = {"r.io"};
	static const struct mirror_registry list[] = {{"r.io", "r.io"}, {"q.io", "r.io"}};
	const struct mirror_registries r = {.mirror = "m:1", .unqualified = unqualified, .unqualified_count = 1, .registries = list, .count = 2};
	struct mirror_containerd found;

	switch (which % 3) {
	case 0:
		return mirror_containerd(text, NULL, &found, out, a, NULL);
	case 1:
		return mirror_registries(text, &r, out, a, NULL);
	}
	return mirror_docker(text, "http://m:1", out, a, NULL);
}

/* The first byte says which file the rest is. What was changed once is taken again, and stays as it is. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf once = BUF_INIT, twice = BUF_INIT;
	struct arena a;

	if (size == 0)
		return 0;
	arena_init(&a, MIRROR_ARENA_MAX);
	if (change(data[0], slice_make(data + 1, size - 1), &once, &a) == 0)
		if (change(data[0], buf_slice(&once), &twice, &a) != 0 || !slice_eq(buf_slice(&once), buf_slice(&twice)))
			abort();
	buf_free(&once);
	buf_free(&twice);
	arena_free(&a);
	return 0;
}
