#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "config/paths.h"

static char dir[] = "/tmp/test_paths.XXXXXX";
static uid_t before;

/* Paths depend on who asks: an ordinary user, with directories of that user's own. */
static int
become_somebody(void **state)
{
	(void)state;
	before = geteuid();
	if (mkdtemp(dir) == NULL || chmod(dir, 0777) < 0)
		return -1;
	return before == 0 ? seteuid(65534) : 0;
}

static int
go_back(void **state)
{
	char *sub = xasprintf("%s/dragonfly", dir);
	int result;

	(void)state;
	result = before == 0 ? seteuid(before) : 0;
	rmdir(sub);
	rmdir(dir);
	free(sub);
	return result;
}

static void
is(char *path, const char *expected)
{
	assert_string_equal(path, expected);
	free(path);
}

static void
ends(char *path, const char *end)
{
	size_t n = strlen(path);

	assert_true(path[0] == '/' && n > strlen(end));
	assert_string_equal(path + n - strlen(end), end);
	free(path);
}

static void
a_user_gets_directories_of_the_user(void **state)
{
	char *expected = xasprintf("%s/dragonfly/storage", dir);

	(void)state;
	setenv("XDG_STATE_HOME", dir, 1);
	setenv("XDG_RUNTIME_DIR", dir, 1);
	if (access("/var/lib", W_OK) != 0 && access("/var/lib/dragonfly", F_OK) != 0)
		is(paths_default(PATHS_STORAGE), expected);
	unsetenv("XDG_STATE_HOME");
	setenv("HOME", dir, 1);
	if (access("/var/log", W_OK) != 0 && access("/var/log/dragonfly", F_OK) != 0)
		ends(paths_log_dir("dfdaemon"), "/.local/state/dragonfly/logs/dfdaemon");
	unsetenv("HOME");
	is(paths_log_dir("dfdaemon"), "/var/log/dragonfly/dfdaemon");
	is(paths_default(PATHS_STORAGE), "/var/lib/dragonfly");
	is(paths_default(PATHS_CACHE), "/var/cache/dragonfly/dfdaemon");
	free(expected);
}

static void
files_to_read_are_the_systems_unless_the_user_has_them(void **state)
{
	char *sub = xasprintf("%s/dragonfly", dir);
	char *file = xasprintf("%s/dfdaemon.yaml", sub);
	FILE *f;

	(void)state;
	setenv("XDG_CONFIG_HOME", dir, 1);
	is(paths_default(PATHS_CONFIG), "/etc/dragonfly/dfdaemon.yaml");
	assert_int_equal(mkdir(sub, 0755), 0);
	f = fopen(file, "w");
	assert_non_null(f);
	fclose(f);
	if (access("/etc/dragonfly/dfdaemon.yaml", F_OK) != 0)
		is(paths_default(PATHS_CONFIG), file);
	is(paths_default(PATHS_DYNCONFIG), "/etc/dragonfly/dynconfig.yaml");
	unlink(file);
	setenv("XDG_RUNTIME_DIR", dir, 1);
	is(paths_find_socket(), "/var/run/dragonfly/dfdaemon.sock");
	free(file);
	free(sub);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_user_gets_directories_of_the_user),
		cmocka_unit_test(files_to_read_are_the_systems_unless_the_user_has_them),
	};

	return cmocka_run_group_tests(tests, become_somebody, go_back);
}
