/*
 * How often the pieces of each task were given to children: those that nobody got yet go first (design: fan-out). Remembered for the
 * tasks used last. Pure: told of time.
 */
#ifndef SERVE_SERVED_H
#define SERVE_SERVED_H

#include <stdbool.h>
#include <stdint.h>

#include "base/map.h"

/* Tasks that are remembered. */
#define SERVED_TASKS_MAX 256

struct served {
	struct map tasks;
};

void served_init(struct served *s);
void served_free(struct served *s);
/* This piece of a task with so many pieces was given away; the task used longest ago is forgotten for a new one. */
void served_note(struct served *s, const char *task_id, uint32_t pieces, uint32_t piece, int64_t now_ms);
/* 0 for what is not known; stays at UINT8_MAX. */
unsigned served_times(const struct served *s, const char *task_id, uint32_t piece);

#endif
