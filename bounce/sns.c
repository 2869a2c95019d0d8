/* sns.c - see sns.h (docs.aws.amazon.com/sns: HTTP/HTTPS notification JSON, verifying signatures). */
#include "hikyaku/sns.h"

#include <ctype.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <strings.h>

#include "json_text.h"

#define SIGNATURE_OCTETS_MAX 1024u /* an RSA key of 8,192 bits */
#define BETWEEN_MAX          8u    /* certificates of authorities in a file */

/* ---- reading ---- */

/* A field of the envelope: a text where it is there, and whether it has to be. */
struct field {
    const char *key;
    size_t at;
    bool needed[3]; /* by enum sns_type */
};

#define FIELD(key, member, ...)                    \
    {                                              \
        key, offsetof(struct sns_message, member), \
        {                                          \
            __VA_ARGS__                            \
        }                                          \
    }
static const struct field fields[] = {
    FIELD("MessageId", message_id, true, true, true),
    FIELD("TopicArn", topic, true, true, true),
    FIELD("Message", text, true, true, true),
    FIELD("Timestamp", timestamp, true, true, true),
    FIELD("Subject", subject, false, false, false),
    FIELD("Token", token, false, true, true),
    FIELD("SubscribeURL", subscribe_url, false, true, true),
    FIELD("SigningCertURL", certificate_url, true, true, true),
};

static int read_type(const json_t *json, struct sns_message *out, struct hk_why *why)
{
    static const char *const names[] = {"Notification", "SubscriptionConfirmation",
                                        "UnsubscribeConfirmation"};
    const char *type = json_text_at(json, "Type");

    for (size_t i = 0; type != NULL && i < sizeof names / sizeof *names; i++)
        if (strcmp(type, names[i]) == 0) {
            out->type = (enum sns_type)i;
            return 0;
        }
    return why_set(why, HK_EINVAL, "\"Type\" is none that SNS has");
}

static int read_fields(const json_t *json, struct sns_message *out, struct hk_why *why)
{
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const json_t *value = json_object_get(json, fields[i].key);
        const char **place = (const char **)(void *)((char *)out + fields[i].at);
        if (json_is_string(value))
            *place = json_string_value(value);
        else if (value != NULL && !json_is_null(value))
            return why_set(why, HK_EINVAL, "\"%s\" is no text", fields[i].key);
        else if (fields[i].needed[out->type])
            return why_set(why, HK_EINVAL, "\"%s\" is missing", fields[i].key);
    }
    return 0;
}

/* EVP_DecodeBlock skips blanks and counts the padding in: both are ours to look at. */
static int read_signature(const json_t *json, struct sns_message *out, struct hk_why *why)
{
    const char *version = json_text_at(json, "SignatureVersion"), *text = json_text_at(json, "Signature");
    size_t length = text != NULL ? strlen(text) : 0, padding = 0;
    int octets;

    if (version == NULL || (strcmp(version, "1") != 0 && strcmp(version, "2") != 0))
        return why_set(why, HK_EINVAL, "\"SignatureVersion\" is neither 1 nor 2");
    out->version = (unsigned)(version[0] - '0');
    if (length == 0 || length % 4 != 0 || length / 4 * 3 > SIGNATURE_OCTETS_MAX ||
        strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=") != length)
        return why_set(why, HK_EINVAL, "\"Signature\" is no signature in base64");
    while (padding < length && text[length - 1 - padding] == '=')
        padding++;
    out->signature = malloc(length / 4 * 3);
    if (out->signature == NULL)
        return why_set(why, HK_ENOMEM, "no memory for a signature");
    octets = EVP_DecodeBlock(out->signature, (const unsigned char *)text, (int)length);
    if (octets <= 0 || padding > 2)
        return why_set(why, HK_EINVAL, "\"Signature\" is no signature in base64");
    out->signature_length = (size_t)octets - padding;
    return 0;
}

void sns_message_free(struct sns_message *message)
{
    free(message->signature);
    json_decref(message->json);
    memset(message, 0, sizeof *message);
}

int sns_read(const char *bytes, size_t length, struct sns_message *out, struct hk_why *why)
{
    json_t *json;
    int error;

    memset(out, 0, sizeof *out);
    json = json_text_read(bytes, length, SNS_BODY_MAX, SNS_DEPTH_MAX, &error, why);
    if (json == NULL)
        return error;
    out->json = json;
    error = read_type(json, out, why);
    if (error == 0)
        error = read_fields(json, out, why);
    if (error == 0)
        error = read_signature(json, out, why);
    if (error == 0 && !sns_topic_is_valid(out->topic))
        error = why_set(why, HK_EINVAL, "\"TopicArn\" is no ARN of a topic");
    if (error != 0)
        sns_message_free(out);
    return error;
}

/* ---- URLs ---- */

static bool is_region(const char *text, size_t length)
{
    if (length < 3 || length > 40)
        return false;
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)text[i]) && text[i] != '-')
            return false;
    return true;
}

/* A colon-separated part of an ARN; its length, and *at behind the colon. */
static size_t arn_part(const char **at, const char **part)
{
    size_t length = strcspn(*at, ":");

    *part = *at;
    *at += length + ((*at)[length] == ':');
    return length;
}

static bool part_is(const char *part, size_t length, const char *text)
{
    return strlen(text) == length && memcmp(part, text, length) == 0;
}

/* The region of a topic's ARN; 0 where it is none. */
static size_t topic_region(const char *topic, const char **region, bool *china)
{
    const char *part, *account;
    size_t length, account_length;

    length = arn_part(&topic, &part);
    if (!part_is(part, length, "arn"))
        return 0;
    length = arn_part(&topic, &part);
    *china = part_is(part, length, "aws-cn");
    if (!*china && !part_is(part, length, "aws") && !part_is(part, length, "aws-us-gov"))
        return 0;
    length = arn_part(&topic, &part);
    if (!part_is(part, length, "sns"))
        return 0;
    length = arn_part(&topic, region);
    account_length = arn_part(&topic, &account);
    if (account_length != 12 || strspn(account, "0123456789") < 12)
        return 0;
    if (topic[0] == '\0' || strlen(topic) > 256 ||
        strspn(topic, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.") != strlen(topic))
        return 0;
    return is_region(*region, length) ? length : 0;
}

bool sns_topic_is_valid(const char *topic)
{
    const char *region;
    bool china;

    return topic_region(topic, &region, &china) > 0;
}

/* "https://sns.REGION.amazonaws.com/...": the region, and where the path begins. Everything that two readers of URLs may take
 * in two ways is refused: only letters of a plain URL are in it, and the host ends at the first slash. */
struct url {
    const char *region, *path;
    size_t region_length;
    bool china;
};

static int url_read(const char *url, struct url *out, struct hk_why *why)
{
    static const char scheme[] = "https://sns.", com[] = ".amazonaws.com/", cn[] = ".amazonaws.com.cn/";
    const char *dot;

    if (strlen(url) >= SNS_URL_MAX)
        return why_set(why, HK_EINVAL, "the URL is too long");
    for (const char *c = url; *c != '\0'; c++)
        if (!isalnum((unsigned char)*c) && strchr("-._~:/?=&%", *c) == NULL)
            return why_set(why, HK_EINVAL, "the URL has a character that none of SNS has");
    if (strncmp(url, scheme, sizeof scheme - 1) != 0)
        return why_set(why, HK_EINVAL, "the URL is not one of https://sns.REGION.amazonaws.com");
    out->region = url + sizeof scheme - 1;
    dot = strchr(out->region, '.');
    out->region_length = dot != NULL ? (size_t)(dot - out->region) : 0;
    if (dot == NULL || !is_region(out->region, out->region_length))
        return why_set(why, HK_EINVAL, "the URL's host is not sns.REGION.amazonaws.com");
    out->china = strncmp(dot, cn, sizeof cn - 1) == 0;
    if (!out->china && strncmp(dot, com, sizeof com - 1) != 0)
        return why_set(why, HK_EINVAL, "the URL's host is not sns.REGION.amazonaws.com");
    out->path = dot + (out->china ? sizeof cn : sizeof com) - 2; /* without their NUL, at their slash */
    return 0;
}

int sns_certificate_url_check(const char *url, struct hk_why *why)
{
    struct url parts = {.region = "", .path = ""};
    size_t length;
    int error = url_read(url, &parts, why);

    if (error != 0)
        return error;
    length = strlen(parts.path);
    if (strpbrk(parts.path, "?%:=&") != NULL || strstr(parts.path, "..") != NULL || length < 6 ||
        strcmp(parts.path + length - 4, ".pem") != 0)
        return why_set(why, HK_EINVAL, "the certificate's URL has no plain path that ends in .pem");
    return 0;
}

/* NAME=VALUE&...: names are letters, so that none of them is another Action in disguise. */
static bool are_plain_parameters(const char *text)
{
    while (*text != '\0') {
        size_t name = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"), value;
        if (name == 0 || text[name] != '=' || (name == 6 && strncasecmp(text, "Action", 6) == 0))
            return false;
        value = strcspn(text + name + 1, "?&");
        text += name + 1 + value;
        if (*text == '?' || (*text == '&' && text[1] == '\0'))
            return false;
        text += *text == '&';
    }
    return true;
}

int sns_subscribe_url_check(const char *url, const char *topic, struct hk_why *why)
{
    static const char action[] = "/?Action=ConfirmSubscription&";
    const char *region = NULL;
    struct url parts = {.region = "", .path = ""};
    bool china = false;
    int error = url_read(url, &parts, why);
    size_t length = topic_region(topic, &region, &china);

    if (error != 0)
        return error;
    if (region == NULL || length != parts.region_length || strncmp(region, parts.region, length) != 0 ||
        china != parts.china)
        return why_set(why, HK_EINVAL, "the URL to confirm at is of another region than the topic");
    if (strncmp(parts.path, action, sizeof action - 1) != 0 ||
        !are_plain_parameters(parts.path + sizeof action - 1))
        return why_set(why, HK_EINVAL, "the URL to confirm at does something else");
    return 0;
}

void sns_url_host(const char *url, char *out)
{
    const char *host = strstr(url, "://");

    host = host != NULL ? host + 3 : url;
    (void)snprintf(out, SNS_URL_MAX, "%.*s", (int)strcspn(host, "/"), host);
}

/* ---- the signature ---- */

/* In the order in which SNS signs them. */
static const char *signed_value(const struct sns_message *m, size_t i, const char **key)
{
    static const char *const types[] = {"Notification", "SubscriptionConfirmation",
                                        "UnsubscribeConfirmation"};
    const bool is_notification = m->type == SNS_NOTIFICATION;
    const struct {
        const char *key, *value;
    } parts[] = {
        {"Message", m->text},
        {"MessageId", m->message_id},
        {"Subject", is_notification ? m->subject : NULL},
        {"SubscribeURL", is_notification ? NULL : m->subscribe_url},
        {"Timestamp", m->timestamp},
        {"Token", is_notification ? NULL : m->token},
        {"TopicArn", m->topic},
        {"Type", types[m->type]},
    };

    if (i == sizeof parts / sizeof *parts)
        return NULL;
    *key = parts[i].key;
    return parts[i].value != NULL ? parts[i].value : "";
}

static bool is_signed(const struct sns_message *m, const char *key)
{
    if (strcmp(key, "Subject") == 0)
        return m->type == SNS_NOTIFICATION && m->subject != NULL;
    return m->type != SNS_NOTIFICATION || (strcmp(key, "SubscribeURL") != 0 && strcmp(key, "Token") != 0);
}

char *sns_signed_text(const struct sns_message *message, size_t *length)
{
    const char *key, *value;
    size_t room = 1, used = 0;
    char *text;

    for (size_t i = 0; (value = signed_value(message, i, &key)) != NULL; i++)
        room += strlen(key) + strlen(value) + 2;
    text = malloc(room);
    if (text == NULL)
        return NULL;
    for (size_t i = 0; (value = signed_value(message, i, &key)) != NULL; i++)
        if (is_signed(message, key))
            used += (size_t)snprintf(text + used, room - used, "%s\n%s\n", key, value);
    *length = used;
    return text;
}

struct sns_certificate {
    X509 *x509;
};

int sns_verify(const struct sns_message *message, const struct sns_certificate *certificate,
               struct hk_why *why)
{
    EVP_PKEY *key = X509_get0_pubkey(certificate->x509);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    size_t length = 0;
    char *text = sns_signed_text(message, &length);
    int good = -1;

    if (key == NULL || EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA)
        good = 0;
    else if (text != NULL && context != NULL &&
             EVP_DigestVerifyInit(context, NULL, message->version == 1 ? EVP_sha1() : EVP_sha256(), NULL,
                                  key) == 1)
        good = EVP_DigestVerify(context, message->signature, message->signature_length,
                                (const unsigned char *)text, length) == 1;
    ERR_clear_error();
    EVP_MD_CTX_free(context);
    free(text);
    if (good < 0)
        return why_set(why, HK_ENOMEM, "no memory to verify a signature");
    return good == 1 ? 0 : why_set(why, HK_EPROTO, "the signature is not by the key of its certificate");
}

/* ---- the certificate ---- */

struct sns_trust {
    X509_STORE *store;
};

/* The certificates that are left in a PEM text. */
static void add_certificates(STACK_OF(X509) * stack, BIO *pem)
{
    X509 *one;

    while ((unsigned)sk_X509_num(stack) < 2 * BETWEEN_MAX &&
           (one = PEM_read_bio_X509(pem, NULL, hk_no_pass_phrase, NULL)) != NULL)
        if (sk_X509_push(stack, one) <= 0)
            X509_free(one);
    ERR_clear_error();
}

/* SNS' certificates are made out to sns.amazonaws.com, some regions' to a name of their own. */
static bool is_made_for_sns(X509 *certificate, const char *host)
{
    const char *behind = strchr(host, '.'), *domain = strstr(host, ".amazonaws.com");
    char name[SNS_URL_MAX + 16];
    const struct {
        const char *first, *then;
    } names[] = {{host, ""}, {"sns", domain}, {"sns-signing", behind}};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (names[i].then == NULL)
            continue;
        (void)snprintf(name, sizeof name, "%s%s", names[i].first, names[i].then);
        if (X509_check_host(certificate, name, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) == 1)
            return true;
    }
    return false;
}

static int verify_chain(X509 *certificate, STACK_OF(X509) * between, X509_STORE *store, int64_t now_s,
                        struct hk_why *why)
{
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    X509_VERIFY_PARAM *param;
    int error = 0;

    if (context == NULL || X509_STORE_CTX_init(context, store, certificate, between) != 1) {
        X509_STORE_CTX_free(context);
        return why_set(why, HK_ENOMEM, "no memory to verify a certificate");
    }
    param = X509_STORE_CTX_get0_param(context);
    X509_VERIFY_PARAM_set_time(param, (time_t)now_s);
    X509_VERIFY_PARAM_set_depth(param, (int)BETWEEN_MAX);
    /* Any of the authorities that were given may be the end of the chain. */
    X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
    if (X509_verify_cert(context) != 1)
        error = why_set(why, HK_EINVAL, "the signing certificate is not to be trusted: %s",
                        X509_verify_cert_error_string(X509_STORE_CTX_get_error(context)));
    X509_STORE_CTX_free(context);
    ERR_clear_error();
    return error;
}

static int check(X509 *certificate, BIO *file, BIO *more, const char *host, const struct sns_trust *trust,
                 int64_t now_s, struct hk_why *why)
{
    STACK_OF(X509) *between = sk_X509_new_null();
    int error = 0;

    if (between == NULL)
        error = why_set(why, HK_ENOMEM, "no memory to verify a certificate");
    else if (certificate == NULL)
        error = why_set(why, HK_EINVAL, "what stands at the certificate's URL is no certificate in PEM form");
    else if (!is_made_for_sns(certificate, host))
        error = why_set(why, HK_EINVAL, "the signing certificate is not made out to SNS");
    if (error == 0) {
        add_certificates(between, file);
        if (more != NULL)
            add_certificates(between, more);
        error = verify_chain(certificate, between, trust->store, now_s, why);
    }
    sk_X509_pop_free(between, X509_free);
    return error;
}

static BIO *reader_of(const char *pem, size_t length)
{
    return pem != NULL && length <= SNS_CERTIFICATE_MAX ? BIO_new_mem_buf(pem, (int)length) : NULL;
}

int sns_certificate_check(const char *pem, size_t length, const char *between, size_t between_length,
                          const char *host, const struct sns_trust *trust, int64_t now_s,
                          struct sns_certificate **out, struct hk_why *why)
{
    struct sns_certificate *made = calloc(1, sizeof *made);
    BIO *file = made != NULL ? reader_of(pem, length) : NULL, *more = reader_of(between, between_length);
    X509 *certificate = file != NULL ? PEM_read_bio_X509(file, NULL, hk_no_pass_phrase, NULL) : NULL;
    int error;

    ERR_clear_error();
    error = check(certificate, file, more, host, trust, now_s, why);
    if (made == NULL)
        error = why_set(why, HK_ENOMEM, "no memory for a certificate");
    BIO_free(more);
    BIO_free(file);
    if (error != 0 || made == NULL) {
        X509_free(certificate);
        free(made);
        return error;
    }
    made->x509 = certificate;
    *out = made;
    return 0;
}

void sns_certificate_free(struct sns_certificate *certificate)
{
    if (certificate == NULL)
        return;
    X509_free(certificate->x509);
    free(certificate);
}

bool sns_certificate_is_valid(const struct sns_certificate *certificate, int64_t now_s)
{
    time_t at = (time_t)now_s;

    return X509_cmp_time(X509_get0_notBefore(certificate->x509), &at) < 0 &&
           X509_cmp_time(X509_get0_notAfter(certificate->x509), &at) > 0;
}

int sns_trust_open(const char *ca_file, struct sns_trust **out, struct hk_why *why)
{
    struct sns_trust *trust = calloc(1, sizeof *trust);
    bool loaded;

    if (trust == NULL || (trust->store = X509_STORE_new()) == NULL) {
        free(trust);
        return why_set(why, HK_ENOMEM, "no memory for certificates");
    }
    loaded = ca_file != NULL ? X509_STORE_load_file(trust->store, ca_file) == 1
                             : X509_STORE_set_default_paths(trust->store) == 1;
    ERR_clear_error();
    if (!loaded) {
        sns_trust_free(trust);
        return why_set(why, HK_EINVAL, "%s: no certificates in PEM form can be read there",
                       ca_file != NULL ? ca_file : "the system's authorities");
    }
    *out = trust;
    return 0;
}

void sns_trust_free(struct sns_trust *trust)
{
    if (trust == NULL)
        return;
    X509_STORE_free(trust->store);
    free(trust);
}
