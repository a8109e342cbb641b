/*
 * GETs that a rule chooses.
 */
#include "serve/proxy_internal.h"

void
proxy_p2p(const struct proxy_request *r, const struct config_proxy_rule *rule)
{
	(void)rule;
	proxy_direct(r);
}
