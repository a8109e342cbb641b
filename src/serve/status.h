/*
 * The three small HTTP servers of a daemon (spec: daemon.md 5): health (/healthy, /ready), metrics (/metrics) and stats (/debug/state).
 * Everything else is 404.
 */
#ifndef SERVE_STATUS_H
#define SERVE_STATUS_H

#include <stddef.h>
#include <stdint.h>

struct daemon_parts;
struct err;
struct status;

/* Of each server (spec: daemon.md 10): probes, scrapers and people are few. */
#define STATUS_CONNECTIONS_MAX 64
#define STATUS_HEADER_MAX 8192
#define STATUS_IDLE_MS 10000

enum status_server { STATUS_HEALTH, STATUS_METRICS, STATUS_STATS, STATUS_SERVERS };

/* Binds those that the configuration enables; parts is looked at with each request and lives longer. The error names section and address. */
struct status *status_new(const struct daemon_parts *parts, struct err *e);
/* Where a server listens; 0 when it does not. */
uint16_t status_port(const struct status *s, enum status_server which);
void status_free(struct status *s);

#endif
