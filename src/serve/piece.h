/*
 * Pieces for children over the piece protocol (vortex, spec: wire.md 1). The control loop decides who is served when (piece.c), the data
 * loops move the bytes (piece_conn.c). Few transfers run at a time, the rest wait their turn: a piece that is whole early can be
 * passed on early (design: fan-out).
 */
#ifndef SERVE_PIECE_H
#define SERVE_PIECE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "net/addr.h"

struct config;
struct engine;
struct err;
struct limit;
struct loop;
struct piece_server;
struct store;
struct workers;

/* Connections of children at once; further ones are closed (spec: wire.md 1.8). */
#define PIECE_CONNECTIONS_MAX 4096
/* An idle connection: longer than a child keeps it (30 s), so that the child gives up first (spec: wire.md 1.6). */
#define PIECE_IDLE_MS 35000
/* The rest of a request after its first byte. */
#define PIECE_REQUEST_MS 10000
/* A child that takes no byte for so long in the middle of a piece is cut off. */
#define PIECE_WRITE_MS 30000
/* A request may wait so long for its turn, or for a piece that is still on its way to us. */
#define PIECE_WAIT_MS 60000
/* Transfers at a time while the uplink is busy, and when it is not. */
#define PIECE_SLOTS_MIN 2
#define PIECE_SLOTS_MAX 64

struct piece_server_options {
	struct loop *loop;              /* the control loop */
	struct workers *workers;
	struct store *store;
	struct engine *engine;          /* tells when a piece arrives that is waited for */
	uint64_t bandwidth_limit;       /* bytes a second; 0: none */
	bool is_disabled;               /* upload.disableShared: every piece is "not found" */
};

struct piece_server_metrics {
	uint64_t started, finished, failed;     /* pieces */
	uint64_t bytes;
	uint64_t refused;               /* error answers */
	size_t connections, active, waiting;
};

struct piece_server *piece_server_new(const struct piece_server_options *o);
/* Accepts on this address; the real one (port 0: any) is in *bound. */
int piece_server_listen(struct piece_server *s, const struct addr *a, struct addr *bound, struct err *e);
/* Serves a connection that came in elsewhere; `early` are bytes read from it. Control loop. */
void piece_server_adopt(struct piece_server *s, int fd, struct slice early);
void piece_server_metrics(const struct piece_server *s, struct piece_server_metrics *out);
/* Takes no new connection; `done` when the running transfers are over, at most ms later. Then piece_server_free. */
void piece_server_drain(struct piece_server *s, int ms, void (*done)(void *ctx), void *ctx);
/* Closes all; the workers must still run. Returns when the data loops let go. */
void piece_server_free(struct piece_server *s);

#endif
