/*
 * Tables on standard output, without rules: each cell between two blanks, columns as wide as their widest cell (spec: cli.md 5).
 */
#ifndef CMD_TABLE_H
#define CMD_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define TABLE_COLUMNS_MAX 16

struct table {
	const char *const *columns;
	size_t column_count;
	bool centres_header;
	char **cells;                   /* row by row */
	size_t count, cap;
};

void table_init(struct table *t, const char *const *columns, size_t n, bool centres_header);
void table_free(struct table *t);
/* The next cell; control characters are shown as \xNN. */
void table_add(struct table *t, const char *text);
/* Header and rows. */
void table_print(const struct table *t);

/* "2026-01-02 03:04:05" in local time; returns out. */
#define TABLE_TIME_MAX 32
char *table_time(int64_t seconds, char out[TABLE_TIME_MAX]);
/* "2026-01-02T03:04:05Z", for JSON. */
char *table_time_utc(int64_t seconds, char out[TABLE_TIME_MAX]);

#endif
