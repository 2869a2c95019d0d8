/* release.c - hikyaku release: a suspended site is sent to again before its time (design 8).
 *
 * Redis is told; every node that runs hears of it within about a second.
 */
#include <string.h>

#include "cli.h"
#include "commands.h"
#include "hikyaku/limits.h"

struct search {
    const char *site;
    uint32_t found;
};

static void look(void *context, const struct suspensions *answer)
{
    struct search *search = context;

    for (size_t i = 0; answer != NULL && i < answer->count; i++)
        search->found += strcmp(answer->all[i].site, search->site) == 0 && answer->all[i].source[0] == '\0';
}

static int release(const struct config *config, const char *site)
{
    const struct suspension end = {.source = "", .site = site, .cause = ""};
    struct search before = {.site = site}, after = {.site = site};
    struct reach reach;
    struct hk_why why;
    int error = reach_open(config, &reach, &why);

    if (error < 0)
        return cli_fail(error, &why);
    error = store_suspensions(reach.store, NULL, 0, look, &before, &why);
    if (error == 0 && before.found > 0)
        error = store_suspensions(reach.store, &end, 1, look, &after, &why);
    reach_close(&reach);
    if (error < 0)
        return cli_fail(error, &why);
    printf(before.found > 0 ? "%s is released\n" : "%s is not suspended\n", site);
    return EXIT_SETTLED;
}

int cmd_release(const struct cli_options *options)
{
    struct config *config = cli_config_load(options->config);
    int status;

    if (config == NULL)
        return EXIT_USAGE;
    status = release(config, options->site);
    config_free(config);
    return status;
}
