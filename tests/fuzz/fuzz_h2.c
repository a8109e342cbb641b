/*
 * The HTTP/2 engine in both roles against any bytes. The first byte chooses the role and how the bytes are cut; a preface and
 * SETTINGS come before the rest, so that the interesting part is reached. The application answers, sends, consumes and resets.
 */
#include <stdlib.h>

#include "wire/h2.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct app {
	struct h2 *h;
	unsigned turn;          /* varies what the application does */
	size_t open;            /* streams it knows */
};

static const struct hpack_field head[] = {{{(const uint8_t *)":status", 7}, {(const uint8_t *)"200", 3}, false}};
static const struct hpack_field trailers[] = {{{(const uint8_t *)"grpc-status", 11}, {(const uint8_t *)"0", 1}, false}};

static void
act(struct app *a, uint32_t id)
{
	static const uint8_t body[40000];

	switch (a->turn++ % 8) {
	case 0:
		h2_send_headers(a->h, id, head, 1, false, NULL);
		break;
	case 1:
	case 2:
		h2_send_data(a->h, id, body, a->turn * 977 % sizeof(body), false);
		break;
	case 3:
		h2_send_data(a->h, id, body, 10, true);
		break;
	case 4:
		h2_send_headers(a->h, id, trailers, 1, true, NULL);
		break;
	case 5:
		h2_consumed(a->h, id, a->turn * 31);
		break;
	case 6:
		if (a->turn % 3 == 0 && h2_stream_get(a->h, id)) {
			h2_reset(a->h, id, H2_CANCEL);
			a->open--;
		}
		break;
	default:
		if (a->turn % 64 == 0)
			h2_shutdown(a->h);
		break;
	}
}

static void
on_headers(void *ctx, uint32_t id, void *user, enum h2_kind kind, const struct hpack_field *f, size_t n, bool is_end)
{
	struct app *a = ctx;

	(void)f;
	(void)n;
	(void)is_end;
	if (kind == H2_REQUEST) {
		a->open++;
		h2_stream_set(a->h, id, a);
	} else if (user != a) {
		abort();
	}
	act(a, id);
}

static void
on_data(void *ctx, uint32_t id, void *user, struct slice bytes, bool is_end)
{
	(void)is_end;
	if (user != ctx)
		abort();
	if (bytes.n % 2)
		h2_consumed(((struct app *)ctx)->h, id, bytes.n);
	act(ctx, id);
}

static void
on_writable(void *ctx, uint32_t id, void *user)
{
	if (user != ctx)
		abort();
	act(ctx, id);
}

static void
on_close(void *ctx, uint32_t id, void *user, enum h2_cause cause, uint32_t code)
{
	struct app *a = ctx;

	(void)id;
	(void)cause;
	(void)code;
	if (user != a || a->open == 0)
		abort();
	a->open--;
}

static void
open_streams(struct app *a, size_t n)
{
	static const struct hpack_field f[] = {
		{{(const uint8_t *)":method", 7}, {(const uint8_t *)"POST", 4}, false},
		{{(const uint8_t *)":scheme", 7}, {(const uint8_t *)"http", 4}, false},
		{{(const uint8_t *)":path", 5}, {(const uint8_t *)"/s/m", 4}, false},
	};

	for (size_t i = 0; i < n; i++) {
		if (h2_open(a->h, f, 3, i % 2, a, NULL) != 0)
			a->open++;
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t settings[9] = {0, 0, 0, 4};
	static const struct h2_events events = {
		.on_headers = on_headers, .on_data = on_data, .on_writable = on_writable, .on_close = on_close,
	};
	struct h2_config config = {
		.output_max = 20000, .initial_window = 65535, .connection_window = 65535, .max_header_list = 4096,
	};
	struct app a = {0};
	size_t step;
	int64_t now_ms = 0;
	int rc = 0;

	if (size < 1)
		return 0;
	config.is_server = data[0] & 1;
	step = data[0] & 2 ? 1 + (data[0] >> 2) : size;
	a.turn = data[0] >> 3;
	a.h = h2_new(&config, &events, &a);
	if (config.is_server)
		rc = h2_recv(a.h, (const uint8_t *)H2_PREFACE, H2_PREFACE_SIZE, now_ms, NULL);
	else
		open_streams(&a, 4);
	if (rc == 0)
		rc = h2_recv(a.h, settings, sizeof(settings), now_ms, NULL);
	data++;
	for (size--; rc == 0 && size > 0; now_ms++) {
		size_t n = size < step ? size : step;

		rc = h2_recv(a.h, data, n, now_ms, NULL);
		data += n;
		size -= n;
		buf_consume(h2_output(a.h), a.turn * 3001 % 30000);
		h2_pump(a.h);
		if (h2_output(a.h)->len > 20000 + H2_BACKLOG_MAX + 65536)
			abort();
	}
	if (rc == 0)
		h2_disconnected(a.h);
	if (a.open != 0 || h2_stream_count(a.h) != 0 || !h2_is_done(a.h))
		abort();
	h2_free(a.h);
	return 0;
}
