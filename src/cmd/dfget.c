/*
 * dfget's command line (spec: cli.md 3): options, checks, then the download.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd/cmd.h"
#include "cmd/get.h"
#include "cmd/report.h"

/* Nothing is logged without --console. */
static void
set_log(const struct get_options *o)
{
	enum log_level level = (enum log_level)o->log_level.n, other;
	const char *rust = getenv("RUST_LOG");

	if (rust != NULL && log_parse_level(rust, &other) == 0)
		level = other;
	log_set_level(o->console ? level : LOG_OFF);
}

int
dfget_main(int argc, char **argv)
{
	struct get_options o = {0};
	struct get_plan plan = {0};
	struct err e = {0};
	int code = options_parse(&get_program, argc, argv, &o), rc;

	if (code != OPTIONS_GO)
		goto out;
	set_log(&o);
	rc = get_plan_make(&plan, &o, &e);
	if (rc == OPTIONS_USAGE) {
		code = options_fail(&get_program, "%s", e.text);
	} else if (rc != 0) {
		report_validation(e.text);
		code = 1;
	} else if (get_is_directory(&o, &plan.url)) {
		code = get_directory(&plan);
	} else {
		log_info("download to %s", plan.output != NULL ? plan.output : "standard output");
		code = get_run(&plan);
	}
	get_plan_free(&plan);
out:
	options_free(&get_program, &o);
	return code;
}
