#include "net/cidr.h"

#include <string.h>

#include "base/err.h"
#include "net/addr.h"

int
cidr_parse(struct cidr *out, struct slice text, struct err *e)
{
	ptrdiff_t slash = slice_find(text, '/');
	struct slice ip = slash < 0 ? text : slice_sub(text, 0, (size_t)slash), bytes;
	uint64_t bits;
	struct addr a;

	/* Brackets are for ports, and a zone is of one host. */
	if (slice_find(ip, '[') >= 0 || slice_find(ip, '%') >= 0 || addr_from_ip(&a, ip, 0) < 0)
		goto bad;
	bytes = addr_ip_bytes(&a);
	bits = bytes.n * 8;
	if (slash >= 0 && (slice_to_u64(slice_sub(text, (size_t)slash + 1, text.n), &bits) < 0 || bits > bytes.n * 8))
		goto bad;
	memset(out, 0, sizeof(*out));
	memcpy(out->ip, bytes.p, bytes.n);
	out->len = (uint8_t)bytes.n;
	out->bits = (uint8_t)bits;
	return 0;
bad:
	return err_set(e, ERR_INVALID_ARGUMENT, "\"%.*s\" is no range of addresses like 10.0.0.0/8 or fd00::/8",
	    text.n > 60 ? 60 : (int)text.n, (const char *)text.p);
}

bool
cidr_has(const struct cidr *c, const struct addr *a)
{
	struct slice ip = addr_ip_bytes(a);
	size_t whole = c->bits / 8;
	unsigned rest = c->bits % 8;

	if (ip.n != c->len || memcmp(ip.p, c->ip, whole) != 0)
		return false;
	return rest == 0 || ((ip.p[whole] ^ c->ip[whole]) >> (8 - rest)) == 0;
}

static bool
is_in(const struct cidr *list, size_t n, const struct addr *a)
{
	for (size_t i = 0; i < n; i++)
		if (cidr_has(&list[i], a))
			return true;
	return false;
}

/* Addresses that mean another host to each who says them. */
static bool
is_of_this_host(const struct addr *a)
{
	struct slice ip = addr_ip_bytes(a);

	return addr_is_loopback(a) || addr_is_link_local(a) || addr_is_any(a) || (ip.n == 4 && ip.p[0] == 0);
}

bool
addr_rules_admit(const struct addr_rules *r, const struct addr *a)
{
	if (is_in(r->deny, r->deny_count, a))
		return false;
	if (r->allow_count > 0)
		return is_in(r->allow, r->allow_count, a);
	return !is_of_this_host(a);
}

bool
addr_rules_admit_name(const struct addr_rules *r, const char *host)
{
	struct slice name = slice_str(host);
	struct addr a;

	if (addr_from_ip(&a, name, 0) == 0)
		return addr_rules_admit(r, &a);
	if (name.n > 0 && name.p[name.n - 1] == '.')
		name.n--;
	if (slice_ieq_str(name, "localhost") || (name.n > 10 && slice_ieq_str(slice_sub(name, name.n - 10, name.n), ".localhost"))) {
		addr_from_ip(&a, slice_str("127.0.0.1"), 0);
		return addr_rules_admit(r, &a);
	}
	return true;
}
