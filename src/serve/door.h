/*
 * How many connections a server has, in all and from one address: the limits of the piece port (spec: daemon.md 10). Any thread may enter and
 * leave.
 */
#ifndef SERVE_DOOR_H
#define SERVE_DOOR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/siphash.h"

struct addr;

/* Connections at once; further ones are closed (spec: wire.md 1.8). */
#define DOOR_MAX 4096
/* Of those from one address. A child of ours has 16 and one of another make a few for each piece it is fetching; many may be behind one address. */
#define DOOR_PER_IP_MAX 256
/* Addresses share so many counters by a hash that nobody outside can steer: memory does not grow with them. */
#define DOOR_PLACES 8192
/* The place of who is not counted by address: this host. */
#define DOOR_NOWHERE SIZE_MAX

struct door {
	struct siphash_key key;
	atomic_size_t count;
	atomic_uint_fast64_t refused;   /* ever; a log line once a minute says so */
	atomic_int_fast64_t told;
	atomic_uint places[DOOR_PLACES];
};

void door_init(struct door *d);
/* One more connection; false when there is no room. *place is for door_leave. */
bool door_enter(struct door *d, const struct addr *from, size_t *place);
void door_leave(struct door *d, size_t place);

#endif
