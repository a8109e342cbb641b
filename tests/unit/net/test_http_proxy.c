#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "net/http_proxy.h"

/* The environment of a test: "NAME=value". */
static const char *const *env;

static char *
get(const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; env[i] != NULL; i++)
		if (strncmp(env[i], name, n) == 0 && env[i][n] == '=') {
			static char value[256];

			strncpy(value, env[i] + n + 1, sizeof(value) - 1);
			return value;
		}
	return NULL;
}

#define ENV(...) env = (const char *const[]){__VA_ARGS__, NULL}

static struct http_proxies
read_env(void)
{
	struct http_proxies p;
	struct err e;

	if (http_proxies_read(&p, get, &e) != 0)
		fail_msg("%s", e.text);
	return p;
}

static const char *
pick(const struct http_proxies *p, bool is_tls, const char *host)
{
	const struct http_proxy *x = http_proxies_pick(p, is_tls, host);

	return x != NULL ? x->host : "direct";
}

static void
each_kind_of_target_has_its_variable(void **state)
{
	struct http_proxies p;

	(void)state;
	ENV("HTTP_PROXY=http://a:1", "https_proxy=b:2");
	p = read_env();
	assert_string_equal(pick(&p, false, "h"), "a");
	assert_string_equal(pick(&p, true, "h"), "b");
	assert_int_equal(p.http.port, 1);
	assert_int_equal(p.https.port, 2);
	assert_false(p.https.is_tls);
	http_proxies_free(&p);
}

static void
upper_case_wins_even_when_empty(void **state)
{
	struct http_proxies p;

	(void)state;
	ENV("HTTP_PROXY=a", "http_proxy=b");
	p = read_env();
	assert_string_equal(pick(&p, false, "h"), "a");
	assert_int_equal(p.http.port, 80);
	http_proxies_free(&p);
	ENV("HTTP_PROXY=", "http_proxy=b");
	p = read_env();
	assert_string_equal(pick(&p, false, "h"), "direct");
	http_proxies_free(&p);
	ENV("HTTP_PROXY=http://[bad", "http_proxy=b", "ALL_PROXY=https://c");
	p = read_env();
	assert_string_equal(pick(&p, false, "h"), "c");
	assert_true(p.http.is_tls);
	assert_int_equal(p.http.port, 443);
	http_proxies_free(&p);
}

static void
credentials_become_a_header(void **state)
{
	struct http_proxies p;

	(void)state;
	ENV("HTTP_PROXY=http://u:p%40s@a:3128/path");
	p = read_env();
	assert_string_equal(p.http.authorization, "Basic dTpwQHM=");
	assert_string_equal(p.http.host, "a");
	http_proxies_free(&p);
}

static void
cgi_has_no_proxy(void **state)
{
	struct http_proxies p;

	(void)state;
	ENV("HTTP_PROXY=a", "REQUEST_METHOD=GET");
	p = read_env();
	assert_string_equal(pick(&p, false, "h"), "direct");
	http_proxies_free(&p);
}

static void
socks_is_refused_without_its_secret(void **state)
{
	struct http_proxies p;
	struct err e;

	(void)state;
	ENV("ALL_PROXY=socks5://u:secret@a:1080");
	assert_int_equal(http_proxies_read(&p, get, &e), -1);
	assert_int_equal(e.code, ERR_INVALID_ARGUMENT);
	assert_non_null(strstr(e.text, "ALL_PROXY"));
	assert_non_null(strstr(e.text, "socks5"));
	assert_null(strstr(e.text, "secret"));
}

static void
exceptions(void **state)
{
	static const struct {
		const char *host;
		bool direct;
	} cases[] = {
		{"x.corp", true}, {"CORP", true}, {"a.b.corp", true}, {"xcorp", false}, {"corp.x", false}, {"example.com", true},
		{"www.example.com", true}, {"notexample.com", false}, {"10.1.1.1", true}, {"11.1.1.1", false}, {"192.168.1.7", true},
		{"192.168.1.8", false}, {"fd00::1", true}, {"fe00::1", false}, {"172.16.5.129", true}, {"172.16.5.127", false},
		{"169.254.169.254", true}, {"metadata.google.internal", true}, {"fd00:ec2::254", true},
	};
	struct http_proxies p;

	(void)state;
	ENV("HTTP_PROXY=a", "NO_PROXY= .corp, 10.0.0.0/8 ,example.com,192.168.1.7,fd00::/8,172.16.5.128/25,,300.1.1.1/99,10.0.0.0/x");
	p = read_env();
	for (size_t i = 0; i < COUNT_OF(cases); i++)
		assert_string_equal(pick(&p, false, cases[i].host), cases[i].direct ? "direct" : "a");
	http_proxies_free(&p);
	ENV("HTTP_PROXY=a", "no_proxy=*");
	p = read_env();
	assert_string_equal(pick(&p, false, "h"), "direct");
	assert_string_equal(pick(&p, false, "1.2.3.4"), "direct");
	http_proxies_free(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_kind_of_target_has_its_variable),
		cmocka_unit_test(upper_case_wins_even_when_empty),
		cmocka_unit_test(credentials_become_a_header),
		cmocka_unit_test(cgi_has_no_proxy),
		cmocka_unit_test(socks_is_refused_without_its_secret),
		cmocka_unit_test(exceptions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
