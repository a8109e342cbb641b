#include "net/x509.h"

#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "net/addr.h"
#include "net/der.h"

enum {
	TAG_VERSION = 0xa0, TAG_EXTENSIONS = 0xa3,
	/* GeneralName, RFC 5280 4.2.1.6. */
	NAME_DNS = 0x82, NAME_IP = 0x87,
};

static const uint8_t oid_common_name[] = {0x55, 0x04, 0x03};
static const uint8_t oid_ski[] = {0x55, 0x1d, 0x0e};
static const uint8_t oid_key_usage[] = {0x55, 0x1d, 0x0f};
static const uint8_t oid_san[] = {0x55, 0x1d, 0x11};
static const uint8_t oid_basic_constraints[] = {0x55, 0x1d, 0x13};

static const uint8_t oid_purposes[] = {0x55, 0x1d, 0x25};
static const uint8_t oid_any_purpose[] = {0x55, 0x1d, 0x25, 0x00};
static const uint8_t oid_server_auth[] = {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01};
static const uint8_t oid_client_auth[] = {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02};

#define IS(slice, oid) slice_eq(slice, slice_make(oid, sizeof(oid)))

/* The extensions that are looked at (RFC 5280, 4.2.1.2, .3, .6, .9, .12). */
static bool
read_extension(struct x509 *out, struct slice oid, struct slice value)
{
	struct slice part, flag;
	uint8_t tag;

	if (IS(oid, oid_san))
		return der_take(&value, DER_SEQUENCE, &out->san);
	if (IS(oid, oid_ski))
		return der_take(&value, DER_OCTETS, &out->ski);
	if (IS(oid, oid_key_usage)) {
		/* First the number of unused bits. */
		if (!der_take(&value, DER_BITS, &part) || part.n < 1)
			return false;
		out->has_key_usage = true;
		out->key_usage = part.n > 1 ? part.p[1] : 0;
	}
	if (IS(oid, oid_purposes)) {
		if (!der_take(&value, DER_SEQUENCE, &part))
			return false;
		out->has_purposes = true;
		while (der_take(&part, DER_OID, &flag)) {
			bool any = IS(flag, oid_any_purpose);

			out->for_servers |= any || IS(flag, oid_server_auth);
			out->for_clients |= any || IS(flag, oid_client_auth);
		}
	}
	if (IS(oid, oid_basic_constraints)) {
		if (!der_take(&value, DER_SEQUENCE, &part))
			return false;
		out->is_ca = der_next(&part, &tag, &flag) && tag == DER_BOOLEAN && flag.n == 1 && flag.p[0] != 0;
	}
	return true;
}

static bool
read_extensions(struct x509 *out, struct slice in)
{
	struct slice list, ext, oid, value;
	uint8_t tag;

	if (!der_take(&in, DER_SEQUENCE, &list))
		return false;
	while (list.n > 0) {
		if (!der_take(&list, DER_SEQUENCE, &ext) || !der_take(&ext, DER_OID, &oid) || !der_next(&ext, &tag, &value))
			return false;
		if (tag == DER_BOOLEAN && !der_next(&ext, &tag, &value))
			return false;
		if (tag != DER_OCTETS)
			return false;
		if (!read_extension(out, oid, value))
			return false;
	}
	return true;
}

int
x509_read(struct x509 *out, struct slice der)
{
	struct slice cert, tbs, part, algorithm, time;
	uint8_t tag;

	*out = (struct x509){0};
	if (!der_take(&der, DER_SEQUENCE, &cert) || !der_take(&cert, DER_SEQUENCE, &tbs))
		return -1;
	if (!der_next(&tbs, &tag, &part) || (tag == TAG_VERSION && !der_next(&tbs, &tag, &part)) || tag != DER_INTEGER)
		return -1;
	if (!der_take(&tbs, DER_SEQUENCE, &algorithm) || !der_take(&tbs, DER_SEQUENCE, &out->issuer))
		return -1;
	if (!der_take(&tbs, DER_SEQUENCE, &part))
		return -1;
	if (!der_next(&part, &tag, &time) || !der_read_time(tag, time, &out->not_before))
		return -1;
	if (!der_next(&part, &tag, &time) || !der_read_time(tag, time, &out->not_after))
		return -1;
	/* Subject, public key. */
	if (!der_take(&tbs, DER_SEQUENCE, &out->subject) || !der_take(&tbs, DER_SEQUENCE, &part))
		return -1;
	while (tbs.n > 0) {
		if (!der_next(&tbs, &tag, &part))
			return -1;
		if (tag == TAG_EXTENSIONS && !read_extensions(out, part))
			return -1;
	}
	if (!out->has_purposes)
		out->for_servers = out->for_clients = true;
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

bool
x509_is_named(const struct x509 *c, const char *name)
{
	struct slice rest = c->san, want = slice_str(name), set, pair, oid, value;
	struct addr a;
	uint8_t tag;

	if (addr_from_ip(&a, want, 0) == 0)
		return x509_has_ip(c, addr_ip_bytes(&a));
	for (int i = 0; i < X509_NAMES_MAX && der_next(&rest, &tag, &value); i++)
		if (tag == NAME_DNS && slice_ieq_str(value, name))
			return true;
	rest = c->subject;
	while (der_take(&rest, DER_SET, &set))
		if (der_take(&set, DER_SEQUENCE, &pair) && der_take(&pair, DER_OID, &oid) && der_next(&pair, &tag, &value) &&
		    IS(oid, oid_common_name) && slice_eq(value, want))
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

	while (der_take(&rest, DER_SET, &set))
		if (der_take(&set, DER_SEQUENCE, &pair) && der_take(&pair, DER_OID, &oid) && der_next(&pair, &tag, &value) &&
		    IS(oid, oid_common_name))
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
