/* fuzz_classify.c - any bytes as a reply: no crash, and no temporary reply ever suppresses. */
#include <string.h>

#include "hikyaku/classify.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint16_t codes[] = {0, 421, 450, 452, 500, 521, 530, 550, 551, 552, 553, 554, 556};
    struct verdict v;
    uint16_t code;

    if (size < 5)
        return 0;
    code = codes[data[0] % (sizeof codes / sizeof *codes)];
    v = reply_classify((enum log_phase)(data[1] % LOG_PHASES), code, data + 2, (const char *)data + 5,
                       size - 5);
    HK_BUG_ON(v.reply_class == CLASS_NONE || v.reply_class >= CLASSES);
    HK_BUG_ON(v.disposition == DISPOSITION_SUPPRESS && code >= 400 && code < 500);
    return 0;
}
