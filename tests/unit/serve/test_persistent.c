/* Persistent and persistent cache tasks, asked of a real daemon with a scheduler inside by a real gRPC client. */
#include "node.h"

#include <time.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "peer/engine.h"
#include "peer/import.h"
#include "proto/google.h"
#include "scheduler/persist.h"
#include "scheduler/service.h"
#include "store/store.h"

#define LOCAL(method) &dfdaemon_dfdaemon_download_service, DFDAEMON_DFDAEMON_DOWNLOAD_##method##_AT
#define REMOTE(method) &dfdaemon_dfdaemon_upload_service, DFDAEMON_DFDAEMON_UPLOAD_##method##_AT
#define ABSENT "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct node *n;
static char path[96];

static int
start(void **state)
{
	(void)state;
	n = node_start(true, "");
	snprintf(path, sizeof path, "%s/file", n->dir);
	/* The scheduler hears of this host. */
	NODE_UNTIL(n, cluster_scheduler(n->parts->cluster, slice_str(ABSENT), false, NULL) != NULL);
	return 0;
}

static int
start_alone(void **state)
{
	(void)state;
	n = node_start(false, "");
	snprintf(path, sizeof path, "%s/file", n->dir);
	return 0;
}

static int
stop(void **state)
{
	(void)state;
	node_stop(n);
	return 0;
}

static void
make_file(size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	uint8_t block[65536];

	assert_true(fd >= 0);
	for (size_t at = 0; at < size; at += sizeof block) {
		size_t part = size - at < sizeof block ? size - at : sizeof block;

		memset(block, (int)(at / sizeof block % 251), sizeof block);
		assert_int_equal(write(fd, block, part), (ssize_t)part);
	}
	close(fd);
}

/* Sets what is most often the same. */
static struct dfdaemon_upload_persistent_cache_task_request
request(void)
{
	static struct google_duration ttl = {.seconds = 3600};

	return (struct dfdaemon_upload_persistent_cache_task_request){
		.content_for_calculating_task_id = slice_str("x"), .path = slice_str(path), .persistent_replica_count = 1, .ttl = &ttl};
}

static int
upload(const struct dfdaemon_upload_persistent_cache_task_request *r)
{
	return node_call(n, n->local, LOCAL(UPLOAD_PERSISTENT_CACHE_TASK), &common_persistent_cache_task_desc, r);
}

/* Imports "x"; its id. */
static const char *
imported(size_t size)
{
	static char id[65];
	struct dfdaemon_upload_persistent_cache_task_request r = request();

	make_file(size);
	if (upload(&r) != ERR_OK)
		fail_msg("%s", n->message);
	snprintf(id, sizeof id, "%.*s", SLICE_ARG(((struct common_persistent_cache_task *)n->answer)->id));
	return id;
}

static int
stat_local(const char *id)
{
	const struct dfdaemon_stat_local_persistent_cache_task_request r = {.task_id = slice_str(id)};

	return node_call(n, n->local, LOCAL(STAT_LOCAL_PERSISTENT_CACHE_TASK), &dfdaemon_stat_local_persistent_cache_task_response_desc, &r);
}

/* ---- import ---- */

static void
import_answers_with_the_task_and_keeps_a_copy(void **state)
{
	const struct common_persistent_cache_task *t;
	const struct dfdaemon_stat_local_persistent_cache_task_response *l;
	struct store_task *stored;
	struct store_piece p;
	const char *id;

	(void)state;
	id = imported((9 << 20) + 5);
	t = n->answer;
	assert_true(slice_eq_str(t->state, "Succeeded"));
	assert_true(t->content_length == (9 << 20) + 5 && t->piece_length == 4 << 20 && t->piece_count == 3);
	assert_true(t->persistent_replica_count == 1 && t->current_persistent_replica_count == 1);
	assert_int_equal(stat_local(id), ERR_OK);
	l = n->answer;
	assert_true(l->persistent && l->ttl->seconds == 3600 && l->has_content_length && l->content_length == (9 << 20) + 5);
	assert_true(l->finished_at != NULL && l->failed_at == NULL && l->created_at != NULL);
	stored = store_task_find(n->parts->store, STORE_PERSISTENT_CACHE, id);
	assert_true(stored != NULL && stored->is_imported && stored->is_persistent);
	/* Each piece has a checksum. */
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(store_piece_get(stored, i, &p), 0);
		assert_true(p.has_crc);
	}
	assert_int_equal(p.length, (1 << 20) + 5);
}

static void
import_of_an_empty_file_has_no_piece(void **state)
{
	const char *id;

	(void)state;
	id = imported(0);
	assert_int_equal(((struct common_persistent_cache_task *)n->answer)->piece_count, 0);
	assert_int_equal(stat_local(id), ERR_OK);
	assert_non_null(((struct dfdaemon_stat_local_persistent_cache_task_response *)n->answer)->finished_at);
}

static void
imports_that_cannot_be_are_refused(void **state)
{
	struct dfdaemon_upload_persistent_cache_task_request r = request();
	struct google_duration ttl = {.seconds = IMPORT_TTL_MIN_S - 1};

	(void)state;
	assert_int_equal(upload(&r), ERR_NOT_FOUND);
	assert_non_null(strstr(n->message, path));
	make_file(1000);
	r.path = slice_str("file");
	assert_int_equal(upload(&r), ERR_INVALID_ARGUMENT);
	r.path = slice_str(n->dir);
	assert_int_equal(upload(&r), ERR_INVALID_ARGUMENT);
	r.path = slice_make("/etc/pass\0wd", 12);
	assert_int_equal(upload(&r), ERR_INVALID_ARGUMENT);
	r = request();
	r.ttl = &ttl;
	assert_int_equal(upload(&r), ERR_INVALID_ARGUMENT);
	assert_string_equal(n->message, "ttl must be between 5 minutes and 7 days, but got 299");
	ttl.seconds = IMPORT_TTL_MAX_S + 1;
	assert_int_equal(upload(&r), ERR_INVALID_ARGUMENT);
	r = request();
	r.persistent_replica_count = 0;
	assert_int_equal(upload(&r), ERR_INVALID_ARGUMENT);
	r = request();
	r.has_piece_length = true;
	r.piece_length = (4 << 20) - 1;
	assert_int_equal(upload(&r), ERR_INVALID_ARGUMENT);
	/* None of them is in anybody's way. */
	imported(1000);
	r = request();
	assert_int_equal(upload(&r), ERR_ALREADY_EXISTS);
	assert_non_null(strstr(n->message, "is Succeeded cannot upload"));
}

static void
import_without_a_ttl_has_the_configured_one(void **state)
{
	struct dfdaemon_upload_persistent_cache_task_request r = request();

	(void)state;
	make_file(1000);
	r.ttl = NULL;
	assert_int_equal(upload(&r), ERR_OK);
	assert_int_equal(((struct common_persistent_cache_task *)n->answer)->ttl->seconds, 24 * 3600);
}

static void
import_that_takes_too_long_is_taken_back(void **state)
{
	struct dfdaemon_upload_persistent_cache_task_request r = request();
	struct google_duration timeout = {.nanos = 1000000};
	int64_t until;

	(void)state;
	make_file(300 << 20);
	r.timeout = &timeout;
	assert_int_equal(upload(&r), ERR_DEADLINE_EXCEEDED);
	assert_string_equal(n->message, "import did not finish within its timeout");
	/* The scheduler hears of it a moment later. */
	make_file(1000);
	r.timeout = NULL;
	until = clock_mono_ms() + NODE_LIMIT_MS;
	while (upload(&r) != ERR_OK) {
		if (clock_mono_ms() > until)
			fail_msg("%s", n->message);
		loop_turn(n->parts->loop, 10);
	}
}

static void
import_that_is_stopped_while_the_scheduler_is_asked_is_taken_back(void **state)
{
	struct dfdaemon_upload_persistent_cache_task_request r = request();
	struct list *imports = &n->parts->engine->imports;

	(void)state;
	make_file(1000);
	node_begin(n);
	n->desc = &common_persistent_cache_task_desc;
	rpc_unary(n->local, &dfdaemon_dfdaemon_download_service.methods[DFDAEMON_DFDAEMON_DOWNLOAD_UPLOAD_PERSISTENT_CACHE_TASK_AT], &r, NULL,
	    node_on_answer, n);
	/* The scheduler has taken it, and its answer is on the way. */
	NODE_UNTIL(n, persist_task_count(n->parts->scheduler->persist) == 1);
	import_stop(import_of(imports->next));
	assert_true(loop_run_until(n->parts->loop, &n->is_done, NODE_LIMIT_MS));
	assert_int_equal(n->code, ERR_UNAVAILABLE);
	NODE_UNTIL(n, list_is_empty(imports));
	imported(1000);
}

static void
import_whose_client_went_away_is_taken_back(void **state)
{
	struct dfdaemon_upload_persistent_cache_task_request r = request();
	struct store_task *t;
	struct rpc_call *call;
	size_t at = 0;

	(void)state;
	make_file(300 << 20);
	node_begin(n);
	n->desc = &common_persistent_cache_task_desc;
	call = rpc_unary(n->local, &dfdaemon_dfdaemon_download_service.methods[
	    DFDAEMON_DFDAEMON_DOWNLOAD_UPLOAD_PERSISTENT_CACHE_TASK_AT], &r, NULL, node_on_answer, n);
	NODE_UNTIL(n, store_task_next(n->parts->store, STORE_PERSISTENT_CACHE, (at = 0, &at)) != NULL);
	rpc_call_cancel(call);
	NODE_UNTIL(n, (t = store_task_next(n->parts->store, STORE_PERSISTENT_CACHE, (at = 0, &at))) == NULL);
	NODE_UNTIL(n, list_is_empty(&n->parts->engine->imports));
	/* The scheduler was told: it may be done again. */
	imported(1000);
}

static void
import_needs_a_scheduler(void **state)
{
	struct dfdaemon_upload_persistent_cache_task_request r = request();
	const struct dfdaemon_stat_persistent_cache_task_request s = {.task_id = slice_str(ABSENT)};

	(void)state;
	make_file(1000);
	assert_int_equal(upload(&r), ERR_UNAVAILABLE);
	assert_string_equal(n->message, "available schedulers not found");
	assert_int_equal(node_call(n, n->local, LOCAL(STAT_PERSISTENT_CACHE_TASK), &common_persistent_cache_task_desc, &s), ERR_UNAVAILABLE);
}

/* ---- questions and orders ---- */

static void
tasks_are_listed_by_id_and_kind(void **state)
{
	const struct dfdaemon_list_local_persistent_cache_tasks_request r = {0};
	const struct dfdaemon_list_local_persistent_tasks_request other = {0};
	const struct dfdaemon_list_local_persistent_cache_tasks_response *a;
	struct dfdaemon_upload_persistent_cache_task_request u = request();

	(void)state;
	imported(1000);
	u.content_for_calculating_task_id = slice_str("y");
	assert_int_equal(upload(&u), ERR_OK);
	assert_int_equal(node_call(n, n->local, LOCAL(LIST_LOCAL_PERSISTENT_CACHE_TASKS),
	    &dfdaemon_list_local_persistent_cache_tasks_response_desc, &r), ERR_OK);
	a = n->answer;
	assert_int_equal(a->n_tasks, 2);
	assert_true(slice_cmp(a->tasks[0].task_id, a->tasks[1].task_id) < 0);
	assert_int_equal(node_call(n, n->local, LOCAL(LIST_LOCAL_PERSISTENT_TASKS), &dfdaemon_list_local_persistent_tasks_response_desc,
	    &other), ERR_OK);
	assert_int_equal(((struct dfdaemon_list_local_persistent_tasks_response *)n->answer)->n_tasks, 0);
}

static void
what_is_absent_is_not_found(void **state)
{
	const struct dfdaemon_stat_local_persistent_task_request plain = {.task_id = slice_str(ABSENT)};
	const struct dfdaemon_stat_persistent_task_request known = {.task_id = slice_str(ABSENT)};
	const struct dfdaemon_update_persistent_cache_task_request update = {.task_id = slice_str(ABSENT), .persistent = true};
	const struct dfdaemon_delete_persistent_cache_task_request drop = {.task_id = slice_str(ABSENT)};

	(void)state;
	assert_int_equal(stat_local(ABSENT), ERR_NOT_FOUND);
	assert_string_equal(n->message, "local persistent cache task not found: " ABSENT);
	assert_int_equal(node_call(n, n->local, LOCAL(STAT_LOCAL_PERSISTENT_TASK), &dfdaemon_stat_local_persistent_task_response_desc, &plain),
	    ERR_NOT_FOUND);
	assert_string_equal(n->message, "local persistent task not found: " ABSENT);
	assert_int_equal(node_call(n, n->remote, REMOTE(STAT_PERSISTENT_TASK), &common_persistent_task_desc, &known), ERR_NOT_FOUND);
	assert_string_equal(n->message, "persistent task " ABSENT " not found");
	assert_int_equal(node_call(n, n->remote, REMOTE(UPDATE_PERSISTENT_CACHE_TASK), &google_empty_desc, &update), ERR_NOT_FOUND);
	/* To be rid of what is not there is done. */
	assert_int_equal(node_call(n, n->remote, REMOTE(DELETE_PERSISTENT_CACHE_TASK), &google_empty_desc, &drop), ERR_OK);
}

static void
update_pins_and_delete_removes(void **state)
{
	struct dfdaemon_update_persistent_cache_task_request update = {.persistent = false};
	struct dfdaemon_delete_persistent_cache_task_request drop = {0};
	const char *id;
	struct store_task *t;

	(void)state;
	id = imported(1000);
	t = store_task_find(n->parts->store, STORE_PERSISTENT_CACHE, id);
	store_task_set_persistent(t, false);
	update.task_id = drop.task_id = slice_str(id);
	assert_int_equal(node_call(n, n->remote, REMOTE(UPDATE_PERSISTENT_CACHE_TASK), &google_empty_desc, &update), ERR_OK);
	assert_false(t->is_persistent);
	update.persistent = true;
	assert_int_equal(node_call(n, n->remote, REMOTE(UPDATE_PERSISTENT_CACHE_TASK), &google_empty_desc, &update), ERR_OK);
	assert_true(t->is_persistent);
	assert_int_equal(node_call(n, n->remote, REMOTE(DELETE_PERSISTENT_CACHE_TASK), &google_empty_desc, &drop), ERR_OK);
	assert_int_equal(stat_local(id), ERR_NOT_FOUND);
}

static void
ids_that_are_none_are_refused_everywhere(void **state)
{
	static const char *const bad[] = {"", "abc", "../../../../etc/passwd", ABSENT "0",
		"0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef"};
	static const size_t local[] = {
		DFDAEMON_DFDAEMON_DOWNLOAD_STAT_PERSISTENT_TASK_AT, DFDAEMON_DFDAEMON_DOWNLOAD_STAT_LOCAL_PERSISTENT_TASK_AT,
		DFDAEMON_DFDAEMON_DOWNLOAD_STAT_PERSISTENT_CACHE_TASK_AT, DFDAEMON_DFDAEMON_DOWNLOAD_STAT_LOCAL_PERSISTENT_CACHE_TASK_AT,
		DFDAEMON_DFDAEMON_DOWNLOAD_DOWNLOAD_PERSISTENT_CACHE_TASK_AT,
	};
	static const size_t remote[] = {
		DFDAEMON_DFDAEMON_UPLOAD_STAT_PERSISTENT_TASK_AT, DFDAEMON_DFDAEMON_UPLOAD_STAT_PERSISTENT_CACHE_TASK_AT,
		DFDAEMON_DFDAEMON_UPLOAD_UPDATE_PERSISTENT_TASK_AT, DFDAEMON_DFDAEMON_UPLOAD_UPDATE_PERSISTENT_CACHE_TASK_AT,
		DFDAEMON_DFDAEMON_UPLOAD_DELETE_PERSISTENT_TASK_AT, DFDAEMON_DFDAEMON_UPLOAD_DELETE_PERSISTENT_CACHE_TASK_AT,
		DFDAEMON_DFDAEMON_UPLOAD_DOWNLOAD_PERSISTENT_CACHE_TASK_AT,
	};

	(void)state;
	for (size_t k = 0; k < sizeof bad / sizeof bad[0]; k++) {
		/* All of these requests begin with the task id. */
		const struct dfdaemon_stat_task_request r = {.task_id = slice_str(bad[k])};

		for (size_t i = 0; i < sizeof local / sizeof local[0] + sizeof remote / sizeof remote[0]; i++) {
			bool is_local = i < sizeof local / sizeof local[0];
			struct pb_method m = is_local ? dfdaemon_dfdaemon_download_service.methods[local[i]] :
			    dfdaemon_dfdaemon_upload_service.methods[remote[i - sizeof local / sizeof local[0]]];

			m.request = &dfdaemon_stat_task_request_desc;
			node_begin(n);
			n->desc = m.response;
			rpc_unary(is_local ? n->local : n->remote, &m, &r, NULL, node_on_answer, n);
			node_wait(n);
			if (n->code != ERR_INVALID_ARGUMENT)
				fail_msg("%s with \"%s\": %d %s", m.name, bad[k], n->code, n->message);
		}
	}
}

/* ---- downloads ---- */

static const struct rpc_call_events streamed = {.on_message = node_on_message, .on_end = node_on_end};

static int
download(struct rpc_channel *ch, const char *method, const struct pb_desc *desc, const void *r)
{
	struct rpc_call *call;

	node_begin(n);
	call = rpc_call_start(ch, method, &streamed, n, NULL);
	assert_int_equal(rpc_call_send(call, desc, r, NULL), 0);
	rpc_call_half_close(call);
	node_wait(n);
	return n->code;
}

static void
export_gives_length_and_pieces(void **state)
{
	struct dfdaemon_download_persistent_cache_task_request r = {0};
	char out[96];
	const char *id;
	struct stat st;

	(void)state;
	id = imported((9 << 20) + 5);
	snprintf(out, sizeof out, "%s/out", n->dir);
	r.task_id = slice_str(id);
	r.output_path = slice_str(out);
	assert_int_equal(download(n->local, DFDAEMON_DFDAEMON_DOWNLOAD_DOWNLOAD_PERSISTENT_CACHE_TASK,
	    &dfdaemon_download_persistent_cache_task_request_desc, &r), ERR_OK);
	assert_int_equal(n->messages, 4);
	assert_string_equal(n->task_id, id);
	assert_int_equal(stat(out, &st), 0);
	assert_int_equal(st.st_size, (9 << 20) + 5);
	/* The network may not write files here. */
	assert_int_equal(download(n->remote, DFDAEMON_DFDAEMON_UPLOAD_DOWNLOAD_PERSISTENT_CACHE_TASK,
	    &dfdaemon_download_persistent_cache_task_request_desc, &r), ERR_PERMISSION_DENIED);
	r.task_id = slice_str(ABSENT);
	r.output_path = (struct slice){0};
	assert_int_equal(download(n->local, DFDAEMON_DFDAEMON_DOWNLOAD_DOWNLOAD_PERSISTENT_CACHE_TASK,
	    &dfdaemon_download_persistent_cache_task_request_desc, &r), ERR_NOT_FOUND);
	assert_string_equal(n->message, "persistent cache task " ABSENT " not found");
}

static void
scheduler_may_ask_for_a_replica_of_what_is_here(void **state)
{
	struct dfdaemon_download_persistent_cache_task_request r = {.persistent = true};
	struct store_task *t;
	const char *id;

	(void)state;
	id = imported(5 << 20);
	t = store_task_find(n->parts->store, STORE_PERSISTENT_CACHE, id);
	store_task_set_persistent(t, false);
	r.task_id = slice_str(id);
	assert_int_equal(download(n->remote, DFDAEMON_DFDAEMON_UPLOAD_DOWNLOAD_PERSISTENT_CACHE_TASK,
	    &dfdaemon_download_persistent_cache_task_request_desc, &r), ERR_OK);
	assert_true(t->is_persistent);
}

static void
persistent_tasks_name_their_object(void **state)
{
	struct common_object_storage storage = {0};
	struct dfdaemon_download_persistent_task_request d = {.url = slice_str("s3://bucket/o")};
	struct dfdaemon_upload_persistent_task_request u = {.url = slice_str("s3://bucket/o"), .path = slice_str("/x")};
	const struct pb_desc *download_desc = &dfdaemon_download_persistent_task_request_desc;
	const char *method = DFDAEMON_DFDAEMON_DOWNLOAD_DOWNLOAD_PERSISTENT_TASK;

	(void)state;
	assert_int_equal(download(n->local, method, download_desc, &d), ERR_INVALID_ARGUMENT);
	assert_string_equal(n->message, "missing object storage");
	assert_int_equal(node_call(n, n->local, LOCAL(UPLOAD_PERSISTENT_TASK), &common_persistent_task_desc, &u), ERR_INVALID_ARGUMENT);
	assert_string_equal(n->message, "missing object storage");
	d.object_storage = u.object_storage = &storage;
	assert_int_equal(download(n->local, method, download_desc, &d), ERR_INVALID_ARGUMENT);
	assert_string_equal(n->message, "missing object storage region");
	storage.region = slice_str("eu");
	assert_int_equal(download(n->local, method, download_desc, &d), ERR_INVALID_ARGUMENT);
	assert_string_equal(n->message, "missing object storage endpoint");
	storage.endpoint = slice_str("http://127.0.0.1:1");
	/* A replica is never read from the source. */
	assert_int_equal(download(n->remote, DFDAEMON_DFDAEMON_UPLOAD_DOWNLOAD_PERSISTENT_TASK, download_desc, &d), ERR_NOT_FOUND);
	assert_int_equal(node_call(n, n->local, LOCAL(UPLOAD_PERSISTENT_TASK), &common_persistent_task_desc, &u), ERR_FAILED_PRECONDITION);
}

/* ---- children ---- */

static void
children_are_told_of_pieces_by_kind(void **state)
{
	uint32_t numbers[] = {0, 1, 2, 2, 77};
	struct dfdaemon_sync_persistent_cache_pieces_request r = {.interested_piece_numbers = numbers, .n_interested_piece_numbers = 5};
	struct dfdaemon_sync_persistent_pieces_request other = {.interested_piece_numbers = numbers, .n_interested_piece_numbers = 5};
	const char *id;

	(void)state;
	id = imported((9 << 20) + 5);
	r.task_id = other.task_id = slice_str(id);
	/* Messages are counted; their fields are not those of a download. */
	assert_int_equal(download(n->remote, DFDAEMON_DFDAEMON_UPLOAD_SYNC_PERSISTENT_PIECES,
	    &dfdaemon_sync_persistent_pieces_request_desc, &other), ERR_INTERNAL);
	assert_non_null(strstr(n->message, "persistent task "));
	assert_non_null(strstr(n->message, " not found"));
	r.task_id = slice_str(ABSENT);
	assert_int_equal(download(n->remote, DFDAEMON_DFDAEMON_UPLOAD_SYNC_PERSISTENT_CACHE_PIECES,
	    &dfdaemon_sync_persistent_cache_pieces_request_desc, &r), ERR_INTERNAL);
	assert_string_equal(n->message, "persistent cache task " ABSENT " not found");
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
	const struct CMUnitTest tests[] = {
		TEST(import_answers_with_the_task_and_keeps_a_copy),
		TEST(import_of_an_empty_file_has_no_piece),
		TEST(imports_that_cannot_be_are_refused),
		TEST(import_without_a_ttl_has_the_configured_one),
		TEST(import_that_takes_too_long_is_taken_back),
		TEST(import_that_is_stopped_while_the_scheduler_is_asked_is_taken_back),
		TEST(import_whose_client_went_away_is_taken_back),
		cmocka_unit_test_setup_teardown(import_needs_a_scheduler, start_alone, stop),
		TEST(tasks_are_listed_by_id_and_kind),
		TEST(what_is_absent_is_not_found),
		TEST(update_pins_and_delete_removes),
		TEST(ids_that_are_none_are_refused_everywhere),
		TEST(export_gives_length_and_pieces),
		TEST(scheduler_may_ask_for_a_replica_of_what_is_here),
		TEST(persistent_tasks_name_their_object),
		TEST(children_are_told_of_pieces_by_kind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
