/* reading.h - what one DNS message says about one question: MX hosts, addresses, or that there are none.
 *
 * Between packet.h (bytes) and the resolver (questions). Pure, no allocation: the fuzzer drives it.
 */
#ifndef HIKYAKU_READING_H
#define HIKYAKU_READING_H

#include "choice.h"
#include "packet.h"

enum reading_verdict {
    READING_FOUND,
    READING_NONE, /* the name exists, but not with such records (NODATA) */
    READING_NXDOMAIN,
    READING_FAILED, /* not to be read, or an rcode that answers nothing */
};

#define READING_NEGATIVE_TTL_S 300u /* where no SOA says for how long */

struct reading {
    enum reading_verdict verdict;
    bool null_mx;   /* RFC 7505 */
    uint32_t ttl_s; /* smallest of the records used, CNAMEs included; with NONE and NXDOMAIN from the SOA */
    uint32_t unfit; /* MX records whose host is no host name */
    char unfit_name[DOMAIN_MAX + 1]; /* the first of them, clean for a log */
    char words[64];                  /* with FAILED: "SERVFAIL", "a malformed answer" */
};

void reading_mx(const void *bytes, size_t length, choice_draw_fn draw, struct choice_list *list,
                struct reading *out);
void reading_addresses(const void *bytes, size_t length, enum choice_family family,
                       struct choice_addresses *addresses, struct reading *out);

/* Words for an rcode of DNS: "SERVFAIL", "REFUSED", "rcode 11". `words` holds 64. */
void reading_rcode_words(int rcode, char *words);

#endif
