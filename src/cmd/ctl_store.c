/*
 * dfctl store check: a storage directory looked at while no daemon uses it.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/err.h"
#include "cmd/ctl.h"
#include "cmd/options.h"
#include "cmd/report.h"
#include "store/check.h"
#include "text/units.h"

/* The exit code when something was found that a start would drop. */
#define CHECK_DAMAGED 1

struct options {
	const char *dir;
	bool quick, quiet;
};

#define AT(member) offsetof(struct options, member)

static const struct option check_options[] = {
	{.value = "DIR", .kind = OPTION_PATH, .at = AT(dir), .is_required = true, .help = "The storage directory (storage.dir)."},
	{.name = "quick", .kind = OPTION_FLAG, .at = AT(quick), .help = "Records and journals alone; the bytes of pieces are not read."},
	{.name = "quiet", .letters = "q", .kind = OPTION_FLAG, .at = AT(quiet), .help = "Only the closing lines."},
	{.name = "help", .letters = "h", .kind = OPTION_HELP, .help = "Prints this help."},
};

static const struct program check_program = {
	.name = "dfctl store check",
	.about = "Compares all pieces on disk with their checksums, and says what the next start would drop, remove or leave alone. Changes "
	    "nothing. No daemon may use the directory. Exit code 1 when something is damaged.",
	.usage = "dfctl store check [OPTIONS] <DIR>",
	.short_usage = "dfctl store check [OPTIONS] <DIR>",
	.options = check_options,
	.count = sizeof check_options / sizeof check_options[0],
};

static void
print_found(void *ctx, enum store_finding what, const char *text)
{
	static const char *const words[] = {"damaged", "rubbish", "foreign"};
	const struct options *o = ctx;
	struct buf line = BUF_INIT;

	if (o->quiet)
		return;
	/* Names in the directory may be anybody's. */
	report_escape(slice_str(text), &line);
	printf("%s  %s\n", words[what], buf_cstr(&line));
	buf_free(&line);
}

static void
print_sum(const struct options *o, const struct store_check_result *r)
{
	char bytes[UNITS_OUT_MAX], disk[UNITS_OUT_MAX];

	printf("%s: %" PRIu64 " tasks (%" PRIu64 " finished), %" PRIu64 " pieces, %s, %s on disk\n", o->dir, r->tasks, r->finished, r->pieces,
	    units_format_size(r->bytes, bytes), units_format_size(r->disk_bytes, disk));
	printf("%" PRIu64 " pieces have their checksum, %" PRIu64 " not compared; found: %" PRIu64 " damaged, %" PRIu64 " rubbish, %" PRIu64
	    " foreign\n", r->checked, r->unchecked, r->findings[STORE_FOUND_DAMAGE], r->findings[STORE_FOUND_RUBBISH],
	    r->findings[STORE_FOUND_FOREIGN]);
}

int
ctl_store_check(int argc, char **argv)
{
	struct store_check_result r;
	struct options o = {0};
	struct store_check_options check = {.found = print_found, .arg = &o};
	struct err e = {0};
	int rc = options_parse(&check_program, argc, argv, &o);

	if (rc != OPTIONS_GO)
		goto done;
	check.dir = o.dir;
	check.skips_content = o.quick;
	if (store_check(&check, &r, &e) < 0) {
		fprintf(stderr, "dfctl: %s\n", e.text);
		rc = 1;
		goto done;
	}
	print_sum(&o, &r);
	rc = r.findings[STORE_FOUND_DAMAGE] > 0 ? CHECK_DAMAGED : 0;
done:
	options_free(&check_program, &o);
	return rc;
}
