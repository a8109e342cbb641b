/*
 * One loop, one source, one origin on loopback; runs one operation to its end and keeps what came of it.
 */
#ifndef UNIT_SOURCE_HARNESS_H
#define UNIT_SOURCE_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"
#include "net/loop.h"
#include "source/source.h"
#include "support/origin.h"

/* No test waits longer for one operation. */
#define WAIT_MS 10000

struct result {
	bool done, failed, has_response;
	int status;
	bool has_length, supports_range, has_body;
	uint64_t length;
	char etag[128], last_modified[64], content_encoding[64];
	char headers[4096];             /* "name: value\n" of the response or the error */
	struct buf body;
	enum source_failure failure;
	char error[ERR_TEXT_MAX];
	bool is_backend, is_temporary;
	unsigned responses;
	/* What the callbacks do. */
	struct source_op *op;
	bool keep_body;
	size_t pause_after;             /* bytes; then the op is paused once */
	bool is_paused;
	size_t cancel_after;
};

struct world {
	struct loop *loop;
	struct source *source;
	struct origin *origin;
	struct source_config cfg;
};

static inline void
note_headers(struct result *r, struct source_headers h)
{
	size_t n = 0;

	r->headers[0] = '\0';
	for (size_t i = 0; i < h.count && n < sizeof(r->headers); i++)
		n += (size_t)snprintf(r->headers + n, sizeof(r->headers) - n, "%s: %s\n", h.at[i].name, h.at[i].value);
}

static void
on_response(void *ctx, const struct source_response *s)
{
	struct result *r = ctx;

	r->responses++;
	r->has_response = true;
	r->status = s->status;
	r->has_length = s->has_length;
	r->length = s->length;
	r->supports_range = s->supports_range;
	r->has_body = s->has_body;
	snprintf(r->etag, sizeof(r->etag), "%s", s->validators.etag != NULL ? s->validators.etag : "");
	snprintf(r->last_modified, sizeof(r->last_modified), "%s", s->validators.last_modified != NULL ? s->validators.last_modified : "");
	snprintf(r->content_encoding, sizeof(r->content_encoding), "%s",
	    s->validators.content_encoding != NULL ? s->validators.content_encoding : "");
	note_headers(r, s->headers);
	if (r->keep_body && s->has_body)
		source_keep_body(r->op);
}

static void
on_data(void *ctx, const void *p, size_t n)
{
	struct result *r = ctx;

	assert_true(n > 0);
	assert_false(r->is_paused);
	buf_append(&r->body, p, n);
	if (r->cancel_after > 0 && r->body.len >= r->cancel_after) {
		source_cancel(r->op);
		r->done = true;
		return;
	}
	if (r->pause_after > 0 && r->body.len >= r->pause_after) {
		r->pause_after = 0;
		r->is_paused = true;
		source_pause(r->op);
	}
}

static void
on_end(void *ctx)
{
	struct result *r = ctx;

	assert_false(r->done);
	r->done = true;
}

static void
on_error(void *ctx, const struct source_error *e)
{
	struct result *r = ctx;

	assert_false(r->done);
	r->done = r->failed = true;
	r->failure = e->failure;
	r->status = e->status;
	r->is_backend = e->is_backend;
	r->is_temporary = e->is_temporary;
	snprintf(r->error, sizeof(r->error), "%s", e->err.text);
	assert_true(strlen(e->message) > 0);
	assert_false(e->status / 100 == 2);
	note_headers(r, e->headers);
}

static const struct source_events events = {on_response, on_data, on_end, on_error};

/* What the environment says about proxies and certificates is not to change a test. */
static inline void
clear_environment(void)
{
	static const char *const names[] = {"http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy",
		"NO_PROXY", "REQUEST_METHOD", "SSL_CERT_FILE", "SSL_CERT_DIR"};

	for (size_t i = 0; i < COUNT_OF(names); i++)
		unsetenv(names[i]);
}

static inline void
world_source(struct world *w)
{
	struct err e;

	source_free(w->source);
	w->source = source_new(w->loop, &w->cfg, &e);
	if (w->source == NULL)
		fail_msg("%s", e.text);
}

static inline int
setup(void **state)
{
	struct world *w = xcalloc(1, sizeof(*w));
	struct err e;

	clear_environment();
	w->loop = loop_new("test", &e);
	w->origin = origin_start(&(struct origin_opts){0});
	source_config_init(&w->cfg);
	w->cfg.retry_base_ms = 1;
	world_source(w);
	*state = w;
	return 0;
}

static inline int
teardown(void **state)
{
	struct world *w = *state;

	source_free(w->source);
	origin_stop(w->origin);
	loop_free(w->loop);
	free(w);
	return 0;
}

static inline void
result_free(struct result *r)
{
	buf_free(&r->body);
	memset(r, 0, sizeof(*r));
}

/* "http://127.0.0.1:<port><path>" */
static inline char *
url_of(struct world *w, const char *path)
{
	static char url[4096];

	snprintf(url, sizeof(url), "http://127.0.0.1:%u%s", origin_port(w->origin), path);
	return url;
}

/* Turns the loop until *done, at most WAIT_MS. */
static inline bool
until(struct world *w, const bool *done)
{
	int64_t end = clock_mono_ms() + WAIT_MS;

	while (!*done && clock_mono_ms() < end)
		loop_turn(w->loop, 20);
	return *done;
}

static inline void
run(struct world *w, struct source_request *q, bool is_get, struct result *r)
{
	r->op = is_get ? source_get(w->source, q, &events, r) : source_stat(w->source, q, &events, r);
	if (!until(w, &r->done))
		fail_msg("no end in %d ms: %s", WAIT_MS, q->url);
}

static inline struct source_request
request(struct world *w, const char *path)
{
	return (struct source_request){.url = url_of(w, path), .timeout_ms = 5000};
}

static inline struct source_request
range_request(struct world *w, const char *path, uint64_t start, uint64_t length)
{
	return (struct source_request){.url = url_of(w, path), .timeout_ms = 5000, .has_range = true, .range_start = start, .range_length = length};
}

static inline void
expect_content(const struct result *r, uint64_t seed, uint64_t at, size_t n)
{
	uint8_t *want = xmalloc(n + 1);

	assert_int_equal(r->body.len, n);
	origin_gen_fill(seed, at, want, n);
	if (n > 0)
		assert_memory_equal(buf_data(&r->body), want, n);
	free(want);
}

static inline void
expect_text(const char *text, const char *part)
{
	if (strstr(text, part) == NULL)
		fail_msg("\"%s\" has no \"%s\"", text, part);
}

/* A header of request i as the origin saw it; "" when it has none. Static. */
static inline const char *
seen(struct world *w, size_t i, const char *name)
{
	static char value[1024];
	char *head = origin_request(w->origin, i);

	assert_non_null(head);
	if (!origin_header(head, name, value, sizeof(value)))
		value[0] = '\0';
	free(head);
	return value;
}

static inline void
expect_request_line(struct world *w, size_t i, const char *line)
{
	char *head = origin_request(w->origin, i);

	assert_non_null(head);
	if (strncmp(head, line, strlen(line)) != 0)
		fail_msg("request %zu is not %s: %s", i, line, head);
	free(head);
}

#endif
