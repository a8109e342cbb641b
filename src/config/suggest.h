/*
 * What somebody may have meant by a key that is not known here.
 */
#ifndef CONFIG_SUGGEST_H
#define CONFIG_SUGGEST_H

struct buf;
struct schema;

/* Appends "; did you mean ..." or "; ... belongs under ..." to out, or nothing. `here` is the table the key stood in. */
void suggest_key(const struct schema *here, const struct schema *root, const char *key, struct buf *out);

/* Insertions, deletions, replacements and swaps of neighbours between two names; more than `max` counts as max + 1. */
unsigned suggest_distance(const char *a, const char *b, unsigned max);

#endif
