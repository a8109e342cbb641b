/*
 * A whole daemon in the test's own process, on free ports and a directory of its own, with a scheduler inside; clients run on its control
 * loop. Nothing here waits longer than NODE_LIMIT_MS.
 */
#ifndef TESTS_SERVE_NODE_H
#define TESTS_SERVE_NODE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "cluster/cluster.h"
#include "config/config.h"
#include "net/addr.h"
#include "net/loop.h"
#include "net/rpc_client.h"
#include "proto/common.h"
#include "proto/dfdaemon.h"
#include "serve/daemon.h"
#include "serve/status.h"
#include "support/origin.h"
#include "wire/pb.h"

#define NODE_LIMIT_MS 20000

struct node {
	char dir[64];
	struct config config;
	struct daemon *daemon;
	const struct daemon_parts *parts;
	struct rpc_channel *local, *remote;     /* the unix socket, the upload port */
	struct origin *origin;

	/* The last call. */
	bool is_done;
	int code;
	char message[512];
	struct arena memory;
	const struct pb_desc *desc;
	void *answer;                   /* NULL: none */
	unsigned messages;
	char task_id[129];
};

static inline void
node_channels(struct node *n)
{
	struct rpc_channel_opts local = {0}, remote = {0};
	char path[96];

	snprintf(path, sizeof path, "%s/d.sock", n->dir);
	assert_int_equal(addr_from_unix(&local.addr, path, NULL), 0);
	n->local = rpc_channel_new(n->parts->loop, &local);
	assert_int_equal(addr_from_ip(&remote.addr, slice_str("127.0.0.1"), cluster_host(n->parts->cluster)->upload_port), 0);
	n->remote = rpc_channel_new(n->parts->loop, &remote);
}

/* `extra`: further top-level keys; with_scheduler: one inside; dynconfig: text of dynconfig.yaml, or NULL. */
static inline struct node *
node_start_with(bool with_scheduler, const char *extra, const char *dynconfig)
{
	struct node *n = calloc(1, sizeof *n);
	const struct config_options how = {.is_strict = true, .allow_ephemeral_ports = true};
	struct config_notes notes = CONFIG_NOTES_INIT;
	struct buf text = BUF_INIT;
	struct err e = {0};
	char path[96];

	assert_non_null(n);
	log_set_level(LOG_OFF);
	snprintf(n->dir, sizeof n->dir, "/tmp/serve-test-XXXXXX");
	assert_non_null(mkdtemp(n->dir));
	buf_printf(&text,
	    "host: {ip: 127.0.0.1, hostname: node}\n"
	    "upload: {server: {ip: 127.0.0.1, port: 0}}\n"
	    "download: {server: {socketPath: %s/d.sock}}\n"
	    "storage: {dir: %s/store, server: {ip: 127.0.0.1, tcpPort: 0}}\n"
	    "health: {server: {ip: 127.0.0.1, port: 0}}\n"
	    "metrics: {server: {ip: 127.0.0.1, port: 0}}\n"
	    "stats: {server: {ip: 127.0.0.1, port: 0}}\n"
	    "proxy: {server: {enable: false}}\n"
	    "x: {scheduler: {enable: %s, port: 0}}\n%s", n->dir, n->dir, with_scheduler ? "true" : "false", extra);
	if (config_load_text_with((const char *)buf_data(&text), text.len, "test", &how, &n->config, &notes, &e) < 0)
		fail_msg("%s", e.text);
	config_notes_free(&notes);
	buf_free(&text);
	snprintf(path, sizeof path, "%s/dynconfig.yaml", n->dir);
	if (dynconfig != NULL) {
		FILE *f = fopen(path, "w");

		assert_non_null(f);
		fputs(dynconfig, f);
		assert_int_equal(fclose(f), 0);
	}
	n->daemon = daemon_start(&(struct daemon_options){.config = &n->config, .dynconfig_path = dynconfig != NULL ? path : NULL}, &e);
	if (n->daemon == NULL)
		fail_msg("%s", e.text);
	n->parts = daemon_parts(n->daemon);
	arena_init(&n->memory, 0);
	node_channels(n);
	n->origin = origin_start(&(struct origin_opts){0});
	assert_non_null(n->origin);
	return n;
}

static inline struct node *
node_start(bool with_scheduler, const char *extra)
{
	return node_start_with(with_scheduler, extra, NULL);
}

static inline void
node_close_channels(struct node *n)
{
	if (n->local != NULL)
		rpc_channel_free(n->local);
	if (n->remote != NULL)
		rpc_channel_free(n->remote);
	n->local = n->remote = NULL;
}

static inline void
node_stop(struct node *n)
{
	char command[128];

	node_close_channels(n);
	daemon_stop(n->daemon);
	daemon_run(n->daemon);
	daemon_free(n->daemon);
	origin_stop(n->origin);
	config_free(&n->config);
	arena_free(&n->memory);
	snprintf(command, sizeof command, "rm -rf '%s'", n->dir);
	assert_int_equal(system(command), 0);
	free(n);
}

static inline void
node_wait(struct node *n)
{
	assert_true(loop_run_until(n->parts->loop, &n->is_done, NODE_LIMIT_MS));
}

/* Turns the loop until the condition holds. */
#define NODE_UNTIL(n, condition) do { \
	int64_t until_ = clock_mono_ms() + NODE_LIMIT_MS; \
	while (!(condition)) { \
		assert_true(clock_mono_ms() < until_); \
		loop_turn((n)->parts->loop, 5); \
	} \
} while (0)

static inline void
node_begin(struct node *n)
{
	arena_reset(&n->memory);
	n->is_done = false;
	n->code = -1;
	n->message[0] = '\0';
	n->answer = NULL;
	n->messages = 0;
}

static inline void
node_on_answer(void *ctx, const void *answer, const struct rpc_status *st)
{
	struct node *n = ctx;

	n->is_done = true;
	n->code = st->code;
	snprintf(n->message, sizeof n->message, "%s", st->message);
	if (answer != NULL) {
		n->answer = arena_alloc(&n->memory, 1024);
		assert_int_equal(pb_copy(n->desc, answer, &n->memory, n->answer, NULL), 0);
	}
}

/* A whole unary call; the answer's message must be under 1 KiB as a struct. Returns the code. */
static inline int
node_call(struct node *n, struct rpc_channel *ch, const struct pb_service *service, size_t at, const struct pb_desc *desc,
    const void *request)
{
	node_begin(n);
	n->desc = desc;
	rpc_unary(ch, &service->methods[at], request, NULL, node_on_answer, n);
	node_wait(n);
	return n->code;
}

static inline void
node_on_message(struct rpc_call *call, void *ctx, struct slice bytes)
{
	struct node *n = ctx;
	struct dfdaemon_download_task_response r;

	(void)call;
	n->messages++;
	assert_int_equal(pb_decode(&dfdaemon_download_task_response_desc, bytes, &n->memory, &r, NULL), 0);
	snprintf(n->task_id, sizeof n->task_id, "%.*s", SLICE_ARG(r.task_id));
}

static inline void
node_on_end(struct rpc_call *call, void *ctx, const struct rpc_status *st)
{
	struct node *n = ctx;

	(void)call;
	n->is_done = true;
	n->code = st->code;
	snprintf(n->message, sizeof n->message, "%s", st->message);
}

/* Starts a DownloadTask; node_wait waits for its end. */
static inline struct rpc_call *
node_download_start(struct node *n, struct rpc_channel *ch, struct common_download *d)
{
	static const struct rpc_call_events ev = {.on_message = node_on_message, .on_end = node_on_end};
	const struct dfdaemon_download_task_request r = {.download = d};
	struct rpc_call *call;

	node_begin(n);
	call = rpc_call_start(ch, ch == n->remote ? DFDAEMON_DFDAEMON_UPLOAD_DOWNLOAD_TASK : DFDAEMON_DFDAEMON_DOWNLOAD_DOWNLOAD_TASK,
	    &ev, n, NULL);
	assert_int_equal(rpc_call_send(call, &dfdaemon_download_task_request_desc, &r, NULL), 0);
	rpc_call_half_close(call);
	return call;
}

static inline int
node_download(struct node *n, struct rpc_channel *ch, struct common_download *d)
{
	node_download_start(n, ch, d);
	node_wait(n);
	return n->code;
}

/* URL of the origin; the buffer is static. */
static inline struct slice
node_url(struct node *n, const char *path)
{
	static char url[256];

	snprintf(url, sizeof url, "http://127.0.0.1:%u%s", (unsigned)origin_port(n->origin), path);
	return slice_str(url);
}

static inline int
node_connect(uint16_t port)
{
	struct addr a;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(addr_from_ip(&a, slice_str("127.0.0.1"), port), 0);
	assert_int_equal(connect(fd, &a.u.sa, a.len), 0);
	return fd;
}

/* Reads to the end of the connection. */
static inline char *
node_read_all(struct node *n, int fd)
{
	struct buf all = BUF_INIT;
	int64_t until = clock_mono_ms() + NODE_LIMIT_MS;
	char part[4096];

	for (;;) {
		ssize_t got = recv(fd, part, sizeof part, MSG_DONTWAIT);

		if (got == 0)
			break;
		if (got > 0)
			buf_append(&all, part, (size_t)got);
		else
			loop_turn(n->parts->loop, 5);
		assert_true(clock_mono_ms() < until);
	}
	return buf_take(&all);
}

/* One HTTP request on a connection of its own: the whole answer, head included; the caller frees it. */
static inline char *
node_http(struct node *n, enum status_server server, const char *request_line)
{
	int fd = node_connect(status_port(n->parts->status, server));
	char request[512], *answer;
	int len = snprintf(request, sizeof request, "%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", request_line);

	assert_int_equal(send(fd, request, (size_t)len, MSG_NOSIGNAL), len);
	answer = node_read_all(n, fd);
	close(fd);
	return answer;
}

#endif
