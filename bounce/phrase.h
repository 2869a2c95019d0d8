/* phrase.h - what programs say in notices, in their many words and languages: the data that tells a bounce from a delay,
 * an automatic reply and a human (private to bounce/).
 */
#ifndef BOUNCE_PHRASE_H
#define BOUNCE_PHRASE_H

#include "slice.h"

/* What a phrase says. */
enum phrase_meaning {
    SAYS_FAILED = 1u << 0,   /* the message did not arrive */
    SAYS_DELAYED = 1u << 1,  /* it has not arrived yet, and is still being tried */
    SAYS_GIVEN_UP = 1u << 2, /* whatever else is said, it is not tried again */
    SAYS_AWAY = 1u << 3,     /* somebody answers by a program */
    SAYS_ORIGINAL = 1u << 5, /* behind this line comes the message that is returned */
    SAYS_DAEMON = 1u << 6,   /* in From: mail from a mail system */
    SAYS_TROUBLE = 1u << 7,  /* near an address: something happened to it */
    SAYS_NOT_HIM = 1u << 8,  /* before an address: it is not the recipient */
};

/* A text for look-ups: lower case, runs of blanks and line ends as one blank. Of a long text the beginning. */
#define FOLDED_MAX 16384u
struct folded {
    char text[FOLDED_MAX + 2]; /* begins and ends with a blank, then a NUL */
    size_t length;
};
void folded_set(struct folded *folded, struct slice text);
/* What of a text would fit into one. */
struct slice folded_part(struct slice text);

/* Which of the wanted meanings the text has. */
uint32_t phrases_in(struct folded *scratch, struct slice text, uint32_t wanted);

/* One phrase, as in the table: '*' is a gap of at most PHRASE_GAP_MAX bytes. */
#define PHRASE_GAP_MAX 40u
bool phrase_is_in(const struct folded *folded, const char *pattern);

struct phrase {
    uint32_t meaning;
    const char *pattern; /* lower case, as it stands in a folded text */
};
extern const struct phrase phrases[];
extern const size_t phrase_count;

#endif
