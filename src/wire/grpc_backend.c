/* The JSON in a status that says why a source failed (wire.md 4). */
#include <stdlib.h>

#include "base/arena.h"
#include "base/err.h"
#include "base/mem.h"
#include "text/json.h"
#include "wire/grpc.h"
#include "wire/pb.h"

/* What the tree of a JSON of this size may take. */
#define DETAILS_TEXT_MAX (64 * 1024)

static bool
is_secret(struct slice name)
{
	static const char *const names[] = {
		"set-cookie", "set-cookie2", "cookie", "authorization", "proxy-authorization", "www-authenticate", "proxy-authenticate",
	};

	for (size_t i = 0; i < COUNT_OF(names); i++)
		if (slice_ieq_str(name, names[i]))
			return true;
	return false;
}

static bool
is_visible(struct slice value)
{
	for (size_t i = 0; i < value.n; i++)
		if ((value.p[i] < 0x20 && value.p[i] != '\t') || value.p[i] > 0x7e)
			return false;
	return true;
}

/* Writes the JSON with the header fields whose size is not 0. */
static void
write_json(const struct grpc_backend *b, struct slice message, const size_t *sizes, struct buf *out)
{
	struct json_writer w;

	json_write_init(&w, out);
	json_begin_object(&w);
	json_write_key(&w, "message");
	json_write_slice(&w, message);
	json_write_key(&w, "header");
	json_begin_object(&w);
	for (size_t i = 0; i < b->n_header; i++) {
		if (sizes[i] == 0)
			continue;
		json_write_key_slice(&w, b->header[i].key);
		json_write_slice(&w, b->header[i].value);
	}
	json_end_object(&w);
	json_write_key(&w, "status_code");
	if (b->has_status_code)
		json_write_i64(&w, b->status_code);
	else
		json_write_null(&w);
	json_end_object(&w);
}

static size_t
largest(const size_t *sizes, size_t n)
{
	size_t best = 0;

	for (size_t i = 1; i < n; i++)
		if (sizes[i] > sizes[best])
			best = i;
	return best;
}

void
grpc_write_backend(const struct grpc_backend *b, struct buf *out)
{
	size_t *sizes = xcalloc(b->n_header + 1, sizeof(*sizes));
	struct slice message = b->message;
	struct buf json = BUF_INIT;

	for (size_t i = 0; i < b->n_header; i++)
		if (!is_secret(b->header[i].key) && is_visible(b->header[i].value))
			sizes[i] = b->header[i].key.n + b->header[i].value.n + 1;
	for (;;) {
		size_t drop = largest(sizes, b->n_header);

		buf_clear(&json);
		write_json(b, message, sizes, &json);
		if (json.len <= GRPC_BACKEND_MAX)
			break;
		if (sizes[drop] > 0)
			sizes[drop] = 0;
		else
			message = slice_sub(message, 0, message.n / 2);
	}
	buf_append_slice(out, buf_slice(&json));
	buf_free(&json);
	free(sizes);
}

static int
read_header(const struct json *object, struct arena *a, struct grpc_backend *out, struct err *e)
{
	out->header = arena_alloc(a, (object->count + 1) * sizeof(*out->header));
	if (out->header == NULL)
		return err_set(e, ERR_RESOURCE_EXHAUSTED, "details of the source's error are too large");
	for (const struct json *v = object->first; v != NULL; v = v->next) {
		if (v->kind != JSON_STRING)
			return err_set(e, ERR_INVALID_ARGUMENT, "details of the source's error: header is not a string");
		out->header[out->n_header++] = (struct pb_pair){v->name, v->text};
	}
	return 0;
}

int
grpc_read_backend(struct slice details, struct arena *a, struct grpc_backend *out, struct err *e)
{
	const struct json *root, *header, *code;
	int64_t n;

	*out = (struct grpc_backend){0};
	if (details.n > DETAILS_TEXT_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "details of the source's error are too large");
	root = json_parse(a, details, e);
	if (root == NULL)
		return -1;
	if (root->kind != JSON_OBJECT || json_slice(json_get(root, "message"), &out->message) < 0)
		return err_set(e, ERR_INVALID_ARGUMENT, "details of the source's error have no message");
	header = json_get(root, "header");
	if (header == NULL || header->kind != JSON_OBJECT)
		return err_set(e, ERR_INVALID_ARGUMENT, "details of the source's error have no header");
	code = json_get(root, "status_code");
	if (!json_is_null(code)) {
		if (json_i64(code, &n) < 0 || n < INT32_MIN || n > INT32_MAX)
			return err_set(e, ERR_INVALID_ARGUMENT, "details of the source's error have a wrong status code");
		out->has_status_code = true;
		out->status_code = (int32_t)n;
	}
	return read_header(header, a, out, e);
}
