#include "wire/h2_core.h"

#include "base/mem.h"

enum pseudo {
	PSEUDO_METHOD, PSEUDO_SCHEME, PSEUDO_AUTHORITY, PSEUDO_PATH, PSEUDO_STATUS, PSEUDO_COUNT,
};

/* Fields of one HTTP/1.1 connection mean nothing here and hide smuggled messages (RFC 9113, 8.2.2). */
static const char *const connection_fields[] = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"};

/* RFC 9113, 8.2.1. The colon of a pseudo field is left out by the caller. */
static bool
is_name(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];

		if (c <= 0x20 || c >= 0x7f || (c >= 'A' && c <= 'Z') || c == ':')
			return false;
	}
	return s.n > 0;
}

/* RFC 9113, 8.2.1, but white space at the ends is let through: Go leaves it in grpc-message. */
static bool
is_value(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == 0 || s.p[i] == '\r' || s.p[i] == '\n')
			return false;
	}
	return true;
}

static int
pseudo_of(struct slice name)
{
	static const char *const names[PSEUDO_COUNT] = {":method", ":scheme", ":authority", ":path", ":status"};

	for (int i = 0; i < PSEUDO_COUNT; i++) {
		if (slice_eq_str(name, names[i]))
			return i;
	}
	return -1;
}

static const char *
check_field(const struct hpack_field *f, struct h2_message *m)
{
	uint64_t length;

	if (!is_name(f->name))
		return "bad field name";
	for (size_t i = 0; i < COUNT_OF(connection_fields); i++) {
		if (slice_eq_str(f->name, connection_fields[i]))
			return "connection field";
	}
	if (slice_eq_str(f->name, "te") && !slice_eq_str(f->value, "trailers"))
		return "te is not trailers";
	if (slice_eq_str(f->name, "content-length")) {
		if (slice_to_u64(f->value, &length) < 0 || length > INT64_MAX)
			return "bad content-length";
		if (m->content_length != H2_NO_LENGTH && m->content_length != (int64_t)length)
			return "content-length twice";
		m->content_length = (int64_t)length;
	}
	return NULL;
}

static const char *
check_request(const struct hpack_field *const *pseudo, struct h2_message *m)
{
	if (!pseudo[PSEUDO_METHOD] || pseudo[PSEUDO_METHOD]->value.n == 0 || pseudo[PSEUDO_STATUS])
		return "bad request pseudo fields";
	m->is_head = slice_eq_str(pseudo[PSEUDO_METHOD]->value, "HEAD");
	if (slice_eq_str(pseudo[PSEUDO_METHOD]->value, "CONNECT")) {
		if (pseudo[PSEUDO_SCHEME] || pseudo[PSEUDO_PATH] || !pseudo[PSEUDO_AUTHORITY])
			return "bad CONNECT";
		return NULL;
	}
	if (!pseudo[PSEUDO_SCHEME] || !pseudo[PSEUDO_PATH] || pseudo[PSEUDO_PATH]->value.n == 0)
		return "bad request pseudo fields";
	return NULL;
}

static const char *
check_response(const struct hpack_field *const *pseudo, struct h2_message *m)
{
	uint64_t status;

	for (int i = 0; i < PSEUDO_COUNT; i++) {
		if ((pseudo[i] != NULL) != (i == PSEUDO_STATUS))
			return "bad response pseudo fields";
	}
	if (pseudo[PSEUDO_STATUS]->value.n != 3 || slice_to_u64(pseudo[PSEUDO_STATUS]->value, &status) < 0 || status < 100)
		return "bad :status";
	/* Switching protocols does not exist in HTTP/2 (RFC 9113, 8.6). */
	if (status == 101)
		return "status 101";
	m->status = (int)status;
	return NULL;
}

const char *
h2_check_message(enum h2_kind kind, const struct hpack_field *fields, size_t n, struct h2_message *m)
{
	const struct hpack_field *pseudo[PSEUDO_COUNT] = {0};
	bool is_regular = false;
	const char *wrong;

	*m = (struct h2_message){.content_length = H2_NO_LENGTH};
	for (size_t i = 0; i < n; i++) {
		const struct hpack_field *f = &fields[i];

		if (!is_value(f->value))
			return "bad field value";
		if (f->name.n > 0 && f->name.p[0] == ':') {
			int which = pseudo_of(f->name);

			if (which < 0 || pseudo[which] || is_regular || kind == H2_TRAILERS)
				return "bad pseudo field";
			pseudo[which] = f;
			continue;
		}
		is_regular = true;
		wrong = check_field(f, m);
		if (wrong)
			return wrong;
	}
	if (kind == H2_REQUEST)
		return check_request(pseudo, m);
	if (kind == H2_RESPONSE)
		return check_response(pseudo, m);
	return NULL;
}
