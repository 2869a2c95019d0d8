/* classify.c - what a reply means for the recipient (bounce-facts: text is the evidence, the code a hint, the phase
 * what a text can be about).
 *
 * Pure but for the rules, which are compiled once. The text is normalised (normal.c); the first rule that decides
 * (etc/replies.rules; those without a text stand last) names a class; then the phase corrects what cannot have been
 * meant, and class and code give the disposition. Only a permanent refusal that names the recipient, where a recipient
 * is judged, may suppress.
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "code.h"
#include "ruleset.h"
#include "saying.h"

const char *reply_class_name(enum reply_class c)
{
    static const char *const names[] = {
#define REPLY_CLASS_NAME(name, words) words,
        REPLY_CLASSES(REPLY_CLASS_NAME)
#undef REPLY_CLASS_NAME
    };

    return (unsigned)c < sizeof names / sizeof *names ? names[c] : "";
}

enum reply_class reply_class_of_word(const char *word)
{
    for (int c = CLASS_NONE + 1; c < CLASSES; c++)
        if (strcmp(reply_class_name((enum reply_class)c), word) == 0)
            return (enum reply_class)c;
    return CLASS_NONE;
}

const char *disposition_name(enum disposition d)
{
    static const char *const names[] = {"none", "count", "block", "suppress"};

    return (unsigned)d < sizeof names / sizeof *names ? names[d] : "none";
}

bool disposition_of_word(const char *word, enum disposition *out)
{
    for (int d = DISPOSITION_NONE; d <= DISPOSITION_SUPPRESS; d++)
        if (strcmp(disposition_name((enum disposition)d), word) == 0) {
            *out = (enum disposition)d;
            return true;
        }
    return false;
}

/* What is said of a class where no rule has a finer word. */
const char *reply_class_reason(enum reply_class c)
{
    static const char *const reasons[CLASSES] = {
        [CLASS_MAILBOX_UNKNOWN] = "userunknown",
        [CLASS_RECIPIENT_REFUSED] = "filtered",
        [CLASS_MAILBOX_INACTIVE] = "suspend",
        [CLASS_MAILBOX_FULL] = "mailboxfull",
        [CLASS_DOMAIN_INVALID] = "hostunknown",
        [CLASS_CONTENT_POLICY] = "policyviolation",
        [CLASS_SENDER_BLOCKED] = "blocked",
        [CLASS_AUTH_SECURITY] = "securityerror",
        [CLASS_RATE_LIMITED] = "toomanyconn",
        [CLASS_TOO_LARGE] = "mesgtoobig",
        [CLASS_NETWORK] = "networkerror",
        [CLASS_SYSTEM] = "systemerror",
        [CLASS_UNKNOWN] = "onhold",
        [CLASS_COMPLAINT] = "feedback",
        [CLASS_AUTOREPLY] = "vacation",
        [CLASS_DELIVERED] = "delivered",
        [CLASS_PROVIDER_SUPPRESSED] = "suppressed",
    };

    return (unsigned)c >= CLASSES || reasons[c] == NULL ? "" : reasons[c];
}

/* --- what a text says of itself --- */

/* An enhanced code alone, where somebody quotes: "Unknown address error '5.7.1 ... Access denied'". */
static bool quoted_status_is_at(struct slice text, size_t at)
{
    uint16_t status[3];

    return at > 0 && (text.at[at - 1] == '\'' || text.at[at - 1] == '"') &&
           code_status_at(text.at + at, text.length - at, status) > 0;
}

/* The place of the first reply whose code is of `class` (0: of any); `length` for none. */
static size_t find_reply(const char *text, size_t length, unsigned class)
{
    const struct slice all = {text, length};

    for (size_t at = 0; at < length; at++)
        if ((text[at] == '4' || text[at] == '5') && (class == 0 || (unsigned)(text[at] - '0') == class) &&
            (code_reply_at(all, at) != 0 || quoted_status_is_at(all, at)))
            return at;
    return length;
}

/* The first enhanced code in the text of `class` (0: of a refusal): some write it behind the words, "(#5.1.1)". */
static bool find_status(const char *text, size_t length, unsigned class, uint16_t status[3])
{
    return code_find_status((struct slice){text, length}, class != 0 ? 1u << class : 1u << 4 | 1u << 5,
                            status);
}

/* The server's own, before that of who reports it. */
static bool find_status_behind(const char *text, size_t length, size_t at, unsigned class, uint16_t status[3])
{
    return (at < length && find_status(text + at, length - at, class, status)) ||
           find_status(text, length, class, status);
}

static bool is_success(const char *text, size_t length)
{
    return length >= 3 && text[0] == '2' && isdigit((unsigned char)text[1]) &&
           isdigit((unsigned char)text[2]) && (length == 3 || text[3] == ' ' || text[3] == '-');
}

void diagnosis_read(struct diagnosis *d)
{
    size_t length = d->length < NORMAL_MAX ? d->length : NORMAL_MAX;
    size_t at = find_reply(d->text, length, d->status[0]);

    if (d->code == 0 && at == length && is_success(d->text, length))
        d->code = 250;
    if (d->code == 0 && at < length)
        d->code = code_of_refusal(d->text + at, length - at);
    if (d->status[0] == 0 || (d->status[1] == 0 && d->status[2] == 0))
        (void)find_status_behind(d->text, length, at, d->code / 100u, d->status);
    if (d->phase == LOG_PHASES)
        d->phase = saying_phase((struct slice){d->text, length});
}

/* --- the rules --- */

static bool code_fits(const struct rule *rule, const struct evidence *e)
{
    for (size_t i = 0; i < rule->codes; i++) {
        const struct code_range *range = &rule->code[i];
        uint16_t first = e->code, last = e->code;
        if (e->code == 0 && e->has_status &&
            range->from != 0) { /* a bounce mail that has the enhanced code alone */
            first = (uint16_t)(e->status[0] * 100);
            last = (uint16_t)(first + 99);
        }
        if (first >= range->from && last <= range->to)
            return true;
    }
    return rule->codes == 0;
}

static bool status_fits(const struct rule *rule, const struct evidence *e)
{
    for (size_t i = 0; i < rule->statuses && e->has_status; i++)
        if (rule->status[i].subject == e->status[1] && e->status[2] >= rule->status[i].from &&
            e->status[2] <= rule->status[i].to)
            return true;
    return rule->statuses == 0;
}

/* Where nobody answered the text is ours, and the only names of others in it are host names: what a server might
 * have meant by such a word is not what it says. */
static bool is_said_without_reply(enum reply_class c)
{
    return c == CLASS_DOMAIN_INVALID || c == CLASS_NETWORK || c == CLASS_TOO_LARGE || c == CLASS_UNKNOWN;
}

bool rule_decides(const struct rules *rules, const struct rule *rule, const struct evidence *e,
                  const struct pattern **pattern)
{
    enum log_phase phase = e->phase == LOG_PHASES ? LOG_PHASE_RCPT : e->phase;

    *pattern = NULL;
    if ((rule->phases != 0 && !(rule->phases & 1u << phase)) || !code_fits(rule, e) || !status_fits(rule, e))
        return false;
    if (e->is_ours && (rule->patterns == 0 || !is_said_without_reply(rule->reply_class)))
        return false;
    if (rule->patterns > 0 && !rule->is_open && !words_meet(&rule->any, &e->found))
        return false;
    for (size_t i = 0; i < rule->patterns; i++) {
        if (pattern_matches(rules, &rule->pattern[i], &e->found, e->text, e->length)) {
            *pattern = &rule->pattern[i];
            return true;
        }
    }
    return rule->patterns == 0;
}

static const struct rule *decide(const struct rules *rules, const struct evidence *e, bool by_text,
                                 const struct pattern **pattern)
{
    for (size_t i = 0; i < rules->rules; i++) {
        const struct rule *rule = &rules->rule[i];
        if ((rule->patterns > 0) == by_text && rule_decides(rules, rule, e, pattern))
            return rule;
    }
    return NULL;
}

/* --- what the phase makes of it --- */

static bool is_about_recipient(enum reply_class c)
{
    return c == CLASS_MAILBOX_UNKNOWN || c == CLASS_RECIPIENT_REFUSED || c == CLASS_MAILBOX_INACTIVE ||
           c == CLASS_MAILBOX_FULL || c == CLASS_DOMAIN_INVALID;
}

/* The enhanced code says in so many words that the address does not exist. */
static bool says_bad_address(const struct evidence *e)
{
    return e->has_status && e->status[1] == 1 &&
           (e->status[2] == 1 || e->status[2] == 6 || e->status[2] == 10);
}

static bool has_one_of(const char *text, const char *const *words)
{
    for (; *words != NULL; words++)
        if (strstr(text, *words) != NULL)
            return true;
    return false;
}

static bool says_rcpt_refused(const char *text)
{
    static const char *const words[] = {"need rcpt",  "no valid recipient", "no recipients",
                                        "valid rcpt", "rcpt first",         " 503 bad sequence of commands",
                                        NULL};

    return has_one_of(text, words);
}

static bool says_for_a_time(const char *text)
{
    static const char *const words[] = {
        "temporar", "temporair", "vorubergehend", "voruebergehend", "временно", "一時", "暂时", "일시", NULL};

    return has_one_of(text, words);
}

/* "550 : User unknown": the address is missing where it always stands. */
static bool is_without_address(const struct diagnosis *d)
{
    size_t length = d->length < NORMAL_MAX ? d->length : NORMAL_MAX;
    size_t at = find_reply(d->text, length, d->code / 100u);

    at = at < length ? at + 4 : 0;
    return at + 1 < length && d->text[at] == ':' && d->text[at + 1] == ' ';
}

/* Before RCPT nobody has seen the recipient; after the dot "unknown user" is a filter's answer, unless the code
 * insists (docomo and au answer so where a recipient refuses the sender). */
static enum reply_class correct_by_phase(const struct evidence *e, const struct diagnosis *d,
                                         enum reply_class c, bool by_text)
{
    bool no_address = is_without_address(d);

    if (e->is_ours || e->phase == LOG_PHASES)
        return c == CLASS_MAILBOX_UNKNOWN && no_address ? CLASS_RECIPIENT_REFUSED : c;
    if (e->code != 0 && e->code < 500 && e->phase >= LOG_PHASE_RCPT && c != CLASS_MAILBOX_UNKNOWN)
        return c;
    if ((e->code == 0 || e->code >= 500) && says_rcpt_refused(e->text))
        return c;
    if (e->phase < LOG_PHASE_MAIL && c == CLASS_MAILBOX_UNKNOWN && by_text && strstr(e->text, " @ ") != NULL)
        return CLASS_RECIPIENT_REFUSED; /* an address that nobody has told yet: the phase is wrong */
    if (e->phase < LOG_PHASE_RCPT && is_about_recipient(c))
        return c == CLASS_DOMAIN_INVALID && (e->code == 521 || e->code == 556) ? c : CLASS_SENDER_BLOCKED;
    if (c != CLASS_MAILBOX_UNKNOWN)
        return c;
    if (no_address)
        return CLASS_RECIPIENT_REFUSED;
    if (e->phase >= LOG_PHASE_DATA && !(by_text && says_bad_address(e)))
        return CLASS_RECIPIENT_REFUSED;
    return c;
}

/* --- the disposition --- */

static bool is_temporary(const struct evidence *e)
{
    return e->code != 0 ? e->code < 500 : e->has_status && e->status[0] == 4;
}

static enum disposition disposition_of(const struct evidence *e, enum reply_class c)
{
    switch (c) {
    case CLASS_DOMAIN_INVALID:
    case CLASS_PROVIDER_SUPPRESSED:
        return DISPOSITION_SUPPRESS;
    case CLASS_MAILBOX_UNKNOWN:
    case CLASS_MAILBOX_INACTIVE:
        return says_for_a_time(e->text) ? DISPOSITION_COUNT : DISPOSITION_SUPPRESS;
    case CLASS_CONTENT_POLICY:
    case CLASS_SENDER_BLOCKED:
    case CLASS_AUTH_SECURITY:
    case CLASS_RATE_LIMITED:
    case CLASS_TOO_LARGE:
        return DISPOSITION_BLOCK;
    case CLASS_DELIVERED:
        return DISPOSITION_NONE;
    default:
        return DISPOSITION_COUNT;
    }
}

/* --- together --- */

static enum reply_class class_without_rule(const struct evidence *e)
{
    if (!e->is_ours)
        return CLASS_UNKNOWN;
    return e->phase == LOG_PHASE_STARTTLS || e->phase == LOG_PHASE_AUTH ? CLASS_AUTH_SECURITY : CLASS_NETWORK;
}

static void set_text(const struct rules *rules, struct evidence *e, const char *text, size_t length,
                     char buffer[NORMAL_SIZE])
{
    e->length = normal_text(text, length, buffer);
    e->text = buffer;
    words_find(&rules->words, e->text, e->length, &e->found);
}

/* A reply with words, or with an enhanced code that says something; that something failed explains nothing. */
static bool reply_explains(const struct evidence *e, const struct rule *rule)
{
    if (rule == NULL)
        return e->has_status && (e->status[1] != 0 || e->status[2] != 0);
    return rule->reply_class != CLASS_SYSTEM && rule->reply_class != CLASS_UNKNOWN;
}

/* The words of the server itself stand behind those of who reports it, and say more; the rest is asked where they tell
 * nothing. */
static const struct rule *decide_by_text(const struct rules *rules, const struct diagnosis *d,
                                         struct evidence *e, char buffer[NORMAL_SIZE],
                                         const struct pattern **pattern)
{
    size_t length = d->length < NORMAL_MAX ? d->length : NORMAL_MAX;
    size_t at = e->is_said ? length : find_reply(d->text, length, e->code / 100u);
    const struct rule *rule = NULL, *whole;
    const struct pattern *by = NULL;

    if (at < length) {
        size_t words = at + (isdigit((unsigned char)d->text[at + 1]) && length - at > 3 ? 4 : 0);
        set_text(rules, e, d->text + words, d->length - words, buffer);
        rule = decide(rules, e, true, pattern);
        if (at == 0 || reply_explains(e, rule))
            return rule;
    }
    set_text(rules, e, d->text, d->length, buffer);
    whole = decide(rules, e, true, &by);
    if (whole == NULL)
        return rule;
    *pattern = by;
    return whole;
}

static struct evidence evidence_of(const struct diagnosis *d, bool is_said)
{
    bool is_ours = is_said && d->code == 0;
    struct evidence e = {.phase = d->phase, .code = d->code, .is_said = is_said, .is_ours = is_ours};
    size_t length = d->length < NORMAL_MAX ? d->length : NORMAL_MAX;

    e.has_status = d->status[0] != 0;
    memcpy(e.status, d->status, sizeof e.status);
    if (!is_ours && (!e.has_status || (e.status[1] == 0 && e.status[2] == 0)) &&
        find_status_behind(d->text, length, find_reply(d->text, length, e.code / 100u),
                           e.code != 0 ? e.code / 100u : e.status[0], e.status))
        e.has_status = true;
    return e;
}

struct verdict classify_with(struct rules *rules, const struct diagnosis *d, bool is_said,
                             struct rule_finding *out)
{
    char buffer[NORMAL_SIZE];
    struct evidence e = evidence_of(d, is_said);
    const struct pattern *pattern = NULL;
    const struct rule *rule;
    struct verdict v = {.rule = NULL};
    enum reply_class said;
    bool by_text;

    if (d->code >= 200 && d->code < 400)
        return (struct verdict){.reply_class = CLASS_DELIVERED,
                                .disposition = DISPOSITION_NONE,
                                .reason = reply_class_reason(CLASS_DELIVERED)};
    rule = decide_by_text(rules, d, &e, buffer, &pattern);
    by_text = rule != NULL;
    if (rule == NULL)
        rule = decide(rules, &e, false, &pattern);
    said = rule == NULL ? class_without_rule(&e) : rule->reply_class;
    v.reply_class = correct_by_phase(&e, d, said, by_text);
    v.by_text = by_text;
    v.rule = rule == NULL ? NULL : rule->name;
    v.reason = rule != NULL && v.reply_class == said && rule->reason[0] != '\0'
                   ? rule->reason
                   : reply_class_reason(v.reply_class);
    v.disposition = rule != NULL && rule->has_disposition && v.reply_class == said
                        ? rule->disposition
                        : disposition_of(&e, v.reply_class);
    if (v.disposition == DISPOSITION_SUPPRESS && is_temporary(&e))
        v.disposition = DISPOSITION_COUNT;
    if (out != NULL) {
        *out = (struct rule_finding){.verdict = v,
                                     .rule = rule == NULL ? SIZE_MAX : (size_t)(rule - rules->rule),
                                     .pattern = pattern == NULL ? NULL : pattern->text,
                                     .said = said};
        snprintf(out->text, sizeof out->text, "%s", e.text);
    }
    return v;
}

struct verdict diagnosis_classify(const struct diagnosis *d)
{
    return classify_with(rules_in_use(), d, false, NULL);
}

struct verdict reply_classify(enum log_phase phase, uint16_t code, const uint8_t enhanced[3],
                              const char *text, size_t length)
{
    struct diagnosis d = {.phase = phase, .code = code, .text = text, .length = length};

    for (int i = 0; enhanced != NULL && enhanced[0] != 0 && i < 3; i++)
        d.status[i] = enhanced[i];
    return classify_with(rules_in_use(), &d, true, NULL);
}
