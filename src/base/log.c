#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/mem.h"

/* Longest wait for a reader of standard error, before an ERROR line is dropped too. */
#define LOG_STDERR_WAIT_MS 100
/* More old files than anybody keeps; bounds the renames done at a turn. */
#define LOG_FILES_MAX 1000
#define LOG_FILE_MODE 0640
#define LOG_DIR_MODE 0755

struct log {
	pthread_mutex_t lock;           /* guards all below */
	int fd;                         /* -1 while there is no file */
	uint64_t size;
	uint64_t max_bytes;             /* 0: no turn */
	unsigned max_files;
	char path[PATH_MAX];
};

static struct log file = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1};
static atomic_int level_now = LOG_INFO;
static atomic_bool stderr_on = true;
static atomic_bool is_json = false;
static atomic_uint_fast64_t warnings, errors;

static const char *const level_names[] = {"trace", "debug", "info", "warn", "error", "off"};
static const char *const level_columns[] = {"TRACE", "DEBUG", " INFO", " WARN", "ERROR"};

void
log_set_level(enum log_level level)
{
	atomic_store(&level_now, (int)level);
}

enum log_level
log_get_level(void)
{
	return (enum log_level)atomic_load(&level_now);
}

int
log_parse_level(const char *s, enum log_level *out)
{
	for (size_t i = 0; i < COUNT_OF(level_names); i++) {
		if (strcasecmp(s, level_names[i]) == 0) {
			*out = (enum log_level)i;
			return 0;
		}
	}
	return -1;
}

/* Opens the file at file.path in place of the one in use, which stays when that fails. */
static int
open_file(void)
{
	int fd = open(file.path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, LOG_FILE_MODE);
	struct stat st;

	if (fd < 0)
		return -1;
	if (file.fd >= 0)
		close(file.fd);
	file.fd = fd;
	file.size = fstat(fd, &st) == 0 && st.st_size > 0 ? (uint64_t)st.st_size : 0;
	return 0;
}

/* The directory and those above it, as far as they are missing. path is cut up meanwhile and whole again afterwards. */
static int
make_dirs(char *path)
{
	for (char *at = path + 1; *at != 0; at++) {
		int r;

		if (*at != '/')
			continue;
		*at = 0;
		r = mkdir(path, LOG_DIR_MODE);
		*at = '/';
		if (r < 0 && errno != EEXIST && errno != EACCES && errno != EROFS && errno != EISDIR)
			return -1;
	}
	return mkdir(path, LOG_DIR_MODE) < 0 && errno != EEXIST && errno != EISDIR ? -1 : 0;
}

int
log_open_dir(const char *dir, const char *name, uint64_t max_bytes, unsigned max_files, struct err *e)
{
	char path[PATH_MAX], dirs[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s/%s.log", dir, name), saved;

	/* Room for ".1000" behind it. */
	if (n < 0 || (size_t)n + 8 > sizeof(path))
		return err_set(e, ERR_INVALID_ARGUMENT, "log directory: path longer than %d bytes", PATH_MAX);
	snprintf(dirs, sizeof(dirs), "%s", dir);
	if (make_dirs(dirs) < 0)
		return err_sys(e, errno, "create log directory %s", dir);
	pthread_mutex_lock(&file.lock);
	memcpy(file.path, path, (size_t)n + 1);
	file.max_bytes = max_bytes;
	file.max_files = max_files < 1 ? 1 : max_files > LOG_FILES_MAX ? LOG_FILES_MAX : max_files;
	n = open_file();
	saved = errno;
	pthread_mutex_unlock(&file.lock);
	return n < 0 ? err_sys(e, saved, "open log file %s", path) : 0;
}

int
log_reopen(struct err *e)
{
	int r = 0;

	pthread_mutex_lock(&file.lock);
	if (file.fd >= 0 && open_file() < 0)
		r = err_sys(e, errno, "open log file %s", file.path);
	pthread_mutex_unlock(&file.lock);
	return r;
}

void
log_to_stderr(bool on)
{
	atomic_store(&stderr_on, on);
}

void
log_as_json(bool on)
{
	atomic_store(&is_json, on);
}

bool
log_is_due(atomic_int_fast64_t *last)
{
	/* Never 0, which means that there was none. */
	int_fast64_t now = clock_mono_ms() + 1, was = atomic_load(last);

	return (was == 0 || now - was >= LOG_OFTEN_MS) && atomic_compare_exchange_strong(last, &was, now);
}

void
log_close(void)
{
	pthread_mutex_lock(&file.lock);
	if (file.fd >= 0)
		close(file.fd);
	file.fd = -1;
	pthread_mutex_unlock(&file.lock);
}

void
log_get_counts(struct log_counts *out)
{
	out->warnings = atomic_load(&warnings);
	out->errors = atomic_load(&errors);
}

/* name.log -> .1 -> .2 ... -> .max_files -> gone; a missing one in between is no error. */
static void
turn(void)
{
	char from[PATH_MAX + 16], to[PATH_MAX + 16];

	for (unsigned i = file.max_files; i-- > 0;) {
		if (i > 0)
			snprintf(from, sizeof(from), "%s.%u", file.path, i);
		else
			snprintf(from, sizeof(from), "%s", file.path);
		snprintf(to, sizeof(to), "%s.%u", file.path, i + 1);
		if (rename(from, to) < 0 && errno != ENOENT)
			fprintf(stderr, "rename log file %s: %s\n", from, strerror(errno));
	}
	if (open_file() < 0)
		fprintf(stderr, "open log file %s: %s\n", file.path, strerror(errno));
}

static void
write_file(const char *line, size_t n)
{
	ssize_t put;

	pthread_mutex_lock(&file.lock);
	if (file.fd >= 0) {
		if (file.max_bytes > 0 && file.size >= file.max_bytes)
			turn();
		/* One write, so that lines of two processes never mix; a full disk costs the line, not the program. */
		do {
			put = write(file.fd, line, n);
		} while (put < 0 && errno == EINTR);
		if (put > 0)
			file.size += (uint64_t)put;
	}
	pthread_mutex_unlock(&file.lock);
}

static void
write_stderr(enum log_level level, const char *line, size_t n)
{
	struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};

	if (poll(&p, 1, level >= LOG_ERROR ? LOG_STDERR_WAIT_MS : 0) != 1 || (p.revents & POLLOUT) == 0)
		return;
	while (write(STDERR_FILENO, line, n) < 0 && errno == EINTR)
		;
}

/* Text as one line of printable bytes; returns its length, at most cap. */
static size_t
escape(char *out, size_t cap, const char *text)
{
	static const char digits[] = "0123456789abcdef";
	size_t n = 0;

	for (; *text != 0; text++) {
		unsigned char c = (unsigned char)*text;

		if (n + 4 > cap)
			break;
		if (c == '\n' || c == '\r' || c == '\t') {
			out[n++] = '\\';
			out[n++] = c == '\n' ? 'n' : c == '\r' ? 'r' : 't';
		} else if (c < 0x20 || c == 0x7f) {
			out[n++] = '\\';
			out[n++] = 'x';
			out[n++] = digits[c >> 4];
			out[n++] = digits[c & 15];
		} else {
			out[n++] = (char)c;
		}
	}
	return n;
}

/* Bytes of the UTF-8 character at s (RFC 3629), 0 when there is none. The NUL at the end of the text ends a cut one. */
static size_t
utf8_length(const unsigned char *s)
{
	size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;

	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

/* Text as the inside of a JSON string; returns its length, at most cap. */
static size_t
escape_json(char *out, size_t cap, const char *text)
{
	size_t n = 0, length;

	for (const unsigned char *s = (const unsigned char *)text; *s != 0 && n + 7 <= cap; s += length) {
		length = utf8_length(s);
		if (length == 0) {
			memcpy(out + n, "\\ufffd", 6);
			n += 6;
			length = 1;
		} else if (*s == '"' || *s == '\\') {
			out[n++] = '\\';
			out[n++] = (char)*s;
		} else if (*s < 0x20 || *s == 0x7f) {
			n += (size_t)snprintf(out + n, cap - n, "\\u%04x", (unsigned)*s);
		} else {
			memcpy(out + n, s, length);
			n += length;
		}
	}
	return n;
}

/* The whole line but for its end. */
static size_t
format_line(char *line, size_t cap, enum log_level level, const char *text)
{
	char now[CLOCK_TEXT_MAX];
	size_t n;

	clock_format(clock_wall_ns(), now);
	if (!atomic_load(&is_json)) {
		n = (size_t)snprintf(line, cap, "%s %s ", now, level_columns[level]);
		return n + escape(line + n, cap - n, text);
	}
	n = (size_t)snprintf(line, cap, "{\"time\":\"%s\",\"level\":\"%s\",\"message\":\"", now, level_names[level]);
	n += escape_json(line + n, cap - n - 2, text);
	line[n++] = '"';
	line[n++] = '}';
	return n;
}

void
log_write(enum log_level level, const char *fmt, ...)
{
	char line[LOG_LINE_MAX], text[LOG_LINE_MAX];
	int saved = errno, n;
	size_t len;
	va_list ap;

	if (level == LOG_WARN)
		atomic_fetch_add(&warnings, 1);
	else if (level == LOG_ERROR)
		atomic_fetch_add(&errors, 1);
	if (level < log_get_level() || level >= LOG_OFF)
		return;
	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n < 0)
		text[0] = 0;
	len = format_line(line, sizeof(line) - 1, level, text);
	line[len++] = '\n';
	write_file(line, len);
	if (atomic_load(&stderr_on))
		write_stderr(level, line, len);
	errno = saved;
}
