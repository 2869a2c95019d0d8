/* dkim.h - the DKIM-Signature of a copy (RFC 6376): what is static is made at compile. */
#ifndef MESSAGE_DKIM_H
#define MESSAGE_DKIM_H

#include "internal.h"

/* After the header was compiled: the list of signed fields (static ones first, From once more at its end, so
 * that no second From can be added), the fields up to "t=", and the hash over the static signed fields. */
int dkim_compile(struct message *message) HK_MUST_USE;
void dkim_free(struct message *message);

/* Append one field for each key. `dynamic` are the canonical dynamic signed fields in their order. False when
 * OpenSSL fails, which it does only for lack of memory. */
bool dkim_sign(const struct render *render, const struct buf *dynamic, const uint8_t *body_digest,
               struct buf *out);

#endif
