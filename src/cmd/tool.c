#include "cmd/tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/get.h"
#include "cmd/report.h"
#include "cmd/table.h"
#include "config/paths.h"
#include "net/addr.h"
#include "net/dns.h"
#include "net/loop.h"
#include "net/rpc_client.h"
#include "proto/google.h"
#include "text/json.h"
#include "wire/grpc.h"

#define CONNECT_MS 3000
#define SPINNER_MS 80
/* Details of a failure. */
#define DETAILS_BYTES ((size_t)1 << 20)

void
tool_set_log(bool console, const struct option_number *level)
{
	enum log_level n = (enum log_level)level->n, other;
	const char *rust = getenv("RUST_LOG");

	if (rust != NULL && log_parse_level(rust, &other) == 0)
		n = other;
	log_set_level(console ? n : LOG_OFF);
}

char *
tool_socket(const char *endpoint)
{
	if (endpoint == NULL)
		return paths_find_socket();
	if (strncmp(endpoint, "unix:", 5) == 0) {
		endpoint += 5;
		if (strncmp(endpoint, "//", 2) == 0)
			endpoint += 2;
	}
	return xstrdup(endpoint);
}

/* ---- one question ---- */

struct asking {
	const struct tool_call *c;
	struct loop *loop;
	struct loop_timer spin;
	unsigned turn;
	bool is_drawn, is_done;
	int code;
};

static void
hide_spinner(struct asking *a)
{
	if (a->is_drawn)
		fprintf(stderr, "\r\x1b[K");
	a->is_drawn = false;
}

static void
on_spin(void *ctx)
{
	static const char *const frames[] = {"⣾", "⣽", "⣻", "⢿", "⡿", "⣟", "⣯", "⣷"};
	struct asking *a = ctx;

	fprintf(stderr, "\r\x1b[34m%s\x1b[m %s", frames[a->turn++ % COUNT_OF(frames)], a->c->spinner);
	a->is_drawn = true;
	loop_timer_set(a->loop, &a->spin, SPINNER_MS, on_spin, a);
}

static void
tell_failure(struct asking *a, const struct rpc_status *st)
{
	struct grpc_backend backend;
	struct get_end end = {.is_status = true, .details = st->details};
	struct arena arena;
	struct err e;

	arena_init(&arena, DETAILS_BYTES);
	err_set(&e, st->code, "%s", st->message);
	end.err = &e;
	if (!a->c->shows_code && st->details.n > 0 && grpc_read_backend(st->details, &arena, &backend, NULL) == 0)
		end.backend = &backend;
	report_failure(a->c->headline, &end, a->c->shows_code);
	arena_free(&arena);
	a->code = 1;
}

static void
on_answer(void *ctx, const void *answer, const struct rpc_status *st)
{
	struct asking *a = ctx;

	loop_timer_clear(a->loop, &a->spin);
	hide_spinner(a);
	a->is_done = true;
	if (answer == NULL)
		tell_failure(a, st);
	else
		a->c->on_answer(a->c->ctx, answer);
}

static int
fail_here(const struct tool_call *c, const struct err *e)
{
	report_failure(c->headline, &(struct get_end){.err = e}, false);
	return 1;
}

/* "http://host:port" into host and port. */
static int
split_address(const char *text, char **host, uint16_t *port, struct err *e)
{
	const char *at = strncmp(text, "http://", 7) == 0 ? text + 7 : text, *colon;
	size_t n = strcspn(at, "/");
	uint64_t number = 0;

	colon = memchr(at, ']', n);
	colon = memchr(colon != NULL ? colon : at, ':', n - (colon != NULL ? (size_t)(colon - at) : 0));
	if (colon == NULL || slice_to_u64(slice_make(colon + 1, n - (size_t)(colon + 1 - at)), &number) < 0 || number == 0 || number > UINT16_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "%s is not http://HOST:PORT", text);
	*port = (uint16_t)number;
	if (at[0] == '[' && colon > at + 2 && colon[-1] == ']')
		*host = xstrndup(at + 1, (size_t)(colon - at) - 2);
	else
		*host = xstrndup(at, (size_t)(colon - at));
	return 0;
}

static int
run(struct asking *a, struct rpc_channel_opts *opts)
{
	const struct tool_call *c = a->c;
	struct rpc_channel *ch;
	int ms = (int)c->timeout_ms;

	opts->user_agent = c->user_agent;
	opts->connect_ms = CONNECT_MS;
	opts->ping_when_idle = c->socket != NULL;
	opts->keepalive_ms = c->socket != NULL ? TOOL_SILENCE_MS : 0;
	ch = rpc_channel_new(a->loop, opts);
	rpc_unary(ch, c->method, c->request, &(struct rpc_call_opts){.grpc_timeout_ms = ms, .headers_ms = ms, .total_ms = ms}, on_answer, a);
	if (c->spinner != NULL && report_is_terminal())
		on_spin(a);
	while (!a->is_done)
		loop_run_until(a->loop, &a->is_done, 60000);
	rpc_channel_free(ch);
	return a->code;
}

int
tool_ask(const struct tool_call *c)
{
	struct asking a = {.c = c};
	struct rpc_channel_opts opts = {0};
	struct dns *dns = NULL;
	char *host = NULL;
	struct err e = {0};
	int code;

	if (c->socket != NULL && (get_remote_probe(c->socket, &e) < 0 || addr_from_unix(&opts.addr, c->socket, &e) < 0)) {
		report_no_daemon(c->socket, &e);
		return 1;
	}
	if (c->socket == NULL && split_address(c->address, &host, &opts.port, &e) < 0)
		return fail_here(c, &e);
	a.loop = loop_new(c->user_agent, &e);
	if (a.loop == NULL) {
		free(host);
		return fail_here(c, &e);
	}
	if (host != NULL) {
		dns = dns_new(a.loop, &(struct dns_opts){0});
		opts.host = host;
		opts.dns = dns;
	}
	code = run(&a, &opts);
	if (dns != NULL)
		dns_free(dns);
	loop_free(a.loop);
	free(host);
	return code;
}

void
tool_json_time(struct json_writer *w, const char *name, const struct google_timestamp *at)
{
	char text[TABLE_TIME_MAX];

	json_write_key(w, name);
	if (at != NULL)
		json_write_str(w, table_time_utc(at->seconds, text));
	else
		json_write_null(w);
}
