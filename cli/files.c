/* files.c - the files that a configuration names, tried before anything depends on them (files.h). */
#include "files.h"

#include <openssl/pem.h>
#include <openssl/x509.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hikyaku/client_cert.h"
#include "hikyaku/message.h"
#include "hikyaku/node.h"
#include "hikyaku/rules.h"

#define PASSWORD_MAX 4096u
#define TRUST_MAX    (1024u * 1024)

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

static int check_readable(const struct config *config, const char *key, const char *path, size_t max_bytes,
                          bool is_password, struct hk_why *why)
{
    struct hk_why reason;
    char *bytes;
    size_t length;
    int error = hk_read_file(path, max_bytes, &bytes, &length, &reason);

    if (error < 0)
        return why_set(why, HK_EINVAL, "%s: %s: %s", config->file, key, reason.text);
    if (is_password && strcspn(bytes, "\r\n") == 0)
        error =
            why_set(why, HK_EINVAL, "%s: %s: %s has no password in its first line", config->file, key, path);
    OPENSSL_cleanse(bytes, length);
    free(bytes);
    return error;
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

int files_check(const struct config *config, bool tell, struct hk_why *why)
{
    int error = check_signer(config, tell, why);

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
            error = check_readable(config, "route.auth.password_file", route->password_file, PASSWORD_MAX,
                                   true, why);
        else if (route->secret_key_file != NULL)
            error = check_readable(config, "route.auth.secret_key_file", route->secret_key_file, PASSWORD_MAX,
                                   true, why);
    }
    if (error == 0 && config->redis.password_file != NULL)
        error = check_readable(config, "redis.password_file", config->redis.password_file, PASSWORD_MAX, true,
                               why);
    if (error == 0 && config->sns.secret_file != NULL)
        error = check_readable(config, "sns.secret_file", config->sns.secret_file, PASSWORD_MAX, true, why);
    if (error == 0 && config->resolver.trust_anchor_file != NULL)
        error = check_readable(config, "resolver.trust_anchor_file", config->resolver.trust_anchor_file,
                               TRUST_MAX, false, why);
    if (error == 0)
        error = check_written(config, why);
    return error;
}
