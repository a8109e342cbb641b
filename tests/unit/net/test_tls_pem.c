/* PEM bundles of authorities: what is read, what is skipped, what is counted as broken. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "net/tls_internal.h"

#define CA "tests/vectors/tls/ca.crt"

static struct slice ca;

static int
setup(void **state)
{
	struct err e = {0};

	(void)state;
	return tls_file_read(NULL, CA, &ca, &e);
}

static int
teardown(void **state)
{
	(void)state;
	free((void *)(uintptr_t)ca.p);
	return 0;
}

/* Reads a bundle; the certificates in it, and how much of it was broken. */
static size_t
count(struct slice pem, size_t *bad)
{
	struct tls_anchors a = {0};
	size_t n;

	*bad = 0;
	assert_int_equal(tls_anchors_add_pem(&a, pem, bad), 0);
	n = a.count;
	tls_anchors_free(&a);
	return n;
}

static void
expect(const struct buf *b, size_t want, size_t want_bad)
{
	size_t bad, n = count(buf_slice(b), &bad);

	assert_int_equal(n, want);
	assert_int_equal(bad, want_bad);
}

/* The certificate with each of its line ends replaced. */
static void
add_ca(struct buf *b, const char *line_end)
{
	for (size_t i = 0; i < ca.n; i++)
		if (ca.p[i] == '\n')
			buf_append_str(b, line_end);
		else
			buf_append_u8(b, ca.p[i]);
}

static void
line_ends_and_text_around_do_not_matter(void **state)
{
	static const char *const ends[] = {"\n", "\r\n", " \t\r\n"};
	struct buf b = BUF_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++) {
		buf_clear(&b);
		buf_append_str(&b, "Certificate:\n    Data: x\n\n");
		add_ca(&b, ends[i]);
		buf_append_str(&b, "# the same again\n");
		add_ca(&b, ends[i]);
		expect(&b, 2, 0);
	}
	/* The last line without its end. */
	while (b.len > 0 && buf_data(&b)[b.len - 1] != '-')
		b.len--;
	expect(&b, 2, 0);
	buf_free(&b);
}

static void
every_cut_is_told_and_gives_no_certificate(void **state)
{
	size_t bad, end = ca.n;

	(void)state;
	while (ca.p[end - 1] != '-')
		end--;
	for (size_t n = 0; n < end; n++) {
		assert_int_equal(count(slice_sub(ca, 0, n), &bad), 0);
		/* Before the first line is whole there is nothing that could be broken. */
		assert_int_equal(bad, n < strlen("-----BEGIN CERTIFICATE-----") ? 0 : 1);
	}
	assert_int_equal(count(slice_sub(ca, 0, end), &bad), 1);
	assert_int_equal(bad, 0);
}

static void
what_is_broken_leaves_the_others(void **state)
{
	static const char *const broken[] = {
		"-----BEGIN CERTIFICATE-----\nAA:A\n-----END CERTIFICATE-----\n",
		"-----BEGIN CERTIFICATE-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END CERTIFICATE-----\n",
		"-----BEGIN CERTIFICATE-----\nAAAA\n-----END X509 CRL-----\n",
		"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE----\n",
		"-----BEGIN CERTIFICATE-----\nAAAA\n",
		"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
		"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
	};
	struct buf b = BUF_INIT;

	(void)state;
	for (size_t i = 0; i < sizeof(broken) / sizeof(*broken); i++) {
		buf_clear(&b);
		add_ca(&b, "\n");
		buf_append_str(&b, broken[i]);
		add_ca(&b, "\n");
		expect(&b, 2, 1);
	}
	buf_free(&b);
}

static void
other_objects_are_no_certificates(void **state)
{
	struct buf b = BUF_INIT;
	char label[200];

	(void)state;
	buf_append_str(&b, "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n-----END CERTIFICATE-----\n");
	add_ca(&b, "\n");
	expect(&b, 1, 0);
	/* A label one longer than any is: not taken for the begin of anything. */
	memset(label, 'A', sizeof(label));
	label[64] = '\0';
	buf_printf(&b, "-----BEGIN %s-----\nAAAA\n", label);
	expect(&b, 1, 0);
	label[63] = '\0';
	buf_printf(&b, "-----BEGIN %s-----\nAAAA\n-----END %s-----\n", label, label);
	expect(&b, 1, 0);
	buf_free(&b);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(line_ends_and_text_around_do_not_matter),
		cmocka_unit_test(every_cut_is_told_and_gives_no_certificate),
		cmocka_unit_test(what_is_broken_leaves_the_others),
		cmocka_unit_test(other_objects_are_no_certificates),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
