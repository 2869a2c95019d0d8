/* edition.c - see edition.h. */
#include "edition.h"

#include <limits.h>
#include <string.h>

/* As `send` puts it in place (CAMPAIGN_MESSAGE_FILE, which is the node's side). */
#define EDITION_MESSAGE_FILE "message.eml"

struct row { /* one campaign slot of the region */
    uint32_t generation;
    struct edition *edition;
    uint64_t tried_ms; /* 0: never */
    struct hk_why fault;
};

struct shelf {
    const struct config *config;
    const struct region *region;
    const struct signer *signer;
    struct row row[REGION_CAMPAIGNS_MAX];
};

struct shelf *shelf_new(const struct config *config, const struct region *region, const struct signer *signer)
{
    struct shelf *shelf = hk_xcalloc(1, sizeof *shelf);
    shelf->config = config;
    shelf->region = region;
    shelf->signer = signer;
    return shelf;
}

void edition_unref(struct edition *edition)
{
    if (edition == NULL || --edition->refs > 0)
        return;
    message_free(edition->message);
    segment_close(edition->segment);
    free(edition);
}

static void row_clear(struct row *row)
{
    edition_unref(row->edition);
    *row = (struct row){0};
}

void shelf_free(struct shelf *shelf)
{
    if (shelf == NULL)
        return;
    for (uint32_t i = 0; i < REGION_CAMPAIGNS_MAX; i++)
        row_clear(&shelf->row[i]);
    free(shelf);
}

static int compile(const struct shelf *shelf, const char *id, const char *path, const char *bytes,
                   size_t length, struct edition *edition, struct hk_why *why)
{
    uint32_t count = segment_column_count(edition->segment);
    const char *column[SEGMENT_COLUMNS_MAX];
    HK_BUG_ON(count > SEGMENT_COLUMNS_MAX);
    for (uint32_t i = 0; i < count; i++)
        column[i] = segment_column(edition->segment, i);
    return message_compile(path, bytes, length, shelf->config, shelf->signer, id, column, count,
                           &edition->message, why);
}

/* Files are read anew by a worker that was started anew: they may have been exchanged meanwhile. */
static int check_pinned(const char *id, const char *what, const char *sha256, const char *pinned,
                        struct hk_why *why)
{
    if (strcmp(sha256, pinned) == 0)
        return 0;
    return why_set(why, HK_ECHANGED, "not the %s that campaign %s was begun with", what, id);
}

static int edition_fill(const struct shelf *shelf, const struct region_campaign *slot,
                        struct edition *edition, struct hk_why *why)
{
    char path[PATH_MAX], sha256[HK_SHA256_HEX];
    char *bytes = NULL;
    size_t length = 0;
    const char *id = slot->id;
    int error = segment_open_campaign(shelf->config, id, slot->segments, false, &edition->segment, why);
    if (error == 0)
        error = check_pinned(id, "list", segment_sha256(edition->segment), slot->list_sha256, why);
    if (error != 0)
        return error;
    error = config_path(shelf->config, path, sizeof path, "campaigns/%s/%s", id, EDITION_MESSAGE_FILE);
    if (error != 0)
        return why_set(why, error, "the path of the message is too long");
    error = hk_read_file(path, MESSAGE_TEMPLATE_MAX, &bytes, &length, why);
    if (error != 0)
        return error;
    hk_sha256_hex(bytes, length, sha256);
    error = check_pinned(id, "message", sha256, slot->message_sha256, why);
    if (error == 0)
        error = compile(shelf, id, path, bytes, length, edition, why);
    free(bytes);
    return error;
}

static void row_load(const struct shelf *shelf, const struct region_campaign *slot, struct row *row)
{
    struct hk_why why = {""};
    struct edition *edition = calloc(1, sizeof *edition);
    int error = HK_ENOMEM;
    if (edition == NULL) {
        (void)why_set(&why, error, "%s", hk_strerror(error));
    } else {
        edition->refs = 1;
        error = edition_fill(shelf, slot, edition, &why);
    }
    if (error == 0) {
        row->edition = edition;
        return;
    }
    edition_unref(edition);
    if (why.text[0] == '\0')
        (void)why_set(&why, error, "%s", hk_strerror(error));
    if (strcmp(row->fault.text, why.text) != 0)
        log_error("campaign %s: %s", slot->id, why.text);
    row->fault = why;
}

struct edition *edition_get(struct shelf *shelf, uint32_t campaign, uint64_t now_ms, const char **fault)
{
    HK_BUG_ON(campaign >= REGION_CAMPAIGNS_MAX);
    const struct region_campaign *slot = &shelf->region->campaign[campaign];
    uint32_t generation = atomic_load_explicit(&slot->generation, memory_order_acquire);
    struct row *row = &shelf->row[campaign];
    if (row->generation != generation) {
        row_clear(row);
        row->generation = generation;
    }
    if (row->edition == NULL && (row->tried_ms == 0 || now_ms - row->tried_ms >= EDITION_AGAIN_MS)) {
        row->tried_ms = now_ms;
        row_load(shelf, slot, row);
    }
    if (row->edition == NULL) {
        *fault = row->fault.text;
        return NULL;
    }
    row->edition->refs++;
    return row->edition;
}
