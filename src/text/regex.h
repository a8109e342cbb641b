/*
 * Regular expressions of the dialect that Dragonfly's configuration uses (Rust's regex crate), for the one question asked there:
 * is there a match anywhere in the subject? Time is linear in pattern times subject, whatever the pattern; nothing backtracks.
 * Both are UTF-8; "." and negated classes take whole characters. Named classes (\d \w \s \p{L}), \b and (?i) know ASCII only,
 * since the subjects are URLs. No captures: groups only group. A compiled regex is immutable and may be used by any thread.
 */
#ifndef TEXT_REGEX_H
#define TEXT_REGEX_H

#include <stdbool.h>
#include <stddef.h>

struct err;
struct regex;

#define REGEX_PATTERN_MAX 4096          /* bytes of a pattern; they also come from a manager */
#define REGEX_DEPTH_MAX 250             /* groups and classes inside each other, the reference's own limit */
#define REGEX_REPEAT_MAX 1000           /* in {n,m} */
#define REGEX_STATES_MAX 4096           /* of the compiled automaton; bounds time per subject byte and stack in regex_search */

/* NULL with e set as "missing \")\" at offset 3" when the reference refuses the pattern too, or past a limit. Free with regex_free. */
struct regex *regex_compile(const char *pattern, size_t len, struct err *e);
void regex_free(struct regex *re);

/* Whether a match exists anywhere in the n bytes at s. Bytes that are not UTF-8 count as one character each. */
bool regex_search(const struct regex *re, const char *s, size_t n);

#endif
