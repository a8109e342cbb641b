/*
 * Sizes and durations as people write and read them (config.md 4.1, 4.2; cli.md 5).
 */
#ifndef TEXT_UNITS_H
#define TEXT_UNITS_H

#include <stdint.h>

#include "base/slice.h"

struct err;

/* Longest text taken; the longest sensible one is far below. */
#define UNITS_TEXT_MAX 128
/* Room for every text that is made here. */
#define UNITS_OUT_MAX 96

/*
 * "4194304", "8MiB", "1.5 gb", ".5GB": bytes. Decimal units (k, kb, ... p, pb) and binary ones (ki, kib, ... pi, pib) in any case, a fraction
 * only with a unit; computed exactly and cut to whole bytes. Blanks around are fine. -1 with INVALID_ARGUMENT, also past 2^64 - 1.
 */
int units_parse_size(struct slice text, uint64_t *bytes, struct err *e);
/*
 * "0", "360s", "1h 30m 5s", "1.5h": ns. Case matters: m is minute, M month. Fractions must come out exactly: to 1 ns up to minutes, to whole seconds
 * from hours on. -1 with INVALID_ARGUMENT, also past 2^63 - 1 ns (292 years).
 */
int units_parse_duration(struct slice text, int64_t *ns, struct err *e);

/* "512 B", "1.0 kiB", "10.5 MiB"; unit picked by 1024. All return out, which holds UNITS_OUT_MAX bytes. */
char *units_format_size(uint64_t bytes, char *out);
/* "0 B/s", "12.34 MiB/s". */
char *units_format_rate(uint64_t bytes_per_second, char *out);
/* "1day 2h 30m 5s", "200ms", "0s"; a text that units_parse_duration reads back as the same ns. Below 0 counts as 0. */
char *units_format_duration(int64_t ns, char *out);

#endif
