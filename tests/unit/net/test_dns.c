#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"
#include "net/dns.h"
#include "net/dns_conf.h"
#include "net/dns_wire.h"
#include "net/loop.h"

#define LIMIT_MS 20000

/* ---- a name server with a script ---- */

/* What it says about a name; several entries of one name and type are all in the answer. */
struct fact {
	const char *name;
	unsigned type;          /* of the question */
	const char *kind;       /* "addr", "cname", "nxdomain", "nodata", "silent", "servfail", "truncate", "forge" */
	const char *value;
	uint32_t ttl;
};

struct server {
	struct loop *loop;
	struct loop_io udp;
	struct loop_io listener;
	struct loop_io tcp;
	int udp_fd;
	int tcp_fd;
	int conn_fd;
	uint16_t port;
	const struct fact *facts;
	size_t n_facts;
	int questions;
	int tcp_questions;
};

static void
put16(struct buf *b, unsigned v)
{
	buf_append_u8(b, (uint8_t)(v >> 8));
	buf_append_u8(b, (uint8_t)v);
}

static void
put_name(struct buf *b, const char *name)
{
	while (*name != '\0') {
		size_t n = strcspn(name, ".");

		buf_append_u8(b, (uint8_t)n);
		buf_append(b, name, n);
		name += n + (name[n] == '.');
	}
	buf_append_u8(b, 0);
}

static void
put_record(struct buf *b, const char *name, unsigned type, uint32_t ttl, const struct buf *data)
{
	put_name(b, name);
	put16(b, type);
	put16(b, 1);
	put16(b, ttl >> 16);
	put16(b, ttl & 0xffff);
	put16(b, (unsigned)data->len);
	buf_append(b, buf_data(data), data->len);
}

/* Reads the question's name and type. */
static size_t
read_question(const uint8_t *p, char *name, unsigned *type)
{
	size_t at = 12, n = 0;

	while (p[at] != 0) {
		if (n > 0)
			name[n++] = '.';
		memcpy(name + n, p + at + 1, p[at]);
		n += p[at];
		at += p[at] + 1u;
	}
	name[n] = '\0';
	*type = (unsigned)p[at + 1] << 8 | p[at + 2];
	return at + 5;
}

/* Appends the answer; false: say nothing. */
static bool
make_answer(struct server *s, const uint8_t *q, bool is_tcp, struct buf *out)
{
	char name[300];
	unsigned type, rcode = 3, flags = 0x8180, answers = 0, authorities = 0;
	size_t end = read_question(q, name, &type);
	struct buf records = BUF_INIT, data = BUF_INIT;
	bool speak = true;

	for (size_t i = 0; i < s->n_facts; i++) {
		const struct fact *f = &s->facts[i];
		struct addr a;

		if (strcmp(f->name, name) != 0 || (f->type != type && f->type != 0))
			continue;
		rcode = 0;
		buf_clear(&data);
		if (strcmp(f->kind, "addr") == 0 || strcmp(f->kind, "forge") == 0 || (strcmp(f->kind, "truncate") == 0 && is_tcp)) {
			assert_int_equal(addr_from_ip(&a, slice_str(f->value), 0), 0);
			buf_append_slice(&data, addr_ip_bytes(&a));
			put_record(&records, name, type, f->ttl, &data);
			answers++;
		} else if (strcmp(f->kind, "cname") == 0) {
			put_name(&data, f->value);
			put_record(&records, name, 5, f->ttl, &data);
			answers++;
		} else if (strcmp(f->kind, "nxdomain") == 0 || strcmp(f->kind, "nodata") == 0) {
			rcode = f->kind[1] == 'x' ? 3 : 0;
			put_name(&data, "ns.test");
			put_name(&data, "admin.test");
			for (int k = 0; k < 4; k++) {
				put16(&data, 0);
				put16(&data, 1);
			}
			put16(&data, f->ttl >> 16);
			put16(&data, f->ttl & 0xffff);
			put_record(&records, "test", 6, 3600, &data);
			authorities++;
		} else if (strcmp(f->kind, "servfail") == 0) {
			rcode = 2;
		} else if (strcmp(f->kind, "truncate") == 0) {
			flags |= 0x0200;
		} else {
			speak = false;
		}
	}
	buf_append(out, q, 2);
	put16(out, flags | rcode);
	put16(out, 1);
	put16(out, answers);
	put16(out, authorities);
	put16(out, 0);
	buf_append(out, q + 12, end - 12);
	buf_append(out, buf_data(&records), records.len);
	buf_free(&records);
	buf_free(&data);
	return speak;
}

static bool
has_kind(const struct server *s, const char *name, const char *kind)
{
	for (size_t i = 0; i < s->n_facts; i++)
		if (strcmp(s->facts[i].name, name) == 0 && strcmp(s->facts[i].kind, kind) == 0)
			return true;
	return false;
}

static void
on_udp(struct loop_io *io, unsigned ready)
{
	struct server *s = CONTAINER_OF(io, struct server, udp);
	uint8_t q[600];
	struct addr from = {.len = sizeof(from.u.any)};
	struct buf out = BUF_INIT;
	char name[300];
	unsigned type;
	ssize_t n = recvfrom(s->udp_fd, q, sizeof(q), 0, &from.u.sa, &from.len);

	(void)ready;
	assert_true(n > 12);
	s->questions++;
	if (make_answer(s, q, false, &out)) {
		read_question(q, name, &type);
		if (has_kind(s, name, "forge")) {
			/* First a wrong id, then an answer to another question, then the right one. */
			struct buf bad = BUF_INIT;

			buf_append(&bad, buf_data(&out), out.len);
			buf_data(&bad)[0] ^= 1;
			sendto(s->udp_fd, buf_data(&bad), bad.len, 0, &from.u.sa, from.len);
			buf_data(&bad)[0] ^= 1;
			buf_data(&bad)[13] ^= 1;
			sendto(s->udp_fd, buf_data(&bad), bad.len, 0, &from.u.sa, from.len);
			buf_free(&bad);
		}
		sendto(s->udp_fd, buf_data(&out), out.len, 0, &from.u.sa, from.len);
	}
	buf_free(&out);
}

static void
on_tcp(struct loop_io *io, unsigned ready)
{
	struct server *s = CONTAINER_OF(io, struct server, tcp);
	uint8_t q[600];
	struct buf out = BUF_INIT, framed = BUF_INIT;
	ssize_t n = recv(s->conn_fd, q, sizeof(q), 0);

	(void)ready;
	if (n > 14) {
		s->tcp_questions++;
		make_answer(s, q + 2, true, &out);
		put16(&framed, (unsigned)out.len);
		buf_append(&framed, buf_data(&out), out.len);
		/* In two parts, as TCP may bring it. */
		assert_int_equal(send(s->conn_fd, buf_data(&framed), 5, 0), 5);
		assert_int_equal(send(s->conn_fd, buf_data(&framed) + 5, framed.len - 5, 0), (ssize_t)framed.len - 5);
	}
	loop_io_clear(s->loop, io);
	close(s->conn_fd);
	buf_free(&out);
	buf_free(&framed);
}

static void
on_accept(struct loop_io *io, unsigned ready)
{
	struct server *s = CONTAINER_OF(io, struct server, listener);

	(void)ready;
	s->conn_fd = accept(s->tcp_fd, NULL, NULL);
	loop_io_set(s->loop, &s->tcp, s->conn_fd, LOOP_READ, on_tcp);
}

/* ---- the world ---- */

struct world {
	struct loop *loop;
	struct server server;
	struct dns *dns;
	char conf[40];
	char hosts[40];
	bool done;
	int answers;
	struct addr addrs[DNS_ADDRS_MAX];
	size_t n;
	struct err e;
};

static void
write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

static struct world *
new_world(const struct fact *facts, size_t n, const char *conf, const char *hosts)
{
	struct world *w = xcalloc(1, sizeof(*w));
	struct dns_opts o = {0};
	struct addr a;
	struct err e;

	w->loop = loop_new("dns", &e);
	w->server.loop = w->loop;
	w->server.facts = facts;
	w->server.n_facts = n;
	for (int tries = 0;; tries++) {
		assert_true(tries < 50);
		addr_parse(&a, "127.0.0.1:0", &e);
		w->server.tcp_fd = socket(AF_INET, SOCK_STREAM, 0);
		w->server.udp_fd = socket(AF_INET, SOCK_DGRAM, 0);
		assert_int_equal(bind(w->server.tcp_fd, &a.u.sa, a.len), 0);
		assert_int_equal(listen(w->server.tcp_fd, 5), 0);
		addr_of_local(&a, w->server.tcp_fd);
		if (bind(w->server.udp_fd, &a.u.sa, a.len) == 0)
			break;
		close(w->server.tcp_fd);
		close(w->server.udp_fd);
	}
	w->server.port = addr_port(&a);
	loop_io_set(w->loop, &w->server.udp, w->server.udp_fd, LOOP_READ, on_udp);
	loop_io_set(w->loop, &w->server.listener, w->server.tcp_fd, LOOP_READ, on_accept);
	snprintf(w->conf, sizeof(w->conf), "/tmp/test_dns.%ld.conf", (long)getpid());
	snprintf(w->hosts, sizeof(w->hosts), "/tmp/test_dns.%ld.hosts", (long)getpid());
	write_file(w->conf, conf != NULL ? conf : "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n");
	write_file(w->hosts, hosts != NULL ? hosts : "");
	o.resolv_conf = w->conf;
	o.hosts = w->hosts;
	o.port = w->server.port;
	w->dns = dns_new(w->loop, &o);
	return w;
}

static void
free_world(struct world *w)
{
	dns_free(w->dns);
	loop_io_clear(w->loop, &w->server.udp);
	loop_io_clear(w->loop, &w->server.listener);
	loop_io_clear(w->loop, &w->server.tcp);
	close(w->server.udp_fd);
	close(w->server.tcp_fd);
	assert_int_equal(loop_io_count(w->loop), 0);
	assert_int_equal(loop_timer_count(w->loop), 0);
	loop_free(w->loop);
	unlink(w->conf);
	unlink(w->hosts);
	free(w);
}

static void
on_answer(void *ctx, const struct addr *addrs, size_t n, const struct err *e)
{
	struct world *w = ctx;

	w->n = n;
	if (n > 0)
		memcpy(w->addrs, addrs, n * sizeof(*addrs));
	else
		w->e = *e;
	w->answers++;
	w->done = true;
}

/* The addresses as text, with spaces; or the error's text. */
static const char *
look_up(struct world *w, const char *host)
{
	static char text[2048];
	char ip[ADDR_TEXT_MAX];
	size_t at = 0;

	w->done = false;
	dns_lookup(w->dns, host, on_answer, w);
	assert_false(w->done);
	assert_true(loop_run_until(w->loop, &w->done, LIMIT_MS));
	if (w->n == 0)
		return w->e.text;
	for (size_t i = 0; i < w->n; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s%s", i > 0 ? " " : "", addr_format_ip(&w->addrs[i], ip));
	return text;
}

#define WORLD(facts, conf, hosts) new_world(facts, COUNT_OF(facts), conf, hosts)

/* ---- tests ---- */

static void
both_families_are_asked_and_alternate(void **state)
{
	static const struct fact f[] = {
		{"a.test", DNS_A, "addr", "10.0.0.1", 60}, {"a.test", DNS_A, "addr", "10.0.0.2", 60}, {"a.test", DNS_AAAA, "addr", "fd00::1", 60},
	};
	struct world *w = WORLD(f, NULL, NULL);

	(void)state;
	assert_string_equal(look_up(w, "A.Test"), "fd00::1 10.0.0.1 10.0.0.2");
	assert_int_equal(w->server.questions, 2);
	/* The second time nobody is asked. */
	assert_string_equal(look_up(w, "a.test"), "fd00::1 10.0.0.1 10.0.0.2");
	assert_int_equal(w->server.questions, 2);
	dns_flush(w->dns);
	look_up(w, "a.test");
	assert_int_equal(w->server.questions, 4);
	free_world(w);
}

static void
literals_hosts_and_localhost_need_no_server(void **state)
{
	static const struct fact f[] = {{"x", 0, "silent", NULL, 0}};
	struct world *w = WORLD(f, NULL, "# comment\n10.1.1.1 one.test one  # alias\nfd00::5\tone.test\nbroken line\n");

	(void)state;
	assert_string_equal(look_up(w, "127.0.0.1"), "127.0.0.1");
	assert_string_equal(look_up(w, "::1"), "::1");
	assert_string_equal(look_up(w, "ONE"), "10.1.1.1");
	assert_string_equal(look_up(w, "one.test."), "10.1.1.1 fd00::5");
	assert_string_equal(look_up(w, "localhost"), "::1 127.0.0.1");
	assert_string_equal(look_up(w, "a.localhost"), "::1 127.0.0.1");
	assert_int_equal(w->server.questions, 0);
	free_world(w);
}

static void
no_such_name_is_not_found_and_kept(void **state)
{
	static const struct fact f[] = {{"no.test", 0, "nxdomain", NULL, 60}, {"v4only.test", DNS_A, "addr", "10.0.0.1", 5},
		{"v4only.test", DNS_AAAA, "nodata", NULL, 60}, {"empty.test", 0, "nodata", NULL, 60}};
	struct world *w = WORLD(f, NULL, NULL);

	(void)state;
	assert_string_equal(look_up(w, "no.test"), "no such host: no.test");
	assert_int_equal(w->e.code, ERR_NOT_FOUND);
	look_up(w, "no.test");
	assert_int_equal(w->server.questions, 2);
	assert_string_equal(look_up(w, "v4only.test"), "10.0.0.1");
	assert_string_equal(look_up(w, "empty.test"), "no such host: empty.test");
	assert_int_equal(dns_cache_count(w->dns), 3);
	free_world(w);
}

static void
aliases_are_followed_inside_and_across_answers(void **state)
{
	static const struct fact f[] = {
		{"w.test", 0, "cname", "real.test", 60}, {"real.test", DNS_A, "addr", "10.0.0.7", 60}, {"real.test", DNS_AAAA, "nodata", NULL, 60},
		{"loop1.test", 0, "cname", "loop2.test", 60}, {"loop2.test", 0, "cname", "loop1.test", 60},
	};
	struct world *w = WORLD(f, NULL, NULL);

	(void)state;
	assert_string_equal(look_up(w, "w.test"), "10.0.0.7");
	look_up(w, "loop1.test");
	assert_int_equal(w->n, 0);
	assert_non_null(strstr(w->e.text, "too many aliases"));
	free_world(w);
}

static void
a_cut_answer_is_asked_for_over_tcp(void **state)
{
	static const struct fact f[] = {{"big.test", DNS_A, "truncate", "10.0.0.9", 60}, {"big.test", DNS_AAAA, "nodata", NULL, 60}};
	struct world *w = WORLD(f, NULL, NULL);

	(void)state;
	assert_string_equal(look_up(w, "big.test"), "10.0.0.9");
	assert_int_equal(w->server.tcp_questions, 1);
	free_world(w);
}

static void
one_late_family_does_not_hold_up_the_other(void **state)
{
	static const struct fact f[] = {{"half.test", DNS_A, "addr", "10.0.0.3", 60}, {"half.test", DNS_AAAA, "silent", NULL, 0}};
	struct world *w = WORLD(f, NULL, NULL);
	int64_t begun = clock_mono_ms();

	(void)state;
	assert_string_equal(look_up(w, "half.test"), "10.0.0.3");
	assert_true(clock_mono_ms() - begun < 900);
	free_world(w);
}

static void
forged_answers_are_ignored(void **state)
{
	static const struct fact f[] = {{"true.test", DNS_A, "forge", "10.0.0.4", 60}, {"true.test", DNS_AAAA, "nodata", NULL, 60}};
	struct world *w = WORLD(f, NULL, NULL);

	(void)state;
	assert_string_equal(look_up(w, "true.test"), "10.0.0.4");
	free_world(w);
}

static void
failing_and_silent_servers_are_named(void **state)
{
	static const struct fact f[] = {{"sf.test", 0, "servfail", NULL, 0}, {"quiet.test", 0, "silent", NULL, 0}};
	struct world *w = WORLD(f, NULL, NULL);
	char want[200];

	(void)state;
	snprintf(want, sizeof(want), "sf.test: name server 127.0.0.1:%u failed (SERVFAIL)", (unsigned)w->server.port);
	assert_string_equal(look_up(w, "sf.test"), want);
	assert_int_equal(w->e.code, ERR_UNAVAILABLE);
	snprintf(want, sizeof(want), "quiet.test: no answer from name server 127.0.0.1:%u in 1 s", (unsigned)w->server.port);
	assert_string_equal(look_up(w, "quiet.test"), want);
	assert_int_equal(w->e.code, ERR_DEADLINE_EXCEEDED);
	assert_int_equal(dns_cache_count(w->dns), 0);
	free_world(w);
}

static void
the_next_server_is_asked_when_the_first_does_not_listen(void **state)
{
	static const struct fact f[] = {{"b.test", DNS_A, "addr", "10.0.0.5", 60}, {"b.test", DNS_AAAA, "nodata", NULL, 60}};
	struct world *w = WORLD(f, "nameserver 127.0.0.2\nnameserver 127.0.0.1\noptions timeout:1\n", NULL);

	(void)state;
	assert_string_equal(look_up(w, "b.test"), "10.0.0.5");
	free_world(w);
}

static void
short_names_go_through_the_search_list(void **state)
{
	static const struct fact f[] = {
		{"svc.two.test", DNS_A, "addr", "10.0.0.6", 60}, {"svc.two.test", DNS_AAAA, "nodata", NULL, 60}, {"a.b", DNS_A, "addr", "10.0.0.8", 60},
		{"a.b", DNS_AAAA, "nodata", NULL, 60}, {"x.y.two.test", DNS_A, "addr", "10.0.0.10", 60}, {"x.y.two.test", DNS_AAAA, "nodata", NULL, 60},
	};
	struct world *w = WORLD(f, "nameserver 127.0.0.1\nsearch one.test two.test\noptions ndots:1\n", NULL);

	(void)state;
	assert_string_equal(look_up(w, "svc"), "10.0.0.6");
	/* svc.one.test was asked first. */
	assert_int_equal(w->server.questions, 4);
	assert_string_equal(look_up(w, "a.b"), "10.0.0.8");
	assert_int_equal(w->server.questions, 6);
	assert_string_equal(look_up(w, "x.y"), "10.0.0.10");
	assert_string_equal(look_up(w, "svc."), "no such host: svc.");
	free_world(w);
}

static void
names_that_are_none_are_refused(void **state)
{
	static const char *const bad[] = {"", ".", "a..b", ".a", "a b", "a/b", "a%41", "\xc3\xa4", "1.2.3.4.5:80"};
	static const struct fact f[] = {{"x", 0, "silent", NULL, 0}};
	struct world *w = WORLD(f, NULL, NULL);
	char name[300];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		look_up(w, bad[i]);
		assert_int_equal(w->n, 0);
		assert_int_equal(w->e.code, ERR_INVALID_ARGUMENT);
	}
	memset(name, 'a', sizeof(name));
	name[63] = '\0';
	assert_true(dns_name_is_valid(name));
	name[63] = 'a';
	name[64] = '\0';
	assert_false(dns_name_is_valid(name));
	for (size_t i = 0; i < 253; i++)
		name[i] = i % 50 == 49 ? '.' : 'a';
	name[253] = '\0';
	assert_true(dns_name_is_valid(name));
	name[253] = 'a';
	name[254] = '\0';
	assert_false(dns_name_is_valid(name));
	free_world(w);
}

static void
many_lookups_of_one_name_ask_once(void **state)
{
	static const struct fact f[] = {{"c.test", DNS_A, "addr", "10.0.0.1", 60}, {"c.test", DNS_AAAA, "nodata", NULL, 60}};
	struct world *w = WORLD(f, NULL, NULL);
	struct dns_lookup *gone;

	(void)state;
	for (int i = 0; i < 10; i++)
		dns_lookup(w->dns, "c.test", on_answer, w);
	gone = dns_lookup(w->dns, "c.test", on_answer, w);
	dns_cancel(gone);
	while (w->answers < 10)
		loop_turn(w->loop, 100);
	loop_turn(w->loop, 0);
	assert_int_equal(w->answers, 10);
	assert_int_equal(w->server.questions, 2);
	free_world(w);
}

static void
lookups_and_names_have_limits(void **state)
{
	static const struct fact f[] = {{"x", 0, "silent", NULL, 0}};
	struct world *w = WORLD(f, NULL, NULL);
	char name[32];

	(void)state;
	for (int i = 0; i < 256; i++) {
		snprintf(name, sizeof(name), "n%d.test", i);
		dns_lookup(w->dns, name, on_answer, w);
	}
	look_up(w, "one-more.test");
	assert_int_equal(w->e.code, ERR_RESOURCE_EXHAUSTED);
	free_world(w);
}

static void
freeing_the_resolver_ends_lookups_silently(void **state)
{
	static const struct fact f[] = {{"x", 0, "silent", NULL, 0}};
	struct world *w = WORLD(f, NULL, NULL);

	(void)state;
	dns_lookup(w->dns, "q.test", on_answer, w);
	dns_lookup(w->dns, "127.0.0.1", on_answer, w);
	loop_turn(w->loop, 0);
	free_world(w);
}

static void
resolv_conf_is_read_as_the_c_library_does(void **state)
{
	struct dns_conf c;

	(void)state;
	dns_conf_parse(&c, slice_str("; c\nnameserver  1.1.1.1 \r\nnameserver fd00::1\nnameserver bad\nnameserver 3.3.3.3\nnameserver 4.4.4.4\n"
	    "domain d.test\nsearch a.test b.test.\noptions ndots:99 timeout:99 attempts:99 rotate"), 53);
	assert_int_equal(c.n_servers, 3);
	assert_int_equal(addr_port(&c.servers[0]), 53);
	assert_int_equal(c.n_search, 2);
	assert_string_equal(c.search[1], "b.test");
	assert_int_equal(c.ndots, DNS_NDOTS_MAX);
	assert_int_equal(c.timeout_s, DNS_TIMEOUT_MAX_S);
	assert_int_equal(c.attempts, DNS_ATTEMPTS_MAX);
	dns_conf_parse(&c, slice_make(NULL, 0), 53);
	assert_int_equal(c.n_servers, 1);
	assert_true(addr_is_loopback(&c.servers[0]));
	assert_int_equal(c.timeout_s, 5);
}

static void
an_answer_cut_anywhere_is_no_answer(void **state)
{
	static const struct fact f[] = {{"a.test", DNS_A, "addr", "10.0.0.1", 60}};
	struct server s = {.facts = f, .n_facts = 1};
	uint8_t q[DNS_QUERY_MAX];
	struct buf out = BUF_INIT;
	struct dns_answer a;

	(void)state;
	assert_int_equal(dns_query_write(q, 0x1234, "a.test", DNS_A), 24);
	make_answer(&s, q, false, &out);
	for (size_t n = 0; n < out.len; n++) {
		uint8_t *cut = xmalloc(n);

		memcpy(cut, buf_data(&out), n);
		assert_int_equal(dns_answer_read(&a, slice_make(cut, n), 0x1234, "a.test", DNS_A), -1);
		free(cut);
	}
	assert_int_equal(dns_answer_read(&a, buf_slice(&out), 0x1234, "A.TEST.", DNS_A), 0);
	assert_int_equal(a.n, 1);
	assert_int_equal(a.ttl_s, 60);
	assert_int_equal(dns_answer_read(&a, buf_slice(&out), 0x1235, "a.test", DNS_A), -1);
	assert_int_equal(dns_answer_read(&a, buf_slice(&out), 0x1234, "b.test", DNS_A), -1);
	assert_int_equal(dns_answer_read(&a, buf_slice(&out), 0x1234, "a.test", DNS_AAAA), -1);
	/* A question is no answer; a name that points at itself never ends. */
	assert_int_equal(dns_answer_read(&a, slice_make(q, 24), 0x1234, "a.test", DNS_A), -1);
	buf_data(&out)[12] = 0xc0;
	buf_data(&out)[13] = 12;
	assert_int_equal(dns_answer_read(&a, buf_slice(&out), 0x1234, "a.test", DNS_A), -1);
	buf_free(&out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_families_are_asked_and_alternate),
		cmocka_unit_test(literals_hosts_and_localhost_need_no_server),
		cmocka_unit_test(no_such_name_is_not_found_and_kept),
		cmocka_unit_test(aliases_are_followed_inside_and_across_answers),
		cmocka_unit_test(a_cut_answer_is_asked_for_over_tcp),
		cmocka_unit_test(one_late_family_does_not_hold_up_the_other),
		cmocka_unit_test(forged_answers_are_ignored),
		cmocka_unit_test(failing_and_silent_servers_are_named),
		cmocka_unit_test(the_next_server_is_asked_when_the_first_does_not_listen),
		cmocka_unit_test(short_names_go_through_the_search_list),
		cmocka_unit_test(names_that_are_none_are_refused),
		cmocka_unit_test(many_lookups_of_one_name_ask_once),
		cmocka_unit_test(lookups_and_names_have_limits),
		cmocka_unit_test(freeing_the_resolver_ends_lookups_silently),
		cmocka_unit_test(resolv_conf_is_read_as_the_c_library_does),
		cmocka_unit_test(an_answer_cut_anywhere_is_no_answer),
	};

	return cmocka_run_group_tests_name("dns", tests, NULL, NULL);
}
