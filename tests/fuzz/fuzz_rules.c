/* fuzz_rules.c - any bytes as a file of rules: it is read or refused with words, and what was read can be asked. */
#include <string.h>

#include "ruleset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void no_fault(void *context, const char *words)
{
    (void)context;
    HK_BUG_ON(strstr(words, ":") == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char reply[] = "550 5.1.1 <a@x.test>: User unknown, mailbox full, see https://x.test/spam";
    struct diagnosis d = {.phase = LOG_PHASES, .text = reply, .length = sizeof reply - 1};
    struct rules *rules = rules_new();
    struct rule_finding finding;
    struct hk_why why = {""};

    if (rules_read(rules, "own.rules", (const char *)data, size, &why) < 0) {
        HK_BUG_ON(why.text[0] == '\0');
    } else {
        (void)rules_check(rules, no_fault, NULL);
        rules_explain(rules, &d, &finding);
    }
    rules_free(rules);
    return 0;
}
