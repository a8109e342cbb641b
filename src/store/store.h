/*
 * What this host has on disk: tasks, their pieces, the space they take. Plain files; the format is doc/storage.md.
 *
 * One thread (the control loop) makes every call here. Bytes are moved by other threads through struct store_file
 * (store/file.h), which is reference counted; finished files go to users through store/output.h.
 * Slow work (fdatasync, unlink of large files) is packed into jobs that the owner runs on another thread: see store_options.run.
 * Which pieces are in flight, and who waits for them, is not known here.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/heap.h"
#include "base/list.h"
#include "base/slice.h"

struct err;
struct store;
struct store_file;
struct store_job;
struct store_sys;
struct store_task;
struct store_pieces;

#define STORE_ID_MAX 128                        /* an id is 64 or 128 lower-case hex digits */
#define STORE_CONTENT_MAX ((uint64_t)1 << 44)   /* bytes of one task: 16 TiB, what ext4 holds in a file */
#define STORE_PIECES_MAX ((uint32_t)1 << 20)    /* pieces of one task: 32 MiB of index when all are there */
#define STORE_PIECE_LENGTH_MAX ((uint64_t)1 << 30)
#define STORE_HEADERS_MAX 256                   /* response headers kept with a task */
#define STORE_DETAILS_MAX (64 * 1024)           /* bytes of headers, validators and url together */
#define STORE_LENGTH_UNKNOWN UINT64_MAX

enum store_kind { STORE_STANDARD, STORE_PERSISTENT, STORE_PERSISTENT_CACHE, STORE_KINDS };
enum store_sync { STORE_SYNC_NONE, STORE_SYNC_COMPLETE, STORE_SYNC_PIECE };
enum store_traffic { STORE_FROM_SOURCE = 0, STORE_FROM_PEER = 1 };
enum store_reason { STORE_DELETED_BY_CALLER, STORE_DELETED_EXPIRED, STORE_DELETED_FOR_SPACE, STORE_DELETED_DAMAGED };

struct store_options {
	const char *dir;                /* made when absent (one level) */
	bool keep;                      /* false: what an earlier run left is thrown away (moved aside at once, removed by jobs) */
	enum store_sync sync;           /* 0 is NONE; the daemon's default is COMPLETE */
	uint64_t capacity;              /* byte budget; 0: the file system is the limit */
	unsigned mode;                  /* of directories; 0: 0750. Files get its read and write bits (0640) */
	unsigned max_open;              /* idle content files kept open; 0: 128 */
	size_t tasks_max;               /* 0: STORE_TASKS_MAX; beyond, the longest unused standard task makes room for a new one */
	unsigned index_from;            /* tasks from which on an index of all is kept, for a quick start; 0: 1024 */
	const struct store_sys *sys;    /* NULL: the system's calls */
	/* Takes a job to another thread, which calls store_job_run(job) and brings it back to the control loop for store_job_done(job).
	 * Jobs may run one at a time or together. NULL: they run inside the call that makes them (tests, dfget alone). */
	void (*run)(void *arg, struct store_job *job);
	/* A task has just left the store (it is out of the index; its memory lives while in use). Who downloads it should stop.
	 * Must not call back into the store except for store_task_release and the readers. */
	void (*deleted)(void *arg, struct store_task *task, enum store_reason reason);
	void *arg;
};

/*
 * Opens, locks, recovers. NULL: ALREADY_EXISTS when another process holds it, FAILED_PRECONDITION for a foreign directory
 * or a newer format, else what the system said, with the path.
 */
struct store *store_open(const struct store_options *o, struct err *e);
/* Brings what is not yet on stable storage there (up to STORE_CLOSE_MAX_MS), marks the store clean, frees all. No job may be
 * under way and no task or file in use by others any more. */
#define STORE_CLOSE_MAX_MS 5000
void store_close(struct store *s);
/* No more records are read in the background: the owner waits for the jobs that run, to close. */
void store_end_background(struct store *s);

/* On any thread. */
void store_job_run(struct store_job *job);
/* On the control loop, after store_job_run. Frees the job, and may start the next. */
void store_job_done(struct store_job *job);
unsigned store_jobs_running(const struct store *s);
/* Call about once a second: starts due checkpoints and writes access times that are a minute old. Times are wall ns everywhere. */
void store_tick(struct store *s, int64_t now);

/* ---- tasks ---- */

/* Read freely, change only through the functions below. Valid while in the index or in use (store_task_use). */
struct store_task {
	struct store *store;
	const char *id;
	enum store_kind kind;
	bool is_persistent;             /* pinned: only its ttl ends it */
	bool is_imported;
	bool is_private;                /* the request that it was started for carried credentials */
	bool is_deleted;                /* out of the index; finish with NOT_FOUND */
	bool is_linked;                 /* some output shares the content's inode */
	bool is_recovered;              /* of an earlier run, and not started in this one: its origin may have changed since */
	bool is_synced;                 /* all of it is on stable storage */
	uint64_t content_length;        /* STORE_LENGTH_UNKNOWN until known */
	uint64_t piece_length;          /* 0 until started */
	int64_t created_at, updated_at; /* wall ns; updated_at is the last access */
	int64_t finished_at, failed_at, prefetched_at;  /* 0: not */
	int64_t ttl;                    /* ns; persistent kinds */
	uint32_t pieces_finished;       /* exact once loaded (find loads) */
	uint64_t bytes_finished;
	uint64_t disk_bytes;            /* blocks of the content file as last looked at */
	uint32_t uploading_count;
	uint64_t uploaded_count;
	unsigned uses;

	/* The rest is the store's. */
	struct store_pieces *loaded;    /* details and pieces; NULL while only on disk */
	struct store_file *file;        /* the store's own reference; NULL while not open */
	int journal_fd;                 /* -1 while not open */
	uint32_t journal_records;       /* good records on file; the next one goes behind them */
	uint32_t generation;            /* counts resets, so that a job of an older content is known as such */
	uint32_t meta_version;          /* counts changes of the task record */
	uint32_t written_version;       /* ... the one on disk */
	struct list order;              /* by last access: one ring for partial tasks, one per kind for finished ones */
	struct list open_order;         /* while a descriptor is open */
	struct list loaded_order;       /* while loaded */
	struct list work;               /* waiting for a sync job */
	struct list dirty;              /* the record on disk is old */
	struct list unsynced;           /* has pieces that no checkpoint covers */
	struct heap_node expiry;        /* persistent kinds */
	uint64_t unsynced_bytes;
	uint64_t reserved;
	int64_t written_at;             /* updated_at in the record on disk */
	int64_t checkpoint_at;          /* when the last sync began */
	int64_t cache_dropped_at;
	uint64_t id_ino, id_size;       /* identity of the content as last verified */
	int64_t id_mtime_ns;
	bool has_identity;
	bool on_disk;                   /* there is a task record */
	bool is_hint;                   /* known from the index alone: compared with its record before use */
	bool meta_is_synced;            /* and it is on stable storage: replace it only by one that is, too */
	bool is_trusted;                /* all finished pieces were written or checked in this run */
	bool is_busy;                   /* a job works on it */
	bool sync_again;                /* asked for while busy */
	bool is_failing;                /* the last write of its record failed; said once */
	bool was_seen;                  /* before its pieces left memory, all of them had been checked or written in this run */
};

bool store_id_is_valid(const char *id);
/* NULL when absent. Pieces and details are brought into memory (unreadable ones count as absent and are logged). */
struct store_task *store_task_find(struct store *s, enum store_kind kind, const char *id);
/* Finds, or makes an empty record in memory (nothing is on disk before store_task_start). Touches. NULL: bad id, too many tasks. */
struct store_task *store_task_begin(struct store *s, enum store_kind kind, const char *id, int64_t now, struct err *e);
/* Walks one kind in no order, without bringing pieces in: start with *at == 0; NULL at the end. Nothing may be added on the way;
 * the task just returned may be deleted. */
struct store_task *store_task_next(struct store *s, enum store_kind kind, size_t *at);

struct store_header {
	const char *name;
	const char *value;
};

/* What the origin (or the scheduler) says of the content. Strings are copied; NULL for absent ones. Pass no secrets. */
struct store_start {
	uint64_t content_length;        /* or STORE_LENGTH_UNKNOWN */
	uint64_t piece_length;
	const struct store_header *headers;
	size_t header_count;
	const char *etag;
	const char *last_modified;
	const char *url;
	bool is_persistent;
	bool is_imported;
	bool is_private;
	int64_t created_at;             /* 0: keep */
	int64_t ttl;
};

/*
 * Starts the task, or starts it again: same length, piece length and validators keep the pieces; any difference drops them and the old
 * content first (*was_reset, may be NULL). Checks and reserves space, makes the content file, writes the record, clears failed_at.
 * RESOURCE_EXHAUSTED "no space left on device: not enough space to store the task: content_length=N, available=M".
 */
int store_task_start(struct store_task *t, const struct store_start *start, int64_t now, bool *was_reset, struct err *e);
/* Gives a task of unknown length its length. FAILED_PRECONDITION where finished pieces do not fit it. */
int store_task_set_length(struct store_task *t, uint64_t content_length, struct err *e);
/* FAILED_PRECONDITION while pieces are missing or the length is unknown. The sync of its policy follows: a second later for
 * COMPLETE, when its callers have it. */
int store_task_finish(struct store_task *t, int64_t now, struct err *e);
/* Never moves a finished task. */
void store_task_fail(struct store_task *t, int64_t now);
void store_task_set_prefetched(struct store_task *t, int64_t now_or_0);
void store_task_set_persistent(struct store_task *t, bool on);
/* In memory at once, on disk within a minute. */
void store_task_touch(struct store_task *t, int64_t now);
/* Drops every piece (the content was found wrong) and makes the task unfinished; the content file is emptied. */
int store_task_reset(struct store_task *t, struct err *e);
/*
 * Out of the index at once, whoever uses it; files are removed (running reads and writes go on in the unlinked file).
 * An error means that something stayed on disk; the task is gone all the same.
 */
int store_task_delete(struct store_task *t, enum store_reason reason, struct err *e);

/* A task in use is never collected and its memory stays. store_task_file handles alive count as use for collection, too. */
void store_task_use(struct store_task *t);
void store_task_release(struct store_task *t);
/* Upload of one piece (or part) begins and ends; the end touches the task. */
void store_task_upload_begin(struct store_task *t);
void store_task_upload_end(struct store_task *t, bool is_complete, int64_t now);

/* Details; valid until the task is started again, deleted or released. */
size_t store_task_header_count(struct store_task *t);
struct store_header store_task_header(struct store_task *t, size_t i);
const char *store_task_etag(struct store_task *t);              /* NULL: none */
const char *store_task_last_modified(struct store_task *t);
const char *store_task_url(struct store_task *t);

/* A new reference to the content file, for reading and writing on any thread. NULL: not started, deleted, or the system refused. */
struct store_file *store_task_file(struct store_task *t, struct err *e);
/* Says that an output shares the inode from now on (call after store_output_link): its identity is remembered, the file made read-only. */
void store_task_linked(struct store_task *t, const struct store_file *f);
/*
 * An output was placed at this absolute path: a second later it and the directory of its name are brought to stable storage, on another
 * thread. What cannot be opened by then (moved on, or its user's alone) is left. Nothing with STORE_SYNC_NONE.
 */
void store_output_placed(struct store *s, const char *path);
/* Cheap (one fstat). True: the file is not what was verified (size, mtime or inode); all its pieces now need a check. Always false
 * for a task that is being written. */
bool store_task_content_changed(struct store_task *t, const struct store_file *f);
/* The content could not be opened: where it is not there, or is another user's, this logs it and drops every piece, so that they are
 * fetched anew into a file of ours. Anything else, or a task that has none: nothing. */
void store_task_content_missing(struct store_task *t);

/* ---- pieces ---- */

struct store_piece {
	uint32_t number;
	uint64_t offset;
	uint64_t length;
	bool has_crc;
	uint32_t crc;                   /* CRC-32, written "crc32:<decimal>" on the wire */
	bool needs_check;               /* first use in this run, or its bytes are in doubt: check against crc before */
	bool is_durable;                /* a checkpoint says that it is on stable storage */
	enum store_traffic traffic_type;
	const char *parent_id;          /* NULL: source, import, or an earlier run; valid while the task is in use */
	int64_t created_at;             /* wall ns, start of the download */
	int64_t finished_at;
	uint64_t cost_ns;
};

/* Pieces of the whole content; 0 while the length is unknown or the content empty. */
uint32_t store_task_piece_count(const struct store_task *t);
/* Where piece n lies by the task's geometry: 0, or -1 past the end. With an unknown length every piece is whole. */
int store_task_piece_span(const struct store_task *t, uint32_t n, uint64_t *offset, uint64_t *length);
bool store_piece_is_finished(struct store_task *t, uint32_t n);
/* One bit per piece (bit n%64 of word n/64), *words of them. Valid until the next change. */
const uint64_t *store_task_bitmap(struct store_task *t, size_t *words);
/* How many pieces from 0 on are finished without a gap. */
uint32_t store_task_prefix(struct store_task *t);
/* 0, or -1 when it is not finished. */
int store_piece_get(struct store_task *t, uint32_t n, struct store_piece *out);
/* Its bytes were written (store_file_pwrite returned): journals it. Doing it again for a finished piece changes nothing.
 * INVALID_ARGUMENT where offset and length are not the geometry's; NOT_FOUND for a deleted task. needs_check is not read. */
int store_piece_finish(struct store_task *t, const struct store_piece *p, struct err *e);
/* Forgets a piece whose bytes were found bad; a finished task becomes unfinished. Logged with `why`. */
void store_piece_drop(struct store_task *t, uint32_t n, const char *why);
/* The bytes were compared with the checksum (store_file_check): good ones need no check again, bad ones are dropped. */
void store_piece_checked(struct store_task *t, uint32_t n, bool is_good);

/* ---- space ---- */

struct store_usage {
	uint64_t total;                 /* the budget, or the file system */
	uint64_t available;             /* for new content, reservations taken off */
	uint64_t used;                  /* blocks of all content files */
	uint64_t reserved;              /* promised to running downloads and not yet in files */
	unsigned percent;               /* as the water marks count it: 100 - floor(available * 100 / total) */
	size_t tasks[STORE_KINDS];
};

/* 0, or -1 when the file system does not answer. */
int store_usage(struct store *s, struct store_usage *out, struct err *e);

struct store_gc_limits {
	int64_t task_ttl;               /* ns since the last access, standard tasks; 0: none */
	int64_t page_cache_idle;        /* ns without access after which finished content leaves the page cache; 0: never */
	unsigned high_percent;          /* start evicting; 0: never. 1 <= low < high <= 99 */
	unsigned low_percent;           /* stop */
	int64_t max_ns;                 /* end the pass after this time, whatever the budget; 0: none */
};

struct store_gc_result {
	size_t expired;
	size_t evicted;
	uint64_t freed;                 /* bytes given back to the file system */
	bool has_more;                  /* the budget ended first: call again soon */
	bool is_waiting;                /* ... but in a while: as many tasks as may wait for the removal of their files do */
};

/*
 * One slice of collection: looks at no more than `budget` tasks. Expired ones go first; then, from the high mark to the low one: failed
 * and abandoned partial tasks, standard ones, persistent-cache, persistent ones that are not pinned; the longest unused first.
 * Never a task in use.
 */
void store_gc_pass(struct store *s, int64_t now, const struct store_gc_limits *limits, size_t budget, struct store_gc_result *out);
/* A write met ENOSPC: the next pass evicts at least `bytes` whatever the marks say. */
void store_gc_demand(struct store *s, uint64_t bytes);
/* Something waits for space: a pass should run now. */
bool store_gc_is_wanted(const struct store *s);

#endif
