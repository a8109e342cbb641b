/*
 * What a complete configuration must fulfil beyond the form of each key, and what deserves a warning.
 */
#ifndef CONFIG_CHECK_H
#define CONFIG_CHECK_H

#include <stdbool.h>

struct config;
struct schema_walk;
struct yaml_node;

/* Notes everything in w->notes. tree is the file's, or NULL: it gives the places. usual holds the defaults. */
void check_config(struct schema_walk *w, const struct yaml_node *tree, const struct config *c, const struct config *usual,
	bool allow_ephemeral_ports);

#endif
