/* What pbgen refuses, and that it says where. Runs the generator that the build made. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"

static char build[512];         /* the build directory */
static char dir[] = "/tmp/pbgen-test-XXXXXX";

static void
write_proto(const char *name, const char *text)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s.proto", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

/* Runs pbgen on a file "x" with this text behind the usual head (two lines); returns whether it succeeded. */
static bool
run_pbgen(const char *text, struct buf *output)
{
	char command[1024], *whole = xasprintf("syntax = \"proto3\";\npackage demo.v1;\n%s", text);
	FILE *out;
	size_t n;

	write_proto("x", whole);
	free(whole);
	snprintf(command, sizeof(command), "%s/pbgen %s x %s 2>&1", build, dir, dir);
	out = popen(command, "r");
	assert_non_null(out);
	while ((n = fread(buf_reserve(output, 4096), 1, 4096, out)) > 0)
		buf_added(output, n);
	n = (size_t)pclose(out);
	assert_true(WIFEXITED((int)n));
	return WEXITSTATUS((int)n) == 0;
}

static void
errors_name_file_line_and_reason(void **state)
{
	static const struct { const char *text, *error; } cases[] = {
		{"message A { int32 a = 0; }\n", "x.proto:3: field number must be at least 1"},
		{"message A {\n\tint32 a = 1;\n\tint32 b = 1;\n}\n", "x.proto:5: field number 1 of demo.v1.A is used twice"},
		{"message A {\n\tint32 a = 1;\n\tint32 a = 2;\n}\n", "x.proto:5: field name a of demo.v1.A is used twice"},
		{"message A {\n\treserved 2;\n\tint32 a = 2;\n}\n", "x.proto:5: field number 2 of demo.v1.A is reserved"},
		{"message A {\n\n\tB b = 1;\n}\n", "x.proto:5: unknown type \"B\" of field b"},
		{"message A { map<int32, string> a = 1; }\n", "expected \"string\", found \"int32\""},
		{"message A { map<string, int32> a = 1; }\n", "map<string, int32> is not understood"},
		{"message A { oneof c { map<string, string> a = 1; } }\n", "a map is neither optional, repeated nor in a oneof"},
		{"message A { int32 default = 1; }\n", "field name \"default\" is a word of C"},
		{"message A { fixed32 a = 1; }\n", "unknown type \"fixed32\""},
		{"message A { int32 a = 1 [packed = true]; }\n", "unknown field option \"packed\""},
		{"message A { int32 a = 536870912; }\n", "expected a field number, found \"536870912\""},
		{"message A { int32 a 1; }\n", "expected \"=\", found \"1\""},
		{"message A { int32 a = 1;\n", "expected a type, found \"\""},
		{"enum E { A = 1; }\n", "the first constant of an enum must be 0"},
		{"enum E { }\n", "enum demo.v1.E has no constants"},
		{"service S { rpc Do(A) returns (A); }\n", "unknown message \"A\" of method Do"},
		{"extend A { }\n", "unknown declaration \"extend\""},
		{"/* no end\n\n", "comment without an end"},
		{"import \"y.proto;\n", "string without an end"},
		{"import \"y\";\n", "does not end in .proto"},
		{"import \"missing.proto\";\n", "missing.proto: No such file or directory"},
		{"// pbgen: keep_unknwon\nmessage A { }\n", "unknown pbgen comment \"keep_unknwon\""},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct buf output = BUF_INIT;

		if (run_pbgen(cases[i].text, &output))
			fail_msg("accepted: %s", cases[i].text);
		if (strstr(buf_cstr(&output), cases[i].error) == NULL)
			fail_msg("\"%s\" instead of \"%s\"", buf_cstr(&output), cases[i].error);
		buf_free(&output);
	}
}

static void
too_many_fields_are_refused(void **state)
{
	struct buf text = BUF_INIT, output = BUF_INIT;

	(void)state;
	for (int more = 0; more < 2; more++) {
		buf_clear(&text);
		buf_append_str(&text, "message A {\n");
		for (int i = 1; i <= 64 + more; i++)
			buf_printf(&text, "\tint32 f%d = %d;\n", i, i);
		buf_append_str(&text, "}\n");
		assert_int_equal(run_pbgen(buf_cstr(&text), &output), !more);
	}
	assert_non_null(strstr(buf_cstr(&output), "x.proto:68: more than 64 fields in demo.v1.A"));
	buf_free(&text);
	buf_free(&output);
}

static void
names_follow_the_conventions(void **state)
{
	static const char *const lines[] = {
		"enum demo_url_kind {", "DEMO_URL_KIND_PLAIN = 0,", "struct demo_ib_verbs_pair {", "struct demo_cgroup_cpu {", "bool has_n;",
		"struct slice text;", "struct demo_outer_inner *inner;", "size_t n_list;", "int choice_case;", "DEMO_OUTER_A = 5,",
		"struct pb_pair *header;", "struct demo_outer_by_name_entry *by_name;", "struct slice unknown_fields;",
		"#define DEMO_FILE_SERVER_GET_URL \"/demo.v1.FileServer/GetURL\"", "DEMO_FILE_SERVER_GET_URL_AT,",
		"extern const struct pb_service demo_file_server_service;",
	};
	struct buf output = BUF_INIT, header = BUF_INIT;
	char path[128];
	FILE *f;
	size_t n;

	(void)state;
	assert_true(run_pbgen("enum URLKind { PLAIN = 0; }\nmessage IBVerbsPair { }\nmessage CgroupCPU { optional int32 n = 1; }\n"
	    "// pbgen: keep_unknown\nmessage Outer {\n\tmessage Inner { optional string text = 1; }\n\tInner inner = 1;\n"
	    "\trepeated URLKind list = 2;\n\toneof choice { Inner a = 5; int64 b = 4; }\n\tmap<string, string> header = 6;\n"
	    "\tmap<string, Inner> by_name = 7;\n}\nservice FileServer { rpc GetURL(Outer) returns (stream Outer); }\n", &output));
	snprintf(path, sizeof(path), "%s/x.h", dir);
	f = fopen(path, "r");
	assert_non_null(f);
	while ((n = fread(buf_reserve(&header, 4096), 1, 4096, f)) > 0)
		buf_added(&header, n);
	fclose(f);
	for (size_t i = 0; i < COUNT_OF(lines); i++)
		if (strstr(buf_cstr(&header), lines[i]) == NULL)
			fail_msg("\"%s\" is missing", lines[i]);
	buf_free(&output);
	buf_free(&header);
}

static int
make_dir(void **state)
{
	(void)state;
	return mkdtemp(dir) != NULL ? 0 : -1;
}

static int
remove_dir(void **state)
{
	static const char *const names[] = {"x.proto", "x.h", "x.c"};
	char path[128];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	return rmdir(dir);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(errors_name_file_line_and_reason), cmocka_unit_test(too_many_fields_are_refused),
		cmocka_unit_test(names_follow_the_conventions),
	};

	/* This program is BUILD/tests/unit/proto/test_pbgen. */
	(void)argc;
	snprintf(build, sizeof(build), "%.*s", (int)sizeof(build) - 1, argv[0]);
	for (int i = 0; i < 4; i++) {
		char *slash = strrchr(build, '/');

		if (slash != NULL)
			*slash = '\0';
	}
	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
