/*
 * A directory of an object store or a repository (spec: cli.md 3.11): the daemon lists it, and each file is downloaded by a process of its
 * own, as dfget would download it alone.
 */
#include "cmd/get_names.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rand.h"
#include "cmd/get.h"
#include "cmd/report.h"
#include "cmd/tool.h"
#include "net/pb_time.h"
#include "proto/dfdaemon.h"

/* Longest wait for one listing. */
#define LIST_MS 60000
#define DIR_MODE 0777

struct entry {
	char *url;                      /* NULL for a directory */
	char *name;                     /* below the output directory */
};

struct directory {
	struct get_plan *plan;
	struct url base;                /* its path ends in '/' */
	char *socket;
	struct entry *entries;
	size_t count, room;
	const char *pattern;            /* of the listing at hand; NULL: all */
	struct err err;                 /* of an answer */
	bool has_failed;
};

static int
fail(const struct directory *d, const struct err *e)
{
	report_failure(d->plan->headline, &(struct get_end){.err = e}, false);
	return 1;
}

/* ---- entries ---- */

static void
add(struct directory *d, char *url, char *name)
{
	if (d->count == d->room) {
		d->room = d->room > 0 ? 2 * d->room : 64;
		d->entries = xrealloc(d->entries, d->room * sizeof *d->entries);
	}
	d->entries[d->count++] = (struct entry){.url = url, .name = name};
}

static int
add_url(struct directory *d, struct slice text, bool is_dir, struct err *e)
{
	struct buf name = BUF_INIT;
	struct url u;

	if (url_parse(&u, text, e) < 0)
		return err_wrap(e, "ParseError cause");
	if (!slice_eq(u.scheme, d->base.scheme) || !slice_eq(u.host, d->base.host) || get_name_below(d->base.path, u.path, &name, e) < 0) {
		if (e->code == ERR_OK)
			err_set(e, ERR_INVALID_ARGUMENT, "unsafe entry path '%.*s'", SLICE_ARG(slice_sub(u.path, 0, 300)));
		url_free(&u);
		buf_free(&name);
		return -1;
	}
	if (name.len > 0 && (d->pattern == NULL || get_name_matches(d->pattern, buf_cstr(&name))) && (!is_dir || d->pattern == NULL))
		add(d, is_dir ? NULL : xstrdup(u.text), xstrdup(buf_cstr(&name)));
	url_free(&u);
	buf_free(&name);
	return 0;
}

static int
by_name(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order != 0 ? order : (x->url != NULL) - (y->url != NULL);
}

/* Each once. */
static void
sort(struct directory *d)
{
	size_t kept = 0;

	if (d->count > 0)
		qsort(d->entries, d->count, sizeof *d->entries, by_name);
	for (size_t i = 0; i < d->count; i++) {
		if (kept > 0 && by_name(&d->entries[kept - 1], &d->entries[i]) == 0) {
			free(d->entries[i].url);
			free(d->entries[i].name);
		} else {
			d->entries[kept++] = d->entries[i];
		}
	}
	d->count = kept;
}

/* ---- listings ---- */

static void
on_listing(void *ctx, const void *answer)
{
	const struct dfdaemon_list_task_entries_response *m = answer;
	struct directory *d = ctx;

	for (size_t i = 0; i < m->n_entries && !d->has_failed; i++)
		d->has_failed = add_url(d, m->entries[i].url, m->entries[i].is_dir, &d->err) < 0;
}

static int
list(struct directory *d, const char *url)
{
	const struct common_download *r = &d->plan->request;
	int64_t ms = d->plan->o->timeout.n / 1000000;
	struct google_duration timeout;
	char id[RAND_UUID_MAX] = "";
	struct dfdaemon_list_task_entries_request request = {
		.url = slice_str(url), .request_header = r->request_header, .n_request_header = r->n_request_header,
		.timeout = &timeout, .certificate_chain = r->certificate_chain, .n_certificate_chain = r->n_certificate_chain,
		.object_storage = r->object_storage, .hdfs = r->hdfs, .remote_ip = r->remote_ip, .hugging_face = r->hugging_face,
		.model_scope = r->model_scope, .open_csg = r->open_csg,
	};
	int code;

	rand_uuid(id);
	request.task_id = slice_str(id);
	ms = ms > 0 && ms < LIST_MS ? ms : LIST_MS;
	timeout = pb_duration(ms * 1000000);
	code = tool_ask(&(struct tool_call){
		.socket = d->socket, .user_agent = "dfget", .request = &request, .timeout_ms = ms, .headline = d->plan->headline,
		.method = &dfdaemon_dfdaemon_download_service.methods[DFDAEMON_DFDAEMON_DOWNLOAD_LIST_TASK_ENTRIES_AT],
		.on_answer = on_listing, .ctx = d});
	if (code == 0 && d->has_failed)
		code = fail(d, &d->err);
	return code;
}

/* A value of --include-files that is no pattern: behind the base, each part as it is written. */
static char *
behind_base(const struct directory *d, const char *value)
{
	struct buf b = BUF_INIT;

	buf_append(&b, d->base.text, (size_t)(d->base.path.p + d->base.path.n - (const unsigned char *)d->base.text));
	url_encode(slice_str(value), URL_UNRESERVED "/!$&'()*+,;=:@", &b);
	if (d->base.query.p != NULL) {
		buf_append_u8(&b, '?');
		buf_append_slice(&b, d->base.query);
	}
	return buf_take(&b);
}

static int
list_all(struct directory *d)
{
	const struct option_list *l = &d->plan->o->include_files;
	struct err e = {0};
	int code = 0;

	if (l->count == 0)
		return list(d, d->base.text);
	for (size_t i = 0; i < l->count && code == 0; i++) {
		char *url;

		if (get_name_is_pattern(l->items[i])) {
			d->pattern = l->items[i];
			code = list(d, d->base.text);
			d->pattern = NULL;
			continue;
		}
		url = behind_base(d, l->items[i]);
		if (slice_ends(slice_str(l->items[i]), "/"))
			code = list(d, url);
		else if (add_url(d, slice_str(url), false, &e) < 0)
			code = fail(d, &e);
		free(url);
	}
	return code;
}

/* ---- the output directory ---- */

/* The directories of a name below the output directory; links are not followed. */
static int
make_dirs(const struct directory *d, const char *name, bool is_dir, struct err *e)
{
	int at = open(d->plan->output, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
	char *copy = xstrdup(name), *part = copy, *slash;

	if (at < 0)
		rc = err_sys(e, errno, "open %s", d->plan->output);
	while (rc == 0 && ((slash = strchr(part, '/')) != NULL || (is_dir && *part != '\0'))) {
		int next = -1;

		if (slash != NULL)
			*slash = '\0';
		if ((mkdirat(at, part, DIR_MODE) < 0 && errno != EEXIST) ||
		    (next = openat(at, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0)
			rc = err_sys(e, errno, "make directory %s of %s below %s", part, name, d->plan->output);
		close(at);
		at = next;
		part = slash != NULL ? slash + 1 : part + strlen(part);
	}
	if (at >= 0)
		close(at);
	free(copy);
	return rc;
}

static char *
place_of(const struct directory *d, const struct entry *n)
{
	return xasprintf("%s/%s", strcmp(d->plan->output, "/") == 0 ? "" : d->plan->output, n->name);
}

/* Nothing is made before all is known to be fine. */
static int
check(const struct directory *d, struct err *e)
{
	char shown[URL_REDACTED_MAX];
	size_t files = 0;

	for (size_t i = 0; i < d->count; i++)
		files += d->entries[i].url != NULL;
	if (d->count == 0)
		return err_set(e, ERR_NOT_FOUND, "no entries found in directory %s", url_redact_text(slice_str(d->base.text), shown));
	if (files > (uint64_t)d->plan->o->max_files.n)
		return err_set(e, ERR_INVALID_ARGUMENT,
		    "exceeded the maximum download limit of %zu files. Use --max-files to increase this limit", files);
	for (size_t i = 0; i < d->count && !d->plan->o->overwrite; i++) {
		char *place = place_of(d, &d->entries[i]);
		struct stat st;
		bool is_there = d->entries[i].url != NULL && lstat(place, &st) == 0;

		if (is_there)
			err_set(e, ERR_ALREADY_EXISTS, "output path %s is already exists", place);
		free(place);
		if (is_there)
			return -1;
	}
	return 0;
}

/* ---- downloads ---- */

struct running {
	volatile pid_t *pids;           /* 0: free */
	size_t room, count;
};

static volatile sig_atomic_t caught;
/* Whom a signal is passed on to. */
static struct running *volatile now;

static void
stop_all(const struct running *r, int sig)
{
	for (size_t i = 0; i < r->room; i++)
		if (r->pids[i] > 0)
			kill(r->pids[i], sig);
}

static void
on_signal(int sig)
{
	int saved = errno;

	caught = sig;
	if (now != NULL)
		stop_all(now, sig);
	errno = saved;
}

/* In the process of one file. */
static int
download(const struct directory *d, const struct entry *n)
{
	struct get_options o = *d->plan->o;
	char *place = place_of(d, n);
	struct get_plan plan = {0};
	struct err e = {0};
	int code = 1;

	o.url = n->url;
	o.output = place;
	o.recursive = false;
	o.include_files = (struct option_list){0};
	/* Bars of several processes would write over each other. */
	if (strcmp(o.progress, "bar") == 0 || (strcmp(o.progress, "auto") == 0 && report_is_terminal()))
		o.progress = "none";
	if (get_plan_make(&plan, &o, &e) != 0)
		report_validation(e.text);
	else
		code = get_run(&plan);
	get_plan_free(&plan);
	free(place);
	return code;
}

static int
start(const struct directory *d, const struct entry *n, struct running *r, struct err *e)
{
	pid_t pid;
	size_t at = 0;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return err_sys(e, errno, "start a download of its own for %s", n->name);
	if (pid == 0) {
		int code;

		signal(SIGINT, SIG_DFL);
		signal(SIGTERM, SIG_DFL);
		signal(SIGHUP, SIG_DFL);
		code = download(d, n);
		fflush(NULL);
		_exit(code);
	}
	while (r->pids[at] != 0)
		at++;
	r->pids[at] = pid;
	r->count++;
	/* A signal that came before its id was known has passed it by. */
	if (caught != 0)
		kill(pid, caught);
	return 0;
}

/* Waits for one; its exit code. */
static int
wait_for_one(struct running *r)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, 0)) < 0) {
		if (errno != EINTR) {
			r->count = 0;
			return 1;
		}
	}
	for (size_t i = 0; i < r->room; i++) {
		if (r->pids[i] == pid) {
			r->pids[i] = 0;
			r->count--;
		}
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int
download_all(const struct directory *d)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction sa = {.sa_handler = on_signal};
	struct running r = {.room = (size_t)d->plan->o->max_concurrent.n};
	struct err e = {0};
	pid_t *pids;
	size_t next = 0;
	bool goes_on = d->plan->o->continue_on_error;
	int code = 0;

	if (r.room > d->count)
		r.room = d->count;
	r.pids = pids = xcalloc(r.room + 1, sizeof *pids);
	now = &r;
	sigemptyset(&sa.sa_mask);
	for (size_t i = 0; i < COUNT_OF(signals); i++)
		sigaction(signals[i], &sa, NULL);
	while (r.count > 0 || ((code == 0 || goes_on) && caught == 0 && next < d->count)) {
		int ended;

		if ((code == 0 || goes_on) && caught == 0 && next < d->count && r.count < r.room) {
			const struct entry *n = &d->entries[next++];

			if (n->url != NULL && start(d, n, &r, &e) < 0) {
				code = fail(d, &e);
				goes_on = false;
				stop_all(&r, SIGTERM);
			}
			continue;
		}
		ended = wait_for_one(&r);
		if (ended != 0 && code == 0 && caught == 0) {
			/* The first failure is the one that is told; the others are not waited for in vain. */
			code = ended;
			if (!goes_on)
				stop_all(&r, SIGTERM);
		}
	}
	for (size_t i = 0; i < COUNT_OF(signals); i++)
		signal(signals[i], SIG_DFL);
	now = NULL;
	free(pids);
	return caught != 0 ? 128 + caught : code;
}

/* ---- all together ---- */

static int
make_base(struct directory *d, struct err *e)
{
	const struct url *u = &d->plan->url;
	struct buf text = BUF_INIT;
	size_t n = (size_t)(u->path.p + u->path.n - (const unsigned char *)u->text);
	int rc;

	buf_append(&text, u->text, n);
	if (!slice_ends(u->path, "/"))
		buf_append_u8(&text, '/');
	buf_append_str(&text, u->text + n);
	rc = url_parse(&d->base, buf_slice(&text), e);
	buf_free(&text);
	return rc;
}

int
get_directory(struct get_plan *p)
{
	struct directory d = {.plan = p};
	struct err e = {0};
	int code;

	if (p->url.is_special || p->url.path.p == NULL) {
		err_set(&e, ERR_UNIMPLEMENTED, "unsupported %.*s download directory", SLICE_ARG(p->url.scheme));
		return fail(&d, &e);
	}
	if (p->o->no_daemon || (p->o->daemon != NULL && strcmp(p->o->daemon, "never") == 0)) {
		err_set(&e, ERR_UNIMPLEMENTED, "unsupported %.*s download directory without a daemon", SLICE_ARG(p->url.scheme));
		return fail(&d, &e);
	}
	if (make_base(&d, &e) < 0)
		return fail(&d, &e);
	d.socket = tool_socket(p->o->endpoint);
	code = list_all(&d);
	if (code == 0) {
		sort(&d);
		if (check(&d, &e) < 0)
			code = fail(&d, &e);
	}
	for (size_t i = 0; i < d.count && code == 0; i++)
		if (make_dirs(&d, d.entries[i].name, d.entries[i].url == NULL, &e) < 0)
			code = fail(&d, &e);
	if (code == 0)
		code = download_all(&d);
	for (size_t i = 0; i < d.count; i++) {
		free(d.entries[i].url);
		free(d.entries[i].name);
	}
	free(d.entries);
	free(d.socket);
	url_free(&d.base);
	return code;
}
