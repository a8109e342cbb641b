#include "net/x509.h"

#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "net/addr.h"

enum {
	TAG_BOOLEAN = 0x01, TAG_INTEGER = 0x02, TAG_OCTETS = 0x04, TAG_OID = 0x06, TAG_UTC_TIME = 0x17, TAG_TIME = 0x18,
	TAG_SEQUENCE = 0x30, TAG_SET = 0x31, TAG_VERSION = 0xa0, TAG_EXTENSIONS = 0xa3,
	/* GeneralName, RFC 5280 4.2.1.6. */
	NAME_DNS = 0x82, NAME_IP = 0x87,
};

static const uint8_t oid_common_name[] = {0x55, 0x04, 0x03};
static const uint8_t oid_san[] = {0x55, 0x1d, 0x11};

/* Takes one element off the front. False at the end or when it is not DER (lengths above 2^24 are not certificates'). */
static bool
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

static bool
der_take(struct slice *in, uint8_t tag, struct slice *content)
{
	uint8_t got;

	return der_next(in, &got, content) && got == tag;
}

/* Days from 1970-01-01 of a date in the Gregorian calendar. */
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

/* YYMMDDHHMMSSZ or YYYYMMDDHHMMSSZ (RFC 5280, 4.1.2.5). */
static bool
time_of(uint8_t tag, struct slice s, int64_t *out)
{
	size_t year_digits = tag == TAG_UTC_TIME ? 2 : 4;
	int64_t v[6] = {0};
	size_t at = 0;

	if ((tag != TAG_UTC_TIME && tag != TAG_TIME) || s.n != year_digits + 11 || s.p[s.n - 1] != 'Z')
		return false;
	for (size_t i = 0; i < 6; i++)
		for (size_t k = 0; k < (i == 0 ? year_digits : 2); k++, at++) {
			if (s.p[at] < '0' || s.p[at] > '9')
				return false;
			v[i] = v[i] * 10 + (s.p[at] - '0');
		}
	if (tag == TAG_UTC_TIME)
		v[0] += v[0] >= 50 ? 1900 : 2000;
	if (v[1] < 1 || v[1] > 12 || v[2] < 1 || v[2] > 31 || v[3] > 23 || v[4] > 59 || v[5] > 60)
		return false;
	*out = days_of(v[0], v[1], v[2]) * 86400 + v[3] * 3600 + v[4] * 60 + v[5];
	return true;
}

/* Finds SubjectAltName among the extensions. */
static bool
read_extensions(struct x509 *out, struct slice in)
{
	struct slice list, ext, oid, value;
	uint8_t tag;

	if (!der_take(&in, TAG_SEQUENCE, &list))
		return false;
	while (list.n > 0) {
		if (!der_take(&list, TAG_SEQUENCE, &ext) || !der_take(&ext, TAG_OID, &oid) || !der_next(&ext, &tag, &value))
			return false;
		if (tag == TAG_BOOLEAN && !der_next(&ext, &tag, &value))
			return false;
		if (tag != TAG_OCTETS)
			return false;
		if (slice_eq(oid, slice_make(oid_san, sizeof(oid_san))) && !der_take(&value, TAG_SEQUENCE, &out->san))
			return false;
	}
	return true;
}

int
x509_read(struct x509 *out, struct slice der)
{
	struct slice cert, tbs, part, algorithm, issuer, time;
	uint8_t tag;

	*out = (struct x509){0};
	if (!der_take(&der, TAG_SEQUENCE, &cert) || !der_take(&cert, TAG_SEQUENCE, &tbs))
		return -1;
	if (!der_next(&tbs, &tag, &part) || (tag == TAG_VERSION && !der_next(&tbs, &tag, &part)) || tag != TAG_INTEGER)
		return -1;
	if (!der_take(&tbs, TAG_SEQUENCE, &algorithm) || !der_take(&tbs, TAG_SEQUENCE, &issuer))
		return -1;
	if (!der_take(&tbs, TAG_SEQUENCE, &part))
		return -1;
	if (!der_next(&part, &tag, &time) || !time_of(tag, time, &out->not_before))
		return -1;
	if (!der_next(&part, &tag, &time) || !time_of(tag, time, &out->not_after))
		return -1;
	/* Subject, public key. */
	if (!der_take(&tbs, TAG_SEQUENCE, &out->subject) || !der_take(&tbs, TAG_SEQUENCE, &part))
		return -1;
	while (tbs.n > 0) {
		if (!der_next(&tbs, &tag, &part))
			return -1;
		if (tag == TAG_EXTENSIONS && !read_extensions(out, part))
			return -1;
	}
	return 0;
}

bool
x509_has_ip(const struct x509 *c, struct slice ip)
{
	struct slice rest = c->san, name;
	uint8_t tag;

	for (int i = 0; i < X509_NAMES_MAX && der_next(&rest, &tag, &name); i++)
		if (tag == NAME_IP && ip.n > 0 && slice_eq(name, ip))
			return true;
	return false;
}

/* False when it did not fit any more. */
static bool
append_name(struct buf *out, size_t start, size_t max, struct slice name)
{
	if (out->len - start + name.n + 5 > max) {
		buf_append_str(out, out->len > start ? ", ..." : "...");
		return false;
	}
	if (out->len > start)
		buf_append_str(out, ", ");
	for (size_t i = 0; i < name.n; i++)
		buf_append_u8(out, name.p[i] > 0x20 && name.p[i] < 0x7f ? name.p[i] : '?');
	return true;
}

static void
append_common_name(const struct x509 *c, struct buf *out, size_t start, size_t max)
{
	struct slice rest = c->subject, set, pair, oid, value;
	uint8_t tag;

	while (der_take(&rest, TAG_SET, &set))
		if (der_take(&set, TAG_SEQUENCE, &pair) && der_take(&pair, TAG_OID, &oid) && der_next(&pair, &tag, &value) &&
		    slice_eq(oid, slice_make(oid_common_name, sizeof(oid_common_name))))
			append_name(out, start, max, value);
}

void
x509_names(const struct x509 *c, struct buf *out, size_t max)
{
	struct slice rest = c->san, name;
	size_t start = out->len;
	uint8_t tag;

	for (int i = 0; i < X509_NAMES_MAX && der_next(&rest, &tag, &name); i++) {
		char text[ADDR_TEXT_MAX];
		struct addr a;

		if (tag == NAME_IP && addr_from_bytes(&a, name.p, name.n, 0) == 0)
			name = slice_str(addr_format_ip(&a, text));
		else if (tag != NAME_DNS)
			continue;
		if (!append_name(out, start, max, name))
			return;
	}
	if (c->san.p == NULL)
		append_common_name(c, out, start, max);
	if (out->len == start)
		buf_append_str(out, "no name");
}

const char *
x509_time_text(int64_t t, char out[X509_TIME_MAX])
{
	char full[CLOCK_TEXT_MAX];
	char *dot;

	/* Years that do not fit nanoseconds are all the same to a reader. */
	if (t > INT64_MAX / 1000000000 || t < INT64_MIN / 1000000000)
		t = t > 0 ? INT64_MAX / 1000000000 : 0;
	clock_format(t * 1000000000, full);
	dot = strchr(full, '.');
	if (dot != NULL)
		memcpy(dot, "Z", 2);
	memcpy(out, full, strlen(full) + 1);
	return out;
}
