/*
 * One child's connection, on a data loop, and the letters between it and the control loop. Private to the piece server.
 */
#ifndef SERVE_PIECE_CONN_H
#define SERVE_PIECE_CONN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/list.h"
#include "net/addr.h"
#include "net/loop.h"
#include "peer/limit.h"
#include "peer/task.h"
#include "wire/vortex.h"

struct conn;
struct piece_server;
struct store_file;
struct store_task;
struct tls_config;
struct worker;

/* What the piece server has on one data loop. The list is that loop's alone. */
struct piece_side {
	struct piece_server *server;    /* the control loop's */
	struct loop *server_loop;
	struct loop *loop;
	struct limit *limit;            /* shared by all sides */
	struct door *door;              /* of all sides */
	struct list conns;
	struct tls_config *tls;         /* NULL: none */
	bool prefers_tls;
	int64_t refused_ms;             /* a refused connection was last written of */
	bool is_closing;
	struct loop_msg closing;
	bool is_closed;                 /* the control loop's, once the side let go */
};

/*
 * A request on its way: asked on the data loop, decided on the control loop, carried out on the data loop, reported back. It belongs to
 * whoever got its last letter; the connection may go away meanwhile (conn NULL).
 */
struct piece_request {
	struct loop_msg msg;
	struct piece_side *side;
	struct piece_conn *conn;        /* data loop only */
	struct vortex_request wanted;
	bool is_plain;                  /* in plaintext although TLS is configured, from `peer` */
	bool can_move;                  /* the connection may go to another data loop */
	struct addr peer;

	/* The control loop's. */
	struct list queue;
	struct task_watch watch;        /* for a piece that is on its way */
	bool is_watching, has_slot;
	struct worker *worker;          /* counts it while it has a slot */
	struct store_task *task;
	struct loop_timer wait;
	uint64_t arrival;               /* in which order it came */
	int64_t began_ns;               /* when it got its slot */

	/* The decision: an error packet, or header and content. */
	bool is_error;
	struct piece_side *to;          /* the data loop that has time for it; the connection goes there first */
	struct buf head;
	struct store_file *file;
	uint64_t offset, length;
	bool needs_check;
	bool is_slow;                   /* the kernel is to take bytes only as they leave: the next transfer waits for the end of this one */
	uint32_t crc;

	/* The outcome. */
	uint64_t sent;
	bool was_checked, is_good, is_complete;
	atomic_uint_fast64_t *progress; /* bytes sent by all, for the control loop's eyes */
};

/* Control loop: hands a socket to a data loop; `place` goes back to the door when it ends. */
void piece_conn_start(struct piece_side *side, int fd, size_t place, struct slice early);
/* Data loop: the decision is in. */
void piece_conn_decided(struct loop_msg *msg);
/* Data loop: closes all connections of this side. */
void piece_side_close(struct piece_side *side);

/* Control loop (piece.c): a child asks; a connection closed; a request is carried out. */
void piece_request_asked(struct loop_msg *msg);
void piece_request_done(struct loop_msg *msg);
#endif
