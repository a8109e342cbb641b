/*
 * Which header fields travel where.
 */
#include "serve/proxy_rules.h"

#include <string.h>

#include "base/mem.h"

static const char *const hop_fields[] = {
	"connection", "proxy-connection", "keep-alive", "proxy-authorization", "proxy-authenticate", "proxy-authentication-info", "te", "trailer",
	"upgrade", "transfer-encoding",
};

static bool
is_among(struct slice name, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (slice_ieq_str(name, list[i]))
			return true;
	return false;
}

static bool
starts_ieq(struct slice s, const char *prefix)
{
	return slice_ieq_str(slice_sub(s, 0, strlen(prefix)), prefix);
}

bool
proxy_is_hop(const struct h1 *head, struct slice name)
{
	if (is_among(name, hop_fields, COUNT_OF(hop_fields)))
		return true;
	for (size_t i = 0; i < head->field_count; i++) {
		struct slice rest = head->fields[i].value, item;

		if (!slice_ieq_str(head->fields[i].name, "connection") && !slice_ieq_str(head->fields[i].name, "proxy-connection"))
			continue;
		while (h1_list_next(&rest, &item))
			if (slice_ieq(item, name))
				return true;
	}
	return false;
}

bool
proxy_field_goes_up(const struct h1 *head, struct slice name)
{
	static const char *const ours[] = {"host", "content-length", "expect"};

	return !is_among(name, ours, COUNT_OF(ours)) && !starts_ieq(name, "x-dragonfly-") && !proxy_is_hop(head, name);
}

bool
proxy_field_goes_down(const struct h1 *head, struct slice name)
{
	/* A 407 is between us and a proxy in front of us, or the upstream's own affair: its challenge is told. */
	if (slice_ieq_str(name, "proxy-authenticate"))
		return true;
	return !slice_ieq_str(name, "content-length") && !proxy_is_hop(head, name);
}

bool
proxy_field_is_for_task(const struct h1 *head, const struct h1_field *f)
{
	static const char *const dropped[] = {
		"host", "content-length", "expect", "accept-encoding", "if-none-match", "if-modified-since", "if-match", "if-unmodified-since",
		"if-range", "range",
	};

	if (is_among(f->name, dropped, COUNT_OF(dropped)) || starts_ieq(f->name, "x-dragonfly-") || proxy_is_hop(head, f->name))
		return false;
	for (size_t i = 0; i < f->value.n; i++)
		if (f->value.p[i] > 0x7e)
			return false;
	return true;
}

static bool
is_legal(const char *name, const char *value)
{
	return h1_is_token(slice_str(name)) && h1_is_value(slice_str(value));
}

bool
proxy_field_is_told(const char *name, const char *value)
{
	static const char *const dropped[] = {
		"set-cookie", "age", "alt-svc", "strict-transport-security", "content-length", "content-range", "accept-ranges", "date",
	};
	struct slice n = slice_str(name);

	return !is_among(n, dropped, COUNT_OF(dropped)) && !is_among(n, hop_fields, COUNT_OF(hop_fields)) && !starts_ieq(n, "proxy-") &&
	    !starts_ieq(n, "x-dragonfly-") && is_legal(name, value);
}

bool
proxy_field_is_told_with_error(const char *name, const char *value)
{
	static const char *const dropped[] = {
		"content-length", "content-encoding", "content-type", "etag", "accept-ranges", "content-range", "date", "last-modified",
	};
	struct slice n = slice_str(name);

	return !is_among(n, dropped, COUNT_OF(dropped)) && !is_among(n, hop_fields, COUNT_OF(hop_fields)) && !starts_ieq(n, "x-dragonfly-") &&
	    is_legal(name, value);
}
