/* files.c - the files that a configuration names, tried before anything depends on them (files.h). */
#include "files.h"

#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format.h"
#include "hikyaku/client_cert.h"
#include "hikyaku/message.h"
#include "hikyaku/node.h"
#include "hikyaku/resolve.h"
#include "hikyaku/rules.h"
#include "hikyaku/web.h"

#define PASSWORD_MAX 4096u

static int check_signer(const struct config *config, bool tell, struct hk_why *why)
{
    struct signer *signer;
    size_t count;
    int error = signer_load(config, &signer, why);

    if (error < 0)
        return error;
    const struct note *note = signer_notes(signer, &count);
    if (tell)
        notes_log(note, count);
    signer_free(signer);
    return 0;
}

static int check_ca(const struct config *config, const char *key, const char *path, struct hk_why *why)
{
    BIO *file;
    X509 *certificate;

    if (path == NULL)
        return 0;
    file = BIO_new_file(path, "r");
    certificate = file != NULL ? PEM_read_bio_X509(file, NULL, hk_no_pass_phrase, NULL) : NULL;
    BIO_free(file);
    if (certificate == NULL)
        return why_set(why, HK_EINVAL,
                       "%s: %s: %s holds no certificate that can be read; name a file in PEM form, or leave "
                       "the key out for the system's",
                       config->file, key, path);
    X509_free(certificate);
    return 0;
}

static int check_client(const struct config *config, const char *section, const char *title,
                        const struct cfg_client *files, struct hk_why *why)
{
    struct hk_why reason = {""}, doubt[CLIENT_CERT_DOUBTS];
    struct client_cert cert;
    int error;

    if (files->certificate == NULL)
        return 0;
    error = client_cert_load(files, &cert, &reason);
    if (error < 0)
        return why_set(why, error == HK_ENOMEM ? error : HK_EINVAL,
                       "%s: client certificate of %s \"%.60s\": %.300s", config->file, section, title,
                       reason.text[0] != '\0' ? reason.text : hk_strerror(error));
    size_t count = client_cert_doubts(files, &cert, doubt);
    for (size_t i = 0; i < count; i++)
        log_warning("%s \"%.60s\": %s", section, title, doubt[i].text);
    client_cert_free(&cert);
    return 0;
}

/* The same files, the other way round: what inbound shows those who connect. */
static int check_server(const struct config *config, struct hk_why *why)
{
    struct hk_why reason = {""};
    struct client_cert cert;
    int error;

    if (config->inbound.tls.certificate == NULL)
        return 0;
    error = client_cert_load(&config->inbound.tls, &cert, &reason);
    if (error < 0)
        return why_set(why, error == HK_ENOMEM ? error : HK_EINVAL, "%s: inbound.certificate: %.300s",
                       config->file, reason.text[0] != '\0' ? reason.text : hk_strerror(error));
    client_cert_free(&cert);
    return 0;
}

static bool is_same_client(const struct cfg_client *a, const struct cfg_client *b)
{
    return a->certificate != NULL && b->certificate != NULL && strcmp(a->certificate, b->certificate) == 0 &&
           strcmp(a->key, b->key) == 0;
}

/* Rows that have it from `default`, which is the last one, are not told one by one. */
static int check_clients(const struct config *config, struct hk_why *why)
{
    const struct cfg_provider *other = &config->provider[config->provider_count - 1];
    int error = 0;

    error = check_server(config, why);
    for (size_t i = 0; i < config->route_count && error == 0; i++)
        error = check_client(config, "route", config->route[i].domain, &config->route[i].client, why);
    for (const struct cfg_provider *row = config->provider; row <= other && error == 0; row++)
        if (row == other || !is_same_client(&row->client, &other->client))
            error = check_client(config, "provider", row->name, &row->client, why);
    return error;
}

static int check_password(const struct config *config, const char *key, const char *path, struct hk_why *why)
{
    struct hk_why reason;
    char *bytes;
    size_t length;
    int error = hk_read_file(path, PASSWORD_MAX, &bytes, &length, &reason);

    if (error < 0)
        return why_set(why, HK_EINVAL, "%s: %s: %s", config->file, key, reason.text);
    if (strcspn(bytes, "\r\n") == 0)
        error =
            why_set(why, HK_EINVAL, "%s: %s: %s has no password in its first line", config->file, key, path);
    OPENSSL_cleanse(bytes, length);
    free(bytes);
    return error;
}

/* What a process reads when it begins, and nobody is left to be told: it tries that here itself. */
static int check_processes(const struct config *config, struct hk_why *why)
{
    struct hk_why reason;
    int error = web_check(config, &reason);

    if (error == 0)
        error = resolve_check(config, &reason);
    if (error == 0)
        return 0;
    return why_set(why, error == HK_ENOMEM ? error : HK_EINVAL, "%s: %s", config->file, reason.text);
}

static int check_rules(const struct config *config, struct hk_why *why)
{
    struct hk_why reason;
    struct rules *rules;
    int error;

    if (config->rules_file == NULL)
        return 0;
    error = rules_load(config->rules_file, &rules, &reason);
    if (error < 0)
        return why_set(why, HK_EINVAL, "%s: rules.file: %s", config->file, reason.text);
    rules_free(rules);
    return 0;
}

/* What is written must not take the place of something else. */
static int check_written(const struct config *config, struct hk_why *why)
{
    struct hk_why reason;
    struct stat st;
    int error;

    if (stat(config->state_dir, &st) == 0 && !S_ISDIR(st.st_mode))
        return why_set(
            why, HK_EINVAL,
            "%s: state_dir: %s is no directory, and what stands there is left alone; write another one",
            config->file, config->state_dir);
    error = node_event_log_check(config, &reason);
    return error == 0 ? 0 : why_set(why, error, "%s: %s", config->file, reason.text);
}

/* The machine's own name often has no domain, and is what EHLO says where nothing else is written. Who sends everything
 * by a relay of his own may do that; other receivers look the name up. */
static void tell_greeting(const struct config *config)
{
    for (size_t i = 0; i < config->route_count; i++)
        if (strcmp(config->route[i].domain, "*") == 0)
            return;
    for (size_t i = 0; i < config->source_count; i++) {
        const char *name = config->source[i].hostname;
        if (strchr(name, '.') != NULL)
            continue;
        log_warning("%s: receivers are greeted as \"%.60s\", which is no name of a host in DNS, and some "
                    "refuse that; "
                    "write hostname = \"mta1.%.60s\", or what the address that you send from resolves to",
                    config->file, name, config->sender.from_domain);
        return;
    }
}

/* A relay is mostly one's own, or one that is paid for: what strangers are given is little there, and that it is the
 * limit does not show. SES tells its own rate. */
static void tell_relay(const struct config *config, const struct cfg_route *route)
{
    const struct cfg_provider *other = &config->provider[config->provider_count - 1];
    const char *host[ROUTE_RELAYS_MAX];
    char rate[FORMAT_SIZE];

    for (size_t i = 0; i < route->relay_count; i++)
        host[i] = route->relay[i].host;
    if (route->profile == RELAY_SES || other->own || other->rate.count == 0 ||
        config_provider(config, route->domain, host, route->relay_count) != other)
        return;
    log_info("route \"%.60s\": its relay gets what provider \"default\" says, %s messages a second over %u "
             "connections at most; a provider section of yours may say more",
             route->domain,
             format_rate((double)other->rate.count * 1000.0 / (double)other->rate.per_ms, rate),
             other->max_connections);
}

static void tell_pools(const struct config *config)
{
    for (size_t i = 1; i < config->pool_count; i++)
        log_warning("%s: pool \"%.60s\" is not used: everything is sent from the first one, \"%.60s\"",
                    config->file, config->pool[i].name, config->pool[0].name);
}

int files_check(const struct config *config, bool tell, struct hk_why *why)
{
    int error = check_signer(config, tell, why);

    if (error == 0) {
        tell_greeting(config);
        tell_pools(config);
    }
    for (size_t i = 0; i < config->route_count && error == 0; i++)
        tell_relay(config, &config->route[i]);
    if (error == 0)
        error = check_ca(config, "tls.ca_file", config->tls.ca_file, why);
    if (error == 0)
        error = check_ca(config, "sns.ca_file", config->sns.ca_file, why);
    if (error == 0)
        error = check_rules(config, why);
    if (error == 0)
        error = check_clients(config, why);
    for (size_t i = 0; i < config->route_count && error == 0; i++) {
        const struct cfg_route *route = &config->route[i];
        if (route->password_file != NULL)
            error = check_password(config, "route.auth.password_file", route->password_file, why);
        else if (route->secret_key_file != NULL)
            error = check_password(config, "route.auth.secret_key_file", route->secret_key_file, why);
    }
    if (error == 0 && config->redis.password_file != NULL)
        error = check_password(config, "redis.password_file", config->redis.password_file, why);
    if (error == 0)
        error = check_processes(config, why);
    if (error == 0)
        error = check_written(config, why);
    return error;
}
