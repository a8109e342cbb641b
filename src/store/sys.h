/*
 * The system calls of the store, as a table, so that tests can make any of them fail. All take and return what POSIX says.
 */
#ifndef STORE_SYS_H
#define STORE_SYS_H

#include <dirent.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>

struct store_sys {
	int (*openat)(int dir, const char *path, int flags, mode_t mode);
	int (*close)(int fd);
	ssize_t (*read)(int fd, void *p, size_t n);
	ssize_t (*pread)(int fd, void *p, size_t n, off_t at);
	ssize_t (*write)(int fd, const void *p, size_t n);
	ssize_t (*pwrite)(int fd, const void *p, size_t n, off_t at);
	int (*ftruncate)(int fd, off_t n);
	int (*preallocate)(int fd, off_t n);    /* blocks for n bytes without changing the size; EOPNOTSUPP where there is no way */
	int (*fdatasync)(int fd);
	int (*fsync)(int fd);
	int (*mkdirat)(int dir, const char *path, mode_t mode);
	int (*renameat)(int from_dir, const char *from, int to_dir, const char *to);
	int (*linkat)(int from_dir, const char *from, int to_dir, const char *to, int flags);
	int (*unlinkat)(int dir, const char *path, int flags);
	int (*fstat)(int fd, struct stat *st);
	int (*fstatat)(int dir, const char *path, struct stat *st, int flags);
	int (*fstatvfs)(int fd, struct statvfs *st);
	int (*fchmod)(int fd, mode_t mode);
	int (*fchown)(int fd, uid_t uid, gid_t gid);
	DIR *(*fdopendir)(int fd);
};

extern const struct store_sys store_sys_posix;

#endif
