#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "text/url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
require(bool condition)
{
	if (!condition)
		abort();
}

static void
require_inside(const struct url *u, struct slice part)
{
	const uint8_t *text = (const uint8_t *)u->text;

	require(part.p == NULL || (part.p >= text && part.p + part.n <= text + strlen(u->text)));
}

/* What was parsed reads back as itself, part by part, and gives a clean request. */
static void
check_url(const struct url *u)
{
	struct url again;
	struct buf out = BUF_INIT;

	require_inside(u, u->scheme);
	require_inside(u, u->user);
	require_inside(u, u->password);
	require_inside(u, u->host);
	require_inside(u, u->path);
	require_inside(u, u->query);
	require_inside(u, u->fragment);
	/* Encoding may have made the text longer than what is taken from outside. */
	if (strlen(u->text) <= URL_TEXT_MAX) {
		require(url_parse(&again, slice_str(u->text), NULL) == 0);
		require(strcmp(again.text, u->text) == 0);
		require(slice_eq(again.host, u->host) && slice_eq(again.path, u->path) && slice_eq(again.user, u->user));
		require(again.port == u->port && again.host_kind == u->host_kind && again.is_opaque == u->is_opaque);
		url_free(&again);
	}
	if (url_request_target(u, &out, NULL) == 0) {
		for (size_t i = 0; i < out.len; i++)
			require(buf_data(&out)[i] > 0x20 && buf_data(&out)[i] < 0x7f);
	}
	buf_clear(&out);
	url_host_header(u, &out);
	for (size_t i = 0; i < out.len; i++)
		require(buf_data(&out)[i] > 0x20 && buf_data(&out)[i] < 0x7f);
	url_basic_auth(u, &out, NULL);
	buf_free(&out);
}

static void
check_task_form(struct slice text, const struct url *u)
{
	struct slice filters[] = {slice_str("a"), slice_str("X-Amz-Signature")};
	struct buf once = BUF_INIT, twice = BUF_INIT;

	if (url_task_form(text, filters, COUNT_OF(filters), &once, NULL) == 0 && u->is_special && once.len <= URL_TEXT_MAX) {
		require(url_task_form(buf_slice(&once), filters, COUNT_OF(filters), &twice, NULL) == 0);
		require(slice_eq(buf_slice(&once), buf_slice(&twice)));
	}
	buf_free(&once);
	buf_free(&twice);
}

static void
check_redaction(struct slice text, const struct url *u)
{
	struct buf out = BUF_INIT;

	url_redact(text, &out);
	for (size_t i = 0; i < out.len; i++)
		require(buf_data(&out)[i] > 0x20 && buf_data(&out)[i] != 0x7f);
	if (u != NULL && (u->user.n > 0 || u->password.n > 0) && !slice_eq_str(u->scheme, "file"))
		require(strstr(buf_cstr(&out), "***@") != NULL);
	buf_free(&out);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const bases[] = {"http://u:p@h/a/b?q#f", "s3://B", "x:/.//y", "x:opaque", "file:///a/b", "https://[::1]:8443"};
	struct url u, base, joined;
	struct slice text;

	if (size == 0)
		return 0;
	text = slice_make(data + 1, size - 1);
	if (url_parse(&base, slice_str(bases[data[0] % COUNT_OF(bases)]), NULL) < 0)
		abort();
	if (url_join(&joined, &base, text, NULL) == 0) {
		check_url(&joined);
		url_free(&joined);
	}
	url_free(&base);
	if (url_parse(&u, text, NULL) < 0) {
		check_redaction(text, NULL);
		return 0;
	}
	check_url(&u);
	check_task_form(text, &u);
	check_redaction(text, &u);
	url_free(&u);
	return 0;
}
