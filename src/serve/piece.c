#include "serve/piece.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "net/addr.h"
#include "net/listener.h"
#include "peer/engine.h"
#include "peer/worker.h"
#include "serve/door.h"
#include "serve/piece_conn.h"
#include "serve/piece_trust.h"
#include "serve/served.h"
#include "serve/uplink.h"
#include "store/file.h"
#include "store/store.h"

/* Requests that wait at once; a child asks for few, so this is a flood. */
#define WAITING_MAX 65536
/* Strangers are written of so often at most. */
#define STRANGER_LOG_MS 1000

struct piece_server {
	struct piece_server_options o;
	struct listener *listener;
	struct piece_side sides[WORKERS_MAX];
	size_t side_count, next_side;
	struct limit limit;
	struct door door;
	atomic_uint_fast64_t progress;

	struct list waiting;            /* piece_request.queue, in order of arrival */
	size_t waiting_count;
	uint64_t arrivals;
	struct list turns;              /* piece_turn.link */
	unsigned turn_count;
	struct list wanting;            /* piece_turn.queue, in order of arrival */
	struct list given;              /* piece_turn.queue, the oldest first */
	unsigned active, given_count;
	struct uplink uplink;
	uint64_t seen;                  /* bytes at the last look */
	bool was_full;                  /* all slots were in use since */
	struct loop_timer look;
	struct served served;           /* pieces that nobody got yet go first */
	struct piece_trust trust;
	int64_t stranger_ms;            /* a stranger was last written of */

	struct piece_server_metrics metrics;
	size_t requests;                /* in the control loop's or a side's hands */
	bool is_draining;
	void (*drained)(void *ctx);
	void *drained_ctx;
	struct loop_timer drain_timer;
};

/* ---- decisions ---- */

static void
send_decision(struct piece_request *r)
{
	r->msg.run = piece_conn_decided;
	loop_post(r->side->loop, &r->msg);
}

static void
request_forget(struct piece_server *s, struct piece_request *r)
{
	loop_timer_clear(s->o.loop, &r->wait);
	if (r->is_watching)
		task_unwatch(&r->watch);
	r->is_watching = false;
	if (!list_is_empty(&r->queue)) {
		list_del(&r->queue);
		s->waiting_count--;
	}
}

static void
decide_error(struct piece_server *s, struct piece_request *r, uint8_t code, const char *text)
{
	uint8_t id;

	request_forget(s, r);
	s->metrics.refused++;
	rand_bytes(&id, 1);
	r->is_error = true;
	vortex_write_error(&r->head, id, code, slice_str(text));
	send_decision(r);
}

static void
decide_not_found(struct piece_server *s, struct piece_request *r)
{
	char text[TASK_ID_SIZE + 48];

	snprintf(text, sizeof text, "piece %s-%u not found", r->wanted.task_id, (unsigned)r->wanted.number);
	decide_error(s, r, VORTEX_NOT_FOUND, text);
}

static void
decide_content(struct piece_server *s, struct piece_request *r)
{
	struct vortex_content c = {.tag = (uint8_t)(r->wanted.tag + 1), .number = r->wanted.number, .traffic_type = 1};
	struct worker *now = &s->o.workers->at[r->side - s->sides];
	struct store_task *t = r->task;
	struct store_piece p;
	struct err e;
	char digest[32];
	uint8_t id;

	if (t->is_deleted || store_piece_get(t, r->wanted.number, &p) < 0) {
		decide_not_found(s, r);
		return;
	}
	r->file = store_task_file(t, &e);
	if (r->file == NULL) {
		log_error("content cannot be opened task=%s error=\"%s\"", t->id, e.text);
		store_task_content_missing(t);
		decide_error(s, r, VORTEX_INTERNAL, "content cannot be opened");
		return;
	}
	/* A file that its user edited may have been given up with all its pieces. */
	if (store_task_content_changed(t, r->file) && store_piece_get(t, r->wanted.number, &p) < 0) {
		decide_not_found(s, r);
		return;
	}
	request_forget(s, r);
	c.offset = r->offset = p.offset;
	c.length = r->length = p.length;
	r->needs_check = p.needs_check && p.has_crc;
	r->crc = p.crc;
	if (p.has_crc) {
		snprintf(digest, sizeof digest, "crc32:%lu", (unsigned long)p.crc);
		c.digest = slice_str(digest);
	}
	c.parent_id = slice_str(p.parent_id);
	c.cost_s = p.cost_ns / 1000000000;
	c.created_at_s = p.created_at / 1000000000;
	rand_bytes(&id, 1);
	vortex_write_content(&r->head, id, &c);
	r->progress = &s->progress;
	r->worker = r->can_move ? workers_take_or_stay(s->o.workers, now) : worker_use(now);
	r->to = &s->sides[r->worker - s->o.workers->at];
	r->has_slot = true;
	r->is_slow = s->uplink.takes_turns;
	s->active++;
	s->metrics.started++;
	r->began_ns = clock_mono_ns();
	served_note(&s->served, t->id, store_task_piece_count(t), r->wanted.number, loop_now_ms(s->o.loop));
	store_task_upload_begin(t);
	send_decision(r);
}

/* ---- whose turn ---- */

static void look(void *ctx);
static void serve_next(struct piece_server *s);

/* Of those who wait: who asks for the piece that was served least often, the first among equals. */
static struct piece_request *
next_request(struct piece_server *s, unsigned *least)
{
	struct piece_request *best = NULL;

	LIST_EACH(it, next, &s->waiting) {
		struct piece_request *r = CONTAINER_OF(it, struct piece_request, queue);
		unsigned times = served_times(&s->served, r->task->id, r->wanted.number);

		if (best == NULL || times < *least) {
			best = r;
			*least = times;
		}
		if (*least == 0)
			break;
	}
	return best;
}

/* The same of those who wait for a turn; who let turns pass comes last. */
static struct piece_turn *
next_turn(struct piece_server *s, unsigned *least)
{
	struct piece_turn *best = NULL;

	LIST_EACH(it, next, &s->wanting) {
		struct piece_turn *t = CONTAINER_OF(it, struct piece_turn, queue);
		unsigned times = served_times(&s->served, t->task_id, t->number);

		if (best == NULL || t->lapses < best->lapses || (t->lapses == best->lapses && times < *least)) {
			best = t;
			*least = times;
		}
		if (*least == 0 && best->lapses == 0)
			break;
	}
	return best;
}

static void
take_back(struct piece_turn *t)
{
	if (!t->is_given)
		return;
	t->is_given = false;
	loop_timer_clear(t->server->o.loop, &t->given);
	list_del(&t->queue);
	t->server->given_count--;
}

/* Waits no more, and has no turn. */
static void
forget_wish(struct piece_turn *t)
{
	take_back(t);
	list_del(&t->queue);
	t->waits = false;
}

static void
turn_is_over(void *ctx)
{
	struct piece_turn *t = ctx;
	struct piece_server *s = t->server;

	t->lapses += t->lapses < UINT_MAX;
	take_back(t);
	serve_next(s);
}

static void
give_turn(struct piece_server *s, struct piece_turn *t)
{
	list_del(&t->queue);
	t->waits = false;
	t->is_given = true;
	list_add_tail(&s->given, &t->queue);
	s->given_count++;
	loop_timer_set(s->o.loop, &t->given, PIECE_TURN_MS, turn_is_over, t);
	t->on_turn(t);
}

/* True when one more was served. */
static bool
serve_one(struct piece_server *s)
{
	unsigned request_times = 0, turn_times = 0;
	struct piece_request *r = next_request(s, &request_times);
	struct piece_turn *t = next_turn(s, &turn_times);

	if (r == NULL && t == NULL)
		return false;
	if (t == NULL || (r != NULL && (request_times < turn_times || (request_times == turn_times && r->arrival < t->arrival))))
		decide_content(s, r);
	else
		give_turn(s, t);
	return true;
}

static bool
somebody_waits(const struct piece_server *s)
{
	return s->waiting_count > 0 || !list_is_empty(&s->wanting);
}

static void
serve_next(struct piece_server *s)
{
	while (s->active + s->given_count < s->uplink.slots && serve_one(s))
		;
	if (s->active + s->given_count < s->uplink.slots)
		s->was_full = false;
	if (somebody_waits(s) && !loop_timer_is_set(&s->look)) {
		s->seen = atomic_load(&s->progress);
		s->was_full = true;
		loop_timer_set(s->o.loop, &s->look, UPLINK_LOOK_MS, look, s);
	}
}

static void
look(void *ctx)
{
	struct piece_server *s = ctx;
	uint64_t now = atomic_load(&s->progress);

	uplink_look(&s->uplink, now - s->seen, s->was_full);
	s->seen = now;
	s->was_full = true;
	if (somebody_waits(s))
		loop_timer_set(s->o.loop, &s->look, UPLINK_LOOK_MS, look, s);
	else
		uplink_rest(&s->uplink);
	serve_next(s);
}

/* Whether children have to wait for turns may have changed. */
static void
tell_busy(struct piece_server *s)
{
	if (!uplink_set_children(&s->uplink, s->turn_count))
		return;
	log_debug("children %s piece_us=%llu", s->uplink.takes_turns ? "take turns" : "ask freely", (unsigned long long)s->uplink.cost_us);
	LIST_EACH(it, next, &s->turns) {
		struct piece_turn *t = CONTAINER_OF(it, struct piece_turn, link);

		if (!s->uplink.takes_turns)
			forget_wish(t);
		t->on_busy(t, s->uplink.takes_turns);
	}
}

bool
piece_turn_add(struct piece_server *s, struct piece_turn *t)
{
	t->server = s;
	list_init(&t->queue);
	s->turn_count++;
	tell_busy(s);
	list_add_tail(&s->turns, &t->link);
	return s->uplink.takes_turns;
}

void
piece_turn_remove(struct piece_turn *t)
{
	struct piece_server *s = t->server;

	piece_turn_refuse(t);
	list_del(&t->link);
	s->turn_count--;
	tell_busy(s);
}

void
piece_turn_want(struct piece_turn *t, uint32_t number)
{
	struct piece_server *s = t->server;

	t->number = number;
	/* It has not heard yet that it may ask freely. */
	if (!s->uplink.takes_turns || t->waits || t->is_given)
		return;
	t->waits = true;
	t->arrival = s->arrivals++;
	list_add_tail(&s->wanting, &t->queue);
	serve_next(s);
}

void
piece_turn_refuse(struct piece_turn *t)
{
	forget_wish(t);
	serve_next(t->server);
}

size_t
piece_turn_fresh(const struct piece_turn *t, uint32_t out[PIECE_FRESH_MAX])
{
	struct piece_server *s = t->server;
	struct store_task *task = store_task_find(s->o.store, STORE_STANDARD, t->task_id);
	uint32_t count, from;
	size_t n = 0;

	if (task == NULL || (count = store_task_piece_count(task)) == 0)
		return 0;
	from = (uint32_t)rand_below(count);
	for (uint32_t i = 0; i < count && n < PIECE_FRESH_MAX; i++) {
		uint32_t number = (from + i) % count;

		if (store_piece_is_finished(task, number) && served_times(&s->served, t->task_id, number) == 0)
			out[n++] = number;
	}
	return n;
}

/* A request that uses up a turn of its task. */
static bool
uses_turn(struct piece_server *s, const struct piece_request *r)
{
	LIST_EACH(it, next, &s->given) {
		struct piece_turn *t = CONTAINER_OF(it, struct piece_turn, queue);

		if (strcmp(t->task_id, r->task->id) == 0) {
			take_back(t);
			return true;
		}
	}
	return false;
}

static void
waited_too_long(void *ctx)
{
	struct piece_request *r = ctx;

	decide_error(r->side->server, r, VORTEX_INTERNAL, r->is_watching ? "wait for piece finished timeout" : "uploads are busy");
}

static void
queue_request(struct piece_server *s, struct piece_request *r)
{
	if (s->waiting_count >= WAITING_MAX) {
		decide_error(s, r, VORTEX_INTERNAL, "too many requests wait");
		return;
	}
	if (uses_turn(s, r)) {
		decide_content(s, r);
		return;
	}
	r->arrival = s->arrivals++;
	list_add_tail(&s->waiting, &r->queue);
	s->waiting_count++;
	loop_timer_set(s->o.loop, &r->wait, PIECE_WAIT_MS, waited_too_long, r);
	serve_next(s);
}

/* ---- requests ---- */

static void
watched_piece(struct task_watch *w, uint32_t number)
{
	struct piece_request *r = CONTAINER_OF(w, struct piece_request, watch);
	struct piece_server *s = r->side->server;

	if (number != r->wanted.number)
		return;
	request_forget(s, r);
	queue_request(s, r);
}

static void
watched_idle(struct task_watch *w, const struct err *why)
{
	struct piece_request *r = CONTAINER_OF(w, struct piece_request, watch);

	(void)why;
	decide_not_found(r->side->server, r);
}

/* The piece is being fetched here: its answer comes when it is whole (spec: wire.md 1.6). */
static void
wait_for_piece(struct piece_server *s, struct piece_request *r)
{
	struct err e;

	r->watch.on_piece = watched_piece;
	r->watch.on_idle = watched_idle;
	if (task_watch(s->o.engine, r->task->kind, slice_make(r->wanted.task_id, TASK_ID_LENGTH), &r->watch, &e) < 0) {
		decide_not_found(s, r);
		return;
	}
	r->is_watching = true;
	if (!task_is_active(r->watch.task) || r->wanted.number >= r->watch.task->piece_count) {
		decide_not_found(s, r);
		return;
	}
	loop_timer_set(s->o.loop, &r->wait, PIECE_WAIT_MS, waited_too_long, r);
}

static int
kind_of(uint8_t tag, enum store_kind *kind)
{
	switch (tag) {
	case VORTEX_DOWNLOAD_PIECE:
		*kind = STORE_STANDARD;
		return 0;
	case VORTEX_DOWNLOAD_PERSISTENT_PIECE:
		*kind = STORE_PERSISTENT;
		return 0;
	case VORTEX_DOWNLOAD_PERSISTENT_CACHE_PIECE:
		*kind = STORE_PERSISTENT_CACHE;
		return 0;
	default:
		return -1;
	}
}

/* Plaintext where TLS is preferred. */
static bool
may_be_plain(struct piece_server *s, const struct piece_request *r)
{
	int64_t now = loop_now_ms(s->o.loop);
	char text[ADDR_TEXT_MAX];

	if (piece_trust_allows(&s->trust, &r->peer, now))
		return true;
	if (now - s->stranger_ms >= STRANGER_LOG_MS) {
		log_warn("piece refused peer=%s reason=\"plaintext from a host that showed no certificate\"", addr_format(&r->peer, text));
		s->stranger_ms = now;
	}
	return false;
}

void
piece_server_know(struct piece_server *s, const struct addr *peer)
{
	piece_trust_know(&s->trust, peer, loop_now_ms(s->o.loop));
}

void
piece_request_asked(struct loop_msg *msg)
{
	struct piece_request *r = CONTAINER_OF(msg, struct piece_request, msg);
	struct piece_server *s = r->side->server;
	enum store_kind kind;

	s->requests++;
	if (r->is_plain && !may_be_plain(s, r)) {
		decide_error(s, r, VORTEX_INVALID_ARGUMENT, "pieces are only for peers with certificates");
		return;
	}
	if (!task_id_is_valid(slice_str(r->wanted.task_id)) || kind_of(r->wanted.tag, &kind) < 0) {
		decide_error(s, r, VORTEX_INVALID_ARGUMENT, "invalid task id or kind");
		return;
	}
	r->task = s->o.is_disabled || s->is_draining ? NULL : store_task_find(s->o.store, kind, r->wanted.task_id);
	if (r->task == NULL) {
		decide_not_found(s, r);
		return;
	}
	store_task_use(r->task);
	if (store_piece_is_finished(r->task, r->wanted.number))
		queue_request(s, r);
	else
		wait_for_piece(s, r);
}

static void
drained_now(void *ctx)
{
	struct piece_server *s = ctx;
	void (*done)(void *) = s->drained;

	loop_timer_clear(s->o.loop, &s->drain_timer);
	s->drained = NULL;
	if (done != NULL)
		done(s->drained_ctx);
}

void
piece_request_done(struct loop_msg *msg)
{
	struct piece_request *r = CONTAINER_OF(msg, struct piece_request, msg);
	struct piece_server *s = r->side->server;

	s->requests--;
	if (r->was_checked && !r->task->is_deleted)
		store_piece_checked(r->task, r->wanted.number, r->is_good);
	if (r->has_slot) {
		if (r->is_complete)
			uplink_transferred(&s->uplink, r->sent, (clock_mono_ns() - r->began_ns) / 1000, s->active);
		worker_release(r->worker);
		s->active--;
		s->metrics.bytes += r->sent;
		s->metrics.finished += r->is_complete;
		s->metrics.failed += !r->is_complete;
		store_task_upload_end(r->task, r->is_complete, clock_wall_ns());
	}
	if (r->task != NULL)
		store_task_release(r->task);
	store_file_unref(r->file);
	buf_free(&r->head);
	free(r);
	tell_busy(s);
	serve_next(s);
	if (s->is_draining && s->requests == 0)
		drained_now(s);
}

/* ---- life ---- */

struct piece_server *
piece_server_new(const struct piece_server_options *o)
{
	struct piece_server *s = xcalloc(1, sizeof *s);

	s->o = *o;
	uplink_init(&s->uplink);
	list_init(&s->waiting);
	list_init(&s->turns);
	list_init(&s->wanting);
	list_init(&s->given);
	served_init(&s->served);
	piece_trust_init(&s->trust);
	limit_init(&s->limit, o->bandwidth_limit);
	door_init(&s->door);
	atomic_init(&s->progress, 0);
	s->side_count = o->workers->count;
	for (size_t i = 0; i < s->side_count; i++) {
		struct piece_side *side = &s->sides[i];

		side->server = s;
		side->server_loop = o->loop;
		side->loop = o->workers->at[i].loop;
		side->limit = &s->limit;
		side->tls = o->tls;
		side->prefers_tls = o->prefers_tls;
		side->door = &s->door;
		list_init(&side->conns);
	}
	return s;
}

void
piece_server_adopt(struct piece_server *s, int fd, struct slice early)
{
	struct addr peer;
	size_t place;

	addr_of_peer(&peer, fd);
	if (s->is_draining || !door_enter(&s->door, &peer, &place)) {
		close(fd);
		return;
	}
	piece_conn_start(&s->sides[s->next_side], fd, place, early);
	s->next_side = (s->next_side + 1) % s->side_count;
}

static void
on_accept(void *ctx, int fd, const struct addr *peer)
{
	(void)peer;
	piece_server_adopt(ctx, fd, (struct slice){0});
}

int
piece_server_listen(struct piece_server *s, const struct addr *a, struct addr *bound, struct err *e)
{
	s->listener = listener_tcp(s->o.loop, a, on_accept, s, e);
	if (s->listener == NULL)
		return -1;
	if (s->o.uses_fastopen)
		listener_set_fastopen(s->listener);
	*bound = *listener_addr(s->listener);
	return 0;
}

void
piece_server_metrics(const struct piece_server *s, struct piece_server_metrics *out)
{
	*out = s->metrics;
	out->connections = atomic_load(&s->door.count);
	out->turned_away = atomic_load(&s->door.refused);
	out->active = s->active;
	out->waiting = s->waiting_count;
}

void
piece_server_drain(struct piece_server *s, int ms, void (*done)(void *ctx), void *ctx)
{
	s->is_draining = true;
	if (s->listener != NULL)
		listener_free(s->listener);
	s->listener = NULL;
	LIST_EACH(it, next, &s->waiting)
		decide_not_found(s, CONTAINER_OF(it, struct piece_request, queue));
	while (!list_is_empty(&s->turns)) {
		struct piece_turn *t = CONTAINER_OF(s->turns.next, struct piece_turn, link);

		t->on_drain(t);
	}
	s->drained = done;
	s->drained_ctx = ctx;
	loop_timer_set(s->o.loop, &s->drain_timer, s->requests == 0 ? 0 : ms, drained_now, s);
}

static void
side_is_closed(struct loop_msg *msg)
{
	CONTAINER_OF(msg, struct piece_side, closing)->is_closed = true;
}

static void
close_side(struct loop_msg *msg)
{
	struct piece_side *side = CONTAINER_OF(msg, struct piece_side, closing);

	piece_side_close(side);
	msg->run = side_is_closed;
	loop_post(side->server_loop, msg);
}

void
piece_server_free(struct piece_server *s)
{
	if (s->listener != NULL)
		listener_free(s->listener);
	s->is_draining = true;
	LIST_EACH(it, next, &s->waiting)
		decide_not_found(s, CONTAINER_OF(it, struct piece_request, queue));
	for (size_t i = 0; i < s->side_count; i++) {
		s->sides[i].closing.run = close_side;
		loop_post(s->sides[i].loop, &s->sides[i].closing);
	}
	/* Outcomes of running requests come before the letter that says closed. */
	for (size_t i = 0; i < s->side_count; i++)
		while (!s->sides[i].is_closed || s->requests > 0)
			loop_turn(s->o.loop, 100);
	loop_timer_clear(s->o.loop, &s->look);
	loop_timer_clear(s->o.loop, &s->drain_timer);
	served_free(&s->served);
	piece_trust_free(&s->trust);
	free(s);
}
