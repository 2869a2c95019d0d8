/* rules_check.c - rules as a person asks about them: do the examples hold, what is there, why was it that one. */
#include <string.h>

#include "ruleset.h"

/* "550 5.1.1 ..." as it stands in a rule: an example is a reply, or the text of a bounce mail without one. */
static void read_example(const struct rule_example *example, struct diagnosis *d)
{
    *d = (struct diagnosis){.phase = example->phase, .text = example->text, .length = strlen(example->text)};
    diagnosis_read(d);
}

size_t rules_check(struct rules *rules, void (*fault)(void *context, const char *words), void *context)
{
    struct rule_finding finding;
    struct diagnosis d;
    char words[1024];
    size_t faults = 0;

    for (size_t i = 0; i < rules->examples; i++) {
        const struct rule_example *example = &rules->example[i];
        const struct rule *rule = &rules->rule[example->rule];
        const struct rule *winner;
        HK_BUG_ON(rules->rule == NULL); /* the built-in ones are always there */
        read_example(example, &d);
        rules_explain(rules, &d, &finding);
        if ((finding.rule == example->rule) == example->is_own)
            continue;
        faults++;
        winner = finding.rule == SIZE_MAX ? NULL : &rules->rule[finding.rule];
        if (winner == NULL)
            snprintf(words, sizeof words, "%s:%u: no rule decides this example of %s: %s", rule->file,
                     example->line, rule->name, example->text);
        else
            snprintf(words, sizeof words, "%s:%u: %s (%s:%u%s%s) decides %s of %s: %s", rule->file,
                     example->line, winner->name, winner->file, winner->line,
                     finding.pattern == NULL ? "" : ", match ",
                     finding.pattern == NULL ? "" : finding.pattern,
                     example->is_own ? "this example" : "what is named as not", rule->name, example->text);
        fault(context, words);
    }
    return faults;
}

size_t rules_count(const struct rules *rules)
{
    return rules->rules;
}

struct rule_view rules_view(const struct rules *rules, size_t index)
{
    const struct rule *rule = &rules->rule[index];

    return (struct rule_view){.name = rule->name,
                              .file = rule->file,
                              .reason = rule->reason,
                              .example = rule->first_example,
                              .line = rule->line,
                              .reply_class = rule->reply_class,
                              .patterns = rule->patterns};
}

const char *rules_pattern(const struct rules *rules, size_t index, size_t pattern)
{
    return rules->rule[index].pattern[pattern].text;
}

void rules_explain(struct rules *rules, const struct diagnosis *d, struct rule_finding *out)
{
    memset(out, 0, sizeof *out);
    out->rule = SIZE_MAX;
    out->verdict = classify_with(rules, d, false, out);
}
