/* journal.c - the event log, read again (journal.h). */
#include "journal.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

static uint8_t class_of(const char *name)
{
    for (int c = 0; name != NULL && c < CLASSES; c++)
        if (strcmp(name, reply_class_name((enum reply_class)c)) == 0)
            return (uint8_t)c;
    return CLASS_NONE;
}

static bool number_within(const json_t *number, json_int_t most, json_int_t *out)
{
    *out = json_integer_value(number);
    return json_is_integer(number) && *out >= 0 && *out <= most;
}

static bool read_entry(const json_t *line, struct journal_entry *out)
{
    const char *type = json_string_value(json_object_get(line, "type"));
    const char *outcome = json_string_value(json_object_get(line, "outcome"));
    const char *campaign = json_string_value(json_object_get(line, "campaign"));
    json_int_t index, attempt, code;

    if (type == NULL || strcmp(type, "attempt") != 0 || outcome == NULL || campaign == NULL ||
        !campaign_id_is_valid(campaign) ||
        !number_within(json_object_get(line, "index"), UINT32_MAX, &index) ||
        !number_within(json_object_get(line, "attempt"), UINT8_MAX, &attempt))
        return false;
    if (!number_within(json_object_get(json_object_get(line, "reply"), "code"), 999, &code))
        code = 0; /* bounced without a reply: no such domain */
    memset(out, 0, sizeof *out);
    if (strcmp(outcome, ledger_state_name(LEDGER_SENT)) == 0)
        out->word.state = LEDGER_SENT;
    else if (strcmp(outcome, ledger_state_name(LEDGER_BOUNCED)) == 0)
        out->word.state = LEDGER_BOUNCED;
    else
        return false;
    snprintf(out->campaign, sizeof out->campaign, "%s", campaign);
    out->index = (uint32_t)index;
    out->word.attempts = (uint8_t)attempt;
    out->word.code = (uint16_t)code;
    out->word.reply_class = class_of(json_string_value(json_object_get(line, "class")));
    return true;
}

bool journal_line(const char *text, size_t length, struct journal_entry *out)
{
    json_t *line = json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
    bool evidence = read_entry(line, out);

    json_decref(line);
    return evidence;
}

static int tell(struct node *node, const struct journal_entry *entry)
{
    struct campaign *campaign = campaign_find(node, entry->campaign);
    struct ledger_op op = {.kind = OP_OUTCOME,
                           .attempt = entry->word.attempts,
                           .index = entry->index,
                           .count = 1,
                           .word = ledger_pack(entry->word),
                           .cookie = COOKIE_OLD_REGION};

    if (campaign == NULL || entry->index >= segment_count(campaign->segment))
        return 0;
    op.span = segment_span_of(campaign->segment, entry->index);
    op.span_first = campaign->span[op.span].first;
    return ledger_push(node->ledger, entry->campaign, &op);
}

/* The newest part of the log, from the beginning of a line. */
static int read_newest(const char *path, char **out, size_t *length, struct hk_why *why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
    size_t want = end > (off_t)JOURNAL_BYTES ? JOURNAL_BYTES : end > 0 ? (size_t)end : 0;
    char *bytes = malloc(want + 1), *newline;
    ssize_t got = bytes == NULL || end < 0 ? -1 : hk_pread_all(fd, bytes, want, end - (off_t)want);

    if (got < 0)
        (void)why_set(why, HK_EIO, "%s: the event log cannot be read again: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    if (got < 0) {
        free(bytes);
        return HK_EIO;
    }
    *length = (size_t)got;
    if (want == JOURNAL_BYTES && (newline = memchr(bytes, '\n', *length)) != NULL) {
        *length -= (size_t)(newline + 1 - bytes);
        memmove(bytes, newline + 1, *length);
    }
    *out = bytes;
    return 0;
}

int journal_replay(struct node *node, struct hk_why *why)
{
    size_t length = 0;
    char *bytes = NULL;
    struct journal_entry entry;
    uint64_t told = 0;
    int rc = read_newest(node->config->events.file, &bytes, &length, why);

    if (rc != 0)
        return rc;
    for (char *at = bytes, *newline; rc == 0 && length > 0; at = newline + 1) {
        newline = memchr(at, '\n', length);
        if (newline == NULL)
            break;
        errno = 0;
        if (journal_line(at, (size_t)(newline - at), &entry)) {
            rc = tell(node, &entry);
            told++;
        } else if (errno == ENOMEM) {
            rc = HK_ENOMEM; /* not a damaged line */
        }
        length -= (size_t)(newline + 1 - at);
    }
    free(bytes);
    if (rc != 0)
        return why_set(why, rc, "the event log cannot be told to the ledger again: %s", hk_strerror(rc));
    log_info("told the ledger %llu outcomes of the event log again", (unsigned long long)told);
    return settle_wait(node, why);
}
