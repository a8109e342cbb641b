#include "config/dynconfig.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/mem.h"
#include "config/file.h"
#include "config/keys.h"
#include "config/schema.h"
#include "text/regex.h"
#include "text/yaml.h"

/* Text, lists and tree of one file of CONFIG_FILE_MAX. */
#define MEMORY_MAX ((size_t)64 * 1024 * 1024)

/* ---- block lists ---- */

static int
check_count(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, size_t max)
{
	if (node->kind != YAML_SEQUENCE && node->style != YAML_EMPTY)
		return schema_wrong_type(w, key, node, "a sequence");
	if (node->count > max)
		return schema_error(w, node, "more than %zu entries", max);
	return 0;
}

static int
apply_names(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *at)
{
	return check_count(w, key, node, DYNCONFIG_LIST_MAX) < 0 ? -1 : schema_apply_texts(w, key, node, at);
}

static void
add_url(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, struct block_list *list)
{
	const char *text = schema_text(w, key, node);
	struct regex *regex;
	struct err e = {0};

	if (text == NULL)
		return;
	regex = regex_compile(text, strlen(text), &e);
	if (regex)
		list->urls[list->url_count++] = regex;
	else if (w->skips_patterns)
		schema_warn(w, node, "bad regex \"%.60s\" left out: %s", text, e.text);
	else
		schema_error(w, node, "bad regex \"%.60s\": %s", text, e.text);
}

static int
apply_urls(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *at)
{
	struct block_list *list = (struct block_list *)(void *)((char *)at - offsetof(struct block_list, urls));
	size_t i = 0;

	if (check_count(w, key, node, DYNCONFIG_PATTERNS_MAX) < 0)
		return -1;
	list->urls = arena_alloc(w->arena, (node->count + 1) * sizeof(*list->urls));
	if (list->urls == NULL)
		return schema_error(w, node, "document too large");
	for (const struct yaml_node *it = node->first; it; it = it->next, i++) {
		size_t mark = schema_enter_item(w, i);

		add_url(w, key, it, list);
		schema_leave(w, mark);
	}
	return 0;
}

static int
apply_priorities(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *at)
{
	struct block_list *list = (struct block_list *)(void *)((char *)at - offsetof(struct block_list, priorities));

	if (check_count(w, key, node, DYNCONFIG_LIST_MAX) < 0)
		return -1;
	list->priorities = arena_alloc(w->arena, (node->count + 1) * sizeof(*list->priorities));
	if (list->priorities == NULL)
		return schema_error(w, node, "document too large");
	for (const struct yaml_node *it = node->first; it; it = it->next) {
		size_t mark = schema_enter_item(w, list->priority_count);

		if (schema_i32(w, key, it, &list->priorities[list->priority_count]) == 0)
			list->priority_count++;
		schema_leave(w, mark);
	}
	return 0;
}

/* For keys that other programs read in the same document. */
static int
apply_nothing(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *at)
{
	(void)w;
	(void)key;
	(void)node;
	(void)at;
	return 0;
}

/* Relative to struct client_config. */
#define CUSTOM(name_, apply_, field) {.name = (name_), .type = SCHEMA_CUSTOM, .offset = offsetof(struct client_config, field), .apply = (apply_)}
#define SECTION(name_, alias_, table_) {.name = (name_), .type = SCHEMA_SECTION, .table = &(table_), .alias = (alias_)}
#define UPLOAD(field) \
	CUSTOM("applications", apply_names, field.applications), CUSTOM("urls", apply_urls, field.urls), CUSTOM("tags", apply_names, field.tags)
#define DOWNLOAD(field) UPLOAD(field), CUSTOM("priorities", apply_priorities, field.priorities)

static const struct schema_key task_download_keys[] = {DOWNLOAD(task_download)};
static const struct schema task_download = SCHEMA(task_download_keys);
static const struct schema_key task_keys[] = {SECTION("download", NULL, task_download)};
static const struct schema task = SCHEMA(task_keys);

static const struct schema_key persistent_download_keys[] = {DOWNLOAD(persistent_task_download)};
static const struct schema persistent_download = SCHEMA(persistent_download_keys);
static const struct schema_key persistent_upload_keys[] = {UPLOAD(persistent_task_upload)};
static const struct schema persistent_upload = SCHEMA(persistent_upload_keys);
static const struct schema_key persistent_keys[] = {
	SECTION("download", NULL, persistent_download),
	SECTION("upload", NULL, persistent_upload),
};
static const struct schema persistent = SCHEMA(persistent_keys);

static const struct schema_key cache_download_keys[] = {DOWNLOAD(persistent_cache_task_download)};
static const struct schema cache_download = SCHEMA(cache_download_keys);
static const struct schema_key cache_upload_keys[] = {UPLOAD(persistent_cache_task_upload)};
static const struct schema cache_upload = SCHEMA(cache_upload_keys);
static const struct schema_key cache_keys[] = {
	SECTION("download", NULL, cache_download),
	SECTION("upload", NULL, cache_upload),
};
static const struct schema cache = SCHEMA(cache_keys);

static const struct schema_key block_list_keys[] = {
	SECTION("task", NULL, task),
	SECTION("persistentTask", "persistent_task", persistent),
	SECTION("persistentCacheTask", "persistent_cache_task", cache),
};
static const struct schema block_list = SCHEMA(block_list_keys);

static const struct schema_key client_keys[] = {
	SECTION("blockList", "block_list", block_list),
	{.name = "loadLimit", .type = SCHEMA_CUSTOM, .alias = "load_limit", .apply = apply_nothing},
};
static const struct schema client_schema = SCHEMA(client_keys);

static void
free_list(struct block_list *l)
{
	for (size_t i = 0; i < l->url_count; i++)
		regex_free(l->urls[i]);
}

void
client_config_free(struct client_config *c)
{
	free_list(&c->task_download);
	free_list(&c->persistent_task_download);
	free_list(&c->persistent_task_upload);
	free_list(&c->persistent_cache_task_download);
	free_list(&c->persistent_cache_task_upload);
	arena_free(&c->arena);
	*c = (struct client_config){0};
}

/* ---- the file ---- */

static int
apply_client(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *at)
{
	(void)key;
	return schema_apply_mapping(w, &client_schema, node, at);
}

/* "host:port": the port is needed. */
static bool
is_host_port(const char *s)
{
	const char *colon = strrchr(s, ':');

	return colon && colon[1] != '\0' && strchr(colon, ']') == NULL && keys_is_authority(s, strlen(s));
}

static int
apply_addr(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *at)
{
	const char *text = schema_text(w, key, node);

	if (text == NULL)
		return -1;
	if (*text != '\0' && strcmp(text, DYNCONFIG_EMBEDDED) != 0 && !is_host_port(text))
		return schema_error(w, node, "expected host:port or \"" DYNCONFIG_EMBEDDED "\", found \"%.60s\"", text);
	*(const char **)at = text;
	return 0;
}

struct sort_addr {
	const char *text;
	int rank;                       /* IPv4, IPv6, name */
	unsigned char ip[16];
	size_t ip_len;
	unsigned long port;
};

static struct sort_addr
take_apart(const char *text)
{
	struct sort_addr a = {.text = text, .rank = 2};
	const char *colon = strrchr(text, ':');
	bool has_brackets = text[0] == '[';
	size_t len = (size_t)(colon - text) - (has_brackets ? 2 : 0);
	char host[INET6_ADDRSTRLEN];

	a.port = strtoul(colon + 1, NULL, 10);
	if (len >= sizeof(host))
		return a;
	memcpy(host, text + has_brackets, len);
	host[len] = '\0';
	if (!has_brackets && inet_pton(AF_INET, host, a.ip) == 1) {
		a.rank = 0;
		a.ip_len = 4;
	} else if (has_brackets && inet_pton(AF_INET6, host, a.ip) == 1) {
		a.rank = 1;
		a.ip_len = 16;
	}
	return a;
}

static int
compare(const void *x, const void *y)
{
	const struct sort_addr *a = x;
	const struct sort_addr *b = y;
	int ip = memcmp(a->ip, b->ip, a->ip_len);

	if (a->rank != b->rank)
		return a->rank - b->rank;
	if (a->rank == 2)
		return strcmp(a->text, b->text);
	return ip != 0 ? ip : a->port < b->port ? -1 : a->port > b->port;
}

static int
apply_addrs(struct schema_walk *w, const struct schema_key *key, const struct yaml_node *node, void *at)
{
	struct config_strings list;
	struct sort_addr *sorted;
	const char **items;
	size_t kept = 0;
	size_t i = 0;
	int result = 0;

	if (check_count(w, key, node, DYNCONFIG_ADDRS_MAX) < 0 || schema_apply_texts(w, key, node, &list) < 0)
		return -1;
	for (const struct yaml_node *it = node->first; it; it = it->next, i++)
		if (!is_host_port(list.items[i]))
			result = schema_error(w, it, "expected host:port, found \"%.60s\"", list.items[i]);
	if (result < 0)
		return -1;
	sorted = arena_alloc(w->arena, (list.count + 1) * sizeof(*sorted));
	items = arena_alloc(w->arena, (list.count + 1) * sizeof(*items));
	if (sorted == NULL || items == NULL)
		return schema_error(w, node, "document too large");
	for (i = 0; i < list.count; i++)
		sorted[i] = take_apart(list.items[i]);
	qsort(sorted, list.count, sizeof(*sorted), compare);
	for (i = 0; i < list.count; i++)
		if (i == 0 || compare(&sorted[i - 1], &sorted[i]) != 0)
			items[kept++] = sorted[i].text;
	*(struct config_strings *)at = (struct config_strings){items, kept};
	return 0;
}

#define AT(field) offsetof(struct dynconfig, field)
#define OTHER_PROGRAM "this looks like the dynconfig of a scheduler; name another file with --dynconfig"

static const struct schema_key scheduler_keys[] = {
	{.name = "addr", .type = SCHEMA_CUSTOM, .offset = AT(scheduler_addr), .apply = apply_addr},
	{.name = "addrs", .type = SCHEMA_CUSTOM, .offset = AT(scheduler_addrs), .apply = apply_addrs},
};
static const struct schema scheduler = SCHEMA(scheduler_keys);

static const struct schema_key root_keys[] = {
	SECTION("scheduler", NULL, scheduler),
	{.name = "clientConfig", .type = SCHEMA_CUSTOM, .offset = AT(client), .apply = apply_client, .table = &client_schema},
	{.name = "seedClientConfig", .type = SCHEMA_CUSTOM, .offset = AT(seed), .apply = apply_client, .table = &client_schema},
};
static const struct schema_old root_old[] = {
	{"applications", OTHER_PROGRAM},
	{"seedPeerClusterConfig", OTHER_PROGRAM},
	{"schedulerClusterConfig", OTHER_PROGRAM},
	{"schedulerClusterClientConfig", OTHER_PROGRAM},
};
static const struct schema root_schema = SCHEMA_WITH_OLD(root_keys, root_old);

/* Settles which schedulers are meant. */
static void
choose_scheduler(struct schema_walk *w, const struct yaml_node *root, bool has_embedded, struct dynconfig *d)
{
	size_t mark = schema_enter(w, "scheduler.addr");

	if (d->scheduler_addr == NULL) {
		d->is_embedded = has_embedded && d->scheduler_addrs.count == 0;
		d->scheduler_addr = d->is_embedded ? DYNCONFIG_EMBEDDED : DYNCONFIG_DEFAULT_ADDR;
	} else if (d->scheduler_addrs.count == 0) {
		d->is_embedded = strcmp(d->scheduler_addr, DYNCONFIG_EMBEDDED) == 0;
		if (*d->scheduler_addr == '\0')
			schema_error(w, root, "must not be empty without scheduler.addrs");
		if (d->is_embedded && !has_embedded)
			schema_error(w, root, "there is no embedded scheduler: x.scheduler.enable is not set in dfdaemon.yaml");
	}
	schema_leave(w, mark);
}

/* Parses text and maps it onto base by table s. -1 with e set on a syntax error; other errors are in w->notes. */
static int
apply_document(struct schema_walk *w, const struct schema *s, const char *text, size_t len, struct arena *tree, void *base)
{
	struct err syntax = {0};
	struct yaml_node *root = yaml_parse(text, len, tree, &syntax);

	if (root == NULL) {
		notes_add_error(w->notes, xasprintf("%s:%s", w->file, syntax.text));
		return -1;
	}
	if (root->style == YAML_EMPTY || root->type == YAML_NULL)
		return 0;
	return schema_apply_mapping(w, s, root, base);
}

int
dynconfig_load_text(const char *text, size_t len, const char *name, bool has_embedded, struct dynconfig *out,
	struct config_notes *notes, struct err *e)
{
	struct config_notes own = CONFIG_NOTES_INIT;
	struct schema_walk w = {.file = name, .has_places = true, .root = &root_schema, .notes = notes ? notes : &own, .arena = &out->arena};
	struct arena tree;
	int result = 0;

	config_notes_free(w.notes);
	*out = (struct dynconfig){0};
	arena_init(&out->arena, MEMORY_MAX);
	arena_init(&tree, MEMORY_MAX);
	if (apply_document(&w, &root_schema, text, len, &tree, out) == 0)
		choose_scheduler(&w, NULL, has_embedded, out);
	if (w.notes->error_count > 0) {
		result = notes_to_err(w.notes, e);
		dynconfig_free(out);
	}
	arena_free(&tree);
	buf_free(&w.path);
	config_notes_free(&own);
	return result;
}

int
dynconfig_load_file(const char *path, bool has_embedded, struct dynconfig *out, struct config_notes *notes, struct err *e)
{
	struct err local = {0};
	size_t len = 0;
	char *text;
	int result;

	*out = (struct dynconfig){0};
	text = file_read(path, &len, &local);
	if (text == NULL && local.code != ERR_NOT_FOUND)
		return err_set(e, local.code, "%s", local.text);
	result = dynconfig_load_text(text ? text : "", len, path, has_embedded, out, notes, e);
	if (text == NULL && notes)
		notes_add_warning(notes, xasprintf("%s: not there, defaults are used", path));
	free(text);
	return result;
}

void
dynconfig_free(struct dynconfig *d)
{
	client_config_free(&d->client);
	client_config_free(&d->seed);
	arena_free(&d->arena);
	*d = (struct dynconfig){0};
}

int
client_config_load_json(struct slice json, const char *name, struct client_config *out, struct config_notes *notes, struct err *e)
{
	struct config_notes own = CONFIG_NOTES_INIT;
	struct schema_walk w = {
		.file = name, .has_places = true, .root = &client_schema, .notes = notes ? notes : &own, .arena = &out->arena, .skips_patterns = true,
	};
	struct arena tree;
	int result = 0;

	config_notes_free(w.notes);
	*out = (struct client_config){0};
	arena_init(&out->arena, MEMORY_MAX);
	arena_init(&tree, MEMORY_MAX);
	apply_document(&w, &client_schema, json.n > 0 ? (const char *)json.p : "", json.n, &tree, out);
	if (w.notes->error_count > 0) {
		result = notes_to_err(w.notes, e);
		client_config_free(out);
	}
	arena_free(&tree);
	buf_free(&w.path);
	config_notes_free(&own);
	return result;
}

/* ---- matching ---- */

static bool
is_listed(const struct config_strings *list, struct slice s)
{
	for (size_t i = 0; s.p && i < list->count; i++)
		if (slice_eq_str(s, list->items[i]))
			return true;
	return false;
}

const char *
block_list_match(const struct block_list *l, const struct block_query *q)
{
	if (is_listed(&l->applications, q->application))
		return "application";
	if (is_listed(&l->tags, q->tag))
		return "tag";
	for (size_t i = 0; q->has_priority && i < l->priority_count; i++)
		if (l->priorities[i] == q->priority)
			return "priority";
	for (size_t i = 0; q->url.p && i < l->url_count; i++)
		if (regex_search(l->urls[i], (const char *)q->url.p, q->url.n))
			return "url";
	return NULL;
}
