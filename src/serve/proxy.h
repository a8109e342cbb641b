/*
 * The HTTP proxy of a dfdaemon (spec: proxy.md): forward proxy, registry mirror, CONNECT. GETs that a rule chooses come from the task's pieces,
 * everything else goes to its upstream as it is. The control loop accepts and decides about tasks; each connection lives on one data loop,
 * which moves its bytes.
 */
#ifndef SERVE_PROXY_H
#define SERVE_PROXY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct addr;
struct cluster;
struct config;
struct engine;
struct err;
struct loop;
struct proxy;
struct proxy_interceptor;
struct workers;

/* What runs may go on for so long after a stop (spec: proxy.md 2.1). */
#define PROXY_GRACE_MS 10000

/* The standard methods; anything a client invents counts as the last. */
enum proxy_method {
	PROXY_GET, PROXY_HEAD, PROXY_POST, PROXY_PUT, PROXY_DELETE, PROXY_CONNECT, PROXY_OPTIONS, PROXY_TRACE, PROXY_PATCH, PROXY_OTHER,
	PROXY_METHODS,
};
extern const char *const proxy_method_names[PROXY_METHODS];

/* Since start; written by all data loops. */
struct proxy_counts {
	atomic_uint_fast64_t requests[2][PROXY_METHODS];        /* http, https */
	atomic_uint_fast64_t limited, failed, via_dfdaemon, turned_away;
};

struct proxy_options {
	struct loop *loop;              /* the control loop */
	const struct config *config;    /* lives longer than the proxy */
	struct workers *workers;
	struct engine *engine;
	struct cluster *cluster;        /* for the block list; NULL: none. May be set until the first request: proxy_set_cluster */
	const char *host_id;
	struct proxy_interceptor *interceptor;  /* owned from here on, also on failure; NULL: CONNECT is a blind tunnel */
};

/* Nothing is left on failure. */
struct proxy *proxy_new(const struct proxy_options *o, struct err *e);
void proxy_set_cluster(struct proxy *p, struct cluster *cluster);
/* Accepts there; the real address (port 0: any) is in *bound. */
int proxy_listen(struct proxy *p, const struct addr *a, struct addr *bound, struct err *e);
const struct proxy_counts *proxy_counts(const struct proxy *p);
/* A task left the store: what data loops remember of finished tasks is asked for again. Control loop. */
void proxy_forget(struct proxy *p, const char *task_id);
/* No new connection; running answers end with "Connection: close". done once, when they are over or after ms. */
void proxy_drain(struct proxy *p, int ms, void (*done)(void *ctx), void *ctx);
/* Cuts what is left and waits until the data loops let go. The workers and the engine must still run. NULL is allowed. */
void proxy_free(struct proxy *p);

#endif
