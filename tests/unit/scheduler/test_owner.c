/*
 * Whose a host is, on a virtual clock. The hosts announce themselves every 300 s: an announcement holds for 600 s.
 */
#include "world.h"

#include "net/addr.h"
#include "scheduler/owner.h"

#define HOST "10.0.0.1-a"
#define OWNER "192.0.2.1"
#define STRANGER "192.0.2.2"
#define HOLDS_MS 600000

static struct addr
at(const char *ip)
{
	struct addr a;

	assert_int_equal(addr_from_ip(&a, slice_str(ip), 1234), 0);
	return a;
}

static bool
may(struct world *w, const char *ip)
{
	struct addr a = at(ip);

	return owner_may_speak(&w->core.res, sched_host_find(&w->core.res, slice_str(HOST)), &a, slice_make(NULL, 0));
}

/* As the service does: only who may speak for the host announces it, and then it is theirs. */
static void
announce(struct world *w, const char *ip)
{
	struct addr a = at(ip);

	assert_true(may(w, ip));
	owner_set(host(w, HOST), &a);
}

static void
host_that_lives_is_announced_by_its_owner_alone(void **state)
{
	struct world *w = *state;

	assert_true(may(w, STRANGER));
	announce(w, OWNER);
	assert_true(may(w, OWNER));
	assert_false(may(w, STRANGER));
	/* While it goes on announcing itself, for ever. */
	for (unsigned i = 0; i < 10; i++) {
		pass(w, HOLDS_MS);
		assert_false(may(w, STRANGER));
		announce(w, OWNER);
	}
	assert_false(may(w, STRANGER));
}

static void
silent_host_is_taken_over_once_its_announcement_is_out_of_date(void **state)
{
	struct world *w = *state;

	announce(w, OWNER);
	pass(w, HOLDS_MS);
	assert_false(may(w, STRANGER));
	w->core.res.now_ms++;
	assert_true(may(w, STRANGER));
	/* Nothing changes before somebody announces it. */
	assert_true(may(w, OWNER));
	announce(w, STRANGER);
	assert_true(may(w, STRANGER));
	assert_false(may(w, OWNER));
	pass(w, HOLDS_MS);
	assert_false(may(w, OWNER));
	w->core.res.now_ms++;
	announce(w, OWNER);
	assert_false(may(w, STRANGER));
}

static void
host_that_collection_has_dropped_is_nobodys(void **state)
{
	struct world *w = *state;

	announce(w, OWNER);
	pass(w, 10 * HOLDS_MS);
	assert_null(sched_host_find(&w->core.res, slice_str(HOST)));
	announce(w, STRANGER);
	assert_false(may(w, OWNER));
}

static void
address_of_the_id_and_this_machine_speak_for_it(void **state)
{
	struct world *w = *state;

	announce(w, OWNER);
	assert_true(may(w, "10.0.0.1"));
	assert_true(may(w, "::ffff:10.0.0.1"));
	assert_true(may(w, "::ffff:" OWNER));
	assert_false(may(w, "10.0.0.2"));
	/* A tool of this machine does not become the owner. */
	announce(w, "127.0.0.1");
	announce(w, "::1");
	assert_true(may(w, OWNER));
	assert_false(may(w, STRANGER));
	/* Who sits at the address does: it may be the host behind another way. */
	announce(w, "10.0.0.1");
	assert_false(may(w, OWNER));
}

static void
host_of_a_registration_alone_is_nobodys(void **state)
{
	struct world *w = *state;

	reg(w, HOST, "p1");
	assert_non_null(sched_host_find(&w->core.res, slice_str(HOST)));
	assert_true(may(w, OWNER));
	assert_true(may(w, STRANGER));
}

static void
without_owners_anybody_speaks_for_it(void **state)
{
	struct world *w = *state;

	w->core.res.opt.host_owners = false;
	announce(w, OWNER);
	assert_true(may(w, STRANGER));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(host_that_lives_is_announced_by_its_owner_alone),
		TEST(silent_host_is_taken_over_once_its_announcement_is_out_of_date),
		TEST(host_that_collection_has_dropped_is_nobodys),
		TEST(address_of_the_id_and_this_machine_speak_for_it),
		TEST(host_of_a_registration_alone_is_nobodys),
		TEST(without_owners_anybody_speaks_for_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
