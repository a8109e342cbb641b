#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "text/diff.h"

static void
gives(const char *a, const char *b, const char *want)
{
	struct buf out = BUF_INIT;

	diff_unified("a", slice_str(a), "b", slice_str(b), &out);
	if (strcmp(buf_cstr(&out), want) != 0)
		fail_msg("comes:\n%s\n-- wanted:\n%s", buf_cstr(&out), want);
	buf_free(&out);
}

static void
same_texts_give_nothing(void **state)
{
	(void)state;
	gives("", "", "");
	gives("a\nb", "a\nb", "");
}

static void
changes_stand_in_their_surroundings(void **state)
{
	(void)state;
	gives("1\n2\n3\n4\n5\n6\n7\n8\n9\n", "1\n2\n3\n4\nX\n6\n7\n8\n9\n", "--- a\n+++ b\n@@ -2,7 +2,7 @@\n 2\n 3\n 4\n-5\n+X\n 6\n 7\n 8\n");
	gives("", "x\ny\n", "--- a\n+++ b\n@@ -0,0 +1,2 @@\n+x\n+y\n");
	gives("x\n", "", "--- a\n+++ b\n@@ -1,1 +0,0 @@\n-x\n");
	gives("a\nb\nc\n", "a\nc\nd\n", "--- a\n+++ b\n@@ -1,3 +1,3 @@\n a\n-b\n c\n+d\n");
}

static void
near_changes_share_a_part_and_far_ones_do_not(void **state)
{
	(void)state;
	gives("A\n1\n2\n3\n4\n5\n6\nB\n", "a\n1\n2\n3\n4\n5\n6\nb\n",
	    "--- a\n+++ b\n@@ -1,8 +1,8 @@\n-A\n+a\n 1\n 2\n 3\n 4\n 5\n 6\n-B\n+b\n");
	gives("A\n1\n2\n3\n4\n5\n6\n7\nB\n", "a\n1\n2\n3\n4\n5\n6\n7\nb\n",
	    "--- a\n+++ b\n@@ -1,4 +1,4 @@\n-A\n+a\n 1\n 2\n 3\n@@ -6,4 +6,4 @@\n 5\n 6\n 7\n-B\n+b\n");
}

static void
last_line_without_end_is_marked(void **state)
{
	(void)state;
	gives("a", "a\n", "--- a\n+++ b\n@@ -1,1 +1,1 @@\n-a\n\\ No newline at end of file\n+a\n");
}

static void
texts_too_large_to_compare_are_replaced(void **state)
{
	struct buf a = BUF_INIT, b = BUF_INIT, out = BUF_INIT;
	size_t minus = 0;

	(void)state;
	for (int i = 0; i < 3000; i++) {
		buf_printf(&a, "%d\n", i);
		buf_printf(&b, "%d\n", i % 2 != 0 ? i : -i - 1);
	}
	diff_unified("a", buf_slice(&a), "b", buf_slice(&b), &out);
	for (size_t i = 0; i + 1 < out.len; i++)
		minus += buf_data(&out)[i] == '\n' && buf_data(&out)[i + 1] == '-';
	/* All lines but the last, which is the same. */
	assert_int_equal(minus, 2999);
	buf_free(&a);
	buf_free(&b);
	buf_free(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_texts_give_nothing),
		cmocka_unit_test(changes_stand_in_their_surroundings),
		cmocka_unit_test(near_changes_share_a_part_and_far_ones_do_not),
		cmocka_unit_test(last_line_without_end_is_marked),
		cmocka_unit_test(texts_too_large_to_compare_are_replaced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
