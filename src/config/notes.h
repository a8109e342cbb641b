/*
 * Collecting what is wrong with a file.
 */
#ifndef CONFIG_NOTES_H
#define CONFIG_NOTES_H

#include "config/config.h"

/* Both take over the text, from malloc. Beyond the limits it is dropped. */
void notes_add_warning(struct config_notes *n, char *text);
void notes_add_error(struct config_notes *n, char *text);
/* All errors, one a line, as far as they fit; -1. */
int notes_to_err(const struct config_notes *n, struct err *e);

#endif
