/* dane_host.h - whether one host has TLSA records, and at which name they are looked for (RFC 7672 2.2.2).
 *
 *   addresses secure, no alias        the host's own name
 *   addresses secure, an alias        the name at the end of the CNAMEs; where that has none, the host's own
 *   not secure, an alias              the host's own name, if its CNAME record is secure
 *   not secure, no alias              nothing: DANE is not for this host
 *
 * Pure: look-ups are made by question.h, a round at a time, for all hosts at once.
 */
#ifndef HIKYAKU_DANE_HOST_H
#define HIKYAKU_DANE_HOST_H

#include "reading.h"

enum dane_ask { DANE_ASK_NOTHING = 0, DANE_ASK_CNAME, DANE_ASK_EXPANDED, DANE_ASK_OWN };

struct dane_host {
    enum dane_ask ask;
    enum dane_state state;
    bool has_address;
    bool insecure;         /* some of its addresses are not vouched for */
    bool alias;            /* its addresses stand under another name */
    bool own_is_worth_it;  /* its CNAME record is secure */
    bool base_is_expanded; /* the records stand under `expanded` */
    char expanded[DOMAIN_MAX + 1];
    char question[DOMAIN_MAX + 1]; /* the name of the look-up under way */
};

/* Addresses of `name` were found under `owner` ("": under a name that no host may have). */
void dane_host_address(struct dane_host *host, const char *name, const char *owner, bool secure);

/* All addresses are known: what to ask first; then, after each round of look-ups, what to ask next. */
void dane_host_begin(struct dane_host *host, uint16_t port, const char *name);
void dane_host_next(struct dane_host *host, uint16_t port, const char *name);
enum packet_type dane_host_type(const struct dane_host *host);

/* What the look-up brought; with reading->verdict READING_FAILED, or where nothing came, dane_host_failed() follows. */
void dane_host_cname(struct dane_host *host, const void *bytes, size_t length, bool secure,
                     struct reading *reading);
void dane_host_tlsa(struct dane_host *host, uint32_t number, const void *bytes, size_t length, bool secure,
                    struct dane_set *set, struct reading *reading);
void dane_host_failed(struct dane_host *host);

#endif
