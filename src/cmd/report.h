/*
 * How the tools say what went wrong, on standard error (spec: cli.md 3.10).
 */
#ifndef CMD_REPORT_H
#define CMD_REPORT_H

#include <stdbool.h>

#include "base/slice.h"

struct err;
struct get_end;

/* Whether standard error is a terminal that takes escape sequences. */
bool report_is_terminal(void);

/* "Validating Failed!" and one message. */
void report_validation(const char *text);
/* "Connect Dfdaemon Failed!" */
void report_no_daemon(const char *socket, const struct err *e);
/* "Downloading Failed!" and what is known. */
void report_download(const struct get_end *end);
/* The same under another headline. shows_code: code, message and details whatever they hold. */
void report_failure(const char *headline, const struct get_end *end, bool shows_code);
/* A line of success, green on a terminal, on standard output. */
void report_success(const char *text);
/* A remark on standard error, yellow on a terminal. */
void report_warning(const char *text);

/* Appends s with control characters as \xNN. */
struct buf;
void report_escape(struct slice s, struct buf *out);

#endif
