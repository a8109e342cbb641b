#include "text/units.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"

#define NS ((int64_t)1)
#define US (1000 * NS)
#define MS (1000 * US)
#define SECOND (1000 * MS)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define WEEK (7 * DAY)
#define MONTH (2630016 * SECOND)
#define YEAR (31557600 * SECOND)

static bool
is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static bool
is_blank(uint8_t c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool
is_letter(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* v * 10 + digit; false past 2^64 - 1. */
static bool
push_digit(uint64_t *v, uint8_t c)
{
	uint64_t digit = (uint64_t)(c - '0');

	if (*v > (UINT64_MAX - digit) / 10)
		return false;
	*v = *v * 10 + digit;
	return true;
}

/* The text as it may stand in an error: short, and the log escapes the rest. */
static struct slice
shown(struct slice text)
{
	return slice_sub(text, 0, 40);
}

/*
 * 0.<digits> * factor cut to a whole number, by long multiplication from the last digit: each step is exact because what is cut off below
 * never reaches back up. *exact says whether nothing was cut.
 */
static uint64_t
fraction_of(struct slice digits, uint64_t factor, bool *exact)
{
	/* Decimal digits of the product below the point, last first; a carry runs through them, as on paper. */
	uint64_t carry = 0;

	*exact = true;
	for (size_t i = digits.n; i-- > 0;) {
		/* factor <= 2^56 here, so digit * factor + carry stays below 2^60. */
		uint64_t v = (uint64_t)(digits.p[i] - '0') * factor + carry;

		if (v % 10 != 0)
			*exact = false;
		carry = v / 10;
	}
	return carry;
}

static bool
size_factor(struct slice unit, uint64_t *factor)
{
	static const char prefixes[] = "kmgtp";
	uint64_t base = 1000;
	const char *at;
	uint8_t first;

	if (unit.n == 0)
		return false;
	if (slice_ieq_str(unit, "b")) {
		*factor = 1;
		return true;
	}
	first = (uint8_t)(unit.p[0] | 0x20);
	at = strchr(prefixes, first);
	unit = slice_sub(unit, 1, unit.n);
	if (slice_ieq_str(unit, "i") || slice_ieq_str(unit, "ib"))
		base = 1024;
	else if (unit.n > 0 && !slice_ieq_str(unit, "b"))
		return false;
	if (at == NULL || first == 0)
		return false;
	*factor = 1;
	for (const char *p = prefixes; p <= at; p++)
		*factor *= base;
	return true;
}

int
units_parse_size(struct slice text, uint64_t *bytes, struct err *e)
{
	struct slice all = text, fraction = {0}, unit;
	uint64_t whole = 0, factor = 1, part;
	bool signed_form, exact, has_point = false;
	size_t i = 0, from;

	if (text.n > UNITS_TEXT_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "size longer than %d characters", UNITS_TEXT_MAX);
	while (text.n > 0 && is_blank(text.p[0]))
		text = slice_sub(text, 1, text.n);
	while (text.n > 0 && is_blank(text.p[text.n - 1]))
		text.n--;
	signed_form = text.n > 0 && text.p[0] == '+';
	if (signed_form)
		i++;
	from = i;
	for (; i < text.n && is_digit(text.p[i]); i++) {
		if (!push_digit(&whole, text.p[i]))
			goto too_large;
	}
	if (i < text.n && text.p[i] == '.' && !signed_form) {
		size_t start = ++i;

		has_point = true;
		while (i < text.n && is_digit(text.p[i]))
			i++;
		fraction = slice_sub(text, start, i - start);
	}
	if (i - from == (has_point ? 1 : 0))
		return err_set(e, ERR_INVALID_ARGUMENT, "invalid size \"%.*s\": no number", SLICE_ARG(shown(all)));
	if (i == text.n && !has_point) {
		*bytes = whole;
		return 0;
	}
	while (i < text.n && is_blank(text.p[i]))
		i++;
	unit = slice_sub(text, i, text.n);
	if (signed_form || !size_factor(unit, &factor))
		return err_set(e, ERR_INVALID_ARGUMENT, "invalid size \"%.*s\": want a unit of B, kB, MB, GB, TB, PB, KiB, MiB, GiB, TiB or PiB",
			SLICE_ARG(shown(all)));
	part = fraction_of(fraction, factor, &exact);
	if (whole > (UINT64_MAX - part) / factor)
		goto too_large;
	*bytes = whole * factor + part;
	return 0;
too_large:
	return err_set(e, ERR_INVALID_ARGUMENT, "invalid size \"%.*s\": larger than 2^64 - 1 bytes", SLICE_ARG(shown(all)));
}

struct time_unit {
	const char *names;      /* blank-separated */
	int64_t ns;
};

static const struct time_unit time_units[] = {
	{"nanos nsec ns", NS},
	{"usec us \xc2\xb5s", US},
	{"millis msec ms", MS},
	{"seconds second secs sec s", SECOND},
	{"minutes minute min mins m", MINUTE},
	{"hours hour hr hrs h", HOUR},
	{"days day d", DAY},
	{"weeks week wk wks w", WEEK},
	{"months month M", MONTH},
	{"years year yr yrs y", YEAR},
};

static int64_t
unit_ns(struct slice name)
{
	for (size_t i = 0; i < COUNT_OF(time_units); i++) {
		struct slice names = slice_str(time_units[i].names);

		while (names.n > 0) {
			ptrdiff_t end = slice_find(names, ' ');
			size_t n = end >= 0 ? (size_t)end : names.n;

			if (slice_eq(name, slice_sub(names, 0, n)))
				return time_units[i].ns;
			names = slice_sub(names, n + 1, names.n);
		}
	}
	return 0;
}

/* Takes digits off the text and keeps them, with blanks between them left out. Returns how many; -1 when they do not fit. */
static int
take_digits(struct slice *text, char *digits, size_t cap)
{
	size_t n = 0;

	while (text->n > 0 && (is_digit(text->p[0]) || is_blank(text->p[0]))) {
		if (is_digit(text->p[0])) {
			if (n == cap)
				return -1;
			digits[n++] = (char)text->p[0];
		}
		*text = slice_sub(*text, 1, text->n);
	}
	return (int)n;
}

/* One "number unit"; adds it to *total. NULL, or what is wrong. */
static const char *
take_span(struct slice *text, uint64_t *total)
{
	char whole_digits[UNITS_TEXT_MAX], fraction[UNITS_TEXT_MAX];
	int whole_n, fraction_n = 0;
	uint64_t whole = 0, ns, part;
	bool exact;
	int64_t unit;
	size_t n = 0;

	if (!is_digit(text->p[0]))
		return is_letter(text->p[0]) || text->p[0] >= 0x80 ? "a number is missing before the unit" : "a number is wanted here";
	whole_n = take_digits(text, whole_digits, sizeof(whole_digits));
	if (text->n > 0 && text->p[0] == '.') {
		*text = slice_sub(*text, 1, text->n);
		if (text->n == 0 || !is_digit(text->p[0]))
			return "no digit after the point";
		fraction_n = take_digits(text, fraction, sizeof(fraction));
	}
	if (whole_n < 0 || fraction_n < 0)
		return "too many digits";
	while (n < text->n && (is_letter(text->p[n]) || text->p[n] >= 0x80))
		n++;
	if (n == 0)
		return text->n > 0 ? "a character that is no digit, letter, blank or point" : "time unit needed, for example 30sec or 30ms";
	unit = unit_ns(slice_sub(*text, 0, n));
	if (unit == 0)
		return "unknown time unit";
	*text = slice_sub(*text, n, text->n);
	for (int i = 0; i < whole_n; i++) {
		if (!push_digit(&whole, (uint8_t)whole_digits[i]))
			return "longer than 292 years";
	}
	part = fraction_of(slice_make(fraction, (size_t)fraction_n), (uint64_t)unit, &exact);
	if (!exact || (unit >= HOUR && part % (uint64_t)SECOND != 0))
		return unit >= HOUR ? "a fraction that is no whole number of seconds" : "a fraction below 1 ns";
	if (whole > ((uint64_t)INT64_MAX - part) / (uint64_t)unit)
		return "longer than 292 years";
	ns = whole * (uint64_t)unit + part;
	if (ns > (uint64_t)INT64_MAX - *total)
		return "longer than 292 years";
	*total += ns;
	return NULL;
}

int
units_parse_duration(struct slice text, int64_t *ns, struct err *e)
{
	struct slice all = text;
	const char *wrong = NULL;
	uint64_t total = 0;

	if (text.n > UNITS_TEXT_MAX)
		return err_set(e, ERR_INVALID_ARGUMENT, "duration longer than %d characters", UNITS_TEXT_MAX);
	if (slice_eq_str(text, "0")) {
		*ns = 0;
		return 0;
	}
	while (text.n > 0 && is_blank(text.p[0]))
		text = slice_sub(text, 1, text.n);
	if (text.n == 0)
		wrong = "it is empty";
	while (text.n > 0 && wrong == NULL) {
		wrong = take_span(&text, &total);
		while (text.n > 0 && is_blank(text.p[0]))
			text = slice_sub(text, 1, text.n);
	}
	if (wrong != NULL)
		return err_set(e, ERR_INVALID_ARGUMENT, "invalid duration \"%.*s\": %s", SLICE_ARG(shown(all)), wrong);
	*ns = (int64_t)total;
	return 0;
}

static const char *const size_names[] = {"B", "kiB", "MiB", "GiB", "TiB", "PiB", "EiB"};

/* The largest unit that leaves at least 1, with the number rounded to `decimals`; rounding up to 1024 takes the next unit. */
static void
scale(uint64_t v, int decimals, char *out, const char *suffix, bool upper)
{
	double limit = decimals == 1 ? 1023.95 : 1023.995, x = (double)v;
	size_t i = 0;

	while (i + 1 < COUNT_OF(size_names) && (i == 0 ? v >= 1024 : x >= limit)) {
		x /= 1024;
		i++;
	}
	if (i == 0)
		snprintf(out, UNITS_OUT_MAX, "%" PRIu64 " B%s", v, suffix);
	else
		snprintf(out, UNITS_OUT_MAX, "%.*f %s%s", decimals, x, i == 1 && upper ? "KiB" : size_names[i], suffix);
}

char *
units_format_size(uint64_t bytes, char *out)
{
	scale(bytes, 1, out, "", false);
	return out;
}

char *
units_format_rate(uint64_t bytes_per_second, char *out)
{
	scale(bytes_per_second, 2, out, "/s", true);
	return out;
}

char *
units_format_duration(int64_t ns, char *out)
{
	static const struct {
		int64_t ns;
		const char *one;
		const char *many;
	} steps[] = {
		{YEAR, "year", "years"}, {MONTH, "month", "months"}, {DAY, "day", "days"}, {HOUR, "h", "h"}, {MINUTE, "m", "m"},
		{SECOND, "s", "s"}, {MS, "ms", "ms"}, {US, "us", "us"}, {NS, "ns", "ns"},
	};
	size_t at = 0;

	if (ns <= 0) {
		snprintf(out, UNITS_OUT_MAX, "0s");
		return out;
	}
	out[0] = 0;
	for (size_t i = 0; i < COUNT_OF(steps); i++) {
		int64_t n = ns / steps[i].ns;

		ns %= steps[i].ns;
		if (n > 0)
			at += (size_t)snprintf(out + at, UNITS_OUT_MAX - at, "%s%" PRId64 "%s", at > 0 ? " " : "", n,
				n == 1 ? steps[i].one : steps[i].many);
	}
	return out;
}
