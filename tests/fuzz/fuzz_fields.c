/* Any bytes as the value of a header field that clients, origins and registries send: ranges, validators, dates, challenges, credentials. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/buf.h"
#include "scheduler/manifest.h"
#include "serve/proxy_range.h"
#include "source/range.h"
#include "text/encode.h"
#include "wire/h1.h"

#define LENGTH 1000
#define DATE_LAST INT64_C(253402300799)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
must(bool holds)
{
	if (!holds)
		abort();
}

static void
look_at_parts(const struct proxy_part *parts, size_t count)
{
	must(count > 0 && count <= PROXY_RANGES_MAX);
	for (size_t i = 0; i < count; i++)
		must(parts[i].length > 0 && parts[i].start < LENGTH && parts[i].length <= LENGTH - parts[i].start);
}

static void
as_wish(struct slice text)
{
	struct proxy_part parts[PROXY_RANGES_MAX];
	struct proxy_wish w = {.range = text, .if_range = text, .if_none_match = text, .if_modified_since = text};
	size_t count;
	int status;

	if (proxy_range_parse(text, LENGTH, parts, &count) == PROXY_RANGE_PARTS)
		look_at_parts(parts, count);
	must(proxy_range_parse(text, 0, parts, &count) != PROXY_RANGE_PARTS);
	for (int without = 0; without < 4; without++) {
		status = proxy_wish_meet(&w, "\"tag\"", "Sun, 06 Nov 1994 08:49:37 GMT", LENGTH, parts, &count);
		must(status == 200 || status == 206 || status == 304 || status == 416);
		if (status == 206)
			look_at_parts(parts, count);
		w.if_none_match = without == 0 ? (struct slice){0} : w.if_none_match;
		w.if_modified_since = without == 1 ? (struct slice){0} : w.if_modified_since;
		w.if_range = without == 2 ? (struct slice){0} : w.if_range;
	}
}

static void
as_answer(struct slice text)
{
	struct content_range r;
	char written[H1_DATE_MAX];
	int64_t s, again;

	if (content_range_parse(text, &r) == 0 && !r.is_unsatisfied)
		must(r.first <= r.last && (!r.has_total || r.last < r.total));
	/* Dates that can be written: 1970 to 9999. */
	if (h1_parse_date(text, &s) == 0 && s >= 0 && s <= DATE_LAST) {
		h1_format_date(s, written);
		must(h1_parse_date(slice_str(written), &again) == 0 && again == s);
	}
}

static void
as_challenge(struct slice text)
{
	struct challenge c = {0};
	struct arena a;

	arena_init(&a, 65536);
	challenge_read(text, &a, &c);
	challenge_read(text, &a, &c);
	must(c.is_bearer || c.realm.p == NULL);
	arena_free(&a);
}

static void
as_base64(struct slice text, enum base64_kind kind)
{
	struct buf out = BUF_INIT, back = BUF_INIT;

	if (base64_decode(text, kind, &out) == 0) {
		base64_encode(buf_slice(&out), kind, text.n > 0 && text.p[text.n - 1] == '=', &back);
		must(slice_eq(buf_slice(&back), text));
	}
	buf_free(&out);
	buf_free(&back);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice text = slice_make(data, size);

	as_wish(text);
	as_answer(text);
	as_challenge(text);
	as_base64(text, BASE64_STD);
	as_base64(text, BASE64_URL);
	return 0;
}
