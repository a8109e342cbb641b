#include "conn_end.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/tls.h"
#include "net/tls_internal.h"
#include "net/tls_sessions.h"
#include "net/x509.h"

#define DIR "tests/vectors/tls/"
#define BULK (4u * 1024 * 1024)

static const char *const h2[] = {"h2", NULL};
static const char *const http1[] = {"http/1.1", NULL};

struct world {
	struct loop *loop;
	struct end client;
	struct end server;
};

static struct tls_config *
client_config(const struct tls_client_opts *o)
{
	struct err e;
	struct tls_config *c = tls_client_new(o, &e);

	if (c == NULL)
		fail_msg("%s", e.text);
	return c;
}

static struct tls_config *
server_config(const struct tls_server_opts *o)
{
	struct err e;
	struct tls_config *c = tls_server_new(o, &e);

	if (c == NULL)
		fail_msg("%s", e.text);
	return c;
}

/* Takes over the configs. kept: sessions of the client and of the server, or NULL. */
static struct world *
shake_with(struct tls_config *client, const char *name, struct tls_config *server, struct tls_sessions *const kept[2], const char *key)
{
	struct world *w = xcalloc(1, sizeof(*w));
	struct conn_opts co = {.tls = client, .tls_name = name, .sessions = kept[0], .session_key = key};
	struct conn_opts so = {.tls = server, .sessions = kept[1]};
	int fd[2];

	w->loop = loop_new("tls", NULL);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	w->client.conn = conn_adopt(w->loop, fd[0], &co, &events, &w->client);
	w->server.conn = conn_adopt(w->loop, fd[1], &so, &events, &w->server);
	tls_config_unref(client);
	tls_config_unref(server);
	RUN_UNTIL(w, (w->client.open || w->client.closed) && (w->server.open || w->server.closed));
	return w;
}

static struct world *
shake(struct tls_config *client, const char *name, struct tls_config *server)
{
	return shake_with(client, name, server, (struct tls_sessions *const[2]){NULL, NULL}, NULL);
}

static void
free_world(struct world *w)
{
	end_free(&w->client);
	end_free(&w->server);
	loop_turn(w->loop, 0);
	loop_free(w->loop);
	free(w);
}

static const struct tls_client_opts plain_client = {.ca_file = DIR "ca.crt"};
static const struct tls_server_opts plain_server = {.cert_file = DIR "server.crt", .key_file = DIR "server.key"};

/* ---- what works ---- */

static void
carries_bytes_both_ways(void **state)
{
	struct world *w = shake(client_config(&plain_client), "localhost", server_config(&plain_server));

	(void)state;
	assert_true(w->client.open && w->server.open);
	assert_string_equal(w->server.sni, "localhost");
	assert_true(conn_is_tls(w->client.conn));
	conn_write(w->client.conn, "question", 8, NULL);
	conn_write(w->server.conn, "answer", 6, NULL);
	RUN_UNTIL(w, w->client.in.len == 6 && w->server.in.len == 8);
	conn_close(w->client.conn);
	w->client.conn = NULL;
	RUN_UNTIL(w, w->server.eof);
	assert_false(w->server.closed);
	free_world(w);
}

static void
carries_bulk_with_back_pressure(void **state)
{
	struct world *w = shake(client_config(&plain_client), "localhost", server_config(&plain_server));
	uint8_t *bulk = xmalloc(BULK);

	(void)state;
	for (size_t i = 0; i < BULK; i++)
		bulk[i] = (uint8_t)(i * 2654435761u >> 9);
	conn_pause_read(w->client.conn);
	send_bulk(&w->server, bulk, BULK);
	for (int i = 0; i < 10; i++)
		loop_turn(w->loop, 1);
	assert_true(w->server.bulk_left > 0);
	assert_int_equal(w->client.in.len, 0);
	conn_resume_read(w->client.conn);
	RUN_UNTIL(w, w->client.in.len == BULK);
	assert_memory_equal(buf_data(&w->client.in), bulk, BULK);
	free(bulk);
	free_world(w);
}

static void
rsa_keys_work_too(void **state)
{
	struct tls_server_opts so = {.cert_file = DIR "rsa.crt", .key_file = DIR "rsa.key"};
	struct world *w = shake(client_config(&plain_client), "localhost", server_config(&so));

	(void)state;
	assert_true(w->client.open && w->server.open);
	free_world(w);
}

static void
addresses_in_the_certificate_are_names(void **state)
{
	static const char *const good[] = {"127.0.0.1", "::1", "a.wild.test", "LOCALHOST", "localhost."};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		struct world *w = shake(client_config(&plain_client), good[i], server_config(&plain_server));

		if (!w->client.open)
			fail_msg("%s: %s", good[i], w->client.why.text);
		/* No SNI for addresses. */
		if (i < 2)
			assert_string_equal(w->server.sni, "");
		free_world(w);
	}
}

static void
alpn_is_agreed(void **state)
{
	struct tls_client_opts co = {.ca_file = DIR "ca.crt", .alpn = h2, .require_alpn = true};
	struct tls_server_opts so = plain_server;
	struct world *w;

	(void)state;
	so.alpn = h2;
	w = shake(client_config(&co), "localhost", server_config(&so));
	assert_string_equal(w->client.alpn, "h2");
	assert_string_equal(w->server.alpn, "h2");
	free_world(w);
}

static void
client_certificates_are_required_and_checked(void **state)
{
	struct tls_client_opts co = {.ca_file = DIR "ca.crt", .cert_file = DIR "client.crt", .key_file = DIR "client.key"};
	struct tls_server_opts so = plain_server;
	struct world *w;

	(void)state;
	so.client_ca_file = DIR "ca.crt";
	w = shake(client_config(&co), "localhost", server_config(&so));
	assert_true(w->client.open && w->server.open);
	free_world(w);

	w = shake(client_config(&plain_client), "localhost", server_config(&so));
	assert_true(w->server.closed);
	assert_int_equal(w->server.why.code, ERR_UNAUTHENTICATED);
	assert_non_null(strstr(w->server.why.text, "TLS: the client sent no certificate"));
	free_world(w);

	so.client_ca_file = DIR "other.crt";
	w = shake(client_config(&co), "localhost", server_config(&so));
	assert_true(w->server.closed);
	assert_non_null(strstr(w->server.why.text, "the certificate (for client) is not signed by an authority in "));
	free_world(w);
}

/* ---- what is refused, and the words for it ---- */

static void
refused(const struct tls_client_opts *co, const char *name, const struct tls_server_opts *so, const char *text)
{
	struct world *w = shake(client_config(co), name, server_config(so));

	assert_true(w->client.closed);
	if (strstr(w->client.why.text, text) == NULL)
		fail_msg("\"%s\" is not in \"%s\"", text, w->client.why.text);
	free_world(w);
}

static void
wrong_names_are_refused_with_the_names_there_are(void **state)
{
	struct tls_server_opts so = {.cert_file = DIR "nameonly.crt", .key_file = DIR "nameonly.key"};

	(void)state;
	refused(&plain_client, "127.0.0.1", &so, "TLS: the certificate is for only.test, not for 127.0.0.1");
	refused(&plain_client, "b.test", &so, "the certificate is for only.test, not for b.test");
	refused(&plain_client, "127.0.0.2", &plain_server, "for localhost, *.wild.test, 127.0.0.1, ::1, not for 127.0.0.2");
	refused(&plain_client, "a.b.wild.test", &plain_server, "not for a.b.wild.test");
}

static void
untrusted_and_expired_certificates_are_refused(void **state)
{
	struct tls_client_opts other = {.ca_file = DIR "other.crt"};
	struct tls_server_opts old = {.cert_file = DIR "expired.crt", .key_file = DIR "expired.key"};

	(void)state;
	refused(&other, "localhost", &plain_server, "is not signed by an authority in ");
	refused(&plain_client, "localhost", &old, "the certificate (for localhost, 127.0.0.1) expired at 20");
}

static void
insecure_takes_any_certificate(void **state)
{
	struct tls_client_opts co = {.insecure = true};
	struct tls_server_opts old = {.cert_file = DIR "expired.crt", .key_file = DIR "expired.key"};
	struct tls_server_opts rsa = {.cert_file = DIR "rsa.crt", .key_file = DIR "rsa.key"};
	struct world *w = shake(client_config(&co), "any.test", server_config(&old));

	(void)state;
	assert_true(w->client.open);
	free_world(w);
	w = shake(client_config(&co), "10.0.0.1", server_config(&rsa));
	assert_true(w->client.open);
	free_world(w);
}

static void
no_name_check_still_wants_a_trusted_chain(void **state)
{
	struct tls_client_opts co = {.ca_file = DIR "ca.crt", .no_name_check = true};
	struct world *w = shake(client_config(&co), "other.test", server_config(&plain_server));

	(void)state;
	assert_true(w->client.open);
	free_world(w);
	co.ca_file = DIR "other.crt";
	refused(&co, "localhost", &plain_server, "not signed by an authority in");
}

static void
a_missing_protocol_is_refused(void **state)
{
	struct tls_client_opts co = {.ca_file = DIR "ca.crt", .alpn = h2, .require_alpn = true};
	struct tls_server_opts so = plain_server;

	(void)state;
	refused(&co, "localhost", &so, "TLS: the peer does not speak h2");
	so.alpn = http1;
	so.require_alpn = true;
	refused(&co, "localhost", &so, "no_application_protocol");
}

static struct tls_identity *
pick(void *ctx, const char *sni)
{
	return strcmp(sni, "localhost") == 0 ? tls_identity_ref(ctx) : NULL;
}

static void
a_server_picks_its_certificate_by_name(void **state)
{
	struct err e;
	struct tls_identity *id = tls_identity_load(DIR "server.crt", DIR "server.key", &e);
	struct tls_server_opts so = {.pick = pick, .pick_ctx = id};
	struct world *w;

	(void)state;
	assert_non_null(id);
	w = shake(client_config(&plain_client), "localhost", server_config(&so));
	assert_true(w->client.open);
	free_world(w);
	w = shake(client_config(&plain_client), "else.test", server_config(&so));
	assert_true(w->server.closed);
	assert_non_null(strstr(w->server.why.text, "no certificate for the name"));
	free_world(w);
	tls_identity_unref(id);
}

struct picker {
	struct tls_identity *id;
	int count;                      /* handshakes in which a certificate was shown */
};

static struct tls_identity *
pick_counted(void *ctx, const char *sni)
{
	struct picker *p = ctx;

	(void)sni;
	p->count++;
	return tls_identity_ref(p->id);
}

/* Whether a handshake, then bytes both ways, went well. */
static bool
talk(struct tls_config *client, const char *name, struct tls_config *server, struct tls_sessions *const kept[2], const char *key)
{
	struct world *w = shake_with(tls_config_ref(client), name, tls_config_ref(server), kept, key);
	bool is_open = w->client.open && w->server.open;

	if (is_open) {
		assert_string_equal(w->client.alpn, "http/1.1");
		conn_write(w->client.conn, "question", 8, NULL);
		conn_write(w->server.conn, "answer", 6, NULL);
		RUN_UNTIL(w, w->client.in.len == 6 && w->server.in.len == 8);
	}
	free_world(w);
	return is_open;
}

static void
sessions_are_resumed_by_those_who_agreed_on_them(void **state)
{
	struct picker p = {.id = tls_identity_load(DIR "server.crt", DIR "server.key", NULL)};
	struct tls_client_opts co = {.ca_file = DIR "ca.crt", .alpn = http1};
	struct tls_server_opts so = {.pick = pick_counted, .pick_ctx = &p, .alpn = http1};
	struct tls_config *client = client_config(&co), *other = client_config(&co), *server = server_config(&so);
	struct tls_sessions *kept[2] = {tls_sessions_new(2), tls_sessions_new(2)};

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_true(talk(client, "localhost", server, kept, "a"));
	assert_int_equal(p.count, 1);
	assert_int_equal(tls_sessions_count(kept[0]), 1);
	/* Not for another server, nor for a config that may trust others, nor without memory on one side. */
	assert_true(talk(client, "localhost", server, kept, "b"));
	assert_int_equal(p.count, 2);
	assert_true(talk(other, "localhost", server, kept, "a"));
	assert_int_equal(p.count, 3);
	assert_true(talk(other, "localhost", server, (struct tls_sessions *const[2]){kept[0], NULL}, "a"));
	assert_int_equal(p.count, 4);
	assert_true(talk(other, "localhost", server, (struct tls_sessions *const[2]){NULL, kept[1]}, "a"));
	assert_int_equal(p.count, 5);
	/* Two are kept on each side, the last used ones. */
	for (const char *k = "xyz"; *k != '\0'; k++)
		assert_true(talk(client, "localhost", server, kept, k));
	assert_int_equal(p.count, 8);
	assert_int_equal(tls_sessions_count(kept[0]), 2);
	assert_int_equal(tls_sessions_count(kept[1]), 2);
	assert_true(talk(client, "localhost", server, kept, "z"));
	assert_int_equal(p.count, 8);
	assert_true(talk(client, "localhost", server, kept, "xyz"));
	assert_int_equal(p.count, 9);
	for (int i = 0; i < 2; i++)
		tls_sessions_unref(kept[i]);
	tls_config_unref(client);
	tls_config_unref(other);
	tls_config_unref(server);
	tls_identity_unref(p.id);
}

static void
a_session_never_stands_for_a_certificate_that_is_required(void **state)
{
	struct tls_client_opts known = {.ca_file = DIR "ca.crt", .cert_file = DIR "client.crt", .key_file = DIR "client.key", .alpn = http1};
	struct tls_server_opts so = {.cert_file = DIR "server.crt", .key_file = DIR "server.key", .client_ca_file = DIR "ca.crt", .alpn = http1};
	struct tls_config *client = client_config(&known), *server = server_config(&so);
	struct tls_sessions *kept[2] = {tls_sessions_new(2), tls_sessions_new(2)};

	(void)state;
	assert_true(talk(client, "localhost", server, kept, "a"));
	assert_true(talk(client, "localhost", server, kept, "a"));
	assert_int_equal(tls_sessions_count(kept[1]), 0);
	for (int i = 0; i < 2; i++)
		tls_sessions_unref(kept[i]);
	tls_config_unref(client);
	tls_config_unref(server);
}

static void
plaintext_peers_are_told_apart(void **state)
{
	struct world *w = xcalloc(1, sizeof(*w));
	struct tls_config *cfg = client_config(&plain_client);
	struct conn_opts co = {.tls = cfg, .tls_name = "localhost"};
	int fd[2];

	(void)state;
	w->loop = loop_new("tls", NULL);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	w->client.conn = conn_adopt(w->loop, fd[0], &co, &events, &w->client);
	tls_config_unref(cfg);
	assert_int_equal(write(fd[1], "HTTP/1.1 400 Bad Request\r\n\r\n", 28), 28);
	RUN_UNTIL(w, w->client.closed);
	assert_non_null(strstr(w->client.why.text, "TLS: the peer does not speak TLS"));
	close(fd[1]);
	free_world(w);
}

static void
a_cut_in_the_handshake_and_later_is_reported(void **state)
{
	struct world *w = shake(client_config(&plain_client), "localhost", server_config(&plain_server));
	struct tls_config *cfg = client_config(&plain_client);
	struct conn_opts co = {.tls = cfg, .handshake_ms = 50};
	int fd[2];

	(void)state;
	conn_abort(w->server.conn);
	w->server.conn = NULL;
	RUN_UNTIL(w, w->client.closed);
	assert_non_null(strstr(w->client.why.text, "TLS: cut off without close_notify"));

	w->client.closed = false;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	w->client.conn = conn_adopt(w->loop, fd[0], &co, &events, &w->client);
	RUN_UNTIL(w, w->client.closed);
	assert_int_equal(w->client.why.code, ERR_DEADLINE_EXCEEDED);
	assert_non_null(strstr(w->client.why.text, "no TLS handshake in 50 ms"));
	close(fd[1]);

	w->client.closed = false;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	w->client.conn = conn_adopt(w->loop, fd[0], &co, &events, &w->client);
	loop_turn(w->loop, 1);
	shutdown(fd[1], SHUT_WR);
	RUN_UNTIL(w, w->client.closed);
	assert_non_null(strstr(w->client.why.text, "TLS: closed by the peer in the handshake"));
	close(fd[1]);
	tls_config_unref(cfg);
	free_world(w);
}

static void
a_plain_connection_turns_to_tls(void **state)
{
	struct world *w = xcalloc(1, sizeof(*w));
	struct tls_config *cc = client_config(&plain_client), *sc = server_config(&plain_server);
	static const struct conn_opts none;
	int fd[2];

	(void)state;
	w->loop = loop_new("tls", NULL);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	w->client.conn = conn_adopt(w->loop, fd[0], &none, &events, &w->client);
	w->server.conn = conn_adopt(w->loop, fd[1], &none, &events, &w->server);
	conn_write(w->client.conn, "CONNECT", 7, NULL);
	RUN_UNTIL(w, w->server.in.len == 7);
	w->client.open = w->server.open = false;
	conn_start_tls(w->client.conn, cc, "localhost");
	conn_start_tls(w->server.conn, sc, NULL);
	RUN_UNTIL(w, w->client.open && w->server.open);
	conn_write(w->client.conn, "secret", 6, NULL);
	RUN_UNTIL(w, w->server.in.len == 13);
	tls_config_unref(cc);
	tls_config_unref(sc);
	free_world(w);
}

/* As a proxy does: the first byte tells that it is TLS, and it goes on with the byte still untaken. */
static size_t
turn_to_tls(struct conn *c, void *ctx, const uint8_t *p, size_t n)
{
	struct end *e = ctx;

	if (!conn_is_tls(c) && n > 0 && p[0] == 0x16) {
		struct tls_config *sc = server_config(&plain_server);

		e->open = false;
		conn_start_tls(c, sc, NULL);
		tls_config_unref(sc);
		return 0;
	}
	return on_data(c, ctx, p, n);
}

static void
tls_may_begin_where_its_first_byte_is_seen(void **state)
{
	static const struct conn_events looking = {.on_open = on_open, .on_data = turn_to_tls, .on_close = on_close};
	struct world *w = xcalloc(1, sizeof(*w));
	struct tls_config *cc = client_config(&plain_client);
	int fd[2];

	(void)state;
	w->loop = loop_new("tls", NULL);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	w->client.conn = conn_adopt(w->loop, fd[0], &(struct conn_opts){.tls = cc, .tls_name = "localhost"}, &events, &w->client);
	w->server.conn = conn_adopt(w->loop, fd[1], &(struct conn_opts){0}, &looking, &w->server);
	RUN_UNTIL(w, w->client.open && conn_is_tls(w->server.conn));
	conn_write(w->client.conn, "secret", 6, NULL);
	RUN_UNTIL(w, w->server.in.len == 6);
	tls_config_unref(cc);
	free_world(w);
}

static void
client_of_other_protocols_is_refused_only_when_it_names_some(void **state)
{
	static const struct tls_server_opts strict = {
		.cert_file = DIR "server.crt", .key_file = DIR "server.key", .alpn = http1, .refuse_other_alpn = true};
	struct tls_client_opts other = {.ca_file = DIR "ca.crt", .alpn = h2};
	struct world *w = shake(client_config(&plain_client), "localhost", server_config(&strict));

	(void)state;
	assert_true(w->client.open && w->server.open);
	free_world(w);
	w = shake(client_config(&other), "localhost", server_config(&strict));
	assert_true(w->client.closed && w->server.closed);
	/* Each side says whose doing it was; nothing is said about certificates. */
	assert_non_null(strstr(w->server.why.text, "offers no protocol of ours, such as http/1.1 (alert no_application_protocol)"));
	assert_int_equal(w->server.why.code, ERR_UNAVAILABLE);
	assert_non_null(strstr(w->client.why.text, "the peer ended it with alert no_application_protocol"));
	free_world(w);
}

static struct tls_identity *
pick_other(void *ctx, const char *sni)
{
	(void)sni;
	return tls_identity_ref(ctx);
}

static void
picked_certificate_is_for_clients_that_send_a_name(void **state)
{
	struct tls_identity *id = tls_identity_load(DIR "server.crt", DIR "server.key", NULL);
	struct tls_identity *picked = tls_identity_load(DIR "nameonly.crt", DIR "nameonly.key", NULL);
	const struct tls_server_opts o = {.identity = id, .pick = pick_other, .pick_ctx = picked};
	struct world *w = shake(client_config(&plain_client), "127.0.0.1", server_config(&o));

	(void)state;
	assert_true(w->client.open);
	free_world(w);
	w = shake(client_config(&plain_client), "only.test", server_config(&o));
	assert_true(w->client.open);
	free_world(w);
	tls_identity_unref(id);
	tls_identity_unref(picked);
}

static void
two_files_of_authorities_add_up(void **state)
{
	const struct tls_client_opts o = {.ca_file = DIR "other.crt", .more_ca_file = DIR "ca.crt"};
	struct tls_config *c = client_config(&o);
	struct world *w;

	(void)state;
	assert_int_equal(tls_config_anchor_count(c), 2);
	w = shake(c, "localhost", server_config(&plain_server));
	assert_true(w->client.open && w->server.open);
	free_world(w);
}

/* ---- files ---- */

static void
bad_file(const char *cert, const char *key, const char *text)
{
	struct err e;
	struct tls_identity *id = tls_identity_load(cert, key, &e);

	assert_null(id);
	if (strstr(e.text, text) == NULL)
		fail_msg("\"%s\" is not in \"%s\"", text, e.text);
}

static void
errors_about_files_name_them(void **state)
{
	struct tls_client_opts co = {.ca_file = "/nonexistent/ca.crt"};
	struct err e;

	(void)state;
	bad_file("/nonexistent/a.crt", DIR "server.key", "open /nonexistent/a.crt: No such file");
	bad_file(DIR "server.crt", DIR "client.key", "client.key: not the key of the first certificate in " DIR "server.crt");
	bad_file(DIR "rsa.crt", DIR "server.key", "not the key of");
	bad_file(DIR "server.key", DIR "server.key", "server.key: no certificate in PEM form");
	bad_file(DIR "server.crt", DIR "server.crt", "server.crt: no private key in PEM form");
	bad_file(DIR, DIR "server.key", "not a regular file");
	assert_null(tls_client_new(&co, &e));
	assert_string_equal(e.text, "open /nonexistent/ca.crt: No such file or directory");
	co.ca_file = DIR "server.key";
	assert_null(tls_client_new(&co, &e));
	assert_string_equal(e.text, DIR "server.key: no certificate in PEM form");
	co = (struct tls_client_opts){.cert_file = DIR "client.crt"};
	assert_null(tls_client_new(&co, &e));
	co = (struct tls_client_opts){0};
	assert_null(tls_client_new(&co, &e));
	assert_string_equal(e.text, "TLS: no certificate authority to trust");
}

static void
copy_file(const char *from, const char *to)
{
	struct slice s;
	int fd;

	assert_int_equal(tls_file_read(NULL, from, &s, NULL), 0);
	fd = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(write(fd, s.p, s.n), (ssize_t)s.n);
	close(fd);
	free((void *)(uintptr_t)s.p);
}

static void
changed_files_are_loaded_again_and_broken_ones_are_not(void **state)
{
	char dir[] = "/tmp/test_tls.XXXXXX", cert[64], key[64];
	struct tls_server_opts so = {.cert_file = cert, .key_file = key, .alpn = h2};
	struct tls_config *cfg, *before;
	struct err e;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(cert, sizeof(cert), "%s/crt", dir);
	snprintf(key, sizeof(key), "%s/key", dir);
	copy_file(DIR "server.crt", cert);
	copy_file(DIR "server.key", key);
	cfg = before = server_config(&so);
	assert_int_equal(tls_config_refresh(&cfg, &e), 0);
	assert_ptr_equal(cfg, before);
	copy_file(DIR "rsa.crt", cert);
	/* Only one of the pair is new yet. */
	assert_int_equal(tls_config_refresh(&cfg, &e), -1);
	assert_ptr_equal(cfg, before);
	copy_file(DIR "rsa.key", key);
	assert_int_equal(tls_config_refresh(&cfg, &e), 1);
	assert_int_equal(cfg->identity->key_type, BR_KEYTYPE_RSA);
	assert_int_equal(cfg->alpn_count, 1);
	tls_config_unref(cfg);
	unlink(cert);
	unlink(key);
	rmdir(dir);
}

static void
anchors_come_from_memory_and_from_the_system(void **state)
{
	struct slice pem;
	struct tls_client_opts co = {0};
	struct tls_config *cfg;
	struct err e;
	struct slice junk = slice_str("junk");

	(void)state;
	assert_int_equal(tls_file_read(NULL, DIR "ca.crt", &pem, &e), 0);
	co.ca_pem = pem;
	cfg = client_config(&co);
	assert_int_equal(tls_config_anchor_count(cfg), 1);
	tls_config_unref(cfg);
	free((void *)(uintptr_t)pem.p);
	co = (struct tls_client_opts){.ca_ders = &junk, .ca_der_count = 1};
	assert_null(tls_client_new(&co, &e));

	unsetenv("SSL_CERT_DIR");
	setenv("SSL_CERT_FILE", DIR "ca.crt", 1);
	co = (struct tls_client_opts){.system_roots = true};
	cfg = client_config(&co);
	assert_int_equal(tls_config_anchor_count(cfg), 1);
	tls_config_unref(cfg);
	setenv("SSL_CERT_FILE", "/nonexistent", 1);
	assert_null(tls_client_new(&co, &e));
	assert_non_null(strstr(e.text, "SSL_CERT_FILE=/nonexistent"));
	unsetenv("SSL_CERT_FILE");
}

/* ---- certificates ---- */

static void
a_certificate_cut_anywhere_is_no_certificate(void **state)
{
	struct err e;
	struct tls_identity *id = tls_identity_load(DIR "server.crt", DIR "server.key", &e);
	struct slice der = slice_make(id->chain[0].data, id->chain[0].data_len);
	struct buf names = BUF_INIT;
	struct x509 c;
	uint8_t ip[4] = {127, 0, 0, 1};

	(void)state;
	for (size_t n = 0; n < der.n; n++) {
		uint8_t *cut = xmalloc(n);

		memcpy(cut, der.p, n);
		assert_int_equal(x509_read(&c, slice_make(cut, n)), -1);
		free(cut);
	}
	assert_int_equal(x509_read(&c, der), 0);
	assert_true(x509_has_ip(&c, slice_make(ip, 4)));
	assert_false(x509_has_ip(&c, slice_make(ip, 3)));
	assert_true(c.not_before < c.not_after);
	x509_names(&c, &names, 256);
	assert_string_equal(buf_cstr(&names), "localhost, *.wild.test, 127.0.0.1, ::1");
	buf_clear(&names);
	x509_names(&c, &names, 20);
	assert_string_equal(buf_cstr(&names), "localhost, ...");
	buf_free(&names);
	tls_identity_unref(id);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(carries_bytes_both_ways),
		cmocka_unit_test(carries_bulk_with_back_pressure),
		cmocka_unit_test(rsa_keys_work_too),
		cmocka_unit_test(addresses_in_the_certificate_are_names),
		cmocka_unit_test(alpn_is_agreed),
		cmocka_unit_test(client_certificates_are_required_and_checked),
		cmocka_unit_test(wrong_names_are_refused_with_the_names_there_are),
		cmocka_unit_test(untrusted_and_expired_certificates_are_refused),
		cmocka_unit_test(insecure_takes_any_certificate),
		cmocka_unit_test(no_name_check_still_wants_a_trusted_chain),
		cmocka_unit_test(a_missing_protocol_is_refused),
		cmocka_unit_test(a_server_picks_its_certificate_by_name),
		cmocka_unit_test(sessions_are_resumed_by_those_who_agreed_on_them),
		cmocka_unit_test(a_session_never_stands_for_a_certificate_that_is_required),
		cmocka_unit_test(plaintext_peers_are_told_apart),
		cmocka_unit_test(a_cut_in_the_handshake_and_later_is_reported),
		cmocka_unit_test(a_plain_connection_turns_to_tls),
		cmocka_unit_test(tls_may_begin_where_its_first_byte_is_seen),
		cmocka_unit_test(client_of_other_protocols_is_refused_only_when_it_names_some),
		cmocka_unit_test(picked_certificate_is_for_clients_that_send_a_name),
		cmocka_unit_test(two_files_of_authorities_add_up),
		cmocka_unit_test(errors_about_files_name_them),
		cmocka_unit_test(changed_files_are_loaded_again_and_broken_ones_are_not),
		cmocka_unit_test(anchors_come_from_memory_and_from_the_system),
		cmocka_unit_test(a_certificate_cut_anywhere_is_no_certificate),
	};

	return cmocka_run_group_tests_name("tls", tests, NULL, NULL);
}
