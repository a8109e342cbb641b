#include "cmd/supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"

#define PID_MODE 0644
/* "18446744073709551615\n" and its end. */
#define PID_TEXT_MAX 24

static void
pid_text(char out[PID_TEXT_MAX])
{
	snprintf(out, PID_TEXT_MAX, "%lld\n", (long long)getpid());
}

int
supervise_write_pid(const char *path, struct err *e)
{
	char text[PID_TEXT_MAX], *fresh;
	size_t n;
	int fd, rc = 0;

	if (path == NULL)
		return 0;
	pid_text(text);
	n = strlen(text);
	fresh = xasprintf("%s.new", path);
	/* Nothing that somebody else has put there is written through. */
	unlink(fresh);
	fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, PID_MODE);
	if (fd < 0) {
		rc = err_sys(e, errno, "create the pid file %s", fresh);
		goto out;
	}
	/* Whatever the umask: service managers read it as other users, too. */
	if (fchmod(fd, PID_MODE) < 0 || write(fd, text, n) != (ssize_t)n || rename(fresh, path) < 0) {
		rc = err_sys(e, errno, "write the pid file %s", path);
		unlink(fresh);
	}
	close(fd);
out:
	free(fresh);
	return rc;
}

void
supervise_remove_pid(const char *path)
{
	char text[PID_TEXT_MAX], there[PID_TEXT_MAX] = "";
	ssize_t n;
	int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;

	if (fd < 0)
		return;
	n = read(fd, there, sizeof there - 1);
	close(fd);
	pid_text(text);
	if (n > 0 && strcmp(there, text) == 0 && unlink(path) < 0)
		log_warn("remove the pid file %s: %s", path, strerror(errno));
}

void
supervise_tell(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	size_t n = path != NULL ? strlen(path) : 0;
	int fd;

	if (n == 0 || n >= sizeof a.sun_path)
		return;
	memcpy(a.sun_path, path, n);
	/* Linux's names without a file. */
	if (a.sun_path[0] == '@')
		a.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	if (fd < 0)
		return;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	if (sendto(fd, state, strlen(state), 0, (const struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0)
		log_warn("service manager was not told %s socket=%s error=\"%s\"", state, path, strerror(errno));
	close(fd);
}
