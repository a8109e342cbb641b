/*
 * Inside of the store: what its files share. Nobody outside src/store includes this.
 */
#ifndef STORE_PRIVATE_H
#define STORE_PRIVATE_H

#include <stdatomic.h>

#include "base/arena.h"
#include "base/map.h"
#include "store/file.h"
#include "store/format.h"
#include "store/store.h"
#include "store/sys.h"

#define STORE_TASKS_MAX ((size_t)1 << 20)       /* what a control loop can still walk; memory grows with it */
#define STORE_NAME_MAX 192                      /* "persistent-cache-tasks/abc/<128 hex>.m" and room */
#define STORE_SHARDS 4096                       /* three hex digits */
#define STORE_LOADED_MAX 1024                   /* idle tasks whose pieces stay in memory */
#define STORE_JOBS_MAX 2                        /* at a time: one long fdatasync does not hold up a small one */
#define STORE_CHECKPOINT_BYTES ((uint64_t)256 << 20)
#define STORE_CHECKPOINT_NS ((int64_t)30 * 1000000000)
#define STORE_CHECKPOINT_MIN_NS ((int64_t)2 * 1000000000)       /* a download faster than this syncs once, at its end */
/* From the last piece to the sync of a finished task: its callers have it by then, and many small tasks become one write. */
#define STORE_SETTLE_NS ((int64_t)1000000000)
#define STORE_TOUCH_NS ((int64_t)60 * 1000000000)               /* access times are written at most this often */

/* State of one shard directory (kind and first three digits). */
#define SHARD_META 1            /* exists under meta */
#define SHARD_CONTENT 2         /* exists under content */
#define SHARD_META_NEW 4        /* made, and its name not yet synced */
#define SHARD_CONTENT_NEW 8
#define SHARD_DELETED 16        /* a record was removed and that may come back after a power cut */
#define SHARD_DELETED_AGAIN 32  /* ... since a job last began to sync it */
#define SHARD_UNSEEN 64         /* not read in this run: what the index does not name may be there all the same */

#define ENTRY_FINISHED 1
#define ENTRY_CRC 2
#define ENTRY_TRUSTED 4         /* written or checked in this run, or synced before */
#define ENTRY_DURABLE 8
#define ENTRY_SYNCING 16        /* the running job makes it durable */
#define ENTRY_UNSEEN 32         /* of an earlier run, and not compared with its checksum in this one */

struct entry {
	int64_t created_at;
	int64_t finished_at;
	uint64_t cost_ns;
	uint32_t crc;
	uint16_t parent;        /* 1-based place in parents; 0: none */
	uint8_t flags;
	uint8_t traffic_type;
};

#define STORE_PARENTS_MAX 1024  /* different parents remembered per task; later ones are not named */

struct store_pieces {
	struct arena arena;             /* details */
	struct store_header *headers;
	size_t header_count;
	const char *etag, *last_modified, *url;
	struct entry *entries;          /* grows with the numbers that arrive */
	uint64_t *bits;
	uint32_t cap;                   /* entries, a multiple of 64 */
	uint32_t prefix;                /* finished from 0 on, at least */
	uint32_t untrusted;             /* finished entries that need a check before a checkpoint may speak for them */
	uint32_t unseen;                /* ... that need one before their first use in this run */
	char **parents;
	uint16_t parent_count;
};

/* What is left of a task that is out of the store, for a job: content moved aside as tmp/d-<number>, or all its files, under their names. */
enum trash_state { TRASH_WAITING, TRASH_AT_WORK, TRASH_DONE };

struct trash {
	struct list link;
	enum store_kind kind;
	unsigned shard;
	bool has_file;                  /* moved aside */
	uint32_t number;
	bool has_names;
	_Atomic unsigned state;         /* of the names: who makes it AT_WORK removes them */
	uint64_t bytes;                 /* that come back with them */
	char id[STORE_ID_MAX + 1];
};

#define STORE_TRASH_MAX 2048            /* tasks waiting for their removal; a collection goes on when there are fewer */

/* The list of tasks in one file (index.c). Only jobs write to it. */
struct index {
	int fd;                         /* -1: none */
	uint32_t records;               /* lines in it and in `lines` */
	struct buf lines;               /* to be written */
	bool has_job;
	/* While it is made anew: */
	bool is_renewing, is_walked;
	int new_fd;
	uint32_t new_records, number;   /* tmp/x-<number> */
	struct buf new_lines;
	int kind;                       /* where the walk is */
	size_t at, cap;
	int64_t failed_at;              /* monotonic ns; 0: it did not */
};

/* An output to be synced. */
struct placed {
	struct list link;
	int64_t at;                     /* monotonic ns */
	char path[];
};

#define STORE_PLACED_MAX 4096           /* waiting for their sync; more are left to the file system */

struct store {
	struct store_options o;
	char *dir;
	const struct store_sys *sys;
	mode_t dir_mode, file_mode;
	int lock_fd, dir_fd, content_fd, meta_fd, tmp_fd;
	bool was_clean;
	struct map tasks[STORE_KINDS];
	struct list partial, finished[STORE_KINDS];
	struct list open_files, loaded, sync_queue, trash, dirty, unsynced;
	size_t trash_count;
	struct map leaving[STORE_KINDS];        /* trash whose names are not removed yet, by id */
	uint64_t leaving_bytes;
	struct index index;
	bool is_opening, is_ending;
	size_t hints;                   /* tasks known from the index alone */
	unsigned scan_at;               /* kind and shard that the background looks at next */
	bool scan_job;
	size_t hint_at;                 /* last walk over hints without a record */
	int hint_kind;
	unsigned open_count, loaded_count, jobs;
	struct list placed;
	unsigned placed_count;
	bool is_pumping;
	bool made_dirs;                 /* whose names are not synced yet */
	struct heap expiry;
	uint8_t shards[STORE_KINDS][STORE_SHARDS];
	unsigned deleted_shards;        /* with SHARD_DELETED_AGAIN */
	int64_t deleted_since;          /* monotonic ns: when they began to be more than none */
	unsigned sync_shard_at;         /* where the search for them goes on */
	uint64_t used, reserved;
	uint32_t next_tmp;
	uint32_t old_trees;             /* trash-<n> directories, n below this, may exist */
	bool tree_job;
	uint64_t gc_goal, gc_demand;    /* bytes still to free */
	struct list *cache_at[STORE_KINDS];     /* where dropping of page caches goes on; NULL: from the youngest */
};

#define JOURNAL_MUST_REWRITE UINT32_MAX /* journal_records when the file on disk cannot be appended to */

/* ---- names ---- */
extern const char *const store_kind_dirs[STORE_KINDS];
unsigned store_shard(const char *id);
/* "tasks/abc/<id><suffix>" */
/* gc.c: one idle standard task leaves, the longest unused; a partial one before a finished one. False: there is none. */
bool store_evict_one(struct store *s);
void store_name(char out[STORE_NAME_MAX], enum store_kind kind, const char *id, const char *suffix);
/* "tasks/abc" */
void store_shard_name(char out[STORE_NAME_MAX], enum store_kind kind, unsigned shard);

/* ---- system calls that repeat on EINTR and take all bytes; errno set on -1 (dirs.c) ---- */
int store_write_all(const struct store_sys *sys, int fd, const void *p, size_t n, uint64_t at);
/* Bytes read up to n (fewer at the end of the file), or -1. */
ssize_t store_read_all(const struct store_sys *sys, int fd, void *p, size_t n, uint64_t at);
int store_open_at(const struct store_sys *sys, int dir, const char *name, int flags, mode_t mode);
int store_datasync(const struct store_sys *sys, int fd);
int store_sync_dir(const struct store_sys *sys, int dir, const char *name);
/* Writes a whole new file of this name; it is unlinked again on failure. */
int store_write_file(const struct store_sys *sys, int dir, const char *name, mode_t mode, const void *p, size_t n, bool sync);
/* Calls f for each name but "." and ".."; stops when it returns non-zero. 0, f's value, or -1 with errno. */
int store_each_name(const struct store_sys *sys, int dir, const char *name, int (*f)(void *arg, int fd, const char *name), void *arg);
/* Removes a directory with everything in it; the first error's errno stays. */
int store_remove_tree(const struct store_sys *sys, int dir, const char *name, unsigned depth);

/* ---- tasks (task.c) ---- */
struct store_task *store_task_new(struct store *s, enum store_kind kind, const char *id);
void store_task_leave(struct store_task *t);            /* out of its ring */
void store_task_place(struct store_task *t);            /* into the ring of its state, as the most recent */
void store_task_account(struct store_task *t, uint64_t disk_bytes);
void store_task_unfinish(struct store_task *t);
void store_task_free_if_unused(struct store_task *t);
void store_task_changed(struct store_task *t);          /* the record differs from the disk */
void store_task_complete(struct store_task *t, int64_t at);     /* all pieces were found: it was finished */
void store_task_changed_late(struct store_task *t);     /* the same, and there is no hurry */
void store_task_write(struct store_task *t);            /* tries to write it now; on failure it is in the dirty list */
void store_task_written(struct store_task *t);

/* ---- content and records (content.c, meta.c) ---- */
struct store_file *store_content_open(struct store_task *t, struct err *e);     /* the store's own, in t->file */
int store_content_create(struct store_task *t, struct err *e);
/* Makes the shard directories when this is their first task, and lets no removed record come back under a new content. */
int store_ready_shard(struct store_task *t, struct err *e);
void store_content_look(struct store_task *t);          /* blocks */
bool store_content_is_shared(struct store_task *t);     /* it has another name, a user's */
/* Why it could not be opened will not pass by itself: it is not there, or somebody else's. */
bool store_content_is_lost(const struct err *e);
/* A content file longer than its content is cut, or given up where a user has it, too: as a link it would deliver the rest. */
void store_content_cut(struct store_task *t);
void store_content_remember(struct store_task *t);      /* identity */
/* Record, journal and content out of their names; the content's bytes go by a job. */
int store_content_discard(struct store_task *t, struct err *e);
/* The same, all of it by a job. A task of the same id that begins before the job came to it, removes them itself (reclaim; UNAVAILABLE
 * where another thread is at it for long). */
void store_content_discard_later(struct store_task *t, uint64_t disk_bytes);
int store_content_reclaim(struct store_task *t, struct err *e);
int store_trash_unlink(struct store *s, const struct trash *item);      /* on any thread; the first error's errno */
/* A record of this shard was unlinked: its directory is to be synced before a new task is in it, in the background as a rule. */
void store_shard_deleted(struct store *s, enum store_kind kind, unsigned shard);
/* Out of the index like store_task_delete; its files go by a job. */
void store_task_collect(struct store_task *t, enum store_reason reason);
void store_close_files(struct store_task *t);
void store_shrink_open(struct store *s);
void store_opened(struct store_task *t);
void store_meta_fill(const struct store_task *t, int64_t complete_at, struct store_meta *m);
int store_meta_write(struct store_task *t, bool sync, struct err *e);
/* A record or journal: written as tmp/<kind>-<n>, then given its name below meta/. */
int store_replace(struct store_task *t, char kind, const char *suffix, struct slice bytes, bool sync, struct err *e);
/* `file` below `dir` is the record of task `id`. */
int store_meta_read(struct store *s, int dir, const char *file, enum store_kind kind, const char *id, struct arena *a, struct store_meta *m,
	struct err *e);

/* ---- pieces (piece.c, journal.c) ---- */
int store_load(struct store_task *t, struct err *e);
void store_unload(struct store_task *t);
void store_shrink_loaded(struct store *s);
int store_entry_room(struct store_pieces *p, uint32_t number);
void store_entry_set(struct store_task *t, uint32_t n, const struct entry *from, uint64_t length);
void store_entry_clear(struct store_task *t, uint32_t n);
void store_drop_all(struct store_task *t);
void store_distrust(struct store_task *t);              /* every finished piece needs a check */
int store_journal_load(struct store_task *t, struct err *e);
int store_journal_append(struct store_task *t, struct store_record *r, struct err *e);
int store_journal_rewrite(struct store_task *t, struct err *e);

/* ---- jobs (job.c, job_run.c) ---- */
/* A job for the outputs that were placed before this monotonic time. */
void store_sync_placed(struct store *s, int64_t before);
void store_drop_cache(struct store_task *t);            /* for large content, which takes a while */
void store_sync_request(struct store_task *t);
void store_sync_now(struct store_task *t);              /* all steps in this call */
void store_sync_due(struct store_task *t, int64_t now);
void store_trash_add(struct store *s, struct trash *item);
void store_pump(struct store *s);

/* ---- space (gc.c) ---- */
/* For content of unknown length, whose pieces are admitted one by one. */
int store_check_budget(struct store_task *t, uint64_t more, struct err *e);
/* Where files rather than bytes ran out, the error says so. -1. */
int store_say_inodes(struct store *s, struct err *e);
/* Evicts for what was demanded, for no longer than a caller may be kept waiting. */
void store_evict_now(struct store *s);

/* ---- index (index.c) ---- */
/* Makes a hint of each task in it, and keeps it open. False: there is none. */
bool store_index_load(struct store *s);
void store_index_note(struct store_task *t, bool is_removed);   /* a line more */
void store_index_tick(struct store *s);
/* A job that takes these lines, the last of `end`, to the file, and may sync it (job.c); it comes back with its descriptor. */
void store_index_job(struct store *s, int fd, struct buf *lines, uint32_t end, bool sync);
void store_index_written(struct store *s, int fd, int errnum);
void store_index_lost(struct store *s);                         /* its name was removed */
void store_index_close(struct store *s);

/* ---- start (open.c, recover.c) ---- */
/* A task for use: what is known from the index alone is compared with its record first. NULL when there is none. */
struct store_task *store_lookup(struct store *s, enum store_kind kind, const char *id);
struct store_task *store_sure(struct store_task *t);
/* The record of a hint was read: its values are the task's from now on. */
void store_adopt(struct store_task *t, const struct store_meta *m);
/* Reads one shard as the start does. */
void store_scan_shard(struct store *s, enum store_kind kind, unsigned shard);
/* The next shard that was not read in this run: 0, or -1 when there is none. */
int store_scan_next(struct store *s, enum store_kind *kind, unsigned *shard);
void store_scan_rest(struct store *s);
/* A path of this task was not there: makes every directory that somebody removed anew. Running jobs go on. -1 with errno. */
int store_heal(struct store_task *t);
int store_recover(struct store *s, struct err *e);

#endif
