/*
 * Reading a file, and collecting what is wrong with it.
 */
#ifndef CONFIG_FILE_H
#define CONFIG_FILE_H

#include <stddef.h>

#include "config/config.h"

struct err;

/* The whole file, NUL-terminated, from malloc; at most CONFIG_FILE_MAX bytes. NULL with NOT_FOUND when it is not there. */
char *file_read(const char *path, size_t *len, struct err *e);

/* Both take over the text, from malloc. Beyond the limits it is dropped. */
void notes_add_warning(struct config_notes *n, char *text);
void notes_add_error(struct config_notes *n, char *text);
/* All errors, one a line, as far as they fit; -1. */
int notes_to_err(const struct config_notes *n, struct err *e);

#endif
