#include "net/addr.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"

/* The longest IPv6 text with a zone. */
#define IP_TEXT_MAX 80

int
addr_from_bytes(struct addr *a, const uint8_t *ip, size_t n, uint16_t port)
{
	memset(a, 0, sizeof(*a));
	if (n == 4) {
		a->len = sizeof(a->u.in4);
		a->u.in4.sin_family = AF_INET;
		a->u.in4.sin_port = htons(port);
		memcpy(&a->u.in4.sin_addr, ip, 4);
		return 0;
	}
	if (n == 16) {
		a->len = sizeof(a->u.in6);
		a->u.in6.sin6_family = AF_INET6;
		a->u.in6.sin6_port = htons(port);
		memcpy(&a->u.in6.sin6_addr, ip, 16);
		return 0;
	}
	return -1;
}

int
addr_from_ip(struct addr *a, struct slice ip, uint16_t port)
{
	char text[IP_TEXT_MAX];
	uint8_t bytes[16];
	char *zone;
	unsigned scope = 0;

	if (ip.n >= 2 && ip.p[0] == '[' && ip.p[ip.n - 1] == ']') {
		ip = slice_sub(ip, 1, ip.n - 2);
		if (slice_find(ip, ':') < 0)
			return -1;
	}
	if (ip.n == 0 || ip.n >= sizeof(text) || slice_find(ip, '\0') >= 0)
		return -1;
	memcpy(text, ip.p, ip.n);
	text[ip.n] = '\0';
	if (inet_pton(AF_INET, text, bytes) == 1)
		return addr_from_bytes(a, bytes, 4, port);
	zone = strchr(text, '%');
	if (zone != NULL) {
		*zone++ = '\0';
		scope = if_nametoindex(zone);
		if (scope == 0)
			return -1;
	}
	if (inet_pton(AF_INET6, text, bytes) != 1)
		return -1;
	addr_from_bytes(a, bytes, 16, port);
	a->u.in6.sin6_scope_id = scope;
	return 0;
}

int
addr_from_unix(struct addr *a, const char *path, struct err *e)
{
	size_t n = strlen(path);

	memset(a, 0, sizeof(*a));
	if (n == 0)
		return err_set(e, ERR_INVALID_ARGUMENT, "unix socket: empty path");
	if (n >= sizeof(a->u.un.sun_path))
		return err_set(e, ERR_INVALID_ARGUMENT, "unix socket %s: path longer than %zu bytes", path,
		    sizeof(a->u.un.sun_path) - 1);
	a->u.un.sun_family = AF_UNIX;
	memcpy(a->u.un.sun_path, path, n + 1);
	a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
	return 0;
}

int
addr_parse(struct addr *a, const char *text, struct err *e)
{
	struct slice s = slice_str(text);
	struct slice ip;
	const char *colon;
	uint64_t port;

	if (strncmp(text, "unix:", 5) == 0) {
		text += 5;
		if (strncmp(text, "//", 2) == 0)
			text += 2;
		return addr_from_unix(a, text, e);
	}
	colon = strrchr(text, ':');
	if (colon == NULL)
		return err_set(e, ERR_INVALID_ARGUMENT, "address %s: no port", text);
	ip = slice_sub(s, 0, (size_t)(colon - text));
	if (slice_to_u64(slice_str(colon + 1), &port) != 0 || port > 65535)
		return err_set(e, ERR_INVALID_ARGUMENT, "address %s: wrong port", text);
	/* An IPv6 address needs its brackets here, or its last group would pass for a port. */
	if ((slice_find(ip, ':') >= 0 && ip.p[0] != '[') || addr_from_ip(a, ip, (uint16_t)port) != 0)
		return err_set(e, ERR_INVALID_ARGUMENT, "address %s: not an IP address and port", text);
	return 0;
}

static void
name_of(struct addr *a, int fd, int (*get)(int, struct sockaddr *, socklen_t *))
{
	socklen_t n = sizeof(a->u.any);

	memset(a, 0, sizeof(*a));
	if (get(fd, &a->u.sa, &n) != 0) {
		memset(a, 0, sizeof(*a));
		return;
	}
	a->len = n < (socklen_t)sizeof(a->u.any) ? n : (socklen_t)sizeof(a->u.any);
}

/* Wrapped, because on some systems the functions take a union. */
static int
get_peer(int fd, struct sockaddr *sa, socklen_t *n)
{
	return getpeername(fd, sa, n);
}

static int
get_local(int fd, struct sockaddr *sa, socklen_t *n)
{
	return getsockname(fd, sa, n);
}

void
addr_of_peer(struct addr *a, int fd)
{
	name_of(a, fd, get_peer);
}

void
addr_of_local(struct addr *a, int fd)
{
	name_of(a, fd, get_local);
}

int
addr_family(const struct addr *a)
{
	return a->len == 0 ? AF_UNSPEC : a->u.sa.sa_family;
}

uint16_t
addr_port(const struct addr *a)
{
	switch (addr_family(a)) {
	case AF_INET:
		return ntohs(a->u.in4.sin_port);
	case AF_INET6:
		return ntohs(a->u.in6.sin6_port);
	}
	return 0;
}

void
addr_set_port(struct addr *a, uint16_t port)
{
	switch (addr_family(a)) {
	case AF_INET:
		a->u.in4.sin_port = htons(port);
		break;
	case AF_INET6:
		a->u.in6.sin6_port = htons(port);
		break;
	}
}

struct slice
addr_ip_bytes(const struct addr *a)
{
	switch (addr_family(a)) {
	case AF_INET:
		return slice_make(&a->u.in4.sin_addr, 4);
	case AF_INET6:
		if (IN6_IS_ADDR_V4MAPPED(&a->u.in6.sin6_addr))
			return slice_make((const uint8_t *)&a->u.in6.sin6_addr + 12, 4);
		return slice_make(&a->u.in6.sin6_addr, 16);
	}
	return slice_make(NULL, 0);
}

const char *
addr_format_ip(const struct addr *a, char out[ADDR_TEXT_MAX])
{
	struct slice ip = addr_ip_bytes(a);
	size_t n;

	out[0] = '\0';
	if (ip.n == 0 || inet_ntop(ip.n == 4 ? AF_INET : AF_INET6, ip.p, out, ADDR_TEXT_MAX) == NULL)
		return out;
	if (ip.n == 16 && a->u.in6.sin6_scope_id != 0) {
		char zone[IF_NAMESIZE];

		n = strlen(out);
		if (if_indextoname(a->u.in6.sin6_scope_id, zone) != NULL)
			snprintf(out + n, ADDR_TEXT_MAX - n, "%%%s", zone);
	}
	return out;
}

const char *
addr_format(const struct addr *a, char out[ADDR_TEXT_MAX])
{
	char ip[ADDR_TEXT_MAX];
	size_t path_at = offsetof(struct sockaddr_un, sun_path);

	switch (addr_family(a)) {
	case AF_INET:
	case AF_INET6:
		addr_format_ip(a, ip);
		snprintf(out, ADDR_TEXT_MAX, strchr(ip, ':') != NULL ? "[%.100s]:%u" : "%.100s:%u", ip, (unsigned)addr_port(a));
		break;
	case AF_UNIX:
		if (a->len > path_at && a->u.un.sun_path[0] != '\0')
			snprintf(out, ADDR_TEXT_MAX, "unix:%.*s", (int)(a->len - path_at), a->u.un.sun_path);
		else
			snprintf(out, ADDR_TEXT_MAX, "unix");
		break;
	default:
		snprintf(out, ADDR_TEXT_MAX, "unknown");
	}
	return out;
}

bool
addr_ip_eq(const struct addr *a, const struct addr *b)
{
	struct slice x = addr_ip_bytes(a), y = addr_ip_bytes(b);

	return x.n > 0 && slice_eq(x, y);
}

bool
addr_eq(const struct addr *a, const struct addr *b)
{
	if (addr_family(a) == AF_UNIX || addr_family(b) == AF_UNIX)
		return addr_family(a) == addr_family(b) &&
		    strncmp(a->u.un.sun_path, b->u.un.sun_path, sizeof(a->u.un.sun_path)) == 0;
	return addr_ip_eq(a, b) && addr_port(a) == addr_port(b);
}

bool
addr_is_loopback(const struct addr *a)
{
	struct slice ip = addr_ip_bytes(a);

	if (addr_family(a) == AF_UNIX)
		return true;
	if (ip.n == 4)
		return ip.p[0] == 127;
	return ip.n == 16 && IN6_IS_ADDR_LOOPBACK(&a->u.in6.sin6_addr);
}

bool
addr_is_link_local(const struct addr *a)
{
	struct slice ip = addr_ip_bytes(a);

	if (ip.n == 4)
		return ip.p[0] == 169 && ip.p[1] == 254;
	return ip.n == 16 && ip.p[0] == 0xfe && (ip.p[1] & 0xc0) == 0x80;
}

bool
addr_is_any(const struct addr *a)
{
	struct slice ip = addr_ip_bytes(a);

	for (size_t i = 0; i < ip.n; i++)
		if (ip.p[i] != 0)
			return false;
	return ip.n > 0;
}
