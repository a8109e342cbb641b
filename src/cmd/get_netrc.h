/*
 * Credentials of ~/.netrc, as curl and ftp keep them: "machine HOST login NAME password WORD", "default login ...".
 */
#ifndef CMD_GET_NETRC_H
#define CMD_GET_NETRC_H

#include <stdbool.h>

#include "base/slice.h"

struct buf;
struct err;

/* The largest file that is read. */
#define GET_NETRC_MAX ((size_t)1 << 20)

/* Appends "NAME:WORD" for this host from the text of such a file. False: it names neither the host nor a default. */
bool get_netrc_find(struct slice text, struct slice host, struct buf *out);
/* The same from $NETRC, else ~/.netrc; a file that is not there holds nothing. -1 when it cannot be read. */
int get_netrc_read(struct slice host, struct buf *out, struct err *e);

#endif
