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

#include "base/list.h"
#include "base/slice.h"
#include "net/addr.h"
#include "net/loop.h"
#include "peer/ids.h"

struct config;
struct engine;
struct err;
struct limit;
struct loop;
struct piece_server;
struct store;
struct tls_config;
struct workers;

/* An idle connection: longer than a child keeps it (30 s), so that the child gives up first (spec: wire.md 1.6). */
#define PIECE_IDLE_MS 35000
/* The rest of a request after its first byte. */
#define PIECE_REQUEST_MS 10000
/* A child that takes no byte for so long in the middle of a piece is cut off. */
#define PIECE_WRITE_MS 30000
/* A request may wait so long for its turn, or for a piece that is still on its way to us. */
#define PIECE_WAIT_MS 60000
/* A child that got a turn asks within this time, or the turn goes to the next. */
#define PIECE_TURN_MS 1000
/* Pieces nobody got yet that it hears of. */
#define PIECE_FRESH_MAX 64u
/* Bytes of one connection that wait in the kernel where turns are given: the next transfer begins when the kernel has the last bytes. */
#define PIECE_NOTSENT_BYTES (256 * 1024)

struct piece_server_options {
	struct loop *loop;              /* the control loop */
	struct workers *workers;
	struct store *store;
	struct engine *engine;          /* tells when a piece arrives that is waited for */
	uint64_t bandwidth_limit;       /* bytes a second; 0: none */
	bool is_disabled;               /* upload.disableShared: every piece is "not found" */
	/* Not NULL: children that begin with a TLS record get TLS; others are refused, or (prefers_tls) served when they are known. */
	struct tls_config *tls;
	bool prefers_tls;
	bool uses_fastopen;             /* storage.server.tcpFastopen */
};

struct piece_server_metrics {
	uint64_t started, finished, failed;     /* pieces */
	uint64_t bytes;
	uint64_t refused;               /* error answers */
	size_t connections, active, waiting;
	uint64_t turned_away;           /* connections that a limit closed */
};

/* A child that knows of turns (turn.c). Its owner's memory; the control loop's. */
struct piece_turn {
	struct list link;               /* among all */
	struct list queue;              /* among those that wait, or that got a turn */
	struct piece_server *server;
	char task_id[TASK_ID_SIZE];
	uint32_t number;                /* the piece it would ask for */
	uint64_t arrival;
	unsigned lapses;                /* turns that it let pass: others go before it */
	bool waits, is_given;
	struct loop_timer given;
	void (*on_busy)(struct piece_turn *t, bool is_busy);    /* turns are given from now on, or not */
	void (*on_turn)(struct piece_turn *t);  /* it may ask for one piece now; may be called from within piece_turn_want */
	void (*on_drain)(struct piece_turn *t); /* no turn comes any more: piece_turn_remove is to be called now */
};

struct piece_server *piece_server_new(const struct piece_server_options *o);
/* Accepts on this address; the real one (port 0: any) is in *bound. */
int piece_server_listen(struct piece_server *s, const struct addr *a, struct addr *bound, struct err *e);
/* Serves a connection that came in elsewhere; `early` are bytes read from it. Control loop. */
void piece_server_adopt(struct piece_server *s, int fd, struct slice early);
/* The host at this address showed a certificate: it may fetch in plaintext where that is allowed at all. */
void piece_server_know(struct piece_server *s, const struct addr *peer);
/* task_id and the functions are set; on_busy may be called from here on. True: turns are given now. */
bool piece_turn_add(struct piece_server *s, struct piece_turn *t);
void piece_turn_remove(struct piece_turn *t);
/* Waits for a turn, if it does not already and turns are given. */
void piece_turn_want(struct piece_turn *t, uint32_t number);
/* Does not wait, and gives its turn back. */
void piece_turn_refuse(struct piece_turn *t);
/* Pieces of its task that are here and that nobody got yet, PIECE_FRESH_MAX of them at most; how many. */
size_t piece_turn_fresh(const struct piece_turn *t, uint32_t out[PIECE_FRESH_MAX]);
void piece_server_metrics(const struct piece_server *s, struct piece_server_metrics *out);
/* Takes no new connection; `done` when the running transfers are over, at most ms later. Then piece_server_free. */
void piece_server_drain(struct piece_server *s, int ms, void (*done)(void *ctx), void *ctx);
/* Closes all; the workers must still run. Returns when the data loops let go. */
void piece_server_free(struct piece_server *s);

#endif
