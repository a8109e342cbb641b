#include "cmd/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "base/slice.h"
#include "cmd/report.h"

void
table_init(struct table *t, const char *const *columns, size_t n, bool centres_header)
{
	*t = (struct table){.columns = columns, .column_count = n, .centres_header = centres_header};
}

void
table_free(struct table *t)
{
	for (size_t i = 0; i < t->count; i++)
		free(t->cells[i]);
	free(t->cells);
}

void
table_add(struct table *t, const char *text)
{
	struct buf shown = BUF_INIT;

	if (t->count == t->cap) {
		t->cap = t->cap > 0 ? 2 * t->cap : 64;
		t->cells = xrealloc(t->cells, t->cap * sizeof *t->cells);
	}
	report_escape(slice_str(text), &shown);
	t->cells[t->count++] = buf_take(&shown);
}

/* Characters of UTF-8. */
static size_t
width_of(const char *s)
{
	size_t n = 0;

	for (; *s != '\0'; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

static void
print_cell(const char *text, size_t width, bool is_centred)
{
	size_t n = width_of(text), left = is_centred ? (width - n) / 2 : 0;

	printf(" %*s%s%*s ", (int)left, "", text, (int)(width - n - left), "");
}

void
table_print(const struct table *t)
{
	size_t widths[TABLE_COLUMNS_MAX] = {0};

	if (t->column_count == 0)
		return;
	for (size_t i = 0; i < t->column_count; i++)
		widths[i] = width_of(t->columns[i]);
	for (size_t i = 0; i < t->count; i++) {
		size_t n = width_of(t->cells[i]), *width = &widths[i % t->column_count];

		if (n > *width)
			*width = n;
	}
	for (size_t i = 0; i < t->column_count; i++) {
		printf("%s", i > 0 ? " " : "");
		print_cell(t->columns[i], widths[i], t->centres_header);
	}
	printf("\n");
	for (size_t i = 0; i < t->count; i++) {
		printf("%s", i % t->column_count > 0 ? " " : "");
		print_cell(t->cells[i], widths[i % t->column_count], false);
		if (i % t->column_count == t->column_count - 1)
			printf("\n");
	}
}

char *
table_time(int64_t seconds, char out[TABLE_TIME_MAX])
{
	time_t at = (time_t)seconds;
	struct tm tm;

	if (localtime_r(&at, &tm) == NULL || strftime(out, TABLE_TIME_MAX, "%Y-%m-%d %H:%M:%S", &tm) == 0)
		snprintf(out, TABLE_TIME_MAX, "-");
	return out;
}

char *
table_time_utc(int64_t seconds, char out[TABLE_TIME_MAX])
{
	time_t at = (time_t)seconds;
	struct tm tm;

	if (gmtime_r(&at, &tm) == NULL || strftime(out, TABLE_TIME_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		snprintf(out, TABLE_TIME_MAX, "-");
	return out;
}
