#include "base/read_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BYTES ((size_t)65536)

int
read_fd(int fd, size_t max, struct buf *out)
{
	size_t got = 0;

	for (;;) {
		/* One byte past the limit tells that there is more. */
		size_t room = max - got < READ_BYTES ? max - got + 1 : READ_BYTES;
		ssize_t n = read(fd, buf_reserve(out, room), room);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -1 : 0;
		if ((size_t)n > max - got) {
			buf_added(out, max - got);
			errno = EFBIG;
			return -1;
		}
		buf_added(out, (size_t)n);
		got += (size_t)n;
	}
}

int
read_file(const char *path, size_t max, struct buf *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), rc = -1, saved;
	struct stat st;

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) == 0) {
		if (S_ISREG(st.st_mode))
			rc = read_fd(fd, max, out);
		else
			errno = EINVAL;
	}
	saved = errno;
	close(fd);
	errno = saved;
	return rc;
}
