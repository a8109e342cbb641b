#include "base/clock.h"

#include <stdio.h>
#include <time.h>

#define NS_PER_S 1000000000

static int64_t
read_clock(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

int64_t
clock_mono_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

int64_t
clock_mono_ms(void)
{
	return clock_mono_ns() / 1000000;
}

int64_t
clock_wall_ns(void)
{
	return read_clock(CLOCK_REALTIME);
}

int64_t
clock_wall_ms(void)
{
	return clock_wall_ns() / 1000000;
}

void
clock_format(int64_t wall_ns, char *out)
{
	int64_t s = wall_ns / NS_PER_S, ns = wall_ns % NS_PER_S;
	struct tm tm = {0};
	time_t t;
	size_t at;

	if (ns < 0) {
		ns += NS_PER_S;
		s--;
	}
	t = (time_t)s;
	gmtime_r(&t, &tm);
	/* 64 bits of ns reach from the year 1677 to 2262. */
	at = strftime(out, CLOCK_TEXT_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + at, CLOCK_TEXT_MAX - at, ".%06uZ", (unsigned)(ns / 1000));
}
