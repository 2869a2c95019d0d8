/* reading.h - what one DNS message says about one question: MX hosts, addresses, or that there are none.
 *
 * Between packet.h (bytes) and the resolver (questions). Pure, no allocation: the fuzzer drives it.
 */
#ifndef HIKYAKU_READING_H
#define HIKYAKU_READING_H

#include "choice.h"
#include "hikyaku/dane.h"
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
    char owner[DOMAIN_MAX +
               1];  /* of the first record used: another name than the one asked for is an alias's */
    char words[64]; /* with FAILED: "SERVFAIL", "a malformed answer" */
};

void reading_mx(const void *bytes, size_t length, choice_draw_fn draw, struct choice_list *list,
                struct reading *out);
void reading_addresses(const void *bytes, size_t length, enum choice_family family,
                       struct choice_addresses *addresses, struct reading *out);

/* IPv4 addresses of `name` that stand beside the answer, in the additional section (RFC 1035 3.3.9): a set is there as a whole or
 * not at all (RFC 2181 9). None: count 0, *ttl_s as it was, and nothing is said of whether there are any. */
void reading_beside(const void *bytes, size_t length, const char *name, struct choice_addresses *addresses,
                    uint32_t *ttl_s);

/* TLSA records: those that can be used go into `set` as records of `host`, as far as there is room. With FOUND:
 * *state is DANE_USABLE; DANE_UNUSABLE when none can be used; DANE_FAILED when one could, but has no room. */
void reading_tlsa(const void *bytes, size_t length, uint32_t host, struct dane_set *set,
                  enum dane_state *state, struct reading *out);

/* Does the message hold a CNAME record of `name` itself? For READING_FOUND; anything else is READING_NONE or FAILED. */
void reading_cname(const void *bytes, size_t length, struct reading *out);

/* Words for an rcode of DNS: "SERVFAIL", "REFUSED", "rcode 11". `words` holds 64. */
void reading_rcode_words(int rcode, char *words);

#endif
