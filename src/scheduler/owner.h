/*
 * Whose a host is: an announcement, and orders about a host, could come from anybody who knows its id. While a host lives only who announced
 * it, who sits at the address that its id begins with, who shows a certificate of its address or name, and this machine may speak for it.
 * Hosts behind address translation whose address changes are refused until their last announcement is out of date (two intervals, a
 * minute at least), then taken.
 */
#ifndef SCHEDULER_OWNER_H
#define SCHEDULER_OWNER_H

#include <stdbool.h>

#include "base/slice.h"

struct addr;
struct err;
struct rpc_stream;
struct sched_host;
struct sched_resources;
struct scheduler;

/* Refusals are written of so often at most. */
#define OWNER_LOG_MS 1000

/* Whether a caller at this address, with this certificate (DER; n 0: none), may speak for the host now. h may be NULL: nobody's yet. */
bool owner_may_speak(const struct sched_resources *r, const struct sched_host *h, const struct addr *at, struct slice cert);
/* The same for the caller of a stream: PERMISSION_DENIED when it may not, which is logged. */
int owner_check(struct scheduler *s, const struct rpc_stream *rpc, const struct sched_host *h, struct err *e);
/* After an announcement that was taken. */
void owner_set(struct sched_host *h, const struct addr *at);

#endif
