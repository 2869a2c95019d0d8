/* ruleset.h - a set of rules as it lies in memory (private to bounce/).
 *
 * Reading: ruleset.c walks the lines of a file, pattern.c makes a PCRE2 expression of each pattern. A set is only
 * changed while it is read; everything in it is its own.
 */
#ifndef HIKYAKU_BOUNCE_RULESET_H
#define HIKYAKU_BOUNCE_RULESET_H

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "hikyaku/rules.h"
#include "normal.h"
#include "words.h"

#define RULE_GAP_MAX     60u /* bytes that ".." may stand for */
#define RULE_GAPS        4u  /* in one pattern */
#define RULE_RANGES      8u
#define PATTERN_PLACES   6u
#define RULES_BYTES_MAX  (1u << 20)
#define RULES_MAX        4096u /* of a file */
#define RULE_LINE_MAX    2048u
#define RULE_MATCH_LIMIT 20000u /* steps of PCRE2 in one text; beyond them a pattern does not match */

struct code_range {
    uint16_t from, to; /* 0, 0: no code at all */
};
struct status_range {
    uint16_t subject, from, to;
};

struct pattern {
    char *text; /* as written */
    pcre2_code *code;
    bool tried_jit;
    uint16_t place[PATTERN_PLACES]; /* each of them has to be in the text */
    size_t places;
};

struct rule {
    char *name, *reason, *first_example;
    const char *file;
    unsigned line;
    enum reply_class reply_class;
    bool has_disposition;
    enum disposition disposition;
    uint32_t phases; /* a bit for each; 0: any */
    struct code_range code[RULE_RANGES];
    size_t codes;
    struct status_range status[RULE_RANGES];
    size_t statuses;
    struct pattern *pattern;
    size_t patterns;
    bool is_open;           /* some pattern needs no word that is known here */
    struct words_found any; /* else one of these places has to be in the text: for each pattern its rarest */
};

struct rule_example {
    char *text;
    enum log_phase phase;
    size_t rule;
    unsigned line;
    bool is_own; /* the rule has to decide it; else it must not */
};

struct rule_set_name { /* "set NAME WORDS" */
    char *name, *words;
};

/* The places of words that are known already: a set stands in many patterns. */
struct rule_place {
    char *text;
    uint16_t place;
};

struct rules {
    char *file; /* the user's, for words to a person; NULL: none */
    struct rule *rule;
    size_t rules;
    struct rule_example *example;
    size_t examples;
    struct rule_set_name *set;
    size_t sets;
    struct words words;
    struct rule_place *place;
    size_t places;
    pcre2_match_data *match;
    pcre2_match_context *context;
};

struct rules *rules_new(void);
/* Read the built-in rules into an empty set, and before them those of `own` (NULL: none), which is called `file`. */
int rules_read(struct rules *rules, const char *file, const char *own, size_t own_length,
               struct hk_why *why) HK_MUST_USE;

/* A pattern of words, or an expression of PCRE2 as it is. HK_EINVAL: what is wrong with it, without file and line. */
int pattern_compile(struct rules *rules, const char *text, struct pattern *out,
                    struct hk_why *why) HK_MUST_USE;
int pattern_compile_raw(const char *text, struct pattern *out, struct hk_why *why) HK_MUST_USE;
bool pattern_matches(const struct rules *rules, struct pattern *p, const struct words_found *found,
                     const char *text, size_t length);
void pattern_free(struct pattern *p);

/* Does the rule decide? The pattern that matched goes to *pattern, NULL where the rule has none. */
struct evidence {
    enum log_phase phase; /* LOG_PHASES: not known */
    uint16_t code;
    uint16_t status[3];
    bool has_status;
    bool is_said; /* the text is a reply, or with is_ours our own words; else somebody tells of one */
    bool is_ours;
    const char *text;
    size_t length;
    struct words_found found;
};
bool rule_decides(const struct rules *rules, const struct rule *rule, const struct evidence *e,
                  const struct pattern **pattern);

/* Classify and tell which rule it was; `out` may be NULL. is_said: the text is the reply itself (code 0: our words). */
struct verdict classify_with(struct rules *rules, const struct diagnosis *d, bool is_said,
                             struct rule_finding *out);

#endif
