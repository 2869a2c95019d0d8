/* config_provider.c - the provider table: built-in rows, own sections laid over them, and who matches a domain.
 *
 * Layers, each key by key: the table's defaults, the built-in row "default", an own section "default", the
 * built-in row of the title, the own section of the title. A list that is given replaces the list below it.
 * The built-in rows are etc/providers.conf, embedded by the build and read by the same reader; a fault in it is
 * a bug of ours. Looking a provider up walks all rows: it is done once for a domain, and the answer is kept.
 */
#include <string.h>
#include <strings.h>

#include "config_table.h"
#include "hikyaku/address.h"

struct layers {
    const struct config_tree *own, *builtin;
    const struct config_place *place;
    struct config *config;
    struct hk_why *why;
    int own_default; /* the number of the own section "default", -1 none */
};

/* The number of the section with that title in a tree, or -1. */
static int find_title(const struct config_tree *tree, const char *title)
{
    unsigned count = cfg_size(tree->root, "provider");

    for (unsigned i = 0; i < count; i++)
        if (strcmp(cfg_title(cfg_getnsec(tree->root, "provider", i)), title) == 0)
            return (int)i;
    return -1;
}

void config_client_derive(struct cfg_client *client)
{
    if (client->certificate != NULL && client->key == NULL)
        client->key = hk_xstrdup(client->certificate);
}

static const struct config_mark *mark_of_key(const struct config_tree *tree,
                                             const struct config_mark *section, const char *key)
{
    return config_scan_find(&tree->scan, section->number, key, 0);
}

static int lay(const struct layers *l, const struct config_tree *tree, int nth, struct cfg_provider *row)
{
    const struct config_mark *mark = NULL;
    cfg_t *from = nth < 0 ? NULL : config_tree_section(tree, "provider", (size_t)nth, &mark);

    if (from == NULL)
        return 0;
    /* The key of the layer below is that of its certificate. */
    if (mark_of_key(tree, mark, "client_certificate") != NULL)
        config_value_clear(config_row_find("provider.client_key"), row);
    return config_tree_apply(tree, from, mark->number, config_section_find("provider"), l->place, row,
                             l->why);
}

/* A built-in row that needs TLS keeps its need; what the operator asks of everyone holds as well. */
static void raise_tls(const struct layers *l, struct cfg_provider *row)
{
    if (row->tls < l->config->tls.policy)
        row->tls = l->config->tls.policy;
}

static int lay_all(const struct layers *l, const char *title, int own, struct cfg_provider *row)
{
    int builtin = find_title(l->builtin, title), rc;

    for (size_t i = 0; i < config_row_count; i++)
        if (config_row_is_in(&config_rows[i], config_section_find("provider")))
            config_value_default(&config_rows[i], l->place, row);
    row->tls = l->config->tls.policy;
    rc = lay(l, l->builtin, find_title(l->builtin, "default"), row);
    if (rc == 0)
        rc = lay(l, l->own, l->own_default, row);
    if (strcmp(title, "default") == 0 || rc != 0)
        return rc;
    rc = lay(l, l->builtin, builtin, row);
    if (rc != 0)
        return rc;
    if (builtin >= 0)
        raise_tls(l, row);
    return lay(l, l->own, own, row);
}

/* As check_route_client() of config.c; what the section itself says is judged, not what it inherits. */
static int check_client(const struct layers *l, int own, const struct cfg_provider *row)
{
    const struct config_mark *section = NULL, *mark;
    const char *file = l->own->scan.file;

    if (own < 0 || config_tree_section(l->own, "provider", (size_t)own, &section) == NULL)
        return 0;
    mark = mark_of_key(l->own, section, "client_key");
    if (mark != NULL && row->client.certificate == NULL)
        return why_set(
            l->why, HK_EINVAL,
            "%s:%u: provider \"%.60s\" has a client_key alone; write client_certificate = \"...\" as well",
            file, mark->line, row->name);
    mark = mark_of_key(l->own, section, "client_certificate");
    if (mark != NULL && row->tls == TLS_NONE)
        return why_set(
            l->why, HK_EINVAL,
            "%s:%u: provider \"%.60s\" has a client_certificate and no TLS (tls = none); write tls = "
            "verified, or tls = required",
            file, mark->line, row->name);
    return 0;
}

/* `own` is the number of the own section, -1 none. */
static int add_row(const struct layers *l, const char *title, int own)
{
    struct config *c = l->config;
    struct cfg_provider *row;
    int rc;

    c->provider = hk_xrealloc(c->provider, c->provider_count + 1, sizeof *row);
    row = &c->provider[c->provider_count++];
    *row = (struct cfg_provider){.name = hk_xstrdup(title), .own = own >= 0};
    rc = lay_all(l, title, own, row);
    if (rc == 0)
        rc = check_client(l, own, row);
    if (rc == 0 && row->tls == TLS_NONE) { /* then an inherited certificate is of no use */
        config_value_clear(config_row_find("provider.client_certificate"), row);
        config_value_clear(config_row_find("provider.client_key"), row);
    }
    config_client_derive(&row->client);
    return rc;
}

static int check_own(const struct layers *l, const struct config_mark *mark, const struct cfg_provider *row)
{
    const char *file = l->own->scan.file;

    if (row->domains.count > 0 || row->mx.count > 0)
        return 0;
    return why_set(
        l->why, HK_EINVAL,
        "%s:%u: provider \"%.60s\" matches nothing and is not in the built-in table; write domains = { "
        "\"example.com\" } or mx = { \"*.example.com\" }",
        file, mark->line, row->name);
}

static bool title_is_valid(const char *title)
{
    return title[0] != '\0' && strlen(title) <= 253 && title[strcspn(title, " \t\r\n\"\\")] == '\0';
}

static int check_default(const struct layers *l)
{
    const struct config_mark *mark, *section;

    if (l->own_default < 0)
        return 0;
    section = config_scan_find(&l->own->scan, 0, "provider", (size_t)l->own_default);
    mark = section == NULL ? NULL : config_scan_find(&l->own->scan, section->number, "domains", 0);
    if (mark == NULL && section != NULL)
        mark = config_scan_find(&l->own->scan, section->number, "mx", 0);
    if (mark == NULL)
        return 0;
    return why_set(
        l->why, HK_EINVAL,
        "%s:%u: provider \"default\" is for whom no other matches; take domains and mx out, or give the "
        "section another title",
        l->own->scan.file, mark->line);
}

static int add_own(const struct layers *l)
{
    const struct config_mark *mark = NULL;
    int rc = check_default(l);
    cfg_t *from;

    for (size_t i = 0; rc == 0 && (from = config_tree_section(l->own, "provider", i, &mark)) != NULL; i++) {
        const char *title = cfg_title(from);
        if (!title_is_valid(title))
            return why_set(l->why, HK_EINVAL,
                           "%s:%u: title of a provider; write 1 to 253 characters without blanks or quotes",
                           l->own->scan.file, mark->line);
        if (strcmp(title, "default") == 0)
            continue;
        rc = add_row(l, title, (int)i);
        if (rc == 0)
            rc = check_own(l, mark, &l->config->provider[l->config->provider_count - 1]);
    }
    return rc;
}

static int add_builtin(const struct layers *l)
{
    unsigned count = cfg_size(l->builtin->root, "provider");
    int rc = 0;

    for (unsigned i = 0; rc == 0 && i < count; i++) {
        const char *title = cfg_title(cfg_getnsec(l->builtin->root, "provider", i));
        if (strcmp(title, "default") != 0 && find_title(l->own, title) < 0)
            rc = add_row(l, title, -1);
    }
    return rc;
}

int config_provider_load(const struct config_tree *tree, const struct config_place *place,
                         struct config *config, struct hk_why *why)
{
    struct config_tree builtin = {0};
    struct hk_why fault = {""};
    struct layers l = {.own = tree, .builtin = &builtin, .place = place, .config = config, .why = why};
    int rc = config_tree_parse("etc/providers.conf", config_builtin_providers,
                               config_builtin_providers_length, &builtin, &fault);

    HK_BUG_ON(rc != 0 || find_title(&builtin, "default") < 0);
    l.own_default = find_title(tree, "default");
    rc = add_own(&l);
    if (rc == 0)
        rc = add_builtin(&l);
    if (rc == 0)
        rc = add_row(&l, "default", l.own_default);
    config_tree_free(&builtin);
    return rc;
}

/* --- matching --- */

/* The length of the longest pattern that matches a name, 0 for none. */
static size_t longest_match(const struct cfg_list *patterns, const char *name)
{
    size_t best = 0;

    for (size_t i = 0; i < patterns->count; i++)
        if (strlen(patterns->item[i]) > best && domain_matches(patterns->item[i], name))
            best = strlen(patterns->item[i]);
    return best;
}

static size_t longest_of(const struct cfg_list *patterns, const char *const *name, size_t count)
{
    size_t best = 0;

    for (size_t i = 0; i < count; i++) {
        size_t length = longest_match(patterns, name[i]);
        if (length > best)
            best = length;
    }
    return best;
}

static const struct cfg_provider *best_row(const struct config *config, bool own, bool by_mx,
                                           const char *const *name, size_t count)
{
    const struct cfg_provider *best = NULL;
    size_t best_length = 0;

    for (size_t i = 0; i < config->provider_count; i++) {
        const struct cfg_provider *row = &config->provider[i];
        size_t length;
        if (row->own != own)
            continue;
        length = longest_of(by_mx ? &row->mx : &row->domains, name, count);
        if (length > best_length)
            best = row, best_length = length;
    }
    return best;
}

const struct cfg_provider *config_provider(const struct config *config, const char *domain,
                                           const char *const *mx, size_t mx_count)
{
    for (int own = 1; own >= 0; own--) {
        const struct cfg_provider *row = best_row(config, own == 1, false, &domain, 1);
        if (row == NULL)
            row = best_row(config, own == 1, true, mx, mx_count);
        if (row != NULL)
            return row;
    }
    return &config->provider[config->provider_count - 1];
}
