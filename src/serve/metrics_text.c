#include "serve/metrics_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct metrics_family {
	enum metrics_kind kind;
	const char *name, *help;
	bool is_fixed;
	struct buf samples;
};

struct base_value {
	uint64_t value;
	char key[];
};

/* ---- base ---- */

void
metrics_base_init(struct metrics_base *b)
{
	map_init(&b->values);
}

void
metrics_base_free(struct metrics_base *b)
{
	struct base_value *v;
	size_t at = 0;

	while ((v = map_next(&b->values, &at)) != NULL)
		free(v);
	map_free(&b->values);
}

static void
base_set(struct metrics_base *b, struct slice key, uint64_t value)
{
	struct base_value *v = map_get(&b->values, key);

	if (v == NULL) {
		v = xmalloc(sizeof *v + key.n + 1);
		memcpy(v->key, key.p, key.n);
		v->key[key.n] = '\0';
		map_put(&b->values, slice_make(v->key, key.n), v);
	}
	v->value = value;
}

/* ---- families ---- */

void
metrics_text_init(struct metrics_text *t, struct metrics_base *base, bool is_recording)
{
	*t = (struct metrics_text){.base = base, .is_recording = is_recording};
}

void
metrics_text_free(struct metrics_text *t)
{
	for (size_t i = 0; i < t->count; i++)
		buf_free(&t->families[i].samples);
	free(t->families);
}

void
metrics_family(struct metrics_text *t, enum metrics_kind kind, const char *name, const char *help, bool is_fixed)
{
	if (t->count == t->cap) {
		t->cap = t->cap > 0 ? 2 * t->cap : 64;
		t->families = xrealloc(t->families, t->cap * sizeof *t->families);
	}
	t->families[t->count++] = (struct metrics_family){.kind = kind, .name = name, .help = help, .is_fixed = is_fixed || kind == METRICS_GAUGE};
}

static void
append_escaped(struct buf *b, const char *s)
{
	for (; *s != '\0'; s++) {
		if (*s == '\n')
			buf_append_str(b, "\\n");
		else if (*s == '"' || *s == '\\')
			buf_printf(b, "\\%c", *s);
		else
			buf_append_u8(b, (uint8_t)*s);
	}
}

static void
append_sample(struct metrics_text *t, const char *suffix, uint64_t value, const struct metrics_label *labels, size_t n)
{
	struct metrics_family *f = &t->families[t->count - 1];
	struct buf key = BUF_INIT;
	const struct base_value *was;

	buf_printf(&key, "%s%s", f->name, suffix);
	for (size_t i = 0; i < n; i++) {
		buf_printf(&key, "%s%s=\"", i == 0 ? "{" : ",", labels[i].name);
		append_escaped(&key, labels[i].value);
		buf_append_u8(&key, '"');
	}
	if (n > 0)
		buf_append_u8(&key, '}');
	if (t->base != NULL && !f->is_fixed) {
		was = map_get(&t->base->values, buf_slice(&key));
		if (t->is_recording)
			base_set(t->base, buf_slice(&key), value);
		else if (was != NULL)
			value = value > was->value ? value - was->value : 0;
	}
	buf_append_slice(&f->samples, buf_slice(&key));
	buf_printf(&f->samples, " %" PRIu64 "\n", value);
	buf_free(&key);
}

void
metrics_sample(struct metrics_text *t, uint64_t value, const struct metrics_label *labels, size_t n)
{
	append_sample(t, "", value, labels, n);
}

void
metrics_histogram(struct metrics_text *t, const uint64_t *bounds, const uint64_t *counts, size_t buckets, uint64_t sum,
    const struct metrics_label *labels, size_t n)
{
	struct metrics_label with[METRICS_LABELS_MAX + 1];
	char le[24];
	uint64_t count = 0;

	for (size_t i = 0; i < n; i++)
		with[i + 1] = labels[i];
	with[0] = (struct metrics_label){.name = "le", .value = le};
	for (size_t i = 0; i < buckets; i++) {
		count += counts[i];
		if (i + 1 < buckets)
			snprintf(le, sizeof le, "%" PRIu64, bounds[i]);
		else
			snprintf(le, sizeof le, "+Inf");
		append_sample(t, "_bucket", count, with, n + 1);
	}
	append_sample(t, "_sum", sum, labels, n);
	append_sample(t, "_count", count, labels, n);
}

void
metrics_sample1(struct metrics_text *t, uint64_t value, const char *name, const char *label)
{
	struct metrics_label l = {.name = name, .value = label};

	append_sample(t, "", value, &l, 1);
}

void
metrics_one(struct metrics_text *t, enum metrics_kind kind, const char *name, const char *help, uint64_t value)
{
	metrics_family(t, kind, name, help, false);
	append_sample(t, "", value, NULL, 0);
}

static int
compare_families(const void *a, const void *b)
{
	return strcmp(((const struct metrics_family *)a)->name, ((const struct metrics_family *)b)->name);
}

void
metrics_text_write(struct metrics_text *t, struct buf *out)
{
	static const char *const kinds[] = {"counter", "gauge", "histogram"};

	if (t->count > 0)
		qsort(t->families, t->count, sizeof *t->families, compare_families);
	for (size_t i = 0; i < t->count; i++) {
		struct metrics_family *f = &t->families[i];

		if (f->samples.len == 0)
			continue;
		buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", f->name, f->help, f->name, kinds[f->kind]);
		buf_append_slice(out, buf_slice(&f->samples));
	}
}
