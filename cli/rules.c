/* rules.c - hikyaku rules check | show: the rules by which replies are classified. Needs no node and no Redis. */
#include <string.h>

#include "cli.h"
#include "commands.h"
#include "hikyaku/rules.h"

/* Those of the configuration, or of a file. */
static int load(const struct cli_options *options, const char *file, struct rules **out, struct hk_why *why)
{
    struct config *config = NULL;
    int error;

    if (options->config != NULL && config_load(options->config, &config, why) < 0)
        return HK_EINVAL;
    if (file == NULL && config != NULL)
        file = config->rules_file;
    error = rules_load(file, out, why);
    config_free(config);
    return error;
}

static void print_fault(void *context, const char *words)
{
    (void)context;
    fprintf(stderr, "%s\n", words);
}

int cmd_rules_check(const struct cli_options *options)
{
    const char *file = options->operands > 0 ? options->operand[0] : NULL;
    struct rules *rules;
    struct hk_why why;
    size_t faults;
    int error = load(options, file, &rules, &why);

    if (error < 0) {
        int status = cli_fail(error, &why);
        return error == HK_EINVAL && options->config == NULL ? EXIT_STOPPED : status;
    }
    faults = rules_check(rules, print_fault, NULL);
    if (faults == 0)
        printf("%zu rules, all examples hold\n", rules_count(rules));
    else
        fprintf(stderr, "hikyaku: %zu of the examples above %s not hold\n", faults,
                faults == 1 ? "does" : "do");
    rules_free(rules);
    return faults == 0 ? EXIT_SETTLED : EXIT_STOPPED;
}

static void print_rule(const struct rules *rules, size_t index)
{
    struct rule_view rule = rules_view(rules, index);

    printf("%s  %s%s%s  (%s:%u)\n", rule.name, reply_class_name(rule.reply_class),
           rule.reason[0] != '\0' ? ", " : "", rule.reason, rule.file, rule.line);
    for (size_t i = 0; i < rule.patterns; i++)
        printf("    %s\n", rules_pattern(rules, index, i));
    printf("    for example: %s\n", rule.example);
}

/* "PHASE: TEXT", as examples are written. */
static void read_text(const char *text, struct diagnosis *d)
{
    size_t word = strcspn(text, ":");

    *d = (struct diagnosis){.phase = LOG_PHASES};
    if (text[word] == ':' && log_phase_of_word(text, word) != LOG_PHASES) {
        d->phase = log_phase_of_word(text, word);
        text += word + 1 + strspn(text + word + 1, " ");
    }
    d->text = text;
    d->length = strlen(text);
    diagnosis_read(d);
}

static void explain(struct rules *rules, const char *text)
{
    struct rule_finding finding;
    struct diagnosis d;

    read_text(text, &d);
    rules_explain(rules, &d, &finding);
    printf("%s, %s, %s\n", reply_class_name(finding.verdict.reply_class),
           disposition_name(finding.verdict.disposition), finding.verdict.reason);
    printf("    code %u, enhanced code %u.%u.%u, phase %s\n", d.code, d.status[0], d.status[1], d.status[2],
           d.phase == LOG_PHASES ? "not known" : log_phase_name(d.phase));
    printf("    text \"%s\"\n", finding.text);
    if (finding.rule == SIZE_MAX) {
        printf("    no rule decides it\n");
        return;
    }
    printf("    rule %s (%s:%u), %s%s\n", rules_view(rules, finding.rule).name,
           rules_view(rules, finding.rule).file, rules_view(rules, finding.rule).line,
           finding.pattern != NULL ? "match " : "by code, enhanced code or phase",
           finding.pattern != NULL ? finding.pattern : "");
    if (finding.said != finding.verdict.reply_class)
        printf("    it says %s, which cannot be meant in this phase or without an address\n",
               reply_class_name(finding.said));
}

int cmd_rules_show(const struct cli_options *options)
{
    struct rules *rules;
    struct hk_why why;
    int error = load(options, NULL, &rules, &why);

    if (error < 0)
        return cli_fail(error, &why);
    for (size_t i = 0; i < options->operands; i++)
        explain(rules, options->operand[i]);
    for (size_t i = 0; options->operands == 0 && i < rules_count(rules); i++)
        print_rule(rules, i);
    rules_free(rules);
    return EXIT_SETTLED;
}
