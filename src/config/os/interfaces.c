/*
 * Addresses of interfaces through getifaddrs, which Linux, the BSDs and macOS have but POSIX does not.
 */
#define _DEFAULT_SOURCE

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "config/local_addr.h"

static int
format(const struct sockaddr *sa, int family, char out[LOCAL_ADDR_MAX])
{
	struct sockaddr_in in4;
	struct sockaddr_in6 in6;

	if (sa == NULL || sa->sa_family != family)
		return -1;
	if (family == AF_INET) {
		memcpy(&in4, sa, sizeof(in4));
		if (ntohl(in4.sin_addr.s_addr) >> 16 == 0xA9FE)
			return -1;
		return inet_ntop(AF_INET, &in4.sin_addr, out, LOCAL_ADDR_MAX) != NULL ? 0 : -1;
	}
	memcpy(&in6, sa, sizeof(in6));
	if (IN6_IS_ADDR_LINKLOCAL(&in6.sin6_addr))
		return -1;
	return inet_ntop(AF_INET6, &in6.sin6_addr, out, LOCAL_ADDR_MAX) != NULL ? 0 : -1;
}

int
local_addr_of_interfaces(int family, char out[LOCAL_ADDR_MAX])
{
	struct ifaddrs *all;
	int result = -1;

	if (getifaddrs(&all) < 0)
		return -1;
	for (const struct ifaddrs *it = all; it && result < 0; it = it->ifa_next)
		if ((it->ifa_flags & IFF_UP) != 0 && (it->ifa_flags & IFF_LOOPBACK) == 0)
			result = format(it->ifa_addr, family, out);
	freeifaddrs(all);
	return result;
}
