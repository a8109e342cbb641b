/*
 * What those who start and watch a daemon want of it: a file with its process id, and a word when it is ready (systemd's Type=notify).
 */
#ifndef CMD_SUPERVISE_H
#define CMD_SUPERVISE_H

struct err;

/* Writes the process id, replacing what is there in one step. path NULL: nothing. 0 or -1. */
int supervise_write_pid(const char *path, struct err *e);
/* Removes the file when it is still ours. path NULL: nothing. */
void supervise_remove_pid(const char *path);
/* Sends `state` ("READY=1", "STOPPING=1") to the socket in NOTIFY_SOCKET; nothing where there is none. Never waits. */
void supervise_tell(const char *state);

#endif
