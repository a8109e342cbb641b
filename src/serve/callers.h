/*
 * Who calls the upload port, and what they may ask for (spec: daemon.md 9.4). A scheduler is who calls from the address of a listed one or
 * from this host, or shows a certificate of a name that the configuration trusts with it.
 */
#ifndef SERVE_CALLERS_H
#define SERVE_CALLERS_H

#include <stdbool.h>
#include <stdint.h>

#include "net/cidr.h"

struct cluster;
struct common_object_storage;
struct config;
struct err;
struct rpc_stream;

/* Refused orders are written of so often at most. */
#define CALLERS_LOG_MS 1000

struct callers {
	const struct config *config;
	const struct cluster *cluster;  /* NULL: no scheduler is known yet */
	struct cidr *ranges;            /* behind `origins` */
	struct addr_rules origins;      /* where guarded requests may go (x.upload.origins) */
	uint64_t refused;               /* orders, ever */
	int64_t refused_ms;             /* one was last written of */
};

/* The configuration outlives it. */
void callers_init(struct callers *c, const struct config *config);
void callers_free(struct callers *c);

/* For each call of the upload port: PERMISSION_DENIED for an order (downloads, deletions, changes, questions to origins) by somebody who
 * may not give any (x.upload.control). */
int callers_check(struct callers *c, const struct rpc_stream *s, struct err *e);

/* A credential is a file of this host: PERMISSION_DENIED where a caller of the upload port names one. */
int callers_check_credentials(const struct common_object_storage *storage, struct err *e);

/*
 * True for a call from another host: origins on its behalf are bounded by the rules. That holds for schedulers too: they pass on what anybody
 * asked them for. This host itself (loopback, the unix socket) may name any origin.
 */
bool callers_is_guarded(const struct rpc_stream *s);

#endif
