/* resolve.h - what the master and the resolver process say to each other: finished destinations, never raw
 * DNS.
 *
 * A SOCK_SEQPACKET socket pair, both ends of the same build. A packet is one or several questions, or answers, one behind
 * another, each as long as what is in it: of an answer that is mostly a hundredth of the struct. The resolver parses what
 * strangers send, so it holds nothing: no key, no list, no Redis, no file of ours but the configuration's
 * [resolver] section and tls.ca_file; and what it says is checked like a stranger's words.
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
    uint8_t secure;     /* DNSSEC validated the MX set and every address */
    uint32_t ttl_s;     /* how long this may be kept; also for negative answers; bounded to 30 .. 86400 by the
                           resolver */
    uint16_t sts_hosts; /* bit h: the policy lists host[h] */
    uint8_t sts;        /* enum sts_mode: the policy in force, a kept one as well */
    uint8_t sts_fault;  /* enum sts_fault: with sts STS_NONE, why there is none */
    uint8_t has_words;  /* rua or sts_policy is not "" */
    uint8_t has_dane;   /* some host is not DANE_NONE */
    struct resolve_address {
        uint8_t family; /* AF_INET or AF_INET6 */
        uint8_t host;   /* whose */
        uint8_t ip[16];
    } address[RESOLVE_ADDRESSES_MAX]; /* in the order to be tried */
    struct resolve_host {
        uint16_t preference;
        uint8_t dane;              /* enum dane_state */
        char name[DOMAIN_MAX + 1]; /* lower case */
    } host[RESOLVE_HOSTS_MAX];     /* the usable MX hosts by preference; equal preference in random order */
    char words[128];               /* for the event log: "MX mx1.x.test has no address", "SERVFAIL", ... */
    char rua[RESOLVE_RUA_SIZE];    /* where it wants TLS reports (RFC 8460 3), commas between; "": nowhere */
    char sts_policy[RESOLVE_POLICY_SIZE]; /* the policy's lines, '\n' after each */
    struct dane_set dane;                 /* with has_dane */
};
_Static_assert(RESOLVE_HOSTS_MAX == DANE_HOSTS_MAX, "every host has a place in the set");

#define RESOLVE_PACKET_MAX 16384u /* octets: holds any question and any answer */
_Static_assert(sizeof(struct resolve_answer) < RESOLVE_PACKET_MAX, "packed it is no longer than unpacked");

/* Write it to `to`, where there is room for so many octets. How many it takes, or 0: more than there is room for. */
size_t resolve_pack_question(const struct resolve_question *question, uint8_t *to, size_t room);
size_t resolve_pack_answer(const struct resolve_answer *answer, uint8_t *to, size_t room);
/* Read the first one there. How many octets it took, or 0: there is none, and *out is not to be used. What is read of an answer has
 * its counts within bounds and an end behind every text; without has_words and has_dane, `dane` is as it was and the texts are "". */
size_t resolve_unpack_question(const uint8_t *from, size_t length, struct resolve_question *out);
size_t resolve_unpack_answer(const uint8_t *from, size_t length, struct resolve_answer *out);

/* The resolver process's whole life: answers questions from fd until it is closed. Returns the exit status.
 */
int resolver_main(const struct config *config, int fd);
/* Is resolver.trust_anchor_file one? libunbound reads it at the first question, and then every one fails, or none is
 * validated; so it is tried before. No DNS is asked. 0, or in words HK_EINVAL, HK_ENOMEM, or why hk_read_file() cannot read it. */
int resolve_check(const struct config *config, struct hk_why *why) HK_MUST_USE;

#endif
