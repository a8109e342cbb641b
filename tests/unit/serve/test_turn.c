/* Turns at a busy uplink, as children see them. */
#include "node.h"

#include "base/mem.h"
#include "peer/collect.h"
#include "proto/turns.h"
#include "serve/piece.h"
#include "wire/vortex.h"

#define PIECE_COUNT 3
/* Too short to tell how quick the link is: turns go on after it. */
#define LAST_BYTES (9000000 - (8 << 20))

struct child {
	struct rpc_call *call;
	bool is_busy, is_over;
	unsigned turns;
	unsigned messages;
	size_t n_fresh;
	uint32_t fresh[8];
	int code;
};

static struct node *node;
static uint16_t piece_port;
static bool has_header;

static int
start(void **state)
{
	struct common_download d = {0};

	(void)state;
	node = node_start(true, "");
	d.url = node_url(node, "/gen/9000000/1");
	assert_int_equal(node_download(node, node->local, &d), 0);
	piece_port = 0;
	return 0;
}

static int
stop(void **state)
{
	(void)state;
	node_stop(node);
	return 0;
}

/* ---- SyncPieces ---- */

static void
sync_headers(struct rpc_call *call, void *ctx, const struct hpack_field *fields, size_t n)
{
	(void)call;
	(void)ctx;
	for (size_t i = 0; i < n; i++)
		has_header = has_header || (slice_eq_str(fields[i].name, PARENT_TURNS_HEADER) && slice_eq_str(fields[i].value, PARENT_TURNS_VALUE));
}

static void
sync_message(struct rpc_call *call, void *ctx, struct slice bytes)
{
	struct dfdaemon_sync_pieces_response m;

	(void)call;
	(void)ctx;
	assert_int_equal(pb_decode(&dfdaemon_sync_pieces_response_desc, bytes, &node->memory, &m, NULL), 0);
	piece_port = (uint16_t)m.tcp_port;
}

static void
sync_pieces(void)
{
	static const struct rpc_call_events ev = {.on_headers = sync_headers, .on_message = sync_message, .on_end = node_on_end};
	uint32_t numbers[PIECE_COUNT] = {0, 1, 2};
	struct dfdaemon_sync_pieces_request r = {
		.host_id = slice_str("child"), .task_id = slice_str(node->task_id), .interested_piece_numbers = numbers,
		.n_interested_piece_numbers = PIECE_COUNT};
	struct rpc_call *call;

	node_begin(node);
	has_header = false;
	call = rpc_call_start(node->remote, DFDAEMON_DFDAEMON_UPLOAD_SYNC_PIECES, &ev, node, NULL);
	assert_int_equal(rpc_call_send(call, &dfdaemon_sync_pieces_request_desc, &r, NULL), 0);
	rpc_call_half_close(call);
	node_wait(node);
	assert_int_equal(node->code, 0);
}

/* ---- children ---- */

static void
child_message(struct rpc_call *call, void *ctx, struct slice bytes)
{
	struct child *c = ctx;
	struct turns_turn_response m;
	struct arena arena;

	(void)call;
	arena_init(&arena, 0);
	assert_int_equal(pb_decode(&turns_turn_response_desc, bytes, &arena, &m, NULL), 0);
	c->messages++;
	c->is_busy = m.is_busy;
	c->turns += m.is_yours;
	if (m.is_yours) {
		assert_true(m.n_fresh <= COUNT_OF(c->fresh));
		c->n_fresh = m.n_fresh;
		for (size_t i = 0; i < m.n_fresh; i++)
			c->fresh[i] = m.fresh[i];
	}
	arena_free(&arena);
}

static void
child_end(struct rpc_call *call, void *ctx, const struct rpc_status *st)
{
	struct child *c = ctx;

	(void)call;
	c->call = NULL;
	c->is_over = true;
	c->code = st->code;
}

static void
say(struct child *c, const char *task_id, bool wants, uint32_t number)
{
	struct turns_turn_request m = {.host_id = slice_str("child"), .task_id = slice_str(task_id), .wants = wants, .number = number};

	assert_int_equal(rpc_call_send(c->call, &turns_turn_request_desc, &m, NULL), 0);
}

static void
child_open(struct child *c, const char *task_id)
{
	static const struct rpc_call_events ev = {.on_message = child_message, .on_end = child_end};

	*c = (struct child){0};
	c->call = rpc_call_start(node->remote, TURNS_TURNS_WAIT, &ev, c, NULL);
	say(c, task_id, false, 0);
	NODE_UNTIL(node, c->messages > 0 || c->is_over);
}

static void
child_close(struct child *c)
{
	if (c->call != NULL)
		rpc_call_cancel(c->call);
}

/* Asks for a piece; the connection, for read_piece. */
static int
ask_piece(uint32_t number)
{
	uint8_t packet[VORTEX_REQUEST_BYTES];
	int fd;

	if (piece_port == 0)
		sync_pieces();
	fd = node_connect(piece_port);
	vortex_write_request(packet, 1, VORTEX_DOWNLOAD_PIECE, slice_make(node->task_id, TASK_ID_LENGTH), number);
	assert_int_equal(send(fd, packet, sizeof packet, MSG_NOSIGNAL), sizeof packet);
	return fd;
}

static void
read_piece(int fd, size_t length)
{
	size_t all = 0;
	int64_t until = clock_mono_ms() + NODE_LIMIT_MS;
	char *part = malloc(1 << 20);

	while (all < length) {
		ssize_t n = recv(fd, part, 1 << 20, MSG_DONTWAIT);

		assert_true(n != 0 && clock_mono_ms() < until);
		if (n > 0)
			all += (size_t)n;
		else
			loop_turn(node->parts->loop, 1);
	}
	free(part);
}

/* ---- tests ---- */

static void
children_hear_that_turns_may_be_given(void **state)
{
	(void)state;
	sync_pieces();
	assert_true(has_header);
}

static void
second_child_makes_turns_needed_and_its_going_ends_that(void **state)
{
	struct child a, b;

	(void)state;
	child_open(&a, node->task_id);
	assert_false(a.is_busy);
	child_open(&b, node->task_id);
	assert_true(b.is_busy);
	NODE_UNTIL(node, a.is_busy);
	child_close(&b);
	NODE_UNTIL(node, !a.is_busy);
	child_close(&a);
}

static void
one_turn_at_a_time_and_the_next_when_it_is_given_back(void **state)
{
	struct child a, b;

	(void)state;
	child_open(&a, node->task_id);
	child_open(&b, node->task_id);
	say(&a, "", true, 0);
	NODE_UNTIL(node, a.turns == 1);
	assert_int_equal(a.n_fresh, PIECE_COUNT);
	say(&b, "", true, 1);
	/* What is said on one connection is heard in order. */
	sync_pieces();
	assert_int_equal(b.turns, 0);
	say(&a, "", false, 0);
	NODE_UNTIL(node, b.turns == 1);
	child_close(&a);
	child_close(&b);
}

static void
child_that_goes_leaves_its_turn_to_the_next(void **state)
{
	struct child a, b, c;

	(void)state;
	child_open(&a, node->task_id);
	child_open(&b, node->task_id);
	child_open(&c, node->task_id);
	say(&a, "", true, 0);
	NODE_UNTIL(node, a.turns == 1);
	say(&b, "", true, 1);
	child_close(&a);
	NODE_UNTIL(node, b.turns == 1);
	child_close(&b);
	child_close(&c);
}

static void
turn_that_is_not_used_goes_to_the_next(void **state)
{
	struct child a, b;
	int64_t since = clock_mono_ms();

	(void)state;
	child_open(&a, node->task_id);
	child_open(&b, node->task_id);
	say(&a, "", true, 0);
	NODE_UNTIL(node, a.turns == 1);
	say(&b, "", true, 1);
	NODE_UNTIL(node, b.turns == 1);
	assert_true(clock_mono_ms() - since >= PIECE_TURN_MS);
	child_close(&a);
	child_close(&b);
}

static void
child_that_let_a_turn_pass_comes_after_the_others(void **state)
{
	struct child a, b, c;

	(void)state;
	child_open(&a, node->task_id);
	child_open(&b, node->task_id);
	child_open(&c, node->task_id);
	say(&a, "", true, 0);
	NODE_UNTIL(node, a.turns == 1);
	say(&c, "", true, 0);
	NODE_UNTIL(node, c.turns == 1);
	say(&a, "", true, 0);
	say(&b, "", true, 0);
	sync_pieces();
	say(&c, "", false, 0);
	NODE_UNTIL(node, b.turns == 1);
	assert_int_equal(a.turns, 1);
	child_close(&a);
	child_close(&b);
	child_close(&c);
}

static void
request_uses_the_turn_up_and_its_piece_is_fresh_no_more(void **state)
{
	struct child a, b;
	int fd;

	(void)state;
	sync_pieces();
	child_open(&a, node->task_id);
	child_open(&b, node->task_id);
	say(&a, "", true, 2);
	NODE_UNTIL(node, a.turns == 1);
	fd = ask_piece(2);
	read_piece(fd, LAST_BYTES);
	say(&b, "", true, 1);
	NODE_UNTIL(node, b.turns == 1);
	assert_int_equal(b.n_fresh, PIECE_COUNT - 1);
	assert_true(b.fresh[0] != 2 && b.fresh[1] != 2);
	close(fd);
	child_close(&a);
	child_close(&b);
}

static void
request_of_a_stranger_is_served_too(void **state)
{
	struct child a, b;
	int fd;

	(void)state;
	sync_pieces();
	child_open(&a, node->task_id);
	child_open(&b, node->task_id);
	fd = ask_piece(2);
	read_piece(fd, LAST_BYTES);
	close(fd);
	child_close(&a);
	child_close(&b);
}

static void
who_waits_for_the_piece_given_least_is_next(void **state)
{
	struct child a, b, c;
	int fd;

	(void)state;
	sync_pieces();
	fd = ask_piece(2);
	read_piece(fd, LAST_BYTES);
	close(fd);
	child_open(&a, node->task_id);
	child_open(&b, node->task_id);
	child_open(&c, node->task_id);
	say(&a, "", true, 1);
	NODE_UNTIL(node, a.turns == 1);
	say(&b, "", true, 2);
	say(&c, "", true, 1);
	sync_pieces();
	say(&a, "", false, 0);
	NODE_UNTIL(node, c.turns == 1);
	assert_int_equal(b.turns, 0);
	child_close(&a);
	child_close(&b);
	child_close(&c);
}

static void
wrong_task_id_is_refused(void **state)
{
	struct child a;

	(void)state;
	child_open(&a, "nonsense");
	NODE_UNTIL(node, a.is_over);
	assert_int_equal(a.code, ERR_INVALID_ARGUMENT);
}

static void
child_that_says_good_bye_is_let_go(void **state)
{
	struct child a;

	(void)state;
	child_open(&a, node->task_id);
	rpc_call_half_close(a.call);
	NODE_UNTIL(node, a.is_over);
	assert_int_equal(a.code, 0);
}

#define TURN_TEST(f) cmocka_unit_test_setup_teardown(f, start, stop)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TURN_TEST(children_hear_that_turns_may_be_given),
		TURN_TEST(second_child_makes_turns_needed_and_its_going_ends_that),
		TURN_TEST(one_turn_at_a_time_and_the_next_when_it_is_given_back),
		TURN_TEST(child_that_goes_leaves_its_turn_to_the_next),
		TURN_TEST(turn_that_is_not_used_goes_to_the_next),
		TURN_TEST(child_that_let_a_turn_pass_comes_after_the_others),
		TURN_TEST(request_uses_the_turn_up_and_its_piece_is_fresh_no_more),
		TURN_TEST(request_of_a_stranger_is_served_too),
		TURN_TEST(who_waits_for_the_piece_given_least_is_next),
		TURN_TEST(wrong_task_id_is_refused),
		TURN_TEST(child_that_says_good_bye_is_let_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
