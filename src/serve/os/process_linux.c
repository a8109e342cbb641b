/* Linux: /proc/self. On other systems nothing is known. */
#include "serve/os/process.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static uint64_t
count_entries(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *entry;
	uint64_t n = 0;

	if (d == NULL)
		return 0;
	while ((entry = readdir(d)) != NULL)
		n += entry->d_name[0] != '.';
	closedir(d);
	return n;
}

void
process_facts(struct process_facts *out)
{
	unsigned long long virtual_pages, resident_pages;
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), fds = count_entries("/proc/self/fd");
	FILE *f = fopen("/proc/self/statm", "re");

	memset(out, 0, sizeof *out);
	/* The descriptor that looks is none of the process's own. */
	out->open_fds = fds > 0 ? fds - 1 : 0;
	out->threads = count_entries("/proc/self/task");
	if (f == NULL)
		return;
	if (fscanf(f, "%llu %llu", &virtual_pages, &resident_pages) == 2) {
		out->virtual_bytes = virtual_pages * page;
		out->resident_bytes = resident_pages * page;
	}
	fclose(f);
}
