/*
 * What a data loop knows of a task that it answers from: the open file, the geometry, the header fields to tell. Made by the control loop
 * (proxy_fetch.c), used by one data loop. Finished tasks are remembered for a moment by the words of the request, so that the same request
 * is answered by the data loop alone; the control loop is asked again each PROXY_BLOB_MS.
 */
#ifndef SERVE_PROXY_BLOB_H
#define SERVE_PROXY_BLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/list.h"
#include "base/slice.h"
#include "peer/ids.h"
#include "wire/h1.h"

struct buf;
struct proxy_request;
struct proxy_side;
struct store_file;

/* How long the control loop's word holds: block lists, deletions by others and changed files are noticed after this. */
#define PROXY_BLOB_MS 1000
/* Remembered on one data loop. Each holds its file open. */
#define PROXY_BLOBS_MAX 128
/* Longest key: requests with longer targets and fields are asked about each time. */
#define PROXY_BLOB_KEY_MAX 4096

struct proxy_blob {
	unsigned refs;                  /* of its data loop */
	char task_id[TASK_ID_SIZE];
	struct store_file *file;
	uint64_t content_length, piece_length;
	struct arena arena;             /* what the fields point to */
	struct h1_field *fields;        /* to be told with every answer */
	size_t field_count;
	struct slice etag, last_modified;
	bool has_type;                  /* Content-Type is among the fields */
	bool is_good;                   /* compared with the digest in its name, or there is none */
	struct slice tag, application;  /* for the counters */
	int32_t priority;

	/* While remembered. */
	struct slice key;
	struct list link;               /* in side->blob_order */
	uint64_t generation;
	int64_t until_ms;
	uint64_t answers, bytes, pieces;        /* not reported yet */
};

void proxy_blob_unref(struct proxy_blob *b);

void proxy_blobs_init(struct proxy_side *side);
void proxy_blobs_close(struct proxy_side *side);
/* The words of a request that decide which task it is. False: it is not to be remembered. Appends to key. */
bool proxy_blob_key(const struct proxy_request *r, struct buf *key);
/* A new reference, or NULL. */
struct proxy_blob *proxy_blob_find(struct proxy_side *side, struct slice key);
/* Remembers a finished task, from now on for PROXY_BLOB_MS. A reference of the caller's stays the caller's. generation: as it was when the
 * control loop was asked. */
void proxy_blob_keep(struct proxy_side *side, struct proxy_blob *b, struct slice key, uint64_t generation);
/* An answer of that many bytes was given without the control loop. */
void proxy_blob_count(struct proxy_side *side, struct proxy_blob *b, uint64_t bytes, uint64_t pieces);

#endif
