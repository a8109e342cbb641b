/*
 * Children that wait for their turn to ask for a piece (proto/turns.proto): the streams. Whose turn it is is the piece server's
 * decision (piece.h). Belongs to the control loop.
 */
#ifndef SERVE_TURN_H
#define SERVE_TURN_H

#include <stdbool.h>
#include <stddef.h>

#include "net/rpc_server.h"

struct piece_server;

/* Streams at once, of all children together. */
#define TURN_STREAMS_MAX 8192
/* A child that lets more than this wait to be read is cut off: what is said fits many times. */
#define TURN_QUEUE_BYTES (64u * 1024)

struct turn_service {
	struct piece_server *pieces;
	struct rpc_method method;
	size_t streams;
};

/* Adds the method to a server on the control loop; both must be freed before the piece server. */
void turn_serve(struct turn_service *service, struct rpc_server *server, struct piece_server *pieces);

#endif
