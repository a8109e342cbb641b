/*
 * HTTP/1.1 writers, the shapes they insist on, reason phrases and dates.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "wire/h1.h"

static bool
is_token_byte(uint8_t c)
{
	if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
		return true;
	return c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

bool
h1_is_token(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!is_token_byte(s.p[i]))
			return false;
	return s.n > 0;
}

bool
h1_is_value(struct slice s)
{
	if (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t' || s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		return false;
	for (size_t i = 0; i < s.n; i++)
		if ((s.p[i] < 0x20 && s.p[i] != '\t') || s.p[i] == 0x7f)
			return false;
	return true;
}

bool
h1_is_target(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= 0x20 || s.p[i] == 0x7f)
			return false;
	return s.n > 0;
}

int
h1_write_request_line(struct buf *out, const char *method, struct slice target)
{
	if (!h1_is_token(slice_str(method)) || !h1_is_target(target))
		return -1;
	buf_append_str(out, method);
	buf_append_u8(out, ' ');
	buf_append_slice(out, target);
	buf_append_str(out, " HTTP/1.1\r\n");
	return 0;
}

void
h1_write_status_line(struct buf *out, int minor, int status, const char *reason)
{
	buf_printf(out, "HTTP/1.%d %d %s\r\n", minor, status, reason != NULL ? reason : h1_reason(status));
}

int
h1_write_field(struct buf *out, const char *name, struct slice value)
{
	if (!h1_is_token(slice_str(name)) || !h1_is_value(value))
		return -1;
	buf_append_str(out, name);
	buf_append(out, ": ", 2);
	buf_append_slice(out, value);
	buf_append(out, "\r\n", 2);
	return 0;
}

int
h1_write_field_str(struct buf *out, const char *name, const char *value)
{
	return h1_write_field(out, name, slice_str(value));
}

void
h1_write_length(struct buf *out, uint64_t n)
{
	buf_printf(out, "Content-Length: %" PRIu64 "\r\n", n);
}

void
h1_write_head_end(struct buf *out)
{
	buf_append(out, "\r\n", 2);
}

size_t
h1_chunk_head(char out[H1_CHUNK_HEAD_MAX + 1], uint64_t n)
{
	return (size_t)snprintf(out, H1_CHUNK_HEAD_MAX + 1, "%" PRIx64 "\r\n", n);
}

static const struct {
	int status;
	const char *phrase;
} reasons[] = {
	{100, "Continue"}, {101, "Switching Protocols"}, {102, "Processing"}, {103, "Early Hints"},
	{200, "OK"}, {201, "Created"}, {202, "Accepted"}, {203, "Non Authoritative Information"}, {204, "No Content"},
	{205, "Reset Content"}, {206, "Partial Content"}, {207, "Multi-Status"}, {208, "Already Reported"}, {226, "IM Used"},
	{300, "Multiple Choices"}, {301, "Moved Permanently"}, {302, "Found"}, {303, "See Other"}, {304, "Not Modified"},
	{305, "Use Proxy"}, {307, "Temporary Redirect"}, {308, "Permanent Redirect"},
	{400, "Bad Request"}, {401, "Unauthorized"}, {402, "Payment Required"}, {403, "Forbidden"}, {404, "Not Found"},
	{405, "Method Not Allowed"}, {406, "Not Acceptable"}, {407, "Proxy Authentication Required"}, {408, "Request Timeout"},
	{409, "Conflict"}, {410, "Gone"}, {411, "Length Required"}, {412, "Precondition Failed"}, {413, "Payload Too Large"},
	{414, "URI Too Long"}, {415, "Unsupported Media Type"}, {416, "Range Not Satisfiable"}, {417, "Expectation Failed"},
	{418, "I'm a teapot"}, {421, "Misdirected Request"}, {422, "Unprocessable Entity"}, {423, "Locked"},
	{424, "Failed Dependency"}, {425, "Too Early"}, {426, "Upgrade Required"}, {428, "Precondition Required"},
	{429, "Too Many Requests"}, {431, "Request Header Fields Too Large"}, {451, "Unavailable For Legal Reasons"},
	{500, "Internal Server Error"}, {501, "Not Implemented"}, {502, "Bad Gateway"}, {503, "Service Unavailable"},
	{504, "Gateway Timeout"}, {505, "HTTP Version Not Supported"}, {506, "Variant Also Negotiates"},
	{507, "Insufficient Storage"}, {508, "Loop Detected"}, {510, "Not Extended"}, {511, "Network Authentication Required"},
};

const char *
h1_reason(int status)
{
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (reasons[i].status == status)
			return reasons[i].phrase;
	return "Unknown";
}

/* ---- dates ---- */

static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

/* Days since 1970-01-01 of a Gregorian date. */
static int64_t
days_from_date(int64_t y, int64_t m, int64_t d)
{
	int64_t era, yoe, doy;

	y -= m <= 2;
	era = (y >= 0 ? y : y - 399) / 400;
	yoe = y - era * 400;
	doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
	return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static void
date_from_days(int64_t n, int64_t *y, int64_t *m, int64_t *d)
{
	int64_t era, doe, yoe, doy, mp;

	n += 719468;
	era = (n >= 0 ? n : n - 146096) / 146097;
	doe = n - era * 146097;
	yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	mp = (5 * doy + 2) / 153;
	*d = doy - (153 * mp + 2) / 5 + 1;
	*m = mp < 10 ? mp + 3 : mp - 9;
	*y = yoe + era * 400 + (*m <= 2);
}

void
h1_format_date(int64_t unix_s, char out[H1_DATE_MAX])
{
	int64_t day, s, y, m, d;

	/* The form has four digits for the year. */
	if (unix_s < 0)
		unix_s = 0;
	if (unix_s > 253402300799)
		unix_s = 253402300799;
	day = unix_s / 86400;
	s = unix_s % 86400;
	date_from_days(day, &y, &m, &d);
	snprintf(out, H1_DATE_MAX, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[(day + 4) % 7], (int)(d % 100), months[m - 1],
	    (int)(y % 10000), (int)(s / 3600 % 24), (int)(s / 60 % 60), (int)(s % 60));
}

static int
month_number(const char *name)
{
	for (int i = 0; i < 12; i++)
		if (strcmp(months[i], name) == 0)
			return i + 1;
	return 0;
}

int
h1_parse_date(struct slice s, int64_t *unix_s)
{
	char text[64], name[4] = "";
	int y, m, d, hh, mm, ss, end = 0;

	if (s.n >= sizeof(text) || s.n == 0)
		return -1;
	memcpy(text, s.p, s.n);
	text[s.n] = '\0';
	if (sscanf(text, "%*3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d GMT%n", &d, name, &y, &hh, &mm, &ss, &end) == 6 && end > 0) {
		m = month_number(name);
	} else if (sscanf(text, "%*9[A-Za-z], %2d-%3[A-Za-z]-%2d %2d:%2d:%2d GMT%n", &d, name, &y, &hh, &mm, &ss, &end) == 6 && end > 0) {
		m = month_number(name);
		y += y < 70 ? 2000 : 1900;
	} else if (sscanf(text, "%*3[A-Za-z] %3[A-Za-z] %2d %2d:%2d:%2d %4d%n", name, &d, &hh, &mm, &ss, &y, &end) == 6 && end > 0) {
		m = month_number(name);
	} else {
		return -1;
	}
	if ((size_t)end != s.n || m == 0 || d < 1 || d > 31 || y < 1 || hh < 0 || hh > 23 || mm < 0 || mm > 59 || ss < 0 || ss > 60)
		return -1;
	*unix_s = days_from_date(y, m, d) * 86400 + hh * 3600 + mm * 60 + ss;
	return 0;
}

void
h1_write_last_chunk(struct buf *out, const struct h1_field *trailers, size_t count)
{
	buf_append_str(out, "0\r\n");
	for (size_t i = 0; i < count; i++) {
		if (!h1_is_token(trailers[i].name) || !h1_is_value(trailers[i].value))
			continue;
		buf_append_slice(out, trailers[i].name);
		buf_append_str(out, ": ");
		buf_append_slice(out, trailers[i].value);
		buf_append_str(out, "\r\n");
	}
	buf_append_str(out, "\r\n");
}
