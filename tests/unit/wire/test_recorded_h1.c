/*
 * HTTP/1.1 recorded between other implementations: every head is parsed, each of its fields found in the .txt beside the
 * recording, and written again to the same bytes. Recordings are cut to 1200 bytes a direction, so the last body may be short.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "support/hex.h"
#include "wire/h1.h"

/* Byte i of every file that the recorded programs moved. */
static uint8_t
content_at(uint64_t i)
{
	return (uint8_t)((i * 7 + i / 251) & 255);
}

/* Where the content of a 206 begins; false for other answers. */
static bool
find_offset(const struct h1 *p, uint64_t *offset)
{
	struct slice range = h1_get(p, "content-range");
	ptrdiff_t dash = slice_find(range, '-');

	return p->status == 206 && dash > 6 && slice_to_u64(slice_sub(range, 6, (size_t)dash - 6), offset) == 0;
}

static void
check_head(const struct h1 *p, struct slice raw, const char *text)
{
	struct buf head = BUF_INIT, line = BUF_INIT;
	bool is_cut = strstr(text, "X-\n") != NULL;

	if (p->kind == H1_REQUEST) {
		char *method = slice_dup(p->method);

		assert_int_equal(h1_write_request_line(&head, method, p->target), 0);
		free(method);
	} else {
		h1_write_status_line(&head, p->minor, p->status, NULL);
	}
	for (size_t i = 0; i < p->field_count; i++) {
		char *name = slice_dup(p->fields[i].name);

		assert_int_equal(h1_write_field(&head, name, p->fields[i].value), 0);
		free(name);
		buf_clear(&line);
		buf_printf(&line, "%.*s: %.*s", SLICE_ARG(p->fields[i].name), SLICE_ARG(p->fields[i].value));
		if (!is_cut && strstr(text, buf_cstr(&line)) == NULL)
			fail_msg("not in the .txt: %s", buf_cstr(&line));
	}
	h1_write_head_end(&head);
	assert_int_equal(head.len, raw.n);
	assert_memory_equal(buf_data(&head), raw.p, raw.n);
	buf_free(&head);
	buf_free(&line);
}

/* All messages of one direction; returns how many heads there were. */
static size_t
check_direction(const char *name, const char *ending, enum h1_kind kind, const char *method, const char *text)
{
	static struct h1 p;
	struct buf bytes = BUF_INIT;
	struct slice in, data;
	const uint8_t *start;
	uint64_t offset = 0;
	bool is_known = false;
	size_t heads = 0;
	char path[128];
	enum h1_event ev;

	snprintf(path, sizeof(path), "recorded/%s.%s", name, ending);
	vector_read(&bytes, path);
	in = buf_slice(&bytes);
	start = in.p;
	h1_init(&p, kind);
	if (kind == H1_RESPONSE)
		h1_expect_answer_to(&p, method);
	while ((ev = h1_parse(&p, &in, &data)) != H1_MORE) {
		assert_int_not_equal(ev, H1_ERROR);
		if (ev == H1_HEAD) {
			heads++;
			check_head(&p, slice_make(start, (size_t)(in.p - start)), text);
			offset = 0;
			is_known = kind == H1_RESPONSE && find_offset(&p, &offset);
		} else if (ev == H1_DATA && is_known) {
			for (size_t i = 0; i < data.n; i++)
				assert_int_equal(data.p[i], content_at(offset + i));
			offset += data.n;
		} else if (ev == H1_END) {
			start = in.p;
			if (in.n == 0)
				break;
			h1_next(&p);
			if (kind == H1_RESPONSE)
				h1_expect_answer_to(&p, method);
		}
	}
	h1_free(&p);
	buf_free(&bytes);
	return heads;
}

static char names[][32] = {
	"origin-empty", "origin-missing", "origin-piece-range", "origin-piece-range-2", "origin-range-request", "origin-stat",
	"proxy-containerd-0", "proxy-containerd-1", "proxy-containerd-2", "proxy-containerd-3", "proxy-containerd-4", "proxy-get",
	"proxy-range",
};

static void
check_recording(void **state)
{
	const char *name = *state;
	struct buf text = BUF_INIT;
	char path[128];
	size_t requests, answers;

	snprintf(path, sizeof(path), "recorded/%s.txt", name);
	vector_read(&text, path);
	requests = check_direction(name, "c2s", H1_REQUEST, NULL, buf_cstr(&text));
	/* containerd asks with HEAD first. */
	answers = check_direction(name, "s2c", H1_RESPONSE, strcmp(name, "proxy-containerd-0") == 0 ? "HEAD" : "GET", buf_cstr(&text));
	assert_true(requests >= 1);
	assert_true(answers >= 1 && answers <= requests);
	buf_free(&text);
}

int
main(void)
{
	struct CMUnitTest tests[COUNT_OF(names)];

	for (size_t i = 0; i < COUNT_OF(names); i++)
		tests[i] = (struct CMUnitTest){names[i], check_recording, NULL, NULL, names[i]};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
