#include "wire/h2_core.h"

#include <string.h>

const uint8_t h2_shutdown_ping[8] = {'d', 'r', 'a', 'g', 'o', 'n', 0, 1};

static void
put_u32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

static void
put_frame_header(uint8_t *p, size_t n, enum frame_type type, uint8_t flags, uint32_t id)
{
	p[0] = (uint8_t)(n >> 16);
	p[1] = (uint8_t)(n >> 8);
	p[2] = (uint8_t)n;
	p[3] = (uint8_t)type;
	p[4] = flags;
	put_u32(p + 5, id);
}

/* A whole frame behind what is there; the caller fills the payload at the pointer returned. */
static uint8_t *
add_frame(struct h2 *h, size_t n, enum frame_type type, uint8_t flags, uint32_t id)
{
	uint8_t *p = buf_reserve(&h->out, H2_FRAME_HEADER_SIZE + n);

	put_frame_header(p, n, type, flags, id);
	buf_added(&h->out, H2_FRAME_HEADER_SIZE + n);
	h->tail_id = 0;
	return p + H2_FRAME_HEADER_SIZE;
}

void
h2_write_settings(struct h2 *h)
{
	const struct h2_config *c = &h->config;
	struct {
		uint16_t id;
		uint32_t value;
	} list[] = {
		{SETTING_ENABLE_PUSH, 0},
		{SETTING_MAX_CONCURRENT_STREAMS, c->max_concurrent_streams},
		{SETTING_INITIAL_WINDOW_SIZE, c->initial_window},
		{SETTING_MAX_FRAME_SIZE, c->max_frame_size},
		{SETTING_MAX_HEADER_LIST_SIZE, c->max_header_list},
	};
	uint16_t not_ours = c->is_server ? SETTING_ENABLE_PUSH : SETTING_MAX_CONCURRENT_STREAMS;
	uint8_t *p = add_frame(h, 4 * 6, FRAME_SETTINGS, 0, 0);

	for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
		if (list[i].id == not_ours)
			continue;
		p[0] = 0;
		p[1] = (uint8_t)list[i].id;
		put_u32(p + 2, list[i].value);
		p += 6;
	}
}

void
h2_write_settings_ack(struct h2 *h)
{
	add_frame(h, 0, FRAME_SETTINGS, FLAG_ACK, 0);
}

void
h2_write_ping(struct h2 *h, const uint8_t payload[8], bool is_ack)
{
	memcpy(add_frame(h, 8, FRAME_PING, is_ack ? FLAG_ACK : 0, 0), payload, 8);
}

void
h2_write_goaway(struct h2 *h, uint32_t last_id, uint32_t code, const char *debug)
{
	size_t n = debug ? strlen(debug) : 0;
	uint8_t *p = add_frame(h, 8 + n, FRAME_GOAWAY, 0, 0);

	put_u32(p, last_id);
	put_u32(p + 4, code);
	if (n > 0)
		memcpy(p + 8, debug, n);
}

void
h2_write_reset(struct h2 *h, uint32_t id, uint32_t code)
{
	put_u32(add_frame(h, 4, FRAME_RST_STREAM, 0, id), code);
	h2_remember_reset(h, id);
}

void
h2_write_window_update(struct h2 *h, uint32_t id, uint32_t n)
{
	put_u32(add_frame(h, 4, FRAME_WINDOW_UPDATE, 0, id), n);
}

void
h2_write_headers(struct h2 *h, uint32_t id, const struct hpack_field *fields, size_t n, bool is_end)
{
	enum frame_type type = FRAME_HEADERS;
	uint8_t flags = is_end ? FLAG_END_STREAM : 0;
	struct slice rest;

	buf_clear(&h->scratch);
	hpack_encode(&h->encoder, fields, n, &h->scratch);
	rest = buf_slice(&h->scratch);
	do {
		size_t part = rest.n < h->peer_max_frame ? rest.n : h->peer_max_frame;
		uint8_t *p;

		if (part == rest.n)
			flags |= FLAG_END_HEADERS;
		p = add_frame(h, part, type, flags, id);
		if (part > 0)
			memcpy(p, rest.p, part);
		rest = slice_sub(rest, part, rest.n);
		type = FRAME_CONTINUATION;
		flags = 0;
	} while (rest.n > 0);
}

void
h2_give_connection_credit(struct h2 *h)
{
	if (h->owed < h->config.connection_window / 2 || h->unconsumed > h->config.unconsumed_max || h->is_failed)
		return;
	h2_write_window_update(h, 0, h->owed);
	h->recv_window += h->owed;
	h->owed = 0;
}

void
h2_give_stream_credit(struct h2 *h, struct h2_stream *s)
{
	if (s->owed < h->config.initial_window / 2 || s->is_remote_end)
		return;
	h2_write_window_update(h, s->id, s->owed);
	s->recv_window += s->owed;
	s->owed = 0;
}

void
h2_end_local(struct h2 *h, struct h2_stream *s)
{
	s->is_local_end = true;
	h2_stream_leave_turn(h, s);
	if (h->config.is_server && !s->is_remote_end) {
		h2_write_reset(h, s->id, H2_NO_ERROR);
		s->is_remote_end = true;
	}
	h2_stream_settle(h, s);
}

void
h2_refuse_new(struct h2 *h, enum h2_code code, const char *debug)
{
	h->is_refusing = true;
	h2_write_goaway(h, h->last_peer_id, code, debug);
}

static int
check_list(const struct h2 *h, const struct hpack_field *fields, size_t n, struct err *e)
{
	size_t size = hpack_list_size(fields, n);

	if (size > h->peer_max_header_list)
		return err_set(e, ERR_INVALID_ARGUMENT, "header list of %zu bytes, the peer accepts %u", size, h->peer_max_header_list);
	return 0;
}

bool
h2_can_open(const struct h2 *h)
{
	return !h2_is_ending(h) && !h->config.is_server && h->next_id <= H2_STREAM_ID_MAX && h->streams.count < h->peer_max_streams;
}

uint32_t
h2_open(struct h2 *h, const struct hpack_field *fields, size_t n, bool is_end, void *user, struct err *e)
{
	struct h2_stream *s;

	if (h2_is_ending(h) || h->config.is_server || h->next_id > H2_STREAM_ID_MAX) {
		err_set(e, ERR_UNAVAILABLE, "connection takes no more streams");
		return 0;
	}
	if (h->streams.count >= h->peer_max_streams) {
		err_set(e, ERR_RESOURCE_EXHAUSTED, "all %u streams of the connection are in use", h->peer_max_streams);
		return 0;
	}
	if (check_list(h, fields, n, e) < 0)
		return 0;
	s = h2_stream_add(h, h->next_id, user);
	h->next_id += 2;
	s->has_sent_head = true;
	s->is_local_end = is_end;
	s->is_head_request = slice_eq_str(h2_find(fields, n, ":method"), "HEAD");
	h2_write_headers(h, s->id, fields, n, is_end);
	return s->id;
}

int
h2_send_headers(struct h2 *h, uint32_t id, const struct hpack_field *fields, size_t n, bool is_end, struct err *e)
{
	struct h2_stream *s = h2_stream_find(h, id);

	if (!s || s->is_local_end)
		return err_set(e, ERR_FAILED_PRECONDITION, "stream %u has ended", id);
	if (s->has_sent_head && !is_end)
		return err_set(e, ERR_FAILED_PRECONDITION, "stream %u: trailers do not end it", id);
	if (check_list(h, fields, n, e) < 0)
		return -1;
	s->has_sent_head = true;
	h2_write_headers(h, id, fields, n, is_end);
	if (is_end)
		h2_end_local(h, s);
	return 0;
}

static size_t
room_of(const struct h2 *h, const struct h2_stream *s)
{
	int64_t room = (int64_t)h->config.output_max - (int64_t)h->out.len;

	if (s->is_waiting)
		return 0;
	if (room > s->send_window)
		room = s->send_window;
	if (room > h->send_window)
		room = h->send_window;
	if (h->n_waiting > 0 && room > (int64_t)H2_TURN_BYTES - (int64_t)s->turn_used)
		room = (int64_t)H2_TURN_BYTES - (int64_t)s->turn_used;
	return room > 0 ? (size_t)room : 0;
}

size_t
h2_data_room(const struct h2 *h, uint32_t id)
{
	const struct h2_stream *s = h2_stream_find(h, id);

	return s && !s->is_local_end && s->has_sent_head ? room_of(h, s) : 0;
}

/* Frame header of the DATA frame of this stream that ends the output, if none of it has been written to the socket yet. */
static uint8_t *
open_tail(struct h2 *h, uint32_t id)
{
	size_t n = H2_FRAME_HEADER_SIZE + h->tail_n;

	if (h->tail_id != id || h->out.len < n)
		return NULL;
	return buf_data(&h->out) + h->out.len - n;
}

/* More bytes into the frame that ends the output; returns how many fit. */
static size_t
extend_tail(struct h2 *h, uint32_t id, const uint8_t *p, size_t n)
{
	uint8_t *head = open_tail(h, id);

	if (!head || h->tail_n >= h->peer_max_frame)
		return 0;
	if (n > h->peer_max_frame - h->tail_n)
		n = h->peer_max_frame - h->tail_n;
	h->tail_n += n;
	put_frame_header(head, h->tail_n, FRAME_DATA, 0, id);
	buf_append(&h->out, p, n);
	return n;
}

static void
append_data(struct h2 *h, uint32_t id, const uint8_t *p, size_t n)
{
	size_t part = n > 0 ? extend_tail(h, id, p, n) : 0;

	for (p += part, n -= part; n > 0; p += part, n -= part) {
		part = n < h->peer_max_frame ? n : h->peer_max_frame;
		memcpy(add_frame(h, part, FRAME_DATA, 0, id), p, part);
		h->tail_id = id;
		h->tail_n = part;
		/* What the peer may answer each frame with: WINDOW_UPDATE for stream and connection. */
		if (h->control.tokens < H2_CONTROL_BURST)
			h->control.tokens += 2;
	}
}

static void
append_end(struct h2 *h, uint32_t id)
{
	uint8_t *head = open_tail(h, id);

	if (head)
		put_frame_header(head, h->tail_n, FRAME_DATA, FLAG_END_STREAM, id);
	else
		add_frame(h, 0, FRAME_DATA, FLAG_END_STREAM, id);
	h->tail_id = 0;
}

ssize_t
h2_send_data(struct h2 *h, uint32_t id, const void *p, size_t n, bool is_end)
{
	struct h2_stream *s = h2_stream_find(h, id);
	size_t taken;

	if (!s || s->is_local_end || !s->has_sent_head)
		return -1;
	if (h->n_waiting == 0)
		s->turn_used = 0;
	taken = room_of(h, s);
	if (taken > n)
		taken = n;
	if (taken > 0) {
		append_data(h, id, p, taken);
		s->send_window -= (int64_t)taken;
		h->send_window -= (int64_t)taken;
		s->turn_used += (uint32_t)taken;
	}
	if (taken < n) {
		if (!s->is_waiting) {
			s->is_waiting = true;
			h->n_waiting++;
			list_add_tail(&h->waiting, &s->turn);
		}
	} else if (is_end) {
		append_end(h, id);
		h2_end_local(h, s);
	}
	return (ssize_t)taken;
}
