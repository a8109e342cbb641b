#include "serve/callers.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/cluster.h"
#include "config/config.h"
#include "net/addr.h"
#include "net/rpc_server.h"
#include "net/x509.h"
#include "proto/common.h"
#include "wire/pb.h"

static void
read_ranges(struct cidr *out, const struct config_strings *texts)
{
	/* The configuration was checked when it was read. */
	for (size_t i = 0; i < texts->count; i++)
		if (cidr_parse(&out[i], slice_str(texts->items[i]), NULL) < 0)
			abort();
}

void
callers_init(struct callers *c, const struct config *config)
{
	const struct config_strings *allow = &config->x.upload.origins.allow, *deny = &config->x.upload.origins.deny;

	c->config = config;
	c->ranges = xcalloc(allow->count + deny->count + 1, sizeof *c->ranges);
	read_ranges(c->ranges, allow);
	read_ranges(c->ranges + allow->count, deny);
	c->origins = (struct addr_rules){.allow = c->ranges, .allow_count = allow->count, .deny = c->ranges + allow->count, .deny_count = deny->count};
}

void
callers_free(struct callers *c)
{
	free(c->ranges);
	c->ranges = NULL;
}

/* What changes something here, or makes this host ask others. */
static bool
is_order(const char *method)
{
	static const char *const orders[] = {
		"DownloadTask", "DownloadPersistentTask", "DownloadPersistentCacheTask", "DeleteTask", "DeletePersistentTask",
		"DeletePersistentCacheTask", "UpdatePersistentTask", "UpdatePersistentCacheTask", "ListTaskEntries",
	};

	for (size_t i = 0; i < COUNT_OF(orders); i++)
		if (strcmp(method, orders[i]) == 0)
			return true;
	return false;
}

/* The server takes certificates of its authority alone, so the name in one is true. */
static bool
has_trusted_name(const struct callers *c, const struct rpc_stream *s)
{
	const struct config_strings *names = &c->config->x.upload.controllers;
	struct slice der = rpc_stream_peer_cert(s);
	struct x509 cert;

	if (names->count == 0 || der.n == 0 || x509_read(&cert, der) < 0)
		return false;
	for (size_t i = 0; i < names->count; i++)
		if (x509_is_named(&cert, names->items[i]))
			return true;
	return false;
}

static bool
is_scheduler(const struct callers *c, const struct rpc_stream *s)
{
	const struct addr *peer = rpc_stream_peer(s);

	return addr_is_loopback(peer) || (c->cluster != NULL && cluster_has_scheduler_at(c->cluster, peer)) || has_trusted_name(c, s);
}

int
callers_check(struct callers *c, const struct rpc_stream *s, struct err *e)
{
	enum config_control control = c->config->x.upload.control;
	const char *method = rpc_stream_method(s)->name;
	char peer[ADDR_TEXT_MAX];
	int64_t now = clock_mono_ms();

	if (control == CONFIG_CONTROL_ANY || !is_order(method) || (control == CONFIG_CONTROL_SCHEDULERS && is_scheduler(c, s)))
		return 0;
	c->refused++;
	if (c->refused == 1 || now - c->refused_ms >= CALLERS_LOG_MS) {
		c->refused_ms = now;
		log_warn("order refused peer=%s method=%s reason=\"x.upload.control: %s\"", addr_format(rpc_stream_peer(s), peer), method,
		    control == CONFIG_CONTROL_NONE ? "none" : "schedulers");
	}
	return err_set(e, ERR_PERMISSION_DENIED, "%s is not taken from %s here (x.upload.control)", method,
	    addr_format(rpc_stream_peer(s), peer));
}

int
callers_check_credentials(const struct common_object_storage *storage, struct err *e)
{
	if (storage != NULL && storage->credential_path.n > 0)
		return err_set(e, ERR_PERMISSION_DENIED, "a credential path is not allowed on the upload server");
	return 0;
}

bool
callers_is_guarded(const struct rpc_stream *s)
{
	return !addr_is_loopback(rpc_stream_peer(s));
}
