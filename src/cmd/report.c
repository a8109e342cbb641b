#include "cmd/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "cmd/get.h"
#include "text/encode.h"
#include "text/url.h"
#include "text/utf8.h"
#include "wire/grpc.h"

#define RED "\x1b[38;5;1m"
#define CYAN "\x1b[38;5;6m"
#define STRONG "\x1b[3m\x1b[1m"
#define DIM "\x1b[2m"
#define PLAIN "\x1b[m"

/* Whether this stream takes escape sequences. */
static bool
is_coloured(int fd)
{
	const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");

	return isatty(fd) && term != NULL && term[0] != '\0' && strcmp(term, "dumb") != 0 && (no_color == NULL || no_color[0] == '\0');
}

bool
report_is_terminal(void)
{
	return is_coloured(STDERR_FILENO);
}

void
report_escape(struct slice s, struct buf *out)
{
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < 0x20 || s.p[i] == 0x7f)
			buf_printf(out, "\\x%02x", s.p[i]);
		else
			buf_append_u8(out, s.p[i]);
	}
}

static void
add_headline(struct buf *out, const char *text)
{
	if (report_is_terminal())
		buf_printf(out, RED STRONG "%s" PLAIN "\n", text);
	else
		buf_printf(out, "%s\n", text);
}

static void
add_separator(struct buf *out)
{
	static const char stars[] = "****************************************";

	if (report_is_terminal())
		buf_printf(out, DIM "%s" PLAIN "\n", stars);
	else
		buf_printf(out, "%s\n", stars);
}

static void
add_field(struct buf *out, bool is_error, const char *key, struct slice value)
{
	if (report_is_terminal())
		buf_printf(out, "%s" STRONG "%s:" PLAIN " ", is_error ? RED : CYAN, key);
	else
		buf_printf(out, "%s: ", key);
	report_escape(value, out);
	buf_append_u8(out, '\n');
}

static void
print(struct buf *out)
{
	fwrite(buf_data(out), 1, out->len, stderr);
	buf_free(out);
}

void
report_validation(const char *text)
{
	struct buf out = BUF_INIT, message = BUF_INIT;

	buf_printf(&message, "validate failed: %s", text);
	add_headline(&out, "Validating Failed!");
	add_separator(&out);
	add_field(&out, true, "Message", buf_slice(&message));
	add_separator(&out);
	buf_free(&message);
	print(&out);
}

void
report_no_daemon(const char *socket, const struct err *e)
{
	struct buf out = BUF_INIT, message = BUF_INIT;

	buf_append_str(&message, "can not connect ConnectError cause: transport error");
	if (e->sys != 0)
		buf_printf(&message, ": %s (os error %d)", strerror(e->sys), e->sys);
	buf_printf(&message, ", please check the unix socket %s", socket);
	add_headline(&out, "Connect Dfdaemon Failed!");
	add_separator(&out);
	add_field(&out, true, "Message", buf_slice(&message));
	add_separator(&out);
	buf_free(&message);
	print(&out);
}

/* ---- a failed download ---- */

static const char *
describe_code(int code)
{
	static const char *const texts[] = {
		"The operation completed successfully", "The operation was cancelled", "Unknown error", "Client specified an invalid argument",
		"Deadline expired before operation could complete", "Some requested entity was not found",
		"Some entity that we attempted to create already exists",
		"The caller does not have permission to execute the specified operation", "Some resource has been exhausted",
		"The system is not in a state required for the operation's execution", "The operation was aborted",
		"Operation was attempted past the valid range", "Operation is not implemented or not supported", "Internal error",
		"The service is currently unavailable", "Unrecoverable data loss or corruption",
		"The request does not have valid authentication credentials",
	};

	return code >= 0 && (size_t)code < sizeof texts / sizeof texts[0] ? texts[code] : texts[2];
}

static bool
is_secret_header(struct slice name)
{
	return slice_ieq_str(name, "set-cookie") || slice_ieq_str(name, "authorization") || slice_ieq_str(name, "www-authenticate") ||
	    slice_ieq_str(name, "proxy-authenticate") || slice_ieq_str(name, "proxy-authorization");
}

static int
by_name(const void *a, const void *b)
{
	return slice_cmp(((const struct pb_pair *)a)->key, ((const struct pb_pair *)b)->key);
}

static void
add_backend(struct buf *out, const struct grpc_backend *b)
{
	char status[16], url[URL_REDACTED_MAX];

	if (b->has_status_code) {
		snprintf(status, sizeof status, "%d", (int)b->status_code);
		add_field(out, true, "Bad Status Code", slice_str(status));
	}
	add_field(out, !b->has_status_code, "Message", b->message);
	if (b->n_header == 0)
		return;
	qsort(b->header, b->n_header, sizeof *b->header, by_name);
	if (report_is_terminal())
		buf_append_str(out, CYAN STRONG "Header:" PLAIN "\n");
	else
		buf_append_str(out, "Header:\n");
	for (size_t i = 0; i < b->n_header; i++) {
		buf_append_str(out, "  [");
		report_escape(b->header[i].key, out);
		buf_append_str(out, "]: ");
		/* Where a redirect leads may be a signed URL. */
		if (slice_ieq_str(b->header[i].key, "location"))
			report_escape(slice_str(url_redact_text(b->header[i].value, url)), out);
		else
			report_escape(is_secret_header(b->header[i].key) ? slice_str("***") : b->header[i].value, out);
		buf_append_u8(out, '\n');
	}
}

void
report_failure(const char *headline, const struct get_end *end, bool shows_code)
{
	struct buf out = BUF_INIT, text = BUF_INIT;

	add_headline(&out, headline);
	add_separator(&out);
	if (end->backend != NULL) {
		add_backend(&out, end->backend);
	} else if (end->is_status) {
		add_field(&out, true, "Bad Code", slice_str(describe_code(end->err->code)));
		add_field(&out, false, "Message", slice_str(end->err->text));
		if (shows_code ? utf8_is_valid(end->details) : end->details.n > 0 && utf8_is_valid(end->details)) {
			add_field(&out, false, "Details", end->details);
		} else if (end->details.n > 0) {
			hex_encode(end->details, &text);
			add_field(&out, false, "Details", buf_slice(&text));
		}
	} else {
		buf_append_str(&text, end->err->text);
		if (end->err->sys != 0)
			buf_printf(&text, " (os error %d)", end->err->sys);
		add_field(&out, true, "Message", buf_slice(&text));
	}
	add_separator(&out);
	buf_free(&text);
	print(&out);
}

void
report_download(const struct get_end *end)
{
	report_failure("Downloading Failed!", end, false);
}

/* ---- remarks ---- */

void
report_success(const char *text)
{
	if (is_coloured(STDOUT_FILENO))
		printf("\x1b[38;5;2m" STRONG "%s" PLAIN "\n", text);
	else
		printf("%s\n", text);
}

void
report_warning(const char *text)
{
	if (is_coloured(STDERR_FILENO))
		fprintf(stderr, "\x1b[38;5;3m" STRONG "%s" PLAIN "\n", text);
	else
		fprintf(stderr, "%s\n", text);
}
