/*
 * Conversations recorded between other implementations, replayed through our HTTP/2, HPACK, gRPC and protobuf code in both roles
 * at once: the recorded client speaks to our server, which hands everything on to our client, which speaks to the recorded
 * server. What both saw must be what the .txt beside the recording says, field by field, and every message must encode to the same
 * bytes again. Two more engines of ours read what ours wrote, so that the other direction of each codec is checked as well.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "proto/dfdaemon.h"
#include "proto/health.h"
#include "proto/manager.h"
#include "proto/scheduler.h"
#include "support/hex.h"
#include "wire/grpc.h"
#include "wire/h2.h"

#define STREAMS_MAX 128

static const struct pb_service *const services[] = {
	&dfdaemon_dfdaemon_download_service, &dfdaemon_dfdaemon_upload_service, &health_health_service, &manager_manager_service,
	&scheduler_scheduler_service,
};

/* One direction of one stream: what came, as lines of text. */
struct flow {
	struct grpc_reader reader;
	struct buf text;
};

struct call {
	const struct pb_method *method;
	struct flow to_server;
	struct flow to_client;
};

struct replay;

/* An engine of ours and what it found in the bytes it was fed. */
struct end {
	struct replay *replay;
	struct h2 *h2;
	struct end *next;               /* gets everything handed on, or NULL */
	bool is_server;
	struct call calls[STREAMS_MAX];
	struct buf waiting[STREAMS_MAX];        /* body bytes that did not fit into a window yet */
	bool waiting_end[STREAMS_MAX];
};

struct replay {
	struct end server;      /* fed by the recorded client, hands on to client */
	struct end client;      /* fed by the recorded server, hands on to server */
	struct end reader_of_client;    /* a server of ours, fed by what `client` writes */
	struct end reader_of_server;    /* a client of ours, fed by what `server` writes */
	size_t messages;
};

static size_t
place_of(uint32_t id)
{
	assert_true(id / 2 < STREAMS_MAX);
	return id / 2;
}

static const struct pb_method *
find_method(struct slice path)
{
	for (size_t i = 0; i < COUNT_OF(services); i++) {
		const struct pb_method *m = pb_service_find(services[i], path);

		if (m != NULL)
			return m;
	}
	fail_msg("unknown method: %.*s", SLICE_ARG(path));
	return NULL;
}

/* Decodes, checks that the same bytes come out again, and writes the line that the .txt has. */
static void
note_message(struct replay *rp, struct call *call, struct flow *flow, struct slice msg, bool to_server)
{
	const struct pb_desc *desc = to_server ? call->method->request : call->method->response;
	struct buf again = BUF_INIT;
	struct arena a;
	struct err e;
	void *decoded, *copy;

	arena_init(&a, 1 << 20);
	decoded = arena_alloc(&a, desc->size);
	copy = arena_alloc(&a, desc->size);
	if (pb_decode(desc, msg, &a, decoded, &e) < 0)
		fail_msg("%s: %s", call->method->path, e.text);
	assert_int_equal(pb_size(desc, decoded), msg.n);
	pb_encode(desc, decoded, &again);
	assert_int_equal(again.len, msg.n);
	if (msg.n > 0)
		assert_memory_equal(buf_data(&again), msg.p, msg.n);
	assert_int_equal(pb_copy(desc, decoded, &a, copy, &e), 0);
	buf_clear(&again);
	pb_encode(desc, copy, &again);
	assert_int_equal(again.len, msg.n);

	buf_printf(&flow->text, "message (%zu bytes) ", msg.n);
	if (strncmp(desc->name, "grpc.health", 11) == 0) {
		buf_append_str(&flow->text, "health ");
		for (size_t i = 0; i < msg.n; i++)
			buf_printf(&flow->text, "%02x", msg.p[i]);
	} else {
		buf_printf(&flow->text, "%s ", desc->name);
		pb_print(desc, copy, &flow->text);
	}
	buf_append_str(&flow->text, "\n");
	buf_free(&again);
	arena_free(&a);
	rp->messages++;
}

static void
send_waiting(struct end *end, uint32_t id)
{
	size_t at = place_of(id);
	struct buf *waiting = &end->waiting[at];
	ssize_t n = h2_send_data(end->h2, id, buf_data(waiting), waiting->len, end->waiting_end[at]);

	if (n < 0)
		return;
	if ((size_t)n == waiting->len)
		end->waiting_end[at] = false;
	buf_consume(waiting, (size_t)n);
}

static void
open_stream(struct end *end, uint32_t id, const struct hpack_field *fields, size_t n, bool is_end, const struct pb_method *method)
{
	struct err e;

	end->calls[place_of(id)].method = method;
	if (h2_open(end->h2, fields, n, is_end, NULL, &e) != id)
		fail_msg("stream %u: %s", (unsigned)id, e.text);
}

static void
on_headers(void *ctx, uint32_t id, void *user, enum h2_kind kind, const struct hpack_field *fields, size_t n, bool is_end)
{
	struct end *end = ctx;
	struct call *call = &end->calls[place_of(id)];
	struct flow *flow = end->is_server ? &call->to_server : &call->to_client;
	struct err e;

	(void)user;
	for (size_t i = 0; i < n; i++)
		buf_printf(&flow->text, "%.*s: %.*s\n", SLICE_ARG(fields[i].name), SLICE_ARG(fields[i].value));
	if (kind == H2_REQUEST) {
		call->method = find_method(h2_find(fields, n, ":path"));
		assert_true(grpc_is_content_type(h2_find(fields, n, "content-type")));
	}
	if (end->next == NULL)
		return;
	if (kind == H2_REQUEST) {
		open_stream(end->next, id, fields, n, is_end, call->method);
		/* It reads the answers of our server and has to know the stream. */
		open_stream(&end->replay->reader_of_server, id, fields, n, true, call->method);
	} else if (h2_send_headers(end->next->h2, id, fields, n, is_end, &e) < 0) {
		fail_msg("stream %u: %s", (unsigned)id, e.text);
	}
}

static void
on_data(void *ctx, uint32_t id, void *user, struct slice bytes, bool is_end)
{
	struct end *end = ctx;
	size_t at = place_of(id);
	struct call *call = &end->calls[at];
	struct flow *flow = end->is_server ? &call->to_server : &call->to_client;
	struct slice in = bytes, msg;
	struct err e;
	int rc;

	(void)user;
	if (flow->reader.max == 0)
		grpc_reader_init(&flow->reader, 1 << 20);
	while ((rc = grpc_read_message(&flow->reader, &in, &msg, &e)) == 1)
		note_message(end->replay, call, flow, msg, end->is_server);
	assert_int_equal(rc, 0);
	h2_consumed(end->h2, id, bytes.n);
	if (end->next == NULL)
		return;
	buf_append_slice(&end->next->waiting[at], bytes);
	end->next->waiting_end[at] |= is_end;
	send_waiting(end->next, id);
}

static void
on_writable(void *ctx, uint32_t id, void *user)
{
	(void)user;
	send_waiting(ctx, id);
}

static void
on_close(void *ctx, uint32_t id, void *user, enum h2_cause cause, uint32_t code)
{
	struct end *end = ctx;

	(void)user;
	assert_int_not_equal(cause, H2_CLOSE_LOCAL);
	if (cause == H2_CLOSE_PEER && end->next != NULL)
		h2_reset(end->next->h2, id, (enum h2_code)code);
}

static const struct h2_events events = {
	.on_headers = on_headers, .on_data = on_data, .on_writable = on_writable, .on_close = on_close,
};

static void
start_end(struct end *end, struct replay *rp, struct end *next, bool is_server)
{
	const struct h2_config config = {.is_server = is_server};

	end->replay = rp;
	end->next = next;
	end->is_server = is_server;
	end->h2 = h2_new(&config, &events, end);
}

static void
free_end(struct end *end)
{
	h2_free(end->h2);
	for (size_t i = 0; i < STREAMS_MAX; i++) {
		grpc_reader_free(&end->calls[i].to_server.reader);
		grpc_reader_free(&end->calls[i].to_client.reader);
		buf_free(&end->calls[i].to_server.text);
		buf_free(&end->calls[i].to_client.text);
		buf_free(&end->waiting[i]);
	}
}

static void
feed(struct end *end, struct slice bytes)
{
	struct err e;

	if (h2_recv(end->h2, bytes.p, bytes.n, 0, &e) < 0)
		fail_msg("%s: %s", end->is_server ? "server" : "client", e.text);
}

/* Gives what `from` wrote to the engine that reads it. */
static void
drain(struct end *from, struct end *to)
{
	struct buf *out;

	h2_pump(from->h2);
	out = h2_output(from->h2);
	while (out->len > 0) {
		struct buf copy = BUF_INIT;

		buf_append_slice(&copy, buf_slice(out));
		buf_consume(out, out->len);
		feed(to, buf_slice(&copy));
		h2_pump(to->h2);
		buf_clear(h2_output(to->h2));
		buf_free(&copy);
		h2_pump(from->h2);
	}
}

/* Lines of the .txt as `expected`, by direction and stream. */
static void
read_expected(const char *name, struct buf expected[2][STREAMS_MAX])
{
	struct buf text = BUF_INIT, *to = NULL;
	char path[128], *line, *end;

	snprintf(path, sizeof(path), "recorded/%s.txt", name);
	vector_read(&text, path);
	for (line = buf_cstr(&text); *line != '\0'; line = end) {
		unsigned id;

		end = line + strcspn(line, "\n");
		if (*end == '\n')
			*end++ = '\0';
		if (strncmp(line, "      ", 6) == 0) {
			assert_non_null(to);
			buf_printf(to, "%s\n", line + 6);
		} else if (sscanf(line, "%*s %*s stream=%u", &id) == 1) {
			to = &expected[strncmp(line, "s2c", 3) == 0][place_of(id)];
		}
	}
	buf_free(&text);
}

/* A very long line is cut in the .txt and ends in " ...". */
static void
assert_same_text(struct buf *found, struct buf *expected)
{
	const char *a = buf_cstr(found), *b = buf_cstr(expected);

	while (*a == *b || strncmp(b, " ...\n", 5) == 0) {
		if (*b == '\0')
			return;
		if (*a != *b) {
			a += strcspn(a, "\n");
			b += 4;
		}
		a++;
		b++;
	}
	fail_msg("found \"%.200s\" instead of \"%.200s\"", a, b);
}

static void
replay(const char *name)
{
	static struct replay rp;
	static struct buf expected[2][STREAMS_MAX];
	struct buf c2s = BUF_INIT, s2c = BUF_INIT, order = BUF_INIT;
	struct slice from_client, from_server;
	char path[128], *step;

	memset(&rp, 0, sizeof(rp));
	memset(expected, 0, sizeof(expected));
	read_expected(name, expected);
	snprintf(path, sizeof(path), "recorded/%s.c2s", name);
	vector_read(&c2s, path);
	snprintf(path, sizeof(path), "recorded/%s.s2c", name);
	vector_read(&s2c, path);
	snprintf(path, sizeof(path), "recorded/%s.order", name);
	vector_read(&order, path);
	from_client = buf_slice(&c2s);
	from_server = buf_slice(&s2c);
	start_end(&rp.server, &rp, &rp.client, true);
	start_end(&rp.client, &rp, &rp.server, false);
	start_end(&rp.reader_of_client, &rp, NULL, true);
	start_end(&rp.reader_of_server, &rp, NULL, false);
	for (step = buf_cstr(&order); strncmp(step, "c2s ", 4) == 0 || strncmp(step, "s2c ", 4) == 0; step += strcspn(step, "\n") + 1) {
		bool is_client = strncmp(step, "c2s", 3) == 0;
		struct slice *from = is_client ? &from_client : &from_server;
		size_t n = strtoul(step + 4, NULL, 10);

		feed(is_client ? &rp.server : &rp.client, slice_sub(*from, 0, n));
		*from = slice_sub(*from, n, from->n);
		drain(&rp.client, &rp.reader_of_client);
		drain(&rp.server, &rp.reader_of_server);
	}
	assert_int_equal(from_client.n, 0);
	assert_int_equal(from_server.n, 0);
	assert_true(rp.messages > 0);
	for (size_t i = 0; i < STREAMS_MAX; i++) {
		assert_same_text(&rp.server.calls[i].to_server.text, &expected[0][i]);
		assert_same_text(&rp.client.calls[i].to_client.text, &expected[1][i]);
		assert_same_text(&rp.reader_of_client.calls[i].to_server.text, &expected[0][i]);
		assert_same_text(&rp.reader_of_server.calls[i].to_client.text, &expected[1][i]);
		buf_free(&expected[0][i]);
		buf_free(&expected[1][i]);
	}
	free_end(&rp.server);
	free_end(&rp.client);
	free_end(&rp.reader_of_client);
	free_end(&rp.reader_of_server);
	buf_free(&c2s);
	buf_free(&s2c);
	buf_free(&order);
}

/* Every recording that is HTTP/2. */
static char names[][64] = {
	"dfcache-export",
	"dfcache-import",
	"dfcache-import-refused",
	"dfcache-stat",
	"dfctl-persistent-cache-task-ls",
	"dfctl-task-ls",
	"dfget-404",
	"dfget-digest-mismatch",
	"dfget-download",
	"dfget-download-2",
	"dfget-empty-file",
	"dfget-origin-refused",
	"dfget-range",
	"manager-from-peer",
	"manager-from-scheduler",
	"scheduler-from-peer0",
	"scheduler-from-peer1",
	"scheduler-from-seed",
	"scheduler-health-check",
	"scheduler-persistent-cache-export",
	"scheduler-persistent-cache-import",
	"scheduler-persistent-cache-replica-on-seed",
	"scheduler-preheat-file",
	"seed-download-task-by-scheduler",
	"seed-downloads-by-scheduler-and-preheat",
	"seed-health-check-by-scheduler",
	"sync-host",
	"sync-persistent-cache-pieces",
	"sync-pieces",
	"sync-pieces-2",
	"sync-pieces-peer",
};

static void
replay_one(void **state)
{
	replay(*state);
}

int
main(void)
{
	struct CMUnitTest tests[COUNT_OF(names)];

	for (size_t i = 0; i < COUNT_OF(names); i++)
		tests[i] = (struct CMUnitTest){names[i], replay_one, NULL, NULL, names[i]};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
