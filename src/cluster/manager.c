#include "cluster/manager_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "cluster/cluster.h"
#include "config/config.h"
#include "net/rpc_client.h"
#include "proto/manager.h"

/* ---- names and addresses ---- */

void
manager_hostname(const char *name, char out[MANAGER_HOSTNAME_MAX + 1])
{
	size_t n = 0;

	for (; *name != '\0' && n < MANAGER_HOSTNAME_MAX; name++) {
		char ch = *name;
		bool begins_label = n == 0 || out[n - 1] == '.';

		if (ch >= 'A' && ch <= 'Z')
			ch = (char)(ch - 'A' + 'a');
		else if (!(ch >= 'a' && ch <= 'z') && !(ch >= '0' && ch <= '9') && ch != '.')
			ch = '-';
		if (begins_label && (ch == '-' || ch == '.'))
			continue;
		while (ch == '.' && n > 0 && out[n - 1] == '-')
			n--;
		if (n == 0 && ch == '.')
			continue;
		/* Labels are cut at 63. */
		if (ch != '.' && n >= 63 && memchr(out + n - 63, '.', 63) == NULL)
			continue;
		out[n++] = ch;
	}
	while (n > 0 && (out[n - 1] == '-' || out[n - 1] == '.'))
		n--;
	if (n == 0)
		out[n++] = 'x';
	out[n] = '\0';
}

/* "http://host:port", "https://host", "host:port": config has looked at its form. */
static int
add_manager(struct manager *m, const char *text, struct err *e)
{
	bool is_tls = strncmp(text, "https://", 8) == 0;
	const char *host = is_tls ? text + 8 : strncmp(text, "http://", 7) == 0 ? text + 7 : text;
	const char *end = host[0] == '[' ? strchr(host, ']') : strchr(host, ':');
	struct rpc_channel_opts opts = {.dns = m->o.dns, .port = MANAGER_PORT, .tls = is_tls ? m->o.tls : NULL};
	const char *colon = end != NULL && *end == ']' ? end + 1 : end;
	uint64_t port;
	char *name;

	if (m->count == MANAGER_ADDRS_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "more than %d managers", MANAGER_ADDRS_MAX);
	if (is_tls && m->o.tls == NULL)
		return err_set(e, ERR_INVALID_ARGUMENT, "manager.addr: %s needs manager.caCert, cert and key", text);
	if (colon != NULL && *colon == ':') {
		if (slice_to_u64(slice_str(colon + 1), &port) < 0 || port == 0 || port > 65535)
			return err_set(e, ERR_INVALID_ARGUMENT, "manager.addr: %s is not an address", text);
		opts.port = (uint16_t)port;
	}
	if (host[0] == '[')
		host++;
	name = end != NULL ? xstrndup(host, (size_t)(end - host)) : xstrdup(host);
	opts.host = name;
	m->channels[m->count++] = rpc_channel_new(m->o.loop, &opts);
	free(name);
	return 0;
}

/* ---- asking ---- */

static void ask(struct manager *m);

static void
round_begins(void *ctx)
{
	struct manager *m = ctx;

	if (m->list != NULL || m->is_leaving)
		return;
	m->failed = 0;
	m->asked_ms = clock_mono_ms();
	ask(m);
}

/* This manager had no scheduler for us: the next one, or a pause. */
static void
failed(struct manager *m, int code, const char *why)
{
	int64_t interval = m->o.config->dynconfig.refresh_interval_ms;
	int64_t wait = m->retry_ms < interval ? m->retry_ms : interval;

	if (code != m->said_code)
		log_warn("the manager gives no schedulers manager=%s error=\"%s\"", rpc_channel_target(m->channels[m->at]), why);
	else
		log_debug("the manager gives no schedulers manager=%s error=\"%s\"", rpc_channel_target(m->channels[m->at]), why);
	m->said_code = code;
	m->at = (m->at + 1) % m->count;
	if (++m->failed < m->count) {
		ask(m);
		return;
	}
	m->retry_ms = m->retry_ms < MANAGER_RETRY_MAX_MS / 2 ? 2 * m->retry_ms : MANAGER_RETRY_MAX_MS;
	/* A fifth more or less: the peers of a cluster whose manager comes back shall not ask all at once. */
	loop_timer_set(m->o.loop, &m->timer, wait - wait / 5 + (int64_t)rand_below((uint64_t)wait * 2 / 5 + 1), round_begins, m);
	m->o.on_none(m->o.ctx);
}

static void
on_list(void *ctx, const void *answer, const struct rpc_status *st)
{
	const struct manager_list_schedulers_response *r = answer;
	struct manager *m = ctx;

	m->list = NULL;
	if (m->is_leaving)
		return;
	if (st->code != ERR_OK) {
		failed(m, st->code, st->message);
		return;
	}
	if (r->n_schedulers == 0) {
		failed(m, ERR_OK, "no scheduler is active");
		return;
	}
	if (m->said_code >= 0)
		log_info("the manager gives schedulers again manager=%s", rpc_channel_target(m->channels[m->at]));
	m->said_code = -1;
	m->retry_ms = MANAGER_RETRY_MS;
	loop_timer_set(m->o.loop, &m->timer, m->o.config->dynconfig.refresh_interval_ms, round_begins, m);
	m->o.on_list(m->o.ctx, r);
}

static void
ask(struct manager *m)
{
	const struct config_host *h = &m->o.config->host;
	struct manager_list_schedulers_request r = {
		.source_type = m->o.host->is_seed ? MANAGER_SOURCE_TYPE_SEED_PEER_SOURCE : MANAGER_SOURCE_TYPE_PEER_SOURCE,
		.hostname = slice_str(m->hostname), .ip = slice_str(m->o.host->ip),
		.version = slice_str(DRAGONFLY_VERSION), .commit = slice_str("unknown"), .scheduler_cluster_id = h->scheduler_cluster_id,
	};
	struct rpc_call_opts opts = {.total_ms = MANAGER_CALL_MS, .message_max = MANAGER_ANSWER_MAX};

	if (h->idc != NULL && *h->idc != '\0')
		r.idc = slice_str(h->idc);
	if (h->location != NULL && *h->location != '\0')
		r.location = slice_str(h->location);
	m->list = rpc_unary(m->channels[m->at], &manager_manager_service.methods[MANAGER_MANAGER_LIST_SCHEDULERS_AT], &r, &opts, on_list, m);
}

void
manager_refresh_soon(struct manager *m)
{
	int64_t since = clock_mono_ms() - m->asked_ms;

	if (m->list != NULL || m->is_leaving || m->asked_ms == 0 || m->said_code >= 0)
		return;
	loop_timer_set(m->o.loop, &m->timer, since >= MANAGER_SOON_MS ? 0 : MANAGER_SOON_MS - since, round_begins, m);
}

/* ---- life ---- */

struct manager *
manager_new(const struct manager_options *o, struct err *e)
{
	const struct config_strings *others = &o->config->x.manager.addrs;
	struct manager *m = xcalloc(1, sizeof *m);

	m->o = *o;
	m->retry_ms = MANAGER_RETRY_MS;
	m->said_code = -1;
	m->seed.manager = m;
	manager_hostname(o->host->hostname, m->hostname);
	if (strcmp(m->hostname, o->host->hostname) != 0)
		log_warn("the manager does not take this host's name as it is hostname=%s told=%s", o->host->hostname, m->hostname);
	if (add_manager(m, o->config->manager.addr, e) < 0)
		goto fail;
	for (size_t i = 0; i < others->count; i++)
		if (add_manager(m, others->items[i], e) < 0)
			goto fail;
	return m;
fail:
	manager_free(m);
	return NULL;
}

void
manager_start(struct manager *m)
{
	round_begins(m);
	manager_seed_start(m);
}

static void
stop_asking(struct manager *m)
{
	m->is_leaving = true;
	loop_timer_clear(m->o.loop, &m->timer);
	if (m->list != NULL)
		rpc_call_cancel(m->list);
	m->list = NULL;
}

void
manager_leave(struct manager *m, int ms, void (*done)(void *ctx), void *ctx)
{
	stop_asking(m);
	manager_seed_leave(m, ms, done, ctx);
}

void
manager_free(struct manager *m)
{
	if (m == NULL)
		return;
	stop_asking(m);
	manager_seed_free(m);
	for (size_t i = 0; i < m->count; i++)
		rpc_channel_release(m->channels[i]);
	free(m);
}
