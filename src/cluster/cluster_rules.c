/* Block lists: those of dynconfig.yaml, or those of the chosen cluster from the manager (spec: manager.md A10, A11). */
#include "cluster/cluster_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "proto/common.h"
#include "proto/manager.h"
#include "text/url.h"

/* Bytes of an application or a tag in a log line. */
#define SHOWN_MAX 60

/* ---- from the manager ---- */

static void
forget(struct cluster *c)
{
	for (size_t i = 0; i < c->json_count; i++)
		free(c->jsons[i].text);
	free(c->jsons);
	c->jsons = NULL;
	c->json_count = 0;
}

void
cluster_rules_keep(struct cluster *c, const struct manager_list_schedulers_response *list)
{
	size_t n = list->n_schedulers < RING_NODES_MAX ? list->n_schedulers : RING_NODES_MAX;

	forget(c);
	c->jsons = xcalloc(n + 1, sizeof *c->jsons);
	for (size_t i = 0; i < n; i++) {
		const struct manager_scheduler_cluster *of = list->schedulers[i].scheduler_cluster;
		uint64_t id = list->schedulers[i].scheduler_cluster_id;
		bool is_known = false;
		struct slice json;

		for (size_t k = 0; k < c->json_count; k++)
			is_known = is_known || c->jsons[k].id == id;
		if (is_known || of == NULL)
			continue;
		json = c->o.host.is_seed ? of->seed_client_config : of->client_config;
		c->jsons[c->json_count++] = (struct cluster_json){
			.id = id, .text = xstrndup(json.n > 0 ? (const char *)json.p : "", json.n), .len = json.n};
	}
}

void
cluster_rules_apply(struct cluster *c)
{
	struct config_notes notes = CONFIG_NOTES_INIT;
	struct cluster_json *found = NULL;
	struct client_config fresh;
	struct err e;

	for (size_t i = 0; i < c->json_count; i++)
		if (c->jsons[i].id == c->chosen)
			found = &c->jsons[i];
	if (found == NULL || (c->applied.text != NULL && c->applied.id == found->id && c->applied.len == found->len &&
	    memcmp(c->applied.text, found->text, found->len) == 0))
		return;
	free(c->applied.text);
	c->applied = (struct cluster_json){.id = found->id, .text = xstrndup(found->text, found->len), .len = found->len};
	if (client_config_load_json(slice_make(found->text, found->len), "client_config of the manager", &fresh, &notes, &e) < 0) {
		log_error("block lists stay as they were: %s", e.text);
	} else {
		if (c->has_rules)
			client_config_free(&c->rules);
		c->rules = fresh;
		c->has_rules = true;
		log_info("block lists of the manager are in use cluster=%llu", (unsigned long long)c->chosen);
	}
	for (size_t i = 0; i < notes.warning_count; i++)
		log_warn("%s", notes.warnings[i]);
	config_notes_free(&notes);
}

void
cluster_rules_free(struct cluster *c)
{
	forget(c);
	free(c->applied.text);
	if (c->has_rules)
		client_config_free(&c->rules);
}

/* ---- asking ---- */

static const struct client_config *
current(const struct cluster *c)
{
	if (c->manager != NULL)
		return c->has_rules ? &c->rules : NULL;
	if (!c->has_dyn)
		return NULL;
	return c->o.host.is_seed ? &c->dyn.seed : &c->dyn.client;
}

static void
log_rejected(const char *what, const char *why, struct slice url, struct slice application, struct slice tag)
{
	char text[URL_REDACTED_MAX];

	log_info("%s rejected by blocklist policy because of its %s url=\"%s\" application=\"%.*s\" tag=\"%.*s\"", what, why, url_redact_text(url, text),
	    SLICE_ARG(slice_sub(application, 0, SHOWN_MAX)), SLICE_ARG(slice_sub(tag, 0, SHOWN_MAX)));
}

int
cluster_check_download(struct cluster *c, const struct common_download *d, struct err *e)
{
	const struct client_config *rules = current(c);
	struct block_query q = {
		.url = d->url, .application = d->application, .tag = d->tag, .has_priority = true, .priority = d->priority,
	};
	const char *why;

	if (rules == NULL)
		return 0;
	why = block_list_match(&rules->task_download, &q);
	if (why == NULL)
		return 0;
	log_rejected("download", why, d->url, d->application, d->tag);
	return err_set(e, ERR_PERMISSION_DENIED, "download rejected by blocklist policy");
}

int
cluster_check_persistent(struct cluster *c, bool is_cache, bool is_upload, struct slice url, struct slice application, struct slice tag,
    struct err *e)
{
	const struct client_config *rules = current(c);
	const struct block_list *lists[2][2] = {{NULL}};
	struct block_query q = {.url = url, .application = application, .tag = tag};
	const char *why;

	if (rules == NULL)
		return 0;
	lists[false][false] = &rules->persistent_task_download;
	lists[false][true] = &rules->persistent_task_upload;
	lists[true][false] = &rules->persistent_cache_task_download;
	lists[true][true] = &rules->persistent_cache_task_upload;
	why = block_list_match(lists[is_cache][is_upload], &q);
	if (why == NULL)
		return 0;
	log_rejected(is_upload ? "upload" : "download", why, url, application, tag);
	return err_set(e, ERR_PERMISSION_DENIED, is_upload ? "upload rejected by blocklist policy" :
	    is_cache ? "download blocked by block list" : "download rejected by blocklist policy");
}
