/*
 * HTTP/1.1 messages as bytes (RFC 9112): an incremental parser for requests and responses, and the writers. Pure: the caller
 * feeds what arrived and takes events; body bytes are handed out as views of the caller's own buffer, never copied.
 *
 * Strict where leniency has let requests be smuggled: no obs-fold, no space before a colon, no bare CR anywhere, no NUL or other
 * control in a field, no Transfer-Encoding but "chunked", no differing Content-Length; in requests also no bare LF and no
 * Transfer-Encoding beside Content-Length. What a message means (redirects, ranges, routes) is the caller's.
 */
#ifndef WIRE_H1_H
#define WIRE_H1_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

/* More fields in one head than any real client or server sends. */
#define H1_FIELDS_MAX 100
/* All field lines of one head, in bytes with their ends; the start line is counted on its own. */
#define H1_HEAD_MAX (64 * 1024)
/* One field line of a response: signed Location values stay well below. Requests may use the whole head (long tokens). */
#define H1_LINE_MAX (8 * 1024)
/* Request target; one more is 414. */
#define H1_TARGET_MAX 65534
#define H1_METHOD_MAX 32
/* Status line: what follows the code is never used. */
#define H1_STATUS_LINE_MAX 1024
/* Empty lines before a request line that are forgiven. */
#define H1_BLANK_LINES_MAX 4
/* Extensions of one chunk, and of all chunks of one body: they are read and dropped, so they may not cost more than this. */
#define H1_CHUNK_EXT_MAX 1024
#define H1_CHUNK_EXT_TOTAL_MAX (16 * 1024)
/* Trailer section. */
#define H1_TRAILERS_MAX 16
#define H1_TRAILER_BYTES_MAX (8 * 1024)
/* 1xx answers before the final one. */
#define H1_INFORMATIONAL_MAX 16
/* Longest body length or chunk that is believed. */
#define H1_LENGTH_MAX ((uint64_t)INT64_MAX)

struct h1_field {
	struct slice name;
	struct slice value;     /* without blanks at its ends */
};

enum h1_kind { H1_REQUEST, H1_RESPONSE };

enum h1_event {
	H1_MORE,        /* all input taken, nothing new: feed more */
	H1_HEAD,        /* start line and fields are there */
	H1_INTERIM,     /* a 1xx head (not 101); the final answer follows. status and fields are there until the next call */
	H1_DATA,        /* *data holds body bytes */
	H1_END,         /* the message is complete (trailers are there); what is left of the input belongs to what follows */
	H1_ERROR,       /* error says why; nothing can be read from this connection any more */
};

struct h1_limits {
	size_t head_max;        /* bytes of all field lines */
	size_t line_max;        /* bytes of one field line */
	size_t target_max;
};

/* Fields are for reading, except limits. All slices point into memory of the parser and live until h1_next or h1_free. */
struct h1 {
	enum h1_kind kind;
	struct h1_limits limits;

	/* From H1_HEAD on. */
	struct slice method, target;    /* request */
	int status;                     /* response */
	int minor;                      /* HTTP/1.<minor>: 0 or 1 */
	struct h1_field fields[H1_FIELDS_MAX];
	size_t field_count;
	bool has_length;                /* Content-Length said so; see also length */
	uint64_t length;                /* body bytes when has_length or has_body is false (then 0) */
	bool is_chunked;
	bool has_body;                  /* body bytes may follow */
	bool is_close_delimited;        /* the body ends with the connection: h1_eof is its end */
	bool keep_alive;                /* the connection may carry another message after this one */
	bool expects_continue;          /* request with "Expect: 100-continue" */
	bool wants_upgrade;             /* Connection names upgrade, and there is an Upgrade field */
	bool is_tunnel;                 /* response: 101, or 2xx to CONNECT. After H1_END the bytes are not HTTP */

	/* From H1_END on. */
	struct h1_field trailers[H1_TRAILERS_MAX];
	size_t trailer_count;

	/* After H1_ERROR. */
	const char *error;              /* a few plain words */
	int error_status;               /* what a server should answer: 400, 414, 431, 501, 505; 0: close without a word */

	/* Private. */
	int state;
	bool head_answer;               /* response to HEAD */
	bool connect_answer;            /* response to CONNECT */
	bool after_cr;
	unsigned interim_count;
	unsigned blank_lines;
	struct buf head;                /* start line and field lines so far */
	size_t start_len;               /* bytes of the start line in head, 0 until complete */
	size_t line_len;                /* bytes of the line that is being collected */
	size_t line_count;
	struct buf trail;
	uint64_t left;                  /* body or chunk bytes to come */
	unsigned size_digits;
	size_t ext_len, ext_total;
};

void h1_init(struct h1 *p, enum h1_kind kind);
void h1_free(struct h1 *p);
/* Ready for the next message on the same connection; limits stay. */
void h1_next(struct h1 *p);
/* Response only, before its first byte: the request's method decides whether there is a body. */
void h1_expect_answer_to(struct h1 *p, const char *method);

/*
 * Takes bytes from the front of *in until something happens. Call again after every event but H1_MORE, H1_END and H1_ERROR;
 * a message without body gives H1_HEAD, then H1_END without needing a further byte.
 */
enum h1_event h1_parse(struct h1 *p, struct slice *in, struct slice *data);
/*
 * The connection ended in order. H1_END when that completes the message (close-delimited body), H1_MORE when no message had
 * begun, otherwise H1_ERROR.
 */
enum h1_event h1_eof(struct h1 *p);
/* True while not one byte of a message has arrived. */
bool h1_is_idle(const struct h1 *p);

/* Value of the first field of that name (ASCII case does not matter); absent slice when there is none. */
struct slice h1_get(const struct h1 *p, const char *name);
/* True when the comma list in any field `name` has `token` (case does not matter, parameters after ';' are not looked at). */
bool h1_has_token(const struct h1 *p, const char *name, const char *token);
/* Steps through a comma list: *rest starts as the whole; false at the end. Empty elements are skipped. */
bool h1_list_next(struct slice *rest, struct slice *item);

/* Shapes of RFC 9110: token (names, methods); field value (no control but HTAB, no blank at its ends). */
bool h1_is_token(struct slice s);
bool h1_is_value(struct slice s);
/* No control, no space: fit for a request line. */
bool h1_is_target(struct slice s);

/*
 * Writers append to out. They refuse (-1, nothing appended) what would break the message apart: a name that is no token, a
 * value with a control, a target with a blank.
 */
int h1_write_request_line(struct buf *out, const char *method, struct slice target);
/* reason NULL: the usual phrase. */
void h1_write_status_line(struct buf *out, int minor, int status, const char *reason);
int h1_write_field(struct buf *out, const char *name, struct slice value);
int h1_write_field_str(struct buf *out, const char *name, const char *value);
void h1_write_length(struct buf *out, uint64_t n);
void h1_write_head_end(struct buf *out);
/* "<hex>\r\n" before n > 0 bytes of chunk data; the data is followed by "\r\n". Returns the bytes written. */
#define H1_CHUNK_HEAD_MAX 19
size_t h1_chunk_head(char out[H1_CHUNK_HEAD_MAX + 1], uint64_t n);
#define H1_LAST_CHUNK "0\r\n\r\n"
/* The same with trailers; those that are not fit for HTTP are left out. */
void h1_write_last_chunk(struct buf *out, const struct h1_field *trailers, size_t count);

/* "Not Found"; "Unknown" for a code that has no phrase. */
const char *h1_reason(int status);

/* "Sun, 06 Nov 1994 08:49:37 GMT" of seconds since 1970 (RFC 9110 5.6.7); out holds H1_DATE_MAX. */
#define H1_DATE_MAX 30
void h1_format_date(int64_t unix_s, char out[H1_DATE_MAX]);
/* That form, and the two obsolete ones. 0 or -1. */
int h1_parse_date(struct slice s, int64_t *unix_s);

#endif
