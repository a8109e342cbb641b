/*
 * A whole dfdaemon: everything that one configuration asks for, put together on one control loop and its data loops. cmd/dfdaemon
 * reads the command line and hands over; tests start one in their own process.
 */
#ifndef SERVE_DAEMON_H
#define SERVE_DAEMON_H

#include <stdbool.h>
#include <stdint.h>

struct admission;
struct callers;
struct cluster;
struct config;
struct daemon;
struct engine;
struct err;
struct local_counts;
struct loop;
struct metrics_backend;
struct piece_server;
struct privileges;
struct proxy;
struct rpc_server;
struct scheduler;
struct status;
struct store;
struct workers;

struct daemon_options {
	struct config *config;          /* host.ip and host.hostname filled in; lives longer than the daemon */
	const char *dynconfig_path;     /* NULL: none */
	unsigned output_mode;           /* permission bits of outputs; 0: 0644 and the umask applies */
	const struct privileges *privileges;    /* whom to become once all ports are open; NULL: nobody */
};

/* Opens the store, binds every port, starts the data loops. Nothing is left on failure; the error names what could not be had. */
struct daemon *daemon_start(const struct daemon_options *o, struct err *e);
/* Runs until daemon_stop; returns when all is down. */
void daemon_run(struct daemon *d);
/* Orderly end; a second call ends at once. Safe in a signal handler and from any thread. */
void daemon_stop(struct daemon *d);
/* Opens the log file again (SIGHUP). Safe in a signal handler and from any thread. */
void daemon_reload(struct daemon *d);
void daemon_free(struct daemon *d);

/* What the status pages look at. */
struct daemon_parts {
	struct loop *loop;
	const struct config *config;
	struct store *store;
	struct cluster *cluster;
	struct engine *engine;
	struct piece_server *pieces;
	struct proxy *proxy;            /* NULL: proxy.server.enable is false */
	struct scheduler *scheduler;    /* NULL: none inside */
	const char *own_scheduler;      /* its address; NULL: none */
	struct workers *workers;
	struct rpc_server *download_rpc, *upload_rpc;
	const struct admission *download_admission, *upload_admission;
	const struct callers *callers;          /* of the upload port */
	const struct local_counts *counts;      /* calls of both servers */
	struct metrics_backend *backend;        /* requests to origins */
	struct status *status;
	int64_t started_ms;             /* monotonic */
	bool is_ready;
};
const struct daemon_parts *daemon_parts(const struct daemon *d);

#endif
