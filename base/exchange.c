/* exchange.c - questions and answers as they cross the socket between master and resolver. See resolve.h. */
#include <string.h>

#include "hikyaku/resolve.h"

#define QUESTION_FRONT offsetof(struct resolve_question, name)
#define ANSWER_FRONT   offsetof(struct resolve_answer, address)
#define HOST_FRONT     offsetof(struct resolve_host, name)

/* Where the next octets go, or come from. ok turns false when there are not enough, and stays that. */
struct writer {
    uint8_t *at;
    size_t room;
    bool ok;
};

struct reader {
    const uint8_t *at;
    size_t left;
    bool ok;
};

static void put(struct writer *to, const void *bytes, size_t length)
{
    to->ok = to->ok && length <= to->room;
    if (!to->ok)
        return;
    memcpy(to->at, bytes, length);
    to->at += length;
    to->room -= length;
}

static void put_text(struct writer *to, const char *text)
{
    put(to, text, strlen(text) + 1);
}

static size_t written(const struct writer *to, const uint8_t *begin)
{
    return to->ok ? (size_t)(to->at - begin) : 0;
}

static void take(struct reader *from, void *bytes, size_t length)
{
    from->ok = from->ok && length <= from->left;
    if (!from->ok)
        return;
    memcpy(bytes, from->at, length);
    from->at += length;
    from->left -= length;
}

static void take_text(struct reader *from, char *text, size_t size)
{
    size_t most = from->left < size ? from->left : size;
    const uint8_t *end = from->ok ? memchr(from->at, '\0', most) : NULL;

    if (end == NULL)
        from->ok = false;
    else
        take(from, text, (size_t)(end - from->at) + 1);
}

static size_t taken(const struct reader *from, const uint8_t *begin)
{
    return from->ok ? (size_t)(from->at - begin) : 0;
}

size_t resolve_pack_question(const struct resolve_question *question, uint8_t *to, size_t room)
{
    struct writer writer = {to, room, true};

    put(&writer, question, QUESTION_FRONT);
    put_text(&writer, question->name);
    return written(&writer, to);
}

size_t resolve_unpack_question(const uint8_t *from, size_t length, struct resolve_question *out)
{
    struct reader reader = {from, length, true};

    take(&reader, out, QUESTION_FRONT);
    take_text(&reader, out->name, sizeof out->name);
    return taken(&reader, from);
}

size_t resolve_pack_answer(const struct resolve_answer *answer, uint8_t *to, size_t room)
{
    struct writer writer = {to, room, true};

    put(&writer, answer, ANSWER_FRONT);
    put(&writer, answer->address, answer->address_count * sizeof *answer->address);
    for (uint8_t i = 0; i < answer->host_count; i++) {
        put(&writer, &answer->host[i], HOST_FRONT);
        put_text(&writer, answer->host[i].name);
    }
    put_text(&writer, answer->words);
    if (answer->has_words) {
        put_text(&writer, answer->rua);
        put_text(&writer, answer->sts_policy);
    }
    if (answer->has_dane)
        put(&writer, &answer->dane, sizeof answer->dane);
    return written(&writer, to);
}

size_t resolve_unpack_answer(const uint8_t *from, size_t length, struct resolve_answer *out)
{
    struct reader reader = {from, length, true};

    take(&reader, out, ANSWER_FRONT);
    if (!reader.ok || out->host_count > RESOLVE_HOSTS_MAX || out->address_count > RESOLVE_ADDRESSES_MAX)
        return 0;
    take(&reader, out->address, out->address_count * sizeof *out->address);
    for (uint8_t i = 0; i < out->host_count; i++) {
        take(&reader, &out->host[i], HOST_FRONT);
        take_text(&reader, out->host[i].name, sizeof out->host[i].name);
    }
    take_text(&reader, out->words, sizeof out->words);
    out->rua[0] = out->sts_policy[0] = '\0';
    if (out->has_words) {
        take_text(&reader, out->rua, sizeof out->rua);
        take_text(&reader, out->sts_policy, sizeof out->sts_policy);
    }
    if (out->has_dane)
        take(&reader, &out->dane, sizeof out->dane);
    return taken(&reader, from);
}
