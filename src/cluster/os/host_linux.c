/* Linux: /proc and /sys. On other systems every answer is "not known". */
#include "cluster/os/host.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/read_file.h"
#include "base/slice.h"

/* The files read here are a few KiB; /proc/cpuinfo and /proc/stat grow with the CPUs. */
#define FILE_BYTES (256 * 1024)

/* A small file as a string in fresh memory; NULL when it cannot be read. */
static char *
read_text(const char *path)
{
	struct buf text = BUF_INIT;

	if (read_file(path, FILE_BYTES, &text) < 0 && errno != EFBIG) {
		buf_free(&text);
		return NULL;
	}
	return buf_take(&text);
}

/* The number behind `key` at the start of a line. */
static bool
number_after(const char *text, const char *key, uint64_t *out)
{
	size_t n = strlen(key);

	for (const char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n'), line += line != NULL) {
		if (strncmp(line, key, n) == 0) {
			*out = strtoull(line + n, NULL, 10);
			return true;
		}
	}
	return false;
}

bool
host_cpu_time(struct host_cpu_time *out)
{
	/* user nice system idle iowait irq softirq steal guest; utime and stime are fields 14 and 15 of stat, 12 and 13 behind ") ". */
	unsigned long long v[9] = {0}, utime = 0, stime = 0;
	char *text = read_text("/proc/stat");
	char *self = read_text("/proc/self/stat");
	char *rest = self != NULL ? strrchr(self, ')') : NULL;
	long ticks = sysconf(_SC_CLK_TCK);
	bool ok = false;

	if (text != NULL && strncmp(text, "cpu ", 4) == 0) {
		char *at = text + 4;

		for (size_t i = 0; i < 9; i++)
			v[i] = strtoull(at, &at, 10);
		out->idle = v[3] + v[4];
		out->busy = v[0] + v[1] + v[2] + v[5] + v[6] + v[7] + v[8];
		ok = true;
	}
	for (int i = 0; rest != NULL && i < 13; i++) {
		rest = strchr(rest + 1, ' ');
		if (rest != NULL && i == 11)
			utime = strtoull(rest, NULL, 10);
		if (rest != NULL && i == 12)
			stime = strtoull(rest, NULL, 10);
	}
	out->process = utime + stime;
	out->per_second = ticks > 0 ? (uint64_t)ticks : 0;
	free(text);
	free(self);
	return ok;
}

unsigned
host_cpu_logical(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n > 0 ? (unsigned)n : 1;
}

unsigned
host_cpu_physical(void)
{
	char *text = read_text("/proc/cpuinfo");
	uint64_t package = 0, cores = 0, v;
	unsigned logical = 0, packages = 0;
	uint64_t seen = 0;

	for (char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n'), line += line != NULL) {
		char *colon = strchr(line, ':');

		if (colon == NULL)
			break;
		v = strtoull(colon + 1, NULL, 10);
		if (strncmp(line, "processor", 9) == 0)
			logical++;
		else if (strncmp(line, "cpu cores", 9) == 0)
			cores = v;
		else if (strncmp(line, "physical id", 11) == 0) {
			package = v < 64 ? v : 63;
			packages += (seen >> package & 1) == 0;
			seen |= UINT64_C(1) << package;
		}
	}
	free(text);
	if (cores > 0 && packages > 0 && cores * packages < 65536)
		return (unsigned)cores * packages;
	return logical > 0 ? logical : 1;
}

bool
host_memory(struct host_memory *out)
{
	char *text = read_text("/proc/meminfo");
	char *self = read_text("/proc/self/statm");
	long page = sysconf(_SC_PAGESIZE);
	bool ok = text != NULL && number_after(text, "MemTotal:", &out->total) && number_after(text, "MemFree:", &out->free);

	if (ok && !number_after(text, "MemAvailable:", &out->available))
		out->available = out->free;
	out->total *= 1024;
	out->free *= 1024;
	out->available *= 1024;
	out->process = 0;
	if (self != NULL && strchr(self, ' ') != NULL && page > 0)
		out->process = strtoull(strchr(self, ' '), NULL, 10) * (uint64_t)page;
	free(text);
	free(self);
	return ok;
}

bool
host_interface_of(const char *ip, char *name, size_t size)
{
	struct ifaddrs *all, *it;
	uint8_t want[16];
	int family = inet_pton(AF_INET, ip, want) == 1 ? AF_INET : inet_pton(AF_INET6, ip, want) == 1 ? AF_INET6 : 0;
	bool found = false;

	if (family == 0 || getifaddrs(&all) < 0)
		return false;
	for (it = all; it != NULL && !found; it = it->ifa_next) {
		struct sockaddr_in in4;
		struct sockaddr_in6 in6;

		if (it->ifa_addr == NULL || it->ifa_addr->sa_family != family)
			continue;
		if (family == AF_INET) {
			memcpy(&in4, it->ifa_addr, sizeof in4);
			found = memcmp(&in4.sin_addr, want, 4) == 0;
		} else {
			memcpy(&in6, it->ifa_addr, sizeof in6);
			found = memcmp(&in6.sin6_addr, want, 16) == 0;
		}
		if (found)
			found = snprintf(name, size, "%s", it->ifa_name) < (int)size;
	}
	freeifaddrs(all);
	return found;
}

static bool
read_number(const char *format, const char *name, uint64_t *out)
{
	char path[256];
	char *text;

	if (strchr(name, '/') != NULL || snprintf(path, sizeof path, "/sys/class/net/%s/%s", name, format) >= (int)sizeof path)
		return false;
	text = read_text(path);
	if (text == NULL || text[0] < '0' || text[0] > '9') {
		free(text);
		return false;
	}
	*out = strtoull(text, NULL, 10);
	free(text);
	return true;
}

bool
host_interface_bytes(const char *name, uint64_t *rx, uint64_t *tx)
{
	return read_number("statistics/rx_bytes", name, rx) && read_number("statistics/tx_bytes", name, tx);
}

uint64_t
host_interface_speed(const char *name)
{
	uint64_t mbit;

	return read_number("speed", name, &mbit) && mbit < 1000000000 ? mbit * 1000000 : 0;
}

bool
host_disk_bytes(uint64_t *read_bytes, uint64_t *written)
{
	char *text = read_text("/proc/self/io");
	bool ok = text != NULL && number_after(text, "read_bytes:", read_bytes) && number_after(text, "write_bytes:", written);

	free(text);
	return ok;
}

void
host_platform_version(char *out, size_t size)
{
	char *text = read_text("/etc/os-release");
	char *at = text != NULL ? strstr(text, "VERSION_ID=") : NULL;
	size_t n = 0;

	out[0] = '\0';
	if (at != NULL) {
		at += strlen("VERSION_ID=");
		at += *at == '"';
		while (at[n] != '\0' && at[n] != '"' && at[n] != '\n' && n + 1 < size)
			n++;
		memcpy(out, at, n);
		out[n] = '\0';
	}
	free(text);
}
