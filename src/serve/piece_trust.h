/*
 * Which hosts may fetch pieces in plaintext although TLS is configured: peers of other makes send and fetch pieces so even where their gRPC
 * has certificates. Who asked for a list of pieces with a certificate within the last hour may, from the same address. Control loop.
 */
#ifndef SERVE_PIECE_TRUST_H
#define SERVE_PIECE_TRUST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/map.h"

struct addr;

/* After its last SyncPieces with a certificate. */
#define PIECE_TRUST_MS 3600000
/* Hosts remembered; the one heard of longest ago goes first. */
#define PIECE_TRUST_MAX 4096

struct piece_trust {
	struct map hosts;
};

void piece_trust_init(struct piece_trust *t);
void piece_trust_free(struct piece_trust *t);
/* The host at this address showed its certificate. */
void piece_trust_know(struct piece_trust *t, const struct addr *peer, int64_t now_ms);
/* May it fetch in plaintext? Says once for each host that it does. */
bool piece_trust_allows(struct piece_trust *t, const struct addr *peer, int64_t now_ms);

#endif
