#include "serve/proxy_range.h"

#include <stdbool.h>
#include <string.h>

#include "wire/h1.h"

/* Decimal digits without a leading zero; what does not fit 64 bits lies behind every end. */
static int
parse_number(struct slice s, uint64_t *out)
{
	if (s.n == 0 || (s.n > 1 && s.p[0] == '0'))
		return -1;
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < '0' || s.p[i] > '9')
			return -1;
	if (slice_to_u64(s, out) < 0)
		*out = UINT64_MAX;
	return 0;
}

/* 1: a part; 0: one that cannot be had; -1: malformed. */
static int
parse_spec(struct slice s, uint64_t length, struct proxy_part *out)
{
	ptrdiff_t dash = slice_find(s, '-');
	struct slice from, to;
	uint64_t a, b = UINT64_MAX;

	if (dash < 0)
		return -1;
	from = slice_sub(s, 0, (size_t)dash);
	to = slice_sub(s, (size_t)dash + 1, s.n);
	if (from.n == 0) {
		if (parse_number(to, &b) < 0)
			return -1;
		if (b == 0 || length == 0)
			return 0;
		out->length = b < length ? b : length;
		out->start = length - out->length;
		return 1;
	}
	if (parse_number(from, &a) < 0 || (to.n > 0 && parse_number(to, &b) < 0) || b < a)
		return -1;
	if (a >= length)
		return 0;
	out->start = a;
	out->length = (b < length - 1 ? b : length - 1) - a + 1;
	return 1;
}

enum proxy_range
proxy_range_parse(struct slice value, uint64_t content_length, struct proxy_part parts[PROXY_RANGES_MAX], size_t *count)
{
	static const char unit[] = "bytes=";
	bool has_more = true;
	size_t specs = 0;

	*count = 0;
	if (value.n < sizeof unit - 1 || !slice_ieq_str(slice_sub(value, 0, sizeof unit - 1), unit))
		return PROXY_RANGE_WHOLE;
	value = slice_sub(value, sizeof unit - 1, value.n);
	while (has_more) {
		ptrdiff_t comma = slice_find(value, ',');
		struct slice spec = comma < 0 ? value : slice_sub(value, 0, (size_t)comma);
		int r;

		/* One blank may stand behind a comma. */
		if (specs > 0 && spec.n > 0 && spec.p[0] == ' ')
			spec = slice_sub(spec, 1, spec.n);
		if (++specs > PROXY_RANGES_MAX)
			return PROXY_RANGE_WHOLE;
		r = parse_spec(spec, content_length, &parts[*count]);
		if (r < 0)
			return PROXY_RANGE_WHOLE;
		*count += (size_t)r;
		has_more = comma >= 0;
		value = has_more ? slice_sub(value, (size_t)comma + 1, value.n) : value;
	}
	return *count > 0 ? PROXY_RANGE_PARTS : PROXY_RANGE_UNSATISFIABLE;
}

/* ---- validators ---- */

static struct slice
opaque(struct slice tag)
{
	return slice_starts(tag, "W/") ? slice_sub(tag, 2, tag.n) : tag;
}

/* Weak comparison with each of a list, or "*". */
static bool
is_among_tags(struct slice list, const char *etag)
{
	struct slice item;

	if (slice_eq_str(slice_trim(list), "*"))
		return true;
	while (etag != NULL && h1_list_next(&list, &item))
		if (slice_eq(opaque(item), opaque(slice_str(etag))))
			return true;
	return false;
}

static bool
is_not_newer(struct slice since, const char *last_modified)
{
	int64_t a, b;

	return last_modified != NULL && h1_parse_date(since, &a) == 0 && h1_parse_date(slice_str(last_modified), &b) == 0 && b <= a;
}

/* The content is the very one that If-Range names. */
static bool
is_same(struct slice if_range, const char *etag, const char *last_modified)
{
	if (if_range.n > 0 && if_range.p[0] == '"')
		return etag != NULL && slice_eq_str(if_range, etag);
	return last_modified != NULL && slice_eq_str(if_range, last_modified);
}

int
proxy_wish_meet(const struct proxy_wish *w, const char *etag, const char *last_modified, uint64_t content_length,
    struct proxy_part parts[PROXY_RANGES_MAX], size_t *count)
{
	*count = 0;
	if (w->if_none_match.p != NULL) {
		if (is_among_tags(w->if_none_match, etag))
			return 304;
	} else if (w->if_modified_since.p != NULL && is_not_newer(w->if_modified_since, last_modified)) {
		return 304;
	}
	if (w->if_range.p != NULL && !is_same(w->if_range, etag, last_modified))
		return 200;
	switch (proxy_range_parse(w->range, content_length, parts, count)) {
	case PROXY_RANGE_PARTS:
		return 206;
	case PROXY_RANGE_UNSATISFIABLE:
		return 416;
	default:
		return 200;
	}
}
