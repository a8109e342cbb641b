#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "config/config.h"
#include "config/paths.h"
#include "config/suggest.h"
#include "text/regex.h"

#define VECTORS "tests/vectors/config/"

static struct config c;
static struct config_notes notes;

static void
dump_notes(void)
{
	for (size_t i = 0; i < notes.warning_count; i++)
		fprintf(stderr, "warning: %s\n", notes.warnings[i]);
	for (size_t i = 0; i < notes.error_count; i++)
		fprintf(stderr, "error: %s\n", notes.errors[i]);
}

/* Loads text that must be fine, with so many warnings, into c. done() frees it. */
static void
load(const char *text, size_t warnings)
{
	struct err e = {0};

	if (config_load_text(text, strlen(text), "f", &c, &notes, &e) < 0)
		fail_msg("\"%s\" should load: %s", text, e.text);
	if (notes.warning_count != warnings) {
		dump_notes();
		fail_msg("\"%s\" gives %zu warnings, not %zu", text, notes.warning_count, warnings);
	}
}

static void
done(void)
{
	config_free(&c);
	config_notes_free(&notes);
}

static void
says(const char *const *list, size_t count, const char *text)
{
	for (size_t i = 0; i < count; i++)
		if (strstr(list[i], text) != NULL)
			return;
	dump_notes();
	fail_msg("nothing says \"%s\"", text);
}

static void
warns(const char *text, const char *message)
{
	load(text, 1);
	says((const char *const *)notes.warnings, 1, message);
	done();
}

static void
refuses(const char *text, const char *message)
{
	struct err e = {0};

	if (config_load_text(text, strlen(text), "f", &c, &notes, &e) == 0)
		fail_msg("\"%s\" should be refused", text);
	says((const char *const *)notes.errors, notes.error_count, message);
	assert_int_equal(e.code, ERR_INVALID_ARGUMENT);
	assert_non_null(strstr(e.text, "f"));
	config_notes_free(&notes);
}

static void
check_defaults(const struct config *d)
{
	char *path = paths_default(PATHS_SOCKET);

	assert_null(d->host.idc);
	assert_null(d->host.hostname);
	assert_null(d->host.ip);
	assert_true(d->server.adaptive_rate_limit.is_on);
	assert_int_equal(d->server.adaptive_rate_limit.bucket_count, 50);
	assert_int_equal(d->server.adaptive_rate_limit.bucket_interval_ms, 200);
	assert_int_equal(d->server.adaptive_rate_limit.cpu_threshold_percent, 100);
	assert_int_equal(d->server.adaptive_rate_limit.memory_threshold_percent, 90);
	assert_string_equal(d->download.server.socket_path, path);
	assert_int_equal(d->download.server.request_rate_limit, 400);
	assert_int_equal(d->download.server.request_buffer_size, 50);
	assert_int_equal(d->download.protocol, CONFIG_PROTOCOL_TCP);
	assert_int_equal(d->download.bandwidth_limit, 50000000000);
	assert_int_equal(d->download.piece_timeout_ms, 360000);
	assert_int_equal(d->download.concurrent_piece_count, 8);
	assert_int_equal(d->download.back_to_source_concurrent_piece_count, 8);
	assert_string_equal(d->upload.server.ip, "0.0.0.0");
	assert_int_equal(d->upload.server.port, 4000);
	assert_null(d->upload.server.tls.ca_cert);
	assert_false(d->upload.disable_shared);
	assert_null(d->manager.addr);
	assert_int_equal(d->scheduler.announce_interval_ms, 300000);
	assert_int_equal(d->scheduler.schedule_timeout_ms, 3 * 3600 * 1000);
	assert_int_equal(d->scheduler.max_schedule_count, 5);
	assert_false(d->seed_peer.enable);
	assert_int_equal(d->seed_peer.type, CONFIG_SEED_NORMAL);
	assert_int_equal(d->dynconfig.refresh_interval_ms, 60000);
	assert_int_equal(d->storage.server.tcp_port, 4005);
	assert_int_equal(d->storage.server.quic_port, 4006);
	assert_int_equal(d->storage.writeback_mode, CONFIG_WRITEBACK_ASYNC);
	assert_false(d->storage.keep);
	assert_int_equal(d->storage.write_buffer_bytes, 2097152);
	assert_int_equal(d->storage.read_buffer_bytes, 2097152);
	assert_int_equal(d->storage.cache_capacity_bytes, 64 << 20);
	assert_int_equal(d->backend.max_retries, 1);
	assert_int_equal(d->backend.cache_temporary_redirect_ttl_ms, 600000);
	assert_int_equal(d->backend.put_chunk_bytes, 8 << 20);
	assert_int_equal(d->gc.interval_ms, 900000);
	assert_int_equal(d->gc.policy.task_ttl_ms, INT64_C(720) * 3600 * 1000);
	assert_int_equal(d->gc.policy.disk_high_threshold_percent, 80);
	assert_int_equal(d->gc.policy.disk_low_threshold_percent, 60);
	assert_true(d->proxy.server.enable);
	assert_int_equal(d->proxy.server.port, 4001);
	assert_int_equal(d->proxy.server.request_rate_limit, 4000);
	assert_false(d->proxy.server.basic_auth.is_on);
	assert_int_equal(d->proxy.rule_count, 0);
	assert_string_equal(d->proxy.registry_mirror.addr, "https://index.docker.io");
	assert_true(d->proxy.registry_mirror.enable_task_id_based_blob_digest);
	assert_int_equal(d->proxy.prefetch_bandwidth_limit, 10000000000);
	assert_int_equal(d->proxy.read_buffer_bytes, 2097152);
	assert_int_equal(d->health.port, 4003);
	assert_int_equal(d->metrics.port, 4002);
	assert_int_equal(d->stats.port, 4004);
	assert_string_equal(d->stats.ip, "127.0.0.1");
	assert_string_equal(d->metrics.ip, "0.0.0.0");
	assert_string_equal(d->tracing.path, "/v1/traces");
	assert_false(d->x.scheduler.enable);
	assert_int_equal(d->x.scheduler.port, 8002);
	assert_true(d->x.scheduler.mesh);
	assert_int_equal(d->x.piece.tls, CONFIG_PIECE_TLS_PREFER);
	assert_int_equal(d->x.download.max_concurrent_tasks, 1024);
	assert_int_equal(d->x.storage.capacity_bytes, 0);
	assert_int_equal(d->x.storage.sync, CONFIG_SYNC_COMPLETE);
	free(path);
}

static void
nothing_given_means_defaults(void **state)
{
	static const char *const texts[] = {"", "# x\n", "---", "{}", "host:", "host: null\nserver: ~\nproxy:\n", "host: {}\nx: {}"};

	(void)state;
	config_defaults(&c);
	check_defaults(&c);
	config_free(&c);
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		load(texts[i], 0);
		check_defaults(&c);
		done();
	}
	refuses("null", "expected a mapping, found null");
	refuses("~", "expected a mapping");
	refuses("[]", "f:1:1: expected a mapping, found a sequence");
	refuses("foo", "expected a mapping");
	refuses("a:b", "missing blank after \":\"");
	refuses("host: 1", "f:1:7: host: expected a mapping, found integer 1");
	refuses("host: ''", "expected a mapping");
}

static void
values_are_converted_by_their_key(void **state)
{
	(void)state;
	load("{\"upload\":{\"server\":{\"port\":4100}}}", 0);
	assert_int_equal(c.upload.server.port, 4100);
	done();
	load("host: {idc: 12, location: true, hostname: '', ip: '', schedulerClusterID: 7}", 0);
	assert_string_equal(c.host.idc, "12");
	assert_string_equal(c.host.location, "true");
	assert_null(c.host.hostname);
	assert_null(c.host.ip);
	assert_int_equal(c.host.scheduler_cluster_id, 7);
	done();
	load("host: {idc: '', ip: \"fe80::1\"}", 0);
	assert_string_equal(c.host.idc, "");
	assert_string_equal(c.host.ip, "fe80::1");
	done();
	load("upload: {server: {port: 0x1000}}", 0);
	assert_int_equal(c.upload.server.port, 4096);
	done();
	load("upload: {server: {port: \"4007\"}}\nstorage: {keep: \"true\"}", 0);
	assert_int_equal(c.upload.server.port, 4007);
	assert_true(c.storage.keep);
	done();
	load("storage: {keep: TRUE, writeBufferSize: 4MiB, writebackMode: off, dir: ''}", 1);
	assert_true(c.storage.keep);
	assert_int_equal(c.storage.write_buffer_bytes, 4194304);
	assert_int_equal(c.storage.writeback_mode, CONFIG_WRITEBACK_OFF);
	assert_true(c.storage.dir[0] == '/');
	done();
	load("x: {storage: {capacity: 2TiB, sync: piece}}", 0);
	assert_int_equal(c.x.storage.capacity_bytes, UINT64_C(2) << 40);
	assert_int_equal(c.x.storage.sync, CONFIG_SYNC_PIECE);
	done();
	refuses("x: {storage: {sync: sometimes}}", "x.storage.sync");
	load("gc: {interval: 1h 30m, policy: {distThreshold: 10GB, taskTTL: 0}}", 0);
	assert_int_equal(c.gc.interval_ms, 5400000);
	assert_int_equal(c.gc.policy.disk_threshold_bytes, 10000000000);
	assert_int_equal(c.gc.policy.task_ttl_ms, 0);
	done();
	load("backend: {cacheTemporaryRedirectTTL: 1ns, requestHeader: {X-A: 1, x-b: null, c: }}", 0);
	assert_int_equal(c.backend.cache_temporary_redirect_ttl_ms, 1);
	assert_int_equal(c.backend.request_header.count, 3);
	assert_string_equal(c.backend.request_header.items[0].name, "X-A");
	assert_string_equal(c.backend.request_header.items[0].value, "1");
	assert_string_equal(c.backend.request_header.items[1].value, "null");
	assert_string_equal(c.backend.request_header.items[2].value, "");
	done();
	load("tracing: {headers: {a: [b, c], d: e}, protocol: ''}", 0);
	assert_int_equal(c.tracing.headers.count, 3);
	assert_string_equal(c.tracing.headers.items[1].name, "a");
	assert_string_equal(c.tracing.headers.items[1].value, "c");
	assert_null(c.tracing.protocol);
	done();
	load("network: {enableIPv6: true}", 0);
	assert_string_equal(c.upload.server.ip, "::");
	assert_string_equal(c.stats.ip, "::1");
	done();
	load("x: &p {scheduler: {port: 8010}}\n", 0);
	assert_int_equal(c.x.scheduler.port, 8010);
	done();
	load("health: &p {server: {port: 4003}}\nmetrics: {server: &q {port: 4010}}\nstats: {server: {port: 4011, ip: 0.0.0.0}}\nsecurity: {enable: &b true}\n"
	    "storage: {keep: *b}\n", 1);
	assert_true(c.storage.keep);
	assert_string_equal(c.stats.ip, "0.0.0.0");
	done();
	load("\xEF\xBB\xBFhost:\r\n  idc: a\r\n", 0);
	assert_string_equal(c.host.idc, "a");
	done();
}

static void
wrong_types_are_refused_with_place_and_reason(void **state)
{
	(void)state;
	refuses("host: {ip: 010.1.1.1}", "f:1:12: host.ip: bad IP address \"010.1.1.1\"");
	refuses("host: {ip: '[::1]'}", "bad IP address");
	refuses("upload:\n  server:\n    port: 70000", "f:3:11: upload.server.port: expected integer 0..65535, found 70000");
	refuses("upload: {server: {port: 017}}", "expected integer 0..65535, found string \"017\"");
	refuses("upload: {server: {port: 1e3}}", "found number 1e3");
	refuses("upload: {server: {port: 4_000}}", "found string \"4_000\"");
	refuses("upload: {server: {port: -1}}", "found -1");
	refuses("upload: {server: {port: 1023}}", "upload.server.port: must be between 1024 and 65534");
	refuses("upload: {server: {port: 65535}}", "upload.server.port: must be between 1024 and 65534");
	refuses("upload: {server: {port: 0}}", "must be between 1 and 65535");
	refuses("upload: {server: {port: [1]}}", "found a sequence");
	refuses("host: {schedulerClusterID: 18446744073709551616}", "expected integer 0..18446744073709551615");
	refuses("storage: {keep: yes}", "storage.keep: expected boolean, found string \"yes\"; use true or false");
	refuses("storage: {keep: 1}", "use true or false");
	refuses("storage: {dir: [a]}", "expected a string, found a sequence");
	refuses("storage: {writebackMode: Off}", "bad value \"Off\": use \"sync\", \"async\" or \"off\"");
	refuses("gc: {interval: 30}", "\"30\"");
	refuses("gc: {interval: 0}", "must be greater than 0");
	refuses("gc: {policy: {diskThreshold: 10.5}}", "gc.policy.diskThreshold");
	refuses("gc: {policy: {diskThreshold: 10 XB}}", "\"10 XB\"");
	refuses("seedPeer: {type: Super}", "bad value \"Super\": use \"normal\" or \"super\"");
	refuses("download: {concurrentPieceCount: 0}", "must be at least 1");
	refuses("download: {backToSourceConcurrentPieceCount: 0}", "must be at least 1");
	refuses("scheduler: {maxScheduleCount: 0}", "must be at least 1");
	refuses("server: {adaptiveRateLimit: {bucketCount: 10001}}", "must be between 1 and 10000");
	refuses("server: {adaptiveRateLimit: {cpuThreshold: 101}}", "must be at most 100");
	refuses("proxy: {rules: {}}", "expected a sequence, found a mapping");
	refuses("proxy: {rules: [a]}", "proxy.rules[0]: expected a mapping, found string \"a\"");
	refuses("proxy: {rules: [{filteredQueryParams: x}]}", "expected a sequence");
	refuses("backend: {requestHeader: [a]}", "expected a mapping");
	refuses("backend: {requestHeader: {a b: c}}", "\"a b\" cannot be the name of a header");
	refuses("backend: {requestHeader: {a: \"b\\r\\nc: d\"}}", "line end");
	refuses("host: {idc: \"a\\0b\"}", "NUL");
	refuses("download: {protocol: udp}", "use \"tcp\"");
	refuses("x: {log: {level: loud}}", "x.log.level: bad value \"loud\"");
	refuses("x: {scheduler: {peers: ['http://a']}}", "expected host:port");
}

static void
secrets_are_never_shown(void **state)
{
	(void)state;
	refuses("proxy: {server: {basicAuth: {username: a, password: [hunter2]}}}", "found a sequence");
	if (config_load_text("proxy: {server: {basicAuth: {username: 'a:b', password: hunter2}}}", 65, "f", &c, &notes, NULL) == 0)
		fail_msg("should be refused");
	for (size_t i = 0; i < notes.error_count; i++)
		assert_null(strstr(notes.errors[i], "hunter2"));
	config_notes_free(&notes);
}

static void
duplicates_of_known_keys_are_errors(void **state)
{
	(void)state;
	refuses("host: {idc: a}\nhost: {}", "f:2:1: duplicate key \"host\", first given at line 1");
	refuses("gc: {policy: {distThreshold: 1, diskThreshold: 2}}", "gc.policy: duplicate key \"diskThreshold\"");
	load("foo: 1\nfoo: 2", 2);
	says((const char *const *)notes.warnings, 2, "duplicate key \"foo\", first given at line 1");
	done();
}

static void
unknown_keys_are_ignored_with_a_suggestion(void **state)
{
	struct config_options strict = {.is_strict = true};
	struct err e = {0};

	(void)state;
	warns("download: {server: {requestbufferSize: 20}}",
	    "f:1:21: download.server: unknown key \"requestbufferSize\" ignored; did you mean \"requestBufferSize\"?");
	warns("dowload: {}", "unknown key \"dowload\" ignored; did you mean \"download\"?");
	warns("storage: {kepe: true}", "did you mean \"keep\"?");
	warns("upload: {pieceTimeout: 1s}", "; \"pieceTimeout\" belongs under \"download\"");
	warns("proxy: {caCert: a}", "\"caCert\" belongs under \"proxy.server\"");
	warns("proxy: {basicAuth: {username: a}}", "\"basicAuth\" belongs under \"proxy.server\"");
	warns("host: {zzzzzzzz: 1}", "unknown key \"zzzzzzzz\" ignored");
	warns("<<: {a: b}", "unknown key \"<<\" ignored");
	warns("scheduler: {enableBackToSource: true}", "obsolete key \"enableBackToSource\" ignored: use dfget");
	warns("upload: {rateLimit: 1GB}", "bandwidthLimit");
	warns("log: {}", "obsolete key \"log\"");
	load("download: {rateLimit: 1KB}", 1);
	assert_int_equal(c.download.bandwidth_limit, 50000000000);
	done();
	assert_int_equal(config_load_text_with("host: {foo: 1}", 14, "f", &strict, &c, &notes, &e), -1);
	says((const char *const *)notes.errors, notes.error_count, "unknown key \"foo\"");
	config_notes_free(&notes);
}

static void
edit_distance_counts_swaps(void **state)
{
	(void)state;
	assert_int_equal(suggest_distance("abc", "abc", 3), 0);
	assert_int_equal(suggest_distance("abc", "acb", 3), 1);
	assert_int_equal(suggest_distance("abc", "ab", 3), 1);
	assert_int_equal(suggest_distance("", "ab", 3), 2);
	assert_int_equal(suggest_distance("abcdef", "ghijkl", 3), 4);
}

static void
proxy_rules_are_complete(void **state)
{
	(void)state;
	load("proxy:\n  rules:\n  - regex: 'blobs/sha256.*'\n    filteredQueryParams: [a, b]\n    schedulingPolicy: always\n  - regex: '\\d'\n    useTLS: true\n"
	    "    redirect: mirror:5000\n    filteredQueryParams:\n  - regex: x\n    redirect: https://[::1]:80/\n  - regex: y\n    redirect: http://m\n", 0);
	assert_int_equal(c.proxy.rule_count, 4);
	assert_true(regex_search(c.proxy.rules[0].regex, "http://r/blobs/sha256:a", 23));
	assert_int_equal(c.proxy.rules[0].filtered_query_params.count, 2);
	assert_string_equal(c.proxy.rules[0].filtered_query_params.items[1], "b");
	assert_int_equal(c.proxy.rules[0].scheduling_policy, CONFIG_SCHEDULING_ALWAYS);
	assert_false(c.proxy.rules[0].use_tls);
	assert_null(c.proxy.rules[0].redirect);
	assert_true(regex_search(c.proxy.rules[1].regex, "7", 1));
	assert_false(regex_search(c.proxy.rules[1].regex, "d", 1));
	assert_true(c.proxy.rules[1].use_tls);
	assert_string_equal(c.proxy.rules[1].redirect, "mirror:5000");
	assert_int_equal(c.proxy.rules[1].filtered_query_params.count, 0);
	assert_int_equal(c.proxy.rules[2].filtered_query_params.count, 30);
	assert_string_equal(c.proxy.rules[2].filtered_query_params.items[0], "X-Amz-Algorithm");
	assert_string_equal(c.proxy.rules[2].filtered_query_params.items[29], "ns");
	assert_string_equal(c.proxy.rules[2].redirect, "[::1]:80");
	assert_true(c.proxy.rules[2].use_tls);
	assert_true(c.proxy.rules[3].redirect_is_plain);
	done();
	load("proxy: {rules: [{useTLS: true}]}", 1);
	says((const char *const *)notes.warnings, 1, "f:1:17: proxy.rules[0]: no regex given, rule matches every URL");
	assert_string_equal(c.proxy.rules[0].pattern, ".*");
	assert_true(c.proxy.rules[0].use_tls);
	done();
	load("proxy:\n  rules:\n  - regxe: a", 2);
	says((const char *const *)notes.warnings, 2, "did you mean \"regex\"?");
	assert_int_equal(c.proxy.rule_count, 1);
	done();
	warns("proxy: {rules: [{regex: .*}, {regex: a}]}", "proxy.rules[1]: never used: rule 0 matches every URL");
	refuses("proxy: {rules: [{regex: \"\\d\"}]}", "unknown escape \"\\d\"; use single quotes for regexes");
	refuses("proxy:\n  rules:\n    - regex: *foo", "unknown anchor \"foo\"");
	refuses("proxy:\n  rules:\n  - regex: a\n  - regex: '(?P<x>a)(?=b)'", "proxy.rules[1].regex: bad regex \"(?P<x>a)(?=b)\"");
	refuses("proxy: {rules: [{regex: (}]}", "proxy.rules[0].regex: bad regex \"(\": missing \")\" at offset 0");
	refuses("proxy: {rules: [{regex: a, schedulingPolicy: Always}]}", "use \"auto\" or \"always\"");
	refuses("proxy: {rules: [{regex: a, schedulingPolicy: 1}]}", "use \"auto\" or \"always\"");
	refuses("proxy: {rules: [{regex: a, redirect: http://x/y}]}", "without a path");
	refuses("proxy: {rules: [{regex: a, redirect: ftp://x}]}", "redirect");
	refuses("proxy: {rules: [{regex: a, redirect: 'x:99999'}]}", "redirect");
	refuses("proxy: {rules: [{regex: a, redirect: http://x, useTLS: true}]}", "contradicts");
}

static void
sections_that_can_be_switched_off(void **state)
{
	(void)state;
	load("server: {adaptiveRateLimit: }", 0);
	assert_false(c.server.adaptive_rate_limit.is_on);
	done();
	load("server: {adaptiveRateLimit: {}}", 0);
	assert_true(c.server.adaptive_rate_limit.is_on);
	assert_int_equal(c.server.adaptive_rate_limit.bucket_count, 50);
	done();
	load("proxy: {server: {basicAuth: }}", 0);
	assert_false(c.proxy.server.basic_auth.is_on);
	done();
	load("proxy: {server: {basicAuth: {username: admin, password: dragonfly}}}", 0);
	assert_true(c.proxy.server.basic_auth.is_on);
	assert_string_equal(c.proxy.server.basic_auth.password, "dragonfly");
	done();
	refuses("proxy: {server: {basicAuth: {}}}", "basicAuth.username: must not be empty");
	warns("proxy: {server: {basicAuth: {username: a, password: aaaaaaaaaaaaaaaaaaaaa}}}", "longer than");
	load("seedPeer: {enable: true}", 0);
	assert_int_equal(c.seed_peer.type, CONFIG_SEED_SUPER);
	done();
	load("seedPeer:", 0);
	assert_int_equal(c.seed_peer.type, CONFIG_SEED_NORMAL);
	done();
	load("seedPeer: {enable: true, type: weak}", 1);
	assert_int_equal(c.seed_peer.type, CONFIG_SEED_SUPER);
	done();
}

static void
keys_must_fit_together(void **state)
{
	char text[256];

	(void)state;
	refuses("gc:\n  policy: {diskHighThresholdPercent: 60, diskLowThresholdPercent: 70}", "f:2:67: gc.policy.diskLowThresholdPercent: must be below");
	load("gc: {policy: {diskHighThresholdPercent: 100}}", 0);
	done();
	refuses("gc: {policy: {diskHighThresholdPercent: 0}}", "must be between 1 and 100");
	refuses("upload: {server: {caCert: a}}", "upload.server: caCert, cert and key must be given together");
	refuses("upload: {client: {caCert: a, cert: b}}", "must be given together");
	refuses("manager: {key: a}", "must be given together");
	refuses("scheduler: {cert: a}", "must be given together");
	refuses("proxy: {server: {caKey: a}}", "caCert and caKey must be given together");
	load("scheduler: {caCert: a, cert: b, key: c}", 0);
	assert_string_equal(c.scheduler.tls.key, "c");
	done();
	refuses("upload: {server: {port: 4001}}", "port 4001 is also that of upload.server.port");
	load("upload: {server: {port: 4001, ip: 127.0.0.1}}\nproxy: {server: {ip: 127.0.0.2}}", 0);
	done();
	load("upload: {server: {port: 4001}}\nproxy: {server: {enable: false}}", 0);
	done();
	refuses("x: {scheduler: {enable: true, port: 4003}}", "also that of");
	snprintf(text, sizeof(text), "download: {server: {socketPath: /%0120d}}", 0);
	refuses(text, "no longer path for a socket");
	refuses("storage: {readBufferSize: 4095}", "must be between 4096 and 1073741824");
	load("proxy: {readBufferSize: 4096}", 0);
	assert_int_equal(c.proxy.read_buffer_bytes, 8192);
	done();
	warns("download: {bandwidthLimit: 0}", "0 means no limit");
	warns("download: {bandwidthLimit: 1GB}", "larger than download.bandwidthLimit");
	warns("download: {pieceTimeout: 999ms}", "below 1s");
	warns("download: {protocol: quic}", "QUIC is not built in");
	warns("tracing: {protocol: grpc, endpoint: 'a:1'}", "not exported");
	warns("storage: {writebackMode: sync}", "storage.writebackMode: has no effect");
	warns("storage: {writeBufferSize: 524288}", "storage.writeBufferSize: has no effect");
	warns("storage: {readBufferSize: 4MiB}", "storage.readBufferSize: has no effect");
	warns("storage: {cacheCapacity: 1GiB}", "storage.cacheCapacity: has no effect");
	warns("storage: {server: {quicPort: 4100}}", "storage.server.quicPort: has no effect");
	warns("backend: {putConcurrentChunkCount: 1}", "backend.putConcurrentChunkCount: has no effect");
	warns("backend: {putChunkSize: 1MiB}", "backend.putChunkSize: has no effect");
	warns("backend: {putTimeout: 1s}", "backend.putTimeout: has no effect");
	warns("backend: {enableHickoryDNS: false}", "backend.enableHickoryDNS: has no effect");
	warns("security: {enable: true}", "security.enable: has no effect");
}

static void
what_others_may_ask_of_this_host(void **state)
{
	(void)state;
	load("", 0);
	assert_int_equal(c.x.upload.control, CONFIG_CONTROL_ANY);
	assert_int_equal(c.x.download.socket_mode, 0777);
	assert_int_equal(c.x.upload.output_dirs.count, 0);
	assert_true(c.x.scheduler.host_owners);
	assert_null(c.x.user);
	done();
	load("x: {user: dragonfly, group: 100, download: {socketMode: 0660}, scheduler: {hostOwners: false}, upload: {control: schedulers, "
	    "controllers: [scheduler.example], outputDirs: [/srv/a, /srv/b/], origins: {allow: [10.0.0.0/8, '::1'], deny: ['fd00:ec2::254/128']}}}", 0);
	assert_string_equal(c.x.user, "dragonfly");
	assert_string_equal(c.x.group, "100");
	assert_int_equal(c.x.download.socket_mode, 0660);
	assert_false(c.x.scheduler.host_owners);
	assert_int_equal(c.x.upload.control, CONFIG_CONTROL_SCHEDULERS);
	assert_string_equal(c.x.upload.controllers.items[0], "scheduler.example");
	assert_string_equal(c.x.upload.output_dirs.items[1], "/srv/b/");
	assert_int_equal(c.x.upload.origins.allow.count, 2);
	assert_string_equal(c.x.upload.origins.deny.items[0], "fd00:ec2::254/128");
	done();
	refuses("x: {upload: {control: all}}", "x.upload.control");
	refuses("x: {upload: {origins: {deny: [10.0.0.0/33]}}}", "\"10.0.0.0/33\" is no range of addresses");
	refuses("x: {upload: {origins: {allow: [localhost]}}}", "is no range of addresses");
	refuses("x: {upload: {outputDirs: [srv]}}", "expected the absolute path of a directory");
	refuses("x: {upload: {outputDirs: [/srv/../etc]}}", "expected the absolute path of a directory");
	refuses("x: {download: {socketMode: 0888}}", "octal mode from 0600 to 0777");
	refuses("x: {download: {socketMode: 01777}}", "octal mode from 0600 to 0777");
	refuses("x: {download: {socketMode: 0077}}", "octal mode from 0600 to 0777");
	refuses("x: {group: staff}", "x.user must be given with it");
	warns("x: {upload: {controls: any}}", "did you mean \"control\"?");
	warns("x: {upload: {outputDir: []}}", "did you mean \"outputDirs\"?");
	warns("x: {usr: nobody}", "did you mean \"user\"?");
}

static void
addresses_of_others(void **state)
{
	(void)state;
	load("manager: {addr: 'http://manager:65003'}\nproxy: {registryMirror: {addr: 'https://r.example///'}}", 0);
	assert_string_equal(c.manager.addr, "http://manager:65003");
	assert_string_equal(c.proxy.registry_mirror.addr, "https://r.example");
	done();
	load("manager: {addr: 'manager:65003'}", 0);
	assert_string_equal(c.manager.addr, "manager:65003");
	done();
	load("manager: {addr: ''}\nproxy: {registryMirror: {addr: ''}}", 0);
	assert_null(c.manager.addr);
	assert_string_equal(c.proxy.registry_mirror.addr, "https://index.docker.io");
	done();
	refuses("manager: {addr: 'http://a/b'}", "manager.addr: expected http://host:port");
	refuses("manager: {addr: 'grpc://a:1'}", "expected http://host:port");
	refuses("proxy: {registryMirror: {addr: r.example}}", "must start with http:// or https://");
	refuses("proxy: {registryMirror: {addr: 'https://'}}", "name a host");
}

static void
all_mistakes_are_shown_at_once(void **state)
{
	struct buf text = BUF_INIT;
	struct err e = {0};

	(void)state;
	assert_int_equal(config_load_text("gc: {interval: 0}\nstorage: {keep: x}", 36, "f", &c, &notes, &e), -1);
	assert_int_equal(notes.error_count, 2);
	assert_non_null(strchr(e.text, '\n'));
	config_notes_free(&notes);
	buf_append_str(&text, "proxy: {rules: [");
	for (int i = 0; i < 2 * CONFIG_ERRORS_MAX; i++)
		buf_append_str(&text, "{regex: (},");
	buf_append_str(&text, "]}");
	assert_int_equal(config_load_text(buf_cstr(&text), text.len, "f", &c, &notes, &e), -1);
	assert_int_equal(notes.error_count, CONFIG_ERRORS_MAX);
	config_notes_free(&notes);
	buf_clear(&text);
	for (int i = 0; i < CONFIG_WARNINGS_MAX + 5; i++)
		buf_printf(&text, "k%d: 1\n", i);
	load(buf_cstr(&text), CONFIG_WARNINGS_MAX);
	assert_int_equal(notes.warnings_dropped, 5);
	done();
	buf_clear(&text);
	buf_append_str(&text, "proxy: {rules: [");
	for (int i = 0; i < 1001; i++)
		buf_append_str(&text, "{regex: a},");
	buf_append_str(&text, "]}");
	refuses(buf_cstr(&text), "more than 1000 rules");
	buf_free(&text);
}

static void
syntax_errors_name_file_and_place(void **state)
{
	(void)state;
	refuses("a: 1\n b: 2", "f:2:2: unexpected indentation");
	refuses("host:\n\tidc: a", "f:2:1: tab used for indentation");
	refuses("host: {}\n---\nhost: {}", "only one document allowed");
	refuses("[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "document too deep");
}

static void
options_are_applied_after_the_file(void **state)
{
	static const char *const sets[] = {
		"upload.server.port=4100", "proxy.rules=[{regex: b}]", "storage.keep=true", "host.idc=a=b", "x.scheduler.enable=true", "seedPeer.enable=true",
	};
	struct config_options o = {.sets = sets, .set_count = COUNT_OF(sets)};
	const char *bad[] = {"", "=x", "a", "foo.bar=1", "upload.server.port=x", "upload.server.port=[", "a.b.c.d.e.f.g.h.i.j=1", "proxy.rules[0].regex=x"};
	const char *text = "upload: {server: {port: 4200}}\nproxy: {rules: [{regex: a}, {regex: c}]}\nhost: {location: l}";
	struct err e = {0};

	(void)state;
	assert_int_equal(config_load_text_with(text, strlen(text), "f", &o, &c, &notes, &e), 0);
	assert_int_equal(c.upload.server.port, 4100);
	assert_int_equal(c.proxy.rule_count, 1);
	assert_string_equal(c.proxy.rules[0].pattern, "b");
	assert_true(c.storage.keep);
	assert_string_equal(c.host.idc, "a=b");
	assert_string_equal(c.host.location, "l");
	assert_true(c.x.scheduler.enable);
	assert_true(c.seed_peer.enable);
	assert_int_equal(c.seed_peer.type, CONFIG_SEED_SUPER);
	done();
	text = "seedPeer: {type: normal}";
	assert_int_equal(config_load_text_with(text, strlen(text), "f", &o, &c, &notes, &e), 0);
	assert_int_equal(c.seed_peer.type, CONFIG_SEED_NORMAL);
	done();
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct config_options one = {.sets = &bad[i], .set_count = 1};

		if (config_load_file_with(NULL, &one, &c, &notes, &e) == 0)
			fail_msg("\"%s\" should be refused", bad[i]);
		assert_non_null(strstr(e.text, "--set"));
		config_notes_free(&notes);
	}
}

static void
ephemeral_ports_only_when_allowed(void **state)
{
	struct config_options o = {.allow_ephemeral_ports = true};
	const char *text = "upload: {server: {port: 0}}\nproxy: {server: {port: 0}}";
	struct err e = {0};

	(void)state;
	assert_int_equal(config_load_text_with(text, strlen(text), "f", &o, &c, &notes, &e), 0);
	done();
}

static void
complete_example_loads_without_a_warning(void **state)
{
	struct err e = {0};

	(void)state;
	if (config_load_file(VECTORS "complete.yaml", &c, &notes, &e) < 0)
		fail_msg("%s", e.text);
	dump_notes();
	assert_int_equal(notes.warning_count, 0);
	assert_int_equal(c.proxy.rule_count, 2);
	assert_int_equal(c.proxy.rules[0].filtered_query_params.count, 3);
	assert_string_equal(c.manager.addr, "http://manager-service:65003");
	assert_int_equal(c.seed_peer.type, CONFIG_SEED_SUPER);
	done();
}

static void
chart_file_loads_with_two_warnings(void **state)
{
	struct err e = {0};

	(void)state;
	if (config_load_file(VECTORS "helm.yaml", &c, &notes, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(notes.warning_count, 2);
	says((const char *const *)notes.warnings, 2, "requestbufferSize");
	says((const char *const *)notes.warnings, 2, "enableBackToSource");
	assert_int_equal(c.download.server.request_buffer_size, 50);
	assert_int_equal(c.gc.policy.disk_high_threshold_percent, 90);
	assert_int_equal(c.gc.policy.disk_low_threshold_percent, 70);
	assert_string_equal(c.host.idc, "");
	assert_null(c.tracing.protocol);
	done();
}

static void
files_that_cannot_be_read(void **state)
{
	char name[] = "/tmp/test_config.XXXXXX";
	int fd = mkstemp(name);
	struct err e = {0};

	(void)state;
	assert_int_equal(config_load_file("/nonexistent/f.yaml", &c, NULL, &e), -1);
	assert_int_equal(e.code, ERR_NOT_FOUND);
	assert_non_null(strstr(e.text, "/nonexistent/f.yaml"));
	assert_int_equal(config_load_file("/", &c, NULL, &e), -1);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, CONFIG_FILE_MAX + 1), 0);
	assert_int_equal(config_load_file(name, &c, NULL, &e), -1);
	assert_non_null(strstr(e.text, "larger than"));
	close(fd);
	unlink(name);
}

static void
host_is_derived(void **state)
{
	struct err e = {0};

	(void)state;
	load("host: {hostname: n, ip: 10.1.2.3}", 0);
	assert_int_equal(config_derive_host(&c, &e), 0);
	assert_string_equal(c.host.hostname, "n");
	assert_string_equal(c.host.ip, "10.1.2.3");
	done();
	load("x: {scheduler: {enable: true}}", 0);
	assert_int_equal(config_derive_host(&c, &e), 0);
	assert_true(c.host.hostname[0] != '\0');
	assert_true(c.host.ip[0] != '\0');
	done();
}

static void
printed_configuration_reads_back_the_same(void **state)
{
	struct buf once = BUF_INIT;
	struct buf twice = BUF_INIT;
	struct err e = {0};

	(void)state;
	assert_int_equal(config_load_file(VECTORS "complete.yaml", &c, &notes, &e), 0);
	config_print(&c, &once);
	done();
	if (config_load_text(buf_cstr(&once), once.len, "printed", &c, &notes, &e) < 0)
		fail_msg("%s\n%s", e.text, buf_cstr(&once));
	assert_int_equal(notes.warning_count, 0);
	config_print(&c, &twice);
	done();
	assert_string_equal(buf_cstr(&once), buf_cstr(&twice));
	assert_non_null(strstr(buf_cstr(&once), "whl|tar.gz|zip"));
	buf_clear(&once);
	load("proxy: {server: {basicAuth: {username: u, password: hunter2}}}\nbackend: {requestHeader: {Authorization: hunter3}}\nhost: {idc: \"it's\\n\", location: ''}", 0);
	config_print(&c, &once);
	done();
	assert_null(strstr(buf_cstr(&once), "hunter"));
	load(buf_cstr(&once), 0);
	assert_string_equal(c.host.idc, "it's\n");
	assert_string_equal(c.host.location, "");
	assert_string_equal(c.proxy.server.basic_auth.password, "***");
	done();
	buf_free(&once);
	buf_free(&twice);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_given_means_defaults),
		cmocka_unit_test(values_are_converted_by_their_key),
		cmocka_unit_test(wrong_types_are_refused_with_place_and_reason),
		cmocka_unit_test(secrets_are_never_shown),
		cmocka_unit_test(duplicates_of_known_keys_are_errors),
		cmocka_unit_test(unknown_keys_are_ignored_with_a_suggestion),
		cmocka_unit_test(edit_distance_counts_swaps),
		cmocka_unit_test(proxy_rules_are_complete),
		cmocka_unit_test(sections_that_can_be_switched_off),
		cmocka_unit_test(keys_must_fit_together),
		cmocka_unit_test(what_others_may_ask_of_this_host),
		cmocka_unit_test(addresses_of_others),
		cmocka_unit_test(all_mistakes_are_shown_at_once),
		cmocka_unit_test(syntax_errors_name_file_and_place),
		cmocka_unit_test(options_are_applied_after_the_file),
		cmocka_unit_test(ephemeral_ports_only_when_allowed),
		cmocka_unit_test(complete_example_loads_without_a_warning),
		cmocka_unit_test(chart_file_loads_with_two_warnings),
		cmocka_unit_test(files_that_cannot_be_read),
		cmocka_unit_test(host_is_derived),
		cmocka_unit_test(printed_configuration_reads_back_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
