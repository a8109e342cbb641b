#include "scheduler/owner.h"

#include <string.h>

#include "base/err.h"
#include "base/log.h"
#include "net/addr.h"
#include "net/rpc_server.h"
#include "net/x509.h"
#include "scheduler/resource.h"
#include "scheduler/service.h"
#include "wire/pb.h"

static bool
is_at(const struct addr *a, struct slice ip_text)
{
	struct addr other;

	return ip_text.n > 0 && addr_from_ip(&other, ip_text, 0) == 0 && addr_ip_eq(a, &other);
}

/* The server takes certificates of its authority alone, where it takes any. */
static bool
is_named_in(struct slice der, const struct sched_host *h)
{
	struct x509 cert;

	return der.n > 0 && x509_read(&cert, der) == 0 && ((h->ip[0] != '\0' && x509_is_named(&cert, h->ip)) ||
	    (h->hostname[0] != '\0' && x509_is_named(&cert, h->hostname)));
}

bool
owner_may_speak(const struct sched_resources *r, const struct sched_host *h, const struct addr *at, struct slice cert)
{
	if (!r->opt.host_owners || h == NULL || h->owner_len == 0 || addr_is_loopback(at))
		return true;
	return slice_eq(addr_ip_bytes(at), slice_make(h->owner, h->owner_len)) || is_at(at, sched_host_ip_of_id(slice_str(h->id))) ||
	    is_named_in(cert, h) || !sched_host_is_fresh(r, h);
}

void
owner_set(struct sched_host *h, const struct addr *at)
{
	struct slice ip = addr_ip_bytes(at);

	/* A tool of this machine does not take the host over. */
	if (ip.n == 0 || (h->owner_len > 0 && addr_is_loopback(at)))
		return;
	memcpy(h->owner, ip.p, ip.n);
	h->owner_len = (uint8_t)ip.n;
}

int
owner_check(struct scheduler *s, const struct rpc_stream *rpc, const struct sched_host *h, struct err *e)
{
	char from[ADDR_TEXT_MAX], owner[ADDR_TEXT_MAX] = "?";
	struct addr a;

	if (owner_may_speak(&s->core.res, h, rpc_stream_peer(rpc), rpc_stream_peer_cert(rpc)))
		return 0;
	if (s->refused_ms == 0 || s->core.res.now_ms - s->refused_ms >= OWNER_LOG_MS) {
		s->refused_ms = s->core.res.now_ms;
		if (addr_from_bytes(&a, h->owner, h->owner_len, 0) == 0)
			addr_format_ip(&a, owner);
		log_warn("order about another's host refused (x.scheduler.hostOwners) host=%s announced_from=%s peer=%s method=%s", h->id, owner,
		    addr_format(rpc_stream_peer(rpc), from), rpc_stream_method(rpc)->name);
	}
	return err_set(e, ERR_PERMISSION_DENIED, "host %s was announced from another address, which alone may speak for it while it lives", h->id);
}
