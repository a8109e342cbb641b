#include "source/range.h"

#include <string.h>

int
content_range_parse(struct slice s, struct content_range *out)
{
	ptrdiff_t slash, dash;
	struct slice span, total;

	memset(out, 0, sizeof(*out));
	if (!slice_starts(s, "bytes "))
		return -1;
	s = slice_sub(s, 6, s.n);
	slash = slice_find(s, '/');
	if (slash < 0)
		return -1;
	span = slice_sub(s, 0, (size_t)slash);
	total = slice_sub(s, (size_t)slash + 1, s.n);
	if (!slice_eq_str(total, "*")) {
		if (slice_to_u64(total, &out->total) != 0)
			return -1;
		out->has_total = true;
	}
	if (slice_eq_str(span, "*")) {
		out->is_unsatisfied = true;
		return out->has_total ? 0 : -1;
	}
	dash = slice_find(span, '-');
	if (dash < 0 || slice_to_u64(slice_sub(span, 0, (size_t)dash), &out->first) != 0
	    || slice_to_u64(slice_sub(span, (size_t)dash + 1, span.n), &out->last) != 0)
		return -1;
	if (out->last < out->first || (out->has_total && out->last >= out->total))
		return -1;
	return 0;
}

bool
etag_is_strong(const char *etag)
{
	size_t n = etag != NULL ? strlen(etag) : 0;

	return n >= 2 && etag[0] == '"' && etag[n - 1] == '"';
}
