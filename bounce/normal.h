/* normal.h - the text of a diagnosis, made fit to be compared with rules (private to bounce/). */
#ifndef HIKYAKU_BOUNCE_NORMAL_H
#define HIKYAKU_BOUNCE_NORMAL_H

#include "hikyaku/base.h"

#define NORMAL_MAX  2048u /* of a longer text the beginning is judged */
#define NORMAL_SIZE (NORMAL_MAX + 8u)

/* Lower case, one blank between words and at both ends, letters without their accents; `out` holds NORMAL_SIZE bytes
 * and ends with a NUL. What says nothing goes: a mail address becomes "@", of a URL only the host stays, enhanced
 * codes stand elsewhere. Any bytes will do: what is no UTF-8 is taken for Latin-1. The length of `out`. */
size_t normal_text(const char *text, size_t length, char out[NORMAL_SIZE]);

#endif
