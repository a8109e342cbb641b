#include "net/dns_wire.h"

#include <ctype.h>
#include <string.h>

#define HEADER_SIZE 12
#define CLASS_IN 1
/* RFC 2308, 5: longer negative times are cut by the caller. */
#define TTL_UNSET UINT32_MAX

static bool
is_name_byte(char c)
{
	return isalnum((unsigned char)c) || c == '-' || c == '_';
}

bool
dns_name_is_valid(const char *name)
{
	size_t n = strlen(name), label = 0;

	if (n > 0 && name[n - 1] == '.')
		n--;
	if (n == 0 || n > DNS_NAME_MAX)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (name[i] == '.') {
			if (label == 0)
				return false;
			label = 0;
		} else if (!is_name_byte(name[i]) || ++label > DNS_LABEL_MAX) {
			return false;
		}
	}
	return label > 0;
}

static void
put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static unsigned
get16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static uint32_t
get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

size_t
dns_query_write(uint8_t out[DNS_QUERY_MAX], uint16_t id, const char *name, enum dns_type type)
{
	size_t at = HEADER_SIZE;

	if (!dns_name_is_valid(name))
		return 0;
	memset(out, 0, HEADER_SIZE);
	put16(out, id);
	out[2] = 1;             /* recursion desired */
	put16(out + 4, 1);      /* one question */
	while (*name != '\0') {
		size_t n = strcspn(name, ".");

		out[at++] = (uint8_t)n;
		memcpy(out + at, name, n);
		at += n;
		name += n;
		if (*name == '.')
			name++;
	}
	out[at++] = 0;
	put16(out + at, type);
	put16(out + at + 2, CLASS_IN);
	return at + 4;
}

/* Reads the name at *at into lower-case text and moves *at behind it. */
static bool
read_name(struct slice msg, size_t *at, char out[DNS_NAME_SIZE])
{
	size_t p = *at, n = 0;
	bool jumped = false;

	for (int pointers = 0;;) {
		size_t label;

		if (p >= msg.n)
			return false;
		label = msg.p[p];
		if (label >= 0xc0) {
			if (p + 2 > msg.n || ++pointers > DNS_POINTERS_MAX)
				return false;
			if (!jumped)
				*at = p + 2;
			jumped = true;
			p = get16(msg.p + p) & 0x3fff;
			continue;
		}
		if (label > DNS_LABEL_MAX || p + 1 + label > msg.n)
			return false;
		p++;
		if (label == 0)
			break;
		if (n + (n > 0) + label > DNS_NAME_MAX)
			return false;
		if (n > 0)
			out[n++] = '.';
		for (size_t i = 0; i < label; i++) {
			char c = (char)msg.p[p + i];

			/* A dot or NUL inside a label would make it look like another name. */
			if (!is_name_byte(c))
				c = '?';
			out[n++] = (char)tolower((unsigned char)c);
		}
		p += label;
	}
	out[n] = '\0';
	if (!jumped)
		*at = p;
	return true;
}

struct record {
	char name[DNS_NAME_SIZE];
	unsigned type;
	unsigned class;
	uint32_t ttl;
	size_t data;            /* place in the message */
	size_t size;
};

static bool
read_record(struct slice msg, size_t *at, struct record *r)
{
	if (!read_name(msg, at, r->name) || msg.n - *at < 10)
		return false;
	r->type = get16(msg.p + *at);
	r->class = get16(msg.p + *at + 2);
	r->ttl = get32(msg.p + *at + 4);
	/* RFC 2181, 8: the top bit set means 0. */
	if (r->ttl > INT32_MAX)
		r->ttl = 0;
	r->size = get16(msg.p + *at + 8);
	r->data = *at + 10;
	if (r->size > msg.n - r->data)
		return false;
	*at = r->data + r->size;
	return true;
}

static bool
names_equal(const char *a, const char *b)
{
	struct slice x = slice_str(a), y = slice_str(b);

	if (y.n > 0 && y.p[y.n - 1] == '.')
		y.n--;
	return slice_ieq(x, y);
}

/* Walks the answer section again for each alias: records may come in any order, so each pass takes one step along them. */
static bool
read_answers(struct dns_answer *out, struct slice msg, size_t *at, unsigned count, const char *name, unsigned type)
{
	char wanted[DNS_NAME_SIZE];
	size_t start = *at, size = type == DNS_A ? 4 : 16, n = strlen(name);
	uint32_t ttl = TTL_UNSET;
	struct record r;

	if (n > 0 && name[n - 1] == '.')
		n--;
	memcpy(wanted, name, n);
	wanted[n] = '\0';
	for (int hop = 0; hop <= DNS_ALIASES_MAX; hop++) {
		char next[DNS_NAME_SIZE] = "";

		*at = start;
		for (unsigned i = 0; i < count; i++) {
			if (!read_record(msg, at, &r))
				return false;
			if (r.class != CLASS_IN || !names_equal(r.name, wanted))
				continue;
			if (r.type == type && r.size == size && out->n < DNS_ANSWER_ADDRS_MAX) {
				memcpy(out->addrs[out->n++], msg.p + r.data, size);
			} else if (r.type == DNS_CNAME && next[0] == '\0') {
				size_t p = r.data;

				if (!read_name(msg, &p, next))
					return false;
			} else {
				continue;
			}
			if (r.ttl < ttl)
				ttl = r.ttl;
		}
		if (out->n > 0 || next[0] == '\0') {
			if (out->n == 0 && hop > 0 && dns_name_is_valid(wanted))
				memcpy(out->alias, wanted, sizeof(wanted));
			out->ttl_s = ttl == TTL_UNSET ? 0 : ttl;
			return true;
		}
		memcpy(wanted, next, sizeof(wanted));
	}
	return false;
}

/* The SOA in the authority section says how long "no" is true (RFC 2308, 5). */
static void
read_negative(struct dns_answer *out, struct slice msg, size_t at, unsigned count)
{
	struct record r;
	char skipped[DNS_NAME_SIZE];

	for (unsigned i = 0; i < count && read_record(msg, &at, &r); i++) {
		size_t p = r.data;

		if (r.type != DNS_SOA || !read_name(msg, &p, skipped) || !read_name(msg, &p, skipped))
			continue;
		if (msg.n < p || msg.n - p < 20)
			continue;
		out->ttl_s = get32(msg.p + p + 16);
		if (r.ttl < out->ttl_s)
			out->ttl_s = r.ttl;
		/* A name server that gives the zone's SOA has looked: the alias has no address, asking again changes nothing. */
		out->alias[0] = '\0';
		return;
	}
}

int
dns_answer_read(struct dns_answer *out, struct slice msg, uint16_t id, const char *name, enum dns_type type)
{
	char asked[DNS_NAME_SIZE];
	size_t at = HEADER_SIZE;
	unsigned answers, authorities;

	memset(out, 0, sizeof(*out));
	if (msg.n < HEADER_SIZE || get16(msg.p) != id || (msg.p[2] & 0xf8) != 0x80)
		return -1;
	out->is_truncated = (msg.p[2] & 0x02) != 0;
	out->rcode = msg.p[3] & 0x0f;
	answers = get16(msg.p + 6);
	authorities = get16(msg.p + 8);
	if (get16(msg.p + 4) == 0 && out->rcode != DNS_OK && out->rcode != DNS_NO_NAME)
		return 0;       /* a server that refuses may leave the question out */
	if (get16(msg.p + 4) != 1 || !read_name(msg, &at, asked) || msg.n - at < 4 || !names_equal(asked, name) ||
	    get16(msg.p + at) != (unsigned)type || get16(msg.p + at + 2) != CLASS_IN)
		return -1;
	at += 4;
	if (out->is_truncated || (out->rcode != DNS_OK && out->rcode != DNS_NO_NAME))
		return 0;
	if (answers > DNS_RECORDS_MAX || authorities > DNS_RECORDS_MAX)
		return -1;
	if (!read_answers(out, msg, &at, answers, name, type))
		return -1;
	if (out->n == 0)
		read_negative(out, msg, at, authorities);
	if (out->rcode == DNS_NO_NAME)
		out->alias[0] = '\0';
	return 0;
}
