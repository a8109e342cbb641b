/*
 * For the HTTP/2 tests: an engine that writes down its events, two of them back to back, and frames made by hand.
 */
#ifndef UNIT_WIRE_H2_HARNESS_H
#define UNIT_WIRE_H2_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "wire/h2.h"

#define FIELD(name, value) {{(const uint8_t *)(name), sizeof(name) - 1}, {(const uint8_t *)(value), sizeof(value) - 1}, false}

/* One engine. Its events are lines of `log`; parts of one body are joined, so that fragmentation does not show. */
struct end {
	struct h2 *h;
	struct buf log;
	uint32_t data_id;       /* stream whose D line is open */
	bool keeps_data;        /* bytes are not consumed at once */
	bool is_quiet;          /* body bytes are counted, not written down */
	size_t body;            /* bytes of all bodies */
	int64_t now_ms;
	void (*on_request)(struct end *, uint32_t id);
	void (*on_writable)(struct end *, uint32_t id);
};

static inline void
end_line(struct end *e)
{
	if (e->data_id != 0)
		buf_append_str(&e->log, "\n");
	e->data_id = 0;
}

static inline void
on_headers(void *ctx, uint32_t id, void *user, enum h2_kind kind, const struct hpack_field *f, size_t n, bool is_end)
{
	static const char *const kinds[] = {"request", "response", "trailers"};
	struct end *e = ctx;

	(void)user;
	end_line(e);
	buf_printf(&e->log, "%s %u", kinds[kind], id);
	for (size_t i = 0; i < n; i++)
		buf_printf(&e->log, " %.*s=%.*s", SLICE_ARG(f[i].name), SLICE_ARG(f[i].value));
	buf_append_str(&e->log, is_end ? " end\n" : "\n");
	if (kind == H2_REQUEST && e->on_request)
		e->on_request(e, id);
}

static inline void
on_data(void *ctx, uint32_t id, void *user, struct slice bytes, bool is_end)
{
	struct end *e = ctx;

	(void)user;
	e->body += bytes.n;
	if (!e->keeps_data)
		h2_consumed(e->h, id, bytes.n);
	if (e->is_quiet && !is_end)
		return;
	if (e->data_id != id) {
		end_line(e);
		buf_printf(&e->log, "data %u ", id);
		e->data_id = id;
	}
	if (!e->is_quiet)
		buf_append_slice(&e->log, bytes);
	if (is_end) {
		buf_append_str(&e->log, " end");
		end_line(e);
	}
}

static inline void
on_writable(void *ctx, uint32_t id, void *user)
{
	struct end *e = ctx;

	(void)user;
	if (e->on_writable)
		e->on_writable(e, id);
}

static inline void
on_close(void *ctx, uint32_t id, void *user, enum h2_cause cause, uint32_t code)
{
	static const char *const causes[] = {"done", "peer", "local", "unprocessed", "connection"};
	struct end *e = ctx;

	(void)user;
	end_line(e);
	buf_printf(&e->log, "close %u %s %s\n", id, causes[cause], h2_code_name(code) ? h2_code_name(code) : "?");
}

static inline void
on_goaway(void *ctx, uint32_t last_id, uint32_t code, struct slice debug)
{
	struct end *e = ctx;

	end_line(e);
	buf_printf(&e->log, "goaway %u %s %.*s\n", last_id, h2_code_name(code), SLICE_ARG(debug));
}

static inline void
on_ping_ack(void *ctx, const uint8_t payload[8])
{
	struct end *e = ctx;

	end_line(e);
	buf_printf(&e->log, "ping %.8s\n", (const char *)payload);
}

static const struct h2_events logging_events = {
	.on_headers = on_headers, .on_data = on_data, .on_writable = on_writable, .on_close = on_close, .on_goaway = on_goaway,
	.on_ping_ack = on_ping_ack,
};

static inline void
end_open_with(struct end *e, const struct h2_config *c)
{
	*e = (struct end){0};
	e->h = h2_new(c, &logging_events, e);
}

static inline void
end_open(struct end *e, bool is_server)
{
	const struct h2_config c = {.is_server = is_server};

	end_open_with(e, &c);
}

static inline void
end_free(struct end *e)
{
	h2_free(e->h);
	buf_free(&e->log);
}

/* The log so far, which is empty afterwards. */
static inline void
expect_log(struct end *e, const char *want)
{
	end_line(e);
	assert_string_equal(buf_cstr(&e->log), want);
	buf_clear(&e->log);
}

static inline int
end_recv(struct end *e, const void *p, size_t n)
{
	struct err err;

	return h2_recv(e->h, p, n, e->now_ms, &err);
}

/* Moves what `from` has to say to `to`, at most `step` bytes a call; false when there was nothing. */
static inline bool
move(struct end *from, struct end *to, size_t step)
{
	struct buf *out = h2_output(from->h);
	bool moved = out->len > 0;

	while (out->len > 0) {
		size_t n = out->len < step ? out->len : step;
		uint8_t *copy = xmalloc(n);

		memcpy(copy, buf_data(out), n);
		buf_consume(out, n);
		assert_int_equal(end_recv(to, copy, n), 0);
		free(copy);
	}
	h2_pump(from->h);
	return moved;
}

static inline void
converse(struct end *a, struct end *b, size_t step)
{
	for (;;) {
		bool moved = move(a, b, step);

		if (!move(b, a, step) && !moved)
			return;
	}
}

/* ---- frames by hand ---- */

static inline void
frame(struct buf *b, uint8_t type, uint8_t flags, uint32_t id, const void *payload, size_t n)
{
	const uint8_t head[9] = {
		(uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n, type, flags,
		(uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id,
	};

	buf_append(b, head, sizeof(head));
	if (n > 0)
		buf_append(b, payload, n);
}

static inline void
frame_u32(struct buf *b, uint8_t type, uint32_t id, uint32_t v)
{
	const uint8_t p[4] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};

	frame(b, type, 0, id, p, sizeof(p));
}

static inline void
frame_setting(struct buf *b, uint16_t setting, uint32_t v)
{
	const uint8_t p[6] = {
		(uint8_t)(setting >> 8), (uint8_t)setting, (uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v,
	};

	frame(b, 4, 0, 0, p, sizeof(p));
}

enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION };
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8, WITH_PRIORITY = 0x20 };

/* :method POST, :scheme http, :path / */
static const uint8_t post_block[] = {0x83, 0x86, 0x84};
static const uint8_t ok_block[] = {0x88};

static inline void
frame_request(struct buf *b, uint32_t id, bool is_end)
{
	frame(b, HEADERS, (uint8_t)(END_HEADERS | (is_end ? END_STREAM : 0)), id, post_block, sizeof(post_block));
}

/* The start of a connection as the other side of `e` sends it. */
static inline void
greet(struct end *e)
{
	struct buf b = BUF_INIT;

	frame(&b, SETTINGS, 0, 0, NULL, 0);
	assert_int_equal(end_recv(e, buf_data(&b), b.len), 0);
	buf_free(&b);
	buf_clear(h2_output(e->h));
}

static inline void
server_open(struct end *e)
{
	end_open(e, true);
	assert_int_equal(end_recv(e, H2_PREFACE, H2_PREFACE_SIZE), 0);
	greet(e);
}

/* A client with one open stream, 1. */
static inline void
client_open(struct end *e)
{
	static const struct hpack_field f[] = {FIELD(":method", "POST"), FIELD(":scheme", "http"), FIELD(":path", "/")};

	end_open(e, false);
	greet(e);
	assert_int_equal(h2_open(e->h, f, 3, false, NULL, NULL), 1);
	buf_clear(h2_output(e->h));
}

/* Gives the bytes to the engine, empties b. */
static inline int
feed(struct end *e, struct buf *b)
{
	int rc = end_recv(e, buf_data(b), b->len);

	buf_free(b);
	*b = BUF_INIT;
	return rc;
}

/* The output holds a frame with these; other frames may stand around it. Its payload, or the absent slice. */
static inline struct slice
find_frame(struct end *e, uint8_t type, uint32_t id)
{
	struct slice s = buf_slice(h2_output(e->h));

	if (slice_starts(s, H2_PREFACE))
		s = slice_sub(s, H2_PREFACE_SIZE, s.n);
	while (s.n >= 9) {
		size_t n = (size_t)s.p[0] << 16 | (size_t)s.p[1] << 8 | s.p[2];
		uint32_t at = (uint32_t)s.p[5] << 24 | (uint32_t)s.p[6] << 16 | (uint32_t)s.p[7] << 8 | s.p[8];

		if (s.p[3] == type && at == id)
			return slice_sub(s, 9, n);
		s = slice_sub(s, 9 + n, s.n);
	}
	return (struct slice){0};
}

static inline uint32_t
u32_at(struct slice s, size_t at)
{
	assert_true(s.n >= at + 4);
	return (uint32_t)s.p[at] << 24 | (uint32_t)s.p[at + 1] << 16 | (uint32_t)s.p[at + 2] << 8 | s.p[at + 3];
}

/* The bytes end the connection with this code; takes the engine down. */
static inline void
expect_connection_error(struct end *e, struct buf *b, enum h2_code code)
{
	struct slice goaway;

	assert_int_equal(feed(e, b), -1);
	goaway = find_frame(e, GOAWAY, 0);
	assert_non_null(goaway.p);
	assert_int_equal(u32_at(goaway, 4), code);
	assert_true(h2_is_done(e->h));
	assert_int_equal(h2_stream_count(e->h), 0);
	assert_int_equal(end_recv(e, "", 1), -1);
	end_free(e);
}

/* The bytes end this stream with this code, and the connection answers a PING afterwards. */
static inline void
expect_stream_error(struct end *e, struct buf *b, uint32_t id, enum h2_code code)
{
	assert_int_equal(feed(e, b), 0);
	assert_int_equal(u32_at(find_frame(e, RST_STREAM, id), 0), code);
	assert_null(find_frame(e, GOAWAY, 0).p);
	frame(b, PING, 0, 0, "still on", 8);
	assert_int_equal(feed(e, b), 0);
	assert_memory_equal(find_frame(e, PING, 0).p, "still on", 8);
	end_free(e);
}

#endif
