/* URLs of registries: manifests, blobs, digests in them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "text/registry_url.h"

#define HEX "e692418e4cbaf90ca69d05a66403747baa33ee08806650b51fab815ad7fc331f"

static void
parts_are_found(void **state)
{
	struct registry_url u;

	(void)state;
	assert_true(registry_url_parse(slice_str("https://registry.example.com:5000/v2/org/team/app/manifests/1.2?ns=docker.io"), "manifests", &u));
	assert_true(slice_eq_str(u.scheme, "https") && slice_eq_str(u.origin, "https://registry.example.com:5000"));
	assert_true(slice_eq_str(u.repository, "org/team/app") && slice_eq_str(u.reference, "1.2"));
	/* Names may hold the words themselves: the last ones count, as in the expression of the original. */
	assert_true(registry_url_parse(slice_str("http://r/v2/v2/manifests/blobs/x"), "blobs", &u));
	assert_true(slice_eq_str(u.origin, "http://r/v2") && slice_eq_str(u.repository, "manifests"));
}

static void
other_urls_are_not_taken(void **state)
{
	static const char *const bad[] = {
		"", "registry.example.com/v2/repo/manifests/latest", "http://registry.example.com/manifests/latest",
		"http://r/v2/manifests/latest", "http://r/v2/repo/blobs/latest", "http://r/x?/v2/repo/manifests/latest", "/v2/a/manifests/b",
	};
	struct registry_url u;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(registry_url_parse(slice_str(bad[i]), "manifests", &u));
}

static void
digests_are_found(void **state)
{
	static const char *const bad[] = {
		"https://r/v2/a/blobs/sha256:abc", "https://r/v2/a/blobs/sha512:" HEX, "https://r/v2/a/blobs/sha256:" HEX "0",
		"https://r/v2/a/blobs/sha256:E692418E4CBAF90CA69D05A66403747BAA33EE08806650B51FAB815AD7FC331F", "https://r/v2/blobs/sha256:" HEX,
		"r/v2/a/blobs/sha256:" HEX, "https://r/v2/a/blobs/uploads/sha256:" HEX "/x", "https://r/v2/a/files/sha256:" HEX,
	};
	char hex[REGISTRY_DIGEST_SIZE];

	(void)state;
	assert_true(registry_url_digest(slice_str("https://r/v2/library/nginx/blobs/sha256:" HEX "?ns=docker.io"), hex));
	assert_string_equal(hex, HEX);
	memset(hex, 0, sizeof hex);
	assert_true(registry_url_digest(slice_str("https://r/v2/library/nginx/manifests/sha256:" HEX), hex));
	assert_string_equal(hex, HEX);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(registry_url_digest(slice_str(bad[i]), hex));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parts_are_found),
		cmocka_unit_test(other_urls_are_not_taken),
		cmocka_unit_test(digests_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
