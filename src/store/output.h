/*
 * Finished content at the place where a user wants it: as a hard link or as a copy. The target appears complete or not at
 * all, an existing one is replaced in one step or kept. Works on paths and descriptors only: safe on any thread, one
 * output on one thread at a time.
 */
#ifndef STORE_OUTPUT_H
#define STORE_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct err;
struct store_file;
struct store_sys;

struct store_output_options {
	const char *target;             /* absolute path; its directory must exist */
	const char *beneath;            /* directory that the target lies under, reached without following a symbolic link below it; NULL: anywhere */
	bool overwrite;                 /* false: an existing other file is ALREADY_EXISTS "output path <p> is already exists" */
	bool sync;                      /* fdatasync the copy before it gets its name, and the directory after */
	mode_t mode;                    /* of a copy, exactly; 0: 0644 and the umask applies */
	bool has_owner;                 /* give a copy to uid:gid */
	uid_t uid;
	gid_t gid;
};

/*
 * Early answer, before any byte is fetched: can this target be made at all? With force_hard_link the directory must be on the file
 * system of `content_dir` (any path in the store). FAILED_PRECONDITION, NOT_FOUND, PERMISSION_DENIED, ALREADY_EXISTS.
 * `f` (may be NULL) is the content: a target that is already its inode is fine.
 */
int store_output_check(const struct store_sys *sys, const struct store_output_options *o, const char *content_dir,
	const struct store_file *f, bool force_hard_link, struct err *e);

/* True: the target already is the content's inode; nothing to do. */
bool store_output_is_same(const struct store_file *f, const char *target);
int store_output_link(const struct store_file *f, const struct store_output_options *o, struct err *e);

/* Whether an absolute path lies under a directory by its text: no "." or ".." part, nothing empty. */
bool store_output_is_beneath(const char *target, const char *dir);

struct store_output;

/* Copies the first `length` bytes through a temporary file in the target's directory. */
struct store_output *store_output_open(struct store_file *f, uint64_t length, const struct store_output_options *o, struct err *e);
/* Moves up to max_bytes; 1: more to do, 0: all are in the temporary file, -1: error (abort then). */
int store_output_step(struct store_output *out, uint64_t max_bytes, struct err *e);
/* Gives it its name. Frees `out` in every case; on error nothing is left behind. */
int store_output_commit(struct store_output *out, struct err *e);
void store_output_abort(struct store_output *out);
/* All of the above in one blocking call. */
int store_output_copy(struct store_file *f, uint64_t length, const struct store_output_options *o, struct err *e);

#endif
