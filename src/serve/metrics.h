/*
 * The metrics page of a daemon (spec: daemon.md 5.1 and 5.2, scheduler.md B14): gathered from the counters of all rooms when it is asked
 * for. Control loop.
 */
#ifndef SERVE_METRICS_H
#define SERVE_METRICS_H

#include "serve/metrics_text.h"

struct buf;
struct daemon_parts;
struct proxy;
struct scheduler;

/* Appends the page; counters count from where the base stands. */
void metrics_write(const struct daemon_parts *p, struct metrics_base *base, struct buf *out);
/* Counters start again from here; gauges stay, and so do the counters of refusals by block lists. */
void metrics_reset(const struct daemon_parts *p, struct metrics_base *base);

/* ---- within the page: the families of the proxy and of the embedded scheduler ---- */
void metrics_of_proxy(struct metrics_text *t, const struct proxy *p);
void metrics_of_scheduler(struct metrics_text *t, const struct scheduler *s);

#endif
