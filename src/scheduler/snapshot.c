/*
 * The host table on disk, so that seeds are usable at once after a restart. One file, replaced whole: a header, a record for each
 * host (length, age, interval, the encoded Host), the CRC-32 of all that. A file that is not exactly this is ignored.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/crc32.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/read_file.h"
#include "base/write_file.h"
#include "proto/common.h"
#include "proto/scheduler.h"
#include "scheduler/service.h"
#include "scheduler/validate.h"
#include "wire/pb.h"

#define MAGIC "dragonfly-hosts-1\n"
/* SCHED_HOSTS_MAX hosts of the usual size. */
#define SNAPSHOT_MAX ((size_t)256 << 20)
#define RECORD_ARENA_BYTES (256u * 1024)

static void
put_u64(struct buf *b, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		buf_append_u8(b, (uint8_t)(v >> (8 * i)));
}

static uint64_t
get_u64(const uint8_t *p)
{
	uint64_t v = 0;

	for (int i = 7; i >= 0; i--)
		v = v << 8 | p[i];
	return v;
}

static int
replace_file(const char *path, const struct buf *b, bool is_synced)
{
	char *next = xasprintf("%s.new", path);
	int fd = open(next, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), rc = -1;

	if (fd < 0)
		goto done;
	rc = write_fd(fd, buf_slice(b));
	if (rc == 0 && is_synced)
		rc = fsync(fd);
	if (close(fd) < 0)
		rc = -1;
	if (rc == 0)
		rc = rename(next, path);
	else
		unlink(next);
done:
	free(next);
	return rc;
}

void
snapshot_save(struct scheduler *s, const char *path, bool is_last)
{
	struct sched_resources *r = &s->core.res;
	struct buf b = BUF_INIT;

	buf_append_str(&b, MAGIC);
	for (struct list *it = r->host_list.next; it != &r->host_list; it = it->next) {
		const struct sched_host *h = CONTAINER_OF(it, struct sched_host, all);

		if (h->provisional || !h->facts)
			continue;
		put_u64(&b, h->n_facts);
		put_u64(&b, (uint64_t)(h->updated_ms + r->wall_ms));
		put_u64(&b, (uint64_t)h->interval_ms);
		buf_append(&b, h->facts, h->n_facts);
	}
	put_u64(&b, crc32_update(0, buf_data(&b), b.len));
	if (replace_file(path, &b, is_last) < 0)
		log_warn("snapshot not written path=%s error=\"%s\"", path, strerror(errno));
	buf_free(&b);
}

/* One host with its age. */
static void
add_host(struct scheduler *s, struct slice facts, int64_t updated_wall_ms, int64_t interval_ms)
{
	struct sched_resources *r = &s->core.res;
	struct common_host h;
	struct scheduler_announce_host_request m = { .host = &h };
	struct sched_host *made;
	struct arena arena;
	int64_t age = r->now_ms + r->wall_ms - updated_wall_ms;

	arena_init(&arena, RECORD_ARENA_BYTES);
	if (age >= 0 && interval_ms >= 0 && pb_decode(&common_host_desc, facts, &arena, &h, NULL) == 0 &&
		validate_announce_host(&m, NULL) == 0 &&
		service_host_announce(s, &h, interval_ms, NULL) == 0) {
		made = sched_host_find(r, h.id);
		made->is_restored = true;
		made->updated_ms = r->now_ms - age;
		if (sched_host_is_expired(r, made))
			sched_delete_host(&s->core, made);
		else
			s->core.is_restored = true;
	}
	arena_free(&arena);
}

void
snapshot_load(struct scheduler *s, const char *path)
{
	struct buf b = BUF_INIT;
	const uint8_t *p;
	size_t at = sizeof MAGIC - 1, end;
	unsigned n = 0;

	if (read_file(path, SNAPSHOT_MAX, &b) < 0) {
		if (errno != ENOENT)
			log_warn("snapshot not read path=%s error=\"%s\"", path, strerror(errno));
		goto done;
	}
	p = buf_data(&b);
	if (b.len < at + 8 || memcmp(p, MAGIC, at) != 0 || get_u64(p + b.len - 8) != crc32_update(0, p, b.len - 8)) {
		log_warn("snapshot is not whole, starting without path=%s", path);
		goto done;
	}
	end = b.len - 8;
	while (end - at >= 24) {
		uint64_t length = get_u64(p + at);

		if (length > end - at - 24)
			break;
		add_host(s, slice_make(p + at + 24, (size_t)length), (int64_t)get_u64(p + at + 8), (int64_t)get_u64(p + at + 16));
		at += 24 + (size_t)length;
		n++;
	}
	log_info("snapshot read path=%s hosts=%u", path, n);
done:
	buf_free(&b);
}
