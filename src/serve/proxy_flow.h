/*
 * The content of a task on its way to one client, on a data loop: head, parts, bytes from the file in order, no further than they are on
 * file and no faster than the client takes them.
 */
#ifndef SERVE_PROXY_FLOW_H
#define SERVE_PROXY_FLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/digest.h"
#include "base/list.h"
#include "net/loop.h"
#include "serve/proxy_range.h"

struct http_exchange;
struct proxy_blob;
struct proxy_fetch;
struct proxy_side;

/* Bytes read from the file and offered to the socket at a time. */
#define PROXY_READ_BYTES ((size_t)256 * 1024)
/* Bytes of one client before others have their turn. */
#define PROXY_TURN_BYTES ((uint64_t)4 << 20)

struct flow_part {
	uint64_t start, end;            /* in the content */
	size_t text_from, text_n;       /* in texts: what stands before it */
};

struct proxy_flow {
	struct list link;               /* in side->fetches */
	struct proxy_side *side;
	struct http_exchange *x;        /* NULL once the client is gone or answered */
	struct proxy_fetch *fetch;      /* NULL: the data loop answers alone */
	struct proxy_blob *blob;        /* referenced; NULL before the task has started */
	bool head_sent, was_finished;
	bool may_keep;                  /* the task is whole: it may be remembered */
	bool waits;                     /* for the socket to take bytes again */
	uint64_t ready;                 /* content up to here is on file */

	struct flow_part *parts;        /* one_part, or allocated */
	struct flow_part one_part;
	size_t part_count, part;
	uint64_t at;                    /* next byte of the present part */
	uint64_t told;                  /* position that the control loop knows */
	struct buf texts;               /* of a multipart answer */
	size_t text_left;               /* of the present part's text */
	uint64_t sent, total;

	const char *want;               /* sha256 of the whole content, until the last bytes were compared; else NULL */
	struct digest hash;
	size_t step;                    /* bytes to read at a time: what the socket took lately */
	struct loop_timer turn;
};

struct proxy_flow *proxy_flow_new(struct proxy_side *side, struct http_exchange *x);
/* The head goes out: 206 for is_range, else 200. count 0: the whole content. False: the flow is over, the client has an error. */
bool proxy_flow_begin(struct proxy_flow *fl, const struct proxy_part *parts, size_t count, bool is_range);
/* Goes on. The flow may be over afterwards. */
void proxy_flow_pump(struct proxy_flow *fl);
/* Remembers the task for the next request, where it may. */
void proxy_flow_keep(struct proxy_flow *fl);
/* Cuts the client off: its answer cannot be completed. */
void proxy_flow_break(struct proxy_flow *fl, const char *why);
/* The client has its answer, or is gone: lets go of everything. */
void proxy_flow_free(struct proxy_flow *fl);

#endif
