/* word.h - header field bodies: folding (RFC 5322 2.2.3) and encoded-words (RFC 2047).
 *
 * Pure. A field is written by putting its name and then words; the writer breaks lines so that they have at
 * most 78 octets where words allow it, and encodes what could make a line of more than 998.
 */
#ifndef MESSAGE_WORD_H
#define MESSAGE_WORD_H

#include "buf.h"

#define WORD_LINE_MAX  78
#define WORD_PLAIN_MAX 900 /* octets of a word that may stand unencoded; a line has 998 */

struct fold {
    struct buf *out;
    size_t col;
    bool begun; /* a word stands in the field */
};

void fold_begin(struct fold *fold, struct buf *out, const char *name, size_t name_length);
/* Put a word that cannot be broken, behind a blank or a fold unless it is the field's first. */
void fold_word(struct fold *fold, const char *word, size_t length);
/* Put octets where no blank may come (a comma). */
void fold_glue(struct fold *fold, const char *text);
void fold_end(struct fold *fold);

/* An unstructured text (UTF-8, cleaned): as it is where that is safe, else as encoded-words. */
void fold_text(struct fold *fold, const char *text, size_t length);
/* The same for a display name: atoms, else a quoted-string, else encoded-words. */
void fold_phrase(struct fold *fold, const char *text, size_t length);

/* In place: controls (C0, DEL, C1) become blanks, blanks at both ends go. Returns where the text begins now. */
char *header_clean(char *text, size_t *length);

/* Append text with its encoded-words decoded to UTF-8; white space between two of them goes. 0, HK_EINVAL
 * for a charset that iconv does not know or octets that it does not have, HK_ENOMEM. */
int words_decode(const char *text, size_t length, struct buf *out) HK_MUST_USE;

#endif
