/* Questions about tasks and orders to delete them, asked of a real daemon by a real gRPC client. */
#include "node.h"

#include "proto/google.h"
#include "proto/health.h"
#include "scheduler/scheduler.h"
#include "serve/adaptive.h"
#include "serve/admission.h"
#include "serve/entries.h"
#include "serve/local.h"
#include "store/store.h"

#define LOCAL(method) &dfdaemon_dfdaemon_download_service, DFDAEMON_DFDAEMON_DOWNLOAD_##method##_AT
#define REMOTE(method) &dfdaemon_dfdaemon_upload_service, DFDAEMON_DFDAEMON_UPLOAD_##method##_AT
#define ABSENT "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct node *n;

static int
start(void **state)
{
	(void)state;
	n = node_start(true, "");
	return 0;
}

static int
start_alone(void **state)
{
	(void)state;
	n = node_start(false, "");
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
download(const char *path)
{
	struct common_download d = {.url = node_url(n, path)};

	if (node_download(n, n->local, &d) != ERR_OK)
		fail_msg("%s", n->message);
}

static int
stat_local(struct rpc_channel *ch, const char *id)
{
	const struct dfdaemon_stat_local_task_request r = {.task_id = slice_str(id)};

	return ch == n->local ? node_call(n, ch, LOCAL(STAT_LOCAL_TASK), &dfdaemon_stat_local_task_response_desc, &r) :
	    node_call(n, ch, REMOTE(STAT_LOCAL_TASK), &dfdaemon_stat_local_task_response_desc, &r);
}

static int
stat_task(struct rpc_channel *ch, struct slice id)
{
	const struct dfdaemon_stat_task_request r = {.task_id = id};

	return ch == n->local ? node_call(n, ch, LOCAL(STAT_TASK), &common_task_desc, &r) :
	    node_call(n, ch, REMOTE(STAT_TASK), &common_task_desc, &r);
}

static int
delete_task(struct rpc_channel *ch, struct slice id)
{
	const struct dfdaemon_delete_task_request r = {.task_id = id};

	return ch == n->local ? node_call(n, ch, LOCAL(DELETE_TASK), &google_empty_desc, &r) :
	    node_call(n, ch, REMOTE(DELETE_TASK), &google_empty_desc, &r);
}

static int
check_health(struct rpc_channel *ch, const char *service)
{
	const struct health_health_check_request r = {.service = slice_str(service)};

	return node_call(n, ch, &health_health_service, HEALTH_HEALTH_CHECK_AT, &health_health_check_response_desc, &r);
}

/* ---- health ---- */

static void
health_answers_for_the_server_and_its_own_service(void **state)
{
	const struct health_health_check_response *a;

	(void)state;
	assert_int_equal(check_health(n->local, ""), ERR_OK);
	a = n->answer;
	assert_int_equal(a->status, HEALTH_HEALTH_CHECK_RESPONSE_SERVING_STATUS_SERVING);
	assert_int_equal(check_health(n->local, "dfdaemon.v2.DfdaemonDownload"), ERR_OK);
	assert_int_equal(check_health(n->local, "dfdaemon.v2.DfdaemonUpload"), ERR_NOT_FOUND);
	assert_string_equal(n->message, "service not registered");
	assert_int_equal(check_health(n->remote, ""), ERR_OK);
	assert_int_equal(check_health(n->remote, "dfdaemon.v2.DfdaemonUpload"), ERR_OK);
	assert_int_equal(check_health(n->remote, "dfdaemon.v2.DfdaemonDownload"), ERR_NOT_FOUND);
}

struct watched {
	unsigned count;
	int32_t last;
};

static void
on_health(struct rpc_call *call, void *ctx, struct slice bytes)
{
	struct watched *w = ctx;
	struct health_health_check_response r;
	struct arena a;

	(void)call;
	arena_init(&a, 0);
	assert_int_equal(pb_decode(&health_health_check_response_desc, bytes, &a, &r, NULL), 0);
	w->count++;
	w->last = r.status;
	arena_free(&a);
}

static void
on_health_end(struct rpc_call *call, void *ctx, const struct rpc_status *st)
{
	(void)call;
	(void)ctx;
	(void)st;
}

static void
watch_tells_the_state_and_the_stop(void **state)
{
	static const struct rpc_call_events ev = {.on_message = on_health, .on_end = on_health_end};
	const struct health_health_check_request r = {0};
	static struct watched w;
	struct rpc_call *call = rpc_call_start(n->remote, HEALTH_HEALTH_WATCH, &ev, &w, NULL);

	(void)state;
	rpc_call_send(call, &health_health_check_request_desc, &r, NULL);
	rpc_call_half_close(call);
	NODE_UNTIL(n, w.count == 1);
	assert_int_equal(w.last, HEALTH_HEALTH_CHECK_RESPONSE_SERVING_STATUS_SERVING);
	daemon_stop(n->daemon);
	NODE_UNTIL(n, w.count == 2);
	assert_int_equal(w.last, HEALTH_HEALTH_CHECK_RESPONSE_SERVING_STATUS_NOT_SERVING);
}

/* ---- tasks ---- */

static void
downloaded_task_is_described(void **state)
{
	const struct dfdaemon_stat_local_task_response *a;
	int64_t now = clock_wall_ms() / 1000;

	(void)state;
	download("/gen/100000/1");
	for (int i = 0; i < 2; i++) {
		assert_int_equal(stat_local(i == 0 ? n->local : n->remote, n->task_id), ERR_OK);
		a = n->answer;
		assert_true(slice_eq_str(a->task_id, n->task_id));
		assert_true(a->has_content_length);
		assert_int_equal(a->content_length, 100000);
		assert_true(a->has_piece_length);
		assert_int_equal(a->piece_length, 4 << 20);
		assert_true(slice_eq_str(pb_pair_get(a->response_header, a->n_response_header, "content-length"), "100000"));
		assert_non_null(a->created_at);
		assert_non_null(a->finished_at);
		assert_true(a->finished_at->seconds >= now - 1 && a->finished_at->seconds <= now + NODE_LIMIT_MS / 1000);
		assert_null(a->failed_at);
		assert_null(a->prefetched_at);
	}
}

static void
missing_task_is_not_found(void **state)
{
	(void)state;
	assert_int_equal(stat_local(n->local, ABSENT), ERR_NOT_FOUND);
	assert_string_equal(n->message, "local task not found: " ABSENT);
	assert_int_equal(stat_local(n->remote, ABSENT), ERR_NOT_FOUND);
	assert_int_equal(stat_task(n->local, slice_str(ABSENT)), ERR_NOT_FOUND);
	assert_int_equal(stat_task(n->remote, slice_str(ABSENT)), ERR_NOT_FOUND);
	assert_int_equal(delete_task(n->local, slice_str(ABSENT)), ERR_NOT_FOUND);
	assert_string_equal(n->message, "task " ABSENT " not found");
	assert_int_equal(delete_task(n->remote, slice_str(ABSENT)), ERR_NOT_FOUND);
	assert_int_equal(n->parts->counts->failures[STORE_STANDARD][LOCAL_DELETE_TASK], 2);
	assert_int_equal(n->parts->counts->failures[STORE_STANDARD][LOCAL_STAT_LOCAL_TASK], 2);
}

static void
hostile_ids_are_refused_everywhere(void **state)
{
	static const struct slice none = {0};
	struct slice ids[] = {
		none, slice_str("ab"), slice_str("/etc/passwd"), slice_str("../../../../etc/passwd"),
		slice_str("0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF"),
		slice_str("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde"),
		slice_str(ABSENT "0"), slice_str(ABSENT ABSENT "0"), slice_str("sha256:" ABSENT), slice_str("\xc3\xa9\xc3\xa9"),
		slice_make(ABSENT "\0", 64), slice_make("0123\0" ABSENT, 64),
	};

	(void)state;
	for (size_t i = 0; i < sizeof ids / sizeof ids[0]; i++) {
		const struct dfdaemon_stat_local_task_request stat = {.task_id = ids[i]};
		const struct dfdaemon_delete_local_task_request drop = {.task_id = ids[i]};
		/* The eleventh is well formed after all. */
		int want = i == 10 ? ERR_NOT_FOUND : ERR_INVALID_ARGUMENT;

		assert_int_equal(stat_task(n->local, ids[i]), want);
		assert_int_equal(stat_task(n->remote, ids[i]), want);
		assert_int_equal(delete_task(n->local, ids[i]), want);
		assert_int_equal(delete_task(n->remote, ids[i]), want);
		assert_int_equal(node_call(n, n->local, LOCAL(STAT_LOCAL_TASK), &dfdaemon_stat_local_task_response_desc, &stat), want);
		assert_int_equal(node_call(n, n->remote, REMOTE(STAT_LOCAL_TASK), &dfdaemon_stat_local_task_response_desc, &stat), want);
		assert_int_equal(node_call(n, n->local, LOCAL(DELETE_LOCAL_TASK), &google_empty_desc, &drop), want);
	}
}

static void
list_has_all_tasks_by_id(void **state)
{
	const struct dfdaemon_list_local_tasks_request r = {0};
	const struct dfdaemon_list_local_tasks_response *a;

	(void)state;
	assert_int_equal(node_call(n, n->local, LOCAL(LIST_LOCAL_TASKS), &dfdaemon_list_local_tasks_response_desc, &r), ERR_OK);
	a = n->answer;
	assert_int_equal(a->n_tasks, 0);
	for (int i = 0; i < 20; i++) {
		char path[32];

		snprintf(path, sizeof path, "/gen/%d/%d", 1000 + i, i);
		download(path);
	}
	assert_int_equal(node_call(n, n->local, LOCAL(LIST_LOCAL_TASKS), &dfdaemon_list_local_tasks_response_desc, &r), ERR_OK);
	a = n->answer;
	assert_int_equal(a->n_tasks, 20);
	for (size_t i = 1; i < a->n_tasks; i++)
		assert_true(slice_cmp(a->tasks[i - 1].task_id, a->tasks[i].task_id) < 0);
}

static void
scheduler_knows_the_task_until_it_is_deleted(void **state)
{
	const struct common_task *a;
	struct scheduler_metrics m;
	char id[129];

	(void)state;
	/* Larger than what goes to the source without a question. */
	download("/gen/9M/1");
	memcpy(id, n->task_id, sizeof id);
	assert_int_equal(stat_task(n->remote, slice_str(id)), ERR_OK);
	a = n->answer;
	assert_true(slice_eq_str(a->id, id));
	assert_int_equal(a->content_length, 9 << 20);
	assert_int_equal(delete_task(n->remote, slice_str(id)), ERR_OK);
	scheduler_metrics(n->parts->scheduler, &m);
	assert_int_equal(m.leave_task, 1);
	assert_int_equal(stat_local(n->local, id), ERR_NOT_FOUND);
	assert_int_equal(delete_task(n->local, slice_str(id)), ERR_NOT_FOUND);
	/* And it can come again. */
	download("/gen/9M/1");
	assert_int_equal(stat_local(n->local, id), ERR_OK);
}

static void
local_delete_does_not_ask_the_scheduler(void **state)
{
	struct dfdaemon_delete_local_task_request r;
	struct scheduler_metrics m;
	char id[129];

	(void)state;
	download("/gen/9M/1");
	memcpy(id, n->task_id, sizeof id);
	r.task_id = slice_str(id);
	r.remote_ip = (struct slice){0};
	assert_int_equal(node_call(n, n->local, LOCAL(DELETE_LOCAL_TASK), &google_empty_desc, &r), ERR_OK);
	scheduler_metrics(n->parts->scheduler, &m);
	assert_int_equal(m.leave_task, 0);
	assert_int_equal(node_call(n, n->local, LOCAL(DELETE_LOCAL_TASK), &google_empty_desc, &r), ERR_NOT_FOUND);
}

static void
delete_ends_the_running_download(void **state)
{
	struct common_download d = {.url = node_url(n, "/gen/9M/1?drip=100000")};

	(void)state;
	node_download_start(n, n->local, &d);
	NODE_UNTIL(n, n->messages > 0);
	{
		struct store_task *t = store_task_find(n->parts->store, STORE_STANDARD, n->task_id);

		assert_non_null(t);
		assert_int_equal(store_task_delete(t, STORE_DELETED_BY_CALLER, NULL), 0);
	}
	node_wait(n);
	assert_int_equal(n->code, ERR_NOT_FOUND);
}

static void
collected_task_leaves_its_scheduler(void **state)
{
	const struct store_gc_limits limits = {.task_ttl = 1};
	struct store_gc_result r = {0};
	struct scheduler_metrics m;

	(void)state;
	download("/gen/9M/1");
	/* It is in use until the last jobs on it are done. */
	NODE_UNTIL(n, (store_gc_pass(n->parts->store, clock_wall_ns() + INT64_C(60000000000), &limits, 100, &r), r.expired == 1));
	do {
		loop_turn(n->parts->loop, 5);
		scheduler_metrics(n->parts->scheduler, &m);
	} while (m.leave_task == 0);
	assert_int_equal(m.leave_task_failure, 0);
}

static void
host_can_be_deleted_at_its_schedulers(void **state)
{
	const struct google_empty r = {0};
	struct scheduler_metrics m;

	(void)state;
	do {
		loop_turn(n->parts->loop, 5);
		scheduler_metrics(n->parts->scheduler, &m);
	} while (m.hosts == 0);
	assert_int_equal(node_call(n, n->local, LOCAL(DELETE_HOST), &google_empty_desc, &r), ERR_OK);
	scheduler_metrics(n->parts->scheduler, &m);
	assert_int_equal(m.hosts, 0);
	assert_int_equal(m.leave_host, 1);
}

static void
without_schedulers_local_calls_work_and_the_rest_says_so(void **state)
{
	const struct google_empty none = {0};

	(void)state;
	download("/gen/1000/1");
	assert_int_equal(stat_task(n->local, slice_str(n->task_id)), ERR_UNAVAILABLE);
	assert_string_equal(n->message, "available schedulers not found");
	assert_int_equal(node_call(n, n->local, LOCAL(DELETE_HOST), &google_empty_desc, &none), ERR_OK);
	assert_int_equal(stat_local(n->local, n->task_id), ERR_OK);
	assert_int_equal(delete_task(n->local, slice_str(n->task_id)), ERR_OK);
	assert_int_equal(stat_local(n->local, n->task_id), ERR_NOT_FOUND);
}

/* ---- entries ---- */

static int
list_entries(struct rpc_channel *ch, struct slice url)
{
	const struct dfdaemon_list_task_entries_request r = {.task_id = slice_str("not-an-id"), .url = url};

	return ch == n->local ? node_call(n, ch, LOCAL(LIST_TASK_ENTRIES), &dfdaemon_list_task_entries_response_desc, &r) :
	    node_call(n, ch, REMOTE(LIST_TASK_ENTRIES), &dfdaemon_list_task_entries_response_desc, &r);
}

static void
entries_of_a_file_are_its_length_and_headers(void **state)
{
	const struct dfdaemon_list_task_entries_response *a;

	(void)state;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(list_entries(i == 0 ? n->local : n->remote, node_url(n, "/gen/12345/1")), ERR_OK);
		a = n->answer;
		assert_int_equal(a->content_length, 12345);
		assert_true(a->has_status_code);
		assert_true(a->status_code == 200 || a->status_code == 206);
		assert_true(slice_eq_str(pb_pair_get(a->response_header, a->n_response_header, "content-length"), "12345"));
		assert_int_equal(a->n_entries, 0);
	}
	assert_int_equal(n->parts->counts->calls[STORE_STANDARD][LOCAL_LIST_TASK_ENTRIES], 2);
}

static void
entries_of_what_is_not_there_name_the_cause(void **state)
{
	(void)state;
	assert_int_not_equal(list_entries(n->local, node_url(n, "/absent")), ERR_OK);
	assert_non_null(strstr(n->message, "404"));
	assert_int_not_equal(list_entries(n->local, slice_str("gopher://x/y")), ERR_OK);
	assert_int_not_equal(list_entries(n->local, slice_str("http://")), ERR_OK);
	assert_int_equal(list_entries(n->local, slice_str("")), ERR_INVALID_ARGUMENT);
	assert_int_equal(n->parts->counts->failures[STORE_STANDARD][LOCAL_LIST_TASK_ENTRIES], 4);
}

static void
entries_heed_the_timeout(void **state)
{
	struct google_duration timeout = {.nanos = 200000000};
	const struct dfdaemon_list_task_entries_request r = {.url = node_url(n, "/gen/10/1?hang"), .timeout = &timeout};
	int64_t began = clock_mono_ms();

	(void)state;
	assert_int_not_equal(node_call(n, n->local, LOCAL(LIST_TASK_ENTRIES), &dfdaemon_list_task_entries_response_desc, &r), ERR_OK);
	assert_true(clock_mono_ms() - began < 5000);
}

static void
entries_past_the_limit_are_refused_and_a_stop_waits_for_none(void **state)
{
	const struct dfdaemon_list_task_entries_request r = {.url = node_url(n, "/gen/10/1?hang")};
	const struct pb_method *m = &dfdaemon_dfdaemon_download_service.methods[DFDAEMON_DFDAEMON_DOWNLOAD_LIST_TASK_ENTRIES_AT];
	struct rpc_call *calls[ENTRIES_RUNNING_MAX];
	int64_t began;

	(void)state;
	node_begin(n);
	n->desc = &dfdaemon_list_task_entries_response_desc;
	for (size_t i = 0; i < ENTRIES_RUNNING_MAX; i++)
		calls[i] = rpc_unary(n->local, m, &r, NULL, node_on_answer, n);
	NODE_UNTIL(n, n->parts->counts->calls[STORE_STANDARD][LOCAL_LIST_TASK_ENTRIES] == ENTRIES_RUNNING_MAX);
	assert_false(n->is_done);
	assert_int_equal(list_entries(n->local, node_url(n, "/gen/10/1")), ERR_RESOURCE_EXHAUSTED);
	for (size_t i = 0; i < ENTRIES_RUNNING_MAX; i++)
		rpc_call_cancel(calls[i]);
	began = clock_mono_ms();
	node_close_channels(n);
	daemon_stop(n->daemon);
	daemon_run(n->daemon);
	assert_true(clock_mono_ms() - began < 5000);
}

/* ---- what the network may not do ---- */

static void
output_path_is_refused_over_tcp(void **state)
{
	char path[96];
	struct common_download d = {.url = node_url(n, "/gen/1000/1"), .overwrite = true};

	(void)state;
	snprintf(path, sizeof path, "%s/out", n->dir);
	d.output_path = slice_str(path);
	assert_int_equal(node_download(n, n->remote, &d), ERR_PERMISSION_DENIED);
	assert_string_equal(n->message, "output path is not allowed on the upload server");
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(node_download(n, n->local, &d), ERR_OK);
	assert_int_equal(access(path, F_OK), 0);
}

static void
hostile_downloads_end_alone(void **state)
{
	struct pb_pair range = {.key = slice_str("Range"), .value = slice_str("bytes=99999-")};
	struct common_download good = {.url = node_url(n, "/gen/1000/1")}, none = good, tiny = good, bad_range = good;

	(void)state;
	none.has_piece_length = tiny.has_piece_length = true;
	tiny.piece_length = 1;
	bad_range.request_header = &range;
	bad_range.n_request_header = 1;
	assert_int_equal(node_download(n, n->remote, NULL), ERR_INVALID_ARGUMENT);
	assert_string_equal(n->message, "missing download");
	assert_int_equal(node_download(n, n->remote, &none), ERR_INVALID_ARGUMENT);
	assert_int_equal(node_download(n, n->remote, &tiny), ERR_INVALID_ARGUMENT);
	assert_int_equal(node_download(n, n->local, &good), ERR_OK);
	assert_int_equal(node_download(n, n->local, &bad_range), ERR_FAILED_PRECONDITION);
	/* The good task is none the worse. */
	assert_int_equal(stat_local(n->local, n->task_id), ERR_OK);
	assert_null(((const struct dfdaemon_stat_local_task_response *)n->answer)->failed_at);
	assert_int_equal(node_download(n, n->local, &good), ERR_OK);
}

static void
unserved_methods_are_unimplemented(void **state)
{
	static const size_t local[] = {
		DFDAEMON_DFDAEMON_DOWNLOAD_STAT_CACHE_TASK_AT, DFDAEMON_DFDAEMON_DOWNLOAD_DELETE_CACHE_TASK_AT,
	};
	static const size_t remote[] = {
		DFDAEMON_DFDAEMON_UPLOAD_STAT_CACHE_TASK_AT, DFDAEMON_DFDAEMON_UPLOAD_DELETE_CACHE_TASK_AT,
		DFDAEMON_DFDAEMON_UPLOAD_DOWNLOAD_CACHE_PIECE_AT,
	};
	/* All of them begin with the task id, if they have one. */
	const struct dfdaemon_stat_task_request r = {.task_id = slice_str("/etc/passwd")};

	(void)state;
	for (size_t i = 0; i < sizeof local / sizeof local[0]; i++) {
		struct pb_method m = dfdaemon_dfdaemon_download_service.methods[local[i]];

		m.request = &dfdaemon_stat_task_request_desc;
		node_begin(n);
		n->desc = m.response;
		rpc_unary(n->local, &m, &r, NULL, node_on_answer, n);
		node_wait(n);
		assert_int_equal(n->code, ERR_UNIMPLEMENTED);
	}
	for (size_t i = 0; i < sizeof remote / sizeof remote[0]; i++) {
		struct pb_method m = dfdaemon_dfdaemon_upload_service.methods[remote[i]];

		m.request = &dfdaemon_stat_task_request_desc;
		node_begin(n);
		n->desc = m.response;
		rpc_unary(n->remote, &m, &r, NULL, node_on_answer, n);
		node_wait(n);
		assert_int_equal(n->code, ERR_UNIMPLEMENTED);
	}
	assert_string_equal(n->message, "unknown method DownloadCachePiece for service dfdaemon.v2.DfdaemonUpload");
	/* What belongs to users is not there for the network. */
	{
		struct pb_method m = dfdaemon_dfdaemon_download_service.methods[DFDAEMON_DFDAEMON_DOWNLOAD_DELETE_HOST_AT];

		node_begin(n);
		rpc_unary(n->remote, &m, &(struct google_empty){0}, NULL, node_on_answer, n);
		node_wait(n);
		assert_int_equal(n->code, ERR_UNIMPLEMENTED);
	}
	assert_int_equal(access("/etc/passwd", F_OK), 0);
}

static int
start_limited(void **state)
{
	(void)state;
	n = node_start(true, "server: {adaptiveRateLimit: {bucketCount: 5}}\n");
	return 0;
}

static void
calls_past_the_rate_are_refused_and_health_is_not(void **state)
{
	const struct dfdaemon_list_local_tasks_request r = {0};
	/* Default rate and buffer; the loop is far quicker than the rate. */
	unsigned refused = 0;
	char text[512] = "";

	(void)state;
	for (unsigned i = 0; i < 3000 && refused == 0; i++) {
		if (node_call(n, n->local, LOCAL(LIST_LOCAL_TASKS), &dfdaemon_list_local_tasks_response_desc, &r) == ERR_RESOURCE_EXHAUSTED) {
			refused++;
			snprintf(text, sizeof text, "%s", n->message);
		}
		assert_int_equal(check_health(n->local, ""), ERR_OK);
	}
	/* A machine that is slower than 400 calls a second never gets there. */
	if (refused > 0) {
		assert_string_equal(text, "server is overloaded: too many requests, please retry later");
		assert_int_equal(n->parts->download_admission->refused, 1);
	}
	assert_int_equal(n->parts->download_admission->adaptive->in_flight, 0);
	assert_int_equal(check_health(n->local, ""), ERR_OK);
}

static void
answered_calls_are_not_in_flight(void **state)
{
	struct common_download d = {.url = node_url(n, "/gen/9M/1?drip=100000")};
	struct rpc_call *call;

	(void)state;
	missing_task_is_not_found(state);
	call = node_download_start(n, n->local, &d);
	NODE_UNTIL(n, n->messages > 0);
	/* Its headers are sent; the body does not count. */
	assert_int_equal(n->parts->download_admission->adaptive->in_flight, 0);
	rpc_call_cancel(call);
	assert_int_equal(n->parts->upload_admission->adaptive->in_flight, 0);
}

#define WITH_NODE(test) cmocka_unit_test_setup_teardown(test, start, stop)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_NODE(health_answers_for_the_server_and_its_own_service),
		WITH_NODE(watch_tells_the_state_and_the_stop),
		WITH_NODE(downloaded_task_is_described),
		WITH_NODE(missing_task_is_not_found),
		WITH_NODE(hostile_ids_are_refused_everywhere),
		WITH_NODE(list_has_all_tasks_by_id),
		WITH_NODE(scheduler_knows_the_task_until_it_is_deleted),
		WITH_NODE(local_delete_does_not_ask_the_scheduler),
		WITH_NODE(delete_ends_the_running_download),
		WITH_NODE(collected_task_leaves_its_scheduler),
		WITH_NODE(host_can_be_deleted_at_its_schedulers),
		cmocka_unit_test_setup_teardown(without_schedulers_local_calls_work_and_the_rest_says_so, start_alone, stop),
		WITH_NODE(entries_of_a_file_are_its_length_and_headers),
		WITH_NODE(entries_of_what_is_not_there_name_the_cause),
		WITH_NODE(entries_heed_the_timeout),
		WITH_NODE(entries_past_the_limit_are_refused_and_a_stop_waits_for_none),
		WITH_NODE(output_path_is_refused_over_tcp),
		WITH_NODE(hostile_downloads_end_alone),
		WITH_NODE(unserved_methods_are_unimplemented),
		cmocka_unit_test_setup_teardown(calls_past_the_rate_are_refused_and_health_is_not, start_limited, stop),
		WITH_NODE(answered_calls_are_not_in_flight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
