/* Structs to text. */
#include "wire/pb.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "text/encode.h"
#include "text/utf8.h"
#include "wire/pb_member.h"

static void
print_string(struct slice s, struct buf *out)
{
	buf_append_u8(out, '"');
	for (size_t i = 0; i < s.n;) {
		uint32_t c = UTF8_REPLACEMENT;
		size_t bad = 0, n = utf8_decode(slice_sub(s, i, s.n), &c, &bad);

		i += n > 0 ? n : bad;
		if (c == '"' || c == '\\')
			buf_printf(out, "\\%c", (char)c);
		else if (c == '\n')
			buf_append_str(out, "\\n");
		else if (c == '\r')
			buf_append_str(out, "\\r");
		else if (c == '\t')
			buf_append_str(out, "\\t");
		else if (c >= 0x20 && c < 0x7f)
			buf_append_u8(out, (uint8_t)c);
		else if (c < 0x10000)
			buf_printf(out, "\\u%04x", (unsigned)c);
		else
			buf_printf(out, "\\u%04x\\u%04x", (unsigned)(0xd800 + ((c - 0x10000) >> 10)),
			    (unsigned)(0xdc00 + ((c - 0x10000) & 0x3ff)));
	}
	buf_append_u8(out, '"');
}

/* The shortest decimal that reads back as the same number. */
static void
print_double(double v, struct buf *out)
{
	char text[40];
	int digits = 1, exponent;

	if (isnan(v) || isinf(v)) {
		buf_append_str(out, isnan(v) ? "\"NaN\"" : v > 0 ? "\"Infinity\"" : "\"-Infinity\"");
		return;
	}
	for (;;) {
		double back;

		snprintf(text, sizeof(text), "%.*e", digits - 1, v);
		back = strtod(text, NULL);
		if (digits == 17 || back == v)
			break;
		digits++;
	}
	exponent = atoi(strchr(text, 'e') + 1);
	if (exponent >= -4 && exponent < 16)
		snprintf(text, sizeof(text), "%.*f", digits - 1 > exponent ? digits - 1 - exponent : 1, v);
	buf_append_str(out, text);
}

/* ".123", ".123456" or ".123456789" of a second; nothing when zero. */
static void
print_nanos(uint32_t nanos, struct buf *out)
{
	if (nanos == 0)
		return;
	if (nanos % 1000000 == 0)
		buf_printf(out, ".%03u", (unsigned)(nanos / 1000000));
	else if (nanos % 1000 == 0)
		buf_printf(out, ".%06u", (unsigned)(nanos / 1000));
	else
		buf_printf(out, ".%09u", (unsigned)nanos);
}

static void
print_duration(int64_t seconds, int32_t nanos, struct buf *out)
{
	uint32_t part = nanos < 0 ? 0 - (uint32_t)nanos : (uint32_t)nanos;

	buf_append_u8(out, '"');
	if (seconds < 0 || nanos < 0)
		buf_append_u8(out, '-');
	buf_printf(out, "%llu", (unsigned long long)(seconds < 0 ? 0 - (uint64_t)seconds : (uint64_t)seconds));
	print_nanos(part, out);
	buf_append_str(out, "s\"");
}

/* Years 1 to 9999, as the JSON form has them; other times as plain seconds. */
static void
print_timestamp(int64_t seconds, int32_t nanos, struct buf *out)
{
	int64_t days, era, day_of_era, year_of_era, day_of_year, month, year, rest;

	if (seconds < INT64_C(-62135596800) || seconds > INT64_C(253402300799) || nanos < 0) {
		buf_printf(out, "\"%lld s\"", (long long)seconds);
		return;
	}
	/* Days since 1 March of year 0, so that a leap day is the last of its year. */
	rest = ((seconds % 86400) + 86400) % 86400;
	days = (seconds - rest) / 86400 + 719468;
	era = days / 146097;
	day_of_era = days % 146097;
	year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
	day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	month = (5 * day_of_year + 2) / 153;
	year = year_of_era + era * 400 + (month >= 10);
	buf_printf(out, "\"%04d-%02d-%02dT%02d:%02d:%02d", (int)year, (int)(month < 10 ? month + 3 : month - 9),
	    (int)(day_of_year - (153 * month + 2) / 5 + 1), (int)(rest / 3600), (int)(rest / 60 % 60), (int)(rest % 60));
	print_nanos((uint32_t)nanos, out);
	buf_append_str(out, "Z\"");
}

static void
print_enum(const struct pb_field *f, int32_t v, struct buf *out)
{
	for (const struct pb_enum_name *n = f->names; n != NULL && n->name != NULL; n++)
		if (n->number == v) {
			buf_printf(out, "\"%s\"", n->name);
			return;
		}
	buf_printf(out, "%ld", (long)v);
}

/* One value; `at` is where it lies, for a message the struct itself. */
static void
print_value(const struct pb_field *f, const void *at, struct buf *out)
{
	union {
		bool flag;
		int32_t i32;
		uint32_t u32;
		int64_t i64;
		uint64_t u64;
		double real;
		struct slice bytes;
	} v = {0};

	if (f->is_secret) {
		buf_append_str(out, "\"...\"");
		return;
	}
	switch ((enum pb_type)f->type) {
	case PB_BOOL:
		memcpy(&v.flag, at, sizeof(v.flag));
		buf_append_str(out, v.flag ? "true" : "false");
		break;
	case PB_INT32:
		memcpy(&v.i32, at, sizeof(v.i32));
		buf_printf(out, "%ld", (long)v.i32);
		break;
	case PB_UINT32:
		memcpy(&v.u32, at, sizeof(v.u32));
		buf_printf(out, "%lu", (unsigned long)v.u32);
		break;
	case PB_INT64:
		memcpy(&v.i64, at, sizeof(v.i64));
		buf_printf(out, "\"%lld\"", (long long)v.i64);
		break;
	case PB_UINT64:
		memcpy(&v.u64, at, sizeof(v.u64));
		buf_printf(out, "\"%llu\"", (unsigned long long)v.u64);
		break;
	case PB_ENUM:
		memcpy(&v.i32, at, sizeof(v.i32));
		print_enum(f, v.i32, out);
		break;
	case PB_DOUBLE:
		memcpy(&v.real, at, sizeof(v.real));
		print_double(v.real, out);
		break;
	case PB_STRING:
		memcpy(&v.bytes, at, sizeof(v.bytes));
		print_string(v.bytes, out);
		break;
	case PB_BYTES:
		memcpy(&v.bytes, at, sizeof(v.bytes));
		buf_append_u8(out, '"');
		base64_encode(v.bytes, BASE64_STD, true, out);
		buf_append_u8(out, '"');
		break;
	case PB_MESSAGE:
		pb_print(f->sub, at, out);
		break;
	}
}

/* One map entry as "key": value. */
static void
print_entry(const struct pb_desc *entry, const char *at, struct buf *out)
{
	const struct pb_field *value = &entry->fields[1];
	const void *v = at + value->offset;
	struct slice key;

	memcpy(&key, at, sizeof(key));
	print_string(key, out);
	buf_append_str(out, ": ");
	if (value->type == PB_MESSAGE) {
		v = pb_pointer_at(v);
		if (v == NULL) {
			buf_append_str(out, "{}");
			return;
		}
	}
	print_value(value, v, out);
}

static void
print_map(const struct pb_desc *entry, const char *array, size_t n, struct buf *out)
{
	struct slice before = {NULL, 0};

	/* Sorted by key: each round takes the smallest of those behind the one before. */
	buf_append_u8(out, '{');
	for (size_t i = 0; i < n; i++) {
		const char *best = NULL;
		struct slice best_key = {NULL, 0}, key;

		for (size_t k = 0; k < n; k++) {
			memcpy(&key, array + k * entry->size, sizeof(key));
			if ((i == 0 || slice_cmp(key, before) > 0) && (best == NULL || slice_cmp(key, best_key) < 0)) {
				best = array + k * entry->size;
				best_key = key;
			}
		}
		if (best == NULL)
			break;
		if (i > 0)
			buf_append_str(out, ", ");
		print_entry(entry, best, out);
		before = best_key;
	}
	buf_append_u8(out, '}');
}

static void
print_field(const struct pb_field *f, const char *msg, struct buf *out)
{
	const char *at = msg + f->offset;
	const char *array;
	size_t n, size;

	buf_printf(out, "\"%s\": ", f->name);
	if (pb_is_array(f)) {
		array = pb_pointer_at(at);
		n = pb_count_of(msg, f);
		if (f->label == PB_MAP) {
			print_map(f->sub, array, n, out);
			return;
		}
		size = pb_element_size(f);
		buf_append_u8(out, '[');
		for (size_t i = 0; i < n; i++) {
			if (i > 0)
				buf_append_str(out, ", ");
			print_value(f, array + i * size, out);
		}
		buf_append_u8(out, ']');
		return;
	}
	if (f->type == PB_MESSAGE)
		at = pb_pointer_at(at);
	if (at == NULL)
		buf_append_str(out, "{}");
	else
		print_value(f, at, out);
}

void
pb_print(const struct pb_desc *desc, const void *msg, struct buf *out)
{
	const char *before = "";
	bool is_duration = strcmp(desc->name, "google.protobuf.Duration") == 0;

	if (is_duration || strcmp(desc->name, "google.protobuf.Timestamp") == 0) {
		int64_t seconds;
		int32_t nanos;

		memcpy(&seconds, (const char *)msg + desc->fields[0].offset, sizeof(seconds));
		memcpy(&nanos, (const char *)msg + desc->fields[1].offset, sizeof(nanos));
		if (is_duration)
			print_duration(seconds, nanos, out);
		else
			print_timestamp(seconds, nanos, out);
		return;
	}
	buf_append_u8(out, '{');
	for (;;) {
		const struct pb_field *best = NULL;

		for (size_t i = 0; i < desc->n_fields; i++) {
			const struct pb_field *f = &desc->fields[i];

			if (strcmp(f->name, before) > 0 && (best == NULL || strcmp(f->name, best->name) < 0) && pb_is_written(f, msg))
				best = f;
		}
		if (best == NULL)
			break;
		if (before[0] != '\0')
			buf_append_str(out, ", ");
		print_field(best, msg, out);
		before = best->name;
	}
	buf_append_u8(out, '}');
}
