/*
 * Times in messages: google.protobuf.Timestamp and Duration from nanoseconds and back. For wall times since 1970 and lengths of time, which
 * are never negative here.
 */
#ifndef NET_PB_TIME_H
#define NET_PB_TIME_H

#include <stddef.h>
#include <stdint.h>

#include "proto/google.h"

#define PB_NS_PER_S 1000000000
#define PB_NS_PER_MS 1000000

static inline struct google_timestamp
pb_timestamp(int64_t wall_ns)
{
	return (struct google_timestamp){.seconds = wall_ns / PB_NS_PER_S, .nanos = (int32_t)(wall_ns % PB_NS_PER_S)};
}

static inline struct google_timestamp
pb_timestamp_ms(int64_t wall_ms)
{
	return (struct google_timestamp){.seconds = wall_ms / 1000, .nanos = (int32_t)(wall_ms % 1000) * PB_NS_PER_MS};
}

static inline struct google_duration
pb_duration(int64_t ns)
{
	return (struct google_duration){.seconds = ns / PB_NS_PER_S, .nanos = (int32_t)(ns % PB_NS_PER_S)};
}

static inline struct google_duration
pb_duration_ms(int64_t ms)
{
	return (struct google_duration){.seconds = ms / 1000, .nanos = (int32_t)(ms % 1000) * PB_NS_PER_MS};
}

/* Room for the times of one message. */
struct pb_times {
	struct google_timestamp at[5];
	size_t used;
};

/* 0: none, NULL. */
static inline struct google_timestamp *
pb_times_add(struct pb_times *room, int64_t wall_ns)
{
	if (wall_ns == 0 || room->used == sizeof(room->at) / sizeof(room->at[0]))
		return NULL;
	room->at[room->used] = pb_timestamp(wall_ns);
	return &room->at[room->used++];
}

/* 0 for none (NULL), for times before 1970 and for those that nanoseconds cannot hold. */
static inline int64_t
pb_timestamp_ns(const struct google_timestamp *t)
{
	if (t == NULL || t->seconds < 0 || t->nanos < 0 || t->nanos >= PB_NS_PER_S || t->seconds > INT64_MAX / PB_NS_PER_S - 1)
		return 0;
	return t->seconds * PB_NS_PER_S + t->nanos;
}

/* 0 for none (NULL), for a negative one and for one that nanoseconds cannot hold. */
static inline int64_t
pb_duration_ns(const struct google_duration *d)
{
	if (d == NULL || d->seconds < 0 || d->nanos < 0 || d->nanos >= PB_NS_PER_S || d->seconds > INT64_MAX / PB_NS_PER_S - 1)
		return 0;
	return d->seconds * PB_NS_PER_S + d->nanos;
}

#endif
