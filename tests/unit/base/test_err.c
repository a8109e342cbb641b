#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/mem.h"

static void
text_and_code_are_set_and_wrapped(void **state)
{
	struct err e = {0};

	(void)state;
	assert_int_equal(err_set(&e, ERR_ABORTED, "piece %d", 7), -1);
	assert_int_equal(e.code, ERR_ABORTED);
	assert_string_equal(e.text, "piece 7");
	assert_int_equal(err_wrap(&e, "task %s", "x"), -1);
	assert_int_equal(e.code, ERR_ABORTED);
	assert_string_equal(e.text, "task x: piece 7");
	err_clear(&e);
	assert_int_equal(e.code, ERR_OK);
	assert_string_equal(e.text, "");
	assert_int_equal(err_set(NULL, ERR_ABORTED, "x"), -1);
	assert_int_equal(err_sys(NULL, ENOENT, "x"), -1);
	assert_int_equal(err_wrap(NULL, "x"), -1);
}

static void
system_errors_choose_the_code(void **state)
{
	static const struct {
		int errnum;
		int code;
	} rows[] = {
		{ENOENT, ERR_NOT_FOUND}, {EACCES, ERR_PERMISSION_DENIED}, {EPERM, ERR_PERMISSION_DENIED}, {ENOSPC, ERR_RESOURCE_EXHAUSTED},
		{EDQUOT, ERR_RESOURCE_EXHAUSTED}, {EMFILE, ERR_RESOURCE_EXHAUSTED}, {ENOMEM, ERR_RESOURCE_EXHAUSTED}, {ECONNREFUSED, ERR_UNAVAILABLE},
		{ECONNRESET, ERR_UNAVAILABLE}, {EPIPE, ERR_UNAVAILABLE}, {EHOSTUNREACH, ERR_UNAVAILABLE}, {ETIMEDOUT, ERR_DEADLINE_EXCEEDED},
		{EEXIST, ERR_ALREADY_EXISTS}, {EIO, ERR_INTERNAL}, {-1, ERR_INTERNAL},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct err e = {0};

		assert_int_equal(err_sys(&e, rows[i].errnum, "open %s", "/data/x"), -1);
		assert_int_equal(e.code, rows[i].code);
		assert_int_equal(e.sys, rows[i].errnum);
		assert_int_equal(strncmp(e.text, "open /data/x: ", 14), 0);
		assert_true(strlen(e.text) > 14);
	}
}

static void
long_texts_are_cut(void **state)
{
	char name[2 * ERR_TEXT_MAX];
	struct err e = {0};

	(void)state;
	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = 0;
	err_set(&e, ERR_INTERNAL, "%s", name);
	assert_int_equal(strlen(e.text), ERR_TEXT_MAX - 1);
	err_wrap(&e, "b");
	assert_int_equal(strlen(e.text), ERR_TEXT_MAX - 1);
	assert_int_equal(strncmp(e.text, "b: aaa", 6), 0);
	err_wrap(&e, "%s", name);
	err_sys(&e, EIO, "%s", name);
	assert_int_equal(strlen(e.text), ERR_TEXT_MAX - 1);
}

static void
codes_have_names(void **state)
{
	(void)state;
	assert_string_equal(err_code_name(ERR_OK), "Ok");
	assert_string_equal(err_code_name(ERR_NOT_FOUND), "NotFound");
	assert_string_equal(err_code_name(ERR_UNAUTHENTICATED), "Unauthenticated");
	assert_string_equal(err_code_name(17), "Unknown");
	assert_string_equal(err_code_name(-1), "Unknown");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(text_and_code_are_set_and_wrapped),
		cmocka_unit_test(system_errors_choose_the_code),
		cmocka_unit_test(long_texts_are_cut),
		cmocka_unit_test(codes_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
