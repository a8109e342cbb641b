#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/list.h"
#include "base/mem.h"

struct item {
	int number;
	struct list link;
};

static void
walk_sees_items_in_order_and_may_remove_them(void **state)
{
	struct item items[4] = {{.number = 0}, {.number = 1}, {.number = 2}, {.number = 3}};
	struct list head;
	int expected = 0;

	(void)state;
	list_init(&head);
	assert_true(list_is_empty(&head));
	list_add_tail(&head, &items[1].link);
	list_add_tail(&head, &items[2].link);
	list_add_head(&head, &items[0].link);
	list_add_tail(&head, &items[3].link);
	LIST_EACH(it, nxt, &head) {
		struct item *i = CONTAINER_OF(it, struct item, link);

		assert_int_equal(i->number, expected++);
		if (i->number % 2 == 0)
			list_del(it);
	}
	assert_int_equal(expected, 4);
	assert_ptr_equal(head.next, &items[1].link);
	assert_ptr_equal(head.prev, &items[3].link);
	list_del(&items[0].link);
	list_del(&items[1].link);
	list_del(&items[3].link);
	assert_true(list_is_empty(&head));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(walk_sees_items_in_order_and_may_remove_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
