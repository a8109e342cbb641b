/* Health, metrics and stats pages of a real daemon, over real connections. */
#include "node.h"

#include <ctype.h>
#include <errno.h>

#include "peer/engine.h"
#include "peer/stats.h"

static struct node *n;

static int
start(void **state)
{
	(void)state;
	n = node_start(true, "");
	return 0;
}

static int
stop(void **state)
{
	(void)state;
	node_stop(n);
	return 0;
}

static int
status_of(const char *answer)
{
	int code = 0;

	assert_int_equal(sscanf(answer, "HTTP/1.1 %d", &code), 1);
	return code;
}

static void
assert_status(enum status_server server, const char *request, int want)
{
	char *answer = node_http(n, server, request);

	if (status_of(answer) != want)
		fail_msg("%s: %.20s", request, answer);
	free(answer);
}

static void
assert_empty(enum status_server server, const char *request, int want)
{
	char *answer = node_http(n, server, request);

	assert_int_equal(status_of(answer), want);
	assert_string_equal(strstr(answer, "\r\n\r\n"), "\r\n\r\n");
	free(answer);
}

/* ---- metrics, read as a scraper does ---- */

static char *
metrics(void)
{
	char *answer = node_http(n, STATUS_METRICS, "GET /metrics");

	assert_int_equal(status_of(answer), 200);
	assert_non_null(strstr(answer, "Content-Type: text/plain; charset=utf-8\r\n"));
	return answer;
}

/* -1: no such sample. */
static long long
sample(const char *page, const char *name)
{
	size_t len = strlen(name);
	const char *at = page;

	while ((at = strstr(at, name)) != NULL) {
		if (at > page && at[-1] == '\n' && at[len] == ' ')
			return strtoll(at + len + 1, NULL, 10);
		at++;
	}
	return -1;
}

static long long
metric(const char *name)
{
	char *page = metrics();
	long long value = sample(page, name);

	free(page);
	return value;
}

static void
download(const char *path, const char *tag)
{
	struct common_download d = {.url = node_url(n, path), .tag = slice_str(tag)};

	if (node_download(n, n->local, &d) != ERR_OK)
		fail_msg("%s", n->message);
}

/* ---- tests ---- */

static void
health_says_alive_and_ready_until_the_stop(void **state)
{
	(void)state;
	assert_empty(STATUS_HEALTH, "GET /healthy", 200);
	assert_empty(STATUS_HEALTH, "GET /ready", 200);
	daemon_stop(n->daemon);
	NODE_UNTIL(n, !n->parts->is_ready);
	assert_empty(STATUS_HEALTH, "GET /healthy", 200);
	assert_empty(STATUS_HEALTH, "GET /ready", 503);
}

static void
everything_else_is_404(void **state)
{
	static const char *const requests[] = {
		"GET /", "POST /healthy", "HEAD /healthy", "GET /healthy/", "GET /HEALTHY", "GET /../etc/passwd", "OPTIONS /metrics", "POST /metrics",
		"GET /debug/pprof/profile?seconds=10", "GET /debug/pprof/heap", "DELETE /debug/state",
	};

	(void)state;
	for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
		assert_status(STATUS_HEALTH, requests[i], 404);
		assert_status(STATUS_METRICS, requests[i], 404);
		assert_status(STATUS_STATS, requests[i], 404);
	}
}

/* Each line is a comment or a sample, and families come in order within the two blocks. */
static void
check_format(const char *page)
{
	char last[128] = "", name[128];
	const char *at = strstr(page, "\r\n\r\n") + 4;
	unsigned blocks = 1;

	while (*at != '\0') {
		const char *end = strchr(at, '\n');

		assert_non_null(end);
		if (strncmp(at, "# HELP ", 7) == 0) {
			assert_int_equal(sscanf(at + 7, "%127s", name), 1);
			blocks += strcmp(last, name) >= 0;
			snprintf(last, sizeof last, "%s", name);
		} else if (strncmp(at, "# TYPE ", 7) == 0) {
			assert_int_equal(strncmp(at + 7, last, strlen(last)), 0);
		} else {
			assert_int_equal(strncmp(at, last, strlen(last)), 0);
			assert_true(isdigit((unsigned char)end[-1]));
		}
		at = end + 1;
	}
	assert_true(blocks <= 2);
}

static void
metrics_count_what_happened(void **state)
{
	char *page;

	(void)state;
	download("/gen/9M/1", "a \"tag\"");
	download("/gen/9M/1", "a \"tag\"");
	page = metrics();
	check_format(page);
	assert_int_equal(sample(page, "dragonfly_client_download_traffic{type=\"BACK_TO_SOURCE\"}"), 9 << 20);
	assert_int_equal(sample(page, "dragonfly_client_download_traffic{type=\"LOCAL_PEER\"}"), 9 << 20);
	assert_int_equal(sample(page, "dragonfly_client_download_traffic{type=\"REMOTE_PEER\"}"), 0);
	assert_int_equal(sample(page, "dragonfly_client_download_task_total{app=\"\",priority=\"0\",tag=\"a \\\"tag\\\"\",type=\"0\"}"), 2);
	assert_int_equal(sample(page, "dragonfly_client_concurrent_download_task_total{app=\"\",priority=\"0\",tag=\"a \\\"tag\\\"\",type=\"0\"}"), 0);
	assert_int_equal(sample(page, "dragonfly_client_download_task_duration_milliseconds_count{task_size_level=\"4\",task_type=\"0\"}"), 2);
	assert_int_equal(sample(page, "dragonfly_client_download_piece_duration_milliseconds_count{type=\"BACK_TO_SOURCE\"}"), 3);
	assert_int_equal(sample(page, "dragonfly_client_backend_request_total{method=\"HEAD\",scheme=\"http\"}"), 1);
	assert_true(sample(page, "dragonfly_client_backend_request_total{method=\"GET\",scheme=\"http\"}") >= 1);
	assert_int_equal(sample(page, "dragonfly_client_backend_request_failure_total{method=\"GET\",scheme=\"http\"}"), 0);
	assert_int_equal(sample(page, "dragonfly_scheduler_hosts"), 1);
	assert_true(sample(page, "dragonfly_scheduler_announce_peer_total") >= 1);
	assert_true(sample(page, "process_open_fds") > 5);
	assert_true(sample(page, "process_resident_memory_bytes") > 1 << 20);
	assert_int_equal(sample(page, "dragonfly_client_x_storage_tasks{type=\"0\"}"), 1);
	assert_true(sample(page, "dragonfly_client_x_storage_bytes{type=\"0\"}") >= 9 << 20);
	free(page);
}

static void
failures_are_counted_with_their_labels(void **state)
{
	struct common_download d = {.url = node_url(n, "/absent"), .priority = 3, .application = slice_str("app")};
	struct common_download bad = {.priority = 3, .application = slice_str("app"),
		.digest = slice_str("sha256:0000000000000000000000000000000000000000000000000000000000000000")};

	(void)state;
	assert_int_not_equal(node_download(n, n->local, &d), ERR_OK);
	/* What could not be prepared counts as a failed request to the origin, not as a failed download. */
	assert_int_equal(metric("dragonfly_client_download_task_failure_total{app=\"app\",priority=\"3\",tag=\"\",type=\"0\"}"), -1);
	assert_int_equal(metric("dragonfly_client_backend_request_failure_total{method=\"HEAD\",scheme=\"http\"}"), 1);
	bad.url = node_url(n, "/gen/1000/1");
	assert_int_not_equal(node_download(n, n->local, &bad), ERR_OK);
	assert_int_equal(metric("dragonfly_client_download_task_failure_total{app=\"app\",priority=\"3\",tag=\"\",type=\"0\"}"), 1);
}

static void
running_downloads_are_a_gauge_that_a_reset_leaves_alone(void **state)
{
	static const char gauge[] = "dragonfly_client_concurrent_download_task_total{app=\"\",priority=\"0\",tag=\"\",type=\"0\"}";
	static const char counter[] = "dragonfly_client_download_task_total{app=\"\",priority=\"0\",tag=\"\",type=\"0\"}";
	struct common_download d = {.url = node_url(n, "/gen/9M/1?drip=100000")};
	struct rpc_call *call;

	(void)state;
	call = node_download_start(n, n->local, &d);
	NODE_UNTIL(n, n->messages > 0);
	assert_int_equal(metric(gauge), 1);
	assert_int_equal(metric(counter), 1);
	assert_empty(STATUS_METRICS, "DELETE /metrics", 200);
	assert_int_equal(metric(gauge), 1);
	assert_int_equal(metric(counter), 0);
	rpc_call_cancel(call);
	NODE_UNTIL(n, metric(gauge) == 0);
	download("/gen/10/1", "");
	assert_int_equal(metric(counter), 1);
}

static void
tags_past_the_limit_are_counted_together(void **state)
{
	struct buf tag = BUF_INIT;
	char *page;

	(void)state;
	for (int i = 0; i < STATS_PAIRS_MAX + 5; i++) {
		struct common_download d = {.url = node_url(n, "/gen/10/1")};

		buf_clear(&tag);
		buf_printf(&tag, "tag%d", i);
		d.tag = buf_slice(&tag);
		assert_int_equal(node_download(n, n->local, &d), ERR_OK);
	}
	buf_free(&tag);
	page = metrics();
	check_format(page);
	assert_int_equal(sample(page, "dragonfly_client_download_task_total{app=\"" STATS_OTHER "\",priority=\"0\",tag=\"" STATS_OTHER
	    "\",type=\"0\"}"), 5);
	free(page);
}

static void
state_shows_what_runs(void **state)
{
	struct common_download d = {.url = node_url(n, "/gen/9M/1?drip=100000&secret=hush")};
	char *answer, line[160];
	struct rpc_call *call = node_download_start(n, n->local, &d);

	(void)state;
	NODE_UNTIL(n, n->messages > 0);
	answer = node_http(n, STATUS_STATS, "GET /debug/state");
	assert_int_equal(status_of(answer), 200);
	snprintf(line, sizeof line, "task id=%s phase=ready pieces=", n->task_id);
	assert_non_null(strstr(answer, line));
	assert_non_null(strstr(answer, "session phase=source"));
	assert_null(strstr(answer, "hush"));
	free(answer);
	rpc_call_cancel(call);
}

static void
header_one_past_the_limit_is_431(void **state)
{
	struct buf request = BUF_INIT;
	char *answer;

	(void)state;
	for (int over = 0; over < 2; over++) {
		int fd = node_connect(status_port(n->parts->status, STATUS_HEALTH));
		/* Room for the other lines; a full limit of filling is certainly past it. */
		size_t fill = over ? STATUS_HEADER_MAX : STATUS_HEADER_MAX - 256;

		buf_clear(&request);
		buf_append_str(&request, "GET /healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: ");
		for (size_t i = 0; i < fill; i++)
			buf_append_u8(&request, 'x');
		buf_append_str(&request, "\r\n\r\n");
		assert_int_equal(send(fd, buf_data(&request), request.len, MSG_NOSIGNAL), request.len);
		answer = node_read_all(n, fd);
		assert_int_equal(status_of(answer), over ? 431 : 200);
		free(answer);
		close(fd);
	}
	buf_free(&request);
}

static void
connections_past_the_limit_are_closed(void **state)
{
	int fds[STATUS_CONNECTIONS_MAX], extra;
	uint16_t port = status_port(n->parts->status, STATUS_HEALTH);
	char *nothing, byte;

	(void)state;
	for (int i = 0; i < STATUS_CONNECTIONS_MAX; i++)
		fds[i] = node_connect(port);
	extra = node_connect(port);
	nothing = node_read_all(n, extra);
	assert_string_equal(nothing, "");
	free(nothing);
	close(extra);
	/* The others are open still. */
	for (int i = 0; i < STATUS_CONNECTIONS_MAX; i++) {
		assert_int_equal(recv(fds[i], &byte, 1, MSG_DONTWAIT), -1);
		assert_true(errno == EAGAIN || errno == EWOULDBLOCK);
		close(fds[i]);
	}
	/* Once they are gone there is room again. */
	NODE_UNTIL(n, (extra = node_connect(port), send(extra, "GET /healthy HTTP/1.0\r\n\r\n", 25, MSG_NOSIGNAL), nothing = node_read_all(n, extra),
	    byte = nothing[0], free(nothing), close(extra), byte == 'H'));
}

static void
taken_port_stops_the_start_and_is_named(void **state)
{
	struct config c = n->config;
	struct err e = {0};
	char dir[96], socket_path[96], want[64];

	(void)state;
	snprintf(dir, sizeof dir, "%s/other", n->dir);
	snprintf(socket_path, sizeof socket_path, "%s/other.sock", n->dir);
	c.storage.dir = dir;
	c.download.server.socket_path = socket_path;
	c.stats.port = status_port(n->parts->status, STATUS_STATS);
	assert_null(daemon_start(&(struct daemon_options){.config = &c}, &e));
	snprintf(want, sizeof want, "stats.server: listen on 127.0.0.1:%u", (unsigned)c.stats.port);
	assert_int_equal(strncmp(e.text, want, strlen(want)), 0);
	assert_int_equal(access(socket_path, F_OK), -1);
}

#define WITH_NODE(test) cmocka_unit_test_setup_teardown(test, start, stop)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_NODE(health_says_alive_and_ready_until_the_stop),
		WITH_NODE(everything_else_is_404),
		WITH_NODE(metrics_count_what_happened),
		WITH_NODE(failures_are_counted_with_their_labels),
		WITH_NODE(running_downloads_are_a_gauge_that_a_reset_leaves_alone),
		WITH_NODE(tags_past_the_limit_are_counted_together),
		WITH_NODE(state_shows_what_runs),
		WITH_NODE(header_one_past_the_limit_is_431),
		WITH_NODE(connections_past_the_limit_are_closed),
		WITH_NODE(taken_port_stops_the_start_and_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
