/*
 * Piece arithmetic: how a task is cut into pieces, which of them a request needs, and what a Range header asks for.
 * Pure functions on numbers and text.
 */
#ifndef PEER_PIECES_H
#define PEER_PIECES_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

struct err;

#define PIECE_LENGTH_MIN (UINT64_C(4) << 20)    /* also the automatic minimum */
#define PIECE_LENGTH_AUTO_MAX (UINT64_C(64) << 20)
#define PIECE_LENGTH_MAX (UINT64_C(1) << 30)    /* largest a request may choose */
#define PIECE_COUNT_TARGET 500                  /* pieces that the automatic length aims at */
/* More pieces than any sane task has (a 64 TiB file in 64 MiB pieces); bounds tables that are sized by a content length. */
#define PIECE_COUNT_MAX (UINT32_C(1) << 20)

/* Bytes [start, start + length) of a task. */
struct byte_range {
	uint64_t start;
	uint64_t length;
};

/* Pieces [first, last], both included; none when is_empty. */
struct piece_span {
	uint32_t first;
	uint32_t last;
	bool is_empty;
};

/* Length chosen when the request names none (spec: next power of two of length/500, 4..64 MiB). */
uint64_t piece_length_auto(uint64_t content_length);
/* INVALID_ARGUMENT unless within PIECE_LENGTH_MIN..PIECE_LENGTH_MAX. */
int piece_length_check(uint64_t piece_length, struct err *e);
/* Number of pieces, 0 for an empty task; -1 with RESOURCE_EXHAUSTED past PIECE_COUNT_MAX. */
int piece_count(uint64_t content_length, uint64_t piece_length, uint32_t *count, struct err *e);
/* Bytes of piece n, which must exist. */
uint64_t piece_size(uint64_t content_length, uint64_t piece_length, uint32_t n);

/* The pieces that a whole request (range == NULL) or a range needs. A range of length 0 or one that starts at or past the
 * end is INVALID_ARGUMENT; one that runs past the end is cut. */
int piece_span_of(uint64_t content_length, uint64_t piece_length, const struct byte_range *range, struct piece_span *out,
    struct err *e);

/* Range header value ("bytes=0-99", "bytes=5-", "bytes=-7", lists: the first part counts) against a known content length.
 * FAILED_PRECONDITION "ParseError cause: RangeUnsatisfiable: <reason>" otherwise. At most RANGE_PARTS_MAX parts. */
#define RANGE_PARTS_MAX 64
int range_header_parse(struct slice value, uint64_t content_length, struct byte_range *out, struct err *e);

#endif
