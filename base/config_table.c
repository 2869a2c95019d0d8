/* config_table.c - every key of the configuration, one row each (design 13). No code but look-ups.
 *
 * Ranges are wide on purpose at the low end: tests run with schedules of seconds and limits of milliseconds.
 */
#include "config_table.h"

#include <string.h>

#define MINUTES   (60 * 1000ull)
#define HOURS     (60 * MINUTES)
#define DAYS      (24 * HOURS)
#define MEGABYTES (1024ull * 1024)

#define AT(field)                 offsetof(struct config, field), 0
#define AT_LIST(field, count)     offsetof(struct config, field), offsetof(struct config, count)
#define IN(item, field)           offsetof(struct cfg_##item, field), 0
#define IN_LIST(item, field, cnt) offsetof(struct cfg_##item, field), offsetof(struct cfg_##item, cnt)

#define POLICIES "none|opportunistic|required|verified"

/* clang-format off */
const struct config_row config_rows[] = {
/*  key                            type         field                                    words     default                min   max            change    meaning */
{ "hostname",                      CONF_NAME,      AT(hostname),                          NULL,     "=machine",             0, 0,             AT_START, "the name of this machine, as receivers may look it up" },
{ "state_dir",                     CONF_FILE,      AT(state_dir),                         NULL,     "/var/lib/hikyaku",     0, 0,             AT_START, "where everything lies that hikyaku writes" },
{ "workers",                       CONF_WORKERS,   AT(workers),                           NULL,     "auto",                 1, 256,           AT_START, "sending processes; auto: one for each usable processor" },
{ "log_level",                     CONF_WORD,      AT(log_level),   "error|warning|info|debug",     "info",                 0, 0,             ANY_TIME, "how much the diagnostic log tells" },

{ "redis.mode",                    CONF_CHOICE,    AT(redis.mode),         "embedded|external",     "embedded",             0, 0,             AT_START, "a private child in state_dir, or a server of yours" },
{ "redis.host",                    CONF_TEXT,      AT(redis.host),                        NULL,     NULL,                   0, 0,             AT_START, "host of an external server" },
{ "redis.port",                    CONF_PORT,      AT(redis.port),                        NULL,     "6379",                 1, 65535,         AT_START, "port of an external server" },
{ "redis.socket",                  CONF_FILE,      AT(redis.socket),                      NULL,     NULL,                   0, 0,             AT_START, "unix socket of an external server" },
{ "redis.user",                    CONF_TEXT,      AT(redis.user),                        NULL,     NULL,                   0, 0,             AT_START, "user for an external server" },
{ "redis.password_file",           CONF_FILE,      AT(redis.password_file),               NULL,     NULL,                   0, 0,             AT_START, "file with the password for an external server" },

{ "source.address",                CONF_LITERAL,   IN(source, address),                   NULL,     NULL,                   0, 0,             AT_START, "local address to send from; without it the system chooses, an IPv4 one. From an IPv6 address only IPv6 is spoken" },
{ "source.public_address",         CONF_LITERAL,   IN(source, public_address),            NULL,     NULL,                   0, 0,             AT_START, "the address that receivers see, where NAT stands between" },
{ "source.hostname",               CONF_NAME,      IN(source, hostname),                  NULL,     "=hostname",            0, 0,             AT_START, "the name that this source greets with" },

{ "pool.sources",                  CONF_SOURCES,   IN_LIST(pool, source, count),          NULL,     NULL,                   0, 0,             AT_START, "the sources of the pool" },
{ "pool.weights",                  CONF_WEIGHTS,   IN_LIST(pool, weight, count),          NULL,     "=equal",               1, 1000000,       AT_START, "the share of each source in the connections; one that is at its limits holds up no other" },

{ "sender.from_domain",            CONF_NAME,      AT(sender.from_domain),                NULL,     NULL,                   0, 0,             AT_START, "domain of the From header" },
{ "sender.return_path",            CONF_NAME,      AT(sender.return_path),                NULL,     NULL,                   0, 0,             AT_START, "domain that bounces come back to" },
{ "sender.secret_file",            CONF_FILE,      AT(sender.secret_file),                NULL,     NULL,                   0, 0,             AT_START, "key of the return path's tokens (hikyaku keygen verp)" },
{ "sender.unsubscribe_url",        CONF_URL,       AT(sender.unsubscribe_url),            NULL,     NULL,                   0, 0,             AT_START, "where List-Unsubscribe points" },
{ "sender.unsubscribe_mail",       CONF_CHOICE,    AT(sender.unsubscribe_mail),      "auto|no|yes",   "auto",                 0, 0,             AT_START, "a mailto: address in List-Unsubscribe, at return_path; auto: where inbound takes what is written to it" },
{ "sender.list_id",                CONF_NAME,      AT(sender.list_id),                    NULL,     NULL,                   0, 0,             AT_START, "the List-ID header, and a scope of unsubscribe" },

{ "dkim.domain",                   CONF_NAME,      IN(dkim, domain),                      NULL,     NULL,                   0, 0,             AT_START, "the d= of the signature" },
{ "dkim.key_file",                 CONF_FILE,      IN(dkim, key_file),                    NULL,     NULL,                   0, 0,             AT_START, "private key in PEM, RSA or Ed25519" },

{ "inbound.listen",                CONF_ADDRESSES, AT_LIST(inbound.listen, inbound.listen_count), NULL, NULL,             0, 0,             AT_START, "where bounces are taken by SMTP, such as \"0.0.0.0:25\" and \"[::]:25\"; only of serve. The MX of sender.return_path has to lead there" },
{ "inbound.lmtp",                  CONF_ADDRESSES, AT_LIST(inbound.lmtp, inbound.lmtp_count), NULL, NULL,                 0, 0,             AT_START, "where another MTA of this machine hands them over by LMTP, such as \"127.0.0.1:2424\"" },
{ "inbound.certificate",           CONF_FILE,      AT(inbound.tls.certificate),           NULL,     NULL,                   0, 0,             AT_START, "its certificate in PEM form, then those of the authorities between; with it STARTTLS is offered" },
{ "inbound.key",                   CONF_FILE,      AT(inbound.tls.key),                   NULL,     "=certificate",         0, 0,             AT_START, "its private key in PEM form, without a pass phrase" },
{ "inbound.message_size",          CONF_SIZE,      AT(inbound.message_bytes),             NULL,     "10mb",                 65536, 100 * MEGABYTES, AT_START, "the largest message that is taken" },
{ "inbound.memory",                CONF_SIZE,      AT(inbound.memory_bytes),              NULL,     "64mb",                 1 * MEGABYTES, 4096 * MEGABYTES, AT_START, "for messages under way, all together; at least twice message_size" },
{ "inbound.connections",           CONF_COUNT,     AT(inbound.connections),               NULL,     "1000",                 1, 100000,        AT_START, "open connections" },
{ "inbound.connections_per_address", CONF_COUNT,   AT(inbound.connections_each),          NULL,     "50",                   1, 100000,        AT_START, "open connections of one address (of IPv6, one /64)" },
{ "inbound.rate",                  CONF_RATE,      AT(inbound.rate),                      NULL,     "none",                 1, 1000000,       AT_START, "messages per period" },
{ "inbound.rate_per_address",      CONF_RATE,      AT(inbound.rate_each),                 NULL,     "100/s",                1, 1000000,       AT_START, "messages per period from one address" },
{ "inbound.timeout",               CONF_TIME_MS,   AT(inbound.timeout_ms),                NULL,     "5min",                 100, HOURS,       AT_START, "wait for the next command, or for more of a message; a fifth of it while most connections are in use" },

{ "resolver.servers",              CONF_ADDRESSES, AT_LIST(resolver.server, resolver.server_count), NULL, NULL,             0, 0,             AT_START, "forwarders; without them own recursion" },
{ "resolver.trust_anchor_file",    CONF_FILE,      AT(resolver.trust_anchor_file),        NULL,     NULL,                   0, 0,             AT_START, "DNSSEC trust anchor; with it, DANE (RFC 7672) where TLSA records are published" },

{ "smtp.port",                     CONF_PORT,      AT(smtp.port),                         NULL,     "25",                   1, 65535,         AT_START, "port of receivers found by MX" },
{ "smtp.connections",              CONF_COUNT,     AT(smtp.connections),                  NULL,     "2000",                 1, 1000000,       AT_START, "open connections of the whole node" },
{ "smtp.connect_timeout",          CONF_TIME_MS,   AT(smtp.connect_ms),                   NULL,     "30s",                  100, HOURS,       ANY_TIME, "give up connecting after" },
{ "smtp.banner_timeout",           CONF_TIME_MS,   AT(smtp.banner_ms),                    NULL,     "5min",                 100, HOURS,       ANY_TIME, "wait for the greeting" },
{ "smtp.ehlo_timeout",             CONF_TIME_MS,   AT(smtp.ehlo_ms),                      NULL,     "5min",                 100, HOURS,       ANY_TIME, "wait for the reply to EHLO" },
{ "smtp.starttls_timeout",         CONF_TIME_MS,   AT(smtp.starttls_ms),                  NULL,     "2min",                 100, HOURS,       ANY_TIME, "wait for the reply to STARTTLS and for the handshake" },
{ "smtp.auth_timeout",             CONF_TIME_MS,   AT(smtp.auth_ms),                      NULL,     "2min",                 100, HOURS,       ANY_TIME, "wait for the reply to AUTH" },
{ "smtp.mail_timeout",             CONF_TIME_MS,   AT(smtp.mail_ms),                      NULL,     "5min",                 100, HOURS,       ANY_TIME, "wait for the reply to MAIL" },
{ "smtp.rcpt_timeout",             CONF_TIME_MS,   AT(smtp.rcpt_ms),                      NULL,     "5min",                 100, HOURS,       ANY_TIME, "wait for the reply to RCPT" },
{ "smtp.data_timeout",             CONF_TIME_MS,   AT(smtp.data_ms),                      NULL,     "2min",                 100, HOURS,       ANY_TIME, "wait for leave to send the message" },
{ "smtp.block_timeout",            CONF_TIME_MS,   AT(smtp.block_ms),                     NULL,     "3min",                 100, HOURS,       ANY_TIME, "wait for the receiver to take more of the message" },
{ "smtp.dot_timeout",              CONF_TIME_MS,   AT(smtp.dot_ms),                       NULL,     "10min",                100, HOURS,       ANY_TIME, "wait for the reply to the message" },
{ "smtp.quit_timeout",             CONF_TIME_MS,   AT(smtp.quit_ms),                      NULL,     "10s",                  100, HOURS,       ANY_TIME, "wait for the reply to QUIT" },
{ "smtp.idle_timeout",             CONF_TIME_MS,   AT(smtp.idle_ms),                      NULL,     "5s",                   100, HOURS,       ANY_TIME, "keep a connection open without work" },

{ "tls.policy",                    CONF_CHOICE,    AT(tls.policy),                     POLICIES,    "opportunistic",        0, 0,             ANY_TIME, "how much TLS is asked of receivers" },
{ "tls.ca_file",                   CONF_FILE,      AT(tls.ca_file),                       NULL,     NULL,                   0, 0,             AT_START, "certificates to verify with; without it the system's" },

{ "route.relay",                   CONF_RELAYS,    IN_LIST(route, relay, relay_count),    NULL,     NULL,                   0, 0,             AT_START, "the smarthost, or several: the first that can be had is used; ses: the endpoint of Amazon SES in `region`, port 587, or 465 with implicit_tls" },
{ "route.profile",                 CONF_CHOICE,    IN(route, profile),              "plain|ses",     "plain",                0, 0,             AT_START, "ses: behind these addresses is Amazon SES, as it is with relay = ses" },
{ "route.region",                  CONF_TEXT,      IN(route, region),                     NULL,     NULL,                   0, 0,             AT_START, "the AWS region, such as ap-northeast-1" },
{ "route.configuration_set",       CONF_TEXT,      IN(route, configuration_set),          NULL,     NULL,                   0, 0,             AT_START, "configuration set of SES, which decides what events are published" },
{ "route.implicit_tls",            CONF_FLAG,      IN(route, implicit_tls),           "no|yes",     "no",                   0, 0,             AT_START, "TLS from the first byte (port 465)" },
{ "route.tls",                     CONF_CHOICE,    IN(route, tls),                     POLICIES,    "=route",               0, 0,             AT_START, "how much TLS is asked of the relay; verified with auth" },
{ "route.client_certificate",      CONF_FILE,      IN(route, client.certificate),         NULL,     NULL,                   0, 0,             AT_START, "what the relay is shown when it asks for a client certificate: in PEM form, then those of the authorities between" },
{ "route.client_key",              CONF_FILE,      IN(route, client.key),                 NULL,     "=client_certificate",  0, 0,             AT_START, "its private key in PEM form, without a pass phrase" },
{ "route.auth.user",               CONF_TEXT,      IN(route, user),                       NULL,     NULL,                   0, 0,             AT_START, "user to log in with" },
{ "route.auth.password_file",      CONF_FILE,      IN(route, password_file),              NULL,     NULL,                   0, 0,             AT_START, "file with the password, in its first line" },
{ "route.auth.secret_key_file",    CONF_FILE,      IN(route, secret_key_file),            NULL,     NULL,                   0, 0,             AT_START, "SES: file with the secret access key of the IAM user whose access key ID is `user`; the password is made of it" },

{ "provider.domains",              CONF_PATTERNS,  IN(provider, domains),                 NULL,     NULL,                   0, 0,             ANY_TIME, "recipient domains of the provider" },
{ "provider.mx",                   CONF_PATTERNS,  IN(provider, mx),                      NULL,     NULL,                   0, 0,             ANY_TIME, "MX hosts of the provider" },
{ "provider.max_connections",      CONF_LIMIT,     IN(provider, max_connections),         NULL,     NULL,                   1, 100000,        ANY_TIME, "connections at a time, per source" },
{ "provider.max_connection_rate",  CONF_RATE,      IN(provider, max_connection_rate),     NULL,     NULL,                   1, 1000000,       ANY_TIME, "new connections per period, per source" },
{ "provider.rate",                 CONF_RATE,      IN(provider, rate),                    NULL,     NULL,                   1, 1000000,       ANY_TIME, "messages per period, per source" },
{ "provider.burst",                CONF_COUNT,     IN(provider, burst),                   NULL,     "1",                    1, 1000000,       ANY_TIME, "messages that may go at once" },
{ "provider.messages_per_connection", CONF_LIMIT,  IN(provider, messages_per_connection), NULL,     NULL,                   1, 1000000,       ANY_TIME, "messages before a connection is closed" },
{ "provider.tls",                  CONF_CHOICE,    IN(provider, tls),                  POLICIES,    "=tls.policy",          0, 0,             ANY_TIME, "how much TLS is asked of the provider" },
{ "provider.client_certificate",   CONF_FILE,      IN(provider, client.certificate),      NULL,     NULL,                   0, 0,             AT_START, "what the provider is shown when it asks for a client certificate: in PEM form, then those of the authorities between" },
{ "provider.client_key",           CONF_FILE,      IN(provider, client.key),              NULL,     "=client_certificate",  0, 0,             AT_START, "its private key in PEM form, without a pass phrase" },
{ "provider.legacy_local_part",    CONF_FLAG,      IN(provider, legacy_local_part),    "no|yes",    "no",                   0, 0,             ANY_TIME, "addresses with .. or a dot before the @ exist here" },
{ "provider.local_part",           CONF_CHOICE,    IN(provider, local_part),   "quote|raw|reject",   "quote",                0, 0,             ANY_TIME, "how such an address is written in RCPT: in quotes (and as it is where those are not understood), as it is, or not at all" },

{ "limit.scope",                   CONF_WORD,      IN(limit, scope),     "source|node|cluster",     "source",               0, 0,             ANY_TIME, "each source for itself, the node, or all nodes of one Redis together" },
{ "limit.rate",                    CONF_RATE,      IN(limit, rate),                       NULL,     "none",                 1, 1000000,       ANY_TIME, "messages per period" },
{ "limit.burst",                   CONF_COUNT,     IN(limit, burst),                      NULL,     "1",                    1, 1000000,       ANY_TIME, "messages that may go at once" },

{ "retry.schedule",                CONF_TIMES_S,   AT_LIST(retry.schedule_s, retry.schedule_count), NULL, "5min 20min 1h 4h", 1000, 7 * DAYS, ANY_TIME, "how long to wait after each deferral; the last one repeats" },
{ "retry.give_up",                 CONF_TIME_S,    AT(retry.give_up_s),                   NULL,     "4d",                   1000, 30 * DAYS,  ANY_TIME, "how long after the first attempt a recipient expires" },

{ "campaign.unknown",              CONF_FLAG,      AT(campaign.resend_unknown),   "skip|resend",    "skip",                 0, 0,             AT_START, "what becomes of recipients whose delivery nobody can know" },

{ "bounce.token_age",              CONF_TIME_S,    AT(bounce.token_age_s),                NULL,     "90d",                  1000, 3650 * DAYS, ANY_TIME, "how long after a message was sent what comes back about it counts" },
{ "bounce.breaker_count",          CONF_COUNT,     AT(bounce.breaker_count),              NULL,     "20",                   0, 1000000000,    ANY_TIME, "recipients of one domain that have to become unknown within breaker_period before nobody of them is suppressed; 0: they always are" },
{ "bounce.breaker_share",          CONF_COUNT,     AT(bounce.breaker_share),              NULL,     "50",                   1, 100,           ANY_TIME, "and how many of a hundred recipients that the campaign has at that domain" },
{ "bounce.breaker_period",         CONF_TIME_S,    AT(bounce.breaker_period_s),           NULL,     "1h",                   1000, 30 * DAYS,  ANY_TIME, "within what time; afterwards the domain is believed again" },

{ "soft.count",                    CONF_COUNT,     IN(soft, count),                       NULL,     "5",                    0, 1000000,       ANY_TIME, "soft bounces of this class that suppress an address; 0: none does" },
{ "soft.within",                   CONF_TIME_S,    IN(soft, within_s),                    NULL,     "60d",                  1000, 3650 * DAYS, ANY_TIME, "how long one of them counts" },
{ "soft.apart",                    CONF_TIME_S,    IN(soft, apart_s),                     NULL,     "12h",                  0, 365 * DAYS,    ANY_TIME, "closer together they count once: it is one and the same trouble" },
{ "soft.expires",                  CONF_EXPIRY_S,  IN(soft, expires_s),                   NULL,     "=class",               1000, 3650 * DAYS, ANY_TIME, "how long they suppress an address, where the class is one that recovers" },

{ "web.listen",                    CONF_ADDRESSES, AT_LIST(web.listen, web.listen_count), NULL,     NULL,                   0, 0,             AT_START, "where the web process of `serve` takes HTTP from the web server in front of it; without it there is none" },
{ "web.connections",               CONF_COUNT,     AT(web.connections),                   NULL,     "2000",                 8, 100000,        AT_START, "open at a time; more wait until one is closed" },
{ "web.timeout",                   CONF_TIME_MS,   AT(web.timeout_ms),                    NULL,     "30s",                  500, HOURS,       AT_START, "how long a request may take from its first byte to its last; a fifth of it while most connections are in use" },

{ "sns.topics",                    CONF_TEXTS,     AT(sns.topics),                        NULL,     NULL,                   0, 0,             AT_START, "ARNs of the Amazon SNS topics that tell of bounces; messages of any other one are refused" },
{ "sns.path",                      CONF_TEXT,      AT(sns.path),                          NULL,     "/sns",                 0, 0,             AT_START, "path that SNS posts to" },
{ "sns.secret_file",               CONF_FILE,      AT(sns.secret_file),                   NULL,     NULL,                   0, 0,             AT_START, "file with a secret in its first line: raw delivery, which has no signature, is taken at PATH/SECRET" },
{ "sns.ca_file",                   CONF_FILE,      AT(sns.ca_file),                       NULL,     NULL,                   0, 0,             AT_START, "authorities to verify SNS and its signing certificates with; without it the system's" },
{ "sns.proxy",                     CONF_URL,       AT(sns.proxy),                         NULL,     NULL,                   0, 0,             AT_START, "HTTP proxy through which signing certificates are fetched and subscriptions confirmed" },
{ "sns.remember",                  CONF_TIME_S,    AT(sns.remember_s),                    NULL,     "0d",                   0, 30 * DAYS,     AT_START, "how long the ids that SES gives our messages are kept in Redis, for notices that carry neither our tag nor our return path; 0d: they are not" },
{ "sns.remember_most",             CONF_COUNT,     AT(sns.remember_most),                 NULL,     "1000000",              1, 100000000,     AT_START, "ids of one day that are kept" },

{ "node.name",                     CONF_NAME,      AT(node.name),                         NULL,     "=hostname",            0, 0,             AT_START, "name of this node in the cluster" },
{ "node.lease",                    CONF_TIME_MS,   AT(node.lease_ms),                     NULL,     "30s",                  500, HOURS,       AT_START, "how long a silent node keeps its recipients" },
{ "node.drain",                    CONF_TIME_MS,   AT(node.drain_ms),                     NULL,     "30s",                  100, HOURS,       AT_START, "how long a stop waits for messages under way" },
{ "node.orphan",                   CONF_TIME_MS,   AT(node.orphan_ms),                    NULL,     "10s",                  100, HOURS,       AT_START, "how long workers finish what is under way when the master died" },

{ "events.file",                   CONF_STATE_FILE, AT(events.file),                      NULL,     "events.jsonl",         0, 0,             AT_START, "the event log" },
{ "events.rotate",                 CONF_SIZE,      AT(events.rotate_bytes),               NULL,     "1gb",                  65536, 1024ull * 1024 * MEGABYTES, ANY_TIME, "size at which a new part is begun" },

{ "rules.file",                    CONF_FILE,      AT(rules_file),                        NULL,     NULL,                   0, 0,             AT_START, "rules of your own for what replies mean, asked before the built-in ones (hikyaku rules check)" },
};

#define ONCE              0, 0, 0, 0
#define EACH(item, field) sizeof(struct cfg_##item), offsetof(struct config, item), offsetof(struct config, item##_count), offsetof(struct cfg_##item, field)

/* In the order in which they are read: a pool names sources, a file below state_dir needs state_dir. */
const struct config_section config_sections[] = {
    { "",           ONCE },
    { "redis",      ONCE },
    { "source",     EACH(source, name) },
    { "pool",       EACH(pool, name) },
    { "sender",     ONCE },
    { "dkim",       EACH(dkim, selector) },
    { "inbound",    ONCE },
    { "resolver",   ONCE },
    { "smtp",       ONCE },
    { "tls",        ONCE },
    { "route",      EACH(route, domain) },
    { "route.auth", ONCE },
    { "provider",   EACH(provider, name) },
    { "limit",      EACH(limit, name) },
    { "retry",      ONCE },
    { "campaign",   ONCE },
    { "bounce",     ONCE },
    { "soft",       EACH(soft, reply_class) },
    { "web",        ONCE },
    { "sns",        ONCE },
    { "node",       ONCE },
    { "events",     ONCE },
    { "rules",      ONCE },
};
/* clang-format on */

const size_t config_row_count = sizeof config_rows / sizeof config_rows[0];
const size_t config_section_count = sizeof config_sections / sizeof config_sections[0];

const char *config_row_key(const struct config_row *row)
{
    const char *dot = strrchr(row->key, '.');

    return dot == NULL ? row->key : dot + 1;
}

bool config_row_is_in(const struct config_row *row, const struct config_section *section)
{
    const char *key = config_row_key(row);
    size_t length = key == row->key ? 0 : (size_t)(key - row->key) - 1;

    return strlen(section->name) == length && strncmp(row->key, section->name, length) == 0;
}

const struct config_row *config_row_find(const char *key)
{
    for (size_t i = 0; i < config_row_count; i++)
        if (strcmp(config_rows[i].key, key) == 0)
            return &config_rows[i];
    return NULL;
}

const struct config_section *config_section_find(const char *name)
{
    for (size_t i = 0; i < config_section_count; i++)
        if (strcmp(config_sections[i].name, name) == 0)
            return &config_sections[i];
    return NULL;
}
