#include "wire/h2_core.h"

#include <string.h>

#include "base/mem.h"

int
h2_receive_reset(struct h2 *h, struct slice payload)
{
	struct h2_stream *s = h2_stream_find(h, h->id);
	uint32_t code = h2_get_u32(payload.p);

	if (h2_is_idle_id(h, h->id))
		return h2_fail(h, H2_PROTOCOL_ERROR, "RST_STREAM on an idle stream");
	if (!s)
		return h2_charge_control(h);
	/* A server that has answered in full and wants no more of the request (RFC 9113, 8.1). */
	if (code == H2_NO_ERROR && s->is_remote_end && !h->config.is_server) {
		h2_stream_close(h, s, H2_CLOSE_DONE, code);
		return 0;
	}
	h2_stream_close(h, s, H2_CLOSE_PEER, code);
	return h2_charge_reset(h);
}

/* The new size holds for open streams too; windows may become negative (RFC 9113, 6.9.2). */
static int
apply_initial_window(struct h2 *h, uint32_t value)
{
	int64_t delta = (int64_t)value - (int64_t)h->peer_initial_window;

	h->peer_initial_window = value;
	if (delta == 0)
		return 0;
	LIST_EACH(it, nxt, &h->all) {
		struct h2_stream *s = CONTAINER_OF(it, struct h2_stream, link);

		s->send_window += delta;
		if (s->send_window > (int64_t)H2_WINDOW_MAX)
			return h2_fail(h, H2_FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE overflows a window");
	}
	return 0;
}

static int
receive_setting(struct h2 *h, uint32_t id, uint32_t value, uint32_t *window)
{
	switch (id) {
	case SETTING_HEADER_TABLE_SIZE:
		hpack_encoder_resize(&h->encoder, value);
		break;
	case SETTING_ENABLE_PUSH:
		if (value > (h->config.is_server ? 1u : 0u))
			return h2_fail(h, H2_PROTOCOL_ERROR, "bad ENABLE_PUSH");
		break;
	case SETTING_MAX_CONCURRENT_STREAMS:
		h->peer_max_streams = value;
		break;
	case SETTING_INITIAL_WINDOW_SIZE:
		if (value > H2_WINDOW_MAX)
			return h2_fail(h, H2_FLOW_CONTROL_ERROR, "bad INITIAL_WINDOW_SIZE");
		*window = value;
		break;
	case SETTING_MAX_FRAME_SIZE:
		if (value < H2_FRAME_SIZE_MIN || value > H2_FRAME_SIZE_MAX)
			return h2_fail(h, H2_PROTOCOL_ERROR, "bad MAX_FRAME_SIZE");
		h->peer_max_frame = value;
		break;
	case SETTING_MAX_HEADER_LIST_SIZE:
		h->peer_max_header_list = value;
		break;
	default:
		break;
	}
	return 0;
}

int
h2_receive_settings(struct h2 *h, struct slice payload)
{
	uint32_t window = h->peer_initial_window;

	if (h->flags & FLAG_ACK)
		return h2_charge_control(h);
	if (!h2_rate_take(&h->settings, H2_SETTINGS_BURST, H2_SETTINGS_PER_SECOND, h->now_ms))
		return h2_fail(h, H2_ENHANCE_YOUR_CALM, "too_many_settings");
	if (h2_check_backlog(h) < 0)
		return -1;
	if (!h->has_settings)
		h->peer_max_streams = UINT32_MAX;
	h->has_settings = true;
	for (size_t i = 0; i < payload.n; i += 6) {
		const uint8_t *p = payload.p + i;

		if (receive_setting(h, (uint32_t)p[0] << 8 | p[1], h2_get_u32(p + 2), &window) < 0)
			return -1;
	}
	if (apply_initial_window(h, window) < 0)
		return -1;
	h2_write_settings_ack(h);
	if (h->events->on_settings)
		h->events->on_settings(h->ctx);
	return 0;
}

int
h2_receive_ping(struct h2 *h, struct slice payload)
{
	if (h2_charge_control(h) < 0)
		return -1;
	if (!(h->flags & FLAG_ACK)) {
		if (h2_check_backlog(h) < 0)
			return -1;
		h2_write_ping(h, payload.p, true);
	} else if (h->is_shutdown_asked && memcmp(payload.p, h2_shutdown_ping, 8) == 0) {
		if (!h->is_refusing)
			h2_refuse_new(h, H2_NO_ERROR, NULL);
	} else if (h->events->on_ping_ack) {
		h->events->on_ping_ack(h->ctx, payload.p);
	}
	return 0;
}

int
h2_receive_goaway(struct h2 *h, struct slice payload)
{
	uint32_t last_id = h2_get_u32(payload.p) & H2_STREAM_ID_MAX, code = h2_get_u32(payload.p + 4);

	if (h2_charge_control(h) < 0)
		return -1;
	h->has_peer_goaway = true;
	if (!h->config.is_server) {
		LIST_EACH(it, nxt, &h->all) {
			struct h2_stream *s = CONTAINER_OF(it, struct h2_stream, link);

			if (s->id > last_id) {
				h2_remember_reset(h, s->id);
				h2_stream_close(h, s, H2_CLOSE_UNPROCESSED, code);
			}
		}
	}
	if (h->events->on_goaway)
		h->events->on_goaway(h->ctx, last_id, code, slice_sub(payload, 8, payload.n));
	return 0;
}

int
h2_receive_window_update(struct h2 *h, struct slice payload)
{
	uint32_t n = h2_get_u32(payload.p) & H2_WINDOW_MAX;
	struct h2_stream *s = h2_stream_find(h, h->id);

	if (h2_charge_control(h) < 0)
		return -1;
	if (h->id == 0) {
		if (n == 0)
			return h2_fail(h, H2_PROTOCOL_ERROR, "WINDOW_UPDATE of 0");
		h->send_window += n;
		if (h->send_window > (int64_t)H2_WINDOW_MAX)
			return h2_fail(h, H2_FLOW_CONTROL_ERROR, "connection window overflows");
		return 0;
	}
	if (h2_is_idle_id(h, h->id))
		return h2_fail(h, H2_PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream");
	if (!s)
		return 0;
	if (n == 0)
		return h2_stream_error(h, h->id, H2_PROTOCOL_ERROR);
	s->send_window += n;
	if (s->send_window > (int64_t)H2_WINDOW_MAX)
		return h2_stream_error(h, h->id, H2_FLOW_CONTROL_ERROR);
	return 0;
}
