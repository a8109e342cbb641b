#include <ctype.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/origin_internal.h"

bool
origin_header(const char *head, const char *name, char *out, size_t n)
{
	size_t len = strlen(name);

	for (const char *p = strchr(head, '\n'); p != NULL; p = strchr(p, '\n')) {
		p++;
		if (strncasecmp(p, name, len) == 0 && p[len] == ':') {
			const char *v = p + len + 1, *end = v + strcspn(v, "\r\n");

			v += strspn(v, " ");
			snprintf(out, n, "%.*s", (int)(end - v), v);
			return true;
		}
	}
	return false;
}

static unsigned
hash(const char *s)
{
	unsigned h = 2166136261u;

	for (; *s != '\0'; s++)
		h = (h ^ (unsigned char)*s) * 16777619u;
	return h % BUCKETS;
}

static struct path_count *
find_path(struct counts *c, const char *path)
{
	struct path_count **at = &c->paths[hash(path)];

	while (*at != NULL && strcmp((*at)->path, path) != 0)
		at = &(*at)->next;
	if (*at == NULL) {
		*at = calloc(1, sizeof(**at));
		(*at)->path = strdup(path);
	}
	return *at;
}

/* How often the target was asked for, this time included. */
static unsigned
count_target(struct counts *c, const char *target)
{
	struct target_count **at = &c->targets[hash(target)];

	while (*at != NULL && strcmp((*at)->target, target) != 0)
		at = &(*at)->next;
	if (*at == NULL) {
		*at = calloc(1, sizeof(**at));
		(*at)->target = strdup(target);
	}
	return ++(*at)->requests;
}

void
counts_clear(struct counts *c, bool scripts_too)
{
	for (size_t i = 0; i < BUCKETS; i++) {
		for (struct path_count *p = c->paths[i], *next; p != NULL; p = next) {
			next = p->next;
			if (!scripts_too) {
				p->requests = p->bytes = 0;
				continue;
			}
			free(p->path);
			free(p);
		}
		for (struct target_count *t = c->targets[i], *next; t != NULL; t = next) {
			next = t->next;
			free(t->target);
			free(t);
		}
		c->targets[i] = NULL;
	}
	for (size_t i = 0; i < c->record_count; i++)
		free(c->records[i]);
	c->record_count = 0;
	c->requests = c->bytes = c->connections = 0;
	for (struct script *s = c->scripts, *next; scripts_too && s != NULL; s = next) {
		next = s->next;
		for (size_t i = 0; i < s->count; i++) {
			char *bytes;

			memcpy(&bytes, &s->answers[i].bytes, sizeof(bytes));
			free(bytes);
		}
		free(s->answers);
		free(s->target);
		free(s);
	}
}

/* ---- the switches ---- */

/* The value of a query parameter, decoded, in out; false when the query has none of that name. */
static bool
query(const char *q, const char *name, char *out, size_t n)
{
	size_t len = strlen(name), k = 0;

	for (; q != NULL && *q != '\0'; q += *q == '&') {
		size_t part = strcspn(q, "&");

		if (strncmp(q, name, len) == 0 && (q[len] == '=' || q[len] == '&' || q[len] == '\0')) {
			const char *v = q + len + (q[len] == '='), *end = q + part;

			while (v < end && k + 1 < n) {
				unsigned byte;

				if (*v == '%' && end - v >= 3 && sscanf(v + 1, "%2x", &byte) == 1) {
					out[k++] = (char)byte;
					v += 3;
				} else {
					out[k++] = *v++;
				}
			}
			out[k] = '\0';
			return true;
		}
		q += part;
	}
	return false;
}

static bool
is_on(const char *q, const char *name)
{
	char v[8];

	return query(q, name, v, sizeof(v));
}

static int64_t
number(const char *q, const char *name, int64_t otherwise)
{
	char v[32];

	return query(q, name, v, sizeof(v)) ? strtoll(v, NULL, 10) : otherwise;
}

static uint64_t
size_text(const char *s, char **end)
{
	uint64_t n = strtoull(s, end, 10);

	switch (toupper((unsigned char)**end)) {
	case 'K':
		++*end;
		return n << 10;
	case 'M':
		++*end;
		return n << 20;
	case 'G':
		++*end;
		return n << 30;
	default:
		return n;
	}
}

__attribute__((format(printf, 2, 3))) static void
say(struct plan *p, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(p->head + p->head_len, sizeof(p->head) - p->head_len, fmt, ap);
	va_end(ap);
	if (n > 0 && p->head_len + (size_t)n < sizeof(p->head))
		p->head_len += (size_t)n;
}

static void
say_status(struct plan *p, int status, const char *extra)
{
	char body[64];
	int n = snprintf(body, sizeof(body), "status %d\n", status);

	p->body = BODY_NONE;
	p->head_len = 0;
	say(p, "HTTP/1.1 %d Whatever\r\n%sContent-Length: %d\r\n\r\n%s", status, extra, n, p->is_head ? "" : body);
}

/* "bytes=a-b", "bytes=a-", "bytes=-n" against a length. 1 a range, 0 none, -1 not satisfiable. */
static int
read_range(const char *head, uint64_t length, uint64_t *first, uint64_t *last)
{
	char v[128], *end;

	if (!origin_header(head, "range", v, sizeof(v)) || strncmp(v, "bytes=", 6) != 0)
		return 0;
	if (v[6] == '-') {
		uint64_t n = strtoull(v + 7, NULL, 10);

		if (n == 0 || length == 0)
			return -1;
		*first = n < length ? length - n : 0;
		*last = length - 1;
		return 1;
	}
	*first = strtoull(v + 6, &end, 10);
	*last = end[0] == '-' && isdigit((unsigned char)end[1]) ? strtoull(end + 1, NULL, 10) : UINT64_MAX;
	if (*first >= length)
		return -1;
	if (*last >= length)
		*last = length - 1;
	return 1;
}

static bool
is_refused(const char *head, const char *q)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	char want[256], text[400] = "Bearer ", got[512] = "";

	origin_header(head, "authorization", got, sizeof(got));
	if (query(q, "bearer", want, sizeof(want))) {
		snprintf(text + 7, sizeof(text) - 7, "%s", want);
		return strcmp(got, text) != 0;
	}
	if (query(q, "basic", want, sizeof(want))) {
		size_t n = strlen(want), k = (size_t)snprintf(text, sizeof(text), "Basic ");

		for (size_t i = 0; i < n; i += 3) {
			unsigned v = (unsigned)(unsigned char)want[i] << 16;

			if (i + 1 < n)
				v |= (unsigned)(unsigned char)want[i + 1] << 8;
			if (i + 2 < n)
				v |= (unsigned char)want[i + 2];
			text[k++] = digits[v >> 18];
			text[k++] = digits[v >> 12 & 63];
			text[k++] = i + 1 < n ? digits[v >> 6 & 63] : '=';
			text[k++] = i + 2 < n ? digits[v & 63] : '=';
		}
		text[k] = '\0';
		return strcmp(got, text) != 0;
	}
	return false;
}

/* How the body misbehaves, if it does. */
static void
plan_stop(struct plan *p, const char *q, unsigned times)
{
	static const struct {
		const char *name;
		enum origin_then stop;
	} stops[] = {{"cut", ORIGIN_CLOSE}, {"reset", ORIGIN_RESET}, {"stall", ORIGIN_STALL}};

	p->stop_after = UINT64_MAX;
	if ((int64_t)times > number(q, "until", is_on(q, "once") ? 1 : INT64_MAX))
		return;
	for (size_t i = 0; i < sizeof(stops) / sizeof(stops[0]); i++) {
		int64_t n = number(q, stops[i].name, -1);

		if (n >= 0) {
			p->stop_after = (uint64_t)n;
			p->stop = stops[i].stop;
		}
	}
}

/* Content of `length` bytes (p->body, seed, fd say which) by the switches of q. */
static void
plan_content(struct plan *p, const char *head, const char *q, const char *name, uint64_t length, unsigned times)
{
	bool no_length = is_on(q, "chunked") || is_on(q, "nolength");
	uint64_t first = 0, last = length - 1;
	char etag[256], if_range[256];
	int range = is_on(q, "norange") || no_length ? 0 : read_range(head, length, &first, &last);
	int64_t lie = number(q, "lie", 0);

	if (!query(q, "etag", etag, sizeof(etag)))
		snprintf(etag, sizeof(etag), "%s", name);
	if ((int64_t)times > number(q, "etagafter", INT64_MAX))
		snprintf(etag + strlen(etag), sizeof(etag) - strlen(etag), "-new");
	if (range != 0 && origin_header(head, "if-range", if_range, sizeof(if_range))) {
		char quoted[260];

		snprintf(quoted, sizeof(quoted), "\"%s\"", etag);
		if (strcmp(quoted, if_range) != 0)
			range = 0;
	}
	if (range < 0) {
		char extra[64];

		snprintf(extra, sizeof(extra), "Content-Range: bytes */%" PRIu64 "\r\n", length);
		say_status(p, 416, extra);
		return;
	}
	if (range == 0) {
		first = 0;
		last = length - 1;
	}
	p->at = first;
	p->left = length == 0 ? 0 : last - first + 1;
	say(p, "HTTP/1.1 %s\r\n", range ? "206 Partial Content" : "200 OK");
	if (!is_on(q, "noetag"))
		say(p, "ETag: \"%s\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n", etag);
	if (!is_on(q, "norange") && !no_length)
		say(p, "Accept-Ranges: bytes\r\n");
	if (range && is_on(q, "nototal"))
		say(p, "Content-Range: bytes %" PRIu64 "-%" PRIu64 "/*\r\n", first, last);
	else if (range && is_on(q, "wrongrange"))
		say(p, "Content-Range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64 "\r\n", first + 1, last + 1, length + 1);
	else if (range)
		say(p, "Content-Range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64 "\r\n", first, last, length);
	if (is_on(q, "gzip"))
		say(p, "Content-Encoding: gzip\r\n");
	if (is_on(q, "nolength")) {
		say(p, "Connection: close\r\n");
		p->then = ORIGIN_CLOSE;
	} else if (is_on(q, "chunked") && !p->is_head) {
		say(p, "Transfer-Encoding: chunked\r\n");
		p->chunked = true;
	}
	if (!no_length || (p->is_head && is_on(q, "headlength")))
		say(p, "Content-Length: %" PRIu64 "\r\n", p->left + (uint64_t)lie);
	if (lie != 0)
		p->then = ORIGIN_CLOSE;
	say(p, "Content-Type: application/octet-stream\r\n\r\n");
	plan_stop(p, q, times);
	p->drip = (uint64_t)number(q, "drip", 0);
	if (p->is_head)
		p->body = BODY_NONE;
}

static void
plan_stats(struct counts *c, struct plan *p)
{
	size_t cap = 4096, n = 0;
	const char *comma = "";

	p->text = malloc(cap);
	n = (size_t)snprintf(p->text, cap, "{\"requests\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"connections\":%" PRIu64 ",\"paths\":{",
	    c->requests, c->bytes, c->connections);
	for (size_t i = 0; i < BUCKETS; i++)
		for (struct path_count *x = c->paths[i]; x != NULL; x = x->next) {
			size_t need = n + strlen(x->path) + 256;

			if (x->requests == 0 || strpbrk(x->path, "\"\\") != NULL)
				continue;
			if (need > cap)
				p->text = realloc(p->text, cap = need * 2);
			n += (size_t)snprintf(p->text + n, cap - n, "%s\"%s\":{\"requests\":%" PRIu64 ",\"bytes\":%" PRIu64 "}", comma,
			    x->path, x->requests, x->bytes);
			comma = ",";
		}
	n += (size_t)snprintf(p->text + n, cap - n, "}}\n");
	p->raw = p->text;
	p->raw_len = n;
	say(p, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n", n);
}

static bool
plan_script(struct counts *c, const char *method, const char *target, struct plan *p)
{
	struct script *found = NULL;

	for (struct script *s = c->scripts; s != NULL; s = s->next) {
		const char *space = strchr(s->target, ' ');

		if (space == NULL && found == NULL && strcmp(s->target, target) == 0)
			found = s;
		else if (space != NULL && strncmp(s->target, method, (size_t)(space - s->target)) == 0
		    && method[space - s->target] == '\0' && strcmp(space + 1, target) == 0)
			found = s;
	}
	if (found == NULL)
		return false;
	{
		const struct origin_answer *a = &found->answers[found->used < found->count ? found->used : found->count - 1];

		found->used++;
		memcpy(&p->raw, &a->bytes, sizeof(p->raw));
		p->raw_len = a->n;
		p->then = a->then;
		p->delay_ms = a->delay_ms;
	}
	return true;
}

static void
plan_file(struct plan *p, const char *dir, const char *head, const char *path, const char *q, unsigned times)
{
	char full[4096], name[128];
	struct stat st;

	if (dir == NULL || strstr(path, "..") != NULL
	    || (size_t)snprintf(full, sizeof(full), "%s%s", dir, path) >= sizeof(full)
	    || (p->fd = open(full, O_RDONLY | O_CLOEXEC)) < 0) {
		say_status(p, 404, "");
		return;
	}
	if (fstat(p->fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		say_status(p, 404, "");
		return;
	}
	snprintf(name, sizeof(name), "%jx-%jx", (uintmax_t)st.st_size, (uintmax_t)st.st_mtime);
	p->body = BODY_FILE;
	plan_content(p, head, q, name, (uint64_t)st.st_size, times);
}

void
plan_request(struct counts *c, const char *dir, const char *head, struct plan *p, struct path_count **path_out)
{
	char method[32], target[8192], path[8192], value[2048], name[160], extra[2300];
	char *q, *end;
	unsigned times;

	memset(p, 0, sizeof(*p));
	p->fd = -1;
	p->stop_after = UINT64_MAX;
	*path_out = NULL;
	if (sscanf(head, "%31s %8191s", method, target) != 2) {
		say_status(p, 400, "");
		p->then = ORIGIN_CLOSE;
		return;
	}
	snprintf(path, sizeof(path), "%s", target);
	q = strchr(path, '?');
	if (q != NULL)
		*q++ = '\0';
	if (strcmp(path, "/_stats") == 0) {
		plan_stats(c, p);
		return;
	}
	if (strcmp(path, "/_reset") == 0) {
		counts_clear(c, false);
		say_status(p, 200, "");
		return;
	}
	p->is_head = strcmp(method, "HEAD") == 0;
	c->requests++;
	if (c->record_count < ORIGIN_RECORD_MAX)
		c->records[c->record_count++] = strdup(head);
	*path_out = find_path(c, path);
	(*path_out)->requests++;
	times = count_target(c, target);
	if (plan_script(c, method, target, p))
		return;
	p->delay_ms = (int)number(q, "slow", 0);
	p->hang = is_on(q, "hang");
	if (is_refused(head, q)) {
		say_status(p, 401, "WWW-Authenticate: Basic realm=\"origin\"\r\n");
	} else if (number(q, "status", 0) > 0 && (int64_t)times <= number(q, "fail", INT64_MAX)) {
		snprintf(extra, sizeof(extra), "Retry-After: %d\r\n", (int)number(q, "retryafter", 0));
		say_status(p, (int)number(q, "status", 0), is_on(q, "retryafter") ? extra : "");
	} else if (query(q, "redirect", value, sizeof(value))) {
		snprintf(extra, sizeof(extra), "Location: %s\r\n", value);
		say_status(p, (int)number(q, "code", 302), extra);
	} else if (is_on(q, "nohead") && p->is_head) {
		say_status(p, 405, "");
	} else if (strncmp(path, "/gen/", 5) == 0) {
		uint64_t length = size_text(path + 5, &end);

		p->seed = *end == '/' ? strtoull(end + 1, NULL, 10) : 0;
		p->body = BODY_GEN;
		snprintf(name, sizeof(name), "gen-%" PRIu64 "-%" PRIu64, length, p->seed);
		plan_content(p, head, q, name, length, times);
	} else {
		plan_file(p, dir, head, path, q, times);
	}
}
