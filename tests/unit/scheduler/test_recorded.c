/*
 * What real peers said to a Go scheduler, said again to ours: the same bytes, and what must have come of them.
 */
#include "cluster.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECORDED "tests/vectors/recorded/"
#define QUIET_TURNS 20

static struct buf
read_file(const char *name)
{
	char path[256];
	struct buf b = BUF_INIT;
	size_t n;
	FILE *f;

	snprintf(path, sizeof path, RECORDED "%s", name);
	f = fopen(path, "rb");
	if (!f)
		fail_msg("open %s", path);
	while ((n = fread(buf_reserve(&b, 65536), 1, 65536, f)) > 0)
		buf_added(&b, n);
	fclose(f);
	return b;
}

/* Sends a recorded client's bytes, `step` at a time, and takes what comes back. */
static void
replay(struct cluster *c, const char *name, size_t step)
{
	struct buf said = read_file(name);
	uint8_t back[4096];
	size_t heard = 0;
	ssize_t n;
	int fds[2], quiet = 0;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
	rpc_server_serve(c->server, fds[0], NULL, slice_make(NULL, 0));
	while (said.len > 0 || quiet < QUIET_TURNS) {
		if (said.len > 0) {
			n = write(fds[1], buf_data(&said), said.len < step ? said.len : step);
			assert_true(n > 0);
			buf_consume(&said, (size_t)n);
		}
		loop_turn(c->loop, said.len > 0 ? 0 : 5);
		quiet++;
		while ((n = read(fds[1], back, sizeof back)) > 0) {
			heard += (size_t)n;
			quiet = 0;
		}
		/* Every recording ends with the client's GOAWAY: before that the connection stays open. */
		if (n == 0) {
			assert_int_equal(said.len, 0);
			break;
		}
	}
	assert_true(heard > 100);
	close(fds[1]);
	buf_free(&said);
	loop_turn(c->loop, 5);
}

static uint64_t
registered(const struct scheduler_metrics *m)
{
	uint64_t n = 0;

	for (int p = 0; p < SCHEDULER_PRIORITIES; p++)
		for (int t = 0; t < SCHEDULER_TASK_TYPES; t++)
			for (int h = 0; h < SCHEDULER_HOST_TYPES; h++)
				n += m->register_peer[p][t][h] - m->register_peer_failure[p][t][h];
	return n;
}

static uint64_t
pieces(const struct scheduler_metrics *m, int traffic)
{
	uint64_t n = 0;

	for (int t = 0; t < SCHEDULER_TASK_TYPES; t++)
		for (int h = 0; h < SCHEDULER_HOST_TYPES; h++)
			n += m->download_piece_finished[traffic][t][h];
	return n;
}

static void
check(const char *name, size_t step, unsigned announced, unsigned peers, unsigned from_source, unsigned from_peers)
{
	struct cluster *c = cluster_new();
	struct scheduler_metrics m;

	cluster_start(c);
	replay(c, name, step);
	scheduler_metrics(c->scheduler, &m);
	assert_int_equal(m.announce_host, announced);
	assert_int_equal(m.announce_host_failure, 0);
	assert_int_equal(m.announce_peer, peers);
	assert_int_equal(m.announce_peer_failure, 0);
	assert_int_equal(registered(&m), peers);
	assert_int_equal(m.download_peer_finished, peers);
	assert_int_equal(pieces(&m, 0), from_source);
	assert_int_equal(pieces(&m, 1), from_peers);
	assert_int_equal(m.leave_host, 1);
	assert_int_equal(m.leave_host_failure, 0);
	assert_int_equal(m.hosts, 0);
	cluster_free(c);
}

static void
seed_of_the_reference_is_understood(void **state)
{
	(void)state;
	check("scheduler-from-seed.c2s", 1 << 20, 8, 2, 5, 0);
	check("scheduler-from-seed.c2s", 1, 8, 2, 5, 0);
}

static void
peers_of_the_reference_are_understood(void **state)
{
	(void)state;
	check("scheduler-from-peer0.c2s", 1 << 20, 8, 1, 0, 2);
	check("scheduler-from-peer0.c2s", 7, 8, 1, 0, 2);
	check("scheduler-from-peer1.c2s", 1 << 20, 7, 2, 0, 5);
	check("scheduler-from-peer1.c2s", 13, 7, 2, 0, 5);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(seed_of_the_reference_is_understood),
		cmocka_unit_test(peers_of_the_reference_are_understood),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
