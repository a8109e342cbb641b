#include "net/os/send_file.h"

#include <errno.h>
#if defined(__linux__)
#include <sys/sendfile.h>
#endif

ssize_t
send_file(int socket, int file, uint64_t at, size_t n)
{
#if defined(__linux__)
	off_t from = (off_t)at;

	return sendfile(socket, file, &from, n);
#else
	(void)socket;
	(void)file;
	(void)at;
	(void)n;
	errno = ENOSYS;
	return -1;
#endif
}
