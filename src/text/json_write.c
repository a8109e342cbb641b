#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/buf.h"
#include "text/json.h"
#include "text/utf8.h"

void
json_write_init(struct json_writer *w, struct buf *out)
{
	*w = (struct json_writer){.out = out};
}

static void
before_value(struct json_writer *w)
{
	if (w->comma)
		buf_append_u8(w->out, ',');
	w->comma = true;
}

static void
begin(struct json_writer *w, uint8_t bracket)
{
	before_value(w);
	buf_append_u8(w->out, bracket);
	w->comma = false;
}

static void
end(struct json_writer *w, uint8_t bracket)
{
	buf_append_u8(w->out, bracket);
	w->comma = true;
}

void
json_begin_object(struct json_writer *w)
{
	begin(w, '{');
}

void
json_end_object(struct json_writer *w)
{
	end(w, '}');
}

void
json_begin_array(struct json_writer *w)
{
	begin(w, '[');
}

void
json_end_array(struct json_writer *w)
{
	end(w, ']');
}

static void
append_escaped(struct buf *out, uint8_t c)
{
	switch (c) {
	case '"':
		buf_append_str(out, "\\\"");
		break;
	case '\\':
		buf_append_str(out, "\\\\");
		break;
	case '\n':
		buf_append_str(out, "\\n");
		break;
	case '\r':
		buf_append_str(out, "\\r");
		break;
	case '\t':
		buf_append_str(out, "\\t");
		break;
	default:
		buf_printf(out, "\\u%04x", c);
		break;
	}
}

static void
append_quoted(struct buf *out, struct slice s)
{
	buf_append_u8(out, '"');
	while (s.n > 0) {
		size_t n = 0;

		while (n < s.n && s.p[n] >= 0x20 && s.p[n] < 0x80 && s.p[n] != '"' && s.p[n] != '\\')
			n++;
		buf_append(out, s.p, n);
		s = slice_sub(s, n, s.n);
		for (n = 0; n < s.n && s.p[n] >= 0x80; n++)
			;
		utf8_append_lossy(slice_sub(s, 0, n), out);
		s = slice_sub(s, n, s.n);
		if (n == 0 && s.n > 0 && (s.p[0] < 0x20 || s.p[0] == '"' || s.p[0] == '\\')) {
			append_escaped(out, s.p[0]);
			s = slice_sub(s, 1, s.n);
		}
	}
	buf_append_u8(out, '"');
}

void
json_write_key_slice(struct json_writer *w, struct slice name)
{
	before_value(w);
	append_quoted(w->out, name);
	buf_append_u8(w->out, ':');
	w->comma = false;
}

void
json_write_key(struct json_writer *w, const char *name)
{
	json_write_key_slice(w, slice_str(name));
}

void
json_write_slice(struct json_writer *w, struct slice s)
{
	before_value(w);
	append_quoted(w->out, s);
}

void
json_write_str(struct json_writer *w, const char *s)
{
	json_write_slice(w, slice_str(s));
}

void
json_write_u64(struct json_writer *w, uint64_t v)
{
	before_value(w);
	buf_printf(w->out, "%" PRIu64, v);
}

void
json_write_i64(struct json_writer *w, int64_t v)
{
	before_value(w);
	buf_printf(w->out, "%" PRId64, v);
}

void
json_write_double(struct json_writer *w, double v)
{
	char text[32];

	if (!isfinite(v)) {
		json_write_null(w);
		return;
	}
	before_value(w);
	/* The shortest of these that reads back as the same number; 17 digits always do. */
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, sizeof(text), "%.*g", digits, v);
		if (!(strtod(text, NULL) < v) && !(strtod(text, NULL) > v))
			break;
	}
	buf_append_str(w->out, text);
}

void
json_write_bool(struct json_writer *w, bool v)
{
	before_value(w);
	buf_append_str(w->out, v ? "true" : "false");
}

void
json_write_null(struct json_writer *w)
{
	before_value(w);
	buf_append_str(w->out, "null");
}
