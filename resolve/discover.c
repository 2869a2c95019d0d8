/* discover.c - see discover.h.
 *
 * A domain is one struct known, in a chain of its hash and in the line of last use. While its policy is being found out it has a
 * struct job: the addresses of mta-sts.DOMAIN, then the fetch. Jobs end in discovery_turn() or from libcurl's calls, so
 * whoever waits is called with nothing of libunbound's on the stack.
 */
#include "discover.h"

#include <string.h>

#include "fetch.h"
#include "reading.h"
#include "sts.h"
#include "txt.h"

#define CHAINS         4096u
#define TTL_MIN_S      30u  /* resolve.h: the shortest that an answer may live */
#define TTL_UNFINISHED 300u /* what is still being found out may be there by then */

struct discovery;
struct job;

struct known {
    LIST_ENTRY(known) chain;
    TAILQ_ENTRY(known) line;
    struct job *job; /* NULL: nothing is under way */
    char domain[DOMAIN_MAX + 1];
    char id[TXT_STS_ID_MAX + 1]; /* of `policy` */
    struct sts_policy policy;
    bool has_policy;
    uint8_t fault; /* enum sts_fault of the last fetch */
    uint64_t fetched_ms, until_ms, retry_ms;
    char failed_id[TXT_STS_ID_MAX + 1];
};

struct job_lookup {
    struct dns_query query; /* first: dns.h gives it back */
    struct job *job;
    enum choice_family family;
};

struct job {
    TAILQ_ENTRY(job) line; /* discovery.ready while it may go on */
    LIST_ENTRY(job) all;
    struct discovery *discovery;
    struct known *known;
    char id[TXT_STS_ID_MAX + 1];
    LIST_HEAD(, discovery_wait) waits;
    struct job_lookup lookup[CHOICE_FAMILIES];
    struct choice_addresses of[CHOICE_FAMILIES];
    uint32_t lookups; /* with libunbound */
    bool lined_up;
};

struct discovery {
    struct dns *dns;
    struct fetcher *fetcher;
    uint32_t kept, jobs;
    size_t bytes;
    LIST_HEAD(chain, known) chain[CHAINS];
    TAILQ_HEAD(, known) line; /* last used at the end */
    TAILQ_HEAD(, job) ready;
    LIST_HEAD(, job) all;
};

/* ---- what is kept ---- */

static struct chain *chain_of(struct discovery *d, const char *domain)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */

    for (; *domain != '\0'; domain++)
        hash = (hash ^ (uint8_t)*domain) * 1099511628211u;
    return &d->chain[(hash ^ (hash >> 32)) % CHAINS];
}

static struct known *known_find(struct discovery *d, const char *domain)
{
    struct known *known;

    LIST_FOREACH(known, chain_of(d, domain), chain)
    if (strcmp(known->domain, domain) == 0)
        return known;
    return NULL;
}

static void known_policy_drop(struct discovery *d, struct known *known)
{
    d->bytes -= known->policy.mx_bytes;
    sts_policy_clear(&known->policy);
    known->has_policy = false;
}

static void known_forget(struct discovery *d, struct known *known)
{
    known_policy_drop(d, known);
    LIST_REMOVE(known, chain);
    TAILQ_REMOVE(&d->line, known, line);
    d->kept--;
    free(known);
}

/* Keep within the bounds. What is being found out stays: it is asked for just now. */
static void known_trim(struct discovery *d)
{
    struct known *known = TAILQ_FIRST(&d->line), *next;

    for (; known != NULL && (d->kept > DISCOVER_KEPT_MAX || d->bytes > DISCOVER_BYTES_MAX); known = next) {
        next = TAILQ_NEXT(known, line);
        if (known->job == NULL)
            known_forget(d, known);
    }
}

static struct known *known_make(struct discovery *d, const char *domain)
{
    struct known *known = calloc(1, sizeof *known);

    if (known == NULL)
        return NULL;
    snprintf(known->domain, sizeof known->domain, "%s", domain);
    LIST_INSERT_HEAD(chain_of(d, domain), known, chain);
    TAILQ_INSERT_TAIL(&d->line, known, line);
    d->kept++;
    return known;
}

static bool known_is_valid(const struct known *known)
{
    return known->has_policy && clock_now_ms() < known->until_ms;
}

/* Is what is kept not enough for a record with this id? */
static bool known_wants_fetch(const struct known *known, const char *id)
{
    uint64_t now_ms = clock_now_ms(), age_s;

    if (now_ms < known->retry_ms && strcmp(known->failed_id, id) == 0)
        return false;
    if (!known_is_valid(known) || strcmp(known->id, id) != 0)
        return true;
    age_s = (now_ms - known->fetched_ms) / 1000;
    return age_s >= DISCOVER_AGE_S || age_s > known->policy.max_age_s / 2;
}

/* ---- finding out ---- */

static void job_end(struct job *job)
{
    struct discovery *d = job->discovery;
    struct discovery_wait *wait;

    job->known->job = NULL;
    known_trim(d);
    while ((wait = LIST_FIRST(&job->waits)) != NULL) {
        LIST_REMOVE(wait, link);
        wait->on_known(wait);
    }
    LIST_REMOVE(job, all);
    d->jobs--;
    free(job);
}

static void job_failed(struct job *job, enum sts_fault fault, const char *words)
{
    struct known *known = job->known;

    log_info("MTA-STS of %s: %s; %s", known->domain, words,
             known_is_valid(known) ? "the policy that is kept stays in force" : "it counts as having none");
    known->fault = (uint8_t)fault;
    known->retry_ms = clock_now_ms() + DISCOVER_RETRY_S * 1000u;
    memcpy(known->failed_id, job->id, sizeof job->id);
    job_end(job);
}

static void on_fetched(void *context, enum fetch_result result, const char *bytes, size_t length,
                       const char *words)
{
    struct job *job = context;
    struct known *known = job->known;
    struct sts_policy policy;
    struct hk_why why;

    if (result != FETCH_DONE) {
        job_failed(job, result == FETCH_WEBPKI ? STS_FAULT_WEBPKI : STS_FAULT_FETCH, words);
        return;
    }
    if (sts_policy_parse(bytes, length, &policy, &why)) {
        job_failed(job, STS_FAULT_INVALID, why.text);
        return;
    }
    known_policy_drop(job->discovery, known);
    known->policy = policy;
    known->has_policy = true;
    job->discovery->bytes += policy.mx_bytes;
    known->fault = STS_FAULT_NONE;
    known->retry_ms = 0;
    known->fetched_ms = clock_now_ms();
    known->until_ms = known->fetched_ms + (uint64_t)policy.max_age_s * 1000u;
    memcpy(known->id, job->id, sizeof job->id);
    log_debug("MTA-STS of %s: %s, %u mx, for %u s", known->domain, sts_mode_name(policy.mode),
              policy.mx_count, policy.max_age_s);
    job_end(job);
}

static void job_line_up(struct job *job)
{
    if (job->lined_up)
        return;
    job->lined_up = true;
    TAILQ_INSERT_TAIL(&job->discovery->ready, job, line);
}

static void on_address(struct dns_query *query, int rcode, const void *bytes, size_t length, bool secure,
                       const char *bogus)
{
    struct job_lookup *lookup = (struct job_lookup *)query;
    struct reading reading;

    (void)rcode;
    (void)secure;
    if (bytes != NULL && bogus == NULL)
        reading_addresses(bytes, length, lookup->family, &lookup->job->of[lookup->family], &reading);
    if (--lookup->job->lookups == 0)
        job_line_up(lookup->job);
}

static void job_ask(struct job *job)
{
    char name[DOMAIN_MAX + 16];

    snprintf(name, sizeof name, "mta-sts.%s", job->known->domain);
    job->lookups = 1; /* ours, so that answers from inside dns_ask() do not end it */
    for (unsigned family = 0; family < CHOICE_FAMILIES && packet_name_is_host(name); family++) {
        job->lookup[family].query.on_answer = on_address;
        job->lookup[family].job = job;
        job->lookup[family].family = (enum choice_family)family;
        job->lookups++;
        if (dns_ask(job->discovery->dns, name, family == CHOICE_IPV4 ? PACKET_A : PACKET_AAAA,
                    &job->lookup[family].query))
            job->lookups--;
    }
    if (--job->lookups == 0)
        job_line_up(job);
}

/* The addresses are there, or are not to be had. */
static void job_go_on(struct job *job)
{
    if (job->of[CHOICE_IPV4].count + job->of[CHOICE_IPV6].count == 0)
        job_failed(job, STS_FAULT_FETCH, "mta-sts has no address that DNS tells");
    else if (fetch_begin(job->discovery->fetcher, job->known->domain, job->of, on_fetched, job))
        job_failed(job, STS_FAULT_FETCH, "no memory to fetch the policy");
}

void discovery_turn(struct discovery *d)
{
    struct job *job;

    while ((job = TAILQ_FIRST(&d->ready)) != NULL) {
        TAILQ_REMOVE(&d->ready, job, line);
        job_go_on(job);
    }
}

static bool job_begin(struct discovery *d, struct known *known, const char *id)
{
    struct job *job;

    if (d->jobs >= DISCOVER_JOBS_MAX || (job = calloc(1, sizeof *job)) == NULL)
        return false;
    d->jobs++;
    job->discovery = d;
    job->known = known;
    known->job = job;
    snprintf(job->id, sizeof job->id, "%s", id);
    LIST_INIT(&job->waits);
    LIST_INSERT_HEAD(&d->all, job, all);
    job_ask(job);
    return true;
}

/* ---- asked from outside ---- */

int discovery_open(const struct config *config, struct ev_loop *loop, struct dns *dns, uint32_t fetch_ms,
                   struct discovery **out, struct hk_why *why)
{
    struct discovery *d = calloc(1, sizeof *d);
    int rc;

    if (d == NULL)
        return why_set(why, HK_ENOMEM, "no memory for the resolver");
    rc = fetcher_open(config, loop, fetch_ms, &d->fetcher, why);
    if (rc) {
        free(d);
        return rc;
    }
    d->dns = dns;
    TAILQ_INIT(&d->line);
    TAILQ_INIT(&d->ready);
    LIST_INIT(&d->all);
    *out = d;
    return 0;
}

void discovery_close(struct discovery *d)
{
    struct job *job, *next_job;
    struct known *known, *next_known;

    if (d == NULL)
        return;
    fetcher_close(d->fetcher);
    for (job = LIST_FIRST(&d->all); job != NULL; job = next_job) {
        next_job = LIST_NEXT(job, all);
        free(job);
    }
    for (known = TAILQ_FIRST(&d->line); known != NULL; known = next_known) {
        next_known = TAILQ_NEXT(known, line);
        sts_policy_clear(&known->policy);
        free(known);
    }
    free(d);
}

bool discovery_ask(struct discovery *d, const char *domain, const char *id, struct discovery_wait *wait)
{
    struct known *known = known_find(d, domain);
    bool kept;

    if (id[0] == '\0') {
        if (known != NULL)
            known->fault = STS_FAULT_NONE; /* nothing is announced any more: nothing fails */
        return true;
    }
    if (known == NULL && (known = known_make(d, domain)) == NULL)
        return true;
    TAILQ_REMOVE(&d->line, known, line);
    TAILQ_INSERT_TAIL(&d->line, known, line);
    kept = known_is_valid(known) && strcmp(known->id, id) == 0;
    if (known->job == NULL && (!known_wants_fetch(known, id) || !job_begin(d, known, id)))
        return true;
    if (kept)
        return true; /* what is kept counts while it is renewed */
    LIST_INSERT_HEAD(&known->job->waits, wait, link);
    return false;
}

void discovery_cancel(struct discovery_wait *wait)
{
    LIST_REMOVE(wait, link);
}

static void ttl_lower(struct resolve_answer *answer, uint64_t to_s)
{
    if (to_s < answer->ttl_s)
        answer->ttl_s = to_s < TTL_MIN_S ? TTL_MIN_S : (uint32_t)to_s;
}

void discovery_tell(struct discovery *d, const char *domain, struct resolve_answer *answer)
{
    struct known *known = known_find(d, domain);

    answer->sts = STS_NONE;
    answer->sts_fault = STS_FAULT_NONE;
    answer->sts_hosts = 0;
    answer->sts_policy[0] = '\0';
    if (known == NULL)
        return;
    if (known->job != NULL)
        ttl_lower(answer, TTL_UNFINISHED);
    if (!known_is_valid(known)) {
        answer->sts_fault = known->job != NULL ? STS_FAULT_FETCH : known->fault;
        ttl_lower(answer, DISCOVER_RETRY_S);
        return;
    }
    ttl_lower(answer, (known->until_ms - clock_now_ms()) / 1000);
    answer->sts = known->policy.mode;
    sts_policy_text(&known->policy, answer->sts_policy, sizeof answer->sts_policy);
    for (unsigned h = 0; h < answer->host_count; h++)
        if (sts_policy_lists(&known->policy, answer->host[h].name))
            answer->sts_hosts = (uint16_t)(answer->sts_hosts | 1u << h);
}
