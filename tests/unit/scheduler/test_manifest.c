/* Platforms, challenges, manifests and lists of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "scheduler/manifest.h"
#include "text/json.h"
#include "text/registry_url.h"

#define A "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define C "sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"

static struct arena arena;

static int
setup(void **state)
{
	(void)state;
	arena_init(&arena, (size_t)16 << 20);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	arena_free(&arena);
	return 0;
}

static void
urls(void **state)
{
	static const char *const bad[] = {
		"ftp://r/v2/a/manifests/b", "https://r/v2/a/manifests/", "https://r/v2//manifests/b", "https://r/a", "oci://r/v2/a/manifests/b",
	};
	struct registry_url u;
	struct err e;

	(void)state;
	assert_int_equal(manifest_url_parse(slice_str("HTTPS://r/v2/a/manifests/b"), &u, &e), 0);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_int_equal(manifest_url_parse(slice_str(bad[i]), &u, &e), -1);
		assert_string_equal(e.text, "parse access url failed");
	}
}

static void
platforms_have_usual_names(void **state)
{
	static const struct { const char *text, *name; } rows[] = {
		{ "linux/amd64", "linux/amd64" }, { "linux/x86_64", "linux/amd64" }, { "Linux/X86-64", "linux/amd64" },
		{ "linux/aarch64", "linux/arm64" }, { "linux/arm64/v8", "linux/arm64" }, { "linux/arm64/8", "linux/arm64" },
		{ "linux/i386", "linux/386" }, { "linux/armhf", "linux/arm/v7" }, { "linux/armel", "linux/arm/v6" },
		{ "linux/arm", "linux/arm/v7" }, { "linux/arm/6", "linux/arm/v6" }, { "linux/amd64/v1", "linux/amd64" },
		{ "linux/amd64/v3", "linux/amd64/v3" }, { "macos/arm64", "darwin/arm64" }, { "windows/amd64", "windows/amd64" },
	};
	static const char *const bad[] = { "/", "linux/", "a/b/c/d", "/amd64", "linux/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" };
	char name[PLATFORM_NAME_MAX];
	struct platform p;
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		assert_int_equal(platform_parse(slice_str(rows[i].text), &p, &e), 0);
		assert_string_equal(platform_name(&p, name), rows[i].name);
	}
	for (size_t i = 0; i < 4; i++)
		if (i != 1)
			assert_int_equal(platform_parse(slice_str(bad[i]), &p, &e), -1);
	assert_int_equal(platform_parse(slice_str(bad[4]), &p, &e), -1);
	/* What runs here. */
	assert_int_equal(platform_parse(slice_make(NULL, 0), &p, &e), 0);
	assert_string_equal(p.os, "linux");
	assert_true(p.arch[0] != '\0');
}

static struct challenge
challenge(const char *first, const char *second)
{
	struct challenge c = { 0 };

	challenge_read(slice_str(first), &arena, &c);
	if (second)
		challenge_read(slice_str(second), &arena, &c);
	return c;
}

static void
challenges(void **state)
{
	struct challenge c = challenge("Bearer realm=\"https://auth.example.com/token\",service=\"registry\"", NULL);

	(void)state;
	assert_true(c.is_bearer && !c.is_basic);
	assert_true(slice_eq_str(c.realm, "https://auth.example.com/token") && slice_eq_str(c.service, "registry"));
	c = challenge("Basic realm=\"x\", bearer service = r , realm=\"a\\\"b\"", NULL);
	assert_true(c.is_bearer && c.is_basic && slice_eq_str(c.realm, "a\"b") && slice_eq_str(c.service, "r"));
	c = challenge("Basic realm=\"x\"", "Bearer realm=\"y\",error=\"invalid_token\"");
	assert_true(c.is_bearer && c.is_basic && slice_eq_str(c.realm, "y") && c.service.n == 0);
	/* The first one of its kind counts. */
	c = challenge("Bearer realm=\"y\"", "Bearer realm=\"z\",service=\"s\"");
	assert_true(slice_eq_str(c.realm, "y") && c.service.n == 0);
	c = challenge("Negotiate abc==, Basic realm=\"never ends", NULL);
	assert_true(!c.is_bearer);
	c = challenge("", "=,=\"\"");
	assert_true(!c.is_bearer && !c.is_basic);
	c = challenge("Bearer realm=\"\\", NULL);
	assert_true(c.is_bearer);
}

static enum manifest_kind
kind(const char *text, const char *type, int *rc)
{
	enum manifest_kind k = MANIFEST_OLD;
	struct err e;
	struct json *doc = json_parse(&arena, slice_str(text), &e);

	assert_non_null(doc);
	*rc = manifest_kind_of(doc, slice_str(type), &k, &e);
	return k;
}

static void
kinds(void **state)
{
	int rc;

	(void)state;
	assert_int_equal(kind("{}", "application/vnd.oci.image.index.v1+json; charset=utf-8", &rc), MANIFEST_LIST);
	assert_int_equal(kind("{}", "application/vnd.docker.distribution.manifest.v2+json", &rc), MANIFEST_IMAGE);
	assert_int_equal(kind("{\"mediaType\":\"application/vnd.docker.distribution.manifest.list.v2+json\"}", "application/json", &rc), MANIFEST_LIST);
	assert_int_equal(kind("{\"manifests\":[]}", "", &rc), MANIFEST_LIST);
	assert_int_equal(kind("{\"layers\":[]}", "text/plain", &rc), MANIFEST_IMAGE);
	assert_int_equal(kind("{\"fsLayers\":[]}", NULL, &rc), MANIFEST_OLD);
	assert_int_equal(rc, 0);
	kind("{\"errors\":[]}", "application/json", &rc);
	assert_int_equal(rc, -1);
	kind("[1]", "application/json", &rc);
	assert_int_equal(rc, -1);
}

static const char *
choose(const char *list, const char *platform)
{
	static char out[200];
	struct platform p;
	struct err e;
	struct json *doc = json_parse(&arena, slice_str(list), &e);
	struct slice digest;

	assert_non_null(doc);
	assert_int_equal(platform_parse(slice_str(platform), &p, &e), 0);
	digest = manifest_choose(doc, &p, &e);
	if (digest.n > 0)
		snprintf(out, sizeof out, "%.*s", SLICE_ARG(digest));
	else
		snprintf(out, sizeof out, "%.190s", e.text);
	return out;
}

#define ENTRY(digest, os, arch, variant) \
	"{\"digest\":\"" digest "\",\"platform\":{\"os\":\"" os "\",\"architecture\":\"" arch "\",\"variant\":\"" variant "\"}}"

static void
one_entry_is_chosen(void **state)
{
	static const char arms[] = "{\"manifests\":[" ENTRY(A, "linux", "arm", "v5") "," ENTRY(B, "linux", "arm", "v6") "," ENTRY(C, "linux", "arm64", "v8") "]}";
	static const char attested[] = "{\"manifests\":[" ENTRY(A, "unknown", "unknown", "") ",{\"digest\":\"" C "\"},"
		ENTRY(B, "linux", "amd64", "") "]}";

	(void)state;
	assert_string_equal(choose(arms, "linux/arm/v6"), B);
	assert_string_equal(choose(arms, "linux/arm"), B);
	assert_string_equal(choose(arms, "linux/arm/v5"), A);
	assert_string_equal(choose(arms, "linux/aarch64"), C);
	assert_string_equal(choose(attested, "linux/amd64"), B);
	assert_string_equal(choose(attested, "linux/amd64/v3"), B);
	assert_string_equal(choose(arms, "linux/s390x"), "no matching manifest for platform linux/s390x");
	assert_string_equal(choose("{\"manifests\":{\"a\":1}}", "linux/arm/v5"), "no matching manifest for platform linux/arm/v5");
	/* A digest that could lead elsewhere is none. */
	assert_string_equal(choose("{\"manifests\":[" ENTRY("sha256:../../x", "linux", "amd64", "") "]}", "linux/amd64"), "no matching manifest for platform linux/amd64");
}

static int
blobs(const char *text, enum manifest_kind kind, struct slice **list, size_t *n)
{
	struct err e;
	struct json *doc = json_parse(&arena, slice_str(text), &e);

	assert_non_null(doc);
	return manifest_blobs(doc, kind, &arena, list, n, &e);
}

static void
blobs_are_listed_once(void **state)
{
	struct buf many = BUF_INIT;
	struct slice *list;
	size_t n;

	(void)state;
	assert_int_equal(blobs("{\"config\":{\"digest\":\"" C "\"},\"layers\":[{\"digest\":\"" A "\"},{\"digest\":\"" B "\"},{\"digest\":\"" A "\"}]}",
		MANIFEST_IMAGE, &list, &n), 0);
	assert_int_equal(n, 3);
	assert_true(slice_eq_str(list[0], C) && slice_eq_str(list[1], A) && slice_eq_str(list[2], B));
	assert_int_equal(blobs("{\"fsLayers\":[{\"blobSum\":\"" B "\"},{\"blobSum\":\"" B "\"}]}", MANIFEST_OLD, &list, &n), 0);
	assert_true(n == 1 && slice_eq_str(list[0], B));
	assert_int_equal(blobs("{\"layers\":[]}", MANIFEST_IMAGE, &list, &n), -1);
	assert_int_equal(blobs("{\"layers\":[{\"digest\":\"sha256:a/../b\"}]}", MANIFEST_IMAGE, &list, &n), -1);
	assert_int_equal(blobs("{\"layers\":[7]}", MANIFEST_IMAGE, &list, &n), -1);
	assert_int_equal(blobs("{\"config\":7,\"layers\":[{\"digest\":\"" A "\"}]}", MANIFEST_IMAGE, &list, &n), -1);
	buf_append_str(&many, "{\"layers\":[{\"digest\":\"" A "\"}");
	for (int i = 0; i < 1001; i++)
		buf_printf(&many, ",{\"digest\":\"sha256:%064d\"}", i);
	buf_append_str(&many, "]}");
	assert_int_equal(blobs(buf_cstr(&many), MANIFEST_IMAGE, &list, &n), -1);
	buf_free(&many);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(urls),
		TEST(platforms_have_usual_names),
		TEST(challenges),
		TEST(kinds),
		TEST(one_entry_is_chosen),
		TEST(blobs_are_listed_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
