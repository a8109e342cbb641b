#include "cluster_test.h"

#include <unistd.h>

#include "cluster/manager.h"

#define BASE "{host: {hostname: My_Host, ip: 127.0.0.1, idc: 'a', location: 'x|y', schedulerClusterID: 7}, manager: {addr: 'http://127.0.0.1:%u'}, "
#define QUICK BASE "dynconfig: {refreshInterval: 50ms}}"
#define SLOW BASE "dynconfig: {refreshInterval: 1h}}"

static void
schedulers_come_from_the_manager_which_hears_of_this_host(void **state)
{
	struct world *w = world_new();
	struct node *m = &w->nodes[0];

	(void)state;
	row(m, "s1", 1, 7, &w->nodes[1], "{\"load_limit\":200}");
	join(w, SLOW, false);
	WAIT(w, w->nodes[1].announced == 1);
	assert_int_equal(chosen(w), w->nodes[1].port);
	assert_string_equal(w->nodes[1].announced_id, "127.0.0.1-me");
	assert_string_equal(m->asked_by, "my-host");
	assert_string_equal(m->asked_ip, "127.0.0.1");
	assert_string_equal(m->asked_idc, "a");
	assert_string_equal(m->asked_location, "x|y");
	assert_string_equal(m->asked_version, DRAGONFLY_VERSION);
	assert_int_equal(m->asked_type, MANAGER_SOURCE_TYPE_PEER_SOURCE);
	assert_int_equal(m->asked_cluster, 7);
	assert_int_equal(m->updates, 0);
	assert_int_equal(download(w, "http://x/", NULL), 0);
	world_end(w);
}

static void
manager_away_at_start_is_found_when_it_comes(void **state)
{
	struct world *w = world_new();

	(void)state;
	row(&w->nodes[0], "s1", 1, 1, &w->nodes[1], "{}");
	node_stop(&w->nodes[0]);
	join(w, SLOW, false);
	for (int i = 0; i < 20; i++)
		loop_turn(w->loop, 10);
	assert_int_equal(chosen(w), 0);
	node_start(w, &w->nodes[0]);
	WAIT(w, w->nodes[1].announced == 1);
	assert_int_equal(chosen(w), w->nodes[1].port);
	world_end(w);
}

static void
manager_away_later_leaves_the_schedulers(void **state)
{
	struct world *w = world_new();
	struct node *m = &w->nodes[0];

	(void)state;
	row(m, "s1", 1, 1, &w->nodes[1], "{}");
	join(w, QUICK, false);
	WAIT(w, m->asked >= 2);
	node_stop(m);
	for (int i = 0; i < 30; i++)
		loop_turn(w->loop, 10);
	assert_int_equal(chosen(w), w->nodes[1].port);
	/* Back with another one. */
	m->n_rows = 0;
	row(m, "s2", 2, 1, &w->nodes[2], "{}");
	node_start(w, m);
	WAIT(w, chosen(w) == w->nodes[2].port && w->nodes[2].announced == 1);
	assert_int_equal(available(w), 1);
	world_end(w);
}

static void
answers_without_sense_change_nothing(void **state)
{
	static const char *const garbage[] = {"\xff\xff\xff\xff", "\x0a\x7f", "\x0a\x02\x2a\x09", "hello"};
	struct world *w = world_new();
	struct node *m = &w->nodes[0];
	int before;

	(void)state;
	row(m, "s1", 1, 1, &w->nodes[1], "{\"block_list\":{\"task\":{\"download\":{\"tags\":[\"no\"]}}}}");
	join(w, QUICK, false);
	WAIT(w, w->nodes[1].announced == 1);
	for (size_t i = 0; i < COUNT_OF(garbage); i++) {
		m->garbage = garbage[i];
		before = m->asked;
		WAIT(w, m->asked > before);
		m->garbage = NULL;
		before = m->asked;
		WAIT(w, m->asked > before);
	}
	m->code = ERR_UNKNOWN;
	before = m->asked;
	WAIT(w, m->asked > before);
	m->code = ERR_OK;
	log_set_level(LOG_OFF);
	/* No scheduler; then entries that are none beside one that is. */
	m->n_rows = 0;
	before = m->asked;
	WAIT(w, m->asked > before);
	row(m, "", 2, 1, &w->nodes[2], "{");
	m->rows[0].port = 0;
	row(m, "", 3, 1, &w->nodes[2], "{");
	m->rows[1].ip = slice_make("127.0.0.1\0x", 11);
	before = m->asked;
	WAIT(w, m->asked > before + 1);
	assert_int_equal(chosen(w), w->nodes[1].port);
	row(m, "", 4, 1, &w->nodes[2], "{");
	WAIT(w, chosen(w) == w->nodes[2].port);
	/* Rules that cannot be read leave those that were. */
	assert_int_equal(download(w, "http://x/", "no"), ERR_PERMISSION_DENIED);
	world_end(w);
}

static void
cluster_of_the_first_scheduler_that_answers_is_chosen(void **state)
{
	struct world *w = world_new();
	struct node *m = &w->nodes[0];

	(void)state;
	row(m, "s1", 1, 10, &w->nodes[1], "{\"block_list\":{\"task\":{\"download\":{\"urls\":[\"ten\"]}}}}");
	row(m, "s2", 2, 20, &w->nodes[2], "{\"block_list\":{\"task\":{\"download\":{\"urls\":[\"twenty\"]}}}}");
	row(m, "s3", 3, 20, &w->nodes[3], "{}");
	join(w, SLOW, false);
	WAIT(w, w->nodes[1].announced == 1);
	assert_int_equal(available(w), 1);
	assert_int_equal(chosen(w), w->nodes[1].port);
	assert_int_equal(download(w, "http://ten/", NULL), ERR_PERMISSION_DENIED);
	assert_int_equal(w->nodes[2].announced + w->nodes[3].announced, 0);
	/* All of it go: the next cluster at once, without asking the manager. */
	w->nodes[1].is_sick = true;
	cluster_announce_soon(w->cluster);
	WAIT(w, w->nodes[2].announced == 1 && w->nodes[3].announced == 1);
	assert_int_equal(available(w), 2);
	assert_int_equal(download(w, "http://ten/", NULL), 0);
	assert_int_equal(download(w, "http://twenty/", NULL), ERR_PERMISSION_DENIED);
	assert_int_equal(m->asked, 1);
	w->nodes[1].is_sick = false;
	WAIT(w, chosen(w) == w->nodes[1].port && available(w) == 1);
	world_end(w);
}

static void
newest_of_one_host_name_is_the_only_one(void **state)
{
	struct world *w = world_new();
	struct node *m = &w->nodes[0];

	(void)state;
	row(m, "s", 5, 1, &w->nodes[1], "{}");
	row(m, "s", 9, 1, &w->nodes[2], "{}");
	row(m, "s", 7, 1, &w->nodes[3], "{}");
	join(w, SLOW, false);
	WAIT(w, w->nodes[2].announced == 1);
	assert_int_equal(available(w), 1);
	assert_int_equal(chosen(w), w->nodes[2].port);
	assert_int_equal(w->nodes[1].announced + w->nodes[3].announced, 0);
	w->nodes[2].is_sick = true;
	cluster_announce_soon(w->cluster);
	WAIT(w, chosen(w) == w->nodes[3].port);
	world_end(w);
}

static void
next_manager_is_asked_when_one_fails(void **state)
{
	struct world *w = world_new();

	(void)state;
	node_stop(&w->nodes[0]);
	row(&w->nodes[1], "s1", 1, 1, &w->nodes[2], "{}");
	join(w, "{host: {hostname: h, ip: 127.0.0.1}, manager: {addr: 'http://127.0.0.1:%u'}, x: {manager: {addrs: ['127.0.0.1:%u']}}, "
		"dynconfig: {refreshInterval: 50ms}}", false);
	WAIT(w, w->nodes[2].announced == 1);
	/* It stays with the one that answers, until that one goes. */
	row(&w->nodes[0], "s2", 1, 1, &w->nodes[3], "{}");
	node_start(w, &w->nodes[0]);
	WAIT(w, w->nodes[1].asked >= 5);
	assert_int_equal(w->nodes[0].asked, 0);
	node_stop(&w->nodes[1]);
	WAIT(w, chosen(w) == w->nodes[3].port);
	world_end(w);
}

static void
rules_of_the_manager_hold_and_change(void **state)
{
	struct world *w = world_new();
	struct node *m = &w->nodes[0];

	(void)state;
	row(m, "s1", 1, 1, &w->nodes[1], "{\"block_list\":{\"task\":{\"download\":{\"urls\":[\".*\\\\.blocked\\\\.com.*\",\"(\"],"
		"\"tags\":null,\"priorities\":[3]}},\"persistent_task\":null}}");
	join(w, QUICK, false);
	log_set_level(LOG_OFF);
	WAIT(w, download(w, "https://example.blocked.com/f", NULL) == ERR_PERMISSION_DENIED);
	assert_int_equal(download(w, "https://example.com/f", NULL), 0);
	m->clusters[0].client_config = slice_str("null");
	WAIT(w, download(w, "https://example.blocked.com/f", NULL) == 0);
	m->clusters[0].client_config = slice_str("{\"block_list\":{\"task\":{\"download\":{\"applications\":null,\"tags\":[\"t\"]}}}}");
	WAIT(w, download(w, "https://example.com/f", "t") == ERR_PERMISSION_DENIED);
	/* No cluster in the answer: what was known stays. */
	m->rows[0].scheduler_cluster = NULL;
	WAIT(w, m->asked >= 10);
	assert_int_equal(download(w, "https://example.com/f", "t"), ERR_PERMISSION_DENIED);
	m->rows[0].scheduler_cluster = &m->clusters[0];
	m->clusters[0].client_config = (struct slice){0};
	WAIT(w, download(w, "https://example.com/f", "t") == 0);
	world_end(w);
}

static void
seed_peer_has_an_entry_while_it_runs(void **state)
{
	struct world *w = world_new();
	struct node *m = &w->nodes[0];

	(void)state;
	row(m, "s1", 1, 1, &w->nodes[1], "{\"block_list\":{\"task\":{\"download\":{\"tags\":[\"t\"]}}}}");
	m->clusters[0].seed_client_config = slice_str("{\"block_list\":{\"task\":{\"download\":{\"tags\":[\"s\"]}}},\"load_limit\":2000}");
	join(w, "{host: {hostname: seed-1, ip: 127.0.0.1}, seedPeer: {enable: true}, manager: {addr: 'http://127.0.0.1:%u'}, "
		"x: {seedPeer: {clusterID: 3}}}", true);
	WAIT(w, m->keeps >= 1 && w->nodes[1].announced == 1);
	assert_int_equal(m->updates, 1);
	assert_int_equal(m->seed_cluster, 3);
	assert_int_equal(m->seed_port, 4000);
	assert_int_equal(m->asked_type, MANAGER_SOURCE_TYPE_SEED_PEER_SOURCE);
	/* A seed peer's rules are others. */
	assert_int_equal(download(w, "http://x/", "t"), 0);
	assert_int_equal(download(w, "http://x/", "s"), ERR_PERMISSION_DENIED);
	/* The stream breaks: the entry is made again. */
	rpc_stream_end(m->kept, ERR_INTERNAL, "no such row", (struct slice){0});
	m->kept = NULL;
	WAIT(w, m->updates == 2 && m->kept_streams == 2 && m->keeps >= 2);
	cluster_leave(w->cluster, 3000, on_left, w);
	WAIT(w, w->left);
	assert_int_equal(m->deletes, 1);
	assert_int_equal(w->nodes[1].left, 1);
	assert_null(m->kept);
	world_end(w);
}

static void
seed_peer_leaves_though_the_manager_is_gone(void **state)
{
	struct world *w = world_new();
	struct node *m = &w->nodes[0];
	int64_t begin;

	(void)state;
	row(m, "s1", 1, 1, &w->nodes[1], "{}");
	join(w, "{host: {hostname: seed-1, ip: 127.0.0.1}, seedPeer: {enable: true}, manager: {addr: 'http://127.0.0.1:%u'}}", true);
	WAIT(w, m->keeps >= 1 && w->nodes[1].announced == 1);
	node_stop(m);
	begin = clock_mono_ms();
	cluster_leave(w->cluster, 500, on_left, w);
	WAIT(w, w->left);
	assert_true(clock_mono_ms() - begin < 2000);
	assert_int_equal(w->nodes[1].left, 1);
	world_end(w);
}

static void
scheduler_inside_is_what_is_left(void **state)
{
	struct world *w = world_new();

	(void)state;
	node_stop(&w->nodes[0]);
	join(w, "{host: {hostname: h, ip: 127.0.0.1}, manager: {addr: 'http://127.0.0.1:%u'}, x: {scheduler: {peers: ['127.0.0.1:%u']}}, "
		"dynconfig: {refreshInterval: 50ms}}", false);
	WAIT(w, w->nodes[1].announced == 1);
	assert_int_equal(chosen(w), w->nodes[1].port);
	row(&w->nodes[0], "s2", 1, 1, &w->nodes[2], "{}");
	node_start(w, &w->nodes[0]);
	WAIT(w, chosen(w) == w->nodes[2].port && available(w) == 1);
	w->nodes[2].is_sick = true;
	cluster_announce_soon(w->cluster);
	WAIT(w, chosen(w) == w->nodes[1].port);
	world_end(w);
}

static void
host_names_are_made_fit_for_the_manager(void **state)
{
	static const char *const rows[][2] = {
		{"node-1", "node-1"}, {"my_host", "my-host"}, {"UPPER.Example.ORG", "upper.example.org"}, {"_x_", "x"}, {"a._b", "a.b"},
		{"a_.b", "a.b"}, {"..a..b..", "a.b"}, {"", "x"}, {"---", "x"}, {"\xc3\xa4" "b", "b"}, {"1", "1"},
	};
	char out[MANAGER_HOSTNAME_MAX + 1], long_name[400];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		manager_hostname(rows[i][0], out);
		assert_string_equal(out, rows[i][1]);
	}
	memset(long_name, 'a', sizeof long_name);
	long_name[64] = '_';
	long_name[sizeof long_name - 1] = '\0';
	manager_hostname(long_name, out);
	assert_int_equal(strlen(out), 63);
	for (size_t i = 40; i < sizeof long_name - 1; i += 40)
		long_name[i] = '.';
	manager_hostname(long_name, out);
	assert_true(strlen(out) <= MANAGER_HOSTNAME_MAX && strlen(out) > 200);
}

/* ---- what a real manager said ---- */

#define RECORDED_ANSWER 304     /* bytes of the recording up to the end of its first answer */

struct recording {
	struct world *w;
	struct loop_io io;
	int fd;
	uint8_t heard[4096];
	size_t n;
	bool is_asked;
};

/* A DATA frame with END_STREAM has come: the question is complete. */
static bool
is_complete(const struct recording *r)
{
	size_t at = 24;

	while (at + 9 <= r->n) {
		if (r->heard[at + 3] == 0 && (r->heard[at + 4] & 1) != 0)
			return true;
		at += 9 + ((size_t)r->heard[at] << 16 | (size_t)r->heard[at + 1] << 8 | r->heard[at + 2]);
	}
	return false;
}

static void
on_question(struct loop_io *io, unsigned ready)
{
	struct recording *r = CONTAINER_OF(io, struct recording, io);
	char bytes[RECORDED_ANSWER];
	ssize_t n = read(r->fd, r->heard + r->n, sizeof r->heard - r->n);
	FILE *f;

	(void)ready;
	if (n <= 0) {
		loop_io_clear(r->w->loop, io);
		return;
	}
	r->n += (size_t)n;
	if (r->is_asked || !is_complete(r))
		return;
	r->is_asked = true;
	f = fopen("tests/vectors/recorded/manager-from-peer.s2c", "rb");
	assert_non_null(f);
	assert_int_equal(fread(bytes, 1, sizeof bytes, f), sizeof bytes);
	fclose(f);
	assert_int_equal(write(r->fd, bytes, sizeof bytes), sizeof bytes);
}

static void
on_connection(void *ctx, int fd, const struct addr *peer)
{
	struct recording *r = ctx;

	(void)peer;
	r->fd = fd;
	loop_io_set(r->w->loop, &r->io, fd, LOOP_READ, on_question);
}

static void
recorded_answer_of_a_manager_is_understood(void **state)
{
	struct world *w = world_new();
	struct recording r = {.w = w, .fd = -1};
	struct listener *l;
	struct addr a;
	struct err e;

	(void)state;
	node_stop(&w->nodes[0]);
	assert_int_equal(addr_from_ip(&a, slice_str("127.0.0.1"), w->nodes[0].port), 0);
	l = listener_tcp(w->loop, &a, on_connection, &r, &e);
	assert_non_null(l);
	join(w, SLOW, false);
	WAIT(w, chosen(w) == 18002);
	loop_io_clear(w->loop, &r.io);
	listener_free(l);
	close(r.fd);
	world_end(w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(schedulers_come_from_the_manager_which_hears_of_this_host),
		cmocka_unit_test(manager_away_at_start_is_found_when_it_comes),
		cmocka_unit_test(manager_away_later_leaves_the_schedulers),
		cmocka_unit_test(answers_without_sense_change_nothing),
		cmocka_unit_test(cluster_of_the_first_scheduler_that_answers_is_chosen),
		cmocka_unit_test(newest_of_one_host_name_is_the_only_one),
		cmocka_unit_test(next_manager_is_asked_when_one_fails),
		cmocka_unit_test(rules_of_the_manager_hold_and_change),
		cmocka_unit_test(seed_peer_has_an_entry_while_it_runs),
		cmocka_unit_test(seed_peer_leaves_though_the_manager_is_gone),
		cmocka_unit_test(scheduler_inside_is_what_is_left),
		cmocka_unit_test(recorded_answer_of_a_manager_is_understood),
		cmocka_unit_test(host_names_are_made_fit_for_the_manager),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
