#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "peer/ids.h"
#include "proto/common.h"

/* Ids that running peers of the reference gave (spec: download.md 1.9). */
struct row {
	const char *url;
	const char *filters;            /* comma-separated; "" for none, "*" for the defaults */
	const char *tag, *application;
	uint64_t piece_length;          /* 0: absent */
	const char *revision;
	bool by_digest;
	const char *id;
};

static const struct row rows[] = {
	{"https://example.com", "x", "foo", "bar", 1024, "v1.0", false,
		"5844f27a257287e9b734256bb25603d8005422ced8c0377f15063ec11963b25f"},
	{"https://example.com", "", "foo", "bar", 0, NULL, false,
		"06408fbf247ddaca478f8cb9565fe5591c28efd0994b8fea80a6a87d3203c5ca"},
	{"https://example.com", "", "foo", NULL, 0, NULL, false,
		"3c3f230ef9f191dd2821510346a7bc138e4894bee9aee184ba250a3040701d2a"},
	{"https://example.com", "", NULL, "bar", 0, NULL, false,
		"c9f9261b7305c24371244f9f149f5d4589ed601348fdf22d7f6f4b10658fdba2"},
	{"https://example.com", "", NULL, NULL, 1024, NULL, false,
		"9f7c9aafbc6f30f8f41a96ca77eeae80c5b60964b3034b0ee43ccf7b2f9e52b8"},
	{"https://example.com?foo=foo&bar=bar", "foo,bar", NULL, NULL, 0, NULL, false,
		"457b4328cde278e422c9e243f7bfd1e97f511fec43a80f535cf6b0ef6b086776"},
	{"https://example.com", "", NULL, NULL, 0, "v1.0", false,
		"b171331534b80e0bf91da38ebbfcdbf4d177898f4b9beac44f14733e3f004d4e"},
	{"https://example.com/file.txt?z=9&b=2&a=1", "z", "foo", "bar", 0, NULL, false,
		"8b3f6e9b9b8fe20903bced565cfd1d0aaef354a4c17573f0c2c1979210443f9d"},
	{"https://example.com/file.txt?b=2&a=1&b=1", "c", NULL, NULL, 0, NULL, false,
		"7c8801d0596be5e8f9449d5c4af23866c72fe5205119c0e5912981f3b16a37aa"},
	{"https://example.com/file.txt?k=a b&m=x*y&n=c~d", "none", NULL, NULL, 1024, NULL, false,
		"6196a6846023f6d3c1e4d30f6c86f3d4186e4c664a33e5692b0e04e49b26a9af"},
	{"https://example.com/file.txt?b=2&a=1", "", NULL, NULL, 0, NULL, false,
		"980ee327518ccc5a7c30703e1a2232e8ba9047b39431f940636c85b6146f8b9a"},
	{"https://registry.example.com/v2/myorg/myrepo/blobs/sha256:1234567890abcdef1234567890abcdef1234567890abcdef1234567890abcdef", "", NULL, NULL, 0, NULL, true,
		"1234567890abcdef1234567890abcdef1234567890abcdef1234567890abcdef"},
	{"https://registry.example.com/v2/myorg/myrepo/manifests/sha256:1234567890abcdef1234567890abcdef1234567890abcdef1234567890abcdef", "", NULL, NULL, 0, NULL, true,
		"1234567890abcdef1234567890abcdef1234567890abcdef1234567890abcdef"},
	{"https://example.com/", "*", NULL, NULL, 0, NULL, false,
		"e0ef3ac8f6c74c04fb5c1344722132d4ccd43303fcc828dd209ca610b9b863e8"},
	{"https://example.com/", "", NULL, NULL, 0, NULL, false,
		"e0ef3ac8f6c74c04fb5c1344722132d4ccd43303fcc828dd209ca610b9b863e8"},
	{"https://example.com", "*", NULL, NULL, 0, NULL, false,
		"457b4328cde278e422c9e243f7bfd1e97f511fec43a80f535cf6b0ef6b086776"},
	{"https://example.com", "", NULL, NULL, 0, NULL, false,
		"457b4328cde278e422c9e243f7bfd1e97f511fec43a80f535cf6b0ef6b086776"},
	{"https://example.com/dir/file.tar.gz", "*", NULL, NULL, 0, NULL, false,
		"4de56ec629a6531fd5df60f957c3db1b903ffdd3a065e4d52924f57a8307c4a9"},
	{"https://example.com/dir/file.tar.gz", "", NULL, NULL, 0, NULL, false,
		"4de56ec629a6531fd5df60f957c3db1b903ffdd3a065e4d52924f57a8307c4a9"},
	{"https://bucket.s3.amazonaws.com/key?X-Amz-Signature=abc&X-Amz-Date=20260101T000000Z&versionId=9", "*", NULL, NULL, 0, NULL, false,
		"aa5989c864e3a8cf8bf6b153140e7b07cf2660ecceec6da79a4d03cc69628538"},
	{"https://index.docker.io/v2/library/alpine/blobs/sha256:b2c366cce7e68013d5441c6326d5a3e1b12aeb5ed58564d0fd3fa089bc29cb6e?ns=docker.io", "*", NULL, NULL, 0, NULL, false,
		"b08c29dce50db743009665920304d65092906dedd0619d1ee8be69cb8f1a6fc8"},
	{"HTTPS://EXAMPLE.com:443/a/../b/./c", "", NULL, NULL, 0, NULL, false,
		"1fd19659174c44a77ed915e91582cec764e824790f6c46af87a40b05190399d4"},
	{"HTTPS://EXAMPLE.com:443/a/../b/./c", "*", NULL, NULL, 0, NULL, false,
		"a52bd5034a761dd0229145aaf42f8e9899a6ec20c418073a79b41433ecfc4b1d"},
	{"https://example.com/a?q=a%20b", "", NULL, NULL, 0, NULL, false,
		"3982b6b1d5a80a39cc6c9d472bb1ef8aa988b76037bae2697cedb0023a122635"},
	{"https://example.com/a?q=a%20b", "*", NULL, NULL, 0, NULL, false,
		"bcac2d17d9ab3701cdf4d668493ece932bd762b3dc0646232cb27f832d2b8f24"},
	{"https://example.com/a?x", "*", NULL, NULL, 0, NULL, false,
		"140a49b9d57fa6f513f2cef11baa4cff8f322c9463c7e57c175f3e4007bd6e58"},
	{"https://example.com/a?b=2&a=1&b=1", "*", NULL, NULL, 0, NULL, false,
		"3b6befb2b2bebe661c9c86486589e5215b84a1d912b6d5a57c30873c89dab971"},
	{"https://example.com/a?b=2&a=1&b=1", "", NULL, NULL, 0, NULL, false,
		"86e1de550ce15a343a3925b299b1881304fd93f9c5ca6995e55ae64504ad761b"},
	{"https://example.com/a?q=%7E~*-._%2F/", "*", NULL, NULL, 0, NULL, false,
		"4d323a790e599078bd6290ccc6491aca77977d653d0f9156674d2e40529c376c"},
	{"https://example.com/a?x=1#frag", "*", NULL, NULL, 0, NULL, false,
		"fb5c70f7b72b0c57efe94ca7a4db32d516924d2ee2e5dd54319ba330a867e91c"},
	{"https://example.com/a?x=1#frag", "", NULL, NULL, 0, NULL, false,
		"fb5c70f7b72b0c57efe94ca7a4db32d516924d2ee2e5dd54319ba330a867e91c"},
	{"s3://bucket/path/to/key?versionId=3", "*", NULL, NULL, 0, NULL, false,
		"c4888037b1f79d3ded5c07adfd447414b2408d6b07f5143b7b4f6926335b481a"},
	{"s3://bucket/path/to/key?versionId=3", "", NULL, NULL, 0, NULL, false,
		"c4888037b1f79d3ded5c07adfd447414b2408d6b07f5143b7b4f6926335b481a"},
	{"hdfs://namenode:9870/user/x", "*", NULL, NULL, 0, NULL, false,
		"87007ff980e5a238f5bd16c83fa1e90dd86648da1b5fd086a4326a162c504cc8"},
	{"http://[2001:DB8::0:1]:80/a", "*", NULL, NULL, 0, NULL, false,
		"74fbc4dca27441541ccb7c3ed3d1bda0831071921af909b90aa7874f97cb8097"},
	{"https://example.com/%E4%BD%A0/a b", "*", NULL, NULL, 0, NULL, false,
		"7945b94f4d428b2559bea6b79d657a3195cff1697972ca7f209da5be53841712"},
	{"https://example.com/dir/file.tar.gz", "*", "", "", 0, NULL, false,
		"4de56ec629a6531fd5df60f957c3db1b903ffdd3a065e4d52924f57a8307c4a9"},
	{"https://example.com/dir/file.tar.gz", "*", NULL, NULL, 4194304, NULL, false,
		"31744e74cc0f0d3942e767d855dbc67cd270cb0b729b655485fef6fe2f0790d4"},
	{"https://example.com/dir/file.tar.gz", "*", "d7y", "ctr", 8388608, NULL, false,
		"30aa07b6f773089e22241bcd8b2aae32972eb2276c191fdeec0506089a2f05d9"},
	{"hf://Qwen/Qwen2.5/model.safetensors", "*", NULL, NULL, 0, "main", false,
		"de9953f7fa1353217b4fc0ce88409d1a4ea814f8c3062c78943b9cff54ffb674"},
	{"modelscope://Qwen/Qwen2.5/config.json", "*", NULL, NULL, 0, "master", false,
		"21ad7325144430f0c228ef192b94ad05e9f1f904c425f333e0ea307b69fd7284"},
	{"https://index.docker.io/v2/library/alpine/blobs/sha256:b2c366cce7e68013d5441c6326d5a3e1b12aeb5ed58564d0fd3fa089bc29cb6e?ns=docker.io", "*", NULL, NULL, 0, NULL, true,
		"b2c366cce7e68013d5441c6326d5a3e1b12aeb5ed58564d0fd3fa089bc29cb6e"},
	/* What a proxy asks for (spec: proxy.md 7, 21). */
	{"http://127.0.0.1:18080/p2p/f1", "*", NULL, NULL, 0, NULL, false,
		"29988d454f00e9d0ab903f6e09846ef27e60427fb70a49efed3c012dfa749706"},
	{"http://127.0.0.1:18080/p2p/f1?X-Amz-Signature=zz&ns=a", "*", NULL, NULL, 0, NULL, false,
		"29988d454f00e9d0ab903f6e09846ef27e60427fb70a49efed3c012dfa749706"},
	{"http://127.0.0.1:18080/p2p/f1?v=1&Expires=9", "*", NULL, NULL, 0, NULL, false,
		"980f1f234cd5393aae2a5e71b23133eb2a7940407e2beddde71fcec820ce2726"},
	{"http://127.0.0.1:18080/p2p/f1", "*", "t1", NULL, 0, NULL, false,
		"80789b96cb87797e59eb48e2677e6e7f85baaf40e6cd451dfa3f6b25efd25a64"},
	{"http://127.0.0.1:18080/p2p/f1", "*", "t1", "a1", 0, NULL, false,
		"8b31ec83eed1a56d58ec033e2844c6311476806fba37f42e6ac1e6d4ff65c359"},
	{"http://127.0.0.1:18080/p2p/f1", "*", NULL, NULL, 8388608, NULL, false,
		"fcd3581768e5654d47eb131233c70376d2e7e3eb8e01c7c0427da45a98af0b47"},
	{"https://example.com:443/p2p/f1", "*", NULL, NULL, 0, NULL, false,
		"2636f8a2df11d57fa19c2bf52938138ec40607f8afb610d0693e15979327711a"},
	{"https://127.0.0.1:18443/p2p/f1", "*", NULL, NULL, 0, NULL, false,
		"acb14b8c3a4001660ab0e9d362f664834c80ec819cd9b37bdd1f523205cf4dbc"},
	{"https://127.0.0.1:18443/sec/f1", "*", NULL, NULL, 0, NULL, false,
		"35f4e23abd56d00b9cb8717748aa2dde6e3edd9e7dea5868243fd4d2f7c0d064"},
	{"http://127.0.0.1:18080/v2/lib/app/blobs/sha256:abababababababababababababababababababababababababababababababab?ns=127.0.0.1:18080", "*", NULL, NULL, 0, NULL, false,
		"0162858f98e74db43b6e2a3735251c6e38afcaf0684cdb480c80c2f970c0e8ac"},
	{"https://index.docker.io/v2/library/alpine/blobs/sha256:abababababababababababababababababababababababababababababababab?ns=docker.io", "*", NULL, NULL, 0, NULL, false,
		"d994258dd2d3a8db1c5c0cd1f7a9ab57ad67b39bf47e52ccbfc762a42bd52ef0"},
	{"https://index.docker.io/v2/library/alpine/blobs/sha256:abababababababababababababababababababababababababababababababab?ns=docker.io", "*", NULL, NULL, 0, NULL, true,
		"abababababababababababababababababababababababababababababababab"},
};

static size_t
split(const char *text, struct slice *out)
{
	struct slice rest = slice_str(text);
	size_t n = 0;

	while (rest.n > 0) {
		ptrdiff_t comma = slice_find(rest, ',');

		out[n++] = comma < 0 ? rest : slice_sub(rest, 0, (size_t)comma);
		rest = comma < 0 ? (struct slice){0} : slice_sub(rest, (size_t)comma + 1, rest.n);
	}
	return n;
}

static void
make_id(const struct row *r, char out[TASK_ID_SIZE])
{
	struct slice filters[DEFAULT_FILTER_COUNT];
	struct common_hugging_face hub = {.revision = slice_str(r->revision)};
	struct common_download d = {
		.url = slice_str(r->url), .tag = slice_str(r->tag), .application = slice_str(r->application),
		.has_piece_length = r->piece_length != 0, .piece_length = r->piece_length, .filtered_query_params = filters,
		.hugging_face = r->revision != NULL ? &hub : NULL, .enable_task_id_based_blob_digest = r->by_digest,
	};
	struct err e = {0};

	if (strcmp(r->filters, "*") == 0) {
		for (size_t i = 0; i < DEFAULT_FILTER_COUNT; i++)
			filters[i] = slice_str(default_filtered_query_params[i]);
		d.n_filtered_query_params = DEFAULT_FILTER_COUNT;
	} else {
		d.n_filtered_query_params = split(r->filters, filters);
	}
	if (task_id_standard(&d, out, &e) < 0)
		fail_msg("%s: %s", r->url, e.text);
}

static void
task_ids_are_those_of_the_reference(void **state)
{
	char id[TASK_ID_SIZE];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		make_id(&rows[i], id);
		if (strcmp(id, rows[i].id) != 0)
			fail_msg("%s (filters %s): %s, not %s", rows[i].url, rows[i].filters, id, rows[i].id);
	}
}

static void
content_makes_the_id_alone(void **state)
{
	struct common_download d = {
		.url = slice_str("anything"), .tag = slice_str("t"), .content_for_calculating_task_id = slice_str("This is a test file"),
	};
	char id[TASK_ID_SIZE];

	(void)state;
	assert_int_equal(task_id_standard(&d, id, NULL), 0);
	assert_string_equal(id, "e2d0fe1585a63ec6009c8016ff8dda8b17719a637405a4e23c0ff81339148249");
}

static void
digests_that_are_none_take_the_url_rule(void **state)
{
	const char *const urls[] = {
		"https://h/v2/r/blobs/sha256:1234", "https://h/v2/r/blobs/uploads/1", "https://h/v2/r/blobs/crc32:1",
		"https://h/v2/r/blobs/sha256:../../../../../../../../etc/passwd0000000000000000000000000000000000",
		"https://h/v2/r/blobs/sha256:ABCDEF7890abcdef1234567890abcdef1234567890abcdef1234567890abcdef",
		"https://h/blobs/sha256:1234567890abcdef1234567890abcdef1234567890abcdef1234567890abcdef",
		"https://h/v2/r/manifests/latest",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(urls); i++) {
		struct row with = {.url = urls[i], .filters = "", .by_digest = true}, without = {.url = urls[i], .filters = ""};
		char a[TASK_ID_SIZE], b[TASK_ID_SIZE];

		make_id(&with, a);
		make_id(&without, b);
		assert_string_equal(a, b);
		assert_true(task_id_is_valid(slice_str(a)));
	}
}

static void
a_url_that_is_none_is_refused_by_name(void **state)
{
	struct slice filter = slice_str("x");
	struct common_download d = {.url = slice_str("example.com/a"), .filtered_query_params = &filter, .n_filtered_query_params = 1};
	char id[TASK_ID_SIZE];
	struct err e = {0};

	(void)state;
	assert_int_equal(task_id_standard(&d, id, &e), -1);
	assert_int_equal(e.code, ERR_INVALID_ARGUMENT);
	assert_string_equal(e.text, "ParseError cause: relative URL without a base");
	d.n_filtered_query_params = 0;
	assert_int_equal(task_id_standard(&d, id, &e), 0);
}

static void
persistent_ids_take_texts_as_they_stand(void **state)
{
	char id[TASK_ID_SIZE];

	(void)state;
	task_id_persistent(slice_str("my-object-key"), slice_str("us-west-1"), slice_str("https://s3.us-west-1.amazonaws.com"), id);
	assert_string_equal(id, "b51f4f44921bb585277a5cbac13e7f6e2858238e98546f3ee6bfeb56369979c0");
}

static void
hosts_and_peers_are_named_by_ip_and_hostname(void **state)
{
	char host[HOST_ID_SIZE], peer[PEER_ID_SIZE], other[PEER_ID_SIZE];

	(void)state;
	host_id_make(host, "127.0.0.1", "localhost", false);
	assert_string_equal(host, "127.0.0.1-localhost");
	host_id_make(host, "127.0.0.1", "localhost", true);
	assert_string_equal(host, "127.0.0.1-localhost-seed");
	peer_id_make(peer, "127.0.0.1", "localhost", true);
	peer_id_make(other, "127.0.0.1", "localhost", true);
	assert_int_equal(strncmp(peer, "127.0.0.1-localhost-", 20), 0);
	assert_int_equal(strlen(peer), 20 + 36 + 5);
	assert_string_equal(peer + 56, "-seed");
	assert_string_not_equal(peer, other);
}

static void
task_ids_are_64_lower_case_hex_digits(void **state)
{
	const char *id = "5844f27a257287e9b734256bb25603d8005422ced8c0377f15063ec11963b25f";

	(void)state;
	assert_true(task_id_is_valid(slice_str(id)));
	assert_false(task_id_is_valid(slice_sub(slice_str(id), 0, 63)));
	assert_false(task_id_is_valid(slice_str("5844F27a257287e9b734256bb25603d8005422ced8c0377f15063ec11963b25f")));
	assert_false(task_id_is_valid(slice_str("../4f27a257287e9b734256bb25603d8005422ced8c0377f15063ec11963b25f")));
	assert_false(task_id_is_valid((struct slice){0}));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(task_ids_are_those_of_the_reference),
		cmocka_unit_test(content_makes_the_id_alone),
		cmocka_unit_test(digests_that_are_none_take_the_url_rule),
		cmocka_unit_test(a_url_that_is_none_is_refused_by_name),
		cmocka_unit_test(persistent_ids_take_texts_as_they_stand),
		cmocka_unit_test(hosts_and_peers_are_named_by_ip_and_hostname),
		cmocka_unit_test(task_ids_are_64_lower_case_hex_digits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
