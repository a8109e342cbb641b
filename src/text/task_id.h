/*
 * What a standard task's id is made of: an agreement between all peers and schedulers of a cluster, to the byte (spec: download.md 1.4).
 */
#ifndef TEXT_TASK_ID_H
#define TEXT_TASK_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct err;

#define TASK_ID_LENGTH 64               /* lower-case hex; what a piece request carries */
#define TASK_ID_SIZE (TASK_ID_LENGTH + 1)

/* Query parameters that do not enter the id when the user names none: those that sign a URL, and "ns". NULL-terminated. */
extern const char *const default_filtered_query_params[];
#define DEFAULT_FILTER_COUNT 30

struct task_key {
	struct slice url;
	const struct slice *filtered_query_params;
	size_t n_filtered_query_params;
	struct slice tag, application, revision;
	bool has_piece_length;
	uint64_t piece_length;
	bool is_blob_digest;            /* the URL of a blob or manifest by its sha256 digest: that is the id */
};

/* INVALID_ARGUMENT "ParseError cause: ..." for a URL that cannot be one. */
int task_id_of_key(const struct task_key *k, char out[TASK_ID_SIZE], struct err *e);
/* Of a content that names the task whatever its URL is. */
void task_id_of_bytes(const void *p, size_t n, char out[TASK_ID_SIZE]);

#endif
