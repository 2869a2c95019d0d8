/* automaton.h - which of many patterns a text has, found in one walk over it (private to bounce/).
 *
 * The patterns as a tree (Aho and Corasick), and the tree as a table: a look-up for each byte, however many patterns there are.
 * Case of ASCII letters does not count, and a run of blanks, line ends and NULs is one blank; a text is taken to begin and to
 * end with one. Each pattern has bits of a mask; what comes back is those of all that were found.
 */
#ifndef BOUNCE_AUTOMATON_H
#define BOUNCE_AUTOMATON_H

#include "slice.h"

struct automaton;

/* Patterns are lower case, with no two blanks in a row. Add all, then build; memory that is lacking ends the process. */
struct automaton *automaton_new(void);
void automaton_add(struct automaton *a, const char *pattern, size_t length, uint64_t mask);
void automaton_build(struct automaton *a);
void automaton_free(struct automaton *a);

/* The masks of what is in the text. It may stop where all of `enough` was found. */
uint64_t automaton_find(const struct automaton *a, struct slice text, uint64_t enough);

/* A byte as it counts. */
static inline char folded_byte(char c)
{
    return is_blank(c) || c == '\0' ? ' ' : (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
}

#endif
