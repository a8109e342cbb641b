/*
 * dfinit.yaml (spec: proxy.md 19.2).
 */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/dfinit.h"
#include "config/file.h"
#include "text/url.h"
#include "text/yaml.h"

#define DOCKER_HUB "docker.io"
/* Task ids of peers and preheats are made from this name of it. */
#define DOCKER_HUB_SERVER "https://index.docker.io"

static const char *const default_capabilities[] = {"pull", "resolve"};
static const char *const default_unqualified[] = {"registry.fedoraproject.org", "registry.access.redhat.com", "docker.io"};

struct reading {
	const char *path;
	struct arena *arena;
	struct err *e;
};

/* ---- values ---- */

static int
bad(struct reading *r, const struct yaml_node *n, const char *key, const char *what)
{
	return err_set(r->e, ERR_INVALID_ARGUMENT, "%s:%u:%u: %s %s", r->path, n->line, n->column, key, what);
}

static bool
is_null(const struct yaml_node *n)
{
	return n == NULL || (n->kind == YAML_SCALAR && (n->style == YAML_EMPTY || (n->style == YAML_PLAIN && n->type == YAML_NULL)));
}

static void *
take(struct reading *r, size_t n)
{
	void *p = arena_alloc(r->arena, n > 0 ? n : 1);

	if (p == NULL)
		err_set(r->e, ERR_RESOURCE_EXHAUSTED, "%s: too large", r->path);
	return p;
}

static int
read_text(struct reading *r, const struct yaml_node *map, const char *key, const char **out)
{
	const struct yaml_node *n = yaml_get(map, key);

	if (is_null(n))
		return 0;
	if (n->kind != YAML_SCALAR || strlen(n->text) != n->len)
		return bad(r, n, key, "must be a text");
	*out = n->text;
	return 0;
}

static int
read_path(struct reading *r, const struct yaml_node *map, const char *key, const char **out)
{
	if (read_text(r, map, key, out) != 0)
		return -1;
	if ((*out)[0] != '/')
		return bad(r, yaml_get(map, key), key, "must be an absolute path");
	return 0;
}

static int
read_bool(struct reading *r, const struct yaml_node *map, const char *key, bool *out)
{
	const struct yaml_node *n = yaml_get(map, key);

	if (is_null(n))
		return 0;
	if (n->kind != YAML_SCALAR || n->style != YAML_PLAIN || n->type != YAML_BOOL)
		return bad(r, n, key, "must be true or false");
	*out = n->text[0] == 't' || n->text[0] == 'T';
	return 0;
}

/* Stays as it is when the key is not there. */
static int
read_texts(struct reading *r, const struct yaml_node *map, const char *key, const char *const **items, size_t *count)
{
	const struct yaml_node *n = yaml_get(map, key);
	const char **list;
	size_t i = 0;

	if (is_null(n))
		return 0;
	if (n->kind != YAML_SEQUENCE)
		return bad(r, n, key, "must be a list");
	list = take(r, n->count * sizeof(*list));
	if (list == NULL)
		return -1;
	for (const struct yaml_node *it = n->first; it != NULL; it = it->next) {
		if (it->kind != YAML_SCALAR || is_null(it) || strlen(it->text) != it->len)
			return bad(r, it, key, "must be a list of texts");
		list[i++] = it->text;
	}
	*items = list;
	*count = n->count;
	return 0;
}

static void
warn_of_unknown(struct reading *r, const struct yaml_node *map, const char *const *known, const char *section)
{
	for (const struct yaml_node *it = map->first; it != NULL; it = it->next) {
		const char *const *k = known;

		while (*k != NULL && strcmp(*k, it->key->text) != 0)
			k++;
		if (*k == NULL)
			log_warn("unknown key of dfinit's configuration file=%s line=%u key=%s%s", r->path, it->key->line, section, it->key->text);
	}
}

/* A section, NULL when it is not there. -1 when it is something else than a map. */
static int
read_section(struct reading *r, const struct yaml_node *map, const char *key, const struct yaml_node **out)
{
	*out = yaml_get(map, key);
	if (is_null(*out))
		*out = NULL;
	else if ((*out)->kind != YAML_MAPPING)
		return bad(r, *out, key, "must be a map");
	return 0;
}

/* Its items are maps. -1 also past the limit. */
static int
read_registries(struct reading *r, const struct yaml_node *map, const struct yaml_node **out)
{
	*out = yaml_get(map, "registries");
	if (is_null(*out)) {
		*out = NULL;
		return 0;
	}
	if ((*out)->kind != YAML_SEQUENCE)
		return bad(r, *out, "registries", "must be a list");
	if ((*out)->count > DFINIT_REGISTRIES_MAX)
		return bad(r, *out, "registries", "has too many items");
	for (const struct yaml_node *it = (*out)->first; it != NULL; it = it->next)
		if (it->kind != YAML_MAPPING)
			return bad(r, it, "registries", "must be a list of maps");
	return 0;
}

/* ---- the proxy ---- */

static bool
is_web_address(const char *text)
{
	struct url u;
	bool ok;

	if (url_parse(&u, slice_str(text), NULL) != 0)
		return false;
	ok = (slice_eq_str(u.scheme, "http") || slice_eq_str(u.scheme, "https")) && u.host.n > 0;
	url_free(&u);
	return ok;
}

static int
read_proxy(struct reading *r, const struct yaml_node *root, struct dfinit_config *c)
{
	static const char *const known[] = {"addr", NULL};
	const struct yaml_node *proxy;
	struct url u;

	c->proxy_addr = "http://127.0.0.1:4001";
	if (read_section(r, root, "proxy", &proxy) != 0)
		return -1;
	if (proxy != NULL) {
		warn_of_unknown(r, proxy, known, "proxy.");
		if (read_text(r, proxy, "addr", &c->proxy_addr) != 0)
			return -1;
		if (!is_web_address(c->proxy_addr))
			return bad(r, proxy, "proxy.addr", "must be http://host:port");
	}
	if (url_parse(&u, slice_str(c->proxy_addr), r->e) != 0)
		return -1;
	c->proxy_host = arena_printf(r->arena, "%.*s:%d", SLICE_ARG(u.host), url_port(&u));
	url_free(&u);
	return c->proxy_host != NULL ? 0 : err_set(r->e, ERR_RESOURCE_EXHAUSTED, "%s: too large", r->path);
}

/* ---- containerd ---- */

/* It becomes the name of a directory. */
static bool
is_namespace(const char *s)
{
	if (s[0] == '\0' || strcmp(s, ".") == 0 || strcmp(s, "..") == 0 || strlen(s) > 255)
		return false;
	for (; *s != '\0'; s++)
		if (*s == '/' || (unsigned char)*s <= ' ' || *s == 0x7f)
			return false;
	return true;
}

static int
read_containerd_registry(struct reading *r, const struct yaml_node *n, struct dfinit_containerd_registry *out)
{
	static const char *const known[] = {"hostNamespace", "serverAddr", "capabilities", "skipVerify", "ca", NULL};

	*out = (struct dfinit_containerd_registry){.namespace = "", .host = {
		.server_addr = "", .capabilities = default_capabilities, .capability_count = COUNT_OF(default_capabilities)}};
	warn_of_unknown(r, n, known, "containerRuntime.containerd.registries[].");
	if (read_text(r, n, "hostNamespace", &out->namespace) != 0 || read_text(r, n, "serverAddr", &out->host.server_addr) != 0 ||
	    read_texts(r, n, "capabilities", &out->host.capabilities, &out->host.capability_count) != 0 ||
	    read_texts(r, n, "ca", &out->host.ca, &out->host.ca_count) != 0 || read_bool(r, n, "skipVerify", &out->skip_verify) != 0)
		return -1;
	if (!is_null(yaml_get(n, "skipVerify")))
		out->host.skip_verify = &out->skip_verify;
	if (!is_namespace(out->namespace))
		return bad(r, n, "hostNamespace", "must be a host without /");
	if (out->host.server_addr[0] != '\0' && !is_web_address(out->host.server_addr))
		return bad(r, n, "serverAddr", "must be http:// or https:// and a host");
	return 0;
}

static int
read_containerd(struct reading *r, const struct yaml_node *n, struct dfinit_config *c)
{
	static const char *const known[] = {"configPath", "proxyAllRegistries", "criPluginId", "registries", NULL};
	struct dfinit_containerd *d = take(r, sizeof(*d));
	const struct yaml_node *list;

	if (d == NULL)
		return -1;
	d->config_path = "/etc/containerd/config.toml";
	d->proxy_all = true;
	warn_of_unknown(r, n, known, "containerRuntime.containerd.");
	if (read_path(r, n, "configPath", &d->config_path) != 0 || read_bool(r, n, "proxyAllRegistries", &d->proxy_all) != 0 ||
	    read_text(r, n, "criPluginId", &d->plugin_id) != 0 || read_registries(r, n, &list) != 0)
		return -1;
	if (d->plugin_id != NULL && d->plugin_id[0] == '\0')
		d->plugin_id = NULL;
	d->registries = take(r, ((list != NULL ? list->count : 0) + 1) * sizeof(*d->registries));
	if (d->registries == NULL)
		return -1;
	for (const struct yaml_node *it = list != NULL ? list->first : NULL; it != NULL; it = it->next)
		if (read_containerd_registry(r, it, &d->registries[d->count++]) != 0)
			return -1;
	/* _default alone leaves Docker Hub out with peers that take "ns=docker.io" for a host's name. */
	if (d->count == 0 && d->proxy_all)
		d->registries[d->count++] = (struct dfinit_containerd_registry){.namespace = DOCKER_HUB, .host = {
			.server_addr = DOCKER_HUB_SERVER, .capabilities = default_capabilities, .capability_count = COUNT_OF(default_capabilities)}};
	c->containerd = d;
	return 0;
}

/* ---- the others ---- */

static int
read_docker(struct reading *r, const struct yaml_node *n, struct dfinit_config *c)
{
	static const char *const known[] = {"configPath", NULL};
	struct dfinit_docker *d = take(r, sizeof(*d));

	if (d == NULL)
		return -1;
	d->config_path = "/etc/docker/daemon.json";
	warn_of_unknown(r, n, known, "containerRuntime.docker.");
	c->docker = d;
	return read_path(r, n, "configPath", &d->config_path);
}

static int
read_registries_conf(struct reading *r, const struct yaml_node *n, const char *name, struct dfinit_registries **out)
{
	static const char *const known[] = {"configPath", "unqualifiedSearchRegistries", "registries", NULL};
	static const char *const known_item[] = {"prefix", "location", NULL};
	struct dfinit_registries *d = take(r, sizeof(*d));
	const char *const *unqualified = default_unqualified;
	const struct yaml_node *list;

	if (d == NULL)
		return -1;
	d->config_path = "/etc/containers/registries.conf";
	d->unqualified.count = COUNT_OF(default_unqualified);
	warn_of_unknown(r, n, known, name);
	if (read_path(r, n, "configPath", &d->config_path) != 0 ||
	    read_texts(r, n, "unqualifiedSearchRegistries", &unqualified, &d->unqualified.count) != 0 || read_registries(r, n, &list) != 0)
		return -1;
	d->unqualified.items = unqualified;
	d->registries = take(r, (list != NULL ? list->count : 0) * sizeof(*d->registries));
	if (d->registries == NULL)
		return -1;
	for (const struct yaml_node *it = list != NULL ? list->first : NULL; it != NULL; it = it->next) {
		struct mirror_registry *m = &d->registries[d->count++];

		*m = (struct mirror_registry){"", ""};
		warn_of_unknown(r, it, known_item, name);
		if (read_text(r, it, "prefix", &m->prefix) != 0 || read_text(r, it, "location", &m->location) != 0)
			return -1;
		if (m->location[0] == '\0' || m->prefix[0] == '\0')
			return bad(r, it, "registries", "need prefix and location");
		if (strcmp(m->location, d->registries[0].location) != 0)
			log_warn("%slocation: a dfdaemon serves them all from its proxy.registryMirror.addr, so that one location is possible first=%s other=%s",
			    name, d->registries[0].location, m->location);
	}
	*out = d;
	return 0;
}

static int
read_runtimes(struct reading *r, const struct yaml_node *root, struct dfinit_config *c)
{
	static const char *const known[] = {"containerd", "docker", "crio", "podman", NULL};
	const struct yaml_node *runtimes, *n;

	if (read_section(r, root, "containerRuntime", &runtimes) != 0)
		return -1;
	if (runtimes == NULL)
		return 0;
	warn_of_unknown(r, runtimes, known, "containerRuntime.");
	if (read_section(r, runtimes, "containerd", &n) != 0 || (n != NULL && read_containerd(r, n, c) != 0))
		return -1;
	if (read_section(r, runtimes, "docker", &n) != 0 || (n != NULL && read_docker(r, n, c) != 0))
		return -1;
	if (read_section(r, runtimes, "crio", &n) != 0 || (n != NULL && read_registries_conf(r, n, "containerRuntime.crio.", &c->crio) != 0))
		return -1;
	if (read_section(r, runtimes, "podman", &n) != 0 ||
	    (n != NULL && read_registries_conf(r, n, "containerRuntime.podman.", &c->podman) != 0))
		return -1;
	return 0;
}

int
dfinit_config_load(const char *path, struct dfinit_config *c, struct arena *a, struct err *e)
{
	static const char *const known[] = {"proxy", "containerRuntime", NULL};
	struct reading r = {path, a, e};
	struct yaml_node *root;
	size_t len;
	char *text = file_read(path, &len, e);

	*c = (struct dfinit_config){0};
	if (text == NULL)
		return -1;
	root = yaml_parse(text, len, a, e);
	free(text);
	if (root == NULL)
		return err_wrap(e, "%s", path);
	if (!is_null(root) && root->kind != YAML_MAPPING)
		return bad(&r, root, "the document", "must be a map");
	if (root->kind == YAML_MAPPING)
		warn_of_unknown(&r, root, known, "");
	return read_proxy(&r, root, c) != 0 || read_runtimes(&r, root, c) != 0 ? -1 : 0;
}
