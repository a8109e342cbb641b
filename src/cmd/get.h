/*
 * dfget: what its parts share. One download is: options -> plan (checked, nothing touched yet) -> request -> a feed of events from a
 * daemon or from an engine in this process -> content, progress and report (spec: cli.md 3).
 */
#ifndef CMD_GET_H
#define CMD_GET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/digest.h"
#include "base/slice.h"
#include "cmd/options.h"
#include "config/local_addr.h"
#include "proto/common.h"
#include "text/url.h"

struct err;
struct grpc_backend;
struct loop;

/* ---- options ---- */

struct get_options {
	const char *url, *output;
	bool transfer, overwrite, force_hard_link, recursive, disable_back_to_source, no_progress, quiet, console;
	bool is_resume, no_daemon, fsync, insecure, netrc, continue_on_error, print_task_id, exit_detail;
	const char *content_for_id, *digest, *application, *tag, *scheduling_policy, *endpoint, *daemon, *progress, *range, *user_agent,
	    *user, *ca_cert;
	struct option_number timeout, connect_timeout, speed_time, priority, piece_length, max_files, max_concurrent, retry, retry_delay,
	    limit_rate, log_level;
	struct option_list headers, filters, include_files;
	struct {
		const char *region, *endpoint, *key_id, *key_secret, *security_token, *session_token, *credential_path, *predefined_acl;
		struct option_number insecure;
	} storage;
	const char *hdfs_token, *hf_revision, *hf_token, *hf_base_url, *ms_revision, *ms_token, *ms_base_url, *csg_revision, *csg_token,
	    *csg_base_url;
};

extern const struct program get_program;

/* ---- plan ---- */

/* Texts and lists of one plan. */
#define GET_PLAN_BYTES ((size_t)8 << 20)
/* Header fields of one request. */
#define GET_HEADERS_MAX 256

struct get_plan {
	const struct get_options *o;
	struct arena arena;
	struct url url;
	char *output;                   /* absolute; NULL for standard output */
	bool is_stream;                 /* standard output, a device or a pipe: bytes go there in order */
	bool takes_content;             /* this process writes the bytes, not the daemon */
	bool has_range;
	bool has_digest;
	enum digest_kind digest_kind;
	char digest[DIGEST_TEXT_MAX];   /* as sent: lower case, crc32 in decimal; empty when only we can compare it */
	struct common_download request; /* complete but for what depends on the way (output path, content) */
	const char *export_id;          /* a persistent cache task is exported; NULL: a URL is downloaded */
	const char *headline;           /* of a failure */
	/* What the request points to. */
	struct google_duration timeout;
	struct common_object_storage object_storage;
	struct common_hdfs hdfs;
	struct common_hugging_face hugging_face;
	struct common_model_scope model_scope;
	struct common_open_csg open_csg;
	char remote_ip[LOCAL_ADDR_MAX];
};

/* A wrong value that is a usage error: OPTIONS_USAGE; a failed check: -1 with the text for "validate failed: "; 0 when all is well. */
int get_plan_make(struct get_plan *p, const struct get_options *o, struct err *e);
/* For the export of a persistent cache task; no usage errors. */
int get_plan_make_export(struct get_plan *p, const struct get_options *o, const char *task_id, struct err *e);
void get_plan_free(struct get_plan *p);
/* Joined with the current directory; "." and ".." taken out of the text, links not followed. The caller's to free. */
char *get_absolute_path(const char *path);
/* Whether this URL with these options names a directory. */
bool get_is_directory(const struct get_options *o, const struct url *u);

/* Fills p->request from options and header fields. OPTIONS_USAGE, -1 or 0 as above. */
int get_request_make(struct get_plan *p, struct err *e);
/* The same for an export. */
void get_request_make_export(struct get_plan *p);

/* ---- feed ---- */

/* Numbers of common.v2.TrafficType. */
enum get_traffic { GET_FROM_SOURCE = 0, GET_FROM_PEER = 1, GET_FROM_CACHE = 2, GET_TRAFFICS };

struct get_started {
	const char *task_id;
	uint64_t length;                /* of the whole task */
	bool has_range;
	uint64_t range_start, range_length;
	const uint32_t *pieces;         /* numbers that will come */
	size_t piece_count;
	bool has_no_list;               /* which pieces come is not told: their bytes are counted */
};

struct get_piece {
	uint32_t number;
	uint64_t offset, length;
	enum get_traffic traffic;
};

struct get_end {
	const struct err *err;          /* NULL: success */
	const struct grpc_backend *backend;     /* what the origin said; NULL when that was not the reason */
	struct slice details;           /* other status details */
	bool is_status;                 /* err came from the daemon or the engine as a status; else it arose here */
};

/* All return 0, or -1 with e to end the download with that error (on_end follows). */
struct get_events {
	int (*on_started)(void *ctx, const struct get_started *s, struct err *e);
	/* Content at this place of the task; only when the plan takes content. Before on_piece of that piece. */
	int (*on_content)(void *ctx, uint64_t offset, struct slice bytes, struct err *e);
	int (*on_piece)(void *ctx, const struct get_piece *p, struct err *e);
	/* Once, last. */
	void (*on_end)(void *ctx, const struct get_end *end);
};

struct get_remote;
/* Whether something answers at the socket: 0, or -1 with the reason (e->sys says which). */
int get_remote_probe(const char *path, struct err *e);
/* Asks the daemon at this socket. timeout_ms: for the whole download, 0 for none. */
struct get_remote *get_remote_start(struct loop *loop, const char *path, const struct get_plan *p, int64_t timeout_ms,
    const struct get_events *ev, void *ctx, struct err *e);
/* Ends what is under way without on_end. */
void get_remote_free(struct get_remote *r);

struct get_local;
/* Downloads in this process. Everything it keeps on disk is gone after get_local_free, unless the plan resumes and it did not succeed. */
struct get_local *get_local_start(struct loop *loop, const struct get_plan *p, const struct get_events *ev,
    void *ctx, struct err *e);
void get_local_free(struct get_local *l);

/* ---- run ---- */

/* Downloads by the plan and reports; the exit code. */
int get_run(struct get_plan *p);
/* The same for a directory: a listing, then each file. */
int get_directory(struct get_plan *p);
/* Whether a signal asked us to stop; long writes look at it. */
bool get_is_interrupted(void);

#endif
