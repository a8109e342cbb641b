/*
 * The inside of a daemon: for daemon.c, which puts it together, and daemon_stop.c, which takes it apart.
 */
#ifndef SERVE_DAEMON_INTERNAL_H
#define SERVE_DAEMON_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

#include "net/addr.h"
#include "net/loop.h"
#include "net/rpc_server.h"
#include "peer/ids.h"
#include "serve/adaptive.h"
#include "serve/admission.h"
#include "serve/callers.h"
#include "serve/daemon.h"
#include "serve/download.h"
#include "serve/entries.h"
#include "serve/health.h"
#include "serve/local.h"
#include "serve/metrics_backend.h"
#include "serve/persistent.h"
#include "serve/sync.h"
#include "serve/turn.h"

struct front;
struct listener;
struct tls_config;

/* Connections with certificates: what serves and calls peers, and what calls the cluster's services. */
enum daemon_tls_kind { TLS_UPLOAD, TLS_PARENTS, TLS_PIECES_OUT, TLS_PIECES_IN, TLS_SCHEDULERS, TLS_MANAGER, TLS_SCHEDULER_PORT, TLS_KINDS };

struct daemon_tls {
	struct tls_config *config;      /* NULL: plaintext */
	char *failed;                   /* why the files that are there now cannot be used; said once */
};

struct daemon {
	struct daemon_parts parts;
	struct rpc_server *scheduler_rpc;
	struct listener *unix_listener;
	struct front *upload_front, *scheduler_front;
	struct health download_health, upload_health, scheduler_health;
	struct admission download_admission, upload_admission;
	struct adaptive download_adaptive, upload_adaptive;
	struct adaptive_load load;
	struct callers callers;
	struct download_service local, remote;
	struct sync_service sync;
	struct turn_service turns;
	struct local_service about_tasks;
	struct entries_service entries;
	struct persistent_service persistent;
	struct metrics_backend backend;
	struct rpc_method download_methods[1], upload_methods[3];
	struct daemon_tls tls[TLS_KINDS];
	gid_t socket_group;             /* of the unix socket; -1: the process's */
	char host_id[HOST_ID_SIZE], own_scheduler[ADDR_TEXT_MAX];
	struct loop_timer tick, gc, certificates, sample, grace, home;
	unsigned draining;              /* servers that still have work */
	bool is_ending;                 /* daemon_free is at work: what the steps of an orderly stop report comes too late */
	atomic_uint stops;
	struct loop_msg stop_msg;
	atomic_bool is_reloading;       /* reload_msg is on its way */
	struct loop_msg reload_msg;
};

/* daemon_tls.c: all that is configured, or -1; looks at the files now and then; the end. */
int daemon_tls_load(struct daemon *d, struct err *e);
void daemon_tls_refresh(void *ctx);
void daemon_tls_free(struct daemon *d);

/* What the letters of daemon_stop and daemon_reload do. */
void daemon_on_stop(struct loop_msg *msg);
void daemon_on_reload(struct loop_msg *msg);

#endif
