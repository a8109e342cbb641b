/*
 * The tables of dfdaemon.yaml.
 */
#ifndef CONFIG_KEYS_H
#define CONFIG_KEYS_H

#include <stdbool.h>
#include <stddef.h>

#include "config/schema.h"

/* More rules than anybody writes; each is tried for each request. */
#define KEYS_RULES_MAX 1000

extern const struct schema keys_root;
extern const struct schema keys_rule;           /* an item of proxy.rules, onto struct config_proxy_rule */

/* "host" or "host:port" with nothing around; an IPv6 address stands in brackets. */
bool keys_is_authority(const char *s, size_t n);

#endif
