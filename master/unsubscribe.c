/* unsubscribe.c - see unsubscribe.h. */
#include "unsubscribe.h"

#include <dirent.h>
#include <inttypes.h>
#include <string.h>

#include "errand.h"
#include "meant.h"

/* ---- who wishes it ---- */

static int tokens_of(struct node *node, struct hk_why *why)
{
    return node->tokens != NULL ? 0 : signer_load_tokens(node->config, &node->tokens, why);
}

/* The folder of the campaign that a token names, where nobody can ask Redis. */
static bool find_folder(const struct node *node, const char *name, char out[CAMPAIGN_ID_MAX + 1])
{
    char path[4096], shown[CAMPAIGN_ID_MAX + 1];
    const struct dirent *entry;
    DIR *folder;
    bool found = false;

    if (config_path(node->config, path, sizeof path, "campaigns") != 0 || (folder = opendir(path)) == NULL)
        return false;
    while (!found && (entry = readdir(folder)) != NULL) {
        if (!campaign_id_is_valid(entry->d_name))
            continue;
        verp_campaign(entry->d_name, shown);
        found = strcmp(shown, name) == 0;
        if (found)
            (void)snprintf(out, CAMPAIGN_ID_MAX + 1, "%.*s", CAMPAIGN_ID_MAX, entry->d_name);
    }
    (void)closedir(folder);
    return found;
}

/* As far as it can be known without Redis: the campaign in memory, or its folder, and then no address yet. */
static void find_without_redis(struct node *node, const struct verp_token *token, struct meant *out)
{
    struct campaign *campaign;

    *out = (struct meant){.ignored = "the list of its campaign is gone", .index = token->index};
    if (!find_folder(node, token->campaign, out->campaign))
        return;
    campaign = campaign_find(node, out->campaign);
    if (campaign == NULL)
        out->ignored = "";
    else
        meant_in_list(node, campaign, token, out);
}

static int find(struct node *node, const char *text, struct meant *out, struct hk_why *why)
{
    struct verp_token token;
    int rc = tokens_of(node, why);

    *out = (struct meant){.ignored = ""};
    if (rc != 0)
        return rc == HK_ENOMEM ? rc : HK_EDOWN; /* a secret that cannot be read is no fault of the request */
    rc = unsubscribe_parse(node->tokens, text, strlen(text), &token);
    if (rc == HK_ENOMEM)
        return why_set(why, rc, "no memory to look at a token");
    if (rc != 0)
        return why_set(why, HK_EINVAL, "that is no token of ours");
    if (node->ledger_up)
        rc = meant_of_token(node, &token, "", out, why);
    if (rc == HK_EFULL)
        rc = meant_beside(node, &token, out, why);
    if (node->ledger_up && rc != HK_EDOWN)
        return rc;
    find_without_redis(node, &token, out);
    return 0;
}

/* ---- what follows ---- */

static void entry_of(const struct node *node, const struct meant *meant, const char *source, uint64_t time_us,
                     struct suppress_entry *out)
{
    *out = (struct suppress_entry){.reason = "unsubscribe", .time_us = time_us};
    if (suppress_scope(node->config, SUPPRESS_LIST, out->scope, NULL) != 0 &&
        suppress_scope(node->config, SUPPRESS_SENDER, out->scope, NULL) != 0)
        (void)snprintf(out->scope, sizeof out->scope, "all");
    (void)snprintf(out->address, sizeof out->address, "%s", meant->address);
    (void)snprintf(out->source, sizeof out->source, "%s", source);
    (void)snprintf(out->evidence, sizeof out->evidence, "campaign %s, recipient %" PRIu32, meant->campaign,
                   meant->index);
}

static int mark_of(struct node *node, const struct meant *meant, struct campaign **campaign,
                   struct ledger_op *op, struct hk_why *why)
{
    int rc;

    *campaign = NULL;
    if (!meant->is_ours)
        return 0;
    rc = campaign_for_marks(node, meant->campaign, campaign, why);
    if (rc != 0 || *campaign == NULL)
        return rc;
    if (meant->index >= segment_count((*campaign)->segment)) {
        *campaign = NULL;
        return 0;
    }
    *op = (struct ledger_op){.kind = OP_MARK, .index = meant->index, .count = 1};
    op->word = ledger_pack((struct ledger_word){.marks = LEDGER_MARK_UNSUBSCRIBED});
    op->span = segment_span_of((*campaign)->segment, op->index);
    op->span_first = (*campaign)->span[op->span].first;
    return 0;
}

/* Whom a token means now, and his entry of the list: 1. Nobody (*out has no address): 0. */
static int entry_for(struct node *node, const char *text, const char *source, uint64_t time_us,
                     struct meant *out, struct suppress_entry *entry, struct hk_why *why)
{
    int rc = find(node, text, out, why);

    if (rc == HK_EINVAL) { /* its secret was given up since */
        *out = (struct meant){.ignored = ""};
        return 0;
    }
    if (rc != 0)
        return rc;
    if (out->address[0] == '\0')
        return out->ignored[0] == '\0' ? why_set(why, HK_EDOWN, "Redis does not answer") : 0;
    entry_of(node, out, source, time_us, entry);
    if (suppress_entry_check(entry, why) == 0)
        return 1;
    log_warning("%s unsubscribed, and cannot be suppressed: %s", out->address, why->text);
    out->address[0] = '\0';
    return 0;
}

/* The list first, then the mark, on the ledger's own connection: a mark means that he is on the list. Without a mark the list is
 * told by a call that waits, for there is no answer of the ledger to wait for. *awaited: there is one. */
static int apply_wish(struct node *node, const struct wish *wish, bool *awaited, struct hk_why *why)
{
    struct campaign *campaign = NULL;
    struct suppress_entry entry;
    struct ledger_op op;
    struct meant meant;
    int rc = entry_for(node, wish->token, wish->source, wish->time_us, &meant, &entry, why);

    *awaited = false;
    if (rc != 1)
        return rc;
    rc = mark_of(node, &meant, &campaign, &op, why);
    if (rc != 0 && rc != HK_EFULL)
        return rc;
    if (campaign == NULL) { /* or there is no room for it: the mark waits, and he is written to no more */
        int added = suppress_add(node->store, &entry, rc == 0 ? why : NULL);
        return added < 0 ? added : rc;
    }
    op.cookie = COOKIE_WISH | wish->number;
    rc = ledger_suppress(node->ledger, node->suppress, &entry);
    if (rc == 0)
        rc = ledger_push(node->ledger, campaign->manifest.campaign, &op);
    *awaited = rc == 0;
    return rc == 0 ? 0 : why_set(why, rc, "%s", hk_strerror(rc));
}

/* Is Redis there? A campaign that it has forgotten is asked for in vain, and is no reason for the others to wait. */
static bool redis_answers(struct node *node)
{
    struct hk_why why;

    return suppression_poll(node, &why) >= 0;
}

static enum wish_result do_wish(void *context, const struct wish *wish, struct hk_why *why)
{
    struct node *node = context;
    bool awaited;
    int rc = apply_wish(node, wish, &awaited, why);

    if (rc == 0)
        return awaited ? WISH_AWAITED : WISH_DONE;
    return rc == HK_ENOMEM || (rc == HK_EDOWN && !redis_answers(node)) ? WISH_HELD_UP : WISH_ASIDE;
}

/* ---- taking ---- */

static void event_unsubscribe(struct eventlog *log, const struct meant *meant, const char *token,
                              const char *source)
{
    event_begin(log, "unsubscribe");
    event_word(log, "campaign", meant->campaign);
    if (meant->address[0] != '\0')
        event_word(log, "recipient", meant->address);
    event_number(log, "index", meant->index);
    event_word(log, "source", source);
    event_word(log, "token", token);
    event_end(log);
}

static json_t *accepted(const char *result)
{
    return json_pack("{s:b,s:s}", "ok", 1, "result", result);
}

/* Was it done before, and is it still so? An entry that ends is not what he asked for. */
static bool is_done(struct node *node, const struct meant *meant)
{
    return node->ledger_up && meant->address[0] != '\0' &&
           suppress_has_for_good(node->suppress, meant->address, strlen(meant->address)) &&
           recipient_has_mark(node, meant, LEDGER_MARK_UNSUBSCRIBED);
}

/* What is accepted stands in the log. The line stays in memory where that fails, and is tried again; but it is not written, and may
 * never be. */
static json_t *accepted_if_written(struct node *node)
{
    return eventlog_flush(&node->log) == 0 ? accepted("accepted")
                                           : errand_error("the event log cannot be written", EXIT_NEEDED);
}

static json_t *write_down(struct node *node, const struct meant *meant, const char *token, const char *source)
{
    struct wish *wish = wishes_add(&node->wishes, token, source);

    if (wish == NULL)
        return errand_error("out of memory", EXIT_NEEDED);
    event_unsubscribe(&node->log, meant, token, source);
    wish->time_us = node->log.line_us;
    return accepted_if_written(node);
}

json_t *unsubscribe_take(struct node *node, const json_t *request)
{
    const char *token = json_string_value(json_object_get(request, "token"));
    const char *source = json_string_value(json_object_get(request, "source"));
    struct meant meant;
    struct hk_why why;
    int rc;

    if (token == NULL || token[0] == '\0' || strlen(token) >= WISH_TOKEN_SIZE ||
        node->options->request != NULL)
        return errand_error("\"token\" is missing or none", EXIT_USAGE);
    source = source != NULL && strcmp(source, "mailto") == 0 ? "mailto" : "one-click";
    if (wishes_has(&node->wishes, token))
        return accepted_if_written(node);
    if (wishes_count(&node->wishes) >= UNSUBSCRIBES_MAX)
        return errand_error("too many wait for Redis", EXIT_NEEDED);
    rc = find(node, token, &meant, &why);
    if (rc != 0)
        return errand_error(why.text, rc == HK_EINVAL ? EXIT_USAGE : EXIT_NEEDED);
    if (meant.ignored[0] != '\0')
        return accepted("gone");
    return is_done(node, &meant) ? accepted("accepted") : write_down(node, &meant, token, source);
}

/* ---- applying ---- */

void unsubscribes_turn(struct node *node)
{
    if (node->ledger_up && !node->log.failing)
        wishes_turn(&node->wishes, clock_now_ms(), do_wish, node);
}

bool unsubscribes_wait(const struct node *node)
{
    return wishes_count(&node->wishes) > 0;
}

int unsubscribe_retell(struct node *node, const char *token, const char *source, uint64_t time_us,
                       bool *is_ours, struct hk_why *why)
{
    struct suppress_entry entry;
    struct meant meant;
    int rc = entry_for(node, token, source, time_us, &meant, &entry, why);

    *is_ours = rc == 1 && meant.is_ours;
    return rc == 1 ? ledger_suppress(node->ledger, node->suppress, &entry) : rc;
}
