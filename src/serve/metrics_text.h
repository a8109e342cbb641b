/*
 * Prometheus text (spec: daemon.md 5.1): families in any order in, sorted by name out; one without a sample is left out. A base
 * remembers where counters stood when they were last reset: the page shows what came since, the rooms count on undisturbed.
 */
#ifndef SERVE_METRICS_TEXT_H
#define SERVE_METRICS_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/map.h"

enum metrics_kind { METRICS_COUNTER, METRICS_GAUGE, METRICS_HISTOGRAM };

/* Most labels of one sample. */
#define METRICS_LABELS_MAX 6

struct metrics_label {
	const char *name, *value;
};

struct metrics_base {
	struct map values;              /* "name{labels}" -> what it stood at */
};

struct metrics_text {
	struct metrics_family *families;
	size_t count, cap;
	struct metrics_base *base;      /* NULL: none */
	bool is_recording;              /* the base is set to what is given, instead of being taken off */
};

void metrics_base_init(struct metrics_base *b);
void metrics_base_free(struct metrics_base *b);

void metrics_text_init(struct metrics_text *t, struct metrics_base *base, bool is_recording);
void metrics_text_free(struct metrics_text *t);

/* name and help live until the page is written. The samples that follow belong to this family, until the next call. is_fixed: a reset leaves it alone (always for gauges). */
void metrics_family(struct metrics_text *t, enum metrics_kind kind, const char *name, const char *help, bool is_fixed);
/* labels sorted by name. Values are escaped here. */
void metrics_sample(struct metrics_text *t, uint64_t value, const struct metrics_label *labels, size_t n);
/* bounds: of all buckets but the last, which has none; counts: of each bucket alone. */
void metrics_histogram(struct metrics_text *t, const uint64_t *bounds, const uint64_t *counts, size_t buckets, uint64_t sum,
    const struct metrics_label *labels, size_t n);
/* The page. */
void metrics_text_write(struct metrics_text *t, struct buf *out);

/* Short forms: no label, one label. */
void metrics_one(struct metrics_text *t, enum metrics_kind kind, const char *name, const char *help, uint64_t value);
void metrics_sample1(struct metrics_text *t, uint64_t value, const char *name, const char *label);

#endif
