/* Two daemons: a seed peer with the scheduler inside, in a thread of its own, and a peer that the test drives. */
#include "node.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

#include "peer/engine.h"
#include "peer/task.h"

static struct node *seed, *peer;
static pthread_t seed_thread;
static uint16_t seed_metrics;
static bool seed_is_stopped;

static void *
run_seed(void *arg)
{
	(void)arg;
	daemon_run(seed->daemon);
	return NULL;
}

static void
start_pair(const char *block_list)
{
	struct buf dynconfig = BUF_INIT;

	seed = node_start(true, "seedPeer: {enable: true, type: super}\n");
	/* Its channels would belong to another thread. */
	node_close_channels(seed);
	buf_printf(&dynconfig, "scheduler: {addrs: ['%s']}\n%s", seed->parts->own_scheduler, block_list);
	seed_metrics = status_port(seed->parts->status, STATUS_METRICS);
	seed_is_stopped = false;
	assert_int_equal(pthread_create(&seed_thread, NULL, run_seed, NULL), 0);
	peer = node_start_with(false, "", buf_cstr(&dynconfig));
	buf_free(&dynconfig);
}

static int
start(void **state)
{
	(void)state;
	start_pair("");
	return 0;
}

static int
start_blocked(void **state)
{
	(void)state;
	start_pair("clientConfig: {blockList: {task: {download: {tags: ['nightly']}}}}\n");
	return 0;
}

static void
end_seed(void)
{
	if (seed_is_stopped)
		return;
	seed_is_stopped = true;
	/* Twice: at once, as if it were killed. */
	daemon_stop(seed->daemon);
	daemon_stop(seed->daemon);
	assert_int_equal(pthread_join(seed_thread, NULL), 0);
	daemon_free(seed->daemon);
}

static int
stop(void **state)
{
	char command[128];

	(void)state;
	end_seed();
	node_stop(peer);
	origin_stop(seed->origin);
	config_free(&seed->config);
	arena_free(&seed->memory);
	snprintf(command, sizeof command, "rm -rf '%s'", seed->dir);
	assert_int_equal(system(command), 0);
	free(seed);
	return 0;
}

static long long
seed_metric(const char *name)
{
	static const char request[] = "GET /metrics HTTP/1.0\r\n\r\n";
	int fd = node_connect(seed_metrics);
	char *page, *at;
	long long value = -1;

	assert_int_equal(send(fd, request, sizeof request - 1, MSG_NOSIGNAL), sizeof request - 1);
	page = node_read_all(peer, fd);
	close(fd);
	at = strstr(page, name);
	if (at != NULL)
		value = strtoll(at + strlen(name), NULL, 10);
	free(page);
	return value;
}

static void
assert_content(const char *path, uint64_t size, uint64_t seed_of_content)
{
	static uint8_t have[1 << 20], want[1 << 20];
	struct stat st;
	int fd = open(path, O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, size);
	for (uint64_t at = 0; at < size; at += sizeof have) {
		size_t n = size - at < sizeof have ? (size_t)(size - at) : sizeof have;

		assert_int_equal(pread(fd, have, n, (off_t)at), n);
		origin_gen_fill(seed_of_content, at, want, n);
		assert_memory_equal(have, want, n);
	}
	close(fd);
}

static void
assert_read_once(uint64_t size)
{
	assert_true(origin_bytes(peer->origin) <= size + size / 50);
}

/* Until the scheduler has heard of both hosts. */
static void
wait_for_hosts(long long count)
{
	int64_t until = clock_mono_ms() + NODE_LIMIT_MS;

	while (seed_metric("\ndragonfly_scheduler_hosts ") < count)
		assert_true(clock_mono_ms() < until);
}

static void
pieces_come_from_the_seed_and_the_origin_is_read_once(void **state)
{
	char path[96];
	struct common_download d = {.url = node_url(peer, "/gen/41M/7")};
	const struct engine_metrics *m = &peer->parts->engine->metrics;

	(void)state;
	wait_for_hosts(2);
	snprintf(path, sizeof path, "%s/out", peer->dir);
	d.output_path = slice_str(path);
	if (node_download(peer, peer->local, &d) != ERR_OK)
		fail_msg("%s", peer->message);
	assert_content(path, 41 << 20, 7);
	assert_int_equal(m->bytes[TASK_REMOTE_PEER], 41 << 20);
	assert_int_equal(m->bytes[TASK_BACK_TO_SOURCE], 0);
	assert_int_equal(m->seed_bytes, 41 << 20);
	assert_int_equal(m->pieces[TASK_REMOTE_PEER], 11);
	assert_read_once(UINT64_C(41) << 20);
	/* The answer to the last request may be counted a moment later. */
	NODE_UNTIL(peer, seed_metric("\ndragonfly_client_upload_traffic ") == 41 << 20);
	assert_int_equal(seed_metric("\ndragonfly_client_download_traffic{type=\"BACK_TO_SOURCE\"} "), 41 << 20);
	assert_int_equal(seed_metric("\ndragonfly_client_concurrent_upload_piece_total "), 0);
}

struct caller {
	struct rpc_call *call;
	unsigned pieces;
	int code;
	bool is_over;
};

static void
caller_on_message(struct rpc_call *call, void *ctx, struct slice bytes)
{
	(void)call;
	(void)bytes;
	((struct caller *)ctx)->pieces++;
}

static void
caller_on_end(struct rpc_call *call, void *ctx, const struct rpc_status *st)
{
	struct caller *c = ctx;

	(void)call;
	c->is_over = true;
	c->code = st->code;
}

static void
callers_of_one_task_share_one_download(void **state)
{
	static const struct rpc_call_events ev = {.on_message = caller_on_message, .on_end = caller_on_end};
	static struct caller callers[64];
	struct common_download d = {.url = node_url(peer, "/gen/21M/8")};
	const struct dfdaemon_download_task_request r = {.download = &d};

	(void)state;
	memset(callers, 0, sizeof callers);
	wait_for_hosts(2);
	for (size_t i = 0; i < 64; i++) {
		callers[i].call = rpc_call_start(peer->local, DFDAEMON_DFDAEMON_DOWNLOAD_DOWNLOAD_TASK, &ev, &callers[i], NULL);
		rpc_call_send(callers[i].call, &dfdaemon_download_task_request_desc, &r, NULL);
		rpc_call_half_close(callers[i].call);
	}
	for (size_t i = 0; i < 64; i++) {
		NODE_UNTIL(peer, callers[i].is_over);
		assert_int_equal(callers[i].code, ERR_OK);
		assert_int_equal(callers[i].pieces, 1 + 6);
	}
	assert_int_equal(peer->parts->engine->metrics.bytes[TASK_REMOTE_PEER], 21 << 20);
	assert_read_once(UINT64_C(21) << 20);
}

static void
seed_that_dies_in_the_middle_is_replaced_by_the_origin(void **state)
{
	char path[96];
	struct common_download d = {.url = node_url(peer, "/gen/41M/9?drip=8000000")};

	(void)state;
	wait_for_hosts(2);
	snprintf(path, sizeof path, "%s/out", peer->dir);
	d.output_path = slice_str(path);
	node_download_start(peer, peer->local, &d);
	NODE_UNTIL(peer, peer->messages > 3 || peer->is_done);
	end_seed();
	node_wait(peer);
	if (peer->code != ERR_OK)
		fail_msg("%s", peer->message);
	assert_content(path, 41 << 20, 9);
	assert_true(peer->parts->engine->metrics.seed_bytes > 0);
	assert_true(peer->parts->engine->metrics.bytes[TASK_BACK_TO_SOURCE] > 0);
}

static void
blocked_download_is_refused_and_counted(void **state)
{
	struct common_download d = {.url = node_url(peer, "/gen/10/1"), .tag = slice_str("nightly")};

	(void)state;
	assert_int_equal(node_download(peer, peer->local, &d), ERR_PERMISSION_DENIED);
	assert_string_equal(peer->message, "download rejected by blocklist policy");
	assert_int_equal(peer->parts->engine->metrics.download_blocked[STORE_STANDARD], 1);
	d.tag = slice_str("daily");
	assert_int_equal(node_download(peer, peer->local, &d), ERR_OK);
}

#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, start, stop)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_PAIR(pieces_come_from_the_seed_and_the_origin_is_read_once),
		WITH_PAIR(callers_of_one_task_share_one_download),
		WITH_PAIR(seed_that_dies_in_the_middle_is_replaced_by_the_origin),
		cmocka_unit_test_setup_teardown(blocked_download_is_refused_and_counted, start_blocked, stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
