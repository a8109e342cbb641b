/*
 * dfctl task preheat: a job for a scheduler (spec: cli.md 8, manager.md B4).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "cmd/ctl.h"
#include "cmd/get.h"
#include "cmd/report.h"
#include "cmd/tool.h"
#include "net/pb_time.h"
#include "peer/ids.h"
#include "proto/scheduler.h"

#define HEADERS_MAX 256
/* Longest wait for the answer: a manifest or a directory is read before it comes. */
#define ASK_MS 120000

struct options {
	const char *url, *endpoint, *scope, *platform, *username, *password, *tag, *application;
	const char *region, *storage_endpoint, *key_id, *key_secret, *session_token, *security_token, *credential_path, *predefined_acl, *hdfs_token;
	bool console, insecure, blob_digest, request_sdk;
	struct option_list ips, headers, filters;
	struct option_number percentage, count, tasks, peers, piece_length, priority, timeout, log_level;
};

#define AT(member) offsetof(struct options, member)
#define ENV(name) "DFCTL_TASK_PREHEAT_" name
#define TEXT(name_, value_, member, env_, help_) \
	{.name = (name_), .value = (value_), .kind = OPTION_TEXT, .at = AT(member), .env = ENV(env_), .help = (help_)}
#define NUMBER(name_, value_, member, env_, max_, help_) \
	{.name = (name_), .value = (value_), .kind = OPTION_NUMBER, .at = AT(member), .env = ENV(env_), .min = 1, .max = (max_), .help = (help_)}

static const char *const scopes[] = {"single_seed_peer", "all_peers", "all_seed_peers", NULL};

static const struct option option_table[] = {
	{.value = "URL", .kind = OPTION_TEXT, .at = AT(url), .is_required = true,
	 .help = "What to preheat: a file, or an image as oci://REGISTRY/REPOSITORY[:TAG]."},
	{.name = "scheduler-endpoint", .value = "SCHEDULER_ENDPOINT", .kind = OPTION_TEXT, .at = AT(endpoint), .env = ENV("SCHEDULER_ENDPOINT"),
	 .is_required = true, .help = "The scheduler, http://HOST:PORT."},
	{.name = "scope", .value = "SCOPE", .kind = OPTION_WORD, .at = AT(scope), .env = ENV("SCOPE"), .preset = "all_seed_peers", .words = scopes,
	 .help = "Who fetches it."},
	{.name = "ip", .value = "IPS", .kind = OPTION_LIST, .at = AT(ips), .env = ENV("IPS"), .help = "Only hosts with this IP. May be repeated."},
	NUMBER("percentage", "PERCENTAGE", percentage, "PERCENTAGE", 100, "Only this part of the hosts."),
	NUMBER("count", "COUNT", count, "COUNT", 200, "Only so many hosts."),
	{.name = "concurrent-task-count", .value = "CONCURRENT_TASK_COUNT", .kind = OPTION_NUMBER, .at = AT(tasks),
	 .env = ENV("CONCURRENT_TASK_COUNT"), .preset = "4", .min = 1, .max = 100, .help = "Files or layers at once."},
	NUMBER("concurrent-peer-count", "CONCURRENT_PEER_COUNT", peers, "CONCURRENT_PEER_COUNT", 1000, "Hosts at once for each."),
	TEXT("platform", "PLATFORM", platform, "PLATFORM", "Of an image: linux/amd64."),
	TEXT("username", "USERNAME", username, "USERNAME", "For the registry."),
	TEXT("password", "PASSWORD", password, "PASSWORD", "For the registry."),
	{.name = "piece-length", .value = "PIECE_LENGTH", .kind = OPTION_SIZE, .at = AT(piece_length), .env = ENV("PIECE_LENGTH"),
	 .help = "Bytes of a piece, at least 4MiB. Part of the task's id."},
	{.name = "tag", .value = "TAG", .kind = OPTION_TEXT, .at = AT(tag), .env = ENV("TAG"), .preset = "", .help = "Part of the task's id."},
	{.name = "application", .value = "APPLICATION", .kind = OPTION_TEXT, .at = AT(application), .env = ENV("APPLICATION"), .preset = "",
	 .help = "Part of the task's id."},
	{.name = "filtered-query-param", .value = "FILTERED_QUERY_PARAMS", .kind = OPTION_LIST, .at = AT(filters),
	 .help = "Query parameter that does not enter the task's id, instead of the usual ones. May be repeated."},
	{.name = "header", .letters = "H", .value = "HEADER", .kind = OPTION_LIST, .at = AT(headers),
	 .help = "Header field of the request to the origin, \"Name: value\". May be repeated."},
	{.name = "priority", .letters = "p", .value = "PRIORITY", .kind = OPTION_NUMBER, .at = AT(priority), .env = ENV("PRIORITY"), .preset = "6",
	 .min = 0, .max = 6, .help = "0 to 6."},
	{.name = "timeout", .value = "TIMEOUT", .kind = OPTION_DURATION, .at = AT(timeout), .env = ENV("TIMEOUT"), .preset = "2h",
	 .help = "The whole job may take so long."},
	{.name = "insecure-skip-verify", .kind = OPTION_FLAG, .at = AT(insecure), .env = ENV("INSECURE_SKIP_VERIFY"),
	 .help = "The scheduler takes any certificate of the registry."},
	{.name = "enable-task-id-based-blob-digest", .kind = OPTION_FLAG, .at = AT(blob_digest), .env = ENV("ENABLE_TASK_ID_BASED_BLOB_DIGEST"),
	 .help = "Layers have their digest as task id. On unless the variable says false."},
	{.name = "request-sdk", .kind = OPTION_FLAG, .at = AT(request_sdk), .env = ENV("REQUEST_SDK"), .help = "Not supported."},
	TEXT("storage-region", "STORAGE_REGION", region, "STORAGE_REGION", "Region of the object storage."),
	TEXT("storage-endpoint", "STORAGE_ENDPOINT", storage_endpoint, "STORAGE_ENDPOINT", "Endpoint of the object storage."),
	TEXT("storage-access-key-id", "STORAGE_ACCESS_KEY_ID", key_id, "STORAGE_ACCESS_KEY_ID", "Access key of the object storage."),
	TEXT("storage-access-key-secret", "STORAGE_ACCESS_KEY_SECRET", key_secret, "STORAGE_ACCESS_KEY_SECRET", "Secret of the access key."),
	TEXT("storage-session-token", "STORAGE_SESSION_TOKEN", session_token, "STORAGE_SESSION_TOKEN", "Session token (s3)."),
	TEXT("storage-security-token", "STORAGE_SECURITY_TOKEN", security_token, "STORAGE_SECURITY_TOKEN", "Security token (oss)."),
	TEXT("storage-credential-path", "STORAGE_CREDENTIAL_PATH", credential_path, "STORAGE_CREDENTIAL_PATH", "File with the credential (gs)."),
	TEXT("storage-predefined-acl", "STORAGE_PREDEFINED_ACL", predefined_acl, "STORAGE_PREDEFINED_ACL", "Predefined ACL (gs)."),
	TEXT("hdfs-delegation-token", "HDFS_DELEGATION_TOKEN", hdfs_token, "HDFS_DELEGATION_TOKEN", "Delegation token (hdfs)."),
	{.name = "log-level", .letters = "l", .value = "LOG_LEVEL", .kind = OPTION_LEVEL, .at = AT(log_level), .env = ENV("LOG_LEVEL"),
	 .preset = "info", .help = "trace, debug, info, warn or error; for --console."},
	{.name = "console", .kind = OPTION_FLAG, .at = AT(console), .env = ENV("CONSOLE"), .help = "Log lines on standard error."},
	{.name = "help", .letters = "h", .kind = OPTION_HELP, .help = "Prints this help."},
};

static const struct program program = {
	.name = "dfctl task preheat", .about = "Has a file or an image fetched by seed peers, or by peers, before it is asked for.",
	.usage = "dfctl task preheat [OPTIONS] --scheduler-endpoint <SCHEDULER_ENDPOINT> <URL>",
	.short_usage = "dfctl task preheat --scheduler-endpoint <SCHEDULER_ENDPOINT> <URL>", .options = option_table,
	.count = COUNT_OF(option_table),
};

/* ---- the request ---- */

struct lists {
	struct pb_pair headers[HEADERS_MAX];
	size_t n_headers;
	struct slice ips[OPTION_LIST_MAX], filters[OPTION_LIST_MAX];
	size_t n_filters;
	struct google_duration timeout;
	struct common_object_storage storage;
	struct common_hdfs hdfs;
	bool has_storage;
};

static int
fill(struct lists *l, const struct options *o, struct err *e)
{
	for (size_t i = 0; i < o->ips.count; i++)
		l->ips[i] = slice_str(o->ips.items[i]);
	l->n_filters = o->filters.count > 0 ? o->filters.count : DEFAULT_FILTER_COUNT;
	for (size_t i = 0; i < l->n_filters; i++)
		l->filters[i] = slice_str(o->filters.count > 0 ? o->filters.items[i] : default_filtered_query_params[i]);
	if (o->headers.count > HEADERS_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "more than %d header fields", HEADERS_MAX);
	for (size_t i = 0; i < o->headers.count; i++) {
		struct slice text = slice_str(o->headers.items[i]);
		ptrdiff_t colon = slice_find(text, ':');

		if (colon <= 0)
			return err_set(e, ERR_INVALID_ARGUMENT, "invalid header '%.100s': expected 'Name: value'", o->headers.items[i]);
		l->headers[l->n_headers++] = (struct pb_pair){.key = slice_trim(slice_sub(text, 0, (size_t)colon)),
			.value = slice_trim(slice_sub(text, (size_t)colon + 1, text.n))};
	}
	l->timeout = pb_duration(o->timeout.n);
	l->storage = (struct common_object_storage){
		.region = slice_str(o->region), .endpoint = slice_str(o->storage_endpoint), .access_key_id = slice_str(o->key_id),
		.access_key_secret = slice_str(o->key_secret), .session_token = slice_str(o->session_token),
		.credential_path = slice_str(o->credential_path), .predefined_acl = slice_str(o->predefined_acl),
		.security_token = slice_str(o->security_token),
	};
	l->has_storage = o->region || o->storage_endpoint || o->key_id || o->key_secret || o->session_token || o->credential_path ||
	    o->predefined_acl || o->security_token;
	l->hdfs.delegation_token = slice_str(o->hdfs_token);
	return 0;
}

static void
on_accepted(void *ctx, const void *answer)
{
	(void)ctx;
	(void)answer;
	report_success("Preheat Succeeded!");
}

static int
ask(const struct options *o, const struct pb_method *method, const void *request)
{
	return tool_ask(&(struct tool_call){.address = o->endpoint, .user_agent = "dfctl/" DRAGONFLY_VERSION, .request = request,
		.timeout_ms = ASK_MS, .headline = "Preheating Task Failed!", .on_answer = on_accepted, .method = method});
}

static int
preheat_file(const struct options *o, struct lists *l)
{
	struct scheduler_preheat_file_request r = {
		.url = slice_str(o->url), .has_piece_length = o->piece_length.is_set, .piece_length = (uint64_t)o->piece_length.n,
		.tag = slice_str(o->tag), .application = slice_str(o->application), .filtered_query_params = l->filters,
		.n_filtered_query_params = l->n_filters, .header = l->headers, .n_header = l->n_headers, .scope = slice_str(o->scope),
		.ips = l->ips, .n_ips = o->ips.count, .has_percentage = o->percentage.is_set, .percentage = (uint32_t)o->percentage.n,
		.has_count = o->count.is_set, .count = (uint32_t)o->count.n, .has_concurrent_task_count = true,
		.concurrent_task_count = o->tasks.n, .has_concurrent_peer_count = o->peers.is_set, .concurrent_peer_count = o->peers.n,
		.timeout = &l->timeout, .priority = (int32_t)o->priority.n, .insecure_skip_verify = o->insecure,
		.object_storage = l->has_storage ? &l->storage : NULL, .hdfs = o->hdfs_token != NULL ? &l->hdfs : NULL,
	};

	return ask(o, &scheduler_scheduler_service.methods[SCHEDULER_SCHEDULER_PREHEAT_FILE_AT], &r);
}

/* ---- images ---- */

/* "registry.example.com/team/app:1.2", "nginx", "app@sha256:..." into the URL of its manifest. */
static int
manifest_url(const char *reference, struct buf *out, struct err *e)
{
	const char *slash = strchr(reference, '/'), *name = reference, *at = strchr(reference, '@'), *colon;
	size_t host_length = slash != NULL ? (size_t)(slash - reference) : 0, name_length;
	bool has_host = slash != NULL && (memchr(reference, '.', host_length) != NULL || memchr(reference, ':', host_length) != NULL ||
	    (host_length == 9 && memcmp(reference, "localhost", 9) == 0));
	bool is_hub = !has_host || (host_length == 9 && memcmp(reference, "docker.io", 9) == 0);

	if (has_host)
		name = slash + 1;
	colon = strrchr(name, ':');
	if (colon != NULL && strchr(colon, '/') != NULL)
		colon = NULL;
	name_length = at != NULL ? (size_t)(at - name) : colon != NULL ? (size_t)(colon - name) : strlen(name);
	if (at != NULL && memchr(name, ':', name_length) != NULL)
		name_length = (size_t)((const char *)memchr(name, ':', name_length) - name);
	if (name_length == 0)
		return err_set(e, ERR_INVALID_ARGUMENT, "oci://%s names no image", reference);
	buf_append_str(out, "https://");
	if (is_hub)
		buf_append_str(out, "index.docker.io");
	else
		buf_append(out, reference, host_length);
	buf_append_str(out, "/v2/");
	if (is_hub && memchr(name, '/', name_length) == NULL)
		buf_append_str(out, "library/");
	buf_append(out, name, name_length);
	buf_append_str(out, "/manifests/");
	buf_append_str(out, at != NULL ? at + 1 : colon != NULL && colon[1] != '\0' ? colon + 1 : "latest");
	return 0;
}

static int
preheat_image(const struct options *o, struct lists *l, struct slice url)
{
	struct scheduler_preheat_image_request r = {
		.url = url, .has_piece_length = o->piece_length.is_set, .piece_length = (uint64_t)o->piece_length.n, .tag = slice_str(o->tag),
		.application = slice_str(o->application), .filtered_query_params = l->filters, .n_filtered_query_params = l->n_filters,
		.header = l->headers, .n_header = l->n_headers, .username = slice_str(o->username), .password = slice_str(o->password),
		.platform = slice_str(o->platform), .scope = slice_str(o->scope), .ips = l->ips, .n_ips = o->ips.count,
		.has_percentage = o->percentage.is_set, .percentage = (uint32_t)o->percentage.n, .has_count = o->count.is_set,
		.count = (uint32_t)o->count.n, .has_concurrent_task_count = true, .concurrent_task_count = o->tasks.n,
		.has_concurrent_peer_count = o->peers.is_set, .concurrent_peer_count = o->peers.n, .timeout = &l->timeout,
		.priority = (int32_t)o->priority.n, .insecure_skip_verify = o->insecure,
		/* The flag can only confirm; the variable may say no. */
		.enable_task_id_based_blob_digest = o->blob_digest || getenv(ENV("ENABLE_TASK_ID_BASED_BLOB_DIGEST")) == NULL,
	};

	return ask(o, &scheduler_scheduler_service.methods[SCHEDULER_SCHEDULER_PREHEAT_IMAGE_AT], &r);
}

/* ---- the command ---- */

static int
fail(const char *text)
{
	struct err e;

	err_set(&e, ERR_INVALID_ARGUMENT, "%s", text);
	report_failure("Preheating Task Failed!", &(struct get_end){.err = &e}, false);
	return 1;
}

static int
preheat(const struct options *o)
{
	struct lists *l = xcalloc(1, sizeof *l);
	struct buf url = BUF_INIT;
	struct err e = {0};
	int code;

	if (o->request_sdk)
		code = fail("--request-sdk is not supported");
	else if (fill(l, o, &e) < 0)
		code = fail(e.text);
	else if (strncmp(o->url, "oci", 3) != 0)
		code = preheat_file(o, l);
	else if (strncmp(o->url, "oci://", 6) != 0)
		code = fail("unknown URL must start with oci:// for image preheat");
	else if (manifest_url(o->url + 6, &url, &e) < 0)
		code = fail(e.text);
	else
		code = preheat_image(o, l, buf_slice(&url));
	buf_free(&url);
	free(l);
	return code;
}

int
ctl_task_preheat(int argc, char **argv)
{
	struct options o = {0};
	int code = options_parse(&program, argc, argv, &o);

	if (code == OPTIONS_GO) {
		tool_set_log(o.console, &o.log_level);
		code = preheat(&o);
		if (code == 0 && fflush(stdout) != 0)
			code = 1;
	}
	options_free(&program, &o);
	return code;
}
