#include "net/mint.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "net/addr.h"
#include "net/mint_internal.h"
#include "net/tls_internal.h"
#include "net/x509.h"

/* Longest DNS name as text, and longest label (RFC 1035, 2.3.4). */
#define HOST_MAX 253
#define LABEL_MAX 63
#define DAY_S ((int64_t)24 * 3600)

struct leaf {
	struct list by_use;             /* most recently used first */
	struct tls_identity *id;
	int64_t not_after;
	size_t host_len;
	char host[];                    /* the key: lower case, no dot at the end, no brackets */
};

struct mint {
	struct mint_ca *ca;
	struct map leaves;
	struct list by_use;
	size_t max;
	uint64_t made;
};

/* ---- names ---- */

struct name {
	char text[HOST_MAX + 1];
	size_t len;
	struct addr ip;
	bool is_ip;
};

static int
refuse(const char *host, const char *why, struct err *e)
{
	return err_set(e, ERR_INVALID_ARGUMENT, "no certificate can be made for \"%.64s\": %s", host, why);
}

static int
read_ip(struct name *out, const char *host, struct slice text, struct err *e)
{
	char plain[ADDR_TEXT_MAX];

	if (slice_find(text, '%') >= 0)
		return refuse(host, "an address with a zone", e);
	addr_format_ip(&out->ip, plain);
	out->len = strlen(plain);
	memcpy(out->text, plain, out->len + 1);
	out->is_ip = true;
	return 0;
}

static bool
is_label_byte(uint8_t c)
{
	return isalnum(c) || c == '-' || c == '_';
}

static int
read_dns(struct name *out, const char *host, struct slice text, struct err *e)
{
	size_t label = 0;
	bool digits = true;

	for (size_t i = 0; i < text.n; i++) {
		uint8_t c = text.p[i];

		if (c == '.') {
			if (label == 0)
				return refuse(host, "an empty label", e);
			label = 0;
			digits = true;
		} else if (!is_label_byte(c)) {
			return refuse(host, "not a DNS name", e);
		} else if (++label > LABEL_MAX) {
			return refuse(host, "a label of more than 63 bytes", e);
		} else {
			digits = digits && isdigit(c);
		}
		out->text[i] = (char)tolower(c);
	}
	/* "1.2.3" and "10.0.0.256" are addresses to some readers and names to others. */
	if (digits)
		return refuse(host, "neither an IP address nor a DNS name", e);
	out->len = text.n;
	out->text[text.n] = '\0';
	return 0;
}

static int
read_name(struct name *out, const char *host, struct err *e)
{
	struct slice text = slice_str(host);

	*out = (struct name){0};
	if (text.n >= 2 && text.p[0] == '[' && text.p[text.n - 1] == ']') {
		text = slice_sub(text, 1, text.n - 2);
		if (slice_find(text, ':') < 0)
			return refuse(host, "not an IPv6 address", e);
	}
	if (text.n > 1 && text.p[text.n - 1] == '.' && slice_find(text, ':') < 0)
		text.n--;
	if (text.n == 0)
		return refuse(host, "an empty name", e);
	if (text.n > HOST_MAX)
		return refuse(host, "longer than 253 bytes", e);
	if (addr_from_ip(&out->ip, text, 0) == 0)
		return read_ip(out, host, text, e);
	return read_dns(out, host, text, e);
}

/* ---- one leaf ---- */

static void
add_chain(struct tls_identity *id, const void *der, size_t n)
{
	br_x509_certificate *c;

	if (id->chain_len == TLS_CHAIN_MAX)
		return;
	c = &id->chain[id->chain_len++];
	c->data = xmalloc(n);
	c->data_len = n;
	memcpy(c->data, der, n);
}

/* What is shown: the leaf, then the authorities that a client need not have (a root it must have). */
static struct tls_identity *
identity_of(const struct mint_ca *ca, struct slice leaf, struct err *e)
{
	struct tls_identity *id = xcalloc(1, sizeof(*id));
	uint8_t raw[MINT_KEY_DER_MAX];
	size_t n = br_encode_ec_raw_der(NULL, &ca->leaf_key.sk, &ca->leaf_key.pk);

	atomic_init(&id->refs, 1);
	br_skey_decoder_init(&id->key);
	if (n > 0 && n <= sizeof(raw)) {
		br_encode_ec_raw_der(raw, &ca->leaf_key.sk, &ca->leaf_key.pk);
		br_skey_decoder_push(&id->key, raw, n);
		memset(raw, 0, sizeof(raw));
	}
	id->key_type = br_skey_decoder_key_type(&id->key);
	id->issuer_key_type = ca->id->key_type;
	if (id->key_type != BR_KEYTYPE_EC) {
		err_set(e, ERR_INTERNAL, "the leaves' key cannot be read back");
		tls_identity_unref(id);
		return NULL;
	}
	add_chain(id, leaf.p, leaf.n);
	for (size_t i = ca->sends_self ? 0 : 1; i < ca->id->chain_len; i++)
		add_chain(id, ca->id->chain[i].data, ca->id->chain[i].data_len);
	return id;
}

static struct tls_identity *
make(const struct mint_ca *ca, const struct name *name, int64_t now, int64_t *not_after, struct err *e)
{
	struct buf subject = BUF_INIT, der = BUF_INIT;
	struct tls_identity *id = NULL;
	struct mint_cert cert = {
		.issuer = ca->subject, .authority_ski = ca->ski, .key = &ca->leaf_key, .serial_secret = {ca->serial_secret, sizeof(ca->serial_secret)}};
	int64_t day = now - now % DAY_S;

	cert.not_before = day - MINT_LEAF_BEFORE_S;
	cert.not_after = day + (MINT_LEAF_DAYS + 1) * DAY_S;
	if (cert.not_after > ca->not_after)
		cert.not_after = ca->not_after;
	if (name->len <= MINT_NAME_MAX)
		mint_name_write(&subject, slice_make(name->text, name->len));
	cert.subject = buf_slice(&subject);
	if (name->is_ip)
		cert.ip = addr_ip_bytes(&name->ip);
	else
		cert.dns = slice_make(name->text, name->len);
	if (mint_cert_write(&der, &cert, ca->id, e) == 0)
		id = identity_of(ca, buf_slice(&der), e);
	else
		err_wrap(e, "certificate for %s", name->text);
	*not_after = cert.not_after;
	buf_free(&der);
	buf_free(&subject);
	return id;
}

/* ---- the store ---- */

static void
drop(struct mint *m, struct leaf *l)
{
	map_del(&m->leaves, slice_make(l->host, l->host_len));
	list_del(&l->by_use);
	tls_identity_unref(l->id);
	free(l);
}

static void
keep(struct mint *m, const struct name *name, struct tls_identity *id, int64_t not_after)
{
	struct leaf *l = xmalloc(sizeof(*l) + name->len + 1);

	while (m->leaves.count >= m->max)
		drop(m, CONTAINER_OF(m->by_use.prev, struct leaf, by_use));
	l->id = tls_identity_ref(id);
	l->not_after = not_after;
	l->host_len = name->len;
	memcpy(l->host, name->text, name->len + 1);
	map_put(&m->leaves, slice_make(l->host, l->host_len), l);
	list_add_head(&m->by_use, &l->by_use);
}

/* One that ends with the authority cannot be bettered by making it anew. */
static bool
is_fresh(const struct mint *m, const struct leaf *l, int64_t now)
{
	return l->not_after - now >= MINT_LEAF_RENEW_S || (l->not_after == m->ca->not_after && now <= l->not_after);
}

struct tls_identity *
mint_identity(struct mint *m, const char *host, int64_t now, struct err *e)
{
	struct tls_identity *id;
	struct name name;
	struct leaf *l;
	int64_t not_after;

	if (read_name(&name, host, e) != 0)
		return NULL;
	l = map_get(&m->leaves, slice_make(name.text, name.len));
	if (l != NULL && is_fresh(m, l, now)) {
		list_del(&l->by_use);
		list_add_head(&m->by_use, &l->by_use);
		return tls_identity_ref(l->id);
	}
	if (l != NULL)
		drop(m, l);
	if (now > m->ca->not_after) {
		char end[X509_TIME_MAX];

		err_set(e, ERR_FAILED_PRECONDITION, "%s: the authority's certificate has expired (%s)", m->ca->what,
		    x509_time_text(m->ca->not_after, end));
		return NULL;
	}
	id = make(m->ca, &name, now, &not_after, e);
	if (id == NULL)
		return NULL;
	m->made++;
	keep(m, &name, id, not_after);
	return id;
}

struct mint *
mint_new(struct mint_ca *ca, size_t cache_max)
{
	struct mint *m = xcalloc(1, sizeof(*m));

	m->ca = mint_ca_ref(ca);
	m->max = cache_max > 0 ? cache_max : 1;
	map_init(&m->leaves);
	list_init(&m->by_use);
	return m;
}

void
mint_free(struct mint *m)
{
	if (m == NULL)
		return;
	while (!list_is_empty(&m->by_use))
		drop(m, CONTAINER_OF(m->by_use.next, struct leaf, by_use));
	map_free(&m->leaves);
	mint_ca_unref(m->ca);
	free(m);
}

size_t
mint_count(const struct mint *m)
{
	return m->leaves.count;
}

uint64_t
mint_made(const struct mint *m)
{
	return m->made;
}
