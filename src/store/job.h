/*
 * What a job is: private to the two files of jobs. job_run.c does its work on any thread, job.c starts it, takes its steps and ends it on
 * the control loop.
 */
#ifndef STORE_JOB_H
#define STORE_JOB_H

#include "store/private.h"

enum step {
	STEP_CONTENT, STEP_RECORD, STEP_NAME, STEP_TRASH, STEP_SHARDS, STEP_TREE, STEP_VERIFY, STEP_CACHE, STEP_PLACED, STEP_INDEX, STEP_LOOK,
};

struct check {
	uint32_t number;
	uint32_t crc;
	uint64_t offset, length;
	bool is_bad;
};

struct shard_name {
	enum store_kind kind;
	unsigned shard;
};

struct store_job {
	struct store *s;
	enum step step;
	int errnum;
	const char *what;               /* names the call that failed */
	/* For a task: */
	struct store_task *t;           /* not touched by store_job_run */
	struct store_file *content;
	uint32_t generation, meta_version;
	uint32_t covered;               /* journal records whose pieces step 1 syncs */
	uint64_t bytes;
	bool only_record;               /* a changed record of a task whose pieces are as synced as before */
	bool writes_record;
	bool is_complete;
	bool syncs_content_parent, syncs_meta_parent;
	enum store_kind kind;
	char shard[STORE_NAME_MAX], journal[STORE_NAME_MAX], record[STORE_NAME_MAX], tmp[32];
	struct buf meta;
	struct check *checks;
	size_t check_count;
	/* For trash, and for the directories it was in: */
	struct list trash;
	struct shard_name *shards;
	size_t shard_count;
	bool syncs_meta_kind[STORE_KINDS], syncs_content_kind[STORE_KINDS];
	struct list placed;
	uint32_t tree_from, tree_to;
	int fd;                         /* of the index, whose lines are in meta, for this place */
	uint64_t at;
	bool syncs_index;
	unsigned look_at;               /* the shard that is read */
};

#endif
