#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "net/tls_internal.h"
#include "net/x509.h"
#include "text/encode.h"

/* Certificates in one bundle: the largest public ones have some 300. */
#define ANCHORS_MAX 4096
/* RSA moduli up to 8192 bits are read; BearSSL refuses to use more than 4096. */
#define MODULUS_MAX 1024
/* A label such as "CERTIFICATE", with its NUL. */
#define PEM_NAME_MAX 64

/* ---- files ---- */

static void
remember(struct tls_file *f, const struct stat *st)
{
	f->size = st->st_size;
	f->inode = st->st_ino;
	f->modified = st->st_mtim.tv_sec;
	f->modified_ns = st->st_mtim.tv_nsec;
}

int
tls_file_read(struct tls_file *f, const char *path, struct slice *out, struct err *e)
{
	struct stat st;
	uint8_t *p = NULL;
	size_t got = 0, size;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_sys(e, errno, "open %s", path);
	if (fstat(fd, &st) != 0) {
		err_sys(e, errno, "stat %s", path);
		goto fail;
	}
	if (!S_ISREG(st.st_mode)) {
		err_set(e, ERR_INVALID_ARGUMENT, "%s: not a regular file", path);
		goto fail;
	}
	if (st.st_size > (off_t)TLS_PEM_MAX) {
		err_set(e, ERR_INVALID_ARGUMENT, "%s: larger than %u bytes", path, TLS_PEM_MAX);
		goto fail;
	}
	size = (size_t)st.st_size;
	p = xmalloc(size + 1);
	while (got < size) {
		ssize_t n = read(fd, p + got, size - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			err_sys(e, errno, "read %s", path);
			goto fail;
		}
		if (n == 0)
			break;
		got += (size_t)n;
	}
	close(fd);
	if (f != NULL) {
		free(f->path);
		f->path = xstrdup(path);
		remember(f, &st);
	}
	*out = slice_make(p, got);
	return 0;
fail:
	free(p);
	close(fd);
	return -1;
}

bool
tls_file_changed(const struct tls_file *f)
{
	struct tls_file now = {0};
	struct stat st;

	/* A file that is gone just now is being replaced, or lost: either way what was loaded goes on working. */
	if (f->path == NULL || stat(f->path, &st) != 0)
		return false;
	remember(&now, &st);
	return now.size != f->size || now.inode != f->inode || now.modified != f->modified || now.modified_ns != f->modified_ns;
}

void
tls_file_free(struct tls_file *f)
{
	free(f->path);
	f->path = NULL;
}

/* ---- PEM ---- */

static void
to_buf(void *ctx, const void *p, size_t n)
{
	buf_append(ctx, p, n);
}

static struct slice
take_line(struct slice *text)
{
	ptrdiff_t end = slice_find(*text, '\n');
	size_t n = end >= 0 ? (size_t)end : text->n;
	struct slice line = slice_sub(*text, 0, n);

	*text = slice_sub(*text, n + (end >= 0), text->n);
	if (line.n > 0 && line.p[line.n - 1] == '\r')
		line.n--;
	return slice_trim(line);
}

/* "-----BEGIN CERTIFICATE-----" for word "BEGIN"; the label, in capitals, goes to name. */
static bool
is_frame(struct slice line, const char *word, char name[PEM_NAME_MAX])
{
	struct slice label;
	size_t prefix;
	char start[16];

	snprintf(start, sizeof(start), "-----%s ", word);
	prefix = strlen(start);
	if (!slice_starts(line, start) || !slice_ends(line, "-----") || line.n < prefix + 5 || line.n - prefix - 5 >= PEM_NAME_MAX)
		return false;
	label = slice_sub(line, prefix, line.n - prefix - 5);
	for (size_t i = 0; i < label.n; i++)
		name[i] = (char)(label.p[i] >= 'a' && label.p[i] <= 'z' ? label.p[i] - 'a' + 'A' : label.p[i]);
	name[label.n] = '\0';
	return true;
}

/* Blanks may stand anywhere. */
static void
add_base64(struct buf *text, struct slice line)
{
	uint8_t *to = buf_reserve(text, line.n);
	size_t n = 0;

	for (size_t i = 0; i < line.n; i++)
		if (line.p[i] != ' ' && line.p[i] != '\t')
			to[n++] = line.p[i];
	buf_added(text, n);
}

/*
 * Calls fn for each object of the text; fn returns false to stop. False when the text is broken at some place (what is before
 * and behind is still given). Done here: BearSSL's decoder, which goes byte by byte, needs 40 ms for the roots of a system.
 */
static bool
pem_each(struct slice pem, bool (*fn)(void *ctx, const char *name, struct slice der), void *ctx)
{
	struct buf text = BUF_INIT, der = BUF_INIT;
	char name[PEM_NAME_MAX], end[PEM_NAME_MAX];
	bool ok = true, inside = false;

	/* Private keys pass here: no copies stay behind where a buffer grew. */
	buf_reserve(&text, pem.n);
	buf_reserve(&der, pem.n);
	while (pem.n > 0) {
		struct slice line = take_line(&pem);

		if (is_frame(line, "BEGIN", end)) {
			ok = ok && !inside;
			snprintf(name, sizeof(name), "%s", end);
			inside = true;
			buf_clear(&text);
			buf_clear(&der);
		} else if (inside && slice_starts(line, "-----")) {
			inside = false;
			if (!is_frame(line, "END", end) || strcmp(name, end) != 0 || base64_decode(buf_slice(&text), BASE64_STD, &der) != 0)
				ok = false;
			else if (!fn(ctx, name, buf_slice(&der)))
				break;
		} else if (inside) {
			add_base64(&text, line);
		}
	}
	buf_wipe(&text);
	buf_wipe(&der);
	return ok && !inside;
}

static bool
is_certificate(const char *name)
{
	return strcmp(name, "CERTIFICATE") == 0 || strcmp(name, "X509 CERTIFICATE") == 0;
}

/* ---- anchors ---- */

static uint8_t *
copy_bytes(const uint8_t *p, size_t n)
{
	uint8_t *out = xmalloc(n);

	/* A name may be empty, and nowhere then. */
	if (n > 0)
		memcpy(out, p, n);
	return out;
}

int
tls_anchors_add_der(struct tls_anchors *a, struct slice der)
{
	br_x509_decoder_context *dec;
	struct buf dn = BUF_INIT;
	br_x509_trust_anchor *ta;
	br_x509_pkey *key;

	if (der.n > X509_CERT_MAX || a->count >= ANCHORS_MAX)
		return -1;
	dec = xmalloc(sizeof(*dec));
	br_x509_decoder_init(dec, to_buf, &dn);
	br_x509_decoder_push(dec, der.p, der.n);
	key = br_x509_decoder_get_pkey(dec);
	if (key == NULL || (key->key_type != BR_KEYTYPE_RSA && key->key_type != BR_KEYTYPE_EC)) {
		buf_free(&dn);
		free(dec);
		return -1;
	}
	if (a->count == a->cap) {
		a->cap = a->cap > 0 ? a->cap * 2 : 8;
		a->list = xrealloc(a->list, a->cap * sizeof(*a->list));
	}
	ta = &a->list[a->count++];
	memset(ta, 0, sizeof(*ta));
	ta->dn.data = copy_bytes(buf_data(&dn), dn.len);
	ta->dn.len = dn.len;
	ta->flags = br_x509_decoder_isCA(dec) ? BR_X509_TA_CA : 0;
	ta->pkey.key_type = key->key_type;
	if (key->key_type == BR_KEYTYPE_RSA) {
		ta->pkey.key.rsa.n = copy_bytes(key->key.rsa.n, key->key.rsa.nlen);
		ta->pkey.key.rsa.nlen = key->key.rsa.nlen;
		ta->pkey.key.rsa.e = copy_bytes(key->key.rsa.e, key->key.rsa.elen);
		ta->pkey.key.rsa.elen = key->key.rsa.elen;
	} else {
		ta->pkey.key.ec.curve = key->key.ec.curve;
		ta->pkey.key.ec.q = copy_bytes(key->key.ec.q, key->key.ec.qlen);
		ta->pkey.key.ec.qlen = key->key.ec.qlen;
	}
	buf_free(&dn);
	free(dec);
	return 0;
}

struct anchors_sink {
	struct tls_anchors *anchors;
	size_t bad;
};

static bool
add_anchor(void *ctx, const char *name, struct slice der)
{
	struct anchors_sink *s = ctx;

	if (is_certificate(name) && tls_anchors_add_der(s->anchors, der) != 0)
		s->bad++;
	return true;
}

int
tls_anchors_add_pem(struct tls_anchors *a, struct slice pem, size_t *bad)
{
	struct anchors_sink s = {a, 0};

	if (!pem_each(pem, add_anchor, &s))
		s.bad++;
	*bad += s.bad;
	return 0;
}

void
tls_anchors_free(struct tls_anchors *a)
{
	for (size_t i = 0; i < a->count; i++) {
		br_x509_trust_anchor *ta = &a->list[i];

		free(ta->dn.data);
		if (ta->pkey.key_type == BR_KEYTYPE_RSA) {
			free(ta->pkey.key.rsa.n);
			free(ta->pkey.key.rsa.e);
		} else {
			free(ta->pkey.key.ec.q);
		}
	}
	free(a->list);
	*a = (struct tls_anchors){0};
}

/* ---- identities ---- */

struct identity_sink {
	struct tls_identity *id;
	struct err *e;
	const char *what;
	bool failed;
	bool has_key;
};

static bool
add_chain_cert(void *ctx, const char *name, struct slice der)
{
	struct identity_sink *s = ctx;
	struct tls_identity *id = s->id;

	if (!is_certificate(name))
		return true;
	if (id->chain_len == TLS_CHAIN_MAX || der.n > X509_CERT_MAX) {
		err_set(s->e, ERR_INVALID_ARGUMENT, "%s: more than %d certificates, or one above %u bytes", s->what, TLS_CHAIN_MAX,
		    X509_CERT_MAX);
		s->failed = true;
		return false;
	}
	id->chain[id->chain_len].data = copy_bytes(der.p, der.n);
	id->chain[id->chain_len].data_len = der.n;
	id->chain_len++;
	return true;
}

static bool
add_key(void *ctx, const char *name, struct slice der)
{
	struct identity_sink *s = ctx;

	if (strcmp(name, "ENCRYPTED PRIVATE KEY") == 0) {
		err_set(s->e, ERR_INVALID_ARGUMENT, "%s: the private key is encrypted; give it without a passphrase", s->what);
		s->failed = true;
		return false;
	}
	if (strcmp(name, "PRIVATE KEY") != 0 && strcmp(name, "RSA PRIVATE KEY") != 0 && strcmp(name, "EC PRIVATE KEY") != 0)
		return true;
	br_skey_decoder_init(&s->id->key);
	br_skey_decoder_push(&s->id->key, der.p, der.n);
	s->id->key_type = br_skey_decoder_key_type(&s->id->key);
	if (s->id->key_type == 0) {
		err_set(s->e, ERR_INVALID_ARGUMENT, "%s: not an RSA or EC private key that can be read", s->what);
		s->failed = true;
		return false;
	}
	s->has_key = true;
	return false;
}

static bool
bytes_eq(const uint8_t *a, size_t an, const uint8_t *b, size_t bn)
{
	return slice_eq(slice_make(a, an), slice_make(b, bn));
}

/* Whether the private key is the one of this public key. */
static bool
is_pair(const struct tls_identity *id, const br_x509_pkey *pub)
{
	if (pub->key_type != id->key_type)
		return false;
	if (id->key_type == BR_KEYTYPE_RSA) {
		const br_rsa_private_key *sk = br_skey_decoder_get_rsa(&id->key);
		br_rsa_compute_modulus compute = br_rsa_compute_modulus_get_default();
		size_t n = compute(NULL, sk);
		uint8_t mod[MODULUS_MAX];

		if (n == 0 || n > sizeof(mod) || compute(mod, sk) != n)
			return false;
		return bytes_eq(mod, n, pub->key.rsa.n, pub->key.rsa.nlen);
	} else {
		const br_ec_private_key *sk = br_skey_decoder_get_ec(&id->key);
		uint8_t kbuf[BR_EC_KBUF_PUB_MAX_SIZE];
		br_ec_public_key pk;
		size_t n = br_ec_compute_pub(br_ec_get_default(), &pk, kbuf, sk);

		return n > 0 && pk.curve == pub->key.ec.curve && bytes_eq(pk.q, pk.qlen, pub->key.ec.q, pub->key.ec.qlen);
	}
}

/* Looks at the first certificate of the chain: readable, and of this key. */
static int
check_leaf(struct tls_identity *id, const char *cert_what, const char *key_what, struct err *e)
{
	br_x509_decoder_context *dec = xmalloc(sizeof(*dec));
	const br_x509_pkey *pub;
	int rc = -1;

	br_x509_decoder_init(dec, NULL, NULL);
	br_x509_decoder_push(dec, id->chain[0].data, id->chain[0].data_len);
	pub = br_x509_decoder_get_pkey(dec);
	if (pub == NULL) {
		err_set(e, ERR_INVALID_ARGUMENT, "%s: the first certificate cannot be read (%s)", cert_what,
		    br_x509_decoder_last_error(dec) != 0 ? tls_error_text(br_x509_decoder_last_error(dec)) : "cut off");
	} else if (!is_pair(id, pub)) {
		err_set(e, ERR_INVALID_ARGUMENT, "%s: not the key of the first certificate in %s", key_what, cert_what);
	} else {
		id->issuer_key_type = br_x509_decoder_get_signer_key_type(dec);
		rc = 0;
	}
	free(dec);
	return rc;
}

static struct tls_identity *
identity_make(struct slice cert_pem, const char *cert_what, struct slice key_pem, const char *key_what, struct err *e)
{
	struct tls_identity *id = xcalloc(1, sizeof(*id));
	struct identity_sink s = {.id = id, .e = e, .what = cert_what};
	bool ok;

	atomic_init(&id->refs, 1);
	ok = pem_each(cert_pem, add_chain_cert, &s);
	if (s.failed)
		goto fail;
	if (id->chain_len == 0 || !ok) {
		err_set(e, ERR_INVALID_ARGUMENT, ok ? "%s: no certificate in PEM form" : "%s: broken PEM", cert_what);
		goto fail;
	}
	s.what = key_what;
	pem_each(key_pem, add_key, &s);
	if (s.failed)
		goto fail;
	if (!s.has_key) {
		err_set(e, ERR_INVALID_ARGUMENT, "%s: no private key in PEM form", key_what);
		goto fail;
	}
	if (check_leaf(id, cert_what, key_what, e) != 0)
		goto fail;
	return id;
fail:
	tls_identity_unref(id);
	return NULL;
}

struct tls_identity *
tls_identity_parse(struct slice cert_pem, struct slice key_pem, const char *what, struct err *e)
{
	return identity_make(cert_pem, what, key_pem, what, e);
}

struct tls_identity *
tls_identity_load(const char *cert_file, const char *key_file, struct err *e)
{
	struct slice cert = {0}, key = {0};
	struct tls_identity *id = NULL;

	if (tls_file_read(NULL, cert_file, &cert, e) == 0 && tls_file_read(NULL, key_file, &key, e) == 0)
		id = identity_make(cert, cert_file, key, key_file, e);
	if (key.p != NULL)
		mem_wipe((void *)(uintptr_t)key.p, key.n);
	free((void *)(uintptr_t)cert.p);
	free((void *)(uintptr_t)key.p);
	return id;
}

unsigned
tls_identity_rsa_bits(const struct tls_identity *id)
{
	return id->key_type == BR_KEYTYPE_RSA ? br_skey_decoder_get_rsa(&id->key)->n_bitlen : 0;
}

struct tls_identity *
tls_identity_ref(struct tls_identity *id)
{
	atomic_fetch_add(&id->refs, 1);
	return id;
}

void
tls_identity_unref(struct tls_identity *id)
{
	if (id == NULL || atomic_fetch_sub(&id->refs, 1) != 1)
		return;
	for (size_t i = 0; i < id->chain_len; i++)
		free(id->chain[i].data);
	mem_wipe(&id->key, sizeof(id->key));
	free(id);
}
