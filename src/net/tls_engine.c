#include "net/tls_engine.h"

#include <bearssl.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/rand.h"
#include "net/addr.h"
#include "net/tls_internal.h"
#include "net/tls_sessions.h"
#include "net/x509.h"

/* Days from year 0 to 1970-01-01, as BearSSL counts them. */
#define DAYS_TO_1970 719528u
/* How much of a certificate's names an error shows. */
#define NAMES_SHOWN 256
/* A name as SNI and certificates can hold it. */
#define NAME_MAX_BYTES 255

/* With AES and carry-less multiplication in hardware GCM is by far the fastest; without, ChaCha20. */
static const uint16_t suites_gcm_first[] = {
	BR_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, BR_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	BR_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, BR_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	BR_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, BR_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	/* Only with old_suites (backends.md 10). */
	BR_TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, BR_TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384,
	BR_TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, BR_TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	BR_TLS_RSA_WITH_AES_128_GCM_SHA256, BR_TLS_RSA_WITH_AES_256_GCM_SHA384,
};
static const uint16_t suites_chacha_first[] = {
	BR_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, BR_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	BR_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, BR_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	BR_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, BR_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	BR_TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, BR_TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA384,
	BR_TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, BR_TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	BR_TLS_RSA_WITH_AES_128_GCM_SHA256, BR_TLS_RSA_WITH_AES_256_GCM_SHA384,
};
#define MODERN_SUITES 6

/*
 * Looks at the peer's certificates between BearSSL's engine and its "minimal" validator: keeps the leaf, checks iPAddress
 * names, which the validator does not know, and lets everything pass when the config says so.
 */
struct checker {
	const br_x509_class *vtable;
	br_x509_minimal_context inner;
	br_x509_decoder_context leaf_key;       /* insecure: the key alone */
	const struct tls_config *cfg;
	struct buf leaf;
	bool in_leaf;
	bool had_leaf;
	bool wants_ip;
	bool wrong_purpose;
	uint8_t ip[16];
	size_t ip_len;
};

struct policy {
	const br_ssl_server_policy_class *vtable;
	struct tls_engine *engine;
};

struct tls_engine {
	union {
		br_ssl_client_context client;
		br_ssl_server_context server;
	} ctx;
	br_ssl_engine_context *eng;
	struct checker checker;
	struct policy policy;
	struct tls_config *cfg;
	struct tls_identity *picked;
	struct tls_sessions *sessions;  /* NULL: no resumption */
	char *session_key;              /* client */
	bool resumes;                   /* a session was offered, and is not agreed on yet */
	const char *alpn[TLS_ALPN_MAX];
	char name[NAME_MAX_BYTES + 1];  /* whom we want; "" for anybody */
	bool opened;
	bool closing;
	bool lacks_alpn;
	bool refused_name;
	bool has_first;
	bool not_tls;                   /* the peer's first byte begins no TLS record */
	uint8_t in[BR_SSL_BUFSIZE_INPUT];
	uint8_t out[BR_SSL_BUFSIZE_OUTPUT];
};

/* ---- certificates ---- */

/* BearSSL hands us the address of our first member. */
static struct checker *
checker_of(const br_x509_class **ctx)
{
	return (struct checker *)(void *)ctx;
}

static const br_x509_class **
inner_of(struct checker *k)
{
	return &k->inner.vtable;
}

static void
start_chain(const br_x509_class **ctx, const char *server_name)
{
	struct checker *k = checker_of(ctx);

	k->had_leaf = k->wrong_purpose = false;
	buf_clear(&k->leaf);
	br_x509_decoder_init(&k->leaf_key, NULL, NULL);
	k->inner.vtable->start_chain(inner_of(k), k->cfg->no_name_check || k->wants_ip ? NULL : server_name);
}

static void
start_cert(const br_x509_class **ctx, uint32_t length)
{
	struct checker *k = checker_of(ctx);

	k->in_leaf = !k->had_leaf;
	k->had_leaf = true;
	k->inner.vtable->start_cert(inner_of(k), length);
}

static void
append(const br_x509_class **ctx, const unsigned char *p, size_t n)
{
	struct checker *k = checker_of(ctx);

	if (k->in_leaf && k->leaf.len + n <= X509_CERT_MAX) {
		buf_append(&k->leaf, p, n);
		br_x509_decoder_push(&k->leaf_key, p, n);
	}
	k->inner.vtable->append(inner_of(k), p, n);
}

static void
end_cert(const br_x509_class **ctx)
{
	struct checker *k = checker_of(ctx);

	k->in_leaf = false;
	k->inner.vtable->end_cert(inner_of(k));
}

static unsigned
end_chain(const br_x509_class **ctx)
{
	struct checker *k = checker_of(ctx);
	unsigned rc = k->inner.vtable->end_chain(inner_of(k));
	struct x509 cert;

	if (k->cfg->insecure) {
		if (br_x509_decoder_get_pkey(&k->leaf_key) != NULL)
			return 0;
		rc = (unsigned)br_x509_decoder_last_error(&k->leaf_key);
		return rc != 0 ? rc : BR_ERR_X509_EMPTY_CHAIN;
	}
	if (rc != 0)
		return rc;
	if (x509_read(&cert, buf_slice(&k->leaf)) != 0)
		return BR_ERR_X509_UNEXPECTED;
	/* BearSSL does not look at what a certificate is for. */
	if (k->cfg->is_server ? !cert.for_clients : !cert.for_servers) {
		k->wrong_purpose = true;
		return BR_ERR_X509_FORBIDDEN_KEY_USAGE;
	}
	if (!k->wants_ip || k->cfg->no_name_check)
		return 0;
	if (!x509_has_ip(&cert, slice_make(k->ip, k->ip_len)))
		return BR_ERR_X509_BAD_SERVER_NAME;
	return 0;
}

static const br_x509_pkey *
get_pkey(const br_x509_class *const *ctx, unsigned *usages)
{
	const struct checker *k = (const struct checker *)(const void *)ctx;

	if (k->cfg->insecure) {
		if (usages != NULL)
			*usages = BR_KEYTYPE_KEYX | BR_KEYTYPE_SIGN;
		return br_x509_decoder_get_pkey((br_x509_decoder_context *)(uintptr_t)&k->leaf_key);
	}
	return k->inner.vtable->get_pkey(&k->inner.vtable, usages);
}

static const br_x509_class checker_class = {
	sizeof(struct checker), start_chain, start_cert, append, end_cert, end_chain, get_pkey,
};

static void
init_checker(struct checker *k, const struct tls_config *cfg)
{
	int64_t now = clock_wall_ms() / 1000;

	k->vtable = &checker_class;
	k->cfg = cfg;
	br_x509_minimal_init_full(&k->inner, cfg->anchors.list, cfg->anchors.count);
	if (cfg->strict)
		br_x509_minimal_set_minrsa(&k->inner, TLS_RSA_BITS_MIN / 8);
	br_x509_minimal_set_time(&k->inner, DAYS_TO_1970 + (uint32_t)(now / 86400), (uint32_t)(now % 86400));
}

/* ---- the server's choice ---- */

/* Which certificate to show: by the name that the client sent. The rest is BearSSL's own policy for that key. */
static int
choose(const br_ssl_server_policy_class **ctx, const br_ssl_server_context *cc, br_ssl_server_choices *choices)
{
	struct tls_engine *t = ((struct policy *)(void *)ctx)->engine;
	br_ssl_server_context *server = &t->ctx.server;
	struct tls_identity *id = t->cfg->identity;

	(void)cc;
	if (t->cfg->pick != NULL && (id == NULL || br_ssl_engine_get_server_name(t->eng)[0] != '\0')) {
		t->picked = t->cfg->pick(t->cfg->pick_ctx, br_ssl_engine_get_server_name(t->eng));
		id = t->picked;
	}
	if (id == NULL) {
		t->refused_name = true;
		return 0;
	}
	if (id->key_type == BR_KEYTYPE_RSA)
		br_ssl_server_set_single_rsa(server, id->chain, id->chain_len, br_skey_decoder_get_rsa(&id->key),
		    BR_KEYTYPE_SIGN, br_rsa_private_get_default(), br_rsa_pkcs1_sign_get_default());
	else
		br_ssl_server_set_single_ec(server, id->chain, id->chain_len, br_skey_decoder_get_ec(&id->key), BR_KEYTYPE_SIGN,
		    (unsigned)id->issuer_key_type, br_ec_get_default(), br_ecdsa_sign_asn1_get_default());
	return (*server->policy_vtable)->choose(server->policy_vtable, server, choices);
}

/* Never called: `choose` puts BearSSL's policy in our place. */
static uint32_t
no_keyx(const br_ssl_server_policy_class **ctx, unsigned char *data, size_t *len)
{
	(void)ctx;
	(void)data;
	(void)len;
	return 0;
}

static size_t
no_sign(const br_ssl_server_policy_class **ctx, unsigned algo, unsigned char *data, size_t hv_len, size_t len)
{
	(void)ctx;
	(void)algo;
	(void)data;
	(void)hv_len;
	(void)len;
	return 0;
}

static const br_ssl_server_policy_class policy_class = {
	sizeof(struct policy), choose, no_keyx, no_sign,
};

/* ---- making ---- */

static void
set_common(struct tls_engine *t)
{
	struct tls_config *cfg = t->cfg;
	const uint16_t *suites = br_aes_x86ni_ctr_get_vtable() != NULL ? suites_gcm_first : suites_chacha_first;
	size_t n = cfg->old_suites ? COUNT_OF(suites_gcm_first) : MODERN_SUITES;
	uint32_t flags = BR_OPT_NO_RENEGOTIATION;
	uint8_t seed[32];

	br_ssl_engine_set_versions(t->eng, BR_TLS12, BR_TLS12);
	br_ssl_engine_set_suites(t->eng, suites, n);
	if (cfg->is_server)
		flags |= BR_OPT_ENFORCE_SERVER_PREFERENCES;
	if (cfg->require_alpn || cfg->refuse_other_alpn)
		flags |= BR_OPT_FAIL_ON_ALPN_MISMATCH;
	br_ssl_engine_set_all_flags(t->eng, flags);
	for (size_t i = 0; i < cfg->alpn_count; i++)
		t->alpn[i] = cfg->alpn[i];
	if (cfg->alpn_count > 0)
		br_ssl_engine_set_protocol_names(t->eng, t->alpn, cfg->alpn_count);
	rand_bytes(seed, sizeof(seed));
	br_ssl_engine_inject_entropy(t->eng, seed, sizeof(seed));
	br_ssl_engine_set_buffers_bidi(t->eng, t->in, sizeof(t->in), t->out, sizeof(t->out));
}

static int
init_client(struct tls_engine *t, const char *name, struct err *e)
{
	br_ssl_client_context *cc = &t->ctx.client;
	const char *sni = NULL;
	br_ssl_session_parameters session;
	struct addr ip;

	t->eng = &cc->eng;
	br_ssl_client_init_full(cc, &t->checker.inner, t->cfg->anchors.list, t->cfg->anchors.count);
	init_checker(&t->checker, t->cfg);
	set_common(t);
	br_ssl_engine_set_x509(t->eng, &t->checker.vtable);
	if (t->cfg->identity != NULL) {
		struct tls_identity *id = t->cfg->identity;

		if (id->key_type == BR_KEYTYPE_RSA)
			br_ssl_client_set_single_rsa(cc, id->chain, id->chain_len, br_skey_decoder_get_rsa(&id->key),
			    br_rsa_pkcs1_sign_get_default());
		else
			br_ssl_client_set_single_ec(cc, id->chain, id->chain_len, br_skey_decoder_get_ec(&id->key),
			    BR_KEYTYPE_SIGN, (unsigned)id->issuer_key_type, br_ec_get_default(), br_ecdsa_sign_asn1_get_default());
	}
	if (name != NULL && name[0] != '\0') {
		size_t n = strlen(name);

		/* The root's dot is not part of names in certificates. */
		if (n > 1 && name[n - 1] == '.')
			n--;
		if (n > NAME_MAX_BYTES)
			return err_set(e, ERR_INVALID_ARGUMENT, "server name longer than %d bytes", NAME_MAX_BYTES);
		memcpy(t->name, name, n);
		if (addr_from_ip(&ip, slice_str(t->name), 0) == 0) {
			struct slice bytes = addr_ip_bytes(&ip);

			t->checker.wants_ip = true;
			memcpy(t->checker.ip, bytes.p, bytes.n);
			t->checker.ip_len = bytes.n;
		} else {
			sni = t->name;
		}
	}
	if (t->sessions != NULL && tls_sessions_get(t->sessions, slice_str(t->session_key), t->cfg, &session)) {
		br_ssl_engine_set_session_parameters(t->eng, &session);
		mem_wipe(&session, sizeof session);
		t->resumes = true;
	}
	if (!br_ssl_client_reset(cc, sni, t->resumes))
		return err_set(e, ERR_INTERNAL, "start: %s", tls_error_text(br_ssl_engine_last_error(t->eng)));
	return 0;
}

static int
init_server(struct tls_engine *t, struct err *e)
{
	br_ssl_server_context *cc = &t->ctx.server;

	t->eng = &cc->eng;
	br_ssl_server_init_full_rsa(cc, NULL, 0, NULL);
	set_common(t);
	t->policy.vtable = &policy_class;
	t->policy.engine = t;
	br_ssl_server_set_policy(cc, &t->policy.vtable);
	/* Not where clients show certificates: those are looked at each time. */
	if (t->sessions != NULL && !t->cfg->require_client)
		br_ssl_server_set_cache(cc, tls_sessions_of_server(t->sessions));
	if (t->cfg->require_client) {
		init_checker(&t->checker, t->cfg);
		br_ssl_engine_set_default_rsavrfy(t->eng);
		br_ssl_engine_set_default_ecdsa(t->eng);
		br_ssl_engine_set_x509(t->eng, &t->checker.vtable);
		br_ssl_server_set_trust_anchor_names_alt(cc, t->cfg->anchors.list, t->cfg->anchors.count);
	}
	if (!br_ssl_server_reset(cc))
		return err_set(e, ERR_INTERNAL, "start: %s", tls_error_text(br_ssl_engine_last_error(t->eng)));
	return 0;
}

struct tls_engine *
tls_engine_new(struct tls_config *cfg, const char *name, const struct tls_resume *resume, struct err *e)
{
	struct tls_engine *t = xcalloc(1, sizeof(*t));

	t->cfg = tls_config_latest(cfg);
	if (resume != NULL && resume->sessions != NULL && (cfg->is_server || resume->key != NULL)) {
		t->sessions = tls_sessions_ref(resume->sessions);
		t->session_key = cfg->is_server ? NULL : xstrdup(resume->key);
	}
	if ((cfg->is_server ? init_server(t, e) : init_client(t, name, e)) == 0)
		return t;
	tls_engine_free(t);
	return NULL;
}

void
tls_engine_free(struct tls_engine *t)
{
	if (t == NULL)
		return;
	/* It may have been the session that the server did not like. */
	if (t->resumes)
		tls_sessions_drop(t->sessions, slice_str(t->session_key));
	tls_sessions_unref(t->sessions);
	free(t->session_key);
	buf_free(&t->checker.leaf);
	tls_identity_unref(t->picked);
	tls_config_unref(t->cfg);
	/* Session keys and plaintext do not stay behind. */
	memset(t, 0, sizeof(*t));
	free(t);
}

/* ---- bytes ---- */

uint8_t *
tls_engine_cipher_in(struct tls_engine *t, size_t *n)
{
	return br_ssl_engine_recvrec_buf(t->eng, n);
}

void
tls_engine_cipher_in_done(struct tls_engine *t, size_t n)
{
	if (!t->has_first && n > 0) {
		size_t room;
		const uint8_t *p = br_ssl_engine_recvrec_buf(t->eng, &room);

		/* Handshake or alert (RFC 5246, 6.2.1). */
		t->not_tls = p[0] != 0x16 && p[0] != 0x15;
		t->has_first = true;
	}
	br_ssl_engine_recvrec_ack(t->eng, n);
}

const uint8_t *
tls_engine_cipher_out(struct tls_engine *t, size_t *n)
{
	return br_ssl_engine_sendrec_buf(t->eng, n);
}

void
tls_engine_cipher_out_done(struct tls_engine *t, size_t n)
{
	br_ssl_engine_sendrec_ack(t->eng, n);
}

const uint8_t *
tls_engine_plain_in(struct tls_engine *t, size_t *n)
{
	return br_ssl_engine_recvapp_buf(t->eng, n);
}

void
tls_engine_plain_in_done(struct tls_engine *t, size_t n)
{
	br_ssl_engine_recvapp_ack(t->eng, n);
}

uint8_t *
tls_engine_plain_out(struct tls_engine *t, size_t *n)
{
	return br_ssl_engine_sendapp_buf(t->eng, n);
}

void
tls_engine_plain_out_done(struct tls_engine *t, size_t n)
{
	br_ssl_engine_sendapp_ack(t->eng, n);
}

void
tls_engine_flush(struct tls_engine *t)
{
	br_ssl_engine_flush(t->eng, 0);
}

void
tls_engine_close(struct tls_engine *t)
{
	if (t->closing)
		return;
	t->closing = true;
	br_ssl_engine_close(t->eng);
}

/* ---- state ---- */

static void
keep_session(struct tls_engine *t)
{
	br_ssl_session_parameters session;

	br_ssl_engine_get_session_parameters(t->eng, &session);
	tls_sessions_put(t->sessions, slice_str(t->session_key), t->cfg, &session);
	mem_wipe(&session, sizeof session);
	t->resumes = false;
}

bool
tls_engine_is_open(struct tls_engine *t)
{
	if (!t->opened && (br_ssl_engine_current_state(t->eng) & (BR_SSL_SENDAPP | BR_SSL_RECVAPP)) != 0) {
		t->opened = true;
		if (!t->cfg->is_server && t->sessions != NULL)
			keep_session(t);
		t->lacks_alpn = t->cfg->require_alpn && tls_engine_alpn(t)[0] == '\0';
	}
	return t->opened && !t->lacks_alpn;
}

/* Names and dates of the leaf, for the errors about them. */
static void
describe_certificate(struct tls_engine *t, int code, struct err *e)
{
	struct buf names = BUF_INIT;
	struct x509 cert;
	char text[X509_TIME_MAX];
	int64_t now = clock_wall_ms() / 1000;

	if (x509_read(&cert, buf_slice(&t->checker.leaf)) != 0)
		return;
	x509_names(&cert, &names, NAMES_SHOWN);
	if (code == BR_ERR_X509_BAD_SERVER_NAME)
		err_set(e, e->code, "the certificate is for %s, not for %s", buf_cstr(&names), t->name);
	else if (code == BR_ERR_X509_EXPIRED && now > cert.not_after)
		err_set(e, e->code, "the certificate (for %s) expired at %s", buf_cstr(&names), x509_time_text(cert.not_after, text));
	else if (code == BR_ERR_X509_EXPIRED && now < cert.not_before)
		err_set(e, e->code, "the certificate (for %s) is not valid before %s (or the clock is wrong)", buf_cstr(&names),
		    x509_time_text(cert.not_before, text));
	else if (code == BR_ERR_X509_EXPIRED)
		err_set(e, e->code, "an authority of the certificate (for %s) has expired or is not valid yet", buf_cstr(&names));
	else if (code == BR_ERR_X509_NOT_TRUSTED && t->cfg->ca_file.path != NULL)
		err_set(e, e->code, "the certificate (for %s) is not signed by an authority in %s", buf_cstr(&names), t->cfg->ca_file.path);
	else if (code == BR_ERR_X509_NOT_TRUSTED)
		err_set(e, e->code, "the certificate (for %s) is not signed by a trusted authority", buf_cstr(&names));
	else if (t->checker.wrong_purpose)
		err_set(e, e->code, "the certificate (for %s) is not for %s (its extended key usage lacks %s)", buf_cstr(&names),
		    t->cfg->is_server ? "clients" : "servers", t->cfg->is_server ? "clientAuth" : "serverAuth");
	else if (code == BR_ERR_X509_WEAK_PUBLIC_KEY)
		err_set(e, e->code, "the certificate (for %s) or an authority of it has a weak key", buf_cstr(&names));
	buf_free(&names);
}

static int
fail_alert(struct tls_engine *t, int alert, struct err *e)
{
	const char *name = tls_alert_name(alert);

	if (alert == 70 && !t->cfg->is_server)
		return err_set(e, ERR_UNAVAILABLE, "the server refuses TLS 1.2 (it may require TLS 1.3)");
	if (alert == 42 || alert == 43 || alert == 45 || alert == 46 || alert == 48 || alert == 116) {
		if (t->cfg->cert_file.path != NULL)
			return err_set(e, ERR_UNAUTHENTICATED, "the peer does not accept our certificate %s (%s)", t->cfg->cert_file.path, name);
		if (!t->cfg->is_server && t->cfg->identity == NULL)
			return err_set(e, ERR_UNAUTHENTICATED, "the peer wants a client certificate, and none is configured (%s)", name);
		return err_set(e, ERR_UNAUTHENTICATED, "the peer does not accept our certificate (%s)", name);
	}
	if (name == NULL)
		return err_set(e, ERR_UNAVAILABLE, "the peer ended it with alert %d", alert);
	return err_set(e, ERR_UNAVAILABLE, "the peer ended it with alert %s", name);
}

/* BearSSL has refused the peer's hello. */
static int
fail_our_alert(const struct tls_engine *t, int alert, struct err *e)
{
	const char *name = tls_alert_name(alert), *why = "ended from our side";

	if (alert == 120)
		return err_set(e, ERR_UNAVAILABLE, "the peer offers no protocol of ours, such as %s (alert no_application_protocol)",
		    t->cfg->alpn_count > 0 ? t->cfg->alpn[0] : "none");
	if (alert == 70)
		why = "the peer does not speak TLS 1.2";
	else if (alert == 40)
		why = "no cipher suite or curve in common";
	if (name == NULL)
		return err_set(e, ERR_UNAVAILABLE, "%s (alert %d)", why, alert);
	return err_set(e, ERR_UNAVAILABLE, "%s (alert %s)", why, name);
}

int
tls_engine_state(struct tls_engine *t, struct err *e)
{
	int code;

	if (t->lacks_alpn)
		return err_set(e, ERR_UNAVAILABLE, "the peer does not speak %s (no ALPN agreed)", t->cfg->alpn[0]);
	if (br_ssl_engine_current_state(t->eng) != BR_SSL_CLOSED)
		return 1;
	code = br_ssl_engine_last_error(t->eng);
	if (code == BR_ERR_OK)
		return 0;
	if (code >= BR_ERR_SEND_FATAL_ALERT && !t->refused_name)
		return fail_our_alert(t, code - BR_ERR_SEND_FATAL_ALERT, e);
	if (code >= BR_ERR_RECV_FATAL_ALERT && code < BR_ERR_SEND_FATAL_ALERT)
		return fail_alert(t, code - BR_ERR_RECV_FATAL_ALERT, e);
	if (t->not_tls)
		return err_set(e, ERR_UNAVAILABLE, "the peer does not speak TLS");
	if (t->refused_name)
		return err_set(e, ERR_UNAVAILABLE, "no certificate for the name the client asked for");
	err_set(e, code >= BR_ERR_X509_OK || code == BR_ERR_NO_CLIENT_AUTH ? ERR_UNAUTHENTICATED : ERR_UNAVAILABLE, "%s",
	    tls_error_text(code));
	describe_certificate(t, code, e);
	return -1;
}

size_t
tls_engine_last_words(const struct tls_engine *t, uint8_t out[TLS_LAST_WORDS])
{
	int code = br_ssl_engine_last_error(t->eng);
	uint8_t alert;

	/* BearSSL ends without an alert where it does not like certificates, and nothing is encrypted yet at that point. */
	switch (code) {
	case BR_ERR_X509_EXPIRED:
		alert = 45;
		break;
	case BR_ERR_X509_NOT_TRUSTED:
		alert = 48;
		break;
	case BR_ERR_X509_UNSUPPORTED:
	case BR_ERR_X509_FORBIDDEN_KEY_USAGE:
	case BR_ERR_X509_WEAK_PUBLIC_KEY:
		alert = 43;
		break;
	case BR_ERR_NO_CLIENT_AUTH:
		alert = 116;
		break;
	default:
		if (code <= BR_ERR_X509_OK || code > BR_ERR_X509_NOT_TRUSTED)
			return 0;
		alert = 42;
	}
	/* A fatal alert (RFC 5246, 7.2). */
	memcpy(out, ((const uint8_t[TLS_LAST_WORDS]){0x15, 0x03, 0x03, 0x00, 0x02, 0x02, alert}), TLS_LAST_WORDS);
	return TLS_LAST_WORDS;
}

const char *
tls_engine_alpn(const struct tls_engine *t)
{
	const char *s = br_ssl_engine_get_selected_protocol((br_ssl_engine_context *)t->eng);

	return s != NULL ? s : "";
}

const char *
tls_engine_sni(const struct tls_engine *t)
{
	const char *s = t->cfg->is_server ? br_ssl_engine_get_server_name(t->eng) : NULL;

	return s != NULL ? s : "";
}

struct slice
tls_engine_peer_cert(const struct tls_engine *t)
{
	return buf_slice(&t->checker.leaf);
}
