/*
 * Behind source.h: the table of functions per scheme, and what its members share. A scheme turns an op into HTTP exchanges
 * (fetch.h) and reports through the source_op_* functions below. Not for other rooms.
 */
#ifndef SOURCE_SCHEME_H
#define SOURCE_SCHEME_H

#include "base/arena.h"
#include "base/digest.h"
#include "base/list.h"
#include "net/http_client.h"
#include "net/http_proxy.h"
#include "net/loop.h"
#include "source/redirect_cache.h"
#include "source/source.h"
#include "text/url.h"

/* Trust settings of requests that brought their own CA certificates, kept so that their connections can be shared. */
#define SOURCE_TRUST_MAX 16

struct source_scheme {
	const char *name;
	/* Start the work; results come later through source_op_*. */
	void (*start)(struct source_op *op);
	/* op->is_paused changed. */
	void (*pause_changed)(struct source_op *op);
	/* Give up all that runs and free op->impl; called exactly once. */
	void (*stop)(struct source_op *op);
};

/* The schemes there are; source.c looks them up. */
extern const struct source_scheme source_http, source_https;

struct source_trust {
	char key[DIGEST_HEX_MAX];       /* sha256 of the certificates */
	struct tls_config *tls;
};

struct source {
	struct loop *loop;
	struct arena mem;               /* copies of the configuration */
	struct source_config cfg;
	struct dns *dns;
	struct http_proxies proxies;
	struct http_client *client;
	struct redirect_cache redirects;
	struct list ops;
	struct tls_config *system_tls, *insecure_tls;
	int64_t system_tls_checked_ms;
	struct source_trust trust[SOURCE_TRUST_MAX];
	size_t trust_next;
};

struct source_op {
	struct list in_source;
	struct source *source;          /* NULL once it is over; the memory lives until the present callback of the loop returns */
	struct loop *loop;
	const struct source_scheme *scheme;
	bool is_get;
	struct arena mem;               /* copy of the request and whatever the scheme keeps */
	struct source_request r;
	struct url url;
	struct source_events ev;
	void *ctx;
	bool is_paused, keeps_body, has_responded;
	int64_t started_ms;
	unsigned retries_left, retries_done;
	struct tls_config *tls;         /* chosen at the first https hop; referenced */
	struct loop_later later;
	void *impl;
};

/* True until the op has ended or was cancelled: to be asked after each of the calls below. */
#define SOURCE_OP_LIVES(op) ((op)->source != NULL)

void source_op_respond(struct source_op *op, const struct source_response *r);
void source_op_data(struct source_op *op, const void *p, size_t n);
void source_op_end(struct source_op *op);
void source_op_fail(struct source_op *op, const struct source_error *e);

/* The TLS settings for this op's connections (borrowed), or NULL and why. */
struct tls_config *source_op_tls(struct source_op *op, struct err *e);

/* Fills e: "backend error: " and the text when is_backend. */
void source_error_set(struct source_error *e, enum source_failure f, bool is_backend, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The failure of a status that is not 2xx: "404 Not Found", the status and the headers (borrowed). */
void source_error_status(struct source_error *e, int status, struct source_headers headers);

#endif
