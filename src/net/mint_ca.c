/*
 * The authority behind minted certificates: loaded and checked, or made.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "base/write_file.h"
#include "net/mint_internal.h"
#include "net/tls_internal.h"
#include "net/x509.h"

/* "proxy CA of a-long-host-name" and behind it a number, together a common name. */
#define NAME_SHOWN 40

/* ---- checks ---- */

static int
check_key(const struct mint_ca *ca, struct err *e)
{
	unsigned bits;

	if (ca->id->key_type != BR_KEYTYPE_RSA)
		return 0;
	bits = br_skey_decoder_get_rsa(&ca->id->key)->n_bitlen;
	if (bits < MINT_RSA_BITS_MIN || bits > MINT_RSA_BITS_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "%s: an RSA key of %u bits; %d to %d can be used", ca->what, bits,
		    MINT_RSA_BITS_MIN, MINT_RSA_BITS_MAX);
	return 0;
}

/* What a client would refuse later is said now. */
static int
check_certificate(struct mint_ca *ca, struct err *e)
{
	const br_x509_certificate *first = &ca->id->chain[0];
	int64_t now = clock_wall_ms() / 1000;
	char from[X509_TIME_MAX], to[X509_TIME_MAX];
	struct x509 c;

	if (x509_read(&c, slice_make(first->data, first->data_len)) != 0)
		return err_set(e, ERR_INVALID_ARGUMENT, "%s: the first certificate cannot be read", ca->what);
	if (!c.is_ca)
		return err_set(e, ERR_INVALID_ARGUMENT, "%s: the first certificate is not one of an authority (BasicConstraints CA:TRUE)",
		    ca->what);
	if (c.has_key_usage && (c.key_usage & X509_SIGNS_CERTS) == 0)
		return err_set(e, ERR_INVALID_ARGUMENT, "%s: the first certificate may not sign others (KeyUsage lacks keyCertSign)",
		    ca->what);
	if (c.subject.n == 0)
		return err_set(e, ERR_INVALID_ARGUMENT, "%s: the first certificate has no subject", ca->what);
	if (now > c.not_after || now < c.not_before)
		return err_set(e, ERR_FAILED_PRECONDITION, "%s: the first certificate has expired or is not valid yet (%s to %s)", ca->what,
		    x509_time_text(c.not_before, from), x509_time_text(c.not_after, to));
	ca->subject = c.subject;
	ca->ski = c.ski;
	ca->not_after = c.not_after;
	ca->sends_self = !slice_eq(c.subject, c.issuer);
	return 0;
}

/* Takes the identity, also when it fails. */
static struct mint_ca *
ca_new(struct tls_identity *id, const char *what, struct err *e)
{
	struct mint_ca *ca;
	struct buf scratch = BUF_INIT;
	struct mint_cert trial;
	int rc;

	if (id == NULL)
		return NULL;
	ca = xcalloc(1, sizeof(*ca));
	atomic_init(&ca->refs, 1);
	ca->id = id;
	snprintf(ca->what, sizeof(ca->what), "%s", what);
	rand_bytes(ca->serial_secret, sizeof(ca->serial_secret));
	if (check_certificate(ca, e) != 0 || check_key(ca, e) != 0 || mint_key_make(&ca->leaf_key, e) != 0)
		goto fail;
	/* A key that cannot sign shows here, not at the first client. */
	trial = (struct mint_cert){.issuer = ca->subject, .dns = slice_str("localhost"), .key = &ca->leaf_key};
	rc = mint_cert_write(&scratch, &trial, ca->id, e);
	buf_free(&scratch);
	if (rc == 0)
		return ca;
	err_wrap(e, "%s", what);
fail:
	mint_ca_unref(ca);
	return NULL;
}

static void
warn_readable(const char *key_file)
{
	struct stat st;

	if (stat(key_file, &st) == 0 && (st.st_mode & 077) != 0)
		log_warn("the key of the proxy's certificate authority can be read by others than its owner file=%s mode=%03o", key_file,
		    (unsigned)(st.st_mode & 0777));
}

struct mint_ca *
mint_ca_load(const char *cert_file, const char *key_file, struct err *e)
{
	struct mint_ca *ca = ca_new(tls_identity_load(cert_file, key_file, e), cert_file, e);

	if (ca != NULL)
		warn_readable(key_file);
	return ca;
}

/* ---- making ---- */

static void
put_pem(struct buf *out, const char *kind, const void *der, size_t n)
{
	size_t len = br_pem_encode(NULL, der, n, kind, BR_PEM_LINE64);

	/* One more: it ends with a NUL. */
	br_pem_encode(buf_reserve(out, len + 1), der, n, kind, BR_PEM_LINE64);
	buf_added(out, len);
}

/* PEM of a fresh self-signed authority and of its key. */
static int
make_pem(const char *name, struct buf *cert, struct buf *key, struct err *e)
{
	struct buf der = BUF_INIT, subject = BUF_INIT;
	struct mint_key fresh;
	struct tls_identity signer = {0};
	uint8_t raw[MINT_KEY_DER_MAX], ski[MINT_SKI_BYTES];
	char common[MINT_NAME_MAX + 1];
	int64_t now = clock_wall_ms() / 1000;
	size_t raw_len;
	int rc;

	if (mint_key_make(&fresh, e) != 0)
		return -1;
	raw_len = br_encode_ec_pkcs8_der(NULL, &fresh.sk, &fresh.pk);
	if (raw_len == 0 || raw_len > sizeof(raw))
		return err_set(e, ERR_INTERNAL, "write a P-256 key: %zu bytes", raw_len);
	br_encode_ec_pkcs8_der(raw, &fresh.sk, &fresh.pk);
	br_skey_decoder_init(&signer.key);
	br_skey_decoder_push(&signer.key, raw, raw_len);
	signer.key_type = br_skey_decoder_key_type(&signer.key);
	mint_key_ski(&fresh, ski);
	/* The number keeps authorities of one name apart for those who trust several. */
	snprintf(common, sizeof(common), "%.*s %08x", NAME_SHOWN, name, (unsigned)(rand_u64() & 0xffffffff));
	mint_name_write(&subject, slice_str(common));
	rc = mint_cert_write(&der, &(struct mint_cert){
		.issuer = buf_slice(&subject), .subject = buf_slice(&subject), .authority_ski = slice_make(ski, sizeof(ski)),
		.key = &fresh, .not_before = now - MINT_LEAF_BEFORE_S, .not_after = now + (int64_t)MINT_CA_DAYS * 86400, .is_ca = true,
	    }, &signer, e);
	if (rc == 0) {
		put_pem(cert, "CERTIFICATE", buf_data(&der), der.len);
		put_pem(key, "PRIVATE KEY", raw, raw_len);
	}
	memset(&fresh, 0, sizeof(fresh));
	memset(&signer, 0, sizeof(signer));
	memset(raw, 0, sizeof(raw));
	buf_free(&subject);
	buf_free(&der);
	return rc;
}

struct mint_ca *
mint_ca_in_memory(const char *name, struct err *e)
{
	struct buf cert = BUF_INIT, key = BUF_INIT;
	struct mint_ca *ca = NULL;

	if (make_pem(name, &cert, &key, e) == 0)
		ca = ca_new(tls_identity_parse(buf_slice(&cert), buf_slice(&key), "own CA", e), "own CA", e);
	buf_free(&cert);
	buf_wipe(&key);
	return ca;
}

/* ---- in a directory ---- */

static int
write_new(const char *dir, const char *name, mode_t mode, struct slice content, struct err *e)
{
	char *path = xasprintf("%s/%s", dir, name);
	int fd, rc = -1;

	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	if (fd < 0) {
		err_sys(e, errno, "create %s", path);
		free(path);
		return -1;
	}
	while (content.n > 0) {
		ssize_t n = write(fd, content.p, content.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			err_sys(e, errno, "write %s", path);
			goto out;
		}
		content = slice_sub(content, (size_t)n, content.n);
	}
	/* Whatever the process's mask is. */
	if (fchmod(fd, mode) != 0 || fsync(fd) != 0)
		err_sys(e, errno, "write %s", path);
	else
		rc = 0;
out:
	close(fd);
	free(path);
	return rc;
}

static void
remove_pair(const char *dir)
{
	const char *const names[] = {MINT_CA_CERT, MINT_CA_KEY};

	for (size_t i = 0; i < COUNT_OF(names); i++) {
		char *path = xasprintf("%s/%s", dir, names[i]);

		unlink(path);
		free(path);
	}
	rmdir(dir);
}

/* Both files are written beside `dir` and appear in it at once. 1 made, 0 somebody else was first, -1. */
static int
make_dir(const char *dir, const char *name, struct err *e)
{
	struct buf cert = BUF_INIT, key = BUF_INIT;
	char *side = xasprintf("%s.new-%016llx", dir, (unsigned long long)rand_u64());
	int rc = -1;

	if (make_pem(name, &cert, &key, e) != 0)
		goto out;
	if (mkdir(side, 0755) != 0) {
		err_sys(e, errno, "create %s", dir);
		goto out;
	}
	if (write_new(side, MINT_CA_KEY, 0600, buf_slice(&key), e) == 0 &&
	    write_new(side, MINT_CA_CERT, 0644, buf_slice(&cert), e) == 0) {
		if (rename(side, dir) == 0) {
			sync_parent(dir);
			rc = 1;
			goto out;
		}
		if (errno == EEXIST || errno == ENOTEMPTY)
			rc = 0;
		else
			err_sys(e, errno, "create %s", dir);
	}
	remove_pair(side);
out:
	free(side);
	buf_free(&cert);
	buf_wipe(&key);
	return rc;
}

static bool
is_missing(const char *path)
{
	return access(path, F_OK) != 0 && errno == ENOENT;
}

struct mint_ca *
mint_ca_open_dir(const char *dir, const char *name, bool *made, struct err *e)
{
	char *cert = xasprintf("%s/%s", dir, MINT_CA_CERT), *key = xasprintf("%s/%s", dir, MINT_CA_KEY);
	struct mint_ca *ca = NULL;
	int rc = 0;

	/* Half a pair is somebody's accident: making a new one would hide it. */
	if (is_missing(cert) && is_missing(key))
		rc = make_dir(dir, name, e);
	if (made != NULL)
		*made = rc == 1;
	if (rc >= 0)
		ca = mint_ca_load(cert, key, e);
	free(cert);
	free(key);
	return ca;
}

/* ---- life ---- */

struct mint_ca *
mint_ca_ref(struct mint_ca *ca)
{
	atomic_fetch_add(&ca->refs, 1);
	return ca;
}

void
mint_ca_unref(struct mint_ca *ca)
{
	if (ca == NULL || atomic_fetch_sub(&ca->refs, 1) != 1)
		return;
	tls_identity_unref(ca->id);
	mem_wipe(&ca->leaf_key, sizeof(ca->leaf_key));
	mem_wipe(ca->serial_secret, sizeof(ca->serial_secret));
	free(ca);
}

int64_t
mint_ca_not_after(const struct mint_ca *ca)
{
	return ca->not_after;
}
