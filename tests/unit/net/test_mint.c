#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "net/der.h"
#include "net/mint.h"
#include "net/mint_internal.h"
#include "net/tls_internal.h"
#include "net/x509.h"

#define VECTORS "tests/vectors/tls/"

/* A directory for each test program; authorities of all kinds are made in it once, by openssl. */
static char dir[64];

#define NEW_CA(name, key, days, ext) \
	"openssl req -x509 -nodes -newkey " key " -keyout " name ".key -out " name ".crt -days " days " -subj '/O=Test/CN=" name \
	"' -addext keyUsage=critical,keyCertSign,cRLSign " ext " 2>>log"

static int
run(const char *script)
{
	char *all = xasprintf("cd %s && { %s; }", dir, script);
	int rc = system(all);

	free(all);
	return WIFEXITED(rc) ? WEXITSTATUS(rc) : -1;
}

static void
must(const char *script)
{
	if (run(script) != 0)
		fail_msg("failed: %s (see %s/log)", script, dir);
}

static char *
at(const char *name)
{
	return xasprintf("%s/%s", dir, name);
}

static int
set_up(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "%s/test_mint-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	if (mkdtemp(dir) == NULL)
		return -1;
	if (run("openssl version >log 2>&1") != 0)
		return 0;
	must(NEW_CA("rsa", "rsa:2048", "100", ""));
	must(NEW_CA("p256", "ec -pkeyopt ec_paramgen_curve:prime256v1", "100", ""));
	must(NEW_CA("p384", "ec -pkeyopt ec_paramgen_curve:secp384r1", "100", ""));
	must(NEW_CA("p521", "ec -pkeyopt ec_paramgen_curve:secp521r1", "100", ""));
	must(NEW_CA("short", "ec -pkeyopt ec_paramgen_curve:prime256v1", "3", ""));
	must(NEW_CA("small", "rsa:1024", "100", ""));
	return 0;
}

static int
tear_down(void **state)
{
	char *script = xasprintf("rm -rf %s", dir);

	(void)state;
	if (system(script) != 0)
		fprintf(stderr, "%s stays behind\n", dir);
	free(script);
	return 0;
}

static bool
has_openssl(void)
{
	char *path = at("rsa.crt");
	bool is_there = access(path, F_OK) == 0;

	free(path);
	return is_there;
}

static int64_t
now(void)
{
	return clock_wall_ms() / 1000;
}

static struct mint_ca *
load(const char *name, struct err *e)
{
	char *cert = xasprintf("%s/%s.crt", dir, name), *key = xasprintf("%s/%s.key", dir, name);
	struct mint_ca *ca = mint_ca_load(cert, key, e);

	free(cert);
	free(key);
	return ca;
}

static struct mint_ca *
in_memory(void)
{
	struct err e;
	struct mint_ca *ca = mint_ca_in_memory("proxy CA of test", &e);

	if (ca == NULL)
		fail_msg("%s", e.text);
	return ca;
}

static struct mint *
new_mint(struct mint_ca *ca, size_t max)
{
	struct mint *m = mint_new(ca, max);

	mint_ca_unref(ca);
	return m;
}

static struct tls_identity *
mint_for(struct mint *m, const char *host)
{
	struct err e;
	struct tls_identity *id = mint_identity(m, host, now(), &e);

	if (id == NULL)
		fail_msg("%s", e.text);
	return id;
}

static void
read_leaf(struct x509 *out, const struct tls_identity *id)
{
	assert_int_equal(x509_read(out, slice_make(id->chain[0].data, id->chain[0].data_len)), 0);
}

static void
write_pem(const char *name, const br_x509_certificate *c, size_t n)
{
	char *path = at(name);
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	for (size_t i = 0; i < n; i++) {
		size_t len = br_pem_encode(NULL, c[i].data, c[i].data_len, "CERTIFICATE", BR_PEM_LINE64);
		char *text = xmalloc(len + 1);

		br_pem_encode(text, c[i].data, c[i].data_len, "CERTIFICATE", BR_PEM_LINE64);
		fwrite(text, 1, len, f);
		free(text);
	}
	fclose(f);
	free(path);
}

/* ---- DER ---- */

static void
der_lengths_take_their_shortest_form(void **state)
{
	static const size_t sizes[] = {0, 1, 127, 128, 255, 256, 65535, 65536};
	static const size_t heads[] = {2, 2, 2, 3, 3, 4, 4, 5};
	uint8_t *p = xcalloc(1, 65536);

	(void)state;
	for (size_t i = 0; i < COUNT_OF(sizes); i++) {
		struct buf b = BUF_INIT;
		struct slice in, content;
		uint8_t tag;

		der_put(&b, DER_OCTETS, p, sizes[i]);
		assert_int_equal(b.len, sizes[i] + heads[i]);
		in = buf_slice(&b);
		assert_true(der_next(&in, &tag, &content));
		assert_int_equal(tag, DER_OCTETS);
		assert_int_equal(content.n, sizes[i]);
		assert_int_equal(in.n, 0);
		for (size_t cut = 0; cut < b.len && cut < 300; cut++) {
			in = slice_sub(buf_slice(&b), 0, cut);
			assert_false(der_next(&in, &tag, &content));
		}
		buf_free(&b);
	}
	free(p);
}

static void
der_elements_nest(void **state)
{
	static const uint8_t want[] = {0x02, 0x01, 0x05, 0x30, 0x08, 0x31, 0x03, 0x01, 0x01, 0xff, 0x02, 0x01, 0x00};
	struct buf b = BUF_INIT;
	size_t outer, inner;

	(void)state;
	der_put_unsigned(&b, (const uint8_t[]){0, 0, 5}, 3);
	outer = der_open(&b, DER_SEQUENCE);
	inner = der_open(&b, DER_SET);
	der_put_true(&b);
	der_close(&b, inner);
	der_put_unsigned(&b, NULL, 0);
	der_close(&b, outer);
	assert_int_equal(b.len, sizeof(want));
	assert_memory_equal(buf_data(&b), want, sizeof(want));
	buf_free(&b);
}

static void
der_numbers_are_never_negative(void **state)
{
	static const uint8_t want[] = {0x02, 0x02, 0x00, 0x80};
	struct buf b = BUF_INIT;

	(void)state;
	der_put_unsigned(&b, (const uint8_t[]){0x80}, 1);
	assert_memory_equal(buf_data(&b), want, sizeof(want));
	buf_free(&b);
}

static void
der_times_come_back(void **state)
{
	static const struct {
		int64_t t;
		uint8_t tag;
		const char *text;
	} rows[] = {
		{0, DER_UTC_TIME, "700101000000Z"},
		{951827696, DER_UTC_TIME, "000229123456Z"},
		{2524607999, DER_UTC_TIME, "491231235959Z"},
		{2524608000, DER_TIME, "20500101000000Z"},
		{-631152000, DER_UTC_TIME, "500101000000Z"},
		{-631152001, DER_TIME, "19491231235959Z"},
		{253402300799, DER_TIME, "99991231235959Z"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct buf b = BUF_INIT;
		struct slice in, content;
		uint8_t tag;
		int64_t back;

		der_put_time(&b, rows[i].t);
		in = buf_slice(&b);
		assert_true(der_next(&in, &tag, &content));
		assert_int_equal(tag, rows[i].tag);
		assert_true(slice_eq_str(content, rows[i].text));
		assert_true(der_read_time(tag, content, &back));
		assert_true(back == rows[i].t);
		buf_free(&b);
	}
}

/* ---- leaves ---- */

static void
leaf_for_a_name_carries_it(void **state)
{
	struct mint *m = new_mint(in_memory(), 10);
	struct tls_identity *id = mint_for(m, "Registry.Example.COM.");
	struct buf names = BUF_INIT;
	struct x509 c;
	int64_t t = now();

	(void)state;
	read_leaf(&c, id);
	x509_names(&c, &names, 200);
	assert_string_equal(buf_cstr(&names), "registry.example.com");
	assert_false(c.is_ca);
	assert_int_equal(c.key_usage, X509_SIGNS);
	assert_int_equal(c.ski.n, MINT_SKI_BYTES);
	assert_in_range(t - c.not_before, MINT_LEAF_BEFORE_S - 60, MINT_LEAF_BEFORE_S + 86400);
	assert_in_range(c.not_after - t, MINT_LEAF_DAYS * 86400, (MINT_LEAF_DAYS + 1) * 86400 + 60);
	assert_int_equal(id->chain_len, 1);
	buf_free(&names);
	tls_identity_unref(id);
	mint_free(m);
}

static void
leaf_for_an_address_carries_it_as_bytes(void **state)
{
	static const struct {
		const char *host;
		uint8_t ip[16];
		size_t n;
	} rows[] = {
		{"127.0.0.1", {127, 0, 0, 1}, 4},
		{"::1", {[15] = 1}, 16},
		{"[2001:db8::7]", {0x20, 0x01, 0x0d, 0xb8, [15] = 7}, 16},
	};
	struct mint *m = new_mint(in_memory(), 10);

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct tls_identity *id = mint_for(m, rows[i].host);
		struct x509 c;

		read_leaf(&c, id);
		assert_true(x509_has_ip(&c, slice_make(rows[i].ip, rows[i].n)));
		tls_identity_unref(id);
	}
	mint_free(m);
}

static void
one_leaf_for_all_spellings_of_a_host(void **state)
{
	static const char *const spellings[] = {"a.example", "A.EXAMPLE", "a.example.", "::1", "[::1]", "0:0:0:0:0:0:0:1"};
	struct mint *m = new_mint(in_memory(), 10);

	(void)state;
	for (size_t i = 0; i < COUNT_OF(spellings); i++)
		tls_identity_unref(mint_for(m, spellings[i]));
	assert_int_equal(mint_count(m), 2);
	assert_int_equal(mint_made(m), 2);
	mint_free(m);
}

static void
names_no_certificate_can_be_for_are_refused(void **state)
{
	char longest[255], too_long[256], label[66 + 8];
	const char *rows[] = {
		"", ".", "..", "a..b", ".a", "*.example.com", "a b", "a/b", "a:80", "b\xc3\xbc" "cher.example", "10.0.0.256", "1.2.3",
		"a.1", "[a.example]", "[127.0.0.1]", "[]", "fe80::1%eth0", "a\nb", "user@host", NULL, NULL,
	};
	struct mint *m = new_mint(in_memory(), 10);
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof(too_long) - 1; i++)
		too_long[i] = longest[i < 254 ? i : 254] = i % 4 == 3 ? '.' : 'a';
	too_long[254] = '\0';
	longest[253] = '\0';
	memset(label, 'a', 64);
	memcpy(label + 64, ".example", 9);
	rows[COUNT_OF(rows) - 2] = too_long;
	rows[COUNT_OF(rows) - 1] = label;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		err_clear(&e);
		assert_null(mint_identity(m, rows[i], now(), &e));
		assert_int_equal(e.code, ERR_INVALID_ARGUMENT);
	}
	assert_int_equal(mint_made(m), 0);
	tls_identity_unref(mint_for(m, longest));
	tls_identity_unref(mint_for(m, label + 1));
	tls_identity_unref(mint_for(m, "under_score.example"));
	mint_free(m);
}

static bool
is_same_leaf(const struct tls_identity *a, const struct tls_identity *b)
{
	return a->chain[0].data_len == b->chain[0].data_len && memcmp(a->chain[0].data, b->chain[0].data, a->chain[0].data_len) == 0;
}

static void
mints_of_one_authority_make_the_same_leaf(void **state)
{
	static const int64_t noon = 20000 * (int64_t)86400 + 12 * 3600;
	struct mint_ca *ca = in_memory(), *other = in_memory();
	struct mint *a = mint_new(ca, 10), *b = mint_new(ca, 10), *c = mint_new(other, 10);
	struct tls_identity *ids[4];
	struct err e;

	(void)state;
	ids[0] = mint_identity(a, "a.example", noon, &e);
	ids[1] = mint_identity(b, "a.example", noon + 11 * 3600, &e);
	ids[2] = mint_identity(c, "a.example", noon, &e);
	mint_free(b);
	b = mint_new(ca, 10);
	ids[3] = mint_identity(b, "a.example", noon + 13 * 3600, &e);
	for (size_t i = 0; i < COUNT_OF(ids); i++)
		assert_non_null(ids[i]);
	assert_true(is_same_leaf(ids[0], ids[1]));
	assert_false(is_same_leaf(ids[0], ids[2]));
	assert_false(is_same_leaf(ids[0], ids[3]));
	for (size_t i = 0; i < COUNT_OF(ids); i++)
		tls_identity_unref(ids[i]);
	mint_free(a);
	mint_free(b);
	mint_free(c);
	mint_ca_unref(ca);
	mint_ca_unref(other);
}

static void
serial_numbers_differ_and_are_positive(void **state)
{
	struct mint *m = new_mint(in_memory(), 1);
	uint8_t before[MINT_SERIAL_BYTES] = {0};

	(void)state;
	for (int i = 0; i < 20; i++) {
		struct tls_identity *id = mint_for(m, i % 2 == 0 ? "a.example" : "b.example");
		struct slice in = slice_make(id->chain[0].data, id->chain[0].data_len), cert, tbs, part;
		uint8_t tag;

		assert_true(der_take(&in, DER_SEQUENCE, &cert) && der_take(&cert, DER_SEQUENCE, &tbs));
		assert_true(der_next(&tbs, &tag, &part) && der_take(&tbs, DER_INTEGER, &part));
		assert_int_equal(part.n, MINT_SERIAL_BYTES);
		assert_true(part.p[0] >= 0x40 && part.p[0] < 0x80);
		assert_memory_not_equal(part.p, before, part.n);
		memcpy(before, part.p, part.n);
		tls_identity_unref(id);
	}
	mint_free(m);
}

/* ---- the store ---- */

static void
longest_unused_leaf_goes_first(void **state)
{
	struct mint *m = new_mint(in_memory(), 2);

	(void)state;
	tls_identity_unref(mint_for(m, "a.example"));
	tls_identity_unref(mint_for(m, "b.example"));
	tls_identity_unref(mint_for(m, "a.example"));
	tls_identity_unref(mint_for(m, "c.example"));
	assert_int_equal(mint_count(m), 2);
	assert_int_equal(mint_made(m), 3);
	tls_identity_unref(mint_for(m, "a.example"));
	assert_int_equal(mint_made(m), 3);
	tls_identity_unref(mint_for(m, "b.example"));
	assert_int_equal(mint_made(m), 4);
	mint_free(m);
}

static void
leaf_in_use_outlives_the_mint(void **state)
{
	struct mint *m = new_mint(in_memory(), 1);
	struct tls_identity *id = mint_for(m, "a.example");
	struct x509 c;

	(void)state;
	tls_identity_unref(mint_for(m, "b.example"));
	mint_free(m);
	read_leaf(&c, id);
	tls_identity_unref(id);
}

static void
leaf_is_made_anew_before_it_expires(void **state)
{
	struct mint *m = new_mint(in_memory(), 10);
	int64_t start = now(), edge;
	struct tls_identity *id;
	struct x509 c;
	struct err e;

	(void)state;
	id = mint_identity(m, "a.example", start, &e);
	read_leaf(&c, id);
	edge = c.not_after - MINT_LEAF_RENEW_S;
	tls_identity_unref(id);
	tls_identity_unref(mint_identity(m, "a.example", edge, &e));
	assert_int_equal(mint_made(m), 1);
	tls_identity_unref(mint_identity(m, "a.example", edge + 1, &e));
	assert_int_equal(mint_made(m), 2);
	assert_int_equal(mint_count(m), 1);
	mint_free(m);
}

static void
leaf_never_outlives_its_authority(void **state)
{
	struct mint_ca *ca;
	struct mint *m;
	struct tls_identity *id;
	struct x509 c;
	struct err e;
	int64_t end;

	(void)state;
	if (!has_openssl())
		skip();
	ca = load("short", &e);
	assert_non_null(ca);
	end = mint_ca_not_after(ca);
	m = new_mint(ca, 10);
	id = mint_for(m, "a.example");
	read_leaf(&c, id);
	assert_true(c.not_after == end);
	tls_identity_unref(id);
	/* Less than a day is left, but a new one would not be better. */
	tls_identity_unref(mint_identity(m, "a.example", end - 60, &e));
	assert_int_equal(mint_made(m), 1);
	assert_null(mint_identity(m, "a.example", end + 1, &e));
	assert_int_equal(e.code, ERR_FAILED_PRECONDITION);
	assert_non_null(strstr(e.text, "expired"));
	mint_free(m);
}

/* ---- other programs agree ---- */

static void
openssl_trusts_the_leaves_of(const char *ca_name)
{
	static const char *const hosts[] = {"registry.example.com", "10.1.2.3", "2001:db8::1",
	    "a-name-that-is-far-longer-than-the-sixty-four-bytes-of-a.common-name.example.com"};
	struct err e = {0};
	struct mint_ca *ca = load(ca_name, &e);
	struct mint *m;

	if (ca == NULL)
		fail_msg("%s", e.text);
	m = new_mint(ca, 10);
	for (size_t i = 0; i < COUNT_OF(hosts); i++) {
		struct tls_identity *id = mint_for(m, hosts[i]);
		bool is_ip = i == 1 || i == 2;
		char *script;

		write_pem("leaf.pem", id->chain, 1);
		script = xasprintf("openssl verify -x509_strict -purpose sslserver -verify_%s %s -CAfile %s.crt leaf.pem >log 2>&1",
		    is_ip ? "ip" : "hostname", hosts[i], ca_name);
		must(script);
		free(script);
		script = xasprintf("! openssl verify -verify_%s -CAfile %s.crt leaf.pem >log 2>&1",
		    is_ip ? "ip 10.1.2.4" : "hostname other.example", ca_name);
		must(script);
		free(script);
		tls_identity_unref(id);
	}
	mint_free(m);
}

static void
openssl_trusts_leaves_of_every_kind_of_key(void **state)
{
	(void)state;
	if (!has_openssl())
		skip();
	openssl_trusts_the_leaves_of("rsa");
	openssl_trusts_the_leaves_of("p256");
	openssl_trusts_the_leaves_of("p384");
	openssl_trusts_the_leaves_of("p521");
}

static void
openssl_reads_what_a_leaf_is_for(void **state)
{
	static const char *const wanted[] = {"CA:FALSE", "Digital Signature", "TLS Web Server Authentication", "DNS:a.example",
	    "Subject Key Identifier", "Authority Key Identifier", "ecdsa-with-SHA256", "CN *= *a.example", "prime256v1"};
	struct mint *m;
	struct tls_identity *id;

	(void)state;
	if (!has_openssl())
		skip();
	m = new_mint(in_memory(), 10);
	id = mint_for(m, "a.example");
	write_pem("leaf.pem", id->chain, 1);
	must("openssl x509 -in leaf.pem -noout -text >text 2>>log");
	for (size_t i = 0; i < COUNT_OF(wanted); i++) {
		char *script = xasprintf("grep -q '%s' text", wanted[i]);

		must(script);
		free(script);
	}
	tls_identity_unref(id);
	mint_free(m);
}

static void
keys_in_older_forms_are_read(void **state)
{
	struct mint_ca *ca;
	struct err e = {0};

	(void)state;
	if (!has_openssl())
		skip();
	must("openssl rsa -traditional -in rsa.key -out pkcs1.key 2>>log && cp rsa.crt pkcs1.crt");
	must("openssl ec -in p384.key -out sec1.key 2>>log && cp p384.crt sec1.crt");
	must("grep -q 'BEGIN RSA PRIVATE KEY' pkcs1.key && grep -q 'BEGIN EC PRIVATE KEY' sec1.key");
	ca = load("pkcs1", &e);
	assert_non_null(ca);
	mint_ca_unref(ca);
	ca = load("sec1", &e);
	assert_non_null(ca);
	mint_ca_unref(ca);
}

/* An authority below a root: clients that know only the root need it behind the leaf. */
static void
authority_below_another_is_sent_along(void **state)
{
	struct err e = {0};
	struct mint_ca *ca;
	struct mint *m;
	struct tls_identity *id;

	(void)state;
	if (!has_openssl())
		skip();
	must("printf 'basicConstraints=critical,CA:TRUE\\nkeyUsage=critical,keyCertSign\\nsubjectKeyIdentifier=hash\\n"
	    "authorityKeyIdentifier=keyid\\n' >ext");
	must("openssl req -nodes -newkey rsa:2048 -keyout below.key -out below.csr -subj /CN=below 2>>log && "
	    "openssl x509 -req -in below.csr -CA p256.crt -CAkey p256.key -CAcreateserial -days 50 -extfile ext -out one.crt 2>>log && "
	    "cat one.crt p256.crt >below.crt");
	ca = load("below", &e);
	if (ca == NULL)
		fail_msg("%s", e.text);
	m = new_mint(ca, 10);
	id = mint_for(m, "a.example");
	assert_int_equal(id->chain_len, 3);
	write_pem("leaf.pem", id->chain, 1);
	write_pem("rest.pem", id->chain + 1, id->chain_len - 1);
	must("openssl verify -x509_strict -CAfile p256.crt -untrusted rest.pem leaf.pem >log 2>&1");
	tls_identity_unref(id);
	mint_free(m);
}

/* ---- what an authority must be ---- */

static void
refuse_ca(const char *cert, const char *key, const char *why)
{
	struct err e = {0};

	assert_null(mint_ca_load(cert, key, &e));
	if (strstr(e.text, why) == NULL || strstr(e.text, strstr(why, "not the key") != NULL ? key : cert) == NULL)
		fail_msg("\"%s\" does not say \"%s\" or not of which file", e.text, why);
}

static void
unusable_authorities_are_refused_with_the_reason(void **state)
{
	char *small = NULL, *small_key = NULL, *no_sign = NULL, *no_sign_key = NULL;

	(void)state;
	refuse_ca(VECTORS "server.crt", VECTORS "server.key", "not one of an authority");
	refuse_ca(VECTORS "ca.crt", VECTORS "server.key", "not the key");
	refuse_ca(VECTORS "none.crt", VECTORS "ca.key", "open");
	refuse_ca(VECTORS "README.md", VECTORS "ca.key", "no certificate");
	if (!has_openssl())
		return;
	small = at("small.crt");
	small_key = at("small.key");
	refuse_ca(small, small_key, "1024 bits");
	must("openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -keyout nosign.key -out nosign.crt -days 9 "
	    "-subj /CN=nosign -addext keyUsage=critical,digitalSignature 2>>log");
	no_sign = at("nosign.crt");
	no_sign_key = at("nosign.key");
	refuse_ca(no_sign, no_sign_key, "keyCertSign");
	free(small);
	free(small_key);
	free(no_sign);
	free(no_sign_key);
}

/* ---- an authority of our own ---- */

static void
authority_is_made_once_and_its_key_is_private(void **state)
{
	char *path = at("made"), *key = at("made/" MINT_CA_KEY), *cert = at("made/" MINT_CA_CERT);
	struct stat st, again;
	struct err e = {0};
	struct mint_ca *ca;
	mode_t mask = umask(0);
	bool made;

	(void)state;
	ca = mint_ca_open_dir(path, "proxy CA of host1", &made, &e);
	umask(mask);
	if (ca == NULL)
		fail_msg("%s", e.text);
	assert_true(made);
	assert_int_equal(stat(key, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	mint_ca_unref(ca);
	ca = mint_ca_open_dir(path, "proxy CA of host1", &made, &e);
	assert_non_null(ca);
	assert_false(made);
	assert_int_equal(stat(key, &again), 0);
	assert_int_equal(st.st_ino, again.st_ino);
	mint_ca_unref(ca);
	if (has_openssl()) {
		must("openssl x509 -in made/ca.crt -noout -subject >text 2>>log && grep -q 'proxy CA of host1 [0-9a-f]*' text");
		must("cp made/ca.crt made.crt && cp made/ca.key made.key");
		openssl_trusts_the_leaves_of("made");
		must("openssl verify -x509_strict -CAfile made.crt made.crt >log 2>&1");
	}
	free(path);
	free(key);
	free(cert);
}

static void
two_that_come_first_share_one_authority(void **state)
{
	char *path = at("race");
	pid_t pid[6];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(pid); i++) {
		pid[i] = fork();
		if (pid[i] == 0) {
			struct mint_ca *ca = mint_ca_open_dir(path, "race", NULL, NULL);

			if (ca == NULL)
				_exit(1);
			mint_ca_unref(ca);
			free(path);
			_exit(0);
		}
	}
	for (size_t i = 0; i < COUNT_OF(pid); i++) {
		int status;

		assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
		assert_int_equal(status, 0);
	}
	/* Nothing of those that came second stays. */
	must("test $(ls -d race* | wc -l) = 1");
	free(path);
}

static void
half_an_authority_is_an_error(void **state)
{
	char *path = at("half");
	struct err e = {0};

	(void)state;
	mint_ca_unref(mint_ca_open_dir(path, "half", NULL, &e));
	must("rm half/ca.key");
	assert_null(mint_ca_open_dir(path, "half", NULL, &e));
	assert_non_null(strstr(e.text, "half/ca.key"));
	free(path);
}

static void
place_that_cannot_be_written_is_an_error(void **state)
{
	struct err e = {0};

	(void)state;
	assert_null(mint_ca_open_dir("/proc/no/such", "x", NULL, &e));
	assert_non_null(strstr(e.text, "/proc/no/such"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(der_lengths_take_their_shortest_form),
		cmocka_unit_test(der_elements_nest),
		cmocka_unit_test(der_numbers_are_never_negative),
		cmocka_unit_test(der_times_come_back),
		cmocka_unit_test(leaf_for_a_name_carries_it),
		cmocka_unit_test(leaf_for_an_address_carries_it_as_bytes),
		cmocka_unit_test(one_leaf_for_all_spellings_of_a_host),
		cmocka_unit_test(names_no_certificate_can_be_for_are_refused),
		cmocka_unit_test(mints_of_one_authority_make_the_same_leaf),
		cmocka_unit_test(serial_numbers_differ_and_are_positive),
		cmocka_unit_test(longest_unused_leaf_goes_first),
		cmocka_unit_test(leaf_in_use_outlives_the_mint),
		cmocka_unit_test(leaf_is_made_anew_before_it_expires),
		cmocka_unit_test(leaf_never_outlives_its_authority),
		cmocka_unit_test(openssl_trusts_leaves_of_every_kind_of_key),
		cmocka_unit_test(openssl_reads_what_a_leaf_is_for),
		cmocka_unit_test(keys_in_older_forms_are_read),
		cmocka_unit_test(authority_below_another_is_sent_along),
		cmocka_unit_test(unusable_authorities_are_refused_with_the_reason),
		cmocka_unit_test(authority_is_made_once_and_its_key_is_private),
		cmocka_unit_test(two_that_come_first_share_one_authority),
		cmocka_unit_test(half_an_authority_is_an_error),
		cmocka_unit_test(place_that_cannot_be_written_is_an_error),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
