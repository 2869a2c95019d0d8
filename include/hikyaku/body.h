/* body.h - find the end of a message in the bytes of a connection (RFC 5321 4.1.1.4, 4.5.2).
 *
 * Takes pieces of any size and copies nothing. Only CRLF "." CRLF ends a message: a receiver that takes a bare
 * LF for a line end opens the door to smuggled mail. Also counts what a sender should not send.
 */
#ifndef HIKYAKU_BODY_H
#define HIKYAKU_BODY_H

#include "hikyaku/base.h"

#define BODY_LINE_MAX 1000u /* octets of a text line, CRLF included (RFC 5321 4.5.3.1.6) */

struct body_reader {
    uint8_t state;
    size_t line;  /* octets of the line so far */
    size_t bytes; /* taken so far, the final dot included */
    size_t bare_lf, long_lines;
};

void body_reader_init(struct body_reader *body);
/* Octets taken of `bytes`; all of them unless *ended: then what is left belongs to the dialogue. */
size_t body_reader_take(struct body_reader *body, const char *bytes, size_t length, bool *ended);
/* Undo dot-stuffing in place, and cut the final dot off: the length of the message. */
size_t body_unstuff(char *bytes, size_t length);

#endif
