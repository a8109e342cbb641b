/*
 * The address under which other hosts reach this one.
 */
#ifndef CONFIG_LOCAL_ADDR_H
#define CONFIG_LOCAL_ADDR_H

#include <stddef.h>

#define LOCAL_ADDR_MAX 64

/* Source address of the default route, else the first address that is neither loopback nor link-local of an interface that is
 * up. family is AF_INET or AF_INET6. 0, or -1 when there is none. */
int local_addr_find(int family, char out[LOCAL_ADDR_MAX]);

/* The second half of it: what the interfaces have (os/). */
int local_addr_of_interfaces(int family, char out[LOCAL_ADDR_MAX]);

#endif
