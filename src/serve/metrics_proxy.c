/*
 * The proxy's families on the metrics page (spec: proxy.md 18).
 */
#include <stddef.h>

#include "serve/metrics.h"
#include "serve/proxy.h"

#define C "dragonfly_client_"

static uint64_t
read_count(const atomic_uint_fast64_t *c)
{
	return atomic_load_explicit((atomic_uint_fast64_t *)(uintptr_t)c, memory_order_relaxed);
}

void
metrics_of_proxy(struct metrics_text *t, const struct proxy *p)
{
	static const char *const schemes[2] = {"http", "https"};
	const struct proxy_counts *c = proxy_counts(p);

	metrics_family(t, METRICS_COUNTER, C "proxy_request_total", "Counter of the number of the proxy request.", false);
	for (unsigned s = 0; s < 2; s++)
		for (unsigned m = 0; m < PROXY_METHODS; m++) {
			uint64_t n = read_count(&c->requests[s][m]);

			if (n > 0)
				metrics_sample(t, n, (const struct metrics_label[]){{"method", proxy_method_names[m]}, {"scheme", schemes[s]}}, 2);
		}
	metrics_one(t, METRICS_COUNTER, C "proxy_request_failure_total", "Counter of the number of failed of the proxy request.",
	    read_count(&c->failed));
	metrics_one(t, METRICS_COUNTER, C "proxy_request_via_dfdaemon_total", "Counter of the number of the proxy request via dfdaemon.",
	    read_count(&c->via_dfdaemon));
	metrics_one(t, METRICS_COUNTER, C "proxy_request_rate_limited_total", "Requests answered 429.", read_count(&c->limited));
}
