/*
 * Requests and answers: framing, bodies, refusals, tunnels, TLS.
 */
#include "http_server_world.h"

static void
reply_with_header_and_body(void **state)
{
	struct world *w = *state;
	char *got = ask(w, "GET /x?y=1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");

	expect_part(got, "HTTP/1.1 200 OK\r\n");
	expect_part(got, "X-Path: /x\r\n");
	expect_part(got, "\r\nDate: ");
	expect_part(got, " GMT\r\n");
	expect_part(got, "Content-Type: text/plain\r\n");
	expect_part(got, "Content-Length: 2\r\n");
	expect_part(got, "Connection: close\r\n\r\n/x");
	free(got);
}

static void
hints_come_before_and_trailers_behind(void **state)
{
	struct world *w = *state;
	char *got = ask(w, "GET /trailers HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");

	expect_part(got, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\n");
	expect_part(got, "3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n");
	free(got);
	got = ask(w, "GET /trailers HTTP/1.0\r\n\r\n");
	assert_int_equal(strncmp(got, "HTTP/1.0 200 OK\r\n", 17), 0);
	assert_string_equal(got + strlen(got) - 7, "\r\n\r\nabc");
	free(got);
}

static void
head_and_first_bytes_go_together(void **state)
{
	struct world *w = *state;
	char *got = ask(w, "HEAD /at-once HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");

	expect_part(got, "Content-Length: 33554432\r\n");
	assert_string_equal(got + strlen(got) - 4, "\r\n\r\n");
	free(got);
}

static void
pipelined_requests_are_answered_in_order(void **state)
{
	static const char bytes[] = "GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /hold HTTP/1.1\r\nHost: h\r\n\r\nGET /c HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
	struct world *w = *state;
	struct buf in = BUF_INIT;
	int fd = dial(w);
	char *a, *b, *c;

	say(w, fd, bytes, strlen(bytes));
	assert_true(hear(w, fd, &in, "/a"));
	while (w->held == NULL)
		loop_turn(w->loop, 10);
	for (int i = 0; i < 5; i++)
		loop_turn(w->loop, 5);
	assert_int_equal(w->requests, 2);
	http_exchange_reply(w->held, 404, NULL, 0, NULL, slice_str("held!"));
	assert_true(hear(w, fd, &in, NULL));
	a = strstr(buf_cstr(&in), "X-Path: /a");
	b = strstr(buf_cstr(&in), "held!");
	c = strstr(buf_cstr(&in), "X-Path: /c");
	assert_true(a != NULL && b != NULL && c != NULL && a < b && b < c);
	close(fd);
	buf_free(&in);
}

static void
http_1_0_is_answered_in_kind(void **state)
{
	struct world *w = *state;
	char *got = ask(w, "GET /x HTTP/1.0\r\n\r\n");
	struct buf in = BUF_INIT;
	int fd;

	expect_part(got, "HTTP/1.0 200 OK\r\n");
	expect_part(got, "Connection: close\r\n");
	free(got);
	fd = dial(w);
	say_text(w, fd, "GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	assert_true(hear(w, fd, &in, "\r\n\r\n/x"));
	expect_part(buf_cstr(&in), "Connection: keep-alive\r\n");
	close(fd);
	buf_free(&in);
	/* No chunks to 1.0. */
	got = ask(w, "GET /chunked HTTP/1.0\r\n\r\n");
	assert_null(strstr(got, "Transfer-Encoding"));
	free(got);
}

static void
head_has_the_length_and_no_body(void **state)
{
	struct world *w = *state;
	char *got = ask(w, "HEAD /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");

	expect_part(got, "Content-Length: 2\r\n");
	assert_string_equal(got + strlen(got) - 4, "\r\n\r\n");
	free(got);
}

static void
malformed_requests_are_refused_and_closed(void **state)
{
	struct world *w = *state;
	struct buf b = BUF_INIT;

	expect_status(w, "GET /x HTTP/1.1\r\nHost : h\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n");
	expect_status(w, "GET /x\r\n", "HTTP/1.1 400 ");
	expect_status(w, "GET /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 400 ");
	expect_status(w, "GET /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "HTTP/1.1 501 ");
	expect_status(w, "\x16\x03\x01\x02\x01\x01\xfc", "HTTP/1.1 400 ");
	buf_append_str(&b, "GET /");
	for (size_t i = 0; i < H1_TARGET_MAX + 100; i++)
		buf_append_u8(&b, 'a');
	expect_status(w, buf_cstr(&b), "HTTP/1.1 414 ");
	buf_clear(&b);
	buf_append_str(&b, "GET / HTTP/1.1\r\nHost: h\r\n");
	for (size_t i = 0; i < H1_FIELDS_MAX; i++)
		buf_append_str(&b, "X: y\r\n");
	expect_status(w, buf_cstr(&b), "HTTP/1.1 431 ");
	buf_free(&b);
	assert_int_equal(w->requests, 0);
	/* An HTTP/2 preface is no request at all. */
	{
		char *got = ask(w, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

		assert_string_equal(got, "");
		free(got);
	}
}

static void
body_is_read_when_wanted(void **state)
{
	static const char bytes[] = "POST /upload HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n";
	static const char *const others[] = {"POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", "GET /upload HTTP/1.1\r\nHost: h\r\n\r\n"};
	struct world *w = *state;
	struct buf in = BUF_INIT;
	int fd = dial(w);

	for (size_t i = 0; i < strlen(bytes); i++) {
		say(w, fd, bytes + i, 1);
		loop_turn(w->loop, 0);
	}
	assert_true(hear(w, fd, &in, "abcdefg"));
	for (size_t i = 0; i < 2; i++) {
		buf_clear(&in);
		w->upload_done = false;
		say(w, fd, others[i], strlen(others[i]));
		assert_true(hear(w, fd, &in, "Content-Length: 0"));
		assert_true(w->upload_done);
	}
	close(fd);
	buf_free(&in);
}

static void
continue_is_said_when_the_body_is_wanted(void **state)
{
	struct world *w = *state;
	struct buf in = BUF_INIT;
	int fd = dial(w);
	static const char head[] = "POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";

	say(w, fd, head, strlen(head));
	assert_true(hear(w, fd, &in, "HTTP/1.1 100 Continue\r\n\r\n"));
	say_text(w, fd, "hello");
	assert_true(hear(w, fd, &in, "hello"));
	close(fd);
	buf_free(&in);
}

static void
unread_body_closes_the_connection(void **state)
{
	struct world *w = *state;
	char *got = ask(w, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhelloGET /evil HTTP/1.1\r\nHost: h\r\n\r\n");

	expect_part(got, "Connection: close\r\n");
	assert_null(strstr(got, "evil"));
	assert_int_equal(w->requests, 1);
	free(got);
}

static void
broken_body_ends_the_exchange(void **state)
{
	struct world *w = *state;
	static const char bytes[] = "POST /upload HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n";
	int fd = dial(w);

	say(w, fd, bytes, strlen(bytes));
	while (!w->gone)
		loop_turn(w->loop, 10);
	close(fd);
	assert_int_equal(http_server_conn_count(w->server), 0);
}

static void
fields_that_are_none_become_500(void **state)
{
	expect_status(*state, "GET /bad HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "HTTP/1.1 500 ");
}

static void
connect_gives_the_connection_away_with_its_bytes(void **state)
{
	struct world *w = *state;
	struct buf in = BUF_INIT;
	int fd = dial(w);
	static const char bytes[] = "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n\x16more";

	say(w, fd, bytes, sizeof(bytes) - 1);
	assert_true(hear(w, fd, &in, "\r\n\r\n"));
	expect_part(buf_cstr(&in), "HTTP/1.1 200 OK\r\n");
	assert_null(strstr(buf_cstr(&in), "Content-Length"));
	say_text(w, fd, "!");
	while (w->tunnel_in.len < 6)
		loop_turn(w->loop, 10);
	assert_string_equal(buf_cstr(&w->tunnel_in), "\x16more!");
	/* The tunnel can be served as HTTP again. */
	http_server_adopt_conn(w->server, w->tunnel, w);
	w->tunnel = NULL;
	buf_clear(&in);
	say_text(w, fd, "GET /in HTTP/1.1\r\nHost: h\r\n\r\n");
	assert_true(hear(w, fd, &in, "/in"));
	close(fd);
	buf_free(&in);
}

/* ---- TLS where plain text is served ---- */

static struct tls_config *
start_tls(void *ctx, struct conn *c)
{
	(void)c;
	return ctx != NULL ? tls_config_ref(ctx) : NULL;
}

static size_t
take_answer(struct conn *c, void *ctx, const uint8_t *p, size_t n)
{
	(void)c;
	buf_append(&((struct world *)ctx)->tunnel_in, p, n);
	return n;
}

static void
tls_is_taken_on_the_plain_port_where_it_is_wanted(void **state)
{
	static const struct conn_events client_events = {.on_data = take_answer};
	static const char request[] = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";
	struct world *w = *state;
	struct tls_config *server = tls_server_new(&(struct tls_server_opts){
		.cert_file = "tests/vectors/tls/server.crt", .key_file = "tests/vectors/tls/server.key"}, NULL);
	struct tls_config *client = tls_client_new(&(struct tls_client_opts){.ca_file = "tests/vectors/tls/ca.crt"}, NULL);
	int64_t end = clock_mono_ms() + WAIT_MS;
	char *answer;

	w->opts.start_tls = start_tls;
	w->opts.start_tls_ctx = server;
	start(w);
	w->tunnel = conn_adopt(w->loop, dial(w), &(struct conn_opts){.tls = client, .tls_name = "localhost"}, &client_events, w);
	conn_write(w->tunnel, request, strlen(request), NULL);
	while (!slice_ends(buf_slice(&w->tunnel_in), "/hello") && clock_mono_ms() < end)
		loop_turn(w->loop, 50);
	assert_true(slice_starts(buf_slice(&w->tunnel_in), "HTTP/1.1 200"));
	answer = ask(w, "GET /plain HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	assert_non_null(strstr(answer, "HTTP/1.1 200"));
	free(answer);
	tls_config_unref(server);
	tls_config_unref(client);
}

static void
tls_on_the_plain_port_is_answered_in_plain_text(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < 2; i++) {
		char *answer = ask(w, "\x16\x03\x01\x02");

		assert_true(slice_starts(slice_str(answer), "HTTP/1.1 400"));
		free(answer);
		/* The same where nobody has a configuration at hand. */
		w->opts.start_tls = start_tls;
		start(w);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(hints_come_before_and_trailers_behind),
		T(head_and_first_bytes_go_together),
		T(reply_with_header_and_body),
		T(pipelined_requests_are_answered_in_order),
		T(http_1_0_is_answered_in_kind),
		T(head_has_the_length_and_no_body),
		T(malformed_requests_are_refused_and_closed),
		T(body_is_read_when_wanted),
		T(continue_is_said_when_the_body_is_wanted),
		T(unread_body_closes_the_connection),
		T(broken_body_ends_the_exchange),
		T(fields_that_are_none_become_500),
		T(connect_gives_the_connection_away_with_its_bytes),
		T(tls_is_taken_on_the_plain_port_where_it_is_wanted),
		T(tls_on_the_plain_port_is_answered_in_plain_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
