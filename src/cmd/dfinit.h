/*
 * What dfinit's files share: its configuration, and the careful change of a file that belongs to another program.
 */
#ifndef CMD_DFINIT_H
#define CMD_DFINIT_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"
#include "text/mirror_conf.h"

struct arena;
struct err;

/* Registries in one section; a file of theirs holds a few. */
#define DFINIT_REGISTRIES_MAX 1000
#define DFINIT_ARENA_MAX ((size_t)64 * 1024 * 1024)

struct dfinit_texts {
	const char *const *items;
	size_t count;
};

struct dfinit_containerd_registry {
	const char *namespace;
	struct mirror_host host;
	bool skip_verify;               /* host.skip_verify points here */
};

struct dfinit_containerd {
	const char *config_path;
	bool proxy_all;
	const char *plugin_id;          /* or NULL */
	struct dfinit_containerd_registry *registries;
	size_t count;
};

/* CRI-O and Podman. */
struct dfinit_registries {
	const char *config_path;
	struct dfinit_texts unqualified;
	struct mirror_registry *registries;
	size_t count;
};

struct dfinit_docker {
	const char *config_path;
};

struct dfinit_config {
	const char *proxy_addr;         /* as written */
	const char *proxy_host;         /* "host:port" of it */
	struct dfinit_containerd *containerd;   /* NULL: not configured; so the others */
	struct dfinit_docker *docker;
	struct dfinit_registries *crio;
	struct dfinit_registries *podman;
};

/* Everything lies in the arena. Errors name the file, the place in it and the key; keys that are not known are logged. */
int dfinit_config_load(const char *path, struct dfinit_config *c, struct arena *a, struct err *e);

struct dfinit_run {
	bool says_what;                 /* "changed: PATH" on standard output */
	bool is_dry;                    /* print the difference, write nothing */
	bool needs_restart;             /* a file was changed that its runtime reads only at its start */
	struct arena *arena;
};

/* The file's content, in the arena; absent when there is no such file. */
int dfinit_read(const char *path, struct slice *out, struct arena *a, struct err *e);
/*
 * Gives the file its new content, when that is another: at once and for good (temporary file, fsync, rename), with the mode and owner
 * it had, through a symbolic link, and with the content of before dfinit ever changed it kept beside it as <path>.dfinit.bak.
 * Directories are made.
 */
int dfinit_write(struct dfinit_run *r, const char *path, struct slice old_text, struct slice new_text, struct err *e);
/* An empty file, directories made. */
int dfinit_touch(const char *path, struct err *e);

#endif
