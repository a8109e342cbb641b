#include "source/fields.h"

#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "text/url.h"

/* Hop-by-hop, framing, and what was meant for another range or another receiver. */
static const char *const never_sent[] = {
	"connection", "keep-alive", "proxy-connection", "proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade",
	"content-length", "expect", "host", "range", "if-range", "if-match", "if-unmodified-since",
};

static const char *const credentials[] = {"authorization", "cookie", "cookie2", "proxy-authorization", "www-authenticate"};

static bool
is_among(const char *name, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (slice_ieq_str(slice_str(name), names[i]))
			return true;
	return false;
}

static const char *
headers_get(const struct source_headers *h, const char *name)
{
	for (size_t i = 0; i < h->count; i++)
		if (slice_ieq_str(slice_str(h->at[i].name), name))
			return h->at[i].value;
	return NULL;
}

const char *
fields_get(const struct fields *f, const char *name)
{
	for (size_t i = 0; i < f->count; i++)
		if (slice_ieq_str(slice_str(f->at[i].name), name))
			return f->at[i].value;
	return NULL;
}

/* A header that the user's Connection header names. */
static bool
is_hop_by_hop(const struct source_headers *user, const char *name)
{
	for (size_t i = 0; i < user->count; i++) {
		struct slice rest = slice_str(user->at[i].value), item;

		if (!slice_ieq_str(slice_str(user->at[i].name), "connection"))
			continue;
		while (h1_list_next(&rest, &item))
			if (slice_ieq_str(item, name))
				return true;
	}
	return false;
}

/*
 * Bytes of pieces must not come from different encodings, so nobody asks for one; except where a signature covers the header and
 * dropping it would break that.
 */
static bool
accept_encoding_is_signed(const struct source_headers *user)
{
	const char *auth = headers_get(user, "authorization");
	struct buf lower = BUF_INIT;
	bool found;

	if (auth == NULL || (strncmp(auth, "AWS4", 4) != 0 && strncmp(auth, "GOOG4", 5) != 0 && strncmp(auth, "OSS4", 4) != 0))
		return false;
	buf_append_str(&lower, auth);
	for (size_t i = 0; i < lower.len; i++)
		if (lower.mem[i] >= 'A' && lower.mem[i] <= 'Z')
			lower.mem[i] |= 0x20;
	found = strstr(buf_cstr(&lower), "accept-encoding") != NULL;
	buf_free(&lower);
	return found;
}

static int
add(struct fields *f, const char *name, const char *value, bool is_credential, struct arena *mem, struct err *e)
{
	struct slice v = slice_trim(slice_str(value));

	if (!h1_is_token(slice_str(name)))
		return err_set(e, ERR_INVALID_ARGUMENT, "a header has an invalid name");
	if (!h1_is_value(v))
		return err_set(e, ERR_INVALID_ARGUMENT, "header %s has a control character in its value", name);
	if (f->count == FIELDS_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "more than %d headers", FIELDS_MAX);
	f->at[f->count].name = arena_strdup(mem, name);
	f->at[f->count].value = arena_copy(mem, v.p != NULL ? (const void *)v.p : "", v.n);
	f->at[f->count].is_credential = is_credential;
	if (f->at[f->count].name == NULL || f->at[f->count].value == NULL)
		return err_set(e, ERR_INVALID_ARGUMENT, "headers larger than %d bytes", FIELDS_BYTES_MAX);
	f->count++;
	return 0;
}

/* Names that carry a secret by their shape: X-...-Token, X-Api-Key. */
static bool
looks_secret(const char *name)
{
	struct slice s = slice_str(name);

	if (is_among(name, credentials, COUNT_OF(credentials)) || slice_ieq_str(s, "x-api-key"))
		return true;
	return s.n > 8 && slice_ieq_str(slice_sub(s, 0, 2), "x-") && slice_ieq_str(slice_sub(s, s.n - 6, 6), "-token");
}

static int
add_user(struct fields *f, const struct source_headers *user, bool keep_conditions, struct arena *mem, struct err *e)
{
	bool keep_encoding = accept_encoding_is_signed(user);

	for (size_t i = 0; i < user->count; i++) {
		const char *name = user->at[i].name;
		struct slice s = slice_str(name);

		if (is_among(name, never_sent, COUNT_OF(never_sent)) || is_hop_by_hop(user, name))
			continue;
		if (slice_ieq_str(s, "accept-encoding") && !keep_encoding)
			continue;
		if (!keep_conditions && (slice_ieq_str(s, "if-none-match") || slice_ieq_str(s, "if-modified-since")))
			continue;
		if (add(f, name, user->at[i].value, is_among(name, credentials, COUNT_OF(credentials)), mem, e) != 0)
			return -1;
	}
	return 0;
}

int
fields_build(struct fields *f, const struct source_headers *user, const struct url *url, const struct source_config *cfg,
    bool keep_conditions, struct arena *mem, struct err *e)
{
	struct buf basic = BUF_INIT;
	int had;

	f->count = 0;
	if (add_user(f, user, keep_conditions, mem, e) != 0)
		return -1;
	had = url_basic_auth(url, &basic, e);
	if (had > 0 && fields_get(f, "authorization") == NULL)
		had = add(f, "Authorization", buf_cstr(&basic), true, mem, e);
	buf_free(&basic);
	if (had < 0)
		return -1;
	if (fields_get(f, "user-agent") == NULL && add(f, "User-Agent", cfg->user_agent, false, mem, e) != 0)
		return -1;
	for (size_t i = 0; i < cfg->request_headers.count; i++) {
		const struct source_header *h = &cfg->request_headers.at[i];

		if (fields_get(f, h->name) != NULL || is_among(h->name, never_sent, COUNT_OF(never_sent)))
			continue;
		if (add(f, h->name, h->value, looks_secret(h->name), mem, e) != 0)
			return err_wrap(e, "backend.requestHeader");
	}
	if (fields_get(f, "accept") == NULL && add(f, "Accept", "*/*", false, mem, e) != 0)
		return -1;
	return 0;
}

/* ---- answers ---- */

static bool
is_printable(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((s.p[i] < 0x20 && s.p[i] != '\t') || s.p[i] > 0x7e)
			return false;
	return true;
}

static char *
lower_copy(struct slice s, struct arena *mem)
{
	char *out = arena_copy(mem, s.p, s.n);

	for (size_t i = 0; out != NULL && i < s.n; i++)
		if (out[i] >= 'A' && out[i] <= 'Z')
			out[i] = (char)(out[i] | 0x20);
	return out;
}

static struct source_header *
find(struct source_header *at, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(at[i].name, name) == 0)
			return &at[i];
	return NULL;
}

struct source_headers
fields_of_answer(const struct h1 *head, bool unique, struct arena *mem)
{
	struct source_header *at = arena_alloc(mem, (head->field_count + 1) * sizeof(*at));
	size_t n = 0;

	for (size_t i = 0; at != NULL && i < head->field_count; i++) {
		const struct h1_field *x = &head->fields[i];
		struct source_header *place = NULL;
		char *name, *value;

		if (!is_printable(x->value))
			continue;
		name = lower_copy(x->name, mem);
		value = arena_copy(mem, x->value.p != NULL ? (const void *)x->value.p : "", x->value.n);
		if (name == NULL || value == NULL)
			break;
		if (unique)
			place = find(at, n, name);
		if (place == NULL)
			place = &at[n++];
		place->name = name;
		place->value = value;
	}
	return (struct source_headers){at, at != NULL ? n : 0};
}

struct source_headers
fields_replace(struct source_headers h, const char *drop, const char *name, const char *value, struct arena *mem)
{
	struct source_header *at = arena_alloc(mem, (h.count + 1) * sizeof(*at));
	size_t n = 0;

	if (at == NULL)
		return h;
	for (size_t i = 0; i < h.count; i++)
		if (strcmp(h.at[i].name, drop) != 0 && (name == NULL || strcmp(h.at[i].name, name) != 0))
			at[n++] = h.at[i];
	if (name != NULL)
		at[n++] = (struct source_header){name, value};
	return (struct source_headers){at, n};
}
