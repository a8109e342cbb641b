/*
 * Load on the embedded scheduler: announces hosts, then runs peers through register, decision, four piece reports and the end,
 * over several connections. The scheduler runs in a child process of its own, so that its processor time and memory are its own.
 *   sched_load [-H hosts] [-n peers] [-t tasks] [-c connections] [-w window] [-l peers for latency] [-o peers kept open]
 * Prints decisions a second, processor time of the scheduler a decision, latency of answers at low load, and memory.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/addr.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/rpc_client.h"
#include "net/rpc_server.h"
#include "proto/common.h"
#include "proto/google.h"
#include "proto/scheduler.h"
#include "scheduler/scheduler.h"
#include "wire/pb.h"

#define PIECES_REPORTED 4
#define PIECE_LENGTH ((uint64_t)4194304)
#define PIECE_COUNT 256
#define STREAMS_PER_CONNECTION 200
#define DECODE_BYTES (1u << 20)
#define PHASE_MS 600000

/* ---- the scheduler's process ---- */

struct report {
	double cpu_seconds;
	long rss_kib;
	long peak_kib;
	uint64_t hosts, tasks, peers, succeeded, streams, edges, estimate;
};

struct served {
	struct loop *loop;
	struct rpc_server *server;
	struct scheduler *scheduler;
	struct loop_io control;
	int fd;
};

static void
on_accept(void *ctx, int fd, const struct addr *peer)
{
	struct served *v = ctx;

	(void)peer;
	rpc_server_serve(v->server, fd, NULL, slice_make(NULL, 0));
}

/* Resident memory now, where the system tells; else 0. */
static long
resident_kib(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	long pages = 0, total = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%ld %ld", &total, &pages) != 2)
		pages = 0;
	fclose(f);
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* A byte asks for a report; the end of the pipe ends the process. */
static void
on_control(struct loop_io *io, unsigned ready)
{
	struct served *v = CONTAINER_OF(io, struct served, control);
	struct scheduler_metrics m;
	struct report r = { 0 };
	struct rusage u;
	char c;

	(void)ready;
	if (read(v->fd, &c, 1) != 1) {
		loop_stop(v->loop);
		loop_io_clear(v->loop, io);
		return;
	}
	getrusage(RUSAGE_SELF, &u);
	scheduler_metrics(v->scheduler, &m);
	r.cpu_seconds = (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
	r.peak_kib = u.ru_maxrss;
	r.rss_kib = resident_kib();
	r.hosts = m.hosts;
	r.tasks = m.tasks;
	r.streams = m.concurrent_schedule;
	r.edges = m.edges;
	r.estimate = m.memory_estimate;
	for (unsigned i = 0; i < SCHEDULER_PEER_STATES; i++)
		r.peers += m.peers[i];
	r.succeeded = m.peers[5];
	if (write(v->fd, &r, sizeof r) != (ssize_t)sizeof r)
		loop_stop(v->loop);
}

static int
serve(int fd)
{
	struct rpc_server_opts opts = { .name = "scheduler", .connections_max = 65536, .per_ip_max = 65536 };
	struct scheduler_options o;
	struct listener *l;
	struct served v = { 0 };
	struct addr a;
	struct err e = { 0 };
	uint16_t port;

	log_set_level(LOG_WARN);
	scheduler_options_default(&o);
	v.fd = fd;
	v.loop = loop_new("scheduler", &e);
	v.server = v.loop ? rpc_server_new(v.loop, &opts) : NULL;
	v.scheduler = v.server ? scheduler_new(v.loop, &o, &e) : NULL;
	if (!v.scheduler || addr_from_ip(&a, slice_str("127.0.0.1"), 0) < 0)
		goto fail;
	scheduler_serve(v.scheduler, v.server);
	l = listener_tcp(v.loop, &a, on_accept, &v, &e);
	if (!l)
		goto fail;
	port = addr_port(listener_addr(l));
	if (write(fd, &port, sizeof port) != (ssize_t)sizeof port)
		goto fail;
	loop_io_set(v.loop, &v.control, fd, LOOP_READ, on_control);
	loop_run(v.loop);
	listener_free(l);
	rpc_server_free(v.server);
	scheduler_free(v.scheduler);
	loop_free(v.loop);
	return 0;
fail:
	fprintf(stderr, "sched_load: scheduler: %s\n", e.text);
	return 1;
}

/* ---- the peers ---- */

struct load {
	struct loop *loop;
	int fd;
	struct rpc_channel **channels;
	unsigned n_channels;
	unsigned n_hosts, n_tasks;
	unsigned next, total;           /* peers begun, to begin */
	unsigned running, window;
	unsigned done, failed;
	unsigned normal, source;
	bool keep_open;
	bool is_over;
	double *latencies_ms;
	unsigned n_latencies;
	unsigned run;                   /* makes peer ids of this run its own */
	uint64_t parents;
};

struct peer {
	struct load *load;
	struct rpc_call *call;
	unsigned number;
	char host_id[64], task_id[72], peer_id[128];
	int64_t asked_ns;
	bool is_answered;
	bool is_ended;
};

static void begin_more(struct load *l);

static void
send_request(struct peer *p, struct scheduler_announce_peer_request *m)
{
	m->host_id = slice_str(p->host_id);
	m->task_id = slice_str(p->task_id);
	m->peer_id = slice_str(p->peer_id);
	rpc_call_send(p->call, &scheduler_announce_peer_request_desc, m, NULL);
}

static void
report_pieces(struct peer *p, struct slice parent)
{
	static struct scheduler_download_peer_started_request started;
	static struct scheduler_download_peer_back_to_source_started_request source_started;
	static struct scheduler_download_peer_finished_request finished;
	static struct scheduler_download_peer_back_to_source_finished_request source_finished;
	struct scheduler_announce_peer_request m = { 0 };
	struct google_duration cost = { 0, 40000000 };
	struct google_timestamp at = { 1767225600, 0 };
	struct common_piece piece = { 0 };
	struct scheduler_download_piece_finished_request piece_finished = { &piece };
	struct scheduler_download_piece_back_to_source_finished_request source_piece = { &piece };
	bool is_source = parent.n == 0;

	if (is_source) {
		m.request_case = SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PEER_BACK_TO_SOURCE_STARTED_REQUEST;
		m.download_peer_back_to_source_started_request = &source_started;
	} else {
		m.request_case = SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PEER_STARTED_REQUEST;
		m.download_peer_started_request = &started;
	}
	send_request(p, &m);
	piece.length = PIECE_LENGTH;
	piece.digest = slice_str("crc32:3421780262");
	piece.parent_id = parent;
	piece.has_traffic_type = true;
	piece.traffic_type = is_source ? 0 : 1;
	piece.cost = &cost;
	piece.created_at = &at;
	for (uint32_t i = 0; i < PIECES_REPORTED; i++) {
		piece.number = (p->number + i * 61) % PIECE_COUNT;
		piece.offset = piece.number * PIECE_LENGTH;
		if (is_source) {
			m.request_case = SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PIECE_BACK_TO_SOURCE_FINISHED_REQUEST;
			m.download_piece_back_to_source_finished_request = &source_piece;
		} else {
			m.request_case = SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PIECE_FINISHED_REQUEST;
			m.download_piece_finished_request = &piece_finished;
		}
		send_request(p, &m);
	}
	if (p->load->keep_open)
		return;
	if (is_source) {
		m.request_case = SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PEER_BACK_TO_SOURCE_FINISHED_REQUEST;
		m.download_peer_back_to_source_finished_request = &source_finished;
	} else {
		m.request_case = SCHEDULER_ANNOUNCE_PEER_REQUEST_DOWNLOAD_PEER_FINISHED_REQUEST;
		m.download_peer_finished_request = &finished;
	}
	send_request(p, &m);
	rpc_call_half_close(p->call);
}

static void
peer_over(struct peer *p, bool is_good)
{
	struct load *l = p->load;

	l->running--;
	l->done++;
	l->failed += !is_good;
	begin_more(l);
	if (l->done == l->total)
		l->is_over = true;
}

static void
on_message(struct rpc_call *call, void *ctx, struct slice bytes)
{
	struct peer *p = ctx;
	struct load *l = p->load;
	struct scheduler_announce_peer_response m;
	struct slice parent = { 0 };
	struct arena arena;

	(void)call;
	if (p->is_answered)
		return;
	p->is_answered = true;
	if (l->latencies_ms)
		l->latencies_ms[l->n_latencies++] = (double)(clock_mono_ns() - p->asked_ns) / 1e6;
	arena_init(&arena, DECODE_BYTES);
	if (pb_decode(&scheduler_announce_peer_response_desc, bytes, &arena, &m, NULL) == 0 &&
		m.response_case == SCHEDULER_ANNOUNCE_PEER_RESPONSE_NORMAL_TASK_RESPONSE) {
		parent = m.normal_task_response->candidate_parents[0].id;
		l->parents += m.normal_task_response->n_candidate_parents;
		l->normal++;
	} else {
		l->source++;
	}
	report_pieces(p, parent);
	arena_free(&arena);
	if (l->keep_open)
		peer_over(p, true);
}

static void
on_end(struct rpc_call *call, void *ctx, const struct rpc_status *st)
{
	struct peer *p = ctx;
	struct load *l = p->load;
	bool keep_open = l->keep_open;

	(void)call;
	if (st->code != 0 && l->failed < 5 && !l->is_over)
		fprintf(stderr, "sched_load: peer %s: %d %s\n", p->peer_id, st->code, st->message);
	if (!keep_open || !p->is_answered)
		peer_over(p, st->code == 0 && p->is_answered);
	free(p);
}

static void
begin_peer(struct load *l)
{
	static const struct rpc_call_events events = { .on_message = on_message, .on_end = on_end };
	struct rpc_call_opts opts = { .headers_ms = -1 };
	struct scheduler_announce_peer_request m = { 0 };
	struct scheduler_register_peer_request r = { 0 };
	struct common_download d = { 0 };
	struct pb_pair header = { slice_str("user-agent"), slice_str("sched_load") };
	struct peer *p = xcalloc(1, sizeof *p);
	unsigned host, n = l->next++;

	p->load = l;
	p->number = n;
	host = n * 7919u % l->n_hosts;
	snprintf(p->host_id, sizeof p->host_id, "10.%u.%u.%u-host-%u", host >> 16 & 255, host >> 8 & 255, host & 255, host);
	snprintf(p->task_id, sizeof p->task_id, "%064x", n % l->n_tasks);
	snprintf(p->peer_id, sizeof p->peer_id, "%s-%08x-0000-4000-8000-%012x", p->host_id, l->run, n);
	p->call = rpc_call_start(l->channels[n % l->n_channels], SCHEDULER_SCHEDULER_ANNOUNCE_PEER, &events, p, &opts);
	d.url = slice_str("https://registry.example.com/v2/library/image/blobs/sha256:0123456789abcdef0123456789abcdef");
	d.priority = 6;
	d.request_header = &header;
	d.n_request_header = 1;
	d.has_concurrent_piece_count = true;
	d.concurrent_piece_count = 8;
	d.has_actual_piece_length = d.has_actual_content_length = d.has_actual_piece_count = true;
	d.actual_piece_length = PIECE_LENGTH;
	d.actual_content_length = PIECE_LENGTH * PIECE_COUNT;
	d.actual_piece_count = PIECE_COUNT;
	r.download = &d;
	m.request_case = SCHEDULER_ANNOUNCE_PEER_REQUEST_REGISTER_PEER_REQUEST;
	m.register_peer_request = &r;
	p->asked_ns = clock_mono_ns();
	send_request(p, &m);
	l->running++;
}

static void
begin_more(struct load *l)
{
	while (l->next < l->total && l->running < l->window)
		begin_peer(l);
}

/* Runs `total` peers, `window` at a time; returns seconds. */
static double
run_peers(struct load *l, unsigned total, unsigned window)
{
	int64_t from = clock_mono_ns();

	l->run++;
	l->next = l->done = l->running = 0;
	l->total = total;
	l->window = window;
	l->is_over = total == 0;
	begin_more(l);
	if (!loop_run_until(l->loop, &l->is_over, PHASE_MS))
		fprintf(stderr, "sched_load: %u of %u peers in time\n", l->done, total);
	return (double)(clock_mono_ns() - from) / 1e9;
}

/* ---- hosts ---- */

static void announce_more(struct load *l);

static void
on_announced(void *ctx, const void *answer, const struct rpc_status *st)
{
	struct load *l = ctx;

	if (!answer) {
		if (l->failed++ < 5)
			fprintf(stderr, "sched_load: announce: %s\n", st->message);
	}
	l->running--;
	l->done++;
	announce_more(l);
	if (l->done == l->n_hosts)
		l->is_over = true;
}

static void
announce_more(struct load *l)
{
	struct scheduler_announce_host_request m = { 0 };
	struct common_network net = { 0 };
	struct common_cpu cpu = { .logical_count = 8, .percent = 12.5 };
	struct common_memory memory = { .total = (uint64_t)16 << 30, .used_percent = 40 };
	struct common_disk disk = { .total = (uint64_t)500 << 30, .used_percent = 30 };
	struct common_build build = { 0 };
	struct google_duration interval = { 300, 0 };
	struct common_host h = { 0 };
	char id[64], name[32], ip[32];

	build.git_version = slice_str("0.1.0");
	net.idc = slice_str("idc-1");
	net.location = slice_str("cn|bj|z1");
	net.max_tx_bandwidth = UINT64_C(10000000000);
	while (l->next < l->n_hosts && l->running < l->window) {
		unsigned n = l->next++;

		snprintf(ip, sizeof ip, "10.%u.%u.%u", n >> 16 & 255, n >> 8 & 255, n & 255);
		snprintf(name, sizeof name, "host-%u", n);
		snprintf(id, sizeof id, "%s-%s", ip, name);
		h.id = slice_str(id);
		h.hostname = slice_str(name);
		h.ip = slice_str(ip);
		h.port = h.download_port = 4000;
		h.os = slice_str("linux");
		h.platform = slice_str("debian");
		h.platform_family = slice_str("debian");
		h.platform_version = slice_str("12");
		h.kernel_version = slice_str("6.1.0");
		h.cpu = &cpu;
		h.memory = &memory;
		h.network = &net;
		h.disk = &disk;
		h.build = &build;
		m.host = &h;
		m.interval = &interval;
		l->running++;
		rpc_unary(l->channels[n % l->n_channels], &scheduler_scheduler_service.methods[SCHEDULER_SCHEDULER_ANNOUNCE_HOST_AT], &m, NULL,
			on_announced, l);
	}
}

static double
announce_hosts(struct load *l, unsigned window)
{
	int64_t from = clock_mono_ns();

	l->next = l->done = l->running = 0;
	l->window = window;
	l->is_over = false;
	announce_more(l);
	loop_run_until(l->loop, &l->is_over, PHASE_MS);
	return (double)(clock_mono_ns() - from) / 1e9;
}

/* ---- reports ---- */

static struct report
ask(const struct load *l)
{
	struct report r = { 0 };

	if (write(l->fd, "r", 1) != 1 || read(l->fd, &r, sizeof r) != (ssize_t)sizeof r)
		fprintf(stderr, "sched_load: no report: %s\n", strerror(errno));
	return r;
}

static int
compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void
open_channels(struct load *l, uint16_t port, unsigned n)
{
	struct rpc_channel_opts o = { 0 };

	addr_from_ip(&o.addr, slice_str("127.0.0.1"), port);
	l->channels = xcalloc(n, sizeof(*l->channels));
	l->n_channels = n;
	for (unsigned i = 0; i < n; i++)
		l->channels[i] = rpc_channel_new(l->loop, &o);
}

static void
close_channels(struct load *l)
{
	l->is_over = true;
	for (unsigned i = 0; i < l->n_channels; i++)
		rpc_channel_free(l->channels[i]);
	free(l->channels);
	l->channels = NULL;
	l->n_channels = 0;
}

static void
measure(struct load *l, uint16_t port, unsigned peers, unsigned connections, unsigned window, unsigned lat, unsigned open_peers)
{
	struct report a, b;
	double s;

	open_channels(l, port, connections);
	s = announce_hosts(l, window);
	a = ask(l);
	printf("hosts      %llu announced in %.2f s, %.0f a second, %ld KiB resident\n", (unsigned long long)a.hosts, s,
		(double)a.hosts / s, a.rss_kib);
	s = run_peers(l, peers, window);
	b = ask(l);
	printf("decisions  %u in %.2f s: %.0f a second over %u connections, %u at a time (%u failed)\n", l->done, s,
		(double)l->done / s, connections, window, l->failed);
	printf("processor  %.1f us a decision with its %d piece reports (scheduler's process)\n",
		(b.cpu_seconds - a.cpu_seconds) * 1e6 / (l->done ? l->done : 1), PIECES_REPORTED);
	printf("answers    %u with parents (%.1f each), %u to the source\n", l->normal,
		l->normal ? (double)l->parents / l->normal : 0, l->source);
	printf("memory     %llu hosts, %llu tasks, %llu peers: %.1f MiB resident, peak %.1f MiB, own estimate %.1f MiB\n",
		(unsigned long long)b.hosts, (unsigned long long)b.tasks, (unsigned long long)b.peers, (double)b.rss_kib / 1024,
		(double)b.peak_kib / 1024, (double)b.estimate / 1048576);
	l->latencies_ms = xcalloc(lat ? lat : 1, sizeof *l->latencies_ms);
	run_peers(l, lat, 8);
	qsort(l->latencies_ms, l->n_latencies, sizeof *l->latencies_ms, compare);
	if (l->n_latencies > 0)
		printf("latency    median %.3f ms, 99 of 100 under %.3f ms, worst %.3f ms (%u answers, 8 at a time)\n",
			l->latencies_ms[l->n_latencies / 2], l->latencies_ms[l->n_latencies * 99 / 100],
			l->latencies_ms[l->n_latencies - 1], l->n_latencies);
	free(l->latencies_ms);
	l->latencies_ms = NULL;
	close_channels(l);
	if (open_peers == 0)
		return;
	open_channels(l, port, (open_peers + STREAMS_PER_CONNECTION - 1) / STREAMS_PER_CONNECTION);
	l->keep_open = true;
	run_peers(l, open_peers, open_peers < 2000 ? open_peers : 2000);
	a = ask(l);
	printf("open       %llu streams over %u connections, %llu edges: %.1f MiB resident\n", (unsigned long long)a.streams, l->n_channels,
		(unsigned long long)a.edges, (double)a.rss_kib / 1024);
	close_channels(l);
}

static unsigned
number(const char *s)
{
	uint64_t v;

	if (slice_to_u64(slice_str(s), &v) < 0 || v > 10000000) {
		fprintf(stderr, "sched_load: not a number: %s\n", s);
		exit(2);
	}
	return (unsigned)v;
}

int
main(int argc, char **argv)
{
	unsigned hosts = 10000, peers = 100000, tasks = 100, connections = 16, window = 512, lat = 5000, open_peers = 0;
	struct load l = { 0 };
	struct err e = { 0 };
	uint16_t port;
	int fds[2], c, status = 0;
	pid_t child;

	while ((c = getopt(argc, argv, "H:n:t:c:w:l:o:")) != -1) {
		switch (c) {
		case 'H': hosts = number(optarg); break;
		case 'n': peers = number(optarg); break;
		case 't': tasks = number(optarg); break;
		case 'c': connections = number(optarg); break;
		case 'w': window = number(optarg); break;
		case 'l': lat = number(optarg); break;
		case 'o': open_peers = number(optarg); break;
		default: return 2;
		}
	}
	if (hosts == 0 || tasks == 0 || connections == 0 || window == 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0) {
		fprintf(stderr, "usage: sched_load [-H hosts] [-n peers] [-t tasks] [-c connections] [-w window] [-l peers] [-o peers]\n");
		return 2;
	}
	child = fork();
	if (child == 0) {
		close(fds[0]);
		_exit(serve(fds[1]));
	}
	close(fds[1]);
	if (child < 0 || read(fds[0], &port, sizeof port) != (ssize_t)sizeof port) {
		fprintf(stderr, "sched_load: the scheduler did not start\n");
		return 1;
	}
	log_set_level(LOG_WARN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	l.fd = fds[0];
	l.n_hosts = hosts;
	l.n_tasks = tasks;
	l.loop = loop_new("load", &e);
	if (!l.loop) {
		fprintf(stderr, "sched_load: %s\n", e.text);
		return 1;
	}
	measure(&l, port, peers, connections, window, lat, open_peers);
	loop_free(l.loop);
	close(fds[0]);
	waitpid(child, &status, 0);
	return status == 0 && l.failed == 0 ? 0 : 1;
}
