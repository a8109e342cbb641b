#include "serve/door.h"

#include "base/log.h"
#include "base/rand.h"
#include "base/slice.h"
#include "net/addr.h"

void
door_init(struct door *d)
{
	rand_bytes(&d->key, sizeof d->key);
	atomic_init(&d->count, 0);
	atomic_init(&d->refused, 0);
	atomic_init(&d->told, 0);
	for (size_t i = 0; i < DOOR_PLACES; i++)
		atomic_init(&d->places[i], 0);
}

bool
door_enter(struct door *d, const struct addr *from, size_t *place)
{
	struct slice ip = addr_ip_bytes(from);
	char text[ADDR_TEXT_MAX];

	*place = DOOR_NOWHERE;
	if (atomic_fetch_add(&d->count, 1) >= DOOR_MAX)
		goto full;
	if (ip.n == 0 || addr_is_loopback(from))
		return true;
	*place = (size_t)(siphash(&d->key, ip.p, ip.n) % DOOR_PLACES);
	if (atomic_fetch_add(&d->places[*place], 1) < DOOR_PER_IP_MAX)
		return true;
	atomic_fetch_sub(&d->places[*place], 1);
full:
	atomic_fetch_sub(&d->count, 1);
	atomic_fetch_add(&d->refused, 1);
	if (log_is_due(&d->told))
		log_warn("connection closed: too many at once server=pieces what=\"%s\" peer=%s",
		    *place == DOOR_NOWHERE ? "connections" : "connections of one address", addr_format(from, text));
	return false;
}

void
door_leave(struct door *d, size_t place)
{
	if (place != DOOR_NOWHERE)
		atomic_fetch_sub(&d->places[place], 1);
	atomic_fetch_sub(&d->count, 1);
}
