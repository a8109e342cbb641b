#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "config/dynconfig.h"

static struct dynconfig d;
static struct client_config client;
static struct config_notes notes;

static void
load(const char *text, bool has_embedded)
{
	struct err e = {0};

	if (dynconfig_load_text(text, strlen(text), "d", has_embedded, &d, &notes, &e) < 0)
		fail_msg("\"%s\": %s", text, e.text);
}

static void
done(void)
{
	dynconfig_free(&d);
	config_notes_free(&notes);
}

static void
refuses(const char *text, const char *message)
{
	struct err e = {0};

	if (dynconfig_load_text(text, strlen(text), "d", false, &d, &notes, &e) == 0)
		fail_msg("\"%s\" should be refused", text);
	if (strstr(e.text, message) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", e.text, message);
	config_notes_free(&notes);
}

static void
nothing_given_means_the_usual_scheduler(void **state)
{
	static const char *const texts[] = {"", "---", "{}", "scheduler:", "scheduler: {addr: ~, addrs: []}", "clientConfig:\nseedClientConfig: {blockList: }"};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		load(texts[i], false);
		assert_string_equal(d.scheduler_addr, "dragonfly-scheduler:8002");
		assert_int_equal(d.scheduler_addrs.count, 0);
		assert_false(d.is_embedded);
		assert_int_equal(notes.warning_count, 0);
		done();
		load(texts[i], true);
		assert_true(d.is_embedded);
		done();
	}
}

static void
file_that_is_not_there_is_an_empty_one(void **state)
{
	struct err e = {0};

	(void)state;
	assert_int_equal(dynconfig_load_file("/nonexistent/d.yaml", false, &d, &notes, &e), 0);
	assert_int_equal(notes.warning_count, 1);
	assert_string_equal(d.scheduler_addr, "dragonfly-scheduler:8002");
	done();
	assert_int_equal(dynconfig_load_file("/", false, &d, &notes, &e), -1);
	assert_non_null(strstr(e.text, "/"));
}

static void
addresses_are_checked_sorted_and_unique(void **state)
{
	static const char *const sorted[] = {"9.1.1.1:8002", "10.1.1.1:80", "10.1.1.1:8002", "[::1]:8002", "[fd00::1]:8002", "a.example:8002", "b:1"};

	(void)state;
	load("scheduler:\n  addrs: ['b:1', '[fd00::1]:8002', '10.1.1.1:8002', '[::1]:8002', '10.1.1.1:80', '9.1.1.1:8002', '10.1.1.1:8002', 'a.example:8002']\n", true);
	assert_int_equal(d.scheduler_addrs.count, COUNT_OF(sorted));
	for (size_t i = 0; i < COUNT_OF(sorted); i++)
		assert_string_equal(d.scheduler_addrs.items[i], sorted[i]);
	assert_false(d.is_embedded);
	done();
	load("scheduler: {addr: 's:9000'}", true);
	assert_string_equal(d.scheduler_addr, "s:9000");
	assert_false(d.is_embedded);
	done();
	load("scheduler: {addr: embedded}", true);
	assert_true(d.is_embedded);
	done();
	load("scheduler: {addr: '', addrs: ['1.2.3.4:5']}", false);
	done();
	refuses("scheduler: {addr: embedded}", "x.scheduler.enable");
	refuses("scheduler: {addr: ''}", "must not be empty");
	refuses("scheduler: {addr: s}", "expected host:port");
	refuses("scheduler: {addr: 'http://s:1'}", "expected host:port");
	refuses("scheduler: {addrs: ['1.2.3.4']}", "d:1:21: scheduler.addrs: expected host:port");
	refuses("scheduler: {addrs: ['fd00::1:8002']}", "expected host:port");
	refuses("scheduler: {addrs: ['[::1]']}", "expected host:port");
	refuses("scheduler: {addrs: a}", "expected a sequence");
	refuses("scheduler: {addr: [", "d:1:19: missing");
	refuses("[]", "expected a mapping");
}

static const char full[] =
    "scheduler:\n"
    "  addrs: ['192.168.1.10:8002']\n"
    "clientConfig:\n"
    "  blockList:\n"
    "    task:\n"
    "      download:\n"
    "        applications: ['legacy-sync']\n"
    "        urls: ['^https://forbidden\\.', 'example\\.com/secret']\n"
    "        tags: ['nightly']\n"
    "        priorities: [1, -2]\n"
    "    persistentTask:\n"
    "      upload:   {applications: [], urls: [u], tags: []}\n"
    "      download: {applications: [], urls: [], tags: [], priorities: []}\n"
    "    persistent_cache_task:\n"
    "      upload:   {applications: [], urls: null, tags: [t]}\n"
    "      download: {applications: [a], urls: [], tags: [], priorities: [2147483647]}\n"
    "seedClientConfig:\n"
    "  block_list: {task: {download: {tags: [seed]}}}\n";

static void
block_lists_match_by_any_criterion(void **state)
{
	const struct block_list *l = &d.client.task_download;
	struct block_query q = {0};

	(void)state;
	load(full, false);
	assert_int_equal(notes.warning_count, 0);
	assert_null(block_list_match(l, &q));
	q.url = slice_str("https://forbidden.org/x");
	assert_string_equal(block_list_match(l, &q), "url");
	q.url = slice_str("http://h/?u=example.com/secret");
	assert_string_equal(block_list_match(l, &q), "url");
	q.url = slice_str("http://h/x");
	assert_null(block_list_match(l, &q));
	q.application = slice_str("legacy-sync");
	assert_string_equal(block_list_match(l, &q), "application");
	q.application = slice_str("legacy-sync2");
	q.tag = slice_str("");
	assert_null(block_list_match(l, &q));
	q.tag = slice_str("nightly");
	assert_string_equal(block_list_match(l, &q), "tag");
	q.tag = slice_str(NULL);
	q.priority = 1;
	assert_null(block_list_match(l, &q));
	q.has_priority = true;
	assert_string_equal(block_list_match(l, &q), "priority");
	q.priority = -2;
	assert_string_equal(block_list_match(l, &q), "priority");
	q.priority = 0;
	assert_null(block_list_match(l, &q));
	q = (struct block_query){.tag = slice_str("t"), .url = slice_str("u"), .application = slice_str("a")};
	assert_string_equal(block_list_match(&d.client.persistent_task_upload, &q), "url");
	assert_null(block_list_match(&d.client.persistent_task_download, &q));
	assert_string_equal(block_list_match(&d.client.persistent_cache_task_upload, &q), "tag");
	assert_string_equal(block_list_match(&d.client.persistent_cache_task_download, &q), "application");
	q.tag = slice_str("seed");
	assert_string_equal(block_list_match(&d.seed.task_download, &q), "tag");
	assert_null(block_list_match(&d.client.task_download, &q));
	done();
}

static void
bad_block_lists_are_refused(void **state)
{
	struct buf text = BUF_INIT;

	(void)state;
	refuses("clientConfig: {blockList: {task: {download: {urls: ['(']}}}}", "clientConfig.blockList.task.download.urls[0]: bad regex \"(\"");
	refuses("clientConfig: {blockList: {task: {download: {urls: a}}}}", "expected a sequence");
	refuses("clientConfig: {blockList: {task: {download: {priorities: [x]}}}}", "expected integer");
	refuses("clientConfig: {blockList: {task: {download: {priorities: [2147483648]}}}}", "expected integer");
	refuses("clientConfig: {blockList: {}, block_list: {}}", "duplicate key");
	buf_append_str(&text, "clientConfig: {blockList: {task: {download: {urls: [");
	for (int i = 0; i < DYNCONFIG_PATTERNS_MAX + 1; i++)
		buf_append_str(&text, "a,");
	buf_append_str(&text, "]}}}}");
	refuses(buf_cstr(&text), "more than 1000 entries");
	buf_clear(&text);
	buf_append_str(&text, "scheduler: {addrs: [");
	for (int i = 0; i < DYNCONFIG_ADDRS_MAX + 1; i++)
		buf_append_str(&text, "'1.2.3.4:5',");
	buf_append_str(&text, "]}");
	refuses(buf_cstr(&text), "more than 1024 entries");
	buf_clear(&text);
	buf_append_str(&text, "clientConfig: {blockList: {task: {download: {tags: [");
	for (int i = 0; i < DYNCONFIG_LIST_MAX + 1; i++)
		buf_append_str(&text, "a,");
	buf_append_str(&text, "]}}}}");
	refuses(buf_cstr(&text), "more than 10000 entries");
	buf_free(&text);
}

static void
file_of_the_go_scheduler_is_recognised(void **state)
{
	(void)state;
	load("seedPeerClusterConfig: {loadLimit: 1}\nschedulerClusterConfig: {}\n", false);
	assert_int_equal(notes.warning_count, 2);
	assert_non_null(strstr(notes.warnings[0], "--dynconfig"));
	done();
}

static int
load_json(const char *text, struct err *e)
{
	return client_config_load_json(slice_str(text), "manager", &client, &notes, e);
}

static void
manager_json_is_read(void **state)
{
	struct block_query q = {.url = slice_str("http://x/"), .tag = slice_str("n"), .has_priority = true, .priority = 3};
	struct err e = {0};

	(void)state;
	assert_int_equal(load_json("{\"load_limit\":200,\"block_list\":{\"task\":{\"download\":{\"applications\":null,\"urls\":null,\"tags\":[\"n\"],\"priorities\":[3]}},"
	    "\"persistent_task\":{\"download\":null,\"upload\":{\"urls\":[\"^http\"]}}}}", &e), 0);
	assert_int_equal(notes.warning_count, 0);
	assert_string_equal(block_list_match(&client.task_download, &q), "tag");
	assert_string_equal(block_list_match(&client.persistent_task_upload, &q), "url");
	client_config_free(&client);

	assert_int_equal(load_json("{\"blockList\":{\"task\":{\"download\":{\"urls\":[\"(\",\"^http\"]}}}}", &e), 0);
	assert_int_equal(notes.warning_count, 1);
	assert_non_null(strstr(notes.warnings[0], "left out"));
	assert_int_equal(client.task_download.url_count, 1);
	assert_string_equal(block_list_match(&client.task_download, &q), "url");
	client_config_free(&client);

	assert_int_equal(load_json("", &e), 0);
	assert_null(block_list_match(&client.task_download, &q));
	client_config_free(&client);
	assert_int_equal(load_json("{}", &e), 0);
	client_config_free(&client);
	assert_int_equal(load_json("[1]", &e), -1);
	assert_int_equal(load_json("{\"block_list\":{\"task\":", &e), -1);
	assert_non_null(strstr(e.text, "manager:1:"));
	config_notes_free(&notes);
}

static void
every_truncation_ends_cleanly(void **state)
{
	(void)state;
	for (size_t n = 0; n < strlen(full); n++) {
		struct err e = {0};

		if (dynconfig_load_text(full, n, "d", false, &d, NULL, &e) == 0)
			dynconfig_free(&d);
		else
			assert_int_equal(strncmp(e.text, "d:", 2), 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_given_means_the_usual_scheduler),
		cmocka_unit_test(file_that_is_not_there_is_an_empty_one),
		cmocka_unit_test(addresses_are_checked_sorted_and_unique),
		cmocka_unit_test(block_lists_match_by_any_criterion),
		cmocka_unit_test(bad_block_lists_are_refused),
		cmocka_unit_test(file_of_the_go_scheduler_is_recognised),
		cmocka_unit_test(manager_json_is_read),
		cmocka_unit_test(every_truncation_ends_cleanly),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
