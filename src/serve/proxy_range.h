/*
 * The Range header as the proxy understands it (spec: proxy.md 10, RFC 9110 14.2): what is malformed is ignored, what cannot be had is 416.
 * Pure.
 */
#ifndef SERVE_PROXY_RANGE_H
#define SERVE_PROXY_RANGE_H

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

/* More of them are taken as a wish for the whole. */
#define PROXY_RANGES_MAX 64

struct proxy_part {
	uint64_t start, length;         /* length > 0 */
};

enum proxy_range {
	PROXY_RANGE_WHOLE,              /* no usable Range: the whole content */
	PROXY_RANGE_PARTS,              /* *count parts, in the order they were asked for */
	PROXY_RANGE_UNSATISFIABLE,
};

/* value absent: WHOLE. Parts that lie behind the end are left out as long as one does not. */
enum proxy_range proxy_range_parse(struct slice value, uint64_t content_length, struct proxy_part parts[PROXY_RANGES_MAX], size_t *count);

/* What a request asks for beyond the URL; each absent or a field's value. */
struct proxy_wish {
	struct slice range, if_range, if_none_match, if_modified_since;
};

/*
 * What it gets of a content with these validators (NULL: none): 200, 206 (*count parts), 304 or 416 (RFC 9110 13.2.2).
 */
int proxy_wish_meet(const struct proxy_wish *w, const char *etag, const char *last_modified, uint64_t content_length,
    struct proxy_part parts[PROXY_RANGES_MAX], size_t *count);

#endif
