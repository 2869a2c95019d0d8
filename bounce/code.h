/* code.h - the codes that stand in texts: of replies (RFC 5321 4.2.1), and enhanced ones (RFC 3463 2).
 *
 * A text is a reply as a server sent it, a diagnosis that quotes one, or a notice for people; it has sizes, dates, ids and
 * addresses in it as well. Which digits are a code, and where a reply begins, is decided here alone. Pure, no allocation.
 */
#ifndef BOUNCE_CODE_H
#define BOUNCE_CODE_H

#include "slice.h"

/* "5.7.509" at the beginning of these bytes, of class 2, 4 or 5: its length, 0 for none. What follows must not be one more
 * number, for that is an IP address. */
size_t code_status_at(const char *at, size_t left, uint16_t status[3]);
/* The first in a text whose class is one of `classes` (a bit for each); false: there is none. */
bool code_find_status(struct slice text, unsigned classes, uint16_t status[3]);

/* Three digits of a refusal, "400" to "579" (some answer 571), whatever stands around them: the code; 0 for none. */
uint16_t code_of_refusal(const char *at, size_t left);
/* The same where a reply begins at this place of the text: at the beginning, behind a sign or a word that leads to one, or
 * with an enhanced code behind it ("said: 550 No such user", "(550-5.1.1"). A number in a size, an id or a sentence is none. */
uint16_t code_reply_at(struct slice text, size_t at);

#endif
