/*
 * What resolv.conf(5) and hosts(5) say. Lines that cannot be read are skipped, as everywhere.
 */
#ifndef NET_DNS_CONF_H
#define NET_DNS_CONF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"
#include "net/addr.h"
#include "net/dns_wire.h"

/* As in the C library. */
#define DNS_SERVERS_MAX 3
#define DNS_SEARCH_MAX 6
#define DNS_NDOTS_MAX 15
#define DNS_TIMEOUT_MAX_S 30
#define DNS_ATTEMPTS_MAX 5
/* Bytes read of either file, and names kept of hosts. */
#define DNS_FILE_MAX (4u * 1024 * 1024)
#define DNS_HOSTS_MAX 65536

struct dns_conf {
	struct addr servers[DNS_SERVERS_MAX];
	size_t n_servers;               /* never 0 after dns_conf_parse: 127.0.0.1 stands in */
	char search[DNS_SEARCH_MAX][DNS_NAME_SIZE];
	size_t n_search;
	unsigned ndots;                 /* [1] */
	unsigned timeout_s;             /* [5] */
	unsigned attempts;              /* [2] */
};

struct dns_host {
	struct addr addr;
	struct slice name;              /* into the text */
};

struct dns_hosts {
	char *text;
	struct dns_host *list;
	size_t n;
};

/* `port` is the servers'. */
void dns_conf_parse(struct dns_conf *out, struct slice text, uint16_t port);
/* Takes the malloc'ed text over. */
void dns_hosts_parse(struct dns_hosts *out, char *text, size_t n);
void dns_hosts_free(struct dns_hosts *h);
/* Addresses of a name, at most max; returns how many. */
size_t dns_hosts_find(const struct dns_hosts *h, const char *name, struct addr *out, size_t max);
/* Whole file, NUL-terminated, at most DNS_FILE_MAX bytes; NULL when it cannot be read. */
char *dns_file_read(const char *path, size_t *n);

#endif
