/* Any bytes as any message of the API: what decodes must encode to a form that stays the same from then on. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "proto/dfdaemon.h"
#include "proto/health.h"
#include "proto/manager.h"
#include "proto/rpc.h"
#include "proto/scheduler.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static const struct pb_service *const services[] = {
	&dfdaemon_dfdaemon_download_service, &dfdaemon_dfdaemon_upload_service, &health_health_service, &manager_manager_service,
	&scheduler_scheduler_service,
};

static const struct pb_desc *
pick_message(unsigned which)
{
	for (size_t i = 0; i < COUNT_OF(services); i++) {
		if (which < 2 * services[i]->n_methods) {
			const struct pb_method *m = &services[i]->methods[which / 2];

			return which % 2 == 0 ? m->request : m->response;
		}
		which -= (unsigned)(2 * services[i]->n_methods);
	}
	return &google_status_desc;
}

static void
encode(const struct pb_desc *desc, const void *msg, struct buf *out)
{
	pb_encode(desc, msg, out);
	if (out->len != pb_size(desc, msg))
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const struct pb_desc *desc;
	struct arena a;
	struct buf first = BUF_INIT, second = BUF_INIT, text = BUF_INIT;
	struct err e;
	void *msg, *again, *copy;

	if (n == 0)
		return 0;
	desc = pick_message(data[0]);
	arena_init(&a, (size_t)16 << 20);
	msg = arena_alloc(&a, desc->size);
	again = arena_alloc(&a, desc->size);
	copy = arena_alloc(&a, desc->size);
	if (pb_decode(desc, slice_make(data + 1, n - 1), &a, msg, &e) == 0) {
		encode(desc, msg, &first);
		/* Canonical bytes may need a little more memory than the arena has left. */
		arena_reset(&a);
		a.limit = (size_t)64 << 20;
		again = arena_alloc(&a, desc->size);
		copy = arena_alloc(&a, desc->size);
		if (pb_decode(desc, buf_slice(&first), &a, again, &e) < 0)
			abort();
		encode(desc, again, &second);
		if (first.len != second.len || (first.len > 0 && memcmp(buf_data(&first), buf_data(&second), first.len) != 0))
			abort();
		if (pb_copy(desc, again, &a, copy, &e) < 0)
			abort();
		pb_print(desc, copy, &text);
	}
	buf_free(&first);
	buf_free(&second);
	buf_free(&text);
	arena_free(&a);
	return 0;
}
