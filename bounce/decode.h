/* decode.h - what somebody wrote, as UTF-8: transfer encodings (RFC 2045), charsets, HTML, encoded-words (RFC 2047).
 *
 * Labels lie, so bytes win: what is no valid text of the charset it claims is tried as what it looks like, and what
 * cannot be read becomes '?'. Nothing here fails but for memory, which the text remembers.
 */
#ifndef BOUNCE_DECODE_H
#define BOUNCE_DECODE_H

#include <iconv.h>

#include "mime.h"
#include "slice.h"

/* Converters are slow to open, so the last few stay open. */
#define DECODER_CHARSETS 4u
struct decoder {
    struct {
        char name[40];
        iconv_t cd;
    } open[DECODER_CHARSETS];
    unsigned next;
    struct text raw, converted; /* between the steps */
};

void decoder_init(struct decoder *decoder);
void decoder_free(struct decoder *decoder);

/* Append the bytes of a part, its transfer encoding undone. */
void decode_transfer(enum mime_encoding encoding, struct slice in, struct text *out);
/* Append a text part as UTF-8, HTML as plain text. At most `max` bytes of the part are looked at. */
void decode_part(struct decoder *decoder, const struct mime_part *part, size_t max, struct text *out);
/* Append a field body: folding undone, encoded-words decoded. */
void decode_words(struct decoder *decoder, struct slice value, struct text *out);

#endif
