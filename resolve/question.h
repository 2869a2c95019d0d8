/* question.h - one question from the master on its way to an answer: which look-ups, and what they add up to.
 *
 * The rules of RFC 5321 5.1 and RFC 7505 live here; the event loop, the pipe and libunbound do not. The resolver
 * carries out the look-ups that a question wants and reports each; when none is open it takes the next step.
 */
#ifndef HIKYAKU_QUESTION_H
#define HIKYAKU_QUESTION_H

#include "dane_host.h"
#include "reading.h"
#include "txt.h"

#define QUESTION_LOOKUPS_MAX   (RESOLVE_HOSTS_MAX * CHOICE_FAMILIES + 2)
#define QUESTION_TTL_MIN_S     30u
#define QUESTION_TTL_MAX_S     86400u
#define QUESTION_TTL_PARTIAL_S 300u /* some MX host could not be asked: look again soon */
#define QUESTION_TTL_FAILED_S  60u

enum question_stage { QUESTION_MX, QUESTION_HOSTS, QUESTION_DANE, QUESTION_ANSWERED };

struct question {
    struct resolve_question asked;
    enum question_stage stage;
    struct choice_host *host;    /* in the order to be tried; owned */
    struct dane_host *dane_host; /* of each; owned */
    uint32_t host_count;
    uint32_t hosts_failed; /* look-ups without a verdict */
    uint32_t positive_ttl_s[RESOLVE_HOSTS_MAX];
    uint32_t negative_ttl_s; /* smallest "there is none" of the addresses */
    uint32_t ttl_s;          /* of the MX stage */
    bool all_secure;
    bool mx_secure;        /* DNSSEC vouches for the hosts, or the master named the host itself */
    const struct own *own; /* this host */
    bool has_own;          /* one of its names is among the MX hosts */
    uint32_t beside;       /* bit h: the addresses of host h came with the MX records */
    bool implicit;         /* no MX: the name itself (or a relay's host) */
    bool host_nxdomain;    /* some host does not exist at all */
    struct reading mx;     /* what the MX look-up said */
    char failed[128];      /* why the first look-up failed */
    /* What the domain says of TLS, asked beside the addresses. No look-up of these that fails keeps mail back: RFC 8461 3.1 and
     * RFC 8460 3 take it as nothing said. */
    char sts_name[DOMAIN_MAX + 16], report_name[DOMAIN_MAX + 16]; /* "": not asked */
    char sts_id[TXT_STS_ID_MAX + 1];                              /* "": announces no MTA-STS policy */
    struct resolve_answer answer;
};

struct question_lookup {
    enum packet_type type;
    uint32_t host; /* index; 0 for the MX look-up */
    const char *name;
};

/* Begin. True: the answer is there already (a literal address, a name that cannot be). `own` is this host
 * (RFC 5321 5.1); NULL: nobody. It lives as long as the question, and is asked at each step. */
bool question_begin(struct question *question, const struct resolve_question *asked, const struct own *own);
/* Frees what the question owns, not the question. */
void question_end(struct question *question);

/* The hosts are known, and mail to them goes without TLS: what the domain says of it makes no difference, and is not asked. */
void question_without_tls(struct question *question);

/* The look-ups of the present stage: at most QUESTION_LOOKUPS_MAX. Names live as long as the question. */
uint32_t question_lookups(const struct question *question, struct question_lookup *out);

/* What a look-up of this stage brought: a message, or why there is none. */
void question_take(struct question *question, const struct question_lookup *lookup, const void *bytes,
                   size_t length, bool secure, choice_draw_fn draw);
void question_take_failure(struct question *question, const struct question_lookup *lookup,
                           const char *words);

/* Time is up before the look-ups of this stage were made: all of them count as failed. */
void question_give_up(struct question *question, const char *words);

/* All look-ups of this stage are in: go on. True: the answer is there; false: ask the next ones. */
bool question_step(struct question *question, choice_draw_fn draw);

#endif
