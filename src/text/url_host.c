#include "text/url_host.h"

#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/hex.h"
#include "text/idna.h"

#define IPV6_GROUPS 8

static uint8_t
at(struct slice s, size_t i)
{
	return i < s.n ? s.p[i] : 0;
}

/* The four numbers of an IPv4 address behind the groups of an IPv6 one: plain decimal. Returns the end, or 0. */
static size_t
read_ipv4_tail(struct slice s, size_t i, uint16_t *groups)
{
	uint8_t bytes[4];

	for (int k = 0; k < 4; k++) {
		unsigned v = 0;
		size_t from = i;

		if (k > 0 && at(s, i++) != '.')
			return 0;
		from = i;
		while (at(s, i) >= '0' && at(s, i) <= '9' && i < from + 3)
			v = v * 10 + (unsigned)(s.p[i++] - '0');
		if (i == from || v > 255 || (i > from + 1 && s.p[from] == '0'))
			return 0;
		bytes[k] = (uint8_t)v;
	}
	groups[0] = (uint16_t)(bytes[0] << 8 | bytes[1]);
	groups[1] = (uint16_t)(bytes[2] << 8 | bytes[3]);
	return i;
}

static int
read_ipv6(struct slice s, uint16_t groups[IPV6_GROUPS])
{
	size_t n = 0, gap = IPV6_GROUPS + 1, i = 0;

	memset(groups, 0, IPV6_GROUPS * sizeof(groups[0]));
	if (at(s, 0) == ':') {
		if (at(s, 1) != ':')
			return -1;
		i = 2;
		gap = 0;
	}
	while (i < s.n) {
		unsigned v = 0;
		size_t from = i;

		if (n == IPV6_GROUPS)
			return -1;
		if (s.p[i] == ':') {
			if (gap <= IPV6_GROUPS)
				return -1;
			gap = n;
			i++;
			continue;
		}
		while (i < s.n && i < from + 4 && hex_value(s.p[i]) >= 0)
			v = v << 4 | (unsigned)hex_value(s.p[i++]);
		if (at(s, i) == '.') {
			i = n + 2 <= IPV6_GROUPS ? read_ipv4_tail(s, from, groups + n) : 0;
			if (i == 0 || i != s.n)
				return -1;
			n += 2;
			break;
		}
		if (i == from)
			return -1;
		groups[n++] = (uint16_t)v;
		if (i == s.n)
			break;
		if (s.p[i] != ':' || ++i == s.n)
			return -1;
	}
	if (gap <= IPV6_GROUPS) {
		size_t moved = n - gap;

		if (n == IPV6_GROUPS)
			return -1;
		memmove(groups + (IPV6_GROUPS - moved), groups + gap, moved * sizeof(groups[0]));
		memset(groups + gap, 0, (IPV6_GROUPS - moved - gap) * sizeof(groups[0]));
		return 0;
	}
	return n == IPV6_GROUPS ? 0 : -1;
}

/* The longest run of two or more zero groups is left out, the first of equals. */
static void
put_ipv6(const uint16_t groups[IPV6_GROUPS], struct buf *out)
{
	size_t gap = IPV6_GROUPS, gap_n = 1;

	for (size_t i = 0; i < IPV6_GROUPS; i++) {
		size_t n = 0;

		while (i + n < IPV6_GROUPS && groups[i + n] == 0)
			n++;
		if (n > gap_n) {
			gap = i;
			gap_n = n;
		}
	}
	buf_append_u8(out, '[');
	for (size_t i = 0; i < IPV6_GROUPS;) {
		if (i == gap) {
			buf_append_str(out, i == 0 ? "::" : ":");
			i += gap_n;
			continue;
		}
		buf_printf(out, "%x", groups[i]);
		if (++i < IPV6_GROUPS)
			buf_append_u8(out, ':');
	}
	buf_append_u8(out, ']');
}

/* A part of an IPv4 address: decimal, 0 octal, 0x hex; values from 2^32 on count as 2^32. -1 when it is no number. */
static int
read_ipv4_number(struct slice s, uint64_t *out)
{
	unsigned base = 10;
	uint64_t v = 0;

	if (s.n == 0)
		return -1;
	if (s.n >= 2 && s.p[0] == '0') {
		base = (s.p[1] | 0x20) == 'x' ? 16 : 8;
		s = slice_sub(s, base == 16 ? 2 : 1, s.n);
	}
	for (size_t i = 0; i < s.n; i++) {
		int d = hex_value(s.p[i]);

		if (d < 0 || d >= (int)base)
			return -1;
		v = v * base + (unsigned)d;
		if (v > UINT32_MAX)
			v = (uint64_t)UINT32_MAX + 1;
	}
	*out = v;
	return 0;
}

static struct slice
last_part(struct slice name)
{
	size_t i = name.n;

	while (i > 0 && name.p[i - 1] != '.')
		i--;
	return slice_sub(name, i, name.n);
}

/* A name whose last part is a number is an IPv4 address, or wrong. */
static bool
ends_in_number(struct slice name)
{
	struct slice last;
	uint64_t v;

	if (name.n > 0 && name.p[name.n - 1] == '.')
		name.n--;
	last = last_part(name);
	if (last.n > 0) {
		size_t i = 0;

		while (i < last.n && last.p[i] >= '0' && last.p[i] <= '9')
			i++;
		if (i == last.n)
			return true;
	}
	return read_ipv4_number(last, &v) == 0;
}

static int
read_ipv4(struct slice name, uint32_t *out)
{
	uint64_t parts[4], v;
	size_t n = 0;

	if (name.n > 0 && name.p[name.n - 1] == '.')
		name.n--;
	for (;;) {
		ptrdiff_t dot = slice_find(name, '.');

		if (n == 4 || read_ipv4_number(slice_sub(name, 0, dot < 0 ? name.n : (size_t)dot), &parts[n]) < 0)
			return -1;
		n++;
		if (dot < 0)
			break;
		name = slice_sub(name, (size_t)dot + 1, name.n);
	}
	/* The last part fills all bytes that the others leave. */
	v = parts[n - 1];
	if (v >= (uint64_t)1 << (8 * (5 - n)))
		return -1;
	for (size_t i = 0; i + 1 < n; i++) {
		if (parts[i] > 255)
			return -1;
		v |= parts[i] << (24 - 8 * i);
	}
	*out = (uint32_t)v;
	return 0;
}

/* Code points that a domain name cannot have, whatever it is looked up with. */
static bool
is_forbidden(uint8_t c, bool in_domain)
{
	if (c == 0)
		return true;
	if (in_domain && (c <= 0x20 || c == 0x7f || c == '%'))
		return true;
	return strchr("\t\n\r #/:<>?@[\\]^|", c) != NULL;
}

/* Hosts of schemes that are not special keep their letters: bucket names and owners of models are case-sensitive. */
static int
parse_opaque(struct slice text, struct buf *out, struct err *e)
{
	for (size_t i = 0; i < text.n; i++) {
		uint8_t c = text.p[i];

		if (is_forbidden(c, false))
			return err_set(e, ERR_INVALID_ARGUMENT, "invalid domain character");
		if (c < 0x20 || c > 0x7e)
			buf_printf(out, "%%%02X", c);
		else
			buf_append_u8(out, c);
	}
	return 0;
}

static int
parse_domain(struct slice text, struct buf *out, enum url_host_kind *kind, struct err *e)
{
	struct buf decoded = BUF_INIT;
	size_t from = out->len;
	struct slice name;
	uint32_t ip;
	int r = -1;

	url_decode(text, &decoded);
	if (idna_to_ascii(buf_slice(&decoded), out) < 0) {
		err_set(e, ERR_INVALID_ARGUMENT, "invalid international domain name");
		goto done;
	}
	name = slice_sub(buf_slice(out), from, out->len);
	for (size_t i = 0; i < name.n; i++) {
		if (is_forbidden(name.p[i], true)) {
			err_set(e, ERR_INVALID_ARGUMENT, "invalid international domain name");
			goto done;
		}
	}
	if (name.n == 0) {
		err_set(e, ERR_INVALID_ARGUMENT, "empty host");
		goto done;
	}
	if (ends_in_number(name)) {
		if (read_ipv4(name, &ip) < 0) {
			err_set(e, ERR_INVALID_ARGUMENT, "invalid IPv4 address");
			goto done;
		}
		out->len = from;
		buf_printf(out, "%u.%u.%u.%u", (unsigned)(ip >> 24), (unsigned)(ip >> 16 & 255), (unsigned)(ip >> 8 & 255), (unsigned)(ip & 255));
		*kind = URL_HOST_IPV4;
	}
	r = 0;
done:
	buf_free(&decoded);
	return r;
}

int
url_host_parse(struct slice text, bool is_special, struct buf *out, enum url_host_kind *kind, struct err *e)
{
	uint16_t groups[IPV6_GROUPS];
	size_t before = out->len;

	if (text.n > URL_HOST_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "host longer than %d bytes", URL_HOST_MAX);
	*kind = URL_HOST_NAME;
	if (text.p[0] == '[') {
		if (text.p[text.n - 1] != ']' || text.n < 2 || read_ipv6(slice_sub(text, 1, text.n - 2), groups) < 0)
			return err_set(e, ERR_INVALID_ARGUMENT, "invalid IPv6 address");
		put_ipv6(groups, out);
		*kind = URL_HOST_IPV6;
		return 0;
	}
	if ((is_special ? parse_domain(text, out, kind, e) : parse_opaque(text, out, e)) < 0)
		return -1;
	/* Encoding may have made it longer. */
	if (out->len - before > URL_HOST_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "host longer than %d bytes when encoded", URL_HOST_MAX);
	return 0;
}
