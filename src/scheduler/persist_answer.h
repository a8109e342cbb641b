/*
 * Persistent tasks and their peers as messages.
 */
#ifndef SCHEDULER_PERSIST_ANSWER_H
#define SCHEDULER_PERSIST_ANSWER_H

#include <stddef.h>

struct arena;
struct common_persistent_cache_peer;
struct common_persistent_cache_task;
struct common_persistent_peer;
struct common_persistent_task;
struct err;
struct persist_peer;
struct persist_task;

/* Memory of one answer: some KiB for each of SCHEDULER_PARENTS_MAX parents. */
#define PERSIST_ANSWER_BYTES ((size_t)256 * 1024)

/* As messages of the cache kind, which have all that the plain ones have. Texts are the task's, the rest lies in the arena. -1 with
 * RESOURCE_EXHAUSTED when that is full. */
int persist_answer_task(const struct persist_task *t, struct arena *a, struct common_persistent_cache_task *out, struct err *e);
int persist_answer_peer(const struct persist_peer *p, struct arena *a, struct common_persistent_cache_peer *out, struct err *e);
/* The same in the words of the plain kind; everything is shared with `m`, a peer's task lies in the arena. */
void persist_answer_plain_task(const struct common_persistent_cache_task *m, struct common_persistent_task *out);
int persist_answer_plain_peer(const struct common_persistent_cache_peer *m, struct arena *a, struct common_persistent_peer *out, struct err *e);

#endif
