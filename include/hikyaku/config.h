/* config.h - the configuration in force (design 13): read once at start, then read-only in every process.
 *
 * One directive table, base/config_table.c, is the source of the reader, the checks, `config check` and the
 * manual. All strings and lists belong to the struct; times are milliseconds, sizes bytes.
 */
#ifndef HIKYAKU_CONFIG_H
#define HIKYAKU_CONFIG_H

#include <sys/socket.h>

#include "hikyaku/base.h"

struct cfg_rate {
    uint32_t count; /* 0: no limit */
    uint32_t per_ms;
};

struct cfg_list {
    char **item;
    size_t count;
};

struct cfg_address { /* host:port; a literal address is parsed, a name is kept for whoever connects */
    char *host;
    uint16_t port;
};

enum tls_policy { TLS_NONE, TLS_OPPORTUNISTIC, TLS_REQUIRED, TLS_VERIFIED };
const char *tls_policy_name(enum tls_policy policy);

enum sts_mode { STS_NONE, STS_TESTING, STS_ENFORCE }; /* what a domain asks by MTA-STS (RFC 8461 5) */

/* How a local part that breaks RFC 5321 ("a..b", ".a", "a.") goes on the wire; the list keeps it as it is. */
enum local_part { LOCAL_PART_QUOTE, LOCAL_PART_RAW, LOCAL_PART_REJECT };

/* What we show a receiver that asks who we are (client_cert.h): both absolute, or both NULL. */
struct cfg_client {
    char *certificate, *key; /* may be one file */
};

struct cfg_source {
    char *name;           /* "" for the system's choice, which stands where no source section does */
    char *address;        /* literal to bind to, NULL for the system's choice */
    char *public_address; /* may be NULL */
    char *hostname;       /* what EHLO says; never NULL */
};

struct cfg_pool {
    char *name;
    uint32_t *source; /* indexes into config.source */
    uint32_t *weight;
    size_t count;
};

struct cfg_dkim {
    char *selector;
    char *domain;
    char *key_file; /* absolute */
};

#define ROUTE_RELAYS_MAX 8u
#define WEB_LISTEN_MAX   8u

/* What stands behind a relay: RELAY_SES knows Amazon SES' replies about our account, its header fields and passwords. */
enum relay_profile { RELAY_PLAIN, RELAY_SES };

struct cfg_route {
    char *domain;              /* or "*" */
    struct cfg_address *relay; /* in the order in which they are tried: the first that can be had is used */
    size_t relay_count;        /* 1 to ROUTE_RELAYS_MAX */
    enum relay_profile profile;
    char *region;            /* NULL where no SES endpoint and no secret key needs one */
    char *configuration_set; /* may be NULL */
    bool implicit_tls;
    enum tls_policy tls;
    struct cfg_client client;
    char *user; /* NULL: no AUTH */
    /* absolute; with a user exactly one of the two */
    char *password_file, *secret_key_file;
};

/* A row of the provider table after own sections were laid over built-in rows: every key has its figure. */
struct cfg_provider {
    char *name;
    struct cfg_list domains;
    struct cfg_list mx; /* patterns for domain_matches() */
    uint32_t max_connections;
    struct cfg_rate max_connection_rate;
    struct cfg_rate rate;
    uint32_t burst;
    uint32_t messages_per_connection;
    enum tls_policy tls;
    struct cfg_client client;
    bool legacy_local_part;
    enum local_part local_part;
    bool own; /* written in the file: matched before built-in rows */
};

struct cfg_limit {
    char *name; /* "dkim:example.com" */
    char *scope;
    struct cfg_rate rate;
    uint32_t burst;
};

/* Soft bounces of one class (bounce/, the words of reply_class_name()) that suppress an address. */
struct cfg_soft {
    char *reply_class;
    uint32_t count; /* 0: none does */
    uint32_t within_s;
    uint32_t apart_s;   /* closer together they count once */
    uint32_t expires_s; /* they suppress for so long; UINT32_MAX: for good */
};

#define INBOUND_LISTEN_MAX 8u

enum redis_mode { REDIS_EMBEDDED, REDIS_EXTERNAL };

struct config {
    char *file; /* as given, for messages */
    char *hostname;
    char *state_dir;  /* absolute */
    uint32_t workers; /* "auto" is resolved to the number of usable processors */
    char *log_level;

    struct {
        enum redis_mode mode;
        char *host, *socket, *user, *password_file;
        uint16_t port;
    } redis;

    struct cfg_source *source; /* at least one: the system's choice */
    size_t source_count;
    struct cfg_pool *pool;
    size_t pool_count;

    struct {
        char *from_domain, *return_path, *secret_file, *unsubscribe_url, *list_id; /* NULL where not given */
        enum unsubscribe_mail {
            UNSUBSCRIBE_MAIL_AUTO,
            UNSUBSCRIBE_MAIL_NO,
            UNSUBSCRIBE_MAIL_YES
        } unsubscribe_mail;
    } sender;

    struct { /* the bounce receiver; no address: it does not run */
        struct cfg_address *listen, *lmtp;
        size_t listen_count, lmtp_count;
        struct cfg_client tls; /* what it shows who asks for TLS; certificate NULL: STARTTLS is not offered */
        uint64_t message_bytes, memory_bytes;
        uint32_t connections, connections_each, timeout_ms;
        struct cfg_rate rate, rate_each;
    } inbound;

    struct cfg_dkim *dkim;
    size_t dkim_count;

    struct {
        struct cfg_address *server; /* none: own recursion */
        size_t server_count;
        char *trust_anchor_file;
    } resolver;

    struct {
        uint16_t port;
        uint32_t connections; /* of the whole node */
        uint32_t connect_ms, banner_ms, ehlo_ms, starttls_ms, auth_ms, mail_ms, rcpt_ms, data_ms, block_ms,
            dot_ms, quit_ms, idle_ms;
    } smtp;

    struct {
        enum tls_policy policy;
        char *ca_file; /* NULL: the system's */
    } tls;

    struct cfg_route *route;
    size_t route_count;
    struct cfg_provider *provider; /* own rows first, "default" last */
    size_t provider_count;
    struct cfg_provider_index *provider_index; /* of config_provider(); NULL: no row has a pattern */
    struct cfg_limit *limit;
    size_t limit_count;

    struct {
        uint32_t *schedule_s;
        size_t schedule_count;
        uint32_t give_up_s;
    } retry;

    struct {
        bool resend_unknown;
    } campaign;

    struct {
        uint32_t token_age_s;
        uint32_t breaker_count, breaker_share, breaker_period_s; /* count 0: no breaker; share in percent */
    } bounce;
    struct cfg_soft *soft; /* one for each class that is counted */
    size_t soft_count;

    struct {
        struct cfg_address *listen; /* none: there is no web process */
        size_t listen_count;
        uint32_t connections, timeout_ms;
    } web;
    struct {
        struct cfg_list topics;
        char *path, *secret_file, *ca_file, *proxy; /* but for path NULL where not given */
        uint32_t remember_s, remember_most;         /* ids of messages; 0: none is kept */
    } sns;

    struct {
        char *name;
        uint32_t lease_ms, drain_ms, orphan_ms;
    } node;

    struct {
        char *file; /* absolute */
        uint64_t rotate_bytes;
    } events;
    char *rules_file; /* NULL: the built-in rules alone */
};

/* Read and check a file. 0 and *out (the caller frees it with config_free), or HK_EINVAL / HK_ENOENT and one
 * line in why: "FILE:LINE: what is wrong, what to write instead". Does not read key files and opens no
 * socket. */
int config_load(const char *path, struct config **out, struct hk_why *why) HK_MUST_USE;
void config_free(struct config *config);

/* What is in force, as a file that config_load would read: every key with its value, defaults marked by a
 * comment. */
void config_print(const struct config *config, FILE *out);

/* AF_INET or AF_INET6, by its address; AF_UNSPEC where the system chooses. */
int config_source_family(const struct cfg_source *source);

/* The route for a recipient domain, or NULL: an exact title before "*". */
const struct cfg_route *config_route(const struct config *config, const char *domain);

/* The provider row for a domain and its MX hosts (may be none): own rows before built-in ones, a domain match
 * before an MX match, the longest pattern first; the row "default" where nothing matches. Never NULL. */
const struct cfg_provider *config_provider(const struct config *config, const char *domain,
                                           const char *const *mx, size_t mx_count);

/* The hash that fixes who sends a campaign: the sender section and the domains that sign, in any order. Keys and selectors
 * are not in it: they are rotated. */
void config_sender_sha256(const struct config *config, char out[HK_SHA256_HEX]);

/* A path below state_dir, printed into out: config_path(c, out, size, "campaigns/%s", id). HK_ETOOBIG if it
 * is cut. */
int config_path(const struct config *config, char *out, size_t size, const char *format, ...)
    HK_PRINTF(4, 5) HK_MUST_USE;

/* Is text a campaign ID: [A-Za-z0-9][A-Za-z0-9._-]{0,63} (design 12). */
#define CAMPAIGN_ID_MAX 64
bool campaign_id_is_valid(const char *text);

#endif
