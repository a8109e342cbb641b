#include "store/ahead.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/private.h"

#define READERS 4               /* at a time; a disk or a network drive has answers for more, two processors do not */
#define SHARDS_MIN 512          /* fewer are read in no time */

struct ahead {
	struct store *s;
	atomic_uint next;
	unsigned count, reader_count;
	pthread_t readers[READERS];
	unsigned shards[];      /* kind and number, as scan_at counts */
};

struct look {
	struct store *s;
	const char *shard;
};

static int
look_at(void *arg, int fd, const char *name)
{
	const struct look *in = arg;
	const struct store_sys *sys = in->s->sys;
	char path[2 * STORE_NAME_MAX], head[512];
	size_t n = strcspn(name, ".");
	struct stat st;
	int record;

	if (strcmp(name + n, ".m") != 0 || n > STORE_ID_MAX)
		return 0;
	record = store_open_at(sys, fd, name, O_RDONLY, 0);
	if (record >= 0) {
		sys->pread(record, head, sizeof(head), 0);
		sys->close(record);
	}
	snprintf(path, sizeof(path), "%s/%.*s", in->shard, (int)n, name);
	sys->fstatat(in->s->content_fd, path, &st, AT_SYMLINK_NOFOLLOW);
	return 0;
}

void
store_ahead_look(struct store *s, enum store_kind kind, unsigned shard)
{
	char name[STORE_NAME_MAX];

	store_shard_name(name, kind, shard);
	store_each_name(s->sys, s->meta_fd, name, look_at, &(struct look){ s, name });
}

static void *
read_main(void *arg)
{
	struct ahead *a = arg;
	unsigned i;

	while ((i = atomic_fetch_add(&a->next, 1)) < a->count)
		store_ahead_look(a->s, (enum store_kind)(a->shards[i] / STORE_SHARDS), a->shards[i] % STORE_SHARDS);
	return NULL;
}

struct ahead *
store_ahead_start(struct store *s)
{
	struct ahead *a = xcalloc(1, sizeof(*a) + STORE_KINDS * STORE_SHARDS * sizeof(a->shards[0]));
	sigset_t all, before;

	a->s = s;
	atomic_init(&a->next, 0);
	for (unsigned i = s->scan_at; i < STORE_KINDS * STORE_SHARDS; i++)
		if (s->shards[i / STORE_SHARDS][i % STORE_SHARDS] & SHARD_UNSEEN)
			a->shards[a->count++] = i;
	if (a->count < SHARDS_MIN) {
		free(a);
		return NULL;
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	while (a->reader_count < READERS && pthread_create(&a->readers[a->reader_count], NULL, read_main, a) == 0)
		a->reader_count++;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return a;
}

void
store_ahead_end(struct ahead *a)
{
	if (!a)
		return;
	for (unsigned i = 0; i < a->reader_count; i++)
		pthread_join(a->readers[i], NULL);
	free(a);
}
