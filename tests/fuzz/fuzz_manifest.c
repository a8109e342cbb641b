/* Any bytes as what a registry of images says: a manifest or a list of them; and as the address of one, and as a platform. */
#include <stdint.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/err.h"
#include "scheduler/manifest.h"
#include "text/json.h"
#include "text/registry_url.h"

#define ARENA_MAX ((size_t)4 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
as_document(struct slice text)
{
	struct slice *digests, chosen;
	struct platform platform;
	enum manifest_kind kind;
	struct json *doc;
	struct arena a;
	struct err e;
	size_t n;

	arena_init(&a, ARENA_MAX);
	doc = json_parse(&a, text, NULL);
	if (doc != NULL && manifest_kind_of(doc, (struct slice){0}, &kind, &e) == 0) {
		if (kind == MANIFEST_LIST) {
			if (platform_parse(slice_str("linux/arm/v7"), &platform, &e) != 0)
				abort();
			chosen = manifest_choose(doc, &platform, &e);
			if (chosen.p != NULL && !manifest_is_digest(chosen))
				abort();
		} else if (manifest_blobs(doc, kind, &a, &digests, &n, &e) == 0) {
			for (size_t i = 0; i < n; i++)
				if (!manifest_is_digest(digests[i]))
					abort();
		}
	}
	arena_free(&a);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = slice_make(data, size);
	char name[PLATFORM_NAME_MAX], digest[REGISTRY_DIGEST_SIZE];
	struct registry_url url;
	struct platform platform;
	struct err e;

	as_document(text);
	if (manifest_url_parse(text, &url, &e) == 0 && (url.repository.n == 0 || url.reference.n == 0 || url.origin.n == 0))
		abort();
	if (registry_url_digest(text, digest) && !registry_url_parse(text, "blobs", &url) && !registry_url_parse(text, "manifests", &url))
		return 0;
	if (platform_parse(text, &platform, &e) == 0)
		platform_name(&platform, name);
	return 0;
}
