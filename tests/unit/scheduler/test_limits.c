/*
 * One past each limit on what peers send, and what time and numbers take away.
 */
#include "world.h"

static char long_text[SCHED_URL_MAX + 2];

static void
refused(struct world *w, const char *host_id, const char *task_id, const char *peer_id, int code)
{
	struct err e = { 0 };

	reg_at(w, host_id, task_id, peer_id, &e);
	assert_int_equal(e.code, code);
}

static void
ids_past_their_length_are_refused(void **state)
{
	struct world *w = world_new(NULL);
	char id[SCHED_ID_MAX + 2];

	(void)state;
	memset(id, 'x', sizeof id);
	id[SCHED_ID_MAX] = 0;
	host(w, "10.0.0.1-a");
	assert_source(reg_at(w, "10.0.0.1-a", id, "p", NULL));
	assert_source(reg_at(w, id, "t", "q", NULL));
	id[SCHED_ID_MAX] = 'x';
	id[SCHED_ID_MAX + 1] = 0;
	refused(w, "10.0.0.1-a", id, "p1", ERR_INVALID_ARGUMENT);
	refused(w, id, "t", "p1", ERR_INVALID_ARGUMENT);
	refused(w, "10.0.0.1-a", "t", id, ERR_INVALID_ARGUMENT);
	world_free(w);
}

static void
url_tag_and_application_past_their_length_are_refused(void **state)
{
	struct world *w = world_new(NULL);

	(void)state;
	memset(long_text, 'x', sizeof long_text);
	host(w, "10.0.0.1-a");
	w->download.url = slice_make(long_text, SCHED_URL_MAX);
	w->download.tag = slice_make(long_text, SCHED_NAME_MAX);
	w->download.application = slice_make(long_text, SCHED_NAME_MAX);
	assert_source(reg_at(w, "10.0.0.1-a", "t", "p", NULL));
	w->download.url = slice_make(long_text, SCHED_URL_MAX + 1);
	refused(w, "10.0.0.1-a", "t", "p1", ERR_INVALID_ARGUMENT);
	world_download(w);
	w->download.tag = slice_make(long_text, SCHED_NAME_MAX + 1);
	refused(w, "10.0.0.1-a", "t", "p1", ERR_INVALID_ARGUMENT);
	world_download(w);
	w->download.application = slice_make(long_text, SCHED_NAME_MAX + 1);
	refused(w, "10.0.0.1-a", "t", "p1", ERR_INVALID_ARGUMENT);
	world_free(w);
}

static void
headers_and_parameters_past_their_number_are_refused(void **state)
{
	static char value[SCHED_HEADERS_MAX];
	struct slice params[SCHED_PARAMS_MAX + 1];
	struct pb_pair header = { slice_str("k"), slice_make(value, sizeof value - 1) };
	struct world *w = world_new(NULL);

	(void)state;
	host(w, "10.0.0.1-a");
	w->download.request_header = &header;
	w->download.n_request_header = 1;
	assert_source(reg_at(w, "10.0.0.1-a", "t1", "p1", NULL));
	header.value.n++;
	refused(w, "10.0.0.1-a", "t2", "p2", ERR_INVALID_ARGUMENT);
	world_download(w);
	for (size_t i = 0; i < COUNT_OF(params); i++)
		params[i] = slice_str("p");
	w->download.filtered_query_params = params;
	w->download.n_filtered_query_params = SCHED_PARAMS_MAX;
	assert_source(reg_at(w, "10.0.0.1-a", "t3", "p3", NULL));
	w->download.n_filtered_query_params++;
	refused(w, "10.0.0.1-a", "t4", "p4", ERR_INVALID_ARGUMENT);
	world_free(w);
}

static void
pieces_past_the_count_are_not_counted(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *a;

	(void)state;
	host(w, "10.0.0.1-a");
	a = source(w, "10.0.0.1-a", "p", 1);
	piece(w, a, 255, NULL);
	assert_int_equal(a->peer->n_finished, 2);
	piece(w, a, 256, NULL);
	piece(w, a, UINT32_MAX, NULL);
	piece(w, a, 255, NULL);
	assert_int_equal(a->peer->n_finished, 2);
	assert_true(a->peer->n_words <= 4);
	w->download.actual_piece_count = SCHED_PIECES_MAX + 1;
	refused(w, "10.0.0.1-a", "t2", "p2", ERR_INVALID_ARGUMENT);
	world_download(w);
	w->download.has_actual_piece_count = w->download.has_actual_content_length = w->download.has_actual_piece_length = false;
	w->download.need_back_to_source = true;
	a = reg_at(w, "10.0.0.1-a", "t3", "p3", NULL);
	source_started(w, a);
	piece(w, a, SCHED_PIECES_MAX - 1, NULL);
	assert_int_equal(a->peer->n_finished, 1);
	piece(w, a, SCHED_PIECES_MAX, NULL);
	assert_int_equal(a->peer->n_finished, 1);
	world_free(w);
}

static void
streams_of_one_host_have_an_end(void **state)
{
	struct world *w = world_new(NULL);
	char id[32];

	(void)state;
	host(w, "10.0.0.1-a");
	for (unsigned i = 0; i < SCHED_STREAMS_PER_HOST_MAX; i++) {
		snprintf(id, sizeof id, "p%u", i);
		reg(w, "10.0.0.1-a", id);
	}
	refused(w, "10.0.0.1-a", TASK, "one-more", ERR_RESOURCE_EXHAUSTED);
	stream_lost(w, w->streams[7]);
	reg(w, "10.0.0.1-a", "again");
	world_free(w);
}

static void
memory_has_an_end(void **state)
{
	struct scheduler_options o;
	struct world *w;

	(void)state;
	world_options(&o);
	o.memory_limit = 20000;
	w = world_new(&o);
	host(w, "10.0.0.1-a");
	for (int i = 0; w->core.res.memory <= o.memory_limit; i++) {
		char id[32];

		snprintf(id, sizeof id, "p%d", i);
		reg(w, "10.0.0.1-a", id);
		assert_true(i < 100);
	}
	refused(w, "10.0.0.1-a", TASK, "one-more", ERR_RESOURCE_EXHAUSTED);
	world_free(w);
}

static void
memory_estimate_comes_back_to_nothing(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *a, *b;

	(void)state;
	host(w, "10.0.0.1-a");
	host(w, "10.0.0.2-b");
	a = source(w, "10.0.0.1-a", "A", 100);
	b = reg(w, "10.0.0.2-b", "B");
	started(w, b);
	piece(w, b, 3, "A");
	piece_failed(w, b, "A");
	finished(w, a, true);
	pass(w, 1000);
	sched_delete_host(&w->core, sched_host_find(&w->core.res, slice_str("10.0.0.1-a")));
	sched_delete_host(&w->core, sched_host_find(&w->core.res, slice_str("10.0.0.2-b")));
	settle(w);
	pass(w, 80000);
	assert_int_equal(w->core.res.tasks.count, 0);
	assert_int_equal(w->core.res.memory, 0);
	assert_int_equal(w->core.res.n_edges, 0);
	world_free(w);
}

static void
hosts_have_an_end(void **state)
{
	struct world *w = world_new(NULL);
	struct sched_host_info info = { 0 };
	struct sched_resources r;
	char id[32];

	(void)state;
	sched_resources_init(&r, &w->opt);
	for (unsigned i = 0; i <= SCHED_HOSTS_MAX; i++) {
		snprintf(id, sizeof id, "h%u", i);
		info.id = slice_str(id);
		info.hostname = info.ip = slice_str("");
		if (i < SCHED_HOSTS_MAX)
			assert_non_null(sched_host_announce(&r, &info));
		else
			assert_null(sched_host_announce(&r, &info));
	}
	assert_null(sched_host_provisional(&r, slice_str("10.0.0.1-x")));
	sched_resources_free(&r);
	world_free(w);
}

static void
idc_names_past_the_table_count_as_none(void **state)
{
	struct world *w = world_new(NULL);
	struct sched_host *h = NULL;
	char idc[32];

	(void)state;
	for (unsigned i = 0; i <= SCHED_IDCS_MAX; i++) {
		snprintf(idc, sizeof idc, "idc-%u", i);
		h = host_in(w, "10.0.0.1-a", idc);
		if (i < SCHED_IDCS_MAX)
			assert_int_equal(h->idc, i + 1);
	}
	assert_int_equal(h->idc, 0);
	world_free(w);
}

static void
holders_of_a_task_are_kept_to_a_number(void **state)
{
	struct scheduler_options o;
	struct world *w;
	char h[32], id[32];

	(void)state;
	world_options(&o);
	o.max_holders = 4;
	w = world_new(&o);
	for (int i = 0; i < 6; i++) {
		snprintf(h, sizeof h, "10.0.0.%d-h", i);
		snprintf(id, sizeof id, "p%d", i);
		host_in(w, h, i < 2 ? "small" : "large");
		holder(w, h, id);
		pass(w, 10);
	}
	/* The longest unused ones of the larger IDC went. */
	assert_null(sched_peer_find(&w->core.res, slice_str("p2")));
	assert_null(sched_peer_find(&w->core.res, slice_str("p3")));
	for (int i = 0; i < 6; i += i == 1 ? 3 : 1) {
		snprintf(id, sizeof id, "p%d", i);
		assert_non_null(sched_peer_find(&w->core.res, slice_str(id)));
	}
	assert_int_equal(sched_task_find(&w->core.res, slice_str(TASK))->n_holders, 4);
	world_free(w);
}

static void
blocked_hosts_of_one_peer_are_kept_to_a_number(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *a;
	char h[32];

	(void)state;
	host(w, "10.0.0.1-a");
	a = reg(w, "10.0.0.1-a", "A");
	for (unsigned i = 0; i < SCHED_BLOCKS_MAX + 10; i++) {
		snprintf(h, sizeof h, "10.0.1.%u-h", i);
		sched_peer_block(&w->core.res, a->peer, host(w, h), 60000 + i);
	}
	assert_int_equal(a->peer->n_blocks, SCHED_BLOCKS_MAX);
	assert_true(sched_peer_is_blocked(&w->core.res, a->peer, sched_host_find(&w->core.res, slice_str(h))));
	world_free(w);
}

static void
failed_and_idle_peers_and_empty_tasks_go(void **state)
{
	struct scheduler_options o;
	struct world *w;
	struct stream *a;

	(void)state;
	world_options(&o);
	o.peer_ttl_ms = 3600 * 1000;
	w = world_new(&o);
	host(w, "10.0.0.1-a")->interval_ms = 0;
	host(w, "10.0.0.2-b");
	sched_host_find(&w->core.res, slice_str("10.0.0.2-b"))->interval_ms = 24 * 3600 * 1000;
	a = reg_at(w, "10.0.0.2-b", "t1", "F", NULL);
	stream_lost(w, a);
	pass(w, 55000);
	assert_non_null(sched_peer_find(&w->core.res, slice_str("F")));
	pass(w, 20000);
	assert_null(sched_peer_find(&w->core.res, slice_str("F")));
	pass(w, 75000);
	assert_null(sched_task_find(&w->core.res, slice_str("t1")));
	holder_of(w, "10.0.0.2-b", "t2", "H");
	a = reg_at(w, "10.0.0.2-b", "t3", "R", NULL);
	source_started(w, a);
	pass(w, 29 * 60000);
	assert_int_equal(a->peer->state, SCHED_PEER_BACK_TO_SOURCE);
	pass(w, 70000);
	/* Half an hour without a piece. */
	assert_int_equal(a->peer->state, SCHED_PEER_FAILED);
	pass(w, 80000);
	assert_true(a->is_closed);
	assert_int_equal(a->code, ERR_NOT_FOUND);
	assert_string_equal(a->text, "peer R not found");
	assert_non_null(sched_peer_find(&w->core.res, slice_str("H")));
	pass(w, 30 * 60000);
	assert_null(sched_peer_find(&w->core.res, slice_str("H")));
	/* No interval announced: an hour. */
	assert_null(sched_host_find(&w->core.res, slice_str("10.0.0.1-a")));
	assert_non_null(sched_host_find(&w->core.res, slice_str("10.0.0.2-b")));
	world_free(w);
}

static void
provisional_host_goes_after_ten_minutes(void **state)
{
	struct world *w = world_new(NULL);
	struct stream *a;

	(void)state;
	a = reg(w, "10.0.0.7-h7", "P");
	pass(w, 20000);
	stream_lost(w, a);
	pass(w, 560000);
	assert_non_null(sched_host_find(&w->core.res, slice_str("10.0.0.7-h7")));
	pass(w, 40000);
	assert_null(sched_host_find(&w->core.res, slice_str("10.0.0.7-h7")));
	world_free(w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ids_past_their_length_are_refused),
		cmocka_unit_test(url_tag_and_application_past_their_length_are_refused),
		cmocka_unit_test(headers_and_parameters_past_their_number_are_refused),
		cmocka_unit_test(pieces_past_the_count_are_not_counted),
		cmocka_unit_test(streams_of_one_host_have_an_end),
		cmocka_unit_test(memory_has_an_end),
		cmocka_unit_test(memory_estimate_comes_back_to_nothing),
		cmocka_unit_test(hosts_have_an_end),
		cmocka_unit_test(idc_names_past_the_table_count_as_none),
		cmocka_unit_test(holders_of_a_task_are_kept_to_a_number),
		cmocka_unit_test(blocked_hosts_of_one_peer_are_kept_to_a_number),
		cmocka_unit_test(failed_and_idle_peers_and_empty_tasks_go),
		cmocka_unit_test(provisional_host_goes_after_ten_minutes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
