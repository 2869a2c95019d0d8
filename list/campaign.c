/* campaign.c - where a campaign's segments lie: state_dir/campaigns/ID/segment-N.seg, N from 0. */
#include "hikyaku/config.h"
#include "hikyaku/segment.h"

#define PATH_BYTES 4096u

int segment_open_campaign(const struct config *config, const char *campaign, uint32_t segments, bool verify,
                          struct segment **out, struct hk_why *why)
{
    char **path;
    int error = 0;

    if (!campaign_id_is_valid(campaign) || segments == 0 || segments > SEGMENTS_MAX)
        return why_set(why, HK_EINVAL, "campaign \"%s\" cannot have %u segments", campaign, segments);
    path = hk_xcalloc(segments, sizeof *path);
    for (uint32_t i = 0; i < segments; i++) {
        path[i] = hk_xcalloc(PATH_BYTES, 1);
        if (error == 0)
            error = config_path(config, path[i], PATH_BYTES, "campaigns/%s/segment-%u.seg", campaign, i);
    }
    if (error != 0)
        (void)why_set(why, error, "%s: state_dir is too long a path", config->state_dir);
    else
        error = segment_open_all((const char *const *)path, segments, verify, out, why);
    for (uint32_t i = 0; i < segments; i++)
        free(path[i]);
    free(path);
    return error;
}
