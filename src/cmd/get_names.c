#include "cmd/get_names.h"

#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "text/url.h"

static int
unsafe(struct slice path, struct err *e)
{
	return err_set(e, ERR_INVALID_ARGUMENT, "unsafe entry path '%.*s'", SLICE_ARG(slice_sub(path, 0, 300)));
}

static bool
is_safe_part(struct slice part)
{
	return part.n > 0 && !slice_eq_str(part, ".") && !slice_eq_str(part, "..") && slice_find(part, '/') < 0 && slice_find(part, '\0') < 0;
}

int
get_name_below(struct slice base, struct slice path, struct buf *out, struct err *e)
{
	struct slice rest;
	size_t begin = out->len;

	if (path.n < base.n || !slice_eq(slice_sub(path, 0, base.n), base))
		return unsafe(path, e);
	rest = slice_sub(path, base.n, path.n);
	if (slice_ends(rest, "/"))
		rest.n--;
	while (rest.n > 0) {
		ptrdiff_t slash = slice_find(rest, '/');
		struct slice part = slash < 0 ? rest : slice_sub(rest, 0, (size_t)slash);
		size_t at;

		if (out->len > begin)
			buf_append_u8(out, '/');
		at = out->len;
		url_decode(part, out);
		if (!is_safe_part(slice_sub(buf_slice(out), at, out->len)) || (slash >= 0 && (size_t)slash + 1 == rest.n))
			return unsafe(path, e);
		rest = slash < 0 ? slice_sub(rest, rest.n, 0) : slice_sub(rest, (size_t)slash + 1, rest.n);
	}
	return 0;
}

bool
get_name_is_pattern(const char *s)
{
	return strpbrk(s, "*?[") != NULL;
}

/* The set at *p, which begins behind '['; *p moves behind its end. */
static bool
is_in_set(const char **p, char c)
{
	const char *s = *p;
	bool is_not = *s == '!', found = false;

	s += is_not;
	for (bool first = true; *s != '\0' && (first || *s != ']'); first = false, s++) {
		if (s[1] == '-' && s[2] != ']' && s[2] != '\0') {
			found |= (unsigned char)c >= (unsigned char)s[0] && (unsigned char)c <= (unsigned char)s[2];
			s += 2;
		} else {
			found |= *s == c;
		}
	}
	*p = *s == ']' ? s + 1 : s;
	return found != is_not;
}

/* One part of each, without slashes. Time is the product of their lengths: the last star alone is tried again. */
static bool
part_matches(const char *p, size_t pn, const char *name, size_t nn)
{
	const char *pe = p + pn, *ne = name + nn, *star = NULL, *from = NULL;

	while (name < ne || p < pe) {
		const char *next = p + 1;

		if (p < pe && *p == '*') {
			star = ++p;
			from = name;
			continue;
		}
		if (p < pe && name < ne && (*p == '?' || (*p == '[' ? is_in_set(&next, *name) : *p == *name))) {
			p = next;
			name++;
			continue;
		}
		if (star == NULL || from >= ne)
			return false;
		p = star;
		name = ++from;
	}
	return true;
}

bool
get_name_matches(const char *pattern, const char *name)
{
	const char *deep = NULL, *from = NULL;

	for (;;) {
		size_t pn = strcspn(pattern, "/"), nn = strcspn(name, "/");

		if (pn == 2 && pattern[0] == '*' && pattern[1] == '*') {
			if (pattern[2] == '\0')
				return true;
			deep = pattern += 3;
			from = name;
			/* A slash at the end: all that lies below. */
			if (*deep == '\0')
				return true;
			continue;
		}
		if (*name != '\0' && pn > 0 && part_matches(pattern, pn, name, nn)) {
			bool is_last = pattern[pn] == '\0', ends = name[nn] == '\0';

			if (is_last && ends)
				return true;
			if (!is_last && !ends) {
				pattern += pn + 1;
				name += nn + 1;
				if (*pattern == '\0')
					return true;
				continue;
			}
		}
		/* Back to the last "**", which takes one part more. */
		if (deep == NULL || from[strcspn(from, "/")] == '\0')
			return false;
		from += strcspn(from, "/") + 1;
		pattern = deep;
		name = from;
	}
}
