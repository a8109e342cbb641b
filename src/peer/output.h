/*
 * What happens on the disk around a request: pieces checked before they are used again, the whole content compared with the digest
 * that the user gave, the finished content put at the user's path. The work runs on a worker's thread.
 */
#ifndef PEER_OUTPUT_H
#define PEER_OUTPUT_H

struct common_download;
struct err;
struct output_job;
struct task;
struct task_caller;

/* Called on the control loop; err NULL for success. Not called after output_cancel. */
typedef void output_done_fn(void *ctx, const struct err *err);

/* INVALID_ARGUMENT "invalid digest(<text>): <reason>" for a digest that cannot be one. */
int output_check_digest(const struct common_download *d, struct err *e);
/* Early answer whether the output path can be made at all. */
int output_check(struct task *t, const struct task_caller *c, struct err *e);

/* Compares pieces of the task that need it with their checksums; bad ones are dropped. NULL when none needs it (done is not called). */
struct output_job *output_check_pieces(struct task *t, output_done_fn *done, void *ctx);

/*
 * A caller that gave a digest and waits for pieces: the digest is taken as they come, so that little is left to read after the last one.
 * NULL when there is nothing to follow. Ends as output_start's or in output_cancel.
 */
struct output_job *output_follow(struct task *t, const struct task_caller *c);

/*
 * Verifies and places a complete content for this caller. `following` (may be NULL) is what output_follow gave, and is taken over. NULL with
 * e->code 0 when there is nothing to do, else with the error; done is not called then. A digest that does not match makes the task's
 * content worthless: its pieces are dropped.
 */
struct output_job *output_start(struct task *t, struct task_caller *c, struct output_job *following, output_done_fn *done, void *ctx,
    struct err *e);
void output_cancel(struct output_job *job);

#endif
