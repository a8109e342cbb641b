/*
 * dfinit: container runtimes of this host are told to pull through the dfdaemon (spec: proxy.md 19).
 */
#include "cmd/dfinit.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/cmd.h"
#include "cmd/options.h"
#include "cmd/tool.h"
#include "config/paths.h"

struct dfinit_options {
	const char *config, *restart_sentinel;
	struct option_number log_level;
	bool console, dry_run;
};

#define AT(member) offsetof(struct dfinit_options, member)

static const struct option options[] = {
	{.name = "config", .letters = "c", .value = "CONFIG", .kind = OPTION_PATH, .at = AT(config),
	 .help = "Configuration file; /etc/dragonfly/dfinit.yaml unless given."},
	{.name = "log-level", .letters = "l", .value = "LOG_LEVEL", .kind = OPTION_LEVEL, .at = AT(log_level), .preset = "info",
	 .help = "trace, debug, info, warn or error."},
	{.name = "console", .kind = OPTION_FLAG, .at = AT(console),
	 .help = "Says on standard output which files were changed and which were not, and writes log lines to standard error (else only warnings)."},
	{.name = "restart-sentinel", .value = "RESTART_SENTINEL", .kind = OPTION_PATH, .at = AT(restart_sentinel),
	 .help = "Empty file that is made when a runtime must be restarted; /var/run/dragonfly/dfinit/restart-required unless given."},
	{.name = "dry-run", .letters = "n", .kind = OPTION_FLAG, .at = AT(dry_run), .help = "Prints what would change and changes nothing."},
	{.name = "version", .letters = "V", .kind = OPTION_VERSION, .help = "Prints the version."},
	{.name = "help", .letters = "h", .kind = OPTION_HELP, .help = "Prints this help."},
};

static const struct program program = {
	.name = "dfinit",
	.about = "Makes the container runtimes of this host pull through its dfdaemon.",
	.usage = "dfinit [OPTIONS]", .short_usage = "dfinit [OPTIONS]", .options = options, .count = COUNT_OF(options),
};

/* ---- runtimes ---- */

static int
set_hosts(struct dfinit_run *r, const struct dfinit_config *c, const char *dir, const char *namespace, const struct mirror_host *h, struct err *e)
{
	char *path = xasprintf("%s/%s/hosts.toml", dir, namespace);
	bool needs_restart = r->needs_restart;
	struct buf text = BUF_INIT;
	struct slice old_text;
	int rc;

	mirror_hosts(c->proxy_addr, h, &text);
	rc = dfinit_read(path, &old_text, r->arena, e);
	if (rc == 0)
		rc = dfinit_write(r, path, old_text, buf_slice(&text), e);
	/* containerd looks into these at each pull. */
	r->needs_restart = needs_restart;
	buf_free(&text);
	free(path);
	return rc;
}

static int
set_containerd(struct dfinit_run *r, const struct dfinit_config *c, struct err *e)
{
	static const char *const pull[] = {"pull", "resolve"};
	static const struct mirror_host all = {.capabilities = pull, .capability_count = COUNT_OF(pull)};
	const struct dfinit_containerd *d = c->containerd;
	struct mirror_containerd found;
	struct buf text = BUF_INIT;
	struct slice old_text;
	int rc;

	if (dfinit_read(d->config_path, &old_text, r->arena, e) != 0)
		return -1;
	if (mirror_containerd(old_text, d->plugin_id, &found, &text, r->arena, e) != 0) {
		buf_free(&text);
		return err_wrap(e, "%s", d->config_path);
	}
	if (found.is_disabled)
		log_warn("containerd's CRI plugin is disabled (disabled_plugins): Kubernetes cannot use it file=%s", d->config_path);
	log_info("containerd plugin=%s hosts=%s", found.plugin_id, found.certs_dir);
	rc = dfinit_write(r, d->config_path, old_text, buf_slice(&text), e);
	buf_free(&text);
	for (size_t i = 0; rc == 0 && i < d->count; i++)
		rc = set_hosts(r, c, found.certs_dir, d->registries[i].namespace, &d->registries[i].host, e);
	if (rc == 0 && d->proxy_all)
		rc = set_hosts(r, c, found.certs_dir, "_default", &all, e);
	return rc;
}

static int
set_docker(struct dfinit_run *r, const struct dfinit_config *c, struct err *e)
{
	const char *path = c->docker->config_path;
	char *proxy = xasprintf("http://%s", c->proxy_host);
	struct buf text = BUF_INIT;
	struct slice old_text;
	int rc;

	rc = dfinit_read(path, &old_text, r->arena, e);
	if (rc == 0 && mirror_docker(old_text, proxy, &text, r->arena, e) != 0) {
		struct err why = *e;

		rc = err_set(e, why.code, "%s: ParseError cause: %s", path, why.text);
	}
	if (rc == 0)
		rc = dfinit_write(r, path, old_text, buf_slice(&text), e);
	buf_free(&text);
	free(proxy);
	return rc;
}

static int
set_registries(struct dfinit_run *r, const struct dfinit_config *c, const struct dfinit_registries *d, struct err *e)
{
	const struct mirror_registries want = {
		.mirror = c->proxy_host, .unqualified = d->unqualified.items, .unqualified_count = d->unqualified.count,
		.registries = d->registries, .count = d->count};
	struct buf text = BUF_INIT;
	struct slice old_text;
	int rc;

	if (dfinit_read(d->config_path, &old_text, r->arena, e) != 0)
		return -1;
	rc = mirror_registries(old_text, &want, &text, r->arena, e);
	if (rc != 0)
		err_wrap(e, "%s", d->config_path);
	else
		rc = dfinit_write(r, d->config_path, old_text, buf_slice(&text), e);
	buf_free(&text);
	return rc;
}

static int
fail(const struct err *e)
{
	fprintf(stderr, "Error: %s\n", e->text);
	return 1;
}

/* Each runtime for itself: what one cannot do the others still do. */
static int
set_all(struct dfinit_run *r, const struct dfinit_config *c)
{
	struct err e = {0};
	int code = 0;

	if (c->containerd != NULL && set_containerd(r, c, &e) != 0)
		code = fail(&e);
	if (c->docker != NULL && set_docker(r, c, &e) != 0)
		code = fail(&e);
	if (c->crio != NULL && set_registries(r, c, c->crio, &e) != 0)
		code = fail(&e);
	if (c->podman != NULL && set_registries(r, c, c->podman, &e) != 0)
		code = fail(&e);
	return code;
}

static int
run(const struct dfinit_options *o, struct arena *a)
{
	char *usual = paths_default(PATHS_DFINIT), *sentinel = paths_default(PATHS_RESTART);
	struct dfinit_run r = {.says_what = o->console, .is_dry = o->dry_run, .arena = a};
	struct dfinit_config c;
	struct err e = {0};
	int code;

	if (dfinit_config_load(o->config != NULL ? o->config : usual, &c, a, &e) != 0) {
		code = fail(&e);
	} else {
		code = set_all(&r, &c);
		if (r.needs_restart && !r.is_dry && dfinit_touch(o->restart_sentinel != NULL ? o->restart_sentinel : sentinel, &e) != 0)
			code = fail(&e);
	}
	if (fflush(stdout) != 0) {
		fprintf(stderr, "Error: cannot write to standard output\n");
		code = 1;
	}
	free(usual);
	free(sentinel);
	return code;
}

int
dfinit_main(int argc, char **argv)
{
	struct dfinit_options o = {0};
	struct arena a;
	int code = options_parse(&program, argc, argv, &o);

	if (code == OPTIONS_GO) {
		tool_set_log(o.console, &o.log_level);
		/* A misspelt key has other files changed than was meant: that is said in any case. */
		if (!o.console)
			log_set_level(o.log_level.n > LOG_WARN ? (enum log_level)o.log_level.n : LOG_WARN);
		arena_init(&a, DFINIT_ARENA_MAX + MIRROR_ARENA_MAX);
		code = run(&o, &a);
		arena_free(&a);
	}
	options_free(&program, &o);
	return code;
}
