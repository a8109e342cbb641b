/*
 * An open content file, shared between threads by an atomic count. Everything but the count is immutable after opening;
 * all I/O is positional. Every call here is safe on any thread.
 */
#ifndef STORE_FILE_H
#define STORE_FILE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;
struct store_sys;

/* One buffer's worth of a bulk transfer; the size measured best (design: 256 KiB). */
#define STORE_IO_BYTES ((size_t)256 * 1024)

/* What tells whether a file was changed behind our back. */
struct store_identity {
	uint64_t ino;
	uint64_t size;
	int64_t mtime_ns;
};

struct store_file {
	int fd;
	const char *path;               /* full, for texts and for links */
	const struct store_sys *sys;
	atomic_uint refs;
};

struct store_file *store_file_ref(struct store_file *f);
/* The last one closes the descriptor. NULL is allowed. */
void store_file_unref(struct store_file *f);

/* All n bytes or an error with path and offset: DATA_LOSS where the file ends inside, RESOURCE_EXHAUSTED "no space left on device: ...". */
int store_file_pread(const struct store_file *f, void *p, size_t n, uint64_t at, struct err *e);
int store_file_pwrite(const struct store_file *f, const void *p, size_t n, uint64_t at, struct err *e);
/* CRC-32 of a range. buf has STORE_IO_BYTES. */
int store_file_crc(const struct store_file *f, uint64_t at, uint64_t n, void *buf, uint32_t *crc, struct err *e);
/* 0 when the range has this CRC-32; DATA_LOSS when not, else as store_file_pread. Blocks for the whole range. */
int store_file_check(const struct store_file *f, uint64_t at, uint64_t n, uint32_t crc, void *buf, struct err *e);
/* Brings its bytes to stable storage. */
int store_file_sync(const struct store_file *f, struct err *e);
int store_file_identity(const struct store_file *f, struct store_identity *out, struct err *e);

#endif
