#include "wire/h2_core.h"

#include <string.h>

static void
tell_headers(struct h2 *h, uint32_t id, enum h2_kind kind, bool is_end)
{
	struct h2_stream *s = h2_stream_find(h, id);

	if (h->events->on_headers)
		h->events->on_headers(h->ctx, id, s->user, kind, h->decoder.fields, h->decoder.n, is_end);
	s = h2_stream_find(h, id);
	if (s && is_end)
		h2_stream_settle(h, s);
}

/* 431 and no more of it (RFC 6585, 5). */
static int
refuse_large_request(struct h2 *h, uint32_t id, bool is_end)
{
	const struct hpack_field status = {slice_str(":status"), slice_str("431"), false};

	h2_write_headers(h, id, &status, 1, true);
	if (!is_end)
		h2_write_reset(h, id, H2_NO_ERROR);
	return h2_charge_reset(h);
}

static int
receive_request(struct h2 *h, uint32_t id, bool is_too_large, bool is_end)
{
	struct h2_message m;
	struct h2_stream *s;

	h->last_peer_id = id;
	if (h2_check_backlog(h) < 0)
		return -1;
	if (h->is_refusing || h->streams.count >= h->config.max_concurrent_streams)
		return h2_stream_error(h, id, H2_REFUSED_STREAM);
	if (is_too_large)
		return refuse_large_request(h, id, is_end);
	/* A body that is promised and cannot come makes it malformed as well. */
	if (h2_check_message(H2_REQUEST, h->decoder.fields, h->decoder.n, &m) || (is_end && m.content_length > 0))
		return h2_stream_error(h, id, H2_PROTOCOL_ERROR);
	s = h2_stream_add(h, id, NULL);
	s->has_head = true;
	s->is_remote_end = is_end;
	s->content_left = m.content_length;
	tell_headers(h, id, H2_REQUEST, is_end);
	return 0;
}

static int
receive_response(struct h2 *h, struct h2_stream *s, bool is_end)
{
	struct h2_message m;

	if (h2_check_message(H2_RESPONSE, h->decoder.fields, h->decoder.n, &m))
		return h2_stream_error(h, s->id, H2_PROTOCOL_ERROR);
	if (m.status < 200)
		return is_end ? h2_stream_error(h, s->id, H2_PROTOCOL_ERROR) : h2_charge_control(h);
	s->has_head = true;
	s->is_remote_end = is_end;
	/* These have no body whatever content-length says. */
	if (!s->is_head_request && m.status != 204 && m.status != 304)
		s->content_left = m.content_length;
	if (is_end && s->content_left > 0)
		return h2_stream_error(h, s->id, H2_PROTOCOL_ERROR);
	tell_headers(h, s->id, H2_RESPONSE, is_end);
	return 0;
}

static int
receive_trailers(struct h2 *h, struct h2_stream *s, bool is_end)
{
	struct h2_message m;

	if (!is_end || s->content_left > 0 || h2_check_message(H2_TRAILERS, h->decoder.fields, h->decoder.n, &m))
		return h2_stream_error(h, s->id, H2_PROTOCOL_ERROR);
	s->is_remote_end = true;
	tell_headers(h, s->id, H2_TRAILERS, true);
	return 0;
}

/* A whole header block. It is decoded whatever becomes of it: the table is shared by all streams. */
static int
receive_block(struct h2 *h, uint32_t id, struct slice block, bool is_end)
{
	size_t keep = h->config.max_header_list;
	enum hpack_result rc = hpack_decode(&h->decoder, block, keep, keep * H2_HEADER_LIST_GIVE_UP);
	struct h2_stream *s = h2_stream_find(h, id);

	switch (rc) {
	case HPACK_OK:
	case HPACK_TOO_LARGE:
		break;
	case HPACK_FAR_TOO_LARGE:
		return h2_fail(h, H2_ENHANCE_YOUR_CALM, "header_list_far_too_large");
	case HPACK_NO_MEMORY:
		return h2_fail(h, H2_INTERNAL_ERROR, "out of memory");
	case HPACK_BROKEN:
	default:
		return h2_fail(h, H2_COMPRESSION_ERROR, "bad header block");
	}
	if (!s && h->config.is_server && id > h->last_peer_id)
		return receive_request(h, id, rc == HPACK_TOO_LARGE, is_end);
	if (!s)
		return h2_was_reset(h, id) ? h2_charge_control(h) : h2_fail(h, H2_STREAM_CLOSED, "HEADERS on a closed stream");
	if (s->is_remote_end)
		return h2_stream_error(h, id, H2_STREAM_CLOSED);
	if (rc == HPACK_TOO_LARGE)
		return h2_stream_error(h, id, H2_ENHANCE_YOUR_CALM);
	if (s->has_head)
		return receive_trailers(h, s, is_end);
	return receive_response(h, s, is_end);
}

/* A fragment of a header block, from HEADERS or CONTINUATION. */
int
h2_receive_fragment(struct h2 *h, struct slice fragment)
{
	bool is_whole = h->flags & FLAG_END_HEADERS;
	uint8_t *p;
	int rc;

	if (fragment.n == 0 && !is_whole && h2_charge_empty(h) < 0)
		return -1;
	if (is_whole && h->block_id == 0)
		return receive_block(h, h->id, fragment, h->flags & FLAG_END_STREAM);
	p = buf_try_reserve(&h->block, fragment.n);
	if (!p)
		return h2_fail(h, H2_INTERNAL_ERROR, "out of memory");
	if (fragment.n > 0)
		memcpy(p, fragment.p, fragment.n);
	buf_added(&h->block, fragment.n);
	if (h->block_id == 0) {
		h->is_block_end = h->flags & FLAG_END_STREAM;
		h->block_id = h->id;
	}
	if (!is_whole)
		return 0;
	h->block_id = 0;
	rc = receive_block(h, h->id, buf_slice(&h->block), h->is_block_end);
	buf_clear(&h->block);
	if (h->block.cap > H2_KEPT_BUFFER_MAX)
		buf_free(&h->block);
	return rc;
}

int
h2_receive_headers(struct h2 *h, struct slice payload)
{
	size_t pad = 0;

	if (h->flags & FLAG_PADDED) {
		if (payload.n < 1)
			return h2_fail(h, H2_FRAME_SIZE_ERROR, "HEADERS without its pad length");
		pad = payload.p[0];
		payload = slice_sub(payload, 1, payload.n);
	}
	if (h->flags & FLAG_PRIORITY) {
		if (payload.n < 5)
			return h2_fail(h, H2_FRAME_SIZE_ERROR, "HEADERS without its priority");
		payload = slice_sub(payload, 5, payload.n);
	}
	if (pad > payload.n)
		return h2_fail(h, H2_PROTOCOL_ERROR, "padding longer than HEADERS");
	h->continuations = 0;
	return h2_receive_fragment(h, slice_sub(payload, 0, payload.n - pad));
}
