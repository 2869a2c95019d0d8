/* question.c - the rules by which look-ups become an answer (RFC 5321 5.1, RFC 7505). See question.h. */
#include "question.h"

#include <arpa/inet.h>
#include <stdarg.h>
#include <string.h>

static const char *type_name(enum packet_type type)
{
    if (type == PACKET_MX)
        return "MX";
    if (type == PACKET_CNAME)
        return "CNAME";
    if (type == PACKET_TLSA)
        return "TLSA";
    if (type == PACKET_TXT)
        return "TXT";
    return type == PACKET_A ? "A" : "AAAA";
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static void answer_settle(struct question *q, enum resolve_status status, uint32_t ttl_s)
{
    q->stage = QUESTION_ANSWERED;
    q->answer.status = (uint8_t)status;
    q->answer.ttl_s = ttl_s < QUESTION_TTL_MIN_S ? QUESTION_TTL_MIN_S : smaller(ttl_s, QUESTION_TTL_MAX_S);
}

static void HK_PRINTF(2, 3) answer_words(struct question *q, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(q->answer.words, sizeof q->answer.words, format, args);
    va_end(args);
}

/* Make room for `count` hosts to be looked up. */
static bool hosts_make(struct question *q, uint32_t count)
{
    q->host = calloc(count, sizeof *q->host);
    q->dane_host = calloc(count, sizeof *q->dane_host);
    if (!q->host || !q->dane_host) {
        question_end(q);
        return false;
    }
    q->host_count = count;
    for (uint32_t h = 0; h < count; h++)
        q->positive_ttl_s[h] = UINT32_MAX;
    return true;
}

static void host_name_set(struct choice_host *host, const char *name, uint16_t preference)
{
    memcpy(host->name, name, strnlen(name, DOMAIN_MAX));
    host->preference = preference;
}

static bool answer_no_memory(struct question *q)
{
    answer_words(q, "the resolver has no memory for %.64s", q->asked.name);
    answer_settle(q, RESOLVE_TEMPORARY, QUESTION_TTL_FAILED_S);
    return true;
}

/* The name itself is the only host: no MX record, or never asked for one. */
static bool host_implicit(struct question *q)
{
    if (!hosts_make(q, 1))
        return answer_no_memory(q);
    host_name_set(&q->host[0], q->asked.name, 0);
    q->implicit = true;
    q->stage = QUESTION_HOSTS;
    return false;
}

/* A relay given as an address needs no DNS. */
static bool answer_literal(struct question *q)
{
    struct choice_host host = {.preference = 0};
    uint8_t ip[16] = {0};
    enum choice_family family = CHOICE_IPV4;

    if (inet_pton(AF_INET, q->asked.name, ip) != 1) {
        family = CHOICE_IPV6;
        if (inet_pton(AF_INET6, q->asked.name, ip) != 1)
            return false;
    }
    host_name_set(&host, q->asked.name, 0);
    host.of[family].count = 1;
    memcpy(host.of[family].ip[0], ip, sizeof ip);
    choice_fill(&host, 1, NULL, &q->answer);
    answer_settle(q, RESOLVE_OK, QUESTION_TTL_MAX_S);
    return true;
}

static void name_lower(char *name)
{
    for (; *name; name++)
        if (*name >= 'A' && *name <= 'Z')
            *name = (char)(*name | 0x20);
}

/* A name that is too long for DNS has no records. */
static void underscore_name(char *out, size_t size, const char *label, const char *domain)
{
    snprintf(out, size, "%s.%s", label, domain);
    if (!packet_name_is_host(out))
        out[0] = '\0';
}

bool question_begin(struct question *q, const struct resolve_question *asked, const struct own *own)
{
    memset(q, 0, sizeof *q);
    q->asked = *asked;
    q->answer.id = asked->id;
    q->own = own;
    q->all_secure = true;
    q->mx_secure = !asked->mx;
    q->ttl_s = UINT32_MAX;
    q->negative_ttl_s = UINT32_MAX;
    if (!asked->mx && answer_literal(q))
        return true;
    if (!packet_name_is_host(asked->name)) {
        char clean[64];

        hk_clean_text(clean, sizeof clean, asked->name, strlen(asked->name));
        answer_words(q, "\"%s\" is no domain name", clean);
        answer_settle(q, RESOLVE_NXDOMAIN, QUESTION_TTL_MAX_S);
        return true;
    }
    name_lower(q->asked.name);
    if (asked->mx) {
        underscore_name(q->sts_name, sizeof q->sts_name, "_mta-sts", q->asked.name);
        underscore_name(q->report_name, sizeof q->report_name, "_smtp._tls", q->asked.name);
    }
    q->stage = QUESTION_MX;
    return asked->mx ? false : host_implicit(q);
}

void question_end(struct question *q)
{
    free(q->host);
    free(q->dane_host);
    q->host = NULL;
    q->dane_host = NULL;
}

void question_without_tls(struct question *q)
{
    HK_BUG_ON(q->stage != QUESTION_HOSTS);
    q->sts_name[0] = q->report_name[0] = '\0';
    q->asked.tlsa_port = 0;
}

uint32_t question_lookups(const struct question *q, struct question_lookup *out)
{
    uint32_t count = 0;

    if (q->stage == QUESTION_MX) {
        out[0] = (struct question_lookup){PACKET_MX, 0, q->asked.name};
        return 1;
    }
    if (q->stage == QUESTION_DANE) {
        for (uint32_t h = 0; h < q->host_count; h++)
            if (q->dane_host[h].ask != DANE_ASK_NOTHING)
                out[count++] =
                    (struct question_lookup){dane_host_type(&q->dane_host[h]), h, q->dane_host[h].question};
        return count;
    }
    for (uint32_t h = 0; h < q->host_count; h++) {
        if (q->beside >> h & 1u)
            continue;
        out[count++] = (struct question_lookup){PACKET_A, h, q->host[h].name};
        if (q->asked.ipv6)
            out[count++] = (struct question_lookup){PACKET_AAAA, h, q->host[h].name};
    }
    if (q->sts_name[0] != '\0')
        out[count++] = (struct question_lookup){PACKET_TXT, 0, q->sts_name};
    if (q->report_name[0] != '\0')
        out[count++] = (struct question_lookup){PACKET_TXT, 0, q->report_name};
    return count;
}

void question_take_failure(struct question *q, const struct question_lookup *lookup, const char *words)
{
    if (lookup->type == PACKET_TXT)
        return;
    q->all_secure = false;
    if (q->hosts_failed++ == 0)
        snprintf(q->failed, sizeof q->failed, "%.60s for %s of %.50s", words, type_name(lookup->type),
                 lookup->name);
    if (q->stage == QUESTION_MX)
        q->mx.verdict = READING_FAILED;
    if (q->stage == QUESTION_DANE)
        dane_host_failed(&q->dane_host[lookup->host]);
}

void question_give_up(struct question *q, const char *words)
{
    struct question_lookup lookup[QUESTION_LOOKUPS_MAX];
    uint32_t count = question_lookups(q, lookup);

    for (uint32_t i = 0; i < count; i++)
        question_take_failure(q, &lookup[i], words);
}

/* Is it the domain, or below it? */
static bool name_is_below(const char *name, const char *domain)
{
    size_t length = strlen(name), of_domain = strlen(domain);

    return length >= of_domain && strcmp(name + length - of_domain, domain) == 0 &&
           (length == of_domain || name[length - of_domain - 1] == '.');
}

/* Addresses that came along (RFC 1035 3.3.9) spare the look-up. Those of other people's hosts are asked of them, for what a server
 * says beside its answer is only as good as its own names; and so is what DNSSEC has to vouch for. */
static void take_beside(struct question *q, const void *bytes, size_t length)
{
    if (q->mx_secure || q->asked.tlsa_port != 0 || q->asked.ipv6)
        return;
    for (uint32_t h = 0; h < q->host_count; h++) {
        if (!name_is_below(q->host[h].name, q->asked.name))
            continue;
        reading_beside(bytes, length, q->host[h].name, &q->host[h].of[CHOICE_IPV4], &q->positive_ttl_s[h]);
        if (q->host[h].of[CHOICE_IPV4].count > 0)
            q->beside |= 1u << h;
    }
}

static void take_mx(struct question *q, const struct question_lookup *lookup, const void *bytes,
                    size_t length, choice_draw_fn draw)
{
    struct choice_list list = {.own = q->own};

    reading_mx(bytes, length, draw, &list, &q->mx);
    q->ttl_s = q->mx.ttl_s;
    q->has_own = list.has_own;
    if (q->mx.verdict == READING_FAILED) {
        question_take_failure(q, lookup, q->mx.words);
        return;
    }
    if (q->mx.unfit && !q->mx.null_mx)
        log_info("MX of %s: %u unusable host name%s, the first is \"%.64s\"", q->asked.name, q->mx.unfit,
                 q->mx.unfit == 1 ? "" : "s", q->mx.unfit_name);
    if (list.count == 0)
        return;
    if (!hosts_make(q, list.count)) {
        question_take_failure(q, lookup, "no memory");
        return;
    }
    for (uint32_t h = 0; h < list.count; h++)
        host_name_set(&q->host[h], list.mx[h].name, list.mx[h].preference);
    take_beside(q, bytes, length);
    if (strcmp(q->mx.owner, q->asked.name) != 0)
        snprintf(q->answer.dane.next_hop, sizeof q->answer.dane.next_hop, "%s", q->mx.owner);
}

static void take_addresses(struct question *q, const struct question_lookup *lookup, const void *bytes,
                           size_t length, bool secure)
{
    enum choice_family family = lookup->type == PACKET_A ? CHOICE_IPV4 : CHOICE_IPV6;
    struct reading reading;

    HK_BUG_ON(lookup->host >= q->host_count);
    reading_addresses(bytes, length, family, &q->host[lookup->host].of[family], &reading);
    if (reading.verdict == READING_FAILED)
        question_take_failure(q, lookup, reading.words);
    else if (reading.verdict == READING_FOUND)
        q->positive_ttl_s[lookup->host] = smaller(q->positive_ttl_s[lookup->host], reading.ttl_s);
    if (reading.verdict == READING_FOUND)
        dane_host_address(&q->dane_host[lookup->host], lookup->name, reading.owner, secure);
    if (reading.verdict == READING_NONE || reading.verdict == READING_NXDOMAIN)
        q->negative_ttl_s = smaller(q->negative_ttl_s, reading.ttl_s);
    if (reading.verdict == READING_NXDOMAIN)
        q->host_nxdomain = true;
}

static void take_dane(struct question *q, const struct question_lookup *lookup, const void *bytes,
                      size_t length, bool secure)
{
    struct dane_host *host = &q->dane_host[lookup->host];
    struct reading reading;

    if (lookup->type == PACKET_CNAME)
        dane_host_cname(host, bytes, length, secure, &reading);
    else
        dane_host_tlsa(host, lookup->host, bytes, length, secure, &q->answer.dane, &reading);
    if (reading.verdict == READING_FAILED)
        question_take_failure(q, lookup, reading.words);
    q->ttl_s = smaller(q->ttl_s, reading.ttl_s);
}

static void take_txt(struct question *q, const struct question_lookup *lookup, const void *bytes,
                     size_t length)
{
    if (lookup->name == q->sts_name)
        (void)txt_sts_id(bytes, length, q->sts_id);
    else
        (void)txt_tlsrpt_rua(bytes, length, q->answer.rua);
}

void question_take(struct question *q, const struct question_lookup *lookup, const void *bytes, size_t length,
                   bool secure, choice_draw_fn draw)
{
    if (q->stage == QUESTION_DANE) {
        take_dane(q, lookup, bytes, length, secure);
        return;
    }
    if (lookup->type == PACKET_TXT) {
        take_txt(q, lookup, bytes, length);
        return;
    }
    q->all_secure &= secure;
    if (lookup->type == PACKET_MX) {
        q->mx_secure = secure;
        take_mx(q, lookup, bytes, length, draw);
    } else {
        take_addresses(q, lookup, bytes, length, secure);
    }
}

/* Nobody but this host takes the domain's mail: it would send to itself, and so it is not sent. */
static bool answer_own(struct question *q)
{
    uint32_t ttl_s = q->ttl_s;

    for (uint32_t h = 0; q->stage == QUESTION_HOSTS && h < q->host_count; h++)
        ttl_s = smaller(ttl_s, q->positive_ttl_s[h]);
    answer_words(q, "this host is itself the best MX of %.60s: write a route for it", q->asked.name);
    answer_settle(q, RESOLVE_OWN_HOST, ttl_s);
    return true;
}

/* The hosts' addresses are known: those that turn out to be this host go, with all that are no better. A relay was named by
 * the operator, who may mean this host. False: nobody is left. */
static bool drop_own(struct question *q)
{
    uint32_t left;

    if (q->stage != QUESTION_HOSTS || !q->asked.mx)
        return true;
    left = choice_before_own(q->host, q->host_count, q->own);
    if (left == 0)
        return false;
    q->host_count = left;
    return true;
}

static bool step_from_mx(struct question *q)
{
    if (q->mx.verdict == READING_FAILED) {
        answer_words(q, "%s", q->failed);
        answer_settle(q, RESOLVE_TEMPORARY, QUESTION_TTL_FAILED_S);
        return true;
    }
    if (q->mx.verdict == READING_NXDOMAIN) {
        answer_words(q, "%.100s does not exist (NXDOMAIN)", q->asked.name);
        answer_settle(q, RESOLVE_NXDOMAIN, q->ttl_s);
        return true;
    }
    if (q->mx.verdict == READING_NONE)
        return own_is_name(q->own, q->asked.name) ? answer_own(q) : host_implicit(q);
    if (q->mx.null_mx) {
        answer_words(q, "%.90s accepts no mail (null MX)", q->asked.name);
        answer_settle(q, RESOLVE_NULL_MX, q->ttl_s);
        return true;
    }
    if (q->host_count == 0 && q->has_own)
        return answer_own(q);
    if (q->host_count == 0) {
        answer_words(q, "no MX of %.50s has a usable host name (\"%.30s\")", q->asked.name, q->mx.unfit_name);
        answer_settle(q, RESOLVE_NO_ADDRESS, q->ttl_s);
        return true;
    }
    q->stage = QUESTION_HOSTS;
    return false;
}

static void answer_without_address(struct question *q)
{
    if (q->hosts_failed) {
        answer_words(q, "%s", q->failed);
        answer_settle(q, RESOLVE_TEMPORARY, QUESTION_TTL_FAILED_S);
        return;
    }
    /* Where MX was answered with NODATA the name exists, whatever a muddled server says of its address. */
    if (!q->asked.mx && q->host_nxdomain) {
        answer_words(q, "%.100s does not exist (NXDOMAIN)", q->asked.name);
        answer_settle(q, RESOLVE_NXDOMAIN, q->negative_ttl_s);
        return;
    }
    if (q->implicit)
        answer_words(q, q->asked.mx ? "%.80s has neither MX nor address" : "%.80s has no address",
                     q->asked.name);
    else
        answer_words(q, "MX %.80s has no address%s", q->host[0].name,
                     q->host_count > 1 ? ", and neither has any other" : "");
    answer_settle(q, RESOLVE_NO_ADDRESS, smaller(q->ttl_s, q->negative_ttl_s));
}

/* What a host may be asked next; true: something is left to ask. */
static bool dane_go_on(struct question *q)
{
    bool more = false;

    if (q->asked.tlsa_port == 0 || !q->mx_secure)
        return false;
    for (uint32_t h = 0; h < q->host_count; h++) {
        if (q->stage == QUESTION_HOSTS)
            dane_host_begin(&q->dane_host[h], q->asked.tlsa_port, q->host[h].name);
        else
            dane_host_next(&q->dane_host[h], q->asked.tlsa_port, q->host[h].name);
        more |= q->dane_host[h].ask != DANE_ASK_NOTHING;
    }
    q->stage = QUESTION_DANE;
    return more;
}

static uint8_t answer_place(const struct question *q, uint32_t h)
{
    uint8_t place = 0;

    while (place < q->answer.host_count && strcmp(q->answer.host[place].name, q->host[h].name) != 0)
        place++;
    return place;
}

/* Hosts without an address have no place in the answer: what was found is numbered anew. Only hosts with an address were
 * asked for. */
static void answer_dane(struct question *q)
{
    struct dane_set *set = &q->answer.dane;
    uint8_t place[RESOLVE_HOSTS_MAX];

    for (uint32_t h = 0; h < q->host_count; h++) {
        struct dane_host *host = &q->dane_host[h];

        place[h] = answer_place(q, h);
        if (host->state == DANE_NONE)
            continue;
        HK_BUG_ON(place[h] == q->answer.host_count);
        if (host->state == DANE_USABLE && host->base_is_expanded &&
            !dane_base_set(set, place[h], host->expanded))
            host->state = DANE_FAILED;
        q->answer.host[place[h]].dane = (uint8_t)host->state;
        q->answer.has_dane = 1;
    }
    for (uint32_t i = 0; i < set->record_count; i++)
        set->record[i].host = place[set->record[i].host];
}

bool question_step(struct question *q, choice_draw_fn draw)
{
    uint32_t ttl_s;

    HK_BUG_ON(q->stage == QUESTION_ANSWERED);
    if (q->stage == QUESTION_MX)
        return step_from_mx(q);
    if (!drop_own(q))
        return answer_own(q);
    if (dane_go_on(q))
        return false;
    choice_fill(q->host, q->host_count, draw, &q->answer);
    if (q->answer.address_count == 0) {
        answer_without_address(q);
        return true;
    }
    ttl_s = q->ttl_s;
    for (uint32_t h = 0; h < q->host_count; h++)
        ttl_s = smaller(ttl_s, q->positive_ttl_s[h]);
    if (q->hosts_failed)
        ttl_s = smaller(ttl_s, QUESTION_TTL_PARTIAL_S);
    if (q->hosts_failed)
        answer_words(q, "%s", q->failed);
    else if (q->answer.host_count < q->host_count)
        answer_words(q, "%u of %u MX hosts have no address", q->host_count - q->answer.host_count,
                     q->host_count);
    answer_dane(q);
    q->answer.secure = q->all_secure;
    answer_settle(q, RESOLVE_OK, ttl_s);
    return true;
}
