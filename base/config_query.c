/* config_query.c - questions about a configuration that is read: names of words, routes, who sends, paths, campaign IDs. */
#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "hikyaku/config.h"

const char *tls_policy_name(enum tls_policy policy)
{
    static const char *const names[] = {"none", "opportunistic", "required", "verified"};

    return (unsigned)policy < sizeof names / sizeof *names ? names[policy] : "unknown";
}

int config_source_family(const struct cfg_source *source)
{
    if (source->address == NULL)
        return AF_UNSPEC;
    return strchr(source->address, ':') != NULL ? AF_INET6 : AF_INET;
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

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

void config_sender_sha256(const struct config *config, char out[HK_SHA256_HEX])
{
    const char *field[] = {config->sender.from_domain, config->sender.return_path,
                           config->sender.unsubscribe_url, config->sender.list_id};
    char **domain = hk_xcalloc(config->dkim_count + 1, sizeof *domain);
    char *text = hk_xstrdup("");
    size_t fields = sizeof field / sizeof field[0];

    for (size_t i = 0; i < config->dkim_count; i++)
        domain[i] = config->dkim[i].domain;
    qsort(domain, config->dkim_count, sizeof *domain, compare_text);
    for (size_t i = 0; i < fields + config->dkim_count; i++) {
        const char *piece = i < fields ? field[i] : domain[i - fields];
        char *longer = hk_xasprintf("%s%s\n", text, piece ? piece : "");
        free(text);
        text = longer;
    }
    hk_sha256_hex(text, strlen(text), out);
    free(text);
    free(domain);
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
