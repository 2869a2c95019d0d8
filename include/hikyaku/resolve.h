/* resolve.h - what the master and the resolver process say to each other: finished destinations, never raw
 * DNS.
 *
 * A SOCK_SEQPACKET socket pair; one struct a packet, both ends of the same build. The resolver parses what
 * strangers send, so it holds nothing: no key, no list, no Redis, no file of ours but the configuration's
 * [resolver] section and tls.ca_file.
 */
#ifndef HIKYAKU_RESOLVE_H
#define HIKYAKU_RESOLVE_H

#include "hikyaku/address.h"
#include "hikyaku/base.h"
#include "hikyaku/config.h"
#include "hikyaku/dane.h"

#define RESOLVE_HOSTS_MAX     16u
#define RESOLVE_ADDRESSES_MAX 16u
#define RESOLVE_INFLIGHT_MAX  4096u /* questions the master may have open at once */
#define RESOLVE_POLICY_SIZE   1024u /* lines of an MTA-STS policy beyond this are left out of reports */
#define RESOLVE_RUA_SIZE      512u

struct resolve_question {
    uint64_t id;  /* the asker's own */
    uint8_t mx;   /* 1: MX of the name (A fallback, RFC 5321 5.1); 0: only its addresses (a relay host) */
    uint8_t ipv6; /* AAAA as well */
    uint16_t
        tlsa_port; /* TLSA records of the hosts at this port, where DNSSEC vouches for all before; 0: none */
    char name[DOMAIN_MAX + 1];
};

enum resolve_status {
    RESOLVE_OK = 0,
    RESOLVE_NXDOMAIN,   /* the domain does not exist */
    RESOLVE_NULL_MX,    /* RFC 7505 */
    RESOLVE_OWN_HOST,   /* the best MX is this host itself, and it takes no mail for others (RFC 5321 5.1) */
    RESOLVE_NO_ADDRESS, /* MX hosts without an address, or neither MX nor A: deferred until give_up */
    RESOLVE_TEMPORARY,  /* SERVFAIL, time-out, a server that does not answer, bogus DNSSEC */
};

/* Why an MTA-STS policy that the domain announces is not to be had: named as RFC 8460 4.3.2.2 does. */
enum sts_fault {
    STS_FAULT_NONE = 0,
    STS_FAULT_FETCH,
    STS_FAULT_INVALID,
    STS_FAULT_WEBPKI,
};

struct resolve_answer {
    uint64_t id;
    uint8_t status; /* enum resolve_status */
    uint8_t host_count;
    uint8_t address_count;
    uint8_t secure;  /* DNSSEC validated the MX set and every address */
    uint32_t ttl_s;  /* how long this may be kept; also for negative answers; bounded to 30 .. 86400 by the
                        resolver */
    char words[128]; /* for the event log: "MX mx1.x.test has no address", "SERVFAIL", ... */
    struct {
        uint16_t preference;
        uint8_t dane;              /* enum dane_state */
        char name[DOMAIN_MAX + 1]; /* lower case */
    } host[RESOLVE_HOSTS_MAX];     /* the usable MX hosts by preference; equal preference in random order */
    struct {
        uint8_t family; /* AF_INET or AF_INET6 */
        uint8_t host;   /* whose */
        uint8_t ip[16];
    } address[RESOLVE_ADDRESSES_MAX]; /* in the order to be tried */
    uint8_t sts;                      /* enum sts_mode: the policy in force, a kept one as well */
    uint8_t sts_fault;                /* enum sts_fault: with sts STS_NONE, why there is none */
    uint16_t sts_hosts;               /* bit h: the policy lists host[h] */
    uint8_t has_words;                /* rua or sts_policy is not "" */
    uint8_t has_dane;                 /* some host is not DANE_NONE */
    /* What few domains have, and where the answer ends without: resolve_answer_bytes(). */
    char rua[RESOLVE_RUA_SIZE]; /* where it wants TLS reports (RFC 8460 3), commas between; "": nowhere */
    char sts_policy[RESOLVE_POLICY_SIZE]; /* the policy's lines, '\n' after each */
    struct dane_set dane;
};
_Static_assert(RESOLVE_HOSTS_MAX == DANE_HOSTS_MAX, "every host has a place in the set");

/* How much of an answer there is: what goes over the socket, and what has to be kept. */
#define RESOLVE_ANSWER_MIN offsetof(struct resolve_answer, rua)
static inline size_t resolve_answer_bytes(const struct resolve_answer *answer)
{
    if (answer->has_dane)
        return sizeof *answer;
    return answer->has_words ? offsetof(struct resolve_answer, dane) : RESOLVE_ANSWER_MIN;
}

/* The resolver process's whole life: answers questions from fd until it is closed. Returns the exit status.
 */
int resolver_main(const struct config *config, int fd);
/* Is resolver.trust_anchor_file one? libunbound reads it at the first question, and then every one fails, or none is
 * validated; so it is tried before. No DNS is asked. 0, or in words HK_EINVAL, HK_ENOMEM, or why hk_read_file() cannot read it. */
int resolve_check(const struct config *config, struct hk_why *why) HK_MUST_USE;

#endif
