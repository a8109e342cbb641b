/*
 * What a request must hold before it is looked at, with the error texts of the Go scheduler's generated validators, since peers
 * and users see them. Pure. Each returns 0, or -1 with INVALID_ARGUMENT.
 */
#ifndef SCHEDULER_VALIDATE_H
#define SCHEDULER_VALIDATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

struct err;
struct scheduler_announce_host_request;
struct scheduler_announce_peer_request;

int validate_announce_peer(const struct scheduler_announce_peer_request *m, struct err *e);
int validate_announce_host(const struct scheduler_announce_host_request *m, struct err *e);
/* One id of `message`, named as in Go: "HostId", "TaskId", "PeerId". */
int validate_id(const char *message, const char *field, struct slice id, struct err *e);
/* An absolute URI. */
int validate_url(const char *message, const char *field, struct slice url, struct err *e);
/* min <= seconds <= max, as a duration field. */
int validate_ttl(const char *message, bool is_there, int64_t seconds, int32_t nanos, struct err *e);

#endif
