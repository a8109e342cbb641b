#include "serve/piece_trust.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "net/addr.h"

struct host {
	char ip[ADDR_TEXT_MAX];
	int64_t known_ms;
	bool is_told;
};

void
piece_trust_init(struct piece_trust *t)
{
	map_init(&t->hosts);
}

void
piece_trust_free(struct piece_trust *t)
{
	struct host *h;
	size_t at = 0;

	while ((h = map_next(&t->hosts, &at)) != NULL)
		free(h);
	map_free(&t->hosts);
}

static void
forget_oldest(struct piece_trust *t)
{
	struct host *h, *oldest = NULL;
	size_t at = 0;

	while ((h = map_next(&t->hosts, &at)) != NULL)
		if (oldest == NULL || h->known_ms < oldest->known_ms)
			oldest = h;
	if (oldest != NULL)
		map_del(&t->hosts, slice_str(oldest->ip));
	free(oldest);
}

void
piece_trust_know(struct piece_trust *t, const struct addr *peer, int64_t now_ms)
{
	char ip[ADDR_TEXT_MAX];
	struct host *h = map_get(&t->hosts, slice_str(addr_format_ip(peer, ip)));

	if (h == NULL) {
		if (t->hosts.count >= PIECE_TRUST_MAX)
			forget_oldest(t);
		h = xcalloc(1, sizeof *h);
		memcpy(h->ip, ip, sizeof ip);
		map_put(&t->hosts, slice_str(h->ip), h);
	}
	h->known_ms = now_ms;
}

bool
piece_trust_allows(struct piece_trust *t, const struct addr *peer, int64_t now_ms)
{
	char ip[ADDR_TEXT_MAX], text[ADDR_TEXT_MAX];
	struct host *h = map_get(&t->hosts, slice_str(addr_format_ip(peer, ip)));

	if (h == NULL || now_ms - h->known_ms > PIECE_TRUST_MS)
		return false;
	if (!h->is_told)
		log_warn("child fetches pieces in plaintext peer=%s", addr_format(peer, text));
	h->is_told = true;
	return true;
}
