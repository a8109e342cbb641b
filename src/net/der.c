#include "net/der.h"

#include <assert.h>
#include <string.h>

#include "base/buf.h"

/* ---- reading ---- */

bool
der_next(struct slice *in, uint8_t *tag, struct slice *content)
{
	size_t n, head = 2;

	if (in->n < 2 || (in->p[0] & 0x1f) == 0x1f)
		return false;
	*tag = in->p[0];
	n = in->p[1];
	if (n >= 0x80) {
		size_t bytes = n & 0x7f;

		if (bytes == 0 || bytes > 3 || in->n < 2 + bytes)
			return false;
		n = 0;
		for (size_t i = 0; i < bytes; i++)
			n = n << 8 | in->p[2 + i];
		head += bytes;
	}
	if (n > in->n - head)
		return false;
	*content = slice_make(in->p + head, n);
	*in = slice_make(in->p + head + n, in->n - head - n);
	return true;
}

bool
der_take(struct slice *in, uint8_t tag, struct slice *content)
{
	uint8_t got;

	return der_next(in, &got, content) && got == tag;
}

/* Days from 1970-01-01 of a date in the Gregorian calendar, and back. */
static int64_t
days_of(int64_t y, int64_t m, int64_t d)
{
	int64_t era, yoe, doy;

	y -= m <= 2;
	era = y / 400;
	yoe = y - era * 400;
	doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
	return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static void
date_of(int64_t days, unsigned *y, unsigned *m, unsigned *d)
{
	int64_t era, doe, yoe, doy, mp;

	days += 719468;
	era = days / 146097;
	doe = days - era * 146097;
	yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	mp = (5 * doy + 2) / 153;
	*d = (unsigned)(doy - (153 * mp + 2) / 5 + 1);
	*m = (unsigned)(mp < 10 ? mp + 3 : mp - 9);
	*y = (unsigned)(yoe + era * 400 + (*m <= 2));
}

bool
der_read_time(uint8_t tag, struct slice s, int64_t *out)
{
	size_t year_digits = tag == DER_UTC_TIME ? 2 : 4;
	int64_t v[6] = {0};
	size_t at = 0;

	if ((tag != DER_UTC_TIME && tag != DER_TIME) || s.n != year_digits + 11 || s.p[s.n - 1] != 'Z')
		return false;
	for (size_t i = 0; i < 6; i++)
		for (size_t k = 0; k < (i == 0 ? year_digits : 2); k++, at++) {
			if (s.p[at] < '0' || s.p[at] > '9')
				return false;
			v[i] = v[i] * 10 + (s.p[at] - '0');
		}
	if (tag == DER_UTC_TIME)
		v[0] += v[0] >= 50 ? 1900 : 2000;
	if (v[1] < 1 || v[1] > 12 || v[2] < 1 || v[2] > 31 || v[3] > 23 || v[4] > 59 || v[5] > 60)
		return false;
	*out = days_of(v[0], v[1], v[2]) * 86400 + v[3] * 3600 + v[4] * 60 + v[5];
	return true;
}

/* ---- writing ---- */

/* Bytes of a length, shortest form; returns how many. */
static size_t
length_bytes(uint8_t out[4], size_t n)
{
	size_t bytes = n > 0xffff ? 3 : n > 0xff ? 2 : 1;

	assert(n <= DER_CONTENT_MAX);
	if (n < 0x80) {
		out[0] = (uint8_t)n;
		return 1;
	}
	out[0] = (uint8_t)(0x80 | bytes);
	for (size_t i = 0; i < bytes; i++)
		out[1 + i] = (uint8_t)(n >> 8 * (bytes - 1 - i));
	return 1 + bytes;
}

size_t
der_open(struct buf *out, uint8_t tag)
{
	buf_append_u8(out, tag);
	return out->len;
}

void
der_close(struct buf *out, size_t opened)
{
	size_t n = out->len - opened, head_len;
	uint8_t head[4], *content;

	head_len = length_bytes(head, n);
	buf_reserve(out, head_len);
	content = buf_data(out) + opened;
	memmove(content + head_len, content, n);
	memcpy(content, head, head_len);
	buf_added(out, head_len);
}

void
der_put(struct buf *out, uint8_t tag, const void *p, size_t n)
{
	size_t at = der_open(out, tag);

	if (n > 0)
		buf_append(out, p, n);
	der_close(out, at);
}

void
der_put_slice(struct buf *out, uint8_t tag, struct slice s)
{
	der_put(out, tag, s.p, s.n);
}

void
der_put_unsigned(struct buf *out, const uint8_t *p, size_t n)
{
	size_t at = der_open(out, DER_INTEGER);

	for (; n > 0 && *p == 0; n--)
		p++;
	if (n == 0 || (*p & 0x80) != 0)
		buf_append_u8(out, 0);
	if (n > 0)
		buf_append(out, p, n);
	der_close(out, at);
}

void
der_put_true(struct buf *out)
{
	der_put(out, DER_BOOLEAN, "\xff", 1);
}

void
der_put_bits(struct buf *out, const void *p, size_t n)
{
	size_t at = der_open(out, DER_BITS);

	buf_append_u8(out, 0);
	buf_append(out, p, n);
	der_close(out, at);
}

void
der_put_time(struct buf *out, int64_t t)
{
	const int64_t first = -62167219200, last = 253402300799;        /* 0000-01-01 and 9999-12-31T23:59:59 */
	unsigned y, m, d, s;
	size_t at;

	t = t < first ? first : t > last ? last : t;
	s = (unsigned)((t - first) % 86400);
	date_of((t - first) / 86400 - 719528, &y, &m, &d);
	at = der_open(out, y >= 1950 && y < 2050 ? DER_UTC_TIME : DER_TIME);
	if (y >= 1950 && y < 2050)
		buf_printf(out, "%02u", y % 100);
	else
		buf_printf(out, "%04u", y);
	buf_printf(out, "%02u%02u%02u%02u%02uZ", m, d, s / 3600, s / 60 % 60, s % 60);
	der_close(out, at);
}
