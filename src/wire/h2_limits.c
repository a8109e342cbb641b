#include "wire/h2_core.h"

int
h2_fail(struct h2 *h, enum h2_code code, const char *what)
{
	h->is_failed = true;
	h2_write_goaway(h, h->last_peer_id, code, what);
	err_set(h->err, code == H2_ENHANCE_YOUR_CALM ? ERR_RESOURCE_EXHAUSTED : ERR_INTERNAL, "HTTP/2 %s: %s", h2_code_name(code), what);
	h2_close_all(h, H2_CLOSE_CONNECTION, code);
	h2_call_closed(h);
	return -1;
}

bool
h2_rate_take(struct h2_rate *r, uint32_t burst, uint32_t per_second, int64_t now_ms)
{
	int64_t gained;

	if (r->at_ms < 0)
		r->at_ms = now_ms;
	gained = (now_ms - r->at_ms) * per_second / 1000;
	if ((int64_t)r->tokens + gained >= (int64_t)burst) {
		r->at_ms = now_ms;
		if (r->tokens < burst)
			r->tokens = burst;
	} else if (gained > 0) {
		/* Whole tokens only, so that no fraction of time is lost. */
		r->at_ms += gained * 1000 / per_second;
		r->tokens += (uint32_t)gained;
	}
	if (r->tokens == 0)
		return false;
	r->tokens--;
	return true;
}

int
h2_charge_control(struct h2 *h)
{
	if (!h2_rate_take(&h->control, H2_CONTROL_BURST, H2_CONTROL_PER_SECOND, h->now_ms))
		return h2_fail(h, H2_ENHANCE_YOUR_CALM, "too_many_control_frames");
	return 0;
}

int
h2_charge_empty(struct h2 *h)
{
	if (!h2_rate_take(&h->empties, H2_EMPTY_FRAMES_BURST, H2_EMPTY_FRAMES_PER_SECOND, h->now_ms))
		return h2_fail(h, H2_ENHANCE_YOUR_CALM, "too_many_empty_frames");
	return 0;
}

/* A server cannot make us work by resetting what we asked for, so only clients are charged. */
int
h2_charge_reset(struct h2 *h)
{
	if (h->config.is_server && !h2_rate_take(&h->resets, H2_RESETS_BURST, H2_RESETS_PER_SECOND, h->now_ms))
		return h2_fail(h, H2_ENHANCE_YOUR_CALM, "too_many_resets");
	return 0;
}

int
h2_check_backlog(struct h2 *h)
{
	if (h->out.len > (size_t)h->config.output_max + H2_BACKLOG_MAX)
		return h2_fail(h, H2_ENHANCE_YOUR_CALM, "answers_not_read");
	return 0;
}

int
h2_stream_error(struct h2 *h, uint32_t id, enum h2_code code)
{
	struct h2_stream *s = h2_stream_find(h, id);

	if (h2_check_backlog(h) < 0)
		return -1;
	h2_write_reset(h, id, code);
	if (s)
		h2_stream_close(h, s, H2_CLOSE_LOCAL, code);
	return h2_charge_reset(h);
}

/* Nobody opens even ids: we refuse pushes. */
bool
h2_is_idle_id(const struct h2 *h, uint32_t id)
{
	return id % 2 == 0 || (h->config.is_server ? id > h->last_peer_id : id >= h->next_id);
}
