/*
 * The parts of the test origin: origin.c moves bytes, origin_plan.c decides what a request gets.
 */
#ifndef SUPPORT_ORIGIN_INTERNAL_H
#define SUPPORT_ORIGIN_INTERNAL_H

#include <pthread.h>

#include "support/origin.h"

#define HEAD_MAX (64 * 1024)
/* Period of the generated content: a prime, so that no two pieces look alike. */
#define GEN_PERIOD 1048573u

struct plan {
	char head[8192];        /* status line and header, or the whole of a small answer */
	size_t head_len;
	char *raw;              /* scripted bytes instead of head (borrowed from the script) */
	size_t raw_len;
	enum { BODY_NONE, BODY_GEN, BODY_FILE } body;
	uint64_t seed;
	int fd;
	uint64_t at, left;      /* body: place in the content, bytes to send */
	bool is_head, chunked;
	uint64_t stop_after;    /* body bytes until `stop`; UINT64_MAX: never */
	enum origin_then stop;
	enum origin_then then;  /* after the answer */
	int delay_ms;
	uint64_t drip;
	bool hang;
	char *text;             /* long body of /_stats, owned */
};

struct path_count {
	struct path_count *next;
	char *path;
	uint64_t requests, bytes;
};

struct script {
	struct script *next;
	char *target;
	struct origin_answer *answers;
	size_t count, used;
};

struct target_count {
	struct target_count *next;
	char *target;
	unsigned requests;
};

#define BUCKETS 4096

struct counts {
	uint64_t requests, bytes, connections;
	struct path_count *paths[BUCKETS];
	struct target_count *targets[BUCKETS];
	struct script *scripts;
	char *records[ORIGIN_RECORD_MAX];
	size_t record_count;
};

/* Decides the answer to a request head (NUL-terminated). Called with the lock held. */
void plan_request(struct counts *c, const char *dir, const char *head, struct plan *p, struct path_count **path);
void counts_clear(struct counts *c, bool scripts_too);

#endif
