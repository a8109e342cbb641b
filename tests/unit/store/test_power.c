/*
 * The table of power cuts: before each call that changes something the power goes, in several ways, and what is left on stable storage
 * is opened. The promises of life.h hold: no wrong byte is served, and all that was said to be on stable storage is there.
 */
#include "unit/store/life.h"
#include "unit/store/power_fs.h"

static unsigned variants, cuts;

static void
cut_here(void)
{
	char running[sizeof(test_root)], after[sizeof(test_root) + 8];
	struct life promised = *life;

	memcpy(running, test_root, sizeof(running));
	for (unsigned i = 0; i < variants; i++) {
		snprintf(after, sizeof(after), "%.240s-cut", running);
		assert_int_equal(mkdir(after, 0700), 0);
		snprintf(life_context, sizeof(life_context), "power cut before change %u, way %u", power.calls, i);
		power_cut(after);
		memcpy(test_root, after, sizeof(test_root));
		life_check(false);
		assert_int_equal(nftw(test_root, test_remove, 16, FTW_DEPTH | FTW_PHYS), 0);
		memcpy(test_root, running, sizeof(running));
		*life = promised;
		cuts++;
	}
}

static void
cut_through(uint64_t seed)
{
	life_prepare();
	power_begin(seed);
	power.before = cut_here;
	life_run(power_sys());
	power.before = NULL;
	power_end();
}

static void
power_cut_at_every_change_keeps_the_promises(void **state)
{
	const char *size = getenv("STORE_TABLES");
	uint64_t seed = getenv("POWER_SEED") ? strtoull(getenv("POWER_SEED"), NULL, 0) : (uint64_t)clock_mono_ns();

	(void)state;
	variants = getenv("UNIT_QUICK") ? 1 : size && strcmp(size, "full") == 0 ? 30 : 3;
	print_message("POWER_SEED=%llu\n", (unsigned long long)seed);
	cut_through(seed);
	print_message("%u power cuts\n", cuts);
}

/* The store's very first start: a directory that was being made is taken, and not for somebody else's. */
static bool is_promised;

static void
first_start(void)
{
	char running[sizeof(test_root)], after[sizeof(test_root) + 8];
	struct store_task *t;
	struct store *s;

	memcpy(running, test_root, sizeof(running));
	for (unsigned i = 0; i < variants; i++) {
		snprintf(after, sizeof(after), "%.240s-cut", running);
		assert_int_equal(mkdir(after, 0700), 0);
		snprintf(life_context, sizeof(life_context), "power cut before change %u, way %u", power.calls, i);
		power_cut(after);
		memcpy(test_root, after, sizeof(test_root));
		s = test_open();
		t = store_task_find(s, STORE_STANDARD, test_id(2));
		for (uint32_t n = 0; n < LIFE_PIECES; n++)
			if (!(t && life_serve(t, 2, n)) && is_promised)
				LIFE_FAIL("piece %u was on stable storage and is lost", n);
		test_download(s, 1, LIFE_LENGTH);
		store_close(s);
		assert_int_equal(nftw(test_root, test_remove, 16, FTW_DEPTH | FTW_PHYS), 0);
		memcpy(test_root, running, sizeof(running));
		cuts++;
	}
}

static void
power_cut_during_the_first_start_leaves_a_directory_that_opens(void **state)
{
	struct store_options o = test_options();
	struct store_piece piece;
	struct store_task *t;
	struct store *s;

	(void)state;
	variants = getenv("UNIT_QUICK") ? 1 : 10;
	cuts = 0;
	power_begin((uint64_t)clock_mono_ns());
	power.before = first_start;
	o.sys = power_sys();
	s = test_open_with(&o);
	t = test_download(s, 2, LIFE_LENGTH);
	is_promised = store_piece_get(t, 0, &piece) == 0 && piece.is_durable;
	assert_true(is_promised);
	test_download(s, 3, LIFE_LENGTH);
	store_close(s);
	power.before = NULL;
	power_end();
	print_message("%u power cuts\n", cuts);
}

static int
setup(void **state)
{
	static struct life here;

	test_index_from = 1;
	life = &here;
	return test_setup(state);
}

#define WITH_DIR(f) cmocka_unit_test_setup_teardown(f, setup, test_teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_DIR(power_cut_at_every_change_keeps_the_promises),
		WITH_DIR(power_cut_during_the_first_start_leaves_a_directory_that_opens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
