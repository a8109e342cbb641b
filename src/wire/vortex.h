/*
 * Vortex, the protocol that moves pieces: a child asks a parent for one piece, the parent answers with a packet of metadata
 * and the bytes of the piece behind it (wire.md 1). Pure: bytes in, packets out; whoever owns the socket moves the content.
 *
 * Packet: id (1 byte, random, compared by nobody), tag (1), length of the value (4, big-endian), value. The raw content follows
 * a content packet and is not counted in its length.
 */
#ifndef WIRE_VORTEX_H
#define WIRE_VORTEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct buf;
struct err;

/* A request's tag is even; the tag of its answer is one more. */
enum vortex_tag {
	VORTEX_DOWNLOAD_PIECE = 0x00, VORTEX_PIECE_CONTENT = 0x01,
	VORTEX_DOWNLOAD_PERSISTENT_PIECE = 0x02, VORTEX_PERSISTENT_PIECE_CONTENT = 0x03,
	VORTEX_DOWNLOAD_PERSISTENT_CACHE_PIECE = 0x04, VORTEX_PERSISTENT_CACHE_PIECE_CONTENT = 0x05,
	VORTEX_DOWNLOAD_CACHE_PIECE = 0x06, VORTEX_CACHE_PIECE_CONTENT = 0x07,  /* no known peer serves these */
	VORTEX_CLOSE = 0xfe, VORTEX_ERROR = 0xff,
};

/* Codes of an error packet; others are kept as numbers. */
enum vortex_code { VORTEX_UNKNOWN = 0, VORTEX_INVALID_ARGUMENT = 1, VORTEX_NOT_FOUND = 2, VORTEX_INTERNAL = 3 };

#define VORTEX_HEADER_BYTES 6
#define VORTEX_TASK_ID_BYTES 64
/* The value of a request, and the whole packet. */
#define VORTEX_REQUEST_VALUE_BYTES 68
#define VORTEX_REQUEST_BYTES 74
/* Metadata without its two texts: number to created_at. */
#define VORTEX_METADATA_FIXED_BYTES 45
/* Metadata of a content packet: real ones stay below 300; later releases may append fields. */
#define VORTEX_METADATA_MAX 4096
/* Value of an error packet: code and message. */
#define VORTEX_ERROR_MAX 65536
/* What is kept of an error's message; the rest is skipped. */
#define VORTEX_MESSAGE_KEPT 900

struct vortex_request {
	uint8_t tag;
	char task_id[VORTEX_TASK_ID_BYTES + 1];
	uint32_t number;
};

/* Metadata in front of the content. */
struct vortex_content {
	uint8_t tag;
	uint32_t number;
	uint64_t offset;                /* in the task's content */
	uint64_t length;                /* bytes that follow the packet */
	struct slice digest;            /* "crc32:<decimal>", may be empty */
	struct slice parent_id;         /* from which peer the parent has it; may be empty */
	uint8_t traffic_type;           /* always 1 in practice */
	uint64_t cost_s;
	int64_t created_at_s;           /* Unix time */
};

/* ---- writing ---- */

/* task_id must be VORTEX_TASK_ID_BYTES long. */
void vortex_write_request(uint8_t out[VORTEX_REQUEST_BYTES], uint8_t id, uint8_t tag, struct slice task_id, uint32_t number);
/* Appends the packet, not the content. */
void vortex_write_content(struct buf *out, uint8_t id, const struct vortex_content *c);
/* A message longer than VORTEX_MESSAGE_KEPT is cut, at a whole character. */
void vortex_write_error(struct buf *out, uint8_t id, uint8_t code, struct slice message);
void vortex_write_close(struct buf *out, uint8_t id);

/* ---- reading ---- */

enum vortex_result {
	VORTEX_BROKEN = -1,     /* the sender broke the protocol: close the connection */
	VORTEX_MORE = 0,        /* all bytes taken, the packet is not whole */
	VORTEX_READY = 1,       /* a packet is whole; what follows it is untouched */
	VORTEX_END = 2,         /* a Close packet: the sender is done */
};

/* A parent's reader of requests. Zeroed is its start; it starts over by itself after each packet. */
struct vortex_request_reader {
	uint8_t bytes[VORTEX_REQUEST_BYTES];
	size_t n;                       /* 0 between packets */
};

/* Takes bytes from the front of *in. VORTEX_BROKEN sets INVALID_ARGUMENT: answer with code 1 and close. Header and id are
 * checked as soon as they are there. */
enum vortex_result vortex_read_request(struct vortex_request_reader *r, struct slice *in, struct vortex_request *out, struct err *e);

/* Whether a connection begins with a request rather than HTTP/2 or TLS (so that one port can serve both): 1 or 0, or -1 while
 * VORTEX_HEADER_BYTES are not there and it still can be one. */
int vortex_is_request(struct slice first);

/* What a parent answered: the content's metadata, or an error. */
struct vortex_reply {
	bool is_error;
	struct vortex_content content;  /* its texts live in the reader until the next vortex_reply_start */
	uint8_t code;                   /* of the error */
	struct slice message;           /* of the error: UTF-8 (repaired, when it was not), cut */
};

/* A child's reader of replies. */
struct vortex_reply_reader {
	uint8_t tag;                    /* the content tag that answers the request */
	uint8_t bytes[VORTEX_HEADER_BYTES + 4 + VORTEX_METADATA_MAX];
	size_t n;                       /* bytes kept */
	uint32_t skip;                  /* bytes of the value still to be dropped */
};

/* To read the answer to a request with this tag. */
void vortex_reply_start(struct vortex_reply_reader *r, uint8_t request_tag);
/* Takes bytes from the front of *in and stops where the content begins. VORTEX_BROKEN sets INTERNAL; VORTEX_END is not
 * returned: a Close instead of an answer is broken. */
enum vortex_result vortex_read_reply(struct vortex_reply_reader *r, struct slice *in, struct vortex_reply *out, struct err *e);

/* Whether the content is the piece that was asked for and that SyncPieces announced; a parent that lies here could overwrite
 * another piece. 0, or -1 with INTERNAL naming both values. */
int vortex_check_content(const struct vortex_content *c, uint32_t number, uint64_t offset, uint64_t length, struct err *e);

/* gRPC code of an error packet's code. */
int vortex_code_to_err(uint8_t code);

#endif
