#include "config/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/mem.h"
#include "config/check.h"
#include "config/keys.h"
#include "config/local_addr.h"
#include "config/file.h"
#include "config/paths.h"
#include "text/regex.h"
#include "text/yaml.h"

/* All text and lists of one configuration, and its tree while it is read: a file of CONFIG_FILE_MAX fits, aliases included. */
#define MEMORY_MAX ((size_t)64 * 1024 * 1024)
/* The smallest connection buffer that works: a request head must fit. */
#define PROXY_BUFFER_MIN 8192
#define HOSTNAME_MAX 256

static const char *
keep_path(struct config *c, enum paths_kind kind)
{
	char *path = paths_default(kind);
	const char *kept = arena_strdup(&c->arena, path);

	free(path);
	return kept;
}

static void
set_defaults(struct schema_walk *w, struct config *c)
{
	schema_set_defaults(w, &keys_root, c);
	c->server.adaptive_rate_limit.is_on = true;
	c->server.plugin_dir = keep_path(c, PATHS_PLUGINS);
	c->server.cache_dir = keep_path(c, PATHS_CACHE);
	c->download.server.socket_path = keep_path(c, PATHS_SOCKET);
	c->storage.dir = keep_path(c, PATHS_STORAGE);
}

/* What follows from other keys. */
static void
set_derived(struct config *c)
{
	const char *any = c->network.enable_ipv6 ? "::" : "0.0.0.0";
	const char **ips[] = {&c->upload.server.ip, &c->storage.server.ip, &c->proxy.server.ip, &c->health.ip, &c->metrics.ip};

	for (size_t i = 0; i < COUNT_OF(ips); i++)
		if (*ips[i] == NULL)
			*ips[i] = any;
	/* It shows the inside of the process: not to the network unless asked. */
	if (c->stats.ip == NULL)
		c->stats.ip = c->network.enable_ipv6 ? "::1" : "127.0.0.1";
	if (c->proxy.read_buffer_bytes < PROXY_BUFFER_MIN)
		c->proxy.read_buffer_bytes = PROXY_BUFFER_MIN;
}

/* Maps the tree of a file, or of one option, onto c. *has_seed_type keeps whether any of them named the type of seed. */
static void
apply_tree(struct schema_walk *w, const struct yaml_node *root, struct config *c, bool *has_seed_type)
{
	const struct yaml_node *seed;
	const struct yaml_node *type;

	if (root->style == YAML_EMPTY)
		return;
	if (root->kind == YAML_SCALAR && root->style == YAML_PLAIN && memchr(root->text, ':', root->len) != NULL) {
		schema_error(w, root, "expected a mapping: missing blank after \":\"");
		return;
	}
	if (schema_apply_mapping(w, &keys_root, root, c) < 0)
		return;
	seed = yaml_get(root, "seedPeer");
	if (seed == NULL || seed->kind != YAML_MAPPING)
		return;
	/* A section without a type makes a super seed. */
	type = yaml_get(seed, "type");
	*has_seed_type |= type && type->type != YAML_NULL;
	if (!*has_seed_type)
		c->seed_peer.type = CONFIG_SEED_SUPER;
}

/* ---- options of the form KEY.PATH=VALUE ---- */

static const struct yaml_node *
nest(struct arena *a, struct slice path, struct yaml_node *value)
{
	struct yaml_node *key = arena_alloc(a, sizeof(*key));
	struct yaml_node *map = arena_alloc(a, sizeof(*map));
	ptrdiff_t dot = slice_find(path, '.');
	struct slice name = dot < 0 ? path : slice_sub(path, 0, (size_t)dot);

	if (key == NULL || map == NULL)
		return NULL;
	*key = (struct yaml_node){.kind = YAML_SCALAR, .style = YAML_PLAIN, .type = YAML_STR, .text = arena_copy(a, name.p, name.n), .len = name.n};
	*map = (struct yaml_node){.kind = YAML_MAPPING, .style = YAML_FLOW, .count = 1, .weight = 1, .height = 1};
	if (dot >= 0) {
		const struct yaml_node *inner = nest(a, slice_sub(path, (size_t)dot + 1, path.n), value);

		if (inner == NULL)
			return NULL;
		value = arena_alloc(a, sizeof(*value));
		if (value == NULL)
			return NULL;
		*value = *inner;
	}
	if (key->text == NULL)
		return NULL;
	value->key = key;
	map->first = value;
	return map;
}

/* Longest path of a key, in names. */
#define PATH_DEPTH_MAX 8

static void
apply_set(struct schema_walk *w, const char *option, struct arena *tree, struct config *c, bool *has_seed_type)
{
	const char *equals = strchr(option, '=');
	struct yaml_node *value;
	const struct yaml_node *root;
	struct err e = {0};
	size_t dots = 0;

	for (const char *it = option; equals && it < equals; it++)
		dots += *it == '.';
	if (equals == NULL || equals == option || dots >= PATH_DEPTH_MAX) {
		schema_error(w, NULL, "expected KEY.PATH=VALUE");
		return;
	}
	value = yaml_parse(equals + 1, strlen(equals + 1), tree, &e);
	if (value == NULL) {
		schema_error(w, NULL, "%.*s: %s", (int)(equals - option < 200 ? equals - option : 200), option, e.text);
		return;
	}
	root = nest(tree, slice_make(option, (size_t)(equals - option)), value);
	if (root == NULL)
		schema_error(w, NULL, "value too large");
	else
		apply_tree(w, root, c, has_seed_type);
}

/* ---- loading ---- */

void
config_defaults(struct config *out)
{
	struct config_notes notes = CONFIG_NOTES_INIT;
	struct schema_walk w = {.file = "defaults", .root = &keys_root, .notes = &notes, .arena = &out->arena};

	*out = (struct config){0};
	arena_init(&out->arena, MEMORY_MAX);
	set_defaults(&w, out);
	set_derived(out);
	buf_free(&w.path);
	config_notes_free(&notes);
}

static int
load(const char *text, size_t len, const char *name, const struct config_options *options, struct config *out,
	struct config_notes *notes, struct err *e)
{
	static const struct config_options none = {0};
	struct config_notes own = CONFIG_NOTES_INIT;
	struct schema_walk w = {.file = name, .has_places = true, .root = &keys_root, .notes = notes ? notes : &own, .arena = &out->arena};
	struct arena tree;
	struct yaml_node *root;
	struct err syntax = {0};
	struct config usual;
	bool has_seed_type = false;
	int result = 0;

	if (options == NULL)
		options = &none;
	config_notes_free(w.notes);
	*out = (struct config){0};
	arena_init(&out->arena, MEMORY_MAX);
	arena_init(&tree, MEMORY_MAX);
	set_defaults(&w, out);
	usual = *out;
	w.is_strict = options->is_strict;
	root = yaml_parse(text, len, &tree, &syntax);
	if (root == NULL) {
		notes_add_error(w.notes, xasprintf("%s:%s", name, syntax.text));
		goto done;
	}
	apply_tree(&w, root, out, &has_seed_type);
	w.file = "--set";
	w.has_places = false;
	w.is_strict = true;
	for (size_t i = 0; i < options->set_count; i++)
		apply_set(&w, options->sets[i], &tree, out, &has_seed_type);
	w.file = name;
	w.has_places = true;
	if (w.notes->error_count > 0)
		goto done;
	set_derived(out);
	check_config(&w, root, out, &usual, options->allow_ephemeral_ports);
done:
	if (w.notes->error_count > 0) {
		result = notes_to_err(w.notes, e);
		config_free(out);
	}
	arena_free(&tree);
	buf_free(&w.path);
	config_notes_free(&own);
	return result;
}

int
config_load_file_with(const char *path, const struct config_options *options, struct config *out, struct config_notes *notes,
	struct err *e)
{
	size_t len = 0;
	char *text;
	int result;

	*out = (struct config){0};
	if (path == NULL)
		return load("", 0, "defaults", options, out, notes, e);
	text = file_read(path, &len, e);
	if (text == NULL)
		return -1;
	result = load(text, len, path, options, out, notes, e);
	free(text);
	return result;
}

int
config_load_text_with(const char *text, size_t len, const char *name, const struct config_options *options, struct config *out,
	struct config_notes *notes, struct err *e)
{
	return load(text, len, name, options, out, notes, e);
}

int
config_load_file(const char *path, struct config *out, struct config_notes *notes, struct err *e)
{
	return config_load_file_with(path, NULL, out, notes, e);
}

int
config_load_text(const char *text, size_t len, const char *name, struct config *out, struct config_notes *notes, struct err *e)
{
	return load(text, len, name, NULL, out, notes, e);
}

int
config_derive_host(struct config *c, struct err *e)
{
	char name[HOSTNAME_MAX];
	char ip[LOCAL_ADDR_MAX];

	if (c->host.hostname == NULL) {
		if (gethostname(name, sizeof(name)) < 0)
			return err_sys(e, errno, "host name of the system; set host.hostname");
		name[sizeof(name) - 1] = '\0';
		c->host.hostname = arena_strdup(&c->arena, name);
	}
	if (c->host.ip == NULL) {
		if (c->network.enable_ipv6 ? local_addr_find(AF_INET6, ip) == 0
		    : local_addr_find(AF_INET, ip) == 0 || local_addr_find(AF_INET6, ip) == 0)
			c->host.ip = arena_strdup(&c->arena, ip);
		else if (c->x.scheduler.enable && c->manager.addr == NULL)
			c->host.ip = c->network.enable_ipv6 ? "::1" : "127.0.0.1";
		else
			return err_set(e, ERR_FAILED_PRECONDITION, "cannot determine the local IP address; set host.ip");
	}
	if (c->host.hostname == NULL || c->host.ip == NULL)
		return err_set(e, ERR_RESOURCE_EXHAUSTED, "out of memory");
	return 0;
}

void
config_free(struct config *c)
{
	for (size_t i = 0; i < c->proxy.rule_count; i++)
		regex_free(c->proxy.rules[i].regex);
	arena_free(&c->arena);
	*c = (struct config){0};
}
