#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"

static char dir[] = "/tmp/test-log-XXXXXX";

static char *
path_of(const char *name)
{
	static char path[200];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

/* The file's text, static; NULL when it is not there. */
static char *
text_of(const char *name)
{
	static char text[1 << 20];
	FILE *f = fopen(path_of(name), "r");
	size_t n;

	if (f == NULL)
		return NULL;
	n = fread(text, 1, sizeof(text) - 1, f);
	text[n] = 0;
	fclose(f);
	return text;
}

static size_t
line_count(const char *text)
{
	size_t n = 0;

	for (; *text != 0; text++)
		n += *text == '\n';
	return n;
}

static int
open_log(uint64_t max_bytes, unsigned max_files)
{
	static const char *const names[] = {"t.log", "t.log.1", "t.log.2", "t.log.3"};

	for (size_t i = 0; i < COUNT_OF(names); i++)
		unlink(path_of(names[i]));
	log_to_stderr(false);
	log_set_level(LOG_INFO);
	return log_open_dir(dir, "t", max_bytes, max_files, NULL);
}

static void
a_line_has_time_level_and_message(void **state)
{
	char *text;

	(void)state;
	assert_int_equal(open_log(0, 1), 0);
	log_info("task finished id=%s", "abc");
	log_close();
	text = text_of("t.log");
	assert_int_equal(strlen(text), strlen("2026-01-02T03:04:05.678901Z  INFO task finished id=abc\n"));
	assert_string_equal(text + 27, "  INFO task finished id=abc\n");
	assert_int_equal(text[10], 'T');
	assert_int_equal(text[26], 'Z');
}

static void
values_cannot_forge_a_line(void **state)
{
	char *text;

	(void)state;
	assert_int_equal(open_log(0, 1), 0);
	log_error("%s", "a\nb\rc\td\x1b[0m\x7f\xc3\xa9");
	log_close();
	text = text_of("t.log");
	assert_string_equal(text + 27, " ERROR a\\nb\\rc\\td\\x1b[0m\\x7f\xc3\xa9\n");
}

static void
lines_as_json(void **state)
{
	char *text;

	(void)state;
	assert_int_equal(open_log(0, 1), 0);
	log_as_json(true);
	log_error("%s", "a\nb\x1f\x7f \"q\" \\ \xc3\xa9 \xff\xc3 \xed\xa0\x80 \xf0\x9f\x98\x80");
	log_as_json(false);
	log_close();
	text = text_of("t.log");
	assert_memory_equal(text, "{\"time\":\"", 9);
	assert_string_equal(text + 9 + 27, "\",\"level\":\"error\",\"message\":\"a\\u000ab\\u001f\\u007f \\\"q\\\" \\\\ \xc3\xa9 \\ufffd\\ufffd "
	    "\\ufffd\\ufffd\\ufffd \xf0\x9f\x98\x80\"}\n");
}

static void
long_lines_as_json_are_cut_and_closed(void **state)
{
	char *text, *value = xmalloc(3 * LOG_LINE_MAX);
	size_t n;

	(void)state;
	memset(value, '"', 3 * LOG_LINE_MAX);
	value[3 * LOG_LINE_MAX - 1] = 0;
	assert_int_equal(open_log(0, 1), 0);
	log_as_json(true);
	log_info("%s", value);
	log_as_json(false);
	log_close();
	text = text_of("t.log");
	n = strlen(text);
	assert_int_equal(line_count(text), 1);
	assert_true(n > LOG_LINE_MAX - 16 && n <= LOG_LINE_MAX);
	assert_string_equal(text + n - 5, "\\\"\"}\n");
	free(value);
}

static void
what_happens_often_is_due_once(void **state)
{
	atomic_int_fast64_t last = 0, other = 0;

	(void)state;
	assert_true(log_is_due(&last));
	assert_false(log_is_due(&last));
	assert_true(log_is_due(&other));
	last -= LOG_OFTEN_MS;
	assert_true(last == 0 || log_is_due(&last));
}

static void
long_lines_are_cut(void **state)
{
	char *text, *value = xmalloc(3 * LOG_LINE_MAX);

	(void)state;
	memset(value, '\n', 3 * LOG_LINE_MAX);
	value[3 * LOG_LINE_MAX - 1] = 0;
	assert_int_equal(open_log(0, 1), 0);
	log_info("%s", value);
	log_info("next");
	log_close();
	text = text_of("t.log");
	assert_int_equal(line_count(text), 2);
	assert_true(strlen(text) < LOG_LINE_MAX + 100);
	free(value);
}

static void
levels_filter_and_are_counted(void **state)
{
	struct log_counts before, after;
	char *text;

	(void)state;
	assert_int_equal(open_log(0, 1), 0);
	log_get_counts(&before);
	log_set_level(LOG_ERROR);
	assert_int_equal(log_get_level(), LOG_ERROR);
	log_debug("no");
	log_info("no");
	log_warn("no");
	log_error("yes");
	log_set_level(LOG_OFF);
	log_error("no");
	log_get_counts(&after);
	log_close();
	text = text_of("t.log");
	assert_int_equal(line_count(text), 1);
	assert_int_equal(after.warnings - before.warnings, 1);
	assert_int_equal(after.errors - before.errors, 2);
}

static void
level_names_are_read_in_any_case(void **state)
{
	enum log_level l;

	(void)state;
	assert_int_equal(log_parse_level("Trace", &l), 0);
	assert_int_equal(l, LOG_TRACE);
	assert_int_equal(log_parse_level("WARN", &l), 0);
	assert_int_equal(l, LOG_WARN);
	assert_int_equal(log_parse_level("off", &l), 0);
	assert_int_equal(l, LOG_OFF);
	assert_int_equal(log_parse_level("", &l), -1);
	assert_int_equal(log_parse_level("warning", &l), -1);
}

static void
files_turn_by_size_and_the_oldest_goes(void **state)
{
	(void)state;
	assert_int_equal(open_log(1000, 2), 0);
	for (int i = 0; i < 200; i++)
		log_info("line number=%d and some more words to fill it", i);
	log_close();
	assert_non_null(strstr(text_of("t.log"), "number=199 "));
	assert_in_range(strlen(text_of("t.log.1")), 1000, 1100);
	assert_in_range(strlen(text_of("t.log.2")), 1000, 1100);
	assert_null(text_of("t.log.3"));
}

static void
size_of_nothing_never_turns(void **state)
{
	(void)state;
	assert_int_equal(open_log(0, 2), 0);
	for (int i = 0; i < 200; i++)
		log_info("line number=%d", i);
	log_close();
	assert_int_equal(line_count(text_of("t.log")), 200);
	assert_null(text_of("t.log.1"));
}

static void
opening_again_continues_the_file(void **state)
{
	char from[200];

	(void)state;
	snprintf(from, sizeof(from), "%s", path_of("t.log"));
	assert_int_equal(open_log(0, 2), 0);
	log_info("one");
	log_close();
	assert_int_equal(log_open_dir(dir, "t", 0, 2, NULL), 0);
	log_info("two");
	assert_int_equal(rename(from, path_of("t.log.1")), 0);
	log_info("three");
	assert_int_equal(log_reopen(NULL), 0);
	log_info("four");
	log_close();
	assert_int_equal(line_count(text_of("t.log.1")), 3);
	assert_int_equal(line_count(text_of("t.log")), 1);
}

static void
a_place_that_cannot_be_written_is_an_error(void **state)
{
	struct err e = {0};

	(void)state;
	assert_int_equal(log_open_dir("/dev/null/x", "t", 0, 1, &e), -1);
	assert_non_null(strstr(e.text, "/dev/null/x"));
	assert_int_equal(log_open_dir("/dev/null", "t", 0, 1, &e), -1);
	assert_non_null(strstr(e.text, "open log file /dev/null/t.log"));
	log_info("goes nowhere");
}

static void
missing_directories_are_made(void **state)
{
	char deep[300], too_long[5000];
	struct err e = {0};

	(void)state;
	snprintf(deep, sizeof(deep), "%s/a//b/c", dir);
	assert_int_equal(log_open_dir(deep, "t", 0, 1, &e), 0);
	log_close();
	snprintf(deep, sizeof(deep), "%s/a//b/c/", dir);
	assert_int_equal(log_open_dir(deep, "t", 0, 1, &e), 0);
	log_close();
	assert_int_equal(unlink(path_of("a/b/c/t.log")), 0);
	assert_int_equal(rmdir(path_of("a/b/c")), 0);
	assert_int_equal(rmdir(path_of("a/b")), 0);
	assert_int_equal(rmdir(path_of("a")), 0);
	memset(too_long, 'a', sizeof(too_long) - 1);
	too_long[sizeof(too_long) - 1] = 0;
	assert_int_equal(log_open_dir(too_long, "t", 0, 1, &e), -1);
	assert_int_equal(e.code, ERR_INVALID_ARGUMENT);
}

static void
errno_survives_a_log_line(void **state)
{
	(void)state;
	errno = EDOM;
	log_info("x");
	assert_int_equal(errno, EDOM);
}

static void
an_unread_pipe_does_not_stop_the_program(void **state)
{
	int ends[2], saved = dup(STDERR_FILENO);

	(void)state;
	assert_int_equal(pipe(ends), 0);
	assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
	log_set_level(LOG_INFO);
	log_to_stderr(true);
	/* Far more than a pipe holds. */
	for (int i = 0; i < 20000; i++)
		log_info("line number=%d", i);
	log_to_stderr(false);
	assert_true(dup2(saved, STDERR_FILENO) >= 0);
	close(saved);
	close(ends[0]);
	close(ends[1]);
}

static void *
write_lines(void *arg)
{
	for (int i = 0; i < 500; i++)
		log_info("thread=%d line=%d", *(int *)arg, i);
	return NULL;
}

static void
lines_of_threads_stay_whole(void **state)
{
	pthread_t threads[4];
	int numbers[4] = {0, 1, 2, 3};
	char *text;

	(void)state;
	assert_int_equal(open_log(0, 1), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &numbers[i]), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	log_close();
	text = text_of("t.log");
	assert_int_equal(line_count(text), 2000);
	for (char *line = text; *line != 0; line = strchr(line, '\n') + 1)
		assert_int_equal(strncmp(line + 27, "  INFO thread=", 14), 0);
}

static int
make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) != NULL ? 0 : -1;
}

static int
remove_dir(void **state)
{
	(void)state;
	assert_int_equal(open_log(0, 1), 0);
	log_close();
	unlink(path_of("t.log"));
	return rmdir(dir);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_has_time_level_and_message),
		cmocka_unit_test(values_cannot_forge_a_line),
		cmocka_unit_test(lines_as_json),
		cmocka_unit_test(long_lines_as_json_are_cut_and_closed),
		cmocka_unit_test(what_happens_often_is_due_once),
		cmocka_unit_test(long_lines_are_cut),
		cmocka_unit_test(levels_filter_and_are_counted),
		cmocka_unit_test(level_names_are_read_in_any_case),
		cmocka_unit_test(files_turn_by_size_and_the_oldest_goes),
		cmocka_unit_test(size_of_nothing_never_turns),
		cmocka_unit_test(opening_again_continues_the_file),
		cmocka_unit_test(a_place_that_cannot_be_written_is_an_error),
		cmocka_unit_test(missing_directories_are_made),
		cmocka_unit_test(errno_survives_a_log_line),
		cmocka_unit_test(an_unread_pipe_does_not_stop_the_program),
		cmocka_unit_test(lines_of_threads_stay_whole),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
