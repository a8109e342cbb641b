#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config.h"
#include "net/loop.h"
#include "net/tls.h"
#include "serve/daemon_internal.h"

/* The files of certificates are looked at this often. */
#define CERTIFICATES_MS 3000

static const char *const sections[TLS_KINDS] = {
	[TLS_UPLOAD] = "upload.server", [TLS_PARENTS] = "upload.client", [TLS_PIECES_OUT] = "upload.server", [TLS_PIECES_IN] = "upload.client",
	[TLS_SCHEDULERS] = "scheduler", [TLS_MANAGER] = "manager",
	[TLS_SCHEDULER_PORT] = "upload.server",
};

static struct tls_config *
load(enum daemon_tls_kind kind, const struct config_tls *files, struct err *e)
{
	static const char *const h2[] = {"h2", NULL};
	/* So that nobody takes a connection for pieces for one of gRPC. */
	static const char *const pieces[] = {"d7y-pieces", NULL};
	bool is_pieces = kind == TLS_PIECES_OUT || kind == TLS_PIECES_IN;
	const char *const *alpn = is_pieces ? pieces : h2;

	if (kind == TLS_UPLOAD || kind == TLS_PIECES_OUT || kind == TLS_SCHEDULER_PORT)
		return tls_server_new(&(struct tls_server_opts){
			.cert_file = files->cert, .key_file = files->key, .client_ca_file = files->ca_cert, .strict = true, .alpn = alpn,
			.require_alpn = is_pieces}, e);
	return tls_client_new(&(struct tls_client_opts){
		.ca_file = files->ca_cert, .cert_file = files->cert, .key_file = files->key, .strict = true, .alpn = alpn,
		.require_alpn = true}, e);
}

int
daemon_tls_load(struct daemon *d, struct err *e)
{
	const struct config *c = d->parts.config;
	/* Its callers have certificates for schedulers: this daemon, to begin with. */
	bool has_tls_scheduler = c->x.scheduler.enable && c->scheduler.tls.cert != NULL;
	static const struct config_tls none;
	const struct config_tls *files[TLS_KINDS] = {
		[TLS_UPLOAD] = &c->upload.server.tls, [TLS_PARENTS] = &c->upload.client.tls, [TLS_PIECES_OUT] = &c->upload.server.tls,
		[TLS_PIECES_IN] = &c->upload.client.tls, [TLS_SCHEDULERS] = &c->scheduler.tls, [TLS_MANAGER] = &c->manager.tls,
		[TLS_SCHEDULER_PORT] = has_tls_scheduler ? &c->upload.server.tls : &none,
	};

	for (int i = 0; i < TLS_KINDS; i++) {
		if (files[i]->cert == NULL)
			continue;
		d->tls[i].config = load((enum daemon_tls_kind)i, files[i], e);
		if (d->tls[i].config == NULL)
			return err_wrap(e, "%s", sections[i]);
	}
	if (has_tls_scheduler && c->upload.server.tls.cert == NULL)
		return err_set(e, ERR_INVALID_ARGUMENT, "x.scheduler with certificates for schedulers (scheduler.cert) needs those of upload.server too");
	if (c->x.piece.tls == CONFIG_PIECE_TLS_REQUIRE && (d->tls[TLS_UPLOAD].config == NULL || d->tls[TLS_PARENTS].config == NULL))
		return err_set(e, ERR_INVALID_ARGUMENT, "x.piece.tls: require needs the certificates of upload.server and upload.client");
	return 0;
}

/* Several kinds have the same files: what is to be said of those is said once. */
static bool
is_said(const struct daemon *d, int i, const char *failed)
{
	for (int k = 0; k < i; k++)
		if (strcmp(sections[k], sections[i]) == 0 && d->tls[k].config != NULL &&
		    (failed == NULL ? d->tls[k].failed == NULL : d->tls[k].failed != NULL && strcmp(d->tls[k].failed, failed) == 0))
			return true;
	return false;
}

static void
refresh_one(struct daemon *d, int i)
{
	struct daemon_tls *t = &d->tls[i];
	struct err e;
	int rc = t->config != NULL ? tls_config_reload(t->config, &e) : 0;

	if (rc < 0 && (t->failed == NULL || strcmp(t->failed, e.text) != 0)) {
		free(t->failed);
		t->failed = xstrdup(e.text);
		if (!is_said(d, i, e.text))
			log_error("certificates cannot be read again, the old ones stay in use section=%s error=\"%s\"", sections[i], e.text);
	} else if (rc >= 0 && t->failed != NULL) {
		free(t->failed);
		t->failed = NULL;
	}
	if (rc > 0 && !is_said(d, i, NULL))
		log_info("certificates were read again section=%s", sections[i]);
}

/* Connections that begin from now on take the certificates that are on file now. */
void
daemon_tls_refresh(void *ctx)
{
	struct daemon *d = ctx;

	if (d->is_ending)
		return;
	for (int i = 0; i < TLS_KINDS; i++)
		refresh_one(d, i);
	loop_timer_set(d->parts.loop, &d->certificates, CERTIFICATES_MS, daemon_tls_refresh, d);
}

void
daemon_tls_free(struct daemon *d)
{
	for (int i = 0; i < TLS_KINDS; i++) {
		tls_config_unref(d->tls[i].config);
		free(d->tls[i].failed);
	}
}
