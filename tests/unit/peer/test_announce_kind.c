/* The words of a standard task in those of the persistent kinds, and back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/err.h"
#include "peer/announce_kind.h"
#include "proto/common.h"
#include "proto/scheduler.h"
#include "wire/pb.h"

#define MEMORY ((size_t)8 << 20)

static struct announce_kind kind;
static struct arena arena;
static struct buf bytes;

static int
setup(void **state)
{
	(void)state;
	arena_init(&arena, MEMORY);
	bytes = BUF_INIT;
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	announce_kind_free(&kind);
	arena_free(&arena);
	buf_free(&bytes);
	return 0;
}

static struct scheduler_announce_peer_request
ids(int request_case)
{
	return (struct scheduler_announce_peer_request){
		.host_id = slice_str("h"), .task_id = slice_str("t"), .peer_id = slice_str("p"), .request_case = request_case};
}

/* Says it in the kind's words; what a scheduler reads. */
static void *
said(struct scheduler_announce_peer_request *m, const struct pb_desc *desc)
{
	void *out = arena_alloc(&arena, desc->size);
	struct err e;

	buf_clear(&bytes);
	assert_int_equal(announce_kind_encode(&kind, m, &bytes), 0);
	if (pb_decode_copy(desc, buf_slice(&bytes), &arena, out, &e) < 0)
		fail_msg("%s", e.text);
	return out;
}

static struct common_download
download(void)
{
	return (struct common_download){
		.url = slice_str("s3://b/o"), .tag = slice_str("tag"), .application = slice_str("app"), .output_path = slice_str("/out"),
		.has_concurrent_piece_count = true, .concurrent_piece_count = 8, .actual_piece_length = 4 << 20, .actual_piece_count = 3,
	};
}

static void
each_kind_has_a_conversation_of_its_own(void **state)
{
	(void)state;
	announce_kind_init(&kind, STORE_STANDARD, false);
	assert_string_equal(announce_kind_path(STORE_STANDARD), "/scheduler.v2.Scheduler/AnnouncePeer");
	assert_string_equal(announce_kind_path(STORE_PERSISTENT), "/scheduler.v2.Scheduler/AnnouncePersistentPeer");
	assert_string_equal(announce_kind_path(STORE_PERSISTENT_CACHE), "/scheduler.v2.Scheduler/AnnouncePersistentCachePeer");
}

static void
cache_peer_registers_with_lengths_and_says_whether_it_stays(void **state)
{
	struct common_download d = download();
	struct scheduler_register_peer_request r = {.download = &d};
	struct scheduler_announce_peer_request m = ids(SCHEDULER_ANNOUNCE_PEER_REQUEST_REGISTER_PEER_REQUEST);
	const struct scheduler_announce_persistent_cache_peer_request *got;

	(void)state;
	announce_kind_init(&kind, STORE_PERSISTENT_CACHE, true);
	m.register_peer_request = &r;
	got = said(&m, &scheduler_announce_persistent_cache_peer_request_desc);
	assert_int_equal(got->request_case, 4);
	assert_true(slice_eq_str(got->host_id, "h") && slice_eq_str(got->task_id, "t") && slice_eq_str(got->peer_id, "p"));
	assert_true(got->register_persistent_cache_peer_request->persistent);
	assert_true(slice_eq_str(got->register_persistent_cache_peer_request->tag, "tag"));
	assert_true(slice_eq_str(got->register_persistent_cache_peer_request->application, "app"));
	assert_true(slice_eq_str(got->register_persistent_cache_peer_request->output_path, "/out"));
	assert_int_equal(got->register_persistent_cache_peer_request->piece_length, 4 << 20);
	assert_int_equal(got->register_persistent_cache_peer_request->piece_count, 3);
	assert_int_equal(got->register_persistent_cache_peer_request->concurrent_piece_count, 8);
}

static void
persistent_peer_registers_with_the_object(void **state)
{
	struct common_object_storage storage = {.region = slice_str("eu"), .endpoint = slice_str("http://s3")};
	struct common_download d = download();
	struct scheduler_register_peer_request r = {.download = &d};
	struct scheduler_announce_peer_request m = ids(SCHEDULER_ANNOUNCE_PEER_REQUEST_REGISTER_PEER_REQUEST);
	const struct scheduler_announce_persistent_peer_request *got;

	(void)state;
	announce_kind_init(&kind, STORE_PERSISTENT, false);
	d.object_storage = &storage;
	m.register_peer_request = &r;
	got = said(&m, &scheduler_announce_persistent_peer_request_desc);
	assert_int_equal(got->request_case, 4);
	assert_true(slice_eq_str(got->register_persistent_peer_request->url, "s3://b/o"));
	assert_true(slice_eq_str(got->register_persistent_peer_request->object_storage->region, "eu"));
	assert_false(got->register_persistent_peer_request->persistent);
	assert_int_equal(got->register_persistent_peer_request->piece_count, 3);
}

static void
words_have_the_numbers_of_their_kind(void **state)
{
	struct scheduler_download_peer_started_request started = {0};
	struct scheduler_download_peer_finished_request finished = {0};
	struct scheduler_download_peer_failed_request failed = {.description = slice_str("why")};
	struct google_duration cost = {0};
	struct google_timestamp at = {.seconds = 1};
	struct common_piece piece = {.number = 7, .cost = &cost, .created_at = &at};
	struct scheduler_download_piece_finished_request done = {.piece = &piece};
	struct scheduler_download_piece_failed_request lost = {.has_piece_number = true, .piece_number = 7, .parent_id = slice_str("x")};
	struct scheduler_announce_peer_request words[] = {ids(5), ids(8), ids(10), ids(12), ids(14)};
	static const int cache[] = {5, 7, 8, 9, 10};

	(void)state;
	words[0].download_peer_started_request = &started;
	words[1].download_peer_finished_request = &finished;
	words[2].download_peer_failed_request = &failed;
	words[3].download_piece_finished_request = &done;
	words[4].download_piece_failed_request = &lost;
	announce_kind_init(&kind, STORE_PERSISTENT_CACHE, false);
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
		const struct scheduler_announce_persistent_cache_peer_request *got =
		    said(&words[i], &scheduler_announce_persistent_cache_peer_request_desc);

		assert_int_equal(got->request_case, cache[i]);
		if (i == 2)
			assert_true(slice_eq_str(got->download_persistent_cache_peer_failed_request->description, "why"));
		if (i == 3)
			assert_int_equal(got->download_piece_finished_request->piece->number, 7);
		if (i == 4)
			assert_true(slice_eq_str(got->download_piece_failed_request->parent_id, "x"));
	}
	announce_kind_free(&kind);
	announce_kind_init(&kind, STORE_PERSISTENT, false);
	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
		const struct scheduler_announce_persistent_peer_request *got =
		    said(&words[i], &scheduler_announce_persistent_peer_request_desc);

		assert_int_equal(got->request_case, words[i].request_case);
	}
}

/* A cache task has no source. */
static void
cache_peer_has_no_word_for_the_source(void **state)
{
	struct scheduler_download_peer_back_to_source_started_request started = {0};
	struct scheduler_announce_peer_request m = ids(6);

	(void)state;
	announce_kind_init(&kind, STORE_PERSISTENT_CACHE, false);
	m.download_peer_back_to_source_started_request = &started;
	assert_int_equal(announce_kind_encode(&kind, &m, &bytes), -1);
	assert_int_equal(bytes.len, 0);
}

/* ---- parents ---- */

static struct google_duration cost = {.seconds = 1, .nanos = 5};
static struct google_timestamp then = {.seconds = 1767225600};

/* An answer with parents "a0".. of these numbers. */
static void
offer(unsigned from, unsigned n)
{
	struct common_persistent_cache_task task = {.id = slice_str("t"), .state = slice_str("Succeeded"), .ttl = &cost};
	struct common_host host = {.id = slice_str("host"), .ip = slice_str("10.0.0.1"), .port = 4000};
	struct common_persistent_cache_peer *peers = calloc(n, sizeof *peers);
	struct scheduler_normal_persistent_cache_task_response list = {.candidate_cache_parents = peers, .n_candidate_cache_parents = n};
	char (*names)[16] = calloc(n, sizeof *names);

	assert_true(peers != NULL && names != NULL);
	for (unsigned i = 0; i < n; i++) {
		snprintf(names[i], sizeof names[i], "a%u", from + i);
		peers[i] = (struct common_persistent_cache_peer){.id = slice_str(names[i]), .persistent = true, .cost = &cost,
			.state = slice_str("Succeeded"), .task = &task, .host = &host, .created_at = &then, .updated_at = &then};
	}
	buf_clear(&bytes);
	pb_encode(&scheduler_announce_persistent_cache_peer_response_desc, &(struct scheduler_announce_persistent_cache_peer_response){
		.response_case = 2, .normal_persistent_cache_task_response = &list}, &bytes);
	free(peers);
	free(names);
}

static void
parents_come_as_peers_and_go_back_whole(void **state)
{
	struct scheduler_announce_peer_response got;
	struct common_peer again[2] = {{.id = slice_str("a1")}, {.id = slice_str("stranger")}};
	struct scheduler_reschedule_peer_request r = {.candidate_parents = again, .n_candidate_parents = 2, .description = slice_str("more")};
	struct scheduler_announce_peer_request m = ids(SCHEDULER_ANNOUNCE_PEER_REQUEST_RESCHEDULE_PEER_REQUEST);
	const struct scheduler_announce_persistent_cache_peer_request *back;
	const struct common_persistent_cache_peer *peer;
	struct err e;

	(void)state;
	announce_kind_init(&kind, STORE_PERSISTENT_CACHE, false);
	offer(0, 3);
	assert_int_equal(announce_kind_decode(&kind, buf_slice(&bytes), &arena, &got, &e), 0);
	assert_int_equal(got.response_case, SCHEDULER_ANNOUNCE_PEER_RESPONSE_NORMAL_TASK_RESPONSE);
	assert_int_equal(got.normal_task_response->n_candidate_parents, 3);
	assert_true(slice_eq_str(got.normal_task_response->candidate_parents[2].id, "a2"));
	assert_true(slice_eq_str(got.normal_task_response->candidate_parents[2].host->ip, "10.0.0.1"));
	/* The bytes of the answer are gone when it is asked again. */
	arena_reset(&arena);
	memset(buf_data(&bytes), 0xff, bytes.len);
	m.reschedule_peer_request = &r;
	back = said(&m, &scheduler_announce_persistent_cache_peer_request_desc);
	assert_int_equal(back->request_case, 6);
	assert_true(slice_eq_str(back->reschedule_persistent_cache_peer_request->description, "more"));
	assert_int_equal(back->reschedule_persistent_cache_peer_request->n_candidate_parents, 1);
	peer = back->reschedule_persistent_cache_peer_request->candidate_parents;
	assert_true(slice_eq_str(peer->id, "a1") && peer->persistent && slice_eq_str(peer->state, "Succeeded"));
	assert_true(peer->cost->nanos == 5 && peer->created_at->seconds == then.seconds && peer->task->ttl->seconds == 1);
	assert_int_equal(peer->host->port, 4000);
}

static void
more_parents_than_are_remembered_are_given_all_the_same(void **state)
{
	struct scheduler_announce_peer_response got;
	struct err e;

	(void)state;
	announce_kind_init(&kind, STORE_PERSISTENT_CACHE, false);
	offer(0, ANNOUNCE_CANDIDATES_MAX + 1);
	assert_int_equal(announce_kind_decode(&kind, buf_slice(&bytes), &arena, &got, &e), 0);
	assert_int_equal(got.normal_task_response->n_candidate_parents, ANNOUNCE_CANDIDATES_MAX + 1);
	assert_int_equal(kind.count, ANNOUNCE_CANDIDATES_MAX);
	offer(0, 2);
	assert_int_equal(announce_kind_decode(&kind, buf_slice(&bytes), &arena, &got, &e), 0);
	assert_int_equal(kind.count, ANNOUNCE_CANDIDATES_MAX);
}

static void
empty_and_source_answers_are_known(void **state)
{
	struct scheduler_empty_persistent_task_response empty = {0};
	struct scheduler_need_back_to_source_response source = {.description = slice_str("no peer")};
	struct scheduler_announce_peer_response got;
	struct err e;

	(void)state;
	announce_kind_init(&kind, STORE_PERSISTENT, false);
	pb_encode(&scheduler_announce_persistent_peer_response_desc, &(struct scheduler_announce_persistent_peer_response){
		.response_case = 1, .empty_persistent_task_response = &empty}, &bytes);
	assert_int_equal(announce_kind_decode(&kind, buf_slice(&bytes), &arena, &got, &e), 0);
	assert_int_equal(got.response_case, SCHEDULER_ANNOUNCE_PEER_RESPONSE_EMPTY_TASK_RESPONSE);
	buf_clear(&bytes);
	pb_encode(&scheduler_announce_persistent_peer_response_desc, &(struct scheduler_announce_persistent_peer_response){
		.response_case = 3, .need_back_to_source_response = &source}, &bytes);
	assert_int_equal(announce_kind_decode(&kind, buf_slice(&bytes), &arena, &got, &e), 0);
	assert_int_equal(got.response_case, SCHEDULER_ANNOUNCE_PEER_RESPONSE_NEED_BACK_TO_SOURCE_RESPONSE);
	assert_true(slice_eq_str(got.need_back_to_source_response->description, "no peer"));
}

static void
answer_cut_anywhere_is_an_error_or_another_answer(void **state)
{
	struct scheduler_announce_peer_response got;
	struct err e;

	(void)state;
	announce_kind_init(&kind, STORE_PERSISTENT_CACHE, false);
	offer(0, 2);
	for (size_t n = 1; n < bytes.len; n++) {
		arena_reset(&arena);
		assert_int_equal(announce_kind_decode(&kind, slice_make(buf_data(&bytes), n), &arena, &got, &e), -1);
	}
	assert_int_equal(announce_kind_decode(&kind, slice_make(NULL, 0), &arena, &got, &e), 0);
	assert_int_equal(got.response_case, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_kind_has_a_conversation_of_its_own, setup, teardown),
		cmocka_unit_test_setup_teardown(cache_peer_registers_with_lengths_and_says_whether_it_stays, setup, teardown),
		cmocka_unit_test_setup_teardown(persistent_peer_registers_with_the_object, setup, teardown),
		cmocka_unit_test_setup_teardown(words_have_the_numbers_of_their_kind, setup, teardown),
		cmocka_unit_test_setup_teardown(cache_peer_has_no_word_for_the_source, setup, teardown),
		cmocka_unit_test_setup_teardown(parents_come_as_peers_and_go_back_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(more_parents_than_are_remembered_are_given_all_the_same, setup, teardown),
		cmocka_unit_test_setup_teardown(empty_and_source_answers_are_known, setup, teardown),
		cmocka_unit_test_setup_teardown(answer_cut_anywhere_is_an_error_or_another_answer, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
