#include "config/keys.h"

#include <string.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/slice.h"
#include "config/config.h"
#include "net/cidr.h"
#include "text/regex.h"
#include "text/yaml.h"

#define AT(field) offsetof(struct config, field)
#define RULE(field) offsetof(struct config_proxy_rule, field)

/* Buffers: smaller ones cost a system call a few bytes each, larger ones are a slip. */
#define BUFFER_MIN 4096
#define BUFFER_MAX (1024 * 1024 * 1024)

/* A row: name, type, field, default (NULL: absent, or zero), then what else there is to say. */
#define KEY(name_, type_, field, ...) {.name = (name_), .type = SCHEMA_##type_, .offset = AT(field), .initial = __VA_ARGS__}
#define RULE_KEY(name_, type_, field, ...) {.name = (name_), .type = SCHEMA_##type_, .offset = RULE(field), .initial = __VA_ARGS__}
/* Common groups of keys. */
#define SECTION(name_, table_) {.name = (name_), .type = SCHEMA_SECTION, .table = &(table_)}
#define FILE_KEY(name_, field) KEY(name_, TEXT, field, NULL, .flags = SCHEMA_EMPTY_UNSETS)
#define TLS(field) FILE_KEY("caCert", field.ca_cert), FILE_KEY("cert", field.cert), FILE_KEY("key", field.key)
#define IP(field) KEY("ip", IP, field, NULL, .flags = SCHEMA_EMPTY_UNSETS)
#define PERIOD(name_, field, initial_) KEY(name_, MS, field, initial_, .min = 1)

/* ---- host, server ---- */

static const struct schema_key host_keys[] = {
	KEY("idc", TEXT, host.idc, NULL),
	KEY("location", TEXT, host.location, NULL),
	KEY("hostname", TEXT, host.hostname, NULL, .flags = SCHEMA_EMPTY_UNSETS),
	IP(host.ip),
	KEY("schedulerClusterID", U64, host.scheduler_cluster_id, NULL),
};
static const struct schema host = SCHEMA(host_keys);

static const struct schema_key adaptive_keys[] = {
	KEY("bucketCount", U32, server.adaptive_rate_limit.bucket_count, "50", .min = 1, .max = 10000),
	PERIOD("bucketInterval", server.adaptive_rate_limit.bucket_interval_ms, "200ms"),
	KEY("cpuThreshold", U8, server.adaptive_rate_limit.cpu_threshold_percent, "100", .max = 100),
	KEY("memoryThreshold", U8, server.adaptive_rate_limit.memory_threshold_percent, "90", .max = 100),
	KEY("shedCooldown", MS, server.adaptive_rate_limit.shed_cooldown_ms, "5s"),
	PERIOD("collectInterval", server.adaptive_rate_limit.collect_interval_ms, "3s"),
};
static const struct schema adaptive = SCHEMA(adaptive_keys);

static const struct schema_key server_keys[] = {
	FILE_KEY("pluginDir", server.plugin_dir),
	FILE_KEY("cacheDir", server.cache_dir),
	KEY("adaptiveRateLimit", SECTION, server.adaptive_rate_limit.is_on, "on", .table = &adaptive, .has_presence = true),
};
static const struct schema server = SCHEMA(server_keys);

/* ---- download, upload ---- */

static const struct schema_key download_server_keys[] = {
	FILE_KEY("socketPath", download.server.socket_path),
	KEY("requestRateLimit", U64, download.server.request_rate_limit, "400", .min = 1),
	KEY("requestBufferSize", U64, download.server.request_buffer_size, "50", .min = 1),
};
static const struct schema download_server = SCHEMA(download_server_keys);

static const struct schema_word protocols[] = {
	{"tcp", CONFIG_PROTOCOL_TCP, NULL},
	{"quic", CONFIG_PROTOCOL_QUIC, "QUIC is not built in; pieces are fetched over tcp"},
	{NULL, 0, NULL},
};

static const struct schema_key download_keys[] = {
	SECTION("server", download_server),
	KEY("protocol", WORD, download.protocol, "tcp", .words = protocols),
	KEY("bandwidthLimit", BYTES, download.bandwidth_limit, "50GB"),
	KEY("backToSourceBandwidthLimit", BYTES, download.back_to_source_bandwidth_limit, "50GB"),
	KEY("pieceTimeout", MS, download.piece_timeout_ms, "360s"),
	KEY("collectedPieceTimeout", MS, download.collected_piece_timeout_ms, "360s"),
	KEY("concurrentPieceCount", U32, download.concurrent_piece_count, "8", .min = 1),
	KEY("backToSourceConcurrentPieceCount", U32, download.back_to_source_concurrent_piece_count, "8", .min = 1),
};
static const struct schema_old download_old[] = {{"rateLimit", "it is called bandwidthLimit now"}};
static const struct schema download = SCHEMA_WITH_OLD(download_keys, download_old);

static const struct schema_key upload_server_keys[] = {
	IP(upload.server.ip),
	KEY("port", U16, upload.server.port, "4000"),
	TLS(upload.server.tls),
	KEY("requestRateLimit", U64, upload.server.request_rate_limit, "400", .min = 1),
	KEY("requestBufferSize", U64, upload.server.request_buffer_size, "50", .min = 1),
};
static const struct schema upload_server = SCHEMA(upload_server_keys);

static const struct schema_key upload_client_keys[] = {TLS(upload.client.tls)};
static const struct schema upload_client = SCHEMA(upload_client_keys);

static const struct schema_key upload_keys[] = {
	SECTION("server", upload_server),
	SECTION("client", upload_client),
	KEY("disableShared", BOOL, upload.disable_shared, NULL),
	KEY("bandwidthLimit", BYTES, upload.bandwidth_limit, "50GB"),
};
static const struct schema_old upload_old[] = {{"rateLimit", "it is called bandwidthLimit now"}};
static const struct schema upload = SCHEMA_WITH_OLD(upload_keys, upload_old);

/* ---- manager, scheduler, seedPeer, dynconfig ---- */

bool
keys_is_authority(const char *s, size_t n)
{
	struct slice all = slice_make(s, n);
	struct slice name;
	ptrdiff_t colon;
	uint64_t port;

	if (n > 0 && s[0] == '[') {
		colon = slice_find(all, ']');
		if (colon < 2)
			return false;
		name = slice_sub(all, 1, (size_t)colon - 1);
		for (size_t i = 0; i < name.n; i++)
			if (strchr("0123456789abcdefABCDEF:.", name.p[i]) == NULL || name.p[i] == '\0')
				return false;
		all = slice_sub(all, (size_t)colon + 1, n);
		colon = all.n > 0 && all.p[0] == ':' ? 0 : -1;
		if (colon < 0 && all.n > 0)
			return false;
	} else {
		colon = slice_find(all, ':');
		name = colon < 0 ? all : slice_sub(all, 0, (size_t)colon);
		for (size_t i = 0; i < name.n; i++)
			if (name.p[i] <= ' ' || name.p[i] >= 0x7F || strchr("/\\?#@[]<>^|%\"`{}", name.p[i]) != NULL)
				return false;
	}
	if (name.n == 0)
		return false;
	if (colon < 0)
		return true;
	return slice_to_u64(slice_sub(all, (size_t)colon + 1, n), &port) == 0 && port > 0 && port <= 65535;
}

/* Behind "http://" or "https://", or s itself. */
static const char *
skip_scheme(const char *s)
{
	if (strncmp(s, "http://", 7) == 0)
		return s + 7;
	return strncmp(s, "https://", 8) == 0 ? s + 8 : s;
}

static int
apply_manager_addr(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *at)
{
	const char *text = schema_text(w, key, node);
	const char *authority;
	size_t len;

	if (text == NULL)
		return -1;
	authority = skip_scheme(text);
	len = strlen(authority);
	if (len > 0 && authority[len - 1] == '/')
		len--;
	if (!keys_is_authority(authority, len))
		return schema_error(w, node, "expected http://host:port, https://host:port or host:port");
	*(const char **)at = arena_copy(w->arena, text, (size_t)(authority - text) + len);
	return 0;
}

static const struct schema_key manager_keys[] = {
	KEY("addr", CUSTOM, manager.addr, NULL, .apply = apply_manager_addr, .stored = SCHEMA_TEXT, .flags = SCHEMA_EMPTY_UNSETS),
	TLS(manager.tls),
};
static const struct schema_old manager_old[] = {{"addrs", "use addr, and x.manager.addrs for further ones"}};
static const struct schema manager = SCHEMA_WITH_OLD(manager_keys, manager_old);

static const struct schema_key scheduler_keys[] = {
	PERIOD("announceInterval", scheduler.announce_interval_ms, "300s"),
	KEY("scheduleTimeout", MS, scheduler.schedule_timeout_ms, "3h"),
	KEY("maxScheduleCount", U32, scheduler.max_schedule_count, "5", .min = 1),
	TLS(scheduler.tls),
};
static const struct schema_old scheduler_old[] = {
	{"enableBackToSource", "use dfget --disable-back-to-source or proxy.disableBackToSource"},
};
static const struct schema scheduler = SCHEMA_WITH_OLD(scheduler_keys, scheduler_old);

static const struct schema_word seed_types[] = {
	{"normal", CONFIG_SEED_NORMAL, NULL},
	{"super", CONFIG_SEED_SUPER, NULL},
	{"strong", CONFIG_SEED_SUPER, "\"strong\" is an old word, taken as \"super\""},
	{"weak", CONFIG_SEED_SUPER, "\"weak\" is an old word, taken as \"super\""},
	{NULL, 0, NULL},
};

static const struct schema_key seed_peer_keys[] = {
	KEY("enable", BOOL, seed_peer.enable, NULL),
	KEY("type", WORD, seed_peer.type, "normal", .words = seed_types),
};
static const struct schema_old seed_peer_old[] = {
	{"clusterID", "no longer needed; host.schedulerClusterID chooses the cluster"},
	{"keepaliveInterval", "no longer needed"},
	{"server", "its ports are under storage.server"},
};
static const struct schema seed_peer = SCHEMA_WITH_OLD(seed_peer_keys, seed_peer_old);

static const struct schema_key dynconfig_keys[] = {PERIOD("refreshInterval", dynconfig.refresh_interval_ms, "60s")};
static const struct schema dynconfig = SCHEMA(dynconfig_keys);

/* ---- storage, backend, gc ---- */

static const struct schema_key storage_server_keys[] = {
	IP(storage.server.ip),
	KEY("tcpPort", U16, storage.server.tcp_port, "4005"),
	KEY("tcpFastopen", BOOL, storage.server.tcp_fastopen, NULL),
	KEY("quicPort", U16, storage.server.quic_port, "4006"),
};
static const struct schema storage_server = SCHEMA(storage_server_keys);

static const struct schema_word writeback_modes[] = {
	{"sync", CONFIG_WRITEBACK_SYNC, NULL},
	{"async", CONFIG_WRITEBACK_ASYNC, NULL},
	{"off", CONFIG_WRITEBACK_OFF, NULL},
	{NULL, 0, NULL},
};

static const struct schema_key storage_keys[] = {
	SECTION("server", storage_server),
	KEY("writebackMode", WORD, storage.writeback_mode, "async", .words = writeback_modes),
	FILE_KEY("dir", storage.dir),
	KEY("keep", BOOL, storage.keep, NULL),
	KEY("writePieceTimeout", MS, storage.write_piece_timeout_ms, "360s"),
	KEY("writeBufferSize", BYTES, storage.write_buffer_bytes, "2097152", .min = BUFFER_MIN, .max = BUFFER_MAX),
	KEY("readBufferSize", BYTES, storage.read_buffer_bytes, "2097152", .min = BUFFER_MIN, .max = BUFFER_MAX),
	KEY("cacheCapacity", BYTES, storage.cache_capacity_bytes, "64MiB"),
};
static const struct schema_old storage_old[] = {{"cacheTasksCapacity", "removed"}};
static const struct schema storage = SCHEMA_WITH_OLD(storage_keys, storage_old);

static const struct schema_key backend_keys[] = {
	KEY("requestHeader", HEADERS, backend.request_header, NULL, .flags = SCHEMA_SECRET),
	KEY("maxRetries", U32, backend.max_retries, "1"),
	KEY("enableCacheTemporaryRedirect", BOOL, backend.enable_cache_temporary_redirect, "true"),
	KEY("cacheTemporaryRedirectTTL", MS, backend.cache_temporary_redirect_ttl_ms, "600s"),
	KEY("putConcurrentChunkCount", U32, backend.put_concurrent_chunk_count, "16"),
	KEY("putChunkSize", BYTES, backend.put_chunk_bytes, "8MiB"),
	KEY("putTimeout", MS, backend.put_timeout_ms, "900s"),
	KEY("enableHickoryDNS", BOOL, backend.enable_hickory_dns, "true"),
	KEY("insecureSkipVerify", BOOL, x.backend.insecure_skip_verify, NULL),
};
static const struct schema_old backend_old[] = {{"cacheTemporaryRedirectMaxSize", "removed"}};
static const struct schema backend = SCHEMA_WITH_OLD(backend_keys, backend_old);

static const struct schema_key policy_keys[] = {
	KEY("taskTTL", MS, gc.policy.task_ttl_ms, "720h"),
	KEY("persistentTaskTTL", MS, gc.policy.persistent_task_ttl_ms, "24h"),
	KEY("persistentCacheTaskTTL", MS, gc.policy.persistent_cache_task_ttl_ms, "24h"),
	KEY("pageCacheIdleTimeout", MS, gc.policy.page_cache_idle_timeout_ms, "40m"),
	KEY("diskThreshold", BYTES, gc.policy.disk_threshold_bytes, "0", .alias = "distThreshold"),
	KEY("diskHighThresholdPercent", U8, gc.policy.disk_high_threshold_percent, "80", .min = 1, .max = 100, .alias = "distHighThresholdPercent"),
	KEY("diskLowThresholdPercent", U8, gc.policy.disk_low_threshold_percent, "60", .max = 100, .alias = "distLowThresholdPercent"),
};
static const struct schema policy = SCHEMA(policy_keys);

static const struct schema_key gc_keys[] = {
	PERIOD("interval", gc.interval_ms, "900s"),
	SECTION("policy", policy),
};
static const struct schema gc = SCHEMA(gc_keys);

/* ---- proxy ---- */

static int
apply_regex(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *at)
{
	struct config_proxy_rule *rule = (struct config_proxy_rule *)(void *)((char *)at - RULE(pattern));
	struct regex *regex;
	struct err e = {0};

	rule->pattern = schema_text(w, key, node);
	if (rule->pattern == NULL)
		return -1;
	regex = regex_compile(rule->pattern, strlen(rule->pattern), &e);
	if (regex == NULL)
		return schema_error(w, node, "bad regex \"%.60s\": %s", rule->pattern, e.text);
	regex_free(rule->regex);
	rule->regex = regex;
	return 0;
}

static int
apply_redirect(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *at)
{
	struct config_proxy_rule *rule = (struct config_proxy_rule *)(void *)((char *)at - RULE(redirect));
	const char *text = schema_text(w, key, node);
	const char *authority;
	size_t len;

	if (text == NULL)
		return -1;
	authority = skip_scheme(text);
	len = strlen(authority);
	if (authority > text && len > 0 && authority[len - 1] == '/')
		len--;
	if (!keys_is_authority(authority, len))
		return schema_error(w, node, "expected host, host:port or http(s)://host[:port], without a path");
	rule->redirect = arena_copy(w->arena, authority, len);
	rule->redirect_is_plain = authority - text == 7;
	/* useTLS may stand before or behind: what it says is joined with this when the rule is complete. */
	rule->use_tls |= authority - text == 8;
	return 0;
}

/* As a boolean, but true stays true: an https redirect has set it. */
static int
apply_use_tls(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *at)
{
	bool *use_tls = at;

	if (node->kind != YAML_SCALAR || yaml_resolve(node->text, node->len) != YAML_BOOL)
		return schema_wrong_type(w, key, node, "boolean");
	*use_tls |= node->text[0] == 't' || node->text[0] == 'T';
	return 0;
}

static const struct schema_word scheduling_policies[] = {
	{"auto", CONFIG_SCHEDULING_AUTO, NULL},
	{"always", CONFIG_SCHEDULING_ALWAYS, NULL},
	{NULL, 0, NULL},
};

const char *const config_signing_params[CONFIG_SIGNING_PARAMS] = {
	"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature",
	"X-Amz-Security-Token", "X-Amz-User-Agent", "X-Goog-Algorithm", "X-Goog-Credential", "X-Goog-Date", "X-Goog-Expires",
	"X-Goog-SignedHeaders", "X-Goog-Signature", "OSSAccessKeyId", "Expires", "Signature", "SecurityToken", "AccessKeyId",
	"X-Obs-Date", "X-Obs-Security-Token", "q-sign-algorithm", "q-ak", "q-sign-time", "q-key-time", "q-header-list",
	"q-url-param-list", "q-signature", "x-cos-security-token", "ns",
};

static const struct schema_key rule_keys[] = {
	RULE_KEY("regex", CUSTOM, pattern, ".*", .apply = apply_regex, .stored = SCHEMA_TEXT),
	RULE_KEY("useTLS", CUSTOM, use_tls, NULL, .apply = apply_use_tls, .stored = SCHEMA_BOOL),
	RULE_KEY("redirect", CUSTOM, redirect, NULL, .apply = apply_redirect, .stored = SCHEMA_TEXT, .flags = SCHEMA_EMPTY_UNSETS),
	RULE_KEY("filteredQueryParams", TEXTS, filtered_query_params, NULL, .flags = SCHEMA_NULL_IS_LIST),
	RULE_KEY("schedulingPolicy", WORD, scheduling_policy, "auto", .words = scheduling_policies),
};
const struct schema keys_rule = SCHEMA(rule_keys);

static void
apply_rule(struct schema_walk *w, const struct yaml_node *node, struct config_proxy_rule *rule)
{
	rule->filtered_query_params = (struct config_strings){config_signing_params, CONFIG_SIGNING_PARAMS};
	schema_set_defaults(w, &keys_rule, rule);
	if (schema_is_unset(&(struct schema_key){0}, node))
		schema_wrong_type(w, NULL, node, "a mapping");
	else if (schema_apply_mapping(w, &keys_rule, node, rule) == 0 && yaml_get(node, "regex") == NULL)
		schema_warn(w, node, "no regex given, rule matches every URL");
	if (rule->redirect_is_plain && rule->use_tls)
		schema_error(w, node, "useTLS contradicts the http:// of redirect");
}

static int
apply_rules(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *at)
{
	struct config_proxy *proxy = (struct config_proxy *)(void *)((char *)at - offsetof(struct config_proxy, rules));
	struct config_proxy_rule *rules;
	size_t caught_at = 0;           /* 1 + place of the first rule that catches every URL */
	size_t i = 0;

	if (node->kind != YAML_SEQUENCE)
		return schema_wrong_type(w, key, node, "a sequence");
	if (node->count > KEYS_RULES_MAX)
		return schema_error(w, node, "more than %d rules", KEYS_RULES_MAX);
	rules = arena_alloc(w->arena, (node->count + 1) * sizeof(*rules));
	if (rules == NULL)
		return schema_error(w, node, "document too large");
	for (size_t k = 0; k < proxy->rule_count; k++)
		regex_free(proxy->rules[k].regex);
	proxy->rules = rules;
	proxy->rule_count = node->count;
	for (const struct yaml_node *it = node->first; it; it = it->next, i++) {
		size_t mark = schema_enter_item(w, i);

		apply_rule(w, it, &rules[i]);
		if (caught_at > 0)
			schema_warn(w, it, "never used: rule %zu matches every URL", caught_at - 1);
		else if (rules[i].pattern && strcmp(rules[i].pattern, ".*") == 0)
			caught_at = i + 1;
		schema_leave(w, mark);
	}
	return 0;
}

static const struct schema_key basic_auth_keys[] = {
	KEY("username", TEXT, proxy.server.basic_auth.username, NULL),
	KEY("password", TEXT, proxy.server.basic_auth.password, NULL, .flags = SCHEMA_SECRET),
};
static const struct schema basic_auth = SCHEMA(basic_auth_keys);

static const struct schema_key proxy_server_keys[] = {
	KEY("enable", BOOL, proxy.server.enable, "true"),
	IP(proxy.server.ip),
	KEY("port", U16, proxy.server.port, "4001"),
	KEY("requestRateLimit", U64, proxy.server.request_rate_limit, "4000"),
	KEY("allowRemoteOutputPath", BOOL, proxy.server.allow_remote_output_path, NULL),
	FILE_KEY("caCert", proxy.server.ca_cert),
	FILE_KEY("caKey", proxy.server.ca_key),
	KEY("interceptHosts", TEXTS, proxy.server.intercept_hosts, NULL),
	KEY("basicAuth", SECTION, proxy.server.basic_auth.is_on, NULL, .table = &basic_auth, .has_presence = true),
};
static const struct schema proxy_server = SCHEMA(proxy_server_keys);

static int
apply_mirror_addr(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *at)
{
	const char *text = schema_text(w, key, node);
	size_t len;

	if (text == NULL)
		return -1;
	/* A request's path is put right behind it. */
	for (len = strlen(text); len > 0 && text[len - 1] == '/'; len--)
		;
	if (skip_scheme(text) == text || len <= (size_t)(skip_scheme(text) - text))
		return schema_error(w, node, "must start with http:// or https:// and name a host");
	*(const char **)at = arena_copy(w->arena, text, len);
	return 0;
}

static const struct schema_key mirror_keys[] = {
	KEY("addr", CUSTOM, proxy.registry_mirror.addr, "https://index.docker.io", .apply = apply_mirror_addr, .stored = SCHEMA_TEXT, .flags = SCHEMA_EMPTY_UNSETS),
	FILE_KEY("cert", proxy.registry_mirror.cert),
	KEY("enableTaskIDBasedBlobDigest", BOOL, proxy.registry_mirror.enable_task_id_based_blob_digest, "true"),
	KEY("plainHTTP", TEXTS, proxy.registry_mirror.plain_http, NULL),
	KEY("allow", TEXTS, proxy.registry_mirror.allow, NULL),
};
static const struct schema mirror = SCHEMA(mirror_keys);

static const struct schema_key proxy_keys[] = {
	SECTION("server", proxy_server),
	KEY("rules", CUSTOM, proxy.rules, NULL, .apply = apply_rules, .table = &keys_rule),
	SECTION("registryMirror", mirror),
	KEY("disableBackToSource", BOOL, proxy.disable_back_to_source, NULL),
	KEY("prefetch", BOOL, proxy.prefetch, NULL),
	KEY("revalidateAuth", BOOL, proxy.revalidate_auth, NULL),
	KEY("prefetchBandwidthLimit", BYTES, proxy.prefetch_bandwidth_limit, "10GB"),
	KEY("readBufferSize", BYTES, proxy.read_buffer_bytes, "2097152", .min = BUFFER_MIN, .max = BUFFER_MAX),
};
static const struct schema_old proxy_old[] = {
	{"prefetchRateLimit", "it is called prefetchBandwidthLimit now"},
	{"cacheCapacity", "removed"},
};
static const struct schema proxy = SCHEMA_WITH_OLD(proxy_keys, proxy_old);

/* ---- the rest ---- */

static const struct schema_key security_keys[] = {KEY("enable", BOOL, security.enable, NULL)};
static const struct schema security = SCHEMA(security_keys);

#define LISTENER(field, port_) 	KEY("enable", BOOL, field.enable, "true"), IP(field.ip), KEY("port", U16, field.port, (port_))

static const struct schema_key health_server_keys[] = {LISTENER(health, "4003")};
static const struct schema health_server = SCHEMA(health_server_keys);
static const struct schema_key health_keys[] = {SECTION("server", health_server)};
static const struct schema health = SCHEMA(health_keys);

static const struct schema_key metrics_server_keys[] = {LISTENER(metrics, "4002")};
static const struct schema metrics_server = SCHEMA(metrics_server_keys);
static const struct schema_key metrics_keys[] = {SECTION("server", metrics_server)};
static const struct schema metrics = SCHEMA(metrics_keys);

static const struct schema_key stats_server_keys[] = {LISTENER(stats, "4004")};
static const struct schema stats_server = SCHEMA(stats_server_keys);
static const struct schema_key stats_keys[] = {SECTION("server", stats_server)};
static const struct schema stats = SCHEMA(stats_keys);

static const struct schema_key tracing_keys[] = {
	KEY("protocol", TEXT, tracing.protocol, NULL, .flags = SCHEMA_EMPTY_UNSETS),
	KEY("endpoint", TEXT, tracing.endpoint, NULL, .flags = SCHEMA_EMPTY_UNSETS),
	KEY("path", TEXT, tracing.path, "/v1/traces", .flags = SCHEMA_EMPTY_UNSETS),
	KEY("headers", HEADERS, tracing.headers, NULL, .flags = SCHEMA_SECRET),
};
static const struct schema_old tracing_old[] = {{"addr", "use protocol and endpoint"}};
static const struct schema tracing = SCHEMA_WITH_OLD(tracing_keys, tracing_old);

static const struct schema_key network_keys[] = {KEY("enableIPv6", BOOL, network.enable_ipv6, NULL)};
static const struct schema_old network_old[] = {{"enableIPv4", "only enableIPv6 exists"}};
static const struct schema network = SCHEMA_WITH_OLD(network_keys, network_old);

/* ---- keys of our own ---- */

static const struct schema_word rings[] = {
	{"hostname", CONFIG_RING_HOSTNAME, NULL},
	{"address", CONFIG_RING_ADDRESS, NULL},
	{NULL, 0, NULL},
};

static int
apply_peers(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *at)
{
	struct config_strings *list = at;
	size_t i = 0;

	if (schema_apply_texts(w, key, node, at) < 0)
		return -1;
	for (const struct yaml_node *it = node->first; it; it = it->next, i++)
		if (!keys_is_authority(list->items[i], strlen(list->items[i])))
			return schema_error(w, it, "expected host:port, found \"%.60s\"", list->items[i]);
	return 0;
}

static const struct schema_key x_preheat_keys[] = {
	KEY("allowLoopback", BOOL, x.scheduler.preheat.allow_loopback, NULL),
	KEY("blobDigestTaskID", BOOL, x.scheduler.preheat.blob_digest_task_id, "true"),
};
static const struct schema x_preheat = SCHEMA(x_preheat_keys);

static const struct schema_key x_scheduler_keys[] = {
	KEY("enable", BOOL, x.scheduler.enable, NULL),
	KEY("port", U16, x.scheduler.port, "8002"),
	KEY("peers", CUSTOM, x.scheduler.peers, NULL, .apply = apply_peers, .stored = SCHEMA_TEXTS),
	KEY("ring", WORD, x.scheduler.ring, "hostname", .words = rings),
	KEY("mesh", BOOL, x.scheduler.mesh, "true"),
	KEY("hostOwners", BOOL, x.scheduler.host_owners, "true"),
	SECTION("preheat", x_preheat),
};
static const struct schema x_scheduler = SCHEMA(x_scheduler_keys);

static int
apply_managers(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *at)
{
	struct config_strings *list = at;
	const char **items;
	size_t n = 0;

	if (schema_apply_texts(w, key, node, at) < 0)
		return -1;
	items = arena_alloc(w->arena, (node->count + 1) * sizeof(*items));
	if (items == NULL)
		return schema_error(w, node, "document too large");
	for (const struct yaml_node *it = node->first; it; it = it->next)
		if (apply_manager_addr(w, key, it, &items[n++]) < 0)
			return -1;
	*list = (struct config_strings){items, n};
	return 0;
}

static const struct schema_key x_manager_keys[] = {
	KEY("addrs", CUSTOM, x.manager.addrs, NULL, .apply = apply_managers, .stored = SCHEMA_TEXTS),
};
static const struct schema x_manager = SCHEMA(x_manager_keys);

static const struct schema_key x_seed_peer_keys[] = {
	KEY("clusterID", U64, x.seed_peer.cluster_id, "1"),
};
static const struct schema x_seed_peer = SCHEMA(x_seed_peer_keys);

static const struct schema_key x_backend_keys[] = {
	KEY("insecureSkipVerify", BOOL, x.backend.insecure_skip_verify, NULL),
	FILE_KEY("caCert", x.backend.ca_cert),
};
static const struct schema x_backend = SCHEMA(x_backend_keys);

static const struct schema_word piece_tls[] = {
	{"prefer", CONFIG_PIECE_TLS_PREFER, NULL},
	{"require", CONFIG_PIECE_TLS_REQUIRE, NULL},
	{NULL, 0, NULL},
};
static const struct schema_key x_piece_keys[] = {KEY("tls", WORD, x.piece.tls, "prefer", .words = piece_tls)};
static const struct schema x_piece = SCHEMA(x_piece_keys);

/* Permission bits as people write them: octal. */
static int
apply_mode(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *at)
{
	const char *text = schema_text(w, key, node);
	const char *s = text;
	uint32_t mode = 0;

	if (text == NULL)
		return -1;
	s += strncmp(s, "0o", 2) == 0 ? 2 : 0;
	for (; *s >= '0' && *s <= '7' && mode <= 0777; s++)
		mode = mode * 8 + (uint32_t)(*s - '0');
	if (*s != '\0' || mode > 0777 || (mode & 0600) != 0600)
		return schema_error(w, node, "bad value \"%.60s\": use an octal mode from 0600 to 0777", text);
	*(uint32_t *)at = mode;
	return 0;
}

static const struct schema_key x_download_keys[] = {
	KEY("maxConcurrentTasks", U32, x.download.max_concurrent_tasks, "1024", .min = 1, .max = 1000000),
	KEY("socketMode", CUSTOM, x.download.socket_mode, "0777", .apply = apply_mode, .stored = SCHEMA_OCTAL),
};
static const struct schema x_download = SCHEMA(x_download_keys);

static const struct schema_word controls[] = {
	{"any", CONFIG_CONTROL_ANY, NULL},
	{"schedulers", CONFIG_CONTROL_SCHEDULERS, NULL},
	{"none", CONFIG_CONTROL_NONE, NULL},
	{NULL, 0, NULL},
};

static int
apply_ranges(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *at)
{
	struct config_strings *list = at;
	struct cidr range;
	struct err e;
	size_t i = 0;

	if (schema_apply_texts(w, key, node, at) < 0)
		return -1;
	if (list->count > CONFIG_RANGES_MAX)
		return schema_error(w, node, "more than %d ranges", CONFIG_RANGES_MAX);
	for (const struct yaml_node *it = node->first; it; it = it->next, i++)
		if (cidr_parse(&range, slice_str(list->items[i]), &e) < 0)
			return schema_error(w, it, "%s", e.text);
	return 0;
}

static int
apply_output_dirs(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *at)
{
	struct config_strings *list = at;
	size_t i = 0;

	if (schema_apply_texts(w, key, node, at) < 0)
		return -1;
	for (const struct yaml_node *it = node->first; it; it = it->next, i++)
		if (list->items[i][0] != '/' || strstr(list->items[i], "/../") != NULL)
			return schema_error(w, it, "expected the absolute path of a directory, found \"%.60s\"", list->items[i]);
	return 0;
}

static const struct schema_key x_origins_keys[] = {
	KEY("allow", CUSTOM, x.upload.origins.allow, NULL, .apply = apply_ranges, .stored = SCHEMA_TEXTS),
	KEY("deny", CUSTOM, x.upload.origins.deny, NULL, .apply = apply_ranges, .stored = SCHEMA_TEXTS),
};
static const struct schema x_origins = SCHEMA(x_origins_keys);

static const struct schema_key x_upload_keys[] = {
	KEY("enforceBlockList", BOOL, x.upload.enforce_block_list, NULL),
	KEY("control", WORD, x.upload.control, "any", .words = controls),
	KEY("controllers", TEXTS, x.upload.controllers, NULL),
	KEY("outputDirs", CUSTOM, x.upload.output_dirs, NULL, .apply = apply_output_dirs, .stored = SCHEMA_TEXTS),
	SECTION("origins", x_origins),
};
static const struct schema x_upload = SCHEMA(x_upload_keys);

static const struct schema_word storage_syncs[] = {
	{"none", CONFIG_SYNC_NONE, NULL},
	{"complete", CONFIG_SYNC_COMPLETE, NULL},
	{"piece", CONFIG_SYNC_PIECE, NULL},
	{NULL, 0, NULL},
};
static const struct schema_key x_storage_keys[] = {
	KEY("capacity", BYTES, x.storage.capacity_bytes, "0"),
	KEY("sync", WORD, x.storage.sync, "complete", .words = storage_syncs),
};
static const struct schema x_storage = SCHEMA(x_storage_keys);

static const struct schema_key x_server_keys[] = {KEY("ioThreads", U32, x.server.io_threads, "0", .max = 256)};
static const struct schema x_server = SCHEMA(x_server_keys);

static const struct schema_key x_proxy_keys[] = {
	KEY("maxConnections", U32, x.proxy.max_connections, "10000", .min = 1, .max = 1000000),
	PERIOD("answerTimeout", x.proxy.answer_timeout_ms, "900s"),
};
static const struct schema x_proxy = SCHEMA(x_proxy_keys);

static const struct schema_word log_formats[] = {{"text", CONFIG_LOG_TEXT, NULL}, {"json", CONFIG_LOG_JSON, NULL}, {NULL, 0, NULL}};

static int
apply_log_level(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *at)
{
	const char *text = schema_text(w, key, node);
	enum log_level level;

	if (text == NULL)
		return -1;
	if (log_parse_level(text, &level) < 0)
		return schema_error(w, node, "bad value \"%.60s\": use \"trace\", \"debug\", \"info\", \"warn\", \"error\" or \"off\"", text);
	*(const char **)at = text;
	return 0;
}

static const struct schema_key x_log_keys[] = {
	KEY("format", WORD, x.log.format, "text", .words = log_formats),
	KEY("level", CUSTOM, x.log.level, NULL, .apply = apply_log_level, .stored = SCHEMA_TEXT, .flags = SCHEMA_EMPTY_UNSETS),
};
static const struct schema x_log = SCHEMA(x_log_keys);

static const struct schema_key x_keys[] = {
	KEY("user", TEXT, x.user, NULL, .flags = SCHEMA_EMPTY_UNSETS),
	KEY("group", TEXT, x.group, NULL, .flags = SCHEMA_EMPTY_UNSETS),
	SECTION("scheduler", x_scheduler),
	SECTION("manager", x_manager),
	SECTION("seedPeer", x_seed_peer),
	SECTION("backend", x_backend),
	SECTION("piece", x_piece),
	SECTION("download", x_download),
	SECTION("upload", x_upload),
	SECTION("storage", x_storage),
	SECTION("server", x_server),
	SECTION("proxy", x_proxy),
	SECTION("log", x_log),
};
static const struct schema x = SCHEMA(x_keys);

static const struct schema_key root_keys[] = {
	SECTION("host", host),
	SECTION("server", server),
	SECTION("download", download),
	SECTION("upload", upload),
	SECTION("manager", manager),
	SECTION("scheduler", scheduler),
	SECTION("seedPeer", seed_peer),
	SECTION("dynconfig", dynconfig),
	SECTION("storage", storage),
	SECTION("backend", backend),
	SECTION("gc", gc),
	SECTION("proxy", proxy),
	SECTION("security", security),
	SECTION("health", health),
	SECTION("metrics", metrics),
	SECTION("stats", stats),
	SECTION("tracing", tracing),
	SECTION("network", network),
	SECTION("x", x),
};
static const struct schema_old root_old[] = {
	{"console", "use the option --console"},
	{"log", "use the options --log-dir and --log-level"},
	{"verbose", "use the option --console"},
	{"dataDir", "use storage.dir"},
	{"cacheDir", "use storage.dir"},
	{"rootDir", "use storage.dir"},
	{"lockDir", "no longer needed"},
};
const struct schema keys_root = SCHEMA_WITH_OLD(root_keys, root_old);
