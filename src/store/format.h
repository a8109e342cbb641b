/*
 * The bytes of the store's own files (doc/storage.md): task records (.m), piece journals (.p) and the index. Pure: bytes in memory only.
 */
#ifndef STORE_FORMAT_H
#define STORE_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/slice.h"
#include "store/file.h"
#include "store/store.h"

#define STORE_VERSION_TEXT "dfc-storage 1\n"

/* ---- task record ---- */

/* Details, fixed fields and tag heads together never need more; a longer file is damaged. */
#define STORE_META_MAX (STORE_DETAILS_MAX + 8192)

struct store_meta {
	enum store_kind kind;
	bool is_persistent;
	bool is_imported;
	bool is_linked;
	bool is_private;
	const char *id;
	uint64_t content_length;        /* or STORE_LENGTH_UNKNOWN */
	uint64_t piece_length;
	int64_t created_at, updated_at, finished_at, failed_at, prefetched_at, ttl;     /* 0: absent */
	int64_t complete_at;            /* everything was on stable storage then; 0: not yet */
	bool has_identity;
	struct store_identity identity;
	const char *etag, *last_modified, *url;         /* NULL: absent */
	struct store_header *headers;
	size_t header_count;
};

void store_meta_encode(const struct store_meta *m, struct buf *out);
/* Strings and headers go into the arena (no more than STORE_META_MAX plus the headers' pointers).
 * DATA_LOSS for damage; FAILED_PRECONDITION for a version that is not ours. */
int store_meta_decode(struct slice in, struct arena *a, struct store_meta *out, struct err *e);

/* ---- piece journal ---- */

#define STORE_RECORD_BYTES 64

enum store_record_type {
	STORE_RECORD_FINISHED = 1,
	STORE_RECORD_DROPPED = 2,
	STORE_RECORD_CHECKPOINT = 3,    /* finished pieces of records with sequence < offset are on stable storage */
};

#define STORE_RECORD_HAS_CRC 1

struct store_record {
	uint8_t type;
	uint8_t flags;
	uint8_t traffic_type;
	uint32_t number;
	uint32_t crc;
	uint64_t offset;
	uint64_t length;
	uint64_t cost_ns;
	int64_t created_at;
	int64_t finished_at;
	uint32_t sequence;
};

void store_record_encode(const struct store_record *r, uint8_t out[STORE_RECORD_BYTES]);
/* 0, or -1 when magic, checksum or type are wrong or the sequence is not the one expected here. */
int store_record_decode(const uint8_t in[STORE_RECORD_BYTES], uint32_t sequence, struct store_record *out);

/* ---- index ---- */

#define STORE_INDEX_BYTES 160

/* What the start wants to know of a task before it reads its record. */
struct store_hint {
	bool is_removed;                /* the task is no more; of the rest only kind and id are set */
	enum store_kind kind;
	char id[STORE_ID_MAX + 1];
	bool is_persistent, is_imported, is_private;
	uint64_t content_length;        /* or STORE_LENGTH_UNKNOWN */
	uint64_t piece_length;
	int64_t created_at, updated_at, finished_at, failed_at, prefetched_at, ttl;     /* 0: absent */
	uint64_t disk_bytes;
};

void store_hint_encode(const struct store_hint *h, uint32_t sequence, uint8_t out[STORE_INDEX_BYTES]);
/* 0, or -1 when magic, checksum or a value are wrong or the sequence is not the one expected here. */
int store_hint_decode(const uint8_t in[STORE_INDEX_BYTES], uint32_t sequence, struct store_hint *out);

#endif
