/* Preheating: who is asked, what is asked, how much at once; and what StatFile tells. */
#include "cluster.h"

#include "scheduler/preheat.h"

#define URL "https://example.com/file.tar.gz"
#define SEEDS 5

static struct cluster *c;
static struct seed *seeds[SEEDS];

static int
setup(void **state)
{
	char name[16];

	(void)state;
	c = cluster_new();
	cluster_start(c);
	for (int i = 0; i < SEEDS; i++) {
		seeds[i] = seed_start(c);
		snprintf(name, sizeof name, "seed%d", i);
		assert_int_equal(cluster_announce(c, "127.0.0.1", name, 1, seeds[i]->port, NULL), ERR_OK);
	}
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	/* The calls of jobs end first. */
	rpc_channel_free(c->channel);
	listener_free(c->listener);
	rpc_server_free(c->server);
	scheduler_free(c->scheduler);
	for (int i = 0; i < SEEDS; i++)
		seed_stop(seeds[i]);
	loop_free(c->loop);
	free(c);
	return 0;
}

static unsigned
downloads(void)
{
	unsigned n = 0;

	for (int i = 0; i < SEEDS; i++)
		n += seeds[i]->n_downloads;
	return n;
}

/* Lets everything arrive that is on its way. */
static void
settle(unsigned want)
{
	for (int i = 0; i < 2000 && downloads() < want; i++)
		loop_turn(c->loop, 5);
	for (int i = 0; i < 10; i++)
		loop_turn(c->loop, 2);
}

static int
preheat(struct scheduler_preheat_file_request *m, char *text)
{
	if (m->url.p == NULL)
		m->url = slice_str(URL);
	return cluster_do(c, SCHEDULER_SCHEDULER_PREHEAT_FILE_AT, m, text);
}

static void
all_seeds_are_asked_for_the_download(void **state)
{
	struct pb_pair header = { .key = slice_str("X-A"), .value = slice_str("1") };
	struct scheduler_preheat_file_request m = {
		.scope = slice_str("all_seed_peers"), .tag = slice_str("d7y"), .application = slice_str("ci"), .has_piece_length = true,
		.piece_length = 4194304, .priority = 3, .header = &header, .n_header = 1 };

	(void)state;
	assert_int_equal(preheat(&m, NULL), ERR_OK);
	settle(SEEDS);
	for (int i = 0; i < SEEDS; i++) {
		const struct common_download *d = &seeds[i]->download;

		assert_int_equal(seeds[i]->n_downloads, 1);
		assert_true(slice_eq_str(d->url, URL) && slice_eq_str(d->tag, "d7y") && slice_eq_str(d->application, "ci"));
		assert_true(d->priority == 3 && d->piece_length == 4194304 && d->n_request_header == 1);
		assert_false(d->need_back_to_source);
		assert_true(d->n_filtered_query_params == 30);
	}
}

static void
count_percentage_and_ips_narrow_the_choice(void **state)
{
	struct slice known[] = { slice_str("127.0.0.1"), slice_str("10.0.0.9") }, unknown = slice_str("10.0.0.9");
	struct scheduler_preheat_file_request m = { .scope = slice_str("all_seed_peers"), .has_percentage = true, .percentage = 10 };
	char text[1200];

	(void)state;
	assert_int_equal(preheat(&m, NULL), ERR_OK);
	settle(1);
	assert_int_equal(downloads(), 1);
	m.percentage = 50;
	assert_int_equal(preheat(&m, NULL), ERR_OK);
	settle(3);
	assert_int_equal(downloads(), 3);
	m.has_count = true;
	m.count = 4;
	assert_int_equal(preheat(&m, NULL), ERR_OK);
	settle(7);
	assert_int_equal(downloads(), 7);
	m.count = 200;
	assert_int_equal(preheat(&m, NULL), ERR_OK);
	settle(12);
	assert_int_equal(downloads(), 12);
	m.count = 1;
	m.ips = known;
	m.n_ips = 2;
	assert_int_equal(preheat(&m, NULL), ERR_OK);
	settle(17);
	assert_int_equal(downloads(), 17);
	m.ips = &unknown;
	m.n_ips = 1;
	assert_int_equal(preheat(&m, text), ERR_FAILED_PRECONDITION);
	assert_string_equal(text, "no seed peer found for the given ips");
}

static void
single_seed_is_the_one_of_the_ring(void **state)
{
	struct scheduler_preheat_file_request m = { .scope = slice_str("single_seed_peer") };
	int first = -1;

	(void)state;
	assert_int_equal(preheat(&m, NULL), ERR_OK);
	settle(1);
	for (int i = 0; i < SEEDS; i++)
		if (seeds[i]->n_downloads > 0)
			first = i;
	assert_int_equal(preheat(&m, NULL), ERR_OK);
	settle(2);
	assert_int_equal(downloads(), 2);
	assert_int_equal(seeds[first]->n_downloads, 2);
}

static void
peers_are_another_scope(void **state)
{
	struct scheduler_preheat_file_request m = { .scope = slice_str("all_peers") };
	struct seed *peer;
	char text[1200];

	(void)state;
	assert_int_equal(preheat(&m, text), ERR_FAILED_PRECONDITION);
	assert_string_equal(text, "no available peer");
	peer = seed_start(c);
	assert_int_equal(cluster_announce(c, "127.0.0.1", "peer", 0, peer->port, NULL), ERR_OK);
	assert_int_equal(preheat(&m, NULL), ERR_OK);
	assert_true(loop_run_until(c->loop, &peer->was_asked, LIMIT_MS));
	assert_int_equal(downloads(), 0);
	rpc_stream_end(peer->stream, ERR_OK, NULL, slice_make(NULL, 0));
	for (int i = 0; i < 10; i++)
		loop_turn(c->loop, 2);
	seed_stop(peer);
}

static void
so_many_hosts_at_once_as_was_said(void **state)
{
	struct scheduler_preheat_file_request m = {
		.scope = slice_str("all_seed_peers"), .has_concurrent_peer_count = true, .concurrent_peer_count = 2 };

	(void)state;
	assert_int_equal(preheat(&m, NULL), ERR_OK);
	settle(2);
	assert_int_equal(downloads(), 2);
	/* One ends badly: the next is asked all the same. */
	for (int i = 0; i < SEEDS; i++) {
		if (seeds[i]->n_downloads == 1) {
			rpc_stream_end(seeds[i]->stream, ERR_INTERNAL, "disk", slice_make(NULL, 0));
			seeds[i]->stream = NULL;
			break;
		}
	}
	settle(3);
	assert_int_equal(downloads(), 3);
}

static void
bad_requests_are_refused_with_the_field(void **state)
{
	struct scheduler_preheat_file_request m = { 0 };
	char text[1200];

	(void)state;
	assert_int_equal(preheat(&m, text), ERR_INVALID_ARGUMENT);
	assert_string_equal(text, "invalid PreheatFileRequest.Scope: value does not match regex pattern "
		"\"^(single_seed_peer|all_seed_peers|all_peers)$\"");
	m.scope = slice_str("all_seed_peers");
	m.url = slice_str("nothing");
	assert_int_equal(preheat(&m, text), ERR_INVALID_ARGUMENT);
	assert_string_equal(text, "invalid PreheatFileRequest.Url: value must be absolute");
	m.url = slice_str(URL);
	m.has_percentage = true;
	for (uint32_t n = 0; n <= 101; n += 101) {
		m.percentage = n;
		assert_int_equal(preheat(&m, text), ERR_INVALID_ARGUMENT);
		assert_string_equal(text, "invalid PreheatFileRequest.Percentage: value must be inside range [1, 100]");
	}
	m.has_percentage = false;
	m.has_count = true;
	m.count = 201;
	assert_int_equal(preheat(&m, text), ERR_INVALID_ARGUMENT);
	m.has_count = false;
	m.has_piece_length = true;
	m.piece_length = 4194303;
	assert_int_equal(preheat(&m, text), ERR_INVALID_ARGUMENT);
	m.has_piece_length = false;
	m.has_concurrent_task_count = true;
	m.concurrent_task_count = 101;
	assert_int_equal(preheat(&m, text), ERR_INVALID_ARGUMENT);
	assert_int_equal(downloads(), 0);
}

static void
one_job_more_than_there_may_be_is_refused(void **state)
{
	struct scheduler_preheat_file_request m = { .scope = slice_str("single_seed_peer") };
	char text[1200];

	(void)state;
	for (unsigned i = 0; i < PREHEAT_JOBS_MAX; i++)
		assert_int_equal(preheat(&m, NULL), ERR_OK);
	assert_int_equal(preheat(&m, text), ERR_RESOURCE_EXHAUSTED);
}

/* The ids of the reference (spec: manager.md B4). */
static void
task_id_is_that_of_a_users_download(void **state)
{
	struct common_download d = {
		.url = slice_str(URL), .tag = slice_str("d7y"), .application = slice_str("ci"), .has_piece_length = true, .piece_length = 4194304 };
	char id[TASK_ID_SIZE];

	(void)state;
	assert_int_equal(preheat_task_id(&d, id, NULL), 0);
	assert_string_equal(id, "91a97892ee56059fe927816b3707738706f0620dd516e7adc5193c26fdbfb4c9");
}

static void
stat_tells_who_has_it(void **state)
{
	struct scheduler_stat_file_request m = { .url = slice_str(URL) };
	const struct scheduler_stat_file_response *r;
	struct answered a;

	(void)state;
	seeds[1]->has_task = seeds[3]->has_task = true;
	assert_int_equal(cluster_ask(c, &scheduler_scheduler_service.methods[SCHEDULER_SCHEDULER_STAT_FILE_AT], &m, &a), ERR_OK);
	r = a.message;
	assert_int_equal(r->n_peers, 2);
	assert_true(slice_eq_str(r->peers[0].hostname, "seed1") && slice_eq_str(r->peers[1].hostname, "seed3"));
	assert_true(slice_eq_str(r->peers[0].ip, "127.0.0.1"));
	assert_true(r->peers[0].n_cached_files == 1 && slice_eq_str(r->peers[0].cached_files[0].url, URL));
	assert_true(r->peers[0].cached_files[0].has_is_finished && r->peers[0].cached_files[0].is_finished);
	arena_free(&a.arena);
	for (int i = 0; i < SEEDS; i++)
		assert_int_equal(seeds[i]->n_stats, 1);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(all_seeds_are_asked_for_the_download),
		TEST(count_percentage_and_ips_narrow_the_choice),
		TEST(single_seed_is_the_one_of_the_ring),
		TEST(peers_are_another_scope),
		TEST(so_many_hosts_at_once_as_was_said),
		TEST(bad_requests_are_refused_with_the_field),
		TEST(one_job_more_than_there_may_be_is_refused),
		TEST(task_id_is_that_of_a_users_download),
		TEST(stat_tells_who_has_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
