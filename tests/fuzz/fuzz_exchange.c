/* fuzz_exchange.c - a packet as the resolver process may send it, should a stranger have got into it: what is read of it is within
 * its bounds, and packed again it is what was read. The first byte tells whether it is answers or questions. */
#include <string.h>

#include "hikyaku/resolve.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint8_t packet[RESOLVE_PACKET_MAX];

static size_t answer_check(const uint8_t *bytes, size_t length)
{
    struct resolve_answer answer;
    size_t took = resolve_unpack_answer(bytes, length, &answer);

    if (took == 0)
        return 0;
    HK_BUG_ON(took > length || answer.host_count > RESOLVE_HOSTS_MAX ||
              answer.address_count > RESOLVE_ADDRESSES_MAX);
    for (unsigned i = 0; i < answer.host_count; i++)
        HK_BUG_ON(memchr(answer.host[i].name, '\0', sizeof answer.host[i].name) == NULL);
    HK_BUG_ON(memchr(answer.words, '\0', sizeof answer.words) == NULL ||
              memchr(answer.rua, '\0', sizeof answer.rua) == NULL ||
              memchr(answer.sts_policy, '\0', sizeof answer.sts_policy) == NULL);
    HK_BUG_ON(resolve_pack_answer(&answer, packet, sizeof packet) != took ||
              memcmp(packet, bytes, took) != 0);
    return took;
}

static size_t question_check(const uint8_t *bytes, size_t length)
{
    struct resolve_question question;
    size_t took = resolve_unpack_question(bytes, length, &question);

    if (took == 0)
        return 0;
    HK_BUG_ON(took > length || memchr(question.name, '\0', sizeof question.name) == NULL);
    HK_BUG_ON(resolve_pack_question(&question, packet, sizeof packet) != took ||
              memcmp(packet, bytes, took) != 0);
    return took;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *bytes;

    if (size == 0)
        return 0;
    bytes = hk_xrealloc(NULL, size, 1); /* of exactly its size */
    memcpy(bytes, data + 1, size - 1);
    for (size_t at = 0, took = 1; took > 0; at += took)
        took =
            data[0] & 1 ? answer_check(bytes + at, size - 1 - at) : question_check(bytes + at, size - 1 - at);
    free(bytes);
    return 0;
}
