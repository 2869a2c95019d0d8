/* SNS envelopes are read within bounds, their URLs held against the rule, and their signatures verified. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "hikyaku/sns.h"

#define TOPIC "arn:aws:sns:us-east-1:123456789012:ses"
#define CERT  "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0.pem"
#define HOST  "sns.us-east-1.amazonaws.com"
#define NOW   1790000000
#define DAYS  86400

static const char body[] =
    "{\"Type\":\"Notification\",\"MessageId\":\"m-1\",\"TopicArn\":\"" TOPIC "\","
    "\"Subject\":\"S\",\"Message\":\"line\\n\\u3042\",\"Timestamp\":\"T\","
    "\"SignatureVersion\":\"1\",\"Signature\":\"AAAA\",\"SigningCertURL\":\"" CERT "\"}";

/* ---- reading ---- */

static void an_envelope_is_read(void **state)
{
    struct sns_message m;
    struct hk_why why;
    size_t length;
    char *text;

    (void)state;
    assert_int_equal(sns_read(body, sizeof body - 1, &m, &why), 0);
    assert_int_equal(m.type, SNS_NOTIFICATION);
    assert_int_equal(m.version, 1);
    assert_string_equal(m.text, "line\n\xe3\x81\x82");
    assert_int_equal(m.signature_length, 3);
    text = sns_signed_text(&m, &length);
    assert_string_equal(
        text, "Message\nline\n\xe3\x81\x82\nMessageId\nm-1\nSubject\nS\nTimestamp\nT\nTopicArn\n" TOPIC
              "\nType\nNotification\n");
    assert_int_equal(length, strlen(text));
    free(text);
    sns_message_free(&m);
}

static void a_confirmation_signs_its_url_and_token(void **state)
{
    static const char confirm[] =
        "{\"Type\":\"SubscriptionConfirmation\",\"MessageId\":\"m\",\"TopicArn\":\"" TOPIC
        "\",\"Subject\":\"not "
        "signed\",\"Message\":\"M\",\"Timestamp\":\"T\",\"Token\":\"t\",\"SubscribeURL\":\"u\","
        "\"SignatureVersion\":\"2\",\"Signature\":\"AAA=\",\"SigningCertURL\":\"" CERT "\"}";
    struct sns_message m;
    size_t length;
    char *text;

    (void)state;
    assert_int_equal(sns_read(confirm, sizeof confirm - 1, &m, NULL), 0);
    assert_int_equal(m.signature_length, 2);
    text = sns_signed_text(&m, &length);
    assert_string_equal(text,
                        "Message\nM\nMessageId\nm\nSubscribeURL\nu\nTimestamp\nT\nToken\nt\nTopicArn\n" TOPIC
                        "\nType\nSubscriptionConfirmation\n");
    free(text);
    sns_message_free(&m);
}

/* The envelope with one text in it replaced. */
static int read_changed(const char *from, const char *to, struct hk_why *why)
{
    char text[4096];
    const char *at = strstr(body, from);
    struct sns_message m;
    int error;

    assert_non_null(at);
    (void)snprintf(text, sizeof text, "%.*s%s%s", (int)(at - body), body, to, at + strlen(from));
    error = sns_read(text, strlen(text), &m, why);
    sns_message_free(&m);
    return error;
}

static void what_is_no_envelope_is_refused_with_a_reason(void **state)
{
    static const struct {
        const char *from, *to, *words;
    } cases[] = {
        {"\"Type\":\"Notification\"", "\"Type\":\"Other\"", "\"Type\""},
        {"\"Type\":\"Notification\",", "", "\"Type\""},
        {"\"MessageId\":\"m-1\"", "\"MessageId\":7", "\"MessageId\" is no text"},
        {"\"MessageId\":\"m-1\",", "", "\"MessageId\" is missing"},
        {"\"MessageId\":\"m-1\"", "\"MessageId\":\"m-1\",\"MessageId\":\"m-2\"", "uplicate"},
        {"\"SignatureVersion\":\"1\"", "\"SignatureVersion\":\"3\"", "\"SignatureVersion\""},
        {"\"SignatureVersion\":\"1\"", "\"SignatureVersion\":1", "\"SignatureVersion\""},
        {"\"SignatureVersion\":\"1\",", "", "\"SignatureVersion\""},
        {"\"Signature\":\"AAAA\"", "\"Signature\":\"AAA\"", "base64"},
        {"\"Signature\":\"AAAA\"", "\"Signature\":\"A===\"", "base64"},
        {"\"Signature\":\"AAAA\"", "\"Signature\":\" AAA\"", "base64"},
        {"\"Signature\":\"AAAA\"", "\"Signature\":\"\"", "base64"},
        {"\"Message\":\"line", "\"Message\":\"\\u0000", "no JSON"},
        {TOPIC, "arn:aws:sqs:us-east-1:123456789012:ses", "TopicArn"},
        {TOPIC, "arn:aws:sns:us-east-1:123456789012:", "TopicArn"},
        {TOPIC, "arn:evil:sns:us-east-1:123456789012:ses", "TopicArn"},
        {TOPIC, "arn:aws:sns:us-east-1:12345678901:ses", "TopicArn"},
        {TOPIC, "arn:aws:sns:us/../x:123456789012:ses", "TopicArn"},
        {TOPIC, "", "TopicArn"},
        {"{", "[", "no JSON"},
        {"\"Message\":\"line", "\"Message\":\"\xff", "no JSON"},
    };
    struct hk_why why;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(read_changed(cases[i].from, cases[i].to, &why), HK_EINVAL);
        if (strstr(why.text, cases[i].words) == NULL)
            fail_msg("%s -> %s: %s", cases[i].from, cases[i].to, why.text);
    }
}

static void depth_and_size_are_bounded(void **state)
{
    const size_t deep = 100000;
    char *text = malloc(SNS_BODY_MAX + 2);
    struct sns_message m;
    struct hk_why why;

    (void)state;
    assert_non_null(text);
    memset(text, '[', deep);
    assert_int_equal(sns_read(text, deep, &m, &why), HK_EINVAL);
    assert_non_null(strstr(why.text, "levels"));
    for (size_t i = 0; i < deep; i += 5)
        memcpy(text + i, "{\"a\":", 5);
    assert_int_equal(sns_read(text, deep, &m, &why), HK_EINVAL);
    assert_non_null(strstr(why.text, "levels"));
    /* Brackets in a text are none. */
    memset(text, '[', 5000);
    memcpy(text, "{\"a\":\"\\\"", 8);
    memcpy(text + 5000, "\"}", 2);
    assert_int_equal(sns_read(text, 5002, &m, &why), HK_EINVAL);
    assert_non_null(strstr(why.text, "Type"));
    memset(text, ' ', SNS_BODY_MAX + 1);
    assert_int_equal(sns_read(text, SNS_BODY_MAX + 1, &m, &why), HK_ETOOBIG);
    free(text);
}

/* ---- URLs ---- */

static void certificates_are_only_fetched_from_sns(void **state)
{
    static const char *const good[] = {
        CERT,
        "https://sns.cn-north-1.amazonaws.com.cn/SimpleNotificationService-9a.pem",
        "https://sns.us-gov-west-1.amazonaws.com/SimpleNotificationService-9a.pem",
    };
    static const char *const bad[] = {
        "http://sns.us-east-1.amazonaws.com/x.pem",
        "HTTPS://sns.us-east-1.amazonaws.com/x.pem",
        "https://sns.us-east-1.amazonaws.com.evil.example/x.pem",
        "https://sns.us-east-1.amazonaws.com@evil.example/x.pem",
        "https://user:pw@sns.us-east-1.amazonaws.com/x.pem",
        "https://evil.example/sns.us-east-1.amazonaws.com/x.pem",
        "https://evil.example#sns.us-east-1.amazonaws.com/x.pem",
        "https://evil.example\\.sns.us-east-1.amazonaws.com/x.pem",
        "https://s3.amazonaws.com/sns.us-east-1.amazonaws.com/x.pem",
        "https://sns.us-east-1.amazonaws.com:443/x.pem",
        "https://sns.us-east-1.amazonaws.com:8443/x.pem",
        "https://sns.us-east-1.amazonaws.com/x.pem?y=.pem#.pem",
        "https://sns.us-east-1.amazonaws.com/x.pem#y.pem",
        "https://sns.us-east-1.amazonaws.com/?x.pem",
        "https://sns.us-east-1.amazonaws.com/x",
        "https://sns.us-east-1.amazonaws.com/x.pem/",
        "https://sns.us-east-1.amazonaws.com/.pem",
        "https://sns.us-east-1.amazonaws.com/../x.pem",
        "https://sns.us-east-1.amazonaws.com/%2e%2e/x.pem",
        "https://sns.us-east-1.amazonaws.com./x.pem",
        "https://sns.us.east.amazonaws.com/x.pem",
        "https://sns..amazonaws.com/x.pem",
        "https://sns.ab.amazonaws.com/x.pem",
        "https://sns.us_east.amazonaws.com/x.pem",
        "https://sns.amazonaws.com/x.pem",
        "https://xsns.us-east-1.amazonaws.com/x.pem",
        "https://sns.us-east-1.amazonaws.com.cn.evil.example/x.pem",
        "https://sns.us-east-1.amazonaws.comx/x.pem",
        "https://sns.us-east-1.amazonaws.com\n/x.pem",
        " https://sns.us-east-1.amazonaws.com/x.pem",
        "https://sns.us-east-1.amazonaws.com",
        "https://127.0.0.1/x.pem",
        "file:///etc/x.pem",
        "gopher://sns.us-east-1.amazonaws.com/x.pem",
        "",
    };
    struct hk_why why;

    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        assert_int_equal(sns_certificate_url_check(good[i], &why), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        why.text[0] = '\0';
        if (sns_certificate_url_check(bad[i], &why) != HK_EINVAL || why.text[0] == '\0')
            fail_msg("taken: %s", bad[i]);
    }
}

static void subscriptions_are_only_confirmed_in_the_topics_region(void **state)
{
#define AT "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription"
    static const char *const bad[] = {
        "http://169.254.169.254/latest/meta-data/",
        "http://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=a&Token=t",
        "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=a&Token=t",
        "https://sns.us-east-1.amazonaws.com.cn/?Action=ConfirmSubscription&TopicArn=a&Token=t",
        "https://sns.us-east-1.amazonaws.com/?Action=DeleteTopic&TopicArn=a",
        "https://sns.us-east-1.amazonaws.com/x?Action=ConfirmSubscription&TopicArn=a",
        AT "&Action=DeleteTopic",
        AT "&Token=t?x",
        AT "&Token=t#x",
        AT "x&Token=t",
        AT "&%41ction=DeleteTopic",
        AT "&action=DeleteTopic",
        AT "&Token",
        AT "&Token=t&",
        AT "&=t",
    };

    (void)state;
    assert_int_equal(sns_subscribe_url_check(AT "&TopicArn=" TOPIC "&Token=2336412f37", TOPIC, NULL), 0);
    assert_int_equal(sns_subscribe_url_check(AT "&TopicArn=arn%3Aaws%3Asns&Token=a", TOPIC, NULL), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (sns_subscribe_url_check(bad[i], TOPIC, NULL) != HK_EINVAL)
            fail_msg("taken: %s", bad[i]);
}

/* ---- signatures ---- */

struct authority {
    EVP_PKEY *key;
    X509 *x509;
    long serial;
};

static X509 *certificate(const char *name, EVP_PKEY *key, const struct authority *by, bool is_authority,
                         int64_t from, int64_t to)
{
    X509 *x = X509_new();
    X509_NAME *subject = X509_get_subject_name(x);
    X509_EXTENSION *constraint;

    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), (long)from + (long)strlen(name));
    ASN1_TIME_set(X509_getm_notBefore(x), from);
    ASN1_TIME_set(X509_getm_notAfter(x), to);
    X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(x, by != NULL ? X509_get_subject_name(by->x509) : subject);
    X509_set_pubkey(x, key);
    constraint =
        X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, is_authority ? "CA:TRUE" : "CA:FALSE");
    X509_add_ext(x, constraint, -1);
    X509_EXTENSION_free(constraint);
    assert_true(X509_sign(x, by != NULL ? by->key : key, EVP_sha256()) > 0);
    return x;
}

static char *pem_of(X509 *const *x, size_t count)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text, *at;
    long length;

    for (size_t i = 0; i < count; i++)
        PEM_write_bio_X509(bio, x[i]);
    length = BIO_get_mem_data(bio, &at);
    text = calloc(1, (size_t)length + 1);
    memcpy(text, at, (size_t)length);
    BIO_free(bio);
    return text;
}

struct world {
    struct authority root, between;
    EVP_PKEY *key; /* that SNS signs with */
    char ca_file[64];
    struct sns_trust *trust;
};

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    X509 *root[1];
    char *pem;
    FILE *file;

    w->root.key = EVP_RSA_gen(2048);
    w->root.x509 = certificate("Root", w->root.key, NULL, true, NOW - 100 * DAYS, NOW + 100 * DAYS);
    w->between.key = EVP_RSA_gen(2048);
    w->between.x509 =
        certificate("Between", w->between.key, &w->root, true, NOW - 100 * DAYS, NOW + 100 * DAYS);
    w->key = EVP_RSA_gen(2048);
    (void)snprintf(w->ca_file, sizeof w->ca_file, "/tmp/hikyaku-sns-XXXXXX");
    file = fdopen(mkstemp(w->ca_file), "w");
    root[0] = w->root.x509;
    pem = pem_of(root, 1);
    fputs(pem, file);
    fclose(file);
    free(pem);
    *state = w;
    return sns_trust_open(w->ca_file, &w->trust, NULL);
}

static int tear_down(void **state)
{
    struct world *w = *state;

    remove(w->ca_file);
    sns_trust_free(w->trust);
    EVP_PKEY_free(w->root.key);
    EVP_PKEY_free(w->between.key);
    EVP_PKEY_free(w->key);
    X509_free(w->root.x509);
    X509_free(w->between.x509);
    free(w);
    return 0;
}

static int check(const struct world *w, X509 *const *chain, size_t count, struct sns_certificate **out,
                 struct hk_why *why)
{
    char *pem = pem_of(chain, count);
    int error = sns_certificate_check(pem, strlen(pem), NULL, 0, HOST, w->trust, NOW, out, why);

    free(pem);
    return error;
}

static void a_certificate_needs_a_chain_a_name_and_its_time(void **state)
{
    const struct world *w = *state;
    const struct authority none = {.key = w->key, .x509 = w->between.x509};
    X509 *good = certificate("sns.amazonaws.com", w->key, &w->between, false, NOW - DAYS, NOW + DAYS);
    struct sns_certificate *out;
    struct hk_why why;
    char *pem, *between;
    const struct {
        X509 *x;
        const char *words;
    } bad[] = {
        {certificate("sns.amazonaws.com", w->key, NULL, false, NOW - DAYS, NOW + DAYS), "self"},
        {certificate("sns.amazonaws.com", w->key, &none, false, NOW - DAYS, NOW + DAYS), "signature"},
        {certificate("sns.amazonaws.com", w->key, &w->between, false, NOW - 2 * DAYS, NOW - DAYS), "expired"},
        {certificate("sns.amazonaws.com", w->key, &w->between, false, NOW + DAYS, NOW + 2 * DAYS),
         "not yet valid"},
        {certificate("www.example.com", w->key, &w->between, false, NOW - DAYS, NOW + DAYS),
         "made out to SNS"},
        {certificate("sns.amazonaws.com.evil.example", w->key, &w->between, false, NOW - DAYS, NOW + DAYS),
         "made out to SNS"},
    };
    X509 *chain[2] = {good, w->between.x509};

    assert_int_equal(check(w, chain, 2, &out, &why), 0);
    assert_true(sns_certificate_is_valid(out, NOW));
    assert_false(sns_certificate_is_valid(out, NOW + 2 * DAYS));
    assert_false(sns_certificate_is_valid(out, NOW - 2 * DAYS));
    sns_certificate_free(out);
    assert_int_equal(check(w, chain, 1, &out, &why), HK_EINVAL);
    assert_non_null(strstr(why.text, "issuer"));
    /* The authority between may come from elsewhere. */
    pem = pem_of(chain, 1);
    between = pem_of(chain + 1, 1);
    assert_int_equal(
        sns_certificate_check(pem, strlen(pem), between, strlen(between), HOST, w->trust, NOW, &out, &why),
        0);
    sns_certificate_free(out);
    free(pem);
    free(between);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        chain[0] = bad[i].x;
        assert_int_equal(check(w, chain, 2, &out, &why), HK_EINVAL);
        if (strstr(why.text, bad[i].words) == NULL)
            fail_msg("%zu: %s", i, why.text);
        X509_free(bad[i].x);
    }
    assert_int_equal(sns_certificate_check("x", 1, NULL, 0, HOST, w->trust, NOW, &out, &why), HK_EINVAL);
    X509_free(good);
}

static void sign(struct sns_message *m, EVP_PKEY *key, const EVP_MD *digest)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    size_t length, size = 1024;
    char *text = sns_signed_text(m, &length);

    free(m->signature);
    m->signature = malloc(size);
    assert_int_equal(EVP_DigestSignInit(context, NULL, digest, NULL, key), 1);
    assert_int_equal(EVP_DigestSign(context, m->signature, &size, (const unsigned char *)text, length), 1);
    m->signature_length = size;
    EVP_MD_CTX_free(context);
    free(text);
}

static void both_versions_of_the_signature_hold_and_nothing_else_does(void **state)
{
    const struct world *w = *state;
    X509 *chain[] = {certificate("sns.amazonaws.com", w->key, &w->root, false, NOW - DAYS, NOW + DAYS)};
    struct sns_certificate *by;
    struct sns_message m;
    struct hk_why why;

    assert_int_equal(check(w, chain, 1, &by, &why), 0);
    assert_int_equal(sns_read(body, sizeof body - 1, &m, &why), 0);
    assert_int_equal(sns_verify(&m, by, &why), HK_EPROTO);
    sign(&m, w->key, EVP_sha1());
    assert_int_equal(sns_verify(&m, by, &why), 0);
    m.version = 2; /* a signature of the weaker kind is none of the other */
    assert_int_equal(sns_verify(&m, by, &why), HK_EPROTO);
    sign(&m, w->key, EVP_sha256());
    assert_int_equal(sns_verify(&m, by, &why), 0);
    m.text = "another";
    assert_int_equal(sns_verify(&m, by, &why), HK_EPROTO);
    m.text = "line\n\xe3\x81\x82";
    assert_int_equal(sns_verify(&m, by, &why), 0);
    m.subject = NULL; /* signed with it */
    assert_int_equal(sns_verify(&m, by, &why), HK_EPROTO);
    sign(&m, w->root.key, EVP_sha256());
    assert_int_equal(sns_verify(&m, by, &why), HK_EPROTO);
    sns_message_free(&m);
    sns_certificate_free(by);
    X509_free(chain[0]);
}

/* ---- the public examples ---- */

static char *read_file(const char *path, size_t *length)
{
    char *text = NULL;

    return hk_read_file(path, SNS_BODY_MAX, &text, length, NULL) == 0 ? text : NULL;
}

static void the_public_hostile_envelopes_are_refused_before_any_request(void **state)
{
    static const struct {
        const char *name;
        bool url;
    } hostile[] = {
        {"19-sns-cert-url-1.json", true},           {"19-sns-cert-url-3.json", true},
        {"19-sns-cert-url-5.json", true},           {"19-sns-cert-url-7.json", true},
        {"20c-sns-subscribe-url-evil.json", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        char path[512];
        struct sns_message m;
        size_t length;
        char *text;
        (void)snprintf(path, sizeof path, "%s/data/bounce/hostile/%s",
                       getenv("HK_SHARED") != NULL ? getenv("HK_SHARED") : "../shared", hostile[i].name);
        text = read_file(path, &length);
        if (text == NULL) {
            print_message("left out: %s is not there\n", path);
            continue;
        }
        assert_int_equal(sns_read(text, length, &m, NULL), 0);
        if (hostile[i].url)
            assert_int_equal(sns_certificate_url_check(m.certificate_url, NULL), HK_EINVAL);
        else
            assert_int_equal(sns_subscribe_url_check(m.subscribe_url, m.topic, NULL), HK_EINVAL);
        sns_message_free(&m);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_envelope_is_read),
        cmocka_unit_test(a_confirmation_signs_its_url_and_token),
        cmocka_unit_test(what_is_no_envelope_is_refused_with_a_reason),
        cmocka_unit_test(depth_and_size_are_bounded),
        cmocka_unit_test(certificates_are_only_fetched_from_sns),
        cmocka_unit_test(subscriptions_are_only_confirmed_in_the_topics_region),
        cmocka_unit_test(a_certificate_needs_a_chain_a_name_and_its_time),
        cmocka_unit_test(both_versions_of_the_signature_hold_and_nothing_else_does),
        cmocka_unit_test(the_public_hostile_envelopes_are_refused_before_any_request),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
