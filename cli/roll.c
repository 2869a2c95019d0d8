/* roll.c - a campaign's compiled list on this machine: from an address to its recipient. */
#include "roll.h"

#include <string.h>
#include <strings.h>

int roll_open(const struct config *config, const struct manifest *manifest, struct segment **out,
              struct hk_why *why)
{
    struct hk_why missing;
    int error = segment_open_campaign(config, manifest->campaign, manifest->segments, false, out, &missing);

    if (error == HK_ENOENT)
        return why_set(why, error, "%s: the list of campaign '%s' is not on this machine", missing.text,
                       manifest->campaign);
    if (error < 0)
        return why_set(why, error, "%s", missing.text);
    if (strcmp(segment_sha256(*out), manifest->list_sha256) == 0)
        return 0;
    segment_close(*out);
    return why_set(why, HK_ECHANGED, "%s/campaigns/%s: not the list that the campaign was made of",
                   config->state_dir, manifest->campaign);
}

static bool find_in(const struct segment *segment, const struct segment_domain *domain,
                    const struct address *address, uint32_t *index)
{
    struct segment_record record;

    for (uint32_t i = domain->first; i < domain->first + domain->count; i++) {
        if (segment_record(segment, i, &record) != 0 || record.wire_local_length != address->local_length ||
            strncasecmp(record.wire, address->text, address->local_length) != 0)
            continue;
        *index = i;
        return true;
    }
    return false;
}

/* A domain stands once in each segment that has somebody of it. */
bool roll_find(const struct segment *segment, const struct address *address, uint32_t *index)
{
    uint32_t count = segment_domain_count(segment);

    for (uint32_t i = 0; i < count; i++) {
        struct segment_domain domain = segment_domain(segment, i);
        if (strcmp(domain.name, address->text + address->local_length + 1) == 0 &&
            find_in(segment, &domain, address, index))
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
