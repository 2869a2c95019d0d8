/* ask.c - talk to the running node in JSON: one request, one reply. */
#include "ask.h"

#include <string.h>

int ask_node(const struct config *config, json_t *request, json_t **reply, int *status, struct hk_why *why)
{
    char *line = request ? json_dumps(request, JSON_COMPACT) : NULL, *answer = NULL;
    json_error_t where;
    int error;

    json_decref(request);
    *status = EXIT_NEEDED;
    if (line == NULL)
        return why_set(why, HK_ENOMEM, "hikyaku: not enough memory for a request to the node");
    error = node_ask(config, line, ASK_TIMEOUT_MS, &answer, why);
    free(line);
    if (error < 0)
        return error;
    *reply = json_loads(answer, 0, &where);
    free(answer);
    if (!json_is_object(*reply)) {
        json_decref(*reply);
        return why_set(why, HK_EDOWN, "hikyaku: the node's answer is not JSON: %s", where.text);
    }
    if (json_is_true(json_object_get(*reply, "ok")))
        return 0;
    const char *words = json_string_value(json_object_get(*reply, "error"));
    json_int_t exit_status = json_integer_value(json_object_get(*reply, "exit"));
    if (exit_status > EXIT_SETTLED && exit_status <= EXIT_NEEDED)
        *status = (int)exit_status;
    (void)why_set(why, HK_EINVAL, "hikyaku: the node refuses: %s", words ? words : "it does not say why");
    json_decref(*reply);
    return HK_EINVAL;
}

void ask_progress(const json_t *campaign, struct node_progress *out)
{
    const json_t *counts = json_object_get(campaign, "counts");
    *out = (struct node_progress){
        .campaign = json_string_value(json_object_get(campaign, "campaign")),
        .rate = json_number_value(json_object_get(campaign, "rate")),
        .paused = json_is_true(json_object_get(campaign, "paused")),
        .attempts = (uint64_t)json_integer_value(json_object_get(campaign, "attempts")),
        .next_due_ms = (uint64_t)json_integer_value(json_object_get(campaign, "next_due_ms")),
    };
    for (int state = 0; state < LEDGER_STATES_COUNT; state++) {
        const json_t *count = json_object_get(counts, ledger_state_name((enum ledger_state)state));
        out->counts[state] = (uint64_t)json_integer_value(count);
        out->recipients += out->counts[state];
    }
}

const json_t *ask_campaign(const json_t *reply, const char *campaign)
{
    const json_t *array = json_object_get(reply, "campaigns"), *element;
    size_t i;
    json_array_foreach(array, i, element)
    {
        const char *name = json_string_value(json_object_get(element, "campaign"));
        if (name != NULL && strcmp(name, campaign) == 0)
            return element;
    }
    return NULL;
}
