/* roll.c - a campaign's compiled list on this machine: from an address to its recipient. */
#include "roll.h"

#include <string.h>
#include <strings.h>
#include <unistd.h>

int roll_open(const struct config *config, const struct manifest *manifest, struct segment **out,
              struct hk_why *why)
{
    char path[4096];
    int error;

    if (config_path(config, path, sizeof path, "campaigns/%s/%s", manifest->campaign, CAMPAIGN_SEGMENT_FILE) <
        0)
        return why_set(why, HK_ETOOBIG, "%s: state_dir: the path is too long", config->file);
    if (access(path, R_OK) != 0)
        return why_set(why, HK_ENOENT, "%s: the list of campaign '%s' is not on this machine", path,
                       manifest->campaign);
    error = segment_open(path, false, out, why);
    if (error < 0)
        return error;
    if (strcmp(segment_sha256(*out), manifest->list_sha256) == 0)
        return 0;
    segment_close(*out);
    return why_set(why, HK_ECHANGED, "%s: not the list that campaign '%s' was made of", path,
                   manifest->campaign);
}

static bool domain_find(const struct segment *segment, const char *name, struct segment_domain *out)
{
    uint32_t count = segment_domain_count(segment);

    for (uint32_t i = 0; i < count; i++) {
        *out = segment_domain(segment, i);
        if (strcmp(out->name, name) == 0)
            return true;
    }
    return false;
}

bool roll_find(const struct segment *segment, const struct address *address, uint32_t *index)
{
    struct segment_domain domain;
    struct segment_record record;

    if (!domain_find(segment, address->text + address->local_length + 1, &domain))
        return false;
    for (uint32_t i = domain.first; i < domain.first + domain.count; i++) {
        if (segment_record(segment, i, &record) != 0 || record.wire_local_length != address->local_length ||
            strncasecmp(record.wire, address->text, address->local_length) != 0)
            continue;
        *index = i;
        return true;
    }
    return false;
}

int roll_address(const char *text, struct address *out, struct hk_why *why)
{
    struct hk_why reason;
    char clean[128];

    if (address_parse(text, strlen(text), out, &reason) == 0)
        return 0;
    hk_clean_text(clean, sizeof clean, text, strlen(text));
    return why_set(why, HK_EINVAL, "hikyaku: '%s' is no address: %s", clean, reason.text);
}
