#include "cmd/outcome.h"

#include <errno.h>
#include <string.h>

#include "cmd/get.h"

#define OUTCOME_BYTES ((size_t)1 << 20)

enum { EXIT_4XX = 4, EXIT_5XX = 5, EXIT_DIGEST = 6, EXIT_TIMEOUT = 7, EXIT_NO_SPACE = 8, EXIT_REFUSED = 9 };

void
outcome_init(struct outcome *o)
{
	*o = (struct outcome){0};
	arena_init(&o->arena, OUTCOME_BYTES);
}

void
outcome_free(struct outcome *o)
{
	arena_free(&o->arena);
}

void
outcome_clear(struct outcome *o)
{
	outcome_free(o);
	outcome_init(o);
}

static struct slice
keep(struct outcome *o, struct slice s)
{
	void *copy = s.n > 0 ? arena_copy(&o->arena, s.p, s.n) : NULL;

	return copy != NULL ? slice_make(copy, s.n) : (struct slice){0};
}

static void
keep_backend(struct outcome *o, const struct grpc_backend *b)
{
	o->has_backend = true;
	o->backend = (struct grpc_backend){
		.message = keep(o, b->message), .has_status_code = b->has_status_code, .status_code = b->status_code,
		.header = arena_alloc(&o->arena, (b->n_header + 1) * sizeof *o->backend.header),
	};
	for (size_t i = 0; o->backend.header != NULL && i < b->n_header; i++)
		o->backend.header[o->backend.n_header++] = (struct pb_pair){
			.key = keep(o, b->header[i].key), .value = keep(o, b->header[i].value)};
}

void
outcome_take(struct outcome *o, const struct get_end *end)
{
	if (o->has_failed || end->err == NULL)
		return;
	o->has_failed = true;
	o->err = *end->err;
	o->is_status = end->is_status;
	o->details = keep(o, end->details);
	if (end->backend != NULL)
		keep_backend(o, end->backend);
}

void
outcome_fail(struct outcome *o, const struct err *e)
{
	outcome_take(o, &(struct get_end){.err = e});
}

struct get_end
outcome_view(const struct outcome *o)
{
	return (struct get_end){
		.err = o->has_failed ? &o->err : NULL, .backend = o->has_backend ? &o->backend : NULL, .details = o->details,
		.is_status = o->is_status,
	};
}

bool
outcome_is_overload(const struct outcome *o)
{
	return o->is_status && !o->has_backend && o->err.code == ERR_RESOURCE_EXHAUSTED && strstr(o->err.text, "overloaded") != NULL;
}

bool
outcome_may_pass(const struct outcome *o)
{
	int status = o->has_backend && o->backend.has_status_code ? o->backend.status_code : 0;

	if (o->has_backend)
		return status == 0 || status >= 500 || status == 408 || status == 429;
	return o->err.code == ERR_UNAVAILABLE || o->err.code == ERR_RESOURCE_EXHAUSTED || o->err.code == ERR_DEADLINE_EXCEEDED ||
	    strcmp(o->err.text, "unknown download incomplete") == 0;
}

int
outcome_exit_code(const struct outcome *o, bool detail)
{
	int status = o->has_backend && o->backend.has_status_code ? o->backend.status_code : 0;

	if (!detail)
		return 1;
	if (o->err.code == ERR_DEADLINE_EXCEEDED)
		return EXIT_TIMEOUT;
	if (strstr(o->err.text, "digest mismatch") != NULL)
		return EXIT_DIGEST;
	if (strstr(o->err.text, "no space left") != NULL || o->err.sys == ENOSPC)
		return EXIT_NO_SPACE;
	if (status >= 400)
		return status >= 500 ? EXIT_5XX : EXIT_4XX;
	return o->is_status && o->err.code == ERR_PERMISSION_DENIED ? EXIT_REFUSED : 1;
}
