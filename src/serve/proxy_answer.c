/*
 * Error answers that are the proxy's own (spec: proxy.md 12).
 */
#include "serve/proxy_internal.h"

#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/conn.h"
#include "text/url.h"

/* Fields of an answer of our own: those of an origin and ours. */
#define ANSWER_FIELDS_MAX (H1_FIELDS_MAX - 4)
/* Bytes of a Host field in a log line. */
#define HOST_SHOWN_MAX 255

void
proxy_refuse(struct proxy_side *side, struct http_exchange *x, int status, const char *type, const struct h1_field *more, size_t count,
    const char *text)
{
	struct h1_field fields[H1_FIELDS_MAX];
	const struct h1 *head = http_exchange_request(x);
	struct buf body = BUF_INIT;
	struct slice host = {0};
	char url[URL_REDACTED_MAX];
	size_t n = 0;

	/* In a tunnel and of a mirror the target is a path alone. */
	if (head->target.n > 0 && head->target.p[0] == '/')
		host = slice_sub(h1_get(head, "host"), 0, HOST_SHOWN_MAX);
	log_write(status >= 500 ? LOG_WARN : LOG_INFO, "proxy request refused client=%s method=%.*s target=\"%s\" host=\"%.*s\" status=%d type=%s cause=\"%s\"",
	    conn_peer_text(http_exchange_conn(x)), SLICE_ARG(head->method), url_redact_text(head->target, url), SLICE_ARG(host), status, type, text);
	if (status >= 500)
		atomic_fetch_add_explicit(&side->proxy->counts.failed, 1, memory_order_relaxed);
	fields[n++] = (struct h1_field){slice_str("X-Dragonfly-Error-Type"), slice_str(type)};
	for (size_t i = 0; i < count && n < ANSWER_FIELDS_MAX; i++)
		fields[n++] = more[i];
	/* The cause as one line of text, where a client expects none: those that only look at the status are not disturbed by it. */
	buf_append_str(&body, text);
	buf_append_u8(&body, '\n');
	http_exchange_reply(x, status, fields, n, "text/plain; charset=utf-8", buf_slice(&body));
	buf_free(&body);
}
