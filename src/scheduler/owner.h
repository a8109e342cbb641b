/*
 * Whose a host is: an announcement, and orders about a host, could come from anybody who knows its id. While a host lives only who announced
 * it, who sits at the address that its id begins with, who shows a certificate of its address or name, and this machine may speak for it.
 * Hosts behind address translation whose address changes are refused until their last announcement is out of date (two intervals, a
 * minute at least), then taken.
 */
#ifndef SCHEDULER_OWNER_H
#define SCHEDULER_OWNER_H

struct err;
struct rpc_stream;
struct sched_host;
struct scheduler;

/* Refusals are written of so often at most. */
#define OWNER_LOG_MS 1000

/* h may be NULL: nobody's yet. PERMISSION_DENIED when the caller may not speak for it; then it is logged. */
int owner_check(struct scheduler *s, const struct rpc_stream *rpc, const struct sched_host *h, struct err *e);
/* After an announcement that was taken. */
void owner_set(struct sched_host *h, const struct rpc_stream *rpc);

#endif
