/*
 * What the files of the HTTP/2 engine share: h2.c (life, streams), h2_send.c (frames out), h2_recv.c (frames in, DATA),
 * h2_headers.c (header blocks in), h2_control.c (the other frames in), h2_message.c (what makes a message well formed),
 * h2_limits.c (errors, rates). Nobody else includes this.
 */
#ifndef WIRE_H2_CORE_H
#define WIRE_H2_CORE_H

#include "base/list.h"
#include "base/map.h"
#include "wire/h2.h"

/* RFC 9113, 6. */
enum frame_type {
	FRAME_DATA = 0, FRAME_HEADERS = 1, FRAME_PRIORITY = 2, FRAME_RST_STREAM = 3, FRAME_SETTINGS = 4, FRAME_PUSH_PROMISE = 5,
	FRAME_PING = 6, FRAME_GOAWAY = 7, FRAME_WINDOW_UPDATE = 8, FRAME_CONTINUATION = 9,
};

enum {
	FLAG_ACK = 0x1, FLAG_END_STREAM = 0x1, FLAG_END_HEADERS = 0x4, FLAG_PADDED = 0x8, FLAG_PRIORITY = 0x20,
};

enum setting {
	SETTING_HEADER_TABLE_SIZE = 1, SETTING_ENABLE_PUSH = 2, SETTING_MAX_CONCURRENT_STREAMS = 3, SETTING_INITIAL_WINDOW_SIZE = 4,
	SETTING_MAX_FRAME_SIZE = 5, SETTING_MAX_HEADER_LIST_SIZE = 6,
};

/* A receive buffer that had to grow above this for one message does not stay that large. */
#define H2_KEPT_BUFFER_MAX 65536u

/* No content-length, or one that says nothing about the body. */
#define H2_NO_LENGTH (-1)

struct h2_stream {
	uint32_t id;            /* key in the map */
	struct list link;       /* among all streams, or among the closed ones */
	struct list turn;       /* among those waiting to send */
	void *user;
	int64_t send_window;    /* below 0 after the peer shrank its INITIAL_WINDOW_SIZE */
	int64_t recv_window;
	int64_t content_left;   /* body bytes that content-length still promises, or H2_NO_LENGTH */
	uint32_t owed;          /* consumed, not yet told by WINDOW_UPDATE */
	uint32_t unconsumed;
	uint32_t turn_used;     /* bytes sent while others waited */
	bool is_waiting;
	bool has_head;          /* received */
	bool has_sent_head;
	bool is_remote_end;
	bool is_local_end;
	bool is_head_request;   /* its response has no body whatever content-length says */
	enum h2_cause cause;    /* when closed */
	uint32_t code;
};

/* Tokens earned by time; see the limits in h2.h. */
struct h2_rate {
	uint32_t tokens;
	int64_t at_ms;          /* up to where time was turned into tokens; -1 before the first use */
};

enum h2_phase {
	PHASE_PREFACE, PHASE_FRAME, PHASE_PAYLOAD, PHASE_DATA, PHASE_SKIP,
};

struct h2 {
	struct h2_config config;
	const struct h2_events *events;
	void *ctx;

	/* streams */
	struct map streams;             /* by id: open and half-closed ones */
	struct list all;
	struct list waiting;            /* to send, in turn */
	size_t n_waiting;
	struct list closed;             /* on_close is due */
	uint32_t next_id;               /* client: of the next stream we open */
	uint32_t last_peer_id;          /* server: highest the peer opened */
	uint32_t reset_ids[H2_RESET_MEMORY];    /* ring of streams we reset */
	size_t n_reset;                 /* resets so far */
	uint32_t reset_floor;           /* highest id that fell out of the ring */

	/* receiving */
	enum h2_phase phase;
	uint8_t head[H2_PREFACE_SIZE];  /* frame header being gathered */
	size_t head_n;
	uint8_t type, flags;            /* of the frame being received */
	uint32_t length, id;
	size_t left;                    /* payload bytes to come (kept, data or skipped ones) */
	size_t skip;                    /* payload bytes behind those, to be dropped */
	struct buf payload;             /* of a frame that came in parts */
	bool has_pad_length;            /* the pad length byte of the DATA frame is still to come */
	uint32_t pad;                   /* padding behind the bytes of the DATA frame */
	bool has_bytes;                 /* the DATA frame carried some */
	bool is_end_due;                /* END_STREAM of the DATA frame is still to be told */
	bool is_discarded;              /* nobody wants the bytes of the DATA frame */
	struct buf block;               /* header block gathered from fragments */
	uint32_t block_id;              /* stream of the open header block, or 0 */
	bool is_block_end;              /* END_STREAM stood on its HEADERS */
	uint32_t continuations;
	bool has_settings;              /* the peer's first SETTINGS came */
	struct hpack_decoder decoder;
	int64_t recv_window;
	uint32_t owed;                  /* received, not yet told by WINDOW_UPDATE */
	uint64_t unconsumed;
	struct h2_rate resets, settings, empties, control;
	int64_t now_ms;                 /* of the h2_recv under way */
	struct err *err;                /* of the h2_recv under way */

	/* sending */
	struct buf out;
	struct buf scratch;             /* header block too large for one frame */
	uint32_t tail_id;               /* stream of the DATA frame that ends `out`, or 0 */
	size_t tail_n;                  /* its payload */
	struct hpack_encoder encoder;
	int64_t send_window;
	uint32_t peer_initial_window, peer_max_frame, peer_max_streams, peer_max_header_list;

	/* the end */
	bool is_failed;
	bool is_shutdown_asked;         /* server: GOAWAY without a last stream is out */
	bool is_refusing;               /* GOAWAY with the last stream is out */
	bool has_peer_goaway;
};

/* ---- h2.c ---- */
struct h2_stream *h2_stream_find(const struct h2 *h, uint32_t id);
struct h2_stream *h2_stream_add(struct h2 *h, uint32_t id, void *user);
/* Out of the map; on_close follows at the next chance. */
void h2_stream_close(struct h2 *h, struct h2_stream *s, enum h2_cause cause, uint32_t code);
/* Closes the stream if both sides ended. */
void h2_stream_settle(struct h2 *h, struct h2_stream *s);
void h2_call_closed(struct h2 *h);
/* No longer waiting to send. */
void h2_stream_leave_turn(struct h2 *h, struct h2_stream *s);
void h2_close_all(struct h2 *h, enum h2_cause cause, uint32_t code);
/* Late frames for this stream are to be expected. */
void h2_remember_reset(struct h2 *h, uint32_t id);
bool h2_was_reset(const struct h2 *h, uint32_t id);

/* ---- h2_send.c ---- */
void h2_write_settings(struct h2 *h);
void h2_write_settings_ack(struct h2 *h);
void h2_write_ping(struct h2 *h, const uint8_t payload[8], bool is_ack);
void h2_write_goaway(struct h2 *h, uint32_t last_id, uint32_t code, const char *debug);
void h2_write_reset(struct h2 *h, uint32_t id, uint32_t code);
void h2_write_window_update(struct h2 *h, uint32_t id, uint32_t n);
void h2_write_headers(struct h2 *h, uint32_t id, const struct hpack_field *fields, size_t n, bool is_end);
/* Give the window back when half of it is owed. */
void h2_give_connection_credit(struct h2 *h);
void h2_give_stream_credit(struct h2 *h, struct h2_stream *s);
/* Ends our side; at a server also the peer's. */
void h2_end_local(struct h2 *h, struct h2_stream *s);
/* The GOAWAY that names the last stream. */
void h2_refuse_new(struct h2 *h, enum h2_code code, const char *debug);

/* The PING behind a server's first GOAWAY. */
extern const uint8_t h2_shutdown_ping[8];

/* ---- h2_limits.c ---- */
/* Connection error: GOAWAY, on_close for all streams, the error of h2_recv. Returns -1. */
int h2_fail(struct h2 *h, enum h2_code code, const char *what);
/* Ends one stream for a mistake of the peer; -1 when that was one too many. */
int h2_stream_error(struct h2 *h, uint32_t id, enum h2_code code);
bool h2_rate_take(struct h2_rate *r, uint32_t burst, uint32_t per_second, int64_t now_ms);
/* One more of its kind; -1 past the limit. */
int h2_charge_control(struct h2 *h);
int h2_charge_empty(struct h2 *h);
int h2_charge_reset(struct h2 *h);
/* Before something is added to the output because the peer sent a frame; -1 when the peer does not read its answers. */
int h2_check_backlog(struct h2 *h);
/* Never opened by anybody. */
bool h2_is_idle_id(const struct h2 *h, uint32_t id);

/* ---- h2_headers.c: payloads of one frame ---- */
int h2_receive_headers(struct h2 *h, struct slice payload);
int h2_receive_fragment(struct h2 *h, struct slice fragment);

/* ---- h2_control.c: payloads of one frame, of the right length ---- */
int h2_receive_reset(struct h2 *h, struct slice payload);
int h2_receive_settings(struct h2 *h, struct slice payload);
int h2_receive_ping(struct h2 *h, struct slice payload);
int h2_receive_goaway(struct h2 *h, struct slice payload);
int h2_receive_window_update(struct h2 *h, struct slice payload);

static inline uint32_t
h2_get_u32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* ---- h2_message.c ---- */
struct h2_message {
	int status;             /* of a response */
	bool is_head;           /* request method HEAD */
	int64_t content_length; /* or H2_NO_LENGTH */
};

/* NULL when well formed (RFC 9113, 8.1 to 8.3), otherwise what is wrong. */
const char *h2_check_message(enum h2_kind kind, const struct hpack_field *fields, size_t n, struct h2_message *m);

#endif
