#include "serve/admission.h"

#include <stdbool.h>
#include <string.h>

#include "base/clock.h"
#include "base/crc32.h"
#include "base/err.h"
#include "base/mem.h"
#include "net/addr.h"
#include "net/rpc_server.h"
#include "serve/adaptive.h"
#include "wire/pb.h"

void
admission_init(struct admission *a, uint64_t rate, uint64_t buffer, int64_t now_ms)
{
	/* More than this a second is no limit; sums stay far from overflow. */
	const uint64_t most = UINT64_C(1) << 32;

	a->rate = rate < most ? rate : most;
	buffer = buffer < most ? buffer : most;
	a->burst = a->rate + buffer;
	a->host_burst = a->rate + buffer / 2;
	a->refused = 0;
	a->adaptive = NULL;
	a->all = (struct admission_bucket){.tokens = a->burst, .at_ms = now_ms};
	for (size_t i = 0; i < ADMISSION_HOSTS; i++)
		a->hosts[i] = (struct admission_bucket){.tokens = a->host_burst, .at_ms = now_ms};
}

static void
earn(struct admission_bucket *b, uint64_t rate, uint64_t burst, int64_t now_ms)
{
	int64_t ms = now_ms - b->at_ms;
	uint64_t earned;

	if (ms <= 0)
		return;
	earned = ms >= 2000 ? 2 * rate : (uint64_t)ms * rate / 1000;
	/* Time that is worth less than one token is kept for the next look. */
	if (earned == 0 && ms < 2000)
		return;
	b->tokens = b->tokens + earned < burst ? b->tokens + earned : burst;
	b->at_ms = now_ms;
}

int
admission_take(struct admission *a, struct slice host, int64_t now_ms, struct err *e)
{
	struct admission_bucket *h = NULL;

	if (a->rate == 0)
		return 0;
	earn(&a->all, a->rate, a->burst, now_ms);
	if (host.n > 0) {
		h = &a->hosts[crc32_update(0, host.p, host.n) % ADMISSION_HOSTS];
		earn(h, a->rate, a->host_burst, now_ms);
	}
	if (a->all.tokens == 0 || (h != NULL && h->tokens == 0)) {
		a->refused++;
		return err_set(e, ERR_RESOURCE_EXHAUSTED, "server is overloaded: too many requests, please retry later");
	}
	a->all.tokens--;
	if (h != NULL)
		h->tokens--;
	return 0;
}

/* Children that are being served, and a look at what is here, go on whatever the load is: shedding them makes more work than it saves. */
static bool
is_ever_shed(const struct rpc_stream *s)
{
	static const char *const never[] = {"SyncPieces", "SyncHost", "StatLocalTask"};

	for (size_t i = 0; i < COUNT_OF(never); i++)
		if (strcmp(rpc_stream_method(s)->name, never[i]) == 0)
			return false;
	return true;
}

int
admission_admit(void *ctx, const struct rpc_stream *s, struct err *e)
{
	struct admission *a = ctx;
	int64_t now = clock_mono_ms();

	if (a->adaptive != NULL && adaptive_enter(a->adaptive, now, is_ever_shed(s), e) < 0)
		return -1;
	if (admission_take(a, addr_ip_bytes(rpc_stream_peer(s)), now, e) == 0)
		return 0;
	if (a->adaptive != NULL)
		adaptive_leave(a->adaptive);
	return -1;
}

void
admission_answered(void *ctx, const struct rpc_stream *s, int64_t ms)
{
	struct admission *a = ctx;

	(void)s;
	if (a->adaptive != NULL)
		adaptive_answered(a->adaptive, clock_mono_ms(), ms);
}
