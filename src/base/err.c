#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

#define ERR_REASON_MAX 256

int
err_set_text(struct err *e, int code, const char *fmt, ...)
{
	va_list ap;

	if (e == NULL)
		return -1;
	e->code = code;
	e->sys = 0;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	return -1;
}

static int
code_of(int errnum)
{
	switch (errnum) {
	case ENOENT:
		return ERR_NOT_FOUND;
	case EEXIST:
		return ERR_ALREADY_EXISTS;
	case EACCES:
	case EPERM:
	case EROFS:
		return ERR_PERMISSION_DENIED;
	case ENOSPC:
	case EDQUOT:
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case ENOBUFS:
		return ERR_RESOURCE_EXHAUSTED;
	case ECONNREFUSED:
	case ECONNRESET:
	case ECONNABORTED:
	case EPIPE:
	case ENOTCONN:
	case EHOSTUNREACH:
	case ENETUNREACH:
	case ENETDOWN:
	case EADDRNOTAVAIL:
		return ERR_UNAVAILABLE;
	case ETIMEDOUT:
		return ERR_DEADLINE_EXCEEDED;
	default:
		return ERR_INTERNAL;
	}
}

int
err_sys_text(struct err *e, int errnum, const char *fmt, ...)
{
	char reason[ERR_REASON_MAX];
	va_list ap;
	size_t n;

	if (e == NULL)
		return -1;
	e->code = code_of(errnum);
	e->sys = errnum;
	if (strerror_r(errnum, reason, sizeof(reason)) != 0)
		snprintf(reason, sizeof(reason), "error %d", errnum);
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	n = strlen(e->text);
	snprintf(e->text + n, sizeof(e->text) - n, ": %s", reason);
	return -1;
}

int
err_wrap_text(struct err *e, const char *fmt, ...)
{
	char inner[ERR_TEXT_MAX];
	va_list ap;
	size_t n;

	if (e == NULL)
		return -1;
	memcpy(inner, e->text, sizeof(inner));
	inner[sizeof(inner) - 1] = 0;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	n = strlen(e->text);
	snprintf(e->text + n, sizeof(e->text) - n, ": %s", inner);
	return -1;
}

void
err_clear(struct err *e)
{
	e->code = ERR_OK;
	e->sys = 0;
	e->text[0] = 0;
}

const char *
err_code_name(int code)
{
	static const char *const names[] = {
		"Ok", "Cancelled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists", "PermissionDenied",
		"ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange", "Unimplemented", "Internal", "Unavailable",
		"DataLoss", "Unauthenticated",
	};

	return code >= 0 && (size_t)code < COUNT_OF(names) ? names[code] : "Unknown";
}
