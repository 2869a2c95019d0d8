/* meant.c - whom a token of our return path is of (meant.h). */
#include "meant.h"

#include <string.h>

#include "hikyaku/feedback.h"
#include "hikyaku/whose.h"

/* One that is in memory for its list alone, and settled: it comes back when somebody of it does. */
static bool make_room(struct node *node)
{
    for (uint32_t i = 0; i < REGION_CAMPAIGNS_MAX; i++) {
        struct campaign *campaign = node->campaign[i];
        if (campaign == NULL || !campaign->parked || !campaign->settled || !campaign_is_idle(campaign))
            continue;
        campaign_close(campaign);
        return true;
    }
    return false;
}

int campaign_for_marks(struct node *node, const char *id, struct campaign **out, struct hk_why *why)
{
    int rc = 0;

    *out = campaign_find(node, id);
    if (*out != NULL)
        return 0;
    rc = campaign_open(node, id, why);
    if (rc == HK_EFULL && make_room(node))
        rc = campaign_open(node, id, why);
    if (rc == 0) {
        *out = campaign_find(node, id);
        (*out)->parked = true;
        return 0;
    }
    if (rc == HK_EDOWN || rc == HK_ENOMEM || rc == HK_EFULL)
        return rc;
    log_warning("campaign %s: what came back is not marked in its ledger: %s", id, why->text);
    return 0;
}

/* A long ID stands in a token as its hash: which campaign is it? Those in memory are asked first. */
static int find_name(struct node *node, const char *name, char out[CAMPAIGN_ID_MAX + 1], struct hk_why *why)
{
    char **id = NULL, shown[CAMPAIGN_ID_MAX + 1];
    size_t count = 0;
    int rc;

    snprintf(out, CAMPAIGN_ID_MAX + 1, "%s", name);
    if (name[0] != '~')
        return 0;
    for (uint32_t i = 0; i < REGION_CAMPAIGNS_MAX; i++) {
        if (node->campaign[i] == NULL)
            continue;
        verp_campaign(node->campaign[i]->manifest.campaign, shown);
        if (strcmp(shown, name) == 0) {
            snprintf(out, CAMPAIGN_ID_MAX + 1, "%s", node->campaign[i]->manifest.campaign);
            return 0;
        }
    }
    rc = store_campaign_list(node->store, &id, &count, why);
    for (size_t i = 0; i < count; i++) {
        verp_campaign(id[i], shown);
        if (strcmp(shown, name) == 0)
            snprintf(out, CAMPAIGN_ID_MAX + 1, "%s", id[i]);
        free(id[i]);
    }
    free(id);
    return rc;
}

/* Who stands at the token's place, if it was made for him. */
static bool find_in_list(const struct signer *signer, const struct segment *segment,
                         const struct manifest *manifest, const struct verp_token *token, struct meant *out)
{
    struct segment_record record;

    if (token->index >= segment_count(segment) || segment_record(segment, token->index, &record) != 0 ||
        record.wire_length > ADDRESS_MAX || !verp_is_about(signer, token, record.wire, record.wire_length))
        return false;
    memcpy(out->address, record.wire, record.wire_length);
    out->address[record.wire_length] = '\0';
    out->domain_recipients = segment_domain(segment, record.domain).count;
    /* One that was sent before the campaign was made is of an earlier campaign with the same name and list. */
    out->is_ours = token->day >= VERP_DAY(manifest->created_us);
    return true;
}

static void find_by_mail(const struct signer *signer, const struct verp_token *token, const char *reported,
                         struct meant *out)
{
    struct address address;

    if (address_parse(reported, strlen(reported), &address, NULL) == 0 &&
        verp_is_about(signer, token, address.text, address.length))
        snprintf(out->address, sizeof out->address, "%s", address.text);
    else
        out->ignored = "the list of its campaign is gone, and the mail does not name whom the token is of";
}

int meant_find(struct node *node, const char *token, const char *reported, struct meant *out,
               struct hk_why *why)
{
    struct whose whose = {.token_age_s = node->config->bounce.token_age_s};
    struct verp_token parsed;
    enum whose_token found;
    int rc = node->tokens != NULL ? 0 : signer_load_tokens(node->config, &node->tokens, why);

    *out = (struct meant){.ignored = ""};
    if (rc != 0)
        return rc == HK_ENOMEM ? rc : HK_EINVAL;
    whose.signer = node->tokens;
    found = whose_judge(&whose, token, strlen(token), &parsed);
    if (found == WHOSE_LATER)
        return why_set(why, HK_ENOMEM, "%s", whose_token_words(found));
    if (found != WHOSE_TOKEN) {
        out->ignored = whose_token_words(found);
        return 0;
    }
    return meant_of_token(node, &parsed, reported, out, why);
}

int meant_of_token(struct node *node, const struct verp_token *token, const char *reported, struct meant *out,
                   struct hk_why *why)
{
    struct campaign *campaign = NULL;
    int rc;

    *out = (struct meant){.ignored = "", .index = token->index};
    rc = find_name(node, token->campaign, out->campaign, why);
    if (rc == 0 && campaign_id_is_valid(out->campaign))
        rc = campaign_for_marks(node, out->campaign, &campaign, why);
    if (rc == 0 &&
        (campaign == NULL || !find_in_list(node->tokens, campaign->segment, &campaign->manifest, token, out)))
        find_by_mail(node->tokens, token, reported, out);
    return rc;
}

int meant_beside(struct node *node, const struct verp_token *token, struct meant *out, struct hk_why *why)
{
    struct segment *segment = NULL;
    struct manifest manifest;
    int rc;

    *out = (struct meant){.ignored = "", .index = token->index};
    rc = find_name(node, token->campaign, out->campaign, why);
    if (rc == 0)
        rc = store_campaign_get(node->store, out->campaign, &manifest, why);
    if (rc == 0)
        rc = segment_open_campaign(node->config, out->campaign, manifest.segments, false, &segment, why);
    if (rc == HK_EDOWN || rc == HK_ENOMEM)
        return rc;
    if (rc != 0) {
        out->ignored = "the list of its campaign is gone";
        return 0;
    }
    if (strcmp(segment_sha256(segment), manifest.list_sha256) != 0 ||
        !find_in_list(node->tokens, segment, &manifest, token, out))
        out->ignored = "another list has its name by now";
    segment_close(segment);
    return 0;
}

int meant_find_by_id(struct node *node, const char *id, const char *reported, struct meant *out,
                     struct hk_why *why)
{
    char token[FEEDBACK_TOKEN_MAX + 1], path[ADDRESS_MAX + 1];
    int rc = feedback_token_of(node->store, node->config, id, token, why);

    if (rc <= 0)
        return rc;
    (void)snprintf(path, sizeof path, "b-%s@%s", token, node->config->sender.return_path);
    rc = meant_find(node, path, reported, out, why);
    return rc != 0 ? rc : 1;
}

/* "b-TOKEN@return.path": the token alone. */
static bool token_of(const struct node *node, const struct token_subject *subject,
                     char token[FEEDBACK_TOKEN_MAX + 1])
{
    char path[ADDRESS_MAX + 1];
    size_t length;

    if (verp_make(node->tokens, subject, path) != 0)
        return false;
    length = strcspn(path, "@");
    if (length <= 2 || length - 2 > FEEDBACK_TOKEN_MAX)
        return false;
    memcpy(token, path + 2, length - 2);
    token[length - 2] = '\0';
    return true;
}

void meant_remember(struct campaign *campaign, uint32_t index, const char *id, size_t length,
                    uint64_t time_us)
{
    static bool said;
    struct node *node = campaign->node;
    struct token_subject subject = {
        .campaign = campaign->manifest.campaign, .index = index, .day = VERP_DAY(time_us)};
    char token[FEEDBACK_TOKEN_MAX + 1];
    struct segment_record record;
    struct hk_why why = {"out of memory"};

    if (node->config->sns.remember_s == 0 || segment_record(campaign->segment, index, &record) != 0)
        return;
    subject.address = record.wire;
    subject.address_length = record.wire_length;
    if ((node->tokens != NULL || signer_load_tokens(node->config, &node->tokens, &why) == 0) &&
        token_of(node, &subject, token) &&
        ledger_remember(node->ledger, node->config, id, length, token, time_us) == 0)
        return;
    if (!said)
        log_warning("what SES calls our messages is not remembered: %s", why.text);
    said = true;
}

void meant_in_list(struct node *node, const struct campaign *campaign, const struct verp_token *token,
                   struct meant *out)
{
    out->ignored = find_in_list(node->tokens, campaign->segment, &campaign->manifest, token, out)
                       ? ""
                       : "another list has its name by now";
}

bool recipient_has_mark(struct node *node, const struct meant *meant, uint8_t mark)
{
    struct store_place place = {.campaign = meant->campaign};
    struct campaign *campaign;
    struct hk_why why;
    uint32_t word = 0;

    if (!meant->is_ours || (campaign = campaign_find(node, meant->campaign)) == NULL ||
        meant->index >= segment_count(campaign->segment))
        return false;
    place.span = segment_span_of(campaign->segment, meant->index);
    place.offset = meant->index - campaign->span[place.span].first;
    return store_words(node->store, &place, 1, &word, &why) == 0 &&
           (ledger_unpack(word).marks & mark) == mark;
}

void meant_close(struct node *node)
{
    signer_free(node->tokens);
    node->tokens = NULL;
}
