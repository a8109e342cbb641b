/*
 * Which calls a gRPC server takes. By rate (spec: daemon.md 8.2): tokens earned by time, kept up to a second's worth and a buffer;
 * on TCP one host has at most the rate and half of that buffer, so that it cannot shut others out. By load (8.3, adaptive.h).
 */
#ifndef SERVE_ADMISSION_H
#define SERVE_ADMISSION_H

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct adaptive;
struct err;
struct rpc_stream;

/* Hosts share this many buckets by a hash of their address: memory does not grow with them. */
#define ADMISSION_HOSTS 256

struct admission_bucket {
	uint64_t tokens;
	int64_t at_ms;                  /* monotonic: earned up to here */
};

struct admission {
	uint64_t rate;                  /* requests a second; 0: no limit */
	uint64_t burst, host_burst;
	struct admission_bucket all, hosts[ADMISSION_HOSTS];
	uint64_t refused;               /* ever */
	struct adaptive *adaptive;      /* NULL: load does not matter */
};

void admission_init(struct admission *a, uint64_t rate, uint64_t buffer, int64_t now_ms);
/* One request from a host (the bytes of its IP; n 0: the unix socket): 0, or -1 with RESOURCE_EXHAUSTED. */
int admission_take(struct admission *a, struct slice host, int64_t now_ms, struct err *e);
/* For rpc_server_opts.admit and .answered, with the struct admission as ctx. */
int admission_admit(void *ctx, const struct rpc_stream *s, struct err *e);
void admission_answered(void *ctx, const struct rpc_stream *s, int64_t ms);

#endif
