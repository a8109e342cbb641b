#include "peer/sink.h"

#include "base/clock.h"
#include "base/crc32.h"
#include "base/err.h"
#include "peer/limit.h"
#include "store/file.h"

int
sink_write(struct sink *s, const void *p, size_t n, int64_t *wait_ms, struct err *e)
{
	*wait_ms = 0;
	if (n > s->length - s->done)
		return err_set(e, ERR_INTERNAL, "%llu bytes past the end of a piece of %llu",
		    (unsigned long long)(n - (s->length - s->done)), (unsigned long long)s->length);
	s->crc = crc32_update(s->crc, p, n);
	if (store_file_pwrite(s->file, p, n, s->offset + s->done, e) < 0)
		return -1;
	s->done += n;
	for (int i = 0; i < SINK_LIMITS; i++) {
		int64_t wait = s->limits[i] == NULL || s->limits[i]->rate == 0 ? 0 : limit_charge(s->limits[i], n, clock_mono_ns());

		if (wait > *wait_ms)
			*wait_ms = wait;
	}
	return 0;
}
