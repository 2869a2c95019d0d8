/* domain.c - where a domain's recipients go: asked once, remembered as long as its DNS answer lives. */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "master.h"

#define DNS_SAY_MS   60000u
#define DNS_FIRST_MS 2000u /* others may be answered by then */
#define ASK_A_PACKET 64u   /* so that those behind see a turn of the resolver's loop */
#define DOMAINS_KEPT \
    65536u /* answers kept before the expired ones are swept, and beyond twice this all at rest */

void domains_open(struct node *node)
{
    TAILQ_INIT(&node->ask);
    for (uint32_t i = 0; i < RESOLVE_INFLIGHT_MAX; i++)
        node->free_question[node->free_questions++] = i;
}

static struct domain *domain_get(struct node *node, const char *name, int16_t route, uint8_t relay)
{
    struct domain *domain;
    char key[32];
    uint64_t hash;
    size_t size;

    /* A relay of a route is not the domain of the same name: a blank cannot stand in a domain. */
    if (route >= 0) {
        snprintf(key, sizeof key, "route %d.%u", route, relay);
        name = key;
    }
    hash = table_hash(name);
    domain = table_find_hashed(&node->domains, name, hash);
    if (domain != NULL)
        return domain;
    size = strlen(name) + 1;
    domain = hk_xcalloc(1, sizeof *domain + size);
    memcpy(domain->name, name, size);
    domain->route = route;
    domain->relay = relay;
    table_add_hashed(&node->domains, &domain->link, domain->name, hash);
    return domain;
}

/* Most domains have none. */
static void domain_say(struct domain *domain, const char *words)
{
    free(domain->words);
    domain->words = words[0] != '\0' ? hk_xstrdup(words) : NULL;
}

static const char *domain_words(const struct domain *domain)
{
    return domain->words != NULL ? domain->words : "";
}

static void domain_free(struct domain *domain)
{
    free(domain->words);
    free(domain);
}

static bool relay_is_out(struct node *node, int16_t route, uint8_t relay)
{
    const struct domain *domain;
    char key[DOMAIN_MAX + 16];
    uint64_t now_ms = clock_now_ms();

    snprintf(key, sizeof key, "route %d.%u", route, relay);
    domain = table_find(&node->domains, key);
    if (domain == NULL || domain->state != DOMAIN_KNOWN || domain->expires_ms <= now_ms)
        return false; /* to be asked first */
    return domain->status != RESOLVE_OK || (domain->dest->dead_until_ms > now_ms && domain->dest->live == 0);
}

/* The first relay that can be had, as far as is known; the first of all where none can: it says why. */
static uint8_t relay_in_turn(struct node *node, int16_t route)
{
    for (size_t relay = 0; relay < node->config->route[route].relay_count; relay++)
        if (!relay_is_out(node, route, (uint8_t)relay))
            return (uint8_t)relay;
    return 0;
}

bool relay_has_stand_in(struct node *node, const struct dest *dest)
{
    if (dest->route < 0)
        return false;
    for (size_t relay = 0; relay < node->config->route[dest->route].relay_count; relay++)
        if (relay != dest->relay && !relay_is_out(node, dest->route, (uint8_t)relay))
            return true;
    return false;
}

static struct resolve_question question_about(const struct node *node, const struct domain *domain)
{
    const struct config *config = node->config;
    const struct cfg_address *relay =
        domain->route >= 0 ? &config->route[domain->route].relay[domain->relay] : NULL;
    struct resolve_question question = {.mx = relay == NULL, .ipv6 = sources_want_ipv6(config)};

    /* Without a trust anchor nothing is secure, and nobody need be asked. */
    if (config->resolver.trust_anchor_file != NULL)
        question.tlsa_port = relay != NULL ? relay->port : config->smtp.port;
    snprintf(question.name, sizeof question.name, "%s", relay != NULL ? relay->host : domain->name);
    return question;
}

/* A packet of the questions that are next; how many, and its length. Each gets the slot that domains_asked() takes. */
static uint32_t domains_pack(const struct node *node, uint8_t *packet, size_t *length)
{
    const struct domain *domain;
    uint32_t count = 0;

    *length = 0;
    TAILQ_FOREACH(domain, &node->ask, ask_link)
    {
        struct resolve_question question;
        size_t more;

        if (count == ASK_A_PACKET || count == node->free_questions)
            break;
        question = question_about(node, domain);
        question.id = node->free_question[node->free_questions - 1 - count];
        more = resolve_pack_question(&question, packet + *length, RESOLVE_PACKET_MAX - *length);
        if (more == 0)
            break;
        *length += more;
        count++;
    }
    return count;
}

static void domains_asked(struct node *node, uint32_t count)
{
    for (; count > 0; count--) {
        struct domain *domain = TAILQ_FIRST(&node->ask);

        node->asked[node->free_question[--node->free_questions]] = domain;
        domain->state = DOMAIN_ASKED;
        TAILQ_REMOVE(&node->ask, domain, ask_link);
    }
}

void domains_ask(struct node *node)
{
    uint8_t packet[RESOLVE_PACKET_MAX];
    size_t length;
    uint32_t count;

    while (node->resolver_fd >= 0 && (count = domains_pack(node, packet, &length)) > 0) {
        if (send(node->resolver_fd, packet, length, MSG_NOSIGNAL) != (ssize_t)length)
            return; /* full or gone: asked again after the next answer, or by the next resolver */
        domains_asked(node, count);
    }
}

void domains_forget_asked(struct node *node)
{
    for (uint32_t i = 0; i < RESOLVE_INFLIGHT_MAX; i++) {
        struct domain *domain = node->asked[i];
        if (domain == NULL)
            continue;
        node->asked[i] = NULL;
        node->free_question[node->free_questions++] = i;
        domain->state = DOMAIN_ASK;
        TAILQ_INSERT_TAIL(&node->ask, domain, ask_link);
    }
}

/* No attempt could change it: the domain does not exist, or takes no mail. (A relay that does not exist is our mistake, or
 * DNS', and says nothing about a recipient.) Of one whose best MX is this host nothing is
 * known: what is wrong is our configuration, so it is no reason to suppress anybody. */
static bool domain_refuses(const struct domain *domain, struct verdict *verdict)
{
    *verdict = (struct verdict){.reply_class = CLASS_DOMAIN_INVALID, .disposition = DISPOSITION_SUPPRESS};
    if (domain->status == RESOLVE_OWN_HOST)
        *verdict = (struct verdict){.reply_class = CLASS_SYSTEM, .disposition = DISPOSITION_NONE};
    if (domain->route >= 0)
        return false;
    return domain->status == RESOLVE_NXDOMAIN || domain->status == RESOLVE_NULL_MX ||
           domain->status == RESOLVE_OWN_HOST;
}

/* A run whose domain is known: into its queue, or settled for what the answer says. */
static void domain_place(struct node *node, struct domain *domain, struct run run)
{
    struct campaign *campaign = node->campaign[run.campaign];
    uint32_t number = segment_domain_of(campaign->segment, run.index);
    const char *name = segment_domain(campaign->segment, number).name;
    struct outcome_reply failure = {.log_phase = LOG_PHASE_CONNECT};
    struct verdict verdict;

    if (!campaign_runs(campaign)) {
        run_let_go(campaign, run);
        return;
    }
    if (domain->status == RESOLVE_OK) {
        if (ledger_site(node->ledger, campaign->manifest.campaign, run.segment, number,
                        domain->dest->site->name) != 0)
            log_warning("out of memory: the site of %s is not noted", name);
        dest_enqueue(domain->dest, run, false);
        return;
    }
    if (domain->route >= 0 && relay_in_turn(node, domain->route) != domain->relay) {
        domain_enqueue(node, campaign, number, run);
        return;
    }
    if (ledger_site(node->ledger, campaign->manifest.campaign, run.segment, number, name) != 0)
        log_warning("out of memory: the site of %s is not noted", name);
    failure.text_length = (uint16_t)snprintf(failure.text, sizeof failure.text, "%s", domain_words(domain));
    if (domain_refuses(domain, &verdict)) {
        run_bounce(campaign, run, name, &failure, verdict);
        return;
    }
    if (run_is_over(campaign, &run)) {
        run_expire(campaign, run, name, CLASS_NETWORK, 0);
        return;
    }
    event_unreachable(node, NULL, name, run.count, &failure);
    run_put_back(campaign, run, CLASS_NETWORK, 0);
}

static bool is_literal(const char *host, struct resolve_answer *answer)
{
    memset(answer, 0, sizeof *answer);
    if (inet_pton(AF_INET, host, answer->address[0].ip) == 1)
        answer->address[0].family = AF_INET;
    else if (inet_pton(AF_INET6, host, answer->address[0].ip) == 1)
        answer->address[0].family = AF_INET6;
    else
        return false;
    answer->host_count = 1;
    answer->address_count = 1;
    answer->ttl_s = 86400;
    snprintf(answer->host[0].name, sizeof answer->host[0].name, "%s", host);
    return true;
}

static void domain_learn(struct node *node, struct domain *domain, const struct resolve_answer *answer)
{
    struct run run;

    if (domain->dest != NULL) {
        domain->dest->domains--;
        dest_forget(domain->dest);
        domain->dest = NULL;
    }
    domain->state = DOMAIN_KNOWN;
    domain->status = answer->status;
    domain->expires_ms = clock_now_ms() + (uint64_t)answer->ttl_s * 1000u;
    domain_say(domain, answer->words);
    if (answer->status == RESOLVE_OK && !sources_reach(node->config, answer)) {
        domain->status = RESOLVE_TEMPORARY;
        domain_say(domain, answer->address[0].family == AF_INET
                               ? "it has IPv4 addresses alone, and no source has one"
                               : "it has IPv6 addresses alone, and no source has one");
    }
    if (domain->status == RESOLVE_TEMPORARY) {
        node->dns.failed++;
        snprintf(node->dns.words, sizeof node->dns.words, "%s", domain_words(domain));
    } else {
        node->dns.answered++;
    }
    if (domain->status == RESOLVE_OK) {
        domain->dest = dest_of_answer(node, domain, answer);
        domain->dest->domains++;
    }
    while (queue_get(&domain->queue, &run)) {
        node->movable -= run.count;
        domain_place(node, domain, run);
    }
}

void domain_enqueue(struct node *node, struct campaign *campaign, uint32_t number, struct run run)
{
    const char *name = segment_domain(campaign->segment, number).name;
    const struct cfg_route *route = config_route(node->config, name);
    int16_t number_of = route != NULL ? (int16_t)(route - node->config->route) : -1;
    uint8_t relay = route != NULL ? relay_in_turn(node, number_of) : 0;
    struct domain *domain = domain_get(node, name, number_of, relay);
    struct resolve_answer literal;

    if (domain->state == DOMAIN_KNOWN && clock_now_ms() < domain->expires_ms) {
        domain_place(node, domain, run);
        return;
    }
    queue_put(&domain->queue, run);
    node->movable += run.count;
    if (domain->state == DOMAIN_ASKED || domain->queue.runs > 1)
        return;
    if (route != NULL && is_literal(route->relay[relay].host, &literal)) {
        domain_learn(node, domain, &literal);
        return;
    }
    domain->state = DOMAIN_ASK;
    TAILQ_INSERT_TAIL(&node->ask, domain, ask_link);
}

static bool answer_is_sound(const struct resolve_answer *answer)
{
    if (answer->sts > STS_ENFORCE || answer->sts_fault > STS_FAULT_WEBPKI)
        return false;
    if (answer->has_dane && !dane_is_sound(&answer->dane))
        return false;
    return answer->status != RESOLVE_OK || answer->address_count > 0;
}

void domain_answer(struct node *node, const struct resolve_answer *answer)
{
    struct domain *domain;

    /* The resolver reads what strangers send: what it says is checked before it is used as an index. */
    if (answer->id >= RESOLVE_INFLIGHT_MAX || (domain = node->asked[answer->id]) == NULL ||
        !answer_is_sound(answer)) {
        log_error("the resolver gave an answer to no question");
        return;
    }
    node->asked[answer->id] = NULL;
    node->free_question[node->free_questions++] = (uint32_t)answer->id;
    domain_learn(node, domain, answer);
}

/* The first one at once, the others together. Some always fail in a large list; where all do it is our own resolver. */
void domains_tell(struct node *node)
{
    uint64_t now = clock_now_ms();

    if (node->dns.failed == 0)
        return;
    if (node->dns.say_ms == 0)
        node->dns.say_ms = now + DNS_FIRST_MS;
    if (now < node->dns.say_ms)
        return;
    if (node->dns.answered > 0)
        log_info("%u domain%s could not be looked up for now, the last: %s", node->dns.failed,
                 node->dns.failed == 1 ? "" : "s", node->dns.words);
    else
        log_warning("no domain can be looked up, the last: %s; see that %s", node->dns.words,
                    node->config->resolver.server_count > 0
                        ? "resolver.servers answers"
                        : "port 53 is open to the outside, or set resolver.servers");
    node->dns.failed = node->dns.answered = 0;
    node->dns.say_ms = now + DNS_SAY_MS;
}

void domains_sweep(struct node *node)
{
    uint64_t now = clock_now_ms();
    bool all = node->domains.count > 2 * (size_t)DOMAINS_KEPT;
    size_t cursor = 0;
    struct domain *domain, *next;

    if (node->domains.count <= DOMAINS_KEPT)
        return;
    for (domain = table_next(&node->domains, &cursor, NULL); domain != NULL; domain = next) {
        next = table_next(&node->domains, &cursor, &domain->link);
        if (domain->state != DOMAIN_KNOWN || (!all && now < domain->expires_ms))
            continue;
        table_remove(&node->domains, &domain->link);
        if (domain->dest != NULL) {
            domain->dest->domains--;
            dest_forget(domain->dest);
        }
        domain_free(domain);
    }
}

void domains_close(struct node *node)
{
    size_t cursor = 0;
    struct domain *domain, *next;

    for (domain = table_next(&node->domains, &cursor, NULL); domain != NULL; domain = next) {
        next = table_next(&node->domains, &cursor, &domain->link);
        queue_clear(&domain->queue);
        domain_free(domain);
    }
    table_clear(&node->domains);
}
