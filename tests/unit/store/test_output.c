#include "unit/store/store_test.h"

#include <dirent.h>
#include <sys/mount.h>

#define LENGTH (3 * PIECE + 9)

static void
expect_content(const char *path)
{
	uint8_t want[PIECE];
	size_t n;
	uint8_t *have = test_read(path, &n);

	assert_int_equal(n, LENGTH);
	for (unsigned i = 0; i < 4; i++) {
		test_bytes(want, PIECE, 1, i);
		assert_memory_equal(have + (size_t)i * PIECE, want, i < 3 ? PIECE : 9);
	}
	free(have);
}

/* The output directory holds just these many names: nothing half-done is left. */
static void
expect_names(const char *dir, int count)
{
	DIR *d = opendir(dir);
	int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	assert_int_equal(n - 2, count);
}

struct content {
	struct store *s;
	struct store_task *t;
	struct store_file *f;
	struct store_output_options o;
};

static void
begin(struct content *c)
{
	c->s = test_open();
	c->t = test_download(c->s, 1, LENGTH);
	c->f = store_task_file(c->t, NULL);
	c->o = (struct store_output_options){ .target = test_path("out/file") };
	assert_int_equal(mkdir(test_path("out"), 0755), 0);
}

static void
end(struct content *c)
{
	store_file_unref(c->f);
	store_close(c->s);
}

static void
copy_appears_whole(void **state)
{
	struct store_output *out;
	struct content c;
	struct stat st;
	int rc;

	(void)state;
	begin(&c);
	c.o.sync = true;
	c.o.mode = 0600;
	out = store_output_open(c.f, LENGTH, &c.o, NULL);
	assert_non_null(out);
	while ((rc = store_output_step(out, 100, NULL)) == 1)
		assert_false(test_exists(c.o.target));
	assert_int_equal(rc, 0);
	assert_false(test_exists(c.o.target));
	assert_int_equal(store_output_commit(out, NULL), 0);
	expect_content(c.o.target);
	expect_names(test_path("out"), 1);
	assert_int_equal(stat(c.o.target, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(st.st_nlink, 1);
	end(&c);
}

static void
existing_target_is_kept_without_overwrite(void **state)
{
	struct content c;
	struct err e;
	uint8_t *have;
	size_t n;

	(void)state;
	begin(&c);
	test_write(c.o.target, "mine", 4);
	assert_int_equal(store_output_check(NULL, &c.o, c.f->path, c.f, false, &e), -1);
	assert_int_equal(e.code, ERR_ALREADY_EXISTS);
	assert_non_null(strstr(e.text, "is already exists"));
	assert_int_equal(store_output_copy(c.f, LENGTH, &c.o, &e), -1);
	assert_int_equal(e.code, ERR_ALREADY_EXISTS);
	assert_int_equal(store_output_link(c.f, &c.o, &e), -1);
	assert_int_equal(e.code, ERR_ALREADY_EXISTS);
	have = test_read(c.o.target, &n);
	assert_int_equal(n, 4);
	free(have);
	expect_names(test_path("out"), 1);
	c.o.overwrite = true;
	assert_int_equal(store_output_check(NULL, &c.o, c.f->path, c.f, false, &e), 0);
	assert_int_equal(store_output_copy(c.f, LENGTH, &c.o, &e), 0);
	expect_content(c.o.target);
	expect_names(test_path("out"), 1);
	end(&c);
}

static void
target_that_comes_during_the_copy_is_kept(void **state)
{
	struct store_output *out;
	struct content c;
	struct err e;

	(void)state;
	begin(&c);
	out = store_output_open(c.f, LENGTH, &c.o, NULL);
	assert_int_equal(store_output_step(out, UINT64_MAX, NULL), 0);
	test_write(c.o.target, "mine", 4);
	assert_int_equal(store_output_commit(out, &e), -1);
	assert_int_equal(e.code, ERR_ALREADY_EXISTS);
	expect_names(test_path("out"), 1);
	end(&c);
}

static void
symlink_at_the_target_is_replaced_not_followed(void **state)
{
	struct content c;
	struct stat st;

	(void)state;
	begin(&c);
	test_write(test_path("victim"), "safe", 4);
	assert_int_equal(symlink(test_path("victim"), c.o.target), 0);
	assert_int_equal(store_output_copy(c.f, LENGTH, &c.o, NULL), -1);
	c.o.overwrite = true;
	assert_int_equal(store_output_copy(c.f, LENGTH, &c.o, NULL), 0);
	assert_int_equal(lstat(c.o.target, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(stat(test_path("victim"), &st), 0);
	assert_int_equal(st.st_size, 4);
	end(&c);
}

static void
aborted_copy_leaves_nothing(void **state)
{
	struct store_output *out;
	struct content c;

	(void)state;
	begin(&c);
	out = store_output_open(c.f, LENGTH, &c.o, NULL);
	assert_int_equal(store_output_step(out, 1, NULL), 0);
	store_output_abort(out);
	expect_names(test_path("out"), 0);
	/* Longer than the content: an error, and nothing left either. */
	assert_int_equal(store_output_copy(c.f, LENGTH + 1, &c.o, NULL), -1);
	expect_names(test_path("out"), 0);
	end(&c);
}

static void
hard_link_shares_the_inode_and_is_watched(void **state)
{
	struct store_piece piece;
	struct content c;
	struct stat st;
	char target[512];
	struct store_file *f;

	(void)state;
	begin(&c);
	snprintf(target, sizeof(target), "%s", c.o.target);
	c.o.target = target;
	assert_int_equal(store_output_check(NULL, &c.o, c.f->path, c.f, true, NULL), 0);
	assert_int_equal(store_output_link(c.f, &c.o, NULL), 0);
	assert_int_equal(store_output_link(c.f, &c.o, NULL), 0);
	assert_true(store_output_is_same(c.f, target));
	store_task_linked(c.t, c.f);
	assert_int_equal(stat(target, &st), 0);
	assert_int_equal(st.st_nlink, 2);
	assert_int_equal(st.st_mode & 0777, 0444);
	assert_false(store_task_content_changed(c.t, c.f));
	/* The user edits the output (as root here, or after a chmod): the edit is seen, and the repair leaves the user's file alone. */
	chmod(target, 0644);
	test_write(target, "edited", 6);
	assert_true(store_task_content_changed(c.t, c.f));
	assert_int_equal(store_piece_get(c.t, 1, &piece), 0);
	assert_true(piece.needs_check);
	store_piece_checked(c.t, 1, false);
	assert_int_equal(c.t->pieces_finished, 0);
	f = store_task_file(c.t, NULL);
	assert_non_null(f);
	assert_false(store_output_is_same(f, target));
	store_file_unref(f);
	test_download(c.s, 1, LENGTH);
	test_expect_whole(c.s, 1, LENGTH);
	assert_int_equal(stat(target, &st), 0);
	assert_int_equal(st.st_size, 6);
	c.o.overwrite = true;
	store_file_unref(c.f);
	c.f = store_task_file(store_task_find(c.s, STORE_STANDARD, test_id(1)), NULL);
	assert_int_equal(store_output_link(c.f, &c.o, NULL), 0);
	expect_content(target);
	expect_names(test_path("out"), 1);
	end(&c);
}

static unsigned syncs;

static int
count_sync(int fd)
{
	(void)fd;
	syncs++;
	return 0;
}

static void
placed_output_is_synced_a_second_later(void **state)
{
	struct store_options o = test_options();
	struct store_sys sys = *o.sys;
	struct store *s;

	(void)state;
	sys.fdatasync = sys.fsync = count_sync;
	o.sys = &sys;
	s = test_open_with(&o);
	test_write(test_path("placed"), "x", 1);
	store_output_placed(s, test_path("placed"));
	store_output_placed(s, test_path("moved on"));
	syncs = 0;
	store_tick(s, clock_wall_ns());
	assert_int_equal(syncs, 0);
	/* The file and its directory; what is not there any more is left. A stop does not wait for the second. */
	store_close(s);
	assert_int_equal(syncs, 2);
	/* Nobody's pipe blocks it. */
	s = test_open_with(&o);
	assert_int_equal(mkfifo(test_path("pipe"), 0600), 0);
	store_output_placed(s, test_path("pipe"));
	syncs = 0;
	store_close(s);
	assert_int_equal(syncs, 0);
}

static void
impossible_targets_are_named(void **state)
{
	static const char *const bad[] = { "relative", "/", "/tmp/..", "/tmp/" };
	struct content c;
	struct err e;

	(void)state;
	begin(&c);
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		c.o.target = bad[i];
		assert_int_equal(store_output_check(NULL, &c.o, c.f->path, c.f, false, &e), -1);
		assert_int_equal(e.code, ERR_INVALID_ARGUMENT);
	}
	c.o.target = test_path("nowhere/file");
	assert_int_equal(store_output_check(NULL, &c.o, c.f->path, c.f, false, &e), -1);
	assert_int_equal(e.code, ERR_NOT_FOUND);
	assert_non_null(strstr(e.text, "nowhere"));
	c.o.target = test_path("out");
	c.o.overwrite = true;
	assert_int_equal(store_output_check(NULL, &c.o, c.f->path, c.f, false, &e), -1);
	assert_non_null(strstr(e.text, "is a directory"));
	end(&c);
}

/* A real small file system; needs root. */
static void
full_and_foreign_file_systems_are_named(void **state)
{
#ifdef __linux__
	struct store_options so = test_options();
	struct store_start start = { .content_length = 64 * PIECE, .piece_length = PIECE };
	char small[512], first[600];
	struct content c;
	struct store *s;
	struct store_task *t;
	struct err e;

	(void)state;
	begin(&c);
	snprintf(small, sizeof(small), "%s", test_path("small"));
	mkdir(small, 0755);
	if (mount("tmpfs", small, "tmpfs", 0, "size=128k") < 0) {
		print_message("no right to mount a small file system: skipped\n");
		end(&c);
		skip();
	}
	snprintf(first, sizeof(first), "%s/file", small);
	c.o.target = first;
	assert_int_equal(store_output_check(NULL, &c.o, c.f->path, c.f, true, &e), -1);
	assert_int_equal(e.code, ERR_FAILED_PRECONDITION);
	assert_int_equal(store_output_link(c.f, &c.o, &e), -1);
	assert_int_equal(e.code, ERR_FAILED_PRECONDITION);
	assert_int_equal(store_output_copy(c.f, LENGTH, &c.o, &e), 0);
	expect_content(c.o.target);
	assert_int_equal(unlink(first), 0);
	/* A store there: more than fits is refused early; what another program takes meanwhile is met in the write. */
	so.dir = test_path("small/store");
	s = test_open_with(&so);
	t = store_task_begin(s, STORE_STANDARD, test_id(1), NOW, NULL);
	assert_int_equal(store_task_start(t, &start, NOW, NULL, &e), -1);
	assert_int_equal(e.code, ERR_RESOURCE_EXHAUSTED);
	assert_non_null(strstr(e.text, "no space left on device: not enough space to store the task: content_length=262144, available="));
	start.content_length = STORE_LENGTH_UNKNOWN;
	assert_int_equal(store_task_start(t, &start, NOW, NULL, &e), 0);
	err_clear(&e);
	for (uint32_t n = 0; n < 64; n++)
		if (test_write_piece(t, 1, n, &e) < 0)
			break;
	assert_int_equal(e.code, ERR_RESOURCE_EXHAUSTED);
	assert_non_null(strstr(e.text, "o space left on device"));
	/* Everything is full; the copy says so, leaves nothing, and the store goes on once there is room. */
	c.o.target = first;
	assert_int_equal(store_output_copy(c.f, LENGTH, &c.o, &e), -1);
	assert_int_equal(e.code, ERR_RESOURCE_EXHAUSTED);
	expect_names(small, 1);
	assert_int_equal(store_task_delete(t, STORE_DELETED_BY_CALLER, NULL), 0);
	test_download(s, 2, 4 * PIECE);
	test_expect_whole(s, 2, 4 * PIECE);
	store_close(s);
	assert_int_equal(umount(small), 0);
	end(&c);
#else
	(void)state;
	print_message("no small file system here: skipped\n");
	skip();
#endif
}

static void
beneath_is_told_by_the_text(void **state)
{
	static const char *const yes[] = {"/a/b/c", "/a/b/c/d", "/a/b/.c", "/a/b/..c/d", "/a/b/c.."};
	static const char *const no[] = {"", "/", "/a", "/a/b", "/a/b/", "/a/bc", "/a/b/.", "/a/b/..", "/a/b/../c", "/a/b/c/../../../x", "/a/b/./c", "/a/b//c",
		"/a/b/c/", "a/b/c", "//a/b/c", "/a/./b/c"};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(yes); i++) {
		assert_true(store_output_is_beneath(yes[i], "/a/b"));
		assert_true(store_output_is_beneath(yes[i], "/a/b/"));
		assert_true(store_output_is_beneath(yes[i], "/"));
	}
	for (size_t i = 0; i < COUNT_OF(no); i++)
		assert_false(store_output_is_beneath(no[i], "/a/b"));
}

static void
below_a_directory_no_link_is_followed(void **state)
{
	struct content c;
	struct err e;
	char *root;

	(void)state;
	begin(&c);
	assert_int_equal(mkdir(test_path("root"), 0755), 0);
	root = xstrdup(test_path("root"));
	assert_int_equal(mkdir(test_path("root/sub"), 0755), 0);
	assert_int_equal(symlink("../out", test_path("root/link")), 0);
	assert_int_equal(symlink("sub", test_path("root/inner")), 0);
	c.o.beneath = root;
	c.o.mode = 0604;
	c.o.target = test_path("root/sub/file");
	assert_int_equal(store_output_check(NULL, &c.o, root, c.f, false, &e), 0);
	assert_int_equal(store_output_copy(c.f, LENGTH, &c.o, &e), 0);
	expect_content(test_path("root/sub/file"));
	{
		struct stat st;

		assert_int_equal(stat(test_path("root/sub/file"), &st), 0);
		assert_int_equal(st.st_mode & 07777, 0604);
	}
	for (int i = 0; i < 3; i++) {
		static const char *const ways[] = {"root/link/file", "root/inner/file2", "out/file"};

		c.o.target = test_path(ways[i]);
		assert_int_equal(store_output_check(NULL, &c.o, root, c.f, false, &e), -1);
		assert_int_equal(store_output_link(c.f, &c.o, &e), -1);
		assert_int_equal(store_output_copy(c.f, LENGTH, &c.o, &e), -1);
	}
	expect_names(test_path("out"), 0);
	expect_names(test_path("root/sub"), 1);
	/* The file itself may be a link of somebody: it is replaced. */
	assert_int_equal(symlink("../../out/there", test_path("root/sub/there")), 0);
	c.o.target = test_path("root/sub/there");
	c.o.overwrite = true;
	assert_int_equal(store_output_copy(c.f, LENGTH, &c.o, &e), 0);
	expect_names(test_path("out"), 0);
	free(root);
	end(&c);
}

static int
teardown(void **state)
{
#ifdef __linux__
	/* Only where that test ended early. */
	umount(test_path("small"));
#endif
	return test_teardown(state);
}

#define WITH_DIR(f) cmocka_unit_test_setup_teardown(f, test_setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_DIR(copy_appears_whole),
		WITH_DIR(existing_target_is_kept_without_overwrite),
		WITH_DIR(target_that_comes_during_the_copy_is_kept),
		WITH_DIR(symlink_at_the_target_is_replaced_not_followed),
		WITH_DIR(aborted_copy_leaves_nothing),
		WITH_DIR(hard_link_shares_the_inode_and_is_watched),
		WITH_DIR(placed_output_is_synced_a_second_later),
		WITH_DIR(impossible_targets_are_named),
		cmocka_unit_test(beneath_is_told_by_the_text),
		WITH_DIR(below_a_directory_no_link_is_followed),
		WITH_DIR(full_and_foreign_file_systems_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
