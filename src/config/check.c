#include "config/check.h"

#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "base/mem.h"
#include "base/slice.h"
#include "config/config.h"
#include "config/schema.h"
#include "text/yaml.h"

#define CREDENTIAL_MAX 255
/* What the reference declares as the longest user name and password. */
#define CREDENTIAL_USUAL 20
#define PIECE_TIMEOUT_USUAL_MS 1000

struct check {
	struct schema_walk *w;
	const struct yaml_node *tree;
	const struct config *c;
	const struct config *usual;
};

/* The value at a dotted path, or the deepest mapping around it that is in the file. */
static const struct yaml_node *
find(const struct yaml_node *node, const char *path)
{
	while (node && *path != '\0') {
		size_t len = strcspn(path, ".");
		const struct yaml_node *found = NULL;

		if (node->kind != YAML_MAPPING)
			break;
		for (const struct yaml_node *it = node->first; it; it = it->next)
			if (slice_eq(slice_make(it->key->text, it->key->len), slice_make(path, len)))
				found = it;
		if (found == NULL)
			break;
		node = found;
		path += len + (path[len] == '.');
	}
	return node;
}

static void
bad(struct check *k, const char *path, const char *text)
{
	size_t mark = schema_enter(k->w, path);

	schema_error(k->w, find(k->tree, path), "%s", text);
	schema_leave(k->w, mark);
}

static void
odd(struct check *k, const char *path, const char *text)
{
	size_t mark = schema_enter(k->w, path);

	schema_warn(k->w, find(k->tree, path), "%s", text);
	schema_leave(k->w, mark);
}

static void
check_tls(struct check *k, const char *path, const struct config_tls *tls)
{
	int given = (tls->ca_cert != NULL) + (tls->cert != NULL) + (tls->key != NULL);

	if (given != 0 && given != 3)
		bad(k, path, "caCert, cert and key must be given together");
}

/* ---- listeners ---- */

#define ANNOUNCED_PORT_MIN 1024
#define ANNOUNCED_PORT_MAX 65534

struct listener {
	const char *path;               /* of its port */
	const char *ip;
	uint16_t port;
	bool is_on;
};

static bool
is_wildcard(const char *ip)
{
	return strcmp(ip, "0.0.0.0") == 0 || strcmp(ip, "::") == 0;
}

static void
check_listeners(struct check *k, bool allow_ephemeral_ports)
{
	const struct config *c = k->c;
	const struct listener all[] = {
		{"upload.server.port", c->upload.server.ip, c->upload.server.port, true},
		{"proxy.server.port", c->proxy.server.ip, c->proxy.server.port, c->proxy.server.enable},
		{"metrics.server.port", c->metrics.ip, c->metrics.port, c->metrics.enable},
		{"health.server.port", c->health.ip, c->health.port, c->health.enable},
		{"stats.server.port", c->stats.ip, c->stats.port, c->stats.enable},
		{"storage.server.tcpPort", c->storage.server.ip, c->storage.server.tcp_port, true},
		{"x.scheduler.port", c->upload.server.ip, c->x.scheduler.port, c->x.scheduler.enable},
	};

	/* A scheduler does not take an announcement with another one (spec: daemon.md 3.3). */
	if (c->upload.server.port != 0 && (c->upload.server.port < ANNOUNCED_PORT_MIN || c->upload.server.port > ANNOUNCED_PORT_MAX))
		bad(k, "upload.server.port", "must be between 1024 and 65534");
	for (size_t i = 0; i < COUNT_OF(all); i++) {
		if (!all[i].is_on)
			continue;
		if (all[i].port == 0) {
			if (!allow_ephemeral_ports)
				bad(k, all[i].path, "must be between 1 and 65535");
			continue;
		}
		for (size_t m = 0; m < i; m++) {
			char text[96];

			if (!all[m].is_on || all[m].port != all[i].port)
				continue;
			if (strcmp(all[m].ip, all[i].ip) != 0 && !is_wildcard(all[m].ip) && !is_wildcard(all[i].ip))
				continue;
			snprintf(text, sizeof(text), "port %u is also that of %s", (unsigned)all[i].port, all[m].path);
			bad(k, all[i].path, text);
		}
	}
}

/* ---- sections ---- */

static void
check_basic_auth(struct check *k)
{
	const char *username = k->c->proxy.server.basic_auth.username;
	const char *password = k->c->proxy.server.basic_auth.password;

	if (!k->c->proxy.server.basic_auth.is_on)
		return;
	if (username == NULL || *username == '\0')
		bad(k, "proxy.server.basicAuth.username", "must not be empty");
	else if (strlen(username) > CREDENTIAL_MAX)
		bad(k, "proxy.server.basicAuth.username", "must be at most 255 bytes long");
	else if (strchr(username, ':') != NULL)
		bad(k, "proxy.server.basicAuth.username", "must not contain \":\"");
	else if (strlen(username) > CREDENTIAL_USUAL)
		odd(k, "proxy.server.basicAuth.username", "longer than the 20 characters that other versions take");
	if (password == NULL || *password == '\0')
		bad(k, "proxy.server.basicAuth.password", "must not be empty");
	else if (strlen(password) > CREDENTIAL_MAX)
		bad(k, "proxy.server.basicAuth.password", "must be at most 255 bytes long");
	else if (strlen(password) > CREDENTIAL_USUAL)
		odd(k, "proxy.server.basicAuth.password", "longer than the 20 characters that other versions take");
}

static void
check_bandwidths(struct check *k)
{
	const struct config *c = k->c;

	if (c->download.bandwidth_limit == 0)
		odd(k, "download.bandwidthLimit", "0 means no limit; other versions refuse it");
	if (c->download.back_to_source_bandwidth_limit == 0)
		odd(k, "download.backToSourceBandwidthLimit", "0 means no limit; other versions refuse it");
	if (c->upload.bandwidth_limit == 0)
		odd(k, "upload.bandwidthLimit", "0 means no limit; other versions refuse it");
	if (c->proxy.prefetch_bandwidth_limit == 0)
		odd(k, "proxy.prefetchBandwidthLimit", "0 means no limit; other versions refuse it");
	else if (c->download.bandwidth_limit > 0 && c->proxy.prefetch_bandwidth_limit > c->download.bandwidth_limit)
		odd(k, "proxy.prefetchBandwidthLimit", "larger than download.bandwidthLimit, which holds for all downloads together");
}

static void
check_paths(struct check *k)
{
	size_t most = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;
	char text[80];

	if (strlen(k->c->download.server.socket_path) > most) {
		snprintf(text, sizeof(text), "must be at most %zu bytes long: the system takes no longer path for a socket", most);
		bad(k, "download.server.socketPath", text);
	}
}

/* Keys that are taken so that files of other versions load, and that change nothing here. Who sets one is told. */
static void
check_without_effect(struct check *k)
{
	const struct config *c = k->c, *usual = k->usual;

	if (c->storage.writeback_mode == CONFIG_WRITEBACK_SYNC)
		odd(k, "storage.writebackMode", "has no effect: x.storage.sync says when pieces are on stable storage");
	if (c->storage.write_buffer_bytes != usual->storage.write_buffer_bytes)
		odd(k, "storage.writeBufferSize", "has no effect: pieces are written 256 KiB at a time");
	if (c->storage.read_buffer_bytes != usual->storage.read_buffer_bytes)
		odd(k, "storage.readBufferSize", "has no effect: pieces are read 256 KiB at a time");
	if (c->storage.cache_capacity_bytes != usual->storage.cache_capacity_bytes)
		odd(k, "storage.cacheCapacity", "has no effect: what is in memory is for the system's page cache to say");
	if (c->storage.server.quic_port != usual->storage.server.quic_port)
		odd(k, "storage.server.quicPort", "has no effect: QUIC is not built in");
	if (c->backend.put_concurrent_chunk_count != usual->backend.put_concurrent_chunk_count)
		odd(k, "backend.putConcurrentChunkCount", "has no effect: there are no uploads to object stores");
	if (c->backend.put_chunk_bytes != usual->backend.put_chunk_bytes)
		odd(k, "backend.putChunkSize", "has no effect: there are no uploads to object stores");
	if (c->backend.put_timeout_ms != usual->backend.put_timeout_ms)
		odd(k, "backend.putTimeout", "has no effect: there are no uploads to object stores");
	if (c->backend.enable_hickory_dns != usual->backend.enable_hickory_dns)
		odd(k, "backend.enableHickoryDNS", "has no effect: names are always looked up in the same way");
	if (c->security.enable != usual->security.enable)
		odd(k, "security.enable", "has no effect: caCert, cert and key of each section switch TLS on");
}

void
check_config(struct schema_walk *w, const struct yaml_node *tree, const struct config *c, const struct config *usual,
	bool allow_ephemeral_ports)
{
	struct check k = {w, tree, c, usual};

	check_paths(&k);
	check_listeners(&k, allow_ephemeral_ports);
	check_tls(&k, "upload.server", &c->upload.server.tls);
	check_tls(&k, "upload.client", &c->upload.client.tls);
	check_tls(&k, "manager", &c->manager.tls);
	check_tls(&k, "scheduler", &c->scheduler.tls);
	if ((c->proxy.server.ca_cert == NULL) != (c->proxy.server.ca_key == NULL))
		bad(&k, "proxy.server", "caCert and caKey must be given together");
	check_basic_auth(&k);
	check_bandwidths(&k);
	check_without_effect(&k);
	if (c->gc.policy.disk_low_threshold_percent >= c->gc.policy.disk_high_threshold_percent)
		bad(&k, "gc.policy.diskLowThresholdPercent", "must be below diskHighThresholdPercent");
	if (c->download.piece_timeout_ms < PIECE_TIMEOUT_USUAL_MS)
		odd(&k, "download.pieceTimeout", "below 1s: pieces over slow links will fail");
	if (c->x.group != NULL && c->x.user == NULL)
		bad(&k, "x.group", "x.user must be given with it");
	if (c->tracing.protocol && c->tracing.endpoint)
		odd(&k, "tracing", "traces are not exported; metrics and logs are");
}
