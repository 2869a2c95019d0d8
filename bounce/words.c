/* words.c - which of many words a text has: a hash of three bytes at each place of the text, and what begins so. */
#include "words.h"

#include <string.h>

static uint32_t bucket_of(const char *text)
{
    const unsigned char *t = (const unsigned char *)text;

    return ((uint32_t)t[0] | (uint32_t)t[1] << 8 | (uint32_t)t[2] << 16) * 2654435761u >> 20;
}
_Static_assert(WORDS_BUCKETS == 1u << 12, "the hash gives 12 bits");

int words_place(struct words *words, uint16_t *place)
{
    if (words->places >= WORDS_PLACES)
        return HK_EFULL;
    *place = words->places++;
    return 0;
}

void words_add(struct words *words, uint16_t place, const char *text, size_t length)
{
    uint32_t bucket = bucket_of(text);

    HK_BUG_ON(length < WORD_MIN || length > UINT16_MAX);
    if (words->count == 0)
        words->count = 1;
    words->word = hk_xrealloc(words->word, words->count + 1, sizeof *words->word);
    words->word[words->count] = (struct word){.text = hk_xcalloc(length + 1, 1),
                                              .length = (uint16_t)length,
                                              .place = place,
                                              .next = words->bucket[bucket]};
    memcpy(words->word[words->count].text, text, length);
    words->bucket[bucket] = (uint32_t)words->count++;
}

void words_find(const struct words *words, const char *text, size_t length, struct words_found *out)
{
    memset(out, 0, sizeof *out);
    for (size_t at = 0; at + WORD_MIN <= length; at++) {
        for (uint32_t i = words->bucket[bucket_of(text + at)]; i != 0; i = words->word[i].next) {
            const struct word *word = &words->word[i];
            if (word->length <= length - at && memcmp(word->text, text + at, word->length) == 0)
                out->place[word->place / 64] |= UINT64_C(1) << word->place % 64;
        }
    }
}

void words_free(struct words *words)
{
    for (size_t i = 1; i < words->count; i++)
        free(words->word[i].text);
    free(words->word);
    memset(words, 0, sizeof *words);
}
