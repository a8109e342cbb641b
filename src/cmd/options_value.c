/*
 * The value grammars of command lines, with the error texts that users of the reference's tools know (spec: cli.md 1.3).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/options.h"
#include "text/units.h"

static const char *const true_false[] = {"true", "false", NULL};

const char *const *
option_words(const struct option *o)
{
	return o->kind == OPTION_BOOL || o->kind == OPTION_FLAG ? true_false : o->words;
}

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* ---- why a text is no size, no duration ---- */

static int
fail_size(const char *s, struct err *e)
{
	size_t n = strspn(s, "+0123456789.");
	const char *unit = s + n + strspn(s + n, " ");

	if (n == 0)
		return err_set(e, ERR_INVALID_ARGUMENT, "couldn't parse \"%.100s\" into a ByteSize, cannot parse float from empty string", s);
	if (*unit == '\0' || strchr("bkmgtpBKMGTP", unit[0]) != NULL) {
		uint64_t any;

		return units_parse_size(slice_str(s), &any, e);
	}
	return err_set(e, ERR_INVALID_ARGUMENT, "couldn't parse \"%.100s\" into a known SI unit, couldn't parse unit of \"%.100s\"", unit, unit);
}

static bool
is_unit(const char *s, size_t n)
{
	char text[64];
	int64_t ns;

	if (n + 2 > sizeof text)
		return false;
	text[0] = '1';
	memcpy(text + 1, s, n);
	return units_parse_duration(slice_make(text, n + 1), &ns, NULL) == 0;
}

static int
fail_duration(const char *s, struct err *e)
{
	const char *at = s;

	if (*s == '\0')
		return err_set(e, ERR_INVALID_ARGUMENT, "value was empty");
	while (*at != '\0') {
		size_t n;

		at += strspn(at, " ");
		if (!is_digit(*at))
			return err_set(e, ERR_INVALID_ARGUMENT, "expected number at %zu", (size_t)(at - s));
		at += strspn(at, "0123456789. ");
		if (*at == '\0')
			return err_set(e, ERR_INVALID_ARGUMENT, "time unit needed, for example %.*ssec or %.*sms",
			    (int)strspn(s, "0123456789."), s, (int)strspn(s, "0123456789."), s);
		for (n = 0; is_letter(at[n]) || (unsigned char)at[n] >= 0x80; n++)
			;
		if (n == 0)
			return err_set(e, ERR_INVALID_ARGUMENT, "invalid character at %zu", (size_t)(at - s));
		if (!is_unit(at, n))
			return err_set(e, ERR_INVALID_ARGUMENT, "unknown time unit \"%.*s\", supported units: ns, us/µs, ms, sec, min, hours, "
			    "days, weeks, months, years (and few variations)", (int)(n < 50 ? n : 50), at);
		at += n;
	}
	return err_set(e, ERR_INVALID_ARGUMENT, "number is too large or cannot be represented exactly");
}

/* ---- single values ---- */

static int
take_size(const char *s, struct option_number *out, struct err *e)
{
	uint64_t n;

	if (units_parse_size(slice_str(s), &n, e) < 0)
		return fail_size(s, e);
	if (n > INT64_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "larger than 2^63 - 1 bytes");
	*out = (struct option_number){.is_set = true, .n = (int64_t)n};
	return 0;
}

static int
take_duration(const char *s, struct option_number *out, struct err *e)
{
	if (units_parse_duration(slice_str(s), &out->n, e) < 0)
		return fail_duration(s, e);
	out->is_set = true;
	return 0;
}

static int
take_number(const struct option *o, const char *s, struct option_number *out, struct err *e)
{
	const char *digits = s + (*s == '+' || (*s == '-' && o->min < 0));
	int64_t n;

	if (*s == '\0')
		return err_set(e, ERR_INVALID_ARGUMENT, "cannot parse integer from empty string");
	if (*digits == '\0' || digits[strspn(digits, "0123456789")] != '\0')
		return err_set(e, ERR_INVALID_ARGUMENT, "invalid digit found in string");
	errno = 0;
	n = strtoll(s, NULL, 10);
	if (errno == ERANGE || n < o->min || n > o->max)
		return err_set(e, ERR_INVALID_ARGUMENT, "%.40s is not in %" PRId64 "..=%" PRId64, s, o->min, o->max);
	*out = (struct option_number){.is_set = true, .n = n};
	return 0;
}

/* true and false are the documented words; the others are what people write in manifests. */
static int
take_bool(const char *s, struct option_number *out, struct err *e)
{
	static const char *const yes[] = {"true", "1", "yes", "on"}, *const no[] = {"false", "0", "no", "off"};

	for (size_t i = 0; i < COUNT_OF(yes); i++) {
		if (strcasecmp(s, yes[i]) == 0 || strcasecmp(s, no[i]) == 0) {
			*out = (struct option_number){.is_set = true, .n = strcasecmp(s, yes[i]) == 0};
			return 0;
		}
	}
	err_clear(e);
	return -1;
}

static int
take_level(const char *s, struct option_number *out, struct err *e)
{
	static const enum log_level by_number[] = {LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE};
	enum log_level level;

	if (s[0] >= '1' && s[0] <= '5' && s[1] == '\0')
		level = by_number[s[0] - '1'];
	else if (log_parse_level(s, &level) < 0 || level == LOG_OFF)
		return err_set(e, ERR_INVALID_ARGUMENT,
		    "error parsing level: expected one of \"error\", \"warn\", \"info\", \"debug\", \"trace\", or a number 1-5");
	*out = (struct option_number){.is_set = true, .n = (int64_t)level};
	return 0;
}

static int
take_word(const struct option *o, const char *s, const char **out, struct err *e)
{
	for (size_t i = 0; o->words[i] != NULL; i++) {
		if (strcmp(o->words[i], s) == 0) {
			*out = o->words[i];
			return 0;
		}
	}
	err_clear(e);
	return -1;
}

static int
take_item(const char *s, struct option_list *out, struct err *e)
{
	if (out->count >= OPTION_LIST_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "given more than %d times", OPTION_LIST_MAX);
	out->items = xrealloc(out->items, (out->count + 1) * sizeof *out->items);
	out->items[out->count++] = s;
	return 0;
}

int
option_take(const struct option *o, const char *value, void *out, struct err *e)
{
	void *at = (char *)out + o->at;
	struct err unused;

	if (e == NULL)
		e = &unused;
	switch (o->kind) {
	case OPTION_FLAG:
		*(bool *)at = true;
		return 0;
	case OPTION_PATH:
		if (value[0] == '\0')
			return err_set(e, ERR_INVALID_ARGUMENT, "value was empty");
		*(const char **)at = value;
		return 0;
	case OPTION_TEXT:
		*(const char **)at = value;
		return 0;
	case OPTION_WORD:
		return take_word(o, value, at, e);
	case OPTION_BOOL:
		return take_bool(value, at, e);
	case OPTION_SIZE:
		return take_size(value, at, e);
	case OPTION_DURATION:
		return take_duration(value, at, e);
	case OPTION_NUMBER:
		return take_number(o, value, at, e);
	case OPTION_LEVEL:
		return take_level(value, at, e);
	case OPTION_LIST:
		return take_item(value, at, e);
	default:
		return 0;
	}
}
