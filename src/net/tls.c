#include "net/tls.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "net/tls_internal.h"
#include "net/x509.h"

static struct tls_config *
new_config(bool is_server)
{
	static atomic_uint_fast64_t serials;
	struct tls_config *c = xcalloc(1, sizeof(*c));

	atomic_init(&c->refs, 1);
	c->serial = atomic_fetch_add(&serials, 1) + 1;
	pthread_mutex_init(&c->lock, NULL);
	c->is_server = is_server;
	return c;
}

static int
copy_alpn(struct tls_config *c, const char *const *names, struct err *e)
{
	for (; names != NULL && *names != NULL; names++) {
		if (c->alpn_count == TLS_ALPN_MAX)
			return err_set(e, ERR_INVALID_ARGUMENT, "TLS: more than %d ALPN names", TLS_ALPN_MAX);
		c->alpn[c->alpn_count++] = xstrdup(*names);
	}
	return 0;
}

/* Reads a file of anchors. Broken ones in a bundle are skipped, but a file of none is an error. */
static int
load_anchors(struct tls_config *c, struct tls_file *file, const char *path, struct err *e)
{
	struct slice pem;
	size_t before = c->anchors.count, bad = 0;

	if (tls_file_read(file, path, &pem, e) != 0)
		return -1;
	tls_anchors_add_pem(&c->anchors, pem, &bad);
	free((void *)(uintptr_t)pem.p);
	if (c->anchors.count == before)
		return err_set(e, ERR_INVALID_ARGUMENT,
		    bad > 0 ? "%s: none of its certificates can be read" : "%s: no certificate in PEM form", path);
	return 0;
}

/* Would a peer take our certificate? As far as can be told from here. */
static int
check_identity(const struct tls_config *c, struct err *e)
{
	const br_x509_certificate *leaf = &c->identity->chain[0];
	const char *file = c->cert_file.path;
	int64_t now = clock_wall_ms() / 1000;
	char text[X509_TIME_MAX];
	struct x509 cert;
	unsigned bits = tls_identity_rsa_bits(c->identity);

	if (x509_read(&cert, slice_make(leaf->data, leaf->data_len)) != 0)
		return err_set(e, ERR_INVALID_ARGUMENT, "%s: the first certificate cannot be read", file);
	if (now > cert.not_after)
		return err_set(e, ERR_INVALID_ARGUMENT, "%s: the certificate expired at %s", file, x509_time_text(cert.not_after, text));
	if (now < cert.not_before)
		return err_set(e, ERR_INVALID_ARGUMENT, "%s: the certificate is not valid before %s (or the clock is wrong)", file,
		    x509_time_text(cert.not_before, text));
	if (c->is_server ? !cert.for_servers : !cert.for_clients)
		return err_set(e, ERR_INVALID_ARGUMENT, "%s: the certificate is not for %s (its extended key usage lacks %s)", file,
		    c->is_server ? "servers" : "clients", c->is_server ? "serverAuth" : "clientAuth");
	if (bits > 0 && bits < TLS_RSA_BITS_MIN)
		return err_set(e, ERR_INVALID_ARGUMENT, "%s: an RSA key of %u bits, at least %u are needed", file, bits, TLS_RSA_BITS_MIN);
	return 0;
}

static int
load_identity(struct tls_config *c, const char *cert, const char *key, struct err *e)
{
	struct slice text;

	/* Read once more for the state of the files: should they change in between, the next refresh sees it or fails. */
	if (tls_file_read(&c->cert_file, cert, &text, e) != 0)
		return -1;
	free((void *)(uintptr_t)text.p);
	if (tls_file_read(&c->key_file, key, &text, e) != 0)
		return -1;
	memset((void *)(uintptr_t)text.p, 0, text.n);
	free((void *)(uintptr_t)text.p);
	c->identity = tls_identity_load(cert, key, e);
	if (c->identity == NULL)
		return -1;
	return c->strict ? check_identity(c, e) : 0;
}

static struct slice
copy_slice(struct slice s)
{
	return slice_make(slice_dup(s), s.n);
}

/* DER certificates given one by one: the ones that do not parse are skipped (backends.md 2.6). */
static int
add_ders(struct tls_config *c, const struct slice *ders, size_t n, struct err *e)
{
	size_t good = 0;

	if (n == 0)
		return 0;
	c->ca_ders = xcalloc(n, sizeof(*c->ca_ders));
	c->ca_der_count = n;
	for (size_t i = 0; i < n; i++) {
		c->ca_ders[i] = copy_slice(ders[i]);
		if (tls_anchors_add_der(&c->anchors, ders[i]) == 0)
			good++;
	}
	if (good == 0)
		return err_set(e, ERR_INVALID_ARGUMENT, "TLS: none of the %zu given certificates can be read", n);
	return 0;
}

struct tls_config *
tls_client_new(const struct tls_client_opts *o, struct err *e)
{
	struct tls_config *c = new_config(false);
	size_t bad = 0;

	c->insecure = o->insecure;
	c->no_name_check = o->no_name_check;
	c->strict = o->strict;
	c->old_suites = o->old_suites;
	c->require_alpn = o->require_alpn;
	c->system_roots = o->system_roots;
	if (copy_alpn(c, o->alpn, e) != 0)
		goto fail;
	if ((o->cert_file == NULL) != (o->key_file == NULL)) {
		err_set(e, ERR_INVALID_ARGUMENT, "TLS: a client certificate needs its key and a key its certificate");
		goto fail;
	}
	if (o->cert_file != NULL && load_identity(c, o->cert_file, o->key_file, e) != 0)
		goto fail;
	if (o->ca_file != NULL && load_anchors(c, &c->ca_file, o->ca_file, e) != 0)
		goto fail;
	if (o->more_ca_file != NULL && load_anchors(c, &c->more_ca_file, o->more_ca_file, e) != 0)
		goto fail;
	if (o->ca_pem.n > 0) {
		size_t before = c->anchors.count;

		c->ca_pem = copy_slice(o->ca_pem);
		tls_anchors_add_pem(&c->anchors, o->ca_pem, &bad);
		if (c->anchors.count == before) {
			err_set(e, ERR_INVALID_ARGUMENT, "TLS: no certificate that can be read in the given PEM text");
			goto fail;
		}
	}
	if (add_ders(c, o->ca_ders, o->ca_der_count, e) != 0)
		goto fail;
	if (o->system_roots && tls_anchors_add_system(&c->anchors, e) != 0 && c->anchors.count == 0)
		goto fail;
	if (c->anchors.count == 0 && !c->insecure) {
		err_set(e, ERR_INVALID_ARGUMENT, "TLS: no certificate authority to trust");
		goto fail;
	}
	return c;
fail:
	tls_config_unref(c);
	return NULL;
}

struct tls_config *
tls_server_new(const struct tls_server_opts *o, struct err *e)
{
	struct tls_config *c = new_config(true);

	c->strict = o->strict;
	c->require_alpn = o->require_alpn;
	c->refuse_other_alpn = o->refuse_other_alpn;
	c->pick = o->pick;
	c->pick_ctx = o->pick_ctx;
	if (copy_alpn(c, o->alpn, e) != 0)
		goto fail;
	if (o->identity != NULL) {
		c->identity = tls_identity_ref(o->identity);
	} else if (o->cert_file != NULL && o->key_file != NULL) {
		if (load_identity(c, o->cert_file, o->key_file, e) != 0)
			goto fail;
	} else if (o->pick == NULL) {
		err_set(e, ERR_INVALID_ARGUMENT, "TLS: a server needs a certificate and its key");
		goto fail;
	}
	if (o->client_ca_file != NULL) {
		c->require_client = true;
		if (load_anchors(c, &c->ca_file, o->client_ca_file, e) != 0)
			goto fail;
	}
	return c;
fail:
	tls_config_unref(c);
	return NULL;
}

struct tls_config *
tls_config_ref(struct tls_config *c)
{
	atomic_fetch_add(&c->refs, 1);
	return c;
}

void
tls_config_unref(struct tls_config *c)
{
	if (c == NULL || atomic_fetch_sub(&c->refs, 1) != 1)
		return;
	tls_config_unref(c->newer);
	pthread_mutex_destroy(&c->lock);
	tls_anchors_free(&c->anchors);
	tls_identity_unref(c->identity);
	for (size_t i = 0; i < c->alpn_count; i++)
		free(c->alpn[i]);
	tls_file_free(&c->ca_file);
	tls_file_free(&c->more_ca_file);
	tls_file_free(&c->cert_file);
	tls_file_free(&c->key_file);
	free((void *)(uintptr_t)c->ca_pem.p);
	for (size_t i = 0; i < c->ca_der_count; i++)
		free((void *)(uintptr_t)c->ca_ders[i].p);
	free(c->ca_ders);
	free(c);
}

static bool
is_outdated(const struct tls_config *c)
{
	return tls_file_changed(&c->ca_file) || tls_file_changed(&c->more_ca_file) || tls_file_changed(&c->cert_file) ||
	    tls_file_changed(&c->key_file);
}

static struct tls_config *
load_again(const struct tls_config *old, struct err *e)
{
	const char *alpn[TLS_ALPN_MAX + 1] = {NULL};

	for (size_t i = 0; i < old->alpn_count; i++)
		alpn[i] = old->alpn[i];
	if (old->is_server) {
		struct tls_server_opts o = {
			.cert_file = old->cert_file.path, .key_file = old->key_file.path, .client_ca_file = old->ca_file.path,
			.identity = old->cert_file.path == NULL ? old->identity : NULL, .strict = old->strict, .alpn = alpn,
			.require_alpn = old->require_alpn, .refuse_other_alpn = old->refuse_other_alpn, .pick = old->pick, .pick_ctx = old->pick_ctx,
		};

		return tls_server_new(&o, e);
	} else {
		struct tls_client_opts o = {
			.ca_file = old->ca_file.path, .more_ca_file = old->more_ca_file.path, .ca_pem = old->ca_pem, .ca_ders = old->ca_ders,
			.ca_der_count = old->ca_der_count,
			.system_roots = old->system_roots, .insecure = old->insecure, .no_name_check = old->no_name_check,
			.cert_file = old->cert_file.path, .key_file = old->key_file.path, .old_suites = old->old_suites,
			.strict = old->strict, .alpn = alpn, .require_alpn = old->require_alpn,
		};

		return tls_client_new(&o, e);
	}
}

int
tls_config_refresh(struct tls_config **cfg, struct err *e)
{
	struct tls_config *old = *cfg, *now;

	if (!is_outdated(old))
		return 0;
	now = load_again(old, e);
	if (now == NULL)
		return -1;
	*cfg = now;
	tls_config_unref(old);
	return 1;
}

int
tls_config_reload(struct tls_config *c, struct err *e)
{
	struct tls_config *now, *before = c->newer != NULL ? c->newer : c;

	if (!is_outdated(before))
		return 0;
	now = load_again(before, e);
	if (now == NULL)
		return -1;
	pthread_mutex_lock(&c->lock);
	before = c->newer;
	c->newer = now;
	pthread_mutex_unlock(&c->lock);
	tls_config_unref(before);
	return 1;
}

struct tls_config *
tls_config_latest(struct tls_config *c)
{
	struct tls_config *latest;

	pthread_mutex_lock(&c->lock);
	latest = tls_config_ref(c->newer != NULL ? c->newer : c);
	pthread_mutex_unlock(&c->lock);
	return latest;
}

size_t
tls_config_anchor_count(const struct tls_config *c)
{
	return c->anchors.count;
}
