/*
 * What --help and --version print.
 */
#include <stdio.h>

#include "cmd/options.h"

/* Set by those who build packages. */
#ifndef DRAGONFLY_COMMIT
#define DRAGONFLY_COMMIT "unknown"
#endif
#ifndef DRAGONFLY_DATE
#define DRAGONFLY_DATE "unknown"
#endif

#define HELP_COLUMNS 100
#define HELP_INDENT 10

void
options_print_version(const struct program *p)
{
	printf("%s %s (%s, %s)\n", p->name, DRAGONFLY_VERSION, DRAGONFLY_COMMIT, DRAGONFLY_DATE);
}

/* Text broken at blanks, every line indented; a note in brackets stays whole. */
static int
print_wrapped(const char *text, int column)
{
	while (*text != '\0') {
		int n = 0;

		while (text[n] != '\0' && (text[n] != ' ' || text[0] == '['))
			n++;
		if (column > HELP_INDENT && column + 1 + n > HELP_COLUMNS) {
			printf("\n%*s", HELP_INDENT, "");
			column = HELP_INDENT;
		} else if (column > HELP_INDENT) {
			putchar(' ');
			column++;
		}
		printf("%.*s", n, text);
		column += n;
		text += n;
		while (*text == ' ')
			text++;
	}
	return column;
}

static void
print_option(const struct option *o)
{
	const char *const *words = o->kind == OPTION_WORD || o->kind == OPTION_BOOL ? option_words(o) : NULL;
	char note[256];
	int column = HELP_INDENT;

	if (o->name == NULL)
		printf("  <%s>", o->value);
	else if (o->letters != NULL)
		printf("  -%c, --%s", o->letters[0], o->name);
	else
		printf("      --%s", o->name);
	if (o->name != NULL && o->value != NULL)
		printf(" <%s>", o->value);
	printf("\n%*s", HELP_INDENT, "");
	column = print_wrapped(o->help, column);
	if (o->env != NULL) {
		snprintf(note, sizeof note, "[env: %s]", o->env);
		column = print_wrapped(note, column);
	}
	if (o->preset != NULL) {
		snprintf(note, sizeof note, "[default: %s]", o->preset);
		column = print_wrapped(note, column);
	}
	if (words != NULL) {
		int n = snprintf(note, sizeof note, "[possible values: ");

		for (size_t i = 0; words[i] != NULL && n < 200; i++)
			n += snprintf(note + n, sizeof note - (size_t)n, "%s%s", i > 0 ? ", " : "", words[i]);
		snprintf(note + n, sizeof note - (size_t)n, "]");
		print_wrapped(note, column);
	}
	printf("\n");
}

void
options_print_help(const struct program *p)
{
	bool has_positional = p->count > 0 && p->options[0].name == NULL;

	printf("%s\n\nUsage: %s\n", p->about, p->usage);
	if (has_positional)
		printf("\nArguments:\n");
	for (size_t i = 0; i < p->count; i++)
		if (p->options[i].name == NULL)
			print_option(&p->options[i]);
	printf("\nOptions:\n");
	for (size_t i = 0; i < p->count; i++)
		if (p->options[i].name != NULL)
			print_option(&p->options[i]);
}
