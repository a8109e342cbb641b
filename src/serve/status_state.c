#include "serve/status_state.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/mem.h"
#include "cluster/cluster.h"
#include "net/loop.h"
#include "net/rpc_server.h"
#include "peer/collect.h"
#include "peer/engine.h"
#include "peer/session.h"
#include "peer/task.h"
#include "peer/worker.h"
#include "scheduler/scheduler.h"
#include "serve/daemon.h"
#include "serve/os/process.h"
#include "serve/piece.h"
#include "store/store.h"

static size_t
length(const struct list *l)
{
	size_t n = 0;

	LIST_EACH(it, next, l)
		n++;
	return n;
}

static void
write_session(const struct session *s, struct buf *out)
{
	static const char *const phases[] = {"registering", "parents", "source", "direct", "over"};

	buf_printf(out, "  session phase=%s missing=%u parents=%zu from_parents=%u/%u from_source=%u/%u registers=%u\n", phases[s->phase],
	    (unsigned)session_missing(s), s->collect != NULL ? s->collect->count : 0, s->in_flight, s->window, s->source_job_count,
	    s->source_window, s->registers);
	if (s->collect == NULL)
		return;
	LIST_EACH(it, next, &s->collect->parents) {
		const struct parent *p = CONTAINER_OF(it, struct parent, link);

		buf_printf(out, "    parent id=%s pieces=%u in_flight=%u%s%s\n", p->id, (unsigned)p->have_count, p->in_flight,
		    p->sync != NULL ? " telling" : "", p->is_dropped ? " dropped" : "");
	}
}

static void
write_tasks(const struct engine *g, struct buf *out)
{
	static const char *const phases[] = {"new", "preparing", "ready"};
	const struct task *t;
	size_t at = 0, shown = 0;

	buf_printf(out, "\ntasks %zu\n", g->tasks.count);
	while ((t = map_next(&g->tasks, &at)) != NULL && shown++ < STATUS_STATE_TASKS_MAX) {
		buf_printf(out, "task id=%s phase=%s pieces=%u/%u bytes=%llu callers=%zu sessions=%zu watchers=%zu\n", t->id, phases[t->phase],
		    (unsigned)t->store->pieces_finished, (unsigned)t->piece_count, (unsigned long long)t->store->bytes_finished,
		    t->caller_count, length(&t->sessions), length(&t->watchers));
		LIST_EACH(it, next, &t->sessions)
			write_session(CONTAINER_OF(it, struct session, link), out);
	}
	if (g->tasks.count > STATUS_STATE_TASKS_MAX)
		buf_printf(out, "and %zu more\n", g->tasks.count - STATUS_STATE_TASKS_MAX);
}

static void
write_server(const char *name, const struct rpc_server *s, struct buf *out)
{
	struct rpc_server_counts n;

	rpc_server_counts(s, &n);
	buf_printf(out, "%s connections=%zu streams=%zu calls=%llu limited=%llu\n", name, n.connections, n.streams,
	    (unsigned long long)n.calls, (unsigned long long)n.limited);
}

static void
write_scheduler(const struct scheduler *s, struct buf *out)
{
	struct scheduler_metrics m;

	scheduler_metrics(s, &m);
	buf_printf(out, "scheduler hosts=%llu seeds=%llu tasks=%llu waiters=%llu edges=%llu streams=%llu bytes=%llu\n",
	    (unsigned long long)m.hosts, (unsigned long long)m.seeds, (unsigned long long)m.tasks, (unsigned long long)m.waiters,
	    (unsigned long long)m.edges, (unsigned long long)m.concurrent_schedule, (unsigned long long)m.memory_estimate);
}

void
status_state_write(const struct daemon_parts *p, struct buf *out)
{
	struct process_facts f;
	struct piece_server_metrics pieces;
	struct store_usage usage;

	process_facts(&f);
	piece_server_metrics(p->pieces, &pieces);
	buf_printf(out, "dfdaemon %s up_s=%lld ready=%s host=%s\n", DRAGONFLY_VERSION, (long long)(clock_mono_ms() - p->started_ms) / 1000,
	    p->is_ready ? "yes" : "no", p->cluster != NULL ? cluster_host(p->cluster)->id : "");
	buf_printf(out, "process fds=%llu threads=%llu resident=%llu virtual=%llu\n", (unsigned long long)f.open_fds,
	    (unsigned long long)f.threads, (unsigned long long)f.resident_bytes, (unsigned long long)f.virtual_bytes);
	buf_printf(out, "loop descriptors=%zu timers=%zu\n", loop_io_count(p->loop), loop_timer_count(p->loop));
	buf_append_str(out, "workers jobs=");
	for (size_t i = 0; i < p->workers->count; i++)
		buf_printf(out, "%s%u", i > 0 ? "," : "", p->workers->at[i].jobs);
	buf_append_u8(out, '\n');
	write_server("download", p->download_rpc, out);
	write_server("upload", p->upload_rpc, out);
	buf_printf(out, "pieces connections=%zu active=%zu waiting=%zu finished=%llu failed=%llu refused=%llu bytes=%llu\n", pieces.connections,
	    pieces.active, pieces.waiting, (unsigned long long)pieces.finished, (unsigned long long)pieces.failed,
	    (unsigned long long)pieces.refused, (unsigned long long)pieces.bytes);
	if (store_usage(p->store, &usage, NULL) == 0)
		buf_printf(out, "store tasks=%zu used=%llu reserved=%llu available=%llu percent=%u jobs=%u\n", usage.tasks[STORE_STANDARD],
		    (unsigned long long)usage.used, (unsigned long long)usage.reserved, (unsigned long long)usage.available, usage.percent,
		    store_jobs_running(p->store));
	if (p->scheduler != NULL)
		write_scheduler(p->scheduler, out);
	write_tasks(p->engine, out);
}
