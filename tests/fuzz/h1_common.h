/*
 * What both HTTP/1.1 fuzz targets check: the parser may not notice how the bytes were cut, stays inside its limits, and whatever head
 * it accepts can be written again and reads the same.
 */
#ifndef FUZZ_H1_COMMON_H
#define FUZZ_H1_COMMON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "wire/h1.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Messages of one input that are read, as on a kept connection. */
#define MESSAGES_MAX 8

struct trace {
	struct buf log;         /* what happened, in a form that is equal when it was the same */
	bool failed;
};

static inline void
require(bool condition)
{
	if (!condition)
		abort();
}

static inline void
note_field(struct buf *log, const struct h1_field *f)
{
	require(h1_is_token(f->name) && h1_is_value(f->value));
	buf_append_slice(log, f->name);
	buf_append_u8(log, ':');
	buf_append_slice(log, f->value);
	buf_append_u8(log, '\n');
}

static inline void
note_head(struct buf *log, const struct h1 *p)
{
	require(p->field_count <= H1_FIELDS_MAX);
	buf_printf(log, "head %d %d %d%d%d%d%d%d ", p->status, p->minor, p->has_length, p->is_chunked, p->has_body, p->is_close_delimited,
	    p->keep_alive, p->is_tunnel);
	buf_append_slice(log, p->method);
	buf_append_u8(log, ' ');
	buf_append_slice(log, p->target);
	buf_append_u8(log, '\n');
	for (size_t i = 0; i < p->field_count; i++)
		note_field(log, &p->fields[i]);
	require(!(p->kind == H1_REQUEST && p->is_chunked && p->has_length));
	require(!(p->kind == H1_REQUEST && p->is_close_delimited));
}

/* An accepted request head, written by our own writers, is read as the same request. */
static inline void
check_rewritten(const struct h1 *p)
{
	struct buf out = BUF_INIT, method = BUF_INIT;
	struct slice in, data;
	struct h1 again;
	enum h1_event ev;

	buf_append_slice(&method, p->method);
	require(h1_write_request_line(&out, buf_cstr(&method), p->target) == 0);
	for (size_t i = 0; i < p->field_count; i++) {
		struct buf name = BUF_INIT;

		buf_append_slice(&name, p->fields[i].name);
		require(h1_write_field(&out, buf_cstr(&name), p->fields[i].value) == 0);
		buf_free(&name);
	}
	h1_write_head_end(&out);
	if (p->minor == 1) {
		h1_init(&again, H1_REQUEST);
		in = buf_slice(&out);
		ev = h1_parse(&again, &in, &data);
		/* Written without the padding it came with, so never larger than before. */
		require(ev == H1_HEAD);
		require(slice_eq(again.target, p->target) && again.field_count == p->field_count && again.length == p->length);
		h1_free(&again);
	}
	buf_free(&out);
	buf_free(&method);
}

/* Reads all of the input in pieces of `step` bytes. */
static inline void
trace_input(struct trace *t, enum h1_kind kind, const char *method, const uint8_t *bytes, size_t n, size_t step)
{
	struct h1 p;
	struct buf body = BUF_INIT;
	size_t at = 0, messages = 0;
	struct slice in = {0}, data;
	bool over = false;

	h1_init(&p, kind);
	if (method != NULL)
		h1_expect_answer_to(&p, method);
	while (!over) {
		enum h1_event ev = h1_parse(&p, &in, &data);

		switch (ev) {
		case H1_MORE:
			require(in.n == 0);
			over = at == n;
			in = slice_make(bytes + at, n - at < step ? n - at : step);
			at += in.n;
			break;
		case H1_HEAD:
		case H1_INTERIM:
			note_head(&t->log, &p);
			if (kind == H1_REQUEST)
				check_rewritten(&p);
			break;
		case H1_DATA:
			require(data.n > 0);
			buf_append_slice(&body, data);
			break;
		case H1_END:
			buf_append_slice(&t->log, buf_slice(&body));
			buf_clear(&body);
			require(p.trailer_count <= H1_TRAILERS_MAX);
			for (size_t i = 0; i < p.trailer_count; i++)
				note_field(&t->log, &p.trailers[i]);
			buf_append_str(&t->log, "\nend\n");
			over = !p.keep_alive || ++messages == MESSAGES_MAX;
			if (!over) {
				h1_next(&p);
				if (method != NULL)
					h1_expect_answer_to(&p, method);
			}
			break;
		case H1_ERROR:
			require(p.error != NULL);
			t->failed = over = true;
			break;
		}
		if (ev == H1_MORE && over)
			buf_printf(&t->log, "eof %d", (int)h1_eof(&p));
	}
	if (t->failed)
		buf_printf(&t->log, "error %d", p.error_status);
	buf_append_slice(&t->log, buf_slice(&body));
	buf_free(&body);
	h1_free(&p);
}

static inline void
check_all_cuts(enum h1_kind kind, const char *method, const uint8_t *bytes, size_t n)
{
	static const size_t steps[] = {1, 2, 7, 64};
	struct trace whole = {0};

	trace_input(&whole, kind, method, bytes, n, n > 0 ? n : 1);
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		struct trace cut = {0};

		trace_input(&cut, kind, method, bytes, n, steps[i]);
		require(cut.failed == whole.failed && slice_eq(buf_slice(&cut.log), buf_slice(&whole.log)));
		buf_free(&cut.log);
	}
	buf_free(&whole.log);
}

#endif
