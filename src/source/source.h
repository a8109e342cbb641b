/*
 * Where content comes from when no peer has it: one interface over all URL schemes (a table of functions per scheme, scheme.h).
 * Two questions: source_stat (how long is it, what are its headers, does it do ranges) and source_get (these bytes, please).
 * Both run on one event loop and answer by callbacks. Redirects, retries, proxies, TLS, the 307 cache and the check that the
 * content did not change are handled inside; which pieces to ask for, rate limits and where the bytes go is the caller's.
 *
 * A struct source belongs to one loop and holds what requests on that loop share: pooled connections and the 307 cache.
 * Threads that read from a source have one each.
 */
#ifndef SOURCE_SOURCE_H
#define SOURCE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/slice.h"
#include "net/cidr.h"

struct loop;
struct source;
struct source_op;

struct source_header {
	const char *name;
	const char *value;
};

struct source_headers {
	const struct source_header *at;
	size_t count;
};

/* The kinds of failure that callers tell apart (retry, metrics, answer to a client). */
enum source_failure {
	SOURCE_BAD_ARGUMENT, SOURCE_UNSUPPORTED_SCHEME, SOURCE_DNS, SOURCE_CONNECT, SOURCE_TLS, SOURCE_PROXY, SOURCE_TIMEOUT,
	SOURCE_PROTOCOL, SOURCE_REDIRECT, SOURCE_HTTP_STATUS, SOURCE_NOT_FOUND, SOURCE_PERMISSION, SOURCE_RATE_LIMITED,
	SOURCE_RANGE_MISMATCH, SOURCE_LENGTH_MISMATCH, SOURCE_INVALID_LENGTH, SOURCE_CHANGED, SOURCE_CREDENTIAL, SOURCE_CANCELLED,
	SOURCE_NOT_ALLOWED,
};

struct source_error {
	enum source_failure failure;
	/*
	 * code and text as they go into a gRPC status ("backend error: 404 Not Found", "invalid content length"). Names the cause
	 * and the address; never a query string, a password or a token.
	 */
	struct err err;
	/* What follows is for errordetails.Backend (spec: message, header, status_code); sent when is_backend. */
	bool is_backend;
	const char *message;            /* err.text without "backend error: " */
	int status;                     /* HTTP status of the origin's answer; 0 when there was none. Never 2xx */
	struct source_headers headers;  /* of that answer, names in lower case, duplicates kept; empty when there was none */
	/* The same request may do better later: connection trouble, timeouts, 5xx, 408, 429. False: 401, 404, bad URL, ... */
	bool is_temporary;
};

/* What tells one version of the content from another. Taken from a stat, given to each get. Absent ones are NULL. */
struct source_validators {
	bool has_length;
	uint64_t length;                /* the whole content */
	const char *etag;               /* as received, W/ included; only a strong one is used */
	const char *last_modified;
	const char *content_encoding;   /* NULL: identity */
};

struct source_response {
	int status;
	/*
	 * Names in lower case, one per name (the last wins), printable values only. After a stat they describe the whole content:
	 * no content-range, content-length is the total.
	 */
	struct source_headers headers;
	bool has_length;                /* stat: of the whole content; get: of the body to come */
	uint64_t length;
	bool supports_range;            /* stat only */
	/*
	 * Stat only: the whole content is already on its way on this request (the origin ignored our one-byte range, or the
	 * object has a single byte). source_keep_body takes it; a second transfer is then not needed.
	 */
	bool has_body;
	struct source_validators validators;
};

/*
 * on_response comes once, then any number of on_data, then on_end. on_error may come at any time instead of what is left.
 * After on_end or on_error the op is gone. All pointers are valid during the call only. Any call on the op is allowed inside
 * a callback, source_cancel included; the op must not be used after that.
 */
struct source_events {
	void (*on_response)(void *ctx, const struct source_response *r);
	/* Up to 256 KiB straight from the receive buffer, in order, no gap and no byte twice, resumed transfers included. */
	void (*on_data)(void *ctx, const void *p, size_t n);
	void (*on_end)(void *ctx);
	void (*on_error)(void *ctx, const struct source_error *e);
};

struct source_request {
	const char *url;
	struct source_headers headers;          /* the user's, as they came: what must not travel is dropped here (spec, backends.md 2.2) */
	/* Get only. Without a range the whole content is asked for. range_length > 0. Exactly range_length bytes are delivered. */
	bool has_range;
	uint64_t range_start;
	uint64_t range_length;
	struct source_validators validators;    /* get only: from the stat of the task; all absent means no check */
	int64_t timeout_ms;                     /* one attempt, from connect to the last body byte; 0 means SOURCE_TIMEOUT_MS */
	int64_t deadline_ms;                    /* monotonic time at which all attempts end; 0 means none */
	bool insecure_skip_verify;              /* accept any certificate (this request's own wish) */
	bool is_guarded;                        /* on behalf of somebody in the network: source_config.guarded_rules hold, at every redirect too */
	const struct slice *ca_certs;           /* DER certificates that alone are trusted; none: the system's */
	size_t ca_cert_count;
};

#define SOURCE_TIMEOUT_MS (360 * 1000)

/* What a struct source counts for metrics: one logical operation, whatever goes over the wire. method is "HEAD" or "GET". */
struct source_observer {
	void *ctx;
	void (*on_start)(void *ctx, const char *scheme, const char *method);
	/* duration_ms: of a get until its headers. */
	void (*on_success)(void *ctx, const char *scheme, const char *method, int64_t duration_ms);
	void (*on_failure)(void *ctx, const char *scheme, const char *method);
};

struct source_config {
	const char *user_agent;                 /* "dragonfly/<version>" */
	struct source_headers request_headers;  /* backend.requestHeader: added where the request has none of that name */
	unsigned max_retries;                   /* further attempts after the first */
	bool redirect_cache_on;                 /* backend.enableCacheTemporaryRedirect */
	int64_t redirect_cache_ttl_ms;          /* backend.cacheTemporaryRedirectTTL */
	bool insecure_skip_verify;              /* backend.insecureSkipVerify */
	struct addr_rules guarded_rules;        /* where guarded requests may go; what it points to outlives the source */
	const char *ca_files[2];                /* PEM, trusted besides the system's roots; NULL: none. Read at once */
	int64_t connect_timeout_ms;             /* one address; 0 means SOURCE_CONNECT_TIMEOUT_MS */
	int64_t idle_timeout_ms;                /* no byte for so long while we want some; 0 means SOURCE_IDLE_TIMEOUT_MS */
	int64_t retry_base_ms;                  /* first back-off at most this, then doubling; 0 means SOURCE_RETRY_BASE_MS */
	struct source_observer observer;        /* functions may be NULL */
};

#define SOURCE_CONNECT_TIMEOUT_MS (10 * 1000)
#define SOURCE_IDLE_TIMEOUT_MS (30 * 1000)
#define SOURCE_RETRY_BASE_MS 1000

/* Defaults of the configuration file. */
void source_config_init(struct source_config *c);

/*
 * The loop outlives the source. cfg is copied. Proxies are read from the environment here (http_proxy and so on). A proxy of
 * a kind that we do not speak is an error.
 */
struct source *source_new(struct loop *l, const struct source_config *cfg, struct err *e);
/* Cancels what still runs (no callback is called) and closes pooled connections. */
void source_free(struct source *s);

/* True for a scheme that source_stat and source_get know. url needs not be valid beyond its scheme. */
bool source_supports(const char *url);

/*
 * Both return at once; no callback is called before they return, and a request that cannot start (bad URL, unknown scheme)
 * ends in on_error like any other. r and what it points to are copied.
 */
struct source_op *source_stat(struct source *s, const struct source_request *r, const struct source_events *ev, void *ctx);
struct source_op *source_get(struct source *s, const struct source_request *r, const struct source_events *ev, void *ctx);

/*
 * In a stat's on_response with has_body: the body shall come by on_data, all of it from the first byte. The op is paused then,
 * until source_resume. Without this call the body is dropped and on_end follows.
 */
void source_keep_body(struct source_op *op);

/* No on_data until source_resume; the origin is slowed down by TCP. The idle limit rests meanwhile, the timeout does not. */
void source_pause(struct source_op *op);
void source_resume(struct source_op *op);
/* Ends the op; no callback is called any more. */
void source_cancel(struct source_op *op);

#endif
