/*
 * What a system tells of itself beyond POSIX. Each call is cheap (a small file or two) and best effort: where the system has no
 * answer, the result is zero or false and everything works without it (spec: daemon.md 3.4).
 */
#ifndef CLUSTER_OS_HOST_H
#define CLUSTER_OS_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Running totals in any one unit; shares come from two samples. */
struct host_cpu_time {
	uint64_t busy, idle;            /* of all CPUs */
	uint64_t process;               /* of this process */
	uint64_t per_second;            /* units in a second of one CPU; 0: not known */
};

struct host_memory {
	uint64_t total, free, available;        /* bytes */
	uint64_t process;                       /* resident, bytes */
};

bool host_cpu_time(struct host_cpu_time *out);
unsigned host_cpu_logical(void);
unsigned host_cpu_physical(void);
bool host_memory(struct host_memory *out);
/* The interface that owns an IP address: its name. */
bool host_interface_of(const char *ip, char *name, size_t size);
/* Bytes received and sent on an interface since it came up; link speed in bit/s, 0 when not known. */
bool host_interface_bytes(const char *name, uint64_t *rx, uint64_t *tx);
uint64_t host_interface_speed(const char *name);
/* Bytes that this process read from and wrote to disks. */
bool host_disk_bytes(uint64_t *read, uint64_t *written);
/* Version of the distribution ("12"); "" when not known. */
void host_platform_version(char *out, size_t size);

#endif
