#include "config/paths.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

struct place {
	const char *system;             /* directory */
	const char *name;               /* in it; "" for the directory itself */
	const char *variable;           /* XDG variable whose directory stands in */
	const char *home;               /* below the home directory, when the variable is not set */
	const char *own_name;           /* in "<that>/dragonfly" */
	const char *mac;                /* below "<home>/.dragonfly", on macOS */
};

static const struct place places[] = {
	[PATHS_CONFIG] = {"/etc/dragonfly", "dfdaemon.yaml", "XDG_CONFIG_HOME", ".config", "dfdaemon.yaml", "config/dfdaemon.yaml"},
	[PATHS_DYNCONFIG] = {"/etc/dragonfly", "dynconfig.yaml", "XDG_CONFIG_HOME", ".config", "dynconfig.yaml", "config/dynconfig.yaml"},
	[PATHS_SOCKET] = {"/var/run/dragonfly", "dfdaemon.sock", "XDG_RUNTIME_DIR", ".local/state", "dfdaemon.sock", "dfdaemon.sock"},
	[PATHS_STORAGE] = {"/var/lib/dragonfly", "", "XDG_STATE_HOME", ".local/state", "storage", "storage"},
	[PATHS_PLUGINS] = {"/usr/local/lib/dragonfly/plugins/dfdaemon", "", NULL, NULL, NULL, "plugins/dfdaemon"},
	[PATHS_CACHE] = {"/var/cache/dragonfly/dfdaemon", "", NULL, NULL, NULL, "cache/dfdaemon"},
	[PATHS_DFINIT] = {"/etc/dragonfly", "dfinit.yaml", "XDG_CONFIG_HOME", ".config", "dfinit.yaml", "config/dfinit.yaml"},
	[PATHS_RESTART] = {"/var/run/dragonfly", "dfinit/restart-required", "XDG_RUNTIME_DIR", ".local/state", "dfinit/restart-required", "dfinit/restart-required"},
};

static const char *
home(void)
{
	const char *dir = getenv("HOME");

	return dir && dir[0] == '/' ? dir : NULL;
}

static char *
system_path(const struct place *p)
{
	return xasprintf("%s%s%s", p->system, p->name[0] != '\0' ? "/" : "", p->name);
}

/* The user's own place; NULL when the environment names none. */
static char *
own_path(const struct place *p)
{
	const char *dir = p->variable ? getenv(p->variable) : NULL;

	if (p->variable == NULL)
		return NULL;
	if (dir && dir[0] == '/')
		return xasprintf("%s/dragonfly/%s", dir, p->own_name);
	return home() ? xasprintf("%s/%s/dragonfly/%s", home(), p->home, p->own_name) : NULL;
}

/* Whether this user can write in the directory, or make it. */
static bool
is_usable(const char *dir)
{
	char *parent;
	char *slash;
	bool ok;

	if (access(dir, W_OK) == 0)
		return true;
	if (access(dir, F_OK) == 0)
		return false;
	parent = xstrdup(dir);
	slash = strrchr(parent, '/');
	*slash = '\0';
	ok = access(parent, W_OK) == 0;
	free(parent);
	return ok;
}

/* The system's place or the user's, by what is usable (a place to write) or there (a file to read). */
static char *
choose(const struct place *p, bool is_read)
{
	char *system = system_path(p);
	char *own;
	bool take_system;

	if (geteuid() == 0 || (own = own_path(p)) == NULL)
		return system;
	take_system = is_read ? access(system, F_OK) == 0 || access(own, F_OK) != 0 : is_usable(p->system);
	free(take_system ? own : system);
	return take_system ? system : own;
}

#ifdef __APPLE__
#define IS_MAC true
#else
#define IS_MAC false
#endif

char *
paths_default(enum paths_kind kind)
{
	const struct place *p = &places[kind];

	if (IS_MAC && home())
		return xasprintf("%s/.dragonfly/%s", home(), p->mac);
	return choose(p, kind == PATHS_CONFIG || kind == PATHS_DYNCONFIG || kind == PATHS_DFINIT);
}

char *
paths_log_dir(const char *program)
{
	struct place p = {"/var/log/dragonfly", program, "XDG_STATE_HOME", ".local/state", NULL, NULL};
	char *own_name;
	char *path;

	if (IS_MAC && home())
		return xasprintf("%s/.dragonfly/logs/%s", home(), program);
	own_name = xasprintf("logs/%s", program);
	p.own_name = own_name;
	path = choose(&p, false);
	free(own_name);
	return path;
}

char *
paths_find_socket(void)
{
	if (IS_MAC)
		return paths_default(PATHS_SOCKET);
	return choose(&places[PATHS_SOCKET], true);
}
