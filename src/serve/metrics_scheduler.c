#include "serve/metrics.h"

#include <stdio.h>

#include "base/mem.h"
#include "scheduler/scheduler.h"

#define S "dragonfly_scheduler_"

static void
counter(struct metrics_text *t, const char *name, const char *help, uint64_t value)
{
	metrics_one(t, METRICS_COUNTER, name, help, value);
}

/* By priority, kind of task and kind of host; what never happened is left out, there are 56 of them. */
static void
registers(struct metrics_text *t, const char *name, const char *help,
    uint64_t v[SCHEDULER_PRIORITIES][SCHEDULER_TASK_TYPES][SCHEDULER_HOST_TYPES])
{
	metrics_family(t, METRICS_COUNTER, name, help, false);
	for (unsigned i = 0; i < SCHEDULER_PRIORITIES; i++)
		for (unsigned j = 0; j < SCHEDULER_TASK_TYPES; j++)
			for (unsigned k = 0; k < SCHEDULER_HOST_TYPES; k++) {
				char priority[12];

				if (v[i][j][k] == 0)
					continue;
				snprintf(priority, sizeof priority, "%u", i);
				metrics_sample(t, v[i][j][k], (const struct metrics_label[]){{"host_type", scheduler_host_type_names[k]},
					{"priority", priority}, {"task_type", scheduler_task_type_names[j]}}, 3);
			}
}

static void
transfers(struct metrics_text *t, const char *name, const char *help, const char *label,
    uint64_t v[SCHEDULER_TRAFFIC_TYPES][SCHEDULER_TASK_TYPES][SCHEDULER_HOST_TYPES])
{
	metrics_family(t, METRICS_COUNTER, name, help, false);
	for (unsigned i = 0; i < SCHEDULER_TRAFFIC_TYPES; i++)
		for (unsigned j = 0; j < SCHEDULER_TASK_TYPES; j++)
			for (unsigned k = 0; k < SCHEDULER_HOST_TYPES; k++)
				if (v[i][j][k] > 0)
					metrics_sample(t, v[i][j][k], (const struct metrics_label[]){
						{"host_type", scheduler_host_type_names[k]}, {"task_type", scheduler_task_type_names[j]},
						{label, scheduler_traffic_type_names[i]}}, 3);
}

static void
durations(struct metrics_text *t, const struct scheduler_metrics *m)
{
	uint64_t bounds[SCHEDULER_DURATION_BUCKETS - 1];

	for (unsigned i = 0; i < SCHEDULER_DURATION_BUCKETS - 1; i++)
		bounds[i] = scheduler_duration_bounds_ms[i];
	metrics_family(t, METRICS_HISTOGRAM, S "schedule_duration_milliseconds", "Time from a peer's request to its answer.", false);
	metrics_histogram(t, bounds, m->schedule_duration, SCHEDULER_DURATION_BUCKETS, m->schedule_duration_sum_ms, NULL, 0);
}

static void
gauges(struct metrics_text *t, const struct scheduler_metrics *m)
{
	metrics_one(t, METRICS_GAUGE, S "concurrent_schedule_total", "Open conversations with peers.", m->concurrent_schedule);
	metrics_one(t, METRICS_GAUGE, S "hosts", "Hosts that announced themselves.", m->hosts);
	metrics_one(t, METRICS_GAUGE, S "seeds", "Seed peers among the hosts.", m->seeds);
	metrics_one(t, METRICS_GAUGE, S "tasks", "Tasks.", m->tasks);
	metrics_one(t, METRICS_GAUGE, S "persistent_tasks", "Persistent and persistent cache tasks.", m->persistent_tasks);
	metrics_one(t, METRICS_GAUGE, S "waiters", "Peers that wait for parents.", m->waiters);
	metrics_one(t, METRICS_GAUGE, S "edges", "Parents given to children.", m->edges);
	metrics_one(t, METRICS_GAUGE, S "memory_estimate_bytes", "Memory of the state.", m->memory_estimate);
	metrics_family(t, METRICS_GAUGE, S "peers", "Peers by state.", false);
	for (unsigned i = 0; i < SCHEDULER_PEER_STATES; i++)
		metrics_sample1(t, m->peers[i], "state", scheduler_peer_state_names[i]);
}

void
metrics_of_scheduler(struct metrics_text *t, const struct scheduler *s)
{
	static const char *const rules[SCHEDULER_RULES] = {"", "E1", "E2", "E3", "E4", "E5", "E6", "E7", "E8"};
	struct scheduler_metrics m;

	scheduler_metrics(s, &m);
	counter(t, S "announce_host_total", "Announcements of hosts.", m.announce_host);
	counter(t, S "announce_host_failure_total", "Announcements of hosts that failed.", m.announce_host_failure);
	counter(t, S "announce_peer_total", "Conversations with peers.", m.announce_peer);
	counter(t, S "announce_peer_failure_total", "Conversations with peers that failed.", m.announce_peer_failure);
	registers(t, S "register_peer_total", "Peers that registered.", m.register_peer);
	registers(t, S "register_peer_failure_total", "Registrations that failed.", m.register_peer_failure);
	counter(t, S "download_peer_started_total", "Peers that started.", m.download_peer_started);
	counter(t, S "download_peer_back_to_source_started_total", "Peers that started at the source.", m.download_peer_back_to_source_started);
	counter(t, S "download_peer_finished_total", "Peers that finished.", m.download_peer_finished);
	counter(t, S "download_peer_finished_failure_total", "Peers that failed.", m.download_peer_finished_failure);
	transfers(t, S "download_piece_finished_total", "Pieces that peers finished.", "traffic_type", m.download_piece_finished);
	counter(t, S "download_piece_finished_failure_total", "Pieces that failed.", m.download_piece_finished_failure);
	transfers(t, S "traffic", "Bytes of pieces that peers finished.", "type", m.traffic);
	counter(t, S "stat_task_total", "Calls of StatTask.", m.stat_task);
	counter(t, S "stat_task_failure_total", "Calls of StatTask that failed.", m.stat_task_failure);
	counter(t, S "stat_peer_total", "Calls of StatPeer.", m.stat_peer);
	counter(t, S "stat_peer_failure_total", "Calls of StatPeer that failed.", m.stat_peer_failure);
	counter(t, S "leave_host_total", "Hosts that left.", m.leave_host);
	counter(t, S "leave_host_failure_total", "Calls of DeleteHost that failed.", m.leave_host_failure);
	counter(t, S "leave_task_total", "Tasks that hosts gave up.", m.leave_task);
	counter(t, S "leave_task_failure_total", "Calls of DeleteTask that failed.", m.leave_task_failure);
	counter(t, S "leave_peer_total", "Peers that left.", m.leave_peer);
	counter(t, S "leave_peer_failure_total", "Calls of DeletePeer that failed.", m.leave_peer_failure);
	counter(t, S "list_hosts_total", "Calls of ListHosts.", m.list_hosts);
	counter(t, S "list_hosts_failure_total", "Calls of ListHosts that failed.", m.list_hosts_failure);
	counter(t, S "preheat_file_total", "Calls of PreheatFile.", m.preheat_file);
	counter(t, S "preheat_file_failure_total", "Calls of PreheatFile that failed.", m.preheat_file_failure);
	counter(t, S "preheat_image_total", "Calls of PreheatImage.", m.preheat_image);
	counter(t, S "preheat_image_failure_total", "Calls of PreheatImage that failed.", m.preheat_image_failure);
	counter(t, S "preheat_job_failure_total", "Preheat jobs that brought nothing to any host.", m.preheat_job_failure);
	counter(t, S "source_grants_total", "Peers sent to the source.", m.source_grants);
	metrics_family(t, METRICS_COUNTER, S "seed_trigger_total", "Seed peers that were asked to download.", false);
	metrics_sample1(t, m.seed_trigger_failed, "result", "failed");
	metrics_sample1(t, m.seed_trigger_ok, "result", "ok");
	metrics_family(t, METRICS_COUNTER, S "pick_rejected_total", "Candidate parents refused, by rule.", false);
	for (unsigned i = 1; i < SCHEDULER_RULES; i++)
		metrics_sample1(t, m.pick_rejected[i], "reason", rules[i]);
	durations(t, &m);
	gauges(t, &m);
}
