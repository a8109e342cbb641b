#include "conn_end.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "net/dns.h"
#include "net/listener.h"
#include "net/os/sockopt.h"

#define BULK (8u * 1024 * 1024)

struct world {
	struct loop *loop;
	struct listener *listener;
	struct end a;           /* connects */
	struct end b;           /* is accepted */
	int accepted_fd;
	bool keep_fd;
	bool no_eof_event;      /* b has none */
};

static const struct conn_events no_eof = {.on_data = on_data, .on_close = on_close};

static void
on_accept(void *ctx, int fd, const struct addr *peer)
{
	struct world *w = ctx;
	static const struct conn_opts none;

	(void)peer;
	w->accepted_fd = fd;
	if (!w->keep_fd)
		w->b.conn = conn_adopt(w->loop, fd, &none, w->no_eof_event ? &no_eof : &events, &w->b);
}

static struct world *
new_world(void)
{
	struct world *w = xcalloc(1, sizeof(*w));
	struct addr any;
	struct err e;

	w->accepted_fd = -1;
	w->loop = loop_new("conn", &e);
	assert_int_equal(addr_parse(&any, "127.0.0.1:0", &e), 0);
	w->listener = listener_tcp(w->loop, &any, on_accept, w, &e);
	assert_non_null(w->listener);
	return w;
}

static void
free_world(struct world *w)
{
	end_free(&w->a);
	end_free(&w->b);
	listener_free(w->listener);
	loop_turn(w->loop, 0);
	assert_int_equal(loop_timer_count(w->loop), 0);
	assert_int_equal(loop_io_count(w->loop), 0);
	loop_free(w->loop);
	free(w);
}

static void
connect_both(struct world *w)
{
	struct conn_opts o = {.addr = *listener_addr(w->listener)};

	w->a.conn = conn_connect(w->loop, &o, &events, &w->a);
	RUN_UNTIL(w, w->a.open && w->b.conn != NULL && conn_is_open(w->b.conn));
}

static uint8_t *
make_bulk(void)
{
	uint8_t *p = xmalloc(BULK);

	for (size_t i = 0; i < BULK; i++)
		p[i] = (uint8_t)(i * 2654435761u >> 11);
	return p;
}

/* ---- tests ---- */

static void
connects_and_carries_bytes_both_ways(void **state)
{
	struct world *w = new_world();
	struct addr local;
	char text[ADDR_TEXT_MAX];

	(void)state;
	connect_both(w);
	assert_int_equal(conn_write(w->a.conn, "hello", 5, NULL), 0);
	assert_int_equal(conn_write(w->b.conn, "world", 5, NULL), 0);
	RUN_UNTIL(w, w->a.in.len == 5 && w->b.in.len == 5);
	assert_memory_equal(buf_data(&w->b.in), "hello", 5);
	assert_memory_equal(buf_data(&w->a.in), "world", 5);
	conn_local(w->a.conn, &local);
	assert_true(addr_eq(&local, conn_peer(w->b.conn)));
	assert_string_equal(conn_peer_text(w->a.conn), addr_format(listener_addr(w->listener), text));
	assert_int_equal(conn_bytes_in(w->b.conn), 5);
	assert_int_equal(conn_bytes_out(w->b.conn), 5);
	free_world(w);
}

static void
bytes_written_before_the_connection_is_open_are_sent_then(void **state)
{
	struct world *w = new_world();
	struct conn_opts o = {.addr = *listener_addr(w->listener)};

	(void)state;
	w->a.conn = conn_connect(w->loop, &o, &events, &w->a);
	assert_int_equal(conn_write(w->a.conn, "early", 5, NULL), 0);
	RUN_UNTIL(w, w->b.in.len == 5);
	assert_int_equal(w->a.drains, 1);
	free_world(w);
}

static void
bulk_goes_from_the_callers_memory_with_back_pressure(void **state)
{
	struct world *w = new_world();
	uint8_t *bulk = make_bulk();

	(void)state;
	connect_both(w);
	conn_pause_read(w->b.conn);
	send_bulk(&w->a, bulk, BULK);
	for (int i = 0; i < 20; i++)
		loop_turn(w->loop, 1);
	/* The reader stands still, so the writer must too, and nothing is queued here. */
	assert_true(w->a.bulk_left > 0);
	assert_int_equal(conn_queued(w->a.conn), 0);
	assert_int_equal(w->b.in.len, 0);
	conn_resume_read(w->b.conn);
	RUN_UNTIL(w, w->b.in.len == BULK);
	assert_memory_equal(buf_data(&w->b.in), bulk, BULK);
	assert_true(w->a.writables > 0);
	free(bulk);
	free_world(w);
}

static void
a_queue_has_an_end(void **state)
{
	struct world *w = new_world();
	uint8_t *bulk = make_bulk();
	struct err e;
	int sent = 0;

	(void)state;
	connect_both(w);
	conn_pause_read(w->b.conn);
	while (conn_write(w->a.conn, bulk, 1024 * 1024, &e) == 0)
		assert_true(++sent < 100);
	assert_int_equal(e.code, ERR_RESOURCE_EXHAUSTED);
	assert_true(conn_queued(w->a.conn) <= CONN_QUEUE_MAX);
	assert_int_equal(conn_send_some(w->a.conn, "x", 1), 0);
	conn_resume_read(w->b.conn);
	RUN_UNTIL(w, w->b.in.len == (size_t)sent * 1024 * 1024 && w->a.drains == 1);
	free(bulk);
	free_world(w);
}

static void
half_close_lets_the_answer_through(void **state)
{
	struct world *w = new_world();

	(void)state;
	connect_both(w);
	conn_write(w->a.conn, "question", 8, NULL);
	conn_shutdown_write(w->a.conn);
	assert_int_equal(conn_write(w->a.conn, "x", 1, NULL), -1);
	RUN_UNTIL(w, w->b.eof);
	conn_write(w->b.conn, "answer", 6, NULL);
	conn_close(w->b.conn);
	w->b.conn = NULL;
	RUN_UNTIL(w, w->a.eof);
	assert_int_equal(w->a.in.len, 6);
	assert_false(w->a.closed);
	free_world(w);
}

static void
without_an_eof_event_the_end_of_the_stream_ends_the_connection(void **state)
{
	struct world *w = new_world();
	char want[200];

	(void)state;
	w->no_eof_event = true;
	connect_both(w);
	snprintf(want, sizeof(want), "%s: closed by the peer", conn_peer_text(w->b.conn));
	conn_close(w->a.conn);
	w->a.conn = NULL;
	RUN_UNTIL(w, w->b.closed);
	assert_int_equal(w->b.why.code, ERR_UNAVAILABLE);
	assert_string_equal(w->b.why.text, want);
	free_world(w);
}

static void
close_sends_what_is_queued(void **state)
{
	struct world *w = new_world();
	uint8_t *bulk = make_bulk();

	(void)state;
	connect_both(w);
	conn_pause_read(w->b.conn);
	for (int i = 0; i < 3; i++)
		assert_int_equal(conn_write(w->a.conn, bulk, 1024 * 1024, NULL), 0);
	conn_close(w->a.conn);
	w->a.conn = NULL;
	conn_resume_read(w->b.conn);
	RUN_UNTIL(w, w->b.eof);
	assert_int_equal(w->b.in.len, 3 * 1024 * 1024);
	free(bulk);
	free_world(w);
}

static void
a_reset_is_reported_with_the_address(void **state)
{
	struct world *w = new_world();
	struct linger hard = {.l_onoff = 1};

	(void)state;
	connect_both(w);
	setsockopt(conn_fd(w->a.conn), SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	conn_abort(w->a.conn);
	w->a.conn = NULL;
	RUN_UNTIL(w, w->b.closed);
	assert_int_equal(w->b.why.code, ERR_UNAVAILABLE);
	assert_memory_equal(w->b.why.text, "127.0.0.1:", 10);
	free_world(w);
}

static void
untaken_bytes_are_offered_again_with_more(void **state)
{
	struct world *w = new_world();

	(void)state;
	connect_both(w);
	w->b.take_max = 3;
	conn_write(w->a.conn, "abcdef", 6, NULL);
	RUN_UNTIL(w, w->b.in.len == 3);
	conn_write(w->a.conn, "g", 1, NULL);
	RUN_UNTIL(w, w->b.in.len == 6);
	assert_int_equal(w->b.offered, 4);
	conn_pause_read(w->b.conn);
	conn_resume_read(w->b.conn);
	RUN_UNTIL(w, w->b.in.len == 7);
	assert_memory_equal(buf_data(&w->b.in), "abcdefg", 7);
	free_world(w);
}

static size_t
take_none(struct conn *c, void *ctx, const uint8_t *p, size_t n)
{
	(void)c;
	(void)p;
	((struct end *)ctx)->offered = n;
	return 0;
}

static void
too_many_untaken_bytes_end_the_connection(void **state)
{
	static const struct conn_events stubborn = {.on_data = take_none, .on_close = on_close};
	struct world *w = new_world();
	uint8_t *bulk = make_bulk();

	(void)state;
	connect_both(w);
	conn_set_events(w->b.conn, &stubborn, &w->b);
	conn_write(w->a.conn, bulk, CONN_UNTAKEN_MAX, NULL);
	RUN_UNTIL(w, w->b.offered == CONN_UNTAKEN_MAX);
	assert_false(w->b.closed);
	conn_write(w->a.conn, bulk, 1, NULL);
	RUN_UNTIL(w, w->b.closed);
	assert_int_equal(w->b.why.code, ERR_RESOURCE_EXHAUSTED);
	free(bulk);
	free_world(w);
}

/* Looks at the first bytes, then gives the connection to `w->b` with all of them. */
static size_t
peek(struct conn *c, void *ctx, const uint8_t *p, size_t n)
{
	struct world *w = ctx;

	if (n < 6)
		return 0;
	assert_memory_equal(p, "PRI * ", 6);
	conn_set_events(c, &events, &w->b);
	return 0;
}

static void
the_first_bytes_can_be_looked_at_and_handed_on(void **state)
{
	static const struct conn_events peeking = {.on_data = peek, .on_close = on_close};
	struct world *w = new_world();

	(void)state;
	connect_both(w);
	w->b.open = false;
	conn_set_events(w->b.conn, &peeking, w);
	conn_write(w->a.conn, "PRI", 3, NULL);
	for (int i = 0; i < 5; i++)
		loop_turn(w->loop, 1);
	assert_int_equal(w->b.in.len, 0);
	conn_write(w->a.conn, " * HTTP", 7, NULL);
	RUN_UNTIL(w, w->b.in.len == 10);
	assert_memory_equal(buf_data(&w->b.in), "PRI * HTTP", 10);
	free_world(w);
}

static void
a_connection_moves_to_another_owner_by_its_descriptor(void **state)
{
	struct world *w = new_world();
	struct buf unread = BUF_INIT;
	struct conn_opts o = {0};
	struct conn *old;
	int fd;

	(void)state;
	connect_both(w);
	w->b.take_max = 2;
	conn_write(w->a.conn, "12345", 5, NULL);
	RUN_UNTIL(w, w->b.in.len == 2);
	old = w->b.conn;
	fd = conn_detach(old, &unread, NULL);
	assert_true(fd >= 0);
	assert_int_equal(unread.len, 3);
	w->b.take_max = 0;
	w->b.open = false;
	o.early = buf_slice(&unread);
	w->b.conn = conn_adopt(w->loop, fd, &o, &events, &w->b);
	buf_free(&unread);
	RUN_UNTIL(w, w->b.in.len == 5);
	assert_true(w->b.open);
	conn_write(w->a.conn, "6", 1, NULL);
	RUN_UNTIL(w, w->b.in.len == 6);
	assert_memory_equal(buf_data(&w->b.in), "123456", 6);
	free_world(w);
}

/* ---- waits ---- */

static void
waits_end_the_connection_and_say_which(void **state)
{
	struct world *w = new_world();
	uint8_t *bulk = make_bulk();

	(void)state;
	connect_both(w);
	conn_set_read_ms(w->b.conn, 30);
	RUN_UNTIL(w, w->b.closed);
	assert_int_equal(w->b.why.code, ERR_DEADLINE_EXCEEDED);
	assert_non_null(strstr(w->b.why.text, ": nothing received for 30 ms"));
	conn_abort(w->a.conn);
	w->b.closed = w->a.open = w->b.open = false;

	connect_both(w);
	conn_set_idle_ms(w->b.conn, 30);
	RUN_UNTIL(w, w->b.closed);
	assert_non_null(strstr(w->b.why.text, ": idle for 30 ms"));
	conn_abort(w->a.conn);
	w->b.closed = w->a.open = w->b.open = false;

	connect_both(w);
	conn_pause_read(w->b.conn);
	conn_set_write_ms(w->a.conn, 50);
	send_bulk(&w->a, bulk, BULK);
	RUN_UNTIL(w, w->a.closed);
	assert_non_null(strstr(w->a.why.text, ": nothing could be sent for 50 ms"));
	free(bulk);
	free_world(w);
}

static void
reading_in_time_or_not_wanting_to_read_is_no_timeout(void **state)
{
	struct world *w = new_world();
	int64_t end;

	(void)state;
	connect_both(w);
	conn_set_read_ms(w->b.conn, 60);
	for (int i = 0; i < 10; i++) {
		conn_write(w->a.conn, "x", 1, NULL);
		end = clock_mono_ms() + 15;
		while (clock_mono_ms() < end)
			loop_turn(w->loop, 5);
	}
	assert_false(w->b.closed);
	conn_pause_read(w->b.conn);
	end = clock_mono_ms() + 100;
	while (clock_mono_ms() < end)
		loop_turn(w->loop, 10);
	assert_false(w->b.closed);
	conn_resume_read(w->b.conn);
	RUN_UNTIL(w, w->b.closed);
	free_world(w);
}

static void
a_refused_connection_names_the_address(void **state)
{
	struct world *w = new_world();
	struct conn_opts o = {.addr = *listener_addr(w->listener)};
	char text[ADDR_TEXT_MAX], want[200];

	(void)state;
	addr_format(&o.addr, text);
	listener_free(w->listener);
	w->listener = NULL;
	w->a.conn = conn_connect(w->loop, &o, &events, &w->a);
	assert_false(w->a.closed);
	RUN_UNTIL(w, w->a.closed);
	snprintf(want, sizeof(want), "connect to %s: Connection refused", text);
	assert_string_equal(w->a.why.text, want);
	assert_int_equal(w->a.why.code, ERR_UNAVAILABLE);
	free_world(w);
}

static void
a_connect_without_answer_ends_in_time(void **state)
{
	struct world *w = new_world();
	struct addr any;
	struct conn_opts o = {.connect_ms = 50};
	int full, fill[8];

	(void)state;
	/* A listener whose backlog is full lets further handshakes wait. */
	full = socket(AF_INET, SOCK_STREAM, 0);
	addr_parse(&any, "127.0.0.1:0", NULL);
	assert_int_equal(bind(full, &any.u.sa, any.len), 0);
	assert_int_equal(listen(full, 0), 0);
	addr_of_local(&o.addr, full);
	for (int i = 0; i < 8; i++) {
		fill[i] = socket(AF_INET, SOCK_STREAM, 0);
		fcntl(fill[i], F_SETFL, O_NONBLOCK);
		connect(fill[i], &o.addr.u.sa, o.addr.len);
	}
	w->a.conn = conn_connect(w->loop, &o, &events, &w->a);
	RUN_UNTIL(w, w->a.closed);
	assert_int_equal(w->a.why.code, ERR_DEADLINE_EXCEEDED);
	assert_non_null(strstr(w->a.why.text, "no answer in 50 ms"));
	for (int i = 0; i < 8; i++)
		close(fill[i]);
	close(full);
	free_world(w);
}

static void
a_name_with_a_dead_address_connects_by_the_next(void **state)
{
	struct world *w = new_world();
	char hosts[] = "/tmp/test_conn.XXXXXX";
	struct dns_opts dopts = {.hosts = hosts};
	struct conn_opts o = {.host = "two.test", .port = addr_port(listener_addr(w->listener))};
	struct dns *dns;
	int fd = mkstemp(hosts);

	(void)state;
	/* ::1 refuses: the listener is on IPv4 alone. */
	assert_true(write(fd, "::1 two.test\n127.0.0.1 two.test\n", 32) == 32);
	close(fd);
	dns = dns_new(w->loop, &dopts);
	o.dns = dns;
	w->a.conn = conn_connect(w->loop, &o, &events, &w->a);
	RUN_UNTIL(w, w->a.open);
	assert_int_equal(addr_family(conn_peer(w->a.conn)), AF_INET);
	dns_free(dns);
	unlink(hosts);
	free_world(w);
}

static void
aborting_while_connecting_gives_no_callback(void **state)
{
	struct world *w = new_world();
	struct conn_opts o = {.addr = *listener_addr(w->listener)};

	(void)state;
	w->keep_fd = true;
	w->a.conn = conn_connect(w->loop, &o, &events, &w->a);
	conn_abort(w->a.conn);
	w->a.conn = NULL;
	for (int i = 0; i < 5; i++)
		loop_turn(w->loop, 5);
	assert_false(w->a.open || w->a.closed);
	if (w->accepted_fd >= 0)
		close(w->accepted_fd);
	free_world(w);
}

static size_t
abort_in_data(struct conn *c, void *ctx, const uint8_t *p, size_t n)
{
	struct end *e = ctx;

	(void)p;
	e->offered = n;
	conn_abort(c);
	e->conn = NULL;
	return n;
}

static void
a_callback_may_abort_its_connection(void **state)
{
	static const struct conn_events killing = {.on_data = abort_in_data, .on_close = on_close};
	struct world *w = new_world();

	(void)state;
	connect_both(w);
	conn_set_events(w->b.conn, &killing, &w->b);
	conn_write(w->a.conn, "x", 1, NULL);
	RUN_UNTIL(w, w->b.offered == 1);
	RUN_UNTIL(w, w->a.eof || w->a.closed);
	assert_false(w->b.closed);
	free_world(w);
}

static void
a_loop_can_be_freed_while_a_closed_connection_still_lingers(void **state)
{
	struct world *w = new_world();
	uint8_t *bulk = make_bulk();

	(void)state;
	connect_both(w);
	conn_pause_read(w->b.conn);
	while (conn_queued(w->a.conn) == 0)
		conn_write(w->a.conn, bulk, 1024 * 1024, NULL);
	conn_close(w->a.conn);
	conn_abort(w->b.conn);
	listener_free(w->listener);
	loop_free(w->loop);
	buf_free(&w->a.in);
	buf_free(&w->b.in);
	free(bulk);
	free(w);
}

/* ---- listeners ---- */

static void
a_unix_socket_in_use_is_not_taken_over(void **state)
{
	struct world *w = new_world();
	struct listener *first, *second;
	char dir[] = "/tmp/test_conn.XXXXXX", path[64];
	struct stat st;
	struct err e;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/run/d.sock", dir);
	first = listener_unix(w->loop, path, 0640, (gid_t)-1, on_accept, w, &e);
	assert_non_null(first);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	second = listener_unix(w->loop, path, 0640, (gid_t)-1, on_accept, w, &e);
	assert_null(second);
	assert_int_equal(e.code, ERR_ALREADY_EXISTS);
	assert_non_null(strstr(e.text, path));
	listener_free(first);
	assert_int_equal(stat(path, &st), -1);

	/* A dead one's file is replaced, another file never. */
	{
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);
		struct addr a;

		assert_int_equal(addr_from_unix(&a, path, &e), 0);
		assert_int_equal(bind(fd, &a.u.sa, a.len), 0);
		close(fd);
	}
	first = listener_unix(w->loop, path, 0777, (gid_t)-1, on_accept, w, &e);
	assert_non_null(first);
	/* What somebody else put in its place is left alone. */
	unlink(path);
	close(open(path, O_CREAT | O_WRONLY, 0600));
	listener_free(first);
	assert_int_equal(stat(path, &st), 0);
	assert_null(listener_unix(w->loop, path, 0777, (gid_t)-1, on_accept, w, &e));
	unlink(path);
	snprintf(path, sizeof(path), "%s/run", dir);
	rmdir(path);
	rmdir(dir);
	free_world(w);
}

static void
a_port_in_use_is_an_error_and_a_freed_one_is_free_at_once(void **state)
{
	struct world *w = new_world();
	struct addr a = *listener_addr(w->listener);
	struct err e;

	(void)state;
	assert_null(listener_tcp(w->loop, &a, on_accept, w, &e));
	assert_memory_equal(e.text, "listen on 127.0.0.1:", 20);
	connect_both(w);
	conn_close(w->b.conn);
	w->b.conn = NULL;
	RUN_UNTIL(w, w->a.eof);
	listener_free(w->listener);
	w->listener = listener_tcp(w->loop, &a, on_accept, w, &e);
	assert_non_null(w->listener);
	free_world(w);
}

static void
free_in_accept(void *ctx, int fd, const struct addr *peer)
{
	struct world *w = ctx;

	(void)peer;
	close(fd);
	listener_free(w->listener);
	w->listener = NULL;
}

static void
a_listener_may_be_freed_in_its_callback(void **state)
{
	struct world *w = new_world();
	struct addr any;
	struct conn_opts o = {0};

	(void)state;
	addr_parse(&any, "127.0.0.1:0", NULL);
	listener_free(w->listener);
	w->listener = listener_tcp(w->loop, &any, free_in_accept, w, NULL);
	o.addr = *listener_addr(w->listener);
	w->a.conn = conn_connect(w->loop, &o, &events, &w->a);
	RUN_UNTIL(w, w->listener == NULL);
	free_world(w);
}

static void
peer_credentials_of_a_unix_socket(void **state)
{
	struct peercred c;
	int fd[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	assert_true(sockopt_peercred(fd[0], &c));
	assert_int_equal(c.uid, getuid());
	close(fd[0]);
	close(fd[1]);
}

static void
addresses_parse_and_format(void **state)
{
	static const struct {
		const char *in;
		const char *out;
	} good[] = {
		{"1.2.3.4:80", "1.2.3.4:80"}, {"[::1]:65535", "[::1]:65535"}, {"unix:/a/b", "unix:/a/b"}, {"unix:///a", "unix:/a"},
		{"[2001:DB8::0:1]:1", "[2001:db8::1]:1"},
	};
	static const char *const bad[] = {
		"", "1.2.3.4", "::1:80", "[::1]", "1.2.3:80", "1.2.3.4:65536", "1.2.3.4:-1", "1.2.3.4:+1", "01.2.3.4:1", "[1.2.3.4]:80",
		"a.b:80", "unix:", "1.2.3.4:", "[::1%]:1",
	};
	char text[ADDR_TEXT_MAX], path[200];
	struct addr a, b;
	struct err e;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		assert_int_equal(addr_parse(&a, good[i].in, &e), 0);
		assert_string_equal(addr_format(&a, text), good[i].out);
	}
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_int_equal(addr_parse(&a, bad[i], &e), -1);
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(addr_from_unix(&a, path, &e), -1);
	addr_parse(&a, "[::ffff:10.0.0.1]:5", &e);
	addr_parse(&b, "10.0.0.1:5", &e);
	assert_true(addr_eq(&a, &b));
	addr_parse(&a, "169.254.169.254:80", &e);
	assert_true(addr_is_link_local(&a));
	addr_parse(&a, "[::ffff:127.0.0.1]:80", &e);
	assert_true(addr_is_loopback(&a));
	addr_parse(&a, "0.0.0.0:80", &e);
	assert_true(addr_is_any(&a) && !addr_is_loopback(&a));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connects_and_carries_bytes_both_ways),
		cmocka_unit_test(bytes_written_before_the_connection_is_open_are_sent_then),
		cmocka_unit_test(bulk_goes_from_the_callers_memory_with_back_pressure),
		cmocka_unit_test(a_queue_has_an_end),
		cmocka_unit_test(half_close_lets_the_answer_through),
		cmocka_unit_test(without_an_eof_event_the_end_of_the_stream_ends_the_connection),
		cmocka_unit_test(close_sends_what_is_queued),
		cmocka_unit_test(a_reset_is_reported_with_the_address),
		cmocka_unit_test(untaken_bytes_are_offered_again_with_more),
		cmocka_unit_test(too_many_untaken_bytes_end_the_connection),
		cmocka_unit_test(the_first_bytes_can_be_looked_at_and_handed_on),
		cmocka_unit_test(a_connection_moves_to_another_owner_by_its_descriptor),
		cmocka_unit_test(waits_end_the_connection_and_say_which),
		cmocka_unit_test(reading_in_time_or_not_wanting_to_read_is_no_timeout),
		cmocka_unit_test(a_refused_connection_names_the_address),
		cmocka_unit_test(a_connect_without_answer_ends_in_time),
		cmocka_unit_test(a_name_with_a_dead_address_connects_by_the_next),
		cmocka_unit_test(aborting_while_connecting_gives_no_callback),
		cmocka_unit_test(a_callback_may_abort_its_connection),
		cmocka_unit_test(a_loop_can_be_freed_while_a_closed_connection_still_lingers),
		cmocka_unit_test(a_unix_socket_in_use_is_not_taken_over),
		cmocka_unit_test(a_port_in_use_is_an_error_and_a_freed_one_is_free_at_once),
		cmocka_unit_test(a_listener_may_be_freed_in_its_callback),
		cmocka_unit_test(peer_credentials_of_a_unix_socket),
		cmocka_unit_test(addresses_parse_and_format),
	};

	return cmocka_run_group_tests_name("conn", tests, NULL, NULL);
}
