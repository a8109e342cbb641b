#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "serve/metrics_text.h"

static void
assert_page(struct metrics_text *t, const char *want)
{
	struct buf out = BUF_INIT;

	metrics_text_write(t, &out);
	assert_string_equal(buf_cstr(&out), want);
	buf_free(&out);
	metrics_text_free(t);
}

static void
families_are_sorted_and_empty_ones_left_out(void **state)
{
	struct metrics_text t;

	(void)state;
	metrics_text_init(&t, NULL, false);
	metrics_one(&t, METRICS_GAUGE, "b", "The b.", UINT64_MAX);
	metrics_family(&t, METRICS_COUNTER, "c", "Nothing.", false);
	metrics_family(&t, METRICS_COUNTER, "a", "The a.", false);
	metrics_sample(&t, 3, (const struct metrics_label[]){{"x", "1"}, {"y", "2"}}, 2);
	metrics_sample1(&t, 4, "x", "2");
	assert_page(&t,
	    "# HELP a The a.\n# TYPE a counter\na{x=\"1\",y=\"2\"} 3\na{x=\"2\"} 4\n"
	    "# HELP b The b.\n# TYPE b gauge\nb 18446744073709551615\n");
}

static void
label_values_are_escaped(void **state)
{
	struct metrics_text t;

	(void)state;
	metrics_text_init(&t, NULL, false);
	metrics_family(&t, METRICS_COUNTER, "a", "A.", false);
	metrics_sample1(&t, 1, "tag", "x\"} 9\na{tag=\"\\");
	assert_page(&t, "# HELP a A.\n# TYPE a counter\na{tag=\"x\\\"} 9\\na{tag=\\\"\\\\\"} 1\n");
}

static void
histogram_adds_up(void **state)
{
	static const uint64_t bounds[] = {1, 10}, counts[] = {2, 0, 3};
	struct metrics_text t;

	(void)state;
	metrics_text_init(&t, NULL, false);
	metrics_family(&t, METRICS_HISTOGRAM, "h", "H.", false);
	metrics_histogram(&t, bounds, counts, 3, 99, (const struct metrics_label[]){{"type", "0"}}, 1);
	assert_page(&t,
	    "# HELP h H.\n# TYPE h histogram\nh_bucket{le=\"1\",type=\"0\"} 2\nh_bucket{le=\"10\",type=\"0\"} 2\n"
	    "h_bucket{le=\"+Inf\",type=\"0\"} 5\nh_sum{type=\"0\"} 99\nh_count{type=\"0\"} 5\n");
}

static void
fill(struct metrics_text *t, uint64_t n)
{
	metrics_one(t, METRICS_COUNTER, "a", "A.", n);
	metrics_one(t, METRICS_GAUGE, "b", "B.", n);
	metrics_family(t, METRICS_COUNTER, "c", "C.", true);
	metrics_sample(t, n, NULL, 0);
}

static void
reset_takes_off_counters_alone(void **state)
{
	struct metrics_base base;
	struct metrics_text t;

	(void)state;
	metrics_base_init(&base);
	for (uint64_t n = 7; n < 9; n++) {
		metrics_text_init(&t, &base, true);
		fill(&t, n);
		metrics_text_free(&t);
	}
	metrics_text_init(&t, &base, false);
	fill(&t, 10);
	assert_page(&t,
	    "# HELP a A.\n# TYPE a counter\na 2\n# HELP b B.\n# TYPE b gauge\nb 10\n# HELP c C.\n# TYPE c counter\nc 10\n");
	metrics_base_free(&base);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(families_are_sorted_and_empty_ones_left_out),
		cmocka_unit_test(label_values_are_escaped),
		cmocka_unit_test(histogram_adds_up),
		cmocka_unit_test(reset_takes_off_counters_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
