/* rules.h - what texts mean: the data of the classifier (private to bounce/). */
#ifndef HIKYAKU_BOUNCE_RULES_H
#define HIKYAKU_BOUNCE_RULES_H

#include "hikyaku/classify.h"

/* A pattern is lower-case words as they stand in a normalised text (classify.c): '*' is a gap of at most
 * RULE_GAP_MAX bytes, a blank at either end the end of a word. The first rule that matches decides. */
#define RULE_GAP_MAX 60u
struct text_rule {
    enum reply_class reply_class;
    const char *pattern;
};
extern const struct text_rule text_rules[];
extern const size_t text_rule_count;

/* What an enhanced code means where no text told: subject and detail, both ends included. */
struct code_rule {
    uint16_t subject, detail_from, detail_to;
    enum reply_class permanent, temporary;
};
extern const struct code_rule code_rules[];
extern const size_t code_rule_count;

#endif
