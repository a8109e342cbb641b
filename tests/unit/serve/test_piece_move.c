/* Children's connections go to the data loop that has time for their piece. */
#include "node.h"

#include "base/mem.h"
#include "peer/worker.h"
#include "serve/piece.h"
#include "wire/vortex.h"

/* More than the kernel keeps of a connection whose other end does not read: the transfer stays under way. */
#define PIECE (UINT64_C(16) << 20)
#define PIECES 2
#define SEED 1
#define CHILDREN 2

static struct node *node;
static struct worker *at;
static size_t workers;
static uint16_t piece_port;
static int children[CHILDREN];

static int
start(void **state)
{
	struct common_download d = {.has_piece_length = true, .piece_length = PIECE};
	struct piece_server_metrics m;

	(void)state;
	node = node_start(true, "");
	at = node->parts->workers->at;
	workers = node->parts->workers->count;
	d.url = node_url(node, "/gen/33554432/1");
	assert_int_equal(node_download(node, node->local, &d), 0);
	piece_port = cluster_host(node->parts->cluster)->piece_port;
	for (size_t i = 0; i < CHILDREN; i++) {
		children[i] = node_connect(piece_port);
		NODE_UNTIL(node, (piece_server_metrics(node->parts->pieces, &m), m.connections == i + 1));
	}
	return 0;
}

static int
stop(void **state)
{
	(void)state;
	for (size_t i = 0; i < CHILDREN; i++)
		if (children[i] >= 0)
			close(children[i]);
	node_stop(node);
	return 0;
}

/* As if every worker but this had much to do, or no more. */
static void
keep_others_busy(size_t free_one, bool is_busy)
{
	for (size_t i = 0; i < workers; i++) {
		if (i == free_one)
			continue;
		for (unsigned n = 0; n < 10; n++) {
			if (is_busy)
				worker_use(&at[i]);
			else
				worker_release(&at[i]);
		}
	}
}

static void
ask(int fd, uint32_t number)
{
	uint8_t packet[VORTEX_REQUEST_BYTES];

	vortex_write_request(packet, 1, VORTEX_DOWNLOAD_PIECE, slice_make(node->task_id, TASK_ID_LENGTH), number);
	assert_int_equal(send(fd, packet, sizeof packet, MSG_NOSIGNAL), sizeof packet);
}

/* The answer to one request, and nothing of the next. */
static void
read_answer(int fd, uint32_t number)
{
	struct vortex_reply_reader reader;
	struct vortex_reply reply;
	enum vortex_result result = VORTEX_MORE;
	int64_t until = clock_mono_ms() + NODE_LIMIT_MS;
	uint8_t *part = malloc(1 << 16);
	uint64_t all = 0;
	bool is_right = true;
	struct err e;

	assert_non_null(part);
	vortex_reply_start(&reader, VORTEX_DOWNLOAD_PIECE);
	while (all < PIECE) {
		size_t most = result == VORTEX_READY ? PIECE - all < 1 << 16 ? (size_t)(PIECE - all) : 1 << 16 : 1;
		ssize_t n = recv(fd, part, most, MSG_DONTWAIT);
		struct slice in = slice_make(part, n > 0 ? (size_t)n : 0);

		assert_true(n != 0 && clock_mono_ms() < until);
		if (n < 0)
			loop_turn(node->parts->loop, 1);
		else if (result == VORTEX_MORE)
			result = vortex_read_reply(&reader, &in, &reply, &e);
		else
			for (size_t i = 0; i < in.n; i++, all++)
				is_right = is_right && in.p[i] == origin_gen_byte(SEED, number * PIECE + all);
		assert_true(result == VORTEX_MORE || (result == VORTEX_READY && !reply.is_error));
	}
	free(part);
	assert_true(is_right);
}

static void
piece_is_sent_by_the_loop_that_has_time(void **state)
{
	(void)state;
	for (size_t free_one = 0; free_one < workers; free_one++) {
		keep_others_busy(free_one, true);
		for (size_t i = 0; i < CHILDREN; i++)
			ask(children[i], (uint32_t)i);
		NODE_UNTIL(node, at[free_one].jobs == CHILDREN);
		for (size_t i = 0; i < CHILDREN; i++)
			read_answer(children[i], (uint32_t)i);
		NODE_UNTIL(node, at[free_one].jobs == 0);
		keep_others_busy(free_one, false);
	}
}

static void
request_that_came_early_moves_along(void **state)
{
	(void)state;
	for (size_t free_one = 0; free_one < workers; free_one++) {
		keep_others_busy(free_one, true);
		ask(children[0], 1);
		ask(children[0], 0);
		read_answer(children[0], 1);
		read_answer(children[0], 0);
		NODE_UNTIL(node, at[free_one].jobs == 0);
		keep_others_busy(free_one, false);
	}
}

static void
equal_loops_share_the_children(void **state)
{
	(void)state;
	for (size_t i = 0; i < CHILDREN; i++)
		ask(children[i], (uint32_t)i);
	NODE_UNTIL(node, at[0].jobs == 1 && at[1].jobs == 1);
	for (size_t i = 0; i < CHILDREN; i++)
		read_answer(children[i], (uint32_t)i);
	NODE_UNTIL(node, at[0].jobs == 0 && at[1].jobs == 0);
}

static void
child_that_goes_away_frees_the_loop_it_was_moved_to(void **state)
{
	struct piece_server_metrics m;

	(void)state;
	keep_others_busy(workers - 1, true);
	ask(children[0], 0);
	NODE_UNTIL(node, at[workers - 1].jobs == 1);
	shutdown(children[0], SHUT_RDWR);
	close(children[0]);
	children[0] = -1;
	NODE_UNTIL(node, at[workers - 1].jobs == 0);
	keep_others_busy(workers - 1, false);
	piece_server_metrics(node->parts->pieces, &m);
	assert_int_equal(m.failed, 1);
}

#define MOVE_TEST(f) cmocka_unit_test_setup_teardown(f, start, stop)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		MOVE_TEST(piece_is_sent_by_the_loop_that_has_time),
		MOVE_TEST(request_that_came_early_moves_along),
		MOVE_TEST(equal_loops_share_the_children),
		MOVE_TEST(child_that_goes_away_frees_the_loop_it_was_moved_to),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
