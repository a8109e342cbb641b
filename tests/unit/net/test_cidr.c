#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"
#include "net/addr.h"
#include "net/cidr.h"

static struct addr
at(const char *ip)
{
	struct addr a;

	assert_int_equal(addr_from_ip(&a, slice_str(ip), 80), 0);
	return a;
}

static bool
has(const char *range, const char *ip)
{
	struct addr a = at(ip);
	struct cidr c;

	assert_int_equal(cidr_parse(&c, slice_str(range), NULL), 0);
	return cidr_has(&c, &a);
}

static void
ranges_hold_their_addresses_alone(void **state)
{
	(void)state;
	assert_true(has("10.0.0.0/8", "10.255.1.2"));
	assert_false(has("10.0.0.0/8", "11.0.0.0"));
	assert_true(has("10.1.2.3", "10.1.2.3"));
	assert_false(has("10.1.2.3", "10.1.2.2"));
	assert_true(has("10.1.2.129/25", "10.1.2.255"));
	assert_false(has("10.1.2.129/25", "10.1.2.127"));
	assert_true(has("172.16.0.0/12", "172.31.255.255"));
	assert_false(has("172.16.0.0/12", "172.32.0.0"));
	assert_true(has("0.0.0.0/0", "8.8.8.8"));
	assert_false(has("0.0.0.0/0", "2001:db8::1"));
	assert_true(has("fd00::/8", "fdff::1"));
	assert_false(has("fd00::/8", "fe00::1"));
	assert_true(has("::/0", "::1"));
	assert_true(has("2001:db8::1", "2001:db8::1"));
	/* The other way to write an IPv4 address is no way around. */
	assert_true(has("10.0.0.0/8", "::ffff:10.1.1.1"));
	assert_false(has("::/0", "::ffff:10.1.1.1"));
}

static void
what_is_no_range_is_refused(void **state)
{
	static const char *const bad[] = {"", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8/8", "10.0.0/8", "localhost", "::/129",
		"[::1]", "[::1]/128", "fe80::1%lo/64", "10.0.0.0/8 ", "10.0.0.0/18446744073709551617"};
	struct cidr c;
	struct err e;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		assert_int_equal(cidr_parse(&c, slice_str(bad[i]), &e), -1);
		assert_int_equal(e.code, ERR_INVALID_ARGUMENT);
		assert_non_null(strstr(e.text, "no range of addresses"));
	}
}

static bool
admits(const struct addr_rules *r, const char *ip)
{
	struct addr a = at(ip);

	return addr_rules_admit(r, &a);
}

static void
without_rules_only_this_host_is_out_of_reach(void **state)
{
	static const char *const own[] = {"127.0.0.1", "127.255.255.254", "::1", "169.254.169.254", "fe80::1", "febf::1", "0.0.0.0", "0.1.2.3", "::",
		"::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0"};
	static const char *const others[] = {"10.0.0.1", "192.168.1.1", "8.8.8.8", "128.0.0.1", "169.253.1.1", "fec0::1", "fd00::1", "2001:db8::1",
		"::ffff:10.0.0.1"};
	struct addr_rules none = {0};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(own); i++)
		assert_false(admits(&none, own[i]));
	for (size_t i = 0; i < COUNT_OF(others); i++)
		assert_true(admits(&none, others[i]));
}

static void
denied_ranges_come_before_allowed_ones(void **state)
{
	struct cidr allow[2], deny[1];
	struct addr_rules r = {.allow = allow, .allow_count = 2, .deny = deny, .deny_count = 1};

	(void)state;
	cidr_parse(&allow[0], slice_str("127.0.0.0/8"), NULL);
	cidr_parse(&allow[1], slice_str("10.0.0.0/8"), NULL);
	cidr_parse(&deny[0], slice_str("10.9.0.0/16"), NULL);
	assert_true(admits(&r, "127.0.0.1"));
	assert_true(admits(&r, "10.8.0.1"));
	assert_false(admits(&r, "10.9.0.1"));
	assert_false(admits(&r, "8.8.8.8"));
	assert_false(admits(&r, "::1"));
	r.allow_count = 0;
	assert_false(admits(&r, "127.0.0.1"));
	assert_false(admits(&r, "10.9.0.1"));
	assert_true(admits(&r, "8.8.8.8"));
}

static void
names_that_others_resolve(void **state)
{
	static const char *const own[] = {"localhost", "LocalHost", "localhost.", "a.b.localhost", "127.0.0.1", "::1", "169.254.169.254"};
	static const char *const others[] = {"localhosts", "notlocalhost", "example.com", "localhost.example.com", "10.0.0.1", ""};
	struct addr_rules none = {0};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(own); i++)
		assert_false(addr_rules_admit_name(&none, own[i]));
	for (size_t i = 0; i < COUNT_OF(others); i++)
		assert_true(addr_rules_admit_name(&none, others[i]));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges_hold_their_addresses_alone),
		cmocka_unit_test(what_is_no_range_is_refused),
		cmocka_unit_test(without_rules_only_this_host_is_out_of_reach),
		cmocka_unit_test(denied_ranges_come_before_allowed_ones),
		cmocka_unit_test(names_that_others_resolve),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
