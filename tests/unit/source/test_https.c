#include "harness.h"

#include "net/addr.h"
#include "net/conn.h"
#include "net/http_server.h"
#include "net/listener.h"
#include "net/tls.h"

#define VECTORS "tests/vectors/https/"
#define BODY_BYTES (3u * 1024 * 1024)

/* An https server on the source's own loop, and a forward proxy that counts. */
struct tls_world {
	struct world w;
	struct http_server *server;
	uint16_t port;
	struct http_exchange *x;
	size_t sent;
	struct http_server *proxy;
	uint16_t proxy_port;
	unsigned connects, plain;
	char proxy_auth[64], target_auth[64], target[256];
	int refuse_with;
	struct conn *ends[2];
};

static uint8_t body[BODY_BYTES];

static void
send_on(void *ctx)
{
	struct tls_world *t = ctx;

	while (t->sent < BODY_BYTES) {
		size_t took = http_exchange_write(t->x, body + t->sent, BODY_BYTES - t->sent);

		if (took == 0)
			return;
		t->sent += took;
	}
	http_exchange_end(t->x);
	t->x = NULL;
}

static void
gone(void *ctx)
{
	((struct tls_world *)ctx)->x = NULL;
}

static void
serve_tls(void *ctx, struct http_exchange *x)
{
	static const struct http_exchange_events ev = {.on_writable = send_on, .on_gone = gone};
	struct tls_world *t = ctx;
	struct slice auth = h1_get(http_exchange_request(x), "authorization");
	char location[64];
	struct h1_field f;

	snprintf(t->target_auth, sizeof(t->target_auth), "%.*s", SLICE_ARG(auth));
	if (slice_eq_str(http_exchange_path(x), "/down")) {
		snprintf(location, sizeof(location), "http://127.0.0.1:%u/gen/10/1", origin_port(t->w.origin));
		f = (struct h1_field){slice_str("Location"), slice_str(location)};
		http_exchange_reply(x, 302, &f, 1, NULL, (struct slice){0});
		return;
	}
	t->x = x;
	t->sent = 0;
	http_exchange_set_events(x, &ev, t);
	http_exchange_head(x, 200, NULL, 0, BODY_BYTES);
	send_on(t);
}

/* ---- a forward proxy: CONNECT as a relay, absolute form answered by itself ---- */

static size_t
relay_data(struct conn *c, void *ctx, const uint8_t *p, size_t n)
{
	struct tls_world *t = ctx;
	struct conn *other = t->ends[c == t->ends[0]];

	if (other != NULL)
		conn_write(other, p, n, NULL);
	return n;
}

static void
relay_close(struct conn *c, void *ctx, const struct err *e)
{
	struct tls_world *t = ctx;
	int i = c == t->ends[1];

	(void)e;
	t->ends[i] = NULL;
	if (t->ends[!i] != NULL)
		conn_close(t->ends[!i]);
	t->ends[!i] = NULL;
}

static const struct conn_events relay = {.on_data = relay_data, .on_close = relay_close};

static void
serve_proxy(void *ctx, struct http_exchange *x)
{
	struct tls_world *t = ctx;
	const struct h1 *h = http_exchange_request(x);
	struct conn_opts o = {0};
	struct err e;
	char *to = slice_dup(h->target);

	snprintf(t->proxy_auth, sizeof(t->proxy_auth), "%.*s", SLICE_ARG(h1_get(h, "proxy-authorization")));
	snprintf(t->target, sizeof(t->target), "%s", to);
	if (t->refuse_with != 0) {
		t->connects++;
		http_exchange_reply(x, t->refuse_with, NULL, 0, NULL, slice_str("no"));
	} else if (slice_eq_str(h->method, "CONNECT")) {
		t->connects++;
		assert_int_equal(addr_parse(&o.addr, to, &e), 0);
		t->ends[0] = http_exchange_take_conn(x, 200, NULL, 0);
		conn_set_events(t->ends[0], &relay, t);
		t->ends[1] = conn_connect(t->w.loop, &o, &relay, t);
		conn_resume_read(t->ends[0]);
	} else {
		t->plain++;
		http_exchange_reply(x, 200, NULL, 0, NULL, slice_str("from the proxy"));
	}
	free(to);
}

static uint16_t
listen_on_loopback(struct http_server *s)
{
	struct addr a;
	struct err e;

	assert_int_equal(addr_from_ip(&a, slice_str("127.0.0.1"), 0), 0);
	if (http_server_listen(s, &a, &e) != 0)
		fail_msg("%s", e.text);
	return addr_port(http_server_addr(s, 0));
}

static void
start_tls(struct tls_world *t, const char *cert)
{
	struct tls_server_opts o = {.cert_file = cert, .key_file = VECTORS "server.key"};
	struct http_server_opts h = {0};
	struct err e;

	http_server_free(t->server);
	h.tls = tls_server_new(&o, &e);
	if (h.tls == NULL)
		fail_msg("%s", e.text);
	t->server = http_server_new(t->w.loop, &h, serve_tls, t);
	tls_config_unref(h.tls);
	t->port = listen_on_loopback(t->server);
}

static int
set_up(void **state)
{
	struct tls_world *t = xcalloc(1, sizeof(*t));
	struct err e;

	origin_gen_fill(1, 0, body, BODY_BYTES);
	t->w.loop = loop_new("test", &e);
	t->w.origin = origin_start(&(struct origin_opts){0});
	source_config_init(&t->w.cfg);
	t->w.cfg.retry_base_ms = 1;
	clear_environment();
	setenv("SSL_CERT_FILE", VECTORS "ca.pem", 1);
	start_tls(t, VECTORS "server.pem");
	t->proxy = http_server_new(t->w.loop, &(struct http_server_opts){0}, serve_proxy, t);
	t->proxy_port = listen_on_loopback(t->proxy);
	world_source(&t->w);
	*state = t;
	return 0;
}

static int
tear_down(void **state)
{
	struct tls_world *t = *state;

	source_free(t->w.source);
	http_server_free(t->server);
	http_server_free(t->proxy);
	for (int i = 0; i < 2; i++)
		if (t->ends[i] != NULL)
			conn_abort(t->ends[i]);
	origin_stop(t->w.origin);
	loop_free(t->w.loop);
	free(t);
	return 0;
}

static struct source_request
https(struct tls_world *t, const char *host, const char *path)
{
	static char url[256];

	snprintf(url, sizeof(url), "https://%s:%u%s", host, t->port, path);
	return (struct source_request){.url = url, .timeout_ms = 5000};
}

static void
expect_body(struct tls_world *t, const struct source_request *q)
{
	struct source_request copy = *q;
	struct result r = {0};

	run(&t->w, &copy, true, &r);
	if (r.failed)
		fail_msg("%s", r.error);
	expect_content(&r, 1, 0, BODY_BYTES);
	result_free(&r);
}

static void
expect_tls_error(struct tls_world *t, const struct source_request *q, const char *text)
{
	struct source_request copy = *q;
	struct result r = {0};

	run(&t->w, &copy, true, &r);
	assert_true(r.failed && r.is_backend);
	assert_int_equal(r.failure, SOURCE_TLS);
	assert_false(r.is_temporary);
	expect_text(r.error, text);
	assert_int_equal(r.status, 0);
	result_free(&r);
}

static void
system_roots_of_the_environment_are_trusted(void **state)
{
	struct tls_world *t = *state;
	struct source_request q = https(t, "127.0.0.1", "/");

	expect_body(t, &q);
	expect_body(t, &q);
	q = https(t, "localhost", "/");
	expect_body(t, &q);
}

static void
unknown_authority_is_refused_with_advice(void **state)
{
	struct tls_world *t = *state;
	struct source_request q = https(t, "127.0.0.1", "/");

	setenv("SSL_CERT_FILE", VECTORS "other-ca.pem", 1);
	world_source(&t->w);
	expect_tls_error(t, &q, "127.0.0.1:");
	expect_tls_error(t, &q, "not signed by a trusted authority");
	expect_tls_error(t, &q, "backend.insecureSkipVerify");
	expect_tls_error(t, &q, "dfget --insecure");
	/* No root at all. */
	setenv("SSL_CERT_FILE", "/nonexistent/roots.pem", 1);
	world_source(&t->w);
	expect_tls_error(t, &q, "/nonexistent/roots.pem");
	/* The configuration, or the request, may say that it does not matter. */
	q.insecure_skip_verify = true;
	expect_body(t, &q);
	q.insecure_skip_verify = false;
	t->w.cfg.insecure_skip_verify = true;
	world_source(&t->w);
	expect_body(t, &q);
}

static void
authority_of_the_request_is_enough_and_alone(void **state)
{
	struct tls_world *t = *state;
	struct source_request q = https(t, "127.0.0.1", "/");
	uint8_t der[4096];
	FILE *f = fopen(VECTORS "ca.der", "rb");
	struct slice ca[2] = {{der, 0}, {(const uint8_t *)"junk", 4}};

	assert_non_null(f);
	ca[0].n = fread(der, 1, sizeof(der), f);
	fclose(f);
	setenv("SSL_CERT_FILE", "/nonexistent/roots.pem", 1);
	world_source(&t->w);
	q.ca_certs = ca;
	q.ca_cert_count = 2;
	expect_body(t, &q);
	expect_body(t, &q);
	q.ca_certs = &ca[1];
	q.ca_cert_count = 1;
	expect_tls_error(t, &q, "certificate");
}

static void
other_names_and_past_dates_are_refused(void **state)
{
	struct tls_world *t = *state;
	struct source_request q;

	start_tls(t, VECTORS "localhost.pem");
	q = https(t, "127.0.0.1", "/");
	expect_tls_error(t, &q, "localhost");
	q.insecure_skip_verify = true;
	expect_body(t, &q);
	start_tls(t, VECTORS "expired.pem");
	q = https(t, "127.0.0.1", "/");
	expect_tls_error(t, &q, "expired");
	q.insecure_skip_verify = true;
	expect_body(t, &q);
}

static void
plain_text_where_tls_was_expected_is_told(void **state)
{
	struct tls_world *t = *state;
	struct result r = {0};
	char url[64];
	struct source_request q = {.url = url, .timeout_ms = 5000};

	snprintf(url, sizeof(url), "https://127.0.0.1:%u/", t->proxy_port);
	run(&t->w, &q, true, &r);
	assert_true(r.failed);
	assert_int_equal(r.failure, SOURCE_TLS);
	expect_text(r.error, "TLS");
	result_free(&r);
}

static void
credentials_do_not_go_from_https_to_http(void **state)
{
	static const struct source_header h[] = {{"Authorization", "Bearer t"}};
	struct tls_world *t = *state;
	struct source_request q = https(t, "127.0.0.1", "/down");
	struct result r = {0};

	q.headers = (struct source_headers){h, 1};
	run(&t->w, &q, true, &r);
	assert_false(r.failed);
	assert_string_equal(t->target_auth, "Bearer t");
	assert_string_equal(seen(&t->w, 0, "authorization"), "");
	result_free(&r);
}

/* A server that ends its answer by dropping TCP, without the close_notify that would end it for TLS. */
struct cutter {
	struct tls_config *tls;
	struct loop *loop;
	bool in_order;
	struct conn *conn;
};

static size_t
cutter_data(struct conn *c, void *ctx, const uint8_t *p, size_t n)
{
	static const char answer[] = "HTTP/1.1 200 OK\r\n\r\npart of it";
	struct cutter *cut = ctx;

	(void)p;
	conn_write(c, answer, sizeof(answer) - 1, NULL);
	cut->conn = NULL;
	if (cut->in_order)
		conn_close(c);
	else
		conn_abort(c);
	return n;
}

static void
cutter_close(struct conn *c, void *ctx, const struct err *e)
{
	(void)c;
	(void)e;
	((struct cutter *)ctx)->conn = NULL;
}

static void
cutter_accept(void *ctx, int fd, const struct addr *peer)
{
	static const struct conn_events ev = {.on_data = cutter_data, .on_close = cutter_close};
	struct cutter *cut = ctx;

	(void)peer;
	cut->conn = conn_adopt(cut->loop, fd, &(struct conn_opts){.tls = cut->tls}, &ev, cut);
}

static void
body_cut_without_close_notify_is_not_whole(void **state)
{
	struct tls_world *t = *state;
	struct tls_server_opts o = {.cert_file = VECTORS "server.pem", .key_file = VECTORS "server.key"};
	struct cutter cut = {.loop = t->w.loop};
	struct source_request q;
	struct result r = {0};
	struct listener *l;
	struct addr a;
	struct err e;

	cut.tls = tls_server_new(&o, &e);
	assert_int_equal(addr_from_ip(&a, slice_str("127.0.0.1"), 0), 0);
	l = listener_tcp(t->w.loop, &a, cutter_accept, &cut, &e);
	assert_non_null(l);
	t->port = addr_port(listener_addr(l));
	q = https(t, "127.0.0.1", "/");
	run(&t->w, &q, true, &r);
	assert_true(r.failed);
	expect_text(r.error, "127.0.0.1:");
	result_free(&r);
	cut.in_order = true;
	run(&t->w, &q, true, &r);
	assert_false(r.failed);
	assert_string_equal(buf_cstr(&r.body), "part of it");
	result_free(&r);
	if (cut.conn != NULL)
		conn_abort(cut.conn);
	listener_free(l);
	tls_config_unref(cut.tls);
}

/* ---- proxies ---- */

static void
use_proxy(struct tls_world *t, const char *variable)
{
	char url[128];

	snprintf(url, sizeof(url), "http://u:pw@127.0.0.1:%u", t->proxy_port);
	setenv(variable, url, 1);
	world_source(&t->w);
}

static void
https_goes_through_connect(void **state)
{
	static const struct source_header h[] = {{"Authorization", "Bearer t"}};
	struct tls_world *t = *state;
	struct source_request q = https(t, "127.0.0.1", "/");
	char want[64];

	use_proxy(t, "https_proxy");
	q.headers = (struct source_headers){h, 1};
	expect_body(t, &q);
	assert_int_equal(t->connects, 1);
	snprintf(want, sizeof(want), "127.0.0.1:%u", t->port);
	assert_string_equal(t->target, want);
	assert_string_equal(t->proxy_auth, "Basic dTpwdw==");
	assert_string_equal(t->target_auth, "Bearer t");
	/* The tunnel is kept like any connection. */
	expect_body(t, &q);
	assert_int_equal(t->connects, 1);
}

static void
proxy_that_refuses_is_not_asked_again(void **state)
{
	struct tls_world *t = *state;
	struct source_request q = https(t, "127.0.0.1", "/");
	struct result r = {0};

	use_proxy(t, "https_proxy");
	t->refuse_with = 407;
	run(&t->w, &q, true, &r);
	assert_true(r.failed);
	assert_int_equal(r.failure, SOURCE_PROXY);
	expect_text(r.error, "proxy 127.0.0.1:");
	expect_text(r.error, "407 Proxy Authentication Required");
	assert_null(strstr(r.error, "pw"));
	assert_int_equal(t->connects, 1);
	assert_int_equal(r.status, 0);
	result_free(&r);
}

static void
http_goes_in_absolute_form(void **state)
{
	struct tls_world *t = *state;
	struct source_request q = {.url = "http://Registry.example:5000/a%20b?x=1", .timeout_ms = 5000};
	struct result r = {0};

	use_proxy(t, "http_proxy");
	run(&t->w, &q, true, &r);
	assert_false(r.failed);
	assert_string_equal(t->target, "http://registry.example:5000/a%20b?x=1");
	assert_string_equal(t->proxy_auth, "Basic dTpwdw==");
	assert_string_equal(buf_cstr(&r.body), "from the proxy");
	result_free(&r);
	/* An exception goes straight. */
	setenv("no_proxy", "127.0.0.0/8", 1);
	world_source(&t->w);
	q = request(&t->w, "/gen/10/1");
	run(&t->w, &q, true, &r);
	assert_false(r.failed);
	assert_int_equal(t->plain, 1);
	assert_string_equal(seen(&t->w, 0, "proxy-authorization"), "");
	result_free(&r);
}

static void
proxies_that_nobody_speaks_stop_the_start(void **state)
{
	struct tls_world *t = *state;
	struct err e;

	setenv("http_proxy", "socks5://u:secret@h:1", 1);
	assert_null(source_new(t->w.loop, &t->w.cfg, &e));
	expect_text(e.text, "http_proxy");
	assert_null(strstr(e.text, "secret"));
	unsetenv("http_proxy");
}

#define T(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		T(system_roots_of_the_environment_are_trusted),
		T(unknown_authority_is_refused_with_advice),
		T(authority_of_the_request_is_enough_and_alone),
		T(other_names_and_past_dates_are_refused),
		T(plain_text_where_tls_was_expected_is_told),
		T(credentials_do_not_go_from_https_to_http),
		T(body_cut_without_close_notify_is_not_whole),
		T(https_goes_through_connect),
		T(proxy_that_refuses_is_not_asked_again),
		T(http_goes_in_absolute_form),
		T(proxies_that_nobody_speaks_stop_the_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
