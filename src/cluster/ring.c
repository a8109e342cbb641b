#include "cluster/ring.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/siphash.h"

/* Longest name that is hashed: a host name or an address, never more. */
#define NAME_MAX_BYTES 255
#define TASK_ID_MAX_BYTES 128

static const struct siphash_key zero_key = {0, 0};

static void
put_u64_le(uint8_t *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

uint64_t
ring_point_of(struct slice name, uint64_t i)
{
	uint8_t bytes[8 + NAME_MAX_BYTES + 1];
	size_t n = name.n < NAME_MAX_BYTES ? name.n : NAME_MAX_BYTES;

	put_u64_le(bytes, i);
	if (n > 0)
		memcpy(bytes + 8, name.p, n);
	bytes[8 + n] = 0xff;
	return siphash(&zero_key, bytes, 8 + n + 1);
}

uint64_t
ring_key_of(struct slice task_id)
{
	uint8_t bytes[TASK_ID_MAX_BYTES + 1];
	size_t n = task_id.n < TASK_ID_MAX_BYTES ? task_id.n : TASK_ID_MAX_BYTES;

	if (n > 0)
		memcpy(bytes, task_id.p, n);
	bytes[n] = 0xff;
	return siphash(&zero_key, bytes, n + 1);
}

/* The bytes that peers up to 1.5.1 hash for "ip:port" or "[ip]:port": kind, octets, port in little endian, and for IPv6 two zeros. */
static int
address_point(struct slice name, uint64_t *at)
{
	uint8_t bytes[8 + 16 + 2 + 8] = {0};
	char text[NAME_MAX_BYTES + 1];
	struct slice host, port;
	uint64_t number;
	ptrdiff_t colon = -1;
	size_t n;

	for (size_t i = 0; i < name.n; i++)
		if (name.p[i] == ':')
			colon = (ptrdiff_t)i;
	if (colon < 0)
		return -1;
	host = slice_sub(name, 0, (size_t)colon);
	port = slice_sub(name, (size_t)colon + 1, name.n);
	if (slice_to_u64(port, &number) < 0 || number > 65535)
		return -1;
	if (host.n >= 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
		host = slice_sub(host, 1, host.n - 2);
	if (host.n > NAME_MAX_BYTES)
		return -1;
	if (host.n > 0)
		memcpy(text, host.p, host.n);
	text[host.n] = '\0';
	if (inet_pton(AF_INET, text, bytes + 8) == 1) {
		n = 8 + 4;
	} else if (inet_pton(AF_INET6, text, bytes + 8) == 1) {
		bytes[0] = 1;
		n = 8 + 16;
	} else {
		return -1;
	}
	bytes[n] = (uint8_t)number;
	bytes[n + 1] = (uint8_t)(number >> 8);
	n += bytes[0] == 1 ? 2u + 8u : 2u;
	*at = siphash(&zero_key, bytes, n);
	return 0;
}

static int
compare_points(const void *a, const void *b)
{
	const struct ring_point *x = a, *y = b;

	if (x->at != y->at)
		return x->at < y->at ? -1 : 1;
	return (x->node > y->node) - (x->node < y->node);
}

void
ring_init(struct ring *r, enum ring_kind kind)
{
	*r = (struct ring){.kind = kind};
}

void
ring_free(struct ring *r)
{
	free(r->points);
	r->points = NULL;
	r->count = 0;
}

int
ring_build(struct ring *r, const struct slice *names, size_t count)
{
	size_t per_node = r->kind == RING_HOSTNAME ? RING_POINTS_PER_NODE : 1;
	struct ring_point *points;

	if (count > RING_NODES_MAX)
		return -1;
	points = xcalloc(count * per_node + 1, sizeof *points);
	for (size_t i = 0; i < count; i++) {
		for (size_t k = 0; k < per_node; k++) {
			struct ring_point *p = &points[i * per_node + k];

			p->node = (uint32_t)i;
			if (r->kind == RING_HOSTNAME)
				p->at = ring_point_of(names[i], k);
			else if (address_point(names[i], &p->at) < 0) {
				free(points);
				return -1;
			}
		}
	}
	qsort(points, count * per_node, sizeof *points, compare_points);
	ring_free(r);
	r->points = points;
	r->count = count * per_node;
	return 0;
}

int
ring_find(const struct ring *r, struct slice task_id, int skip)
{
	uint64_t key;
	size_t low = 0, high = r->count;

	if (r->count == 0)
		return -1;
	key = r->kind == RING_HOSTNAME ? ring_key_of(task_id) : ring_key_of(slice_sub(task_id, 0, 5));
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (r->points[mid].at < key)
			low = mid + 1;
		else
			high = mid;
	}
	for (size_t i = 0; i < r->count; i++) {
		int node = (int)r->points[(low + i) % r->count].node;

		if (node != skip)
			return node;
	}
	return -1;
}
