/* address.h - mailbox addresses as they stand in lists and on the wire (RFC 5321 4.1.2, RFC 6531, RFC 5891).
 *
 * Pure: no DNS, no log; memory is asked for only inside libidn2, for names that are not ASCII, and is returned
 * before the call ends. Used by the import, and by everything that takes an address from a person.
 */
#ifndef HIKYAKU_ADDRESS_H
#define HIKYAKU_ADDRESS_H

#include "hikyaku/base.h"

#define ADDRESS_MAX       320 /* local part 64, '@', domain 255 */
#define ADDRESS_LOCAL_MAX 64
#define DOMAIN_MAX        255 /* octets of a domain name as A-labels, without a trailing dot */

struct address {
    char text[ADDRESS_MAX + 1]; /* local part as written, '@', the domain as lower-case A-labels */
    uint16_t local_length;      /* octets before the '@' */
    uint16_t length;
    bool smtputf8; /* the local part is not ASCII: RFC 6531 is needed */
    bool legacy;   /* the local part has ".." or a leading or trailing dot: for legacy_local_part only */
};

/* Read one address, alone (no display name, no angle brackets, no comment; surrounding blanks are the
 * caller's to cut). 0, or HK_EINVAL with the reason ("no @", "domain has an empty label", ...) in why->text
 * without a file and line. A legacy local part is accepted here and marked: who may use it depends on the
 * provider. Domain literals, single-label domains and quoted local parts: literals and single labels are
 * refused in words; a quoted local part is valid. */
int address_parse(const char *text, size_t length, struct address *out, struct hk_why *why) HK_MUST_USE;

/* The octets of a local part that needs no second look: a dot-string of ASCII (RFC 5321 4.1.2) of at most
 * ADDRESS_LOCAL_MAX octets before an '@', in an address that is not too long as it stands. 0: address_parse() has to
 * see it. With a domain that domain_to_ascii() would leave as it is, address_parse() would take such an address and
 * change nothing. */
size_t address_plain_local(const char *text, size_t length);

/* Has an address that was read (address.text, or the wire form in a segment) a legacy local part? */
bool address_is_legacy(const char *text, size_t length);

/* Make a domain a lower-case A-label name (IDNA 2008, libidn2), without a trailing dot. `out` holds
 * DOMAIN_MAX + 1. */
int domain_to_ascii(const char *text, size_t length, char *out, struct hk_why *why) HK_MUST_USE;

/* Does `name` match `pattern`: the same name, or "*.example.com" for any name below it. Case does not count.
 */
bool domain_matches(const char *pattern, const char *name);

/* Is it UTF-8 (RFC 3629)? */
bool utf8_is_valid(const char *text, size_t length);
/* How many of the first bytes are ASCII. */
size_t utf8_ascii_length(const char *text, size_t length);

#endif
