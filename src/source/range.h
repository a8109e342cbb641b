/*
 * Content-Range, and what a range request's answer means (backends.md 2.10). Pure.
 */
#ifndef SOURCE_RANGE_H
#define SOURCE_RANGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

struct content_range {
	bool is_unsatisfied;    /* a star instead of first and last: only in a 416 */
	uint64_t first, last;
	bool has_total;
	uint64_t total;
};

/* first-last/total; a star may stand for the total, or for first-last. 0, or -1 when it is none of them. */
int content_range_parse(struct slice s, struct content_range *out);

/* Whether an entity tag may stand in If-Range and decide about sameness: quoted, not W/. */
bool etag_is_strong(const char *etag);

#endif
