/*
 * Reads ahead of a start that has to look at every record by itself: a disk answers several readers sooner than one. The readers only bring
 * into memory what the start reads next, so nothing depends on them.
 */
#ifndef STORE_AHEAD_H
#define STORE_AHEAD_H

#include "store/store.h"

struct ahead;

/* Starts readers of all shards that were not seen yet, in the order of store_scan_next. NULL where there is too little to read. */
struct ahead *store_ahead_start(struct store *s);
/* Waits for them. NULL is allowed. */
void store_ahead_end(struct ahead *a);
/* Record and inode of every task in this shard, on any thread. */
void store_ahead_look(struct store *s, enum store_kind kind, unsigned shard);

#endif
