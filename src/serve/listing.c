#include "serve/listing.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "net/rpc_server.h"

struct listing {
	struct buf bytes;
};

static int
compare_ids(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

char **
listing_ids(struct store *store, enum store_kind kind, size_t *count)
{
	struct store_task *t;
	char **ids = NULL;
	size_t at = 0, cap = 0, n = 0;

	while ((t = store_task_next(store, kind, &at)) != NULL) {
		if (n == cap) {
			cap = cap > 0 ? 2 * cap : 64;
			ids = xrealloc(ids, cap * sizeof *ids);
		}
		ids[n++] = xstrdup(t->id);
	}
	if (n > 0)
		qsort(ids, n, sizeof *ids, compare_ids);
	*count = n;
	return ids;
}

static void
listing_free(struct listing *g)
{
	buf_free(&g->bytes);
	free(g);
}

int
listing_send(struct rpc_stream *s, struct buf *bytes, struct err *e)
{
	struct listing *g;

	if (rpc_stream_send_begin(s, (uint32_t)bytes->len, e) < 0)
		return -1;
	g = xcalloc(1, sizeof *g);
	g->bytes = *bytes;
	*bytes = BUF_INIT;
	rpc_stream_set_user(s, g);
	listing_on_drain(s, NULL);
	return 0;
}

void
listing_on_drain(struct rpc_stream *s, void *ctx)
{
	struct listing *g = rpc_stream_user(s);

	(void)ctx;
	if (g == NULL)
		return;
	if (g->bytes.len > 0)
		buf_consume(&g->bytes, rpc_stream_send_part(s, buf_data(&g->bytes), g->bytes.len));
	if (g->bytes.len > 0)
		return;
	listing_free(g);
	rpc_stream_set_user(s, NULL);
	rpc_stream_end(s, ERR_OK, NULL, (struct slice){0});
}

void
listing_on_cancel(struct rpc_stream *s, void *ctx, const struct err *why)
{
	struct listing *g = rpc_stream_user(s);

	(void)ctx;
	(void)why;
	if (g != NULL)
		listing_free(g);
}
