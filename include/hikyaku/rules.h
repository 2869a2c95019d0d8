/* rules.h - the rules by which replies are classified: data that can be read, checked, shown and added to.
 *
 * The built-in rules are etc/replies.rules, which says at its top how a rule is written; they travel in the program. A
 * file of the user's own is asked before them. One set of rules is in use in a process; until rules_use() it is the
 * built-in one.
 */
#ifndef HIKYAKU_RULES_H
#define HIKYAKU_RULES_H

#include "hikyaku/classify.h"

struct rules;

/* The built-in rules and before them those of the file at `path`, if it is not NULL. HK_EINVAL: a rule cannot be used
 * (why says file, line and what is wrong with it); HK_ENOENT, HK_EIO, HK_ETOOBIG as hk_read_file(). */
int rules_load(const char *path, struct rules **out, struct hk_why *why) HK_MUST_USE;
void rules_free(struct rules *rules); /* not those in use */
/* From now on verdicts are made by these; they belong to the process. */
void rules_use(struct rules *rules);
/* Those in use. The first call in a process compiles the built-in ones. */
struct rules *rules_in_use(void);

/* Hold every rule against its examples: the rule has to be the one that decides them, and must not decide what it names
 * as not its own. Calls `fault` with one line of words ("FILE:LINE: ...") for each that is wrong; how many there are. */
size_t rules_check(struct rules *rules, void (*fault)(void *context, const char *words), void *context);

/* A rule as it is shown to a person. */
struct rule_view {
    const char *name, *file, *reason, *example;
    unsigned line;
    enum reply_class reply_class;
    size_t patterns;
};
size_t rules_count(const struct rules *rules);
struct rule_view rules_view(const struct rules *rules, size_t index);
/* The `pattern`th way to match of a rule, as it is written in its file. */
const char *rules_pattern(const struct rules *rules, size_t index, size_t pattern);

/* Why a diagnosis is classified as it is. */
struct rule_finding {
    struct verdict verdict;
    size_t rule;           /* index of the rule that decided */
    const char *pattern;   /* what of it matched; NULL where code, status or phase did */
    enum reply_class said; /* the rule's class; the phase may have made another one of it */
    char text[2056];       /* what the patterns were held against */
};
void rules_explain(struct rules *rules, const struct diagnosis *d, struct rule_finding *out);

#endif
