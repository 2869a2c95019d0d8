/* fuzz_bounce.c - any bytes as a file of mails: no crash, every row is well-formed, and what is delayed, delivered or an automatic
 * reply never suppresses. Cut into pieces, the file gives the same. */
#include <string.h>

#include "hikyaku/bounce.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct bounce_reader *reader;
static struct intake *intake;
static uint64_t rows;

static void row(void *context, const struct bounce *b)
{
    uint64_t *sum = context;

    HK_BUG_ON(b->verdict.reply_class == CLASS_NONE || b->verdict.reply_class >= CLASSES);
    HK_BUG_ON(b->kind != KIND_BOUNCE && b->kind != KIND_FEEDBACK &&
              b->verdict.disposition == DISPOSITION_SUPPRESS);
    HK_BUG_ON(b->code != 0 && (b->code < 400 || b->code > 599));
    HK_BUG_ON(!utf8_is_valid(b->reason, strlen(b->reason)));
    HK_BUG_ON(strlen(b->recipient) > ADDRESS_MAX ||
              (b->recipient[0] != '\0' && strchr(b->recipient, '@') == NULL));
    *sum =
        *sum * 31 + b->kind + (uint64_t)b->verdict.reply_class * 7 + strlen(b->recipient) + strlen(b->reason);
    rows++;
}

static int mail(void *context, const char *bytes, size_t length)
{
    return bounce_read(reader, bytes, length, row, context);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint64_t sum;
    size_t piece = size > 0 ? data[0] % 61u + 1 : 1;
    uint64_t whole = 0;

    if (reader == NULL) {
        reader = bounce_reader_new();
        intake = intake_new(mail, &sum);
    }
    HK_BUG_ON(reader == NULL || intake == NULL);
    for (int i = 0; i < 2; i++) {
        sum = rows = 0;
        for (size_t at = 0; at < size; at += i == 0 ? size : piece) {
            size_t left = size - at;
            HK_BUG_ON(intake_put(intake, (const char *)data + at, i == 0 || left < piece ? left : piece) < 0);
        }
        HK_BUG_ON(intake_end(intake) < 0);
        HK_BUG_ON(rows > size);
        HK_BUG_ON(i == 1 && sum != whole);
        whole = sum;
    }
    return 0;
}
