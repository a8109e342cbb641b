/*
 * Where things lie when nobody says otherwise. Without root, where the system's directories cannot be used, the user's own
 * (XDG) directories take their place. All results are the caller's to free.
 */
#ifndef CONFIG_PATHS_H
#define CONFIG_PATHS_H

enum paths_kind { PATHS_CONFIG, PATHS_DYNCONFIG, PATHS_SOCKET, PATHS_STORAGE, PATHS_PLUGINS, PATHS_CACHE, PATHS_DFINIT, PATHS_RESTART };

char *paths_default(enum paths_kind kind);
/* Directory of the log files of one program. */
char *paths_log_dir(const char *program);
/* The socket a client should try: the system's when it is there, else the user's when that is there, else the system's. */
char *paths_find_socket(void);

#endif
