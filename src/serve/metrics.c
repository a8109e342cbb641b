#include "serve/metrics.h"

#include <stdio.h>
#include <sys/resource.h>
#include <sys/utsname.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/rpc_server.h"
#include "peer/engine.h"
#include "peer/task.h"
#include "scheduler/scheduler.h"
#include "serve/adaptive.h"
#include "serve/admission.h"
#include "serve/callers.h"
#include "serve/daemon.h"
#include "serve/local.h"
#include "serve/metrics_backend.h"
#include "serve/os/process.h"
#include "serve/piece.h"
#include "serve/proxy.h"
#include "store/store.h"

#define C "dragonfly_client_"
#define X "dragonfly_client_x_"

static const char *const traffic_names[] = {"BACK_TO_SOURCE", "REMOTE_PEER", "LOCAL_PEER"};

static const uint64_t *
duration_bounds(void)
{
	static const uint64_t bounds[STATS_BUCKETS - 1] = {
		1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288, 1048576,
		2097152, 4194304, 8388608,
	};

	return bounds;
}

static void
duration(struct metrics_text *t, const struct stats_histogram *h, const struct metrics_label *labels, size_t n)
{
	metrics_histogram(t, duration_bounds(), h->counts, STATS_BUCKETS, h->sum_ms, labels, n);
}

static bool
has_any(const struct stats_histogram *h)
{
	for (size_t i = 0; i < STATS_BUCKETS; i++)
		if (h->counts[i] > 0)
			return true;
	return false;
}

/* ---- downloads ---- */

/* Types of tasks, as labels. */
static const char *const type_names[STORE_KINDS] = {"0", "1", "2"};

static void
samples_of_kind(struct metrics_text *t, const struct stats_labels *l, const char *type, size_t at)
{
	const struct stats_pair *p;
	size_t walk = 0;

	while ((p = stats_labels_next(l, &walk)) != NULL) {
		for (unsigned i = 0; i < STATS_PRIORITIES; i++) {
			const struct stats_series *s = &p->of[i];
			char priority[12];

			if (s->started == 0 && s->prefetch_started == 0)
				continue;
			snprintf(priority, sizeof priority, "%u", i);
			metrics_sample(t, *(const uint64_t *)(const void *)((const char *)s + at), (const struct metrics_label[]){
				{"app", p->application}, {"priority", priority}, {"tag", p->tag}, {"type", type}}, 4);
		}
	}
}

/* One family of downloads by their labels; `at` is where the number lies in a series. */
static void
by_labels(struct metrics_text *t, const struct stats_labels *l, enum metrics_kind kind, const char *name, const char *help, size_t at)
{
	metrics_family(t, kind, name, help, false);
	for (unsigned i = 0; i < STORE_KINDS; i++)
		samples_of_kind(t, &l[i], type_names[i], at);
}

static void
downloads(struct metrics_text *t, const struct engine *g)
{
	const struct engine_metrics *m = &g->metrics;

	by_labels(t, g->labels, METRICS_COUNTER, C "download_task_total", "Downloads that were prepared.", offsetof(struct stats_series, started));
	by_labels(t, g->labels, METRICS_COUNTER, C "download_task_failure_total", "Downloads that failed.", offsetof(struct stats_series, failed));
	by_labels(t, g->labels, METRICS_GAUGE, C "concurrent_download_task_total", "Downloads under way.", offsetof(struct stats_series, running));
	by_labels(t, g->labels, METRICS_COUNTER, C "prefetch_task_total", "Prefetches of whole tasks.",
	    offsetof(struct stats_series, prefetch_started));
	by_labels(t, g->labels, METRICS_COUNTER, C "prefetch_task_failure_total", "Prefetches that failed.",
	    offsetof(struct stats_series, prefetch_failed));
	metrics_family(t, METRICS_COUNTER, C "download_task_blocked_total", "Downloads that a block list refused.", true);
	for (unsigned i = 0; i < STORE_KINDS; i++)
		if (i == STORE_STANDARD || m->download_blocked[i] > 0)
			metrics_sample1(t, m->download_blocked[i], "type", type_names[i]);
	if (m->upload_blocked[STORE_PERSISTENT] + m->upload_blocked[STORE_PERSISTENT_CACHE] > 0) {
		metrics_family(t, METRICS_COUNTER, C "upload_task_blocked_total", "Uploads that a block list refused.", true);
		for (unsigned i = STORE_PERSISTENT; i < STORE_KINDS; i++)
			metrics_sample1(t, m->upload_blocked[i], "type", type_names[i]);
	}
	metrics_family(t, METRICS_HISTOGRAM, C "download_task_duration_milliseconds", "Time of successful downloads.", false);
	for (unsigned i = 0; i < STORE_KINDS * STATS_SIZE_LEVELS; i++) {
		const struct stats_histogram *h = &m->download_duration[i / STATS_SIZE_LEVELS][i % STATS_SIZE_LEVELS];
		char level[12];

		snprintf(level, sizeof level, "%u", i % STATS_SIZE_LEVELS);
		if (has_any(h))
			duration(t, h, (const struct metrics_label[]){
				{"task_size_level", level}, {"task_type", type_names[i / STATS_SIZE_LEVELS]}}, 2);
	}
	metrics_family(t, METRICS_COUNTER, C "download_traffic", "Bytes of pieces by where they came from.", false);
	for (unsigned i = 0; i < COUNT_OF(traffic_names); i++)
		metrics_sample1(t, m->bytes[i], "type", traffic_names[i]);
	metrics_family(t, METRICS_HISTOGRAM, C "download_piece_duration_milliseconds", "Time of pieces by where they came from.", false);
	for (unsigned i = 0; i < COUNT_OF(traffic_names); i++)
		if (has_any(&m->piece_duration[i]))
			duration(t, &m->piece_duration[i], (const struct metrics_label[]){{"type", traffic_names[i]}}, 1);
}

static void
own_downloads(struct metrics_text *t, const struct engine *g)
{
	const struct engine_metrics *m = &g->metrics;

	metrics_family(t, METRICS_COUNTER, X "parent_bytes_total", "Bytes of pieces from parents: seed peers and other peers.", false);
	metrics_sample1(t, m->bytes[TASK_REMOTE_PEER] - m->seed_bytes, "kind", "peer");
	metrics_sample1(t, m->seed_bytes, "kind", "seed");
	metrics_family(t, METRICS_COUNTER, X "pieces_total", "Pieces by where they came from.", false);
	for (unsigned i = 0; i < COUNT_OF(traffic_names); i++)
		metrics_sample1(t, m->pieces[i], "type", traffic_names[i]);
	metrics_one(t, METRICS_COUNTER, X "parent_failed_total", "Transfers from parents that failed.", m->piece_failed);
	metrics_one(t, METRICS_COUNTER, X "parent_lied_total", "Transfers from parents with wrong bytes.", m->parent_lied);
	metrics_one(t, METRICS_COUNTER, X "register_failed_total", "Conversations with schedulers that ended in an error.", m->register_failed);
	metrics_one(t, METRICS_GAUGE, X "tasks_active", "Tasks that somebody wants now.", g->tasks.count);
}

/* ---- uploads, origins, calls ---- */

static void
uploads(struct metrics_text *t, const struct piece_server *s)
{
	struct piece_server_metrics m;

	piece_server_metrics(s, &m);
	metrics_one(t, METRICS_COUNTER, C "upload_traffic", "Bytes of pieces sent to children.", m.bytes);
	metrics_one(t, METRICS_GAUGE, C "concurrent_upload_piece_total", "Piece requests being served.", m.active + m.waiting);
	metrics_family(t, METRICS_COUNTER, X "upload_pieces_total", "Pieces asked for by children, by how it ended.", false);
	metrics_sample1(t, m.failed, "result", "failed");
	metrics_sample1(t, m.finished, "result", "finished");
	metrics_sample1(t, m.refused, "result", "refused");
	metrics_one(t, METRICS_GAUGE, X "upload_connections", "Connections of children to the piece server.", m.connections);
	metrics_one(t, METRICS_GAUGE, X "upload_active", "Pieces being sent.", m.active);
	metrics_one(t, METRICS_GAUGE, X "upload_waiting", "Piece requests that wait for their turn.", m.waiting);
}

static uint64_t
load(atomic_uint_fast64_t *v)
{
	return atomic_load_explicit(v, memory_order_relaxed);
}

/* which: 0 started, 1 failed, 2 durations. */
static void
backend_family(struct metrics_text *t, struct metrics_backend *b, int which)
{
	for (unsigned i = 0; i < METRICS_SCHEMES; i++) {
		for (unsigned j = 0; j < METRICS_METHODS; j++) {
			struct metrics_backend_row *r = &b->rows[i][j];
			const struct metrics_label labels[] = {{"method", metrics_methods[j]}, {"scheme", metrics_schemes[i]}};
			struct stats_histogram h = {.sum_ms = load(&r->sum_ms)};

			if (load(&r->started) == 0)
				continue;
			for (unsigned k = 0; k < STATS_BUCKETS; k++)
				h.counts[k] = load(&r->buckets[k]);
			if (which < 2)
				metrics_sample(t, load(which == 0 ? &r->started : &r->failed), labels, 2);
			else if (has_any(&h))
				duration(t, &h, labels, 2);
		}
	}
}

static void
backends(struct metrics_text *t, struct metrics_backend *b)
{
	metrics_family(t, METRICS_COUNTER, C "backend_request_total", "Requests to origins.", false);
	backend_family(t, b, 0);
	metrics_family(t, METRICS_COUNTER, C "backend_request_failure_total", "Requests to origins that failed.", false);
	backend_family(t, b, 1);
	metrics_family(t, METRICS_HISTOGRAM, C "backend_request_duration_milliseconds", "Time until the origin's headers.", false);
	backend_family(t, b, 2);
}

/* Calls about kinds that have never been asked for are not shown. */
static void
samples_of_calls(struct metrics_text *t, const struct local_counts *c, unsigned rpc, bool is_failure, bool has_type)
{
	for (unsigned i = 0; i < STORE_KINDS; i++) {
		const struct metrics_label type = {"type", type_names[i]};

		if (i == STORE_STANDARD ? rpc < LOCAL_UPLOAD_TASK : c->calls[i][rpc] > 0)
			metrics_sample(t, is_failure ? c->failures[i][rpc] : c->calls[i][rpc], &type, has_type ? 1 : 0);
	}
}

#define CALL(total, failure, rpc, has_type) \
	{C total "_total", C failure "_failure_total", "Calls of " rpc ".", "Calls of " rpc " that failed.", has_type}

static void
calls(struct metrics_text *t, const struct local_counts *c)
{
	static const struct {
		const char *total, *failure, *help, *failure_help;
		bool has_type;
	} families[LOCAL_RPCS] = {
		[LOCAL_STAT_TASK] = CALL("stat_task", "stat_task", "StatTask", true),
		[LOCAL_STAT_LOCAL_TASK] = CALL("stat_local_task", "stat_local_task", "StatLocalTask", true),
		[LOCAL_LIST_LOCAL_TASKS] = CALL("list_local_tasks", "list_tasks", "ListLocalTasks", true),
		[LOCAL_LIST_TASK_ENTRIES] = CALL("list_task_entries", "list_task_entries", "ListTaskEntries", true),
		[LOCAL_DELETE_TASK] = CALL("delete_task", "delete_task", "DeleteTask", true),
		[LOCAL_DELETE_LOCAL_TASK] = CALL("delete_local_task", "delete_local_task", "DeleteLocalTask", true),
		[LOCAL_DELETE_HOST] = CALL("delete_host", "delete_host", "DeleteHost", false),
		[LOCAL_UPLOAD_TASK] = CALL("upload_task", "upload_task", "UploadPersistentCacheTask and its like", true),
		[LOCAL_UPDATE_TASK] = CALL("update_task", "update_task", "UpdatePersistentCacheTask and its like", true),
	};

	for (unsigned i = 0; i < LOCAL_RPCS; i++) {
		metrics_family(t, METRICS_COUNTER, families[i].total, families[i].help, false);
		samples_of_calls(t, c, i, false, families[i].has_type);
		metrics_family(t, METRICS_COUNTER, families[i].failure, families[i].failure_help, false);
		samples_of_calls(t, c, i, true, families[i].has_type);
	}
}

/* ---- servers, disk, log, process ---- */

static void
servers(struct metrics_text *t, const struct daemon_parts *p)
{
	struct rpc_server_counts download, upload;
	struct piece_server_metrics pieces;

	rpc_server_counts(p->download_rpc, &download);
	rpc_server_counts(p->upload_rpc, &upload);
	piece_server_metrics(p->pieces, &pieces);
	metrics_family(t, METRICS_COUNTER, X "rpc_calls_total", "gRPC calls.", false);
	metrics_sample1(t, download.calls, "server", "download");
	metrics_sample1(t, upload.calls, "server", "upload");
	metrics_family(t, METRICS_GAUGE, X "rpc_streams", "gRPC calls under way.", false);
	metrics_sample1(t, download.streams, "server", "download");
	metrics_sample1(t, upload.streams, "server", "upload");
	metrics_family(t, METRICS_GAUGE, X "rpc_connections", "gRPC connections.", false);
	metrics_sample1(t, download.connections, "server", "download");
	metrics_sample1(t, upload.connections, "server", "upload");
	metrics_family(t, METRICS_COUNTER, X "limited_total", "Connections and calls that a limit refused.", false);
	metrics_sample1(t, download.limited, "what", "download");
	metrics_sample1(t, upload.limited, "what", "upload");
	metrics_sample1(t, pieces.turned_away, "what", "pieces");
	if (p->proxy != NULL)
		metrics_sample1(t, atomic_load_explicit(&proxy_counts(p->proxy)->turned_away, memory_order_relaxed), "what", "proxy");
	metrics_one(t, METRICS_COUNTER, X "orders_refused_total", "Calls of the upload port that x.upload.control refused.", p->callers->refused);
	metrics_family(t, METRICS_COUNTER, X "rate_limited_total", "Calls that the request rate refused.", false);
	metrics_sample1(t, p->download_admission->refused, "server", "download");
	metrics_sample1(t, p->upload_admission->refused, "server", "upload");
	metrics_family(t, METRICS_COUNTER, X "shed_total", "Calls shed under load.", false);
	if (p->download_admission->adaptive != NULL)
		metrics_sample1(t, p->download_admission->adaptive->shed, "server", "download");
	if (p->upload_admission->adaptive != NULL)
		metrics_sample1(t, p->upload_admission->adaptive->shed, "server", "upload");
}

static void
disk(struct metrics_text *t, struct store *store)
{
	struct store_usage u;

	if (store_usage(store, &u, NULL) < 0)
		return;
	metrics_one(t, METRICS_GAUGE, C "disk_space_total", "Bytes that storage may take.", u.total);
	metrics_one(t, METRICS_GAUGE, C "disk_usage_space_total", "Bytes of it that are taken.", u.total > u.available ? u.total - u.available : 0);
	metrics_one(t, METRICS_GAUGE, X "storage_content_bytes", "Bytes of all content files on disk.", u.used);
	metrics_one(t, METRICS_GAUGE, X "storage_reserved_bytes", "Bytes promised to running downloads.", u.reserved);
	metrics_family(t, METRICS_GAUGE, X "storage_tasks", "Tasks in storage.", false);
	for (unsigned i = 0; i < STORE_KINDS; i++)
		metrics_sample1(t, u.tasks[i], "type", type_names[i]);
	metrics_one(t, METRICS_GAUGE, X "storage_jobs", "Storage work on data loops.", store_jobs_running(store));
}

static void
bytes_by_kind(struct metrics_text *t, struct store *store)
{
	metrics_family(t, METRICS_GAUGE, X "storage_bytes", "Bytes of content on disk by kind of task.", false);
	for (unsigned i = 0; i < STORE_KINDS; i++) {
		struct store_task *task;
		uint64_t sum = 0;
		size_t at = 0;

		while ((task = store_task_next(store, (enum store_kind)i, &at)) != NULL)
			sum += task->disk_bytes;
		metrics_sample1(t, sum, "type", type_names[i]);
	}
}

static void
version(struct metrics_text *t)
{
	struct utsname u;
	bool is_known = uname(&u) >= 0;

	metrics_family(t, METRICS_GAUGE, C "version", "Version of this program.", false);
	metrics_sample(t, 1, (const struct metrics_label[]){{"build_time", ""}, {"git_commit", ""}, {"git_version", DRAGONFLY_VERSION},
		{"platform", is_known ? u.machine : ""}}, 4);
}

static void
process(struct metrics_text *t, const struct daemon_parts *p)
{
	struct process_facts f;
	struct rusage used;
	struct rlimit files;

	process_facts(&f);
	if (getrusage(RUSAGE_SELF, &used) == 0)
		metrics_one(t, METRICS_COUNTER, "process_cpu_seconds_total", "CPU time used.",
		    (uint64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
		    (uint64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1000000);
	metrics_one(t, METRICS_GAUGE, "process_open_fds", "Open descriptors.", f.open_fds);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0)
		metrics_one(t, METRICS_GAUGE, "process_max_fds", "Descriptors that may be open.", (uint64_t)files.rlim_cur);
	metrics_one(t, METRICS_GAUGE, "process_virtual_memory_bytes", "Virtual memory.", f.virtual_bytes);
	metrics_one(t, METRICS_GAUGE, "process_resident_memory_bytes", "Resident memory.", f.resident_bytes);
	metrics_one(t, METRICS_GAUGE, "process_start_time_seconds", "Start of the process, Unix time.",
	    (uint64_t)(clock_wall_ms() - (clock_mono_ms() - p->started_ms)) / 1000);
	metrics_one(t, METRICS_GAUGE, "process_threads", "Threads.", f.threads);
}

static void
logged(struct metrics_text *t)
{
	struct log_counts n;

	log_get_counts(&n);
	metrics_family(t, METRICS_COUNTER, X "log_lines_total", "Lines logged.", false);
	metrics_sample1(t, n.errors, "level", "error");
	metrics_sample1(t, n.warnings, "level", "warn");
}

/* ---- the page ---- */

static void
gather(const struct daemon_parts *p, struct metrics_text *t)
{
	version(t);
	downloads(t, p->engine);
	own_downloads(t, p->engine);
	uploads(t, p->pieces);
	backends(t, p->backend);
	calls(t, p->counts);
	servers(t, p);
	disk(t, p->store);
	bytes_by_kind(t, p->store);
	logged(t);
	if (p->proxy != NULL)
		metrics_of_proxy(t, p->proxy);
	if (p->scheduler != NULL)
		metrics_of_scheduler(t, p->scheduler);
}

void
metrics_write(const struct daemon_parts *p, struct metrics_base *base, struct buf *out)
{
	struct metrics_text t;

	metrics_text_init(&t, base, false);
	gather(p, &t);
	metrics_text_write(&t, out);
	metrics_text_free(&t);
	/* The process's families are a sorted block of their own. */
	metrics_text_init(&t, NULL, false);
	process(&t, p);
	metrics_text_write(&t, out);
	metrics_text_free(&t);
}

void
metrics_reset(const struct daemon_parts *p, struct metrics_base *base)
{
	struct metrics_text t;

	metrics_text_init(&t, base, true);
	gather(p, &t);
	metrics_text_free(&t);
}
