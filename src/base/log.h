/*
 * Log lines: one event, one line. "2026-01-02T03:04:05.678901Z  INFO message key=value ..." The message is plain words;
 * values follow as key=value, quoted where they hold spaces. Safe from any thread. Never pass a secret (tokens, Authorization,
 * signed query strings): use url_redact for URLs.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_TRACE, LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_OFF };

/* Text written so far at WARN and ERROR, for tests and metrics. */
struct log_counts {
	uint64_t warnings;
	uint64_t errors;
};

struct err;

/* Lines below `level` are dropped. The start is LOG_INFO to standard error. */
void log_set_level(enum log_level level);
enum log_level log_get_level(void);
/* "trace", "debug", "info", "warn", "error", "off"; any case. 0 or -1. */
int log_parse_level(const char *s, enum log_level *out);
/* Appends to dir/name.log (directories are made when missing), kept under max_bytes (0: without end) by renaming to name.log.1 ... name.log.<max_files>. 0 or -1. */
int log_open_dir(const char *dir, const char *name, uint64_t max_bytes, unsigned max_files, struct err *e);
/* Opens the file again after something else moved it away (SIGHUP). 0 or -1; on failure the old file stays in use. */
int log_reopen(struct err *e);
/* Also, or only, to standard error. A line below ERROR is dropped while nobody reads there, rather than stop the program. */
void log_to_stderr(bool on);
/* Lines as JSON objects: {"time":"...","level":"info","message":"..."}. The start is plain text. */
void log_as_json(bool on);
void log_close(void);
void log_get_counts(struct log_counts *out);

/* Whether a line that strangers can cause as often as they like is due: at most one in LOG_OFTEN_MS for each `last`, which starts as 0. */
#define LOG_OFTEN_MS 60000
bool log_is_due(atomic_int_fast64_t *last);

/* Control characters are escaped and lines past LOG_LINE_MAX bytes are cut: one event stays one line whatever its values hold. As JSON,
 * bytes that are no UTF-8 become U+FFFD. */
#define LOG_LINE_MAX 4096
void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_trace(...) log_write(LOG_TRACE, __VA_ARGS__)
#define log_debug(...) log_write(LOG_DEBUG, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)

#endif
