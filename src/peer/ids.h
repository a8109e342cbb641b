/*
 * Names of hosts, peers, pieces and tasks. A task id is an agreement between all peers of a cluster: the rules are those of the
 * reference to the byte (spec: download.md 1).
 */
#ifndef PEER_IDS_H
#define PEER_IDS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"
#include "text/task_id.h"

struct common_download;
struct err;

#define HOST_ID_SIZE 320                /* ip, "-", host name (255), "-seed", NUL */
#define PEER_ID_SIZE (HOST_ID_SIZE + 37)

/* "<ip>-<hostname>" and "-seed" on a seed peer; cut to fit. */
void host_id_make(char out[HOST_ID_SIZE], const char *ip, const char *hostname, bool is_seed);
/* A fresh "<ip>-<hostname>-<uuid>" and "-seed" on a seed peer. */
void peer_id_make(char out[PEER_ID_SIZE], const char *ip, const char *hostname, bool is_seed);

/* Exactly 64 lower-case hex digits. */
bool task_id_is_valid(struct slice id);

/* Id of a standard task. INVALID_ARGUMENT "ParseError cause: ..." for a URL that cannot be one. */
int task_id_standard(const struct common_download *d, char out[TASK_ID_SIZE], struct err *e);
/* Id of a persistent task: url, region and endpoint as they stand. */
void task_id_persistent(struct slice url, struct slice region, struct slice endpoint, char out[TASK_ID_SIZE]);

#endif
