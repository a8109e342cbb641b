#include "source/redirect_cache.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/mem.h"
#include "text/url.h"
#include "wire/h1.h"

struct redirect_entry {
	struct list link;
	char *key;
	char *target;
	int64_t until_ms;
};

void
redirect_cache_init(struct redirect_cache *c)
{
	map_init(&c->entries);
	list_init(&c->by_use);
	c->count = 0;
}

static void
entry_free(struct redirect_cache *c, struct redirect_entry *x)
{
	map_del(&c->entries, slice_str(x->key));
	list_del(&x->link);
	c->count--;
	free(x->key);
	free(x->target);
	free(x);
}

void
redirect_cache_free(struct redirect_cache *c)
{
	while (!list_is_empty(&c->by_use))
		entry_free(c, CONTAINER_OF(c->by_use.next, struct redirect_entry, link));
	map_free(&c->entries);
}

const char *
redirect_cache_get(struct redirect_cache *c, const char *key, int64_t now_ms)
{
	struct redirect_entry *x = map_get(&c->entries, slice_str(key));

	if (x == NULL)
		return NULL;
	if (now_ms >= x->until_ms) {
		entry_free(c, x);
		return NULL;
	}
	list_del(&x->link);
	list_add_head(&c->by_use, &x->link);
	return x->target;
}

void
redirect_cache_drop(struct redirect_cache *c, const char *key)
{
	struct redirect_entry *x = map_get(&c->entries, slice_str(key));

	if (x != NULL)
		entry_free(c, x);
}

void
redirect_cache_put(struct redirect_cache *c, const char *key, struct slice target, int64_t now_ms, int64_t ttl_ms)
{
	struct redirect_entry *x;

	redirect_cache_drop(c, key);
	if (ttl_ms <= 0)
		return;
	x = xcalloc(1, sizeof(*x));
	x->key = xstrdup(key);
	x->target = slice_dup(target);
	x->until_ms = now_ms + ttl_ms;
	list_add_head(&c->by_use, &x->link);
	map_put(&c->entries, slice_str(x->key), x);
	if (++c->count > REDIRECT_CACHE_MAX)
		entry_free(c, CONTAINER_OF(c->by_use.prev, struct redirect_entry, link));
}

/* ---- how long ---- */

static bool
two_digits(const uint8_t *p, int *out)
{
	if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9')
		return false;
	*out = (p[0] - '0') * 10 + (p[1] - '0');
	return true;
}

/* "20260102T030405Z" and "2026-01-02T03:04:05Z" (with or without seconds); 0 when it is neither. */
static int64_t
parse_stamp(struct slice s)
{
	static const int month_days[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
	uint8_t digits[14] = "00000000000000";
	int part[7] = {0};
	size_t n = 0;
	int64_t year, days;

	for (size_t i = 0; i < s.n && n < sizeof(digits); i++)
		if (s.p[i] >= '0' && s.p[i] <= '9')
			digits[n++] = s.p[i];
		else if (s.p[i] != '-' && s.p[i] != ':' && s.p[i] != 'T' && s.p[i] != 'Z')
			return 0;
	if (n < 8)
		return 0;
	for (int i = 0; i < 7; i++)
		if (!two_digits(digits + 2 * i, &part[i]))
			return 0;
	year = part[0] * 100 + part[1];
	if (year < 1970 || part[2] < 1 || part[2] > 12)
		return 0;
	days = (year - 1970) * 365 + (year - 1969) / 4 - (year - 1901) / 100 + (year - 1601) / 400;
	days += month_days[part[2] - 1] + part[3] - 1;
	if (part[2] > 2 && ((year % 4 == 0 && year % 100 != 0) || year % 400 == 0))
		days++;
	return days * 86400 + part[4] * 3600 + part[5] * 60 + part[6];
}

/* Wall time at which the signature in the URL ends; 0 when it shows none. */
static int64_t
visible_expiry(struct slice target)
{
	struct buf name = BUF_INIT, value = BUF_INIT;
	ptrdiff_t mark = slice_find(target, '?');
	struct slice query = mark < 0 ? slice_make(NULL, 0) : slice_sub(target, (size_t)mark + 1, target.n);
	int64_t begin = 0, end = 0;
	uint64_t lasts = 0, n;
	ptrdiff_t hash = slice_find(query, '#');

	if (hash >= 0)
		query = slice_sub(query, 0, (size_t)hash);
	while (url_query_next(&query, &name, &value)) {
		struct slice k = buf_slice(&name), v = buf_slice(&value);

		if (slice_ieq_str(k, "X-Amz-Date") || slice_ieq_str(k, "X-Goog-Date"))
			begin = parse_stamp(v);
		else if ((slice_ieq_str(k, "X-Amz-Expires") || slice_ieq_str(k, "X-Goog-Expires")) && slice_to_u64(v, &n) == 0)
			lasts = n < INT32_MAX ? n : INT32_MAX;
		else if (slice_ieq_str(k, "Expires") && slice_to_u64(v, &n) == 0 && n < INT64_MAX / 1000)
			end = (int64_t)n;
		else if (slice_eq_str(k, "se"))
			end = parse_stamp(v);
	}
	buf_free(&name);
	buf_free(&value);
	return begin > 0 && lasts > 0 ? begin + (int64_t)lasts : end;
}

int64_t
redirect_cache_ttl_ms(struct slice target, struct slice cache_control, int64_t ttl_ms, int64_t now_s)
{
	int64_t expiry = visible_expiry(target);
	struct slice item;

	if (expiry > 0 && (expiry - now_s - REDIRECT_CACHE_MARGIN_S) * 1000 < ttl_ms)
		ttl_ms = (expiry - now_s - REDIRECT_CACHE_MARGIN_S) * 1000;
	while (h1_list_next(&cache_control, &item)) {
		uint64_t n;

		if (slice_ieq_str(item, "no-store") || slice_ieq_str(item, "no-cache"))
			return 0;
		if (item.n > 8 && slice_ieq_str(slice_sub(item, 0, 8), "max-age=") && slice_to_u64(slice_sub(item, 8, item.n), &n) == 0
		    && n < (uint64_t)(ttl_ms > 0 ? ttl_ms : 0) / 1000)
			ttl_ms = (int64_t)n * 1000;
	}
	return ttl_ms;
}
