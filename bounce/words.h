/* words.h - which of many words a text has, found in one walk over it (private to bounce/).
 *
 * A pattern can only match where one of the words of each of its places stands in the text. A place is known here by a
 * number, and a text has a bit for each. So few patterns are left to be tried on a text, however many there are.
 */
#ifndef HIKYAKU_BOUNCE_WORDS_H
#define HIKYAKU_BOUNCE_WORDS_H

#include "hikyaku/base.h"

#define WORDS_PLACES  1024u
#define WORDS_BUCKETS 4096u
#define WORD_MIN      3u /* shorter ones are everywhere */

struct word {
    char *text; /* owned */
    uint16_t length, place;
    uint32_t next; /* of the same bucket; 0: none */
};
struct words {
    struct word *word; /* word[0] is none */
    size_t count;
    uint16_t places;
    uint32_t bucket[WORDS_BUCKETS];
};
struct words_found {
    uint64_t place[WORDS_PLACES / 64];
};

static inline bool words_meet(const struct words_found *a, const struct words_found *b)
{
    uint64_t both = 0;

    for (size_t i = 0; i < WORDS_PLACES / 64; i++)
        both |= a->place[i] & b->place[i];
    return both != 0;
}

/* A new place; HK_EFULL when there are WORDS_PLACES. */
int words_place(struct words *words, uint16_t *place) HK_MUST_USE;
/* A word of `length` >= WORD_MIN bytes that may stand there. */
void words_add(struct words *words, uint16_t place, const char *text, size_t length);
void words_find(const struct words *words, const char *text, size_t length, struct words_found *out);
void words_free(struct words *words);

static inline bool words_has(const struct words_found *found, uint16_t place)
{
    return found->place[place / 64] >> place % 64 & 1;
}

#endif
