/*
 * Lists of tasks as answers: they may be larger than what a stream queues at once. For local.c and persistent.c.
 */
#ifndef SERVE_LISTING_H
#define SERVE_LISTING_H

#include <stddef.h>

#include "store/store.h"

struct buf;
struct err;
struct rpc_stream;

/* All ids of a kind in order; the caller frees each and the array. NULL for none. */
char **listing_ids(struct store *store, enum store_kind kind, size_t *count);
/* Sends these bytes as the one answer; takes them (*bytes is empty afterwards). -1 with e when nothing was sent: the stream is still to be
 * ended. */
int listing_send(struct rpc_stream *s, struct buf *bytes, struct err *e);
/* Of methods that use it; their streams have no other user. */
void listing_on_drain(struct rpc_stream *s, void *ctx);
void listing_on_cancel(struct rpc_stream *s, void *ctx, const struct err *why);

#endif
