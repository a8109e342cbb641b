#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "cmd/cmd.h"
#include "net/addr.h"
#include "net/loop.h"
#include "net/rpc_client.h"
#include "peer/ids.h"
#include "proto/common.h"
#include "proto/dfdaemon.h"

static bool over;
static int result;

static void
on_end(struct rpc_call *call, void *ctx, const struct rpc_status *st)
{
	(void)call;
	(void)ctx;
	if (st->code != 0)
		fprintf(stderr, "dfget: %d %s\n", st->code, st->message);
	result = st->code != 0;
	over = true;
}

static void
on_message(struct rpc_call *call, void *ctx, struct slice m)
{
	(void)call;
	(void)ctx;
	(void)m;
}

int
dfget_main(int argc, char **argv)
{
	static const struct rpc_call_events events = {.on_message = on_message, .on_end = on_end};
	struct slice filters[DEFAULT_FILTER_COUNT];
	struct common_download d = {.url = slice_str(argv[2]), .output_path = slice_str(argv[3]), .priority = 6, .overwrite = true,
		.filtered_query_params = filters, .n_filtered_query_params = DEFAULT_FILTER_COUNT};
	struct dfdaemon_download_task_request r = {.download = &d};
	struct rpc_channel *ch;
	struct rpc_call *call;
	struct loop *loop;
	struct addr a;
	struct err e;

	(void)argc;
	for (int i = 0; i < DEFAULT_FILTER_COUNT; i++)
		filters[i] = slice_str(default_filtered_query_params[i]);
	loop = loop_new("dfget", &e);
	addr_from_unix(&a, argv[1], &e);
	ch = rpc_channel_new(loop, &(struct rpc_channel_opts){.addr = a});
	call = rpc_call_start(ch, DFDAEMON_DFDAEMON_DOWNLOAD_DOWNLOAD_TASK, &events, NULL, &(struct rpc_call_opts){.headers_ms = -1});
	rpc_call_send(call, &dfdaemon_download_task_request_desc, &r, &e);
	rpc_call_half_close(call);
	loop_run_until(loop, &over, 100000);
	rpc_channel_free(ch);
	loop_free(loop);
	return result;
}
