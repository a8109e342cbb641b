#include "config/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/mem.h"
#include "base/read_file.h"

static void
add(char ***list, size_t *count, size_t max, char *text)
{
	if (*list == NULL)
		*list = xcalloc(max, sizeof(**list));
	(*list)[(*count)++] = text;
}

void
notes_add_warning(struct config_notes *n, char *text)
{
	if (n->warning_count < CONFIG_WARNINGS_MAX) {
		add(&n->warnings, &n->warning_count, CONFIG_WARNINGS_MAX, text);
		return;
	}
	n->warnings_dropped++;
	free(text);
}

void
notes_add_error(struct config_notes *n, char *text)
{
	if (n->error_count < CONFIG_ERRORS_MAX)
		add(&n->errors, &n->error_count, CONFIG_ERRORS_MAX, text);
	else
		free(text);
}

int
notes_to_err(const struct config_notes *n, struct err *e)
{
	struct buf text = BUF_INIT;

	for (size_t i = 0; i < n->error_count; i++)
		buf_printf(&text, "%s%s", i > 0 ? "\n" : "", n->errors[i]);
	err_set(e, ERR_INVALID_ARGUMENT, "%s", buf_cstr(&text));
	buf_free(&text);
	return -1;
}

void
config_notes_free(struct config_notes *n)
{
	for (size_t i = 0; i < n->warning_count; i++)
		free(n->warnings[i]);
	for (size_t i = 0; i < n->error_count; i++)
		free(n->errors[i]);
	free(n->warnings);
	free(n->errors);
	*n = CONFIG_NOTES_INIT;
}

char *
file_read(const char *path, size_t *len, struct err *e)
{
	struct buf text = BUF_INIT;
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc = -1;

	*len = 0;
	if (fd >= 0)
		rc = read_fd(fd, CONFIG_FILE_MAX, &text);
	if (rc < 0 && fd >= 0 && errno == EFBIG)
		err_set(e, ERR_INVALID_ARGUMENT, "%s: larger than %d bytes", path, CONFIG_FILE_MAX);
	else if (rc < 0)
		err_sys(e, errno, "read %s", path);
	if (fd >= 0)
		close(fd);
	*len = rc == 0 ? text.len : 0;
	if (rc == 0)
		return buf_take(&text);
	buf_free(&text);
	return NULL;
}
