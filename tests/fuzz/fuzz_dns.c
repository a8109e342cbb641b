/* Any bytes as a name server's answer, as resolv.conf, and as hosts. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "net/dns_conf.h"
#include "net/dns_wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
answers(struct slice msg)
{
	uint16_t id = msg.n >= 2 ? (uint16_t)(msg.p[0] << 8 | msg.p[1]) : 0;
	struct dns_answer a;

	for (int i = 0; i < 2; i++) {
		if (dns_answer_read(&a, msg, id, "a.test", i == 0 ? DNS_A : DNS_AAAA) != 0)
			continue;
		if (a.n > DNS_ANSWER_ADDRS_MAX || (a.alias[0] != '\0' && !dns_name_is_valid(a.alias)) || (a.alias[0] != '\0' && a.n > 0))
			abort();
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice s;
	struct dns_conf conf;
	struct dns_hosts hosts;
	struct addr addrs[4];
	char *text;

	if (size == 0)
		return 0;
	s = slice_make(data + 1, size - 1);
	switch (data[0] % 4) {
	case 0:
		dns_conf_parse(&conf, s, 53);
		if (conf.n_servers == 0 || conf.n_servers > DNS_SERVERS_MAX || conf.timeout_s == 0 || conf.attempts == 0)
			abort();
		break;
	case 1:
		text = xstrndup((const char *)s.p, s.n);
		dns_hosts_parse(&hosts, text, strlen(text));
		dns_hosts_find(&hosts, "a.test", addrs, COUNT_OF(addrs));
		dns_hosts_free(&hosts);
		break;
	default:
		answers(s);
	}
	return 0;
}
