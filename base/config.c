/* config.c - read a configuration file into struct config: defaults, the file over them, then the checks that
 * need more than one key (design 13).
 *
 * Opens the file named, and no other: key files are read by those who use them. What is derived (the machine's
 * name, the directory of the file, the number of processors) is filled in here, so that nobody asks later.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "config_table.h"
#include "hikyaku/address.h"

#define CONFIG_FILE_MAX ((size_t)1024 * 1024)

struct load {
    struct config *config;
    struct config_tree tree;
    struct config_place place;
    struct hk_why *why;
};

/* --- freeing --- */

static void clear_rows(const struct config_section *section, void *base)
{
    for (size_t i = 0; i < config_row_count; i++)
        if (config_row_is_in(&config_rows[i], section))
            config_value_clear(&config_rows[i], base);
}

/* The array of a titled section. */
static void **array_of(const struct config_section *section, struct config *config)
{
    return (void **)((char *)config + section->array_at);
}

static size_t *count_of(const struct config_section *section, struct config *config)
{
    return (size_t *)((char *)config + section->count_at);
}

static void clear_items(const struct config_section *section, struct config *config)
{
    char *item = *array_of(section, config);

    for (size_t n = *count_of(section, config); n > 0; n--, item += section->item_bytes) {
        free(*(char **)(item + section->title_at));
        clear_rows(section, item);
        if (strcmp(section->name, "route") == 0)
            clear_rows(config_section_find("route.auth"), item);
    }
    free(*array_of(section, config));
}

void config_free(struct config *config)
{
    if (config == NULL)
        return;
    for (size_t i = 0; i < config_section_count; i++) {
        const struct config_section *section = &config_sections[i];
        if (section->item_bytes > 0)
            clear_items(section, config);
        else if (strcmp(section->name, "route.auth") != 0)
            clear_rows(section, config);
    }
    free(config->provider_index);
    free(config->file);
    free(config);
}

/* --- errors with a line --- */

HK_PRINTF(3, 4)
static int refuse(const struct load *load, const struct config_mark *mark, const char *format, ...)
{
    char said[400], clean[400];
    va_list ap;

    va_start(ap, format);
    vsnprintf(said, sizeof said, format, ap);
    va_end(ap);
    hk_clean_text(clean, sizeof clean, said, strlen(said));
    return why_set(load->why, HK_EINVAL, "%s:%u: %s", load->tree.scan.file, mark == NULL ? 1u : mark->line,
                   clean);
}

static const struct config_mark *mark_of(const struct load *load, const char *section, size_t nth)
{
    return config_scan_find(&load->tree.scan, 0, section, nth);
}

static const struct config_mark *mark_of_key(const struct load *load, const char *section, size_t nth,
                                             const char *key)
{
    const struct config_mark *mark = mark_of(load, section, nth), *inner;

    inner = mark == NULL ? NULL : config_scan_find(&load->tree.scan, mark->number, key, 0);
    return inner == NULL ? mark : inner;
}

/* --- what one titled section needs --- */

static int check_source(const struct load *load, size_t nth)
{
    struct cfg_source *source = &load->config->source[nth];

    if (source->hostname == NULL)
        source->hostname = hk_xstrdup(load->config->hostname);
    return 0;
}

static int check_pool(const struct load *load, size_t nth)
{
    struct cfg_pool *pool = &load->config->pool[nth];

    if (pool->count == 0)
        return refuse(load, mark_of(load, "pool", nth),
                      "pool \"%.60s\" has no sources; write sources = { \"title of a source\" }", pool->name);
    if (pool->weight == NULL) {
        pool->weight = hk_xcalloc(pool->count, sizeof *pool->weight);
        for (size_t i = 0; i < pool->count; i++)
            pool->weight[i] = 1;
    }
    if (pool->weight[pool->count - 1] == 0)
        return refuse(
            load, mark_of_key(load, "pool", nth, "weights"),
            "pool \"%.60s\" has fewer weights than its %zu sources; write one weight for each source",
            pool->name, pool->count);
    return 0;
}

static int check_dkim(const struct load *load, size_t nth)
{
    const struct cfg_dkim *dkim = &load->config->dkim[nth];

    if (dkim->domain == NULL)
        return refuse(
            load, mark_of(load, "dkim", nth),
            "dkim \"%.60s\" has no domain; write domain = \"example.com\" (the d= of the signature)",
            dkim->selector);
    if (dkim->key_file == NULL)
        return refuse(
            load, mark_of(load, "dkim", nth),
            "dkim \"%.60s\" has no key_file; write key_file = \"%.60s.pem\" and make it with: hikyaku "
            "keygen dkim --domain %.80s --selector %.60s --out %.60s.pem",
            dkim->selector, dkim->selector, dkim->domain, dkim->selector, dkim->selector);
    return 0;
}

static int check_route_tls(const struct load *load, size_t nth)
{
    const struct cfg_route *route = &load->config->route[nth];
    const struct config_mark *mark = mark_of_key(load, "route", nth, "tls");

    if (route->user != NULL && route->tls < TLS_REQUIRED)
        return refuse(
            load, mark,
            "route \"%.60s\" would send its password without TLS (tls = %s); write tls = verified, or tls "
            "= required",
            route->domain, tls_policy_name(route->tls));
    if (route->implicit_tls && route->tls == TLS_NONE)
        return refuse(load, mark,
                      "route \"%.60s\" has implicit_tls = yes and no TLS (tls = none); write implicit_tls = "
                      "no, or tls = "
                      "required",
                      route->domain);
    return 0;
}

/* A certificate that nobody would ever be shown, or a key without one, is a mistake. */
static int check_route_client(const struct load *load, size_t nth)
{
    struct cfg_route *route = &load->config->route[nth];

    if (route->client.key != NULL && route->client.certificate == NULL)
        return refuse(load, mark_of_key(load, "route", nth, "client_key"),
                      "route \"%.60s\" has a client_key alone; write client_certificate = \"...\" as well",
                      route->domain);
    if (route->client.certificate != NULL && route->tls == TLS_NONE)
        return refuse(
            load, mark_of_key(load, "route", nth, "client_certificate"),
            "route \"%.60s\" has a client_certificate and no TLS (tls = none); write tls = verified, or tls "
            "= required",
            route->domain);
    config_client_derive(&route->client);
    return 0;
}

/* Recipients' domains are A-labels: so is the title, which is compared with them. */
static int derive_route_domain(const struct load *load, struct cfg_route *route,
                               const struct config_mark *mark)
{
    char ascii[DOMAIN_MAX + 1];

    if (strcmp(route->domain, "*") == 0)
        return 0;
    if (domain_to_ascii(route->domain, strlen(route->domain), ascii, NULL) != 0)
        return refuse(load, mark, "route \"%.60s\" is no domain; write one such as \"example.com\", or \"*\"",
                      route->domain);
    for (const struct cfg_route *other = load->config->route; other < route; other++)
        if (strcmp(other->domain, ascii) == 0)
            return refuse(load, mark, "route \"%.60s\" is written twice; write it once", ascii);
    free(route->domain);
    route->domain = hk_xstrdup(ascii);
    return 0;
}

static bool is_ses_word(const struct cfg_address *relay)
{
    return relay->port == 0;
}

static int check_route_region(const struct load *load, size_t nth)
{
    const struct cfg_route *route = &load->config->route[nth];

    if (route->region == NULL)
        return refuse(
            load, mark_of(load, "route", nth),
            "route \"%.60s\" has no region; write region = \"ap-northeast-1\", or where your SES is",
            route->domain);
    if (strspn(route->region, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(route->region) ||
        strlen(route->region) > 40)
        return refuse(load, mark_of_key(load, "route", nth, "region"),
                      "region \"%.60s\" is none of AWS; write one such as \"ap-northeast-1\"", route->region);
    return 0;
}

/* The word ses becomes the endpoint of the region. */
static int derive_route_relays(const struct load *load, size_t nth, const struct config_mark *mark)
{
    struct cfg_route *route = &load->config->route[nth];

    if (route->relay_count == 0)
        return refuse(load, mark, "route \"%.60s\" has no relay; write relay = \"host:port\", or relay = ses",
                      route->domain);
    for (size_t i = 0; i < route->relay_count; i++) {
        struct cfg_address *relay = &route->relay[i];
        int rc;
        if (!is_ses_word(relay))
            continue;
        if (route->relay_count > 1)
            return refuse(
                load, mark_of_key(load, "route", nth, "relay"),
                "relay = ses stands beside other relays; write it alone, its name has several addresses");
        rc = check_route_region(load, nth);
        if (rc != 0)
            return rc;
        free(relay->host);
        relay->host = hk_xasprintf("email-smtp.%s.amazonaws.com", route->region);
        relay->port = route->implicit_tls ? 465 : 587;
        route->profile = RELAY_SES;
    }
    return 0;
}

static int check_route_auth(const struct load *load, size_t nth, const struct config_mark *auth)
{
    const struct cfg_route *route = &load->config->route[nth];

    if (route->user == NULL || (route->password_file == NULL && route->secret_key_file == NULL))
        return refuse(
            load, auth,
            "auth of route \"%.60s\" needs both; write auth { user = \"...\" password_file = \"...\" }",
            route->domain);
    if (route->secret_key_file == NULL)
        return 0;
    if (route->password_file != NULL)
        return refuse(load, auth,
                      "auth of route \"%.60s\" has a password_file and a secret_key_file; write one of them",
                      route->domain);
    if (route->profile != RELAY_SES)
        return refuse(
            load, auth,
            "auth of route \"%.60s\" has the secret_key_file of SES, and its relay is another; write "
            "password_file, or profile = ses in the route",
            route->domain);
    return check_route_region(load, nth);
}

/* What only SES wants. */
static int check_route_ses(const struct load *load, size_t nth, const struct config_mark *mark)
{
    const struct cfg_route *route = &load->config->route[nth];
    const char *set = route->configuration_set;

    if (route->profile != RELAY_SES && set != NULL)
        return refuse(load, mark_of_key(load, "route", nth, "configuration_set"),
                      "configuration_set is for SES; leave it out, or write profile = ses");
    if (route->profile != RELAY_SES)
        return 0;
    if (set != NULL &&
        (strspn(set, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != strlen(set) ||
         strlen(set) > 64))
        return refuse(load, mark_of_key(load, "route", nth, "configuration_set"),
                      "configuration_set \"%.80s\" is no name of SES; write up to 64 letters, digits, - or _",
                      set);
    if (route->user == NULL)
        return refuse(
            load, mark,
            "route \"%.60s\" goes to SES, which wants a log-in; write auth { user = \"access key ID\" "
            "secret_key_file = \"...\" }",
            route->domain);
    if (load->config->dkim_count > 1)
        return refuse(
            load, mark,
            "route \"%.60s\" goes to SES, which refuses a message with two signatures; write one dkim "
            "section",
            route->domain);
    return 0;
}

static int read_route_auth(const struct load *load, size_t nth, const struct config_mark *mark)
{
    const struct config_mark *auth = config_scan_find(&load->tree.scan, mark->number, "auth", 0);
    cfg_t *section = config_tree_section(&load->tree, "route", nth, &mark);
    int rc;

    if (cfg_size(section, "auth") == 0)
        return 0;
    rc = config_tree_apply(&load->tree, cfg_getnsec(section, "auth", 0),
                           auth == NULL ? UINT32_MAX : auth->number, config_section_find("route.auth"),
                           &load->place, &load->config->route[nth], load->why);
    return rc != 0 ? rc : check_route_auth(load, nth, auth == NULL ? mark : auth);
}

static int check_route(const struct load *load, size_t nth)
{
    struct cfg_route *route = &load->config->route[nth];
    const struct config_mark *mark = mark_of(load, "route", nth);
    int rc = derive_route_domain(load, route, mark);

    if (rc == 0)
        rc = derive_route_relays(load, nth, mark);
    if (rc == 0)
        rc = read_route_auth(load, nth, mark);
    if (rc == 0)
        rc = check_route_ses(load, nth, mark);
    if (rc != 0)
        return rc;
    if (config_scan_find(&load->tree.scan, mark->number, "tls", 0) == NULL)
        route->tls = route->user != NULL ? TLS_VERIFIED : load->config->tls.policy;
    rc = check_route_tls(load, nth);
    return rc != 0 ? rc : check_route_client(load, nth);
}

static bool has_dkim_domain(const struct config *config, const char *domain)
{
    for (size_t i = 0; i < config->dkim_count; i++)
        if (strcasecmp(config->dkim[i].domain, domain) == 0)
            return true;
    return false;
}

static bool has_route(const struct config *config, const char *title)
{
    for (size_t i = 0; i < config->route_count; i++)
        if (strcmp(config->route[i].domain, title) == 0)
            return true;
    return false;
}

static bool has_provider(const struct config *config, const char *title)
{
    for (size_t i = 0; i < config->provider_count; i++)
        if (strcmp(config->provider[i].name, title) == 0)
            return true;
    return false;
}

static const struct {
    const char *kind, *section;
    bool (*is_there)(const struct config *config, const char *title);
} limit_kinds[] = {
    {"dkim:", "dkim section with that domain", has_dkim_domain},
    {"route:", "route of that title", has_route},
    {"provider:", "provider of that title", has_provider},
};

static int check_limit(const struct load *load, size_t nth)
{
    const struct cfg_limit *limit = &load->config->limit[nth];
    const struct config_mark *mark = mark_of(load, "limit", nth);

    for (size_t i = 0; i < sizeof limit_kinds / sizeof *limit_kinds; i++) {
        size_t length = strlen(limit_kinds[i].kind);
        if (strncmp(limit->name, limit_kinds[i].kind, length) != 0)
            continue;
        if (limit_kinds[i].is_there(load->config, limit->name + length))
            return 0;
        return refuse(load, mark, "limit \"%.60s\": there is no %s; write one that is there", limit->name,
                      limit_kinds[i].section);
    }
    return refuse(
        load, mark,
        "limit \"%.60s\" does not say what it limits; write limit \"dkim:example.com\" { ... }, or route: "
        "or provider: and its title",
        limit->name);
}

static void default_rows(const struct config_section *section, const struct config_place *place, void *base)
{
    for (size_t i = 0; i < config_row_count; i++)
        if (config_row_is_in(&config_rows[i], section))
            config_value_default(&config_rows[i], place, base);
}

#define NEVER UINT32_MAX
#define DAY_S 86400u

/* Classes of a bounce that are counted, and how many suppress an address, for how long, unless its section says otherwise. A
 * mailbox that was full five times in two months is read by nobody; who is refused twice for what he is will be a third
 * time; a host that was not to be had may be for any reason but his. Somebody may clear his mailbox, and a host comes back:
 * after a season it is tried again. Who does not exist, or refuses us, does not change. */
static const struct soft_class {
    const char *reply_class;
    uint32_t count, expires_s;
} soft_classes[] = {
    {"mailbox-unknown", 3, NEVER},     {"recipient-refused", 2, NEVER}, {"mailbox-inactive", 3, 180u * DAY_S},
    {"mailbox-full", 5, 180u * DAY_S}, {"domain-invalid", 3, NEVER},    {"network", 7, 90u * DAY_S},
    {"system", 7, 90u * DAY_S},        {"unknown", 7, 90u * DAY_S},
};
#define SOFT_CLASSES (sizeof soft_classes / sizeof soft_classes[0])

static const struct soft_class *soft_class_of(const char *name)
{
    for (size_t i = 0; i < SOFT_CLASSES; i++)
        if (strcmp(soft_classes[i].reply_class, name) == 0)
            return &soft_classes[i];
    return NULL;
}

static int check_expires(const struct load *load, size_t nth, const struct soft_class *standard)
{
    struct cfg_soft *soft = &load->config->soft[nth];

    if (soft->expires_s == 0)
        soft->expires_s = standard->expires_s;
    if (standard->expires_s != NEVER || soft->expires_s == NEVER)
        return 0;
    return refuse(load, mark_of(load, "soft", nth),
                  "soft \"%.60s\" never expires: who does not exist, or refuses, does not come back; write "
                  "expires only "
                  "for mailbox-full, mailbox-inactive, network, system and unknown",
                  soft->reply_class);
}

static int check_soft(const struct load *load, size_t nth)
{
    const char *name = load->config->soft[nth].reply_class;
    const struct soft_class *standard = soft_class_of(name);

    for (size_t i = 0; i < nth; i++)
        if (strcmp(load->config->soft[i].reply_class, name) == 0)
            return refuse(load, mark_of(load, "soft", nth), "soft \"%.60s\" is there twice; write one", name);
    if (standard != NULL)
        return check_expires(load, nth, standard);
    return refuse(
        load, mark_of(load, "soft", nth),
        "soft \"%.60s\" is no class that is counted; write soft \"mailbox-full\" { ... }, or "
        "mailbox-unknown, mailbox-inactive, recipient-refused, domain-invalid, network, system, unknown",
        name);
}

static bool has_soft(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->soft_count; i++)
        if (strcmp(config->soft[i].reply_class, name) == 0)
            return true;
    return false;
}

static void derive_soft(const struct config_place *place, struct config *config)
{
    for (size_t i = 0; i < SOFT_CLASSES; i++) {
        struct cfg_soft *soft;
        if (has_soft(config, soft_classes[i].reply_class))
            continue;
        config->soft = hk_xrealloc(config->soft, config->soft_count + 1, sizeof *config->soft);
        soft = &config->soft[config->soft_count++];
        memset(soft, 0, sizeof *soft);
        default_rows(config_section_find("soft"), place, soft);
        soft->reply_class = hk_xstrdup(soft_classes[i].reply_class);
        soft->count = soft_classes[i].count;
        soft->expires_s = soft_classes[i].expires_s;
    }
}

static const struct {
    const char *section;
    int (*check)(const struct load *load, size_t nth);
} item_checks[] = {
    {"source", check_source}, {"pool", check_pool},   {"dkim", check_dkim},
    {"route", check_route},   {"limit", check_limit}, {"soft", check_soft},
};

/* --- reading --- */

static int check_item(const struct load *load, const char *section, size_t nth)
{
    for (size_t i = 0; i < sizeof item_checks / sizeof *item_checks; i++)
        if (strcmp(item_checks[i].section, section) == 0)
            return item_checks[i].check(load, nth);
    return 0;
}

static bool title_is_valid(const char *title)
{
    size_t length = strlen(title);

    for (const char *c = title; *c != '\0'; c++)
        if ((unsigned char)*c <= ' ' || *c == 0x7f || *c == '"')
            return false;
    return length > 0 && length <= 253;
}

static int read_items(struct load *load, const struct config_section *section)
{
    const struct config_mark *mark = NULL;
    size_t *count = count_of(section, load->config);
    void **array = array_of(section, load->config);
    cfg_t *from;
    int rc = 0;

    while (rc == 0 && (from = config_tree_section(&load->tree, section->name, *count, &mark)) != NULL) {
        char *item;
        if (!title_is_valid(cfg_title(from)))
            return refuse(load, mark, "title \"%.60s\" of section %s; write 1 to 253 letters, digits, . or -",
                          cfg_title(from), section->name);
        *array = hk_xrealloc(*array, *count + 1, section->item_bytes);
        item = (char *)*array + *count * section->item_bytes;
        memset(item, 0, section->item_bytes);
        *(char **)(item + section->title_at) = hk_xstrdup(cfg_title(from));
        ++*count;
        default_rows(section, &load->place, item);
        rc = config_tree_apply(&load->tree, from, mark->number, section, &load->place, item, load->why);
        if (rc == 0)
            rc = check_item(load, section->name, *count - 1);
    }
    return rc;
}

static void derive_machine_name(struct config *config)
{
    char name[256] = "";

    if (config->hostname != NULL)
        return;
    if (gethostname(name, sizeof name - 1) != 0 || name[0] == '\0')
        snprintf(name, sizeof name, "localhost");
    config->hostname = hk_xstrdup(name);
}

static int read_single(struct load *load, const struct config_section *section)
{
    const struct config_mark *mark = NULL;
    cfg_t *from = section->name[0] == '\0' ? load->tree.root
                                           : config_tree_section(&load->tree, section->name, 0, &mark);

    default_rows(section, &load->place, load->config);
    if (from == NULL)
        return 0;
    return config_tree_apply(&load->tree, from, mark == NULL ? 0 : mark->number, section, &load->place,
                             load->config, load->why);
}

static int read_section(struct load *load, const struct config_section *section)
{
    if (strcmp(section->name, "route.auth") == 0)
        return 0; /* read with its route */
    if (strcmp(section->name, "provider") == 0)
        return config_provider_load(&load->tree, &load->place, load->config, load->why);
    if (section->item_bytes > 0)
        return read_items(load, section);
    return read_single(load, section);
}

/* --- what the whole needs --- */

static int check_sender(const struct load *load)
{
    const struct config_mark *mark = mark_of(load, "sender", 0);

    if (load->config->sender.from_domain == NULL)
        return refuse(
            load, mark,
            "sender.from_domain is missing; write sender { from_domain = \"example.com\" ... } (the domain "
            "of the From header)");
    if (load->config->sender.return_path == NULL)
        return refuse(
            load, mark,
            "sender.return_path is missing; write sender { return_path = \"bounce.example.com\" ... } (the "
            "domain that bounces come back to)");
    if (load->config->sender.secret_file == NULL)
        return refuse(
            load, mark,
            "sender.secret_file is missing; write sender { secret_file = \"verp.key\" ... } and make the "
            "file with: hikyaku keygen verp --out verp.key");
    return 0;
}

static int check_redis(const struct load *load)
{
    const struct config *c = load->config;
    const struct config_mark *mark = mark_of(load, "redis", 0);
    bool placed = c->redis.host != NULL || c->redis.socket != NULL;

    if (c->redis.mode == REDIS_EMBEDDED &&
        (placed || c->redis.user != NULL || c->redis.password_file != NULL))
        return refuse(
            load, mark,
            "redis has the keys of an external server and mode = embedded; write mode = external, or take "
            "them out");
    if (c->redis.mode == REDIS_EXTERNAL && !placed)
        return refuse(load, mark, "redis has no server to go to; write host = \"...\", or socket = \"...\"");
    if (c->redis.host != NULL && c->redis.socket != NULL)
        return refuse(load, mark, "redis has a host and a socket; write one of them");
    if (c->redis.user != NULL && c->redis.password_file == NULL)
        return refuse(load, mark, "redis has a user without a password; write password_file = \"...\"");
    return 0;
}

/* An ARN of a topic: six parts, the third of them the service. */
static bool is_topic(const char *text)
{
    unsigned colons = 0;

    for (const char *c = text; *c != '\0'; c++)
        colons += *c == ':';
    return colons == 5 && strncmp(text, "arn:aws", 7) == 0 && strstr(text, ":sns:") != NULL;
}

static int check_web(const struct load *load)
{
    const struct config *c = load->config;
    const struct config_mark *mark = mark_of(load, "sns", 0);

    if (c->web.listen_count > WEB_LISTEN_MAX)
        return refuse(load, mark_of(load, "web", 0), "web.listen has more than %u addresses; write fewer",
                      WEB_LISTEN_MAX);
    for (size_t i = 0; i < c->sns.topics.count; i++)
        if (!is_topic(c->sns.topics.item[i]))
            return refuse(load, mark,
                          "sns.topics: \"%.60s\" is no topic; write its ARN, such as "
                          "\"arn:aws:sns:us-east-1:123456789012:bounces\"",
                          c->sns.topics.item[i]);
    if (c->sns.path[0] != '/' || c->sns.path[1] == '\0' || strpbrk(c->sns.path, " ?#%") != NULL ||
        c->sns.path[strlen(c->sns.path) - 1] == '/')
        return refuse(load, mark, "sns.path is \"%.60s\"; write a path such as \"/sns\"", c->sns.path);
    return 0;
}

static int check_inbound(const struct load *load)
{
    struct config *c = load->config;
    const struct config_mark *mark = mark_of(load, "inbound", 0);
    bool listens = c->inbound.listen_count + c->inbound.lmtp_count > 0;

    if (c->inbound.tls.certificate != NULL && !listens)
        return refuse(
            load, mark,
            "inbound has a certificate and listens nowhere; write listen = { \"0.0.0.0:25\" } as well");
    if (c->inbound.listen_count + c->inbound.lmtp_count > INBOUND_LISTEN_MAX)
        return refuse(load, mark,
                      "inbound listens on more than %u addresses; write fewer, such as \"0.0.0.0:25\"",
                      INBOUND_LISTEN_MAX);
    if (c->inbound.tls.key != NULL && c->inbound.tls.certificate == NULL)
        return refuse(load, mark,
                      "inbound has a key and no certificate; write certificate = \"FILE\" as well");
    if (c->inbound.tls.key == NULL && c->inbound.tls.certificate != NULL)
        c->inbound.tls.key = hk_xstrdup(c->inbound.tls.certificate);
    if (c->inbound.memory_bytes < 2 * c->inbound.message_bytes)
        return refuse(
            load, mark_of_key(load, "inbound", 0, "memory"),
            "inbound.memory is less than two messages of inbound.message_size; write more, or a smaller "
            "message_size");
    if (c->sender.unsubscribe_mail == UNSUBSCRIBE_MAIL_AUTO)
        c->sender.unsubscribe_mail = listens ? UNSUBSCRIBE_MAIL_YES : UNSUBSCRIBE_MAIL_NO;
    return 0;
}

static void derive_rest(struct config *config)
{
    if (config->source_count == 0) {
        config->source = hk_xcalloc(1, sizeof *config->source);
        config->source_count = 1;
        config->source[0].name = hk_xstrdup("");
        config->source[0].hostname = hk_xstrdup(config->hostname);
    }
    if (config->node.name == NULL)
        config->node.name = hk_xstrdup(config->hostname);
}

static int read_tree(struct load *load)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < config_section_count; i++) {
        rc = read_section(load, &config_sections[i]);
        if (rc == 0 && i == 0)
            derive_machine_name(load->config);
    }
    if (rc == 0)
        rc = check_sender(load);
    if (rc == 0)
        rc = check_redis(load);
    if (rc == 0)
        rc = check_web(load);
    if (rc == 0)
        rc = check_inbound(load);
    if (rc == 0)
        derive_rest(load->config);
    if (rc == 0)
        derive_soft(&load->place, load->config);
    return rc;
}

/* The absolute directory of the file: where the files that it names are looked for. */
static int directory_of(const char *path, char **out, struct hk_why *why)
{
    char *copy = hk_xstrdup(path), *slash = strrchr(copy, '/');
    const char *directory = slash == NULL ? "." : slash == copy ? "/" : copy;

    if (slash != NULL && slash != copy)
        *slash = '\0';
    *out = realpath(directory, NULL);
    if (*out == NULL)
        why_set(why, HK_EINVAL, "%s:1: its directory cannot be found: %s; write the path of the file", path,
                strerror(errno));
    free(copy);
    return *out == NULL ? HK_EINVAL : 0;
}

static int read_text(const char *path, char **text, size_t *length, struct hk_why *why)
{
    struct hk_why inner = {""};
    int rc = hk_read_file(path, CONFIG_FILE_MAX, text, length, &inner);
    const char *reason =
        strncmp(inner.text, path, strlen(path)) == 0 ? inner.text + strlen(path) : inner.text;

    if (rc == 0)
        return 0;
    if (strncmp(reason, ": ", 2) == 0)
        reason += 2;
    return why_set(why, rc == HK_ENOENT ? HK_ENOENT : HK_EINVAL,
                   "%s: the configuration cannot be read: %s; write --config and the name of a file", path,
                   reason);
}

int config_load(const char *path, struct config **out, struct hk_why *why)
{
    struct load load = {.why = why};
    char *text = NULL, *directory = NULL;
    size_t length;
    int rc = read_text(path, &text, &length, why);

    *out = NULL;
    if (rc != 0)
        return rc;
    rc = directory_of(path, &directory, why);
    if (rc == 0)
        rc = config_tree_parse(path, text, length, &load.tree, why);
    if (rc == 0) {
        load.config = hk_xcalloc(1, sizeof *load.config);
        load.config->file = hk_xstrdup(path);
        load.place = (struct config_place){.directory = directory, .config = load.config};
        rc = read_tree(&load);
        config_tree_free(&load.tree);
        if (rc == 0)
            *out = load.config;
        else
            config_free(load.config);
    }
    free(directory);
    free(text);
    return rc;
}
