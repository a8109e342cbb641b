/*
 * The table of dfget's options (spec: cli.md 3.1, 3.15).
 */
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"
#include "cmd/get.h"

#define AT(member) offsetof(struct get_options, member)

static const char *const policies[] = {"auto", "always", NULL};
static const char *const daemons[] = {"auto", "require", "never", NULL};
static const char *const progresses[] = {"auto", "bar", "plain", "json", "none", NULL};

/* A text option with a variable: most of them. */
#define TEXT(name_, value_, member, env_, help_) \
	{.name = (name_), .value = (value_), .kind = OPTION_TEXT, .at = AT(member), .env = (env_), .help = (help_)}
#define TEXT_PRESET(name_, value_, member, env_, preset_, help_) \
	{.name = (name_), .value = (value_), .kind = OPTION_TEXT, .at = AT(member), .env = (env_), .preset = (preset_), .help = (help_)}
#define FLAG(name_, member, env_, help_) {.name = (name_), .kind = OPTION_FLAG, .at = AT(member), .env = (env_), .help = (help_)}

static const struct option options[] = {
	{.value = "URL", .kind = OPTION_TEXT, .at = AT(url), .is_required = true, .help = "What to download."},
	{.name = "output", .letters = "Oo", .value = "OUTPUT", .kind = OPTION_PATH, .at = AT(output), .is_required = true,
	 .help = "Where to put it: a file, a directory (the name is then the URL's last part), or - for standard output."},
	FLAG("overwrite", overwrite, "DFGET_OVERWRITE", "Replaces an existing output file, in one step and only when all is there."),
	{.name = "range", .value = "RANGE", .kind = OPTION_TEXT, .at = AT(range),
	 .help = "Only these bytes: 0-499, 500- or -500. The output holds nothing else."},
	{.name = "digest", .value = "DIGEST", .kind = OPTION_TEXT, .at = AT(digest),
	 .help = "What the content must be: sha256:HEX, sha512:HEX or crc32:NUMBER."},
	{.name = "header", .letters = "H", .value = "HEADER", .kind = OPTION_LIST, .at = AT(headers),
	 .help = "Header field of the request to the origin, \"Name: value\". May be repeated."},
	{.name = "timeout", .value = "TIMEOUT", .kind = OPTION_DURATION, .at = AT(timeout), .env = "DFGET_TIMEOUT", .preset = "2h",
	 .help = "The whole download may take so long."},
	{.name = "connect-timeout", .value = "CONNECT_TIMEOUT", .kind = OPTION_DURATION, .at = AT(connect_timeout), .preset = "3s",
	 .help = "Connecting to the daemon may take so long."},
	{.name = "speed-time", .value = "SPEED_TIME", .kind = OPTION_DURATION, .at = AT(speed_time),
	 .help = "Gives up when no piece came for so long. Off unless given."},
	{.name = "retry", .value = "RETRY", .kind = OPTION_NUMBER, .at = AT(retry), .preset = "0", .min = 0, .max = 1000,
	 .help = "Tries so often again after failures that may pass."},
	{.name = "retry-delay", .value = "RETRY_DELAY", .kind = OPTION_DURATION, .at = AT(retry_delay), .preset = "1s",
	 .help = "Waits so long before it tries again."},
	{.name = "limit-rate", .value = "LIMIT_RATE", .kind = OPTION_SIZE, .at = AT(limit_rate),
	 .help = "Bytes a second at most that this process moves (a daemon has download.bandwidthLimit)."},
	{.name = "continue", .letters = "c", .kind = OPTION_FLAG, .at = AT(is_resume),
	 .help = "Goes on where an earlier try ended. Without a daemon its pieces are kept beside the output until it succeeds; "
		"a daemon keeps them anyway."},
	{.name = "daemon", .value = "WHEN", .kind = OPTION_WORD, .at = AT(daemon), .env = "DFGET_DAEMON", .words = daemons,
	 .help = "require: a daemon must answer. never: download in this process. auto, the default unless --endpoint is given: "
		"in this process when no daemon answers."},
	FLAG("no-daemon", no_daemon, NULL, "The same as --daemon=never."),
	{.name = "endpoint", .letters = "e", .value = "ENDPOINT", .kind = OPTION_PATH, .at = AT(endpoint), .env = "DFGET_ENDPOINT",
	 .help = "Socket of the daemon."},
	{.name = "transfer-from-dfdaemon", .kind = OPTION_FLAG, .at = AT(transfer), .env = "DFGET_TRANSFER_FROM_DFDAEMON",
	 .help = "Takes the bytes from the daemon and writes the file here, for when the daemon cannot see the output path."},
	FLAG("force-hard-link", force_hard_link, "DFGET_FORCE_HARD_LINK",
	    "The output must be a hard link of the daemon's file; nothing is copied."),
	FLAG("fsync", fsync, NULL, "Has the output on stable storage before success is told, where this process writes it."),
	{.name = "progress", .value = "FORM", .kind = OPTION_WORD, .at = AT(progress), .env = "DFGET_PROGRESS", .preset = "auto",
	 .words = progresses, .help = "bar, plain (a line now and then), json (an object a line), none. auto: bar on a terminal, else plain."},
	FLAG("no-progress", no_progress, "DFGET_NO_PROGRESS", "The same as --progress=none."),
	{.name = "quiet", .letters = "q", .kind = OPTION_FLAG, .at = AT(quiet), .help = "No progress and no remarks; errors are shown."},
	FLAG("print-task-id", print_task_id, NULL, "Prints the task's id on standard output after success."),
	FLAG("exit-detail", exit_detail, NULL,
	    "Exit codes 3 to 9 tell failures apart: no daemon, 4xx, 5xx, digest, timeout, no space, refused."),
	TEXT_PRESET("tag", "TAG", tag, "DFGET_TAG", "", "Part of the task's id."),
	TEXT_PRESET("application", "APPLICATION", application, "DFGET_APPLICATION", "", "Part of the task's id."),
	{.name = "piece-length", .value = "PIECE_LENGTH", .kind = OPTION_SIZE, .at = AT(piece_length), .env = "DFGET_PIECE_LENGTH",
	 .help = "Bytes of a piece, at least 4MiB. Part of the task's id. Without it the size of the content decides."},
	{.name = "filtered-query-param", .value = "FILTERED_QUERY_PARAMS", .kind = OPTION_LIST, .at = AT(filters),
	 .help = "Query parameter that does not enter the task's id, instead of the usual ones of signed URLs. May be repeated."},
	TEXT("content-for-calculating-task-id", "CONTENT_FOR_CALCULATING_TASK_ID", content_for_id, "DFGET_CONTENT_FOR_CALCULATING_TASK_ID",
	    "The task's id is made of this text alone."),
	{.name = "priority", .letters = "p", .value = "PRIORITY", .kind = OPTION_NUMBER, .at = AT(priority), .env = "DFGET_PRIORITY",
	 .preset = "6", .min = 0, .max = 6, .help = "0 to 6."},
	{.name = "scheduling-policy", .value = "SCHEDULING_POLICY", .kind = OPTION_WORD, .at = AT(scheduling_policy),
	 .env = "DFGET_SCHEDULING_POLICY", .preset = "auto", .words = policies,
	 .help = "always: small files go through the scheduler too, so that other peers can get them from here."},
	FLAG("disable-back-to-source", disable_back_to_source, "DFGET_DISABLE_BACK_TO_SOURCE",
	    "This host does not ask the origin itself; a seed peer may."),
	{.name = "user-agent", .letters = "A", .value = "USER_AGENT", .kind = OPTION_TEXT, .at = AT(user_agent),
	 .help = "User-Agent of the request."},
	{.name = "user", .letters = "u", .value = "USER", .kind = OPTION_TEXT, .at = AT(user), .help = "USER:PASSWORD for the origin."},
	FLAG("netrc", netrc, NULL, "Credential for the origin from ~/.netrc (or the file in NETRC), unless another one is given."),
	{.name = "cacert", .value = "CACERT", .kind = OPTION_PATH, .at = AT(ca_cert),
	 .help = "PEM file of the roots that the origin must have."},
	FLAG("insecure", insecure, NULL,
	    "Takes any certificate of the origin. Only in this process: a daemon has x.backend.insecureSkipVerify."),
	{.name = "recursive", .letters = "r", .kind = OPTION_FLAG, .at = AT(recursive), .help = "The URL is a directory."},
	{.name = "include-files", .letters = "I", .value = "INCLUDE_FILES", .kind = OPTION_LIST, .at = AT(include_files),
	 .help = "Only these files of the directory. May be repeated."},
	{.name = "max-files", .value = "MAX_FILES", .kind = OPTION_NUMBER, .at = AT(max_files), .env = "DFGET_MAX_FILES", .preset = "100",
	 .min = 0, .max = INT64_MAX, .help = "Files of a directory at most."},
	{.name = "max-concurrent-requests", .value = "MAX_CONCURRENT_REQUESTS", .kind = OPTION_NUMBER, .at = AT(max_concurrent),
	 .env = "DFGET_MAX_CONCURRENT_REQUESTS", .preset = "5", .min = 1, .max = INT32_MAX, .help = "Files of a directory at once."},
	FLAG("continue-on-error", continue_on_error, NULL, "A file of a directory that fails does not end the others."),
	TEXT("storage-region", "STORAGE_REGION", storage.region, "DFGET_STORAGE_REGION", "Region of the object storage."),
	TEXT("storage-endpoint", "STORAGE_ENDPOINT", storage.endpoint, "DFGET_STORAGE_ENDPOINT", "Endpoint of the object storage."),
	TEXT("storage-access-key-id", "STORAGE_ACCESS_KEY_ID", storage.key_id, "DFGET_STORAGE_ACCESS_KEY_ID",
	    "Access key of the object storage."),
	TEXT("storage-access-key-secret", "STORAGE_ACCESS_KEY_SECRET", storage.key_secret, "DFGET_STORAGE_ACCESS_KEY_SECRET",
	    "Secret of the access key."),
	TEXT("storage-security-token", "STORAGE_SECURITY_TOKEN", storage.security_token, "DFGET_STORAGE_SECURITY_TOKEN",
	    "Security token (oss)."),
	{.name = "storage-insecure-skip-verify", .value = "STORAGE_INSECURE_SKIP_VERIFY", .kind = OPTION_BOOL, .at = AT(storage.insecure),
	 .env = "DFGET_STORAGE_INSECURE_SKIP_VERIFY", .help = "Takes any certificate of the object storage."},
	TEXT("storage-session-token", "STORAGE_SESSION_TOKEN", storage.session_token, "DFGET_STORAGE_SESSION_TOKEN", "Session token (s3)."),
	TEXT("storage-credential-path", "STORAGE_CREDENTIAL_PATH", storage.credential_path, "DFGET_STORAGE_CREDENTIAL_PATH",
	    "File with the credential, as the daemon sees it (gs)."),
	TEXT_PRESET("storage-predefined-acl", "STORAGE_PREDEFINED_ACL", storage.predefined_acl, "DFGET_STORAGE_PREDEFINED_ACL", "publicRead",
	    "Predefined ACL (gs)."),
	TEXT("hdfs-delegation-token", "HDFS_DELEGATION_TOKEN", hdfs_token, "DFGET_HDFS_DELEGATION_TOKEN", "Delegation token (hdfs)."),
	TEXT_PRESET("hf-revision", "HF_REVISION", hf_revision, "DFGET_HF_REVISION", "main", "Revision (hf)."),
	TEXT("hf-token", "HF_TOKEN", hf_token, "DFGET_HF_TOKEN", "Token (hf)."),
	TEXT("hf-base-url", "HF_BASE_URL", hf_base_url, "DFGET_HF_BASE_URL", "Base URL (hf)."),
	TEXT_PRESET("ms-revision", "MS_REVISION", ms_revision, "DFGET_MS_REVISION", "master", "Revision (modelscope)."),
	TEXT("ms-token", "MS_TOKEN", ms_token, "DFGET_MS_TOKEN", "Token (modelscope)."),
	TEXT("ms-base-url", "MS_BASE_URL", ms_base_url, "DFGET_MS_BASE_URL", "Base URL (modelscope)."),
	TEXT_PRESET("csg-revision", "CSG_REVISION", csg_revision, "DFGET_CSG_REVISION", "main", "Revision (opencsg)."),
	TEXT("csg-token", "CSG_TOKEN", csg_token, "DFGET_CSG_TOKEN", "Token (opencsg)."),
	TEXT("csg-base-url", "CSG_BASE_URL", csg_base_url, "DFGET_CSG_BASE_URL", "Base URL (opencsg)."),
	{.name = "log-level", .letters = "l", .value = "LOG_LEVEL", .kind = OPTION_LEVEL, .at = AT(log_level), .env = "DFGET_LOG_LEVEL",
	 .preset = "info", .help = "trace, debug, info, warn or error; for --console."},
	FLAG("console", console, "DFGET_CONSOLE", "Log lines on standard error."),
	{.name = "version", .letters = "V", .kind = OPTION_VERSION, .help = "Prints the version."},
	{.name = "help", .letters = "h", .kind = OPTION_HELP, .help = "Prints this help."},
};

const struct program get_program = {
	.name = "dfget",
	.about = "Downloads a file through the Dragonfly peers, or on its own where no dfdaemon runs.",
	.usage = "dfget [OPTIONS] --output <OUTPUT> <URL>", .short_usage = "dfget --output <OUTPUT> <URL>",
	.options = options, .count = COUNT_OF(options),
};
