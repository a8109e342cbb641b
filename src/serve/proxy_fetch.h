/*
 * A request of the proxy at the download engine. It has two halves: the data loop's (proxy_p2p.c, proxy_flow.c), which has the client, and
 * the control loop's (proxy_fetch.c), which is a caller of the task. They talk by three letters: `ask` once to the control loop; `news`, a
 * token that goes to the data loop with what is new and comes back at once; `release` once to the control loop, when the client's answer
 * is over. The control half frees it all when it was released and the token is home.
 */
#ifndef SERVE_PROXY_FETCH_H
#define SERVE_PROXY_FETCH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/digest.h"
#include "base/err.h"
#include "base/list.h"
#include "net/loop.h"
#include "proto/common.h"
#include "serve/proxy_blob.h"
#include "serve/proxy_range.h"

struct http_exchange;
struct origin_error;
struct origin_stat;
struct proxy;
struct proxy_side;
struct task_caller;

/* Memory of one request: its URL, fields and key. */
#define PROXY_FETCH_BYTES ((size_t)4 << 20)

/*
 * How far beyond the client's position pieces are fetched: so many bytes, or so many pieces where that is more. The position is told each
 * PROXY_STEP_BYTES.
 */
#define PROXY_AHEAD_BYTES (UINT64_C(64) << 20)
#define PROXY_AHEAD_PIECES 16
#define PROXY_STEP_BYTES (UINT64_C(8) << 20)

enum proxy_verdict { PROXY_NOT_COMPARED, PROXY_DIGEST_MATCHES, PROXY_DIGEST_DIFFERS };

/* An answer without content: an error, 304 or 416. */
struct proxy_failure {
	int status;                     /* 0: none */
	const char *type;               /* NULL for 304 */
	struct h1_field *fields;        /* in the fetch's answer_arena */
	size_t field_count;
	struct err cause;
};

struct proxy_fetch {
	/* Set by the data loop before it asks; only read afterwards. */
	struct proxy *proxy;
	struct proxy_side *side;
	struct arena arena;
	struct common_download download;
	struct proxy_wish wish;
	bool is_mirror;
	struct slice key;               /* for proxy_blob_keep; absent: not to be remembered */
	uint64_t generation;
	char want[DIGEST_HEX_MAX];      /* the sha256 that the content must have, or "" */
	struct loop_msg ask, news, release, moved;
	atomic_uint_fast64_t position;  /* in the content: how far the client has read */
	atomic_bool moved_is_away;      /* the letter that says so */

	/* The control loop's. */
	struct list job_link;
	struct task_caller *caller;     /* NULL before and after */
	struct loop_later later;        /* there is news */
	struct store_task *store;       /* in use, from its start on */
	uint32_t first, last, next;     /* pieces of the span; `next`: the first that is not there */
	uint64_t *here;                 /* bitmap of those that are, beyond `next` */
	bool span_is_empty;
	bool token_is_away, is_released, is_dirty, is_over;
	struct proxy_blob *made;        /* not handed over yet */
	struct origin_stat *question;   /* to the origin, whether this client may have what is here; NULL: none is under way */
	struct arena answer_arena;

	/* The token's: written by the control loop while it has it, read by the data loop while it has it. */
	struct proxy_blob *blob;        /* handed over once; the data loop's from then on */
	size_t part_count;              /* 0: the whole content */
	struct proxy_part parts[PROXY_RANGES_MAX];
	bool is_range, was_finished;
	bool is_whole;                  /* all of the task is on file, and for everybody: it may be remembered */
	uint64_t ready;                 /* content up to here is on file */
	bool has_ended;                 /* nothing more will come; failure says whether well */
	struct proxy_failure failure;

	/* The data loop's verdict; read by the control loop after `release`. */
	enum proxy_verdict verdict;
	uint64_t sent;

	/* The data loop's. */
	struct proxy_flow *flow;        /* NULL once released */
};

/* Control loop. */
void proxy_fetch_asked(struct loop_msg *msg);
void proxy_fetch_released(struct loop_msg *msg);
void proxy_fetch_moved(struct loop_msg *msg);
/* Data loop: the token has come (proxy_p2p.c). */
void proxy_fetch_news(struct loop_msg *msg);

/* Control loop: the engine is asked; or, of a private content, the client's answer is what the origin said (proxy_private.c). */
void proxy_fetch_start(struct proxy_fetch *f);
void proxy_fetch_refused(struct proxy_fetch *f, const struct origin_error *o);
/* The question came home to a fetch that was released meanwhile. */
void proxy_fetch_free_if_done(struct proxy_fetch *f);

/* Data loop: sends the token back. */
void proxy_fetch_return(struct proxy_fetch *f);

/* ---- control loop: contents that not everybody may have (proxy_private.c) ---- */

/* What this request asks for is here, is private, and the origin is to be asked first (proxy.revalidateAuth). */
bool proxy_is_asked_first(const struct proxy_fetch *f);
/* Asks it, as this client would; proxy_fetch_start or proxy_fetch_refused follows. */
void proxy_ask_first(struct proxy_fetch *f);
/* Nobody waits for it any more. */
void proxy_ask_cancel(struct proxy_fetch *f);

/* ---- control loop: contents that were compared with the digest in their name (proxy_verify.c) ---- */

bool proxy_is_verified(const struct proxy *p, const char *task_id);
void proxy_set_verified(struct proxy *p, const char *task_id);
/* Its content turned out to be something else: drops it, and has it fetched from the source next time. */
void proxy_content_is_wrong(struct proxy *p, struct store_task *t);
/* True once: the last content was wrong, this time nobody but the source is to be asked. */
bool proxy_take_suspect(struct proxy *p, const char *task_id);
/* Compares a finished task in the background. */
void proxy_verify_start(struct proxy *p, struct store_task *t, const char *want);
void proxy_verified_free(struct proxy *p);

#endif
