#include "wire/h2_core.h"

#include <string.h>

/* ---- DATA ---- */

/* Body bytes, or with n == 0 only the end. */
static int
tell_data(struct h2 *h, const uint8_t *p, size_t n, bool is_end)
{
	struct h2_stream *s = h->is_discarded ? NULL : h2_stream_find(h, h->id);

	if (is_end)
		h->is_end_due = false;
	if (!s) {
		h->is_discarded = true;
		return 0;
	}
	if (s->content_left != H2_NO_LENGTH) {
		if ((uint64_t)s->content_left < n || (is_end && (uint64_t)s->content_left != n)) {
			h->is_discarded = true;
			return h2_stream_error(h, h->id, H2_PROTOCOL_ERROR);
		}
		s->content_left -= (int64_t)n;
	}
	s->unconsumed += (uint32_t)n;
	h->unconsumed += n;
	s->is_remote_end = is_end;
	if (h->events->on_data)
		h->events->on_data(h->ctx, h->id, s->user, slice_make(p, n), is_end);
	s = h2_stream_find(h, h->id);
	if (s && is_end)
		h2_stream_settle(h, s);
	return 0;
}

static int
end_data(struct h2 *h)
{
	h->phase = PHASE_FRAME;
	if (h->is_end_due && tell_data(h, NULL, 0, true) < 0)
		return -1;
	h->owed += h->length;
	h2_give_connection_credit(h);
	if (!h->has_bytes && !(h->flags & FLAG_END_STREAM))
		return h2_charge_empty(h);
	return 0;
}

/* Bytes of a DATA frame; returns how many of n were its own, or -1. */
static ptrdiff_t
receive_data(struct h2 *h, const uint8_t *p, size_t n)
{
	size_t used = 0, part;

	if (h->has_pad_length) {
		struct h2_stream *s = h->is_discarded ? NULL : h2_stream_find(h, h->id);

		h->has_pad_length = false;
		h->pad = p[used++];
		if (--h->left < h->pad)
			return h2_fail(h, H2_PROTOCOL_ERROR, "padding longer than DATA");
		/* Nobody consumes padding. */
		if (s) {
			s->owed += 1 + h->pad;
			h2_give_stream_credit(h, s);
		}
	}
	part = h->left - h->pad;
	if (part > n - used)
		part = n - used;
	if (part > 0) {
		h->has_bytes = true;
		h->left -= part;
		if (tell_data(h, p + used, part, h->is_end_due && h->left == 0) < 0)
			return -1;
		used += part;
	}
	if (h->left == h->pad) {
		part = h->pad < n - used ? h->pad : n - used;
		h->pad -= (uint32_t)part;
		h->left -= part;
		used += part;
	}
	if (h->left == 0 && end_data(h) < 0)
		return -1;
	return (ptrdiff_t)used;
}

static int
begin_data(struct h2 *h)
{
	struct h2_stream *s = h2_stream_find(h, h->id);
	bool is_padded = h->flags & FLAG_PADDED;
	int rc = 0;

	if (h2_is_idle_id(h, h->id))
		return h2_fail(h, H2_PROTOCOL_ERROR, "DATA on an idle stream");
	if (is_padded && h->length == 0)
		return h2_fail(h, H2_FRAME_SIZE_ERROR, "DATA without its pad length");
	if (h->length > h->recv_window)
		return h2_fail(h, H2_FLOW_CONTROL_ERROR, "DATA above the connection window");
	h->recv_window -= h->length;
	if (!s && !h2_was_reset(h, h->id))
		return h2_fail(h, H2_STREAM_CLOSED, "DATA on a closed stream");
	if (!s)
		rc = h2_charge_control(h);
	else if (s->is_remote_end)
		rc = h2_stream_error(h, h->id, H2_STREAM_CLOSED);
	else if (!s->has_head)
		rc = h2_stream_error(h, h->id, H2_PROTOCOL_ERROR);
	else if (h->length > s->recv_window)
		rc = h2_stream_error(h, h->id, H2_FLOW_CONTROL_ERROR);
	else
		s->recv_window -= h->length;
	if (rc < 0)
		return -1;
	h->is_discarded = h2_stream_find(h, h->id) == NULL;
	h->has_pad_length = is_padded;
	h->pad = 0;
	h->has_bytes = false;
	h->is_end_due = h->flags & FLAG_END_STREAM;
	h->phase = PHASE_DATA;
	h->left = h->length;
	return h->left == 0 ? end_data(h) : 0;
}

/* ---- frames ---- */

static int
receive_payload(struct h2 *h, struct slice payload)
{
	switch (h->type) {
	case FRAME_HEADERS:
		return h2_receive_headers(h, payload);
	case FRAME_CONTINUATION:
		return h2_receive_fragment(h, payload);
	case FRAME_RST_STREAM:
		return h2_receive_reset(h, payload);
	case FRAME_SETTINGS:
		return h2_receive_settings(h, payload);
	case FRAME_PING:
		return h2_receive_ping(h, payload);
	case FRAME_GOAWAY:
		return h2_receive_goaway(h, payload);
	case FRAME_WINDOW_UPDATE:
		return h2_receive_window_update(h, payload);
	default:
		return h2_charge_control(h);
	}
}

/* What RFC 9113, 6 says of each type's stream and length. */
static int
check_frame(struct h2 *h)
{
	bool is_connection_frame = h->type == FRAME_SETTINGS || h->type == FRAME_PING || h->type == FRAME_GOAWAY;
	bool is_stream_frame = h->type <= FRAME_PUSH_PROMISE && h->type != FRAME_SETTINGS;

	if (!h->has_settings && (h->type != FRAME_SETTINGS || (h->flags & FLAG_ACK)))
		return h2_fail(h, H2_PROTOCOL_ERROR, "first frame is not SETTINGS");
	if (h->length > h->config.max_frame_size)
		return h2_fail(h, H2_FRAME_SIZE_ERROR, "frame too large");
	if ((h->block_id != 0) != (h->type == FRAME_CONTINUATION) || (h->block_id != 0 && h->id != h->block_id))
		return h2_fail(h, H2_PROTOCOL_ERROR, "header block interrupted");
	if ((is_connection_frame && h->id != 0) || (is_stream_frame && h->id == 0))
		return h2_fail(h, H2_PROTOCOL_ERROR, "frame on the wrong stream");
	return 0;
}

static int
check_length(struct h2 *h)
{
	bool is_right = true;

	switch (h->type) {
	case FRAME_PRIORITY:
		is_right = h->length == 5;
		break;
	case FRAME_RST_STREAM:
	case FRAME_WINDOW_UPDATE:
		is_right = h->length == 4;
		break;
	case FRAME_SETTINGS:
		is_right = h->flags & FLAG_ACK ? h->length == 0 : h->length % 6 == 0;
		break;
	case FRAME_PING:
		is_right = h->length == 8;
		break;
	case FRAME_GOAWAY:
		is_right = h->length >= 8;
		break;
	default:
		break;
	}
	if (!is_right)
		return h2_fail(h, H2_FRAME_SIZE_ERROR, "frame of a wrong length");
	if (h->type == FRAME_SETTINGS && h->length > 6 * H2_SETTINGS_PARAMS_MAX)
		return h2_fail(h, H2_ENHANCE_YOUR_CALM, "too_many_parameters");
	return 0;
}

/* HEADERS and CONTINUATION, before their payload is gathered. */
static int
check_block(struct h2 *h)
{
	if (h->type == FRAME_HEADERS && (h->config.is_server ? h->id % 2 == 0 : h2_is_idle_id(h, h->id)))
		return h2_fail(h, H2_PROTOCOL_ERROR, "HEADERS on a stream that cannot be");
	if (h->type == FRAME_CONTINUATION && ++h->continuations > H2_CONTINUATIONS_MAX)
		return h2_fail(h, H2_ENHANCE_YOUR_CALM, "too_many_continuations");
	if (h->block.len + h->length > (size_t)h->config.max_header_list * H2_HEADER_LIST_GIVE_UP)
		return h2_fail(h, H2_ENHANCE_YOUR_CALM, "header_block_too_large");
	return 0;
}

static int
end_payload(struct h2 *h, struct slice payload)
{
	h->phase = h->skip > 0 ? PHASE_SKIP : PHASE_FRAME;
	return receive_payload(h, payload);
}

static int
begin_frame(struct h2 *h)
{
	const uint8_t *p = h->head;

	h->head_n = 0;
	h->length = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
	h->type = p[3];
	h->flags = p[4];
	h->id = h2_get_u32(p + 5) & H2_STREAM_ID_MAX;
	if (check_frame(h) < 0 || check_length(h) < 0)
		return -1;
	h->left = h->length;
	h->skip = 0;
	switch (h->type) {
	case FRAME_DATA:
		return begin_data(h);
	case FRAME_HEADERS:
	case FRAME_CONTINUATION:
		if (check_block(h) < 0)
			return -1;
		break;
	case FRAME_PUSH_PROMISE:
		return h2_fail(h, H2_PROTOCOL_ERROR, "PUSH_PROMISE");
	case FRAME_GOAWAY:
		if (h->left > 8 + H2_GOAWAY_DEBUG_MAX)
			h->left = 8 + H2_GOAWAY_DEBUG_MAX;
		break;
	case FRAME_RST_STREAM:
	case FRAME_SETTINGS:
	case FRAME_PING:
	case FRAME_WINDOW_UPDATE:
		break;
	default:
		h->left = 0;
		break;
	}
	h->skip = h->length - h->left;
	h->phase = PHASE_PAYLOAD;
	return h->left == 0 ? end_payload(h, (struct slice){0}) : 0;
}

/* Gathers a frame's payload, or takes it where it lies when it is whole; returns how many of n were used, or -1. */
static ptrdiff_t
gather_payload(struct h2 *h, const uint8_t *p, size_t n)
{
	size_t part = n < h->left ? n : h->left;
	struct slice whole = slice_make(p, part);
	uint8_t *to;
	int rc;

	h->left -= part;
	if (h->payload.len > 0 || h->left > 0) {
		to = buf_try_reserve(&h->payload, part);
		if (!to)
			return h2_fail(h, H2_INTERNAL_ERROR, "out of memory");
		memcpy(to, p, part);
		buf_added(&h->payload, part);
		if (h->left > 0)
			return (ptrdiff_t)part;
		whole = buf_slice(&h->payload);
	}
	rc = end_payload(h, whole);
	buf_clear(&h->payload);
	if (h->payload.cap > H2_KEPT_BUFFER_MAX)
		buf_free(&h->payload);
	return rc < 0 ? -1 : (ptrdiff_t)part;
}

static ptrdiff_t
gather_head(struct h2 *h, const uint8_t *p, size_t n, size_t size)
{
	size_t part = size - h->head_n;

	if (part > n)
		part = n;
	memcpy(h->head + h->head_n, p, part);
	h->head_n += part;
	return (ptrdiff_t)part;
}

/* One step with what is there; returns how many of n > 0 bytes it used, or -1. */
static ptrdiff_t
step(struct h2 *h, const uint8_t *p, size_t n)
{
	ptrdiff_t used;

	switch (h->phase) {
	case PHASE_PREFACE:
		used = gather_head(h, p, n, H2_PREFACE_SIZE);
		if (memcmp(h->head, H2_PREFACE, h->head_n) != 0)
			return h2_fail(h, H2_PROTOCOL_ERROR, "bad connection preface");
		if (h->head_n == H2_PREFACE_SIZE) {
			h->head_n = 0;
			h->phase = PHASE_FRAME;
		}
		return used;
	case PHASE_FRAME:
		used = gather_head(h, p, n, H2_FRAME_HEADER_SIZE);
		return h->head_n == H2_FRAME_HEADER_SIZE && begin_frame(h) < 0 ? -1 : used;
	case PHASE_PAYLOAD:
		return gather_payload(h, p, n);
	case PHASE_DATA:
		return receive_data(h, p, n);
	case PHASE_SKIP:
	default:
		used = (ptrdiff_t)(n < h->skip ? n : h->skip);
		h->skip -= (size_t)used;
		if (h->skip == 0)
			h->phase = PHASE_FRAME;
		return used;
	}
}

int
h2_recv(struct h2 *h, const uint8_t *p, size_t n, int64_t now_ms, struct err *e)
{
	ptrdiff_t used;

	if (h->is_failed)
		return err_set(e, ERR_UNAVAILABLE, "HTTP/2: connection has ended");
	h->now_ms = now_ms;
	h->err = e;
	for (; n > 0; p += used, n -= (size_t)used) {
		used = step(h, p, n);
		if (used < 0)
			break;
		h2_call_closed(h);
	}
	h->err = NULL;
	if (n > 0)
		return -1;
	h2_pump(h);
	return 0;
}
