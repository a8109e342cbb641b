/*
 * Getting a task ready: what the origin says of its length and headers, the record and the content file in the store. Content whose
 * length nobody knows beforehand is brought in whole here, in sequence.
 */
#ifndef PEER_PREPARE_H
#define PEER_PREPARE_H

#include <stdbool.h>

struct err;
struct origin_error;
struct task;
struct task_caller;

/* The store knows length and pieces from before, and the last attempt did not fail: nothing need be asked. Sets up the task's tables. */
bool prepare_is_known(struct task *t);
/* Asks the origin on behalf of c, or for persistent kinds the scheduler; ends in task_prepared. */
void prepare_start(struct task *t, struct task_caller *c);
void prepare_cancel(struct task *t);

/* ---- within: prepare_cluster.c ---- */

void prepare_ask_scheduler(struct task *t);
void prepare_ask_origin(struct task *t, struct task_caller *c);
/* The task's tables, from length and piece length in the store. */
int prepare_set_up(struct task *t, struct err *e);

/* In task.c. */
void task_prepared(struct task *t, const struct err *err, const struct origin_error *origin);
void caller_start(struct task_caller *c);

#endif
