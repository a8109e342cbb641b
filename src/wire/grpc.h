/*
 * What gRPC adds to HTTP/2: messages inside DATA, status inside trailers, deadlines, and the mapping of other failures to status
 * codes (wire.md 2.3 to 2.8, 4). Pure: no connection and no clock; net/rpc_client and net/rpc_server put it together with h2.
 */
#ifndef WIRE_GRPC_H
#define WIRE_GRPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

struct arena;
struct err;
struct pb_desc;
struct pb_pair;

#define GRPC_CONTENT_TYPE "application/grpc"

/* ---- messages ---- */

/* In front of every message: a flag (0, we never compress) and its length, big-endian. */
#define GRPC_PREFIX_BYTES 5
/* Memory that a reader keeps between messages; a larger one is given back. */
#define GRPC_KEPT_MAX 65536

void grpc_write_prefix(uint8_t out[GRPC_PREFIX_BYTES], uint32_t len);
/* Appends prefix and message. */
void grpc_append_message(struct buf *out, const struct pb_desc *desc, const void *msg);

/* Splits the bytes of a stream into messages, however DATA frames cut them. */
struct grpc_reader {
	uint8_t prefix[GRPC_PREFIX_BYTES];
	size_t n_prefix;
	bool is_inside;                 /* the prefix was read, the message is not complete */
	uint32_t max;                   /* longest message taken */
	uint32_t len;                   /* of the current message */
	uint32_t at;                    /* bytes of it read so far */
	bool is_given;                  /* held was handed out and goes with the next call */
	struct buf held;                /* grpc_read_message: what is there of a message */
};

/* One run of a message's bytes. An empty message gives one part with n 0. */
struct grpc_part {
	uint32_t len;                   /* of the whole message */
	uint32_t at;                    /* place of these bytes in it */
	struct slice bytes;             /* in the input */
};

void grpc_reader_init(struct grpc_reader *r, uint32_t max);
void grpc_reader_free(struct grpc_reader *r);
/* Takes bytes from the front of *in. 1: *out is the next part of a message; call again. 0: more input is needed. -1: OUT_OF_RANGE
 * for a message above max, INTERNAL for compressed ones and other flags; the stream cannot go on. */
int grpc_read_part(struct grpc_reader *r, struct slice *in, struct grpc_part *out, struct err *e);
/* The same with whole messages: *msg lies in *in or in the reader and is valid until the next call or the end of the input's
 * life. Memory grows with the bytes that came, never with what a prefix promises. Not to be mixed with grpc_read_part. */
int grpc_read_message(struct grpc_reader *r, struct slice *in, struct slice *msg, struct err *e);
/* At the end of the stream: 0, or -1 with INTERNAL when it ended inside a message. */
int grpc_reader_end(const struct grpc_reader *r, struct err *e);

/* ---- requests ---- */

/* "application/grpc", also with "+proto" or ";charset" behind it. */
bool grpc_is_content_type(struct slice value);
/* "/package.Service/Method" in two; -1 when it has not two parts. */
int grpc_split_path(struct slice path, struct slice *service, struct slice *method);

/* Room for the text of a timeout and its NUL. */
#define GRPC_TIMEOUT_MAX 24

/* "10000000u": 1 to 8 digits and one of H M S m u n. Nanoseconds, at most INT64_MAX. 0, or -1 when malformed. */
int grpc_parse_timeout(struct slice value, int64_t *ns);
/* The finest unit that fits, rounded up; "0n" for none left. */
void grpc_format_timeout(int64_t ns, char out[GRPC_TIMEOUT_MAX]);

/* ---- status ---- */

/* Longest grpc-message we send, encoded, and longest details, in base64: a header block above 16 KiB destroys the
 * answer at a Rust client. */
#define GRPC_MESSAGE_MAX 2048
#define GRPC_DETAILS_MAX 5600

/* Decimal 0 to 16; anything else is UNKNOWN. */
int grpc_parse_status(struct slice value);
/* Percent-encodes for grpc-message: bytes outside 0x20-0x7e and '%'. Cut at a whole character to GRPC_MESSAGE_MAX. Appends. */
void grpc_encode_message(struct slice text, struct buf *out);
/* Undoes it: "%XX" becomes a byte, anything else stays; what is then not UTF-8 is replaced by U+FFFD. Appends. */
void grpc_decode_message(struct slice value, struct buf *out);
/* grpc-status-details-bin, written without padding, read with or without. -1 (and nothing appended) when it is not base64, or when
 * the details are too long to send. */
int grpc_encode_details(struct slice details, struct buf *out);
int grpc_decode_details(struct slice value, struct buf *out);

/* Code for an answer without grpc-status, by its HTTP status. */
int grpc_code_of_http(int status);
/* Code for a stream ended by RST_STREAM, by its HTTP/2 error code. */
int grpc_code_of_h2(uint32_t h2_code);

/* ---- why a source failed ---- */

/* The details that dfdaemon puts into the status when the source answered badly: JSON of errordetails.v2.Backend. */
struct grpc_backend {
	struct slice message;           /* "404 Not Found" */
	struct pb_pair *header;
	size_t n_header;
	bool has_status_code;
	int32_t status_code;            /* HTTP's */
};

/* Bytes of the JSON we write: it travels in a header. Longer ones lose header fields, largest first, then the message's end. */
#define GRPC_BACKEND_MAX 4096

/* Appends the JSON. Header values that are not visible ASCII, and set-cookie, authorization, www-authenticate and their proxy-
 * forms, are left out. */
void grpc_write_backend(const struct grpc_backend *b, struct buf *out);
/* Texts and header lie in the arena. -1 with INVALID_ARGUMENT when the details are not this JSON (Go's are not). */
int grpc_read_backend(struct slice details, struct arena *a, struct grpc_backend *out, struct err *e);

#endif
