/* dkim.h - the DKIM-Signature of a copy (RFC 6376): what is static is made at compile. */
#ifndef MESSAGE_DKIM_H
#define MESSAGE_DKIM_H

#include "internal.h"

/* After the header was compiled: the list of signed fields (static ones first, From once more at its end, so
 * that no second From can be added), the fields up to "t=", and the hash over the static signed fields. */
int dkim_compile(struct message *message) HK_MUST_USE;
void dkim_free(struct message *message);

/* The fields of the copy's signatures, one for each key, each with a blank behind "b=" and what will be signed for it kept in
 * the arena, whose `header` has the canonical dynamic signed fields. False when OpenSSL fails, which it does only for lack of
 * memory. */
bool dkim_begin(const struct render *render, const uint8_t *body_digest);
/* Fill in the blanks. False as above. */
bool dkim_sign(const struct message *message, struct copy_arena *arena);

#endif
