/*
 * What children hear from us: which pieces we have (SyncPieces, spec: daemon.md 2.9) and how busy the link is (SyncHost, 2.10).
 */
#ifndef SERVE_SYNC_H
#define SERVE_SYNC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/rpc_server.h"

struct cluster;
struct engine;
struct piece_server;

/* Piece numbers in one request; the largest task has as many pieces. */
#define SYNC_NUMBERS_MAX (1u << 20)
/* Streams at once, of all children together. */
#define SYNC_STREAMS_MAX 8192
/* A task that nobody downloads here gets no new pieces: the stream ends after this (spec: daemon.md 2.9 BETTER). */
#define SYNC_IDLE_MS 5000
#define SYNC_HOST_MS 1000

struct sync_service {
	struct engine *engine;
	struct cluster *cluster;
	const char *ip;                 /* where our pieces are */
	uint16_t piece_port;
	bool is_disabled;               /* upload.disableShared */
	struct piece_server *pieces;    /* not NULL: the piece port speaks TLS, children are told, and it of them */
	size_t streams;
};

/* Table entries with a struct sync_service as ctx. */
void sync_pieces_on_request(struct rpc_stream *s, void *ctx, const void *request);
void sync_persistent_pieces_on_request(struct rpc_stream *s, void *ctx, const void *request);
void sync_persistent_cache_pieces_on_request(struct rpc_stream *s, void *ctx, const void *request);
/* Of all three. */
void sync_pieces_on_drain(struct rpc_stream *s, void *ctx);
void sync_pieces_on_cancel(struct rpc_stream *s, void *ctx, const struct err *why);
void sync_host_on_request(struct rpc_stream *s, void *ctx, const void *request);
void sync_host_on_cancel(struct rpc_stream *s, void *ctx, const struct err *why);

#endif
