/* fuzz_classify.c - any bytes as a reply, and as a diagnosis: no crash, no temporary reply ever suppresses, and an id lies within its reply. */
#include <string.h>

#include "hikyaku/rules.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The text of a bounce mail, of which nothing else is known. */
static void classify_diagnosis(const char *text, size_t length)
{
    struct diagnosis d = {.phase = LOG_PHASES, .text = text, .length = length};
    struct rule_finding finding;

    diagnosis_read(&d);
    HK_BUG_ON((d.code != 0 && d.code != 250 && d.code < 400) || d.code > 579 || d.phase > LOG_PHASES);
    rules_explain(rules_in_use(), &d, &finding);
    HK_BUG_ON(finding.verdict.reply_class == CLASS_NONE || finding.verdict.reply_class >= CLASSES);
    HK_BUG_ON(finding.verdict.disposition == DISPOSITION_SUPPRESS && d.code >= 400 && d.code < 500);
    HK_BUG_ON(finding.rule != SIZE_MAX && finding.rule >= rules_count(rules_in_use()));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint16_t codes[] = {0, 421, 450, 452, 500, 521, 454, 530, 535, 550, 551, 552, 553, 554, 556};
    struct verdict v;
    const char *id;
    size_t length;
    uint16_t code;

    if (size < 5)
        return 0;
    code = codes[data[0] % (sizeof codes / sizeof *codes)];
    v = reply_classify((enum log_phase)(data[1] % LOG_PHASES), code, data + 2, (const char *)data + 5,
                       size - 5);
    HK_BUG_ON(v.reply_class == CLASS_NONE || v.reply_class >= CLASSES);
    HK_BUG_ON(v.disposition == DISPOSITION_SUPPRESS && code >= 400 && code < 500);
    classify_diagnosis((const char *)data + 5, size - 5);
    HK_BUG_ON(account_fault_of(data[1] % 2 == 0, code, (const char *)data + 5, size - 5) > ACCOUNT_LOGIN);
    length = ses_message_id((const char *)data + 5, size - 5, &id);
    HK_BUG_ON(length > SES_MESSAGE_ID_MAX ||
              (length > 0 && (id < (const char *)data + 5 || id + length > (const char *)data + size)));
    return 0;
}
