/* Any bytes as requests and as a reply: reading them whole and byte by byte must give the same. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "wire/vortex.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
check(bool is_right)
{
	if (!is_right)
		abort();
}

static void
requests(struct slice in)
{
	struct vortex_request_reader whole = {.n = 0}, parts = {.n = 0};
	struct vortex_request a, b;
	struct err e;

	for (;;) {
		const uint8_t *start = in.p;
		enum vortex_result rc = vortex_read_request(&whole, &in, &a, &e), rc2 = VORTEX_MORE;
		size_t taken = (size_t)(in.p - start);

		for (size_t i = 0; i < taken && rc2 == VORTEX_MORE; i++) {
			struct slice byte = slice_make(start + i, 1);

			rc2 = vortex_read_request(&parts, &byte, &b, &e);
		}
		check(rc == rc2 || (rc == VORTEX_MORE && taken == 0));
		if (rc == VORTEX_READY) {
			uint8_t again[VORTEX_REQUEST_BYTES];

			check(strcmp(a.task_id, b.task_id) == 0 && a.number == b.number && a.tag == b.tag);
			vortex_write_request(again, start[0], a.tag, slice_str(a.task_id), a.number);
			check(memcmp(again, start, sizeof(again)) == 0);
		} else if (rc != VORTEX_END) {
			return;
		}
	}
}

static void
reply(struct slice in, uint8_t tag)
{
	struct vortex_reply_reader whole, parts;
	struct vortex_reply a, b;
	const uint8_t *start = in.p;
	struct err e;
	enum vortex_result rc, rc2 = VORTEX_MORE;
	size_t taken;

	vortex_reply_start(&whole, tag);
	vortex_reply_start(&parts, tag);
	rc = vortex_read_reply(&whole, &in, &a, &e);
	taken = (size_t)(in.p - start);
	for (size_t i = 0; i < taken && rc2 == VORTEX_MORE; i++) {
		struct slice byte = slice_make(start + i, 1);

		rc2 = vortex_read_reply(&parts, &byte, &b, &e);
	}
	check(rc == rc2 || (rc == VORTEX_MORE && taken == 0));
	if (rc != VORTEX_READY)
		return;
	check(a.is_error == b.is_error);
	if (a.is_error) {
		check(a.code == b.code && slice_eq(a.message, b.message));
	} else {
		struct buf out = BUF_INIT;

		check(slice_eq(a.content.digest, b.content.digest) && slice_eq(a.content.parent_id, b.content.parent_id));
		vortex_write_content(&out, start[0], &a.content);
		/* Lengths differ when there was a surplus; what follows them is the same. */
		check(out.len <= taken && memcmp(buf_data(&out) + 10, start + 10, out.len - 10) == 0);
		buf_free(&out);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	if (n == 0)
		return 0;
	requests(slice_make(data + 1, n - 1));
	reply(slice_make(data + 1, n - 1), data[0] & 6);
	vortex_is_request(slice_make(data, n));
	return 0;
}
