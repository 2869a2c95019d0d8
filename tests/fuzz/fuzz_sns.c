/* fuzz_sns.c - what may come by HTTP in the name of Amazon: the first byte chooses an envelope of SNS (sns.h), a notice of SES
 * (ses.h), or URLs. What is taken has to be what the rest of hikyaku may rely on. */
#include <ctype.h>
#include <string.h>

#include "hikyaku/ses.h"
#include "hikyaku/sns.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_envelope(const char *bytes, size_t length)
{
    struct sns_message m;
    struct hk_why why = {""};
    size_t signed_length = 0;
    char *text;

    if (sns_read(bytes, length, &m, &why) != 0) {
        HK_BUG_ON(why.text[0] == '\0' || m.json != NULL);
        return;
    }
    HK_BUG_ON(m.version != 1 && m.version != 2);
    HK_BUG_ON(!sns_topic_is_valid(m.topic) || m.signature_length == 0);
    HK_BUG_ON(m.type != SNS_NOTIFICATION && (m.token == NULL || m.subscribe_url == NULL));
    text = sns_signed_text(&m, &signed_length);
    HK_BUG_ON(text == NULL || strlen(text) != signed_length);
    free(text);
    sns_message_free(&m);
}

/* Nothing between the scheme and the path but the host that the rule names. */
static void check_host(const char *url)
{
    char host[SNS_URL_MAX];
    const char *end;

    sns_url_host(url, host);
    HK_BUG_ON(strncmp(url, "https://", 8) != 0 || strncmp(url + 8, host, strlen(host)) != 0);
    HK_BUG_ON(url[8 + strlen(host)] != '/' || strncmp(host, "sns.", 4) != 0);
    end = strchr(host + 4, '.');
    HK_BUG_ON(end == NULL || (strcmp(end, ".amazonaws.com") != 0 && strcmp(end, ".amazonaws.com.cn") != 0));
    for (const char *c = host; *c != '\0'; c++)
        HK_BUG_ON(!isalnum((unsigned char)*c) && *c != '.' && *c != '-');
}

static void check_urls(const char *bytes, size_t length)
{
    char *url = malloc(length + 1);
    struct hk_why why = {""};

    HK_BUG_ON(url == NULL);
    memcpy(url, bytes, length);
    url[length] = '\0';
    (void)sns_topic_is_valid(url);
    if (sns_certificate_url_check(url, &why) == 0) {
        check_host(url);
        HK_BUG_ON(strpbrk(url, "?#@\\%") != NULL);
    } else {
        HK_BUG_ON(why.text[0] == '\0');
    }
    if (sns_subscribe_url_check(url, "arn:aws:sns:us-east-1:123456789012:ses", &why) == 0) {
        check_host(url);
        HK_BUG_ON(strncmp(url, "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&", 64) != 0);
    }
    free(url);
}

static void found(void *context, const struct bounce *b)
{
    size_t *count = context;

    HK_BUG_ON(b->verdict.reply_class == CLASS_NONE || b->verdict.reply_class >= CLASSES);
    HK_BUG_ON(b->kind != KIND_BOUNCE && b->kind != KIND_FEEDBACK &&
              b->verdict.disposition == DISPOSITION_SUPPRESS);
    HK_BUG_ON(b->code != 0 && (b->code < 400 || b->code > 599));
    HK_BUG_ON(!utf8_is_valid(b->reason, strlen(b->reason)));
    HK_BUG_ON(b->recipient[0] != '\0' && strchr(b->recipient, '@') == NULL);
    HK_BUG_ON(++*count > SES_RECIPIENTS_MAX);
}

static void check_notice(const char *bytes, size_t length)
{
    struct ses_notice notice;
    struct hk_why why = {""};
    size_t count = 0;
    int error = ses_read(bytes, length, &notice, found, &count, &why);

    HK_BUG_ON(error != 0 && (why.text[0] == '\0' || count > 0));
    HK_BUG_ON(notice.event == SES_NOTHING && count > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *bytes;

    if (size == 0)
        return 0;
    bytes = malloc(size > 1 ? size - 1 : 1); /* of exactly its size, for the address sanitizer */
    HK_BUG_ON(bytes == NULL);
    memcpy(bytes, data + 1, size - 1);
    if (data[0] % 3 == 0)
        check_envelope(bytes, size - 1);
    else if (data[0] % 3 == 1)
        check_notice(bytes, size - 1);
    else
        check_urls(bytes, size - 1);
    free(bytes);
    return 0;
}
