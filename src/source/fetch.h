/*
 * One HTTP request taken through redirects, the 307 cache and retries to its final answer, then its body (backends.md 2.4 to 2.9).
 * What the answer means is the scheme's. A fetch belongs to an op and shares its budget of retries.
 */
#ifndef SOURCE_FETCH_H
#define SOURCE_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "source/source.h"
#include "wire/h1.h"

struct fetch;
struct fields;
struct source_op;

/* Redirects in a row (backends.md 2.7). */
#define FETCH_HOPS_MAX 10
/* A body that nobody wants is still read up to here, so that the connection can be kept. */
#define FETCH_DRAIN_MAX (64 * 1024)
/* One wait before another attempt; a Retry-After is honoured up to the second. */
#define FETCH_WAIT_MAX_MS (30 * 1000)
#define FETCH_RETRY_AFTER_MAX_MS (60 * 1000)

struct fetch_events {
	/* The final answer, whatever its status. */
	void (*on_answer)(void *ctx, const struct h1 *head);
	void (*on_data)(void *ctx, const void *p, size_t n);
	void (*on_end)(void *ctx);
	/* No answer, or (after on_answer) no rest of it. */
	void (*on_error)(void *ctx, const struct source_error *e);
};

struct fetch_request {
	const char *method;             /* GET or HEAD; a literal */
	const struct fields *fields;    /* these four belong to the op and live as long as it */
	const char *range;              /* value of Range, or NULL */
	const char *if_range;
	bool use_redirect_cache;
};

/* No callback before it returns. The fetch is gone after on_end, on_error, fetch_discard and fetch_cancel. */
struct fetch *fetch_start(struct source_op *op, const struct fetch_request *r, const struct fetch_events *ev, void *ctx);
void fetch_set_events(struct fetch *f, const struct fetch_events *ev, void *ctx);
/* From on_answer or later: the rest of the body is not wanted. No callback follows. */
void fetch_discard(struct fetch *f);
void fetch_cancel(struct fetch *f);
void fetch_pause(struct fetch *f);
void fetch_resume(struct fetch *f);
/* "10.0.0.1:80" or "name:80". */
const char *fetch_peer_text(const struct fetch *f);

#endif
