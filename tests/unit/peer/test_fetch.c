/* Pieces over real connections from a parent that does what the test says. */
#include "unit/store/store_test.h"

#include <pthread.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "net/loop.h"
#include "peer/fetch.h"
#include "peer/worker.h"
#include "source/source.h"
#include "wire/vortex.h"

#define PIECES (FETCH_IDLE_PER_PARENT + 6)
#define WAIT_MS 10000

enum manner { ANSWERS, LIES, REFUSES, CLOSES_AFTER_ONE, IS_SILENT };

/* The parent: a thread for each connection, with blocking calls. */
struct elder {
	int listening;
	struct addr addr;
	enum manner manner;
	pthread_t acceptor, threads[4 * PIECES];
	int fds[4 * PIECES];
	atomic_size_t count;          /* written by the acceptor, read by the test */
	pthread_mutex_t lock;
	pthread_cond_t arrived;
	unsigned together;              /* nobody is answered before so many requests are there */
	unsigned asked;
};

static struct elder elder;

static struct {
	struct store *store;
	struct store_task *task;
	struct loop *home;
	struct workers *workers;
	struct fetch_job jobs[PIECES];
	unsigned left;
	bool is_over;
} w;

static void
fill_piece(uint8_t *bytes, uint32_t n)
{
	memset(bytes, (int)('a' + n % 26), PIECE);
}

/* One request read and answered; false when the connection is over. */
static bool
answer_one(int fd)
{
	struct vortex_request_reader r = {0};
	uint8_t in[VORTEX_REQUEST_BYTES], body[PIECE];
	struct vortex_request q;
	struct buf out = BUF_INIT;
	struct slice bytes;
	struct err e;
	char digest[32];

	if (recv(fd, in, sizeof in, MSG_WAITALL) != (ssize_t)sizeof in)
		return false;
	bytes = slice_make(in, sizeof in);
	if (vortex_read_request(&r, &bytes, &q, &e) != VORTEX_READY)
		return false;
	pthread_mutex_lock(&elder.lock);
	elder.asked++;
	pthread_cond_broadcast(&elder.arrived);
	while (elder.asked < elder.together)
		pthread_cond_wait(&elder.arrived, &elder.lock);
	pthread_mutex_unlock(&elder.lock);
	if (elder.manner == IS_SILENT)
		return true;
	fill_piece(body, q.number);
	snprintf(digest, sizeof digest, "crc32:%lu", (unsigned long)crc32_update(0, body, sizeof body));
	if (elder.manner == LIES)
		body[7] ^= 1;
	if (elder.manner == REFUSES) {
		vortex_write_error(&out, in[0], 2, slice_str("not here"));
	} else {
		vortex_write_content(&out, in[0], &(struct vortex_content){.tag = VORTEX_PIECE_CONTENT, .number = q.number,
			.offset = (uint64_t)q.number * PIECE, .length = PIECE, .digest = slice_str(digest)});
		buf_append(&out, body, sizeof body);
	}
	if (send(fd, buf_data(&out), out.len, MSG_NOSIGNAL) != (ssize_t)out.len)
		elder.manner = CLOSES_AFTER_ONE;
	buf_free(&out);
	return elder.manner != CLOSES_AFTER_ONE;
}

static void *
serve_one(void *arg)
{
	int fd = *(int *)arg;

	while (answer_one(fd))
		;
	shutdown(fd, SHUT_RDWR);
	return NULL;
}

static void *
accept_all(void *arg)
{
	int fd;

	(void)arg;
	while (elder.count < COUNT_OF(elder.fds) && (fd = accept(elder.listening, NULL, NULL)) >= 0) {
		size_t i;

		/* Counted before it answers: who has the answer sees it. */
		pthread_mutex_lock(&elder.lock);
		i = elder.count++;
		pthread_mutex_unlock(&elder.lock);
		elder.fds[i] = fd;
		pthread_create(&elder.threads[i], NULL, serve_one, &elder.fds[i]);
	}
	return NULL;
}

static size_t
connections(void)
{
	size_t n;

	pthread_mutex_lock(&elder.lock);
	n = elder.count;
	pthread_mutex_unlock(&elder.lock);
	return n;
}

static int
setup(void **state)
{
	struct source_config source;
	struct err e;

	if (test_setup(state) != 0)
		return -1;
	memset(&w, 0, sizeof w);
	memset(&elder, 0, sizeof elder);
	pthread_mutex_init(&elder.lock, NULL);
	pthread_cond_init(&elder.arrived, NULL);
	addr_from_ip(&elder.addr, slice_str("127.0.0.1"), 0);
	elder.listening = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(elder.listening, &elder.addr.u.sa, elder.addr.len), 0);
	assert_int_equal(listen(elder.listening, 64), 0);
	assert_int_equal(getsockname(elder.listening, &elder.addr.u.sa, &elder.addr.len), 0);
	pthread_create(&elder.acceptor, NULL, accept_all, NULL);
	w.store = test_open();
	w.task = test_start(w.store, 1, (uint64_t)PIECE * PIECES);
	w.home = loop_new("home", &e);
	source_config_init(&source);
	w.workers = workers_new(w.home, 1, &source, &e);
	assert_non_null(w.workers);
	return 0;
}

static int
teardown(void **state)
{
	workers_free(w.workers);
	loop_free(w.home);
	store_close(w.store);
	shutdown(elder.listening, SHUT_RDWR);
	pthread_join(elder.acceptor, NULL);
	close(elder.listening);
	for (size_t i = 0; i < elder.count; i++) {
		shutdown(elder.fds[i], SHUT_RDWR);
		pthread_join(elder.threads[i], NULL);
		close(elder.fds[i]);
	}
	pthread_cond_destroy(&elder.arrived);
	pthread_mutex_destroy(&elder.lock);
	return test_teardown(state);
}

static void
job_done(struct fetch_job *job)
{
	store_file_unref(job->sink.file);
	w.is_over = --w.left == 0;
}

static void
start(unsigned n)
{
	struct fetch_job *job = &w.jobs[n];
	struct err e;

	memset(job, 0, sizeof *job);
	atomic_init(&job->is_cancelled, false);
	job->parent = elder.addr;
	snprintf(job->task_id, sizeof job->task_id, "%s", w.task->id);
	job->tag = VORTEX_DOWNLOAD_PIECE;
	job->number = n;
	job->sink.file = store_task_file(w.task, &e);
	assert_non_null(job->sink.file);
	assert_int_equal(store_task_piece_span(w.task, n, &job->sink.offset, &job->sink.length), 0);
	job->header_ms = job->body_ms = WAIT_MS;
	job->done = job_done;
	w.left++;
	fetch_job_start(workers_take(w.workers), w.home, job);
}

static void
wait_for_all(void)
{
	w.is_over = false;
	assert_true(loop_run_until(w.home, &w.is_over, WAIT_MS));
}

static enum fetch_failure
fetch_one(unsigned n)
{
	start(n);
	wait_for_all();
	return w.jobs[n].failure;
}

static void
piece_is_on_file_with_its_checksum(void **state)
{
	uint8_t want[PIECE], got[PIECE];
	struct store_file *f;
	struct err e;

	(void)state;
	assert_int_equal(fetch_one(3), FETCH_OK);
	fill_piece(want, 3);
	assert_int_equal(w.jobs[3].sink.crc, crc32_update(0, want, sizeof want));
	f = store_task_file(w.task, &e);
	assert_int_equal(store_file_pread(f, got, sizeof got, 3 * PIECE, &e), 0);
	store_file_unref(f);
	assert_memory_equal(got, want, sizeof got);
}

static void
connections_beyond_those_kept_idle_bring_their_pieces_too(void **state)
{
	(void)state;
	elder.together = PIECES;
	for (int round = 0; round < 2; round++) {
		for (unsigned n = 0; n < PIECES; n++)
			start(n);
		wait_for_all();
		for (unsigned n = 0; n < PIECES; n++)
			assert_int_equal(w.jobs[n].failure, FETCH_OK);
	}
	pthread_mutex_lock(&elder.lock);
	assert_int_equal(elder.asked, 2 * PIECES);
	pthread_mutex_unlock(&elder.lock);
}

static void
connection_is_used_again(void **state)
{
	(void)state;
	for (unsigned n = 0; n < PIECES; n++)
		assert_int_equal(fetch_one(n), FETCH_OK);
	assert_int_equal(connections(), 1);
}

static void
idle_connection_that_the_parent_closed_is_replaced(void **state)
{
	(void)state;
	elder.manner = CLOSES_AFTER_ONE;
	for (unsigned n = 0; n < 5; n++)
		assert_int_equal(fetch_one(n), FETCH_OK);
	assert_int_equal(connections(), 5);
}

static void
bytes_that_differ_from_their_checksum_are_a_lie(void **state)
{
	(void)state;
	elder.manner = LIES;
	assert_int_equal(fetch_one(0), FETCH_LIED);
	assert_int_equal(w.jobs[0].err.code, ERR_DATA_LOSS);
}

static void
refusal_tells_the_parents_words(void **state)
{
	(void)state;
	elder.manner = REFUSES;
	assert_int_equal(fetch_one(0), FETCH_REFUSED);
	assert_non_null(strstr(w.jobs[0].err.text, "not here"));
}

static void
nobody_there_is_unreachable(void **state)
{
	(void)state;
	shutdown(elder.listening, SHUT_RDWR);
	close(elder.listening);
	assert_int_equal(fetch_one(0), FETCH_UNREACHABLE);
}

static void
cancelled_transfer_ends_while_the_parent_is_silent(void **state)
{
	(void)state;
	elder.manner = IS_SILENT;
	start(0);
	fetch_job_cancel(&w.jobs[0]);
	wait_for_all();
	assert_int_equal(w.jobs[0].failure, FETCH_CANCELLED);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(piece_is_on_file_with_its_checksum, setup, teardown),
		cmocka_unit_test_setup_teardown(connections_beyond_those_kept_idle_bring_their_pieces_too, setup, teardown),
		cmocka_unit_test_setup_teardown(connection_is_used_again, setup, teardown),
		cmocka_unit_test_setup_teardown(idle_connection_that_the_parent_closed_is_replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(bytes_that_differ_from_their_checksum_are_a_lie, setup, teardown),
		cmocka_unit_test_setup_teardown(refusal_tells_the_parents_words, setup, teardown),
		cmocka_unit_test_setup_teardown(nobody_there_is_unreachable, setup, teardown),
		cmocka_unit_test_setup_teardown(cancelled_transfer_ends_while_the_parent_is_silent, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
