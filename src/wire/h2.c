#include "wire/h2_core.h"

#include <stdlib.h>

#include "base/mem.h"

/* Defaults of struct h2_config. */
#define INITIAL_WINDOW_DEFAULT (1u << 20)
#define CONNECTION_WINDOW_DEFAULT (4u << 20)
#define HEADER_LIST_DEFAULT 65536u
#define STREAMS_DEFAULT 256u
#define OUTPUT_DEFAULT (128u * 1024)

static uint32_t
within(uint32_t v, uint32_t low, uint32_t high, uint32_t otherwise)
{
	if (v == 0)
		return otherwise;
	return v < low ? low : v > high ? high : v;
}

static void
complete_config(struct h2_config *c)
{
	c->initial_window = within(c->initial_window, H2_WINDOW_START, H2_WINDOW_MAX, INITIAL_WINDOW_DEFAULT);
	c->connection_window = within(c->connection_window, H2_WINDOW_START, H2_WINDOW_MAX, CONNECTION_WINDOW_DEFAULT);
	c->max_frame_size = within(c->max_frame_size, H2_FRAME_SIZE_MIN, H2_FRAME_SIZE_MAX, H2_FRAME_SIZE_MIN);
	c->max_header_list = within(c->max_header_list, 1, UINT32_MAX / H2_HEADER_LIST_GIVE_UP, HEADER_LIST_DEFAULT);
	c->max_concurrent_streams = within(c->max_concurrent_streams, 1, H2_STREAM_ID_MAX, STREAMS_DEFAULT);
	c->output_max = within(c->output_max, 1, H2_WINDOW_MAX, OUTPUT_DEFAULT);
	if (c->unconsumed_max == 0)
		c->unconsumed_max = c->connection_window > UINT32_MAX / 4 ? UINT32_MAX : 4 * c->connection_window;
}

static struct h2_rate
rate_full(uint32_t burst)
{
	return (struct h2_rate){.tokens = burst, .at_ms = -1};
}

struct h2 *
h2_new(const struct h2_config *config, const struct h2_events *events, void *ctx)
{
	struct h2 *h = xcalloc(1, sizeof(*h));

	h->config = *config;
	complete_config(&h->config);
	h->events = events;
	h->ctx = ctx;
	map_init(&h->streams);
	list_init(&h->all);
	list_init(&h->waiting);
	list_init(&h->closed);
	h->next_id = 1;
	hpack_decoder_init(&h->decoder);
	hpack_encoder_init(&h->encoder);
	h->resets = rate_full(H2_RESETS_BURST);
	h->settings = rate_full(H2_SETTINGS_BURST);
	h->empties = rate_full(H2_EMPTY_FRAMES_BURST);
	h->control = rate_full(H2_CONTROL_BURST);
	h->recv_window = h->config.connection_window;
	h->send_window = H2_WINDOW_START;
	h->peer_initial_window = H2_WINDOW_START;
	h->peer_max_frame = H2_FRAME_SIZE_MIN;
	h->peer_max_streams = H2_STREAMS_BEFORE_SETTINGS;
	h->peer_max_header_list = UINT32_MAX;
	h->phase = h->config.is_server ? PHASE_PREFACE : PHASE_FRAME;
	if (!h->config.is_server)
		buf_append(&h->out, H2_PREFACE, H2_PREFACE_SIZE);
	h2_write_settings(h);
	if (h->config.connection_window > H2_WINDOW_START)
		h2_write_window_update(h, 0, h->config.connection_window - H2_WINDOW_START);
	return h;
}

static void
free_streams(struct list *l)
{
	LIST_EACH(it, nxt, l)
		free(CONTAINER_OF(it, struct h2_stream, link));
	list_init(l);
}

void
h2_free(struct h2 *h)
{
	if (!h)
		return;
	free_streams(&h->all);
	free_streams(&h->closed);
	map_free(&h->streams);
	hpack_decoder_free(&h->decoder);
	hpack_encoder_free(&h->encoder);
	buf_free(&h->payload);
	buf_free(&h->block);
	buf_free(&h->out);
	buf_free(&h->scratch);
	free(h);
}

/* ---- streams ---- */

static struct slice
key_of(const uint32_t *id)
{
	return slice_make(id, sizeof(*id));
}

struct h2_stream *
h2_stream_find(const struct h2 *h, uint32_t id)
{
	return map_get(&h->streams, key_of(&id));
}

struct h2_stream *
h2_stream_add(struct h2 *h, uint32_t id, void *user)
{
	struct h2_stream *s = xcalloc(1, sizeof(*s));

	s->id = id;
	s->user = user;
	s->send_window = h->peer_initial_window;
	s->recv_window = h->config.initial_window;
	s->content_left = H2_NO_LENGTH;
	list_init(&s->turn);
	list_add_tail(&h->all, &s->link);
	map_put(&h->streams, key_of(&s->id), s);
	return s;
}

void
h2_stream_leave_turn(struct h2 *h, struct h2_stream *s)
{
	if (!s->is_waiting)
		return;
	list_del(&s->turn);
	s->is_waiting = false;
	h->n_waiting--;
}

/* Takes the stream out of everything but memory. */
static void
detach(struct h2 *h, struct h2_stream *s)
{
	map_del(&h->streams, key_of(&s->id));
	list_del(&s->link);
	h2_stream_leave_turn(h, s);
	h->unconsumed -= s->unconsumed;
	s->unconsumed = 0;
	h2_give_connection_credit(h);
}

void
h2_stream_close(struct h2 *h, struct h2_stream *s, enum h2_cause cause, uint32_t code)
{
	detach(h, s);
	s->cause = cause;
	s->code = code;
	list_add_tail(&h->closed, &s->link);
}

void
h2_stream_settle(struct h2 *h, struct h2_stream *s)
{
	if (s->is_local_end && s->is_remote_end)
		h2_stream_close(h, s, H2_CLOSE_DONE, H2_NO_ERROR);
}

void
h2_close_all(struct h2 *h, enum h2_cause cause, uint32_t code)
{
	LIST_EACH(it, nxt, &h->all)
		h2_stream_close(h, CONTAINER_OF(it, struct h2_stream, link), cause, code);
}

/* The first of the closed streams, taken out of their list; NULL when there is none. */
static struct h2_stream *
take_closed(struct h2 *h)
{
	struct list *first = h->closed.next;

	if (first == &h->closed)
		return NULL;
	h->closed.next = first->next;
	first->next->prev = &h->closed;
	return CONTAINER_OF(first, struct h2_stream, link);
}

void
h2_call_closed(struct h2 *h)
{
	struct h2_stream *s;

	/* From the front each time: on_close may take others out. */
	while ((s = take_closed(h))) {
		if (h->events->on_close)
			h->events->on_close(h->ctx, s->id, s->user, s->cause, s->code);
		free(s);
	}
}

/* One turn for each stream that waits now; true when one of them sent something. */
static bool
call_round(struct h2 *h)
{
	size_t before = h->out.len;

	for (size_t i = h->n_waiting; i > 0 && !list_is_empty(&h->waiting); i--) {
		struct h2_stream *s = CONTAINER_OF(h->waiting.next, struct h2_stream, turn);

		if (h->send_window <= 0 || h->out.len >= h->config.output_max)
			break;
		if (s->send_window <= 0) {
			list_del(&s->turn);
			list_add_tail(&h->waiting, &s->turn);
			continue;
		}
		h2_stream_leave_turn(h, s);
		s->turn_used = 0;
		if (h->events->on_writable)
			h->events->on_writable(h->ctx, s->id, s->user);
	}
	return h->out.len > before;
}

void
h2_pump(struct h2 *h)
{
	bool is_moving;

	do
		is_moving = !h->is_failed && call_round(h);
	while (is_moving);
	h2_call_closed(h);
}

void
h2_remember_reset(struct h2 *h, uint32_t id)
{
	uint32_t *place = &h->reset_ids[h->n_reset++ % H2_RESET_MEMORY];

	if (*place > h->reset_floor)
		h->reset_floor = *place;
	*place = id;
}

bool
h2_was_reset(const struct h2 *h, uint32_t id)
{
	if (id <= h->reset_floor)
		return true;
	for (size_t i = 0; i < H2_RESET_MEMORY; i++) {
		if (h->reset_ids[i] == id)
			return true;
	}
	return false;
}

void
h2_stream_set(struct h2 *h, uint32_t id, void *user)
{
	struct h2_stream *s = h2_stream_find(h, id);

	if (s)
		s->user = user;
}

void *
h2_stream_get(const struct h2 *h, uint32_t id)
{
	const struct h2_stream *s = h2_stream_find(h, id);

	return s ? s->user : NULL;
}

size_t
h2_stream_count(const struct h2 *h)
{
	return h->streams.count;
}

/* ---- the caller's side ---- */

struct buf *
h2_output(struct h2 *h)
{
	return &h->out;
}

void
h2_consumed(struct h2 *h, uint32_t id, size_t n)
{
	struct h2_stream *s = h2_stream_find(h, id);

	if (!s)
		return;
	if (n > s->unconsumed)
		n = s->unconsumed;
	s->unconsumed -= (uint32_t)n;
	h->unconsumed -= n;
	s->owed += (uint32_t)n;
	h2_give_stream_credit(h, s);
	h2_give_connection_credit(h);
}

void
h2_reset(struct h2 *h, uint32_t id, enum h2_code code)
{
	struct h2_stream *s = h2_stream_find(h, id);

	if (s) {
		detach(h, s);
		h2_write_reset(h, id, code);
		free(s);
		return;
	}
	/* Ended just now, on_close not yet called: the caller has let go of it, so it never is. */
	LIST_EACH(it, nxt, &h->closed) {
		s = CONTAINER_OF(it, struct h2_stream, link);
		if (s->id == id) {
			list_del(&s->link);
			free(s);
			return;
		}
	}
}

void
h2_ping(struct h2 *h, const uint8_t payload[8])
{
	if (!h->is_failed)
		h2_write_ping(h, payload, false);
}

void
h2_shutdown(struct h2 *h)
{
	if (h->is_failed || h->is_refusing)
		return;
	if (h->config.is_server && !h->is_shutdown_asked) {
		h->is_shutdown_asked = true;
		h2_write_goaway(h, H2_STREAM_ID_MAX, H2_NO_ERROR, NULL);
		h2_write_ping(h, h2_shutdown_ping, false);
		return;
	}
	h2_refuse_new(h, H2_NO_ERROR, NULL);
}

void
h2_goaway(struct h2 *h, enum h2_code code, const char *debug)
{
	if (!h->is_failed && !h->is_refusing)
		h2_refuse_new(h, code, debug);
}

void
h2_disconnected(struct h2 *h)
{
	h->is_failed = true;
	h2_close_all(h, H2_CLOSE_CONNECTION, H2_NO_ERROR);
	h2_call_closed(h);
}

bool
h2_is_ending(const struct h2 *h)
{
	return h->is_failed || h->is_shutdown_asked || h->is_refusing || h->has_peer_goaway;
}

bool
h2_is_done(const struct h2 *h)
{
	if (h->is_failed)
		return true;
	return (h->is_refusing || h->has_peer_goaway) && h->streams.count == 0 && list_is_empty(&h->closed);
}

struct slice
h2_find(const struct hpack_field *fields, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (slice_eq_str(fields[i].name, name))
			return fields[i].value;
	}
	return (struct slice){0};
}

const char *
h2_code_name(uint32_t code)
{
	static const char *const names[] = {
		"NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
		"FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
		"INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
	};

	return code < COUNT_OF(names) ? names[code] : NULL;
}
