/*
 * DNS messages (RFC 1035, RFC 3596) in memory: a question of ours into bytes, an answer into addresses.
 */
#ifndef NET_DNS_WIRE_H
#define NET_DNS_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct err;

enum dns_type { DNS_A = 1, DNS_CNAME = 5, DNS_SOA = 6, DNS_AAAA = 28 };
enum dns_rcode { DNS_OK = 0, DNS_FORMAT_ERROR = 1, DNS_SERVER_FAILURE = 2, DNS_NO_NAME = 3, DNS_REFUSED = 5 };

/* Text of a name without its last dot (RFC 1035, 2.3.4), and with NUL. */
#define DNS_NAME_MAX 253
#define DNS_NAME_SIZE (DNS_NAME_MAX + 1)
#define DNS_LABEL_MAX 63
/* Header, name, type and class. */
#define DNS_QUERY_MAX 512
/* Pointers followed in one name: more is a loop or mischief. */
#define DNS_POINTERS_MAX 32
/* Aliases followed from the asked name to an address. */
#define DNS_ALIASES_MAX 16
/* Records looked at in one message. */
#define DNS_RECORDS_MAX 512
/* Addresses taken from one message. */
#define DNS_ANSWER_ADDRS_MAX 32

struct dns_answer {
	int rcode;
	bool is_truncated;
	size_t n;                       /* addresses */
	uint8_t addrs[DNS_ANSWER_ADDRS_MAX][16];        /* 4 or 16 bytes used, by the asked type */
	uint32_t ttl_s;                 /* the smallest on the way; without addresses the SOA's negative time, or 0 */
	char alias[DNS_NAME_SIZE];      /* an alias whose address was not in the message: ask for it; "" otherwise */
};

/* Whether text can be a host name: labels of letters, digits, '-' and '_'. One last dot is allowed. */
bool dns_name_is_valid(const char *name);
/* Bytes of the question in `out`, or 0 when the name cannot be one. */
size_t dns_query_write(uint8_t out[DNS_QUERY_MAX], uint16_t id, const char *name, enum dns_type type);
/* 0, or -1 when the message is no answer to this question (wrong id, name or type, malformed): such a one is to be ignored,
 * not believed. */
int dns_answer_read(struct dns_answer *out, struct slice msg, uint16_t id, const char *name, enum dns_type type);

#endif
