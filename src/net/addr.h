/*
 * Socket addresses: IPv4, IPv6 and unix paths, as text and as sockaddr. Only literals: names are dns.h's.
 */
#ifndef NET_ADDR_H
#define NET_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/slice.h"

struct err;

/* "[ipv6%zone]:65535" or "unix:" and a path; with NUL. */
#define ADDR_TEXT_MAX 128

struct addr {
	socklen_t len;                  /* 0: no address */
	union {
		struct sockaddr sa;
		struct sockaddr_in in4;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
		struct sockaddr_storage any;
	} u;
};

/* "10.0.0.1", "::1", "[::1]" and a port. Strict dotted quads. 0, or -1 when the text is not an address. */
int addr_from_ip(struct addr *a, struct slice ip, uint16_t port);
/* 4 or 16 bytes in network order. */
int addr_from_bytes(struct addr *a, const uint8_t *ip, size_t n, uint16_t port);
/* -1 (INVALID_ARGUMENT) when the path does not fit sockaddr_un. */
int addr_from_unix(struct addr *a, const char *path, struct err *e);
/* "1.2.3.4:80", "[::1]:80", "unix:/path" (also "unix:///path"). 0 or -1 with the reason. */
int addr_parse(struct addr *a, const char *text, struct err *e);
/* Who is at the other end, and where this end is. Length 0 when unknown. */
void addr_of_peer(struct addr *a, int fd);
void addr_of_local(struct addr *a, int fd);

/* "1.2.3.4:80", "[::1]:80", "unix:/path", "unix" (a nameless peer). Cut to ADDR_TEXT_MAX. Returns out. */
const char *addr_format(const struct addr *a, char out[ADDR_TEXT_MAX]);
/* The IP alone, without brackets; "" for unix. */
const char *addr_format_ip(const struct addr *a, char out[ADDR_TEXT_MAX]);
int addr_family(const struct addr *a);
uint16_t addr_port(const struct addr *a);
void addr_set_port(struct addr *a, uint16_t port);
/* Points at the 4 or 16 bytes of the IP (an IPv4-mapped IPv6 address gives its 4); n 0 for unix. */
struct slice addr_ip_bytes(const struct addr *a);
/* Same family, IP and port (or path); IPv4-mapped equals IPv4. */
bool addr_eq(const struct addr *a, const struct addr *b);
bool addr_ip_eq(const struct addr *a, const struct addr *b);

/* 127/8, ::1, and unix. */
bool addr_is_loopback(const struct addr *a);
/* 169.254/16 and fe80::/10. */
bool addr_is_link_local(const struct addr *a);
/* 0.0.0.0 and ::. */
bool addr_is_any(const struct addr *a);

#endif
