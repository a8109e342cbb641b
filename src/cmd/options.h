/*
 * Command lines: one table of options per program, from which parsing, environment variables, help and error texts follow
 * (spec: cli.md 1). Values go straight into the program's own struct of options.
 */
#ifndef CMD_OPTIONS_H
#define CMD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct err;

enum option_kind {
	OPTION_FLAG,            /* bool */
	OPTION_TEXT,            /* const char *; may be empty */
	OPTION_PATH,            /* const char *; not empty */
	OPTION_WORD,            /* const char *; one of `words` */
	OPTION_BOOL,            /* struct option_number: "true" 1 or "false" 0 */
	OPTION_SIZE,            /* struct option_number: bytes */
	OPTION_DURATION,        /* struct option_number: ns */
	OPTION_NUMBER,          /* struct option_number: an integer of min to max */
	OPTION_LEVEL,           /* struct option_number: enum log_level */
	OPTION_LIST,            /* struct option_list: may be given again and again */
	OPTION_VERSION,
	OPTION_HELP,
};

struct option_number {
	bool is_set;
	int64_t n;              /* sizes above INT64_MAX are refused */
};

/* Occurrences of one repeatable option. */
#define OPTION_LIST_MAX 1024

struct option_list {
	const char **items;     /* owned; the texts are argv's */
	size_t count;
};

struct option {
	const char *name;       /* without dashes; NULL: a positional argument */
	const char *letters;    /* the first is shown, all work; NULL: none */
	const char *value;      /* how the value is called: "OUTPUT"; NULL where the option takes none */
	enum option_kind kind;
	size_t at;              /* offset in the program's struct */
	const char *env;        /* variable, or NULL */
	const char *preset;     /* default as text, or NULL */
	const char *const *words;
	int64_t min, max;
	bool is_required;
	const char *help;
};

struct program {
	const char *name;
	const char *about;      /* one sentence */
	const char *usage;      /* "dfget [OPTIONS] --output <OUTPUT> <URL>" */
	const char *short_usage;        /* shown with errors */
	const struct option *options;   /* positional arguments first */
	size_t count;
};

/* The exit code of a wrong command line. */
#define OPTIONS_USAGE 2
/* Values of options_parse: go on. */
#define OPTIONS_GO (-1)

/*
 * Fills the struct at `out` (zeroed before) from presets, environment and argv. OPTIONS_GO, or the exit code after help or version
 * (on standard output) or an error (on standard error) was printed. Free with options_free either way.
 */
int options_parse(const struct program *p, int argc, char **argv, void *out);
void options_free(const struct program *p, void *out);

/* Prints "error: ..." and where to find help; returns OPTIONS_USAGE. For rules that a table cannot hold. */
int options_fail(const struct program *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- within the room ---- */

/* Parses one value of one option into its place. -1 with the reason alone in *e; for a wrong word e->text is empty. */
int option_take(const struct option *o, const char *value, void *out, struct err *e);
/* The words that this option takes: NULL-terminated, or NULL. */
const char *const *option_words(const struct option *o);
/* "--output <OUTPUT>", "<URL>", "--console". */
const char *option_shown(const struct option *o, char *out, size_t size);
#define OPTION_SHOWN_MAX 128
void options_print_help(const struct program *p);
void options_print_version(const struct program *p);

#endif
