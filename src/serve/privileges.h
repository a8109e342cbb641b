/*
 * The rights of the process (spec: daemon.md 9.4): the user it becomes once its ports are open (x.user, x.group), and what it gives up in
 * any case.
 */
#ifndef SERVE_PRIVILEGES_H
#define SERVE_PRIVILEGES_H

#include <stdbool.h>
#include <sys/types.h>

struct config;
struct err;

/* As many open files as the system grants. Files made from now on are not for others; the permissions that outputs of users get instead are in *output_mode. Once, at the start. */
void privileges_begin(mode_t *output_mode);

struct privileges {
	bool is_change;                 /* false: the process stays who it is */
	uid_t uid;
	gid_t gid;
	char *user;
};

/* Finds the user and group of the configuration. FAILED_PRECONDITION when this process cannot become them, NOT_FOUND when there are none. */
int privileges_find(struct privileges *p, const struct config *c, struct err *e);
void privileges_free(struct privileges *p);

/* Everything below dir that is not theirs is given to the user. No link is followed. -1 names what could not be. */
int privileges_give(const struct privileges *p, const char *dir, struct err *e);
/* From here on all threads are that user, for good. Warns of files of the configuration that it cannot read. */
int privileges_drop(const struct privileges *p, const struct config *c, struct err *e);
/* The memory of a process with keys or passwords is not for debuggers and core files. After privileges_drop. */
void privileges_guard_memory(const struct config *c);

#endif
