#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "text/mirror_conf.h"
#include "text/splice.h"

#define ID "plugins.\"io.containerd.grpc.v1.cri\""
#define ID3 "plugins.\"io.containerd.cri.v1.images\""
#define DIRS "config_path = \"/etc/containerd/certs.d\""

struct row {
	const char *before;
	const char *after;      /* NULL: refused */
	const char *why;        /* part of the error */
};

static void
same(const char *before, const char *got, const char *want)
{
	if (strcmp(got, want) != 0)
		fail_msg("from:\n%s\n-- comes:\n%s\n-- wanted:\n%s\n--", before, got, want);
}

typedef int change_fn(struct slice text, struct buf *out, struct arena *a, struct err *e);

/* Each row, and once more from its result: nothing changes. */
static void
check_rows(const struct row *rows, size_t count, change_fn *fn)
{
	for (size_t i = 0; i < count; i++) {
		struct buf once = BUF_INIT, twice = BUF_INIT;
		struct arena a;
		struct err e = {0};

		arena_init(&a, MIRROR_ARENA_MAX);
		if (rows[i].after == NULL) {
			if (fn(slice_str(rows[i].before), &once, &a, &e) == 0)
				fail_msg("taken:\n%s\n-- gives:\n%s", rows[i].before, buf_cstr(&once));
			if (strstr(e.text, rows[i].why) == NULL)
				fail_msg("%s\n-- \"%s\" does not say \"%s\"", rows[i].before, e.text, rows[i].why);
		} else {
			if (fn(slice_str(rows[i].before), &once, &a, &e) != 0)
				fail_msg("%s\n-- %s", rows[i].before, e.text);
			same(rows[i].before, buf_cstr(&once), rows[i].after);
			if (fn(buf_slice(&once), &twice, &a, &e) != 0)
				fail_msg("%s\n-- the second time: %s", rows[i].after, e.text);
			same(rows[i].after, buf_cstr(&twice), rows[i].after);
		}
		buf_free(&once);
		buf_free(&twice);
		arena_free(&a);
	}
}

/* ---- splice ---- */

static void
changes_touch_only_their_bytes(void **state)
{
	struct splice s = SPLICE_INIT;
	struct buf out = BUF_INIT;

	(void)state;
	splice_remove(&s, 6, 8);
	splice_insert(&s, 6, slice_str("X"));
	splice_insert(&s, 6, slice_str("Y"));
	splice_replace(&s, 1, 3, slice_str("long"));
	splice_insert(&s, 10, slice_str("!"));
	splice_insert(&s, 0, slice_str(">"));
	splice_apply(&s, slice_str("0123456789"), &out);
	assert_string_equal(buf_cstr(&out), ">0long345XY89!");
	splice_free(&s);
	buf_free(&out);
}

/* ---- containerd ---- */

static int
containerd(struct slice text, struct buf *out, struct arena *a, struct err *e)
{
	struct mirror_containerd r;

	return mirror_containerd(text, NULL, &r, out, a, e);
}

static void
containerd_config_gets_its_directory(void **state)
{
	static const struct row rows[] = {
		/* A new file, and files that say nothing of CRI. */
		{"", "version = 2\n\n[" ID ".registry]\n  " DIRS "\n", NULL},
		{"root = \"/x\"\n", "version = 2\n\nroot = \"/x\"\n\n[" ID ".registry]\n  " DIRS "\n", NULL},
		{"version = 2\n", "version = 2\n\n[" ID ".registry]\n  " DIRS "\n", NULL},
		{"version = 3", "version = 3\n\n[" ID3 ".registry]\n  " DIRS "\n", NULL},
		{"version = 4\n", "version = 4\n\n[" ID3 ".registry]\n  " DIRS "\n", NULL},
		/* As Docker's packages have it: short names mean version 1. */
		{"disabled_plugins = [\"cri\"]\n", "disabled_plugins = [\"cri\"]\n\n[plugins.cri.registry]\n  " DIRS "\n", NULL},
		{"version = 1\n[plugins.cri]\nx = 1\n", "version = 1\n[plugins.cri]\nx = 1\n\n[plugins.cri.registry]\n  " DIRS "\n", NULL},
		/* A table that is there, with and without the key. */
		{"version = 3\n# a\n[" ID3 ".registry]\nconfig_path = \"\" # b\n[other]\nx = 1\n",
		 "version = 3\n# a\n[" ID3 ".registry]\nconfig_path = \"/etc/containerd/certs.d\" # b\n[other]\nx = 1\n", NULL},
		{"version = 2\n[" ID ".registry]\n# nothing yet\n\n[z]\n", "version = 2\n[" ID ".registry]\n  " DIRS "\n# nothing yet\n\n[z]\n", NULL},
		{"version = 2\n    [" ID ".registry]\n      a = 1\n", "version = 2\n    [" ID ".registry]\n      " DIRS "\n      a = 1\n", NULL},
		{"version = 2\n[" ID ".registry]", "version = 2\n[" ID ".registry]\n  " DIRS "\n", NULL},
		{"version = 2\r\n[" ID ".registry]\r\na = 1\r\n", "version = 2\r\n[" ID ".registry]\r\n" DIRS "\r\na = 1\r\n", NULL},
		/* The images plugin in a file of version 2. */
		{"version = 2\n[" ID3 "]\nx = 1\n", "version = 2\n[" ID3 "]\nx = 1\n\n[" ID3 ".registry]\n  " DIRS "\n", NULL},
		/* The directory is there: not a byte changes, whatever else there is. */
		{"version = 2\n[" ID ".registry]\nconfig_path='/a:/b'\n[" ID ".registry.mirrors]\n",
		 "version = 2\n[" ID ".registry]\nconfig_path='/a:/b'\n[" ID ".registry.mirrors]\n", NULL},
		/* Mirrors and TLS settings go, credentials and headers stay. */
		{"version = 2\n[" ID "]\n  sandbox_image = \"p\" # keep\n  [" ID ".registry]\n    config_path = \"\"\n"
		 "    [" ID ".registry.mirrors]\n      [" ID ".registry.mirrors.\"docker.io\"]\n        endpoint = [\"https://m\"]\n\n"
		 "    [" ID ".registry.configs]\n      [" ID ".registry.configs.\"r.io\".auth]\n        username = \"u\"\n"
		 "      [" ID ".registry.configs.\"r.io\".tls]\n        insecure_skip_verify = true\n    [" ID ".registry.headers]\n      A = [\"b\"]\n\n[metrics]\n",
		 "version = 2\n[" ID "]\n  sandbox_image = \"p\" # keep\n  [" ID ".registry]\n    config_path = \"/etc/containerd/certs.d\"\n"
		 "\n    [" ID ".registry.configs]\n      [" ID ".registry.configs.\"r.io\".auth]\n        username = \"u\"\n"
		 "    [" ID ".registry.headers]\n      A = [\"b\"]\n\n[metrics]\n", NULL},
		/* No table of its own: before those below it. */
		{"version = 2\n[" ID ".registry.configs.a.auth]\nx = 1\n",
		 "version = 2\n[" ID ".registry]\n  " DIRS "\n\n[" ID ".registry.configs.a.auth]\nx = 1\n", NULL},
		{"version = 2\n[" ID ".registry.mirrors.a]\nendpoint = []\n# end\n", "version = 2\n[" ID ".registry]\n  " DIRS "\n\n# end\n", NULL},
		/* Dotted keys. */
		{"version = 2\n[" ID "]\n  registry.mirrors.a.endpoint = []\n  registry.configs.a.auth.x = 1\n",
		 "version = 2\n[" ID "]\n  registry." DIRS "\n  registry.configs.a.auth.x = 1\n", NULL},
		{"version = 2\n[plugins]\n'io.containerd.grpc.v1.cri'.registry.config_path = ''\n",
		 "version = 2\n[plugins]\n'io.containerd.grpc.v1.cri'.registry.config_path = \"/etc/containerd/certs.d\"\n", NULL},
		{"version = 2\n[plugins]\n\"io.containerd.grpc.v1.cri\".x = 1\n",
		 "version = 2\n[plugins]\n\"io.containerd.grpc.v1.cri\".x = 1\n\n[" ID ".registry]\n  " DIRS "\n", NULL},
		/* Inline tables. */
		{"version = 2\n[" ID "]\nregistry = {}\n", "version = 2\n[" ID "]\nregistry = { " DIRS " }\n", NULL},
		{"version = 2\n[" ID "]\nregistry = {mirrors = {a = {}}, config_path = \"\", headers={A=[\"b\"]}, configs = {a={auth={x=1},tls={}}, b={}}} # c\n",
		 "version = 2\n[" ID "]\nregistry = { " DIRS ", headers={A=[\"b\"]}, configs = { a={ auth={x=1} }, b={} } } # c\n", NULL},
		{"version = 2\n[plugins]\n\"io.containerd.grpc.v1.cri\" = {x=1}\n",
		 "version = 2\n[plugins]\n\"io.containerd.grpc.v1.cri\" = { x=1, registry = { " DIRS " } }\n", NULL},
		{"version = 2\nplugins = {a = 1}\n", "version = 2\nplugins = { a = 1, \"io.containerd.grpc.v1.cri\".registry = { " DIRS " } }\n", NULL},
		{"version = 2\n[" ID ".registry]\nconfigs = {a={tls={}, auth={}}}\nmirrors = {}\n",
		 "version = 2\n[" ID ".registry]\n" DIRS "\nconfigs = { a={ auth={} } }\n", NULL},
		/* The key below another one of the table. */
		{"version = 2\n[" ID ".registry]\na = 1\nconfig_path = ''\n", "version = 2\n[" ID ".registry]\na = 1\nconfig_path = \"/etc/containerd/certs.d\"\n", NULL},
		/* What is not understood. */
		{"version = 2\n[[" ID ".registry]]\n", NULL, "line 2: not a table"},
		{"version = 2\n[" ID "]\nregistry = 1\n", NULL, "line 3: not a table"},
		{"version = \"2\"\n", NULL, "line 1: version"},
		{"version = 0\n", NULL, "line 1: version"},
		{"version = 2\n[" ID ".registry]\nconfig_path = 1\n", NULL, "not a text"},
		{"version = 2\n[" ID ".registry]\nconfig_path = ''\nconfig_path = ''\n", NULL, "set 2 times"},
		{"version = 2\n[" ID ".registry]\nconfig_path = 'relative'\n", NULL, "absolute"},
		{"version = 2\n[x\n", NULL, "line 2: ]"},
	};

	(void)state;
	check_rows(rows, COUNT_OF(rows), containerd);
}

static void
containerd_tells_what_it_found(void **state)
{
	static const struct {
		const char *text, *fixed, *id, *dir;
		bool is_disabled;
	} rows[] = {
		{"version = 2\n", NULL, "io.containerd.grpc.v1.cri", MIRROR_CERTS_DIR, false},
		{"version = 3\n", NULL, "io.containerd.cri.v1.images", MIRROR_CERTS_DIR, false},
		{"version = 2\n", "my.plugin", "my.plugin", MIRROR_CERTS_DIR, false},
		{"version = 3\n[" ID "]\n", NULL, "io.containerd.grpc.v1.cri", MIRROR_CERTS_DIR, false},
		{"version = 2\n[" ID ".registry]\nconfig_path = \"/a/b:/c\"\n", NULL, "io.containerd.grpc.v1.cri", "/a/b", false},
		{"disabled_plugins = ['cri']\n", NULL, "cri", MIRROR_CERTS_DIR, true},
		{"version = 2\ndisabled_plugins = ['io.containerd.grpc.v1.cri']\n", NULL, "io.containerd.grpc.v1.cri", MIRROR_CERTS_DIR, true},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct mirror_containerd r;
		struct buf out = BUF_INIT;
		struct arena a;

		arena_init(&a, MIRROR_ARENA_MAX);
		assert_int_equal(mirror_containerd(slice_str(rows[i].text), rows[i].fixed, &r, &out, &a, NULL), 0);
		assert_string_equal(r.plugin_id, rows[i].id);
		assert_string_equal(r.certs_dir, rows[i].dir);
		assert_int_equal(r.is_disabled, rows[i].is_disabled);
		buf_free(&out);
		arena_free(&a);
	}
}

/* ---- hosts.toml ---- */

static void
hosts_files_are_as_containerd_reads_them(void **state)
{
	static const char *const pull[] = {"pull", "resolve"}, *const ca[] = {"a.crt"};
	static const bool yes = true;
	struct buf out = BUF_INIT;

	(void)state;
	mirror_hosts("http://127.0.0.1:4001", &(struct mirror_host){.server_addr = "https://index.docker.io", .capabilities = pull,
	    .capability_count = 2, .skip_verify = &yes, .ca = ca, .ca_count = 1}, &out);
	assert_string_equal(buf_cstr(&out),
	    "server = \"https://index.docker.io\"\n\n[host.\"http://127.0.0.1:4001\"]\ncapabilities = [\"pull\", \"resolve\"]\nskip_verify = true\n"
	    "ca = [\"a.crt\"]\n\n[host.\"http://127.0.0.1:4001\".header]\nX-Dragonfly-Registry = \"https://index.docker.io\"\n");
	buf_clear(&out);
	mirror_hosts("http://127.0.0.1:4001", &(struct mirror_host){.capabilities = pull, .capability_count = 2}, &out);
	assert_string_equal(buf_cstr(&out), "[host.\"http://127.0.0.1:4001\"]\ncapabilities = [\"pull\", \"resolve\"]\n");
	buf_clear(&out);
	mirror_hosts("http://a\"b", &(struct mirror_host){.capabilities = pull, .capability_count = 1}, &out);
	assert_string_equal(buf_cstr(&out), "[host.\"http://a\\\"b\"]\ncapabilities = [\"pull\"]\n");
	buf_free(&out);
}

/* ---- registries.conf ---- */

#define OURS "insecure = true\nlocation = \"127.0.0.1:4001\"\n"
#define ENTRY "[[registry]]\nprefix = \"r.io\"\nlocation = \"r.io\"\n"
#define KEY "unqualified-search-registries = [\"r.io\"]\n"

static int
registries(struct slice text, struct buf *out, struct arena *a, struct err *e)
{
	static const char *const unqualified[] = {"r.io"};
	static const struct mirror_registry list[] = {{"r.io", "r.io"}};
	const struct mirror_registries r = {.mirror = "127.0.0.1:4001", .unqualified = unqualified, .unqualified_count = 1, .registries = list, .count = 1};

	return mirror_registries(text, &r, out, a, e);
}

static void
registries_get_their_mirror(void **state)
{
	static const struct row rows[] = {
		{"", KEY "\n" ENTRY "\n[[registry.mirror]]\n" OURS, NULL},
		{"# mine\n", KEY "\n# mine\n\n" ENTRY "\n[[registry.mirror]]\n" OURS, NULL},
		{"short-name-mode = \"x\"\n\n[aliases]\n  \"a\" = \"b\"", "short-name-mode = \"x\"\n" KEY "\n[aliases]\n  \"a\" = \"b\"\n\n" ENTRY "\n[[registry.mirror]]\n" OURS, NULL},
		{"unqualified-search-registries = [\n  \"a\", # x\n]\n", KEY "\n" ENTRY "\n[[registry.mirror]]\n" OURS, NULL},
		{"unqualified-search-registries = [ 'r.io' ] # same\n" ENTRY "[[registry.mirror]]\n" OURS,
		 "unqualified-search-registries = [ 'r.io' ] # same\n" ENTRY "[[registry.mirror]]\n" OURS, NULL},
		/* Other entries, other mirrors and other keys stay. */
		{KEY "[[registry]]\nprefix = 'q.io'\nblocked = true\n[[registry.mirror]]\nlocation = 'm'\n[[registry]]\nlocation = 'r.io'\n[[registry.mirror]]\nlocation = 'n'\n",
		 KEY "[[registry]]\nprefix = 'q.io'\nblocked = true\n[[registry.mirror]]\nlocation = 'm'\n[[registry]]\nlocation = 'r.io'\n\n[[registry.mirror]]\n" OURS
		 "[[registry.mirror]]\nlocation = 'n'\n", NULL},
		{KEY "[[registry]]\nprefix = 'r.io'\n", KEY "[[registry]]\nprefix = 'r.io'\nlocation = \"r.io\"\n\n[[registry.mirror]]\n" OURS, NULL},
		{KEY "[[registry]]\nprefix = 'r.io'\nlocation = 'old'", KEY "[[registry]]\nprefix = 'r.io'\nlocation = \"r.io\"\n\n[[registry.mirror]]\n" OURS, NULL},
		{KEY ENTRY "[[registry.mirror]]\nlocation = '127.0.0.1:4001'\ninsecure = false # why\n", KEY ENTRY "[[registry.mirror]]\nlocation = '127.0.0.1:4001'\ninsecure = true # why\n", NULL},
		{KEY ENTRY "[[registry.mirror]]\nlocation = '127.0.0.1:4001'\n", KEY ENTRY "[[registry.mirror]]\ninsecure = true\nlocation = '127.0.0.1:4001'\n", NULL},
		{KEY "\r\n[[registry]]\r\nprefix = 'r.io'\r\nlocation = 'r.io'\r\n",
		 KEY "\r\n[[registry]]\r\nprefix = 'r.io'\r\nlocation = 'r.io'\r\n\n[[registry.mirror]]\n" OURS, NULL},
		/* What is not understood. */
		{"[registries.search]\nregistries = ['a']\n", NULL, "line 1: a file of version 1"},
		{"registry = [{prefix = 'a'}]\n", NULL, "line 1: registry must be"},
		{"[registry]\n", NULL, "line 1: registry must be"},
		{"[[registry]]\nprefix = 'r.io'\nmirror = [{location = 'x'}]\n", NULL, "line 3: mirror must be"},
		{"unqualified-search-registries = 'a'\n", NULL, "line 1: unqualified-search-registries"},
		{KEY ENTRY "[[registry.mirror]]\nlocation = '127.0.0.1:4001'\ninsecure = 1\n", NULL, "insecure is neither"},
		{"[[registry]\n", NULL, "line 1"},
	};

	(void)state;
	check_rows(rows, COUNT_OF(rows), registries);
}

/* ---- Docker ---- */

#define PROXY "http://127.0.0.1:4001"

static int
docker(struct slice text, struct buf *out, struct arena *a, struct err *e)
{
	return mirror_docker(text, PROXY, out, a, e);
}

static void
docker_gets_its_proxies(void **state)
{
#define PRETTY "{\n  \"proxies\": {\n    \"http-proxy\": \"" PROXY "\",\n    \"https-proxy\": \"" PROXY "\"\n  }\n}"
#define ONE_LINE "{\"http-proxy\": \"" PROXY "\", \"https-proxy\": \"" PROXY "\"}"
	static const struct row rows[] = {
		{"", PRETTY "\n", NULL},
		{" \n", PRETTY "\n", NULL},
		{"{}", PRETTY, NULL},
		{"{ \n}\n", PRETTY "\n", NULL},
		{"{\"a\":1}", "{\"a\":1, \"proxies\": " ONE_LINE "}", NULL},
		{"{\n    \"log-driver\": \"x}\\\"\",\n    \"b\": [1, {}]\n}\n",
		 "{\n    \"log-driver\": \"x}\\\"\",\n    \"b\": [1, {}],\n    \"proxies\": {\n        \"http-proxy\": \"" PROXY "\",\n        \"https-proxy\": \"" PROXY "\"\n    }\n}\n", NULL},
		{"{\r\n\t\"a\": 1e3\r\n}", "{\r\n\t\"a\": 1e3,\r\n\t\"proxies\": {\r\n\t\t\"http-proxy\": \"" PROXY "\",\r\n\t\t\"https-proxy\": \"" PROXY "\"\r\n\t}\r\n}", NULL},
		{"{\n  \"proxies\": {\n    \"no-proxy\": \"*.x\"\n  },\n  \"log-driver\": \"j\"\n}",
		 "{\n  \"proxies\": {\n    \"no-proxy\": \"*.x\",\n    \"http-proxy\": \"" PROXY "\",\n    \"https-proxy\": \"" PROXY "\"\n  },\n  \"log-driver\": \"j\"\n}", NULL},
		{"{\"proxies\":{\"https-proxy\":\"http://old\",\"http-proxy\":\"" PROXY "\"},\"z\":null}",
		 "{\"proxies\":{\"https-proxy\":\"" PROXY "\",\"http-proxy\":\"" PROXY "\"},\"z\":null}", NULL},
		{"{\"proxies\": {}}", "{\"proxies\": " ONE_LINE "}", NULL},
		{"{\"proxies\": {\"http-proxy\": null}}", "{\"proxies\": {\"http-proxy\": \"" PROXY "\", \"https-proxy\": \"" PROXY "\"}}", NULL},
		{"{\"a\":1,}", NULL, "json"},
		{"[]", NULL, "not an object"},
		{"{\"proxies\": 1}", NULL, "\"proxies\" is not an object"},
		{"{\"proxies\": {}, \"proxies\": {}}", NULL, "twice"},
		{"{\"\\u0070roxies\": {}}", NULL, "escapes"},
		{"{\"proxies\": {\"http-proxy\": \"\", \"http-proxy\": \"\"}}", NULL, "twice"},
	};

	(void)state;
	check_rows(rows, COUNT_OF(rows), docker);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(changes_touch_only_their_bytes),
		cmocka_unit_test(containerd_config_gets_its_directory),
		cmocka_unit_test(containerd_tells_what_it_found),
		cmocka_unit_test(hosts_files_are_as_containerd_reads_them),
		cmocka_unit_test(registries_get_their_mirror),
		cmocka_unit_test(docker_gets_its_proxies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
