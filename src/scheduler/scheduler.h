/*
 * The embedded scheduler: the service scheduler.v2.Scheduler inside a dfdaemon, for clusters without the Go services. Peers cannot
 * tell it from the Go one in normal work. State is in memory and belongs to one event loop; every call below is made on that loop.
 * Decisions go out by events (a peer registered, a piece came, a source failed), never by polling. doc/scheduler.md tells the rules.
 */
#ifndef SCHEDULER_SCHEDULER_H
#define SCHEDULER_SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct loop;
struct rpc_server;
struct scheduler;
struct tls_config;

/* Most parents in one answer, whatever the options say; a list beyond this is more to encode than to use. */
#define SCHEDULER_PARENTS_MAX 16
/* Most servers looked at for one decision, whatever the options say: it bounds the time of a decision. */
#define SCHEDULER_SAMPLE_MAX 128

/* A peer that opens AnnouncePeer with this request header takes candidate parents at any time, each list whole; the answer
 * carries the same header. */
#define SCHEDULER_LIVE_HEADER "d7y-parents"
#define SCHEDULER_LIVE_VALUE "stream"

enum scheduler_locality {
	SCHEDULER_LOCALITY_OFF,         /* IDC and location only enter the score */
	SCHEDULER_LOCALITY_SOFT,        /* a child with an IDC takes parents of its own IDC while these are not overloaded */
	SCHEDULER_LOCALITY_STRICT,      /* and two peers of an IDC at most bring a task into it */
};

/* Priority (0 to 6) of tasks of one application, used for requests with LEVEL0: the first url expression that matches, else value. */
struct scheduler_application {
	const char *name;
	uint32_t value;
	const struct scheduler_application_url {
		const char *regex;      /* matched anywhere in the task's url */
		uint32_t value;
	} *urls;
	size_t n_urls;
};

/* scheduler_options_default fills all; strings are copied by scheduler_new. Times in ms. */
struct scheduler_options {
	uint32_t candidate_parent_limit;        /* 16; at most SCHEDULER_PARENTS_MAX */
	uint32_t sample_limit;                  /* 64, four times the list; at most SCHEDULER_SAMPLE_MAX */
	bool mesh;                              /* true: two peers may be each other's parents */
	bool host_owners;                       /* true: a host that lives is announced again and deleted from its own address alone */
	bool strict_hosts;                      /* false: an unknown host may register at once, before its announcement */
	enum scheduler_locality locality;       /* off */
	int64_t max_wait_ms;                    /* 30 s: longest wait for parents of one registration or reschedule */
	int64_t slot_wait_ms;                   /* 1 s: wait before upload slots are ignored */
	int64_t stall_timeout_ms;               /* 10 s without a piece: a parent is stalled */
	int64_t first_piece_timeout_ms;         /* 30 s: the same before a source's first piece */
	int64_t grant_timeout_ms;               /* 30 s for a peer sent to the source to start */
	int64_t source_growth_ms;               /* 5 s: each such time of stall allows one more source */
	int64_t block_ttl_ms;                   /* 60 s a failed parent is not given to the same child again */
	uint32_t back_to_source_count;          /* 200: most peers of one task at the source */
	uint64_t upload_slot_bandwidth;         /* bit/s that one child takes: 250 Mbit/s */
	uint32_t load_limit;                    /* 200 children for a normal host */
	uint32_t seed_load_limit;               /* 2000 children for a seed */
	uint32_t max_holders;                   /* 2000 peers with the whole task remembered for each task */
	int64_t peer_ttl_ms;                    /* 24 h */
	int64_t host_ttl_ms;                    /* 1 h, for hosts that announce no interval */
	uint64_t memory_limit;                  /* 2 GiB estimated; past it new peers get RESOURCE_EXHAUSTED */
	uint64_t cluster_id;                    /* 1: scheduler_cluster_id in ListHosts */
	bool allow_loopback;                    /* false: images of registries on this host or its links are not preheated */
	bool blob_digest_ids;                   /* true: layers of preheated images have their digest as task id, also unasked */
	const char *snapshot_path;              /* file of the host table for a quick restart; NULL: none */
	const char *journal_path;               /* file of persistent tasks and their replicas; NULL: they end with the process */
	const struct scheduler_application *applications;
	size_t n_applications;
	struct tls_config *peer_tls;        /* for calls to seeds and peers; NULL: plaintext; must outlive the scheduler */
	uint64_t random_seed;                   /* 0: from the system; else decisions repeat exactly */
};

void scheduler_options_default(struct scheduler_options *o);

/* A scheduler on this loop. Reads the snapshot when there is one (a bad file is logged and ignored). NULL with *e set when an
 * application's expression is not valid. */
struct scheduler *scheduler_new(struct loop *loop, const struct scheduler_options *o, struct err *e);
/* Puts the scheduler's methods and grpc.health.v1.Health/Check into the server's table. The server must be on the same loop and be
 * freed before the scheduler. */
void scheduler_serve(struct scheduler *s, struct rpc_server *server);
/* New registrations get UNAVAILABLE from now on; the caller stops the server after its grace time. */
void scheduler_drain(struct scheduler *s);
/* Writes the snapshot, cancels calls to peers, frees all. */
void scheduler_free(struct scheduler *s);

enum { SCHEDULER_PRIORITIES = 7, SCHEDULER_TASK_TYPES = 4, SCHEDULER_HOST_TYPES = 2, SCHEDULER_TRAFFIC_TYPES = 3,
	SCHEDULER_PEER_STATES = 8, SCHEDULER_RULES = 9, SCHEDULER_DURATION_BUCKETS = 12 };

/* Upper bounds (ms) of the buckets of schedule_duration; the last bucket has none. */
extern const uint32_t scheduler_duration_bounds_ms[SCHEDULER_DURATION_BUCKETS - 1];
/* Labels: "0".."6"; "STANDARD", "PERSISTENT", "PERSISTENT_CACHE", "CACHE"; "normal", "super"; "BACK_TO_SOURCE", "REMOTE_PEER",
 * "LOCAL_PEER"; "Pending", "ReceivedEmpty", ... */
extern const char *const scheduler_task_type_names[SCHEDULER_TASK_TYPES];
extern const char *const scheduler_host_type_names[SCHEDULER_HOST_TYPES];
extern const char *const scheduler_traffic_type_names[SCHEDULER_TRAFFIC_TYPES];
extern const char *const scheduler_peer_state_names[SCHEDULER_PEER_STATES];

/* Counters since start and gauges now; the Prometheus names are dragonfly_scheduler_<member>, counters with _total behind. */
struct scheduler_metrics {
	uint64_t announce_host, announce_host_failure;
	uint64_t announce_peer, announce_peer_failure;
	uint64_t register_peer[SCHEDULER_PRIORITIES][SCHEDULER_TASK_TYPES][SCHEDULER_HOST_TYPES];
	uint64_t register_peer_failure[SCHEDULER_PRIORITIES][SCHEDULER_TASK_TYPES][SCHEDULER_HOST_TYPES];
	uint64_t download_peer_started, download_peer_back_to_source_started;
	uint64_t download_peer_finished, download_peer_finished_failure;
	uint64_t download_piece_finished[SCHEDULER_TRAFFIC_TYPES][SCHEDULER_TASK_TYPES][SCHEDULER_HOST_TYPES];
	uint64_t download_piece_finished_failure;
	uint64_t traffic[SCHEDULER_TRAFFIC_TYPES][SCHEDULER_TASK_TYPES][SCHEDULER_HOST_TYPES];  /* bytes */
	uint64_t stat_task, stat_task_failure, stat_peer, stat_peer_failure;
	uint64_t leave_host, leave_host_failure, leave_task, leave_task_failure, leave_peer, leave_peer_failure;
	uint64_t list_hosts, list_hosts_failure;
	uint64_t preheat_file, preheat_file_failure, preheat_image, preheat_image_failure;      /* calls */
	uint64_t preheat_job_failure;                                   /* jobs that nothing came of */
	uint64_t schedule_duration[SCHEDULER_DURATION_BUCKETS];         /* answers by time since the request */
	uint64_t schedule_duration_sum_ms, schedule_duration_count;
	uint64_t seed_trigger_ok, seed_trigger_failed;
	uint64_t source_grants;
	uint64_t pick_rejected[SCHEDULER_RULES];                        /* [1]..[8]: candidates refused by rule E1..E8 */
	/* gauges */
	uint64_t concurrent_schedule;                                   /* open AnnouncePeer streams */
	uint64_t hosts, seeds, tasks, waiters, edges;
	uint64_t persistent_tasks;
	uint64_t peers[SCHEDULER_PEER_STATES];
	uint64_t memory_estimate;                                       /* bytes of the state */
};

void scheduler_metrics(const struct scheduler *s, struct scheduler_metrics *out);

#endif
