/*
 * Time. Deadlines and rates use the monotonic clock; only what a person or another host reads uses the wall clock.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

int64_t clock_mono_ms(void);
int64_t clock_mono_ns(void);
int64_t clock_wall_ms(void);
int64_t clock_wall_ns(void);

/* "2026-01-02T03:04:05.678901Z" of a wall time in ns; out holds at least CLOCK_TEXT_MAX bytes. */
#define CLOCK_TEXT_MAX 40
void clock_format(int64_t wall_ns, char *out);

#endif
