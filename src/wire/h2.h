/*
 * HTTP/2 (RFC 9113) for one connection, client or server: bytes in, events out, bytes to send in a buffer. No socket, no
 * clock, no thread. What it leaves to the caller: moving bytes, deadlines, keepalive by h2_ping, and what messages mean.
 *
 * The caller's loop:
 *   1. h2_recv with every byte read from the socket.
 *   2. h2_open, h2_send_headers, h2_send_data... as it likes, also from inside events.
 *   3. h2_pump, then write what h2_output holds and buf_consume what was written; while that made room, h2_pump again.
 *   4. When h2_recv failed, or h2_is_done: write the rest of h2_output, close the socket, h2_free.
 *
 * Events are called inside h2_recv, h2_pump and h2_disconnected and nowhere else; they may call everything here except these
 * three and h2_free. A stream is known by its id from h2_open, or from on_headers with H2_REQUEST, until its on_close, which
 * comes exactly once, or until h2_reset. A call with an id that is not known any more does nothing.
 *
 * Flow control is real in both directions: h2_send_data takes what the windows and the output allow, and the peer's
 * stream window opens again only by h2_consumed. Hostile input ends in a stream error or a connection error as the RFC has
 * it; every limit is a constant below.
 */
#ifndef WIRE_H2_H
#define WIRE_H2_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/slice.h"
#include "wire/hpack.h"

/* RFC 9113, 7. */
enum h2_code {
	H2_NO_ERROR = 0, H2_PROTOCOL_ERROR = 1, H2_INTERNAL_ERROR = 2, H2_FLOW_CONTROL_ERROR = 3, H2_SETTINGS_TIMEOUT = 4,
	H2_STREAM_CLOSED = 5, H2_FRAME_SIZE_ERROR = 6, H2_REFUSED_STREAM = 7, H2_CANCEL = 8, H2_COMPRESSION_ERROR = 9,
	H2_CONNECT_ERROR = 10, H2_ENHANCE_YOUR_CALM = 11, H2_INADEQUATE_SECURITY = 12, H2_HTTP_1_1_REQUIRED = 13,
};

/* Fixed by RFC 9113. */
#define H2_PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define H2_PREFACE_SIZE 24u
#define H2_FRAME_HEADER_SIZE 9u
#define H2_WINDOW_START 65535u
#define H2_WINDOW_MAX 0x7fffffffu
#define H2_FRAME_SIZE_MIN 16384u
#define H2_FRAME_SIZE_MAX 0xffffffu
#define H2_STREAM_ID_MAX 0x7fffffffu

/* What a client may have open before the server said otherwise (the same assumption as other implementations). */
#define H2_STREAMS_BEFORE_SETTINGS 100u

/*
 * Limits against a hostile peer. Past one the connection ends with GOAWAY ENHANCE_YOUR_CALM unless stated otherwise.
 * A "burst" is what may come at once, "per second" what is earned back by time.
 */
/* Frames of one header block behind HEADERS. Even 64 KiB fit into four frames of the smallest legal size. */
#define H2_CONTINUATIONS_MAX 8u
/* A list above max_header_list costs the stream (431 at a server); one this many times above it costs the connection. */
#define H2_HEADER_LIST_GIVE_UP 4u
/* A client's streams that end by a reset, its own or one its mistake drew from us ("rapid reset", which is a hundred thousand
 * a second). A child resets one SyncPieces for each task it is done with: hundreds a second with tiny files. */
#define H2_RESETS_BURST 2000u
#define H2_RESETS_PER_SECOND 1000u
/* SETTINGS frames: a window estimator sends some ten in a connection's life. */
#define H2_SETTINGS_BURST 100u
#define H2_SETTINGS_PER_SECOND 10u
/* Parameters in one SETTINGS frame: six are defined, a few more may be reserved ones. */
#define H2_SETTINGS_PARAMS_MAX 64u
/* DATA without bytes or end, and HEADERS or CONTINUATION without bytes: they do nothing but cost time. */
#define H2_EMPTY_FRAMES_BURST 200u
#define H2_EMPTY_FRAMES_PER_SECOND 20u
/* PING, PRIORITY, WINDOW_UPDATE, unknown frames, frames for streams that are gone. A Go peer on loopback may ping with every
 * message; each DATA frame we send earns the peer two more. */
#define H2_CONTROL_BURST 20000u
#define H2_CONTROL_PER_SECOND 20000u
/* Bytes above output_max that wait because the peer does not read, while it keeps asking for answers. */
#define H2_BACKLOG_MAX (256u * 1024)
/* Debug text kept of a GOAWAY; the rest is skipped. */
#define H2_GOAWAY_DEBUG_MAX 256u
/* Streams we reset and still expect late frames for; older ones are treated leniently, not forgotten wrongly. */
#define H2_RESET_MEMORY 128u

/* Turn of one stream while others wait to send: small enough that bulk content does not delay small calls. */
#define H2_TURN_BYTES 16384u

/* Zero means the default in brackets. */
struct h2_config {
	bool is_server;
	uint32_t initial_window;        /* announced for each stream, from 65535 [1 MiB] */
	uint32_t connection_window;     /* kept open for the connection, from 65535 [4 MiB] */
	uint32_t unconsumed_max;        /* received bytes not yet given to h2_consumed, over all streams, above which the connection
	                                   window stays shut; below it one slow stream cannot stall the others [4 * connection_window] */
	uint32_t max_frame_size;        /* largest frame taken, 16384 to 2^24 - 1 [16384] */
	uint32_t max_header_list;       /* bytes, counted as RFC 9113 6.5.2 does [65536] */
	uint32_t max_concurrent_streams;        /* a server's, of the peer's streams; more are refused [256] */
	uint32_t output_max;            /* bytes in h2_output above which h2_send_data takes nothing [128 KiB] */
};

enum h2_kind {
	H2_REQUEST,             /* to a server; the stream is new */
	H2_RESPONSE,            /* to a client; once a stream, 1xx are left out */
	H2_TRAILERS,
};

enum h2_cause {
	H2_CLOSE_DONE,          /* both sides ended; also when a server ended its answer and asked, by NO_ERROR, to stop sending */
	H2_CLOSE_PEER,          /* RST_STREAM received: code is the peer's */
	H2_CLOSE_LOCAL,         /* the peer broke a rule and the engine reset the stream with code */
	H2_CLOSE_UNPROCESSED,   /* the peer's GOAWAY says it never looked at it: safe to send again on another connection */
	H2_CLOSE_CONNECTION,    /* the connection ended before the stream did */
};

/* Any may be NULL. `user` is the pointer of h2_open or h2_stream_set. Slices and fields live until the event returns. */
struct h2_events {
	/* A whole, well-formed message head or trailers. With is_end the peer sends nothing more on this stream. */
	void (*on_headers)(void *ctx, uint32_t id, void *user, enum h2_kind kind, const struct hpack_field *fields, size_t n, bool is_end);
	/* Body bytes as they come in, any size; n may be 0 when is_end. Each byte must go to h2_consumed some time. */
	void (*on_data)(void *ctx, uint32_t id, void *user, struct slice bytes, bool is_end);
	/* After h2_send_data took less than it was given: it is this stream's turn again. */
	void (*on_writable)(void *ctx, uint32_t id, void *user);
	/* The stream is over and its id unknown from here on. For streams ended in time this comes after the last on_data. */
	void (*on_close)(void *ctx, uint32_t id, void *user, enum h2_cause cause, uint32_t code);
	/* The peer's SETTINGS were applied: h2_can_open may have changed. */
	void (*on_settings)(void *ctx);
	/* The peer opens nothing more here and takes no stream of ours above last_id. May come twice. */
	void (*on_goaway)(void *ctx, uint32_t last_id, uint32_t code, struct slice debug);
	void (*on_ping_ack)(void *ctx, const uint8_t payload[8]);
};

struct h2;

/* Preface (client) and SETTINGS are in the output at once. `events` and ctx must live as long as the engine. Never NULL. */
struct h2 *h2_new(const struct h2_config *config, const struct h2_events *events, void *ctx);
/* No events. */
void h2_free(struct h2 *h);

/* ---- receiving ---- */
/*
 * Takes all n bytes. now_ms is monotonic time, for the rates above. -1 with e set is a connection error: GOAWAY is in the
 * output, all streams got on_close with H2_CLOSE_CONNECTION, and every later call returns -1. Also -1 after h2_disconnected.
 */
int h2_recv(struct h2 *h, const uint8_t *p, size_t n, int64_t now_ms, struct err *e);
/* The application is done with n bytes of on_data: the peer may send that many more on the stream. */
void h2_consumed(struct h2 *h, uint32_t id, size_t n);
/* The socket is gone: on_close with H2_CLOSE_CONNECTION for every stream. */
void h2_disconnected(struct h2 *h);

/* ---- sending ---- */
/* Bytes for the socket. The caller writes from the front and buf_consumes what was written, and changes nothing else. */
struct buf *h2_output(struct h2 *h);
/* Calls the events that are due: on_close of streams that ended by sending, on_writable in turn while the output has room. */
void h2_pump(struct h2 *h);

/*
 * Client: opens a stream with a request. Fields start with :method :scheme :authority :path, names in lower case.
 * Returns its id, or 0 with e: RESOURCE_EXHAUSTED while the peer's limit of streams is reached, UNAVAILABLE when the connection
 * takes no more streams, INVALID_ARGUMENT when the list is above what the peer accepts.
 */
uint32_t h2_open(struct h2 *h, const struct hpack_field *fields, size_t n, bool is_end, void *user, struct err *e);
/* True when h2_open would not fail for want of streams. */
bool h2_can_open(const struct h2 *h);
/*
 * Sends a header block: at a server the response (first field :status) and later the trailers; at a client trailers.
 * Trailers need is_end. A server that ends before the client did stops it by RST_STREAM(NO_ERROR) (wire.md 2.7).
 * -1 with e when the stream is unknown or ended (FAILED_PRECONDITION), or the list is above what the peer accepts (INVALID_ARGUMENT).
 */
int h2_send_headers(struct h2 *h, uint32_t id, const struct hpack_field *fields, size_t n, bool is_end, struct err *e);
/*
 * Copies up to n body bytes to the output, as windows, output_max and other streams' turns allow, and returns how many. With
 * is_end, taking all of them ends our side (n may be 0: that is always taken). After a short count the rest waits for on_writable,
 * until then 0 is taken. -1 when the stream is unknown or our side of it ended. Small parts sent one after the other share a frame.
 */
ssize_t h2_send_data(struct h2 *h, uint32_t id, const void *p, size_t n, bool is_end);
/* How many bytes h2_send_data would take now. */
size_t h2_data_room(const struct h2 *h, uint32_t id);

/* RST_STREAM; the stream is forgotten at once, with no on_close. */
void h2_reset(struct h2 *h, uint32_t id, enum h2_code code);
void h2_ping(struct h2 *h, const uint8_t payload[8]);

/* ---- the end ---- */
/*
 * Graceful end: no new streams, the open ones finish. A server says so with last id 2^31-1 and a PING, and gives the real last id
 * when that is answered, so that requests on the way are not lost; a second call (after 5 s, say) does not wait for the answer.
 */
void h2_shutdown(struct h2 *h);
/* GOAWAY with the last stream taken and this code, at once; nothing is opened from here on, open streams stay. */
void h2_goaway(struct h2 *h, enum h2_code code, const char *debug);
/* True when nothing more will happen: failed, disconnected, or ending and without streams. */
bool h2_is_done(const struct h2 *h);
/* True from the first GOAWAY, ours or theirs: open streams elsewhere. */
bool h2_is_ending(const struct h2 *h);

/* ---- streams ---- */
void h2_stream_set(struct h2 *h, uint32_t id, void *user);
void *h2_stream_get(const struct h2 *h, uint32_t id);
/* Streams open now, in both directions. */
size_t h2_stream_count(const struct h2 *h);

/* Value of the first field with this name, or the absent slice. */
struct slice h2_find(const struct hpack_field *fields, size_t n, const char *name);
/* "PROTOCOL_ERROR"...; "code N" is for the caller to say: NULL for numbers not in RFC 9113. */
const char *h2_code_name(uint32_t code);

#endif
