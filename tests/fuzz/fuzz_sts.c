/* fuzz_sts.c - what strangers say of TLS: the first byte chooses a policy file (sts.h) or a DNS message with TXT records
 * (txt.h). What is taken has to be what the rest of hikyaku may rely on. */
#include <string.h>

#include "packet.h"
#include "sts.h"
#include "txt.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void policy_check(const char *bytes, size_t length)
{
    struct sts_policy policy;
    struct hk_why why = {""};
    char text[1024];
    uint32_t count = 0;

    if (sts_policy_parse(bytes, length, &policy, &why)) {
        HK_BUG_ON(why.text[0] == '\0' || policy.mx != NULL);
        return;
    }
    HK_BUG_ON(policy.mode > STS_ENFORCE || policy.max_age_s > STS_AGE_MAX_S);
    HK_BUG_ON(policy.mode != STS_NONE && policy.mx_count == 0);
    for (const char *mx = policy.mx, *end = mx + policy.mx_bytes; mx < end; mx += strlen(mx) + 1, count++) {
        bool wild = strncmp(mx, "*.", 2) == 0;
        char host[DOMAIN_MAX + 8];

        HK_BUG_ON(!packet_name_is_host(wild ? mx + 2 : mx));
        snprintf(host, sizeof host, wild ? "a%s" : "%s", wild ? mx + 1 : mx);
        HK_BUG_ON(!sts_policy_lists(&policy, host));
    }
    HK_BUG_ON(count != policy.mx_count);
    sts_policy_text(&policy, text, sizeof text);
    HK_BUG_ON(text[strlen(text) - 1] != '\n');
    sts_policy_clear(&policy);
}

static void txt_check(const char *bytes, size_t length)
{
    char id[TXT_STS_ID_MAX + 1], rua[TXT_RUA_SIZE];

    if (txt_sts_id(bytes, length, id))
        HK_BUG_ON(id[0] == '\0' || strlen(id) > TXT_STS_ID_MAX);
    if (txt_tlsrpt_rua(bytes, length, rua))
        HK_BUG_ON(strlen(rua) < 8 || strchr(rua, '\n') != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *bytes;

    if (size == 0)
        return 0;
    bytes = malloc(size > 1 ? size - 1 : 1); /* of exactly its size, for the address sanitizer */
    HK_BUG_ON(bytes == NULL);
    memcpy(bytes, data + 1, size - 1);
    if (data[0] & 1)
        txt_check(bytes, size - 1);
    else
        policy_check(bytes, size - 1);
    free(bytes);
    return 0;
}
