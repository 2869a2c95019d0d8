/* tlsrpt.c - see tlsrpt.h. */
#include "tlsrpt.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <time.h>

#define DAY_S         86400u
#define FILE_NAME_MAX 240u /* of the 255 that file systems take, for the temporary name as well */

/* Failures that look the same. */
struct detail {
    SLIST_ENTRY(detail) link;
    uint8_t result; /* enum tls_seen_result */
    bool merged;    /* of all that had no place of their own */
    char mx[DOMAIN_MAX + 1], mx_ip[INET6_ADDRSTRLEN], source_ip[INET6_ADDRSTRLEN], reason[128];
    uint64_t sessions;
};

struct counted {
    bool used;
    char *text; /* of the policy, may be NULL */
    uint64_t successes, failures;
    uint32_t details;
    SLIST_HEAD(, detail) detail;
};

struct tlsrpt_domain {
    struct table_link link;
    char *rua;
    struct counted policy[TLSRPT_POLICIES];
    char name[];
};

/* What a report covers: seconds since 1970, both ends within. */
struct span_of_time {
    uint64_t begin_s, end_s;
};

static const char *const policy_names[] = {"no-policy-found", "sts", "tlsa"};

/* ---- counting ---- */

static void detail_copy(char *to, size_t size, const char *from)
{
    (void)hk_clean_text(to, size, from, strlen(from));
}

static struct detail *detail_add(struct counted *counted, const struct tlsrpt_session *session, bool merged)
{
    struct detail *detail = hk_xcalloc(1, sizeof *detail);

    detail->result = (uint8_t)session->result;
    detail->merged = merged;
    if (!merged) {
        detail_copy(detail->mx, sizeof detail->mx, session->mx);
        detail_copy(detail->mx_ip, sizeof detail->mx_ip, session->mx_ip);
        detail_copy(detail->source_ip, sizeof detail->source_ip, session->source_ip);
        detail_copy(detail->reason, sizeof detail->reason, session->reason);
    }
    SLIST_INSERT_HEAD(&counted->detail, detail, link);
    return detail;
}

static bool detail_is(const struct detail *detail, const struct tlsrpt_session *session)
{
    return !detail->merged && detail->result == session->result && strcmp(detail->mx, session->mx) == 0 &&
           strcmp(detail->mx_ip, session->mx_ip) == 0 && strcmp(detail->source_ip, session->source_ip) == 0 &&
           strncmp(detail->reason, session->reason, sizeof detail->reason - 1) == 0;
}

static void failure_count(struct tlsrpt *tlsrpt, struct counted *counted,
                          const struct tlsrpt_session *session)
{
    struct detail *detail, *merged = NULL;

    counted->failures++;
    SLIST_FOREACH(detail, &counted->detail, link)
    {
        if (detail_is(detail, session)) {
            detail->sessions++;
            return;
        }
        if (detail->merged && detail->result == session->result)
            merged = detail;
    }
    if (counted->details < TLSRPT_DETAILS_MAX && tlsrpt->details < TLSRPT_DETAILS_ALL) {
        counted->details++;
        tlsrpt->details++;
        merged = detail_add(counted, session, false);
    } else if (merged == NULL) {
        merged = detail_add(counted, session, true);
    }
    merged->sessions++;
}

static struct tlsrpt_domain *domain_get(struct tlsrpt *tlsrpt, const struct tlsrpt_session *session)
{
    struct tlsrpt_domain *domain = table_find(&tlsrpt->domains, session->domain);
    size_t length = strlen(session->domain);

    if (domain == NULL) {
        if (tlsrpt->domains.count >= TLSRPT_DOMAINS_MAX)
            return NULL;
        domain = hk_xcalloc(1, sizeof *domain + length + 1);
        memcpy(domain->name, session->domain, length + 1);
        table_add(&tlsrpt->domains, &domain->link, domain->name);
    }
    if (domain->rua == NULL || strcmp(domain->rua, session->rua) != 0) {
        free(domain->rua);
        domain->rua = hk_xstrdup(session->rua);
    }
    return domain;
}

static void day_turn(struct tlsrpt *tlsrpt, uint64_t now_us);

void tlsrpt_count(struct tlsrpt *tlsrpt, const struct tlsrpt_session *session, uint64_t now_us)
{
    struct tlsrpt_domain *domain;
    struct counted *counted;

    day_turn(tlsrpt, now_us);
    domain = domain_get(tlsrpt, session);
    if (domain == NULL) {
        tlsrpt->uncounted++;
        return;
    }
    counted = &domain->policy[session->policy];
    counted->used = true;
    if (counted->text == NULL && session->policy_text != NULL)
        counted->text = hk_xstrdup(session->policy_text);
    if (session->result == TLS_SEEN_OK)
        counted->successes++;
    else
        failure_count(tlsrpt, counted, session);
}

/* ---- reports ---- */

static void json_put(json_t *object, const char *key, json_t *value)
{
    HK_BUG_ON(json_object_set_new(object, key, value) != 0); /* text that was cleaned, or no memory */
}

static void json_put_text(json_t *object, const char *key, const char *text)
{
    if (text[0] != '\0')
        json_put(object, key, json_string(text));
}

static json_t *time_json(uint64_t at_s)
{
    time_t at = (time_t)at_s;
    char text[32];
    struct tm tm;

    gmtime_r(&at, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return json_string(text);
}

static json_t *details_json(const struct counted *counted)
{
    json_t *list = json_array();
    const struct detail *detail;

    SLIST_FOREACH(detail, &counted->detail, link)
    {
        json_t *one = json_object();

        json_put(one, "result-type", json_string(tls_seen_name((enum tls_seen_result)detail->result)));
        json_put_text(one, "sending-mta-ip", detail->source_ip);
        json_put_text(one, "receiving-mx-hostname", detail->mx);
        json_put_text(one, "receiving-ip", detail->mx_ip);
        json_put(one, "failed-session-count", json_integer((json_int_t)detail->sessions));
        json_put_text(one, "failure-reason-code", detail->reason);
        json_array_append_new(list, one);
    }
    return list;
}

/* The lines of the policy, and of an MTA-STS policy its mx patterns once more (RFC 8460 4.4). */
static void policy_lines(json_t *policy, enum tlsrpt_policy type, const char *text)
{
    json_t *lines = json_array(), *hosts = json_array();

    for (const char *end; (end = strchr(text, '\n')) != NULL; text = end + 1) {
        json_array_append_new(lines, json_stringn(text, (size_t)(end - text)));
        if (strncmp(text, "mx: ", 4) == 0)
            json_array_append_new(hosts, json_stringn(text + 4, (size_t)(end - text) - 4));
    }
    json_put(policy, "policy-string", lines);
    if (type == TLSRPT_STS)
        json_put(policy, "mx-host", hosts);
    else
        json_decref(hosts);
}

static json_t *policy_json(const struct tlsrpt_domain *domain, enum tlsrpt_policy type)
{
    const struct counted *counted = &domain->policy[type];
    json_t *policy = json_object(), *summary = json_object(), *both = json_object();

    json_put(policy, "policy-type", json_string(policy_names[type]));
    if (counted->text != NULL && counted->text[0] != '\0')
        policy_lines(policy, type, counted->text);
    json_put(policy, "policy-domain", json_string(domain->name));
    json_put(summary, "total-successful-session-count", json_integer((json_int_t)counted->successes));
    json_put(summary, "total-failure-session-count", json_integer((json_int_t)counted->failures));
    json_put(both, "policy", policy);
    json_put(both, "summary", summary);
    if (counted->failures > 0)
        json_put(both, "failure-details", details_json(counted));
    return both;
}

static json_t *report_json(const struct tlsrpt *tlsrpt, const struct tlsrpt_domain *domain,
                           const struct span_of_time *day)
{
    const char *sender = tlsrpt->config->sender.from_domain;
    json_t *report = json_object(), *range = json_object(), *policies = json_array();
    char text[DOMAIN_MAX + 64];

    json_put(report, "organization-name", json_string(sender));
    json_put(range, "start-datetime", time_json(day->begin_s));
    json_put(range, "end-datetime", time_json(day->end_s));
    json_put(report, "date-range", range);
    snprintf(text, sizeof text, "postmaster@%s", sender);
    json_put(report, "contact-info", json_string(text));
    snprintf(text, sizeof text, "%llu-%llu_%s", (unsigned long long)day->begin_s,
             (unsigned long long)tlsrpt->epoch, domain->name);
    json_put(report, "report-id", json_string(text));
    for (unsigned type = 0; type < TLSRPT_POLICIES; type++)
        if (domain->policy[type].used)
            json_array_append_new(policies, policy_json(domain, (enum tlsrpt_policy)type));
    json_put(report, "policies", policies);
    return report;
}

/* RFC 8460 5.1 for the name; where it would be too long for a file system, a hash stands for the domain. */
static int report_path(const struct tlsrpt *tlsrpt, const struct tlsrpt_domain *domain,
                       const struct span_of_time *day, const char *suffix, char *path, size_t size)
{
    const char *name = domain->name;
    char hash[HK_SHA256_HEX];

    if (strlen(tlsrpt->config->sender.from_domain) + strlen(name) > FILE_NAME_MAX - 80) {
        hk_sha256_hex(name, strlen(name), hash);
        hash[32] = '\0';
        name = hash;
    }
    return config_path(tlsrpt->config, path, size, "tlsrpt/%.150s!%s!%llu!%llu!%llu.%s",
                       tlsrpt->config->sender.from_domain, name, (unsigned long long)day->begin_s,
                       (unsigned long long)day->end_s, (unsigned long long)tlsrpt->epoch, suffix);
}

static int file_write(const struct tlsrpt *tlsrpt, const struct tlsrpt_domain *domain,
                      const struct span_of_time *day, const char *suffix, const char *text,
                      struct hk_why *why)
{
    char path[4096];

    if (report_path(tlsrpt, domain, day, suffix, path, sizeof path))
        return why_set(why, HK_ETOOBIG, "the path of state_dir is too long");
    return hk_write_file(path, 0600, text, strlen(text), why);
}

static int report_write(const struct tlsrpt *tlsrpt, const struct tlsrpt_domain *domain,
                        const struct span_of_time *day, struct hk_why *why)
{
    json_t *report = report_json(tlsrpt, domain, day);
    char *text = json_dumps(report, JSON_INDENT(2)), *rua = hk_xasprintf("%s\n", domain->rua);
    int rc;

    HK_BUG_ON(text == NULL);
    for (char *comma = strchr(rua, ','); comma != NULL; comma = strchr(comma, ','))
        *comma = '\n';
    rc = file_write(tlsrpt, domain, day, "rua", rua, why);
    if (rc == 0) /* last, so that whoever sends what he finds knows where to */
        rc = file_write(tlsrpt, domain, day, "json", text, why);
    json_decref(report);
    free(text);
    free(rua);
    return rc;
}

static void domain_free(struct tlsrpt_domain *domain)
{
    for (unsigned type = 0; type < TLSRPT_POLICIES; type++) {
        struct detail *detail;

        while ((detail = SLIST_FIRST(&domain->policy[type].detail)) != NULL) {
            SLIST_REMOVE_HEAD(&domain->policy[type].detail, link);
            free(detail);
        }
        free(domain->policy[type].text);
    }
    free(domain->rua);
    free(domain);
}

/* The folder stands only where there is a report to put in. */
static int folder_make(const struct tlsrpt *tlsrpt, struct hk_why *why)
{
    char path[4096];

    if (config_path(tlsrpt->config, path, sizeof path, "tlsrpt"))
        return why_set(why, HK_ETOOBIG, "the path of state_dir is too long");
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return why_set(why, HK_EIO, "%s: %s", path, strerror(errno));
    return 0;
}

/* Up to `most` reports of the day that is over. What cannot be written is lost, with a word. */
static void over_write(struct tlsrpt *tlsrpt, size_t most)
{
    const struct span_of_time day = {tlsrpt->over_begin_s, tlsrpt->over_end_s};
    struct tlsrpt_domain *domain;
    uint64_t lost = 0;
    struct hk_why why;
    bool usable = tlsrpt->over.count > 0 && folder_make(tlsrpt, &why) == 0;

    for (; most > 0 && tlsrpt->over.count > 0; most--) {
        size_t cursor = 0;
        domain = table_next(&tlsrpt->over, &cursor, NULL);
        if (!usable || report_write(tlsrpt, domain, &day, &why) != 0)
            lost++;
        table_remove(&tlsrpt->over, &domain->link);
        domain_free(domain);
    }
    if (lost > 0)
        log_warning("%llu TLS reports could not be written (%s): what they told is lost",
                    (unsigned long long)lost, why.text);
    if (tlsrpt->over.count == 0)
        table_clear(&tlsrpt->over);
}

/* What was counted belongs to a time that is over; the next begins with nothing. */
static void day_end(struct tlsrpt *tlsrpt, uint64_t end_s)
{
    over_write(tlsrpt, SIZE_MAX); /* a day is long enough for the one before it: there is none left */
    tlsrpt->over_begin_s = tlsrpt->begin_s;
    tlsrpt->over_end_s = end_s;
    tlsrpt->over = tlsrpt->domains;
    if (tlsrpt->uncounted > 0)
        log_warning("TLS reports: %llu sessions with more than %u domains were not counted",
                    (unsigned long long)tlsrpt->uncounted, TLSRPT_DOMAINS_MAX);
    memset(&tlsrpt->domains, 0, sizeof tlsrpt->domains);
    tlsrpt->details = 0;
    tlsrpt->uncounted = 0;
}

static void day_begin(struct tlsrpt *tlsrpt, uint64_t begin_s)
{
    tlsrpt->begin_s = begin_s;
    tlsrpt->end_s = begin_s - begin_s % DAY_S + DAY_S;
}

void tlsrpt_open(struct tlsrpt *tlsrpt, const struct config *config, uint64_t epoch, uint64_t now_us)
{
    memset(tlsrpt, 0, sizeof *tlsrpt);
    tlsrpt->config = config;
    tlsrpt->epoch = epoch;
    day_begin(tlsrpt, now_us / 1000000);
}

static void day_turn(struct tlsrpt *tlsrpt, uint64_t now_us)
{
    uint64_t now_s = now_us / 1000000;

    if (now_s < tlsrpt->end_s)
        return;
    day_end(tlsrpt, tlsrpt->end_s - 1);
    day_begin(tlsrpt, now_s - now_s % DAY_S);
}

void tlsrpt_turn(struct tlsrpt *tlsrpt, uint64_t now_us)
{
    day_turn(tlsrpt, now_us);
    over_write(tlsrpt, TLSRPT_AT_ONCE);
}

void tlsrpt_close(struct tlsrpt *tlsrpt, uint64_t now_us)
{
    day_turn(tlsrpt, now_us);
    day_end(tlsrpt, now_us / 1000000);
    over_write(tlsrpt, SIZE_MAX);
}
