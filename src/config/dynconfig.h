/*
 * What may change while the daemon runs: schedulers and block lists, from a local file (without a manager) or, the block lists,
 * from the JSON that a manager sends. Each load gives a fresh struct that is only read afterwards; whoever holds the old one keeps
 * it until the new one is good. Resolving and asking the schedulers is the cluster room's.
 */
#ifndef CONFIG_DYNCONFIG_H
#define CONFIG_DYNCONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "config/config.h"

struct regex;

/* Per list; each entry is tried for each request. */
#define DYNCONFIG_LIST_MAX 10000
#define DYNCONFIG_PATTERNS_MAX 1000
#define DYNCONFIG_ADDRS_MAX 1024

struct block_list {
	struct config_strings applications;     /* exact */
	struct config_strings tags;             /* exact */
	struct regex **urls;                    /* searched in the full URL, query included */
	size_t url_count;
	int32_t *priorities;                    /* exact; lists for downloads only */
	size_t priority_count;
};

struct client_config {
	struct block_list task_download;
	struct block_list persistent_task_download;
	struct block_list persistent_task_upload;
	struct block_list persistent_cache_task_download;
	struct block_list persistent_cache_task_upload;

	struct arena arena;
};

struct dynconfig {
	const char *scheduler_addr;             /* "name:port"; never NULL */
	struct config_strings scheduler_addrs;  /* "host:port" each, without duplicates, IPv4 first, then IPv6, then names, each sorted;
	                                         * not empty: wins over scheduler_addr */
	bool is_embedded;                       /* addr says "embedded", or nothing was said and the caller has a scheduler of its own */
	struct client_config client;            /* holds for a peer that is no seed */
	struct client_config seed;              /* holds for a seed peer */

	struct arena arena;
};

#define DYNCONFIG_DEFAULT_ADDR "dragonfly-scheduler:8002"
#define DYNCONFIG_EMBEDDED "embedded"

/*
 * Reads dynconfig.yaml. A file that is not there is the same as an empty one, with a warning: nothing is written. has_embedded: this
 * daemon carries a scheduler, which is taken when the file names none. Errors as with config_load_file. notes may be NULL.
 * Free with dynconfig_free.
 */
int dynconfig_load_file(const char *path, bool has_embedded, struct dynconfig *out, struct config_notes *notes, struct err *e);
int dynconfig_load_text(const char *text, size_t len, const char *name, bool has_embedded, struct dynconfig *out,
	struct config_notes *notes, struct err *e);
void dynconfig_free(struct dynconfig *d);

/* The client_config or seed_client_config bytes of a manager's scheduler cluster. Nothing at all gives no rules. A bad pattern is
 * skipped with a warning while the rest holds: a block list must not vanish for one slip. On failure keep what you had.
 * Free with client_config_free. */
int client_config_load_json(struct slice json, const char *name, struct client_config *out, struct config_notes *notes, struct err *e);
void client_config_free(struct client_config *c);

/* What a request says of itself; absent parts never match. */
struct block_query {
	struct slice url;               /* p == NULL: absent */
	struct slice application;
	struct slice tag;
	bool has_priority;
	int32_t priority;
};

/* Why a request is blocked ("url", "application", "tag", "priority"), or NULL when it is not. */
const char *block_list_match(const struct block_list *l, const struct block_query *q);

#endif
