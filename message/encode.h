/* encode.h - the encodings of mail: quoted-printable and base64 (RFC 2045), base32 (RFC 4648), HTML text.
 *
 * Pure functions over memory: no log, no state but what the caller hands in. The encoders append to a buf;
 * the text they get has its lines ended by CRLF (text_normalise). Nothing they write can be taken for a dot
 * line, a boundary or an mbox "From " line: '.', '-' and that 'F' are encoded where a line begins.
 */
#ifndef MESSAGE_ENCODE_H
#define MESSAGE_ENCODE_H

#include "buf.h"

#define ENCODE_LINE_MAX 76

/* Quoted-printable. *col is the column reached in the present line, 0 at its start. White space at the end of
 * the text is encoded, because a line break may follow that the encoder does not see. */
void qp_encode(const char *text, size_t length, size_t *col, struct buf *out);
/* Octets that qp_encode and base64 would need, without line breaks: to choose between them. */
size_t qp_size(const char *text, size_t length);

/* Base64 as a stream: the up to two octets that do not fill a group of three wait in the carry. A line break
 * is put before a group that would not fit, never after one. */
struct base64 {
    uint8_t carry[3];
    uint8_t carry_length;
};
void base64_put(struct base64 *state, const char *text, size_t length, size_t *col, struct buf *out);
void base64_end(struct base64 *state, size_t *col, struct buf *out);
/* All of it in one line, padded. */
void base64_line(const void *bytes, size_t length, struct buf *out);

/* Decoders take what others wrote: line ends of any kind; base64 skips octets that are not of its alphabet,
 * quoted-printable leaves a '=' that begins no escape as it is (RFC 2045 6.7 asks for robustness). */
void qp_decode(const char *text, size_t length, struct buf *out);
void base64_decode(const char *text, size_t length, struct buf *out);
/* Where a text stops being base64 (an octet of no alphabet, something behind the padding, an end that is missing): the octets
 * up to there, that one included; 0: nowhere. */
size_t base64_fault(const char *text, size_t length) HK_MUST_USE;

/* Base32, lower case, unpadded: survives receivers that fold case. base32_size() gives the digits. */
size_t base32_size(size_t bytes);
void base32_encode(const uint8_t *bytes, size_t length, char *out);
/* The number of octets, or -1: not base32, more than `room` octets, or bits set behind the last octet. */
int base32_decode(const char *text, size_t length, uint8_t *out, size_t room);

/* Append text with every CR, LF or CRLF as CRLF. */
void text_normalise(const char *text, size_t length, struct buf *out);
/* Append text with CRLF line ends and, with `html`, with & < > " ' as entities. */
void text_escape(const char *text, size_t length, bool html, struct buf *out);
/* Has it anything that text_escape would change? */
bool text_is_plain(const char *text, size_t length, bool html);

/* Octets of the UTF-8 character at the start of text (1 for an octet that begins none, or is cut). */
size_t utf8_length(const char *text, size_t length);
/* 0 for valid UTF-8, else 1 + the offset of the first octet that is wrong. */
size_t utf8_fault(const char *text, size_t length);
bool text_is_ascii(const char *text, size_t length);

/* Convert from a named charset to UTF-8, appended to out. 0, HK_EINVAL (unknown charset, or octets that it
 * does not have), HK_ENOMEM. */
int charset_to_utf8(const char *charset, const char *text, size_t length, struct buf *out) HK_MUST_USE;

#endif
