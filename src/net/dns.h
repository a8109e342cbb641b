/*
 * Names to addresses without blocking and without the C library's resolver: hosts file, then the name servers of resolv.conf
 * over UDP, TCP when an answer is cut short. A and AAAA are asked at the same time. Answers are kept for their time to live,
 * within bounds. One resolver belongs to one loop.
 */
#ifndef NET_DNS_H
#define NET_DNS_H

#include <stddef.h>
#include <stdint.h>

#include "net/addr.h"

struct dns;
struct dns_lookup;
struct err;
struct loop;

/* Addresses kept of one name: more than anybody tries one after another. */
#define DNS_ADDRS_MAX 32
/* Names kept, and how long at most and at least (seconds); a negative answer is kept at most DNS_NEGATIVE_MAX_S. */
#define DNS_CACHE_MAX 1024
#define DNS_TTL_MAX_S 3600
#define DNS_TTL_MIN_S 1
#define DNS_NEGATIVE_MAX_S 60
/* Once one family has answered, how long to wait for the other (RFC 8305, resolution delay). */
#define DNS_OTHER_FAMILY_MS 50
/* Lookups under way at once; more fail with RESOURCE_EXHAUSTED. */
#define DNS_LOOKUPS_MAX 4096

/* Zeroed means the system's files. */
struct dns_opts {
	const char *resolv_conf;        /* NULL: /etc/resolv.conf. Read again when it changed. Missing: 127.0.0.1 */
	const char *hosts;              /* NULL: /etc/hosts */
	uint16_t port;                  /* of the name servers; 0: 53 */
};

struct dns *dns_new(struct loop *loop, const struct dns_opts *opts);
/* Lookups under way end without a callback. */
void dns_free(struct dns *d);

/* Addresses with port 0, IPv6 and IPv4 alternating as RFC 8305 wants them, at most DNS_ADDRS_MAX; n > 0 and e NULL, or n ==
 * 0 and e: NOT_FOUND "no such host: x", DEADLINE_EXCEEDED "x: no answer from name server 10.0.0.2 in 5 s", UNAVAILABLE "x:
 * name server 10.0.0.2 failed (SERVFAIL)". */
typedef void dns_fn(void *ctx, const struct addr *addrs, size_t n, const struct err *e);

/* Never calls fn before it returns. A name that cannot be one gives INVALID_ARGUMENT through fn. IP literals are answered as
 * they are. */
struct dns_lookup *dns_lookup(struct dns *d, const char *host, dns_fn *fn, void *ctx);
/* No callback follows. Not after fn was called. */
void dns_cancel(struct dns_lookup *l);

/* Forgets all kept answers. */
void dns_flush(struct dns *d);
/* Entries kept now. */
size_t dns_cache_count(const struct dns *d);

#endif
