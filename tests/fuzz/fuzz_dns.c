/* fuzz_dns.c - bytes as a DNS server may send them, through question.h: whatever they say, the answer must be one that
 * the master can trust. The first byte chooses the question; then come messages, each with its length before it. */
#include <string.h>

#include "question.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t draw_middle(uint32_t bound)
{
    return bound / 2;
}

static void answer_check(const struct resolve_answer *answer)
{
    HK_BUG_ON(answer->status > RESOLVE_TEMPORARY);
    HK_BUG_ON(answer->host_count > RESOLVE_HOSTS_MAX || answer->address_count > RESOLVE_ADDRESSES_MAX);
    HK_BUG_ON((answer->status == RESOLVE_OK) != (answer->address_count > 0));
    HK_BUG_ON(answer->ttl_s < QUESTION_TTL_MIN_S || answer->ttl_s > QUESTION_TTL_MAX_S);
    HK_BUG_ON(!memchr(answer->words, '\0', sizeof answer->words));
    for (unsigned h = 0; h < answer->host_count; h++)
        HK_BUG_ON(!packet_name_is_host(answer->host[h].name));
    for (unsigned i = 0; i < answer->address_count; i++)
        HK_BUG_ON(answer->address[i].host >= answer->host_count);
    if (!answer->has_dane)
        return;
    HK_BUG_ON(!dane_is_sound(&answer->dane));
    for (unsigned i = 0; i < answer->dane.record_count; i++)
        HK_BUG_ON(answer->dane.record[i].host >= answer->host_count ||
                  answer->host[answer->dane.record[i].host].dane != DANE_USABLE);
}

/* The next message, in memory of exactly its size; NULL when there is none. */
static uint8_t *message_cut(const uint8_t **data, size_t *size, size_t *length)
{
    uint8_t *bytes;

    if (*size < 2)
        return NULL;
    *length = ((size_t)(*data)[0] << 8) | (*data)[1];
    *data += 2;
    *size -= 2;
    if (*length > *size)
        *length = *size;
    bytes = hk_xcalloc(*length + 1, 1);
    bytes = hk_xrealloc(bytes, *length ? *length : 1, 1);
    memcpy(bytes, *data, *length);
    *data += *length;
    *size -= *length;
    return bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct resolve_question asked = {.id = 1, .name = "x.test"};
    static char own_name[] = "mx1.x.test";
    char *own_names[] = {own_name};
    static struct own_address own_address = {AF_INET, {192, 0, 2, 1}};
    const struct own own = {.name = {own_names, 1}, .address = &own_address, .address_count = 1};
    struct question_lookup lookups[QUESTION_LOOKUPS_MAX];
    struct question question;
    bool done, secure;

    if (size == 0)
        return 0;
    log_threshold = LOG_LEVEL_ERROR;
    asked.mx = data[0] & 1;
    asked.ipv6 = (data[0] >> 1) & 1;
    asked.tlsa_port = data[0] & 4 ? 25 : 0;
    secure = data[0] & 8;
    bool has_own = (data[0] >> 4) & 1;
    data++;
    size--;
    for (done = question_begin(&question, &asked, has_own ? &own : NULL); !done;
         done = question_step(&question, draw_middle)) {
        uint32_t count = question_lookups(&question, lookups);

        for (uint32_t i = 0; i < count; i++) {
            size_t length;
            uint8_t *bytes = message_cut(&data, &size, &length);

            if (bytes)
                question_take(&question, &lookups[i], bytes, length, secure | (i & 1), draw_middle);
            else
                question_take_failure(&question, &lookups[i], "no more input");
            free(bytes);
        }
    }
    answer_check(&question.answer);
    question_end(&question);
    return 0;
}
