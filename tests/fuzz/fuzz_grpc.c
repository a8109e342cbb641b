/* Any bytes as a stream of messages, as header values, and as details about a failed source. */
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/err.h"
#include "wire/grpc.h"
#include "wire/pb.h"

#define MESSAGE_MAX 100000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void
check(bool is_right)
{
	if (!is_right)
		abort();
}

/* All messages one after the other, whole or fed in steps of `step` bytes; how it ended. */
static int
read_all(struct slice in, size_t step, struct buf *out)
{
	struct grpc_reader r;
	struct slice msg;
	struct err e;
	int rc = 0;

	grpc_reader_init(&r, MESSAGE_MAX);
	for (size_t at = 0; at < in.n && rc == 0; at += step) {
		struct slice part = slice_sub(in, at, step);

		while ((rc = grpc_read_message(&r, &part, &msg, &e)) == 1) {
			buf_printf(out, "%zu:", msg.n);
			buf_append_slice(out, msg);
		}
		check(rc < 0 || part.n == 0);
	}
	if (rc == 0)
		rc = grpc_reader_end(&r, &e) < 0 ? 2 : 0;
	grpc_reader_free(&r);
	return rc;
}

static void
framing(struct slice in, size_t step)
{
	struct buf whole = BUF_INIT, parts = BUF_INIT;

	check(read_all(in, in.n + 1, &whole) == read_all(in, step, &parts));
	check(slice_eq(buf_slice(&whole), buf_slice(&parts)));
	buf_free(&whole);
	buf_free(&parts);
}

static void
headers(struct slice in)
{
	struct buf text = BUF_INIT, encoded = BUF_INIT, again = BUF_INIT;
	struct slice service, method;
	int64_t ns;

	grpc_decode_message(in, &text);
	grpc_encode_message(buf_slice(&text), &encoded);
	check(encoded.len <= GRPC_MESSAGE_MAX);
	grpc_decode_message(buf_slice(&encoded), &again);
	check(again.len <= text.len && (again.len == 0 || memcmp(buf_data(&again), buf_data(&text), again.len) == 0));
	if (grpc_parse_timeout(in, &ns) == 0) {
		char out[GRPC_TIMEOUT_MAX];
		int64_t back;

		grpc_format_timeout(ns, out);
		check(grpc_parse_timeout(slice_str(out), &back) == 0 && back >= ns);
	}
	grpc_parse_status(in);
	grpc_is_content_type(in);
	grpc_split_path(in, &service, &method);
	buf_clear(&text);
	buf_clear(&encoded);
	if (grpc_decode_details(in, &text) == 0 && grpc_encode_details(buf_slice(&text), &encoded) == 0)
		check(in.n >= encoded.len && (encoded.len == 0 || memcmp(buf_data(&encoded), in.p, encoded.len) == 0));
	buf_free(&text);
	buf_free(&encoded);
	buf_free(&again);
}

static void
backend(struct slice in)
{
	struct grpc_backend b, again;
	struct buf json = BUF_INIT;
	struct arena a;
	struct err e;

	arena_init(&a, (size_t)16 << 20);
	if (grpc_read_backend(in, &a, &b, &e) == 0) {
		grpc_write_backend(&b, &json);
		check(json.len <= GRPC_BACKEND_MAX);
		check(grpc_read_backend(buf_slice(&json), &a, &again, &e) == 0);
		check(again.has_status_code == b.has_status_code && again.status_code == b.status_code && again.n_header <= b.n_header);
	}
	buf_free(&json);
	arena_free(&a);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct slice in;

	if (n == 0)
		return 0;
	in = slice_make(data + 1, n - 1);
	framing(in, 1 + data[0] % 7);
	headers(in);
	backend(in);
	return 0;
}
