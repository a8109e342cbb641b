/*
 * The files in which container runtimes find a registry mirror: containerd's config.toml and hosts.toml, Docker's daemon.json, and
 * the registries.conf of CRI-O and Podman (spec: proxy.md 19). Text in, text out; what is not understood is refused, what is not
 * concerned stays as it is, byte for byte, and a second time changes nothing.
 */
#ifndef TEXT_MIRROR_CONF_H
#define TEXT_MIRROR_CONF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

struct arena;
struct buf;
struct err;

/* Where hosts.toml files go when containerd's configuration names no place. */
#define MIRROR_CERTS_DIR "/etc/containerd/certs.d"

/* What an arena for one call may need. */
#define MIRROR_ARENA_MAX ((size_t)128 * 1024 * 1024)

struct mirror_containerd {
	const char *plugin_id;          /* the table that was chosen */
	const char *certs_dir;
	bool is_disabled;               /* disabled_plugins names the CRI plugin: the file has no effect until that is changed */
};

/*
 * config.toml that lets registries be found in a directory of hosts.toml files. Appends the new text to out, the same as the old one
 * when it names a directory already. plugin_id NULL: found by itself. An absent or empty text gives a new file. Strings in
 * *result lie in the arena.
 */
int mirror_containerd(struct slice text, const char *plugin_id, struct mirror_containerd *result, struct buf *out, struct arena *a, struct err *e);

struct mirror_host {
	const char *server_addr;        /* NULL or "": no server line and no header, as for _default */
	const char *const *capabilities;
	size_t capability_count;
	const bool *skip_verify;        /* NULL: not said */
	const char *const *ca;          /* NULL: not said */
	size_t ca_count;
};

/* One hosts.toml. */
void mirror_hosts(const char *proxy_addr, const struct mirror_host *h, struct buf *out);

struct mirror_registry {
	const char *prefix;
	const char *location;
};

struct mirror_registries {
	const char *mirror;             /* host:port of the proxy */
	const char *const *unqualified;
	size_t unqualified_count;
	const struct mirror_registry *registries;
	size_t count;
};

int mirror_registries(struct slice text, const struct mirror_registries *r, struct buf *out, struct arena *a, struct err *e);

/* daemon.json whose proxies are `proxy` ("http://host:port"). */
int mirror_docker(struct slice text, const char *proxy, struct buf *out, struct arena *a, struct err *e);

#endif
