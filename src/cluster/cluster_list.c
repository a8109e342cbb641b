/* Which schedulers there are: from dynconfig.yaml, read again when it changes, or from the manager. */
#include "cluster/cluster_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "cluster/manager.h"
#include "config/config.h"
#include "net/dns.h"
#include "net/rpc_client.h"
#include "proto/manager.h"

/* The file is looked at this often for a change (a stat; nothing is read when it is the same). */
#define FILE_LOOK_MS 1000

/* ---- a new list ---- */

static void
set_entry(struct scheduler_peer *p, const struct scheduler_entry *entry)
{
	free(p->entry.hostname);
	p->entry = *entry;
	p->entry.hostname = xstrdup(entry->hostname);
}

/* An address that stands in the list twice keeps its better place. */
static void
add_peer(struct cluster *c, const struct addr *a, const struct scheduler_entry *entry)
{
	struct scheduler_peer *p;

	LIST_EACH(it, next, &c->peers) {
		p = CONTAINER_OF(it, struct scheduler_peer, link);
		if (!addr_eq(&p->addr, a))
			continue;
		if (!p->is_listed)
			set_entry(p, entry);
		p->is_listed = true;
		return;
	}
	if (c->peer_count == RING_NODES_MAX)
		return;
	p = xcalloc(1, sizeof *p);
	p->cluster = c;
	p->addr = *a;
	addr_format(a, p->text);
	set_entry(p, entry);
	p->channel = rpc_channel_new(c->o.loop, &(struct rpc_channel_opts){.addr = *a, .tls = c->o.scheduler_tls});
	p->is_up = p->is_listed = true;
	list_add_tail(&c->peers, &p->link);
	c->peer_count++;
}

bool
cluster_has_scheduler_at(const struct cluster *c, const struct addr *a)
{
	LIST_EACH(it, next, &c->peers)
		if (addr_ip_eq(&CONTAINER_OF(it, struct scheduler_peer, link)->addr, a))
			return true;
	return false;
}

/* The new list is complete: those that are not in it go. */
static void
list_complete(struct cluster *c)
{
	LIST_EACH(it, next, &c->peers) {
		struct scheduler_peer *p = CONTAINER_OF(it, struct scheduler_peer, link);

		if (!p->is_listed) {
			log_info("scheduler left the list scheduler=%s", p->text);
			cluster_drop_scheduler(p);
		}
	}
	cluster_list_changed(c);
}

static void
on_resolved(void *ctx, const struct addr *addrs, size_t n, const struct err *e)
{
	struct lookup *l = ctx;
	struct cluster *c = l->cluster;
	bool has_v4 = false;

	l->dns = NULL;
	if (n == 0)
		log_warn("scheduler's name cannot be resolved error=\"%s\"", e->text);
	for (size_t i = 0; i < n; i++)
		has_v4 = has_v4 || addr_family(&addrs[i]) == AF_INET;
	for (size_t i = 0; i < n; i++) {
		struct addr a = addrs[i];

		if (has_v4 && addr_family(&a) != AF_INET)
			continue;
		addr_set_port(&a, l->port);
		add_peer(c, &a, &l->entry);
	}
	if (--c->lookups_open == 0)
		list_complete(c);
}

static void
cancel_lookups(struct cluster *c)
{
	for (size_t i = 0; i < c->lookup_count; i++) {
		if (c->lookups[i].dns != NULL)
			dns_cancel(c->lookups[i].dns);
		free(c->lookups[i].entry.hostname);
	}
	free(c->lookups);
	c->lookups = NULL;
	c->lookup_count = c->lookups_open = 0;
}

/* Room for so many entries; what is not in the list when it ends goes. */
static void
list_begin(struct cluster *c, size_t count)
{
	cancel_lookups(c);
	LIST_EACH(it, next, &c->peers)
		CONTAINER_OF(it, struct scheduler_peer, link)->is_listed = false;
	c->lookups = xcalloc(count + 1, sizeof *c->lookups);
}

/* "ip:port" at once, "name:port" after a look-up. */
static void
list_one(struct cluster *c, const char *text, const struct scheduler_entry *entry)
{
	const char *colon = strrchr(text, ':');
	struct addr a;
	struct lookup *l;
	uint64_t port;
	char *host;

	if (addr_parse(&a, text, NULL) == 0) {
		add_peer(c, &a, entry);
		return;
	}
	if (colon == NULL || slice_to_u64(slice_str(colon + 1), &port) < 0 || port == 0 || port > 65535) {
		log_warn("scheduler's address is not \"host:port\" address=\"%s\"", text);
		return;
	}
	host = xstrndup(text, (size_t)(colon - text));
	l = &c->lookups[c->lookup_count++];
	*l = (struct lookup){.cluster = c, .port = (uint16_t)port, .entry = *entry};
	l->entry.hostname = xstrdup(entry->hostname);
	l->dns = dns_lookup(c->dns, host, on_resolved, l);
	c->lookups_open++;
	free(host);
}

static void
list_end(struct cluster *c)
{
	if (c->lookups_open == 0)
		list_complete(c);
}

/* ---- without a manager, and beside one ---- */

/* The scheduler inside and its like. Beside a manager they are what is left when none of its schedulers answers. */
static void
list_own(struct cluster *c, size_t rank)
{
	const struct config_strings *peers = &c->o.config->x.scheduler.peers;
	char none[] = "";
	struct scheduler_entry entry = {.hostname = none, .cluster_id = CLUSTER_NO_MANAGER, .rank = rank};

	if (c->own != NULL)
		list_one(c, c->own, &entry);
	for (size_t i = 0; i < peers->count; i++)
		list_one(c, peers->items[i], &entry);
}

static size_t
own_count(const struct cluster *c)
{
	return c->o.config->x.scheduler.peers.count + 1;
}

static void
list_file(struct cluster *c)
{
	char none[] = "";
	struct scheduler_entry entry = {.hostname = none, .cluster_id = CLUSTER_NO_MANAGER};
	const struct dynconfig *d = &c->dyn;

	list_begin(c, d->scheduler_addrs.count + own_count(c));
	if (c->has_dyn && d->scheduler_addrs.count > 0)
		for (size_t i = 0; i < d->scheduler_addrs.count; i++)
			list_one(c, d->scheduler_addrs.items[i], &entry);
	else if (c->has_dyn && !d->is_embedded)
		list_one(c, d->scheduler_addr, &entry);
	else
		list_own(c, 0);
	list_end(c);
}

static bool
file_changed(struct cluster *c)
{
	struct stat st;
	bool is_there = stat(c->dynconfig_path, &st) == 0;
	bool changed = is_there != c->file_was_there ||
	    (is_there && (st.st_mtim.tv_sec != c->file_time.tv_sec || st.st_mtim.tv_nsec != c->file_time.tv_nsec));

	c->file_was_there = is_there;
	if (is_there)
		c->file_time = st.st_mtim;
	return changed;
}

static int
load_file(struct cluster *c, struct err *e)
{
	struct config_notes notes = CONFIG_NOTES_INIT;
	struct dynconfig fresh;
	int rc = dynconfig_load_file(c->dynconfig_path, c->own != NULL, &fresh, &notes, e);

	for (size_t i = 0; i < notes.warning_count; i++)
		log_warn("%s", notes.warnings[i]);
	config_notes_free(&notes);
	if (rc < 0)
		return -1;
	if (c->has_dyn)
		dynconfig_free(&c->dyn);
	c->dyn = fresh;
	c->has_dyn = true;
	return 0;
}

static void
look_at_file(void *ctx)
{
	struct cluster *c = ctx;
	struct err e;

	loop_timer_set(c->o.loop, &c->look, FILE_LOOK_MS, look_at_file, c);
	if (!file_changed(c))
		return;
	if (load_file(c, &e) < 0) {
		log_error("dynamic configuration stays as it was: %s", e.text);
		return;
	}
	log_info("dynamic configuration was read again file=\"%s\"", c->dynconfig_path);
	list_file(c);
}


/* ---- the manager ---- */

/* "ip:port" of an entry that can be used, or NULL. */
static char *
address_of(const struct manager_scheduler *s)
{
	bool is_v6 = slice_find(s->ip, ':') >= 0;

	if (s->port <= 0 || s->port > 65535 || s->ip.n == 0 || s->ip.n > 255 || slice_find(s->ip, '\0') >= 0)
		return NULL;
	return xasprintf(is_v6 ? "[%.*s]:%d" : "%.*s:%d", (int)s->ip.n, (const char *)s->ip.p, (int)s->port);
}

/* What the manager said before stays when it now says nothing that can be used. */
static void
on_manager_list(void *ctx, const struct manager_list_schedulers_response *list)
{
	struct cluster *c = ctx;
	size_t n = list->n_schedulers < RING_NODES_MAX ? list->n_schedulers : RING_NODES_MAX;
	char *texts[RING_NODES_MAX];
	size_t good = 0;

	for (size_t i = 0; i < n; i++) {
		texts[i] = address_of(&list->schedulers[i]);
		if (texts[i] == NULL)
			log_warn("the manager lists a scheduler without a usable address id=%llu", (unsigned long long)list->schedulers[i].id);
		else
			good++;
	}
	if (n < list->n_schedulers)
		log_warn("the manager lists more schedulers than are taken schedulers=%zu taken=%zu", list->n_schedulers, n);
	if (good > 0) {
		cluster_rules_keep(c, list);
		list_begin(c, n + own_count(c));
		for (size_t i = 0; i < n; i++) {
			const struct manager_scheduler *s = &list->schedulers[i];
			struct scheduler_entry entry = {.id = s->id, .cluster_id = s->scheduler_cluster_id, .rank = i};

			if (texts[i] == NULL)
				continue;
			entry.hostname = xstrndup(s->hostname.n > 0 ? (const char *)s->hostname.p : "", s->hostname.n);
			list_one(c, texts[i], &entry);
			free(entry.hostname);
		}
		list_own(c, n);
		list_end(c);
	}
	for (size_t i = 0; i < n; i++)
		free(texts[i]);
}

static void
on_manager_none(void *ctx)
{
	cluster_choose(ctx);
}

/* ---- life ---- */

int
cluster_list_load(struct cluster *c, struct err *e)
{
	const struct config *config = c->o.config;

	if (config->manager.addr != NULL) {
		c->manager = manager_new(&(struct manager_options){
			.loop = c->o.loop, .config = config, .dns = c->dns, .tls = c->o.manager_tls, .host = &c->o.host,
			.on_list = on_manager_list, .on_none = on_manager_none, .ctx = c}, e);
		return c->manager != NULL ? 0 : -1;
	}
	if (c->dynconfig_path == NULL)
		return 0;
	file_changed(c);
	return load_file(c, e);
}

void
cluster_list_start(struct cluster *c)
{
	if (c->manager == NULL) {
		list_file(c);
		if (c->dynconfig_path != NULL)
			loop_timer_set(c->o.loop, &c->look, FILE_LOOK_MS, look_at_file, c);
		return;
	}
	if (c->own != NULL || c->o.config->x.scheduler.peers.count > 0) {
		list_begin(c, own_count(c));
		list_own(c, 0);
		list_end(c);
	}
	manager_start(c->manager);
}

void
cluster_list_stop(struct cluster *c)
{
	cancel_lookups(c);
	loop_timer_clear(c->o.loop, &c->look);
}
