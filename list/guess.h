/* guess.h - which encoding bytes that are no UTF-8 seem to be in, for a hint to a person.
 *
 * Only counts; nothing is ever decoded by a guess.
 */
#ifndef LIST_GUESS_H
#define LIST_GUESS_H

#include "hikyaku/base.h"

struct guess {
    uint64_t high, runs; /* bytes above 0x7f, and runs of them */
    uint64_t sjis_pairs,
        sjis_common; /* double bytes of Shift_JIS; those in its rows of kana and usual kanji */
    uint64_t euc_pairs, euc_kana;
    uint64_t letters; /* bytes that are Latin letters in windows-1252 */
    bool no_sjis, no_euc, no_latin;
};

void guess_add(struct guess *guess, const char *text, size_t length);

/* "looks like Shift_JIS, as Excel in Japan saves it: add --encoding Shift_JIS", or NULL. */
const char *guess_words(const struct guess *guess);
/* The same for a text that is UTF-16 or ISO-2022-JP, by its first block. */
const char *guess_words_of_beginning(const char *text, size_t length);

#endif
