#include "cluster/facts.h"

#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/mem.h"
#include "cluster/os/host.h"
#include "config/config.h"
#include "net/loop.h"
#include "proto/common.h"

/* Announced when the configuration sets no limit and the link's speed is not known: the reference's default limit, 50 GB/s. */
#define BANDWIDTH_UNKNOWN (UINT64_C(50000000000) * 8)

struct facts {
	struct loop *loop;
	const struct config *config;
	struct loop_timer timer;
	struct utsname system;
	char platform_version[64];
	char interface[64];             /* "" when not known */
	unsigned logical, physical;
	uint64_t max_bits;
	/* The last sample and the rates since the one before. */
	int64_t at_ns;
	bool has_sample, has_rates, has_bytes;
	struct host_cpu_time cpu;
	uint64_t rx, tx, disk_read, disk_written;
	double cpu_percent, process_percent;
	uint64_t rx_bits, tx_bits, read_rate, write_rate;
};

static double
share(uint64_t part, uint64_t whole)
{
	double v = whole > 0 ? 100.0 * (double)part / (double)whole : 0;

	return v < 0 ? 0 : v > 100 ? 100 : v;
}

static uint64_t
rate(uint64_t now, uint64_t before, int64_t passed_ns)
{
	return now > before ? (uint64_t)((double)(now - before) * 1e9 / (double)passed_ns) : 0;
}

static void
sample(void *ctx)
{
	struct facts *f = ctx;
	struct host_cpu_time cpu = {0};
	uint64_t rx = 0, tx = 0, read_bytes = 0, written = 0;
	int64_t now = clock_mono_ns(), passed = now - f->at_ns;
	bool has_bytes = f->interface[0] != '\0' && host_interface_bytes(f->interface, &rx, &tx);

	host_cpu_time(&cpu);
	host_disk_bytes(&read_bytes, &written);
	if (f->has_sample && passed > 0) {
		f->cpu_percent = share(cpu.busy - f->cpu.busy, cpu.busy - f->cpu.busy + cpu.idle - f->cpu.idle);
		if (cpu.per_second > 0)
			f->process_percent = share((cpu.process - f->cpu.process) * 1000, (uint64_t)(passed / 1000000) * cpu.per_second * f->logical);
		f->rx_bits = rate(rx, f->rx, passed) * 8;
		f->tx_bits = rate(tx, f->tx, passed) * 8;
		f->read_rate = rate(read_bytes, f->disk_read, passed);
		f->write_rate = rate(written, f->disk_written, passed);
		f->has_rates = true;
	}
	f->has_sample = true;
	f->has_bytes = has_bytes;
	f->cpu = cpu;
	f->rx = rx;
	f->tx = tx;
	f->disk_read = read_bytes;
	f->disk_written = written;
	f->at_ns = now;
	loop_timer_set(f->loop, &f->timer, FACTS_SAMPLE_MS, sample, f);
}

struct facts *
facts_new(struct loop *loop, const struct config *config)
{
	struct facts *f = xcalloc(1, sizeof *f);
	uint64_t speed = 0, limit = config->upload.bandwidth_limit;

	f->loop = loop;
	f->config = config;
	uname(&f->system);
	host_platform_version(f->platform_version, sizeof f->platform_version);
	f->logical = host_cpu_logical();
	f->physical = host_cpu_physical();
	if (host_interface_of(config->host.ip, f->interface, sizeof f->interface))
		speed = host_interface_speed(f->interface);
	else
		f->interface[0] = '\0';
	f->max_bits = limit > 0 && limit < UINT64_MAX / 8 ? limit * 8 : BANDWIDTH_UNKNOWN;
	if (speed > 0 && speed < f->max_bits)
		f->max_bits = speed;
	sample(f);
	return f;
}

void
facts_free(struct facts *f)
{
	if (f == NULL)
		return;
	loop_timer_clear(f->loop, &f->timer);
	free(f);
}

void
facts_traffic(const struct facts *f, struct cluster_traffic *out)
{
	*out = (struct cluster_traffic){.max_rx = f->max_bits, .max_tx = f->max_bits, .rx = f->rx_bits, .tx = f->tx_bits};
}

static void
fill_disk(const struct facts *f, struct common_disk *d)
{
	struct statvfs v;

	if (statvfs(f->config->storage.dir, &v) == 0) {
		d->total = (uint64_t)v.f_frsize * v.f_blocks;
		d->free = (uint64_t)v.f_frsize * v.f_bavail;
		d->used = d->total - d->free;
		d->used_percent = share(d->used, d->total);
		d->inodes_total = v.f_files;
		d->inodes_free = v.f_favail;
		d->inodes_used = d->inodes_total - d->inodes_free;
		d->inodes_used_percent = share(d->inodes_used, d->inodes_total);
	}
	d->read_bandwidth = f->read_rate;
	d->write_bandwidth = f->write_rate;
}

static void
fill_memory(struct common_memory *m)
{
	struct host_memory h = {0};

	host_memory(&h);
	m->total = h.total;
	m->free = h.free;
	m->available = h.available;
	m->used = h.total > h.available ? h.total - h.available : 0;
	m->used_percent = share(m->used, m->total);
	m->process_used_percent = share(h.process, h.total);
}

static void
fill_network(const struct facts *f, struct common_network *n)
{
	n->location = slice_str(f->config->host.location);
	n->idc = slice_str(f->config->host.idc);
	n->max_rx_bandwidth = n->max_tx_bandwidth = f->max_bits;
	n->has_rx_bandwidth = n->has_tx_bandwidth = f->has_rates && f->has_bytes;
	n->rx_bandwidth = f->rx_bits;
	n->tx_bandwidth = f->tx_bits;
}

int
facts_fill(const struct facts *f, const struct cluster_host *self, struct arena *a, struct common_host *h)
{
	const struct config *c = f->config;

	*h = (struct common_host){
		.id = slice_str(self->id), .hostname = slice_str(self->hostname), .ip = slice_str(self->ip),
		.type = c->seed_peer.enable ? (uint32_t)c->seed_peer.type : 0, .port = self->upload_port, .download_port = self->upload_port,
		.os = slice_str("linux"), .platform = slice_str("linux"), .platform_family = slice_str("unix"),
		.platform_version = slice_str(f->platform_version), .kernel_version = slice_str(f->system.release),
		.scheduler_cluster_id = c->host.scheduler_cluster_id, .disable_shared = c->upload.disable_shared,
		.proxy_port = self->proxy_port, .name = slice_str(self->hostname),
	};
	h->cpu = arena_alloc(a, sizeof *h->cpu);
	h->memory = arena_alloc(a, sizeof *h->memory);
	h->network = arena_alloc(a, sizeof *h->network);
	h->disk = arena_alloc(a, sizeof *h->disk);
	h->build = arena_alloc(a, sizeof *h->build);
	if (h->cpu == NULL || h->memory == NULL || h->network == NULL || h->disk == NULL || h->build == NULL)
		return -1;
	h->cpu->logical_count = f->logical;
	h->cpu->physical_count = f->physical;
	h->cpu->percent = f->cpu_percent;
	h->cpu->process_percent = f->process_percent;
	fill_memory(h->memory);
	fill_network(f, h->network);
	fill_disk(f, h->disk);
	h->build->git_version = slice_str(DRAGONFLY_VERSION);
	h->build->git_commit = slice_str("unknown");
	return 0;
}
