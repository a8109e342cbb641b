/*
 * From dfget's options to a plan: everything that can be found wrong before the network is asked (spec: cli.md 3.2, 3.3, 3.9).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "cmd/get.h"

#define PIECE_LENGTH_MIN_BYTES 4194304
#define PATH_TEXT_MAX 4096

/* ---- URL ---- */

static bool
is_http(const struct url *u)
{
	return slice_eq_str(u->scheme, "http") || slice_eq_str(u->scheme, "https");
}

/* For http a path that ends in '/' is a page like any other, unless -r says directory. */
bool
get_is_directory(const struct get_options *o, const struct url *u)
{
	return o->recursive || (!is_http(u) && slice_ends(u->path, "/"));
}

static int
read_url(struct get_plan *p, struct err *e)
{
	struct err why = {0};

	if (url_parse(&p->url, slice_str(p->o->url), &why) < 0) {
		char shown[URL_REDACTED_MAX];

		url_redact_text(slice_str(p->o->url), shown);
		err_set(e, ERR_INVALID_ARGUMENT, "invalid value '%s' for '<URL>': %s", shown, why.text);
		return OPTIONS_USAGE;
	}
	return 0;
}

/* ---- output ---- */

char *
get_absolute_path(const char *path)
{
	char cwd[PATH_TEXT_MAX];
	struct buf out = BUF_INIT;
	char *joined, *rest, *part, *text;

	if (path[0] == '/')
		joined = xstrdup(path);
	else
		joined = xasprintf("%s/%s", getcwd(cwd, sizeof cwd) != NULL ? cwd : "", path);
	for (part = strtok_r(joined, "/", &rest); part != NULL; part = strtok_r(NULL, "/", &rest)) {
		if (strcmp(part, ".") == 0)
			continue;
		if (strcmp(part, "..") != 0) {
			buf_append_u8(&out, '/');
			buf_append_str(&out, part);
			continue;
		}
		while (out.len > 0 && buf_data(&out)[--out.len] != '/')
			;
	}
	if (out.len == 0)
		buf_append_u8(&out, '/');
	free(joined);
	text = buf_take(&out);
	return text;
}

static bool
is_directory(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* "<dir>/<last part of the URL's path, decoded>" */
static int
name_in_directory(struct get_plan *p, struct err *e)
{
	struct slice path = p->url.path;
	struct buf name = BUF_INIT;
	size_t from = path.n;
	char *joined;
	int rc = -1;

	while (from > 0 && path.p[from - 1] != '/')
		from--;
	url_decode(slice_sub(path, from, path.n), &name);
	if (name.len == 0 || slice_find(buf_slice(&name), '/') >= 0 || slice_find(buf_slice(&name), 0) >= 0 ||
	    slice_eq_str(buf_slice(&name), ".") || slice_eq_str(buf_slice(&name), "..")) {
		err_set(e, ERR_INVALID_ARGUMENT, "output path %s is a directory and the URL names no file", p->o->output);
	} else {
		joined = xasprintf("%s/%s", strcmp(p->output, "/") == 0 ? "" : p->output, buf_cstr(&name));
		free(p->output);
		p->output = joined;
		rc = 0;
	}
	buf_free(&name);
	return rc;
}

static int
check_file_output(struct get_plan *p, struct err *e)
{
	char *parent, *slash;
	struct stat st;
	int rc = 0;

	if (strcmp(p->output, "/") == 0)
		return err_set(e, ERR_INVALID_ARGUMENT, "output path %s is not exist", p->o->output);
	if (is_directory(p->output) && p->export_id == NULL && name_in_directory(p, e) < 0)
		return -1;
	parent = xstrdup(p->output);
	slash = strrchr(parent, '/');
	slash[slash == parent] = '\0';
	if (!is_directory(parent))
		rc = err_set(e, ERR_INVALID_ARGUMENT, "output path %s is not a directory", parent);
	free(parent);
	if (rc < 0)
		return -1;
	if (stat(p->output, &st) < 0)
		return 0;
	if (!p->o->overwrite)
		return err_set(e, ERR_ALREADY_EXISTS, "output path %s is already exist", p->o->output);
	/* What is no file is written to, never replaced. */
	p->is_stream = !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
	return 0;
}

static int
read_output(struct get_plan *p, struct err *e)
{
	const struct get_options *o = p->o;
	bool is_dir = get_is_directory(o, &p->url);

	if (strcmp(o->output, "-") == 0) {
		if (is_dir)
			return err_set(e, ERR_INVALID_ARGUMENT, "a directory cannot be written to standard output");
		p->is_stream = true;
		return 0;
	}
	p->output = get_absolute_path(o->output);
	if (!is_dir)
		return check_file_output(p, e);
	if (!is_directory(p->output))
		return err_set(e, ERR_INVALID_ARGUMENT, "output path %s is not a directory", o->output);
	return 0;
}

/* ---- include-files ---- */

/* "**" only as a whole component, no more stars in a row, brackets closed. */
static bool
is_glob(const char *s)
{
	for (const char *at = s; *at != '\0'; at++) {
		size_t stars = strspn(at, "*");

		if (stars > 2 || (stars == 2 && ((at > s && at[-1] != '/') || (at[2] != '/' && at[2] != '\0'))))
			return false;
		if (stars > 0)
			at += stars - 1;
		if (*at == '[') {
			at = strchr(at + 1 + (at[1] == '!') + 1, ']');
			if (at == NULL)
				return false;
		}
	}
	return true;
}

static bool
is_normal_relative(const char *s)
{
	if (s[0] == '/' || strcmp(s, ".") == 0 || strncmp(s, "./", 2) == 0)
		return false;
	for (const char *at = s; at != NULL; at = strchr(at, '/')) {
		at += *at == '/';
		if (strcmp(at, "..") == 0 || strncmp(at, "../", 3) == 0)
			return false;
	}
	return true;
}

static int
check_include_files(const struct get_plan *p, struct err *e)
{
	const struct option_list *l = &p->o->include_files;

	for (size_t i = 0; i < l->count; i++)
		if (strlen(l->items[i]) == 1 ? l->items[i][0] == '[' : !is_glob(l->items[i]))
			return err_set(e, ERR_INVALID_ARGUMENT, "invalid glob pattern in include_files: '%.200s'", l->items[i]);
	for (size_t i = 0; i < l->count; i++)
		if (!is_normal_relative(l->items[i]))
			return err_set(e, ERR_INVALID_ARGUMENT,
			    "path is not a normal relative path in include_files: '%.200s'. It must not contain '..', '.', or start with '/'.",
			    l->items[i]);
	if (l->count > 0 && !get_is_directory(p->o, &p->url))
		return err_set(e, ERR_INVALID_ARGUMENT, "include_files needs a directory; see --recursive");
	return 0;
}

/* ---- digest ---- */

static int
read_digest(struct get_plan *p, struct err *e)
{
	char hex[DIGEST_HEX_MAX];
	const char *text = p->o->digest;
	size_t n;

	if (text == NULL)
		return 0;
	if (digest_parse(text, &p->digest_kind, hex, e) < 0)
		return -1;
	p->has_digest = true;
	if (p->digest_kind != DIGEST_CRC32) {
		snprintf(p->digest, sizeof p->digest, "%s:%s", digest_kind_name(p->digest_kind), hex);
		return 0;
	}
	/* The wire knows decimal alone. Eight decimal digits may be meant as hexadecimal: then only we can compare. */
	text += strlen("crc32:");
	n = strlen(text);
	if (n != 8 || text[strspn(text, "0123456789")] != '\0')
		snprintf(p->digest, sizeof p->digest, "crc32:%lu", strtoul(hex, NULL, 16));
	return 0;
}

/* ---- all together ---- */

static int
check_combinations(const struct get_plan *p, struct err *e)
{
	const struct get_options *o = p->o;
	bool is_dir = get_is_directory(o, &p->url);

	if (o->force_hard_link && (o->overwrite || o->transfer || p->is_stream))
		return err_set(e, ERR_INVALID_ARGUMENT, "--force-hard-link cannot be used with %s",
		    o->overwrite ? "--overwrite" : o->transfer ? "--transfer-from-dfdaemon" : "standard output");
	if (is_dir && o->digest != NULL)
		return err_set(e, ERR_INVALID_ARGUMENT, "--digest cannot be used with a directory");
	if (is_dir && o->content_for_id != NULL)
		return err_set(e, ERR_INVALID_ARGUMENT, "--content-for-calculating-task-id cannot be used with a directory");
	if (p->has_range && o->digest != NULL)
		return err_set(e, ERR_INVALID_ARGUMENT, "--digest is that of the whole content and cannot be used with a range");
	if (p->has_range && o->force_hard_link)
		return err_set(e, ERR_INVALID_ARGUMENT, "--force-hard-link cannot be used with a range");
	return 0;
}

int
get_plan_make(struct get_plan *p, const struct get_options *o, struct err *e)
{
	int rc;

	*p = (struct get_plan){.o = o, .headline = "Downloading Failed!"};
	arena_init(&p->arena, GET_PLAN_BYTES);
	if ((rc = read_url(p, e)) != 0 || (rc = get_request_make(p, e)) != 0)
		return rc;
	if (read_output(p, e) < 0)
		return -1;
	if (o->piece_length.is_set && o->piece_length.n < PIECE_LENGTH_MIN_BYTES)
		return err_set(e, ERR_INVALID_ARGUMENT, "piece length %lld bytes is less than the minimum piece length %d bytes",
		    (long long)o->piece_length.n, PIECE_LENGTH_MIN_BYTES);
	if (check_include_files(p, e) < 0 || check_combinations(p, e) < 0 || read_digest(p, e) < 0)
		return -1;
	p->request.digest = slice_str(p->digest[0] != '\0' ? p->digest : NULL);
	return 0;
}

int
get_plan_make_export(struct get_plan *p, const struct get_options *o, const char *task_id, struct err *e)
{
	*p = (struct get_plan){.o = o, .export_id = task_id, .headline = "Exporting Failed!"};
	arena_init(&p->arena, GET_PLAN_BYTES);
	if (strcmp(o->output, "-") == 0) {
		p->is_stream = true;
	} else {
		p->output = get_absolute_path(o->output);
		if (check_file_output(p, e) < 0)
			return -1;
	}
	if (check_combinations(p, e) < 0 || read_digest(p, e) < 0)
		return -1;
	get_request_make_export(p);
	p->request.digest = slice_str(p->digest[0] != '\0' ? p->digest : NULL);
	return 0;
}

void
get_plan_free(struct get_plan *p)
{
	url_free(&p->url);
	free(p->output);
	arena_free(&p->arena);
}
