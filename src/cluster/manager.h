/*
 * The managers of a cluster as a peer uses them: which schedulers there are, asked again and again, and, for a seed peer, its own entry
 * in the manager's list (spec: manager.md part A). Several managers are several ways to the same knowledge: the one that answered last is
 * asked first, when it fails the next one is. Belongs to the control loop. What it hears goes to on_list; what that means is cluster.c's affair.
 */
#ifndef CLUSTER_MANAGER_H
#define CLUSTER_MANAGER_H

#include <stddef.h>
#include <stdint.h>

struct cluster_host;
struct config;
struct dns;
struct err;
struct loop;
struct manager;
struct manager_list_schedulers_response;
struct tls_config;

/* A request and its answer (spec: daemon.md 2.1). */
#define MANAGER_CALL_MS 10000
/* After a round in which no manager had a scheduler for us: asked again after this, then twice as long each time, up to the second, and
 * never later than dynconfig.refreshInterval says. */
#define MANAGER_RETRY_MS 1000
#define MANAGER_RETRY_MAX_MS 60000
/* manager_refresh_soon asks no more often. */
#define MANAGER_SOON_MS 5000
/* Managers: manager.addr and x.manager.addrs. */
#define MANAGER_ADDRS_MAX 32
#define MANAGER_PORT 65003
/* A list of RING_NODES_MAX schedulers, each with its cluster's rules, is far smaller. */
#define MANAGER_ANSWER_MAX (16u * 1024 * 1024)
/* A name as the manager takes it (RFC 1034). */
#define MANAGER_HOSTNAME_MAX 253

struct manager_options {
	struct loop *loop;
	const struct config *config;            /* lives longer */
	struct dns *dns;                        /* lives longer */
	struct tls_config *tls;                 /* for https addresses; NULL: none are there */
	const struct cluster_host *host;        /* lives longer */
	int keep_alive_ms;                      /* 0: MANAGER_KEEP_ALIVE_MS */
	/* The schedulers, at least one, clusters in the manager's order of preference. Valid in this call only. */
	void (*on_list)(void *ctx, const struct manager_list_schedulers_response *list);
	/* No manager had any. */
	void (*on_none)(void *ctx);
	void *ctx;
};

/* Spec: manager.md A8. */
#define MANAGER_KEEP_ALIVE_MS 5000

/* -1 with e: an address that cannot be one. Does not connect yet. */
struct manager *manager_new(const struct manager_options *o, struct err *e);
void manager_start(struct manager *m);
/* The schedulers we know are of no use: ask before the interval is over. */
void manager_refresh_soon(struct manager *m);
/* Stops asking; a seed peer that has its entry removes it, at most ms long. Then calls done, once, maybe from inside. */
void manager_leave(struct manager *m, int ms, void (*done)(void *ctx), void *ctx);
void manager_free(struct manager *m);

/* The host name as the manager takes it: lower case, other characters than letters, digits, "-" and "." become "-", labels without "-" at
 * their ends, never empty. */
void manager_hostname(const char *name, char out[MANAGER_HOSTNAME_MAX + 1]);

#endif
