/* test_client_cert.c - client certificates from files: what is taken, what is refused in which words, what is doubtful. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hikyaku/client_cert.h"

static char folder[64], cert_path[96], key_path[96];
static struct cfg_client files = {cert_path, key_path};

/* OpenSSL's allocations: the last of these, and none behind it, fails. */
static unsigned allocations_left = UINT_MAX;

static bool allocation_fails(void)
{
    return allocations_left != UINT_MAX && allocations_left > 0 && --allocations_left == 0;
}

static void *openssl_malloc(size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return allocation_fails() ? NULL : malloc(size);
}

static void *openssl_realloc(void *old, size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return allocation_fails() ? NULL : realloc(old, size);
}

static void openssl_free(void *old, const char *file, int line)
{
    (void)file, (void)line;
    free(old);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/hikyaku-cert-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(cert_path, sizeof cert_path, "%s/cert.pem", folder);
    snprintf(key_path, sizeof key_path, "%s/key.pem", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(cert_path);
    unlink(key_path);
    return rmdir(folder);
}

static X509 *certificate_make(EVP_PKEY *key, long begins_s, long ends_s, const char *usage)
{
    X509 *x = X509_new();
    X509_set_version(x, 2);
    X509_gmtime_adj(X509_getm_notBefore(x), begins_s);
    X509_gmtime_adj(X509_getm_notAfter(x), ends_s);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)"me.test",
                               -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_set_pubkey(x, key);
    if (usage != NULL) {
        X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, NID_ext_key_usage, usage);
        assert_int_equal(X509_add_ext(x, extension, -1), 1);
        X509_EXTENSION_free(extension);
    }
    assert_true(X509_sign(x, key, EVP_sha256()) > 0);
    return x;
}

static void certificate_append(const char *path, const char *mode, EVP_PKEY *key, long begins_s, long ends_s,
                               const char *usage)
{
    X509 *x = certificate_make(key, begins_s, ends_s, usage);
    FILE *file = fopen(path, mode);
    assert_non_null(file);
    assert_int_equal(PEM_write_X509(file, x), 1);
    assert_int_equal(fclose(file), 0);
    X509_free(x);
}

static void key_append(const char *path, const char *mode, EVP_PKEY *key, const char *pass)
{
    FILE *file = fopen(path, mode);
    assert_non_null(file);
    assert_int_equal(PEM_write_PrivateKey(file, key, pass != NULL ? EVP_aes_128_cbc() : NULL, NULL, 0, NULL,
                                          (void *)(uintptr_t)pass),
                     1);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0600), 0);
}

static void text_append(const char *path, const char *mode, const char *text)
{
    FILE *file = fopen(path, mode);
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

/* A good pair, in two files. */
static EVP_PKEY *pair_write(long begins_s, long ends_s, const char *usage)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    certificate_append(cert_path, "w", key, begins_s, ends_s, usage);
    key_append(key_path, "w", key, NULL);
    return key;
}

static void assert_refused(int error, const char *path, const char *words)
{
    struct client_cert cert;
    struct hk_why why = {""};
    assert_int_equal(client_cert_load(&files, &cert, &why), error);
    assert_null(cert.leaf);
    if (strstr(why.text, path) == NULL || strstr(why.text, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\" of %s", why.text, words, path);
}

static void a_pair_is_taken_with_its_chain_from_one_file_or_two(void **state)
{
    struct cfg_client one = {cert_path, cert_path};
    struct client_cert cert;
    struct hk_why why, doubt[CLIENT_CERT_DOUBTS];
    EVP_PKEY *key = pair_write(-60, 3600, "clientAuth"), *authority = EVP_EC_gen("P-256");
    (void)state;
    certificate_append(cert_path, "a", authority, -60, 3600, NULL);
    assert_int_equal(client_cert_load(&files, &cert, &why), 0);
    assert_int_equal(sk_X509_num(cert.chain), 1);
    assert_int_equal(client_cert_doubts(&files, &cert, doubt), 0);
    client_cert_free(&cert);
    key_append(cert_path, "a", key, NULL);
    assert_int_equal(client_cert_load(&one, &cert, &why), 0);
    assert_int_equal(sk_X509_num(cert.chain), 1);
    client_cert_free(&cert);
    client_cert_free(&cert); /* nothing is left of it */
    EVP_PKEY_free(key);
    EVP_PKEY_free(authority);
}

static void what_is_missing_is_named(void **state)
{
    EVP_PKEY *key = pair_write(-60, 3600, NULL);
    (void)state;
    unlink(key_path);
    assert_refused(HK_ENOENT, key_path, "");
    unlink(cert_path);
    assert_refused(HK_ENOENT, cert_path, "");
    EVP_PKEY_free(key);
}

static void what_is_no_pem_is_refused(void **state)
{
    EVP_PKEY *key = pair_write(-60, 3600, NULL);
    (void)state;
    text_append(key_path, "w", "no key\n");
    assert_refused(HK_EINVAL, key_path, "no private key in PEM form");
    key_append(key_path, "w", key, "a pass phrase");
    assert_refused(HK_EINVAL, key_path, "pass phrase");
    text_append(cert_path, "a", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    assert_refused(HK_EINVAL, cert_path, "the certificate behind number 1 cannot be read");
    text_append(cert_path, "w", "no certificate\n");
    assert_refused(HK_EINVAL, cert_path, "no certificate that can be read");
    EVP_PKEY_free(key);
}

/* Whatever of OpenSSL's own finds no memory while the certificates are read: words, and nothing kept. */
static void certificates_that_find_no_memory_are_refused_with_words(void **state)
{
    EVP_PKEY *key = pair_write(-60, 3600, "clientAuth");
    struct client_cert cert;
    bool struck = true;

    (void)state;
    certificate_append(cert_path, "a", key, -60, 3600, NULL);
    unlink(key_path); /* ends it behind the certificates */
    for (unsigned nth = 1; struck; nth++) {
        struct hk_why why = {""};

        allocations_left = nth;
        assert_int_not_equal(client_cert_load(&files, &cert, &why), 0);
        struck = allocations_left == 0;
        allocations_left = UINT_MAX;
        if (strstr(why.text, folder) == NULL) /* OpenSSL does without some of it */
            fail_msg("allocation %u: \"%s\" names no file", nth, why.text);
        assert_null(cert.leaf);
    }
    EVP_PKEY_free(key);
}

static void a_key_of_another_certificate_is_refused(void **state)
{
    EVP_PKEY *key = pair_write(-60, 3600, NULL), *other = EVP_EC_gen("P-256");
    (void)state;
    key_append(key_path, "w", other, NULL);
    assert_refused(HK_EINVAL, key_path, "it is not the key of the certificate in");
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
}

static void a_key_that_tls_would_not_take_is_refused(void **state)
{
    EVP_PKEY *key = EVP_RSA_gen(1024);
    (void)state;
    certificate_append(cert_path, "w", key, -60, 3600, NULL);
    key_append(key_path, "w", key, NULL);
    assert_refused(HK_EINVAL, key_path, "a key of 1024 bits is too weak");
    EVP_PKEY_free(key);
}

static void assert_doubt(const char *words)
{
    struct client_cert cert;
    struct hk_why why, doubt[CLIENT_CERT_DOUBTS];
    assert_int_equal(client_cert_load(&files, &cert, &why), 0);
    assert_int_equal(client_cert_doubts(&files, &cert, doubt), 1);
    if (strstr(doubt[0].text, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", doubt[0].text, words);
    client_cert_free(&cert);
}

static void what_is_doubtful_is_told_and_taken(void **state)
{
    (void)state;
    EVP_PKEY_free(pair_write(-7200, -60, NULL));
    assert_doubt("has expired");
    EVP_PKEY_free(pair_write(3600, 7200, NULL));
    assert_doubt("is not valid yet");
    EVP_PKEY_free(pair_write(-60, 3600, "serverAuth"));
    assert_doubt("no clientAuth");
    EVP_PKEY_free(pair_write(-60, 3600, NULL));
    assert_int_equal(chmod(key_path, 0640), 0);
    assert_doubt("(mode 640); chmod 600 it");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_pair_is_taken_with_its_chain_from_one_file_or_two, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_is_missing_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_pem_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(certificates_that_find_no_memory_are_refused_with_words, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_key_of_another_certificate_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_key_that_tls_would_not_take_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_doubtful_is_told_and_taken, set_up, tear_down),
    };

    if (CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) != 1)
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
