/*
 * What the scheduler knows: hosts, tasks, peers and who downloads from whom. Plain data with its bookkeeping (indexes, sums over
 * edges, ages); no decision, no socket, no clock of its own: `now_ms` is set by the owner before every call. One loop owns it all.
 */
#ifndef SCHEDULER_RESOURCE_H
#define SCHEDULER_RESOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/heap.h"
#include "base/list.h"
#include "base/map.h"
#include "base/slice.h"
#include "scheduler/scheduler.h"

struct err;

/* Limits on what peers send; each value is far above real use. */
#define SCHED_ID_MAX 1024u                      /* host, task and peer ids: real ones have up to 350 bytes */
#define SCHED_NAME_MAX 1024u                    /* host name, tag, application, IDC, location */
#define SCHED_URL_MAX (16u * 1024)
#define SCHED_HEADERS_MAX (64u * 1024)          /* names and values of one registration's request headers */
#define SCHED_PARAMS_MAX 256u                   /* filtered query parameters of one task */
#define SCHED_PIECES_MAX (1u << 20)             /* piece numbers end here when the task's count is not known; also the highest count */
#define SCHED_STREAMS_PER_HOST_MAX 4096u        /* open AnnouncePeer streams of one host */
#define SCHED_HOSTS_MAX 100000u                 /* ten times what one scheduler is made for */
#define SCHED_TASKS_MAX 1000000u
#define SCHED_IDCS_MAX 4096u                    /* distinct names of IDCs and locations; later ones count as none */
#define SCHED_BLOCKS_MAX 64u                    /* blocked hosts of one peer; the oldest goes */
#define SCHED_CONCURRENT_PIECES_MAX 1024u       /* a child's claimed concurrency enters its parents' load */
#define SCHED_COSTS 8u                          /* last piece costs kept of a peer */
#define SCHED_RATE_BUCKETS 64u                  /* log2 histogram of serving rates */
#define SCHED_HOST_FACTS_MAX (16u * 1024)       /* bytes of one announced Host */

enum sched_peer_state {
	SCHED_PEER_PENDING, SCHED_PEER_RECEIVED_EMPTY, SCHED_PEER_RECEIVED_NORMAL, SCHED_PEER_RUNNING,
	SCHED_PEER_BACK_TO_SOURCE, SCHED_PEER_SUCCEEDED, SCHED_PEER_FAILED, SCHED_PEER_LEAVE,
};

enum sched_task_state { SCHED_TASK_PENDING, SCHED_TASK_RUNNING, SCHED_TASK_SUCCEEDED, SCHED_TASK_FAILED, SCHED_TASK_LEAVE };

extern const char *const sched_task_state_names[];

struct sched_peer;
struct sched_task;

struct sched_host {
	/* What every pick reads stands together at the front. */
	uint32_t number;                /* unique for the life of the process: blocks name hosts by it */
	uint32_t type;                  /* 0 normal, 1 seed; 2 and 3 are neither */
	uint16_t idc;                   /* 0: none; else one number for each IDC name, whatever its case */
	uint16_t place;                 /* the same for locations */
	uint16_t load_score;            /* L of the score; valid while is_scored */
	bool is_scored;
	bool disable_shared;
	bool provisional;               /* registered before it announced: never a parent, never called */
	bool is_restored;               /* from the snapshot of an earlier process */
	bool is_usable_seed;            /* in the seed ring */
	uint32_t pick_epoch;            /* of the pick that met this host last, and where it stands there */
	uint32_t pick_slot;
	uint32_t children;              /* edges whose parent lives here */
	uint32_t up_samples;
	double up_rate;                 /* byte/s, moving average of what its children measured */
	int64_t updated_ms;
	int64_t interval_ms;            /* 0: none announced */
	int64_t bad_until_ms;
	uint64_t served_pieces;
	uint64_t failed_pieces;
	uint64_t max_tx;                /* bit/s; 0: not told */
	uint64_t tx;                    /* bit/s reported with the last announcement */

	/* Sums over those edges. */
	uint64_t tx_alloc;              /* bit/s */
	uint64_t upload_bytes;
	uint64_t upload_pieces;

	char *id;
	char *hostname;
	char *ip;
	char *location;                 /* "" when none */
	uint8_t owner[16];              /* IP that announced it last; owner_len 0: not known */
	uint8_t owner_len;
	int32_t port;
	int32_t download_port;
	uint8_t *facts;                 /* the last announcement as an encoded common.v2.Host */
	size_t n_facts;
	uint8_t *wire;                  /* the Host that candidate answers carry, encoded; NULL when out of date */
	size_t n_wire;
	int64_t created_ms;
	uint32_t fail_level;            /* leaky: one less each 10 s */
	int64_t fail_level_ms;
	int64_t seed_backoff_ms;        /* present length; 0 after a success */
	int64_t seed_backoff_until_ms;

	uint32_t streams;               /* open AnnouncePeer streams of peers here */
	struct list peers;              /* sched_peer.in_host */
	struct list all;                /* in sched_resources.host_list */
};

struct sched_idc_servers {
	uint16_t idc;
	struct sched_peer **peers;
	uint32_t n, cap;
};

struct sched_task {
	char *id;
	char *url;
	char *digest;                   /* NULL when none, like the next two */
	char *tag;
	char *application;
	char **params;                  /* filtered query parameters */
	size_t n_params;
	uint32_t type;
	enum sched_task_state state;
	uint64_t piece_length;          /* 0 unknown */
	int64_t content_length;         /* -1 unknown */
	uint32_t piece_count;           /* 0 unknown */
	int64_t created_ms;
	int64_t updated_ms;
	int64_t empty_since_ms;         /* without peers since; 0 while it has some */
	int64_t progress_ms;            /* p0 of the source budget */

	struct list peers;              /* sched_peer.in_task */
	uint32_t n_peers;
	uint32_t n_holders;             /* Succeeded ones */
	struct sched_peer **servers;    /* those that may be parents: Succeeded, BackToSource, Running with a piece, on a seed, or live */
	uint32_t n_servers, cap_servers;
	struct sched_idc_servers *buckets;      /* servers by IDC, once there are more than a sample */
	uint32_t n_buckets;
	bool has_buckets;

	struct list waiters;            /* sched_peer.wait, longest waiting first */
	uint32_t n_waiters;
	uint32_t n_odd_waiters;         /* those whose answer may differ from that of a plain one */
	uint32_t round;                 /* of looks at the waiters */
	struct list hungry;             /* sched_peer.hungry: live children with room for more parents */
	struct list sources;            /* sched_peer.source: at the source, or granted */
	uint32_t n_sources;
	struct list triggers;           /* seed.h */
	int64_t trigger_fails_ms[2];    /* the last two failed triggers; 0 none */
	int64_t restore_until_ms;       /* asking earlier hosts whether they hold it; 0 not asking */
	uint32_t n_restoring;
	bool is_restore_tried;
	bool is_dirty;                  /* waiters are to be looked at again */
	struct list dirty;              /* in sched_core.dirty */
	struct list bereft;             /* in sched_core.bereft */
	struct heap_node check;         /* next time-driven look at the waiters */
	struct heap_node refresh;       /* next look at the hungry */
	struct list all;                /* in sched_resources.task_list */
};

/* From a child to one of its parents, and back; the slots name the twin's place. */
struct sched_edge {
	struct sched_peer *parent;
	uint32_t child_slot;
	uint32_t have;                  /* finished pieces of the parent when it was last given */
};

struct sched_child {
	struct sched_peer *child;
	uint32_t parent_slot;
};

struct sched_block {
	uint32_t host;                  /* sched_host.number */
	int64_t until_ms;
};

struct sched_peer {
	struct sched_task *task;
	struct sched_host *host;
	void *stream;                   /* the service's; NULL when it ended */
	uint8_t state;                  /* enum sched_peer_state */
	uint8_t priority;
	uint8_t answers;
	bool has_range;
	bool need_source;
	bool no_source;
	bool is_live;                   /* takes new parent lists unasked */
	bool is_granted;
	bool is_orphan;
	bool is_full;                   /* Succeeded with every piece of the task */
	bool is_waiting;
	bool is_odd;                    /* a waiter with a range, pieces, blocks or rules of its own */
	bool is_whole;                  /* registered to say that it has everything (metadata_only) */
	uint8_t probes;                 /* of an orphan */
	uint8_t sync_fails;             /* reported by children while it is an idle holder */
	uint16_t depth;                 /* hops from a peer that has all or reads the source */
	uint32_t n_finished;
	int64_t piece_ms;               /* last piece; 0 none */
	int64_t active_ms;              /* since Running or BackToSource */
	uint16_t n_costs;
	uint16_t at_cost;
	uint32_t concurrent_pieces;
	uint32_t n_at_answer;           /* n_finished when it was last given parents */
	uint32_t round;                 /* of its task when it was last looked at */
	uint64_t range_start;
	uint64_t range_length;
	uint32_t first, last;           /* interest: pieces; valid when the task's count is known or has_range with a piece length */
	uint64_t *bits;                 /* finished pieces */
	uint32_t n_words;
	struct sched_edge *parents;
	struct sched_child *children;
	uint32_t n_parents, cap_parents;
	uint32_t n_children, cap_children;
	uint32_t server_slot;           /* 1-based place in task->servers; 0 not there */
	uint32_t bucket_slot;           /* 1-based place in the IDC's bucket */
	uint32_t mark;                  /* epoch of the last walk that met it */
	uint32_t costs_ms[SCHED_COSTS];
	struct sched_block *blocks;
	uint32_t n_blocks;
	int64_t created_ms;
	int64_t updated_ms;
	int64_t cost_ms;                /* of the whole download, once finished */
	int64_t asked_ms;               /* when the request that waits for an answer came */
	int64_t grant_until_ms;
	uint8_t *download;              /* the encoded common.v2.Download while it waits: a trigger needs it */
	size_t n_download;
	struct heap_node probe;         /* orphan: next question to its host */
	struct list in_task;
	struct list in_host;
	struct list all;
	struct list wait;
	struct list hungry;
	struct list source;
	char id[];
};

struct sched_resources {
	struct scheduler_options opt;   /* values only; strings belong to the owner of the scheduler */
	int64_t now_ms;                 /* monotonic, set by the owner */
	int64_t wall_ms;                /* add to a monotonic time for the wall clock's */
	struct map hosts;               /* by id */
	struct map tasks;
	struct map peers;
	struct list host_list;
	struct list task_list;
	struct list peer_list;          /* least recently swept first */
	struct map names;               /* lower-case IDC or location -> its number */
	uint16_t n_names;
	uint32_t pick_epoch;
	uint32_t host_numbers;
	uint64_t host_changes;          /* counts hosts that came, moved or went; announcements of the same do not count */
	uint32_t epoch;                 /* of marks */
	uint64_t random;                /* xorshift64* state */
	uint64_t n_edges;
	uint64_t memory;                /* estimate of what peers, tasks and hosts take */
	uint64_t n_states[SCHEDULER_PEER_STATES];
	double rates[SCHED_RATE_BUCKETS];       /* histogram of serving rates, halved each minute */
	int64_t rates_halved_ms;
	double rates_total;
	double median_rate;             /* byte/s; 0 unknown */
	/* Told before a peer goes away, so that streams and timers let go of it. */
	void (*on_peer_gone)(void *ctx, struct sched_peer *p);
	void (*on_task_gone)(void *ctx, struct sched_task *t);
	void (*on_host_gone)(void *ctx, struct sched_host *h);
	void *ctx;
};

void sched_resources_init(struct sched_resources *r, const struct scheduler_options *opt);
/* Frees all without telling anybody. */
void sched_resources_free(struct sched_resources *r);

/* xorshift64*; decisions repeat for a fixed options.random_seed. */
uint64_t sched_random(struct sched_resources *r);

/* ---- hosts ---- */

/* What an announcement says; strings are copied. `facts` is the encoded Host to keep. */
struct sched_host_info {
	struct slice id, hostname, ip, location, idc, facts;
	uint32_t type;
	int32_t port, download_port;
	bool disable_shared;
	uint64_t max_tx, tx;
	int64_t interval_ms;            /* -1: keep the present one */
};

struct sched_host *sched_host_find(const struct sched_resources *r, struct slice id);
/* Creates or updates; a provisional host becomes a full one. NULL past SCHED_HOSTS_MAX. */
struct sched_host *sched_host_announce(struct sched_resources *r, const struct sched_host_info *info);
/* A host known by its id alone. */
struct sched_host *sched_host_provisional(struct sched_resources *r, struct slice id);
/* "10.0.0.1" of "10.0.0.1-name"; empty when the id begins otherwise. */
struct slice sched_host_ip_of_id(struct slice id);
/* Removes it and its peers. */
void sched_host_remove(struct sched_resources *r, struct sched_host *h);
/* Rule E2 without "disable_shared": announced, and not too long ago. */
bool sched_host_is_fresh(const struct sched_resources *r, const struct sched_host *h);
/* Its time is over: announcements stopped, or a provisional one was never announced. */
bool sched_host_is_expired(const struct sched_resources *r, const struct sched_host *h);
/* Most children of a host: its load limit, and what its bandwidth carries. */
uint32_t sched_host_load_limit(const struct sched_resources *r, const struct sched_host *h);
uint32_t sched_host_slots(const struct sched_resources *r, const struct sched_host *h);
bool sched_host_is_bad(const struct sched_resources *r, const struct sched_host *h);
bool sched_host_is_straggler(const struct sched_resources *r, const struct sched_host *h);
/* A child got `length` bytes of this host in cost_ms. */
void sched_host_served(struct sched_resources *r, struct sched_host *h, uint64_t length, int64_t cost_ms);
/* A child could not get a piece from this host. */
void sched_host_failed(struct sched_resources *r, struct sched_host *h);

/* ---- tasks ---- */

struct sched_task *sched_task_find(const struct sched_resources *r, struct slice id);
/* NULL past SCHED_TASKS_MAX. */
struct sched_task *sched_task_new(struct sched_resources *r, struct slice id, uint32_t type);
void sched_task_set_text(struct sched_resources *r, struct sched_task *t, char **where, struct slice value);
void sched_task_set_params(struct sched_task *t, const struct slice *params, size_t n);
/* Fills in what was not known. content_length -1, the others 0: not told. */
void sched_task_set_lengths(struct sched_resources *r, struct sched_task *t, uint64_t piece_length, int64_t content_length,
	uint64_t piece_count);
void sched_task_remove(struct sched_resources *r, struct sched_task *t);

/* ---- peers ---- */

struct sched_peer *sched_peer_find(const struct sched_resources *r, struct slice id);
struct sched_peer *sched_peer_new(struct sched_resources *r, struct slice id, struct sched_task *t, struct sched_host *h);
void sched_peer_remove(struct sched_resources *r, struct sched_peer *p);
/* Changes the state and what hangs on it: counts, place among servers and sources. */
void sched_peer_set_state(struct sched_resources *r, struct sched_peer *p, enum sched_peer_state state);
void sched_peer_set_range(struct sched_peer *p, uint64_t start, uint64_t length);
/* Marks a piece finished. false when it was, or the number cannot be. */
bool sched_peer_set_piece(struct sched_resources *r, struct sched_peer *p, uint32_t number);
bool sched_peer_has_piece(const struct sched_peer *p, uint32_t number);
/* Pieces its interest spans: true and the bounds when known. */
bool sched_peer_interest(const struct sched_peer *p, uint32_t *first, uint32_t *last);
/* Pieces of p that c still needs; is_known false when the task's pieces are not counted yet. `will` counts what p is going to have. */
uint32_t sched_peer_have_for(const struct sched_peer *p, const struct sched_peer *c, bool *is_known);
uint32_t sched_peer_will_for(const struct sched_peer *p, const struct sched_peer *c, bool *is_known);
uint32_t sched_peer_needed(const struct sched_peer *c, bool *is_known);
void sched_peer_add_cost(struct sched_peer *p, int64_t cost_ms);
/* Mean of the last costs; 0 when none. */
int64_t sched_peer_mean_cost(const struct sched_peer *p);
void sched_peer_block(struct sched_resources *r, struct sched_peer *p, const struct sched_host *h, int64_t ttl_ms);
bool sched_peer_is_blocked(const struct sched_resources *r, const struct sched_peer *p, const struct sched_host *h);
/* Whether it belongs among task->servers, and puts it there or takes it out. */
void sched_peer_place(struct sched_resources *r, struct sched_peer *p);
/* Enters or leaves task->sources by its state and grant. */
void sched_peer_place_source(struct sched_peer *p);

/* ---- edges ---- */

void sched_edge_add(struct sched_resources *r, struct sched_peer *parent, struct sched_peer *child);
void sched_edges_drop_parents(struct sched_resources *r, struct sched_peer *child);
void sched_edges_drop_children(struct sched_resources *r, struct sched_peer *parent);
/* Adds (sign 1) or takes off (-1) the load of an edge at the parent's host. */
void sched_edge_account(struct sched_peer *parent, const struct sched_peer *child, int sign);
bool sched_edge_exists(const struct sched_peer *parent, const struct sched_peer *child);
/* Gives `from` and all that is reached from it along parent -> child the mark r->epoch. */
void sched_edges_mark_below(struct sched_resources *r, struct sched_peer *from);

#endif
