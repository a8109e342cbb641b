/*
 * Ranges of IP addresses, and rules made of them: which addresses may be connected to on behalf of somebody who is not trusted.
 */
#ifndef NET_CIDR_H
#define NET_CIDR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct addr;
struct err;

struct cidr {
	uint8_t ip[16];                 /* 4 or 16 bytes in network order */
	uint8_t len;
	uint8_t bits;
};

/* "10.0.0.0/8", "fe80::/10", or an address alone. Bits behind the prefix are not looked at. -1 (INVALID_ARGUMENT) names the text. */
int cidr_parse(struct cidr *out, struct slice text, struct err *e);
/* An IPv4-mapped IPv6 address counts as the IPv4 one. Unix addresses are in no range. */
bool cidr_has(const struct cidr *c, const struct addr *a);

/* Immutable once filled in; any thread may look. */
struct addr_rules {
	const struct cidr *allow, *deny;
	size_t allow_count, deny_count;
};

/*
 * `deny` comes first. What is in `allow` may then be had; when `allow` is not empty, nothing else. Without it all but this host's own
 * addresses that others cannot have: loopback (127/8, ::1), link-local (169.254/16, fe80::/10), and 0/8 and ::, which lead to loopback.
 */
bool addr_rules_admit(const struct addr_rules *r, const struct addr *a);
/* The same for a name that somebody else will resolve: only "localhost" and names below it, and literals, can be told. */
bool addr_rules_admit_name(const struct addr_rules *r, const char *host);

#endif
