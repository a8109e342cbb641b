/*
 * What went wrong, in one sentence with the object in it, and a code that is the gRPC status code, so that an error crosses
 * the wire unchanged. Functions that can fail take a struct err from the caller and return -1 or NULL.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>

/* Numbers of grpc/status.proto. */
enum err_code {
	ERR_OK = 0, ERR_CANCELLED = 1, ERR_UNKNOWN = 2, ERR_INVALID_ARGUMENT = 3, ERR_DEADLINE_EXCEEDED = 4, ERR_NOT_FOUND = 5,
	ERR_ALREADY_EXISTS = 6, ERR_PERMISSION_DENIED = 7, ERR_RESOURCE_EXHAUSTED = 8, ERR_FAILED_PRECONDITION = 9,
	ERR_ABORTED = 10, ERR_OUT_OF_RANGE = 11, ERR_UNIMPLEMENTED = 12, ERR_INTERNAL = 13, ERR_UNAVAILABLE = 14,
	ERR_DATA_LOSS = 15, ERR_UNAUTHENTICATED = 16,
};

/* Longer texts are cut. */
#define ERR_TEXT_MAX 1024

struct err {
	int code;
	int sys;                        /* errno behind it, or 0 */
	char text[ERR_TEXT_MAX];
};

/* Sets code and text; always returns -1, so that `return err_set(...)` reads well. e may be NULL. */
#define err_set(...) err_failed(err_set_text(__VA_ARGS__))
/* The same with ": <strerror>" behind it; the code is chosen by errnum (ENOENT -> NOT_FOUND, EACCES -> PERMISSION_DENIED,
 * ENOSPC/EDQUOT/EMFILE/ENOMEM -> RESOURCE_EXHAUSTED, connection errors -> UNAVAILABLE, ETIMEDOUT -> DEADLINE_EXCEEDED, else INTERNAL). */
#define err_sys(...) err_failed(err_sys_text(__VA_ARGS__))
/* Puts "<text>: " before what is there; always returns -1. */
#define err_wrap(...) err_failed(err_wrap_text(__VA_ARGS__))
void err_clear(struct err *e);
/* "NotFound", "Unavailable"... ; "Unknown" for other numbers. */
const char *err_code_name(int code);

/* What stands behind the three macros, which are there so that a compiler sees the -1. */
int err_set_text(struct err *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int err_sys_text(struct err *e, int errnum, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int err_wrap_text(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static inline int
err_failed(int ignored)
{
	(void)ignored;
	return -1;
}

#endif
