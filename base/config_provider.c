/* config_provider.c - the provider table: built-in rows, own sections laid over them, and who matches a domain.
 *
 * Layers, each key by key: the table's defaults, the built-in row "default", an own section "default", the
 * built-in row of the title, the own section of the title. A list that is given replaces the list below it.
 * The built-in rows are etc/providers.conf, embedded by the build and read by the same reader; a fault in it is
 * a bug of ours.
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

/* --- matching --- */

/* Every pattern of every row, found by what it ends a name with: a campaign of a million domains asks for each of them, and its
 * hosts. Open addressing, at most half full. */
struct cfg_provider_index {
    size_t mask; /* slots - 1 */
    struct provider_pattern {
        const char
            *ending; /* the name itself, or ".example.com" of "*.example.com"; NULL: the slot is free */
        uint64_t hash;
        uint32_t length, row; /* of the whole pattern */
        bool is_wild, by_mx;
    } slot[];
};

/* From the last octet to the first, so that one pass over a name has the hash of each of its endings. */
static uint64_t hash_before(uint64_t hash, char c)
{
    unsigned char octet = (unsigned char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);

    hash = (hash ^ octet) * 0x100000001b3u;
    return hash ^ hash >> 29;
}

static void index_add(struct cfg_provider_index *index, const char *pattern, uint32_t row, bool by_mx)
{
    bool is_wild = strncmp(pattern, "*.", 2) == 0;
    const char *ending = pattern + is_wild;
    uint64_t hash = 0;
    size_t at;

    for (size_t i = strlen(ending); i-- > 0;)
        hash = hash_before(hash, ending[i]);
    for (at = hash & index->mask; index->slot[at].ending != NULL;)
        at = (at + 1) & index->mask;
    index->slot[at] = (struct provider_pattern){.ending = ending,
                                                .hash = hash,
                                                .length = (uint32_t)strlen(pattern),
                                                .row = row,
                                                .is_wild = is_wild,
                                                .by_mx = by_mx};
}

static void index_add_all(struct cfg_provider_index *index, const struct cfg_list *patterns, size_t row,
                          bool by_mx)
{
    for (size_t i = 0; i < patterns->count; i++)
        index_add(index, patterns->item[i], (uint32_t)row, by_mx);
}

static void index_make(struct config *config)
{
    size_t patterns = 0, slots = 16;

    for (size_t i = 0; i < config->provider_count; i++)
        patterns += config->provider[i].domains.count + config->provider[i].mx.count;
    while (slots < 2 * patterns)
        slots *= 2;
    config->provider_index =
        hk_xcalloc(1, sizeof *config->provider_index + slots * sizeof config->provider_index->slot[0]);
    config->provider_index->mask = slots - 1;
    for (size_t i = 0; i < config->provider_count; i++) {
        index_add_all(config->provider_index, &config->provider[i].domains, i, false);
        index_add_all(config->provider_index, &config->provider[i].mx, i, true);
    }
}

/* The longest pattern so far, of own rows and of built-in ones; of equal ones that of the first row. */
struct best {
    size_t length;
    const struct cfg_provider *row;
};

static void take_better(struct best *best, const struct provider_pattern *found,
                        const struct cfg_provider *row)
{
    if (found->length > best->length || (found->length == best->length && row < best->row))
        *best = (struct best){found->length, row};
}

/* domain_matches() for every pattern there is. */
static void match_name(const struct config *config, const char *name, bool by_mx, struct best best[2])
{
    const struct cfg_provider_index *index = config->provider_index;
    uint64_t hash = 0;

    for (size_t i = index != NULL ? strlen(name) : 0; i-- > 0;) {
        hash = hash_before(hash, name[i]);
        if (i > 0 && name[i] != '.')
            continue;
        for (size_t at = hash & index->mask; index->slot[at].ending != NULL; at = (at + 1) & index->mask) {
            const struct provider_pattern *found = &index->slot[at];
            const struct cfg_provider *row = &config->provider[found->row];
            if (found->hash == hash && found->by_mx == by_mx && found->is_wild == (i > 0) &&
                strcasecmp(found->ending, name + i) == 0)
                take_better(&best[row->own], found, row);
        }
    }
}

const struct cfg_provider *config_provider(const struct config *config, const char *domain,
                                           const char *const *mx, size_t mx_count)
{
    struct best by_domain[2] = {{0}}, by_mx[2] = {{0}};

    match_name(config, domain, false, by_domain);
    for (size_t i = 0; i < mx_count; i++)
        match_name(config, mx[i], true, by_mx);
    for (int own = 1; own >= 0; own--) {
        if (by_domain[own].row != NULL)
            return by_domain[own].row;
        if (by_mx[own].row != NULL)
            return by_mx[own].row;
    }
    return &config->provider[config->provider_count - 1];
}

/* --- loading --- */

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
    if (rc == 0)
        index_make(config);
    return rc;
}
