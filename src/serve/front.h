/*
 * The door of a TCP port that several protocols share (spec: wire.md 1.12): the first bytes of a connection tell whether it is gRPC (plain or
 * TLS) or a child that asks for pieces, and it goes to the server of that protocol.
 */
#ifndef SERVE_FRONT_H
#define SERVE_FRONT_H

#include <stddef.h>

struct addr;
struct err;
struct front;
struct loop;
struct piece_server;
struct rpc_server;
struct tls_config;

/* A connection that says nothing is closed after this. */
#define FRONT_FIRST_MS 10000
/* Connections that have not said anything yet; further ones wait in the backlog. */
#define FRONT_WAITING_MAX 1024

struct front_options {
	struct loop *loop;
	struct rpc_server *rpc;
	struct piece_server *pieces;    /* NULL: gRPC alone */
	struct tls_config **tls;        /* where the present configuration is; *tls NULL: plaintext alone. With it plaintext gRPC is refused */
};

struct front *front_new(const struct front_options *o);
int front_listen(struct front *f, const struct addr *a, struct addr *bound, struct err *e);
/* Takes no new connections. */
void front_stop(struct front *f);
void front_free(struct front *f);

#endif
