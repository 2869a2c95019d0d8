/* notify.c - see notify.h. */
#include "notify.h"

#include <jansson.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

#include "hikyaku/ses.h"
#include "hikyaku/whose.h"

#define KNOWN_BY_SIZE 160u /* of a text by which a message is known again; a longer one is cut */
#define KEPT_MAX      8u
#define GOOD_KEPT     (KEPT_MAX / 2) /* good ones that others, which anybody may name, cannot drive out */
#define KEPT_MS       (24u * 3600u * 1000u) /* a certificate; then it is fetched again */
#define FAILED_MS     30000u /* one that was not to be had, or not good, is not asked for again before */

enum { OK = 200, BAD = 400, FORBIDDEN = 403, TOO_LARGE = 413, LATER = 503, GATEWAY = 502 };

enum kept_state { KEPT_FREE, KEPT_FETCHING, KEPT_GOOD, KEPT_FAILED };
/* A signing certificate, by its URL. */
struct kept {
    struct notifier *notifier;
    char url[SNS_URL_MAX];
    enum kept_state state;
    struct sns_certificate *certificate;
    uint64_t until_ms;
    unsigned status; /* FAILED: how whoever comes with it is answered */
    char words[256];
};

/* One envelope on its way. */
struct notice {
    TAILQ_ENTRY(notice) link; /* waits for its certificate */
    struct notifier *notifier;
    struct request *request;
    struct kept *kept;
    struct sns_message message;
};

struct notifier {
    const struct config *config;
    struct courier *courier;
    struct desk *desk;
    struct sns_trust *trust;
    struct kept kept[KEPT_MAX];
    TAILQ_HEAD(, notice) waiting;
};

void refusal_log(const char *what, const char *words)
{
    static uint64_t last_ms;
    static unsigned long unsaid;
    uint64_t now = clock_now_ms();
    char clean[400];

    if (last_ms != 0 && now < last_ms + 1000) {
        unsaid++;
        return;
    }
    (void)hk_clean_text(clean, sizeof clean, words, strlen(words));
    if (unsaid > 0)
        log_warning("%s refused: %s (and %lu more before)", what, clean, unsaid);
    else
        log_warning("%s refused: %s", what, clean);
    last_ms = now;
    unsaid = 0;
}

static void refuse(struct request *request, unsigned status, const char *words)
{
    refusal_log("a message of SNS", words);
    request_answer(request, status, words);
}

static unsigned status_of(int error)
{
    return error == HK_ETOOBIG ? TOO_LARGE : error == HK_ENOMEM || error == HK_EFULL ? LATER : BAD;
}

static void notice_free(struct notice *notice)
{
    sns_message_free(&notice->message);
    free(notice);
}

static void notice_refuse(struct notice *notice, unsigned status, const char *words)
{
    refuse(notice->request, status, words);
    notice_free(notice);
}

/* ---- what SES says ---- */

struct telling {
    struct bounce chosen;
    size_t rows;
};

static int weight(const struct bounce *b)
{
    return b->verdict.disposition == DISPOSITION_SUPPRESS ? 2 : b->verdict.disposition != DISPOSITION_NONE;
}

/* A message of ours has one recipient, so there is one row; of several the mildest counts. */
static void on_bounce(void *context, const struct bounce *bounce)
{
    struct telling *t = context;

    if (t->rows++ == 0 || weight(bounce) < weight(&t->chosen))
        t->chosen = *bounce;
}

/* Our return path, which SES was given as envelope sender and as a tag. "" where neither is one. */
static void token_of(const struct config *config, const struct ses_notice *notice, char *out, size_t size)
{
    const char *domain = config->sender.return_path, *at = strrchr(notice->source, '@');

    out[0] = '\0';
    if (strncasecmp(notice->tag, "b-", 2) == 0 && strchr(notice->tag, '@') == NULL)
        (void)snprintf(out, size, "%s@%s", notice->tag, domain);
    else if (at != NULL && strcasecmp(at + 1, domain) == 0)
        (void)snprintf(out, size, "%s", notice->source);
}

static json_t *clean(const char *text)
{
    char out[1024];

    (void)hk_clean_text(out, sizeof out, text, strlen(text));
    return json_string(out);
}

/* By these it is known again when it is delivered twice: its message, or what SES calls the feedback. */
static json_t *ids_of(const char *known_by, const struct ses_notice *notice)
{
    json_t *ids = json_array();

    json_array_append_new(ids, clean(known_by));
    if (notice->feedback_id[0] != '\0')
        json_array_append_new(ids, json_sprintf("ses:%s", notice->feedback_id));
    return ids;
}

/* As whose.h makes it of a mail, with what SES adds. NULL: no memory. */
static json_t *entry_of(const struct config *config, const char *known_by, const struct ses_notice *notice,
                        const struct bounce *bounce)
{
    char token[2 * ADDRESS_MAX];
    json_t *entry;

    token_of(config, notice, token, sizeof token);
    entry = whose_entry_of(token, token[0] != '\0' ? "" : "no token of ours", bounce);
    if (entry == NULL || json_object_set_new(entry, "source", json_string("ses")) != 0 ||
        json_object_set_new(entry, "remote_id", clean(notice->message_id)) != 0 ||
        json_object_set_new(entry, "heard", ids_of(known_by, notice)) != 0) {
        json_decref(entry);
        return NULL;
    }
    return entry;
}

void notifier_told(struct request *request, enum desk_answer answer, const struct json_t *told)
{
    if (answer == DESK_TAKEN)
        request_answer(request, OK, json_is_true(json_object_get(told, "heard")) ? "known already" : "taken");
    else if (answer == DESK_REFUSED)
        refuse(request, BAD, "the master does not understand it");
    else
        request_answer(request, LATER, "not now");
}

static void tell(struct notifier *n, struct request *request, const char *known_by, const char *text,
                 size_t length)
{
    struct telling t = {.rows = 0};
    struct ses_notice notice;
    struct hk_why why;
    int error = ses_read(text, length, &notice, on_bounce, &t, &why);

    if (error != 0) {
        refuse(request, status_of(error), why.text);
        return;
    }
    if (t.rows == 0) {
        request_answer(request, OK, "nothing follows from it");
        return;
    }
    desk_bounce(n->desk, entry_of(n->config, known_by, &notice, &t.chosen), request, ASKED_NOTICE);
}

/* ---- a message whose signature holds ---- */

static void on_confirmed(void *context, const char *words, const char *body, size_t length,
                         const char *between, size_t between_length)
{
    struct notice *notice = context;

    (void)body;
    (void)length;
    (void)between;
    (void)between_length;
    if (words[0] == '\0') {
        log_info("SNS topic %s: the subscription is confirmed", notice->message.topic);
        request_answer(notice->request, OK, "confirmed");
    } else {
        char said[400];
        (void)snprintf(said, sizeof said, "the subscription cannot be confirmed: %.300s", words);
        refuse(notice->request, GATEWAY, said);
    }
    notice_free(notice);
}

static void confirm(struct notice *notice)
{
    int error = courier_send(notice->notifier->courier, FETCH_CONFIRM, notice->message.subscribe_url,
                             notice->message.topic, on_confirmed, notice);

    if (error != 0)
        notice_refuse(notice, LATER, "too many requests wait");
}

static void notice_verified(struct notice *notice)
{
    const struct sns_message *m = &notice->message;
    char known_by[KNOWN_BY_SIZE];

    switch (m->type) {
    case SNS_NOTIFICATION:
        (void)snprintf(known_by, sizeof known_by, "sns:%s", m->message_id);
        tell(notice->notifier, notice->request, known_by, m->text, strlen(m->text));
        break;
    case SNS_SUBSCRIPTION:
        confirm(notice);
        return;
    case SNS_UNSUBSCRIPTION:
        log_warning("SNS topic %s: somebody has ended the subscription; nothing more comes from it",
                    m->topic);
        request_answer(notice->request, OK, "noted");
        break;
    }
    notice_free(notice);
}

/* ---- its certificate ---- */

static void notice_with(struct notice *notice, struct kept *kept)
{
    struct hk_why why;

    if (kept->state == KEPT_FAILED)
        notice_refuse(notice, kept->status, kept->words);
    else if (sns_verify(&notice->message, kept->certificate, &why) != 0)
        notice_refuse(notice, FORBIDDEN, why.text);
    else
        notice_verified(notice);
}

static void kept_fail(struct kept *kept, unsigned status, const char *words)
{
    kept->state = KEPT_FAILED;
    kept->status = status;
    kept->until_ms = clock_now_ms() + FAILED_MS;
    (void)snprintf(kept->words, sizeof kept->words, "%.250s", words);
}

static void on_certificate(void *context, const char *words, const char *body, size_t length,
                           const char *between, size_t between_length)
{
    struct kept *kept = context;
    struct notifier *n = kept->notifier;
    char host[SNS_URL_MAX];
    struct notice *notice, *next;
    struct hk_why why;
    int error;

    sns_url_host(kept->url, host);
    if (words[0] != '\0') {
        kept_fail(kept, LATER, words);
    } else {
        error = sns_certificate_check(body, length, between, between_length, host, n->trust,
                                      (int64_t)(clock_wall_us() / 1000000u), &kept->certificate, &why);
        if (error != 0)
            kept_fail(kept, error == HK_ENOMEM ? LATER : FORBIDDEN, why.text);
        else
            kept->state = KEPT_GOOD;
        if (error == 0)
            kept->until_ms = clock_now_ms() + KEPT_MS;
    }
    for (notice = TAILQ_FIRST(&n->waiting); notice != NULL; notice = next) {
        next = TAILQ_NEXT(notice, link);
        if (notice->kept != kept)
            continue;
        TAILQ_REMOVE(&n->waiting, notice, link);
        notice_with(notice, kept);
    }
}

static void kept_clear(struct kept *kept)
{
    sns_certificate_free(kept->certificate);
    kept->certificate = NULL;
    kept->state = KEPT_FREE;
}

static bool is_usable(const struct kept *kept, uint64_t now_ms)
{
    return kept->state == KEPT_FETCHING ||
           (kept->state != KEPT_FREE && now_ms < kept->until_ms &&
            (kept->state != KEPT_GOOD ||
             sns_certificate_is_valid(kept->certificate, (int64_t)(clock_wall_us() / 1000000u))));
}

/* Which of two places is given away first? A free one, a failed one, then the good one that was fetched first. */
static bool is_cheaper(const struct kept *a, const struct kept *b)
{
    static const unsigned price[] = {[KEPT_FREE] = 0, [KEPT_FAILED] = 1, [KEPT_GOOD] = 2};

    return price[a->state] < price[b->state] ||
           (price[a->state] == price[b->state] && a->until_ms < b->until_ms);
}

/* The one of this URL, or a place for it. NULL: too many are being fetched. */
static struct kept *kept_of(struct notifier *n, const char *url)
{
    struct kept *place = NULL;
    unsigned good = 0;

    for (size_t i = 0; i < KEPT_MAX; i++) {
        struct kept *kept = &n->kept[i];
        if (kept->state != KEPT_FREE && strcmp(kept->url, url) == 0)
            return kept;
        good += kept->state == KEPT_GOOD;
        if (kept->state != KEPT_FETCHING && (place == NULL || is_cheaper(kept, place)))
            place = kept;
    }
    if (place != NULL && place->state == KEPT_GOOD && good <= GOOD_KEPT)
        return NULL;
    if (place != NULL)
        kept_clear(place);
    return place;
}

static void notice_take(struct notice *notice)
{
    struct notifier *n = notice->notifier;
    const char *url = notice->message.certificate_url;
    struct kept *kept = kept_of(n, url);

    if (kept != NULL && !is_usable(kept, clock_now_ms())) {
        kept_clear(kept);
        kept->notifier = n;
        (void)snprintf(kept->url, sizeof kept->url, "%s", url);
        if (courier_send(n->courier, FETCH_CERTIFICATE, url, NULL, on_certificate, kept) != 0)
            kept = NULL;
        else
            kept->state = KEPT_FETCHING;
    }
    if (kept == NULL) {
        notice_refuse(notice, LATER, "too many certificates are being fetched");
        return;
    }
    notice->kept = kept;
    if (kept->state == KEPT_FETCHING)
        TAILQ_INSERT_TAIL(&n->waiting, notice, link);
    else
        notice_with(notice, kept);
}

/* ---- taking ---- */

static bool is_our_topic(const struct config *config, const char *topic)
{
    for (size_t i = 0; i < config->sns.topics.count; i++)
        if (strcmp(config->sns.topics.item[i], topic) == 0)
            return true;
    return false;
}

static int check(const struct notifier *n, const struct sns_message *m, struct hk_why *why)
{
    int error = 0;

    if (!is_our_topic(n->config, m->topic))
        return why_set(why, HK_EPROTO, "topic %.200s is not one of sns.topics", m->topic);
    error = sns_certificate_url_check(m->certificate_url, why);
    if (error == 0 && m->type == SNS_SUBSCRIPTION)
        error = sns_subscribe_url_check(m->subscribe_url, m->topic, why);
    return error != 0 ? HK_EPROTO : 0;
}

static void take_envelope(struct notifier *n, struct request *request, const struct asked *asked)
{
    struct notice *notice = calloc(1, sizeof *notice);
    struct hk_why why;
    int error;

    if (notice == NULL) {
        refuse(request, LATER, "out of memory");
        return;
    }
    notice->notifier = n;
    notice->request = request;
    error = sns_read(asked->body, asked->length, &notice->message, &why);
    if (error != 0) {
        notice_refuse(notice, status_of(error), why.text);
        return;
    }
    if (check(n, &notice->message, &why) != 0) {
        notice_refuse(notice, FORBIDDEN, why.text);
        return;
    }
    notice_take(notice);
}

/* It has no MessageId of its own: what is delivered once more is the same to the last byte. */
static void take_raw(struct notifier *n, struct request *request, const struct asked *asked)
{
    char known_by[KNOWN_BY_SIZE], hash[HK_SHA256_HEX];

    hk_sha256_hex(asked->body, asked->length, hash);
    (void)snprintf(known_by, sizeof known_by, "raw:%s", hash);
    tell(n, request, known_by, asked->body, asked->length);
}

void notifier_take(struct notifier *notifier, struct request *request, const struct asked *asked)
{
    if (asked->route->what == ROUTE_RAW)
        take_raw(notifier, request, asked);
    else if (asked->is_raw)
        refuse(request, FORBIDDEN,
               "raw delivery has no signature: it is only taken behind the secret of sns.secret_file");
    else
        take_envelope(notifier, request, asked);
}

int notifier_open(const struct config *config, struct courier *courier, struct desk *desk,
                  struct notifier **out, struct hk_why *why)
{
    struct notifier *n = hk_xcalloc(1, sizeof *n);
    int error = sns_trust_open(config->sns.ca_file, &n->trust, why);

    if (error != 0) {
        free(n);
        return error;
    }
    n->config = config;
    n->courier = courier;
    n->desk = desk;
    TAILQ_INIT(&n->waiting);
    *out = n;
    return 0;
}
