/*
 * What changes between two texts, line by line, as a unified diff that a person reads and patch(1) takes.
 */
#ifndef TEXT_DIFF_H
#define TEXT_DIFF_H

#include "base/slice.h"

struct buf;

/* Unchanged lines shown around a change. */
#define DIFF_AROUND 3
/* Lines on both sides of the part that differs, multiplied; past it that part is shown as all old and all new. */
#define DIFF_CELLS_MAX ((size_t)4 * 1024 * 1024)

/* Appends nothing when the texts are the same. */
void diff_unified(const char *old_name, struct slice old_text, const char *new_name, struct slice new_text, struct buf *out);

#endif
