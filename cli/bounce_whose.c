/* bounce_whose.c - who is meant by a mail that came back (bounce_whose.h). */
#include "bounce_whose.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "roll.h"

#define CANDIDATES_MAX 1000u /* tokens that are tried in one mail */
#define CAMPAIGNS_KEPT 8u    /* with their lists open */

struct kept {
    char name[CAMPAIGN_ID_MAX + 1]; /* as the token has it; "" free */
    char campaign[CAMPAIGN_ID_MAX + 1];
    struct manifest manifest;
    struct segment *segment; /* NULL: the list is not on this machine */
    bool is_there;
};

struct whose {
    const struct config *config;
    struct reach *reach;
    struct signer *signer;
    struct kept kept[CAMPAIGNS_KEPT];
    unsigned next;
};

int whose_open(const struct config *config, struct reach *reach, struct whose **out, struct hk_why *why)
{
    struct whose *whose = hk_xcalloc(1, sizeof *whose);
    int error = signer_load_tokens(config, &whose->signer, why);

    whose->config = config;
    whose->reach = reach;
    if (error != 0) {
        free(whose);
        return error;
    }
    *out = whose;
    return 0;
}

static void kept_close(struct kept *kept)
{
    if (kept->segment != NULL)
        segment_close(kept->segment);
    memset(kept, 0, sizeof *kept);
}

void whose_close(struct whose *whose)
{
    if (whose == NULL)
        return;
    for (unsigned i = 0; i < CAMPAIGNS_KEPT; i++)
        kept_close(&whose->kept[i]);
    signer_free(whose->signer);
    free(whose);
}

/* ---- the token ---- */

const char *whose_token_words(enum whose_token found)
{
    static const char *const words[] = {
        [WHOSE_TOKEN] = "",
        [WHOSE_NONE] = "no token of ours",
        [WHOSE_FORGED] = "a forged token, or one of a secret that is gone",
        [WHOSE_OLD] = "a token that is too old",
        [WHOSE_SEVERAL] = "tokens of several recipients",
    };

    return words[found];
}

static bool is_old(const struct whose *whose, const struct verp_token *token)
{
    uint32_t today = VERP_DAY(clock_wall_us());
    uint32_t days = (whose->config->bounce.token_age_s + 86399u) / 86400u;

    return today > token->day && today - token->day > days;
}

static enum whose_token judge(const struct whose *whose, const char *address, size_t length,
                              struct verp_token *out)
{
    int error = verp_parse(whose->signer, address, length, out);

    if (error != 0)
        return error == HK_EINVAL ? WHOSE_NONE : WHOSE_FORGED;
    if (out->day > VERP_DAY(clock_wall_us()) + 1)
        return WHOSE_FORGED; /* made on a day that has not come */
    return is_old(whose, out) ? WHOSE_OLD : WHOSE_TOKEN;
}

static bool is_same(const struct verp_token *a, const struct verp_token *b)
{
    return a->index == b->index && strcmp(a->campaign, b->campaign) == 0;
}

/* What stands on both sides of an '@', as far as it may belong to a return path. */
static bool around(const char *text, size_t length, size_t at, const char **address, size_t *address_length)
{
    size_t from = at, to = at + 1;

    while (from > 0 && at - from < ADDRESS_LOCAL_MAX &&
           (isalnum((unsigned char)text[from - 1]) || text[from - 1] == '-'))
        from--;
    while (to < length && to - at <= DOMAIN_MAX &&
           (isalnum((unsigned char)text[to]) || text[to] == '-' || text[to] == '.'))
        to++;
    while (to > at + 1 && text[to - 1] == '.')
        to--;
    *address = text + from;
    *address_length = to - from;
    return at - from > 2 && (text[from] == 'b' || text[from] == 'B') && text[from + 1] == '-';
}

/* All tokens of a text. One that holds is worth more than any number of those that do not. */
static enum whose_token search(const struct whose *whose, const char *text, size_t length,
                               struct verp_token *out)
{
    enum whose_token found = WHOSE_NONE;
    unsigned tried = 0;

    for (const char *at = memchr(text, '@', length); at != NULL && tried < CANDIDATES_MAX;
         at = memchr(at + 1, '@', length - (size_t)(at + 1 - text))) {
        struct verp_token token;
        const char *address;
        size_t address_length;
        enum whose_token this;
        if (!around(text, length, (size_t)(at - text), &address, &address_length))
            continue;
        tried++;
        this = judge(whose, address, address_length, &token);
        if (this == WHOSE_TOKEN && found == WHOSE_TOKEN && !is_same(&token, out))
            return WHOSE_SEVERAL;
        if (this == WHOSE_TOKEN)
            *out = token;
        if (this == WHOSE_TOKEN || found == WHOSE_NONE)
            found = this;
    }
    return found;
}

/* Where the header ends: at the first empty line, whatever the line ends are. */
static size_t header_length(const char *mail, size_t length)
{
    for (size_t i = 0; i + 1 < length; i++) {
        bool ends = mail[i] == '\n' || mail[i] == '\r';
        if (!ends)
            continue;
        if (mail[i + 1] == mail[i] || (mail[i] == '\n' && mail[i + 1] == '\r'))
            return i + 1;
    }
    return length;
}

enum whose_token whose_token(const struct whose *whose, const char *envelope, const char *mail, size_t length,
                             struct verp_token *out)
{
    size_t header = header_length(mail, length);
    enum whose_token found = WHOSE_NONE, body;

    if (envelope != NULL)
        found = judge(whose, envelope, strlen(envelope), out);
    if (found == WHOSE_NONE)
        found = search(whose, mail, header, out);
    if (found != WHOSE_NONE)
        return found;
    body = search(whose, mail + header, length - header, out);
    return body;
}

/* ---- the recipient ---- */

/* A long ID stands in a token as its hash: which campaign is it? */
static int find_name(struct whose *whose, const char *name, char out[CAMPAIGN_ID_MAX + 1], struct hk_why *why)
{
    char **id = NULL, shown[CAMPAIGN_ID_MAX + 1];
    size_t count = 0;
    int error;

    (void)snprintf(out, CAMPAIGN_ID_MAX + 1, "%s", name);
    if (name[0] != '~')
        return 0;
    error = store_campaign_list(whose->reach->store, &id, &count, why);
    for (size_t i = 0; i < count; i++) {
        verp_campaign(id[i], shown);
        if (strcmp(shown, name) == 0)
            (void)snprintf(out, CAMPAIGN_ID_MAX + 1, "%s", id[i]);
        free(id[i]);
    }
    free(id);
    return error;
}

static int open_list(struct whose *whose, struct kept *kept, struct hk_why *why)
{
    struct hk_why missing;
    int error = roll_open(whose->config, &kept->manifest, &kept->segment, &missing);

    if (error == 0)
        return 0;
    kept->segment = NULL;
    if (error == HK_ENOMEM)
        return why_set(why, error, "%s", missing.text);
    log_warning("campaign %s: %s; what comes back counts for whom it names and its token proves",
                kept->campaign, missing.text);
    return 0;
}

static int keep(struct whose *whose, const char *name, struct kept **out, struct hk_why *why)
{
    struct kept *kept = NULL;
    int error;

    for (unsigned i = 0; i < CAMPAIGNS_KEPT; i++)
        if (strcmp(whose->kept[i].name, name) == 0) {
            *out = &whose->kept[i];
            return 0;
        }
    kept = &whose->kept[whose->next++ % CAMPAIGNS_KEPT];
    kept_close(kept);
    error = find_name(whose, name, kept->campaign, why);
    if (error == 0 && campaign_id_is_valid(kept->campaign)) {
        error = store_campaign_get(whose->reach->store, kept->campaign, &kept->manifest, why);
        kept->is_there = error == 0;
        error = error == HK_ENOENT ? 0 : error;
    }
    if (error == 0 && kept->is_there)
        error = open_list(whose, kept, why);
    if (error != 0)
        kept_close(kept);
    else
        (void)snprintf(kept->name, sizeof kept->name, "%s", name);
    *out = kept;
    return error;
}

int whose_recipient(struct whose *whose, const struct verp_token *token, struct recipient *out,
                    struct hk_why *why)
{
    struct segment_record record;
    struct kept *kept;
    int error = keep(whose, token->campaign, &kept, why);

    if (error != 0)
        return error;
    *out = (struct recipient){.index = token->index};
    (void)snprintf(out->campaign, sizeof out->campaign, "%s", kept->campaign);
    if (kept->segment == NULL || token->index >= segment_count(kept->segment) ||
        segment_record(kept->segment, token->index, &record) != 0 || record.wire_length > ADDRESS_MAX ||
        !verp_is_about(whose->signer, token, record.wire, record.wire_length))
        return 0;
    memcpy(out->address, record.wire, record.wire_length);
    out->domain_recipients = segment_domain(kept->segment, record.domain).count;
    /* One that was sent before the campaign was made is of an earlier campaign with the same name and list. */
    out->is_ours = token->day >= VERP_DAY(kept->manifest.created_us);
    return 0;
}

bool whose_is_named(const struct whose *whose, const struct verp_token *token, struct recipient *recipient,
                    const char *named)
{
    struct address address;

    if (address_parse(named, strlen(named), &address, NULL) != 0)
        return false;
    if (recipient->address[0] != '\0')
        return strcasecmp(recipient->address, address.text) == 0;
    if (!verp_is_about(whose->signer, token, address.text, address.length))
        return false;
    (void)snprintf(recipient->address, sizeof recipient->address, "%s", address.text);
    return true;
}
