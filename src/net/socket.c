#include "net/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"

int
socket_prepare(int fd)
{
	int fl = fcntl(fd, F_GETFL);

	if (fl < 0 || (!(fl & O_NONBLOCK) && fcntl(fd, F_SETFL, fl | O_NONBLOCK) != 0))
		return -1;
	return fcntl(fd, F_SETFD, FD_CLOEXEC);
}

void
socket_nodelay(int fd)
{
	int on = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

void
socket_reset_on_close(int fd)
{
	struct linger now = {.l_onoff = 1};

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

int
socket_stream(int family, struct err *e)
{
	int fd = socket(family, SOCK_STREAM, 0);

	if (fd < 0)
		return err_sys(e, errno, "make a socket");
	if (socket_prepare(fd) != 0) {
		err_sys(e, errno, "prepare a socket");
		close(fd);
		return -1;
	}
	if (family != AF_UNIX)
		socket_nodelay(fd);
	return fd;
}

int
socket_error(int fd)
{
	int errnum = 0;
	socklen_t n = sizeof(errnum);

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &errnum, &n) != 0)
		return errno;
	return errnum;
}

const char *
socket_wait_text(int ms, char out[SOCKET_WAIT_MAX])
{
	if (ms < 1000)
		snprintf(out, SOCKET_WAIT_MAX, "%d ms", ms);
	else if (ms % 1000 == 0)
		snprintf(out, SOCKET_WAIT_MAX, "%d s", ms / 1000);
	else
		snprintf(out, SOCKET_WAIT_MAX, "%d.%d s", ms / 1000, ms % 1000 / 100);
	return out;
}
