#include "wire/grpc.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/hex.h"
#include "base/mem.h"
#include "text/encode.h"
#include "text/utf8.h"
#include "wire/pb.h"

/* ---- messages ---- */

void
grpc_write_prefix(uint8_t out[GRPC_PREFIX_BYTES], uint32_t len)
{
	out[0] = 0;
	for (unsigned i = 0; i < 4; i++)
		out[1 + i] = (uint8_t)(len >> (24 - 8 * i));
}

void
grpc_append_message(struct buf *out, const struct pb_desc *desc, const void *msg)
{
	uint8_t prefix[GRPC_PREFIX_BYTES];

	grpc_write_prefix(prefix, (uint32_t)pb_size(desc, msg));
	buf_append(out, prefix, sizeof(prefix));
	pb_encode(desc, msg, out);
}

void
grpc_reader_init(struct grpc_reader *r, uint32_t max)
{
	*r = (struct grpc_reader){.max = max};
}

void
grpc_reader_free(struct grpc_reader *r)
{
	buf_free(&r->held);
}

static struct slice
take(struct slice *in, size_t n)
{
	struct slice taken = slice_sub(*in, 0, n);

	*in = slice_sub(*in, taken.n, in->n);
	return taken;
}

/* 1 when the prefix is whole, 0 when more is needed. */
static int
read_prefix(struct grpc_reader *r, struct slice *in, struct err *e)
{
	struct slice part = take(in, GRPC_PREFIX_BYTES - r->n_prefix);

	if (part.n > 0)
		memcpy(r->prefix + r->n_prefix, part.p, part.n);
	r->n_prefix += part.n;
	if (r->n_prefix < GRPC_PREFIX_BYTES)
		return 0;
	if (r->prefix[0] == 1)
		return err_set(e, ERR_INTERNAL, "compressed message without grpc-encoding");
	if (r->prefix[0] != 0)
		return err_set(e, ERR_INTERNAL, "message with unknown flag %u", r->prefix[0]);
	r->len = (uint32_t)r->prefix[1] << 24 | (uint32_t)r->prefix[2] << 16 | (uint32_t)r->prefix[3] << 8 | r->prefix[4];
	if (r->len > r->max)
		return err_set(e, ERR_OUT_OF_RANGE, "Error, decoded message length too large: found %lu bytes, the limit is: %lu bytes",
		    (unsigned long)r->len, (unsigned long)r->max);
	r->n_prefix = 0;
	r->is_inside = true;
	r->at = 0;
	return 1;
}

int
grpc_read_part(struct grpc_reader *r, struct slice *in, struct grpc_part *out, struct err *e)
{
	if (!r->is_inside) {
		int rc = read_prefix(r, in, e);

		if (rc <= 0)
			return rc;
	}
	if (r->len > 0 && in->n == 0)
		return 0;
	*out = (struct grpc_part){.len = r->len, .at = r->at};
	out->bytes = take(in, r->len - r->at);
	r->at += (uint32_t)out->bytes.n;
	if (r->at == r->len)
		r->is_inside = false;
	return 1;
}

static void
drop_given(struct grpc_reader *r)
{
	if (!r->is_given)
		return;
	r->is_given = false;
	if (r->held.cap > GRPC_KEPT_MAX)
		buf_free(&r->held);
	else
		buf_clear(&r->held);
}

int
grpc_read_message(struct grpc_reader *r, struct slice *in, struct slice *msg, struct err *e)
{
	struct grpc_part part;
	int rc;

	drop_given(r);
	while ((rc = grpc_read_part(r, in, &part, e)) == 1) {
		bool is_whole = part.at + part.bytes.n == part.len;

		if (is_whole && part.at == 0) {
			*msg = part.bytes;
			return 1;
		}
		if (buf_try_reserve(&r->held, part.bytes.n) == NULL)
			return err_set(e, ERR_RESOURCE_EXHAUSTED, "no memory for a message of %lu bytes", (unsigned long)part.len);
		buf_append_slice(&r->held, part.bytes);
		if (is_whole) {
			r->is_given = true;
			*msg = buf_slice(&r->held);
			return 1;
		}
	}
	return rc;
}

int
grpc_reader_end(const struct grpc_reader *r, struct err *e)
{
	if (r->is_inside || r->n_prefix > 0)
		return err_set(e, ERR_INTERNAL, "Unexpected EOF decoding stream.");
	return 0;
}

/* ---- requests ---- */

bool
grpc_is_content_type(struct slice value)
{
	const size_t n = sizeof(GRPC_CONTENT_TYPE) - 1;

	if (!slice_ieq_str(slice_sub(value, 0, n), GRPC_CONTENT_TYPE))
		return false;
	return value.n == n || value.p[n] == '+' || value.p[n] == ';';
}

int
grpc_split_path(struct slice path, struct slice *service, struct slice *method)
{
	struct slice rest;
	size_t last;

	if (path.n == 0 || path.p[0] != '/')
		return -1;
	rest = slice_sub(path, 1, path.n);
	for (last = rest.n; last > 0 && rest.p[last - 1] != '/'; last--)
		;
	if (last < 2 || last == rest.n)
		return -1;
	*service = slice_sub(rest, 0, last - 1);
	*method = slice_sub(rest, last, rest.n);
	return 0;
}

static const struct {
	char unit;
	int64_t ns;
} timeout_units[] = {
	{'n', 1}, {'u', 1000}, {'m', 1000000}, {'S', 1000000000}, {'M', INT64_C(60000000000)}, {'H', INT64_C(3600000000000)},
};

#define TIMEOUT_DIGITS_MAX 8
#define TIMEOUT_VALUE_MAX 99999999

int
grpc_parse_timeout(struct slice value, int64_t *ns)
{
	uint64_t n;

	if (value.n < 2 || value.n > TIMEOUT_DIGITS_MAX + 1 || slice_to_u64(slice_sub(value, 0, value.n - 1), &n) < 0)
		return -1;
	for (size_t i = 0; i < COUNT_OF(timeout_units); i++)
		if (value.p[value.n - 1] == (uint8_t)timeout_units[i].unit) {
			*ns = (int64_t)n > INT64_MAX / timeout_units[i].ns ? INT64_MAX : (int64_t)n * timeout_units[i].ns;
			return 0;
		}
	return -1;
}

void
grpc_format_timeout(int64_t ns, char out[GRPC_TIMEOUT_MAX])
{
	if (ns < 0)
		ns = 0;
	for (size_t i = 0; i < COUNT_OF(timeout_units); i++) {
		int64_t unit = timeout_units[i].ns, n = ns / unit + (ns % unit != 0);

		if (n <= TIMEOUT_VALUE_MAX) {
			snprintf(out, GRPC_TIMEOUT_MAX, "%ld%c", (long)n, timeout_units[i].unit);
			return;
		}
	}
}

/* ---- status ---- */

int
grpc_parse_status(struct slice value)
{
	uint64_t n;

	if (slice_to_u64(value, &n) < 0 || n > ERR_UNAUTHENTICATED)
		return ERR_UNKNOWN;
	return (int)n;
}

static bool
is_plain(uint8_t c)
{
	return c >= 0x20 && c <= 0x7e && c != '%';
}

void
grpc_encode_message(struct slice text, struct buf *out)
{
	size_t total = 0;

	while (text.n > 0) {
		uint8_t bytes[UTF8_MAX];
		uint32_t code = UTF8_REPLACEMENT;
		size_t bad = 0, from = utf8_decode(text, &code, &bad), n, size = 0;

		n = utf8_encode(from > 0 ? code : UTF8_REPLACEMENT, bytes);
		for (size_t i = 0; i < n; i++)
			size += is_plain(bytes[i]) ? 1 : 3;
		if (total + size > GRPC_MESSAGE_MAX)
			return;
		total += size;
		for (size_t i = 0; i < n; i++) {
			if (is_plain(bytes[i]))
				buf_append_u8(out, bytes[i]);
			else
				buf_printf(out, "%%%02X", bytes[i]);
		}
		text = slice_sub(text, from > 0 ? from : bad, text.n);
	}
}

void
grpc_decode_message(struct slice value, struct buf *out)
{
	struct buf raw = BUF_INIT;

	for (size_t i = 0; i < value.n; i++) {
		if (value.p[i] == '%' && value.n - i > 2 && hex_value(value.p[i + 1]) >= 0 && hex_value(value.p[i + 2]) >= 0) {
			buf_append_u8(&raw, (uint8_t)(hex_value(value.p[i + 1]) << 4 | hex_value(value.p[i + 2])));
			i += 2;
		} else {
			buf_append_u8(&raw, value.p[i]);
		}
	}
	utf8_append_lossy(buf_slice(&raw), out);
	buf_free(&raw);
}

int
grpc_encode_details(struct slice details, struct buf *out)
{
	if (details.n > GRPC_DETAILS_MAX / 4 * 3)
		return -1;
	base64_encode(details, BASE64_STD, false, out);
	return 0;
}

int
grpc_decode_details(struct slice value, struct buf *out)
{
	return base64_decode(value, BASE64_STD, out);
}

int
grpc_code_of_http(int status)
{
	switch (status) {
	case 400:
		return ERR_INTERNAL;
	case 401:
		return ERR_UNAUTHENTICATED;
	case 403:
		return ERR_PERMISSION_DENIED;
	case 404:
		return ERR_UNIMPLEMENTED;
	case 429:
	case 502:
	case 503:
	case 504:
		return ERR_UNAVAILABLE;
	default:
		return ERR_UNKNOWN;
	}
}

int
grpc_code_of_h2(uint32_t h2_code)
{
	static const uint8_t codes[] = {
		ERR_INTERNAL,           /* NO_ERROR */
		ERR_INTERNAL,           /* PROTOCOL_ERROR */
		ERR_INTERNAL,           /* INTERNAL_ERROR */
		ERR_INTERNAL,           /* FLOW_CONTROL_ERROR */
		ERR_INTERNAL,           /* SETTINGS_TIMEOUT */
		ERR_UNKNOWN,            /* STREAM_CLOSED */
		ERR_UNKNOWN,            /* FRAME_SIZE_ERROR */
		ERR_UNAVAILABLE,        /* REFUSED_STREAM */
		ERR_CANCELLED,          /* CANCEL */
		ERR_INTERNAL,           /* COMPRESSION_ERROR */
		ERR_INTERNAL,           /* CONNECT_ERROR */
		ERR_RESOURCE_EXHAUSTED, /* ENHANCE_YOUR_CALM */
		ERR_PERMISSION_DENIED,  /* INADEQUATE_SECURITY */
	};

	return h2_code < COUNT_OF(codes) ? codes[h2_code] : ERR_UNKNOWN;
}
