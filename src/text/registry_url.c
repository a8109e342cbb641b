#include "text/registry_url.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/hex.h"

/* Last place of `what` in s, or -1. */
static ptrdiff_t
find_last(struct slice s, const char *what)
{
	size_t n = strlen(what);

	for (size_t i = s.n >= n ? s.n - n + 1 : 0; i-- > 0;)
		if (memcmp(s.p + i, what, n) == 0)
			return (ptrdiff_t)i;
	return -1;
}

bool
registry_url_parse(struct slice url, const char *kind, struct registry_url *out)
{
	static const char root[] = "/v2/";
	ptrdiff_t query = slice_find(url, '?'), at, v2, scheme;
	char name[16] = "/";
	size_t n = strlen(kind) + 2;

	memcpy(name + 1, kind, n - 2);
	name[n - 1] = '/';
	if (query >= 0)
		url = slice_sub(url, 0, (size_t)query);
	at = find_last(url, name);
	v2 = find_last(slice_sub(url, 0, at < 0 ? 0 : (size_t)at), root);
	scheme = find_last(slice_sub(url, 0, v2 < 0 ? 0 : (size_t)v2), "://");
	if (scheme < 0)
		return false;
	out->scheme = slice_sub(url, 0, (size_t)scheme);
	out->origin = slice_sub(url, 0, (size_t)v2);
	out->repository = slice_sub(url, (size_t)v2 + strlen(root), (size_t)at - (size_t)v2 - strlen(root));
	out->reference = slice_sub(url, (size_t)at + n, url.n);
	return true;
}

bool
registry_url_digest(struct slice url, char out[REGISTRY_DIGEST_SIZE])
{
	static const char *const kinds[] = {"blobs", "manifests"};

	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		struct registry_url u;
		struct slice hex;

		if (!registry_url_parse(url, kinds[i], &u) || !slice_starts(u.reference, "sha256:"))
			continue;
		hex = slice_sub(u.reference, 7, u.reference.n);
		if (hex.n != REGISTRY_DIGEST_SIZE - 1 || hex_span_lower(hex) != hex.n)
			continue;
		memcpy(out, hex.p, hex.n);
		out[hex.n] = '\0';
		return true;
	}
	return false;
}
