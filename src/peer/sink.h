/*
 * Where the bytes of one piece go: counted against the limits, checksummed, written to the content file, all from the receive buffer
 * and in one pass. Lives in a transfer on a data loop.
 */
#ifndef PEER_SINK_H
#define PEER_SINK_H

#include <stddef.h>
#include <stdint.h>

struct err;
struct limit;
struct store_file;

#define SINK_LIMITS 3   /* prefetch, back-to-source, download: the most that one transfer counts against */

struct sink {
	struct store_file *file;        /* a reference of the transfer's */
	uint64_t offset;                /* of the piece in the content */
	uint64_t length;                /* bytes the piece must have */
	uint64_t done;                  /* bytes written so far */
	uint32_t crc;                   /* of those */
	struct limit *limits[SINK_LIMITS];      /* NULL ones do not count */
};

/* Writes n more bytes (never more than are missing). 0 and *wait_ms: how long to stop reading, 0 to go on. -1: the disk's error. */
int sink_write(struct sink *s, const void *p, size_t n, int64_t *wait_ms, struct err *e);

#endif
