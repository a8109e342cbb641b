/*
 * What a daemon does at this moment, as text for a person (GET /debug/state on the stats port). No URL and no header: ids alone.
 */
#ifndef SERVE_STATUS_STATE_H
#define SERVE_STATUS_STATE_H

struct buf;
struct daemon_parts;

/* Tasks shown; the rest is only counted. */
#define STATUS_STATE_TASKS_MAX 1000

void status_state_write(const struct daemon_parts *p, struct buf *out);

#endif
