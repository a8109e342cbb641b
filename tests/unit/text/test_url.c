#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "text/url.h"

struct row {
	const char *in;
	const char *out;        /* serialisation, or the error's text */
};

static void
assert_parses(const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct err e = {0};
		struct url u, again;

		if (url_parse(&u, slice_str(rows[i].in), &e) < 0)
			fail_msg("%s: %s", rows[i].in, e.text);
		if (strcmp(u.text, rows[i].out) != 0)
			fail_msg("%s gave %s, expected %s", rows[i].in, u.text, rows[i].out);
		assert_int_equal(url_parse(&again, slice_str(u.text), &e), 0);
		assert_string_equal(again.text, u.text);
		url_free(&again);
		url_free(&u);
	}
}

static void
assert_refused(const struct row *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct err e = {0};
		struct url u;

		if (url_parse(&u, slice_str(rows[i].in), &e) == 0)
			fail_msg("%s was taken as %s", rows[i].in, u.text);
		assert_int_equal(e.code, ERR_INVALID_ARGUMENT);
		if (strcmp(e.text, rows[i].out) != 0)
			fail_msg("%s gave \"%s\", expected \"%s\"", rows[i].in, e.text, rows[i].out);
		assert_null(u.text);
	}
}

static void
special_urls_become_canonical(void **state)
{
	static const struct row rows[] = {
		{"https://example.com", "https://example.com/"},
		{"HTTPS://EXAMPLE.com:443/a/../b/./c", "https://example.com/b/c"},
		{"http://example.com:80/x", "http://example.com/x"},
		{"http://example.com:8080/x", "http://example.com:8080/x"},
		{"http://example.com:0080/x", "http://example.com/x"},
		{"http://example.com:/x", "http://example.com/x"},
		{"http://example.com:0/x", "http://example.com:0/x"},
		{"https://example.com:80/", "https://example.com:80/"},
		{"ws://h:80/", "ws://h/"},
		{"wss://h:443/", "wss://h/"},
		{"ftp://h:21/", "ftp://h/"},
		{"https://example.com//", "https://example.com//"},
		{"http:example.com/a", "http://example.com/a"},
		{"http:/example.com/a", "http://example.com/a"},
		{"http:////example.com/a", "http://example.com/a"},
		{"http:\\\\example.com\\a\\..\\b", "http://example.com/b"},
		{"https://example.com\\a\\b", "https://example.com/a/b"},
		{"http://ex%41mple.com/", "http://example.com/"},
		{"http://example.com/?a b\"<>'`{}|^\\", "http://example.com/?a%20b%22%3C%3E%27`{}|^\\"},
		{"http://h/#a b\"<>`{}'#", "http://h/#a%20b%22%3C%3E%60{}'#"},
		{"http://h?q", "http://h/?q"},
		{"http://h?", "http://h/?"},
		{"http://h#", "http://h/#"},
		{"http://h/?a?b", "http://h/?a?b"},
		{"  \x01https://example.com/tr\tim\r\n  ", "https://example.com/trim"},
		{"ht\ntps://exa\rmple.com/", "https://example.com/"},
		{"https://example.com/a b/c%20d/%7e", "https://example.com/a%20b/c%20d/%7e"},
		{"https://example.com/{x}|^\"<>", "https://example.com/%7Bx%7D|^%22%3C%3E"},
		{"https://example.com/`'%zz%", "https://example.com/%60'%zz%"},
		{"https://example.com/\x7f\x01", "https://example.com/%7F"},
		{"https://example.com/\x01/", "https://example.com/%01/"},
		{"https://example.com/%E4%BD%A0/\xe4\xbd\xa0", "https://example.com/%E4%BD%A0/%E4%BD%A0"},
		{"https://user:pw@example.com/a", "https://user:pw@example.com/a"},
		{"https://u@ser:p@w:x@example.com/", "https://u%40ser:p%40w%3Ax@example.com/"},
		{"https://:pw@example.com/", "https://:pw@example.com/"},
		{"https://user:@example.com/", "https://user@example.com/"},
		{"https://@example.com/", "https://example.com/"},
		{"https://:@example.com/", "https://example.com/"},
		{"https://u p;=[]^|:\xc3\xa9@h/", "https://u%20p%3B%3D%5B%5D%5E%7C:%C3%A9@h/"},
		{"https://a..b/", "https://a..b/"},
		{"https://a.b./", "https://a.b./"},
		{"https://a_b-c--d/", "https://a_b-c--d/"},
	};

	(void)state;
	assert_parses(rows, COUNT_OF(rows));
}

static void
dot_segments_are_resolved_in_every_spelling(void **state)
{
	static const struct row rows[] = {
		{"http://h/a/b/../c", "http://h/a/c"},
		{"http://h/a/b/..", "http://h/a/"},
		{"http://h/a/b/.", "http://h/a/b/"},
		{"http://h/./a", "http://h/a"},
		{"http://h/../../a", "http://h/a"},
		{"http://h/..", "http://h/"},
		{"http://h/%2e%2e/a", "http://h/a"},
		{"http://h/x/%2E./a", "http://h/a"},
		{"http://h/x/.%2e/a", "http://h/a"},
		{"http://h/x/%2e/a", "http://h/x/a"},
		{"http://h/.../a", "http://h/.../a"},
		{"http://h/a%2Fb%2e%2E/c", "http://h/a%2Fb%2e%2E/c"},
		{"http://h/a//../b", "http://h/a/b"},
		{"http://h//..//b", "http://h//b"},
		{"http://h/a?/../b", "http://h/a?/../b"},
		{"s3://b/a/../../c", "s3://b/c"},
		{"s3://b/..", "s3://b/"},
	};

	(void)state;
	assert_parses(rows, COUNT_OF(rows));
}

static void
other_schemes_keep_their_host(void **state)
{
	static const struct row rows[] = {
		{"s3://Bucket/Path", "s3://Bucket/Path"},
		{"S3://Bucket", "s3://Bucket"},
		{"s3://bucket/", "s3://bucket/"},
		{"oss://bucket/a b", "oss://bucket/a%20b"},
		{"hf://Qwen/Qwen2.5/model.safetensors", "hf://Qwen/Qwen2.5/model.safetensors"},
		{"hdfs://namenode:9870/user/x", "hdfs://namenode:9870/user/x"},
		{"s3://b:80/x", "s3://b:80/x"},
		{"s3://b/a\\b", "s3://b/a\\b"},
		{"s3://b/a?x'y", "s3://b/a?x'y"},
		{"s3://b?x", "s3://b?x"},
		{"s3://b#x", "s3://b#x"},
		{"s3:///key", "s3:///key"},
		{"s3://", "s3://"},
		{"s3://127.1/x", "s3://127.1/x"},
		{"s3://a%41\xc3\xa9/x", "s3://a%41%C3%A9/x"},
		{"s3://[::0:1]/x", "s3://[::1]/x"},
		{"s3:/a/b", "s3:/a/b"},
		{"s3:/a/..//b", "s3:/.//b"},
		{"s3:/.//b", "s3:/.//b"},
		{"s3:a b?c d#e", "s3:a b?c%20d#e"},
		{"localhost:8080/x", "localhost:8080/x"},
		{"mailto:\xc3\xa9@h", "mailto:%C3%A9@h"},
		{"a+b-c.1:x", "a+b-c.1:x"},
	};

	(void)state;
	assert_parses(rows, COUNT_OF(rows));
}

static void
ipv4_in_every_form_becomes_a_dotted_quad(void **state)
{
	static const struct row rows[] = {
		{"http://0x7f.1/a", "http://127.0.0.1/a"},
		{"http://2130706433/", "http://127.0.0.1/"},
		{"http://127.1/", "http://127.0.0.1/"},
		{"http://127.0.1/", "http://127.0.0.1/"},
		{"http://0177.0.0.1/", "http://127.0.0.1/"},
		{"http://0x/", "http://0.0.0.0/"},
		{"http://1.2.3.4./", "http://1.2.3.4/"},
		{"http://4294967295/", "http://255.255.255.255/"},
		{"http://1.0xffffff/", "http://1.255.255.255/"},
		{"http://%31%32%37.1/", "http://127.0.0.1/"},
		{"http://\xef\xbc\x91.2.3.4/", "http://1.2.3.4/"},
		{"http://1.2.3.4.example/", "http://1.2.3.4.example/"},
		{"http://0xg/", "http://0xg/"},
	};
	static const struct row bad[] = {
		{"http://256.0.0.1/", "invalid IPv4 address"},
		{"http://1.2.3.4.5/", "invalid IPv4 address"},
		{"http://1.2.3.256/", "invalid IPv4 address"},
		{"http://4294967296/", "invalid IPv4 address"},
		{"http://99999999999999999999/", "invalid IPv4 address"},
		{"http://1..2/", "invalid IPv4 address"},
		{"http://a.1/", "invalid IPv4 address"},
		{"http://08.1/", "invalid IPv4 address"},
		{"http://1.0x1000000/", "invalid IPv4 address"},
	};

	(void)state;
	assert_parses(rows, COUNT_OF(rows));
	assert_refused(bad, COUNT_OF(bad));
}

static void
ipv6_is_compressed(void **state)
{
	static const struct row rows[] = {
		{"http://[2001:DB8::0:1]:80/a", "http://[2001:db8::1]/a"},
		{"http://[::]/", "http://[::]/"},
		{"http://[::1]:8080/", "http://[::1]:8080/"},
		{"http://[1::]/", "http://[1::]/"},
		{"http://[1:2:3:4:5:6:7:8]/", "http://[1:2:3:4:5:6:7:8]/"},
		{"http://[1:2:3:4:5:6:7::]/", "http://[1:2:3:4:5:6:7:0]/"},
		{"http://[::2:3:4:5:6:7:8]/", "http://[0:2:3:4:5:6:7:8]/"},
		{"http://[1:0:0:2:0:0:0:3]/", "http://[1:0:0:2::3]/"},
		{"http://[1:0:0:2:3:0:0:4]/", "http://[1::2:3:0:0:4]/"},
		{"http://[0001:00AB::]/", "http://[1:ab::]/"},
		{"http://[::ffff:1.2.3.4]/", "http://[::ffff:102:304]/"},
		{"http://[1:2:3:4:5:6:1.2.3.4]/", "http://[1:2:3:4:5:6:102:304]/"},
	};
	static const struct row bad[] = {
		{"http://[]/", "invalid IPv6 address"},
		{"http://[:]/", "invalid IPv6 address"},
		{"http://[:::]/", "invalid IPv6 address"},
		{"http://[1::2::3]/", "invalid IPv6 address"},
		{"http://[1:2:3:4:5:6:7]/", "invalid IPv6 address"},
		{"http://[1:2:3:4:5:6:7:8:9]/", "invalid IPv6 address"},
		{"http://[1:2:3:4:5:6:7:8::]/", "invalid IPv6 address"},
		{"http://[1:2:3:4:5:6:7::8]/", "invalid IPv6 address"},
		{"http://[12345::]/", "invalid IPv6 address"},
		{"http://[1:]/", "invalid IPv6 address"},
		{"http://[::1%25eth0]/", "invalid IPv6 address"},
		{"http://[::1.2.3]/", "invalid IPv6 address"},
		{"http://[::1.2.3.4.5]/", "invalid IPv6 address"},
		{"http://[::01.2.3.4]/", "invalid IPv6 address"},
		{"http://[::256.2.3.4]/", "invalid IPv6 address"},
		{"http://[1:2:3:4:5:6:7:1.2.3.4]/", "invalid IPv6 address"},
		{"http://[::1]x/", "invalid IPv6 address"},
		{"http://[::1/", "invalid IPv6 address"},
		{"http://[/", "invalid IPv6 address"},
		{"http://[g::]/", "invalid IPv6 address"},
	};

	(void)state;
	assert_parses(rows, COUNT_OF(rows));
	assert_refused(bad, COUNT_OF(bad));
}

static void
international_names_become_punycode(void **state)
{
	static const struct row rows[] = {
		{"http://b\xc3\xbc\x63her.example/", "http://xn--bcher-kva.example/"},
		{"http://B\xc3\x9c\x43HER.example/", "http://xn--bcher-kva.example/"},
		{"http://b%C3%BCcher.example/", "http://xn--bcher-kva.example/"},
		{"http://fa\xc3\x9f.de/", "http://xn--fa-hia.de/"},
		{"http://\xe4\xbe\x8b\xe5\xad\x90\xe3\x80\x82\xe6\xb5\x8b\xe8\xaf\x95/", "http://xn--fsqu00a.xn--0zwm56d/"},
		{"http://\xd0\x9f\xd0\xa0\xd0\x98\xd0\x9c\xd0\x95\xd0\xa0.\xd1\x80\xd1\x84/", "http://xn--e1afmkfd.xn--p1ai/"},
		{"http://\xce\xb5\xce\xbb\xce\xbb\xce\xac\xce\xb4\xce\xb1/", "http://xn--hxakic4aa/"},
		{"http://\xed\x95\x9c\xea\xb5\xad/", "http://xn--3e0b707e/"},
		{"http://\xef\xbc\xa7\xef\xbd\x8f.com/", "http://go.com/"},
		{"http://a\xc2\xad\x62.com/", "http://ab.com/"},
		{"http://XN--BCHER-kva.example/", "http://xn--bcher-kva.example/"},
	};
	static const struct row bad[] = {
		{"http://xn--/", "invalid international domain name"},
		{"http://xn--a\xc3\xa9/", "invalid international domain name"},
		{"http://xn--pokxncvks/", "invalid international domain name"},
		{"http://xn--99999999/", "invalid international domain name"},
		{"http://\xff/", "invalid international domain name"},
		{"http://%ff/", "invalid international domain name"},
		{"http://e\xcc\x81/", "invalid international domain name"},
		{"http://\xd7\x90/", "invalid international domain name"},
		{"http://\xef\xbc\x85.com/", "invalid international domain name"},
		{"http://a b/", "invalid international domain name"},
		{"http://a<b/", "invalid international domain name"},
		{"http://a%2fb/", "invalid international domain name"},
		{"http://a%00b/", "invalid international domain name"},
		{"http://a%25b/", "invalid international domain name"},
		{"http://a^b/", "invalid international domain name"},
	};

	(void)state;
	assert_parses(rows, COUNT_OF(rows));
	assert_refused(bad, COUNT_OF(bad));
}

static void
wrong_urls_say_why(void **state)
{
	static const struct row bad[] = {
		{"", "relative URL without a base"},
		{"example.com/a", "relative URL without a base"},
		{"foo", "relative URL without a base"},
		{"/a", "relative URL without a base"},
		{"//h/a", "relative URL without a base"},
		{":a", "relative URL without a base"},
		{"1http://h", "relative URL without a base"},
		{"ht tp://h", "relative URL without a base"},
		{"http://", "empty host"},
		{"http:///", "empty host"},
		{"http://?q", "empty host"},
		{"http://u@", "empty host"},
		{"http://u:p@/x", "empty host"},
		{"http://:80/", "empty host"},
		{"http://\xc2\xad/", "empty host"},
		{"s3://:80/", "empty host"},
		{"s3://u@/", "empty host"},
		{"http://h:x/", "invalid port number"},
		{"http://h:65536/", "invalid port number"},
		{"http://h:-1/", "invalid port number"},
		{"http://h:8 0/", "invalid port number"},
		{"http://h:99999999999999999999/", "invalid port number"},
		{"s3://a b/", "invalid domain character"},
		{"s3://a\\b/", "invalid domain character"},
		{"s3://a^b/", "invalid domain character"},
		{"s3://a<b/", "invalid domain character"},
	};

	(void)state;
	assert_refused(bad, COUNT_OF(bad));
}

static void
file_urls_have_no_port(void **state)
{
	static const struct row rows[] = {
		{"file:///a/../b", "file:///b"},
		{"file:/a", "file:///a"},
		{"file:a", "file:///a"},
		{"file://localhost/a", "file:///a"},
		{"file://Host/a", "file://host/a"},
		{"file:", "file:///"},
	};
	static const struct row bad[] = {
		{"file://h:80/a", "invalid international domain name"},
	};

	(void)state;
	assert_parses(rows, COUNT_OF(rows));
	assert_refused(bad, COUNT_OF(bad));
}

static void
parts_are_views_of_the_text(void **state)
{
	struct url u;

	(void)state;
	assert_int_equal(url_parse(&u, slice_str("HTTP://us:p%20w@Host:81/p/q?x=1&y#f"), NULL), 0);
	assert_true(slice_eq_str(u.scheme, "http"));
	assert_true(slice_eq_str(u.user, "us"));
	assert_true(slice_eq_str(u.password, "p%20w"));
	assert_true(slice_eq_str(u.host, "host"));
	assert_int_equal(u.port, 81);
	assert_int_equal(url_port(&u), 81);
	assert_true(slice_eq_str(u.path, "/p/q"));
	assert_true(slice_eq_str(u.query, "x=1&y"));
	assert_true(slice_eq_str(u.fragment, "f"));
	assert_int_equal(u.host_kind, URL_HOST_NAME);
	assert_true(u.is_special);
	url_free(&u);
	assert_int_equal(url_parse(&u, slice_str("https://[::1]"), NULL), 0);
	assert_int_equal(u.host_kind, URL_HOST_IPV6);
	assert_true(slice_eq_str(url_hostname(&u), "::1"));
	assert_int_equal(u.port, -1);
	assert_int_equal(url_port(&u), 443);
	assert_null(u.query.p);
	assert_null(u.fragment.p);
	assert_int_equal(u.user.n, 0);
	url_free(&u);
	assert_int_equal(url_parse(&u, slice_str("s3://b"), NULL), 0);
	assert_int_equal(url_port(&u), -1);
	assert_int_equal(u.path.n, 0);
	assert_false(u.is_special);
	url_free(&u);
	assert_int_equal(url_parse(&u, slice_str("s3:b"), NULL), 0);
	assert_true(u.is_opaque);
	assert_null(u.host.p);
	assert_int_equal(u.host_kind, URL_HOST_NONE);
	url_free(&u);
}

static void
relative_texts_resolve_against_their_base(void **state)
{
	static const struct {
		const char *base;
		const char *ref;
		const char *out;
	} rows[] = {
		/* RFC 3986 section 5.4, as the WHATWG rules read it. */
		{"http://a/b/c/d;p?q", "g:h", "g:h"},
		{"http://a/b/c/d;p?q", "g", "http://a/b/c/g"},
		{"http://a/b/c/d;p?q", "./g", "http://a/b/c/g"},
		{"http://a/b/c/d;p?q", "g/", "http://a/b/c/g/"},
		{"http://a/b/c/d;p?q", "/g", "http://a/g"},
		{"http://a/b/c/d;p?q", "//g", "http://g/"},
		{"http://a/b/c/d;p?q", "?y", "http://a/b/c/d;p?y"},
		{"http://a/b/c/d;p?q", "g?y", "http://a/b/c/g?y"},
		{"http://a/b/c/d;p?q", "#s", "http://a/b/c/d;p?q#s"},
		{"http://a/b/c/d;p?q", "g#s", "http://a/b/c/g#s"},
		{"http://a/b/c/d;p?q", "", "http://a/b/c/d;p?q"},
		{"http://a/b/c/d;p?q", ";x", "http://a/b/c/;x"},
		{"http://a/b/c/d;p?q", ".", "http://a/b/c/"},
		{"http://a/b/c/d;p?q", "..", "http://a/b/"},
		{"http://a/b/c/d;p?q", "../../../g", "http://a/g"},
		{"http://a/b/c/d;p?q", "/./g", "http://a/g"},
		{"http://a/b/c/d;p?q", "g;x=1/../y", "http://a/b/c/y"},
		{"http://a/b/c/d;p?q", "g?y/../x", "http://a/b/c/g?y/../x"},
		{"http://a/b/c/d;p?q", "http:g", "http://a/b/c/g"},
		{"http://a/b/c/d;p?q", "http:/g", "http://a/g"},
		{"http://a/b/c/d;p?q", "http://g", "http://g/"},
		{"http://a/b/c/d;p?q", "https:g", "https://g/"},
		{"http://a/b/c/d;p?q", "\\g\\h", "http://a/g/h"},
		{"http://a/b/c/d;p?q", "\\\\g\\h", "http://g/h"},
		{"http://a/b/c/d;p?q", "x y", "http://a/b/c/x%20y"},
		{"https://u:p@h:8443/x#f", "/y", "https://u:p@h:8443/y"},
		{"https://u:p@h:8443/x#f", "", "https://u:p@h:8443/x"},
		{"http://h", "x", "http://h/x"},
		{"http://h?q#f", "", "http://h/?q"},
		{"s3://B/a/b", "c", "s3://B/a/c"},
		{"s3://B", "c", "s3://B/c"},
		{"s3://B/a", "//C/d", "s3://C/d"},
		{"s3://B/a", "\\c", "s3://B/\\c"},
		{"x:/a/b", "..//c", "x:/.//c"},
		{"x:/.//b", "c", "x:/.//c"},
		{"x:/.//b", "", "x:/.//b"},
		{"x:/.//b", "#f", "x:/.//b#f"},
		{"x:/.//b", "?q", "x:/.//b?q"},
		{"x:o", "#f", "x:o#f"},
		{"file:///a/b", "c", "file:///a/c"},
		{"file:///a/b", "//h/c", "file://h/c"},
		{"file:///a/b", "file:c", "file:///a/c"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct err e = {0};
		struct url base, u;

		assert_int_equal(url_parse(&base, slice_str(rows[i].base), &e), 0);
		if (url_join(&u, &base, slice_str(rows[i].ref), &e) < 0)
			fail_msg("%s + %s: %s", rows[i].base, rows[i].ref, e.text);
		if (strcmp(u.text, rows[i].out) != 0)
			fail_msg("%s + %s gave %s, expected %s", rows[i].base, rows[i].ref, u.text, rows[i].out);
		url_free(&u);
		url_free(&base);
	}
}

static void
nothing_resolves_against_an_opaque_base(void **state)
{
	struct err e = {0};
	struct url base, u;

	(void)state;
	assert_int_equal(url_parse(&base, slice_str("x:opaque"), &e), 0);
	assert_int_equal(url_join(&u, &base, slice_str("y"), &e), -1);
	assert_int_equal(url_join(&u, &base, slice_str("/y"), &e), -1);
	assert_int_equal(url_join(&u, &base, slice_str(""), &e), -1);
	url_free(&base);
}

static void
same_origin_counts_default_ports(void **state)
{
	static const struct {
		const char *a;
		const char *b;
		bool same;
	} rows[] = {
		{"http://h/a", "http://h:80/b", true},
		{"http://H/a", "http://h/b", true},
		{"http://h/", "https://h/", false},
		{"http://h/", "http://h:81/", false},
		{"http://h/", "http://g/", false},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct url a, b;

		assert_int_equal(url_parse(&a, slice_str(rows[i].a), NULL), 0);
		assert_int_equal(url_parse(&b, slice_str(rows[i].b), NULL), 0);
		assert_int_equal(url_same_origin(&a, &b), rows[i].same);
		url_free(&a);
		url_free(&b);
	}
}

static char *
repeat(const char *head, char c, size_t total)
{
	char *s = xmalloc(total + 1);
	size_t n = strlen(head);

	memcpy(s, head, n);
	memset(s + n, c, total - n);
	s[total] = 0;
	return s;
}

static void
limits_hold_to_the_byte(void **state)
{
	char *s = repeat("http://h/", 'a', URL_TEXT_MAX + 1);
	struct slice just = slice_make(s, URL_TEXT_MAX), over = slice_make(s, URL_TEXT_MAX + 1);
	struct buf out = BUF_INIT;
	struct err e = {0};
	struct url u;
	struct slice *filters;

	(void)state;
	assert_int_equal(url_parse(&u, just, &e), 0);
	url_free(&u);
	assert_int_equal(url_parse(&u, over, &e), -1);
	assert_string_equal(e.text, "URL longer than 32768 bytes");
	filters = xcalloc(URL_FILTERS_MAX + 1, sizeof(*filters));
	assert_int_equal(url_task_form(just, NULL, 0, &out, &e), 0);
	assert_int_equal(url_task_form(over, NULL, 0, &out, &e), -1);
	assert_int_equal(url_task_form(over, filters, 1, &out, &e), -1);
	assert_int_equal(url_task_form(just, filters, URL_FILTERS_MAX, &out, &e), 0);
	assert_int_equal(url_task_form(just, filters, URL_FILTERS_MAX + 1, &out, &e), -1);
	free(filters);
	free(s);
	s = repeat("s3://", 'a', 5 + URL_HOST_MAX + 1);
	assert_int_equal(url_parse(&u, slice_make(s, 5 + URL_HOST_MAX), &e), 0);
	url_free(&u);
	assert_int_equal(url_parse(&u, slice_make(s, 5 + URL_HOST_MAX + 1), &e), -1);
	assert_string_equal(e.text, "host longer than 1024 bytes");
	/* Each byte takes three when encoded. */
	memset(s + 5, 0x01 | 0x80, URL_HOST_MAX);
	assert_int_equal(url_parse(&u, slice_make(s, 5 + URL_HOST_MAX / 9 * 3), &e), 0);
	url_free(&u);
	assert_int_equal(url_parse(&u, slice_make(s, 5 + URL_HOST_MAX / 3 + 1), &e), -1);
	assert_string_equal(e.text, "host longer than 1024 bytes when encoded");
	free(s);
	buf_free(&out);
}

static void
query_pairs_are_limited(void **state)
{
	struct slice filter = slice_str("none");
	struct buf text = BUF_INIT, out = BUF_INIT;
	struct err e = {0};

	(void)state;
	buf_append_str(&text, "http://h/?");
	for (int i = 0; i < URL_PAIRS_MAX; i++)
		buf_append_str(&text, "a&");
	assert_int_equal(url_task_form(buf_slice(&text), &filter, 1, &out, &e), 0);
	buf_append_str(&text, "a&");
	assert_int_equal(url_task_form(buf_slice(&text), &filter, 1, &out, &e), -1);
	assert_string_equal(e.text, "ParseError cause: more than 4096 parameters in the query");
	buf_free(&text);
	buf_free(&out);
}

static void
joined_paths_do_not_pile_up(void **state)
{
	char *s = repeat("", ' ', URL_TEXT_MAX);
	struct err e = {0};
	struct url u, next;
	int hops = 0;

	(void)state;
	memcpy(s, "./", 2);
	s[URL_TEXT_MAX - 2] = 'x';
	s[URL_TEXT_MAX - 1] = '/';
	assert_int_equal(url_parse(&u, slice_str("http://h/"), &e), 0);
	while (url_join(&next, &u, slice_make(s, URL_TEXT_MAX), &e) == 0) {
		url_free(&u);
		u = next;
		assert_true(++hops < 3);
	}
	url_free(&u);
	free(s);
}

static void
task_form_follows_the_vectors(void **state)
{
	static const struct {
		const char *in;
		const char *filters;    /* comma-separated; "" is a list with one name that is nowhere */
		const char *out;
	} rows[] = {
		{"https://example.com", "", "https://example.com"},
		{"https://example.com/", "", "https://example.com/"},
		{"https://example.com//", "", "https://example.com//"},
		{"HTTPS://EXAMPLE.com:443/a/../b/./c", "", "https://example.com/b/c"},
		{"http://example.com:80/x", "", "http://example.com/x"},
		{"http://example.com:8080/x", "", "http://example.com:8080/x"},
		{"https://example.com?foo=foo&bar=bar", "foo,bar", "https://example.com"},
		{"https://example.com?foo=foo&bar=bar", "foo", "https://example.com?bar=bar"},
		{"https://example.com/?foo=foo", "foo", "https://example.com/"},
		{"https://example.com?foo=foo#size", "foo", "https://example.com#size"},
		{"https://user:pw@[::1]:8080?foo=1&bar=2", "foo", "https://user:pw@[::1]:8080?bar=2"},
		{"https://example.com/a?", "", "https://example.com/a"},
		{"https://example.com/a?x", "", "https://example.com/a?x="},
		{"https://example.com/a?=y", "", "https://example.com/a?=y"},
		{"https://example.com/a?&&b=1&", "", "https://example.com/a?b=1"},
		{"https://example.com/a?b=2&a=1&b=1", "", "https://example.com/a?a=1&b=2&b=1"},
		{"https://example.com/a?z=9&b=2&a=1", "z", "https://example.com/a?a=1&b=2"},
		{"https://example.com/a?q=a%20b", "", "https://example.com/a?q=a+b"},
		{"https://example.com/a?q=a+b", "", "https://example.com/a?q=a+b"},
		{"https://example.com/a?q=a b", "", "https://example.com/a?q=a+b"},
		{"https://example.com/a?q=%7E~*-._%2F/", "", "https://example.com/a?q=~~%2A-._%2F%2F"},
		{"https://example.com/a?q=1,2%3B3:4@5$6!7'8(9)", "", "https://example.com/a?q=1%2C2%3B3%3A4%405%246%217%278%289%29"},
		{"https://example.com/a?q=1,2;3&r=1", "", "https://example.com/a?r=1"},
		{"https://example.com/a?q=%ff", "", "https://example.com/a?q=%EF%BF%BD"},
		{"https://example.com/a?q=%2", "", "https://example.com/a?q=%252"},
		{"https://example.com/a?q=a=b", "", "https://example.com/a?q=a%3Db"},
		{"https://example.com/a?Foo=1&foo=2", "foo", "https://example.com/a?Foo=1"},
		{"https://example.com/a?%66oo=1&b=2", "foo", "https://example.com/a?b=2"},
		{"https://example.com/a?x=1#frag", "", "https://example.com/a?x=1#frag"},
		{"https://example.com/a?x=1#frag", "x", "https://example.com/a#frag"},
		{"https://example.com/#frag", "", "https://example.com/#frag"},
		{"https://user:pw@example.com/a", "", "https://user:pw@example.com/a"},
		{"https://example.com/a b/c%20d/%7e", "", "https://example.com/a%20b/c%20d/%7e"},
		{"https://example.com/{x}|^\"<>", "", "https://example.com/%7Bx%7D|^%22%3C%3E"},
		{"https://example.com\\a\\b", "", "https://example.com/a/b"},
		{"s3://exa\\mple", "", NULL},
		{"https://example.com/%2e%2e/a", "", "https://example.com/a"},
		{"http://0x7f.1/a", "", "http://127.0.0.1/a"},
		{"http://[2001:DB8::0:1]:80/a", "", "http://[2001:db8::1]/a"},
		{"s3://Bucket/Path", "", "s3://Bucket/Path"},
		{"s3://bucket", "", "s3://bucket"},
		{"s3://bucket/", "", "s3://bucket/"},
		{"oss://bucket/a b", "", "oss://bucket/a%20b"},
		{"  https://example.com/trim  ", "", "https://example.com/trim"},
		{"https://example.com/%E4%BD%A0/\xe4\xbd\xa0", "", "https://example.com/%E4%BD%A0/%E4%BD%A0"},
		{"https://example.com/file.txt?k=a b&m=x*y&n=c~d", "none", "https://example.com/file.txt?k=a+b&m=x%2Ay&n=c~d"},
		{"https:example.com", "", "https://example.com/"},
		{"https://h?u=a/b", "", "https://h?u=a%2Fb"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct slice list[4], rest = slice_str(rows[i].filters);
		struct buf out = BUF_INIT;
		struct err e = {0};
		size_t n = 0;
		int r;

		do {
			ptrdiff_t comma = slice_find(rest, ',');
			size_t len = comma < 0 ? rest.n : (size_t)comma;

			list[n++] = len > 0 ? slice_sub(rest, 0, len) : slice_str("not there");
			rest = slice_sub(rest, len + 1, rest.n);
		} while (rest.n > 0);
		r = url_task_form(slice_str(rows[i].in), list, n, &out, &e);
		if (rows[i].out == NULL)
			assert_int_equal(r, -1);
		else if (r < 0)
			fail_msg("%s: %s", rows[i].in, e.text);
		else if (strcmp(buf_cstr(&out), rows[i].out) != 0)
			fail_msg("%s gave %s, expected %s", rows[i].in, buf_cstr(&out), rows[i].out);
		buf_free(&out);
	}
}

static void
task_form_without_filters_is_the_text_itself(void **state)
{
	static const char *const texts[] = {"HTTPS://Example.com/?b=2&a=1", "example.com/a", "", " x \n"};
	struct buf out = BUF_INIT;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		buf_clear(&out);
		assert_int_equal(url_task_form(slice_str(texts[i]), NULL, 0, &out, NULL), 0);
		assert_string_equal(buf_cstr(&out), texts[i]);
	}
	buf_free(&out);
}

static void
task_form_of_a_wrong_url_is_a_parse_error(void **state)
{
	struct slice filter = slice_str("x");
	struct buf out = BUF_INIT;
	struct err e = {0};

	(void)state;
	assert_int_equal(url_task_form(slice_str("example.com/a"), &filter, 1, &out, &e), -1);
	assert_int_equal(e.code, ERR_INVALID_ARGUMENT);
	assert_string_equal(e.text, "ParseError cause: relative URL without a base");
	assert_int_equal(url_task_form(slice_str("http://"), &filter, 1, &out, &e), -1);
	assert_string_equal(e.text, "ParseError cause: empty host");
	buf_free(&out);
}

static void
request_carries_target_and_host(void **state)
{
	static const struct {
		const char *in;
		const char *target;
		const char *host;
		const char *auth;
	} rows[] = {
		{"HTTP://Example.COM:80/a/../b c?x=1 2#f", "/b%20c?x=1%202", "example.com", ""},
		{"https://u:p%40s@h:8443/x", "/x", "h:8443", "Basic dTpwQHM="},
		{"http://[2001:DB8:0::1]:8080/", "/", "[2001:db8::1]:8080", ""},
		{"http://h/a%2Fb%2e%2E/c", "/a%2Fb%2e%2E/c", "h", ""},
		{"http://h?q", "/?q", "h", ""},
		{"http://h/a?x=%2F+%2f&x=&x", "/a?x=%2F+%2f&x=&x", "h", ""},
		{"s3://B", "/", "B", ""},
		{"http://:pw@h/", "/", "h", "Basic OnB3"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct buf out = BUF_INIT;
		struct url u;

		assert_int_equal(url_parse(&u, slice_str(rows[i].in), NULL), 0);
		assert_int_equal(url_request_target(&u, &out, NULL), 0);
		assert_string_equal(buf_cstr(&out), rows[i].target);
		buf_clear(&out);
		url_host_header(&u, &out);
		assert_string_equal(buf_cstr(&out), rows[i].host);
		buf_clear(&out);
		assert_int_equal(url_basic_auth(&u, &out, NULL), rows[i].auth[0] != 0);
		assert_string_equal(buf_cstr(&out), rows[i].auth);
		buf_free(&out);
		url_free(&u);
	}
}

static void
smuggling_is_refused(void **state)
{
	struct buf out = BUF_INIT;
	struct err e = {0};
	struct url u;

	(void)state;
	assert_int_equal(url_parse(&u, slice_str("http://a%0d%0aX:b@h/"), NULL), 0);
	assert_int_equal(url_basic_auth(&u, &out, &e), -1);
	assert_int_equal(out.len, 0);
	url_free(&u);
	assert_int_equal(url_parse(&u, slice_str("x:a b"), NULL), 0);
	assert_int_equal(url_request_target(&u, &out, &e), -1);
	assert_int_equal(out.len, 0);
	url_free(&u);
	buf_free(&out);
}

static void
secrets_are_hidden(void **state)
{
	static const struct row rows[] = {
		{"https://example.com/a", "https://example.com/a"},
		{"https://u:p@example.com/a", "https://***@example.com/a"},
		{"https://token@example.com", "https://***@example.com"},
		{"https://a@b:c@h/x@y", "https://***@h/x@y"},
		{"https://h/@scope/pkg", "https://h/@scope/pkg"},
		{"https://h/a?X-Amz-Signature=abc&x=&token&=v#secret", "https://h/a?X-Amz-Signature=***&x=&***&=***"},
		{"https://h/a?", "https://h/a?"},
		{"https://h?u=http://u:p@g/", "https://h?u=***"},
		{"https:\\\\u:p@h\\x", "***@h\\x"},
		{"https:u:p@h/x", "***@h/x"},
		{"https:/u:p@h/x", "https:/***@h/x"},
		{"https:\\/u:p@h/x", "https:\\/***@h/x"},
		{"https://u:p@exampl://om/x", "https://***@exampl://om/x"},
		{"//u:p@x://h/", "//***@x://h/"},
		{"/proxied/https://u:p@h/", "/proxied/https://***@h/"},
		{"https:////u:p@h/x", "https:////***@h/x"},
		{"ht\ntps:/\t/u:p@h/", "https://***@h/"},
		{" \x01https://u:p@h/", "https://***@h/"},
		{"u:p@h/x", "***@h/x"},
		{"some p@h", "***@h"},
		{"no such://u:p@h/x", "no%20such://***@h/x"},
		{"s3://a\\b:secret@h/", "s3://***@h/"},
		{"", ""},
		{"https://h/a\x1b[0m b", "https://h/a[0m%20b"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		char out[URL_REDACTED_MAX];

		if (strcmp(url_redact_text(slice_str(rows[i].in), out), rows[i].out) != 0)
			fail_msg("%s gave %s, expected %s", rows[i].in, out, rows[i].out);
	}
}

static void
redacted_text_is_cut_to_its_place(void **state)
{
	char out[URL_REDACTED_MAX], *s = repeat("http://h/", 'a', 2 * URL_TEXT_MAX);

	(void)state;
	url_redact_text(slice_str(s), out);
	assert_int_equal(strlen(out), URL_REDACTED_MAX - 1);
	free(s);
}

static void
percent_encoding_round_trips(void **state)
{
	struct buf out = BUF_INIT, back = BUF_INIT;
	uint8_t all[256];

	(void)state;
	for (size_t i = 0; i < sizeof(all); i++)
		all[i] = (uint8_t)i;
	url_encode(slice_make(all, sizeof(all)), URL_UNRESERVED, &out);
	url_decode(buf_slice(&out), &back);
	assert_int_equal(back.len, sizeof(all));
	assert_memory_equal(buf_data(&back), all, sizeof(all));
	buf_clear(&out);
	url_encode(slice_str("a /~\xc3"), "/~", &out);
	assert_string_equal(buf_cstr(&out), "a%20/~%C3");
	buf_clear(&out);
	url_decode(slice_str("%41%zz%4%+%61%"), &out);
	assert_string_equal(buf_cstr(&out), "A%zz%4%+a%");
	buf_free(&out);
	buf_free(&back);
}

static void
query_is_read_as_a_form(void **state)
{
	struct slice query = slice_str("a=1+2&&b&=c&d=%e4%bd%a0%ff=");
	struct buf name = BUF_INIT, value = BUF_INIT;
	static const char *const expected[][2] = {{"a", "1 2"}, {"b", ""}, {"", "c"}, {"d", "\xe4\xbd\xa0\xef\xbf\xbd="}};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(expected); i++) {
		assert_true(url_query_next(&query, &name, &value));
		assert_string_equal(buf_cstr(&name), expected[i][0]);
		assert_string_equal(buf_cstr(&value), expected[i][1]);
	}
	assert_false(url_query_next(&query, &name, &value));
	buf_free(&name);
	buf_free(&value);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(special_urls_become_canonical),
		cmocka_unit_test(dot_segments_are_resolved_in_every_spelling),
		cmocka_unit_test(other_schemes_keep_their_host),
		cmocka_unit_test(ipv4_in_every_form_becomes_a_dotted_quad),
		cmocka_unit_test(ipv6_is_compressed),
		cmocka_unit_test(international_names_become_punycode),
		cmocka_unit_test(wrong_urls_say_why),
		cmocka_unit_test(file_urls_have_no_port),
		cmocka_unit_test(parts_are_views_of_the_text),
		cmocka_unit_test(relative_texts_resolve_against_their_base),
		cmocka_unit_test(nothing_resolves_against_an_opaque_base),
		cmocka_unit_test(same_origin_counts_default_ports),
		cmocka_unit_test(limits_hold_to_the_byte),
		cmocka_unit_test(query_pairs_are_limited),
		cmocka_unit_test(joined_paths_do_not_pile_up),
		cmocka_unit_test(task_form_follows_the_vectors),
		cmocka_unit_test(task_form_without_filters_is_the_text_itself),
		cmocka_unit_test(task_form_of_a_wrong_url_is_a_parse_error),
		cmocka_unit_test(request_carries_target_and_host),
		cmocka_unit_test(smuggling_is_refused),
		cmocka_unit_test(secrets_are_hidden),
		cmocka_unit_test(redacted_text_is_cut_to_its_place),
		cmocka_unit_test(percent_encoding_round_trips),
		cmocka_unit_test(query_is_read_as_a_form),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
