/*
 * Where a 307 sent us, so that each piece of a blob need not ask the registry again (backends.md 2.8). Memory only, least recently
 * used out. The key holds a digest of the credentials: one user's signed URL never serves another.
 */
#ifndef SOURCE_REDIRECT_CACHE_H
#define SOURCE_REDIRECT_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/map.h"
#include "base/slice.h"

/* Entries kept. */
#define REDIRECT_CACHE_MAX 1000
/* A signed URL is not used in its last seconds. */
#define REDIRECT_CACHE_MARGIN_S 30

struct redirect_cache {
	struct map entries;
	struct list by_use;             /* most recently used first */
	size_t count;
};

void redirect_cache_init(struct redirect_cache *c);
void redirect_cache_free(struct redirect_cache *c);
/* The target kept for key, or NULL; valid until the next change. now_ms: monotonic. */
const char *redirect_cache_get(struct redirect_cache *c, const char *key, int64_t now_ms);
void redirect_cache_put(struct redirect_cache *c, const char *key, struct slice target, int64_t now_ms, int64_t ttl_ms);
void redirect_cache_drop(struct redirect_cache *c, const char *key);

/*
 * How long a target may be kept: ttl_ms, cut by the expiry that a signed URL shows (X-Amz-Date and X-Amz-Expires, X-Goog-*, Expires=,
 * se=) less the margin, and by Cache-Control of the 307 (absent slice: none). 0 or less: not at all. now_s: wall clock.
 */
int64_t redirect_cache_ttl_ms(struct slice target, struct slice cache_control, int64_t ttl_ms, int64_t now_s);

#endif
