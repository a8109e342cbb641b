/* The inside of manager.h: manager.c asks for schedulers, manager_seed.c keeps a seed peer's entry. */
#ifndef CLUSTER_MANAGER_INTERNAL_H
#define CLUSTER_MANAGER_INTERNAL_H

#include "cluster/manager.h"

#include <stdbool.h>

#include "net/loop.h"

struct rpc_call;
struct rpc_channel;
struct rpc_status;

struct manager_seed {
	struct manager *manager;
	uint64_t cluster_id;            /* 0: no entry is wanted */
	bool is_registered;
	bool said;                      /* that it does not work */
	struct rpc_channel *channel;    /* where the entry was made, borrowed */
	struct rpc_call *update, *keep_alive, *leave;
	struct loop_timer timer;        /* next try, or next sign of life */
	void (*done)(void *ctx);
	void *done_ctx;
	struct loop_timer leave_timer;
};

struct manager {
	struct manager_options o;
	char hostname[MANAGER_HOSTNAME_MAX + 1];
	struct rpc_channel *channels[MANAGER_ADDRS_MAX];
	size_t count, at;               /* `at`: asked next, or now */
	size_t failed;                  /* managers that failed in this round */
	struct rpc_call *list;
	struct loop_timer timer;
	int64_t asked_ms;               /* when the last round began; 0: never */
	int64_t retry_ms;
	int said_code;                  /* of the failure that was told last; -1: none */
	bool is_leaving;
	struct manager_seed seed;
};

/* manager_seed.c */
void manager_seed_start(struct manager *m);
void manager_seed_leave(struct manager *m, int ms, void (*done)(void *ctx), void *ctx);
void manager_seed_free(struct manager *m);

#endif
