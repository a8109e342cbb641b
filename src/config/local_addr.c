#include "config/local_addr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Connecting a datagram socket sends nothing: it only makes the system choose a route. The addresses are set aside for documentation. */
static int
find_by_route(int family, char out[LOCAL_ADDR_MAX])
{
	struct sockaddr_in6 to6 = {.sin6_family = AF_INET6, .sin6_port = htons(9)};
	struct sockaddr_in to4 = {.sin_family = AF_INET, .sin_port = htons(9)};
	struct sockaddr_storage from = {0};
	struct sockaddr_in6 from6;
	struct sockaddr_in from4;
	socklen_t len = sizeof(from);
	const struct sockaddr *to = family == AF_INET6 ? (const struct sockaddr *)&to6 : (const struct sockaddr *)&to4;
	int fd = socket(family, SOCK_DGRAM, 0);
	int result = -1;

	if (fd < 0)
		return -1;
	inet_pton(AF_INET, "192.0.2.1", &to4.sin_addr);
	inet_pton(AF_INET6, "2001:db8::1", &to6.sin6_addr);
	if (connect(fd, to, family == AF_INET6 ? (socklen_t)sizeof(to6) : (socklen_t)sizeof(to4)) < 0
	    || getsockname(fd, (struct sockaddr *)&from, &len) < 0)
		goto out;
	memcpy(&from4, &from, sizeof(from4));
	memcpy(&from6, &from, sizeof(from6));
	if (family == AF_INET6 && !IN6_IS_ADDR_LOOPBACK(&from6.sin6_addr) && !IN6_IS_ADDR_UNSPECIFIED(&from6.sin6_addr)
	    && !IN6_IS_ADDR_LINKLOCAL(&from6.sin6_addr) && inet_ntop(AF_INET6, &from6.sin6_addr, out, LOCAL_ADDR_MAX) != NULL)
		result = 0;
	if (family == AF_INET && ntohl(from4.sin_addr.s_addr) >> 24 != 127 && from4.sin_addr.s_addr != 0
	    && inet_ntop(AF_INET, &from4.sin_addr, out, LOCAL_ADDR_MAX) != NULL)
		result = 0;
out:
	close(fd);
	return result;
}

int
local_addr_find(int family, char out[LOCAL_ADDR_MAX])
{
	return find_by_route(family, out) == 0 ? 0 : local_addr_of_interfaces(family, out);
}
