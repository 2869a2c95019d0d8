/* config_query.c - questions about a configuration that is read: names of words, routes, paths, campaign IDs. */
#include <ctype.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>

#include "hikyaku/config.h"

const char *tls_policy_name(enum tls_policy policy)
{
    static const char *const names[] = {"none", "opportunistic", "required", "verified"};

    return (unsigned)policy < sizeof names / sizeof *names ? names[policy] : "unknown";
}

const struct cfg_route *config_route(const struct config *config, const char *domain)
{
    const struct cfg_route *any = NULL;

    for (size_t i = 0; i < config->route_count; i++) {
        if (strcasecmp(config->route[i].domain, domain) == 0)
            return &config->route[i];
        if (strcmp(config->route[i].domain, "*") == 0)
            any = &config->route[i];
    }
    return any;
}

int config_path(const struct config *config, char *out, size_t size, const char *format, ...)
{
    int at = snprintf(out, size, "%s/", config->state_dir);
    va_list ap;
    int n;

    if (at < 0 || (size_t)at >= size)
        return HK_ETOOBIG;
    va_start(ap, format);
    n = vsnprintf(out + at, size - (size_t)at, format, ap);
    va_end(ap);
    return n < 0 || (size_t)n >= size - (size_t)at ? HK_ETOOBIG : 0;
}

static bool is_ascii_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool campaign_id_is_valid(const char *text)
{
    size_t length = strlen(text);

    if (length == 0 || length > CAMPAIGN_ID_MAX || !is_ascii_alnum(text[0]))
        return false;
    for (size_t i = 1; i < length; i++)
        if (!is_ascii_alnum(text[i]) && strchr("._-", text[i]) == NULL)
            return false;
    return true;
}
