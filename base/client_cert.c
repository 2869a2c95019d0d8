/* client_cert.c - see client_cert.h. */
#include "hikyaku/client_cert.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#define PEM_FILE_MAX ((size_t)1024 * 1024)
#define SECURITY_BITS_MIN \
    112 /* what OpenSSL asks of a TLS peer's key in Debian's configuration: RSA of 2048 bits */

/* True: the file has no more certificates. False: what stands there is broken. */
static bool pem_is_at_end(void)
{
    unsigned long code = ERR_peek_last_error();

    ERR_clear_error();
    return ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
}

static int no_memory(const char *path, struct hk_why *why)
{
    ERR_clear_error();
    return why_set(why, HK_ENOMEM, "%s: out of memory", path);
}

static int chain_read(const char *path, BIO *bio, struct client_cert *out, struct hk_why *why)
{
    X509 *next;

    out->leaf = PEM_read_bio_X509(bio, NULL, hk_no_pass_phrase, NULL);
    if (out->leaf == NULL) {
        ERR_clear_error();
        return why_set(why, HK_EINVAL, "%s: no certificate that can be read; name a file in PEM form", path);
    }
    out->chain = sk_X509_new_null();
    if (out->chain == NULL)
        return no_memory(path, why);
    while ((next = PEM_read_bio_X509(bio, NULL, hk_no_pass_phrase, NULL)) != NULL)
        if (sk_X509_push(out->chain, next) == 0) {
            X509_free(next);
            return no_memory(path, why);
        }
    if (!pem_is_at_end())
        return why_set(why, HK_EINVAL, "%s: the certificate behind number %d cannot be read; take it out",
                       path, sk_X509_num(out->chain) + 1);
    return 0;
}

static int certificate_read(const char *path, struct client_cert *out, struct hk_why *why)
{
    char *bytes;
    size_t length;
    BIO *bio;
    int error = hk_read_file(path, PEM_FILE_MAX, &bytes, &length, why);

    if (error != 0)
        return error;
    bio = BIO_new_mem_buf(bytes, (int)length);
    error = bio != NULL ? chain_read(path, bio, out, why) : no_memory(path, why);
    BIO_free(bio);
    OPENSSL_cleanse(bytes, length); /* the key may stand in the same file */
    free(bytes);
    return error;
}

static int pair_check(const struct cfg_client *files, const struct client_cert *cert, struct hk_why *why)
{
    int matches = X509_check_private_key(cert->leaf, cert->key);

    ERR_clear_error();
    if (matches != 1)
        return why_set(why, HK_EINVAL,
                       "%s: it is not the key of the certificate in %s (the first one there counts)",
                       files->key, files->certificate);
    if (EVP_PKEY_get_security_bits(cert->key) < SECURITY_BITS_MIN)
        return why_set(
            why, HK_EINVAL,
            "%s: a key of %d bits is too weak for TLS; have a certificate made for an RSA key of 2048 "
            "bits, or for one of P-256",
            files->key, EVP_PKEY_get_bits(cert->key));
    return 0;
}

int client_cert_load(const struct cfg_client *files, struct client_cert *out, struct hk_why *why)
{
    int error;

    *out = (struct client_cert){0};
    error = certificate_read(files->certificate, out, why);
    if (error == 0)
        error = hk_read_private_key(files->key,
                                    "take the pass phrase off (openssl pkey), or name the file that has the "
                                    "key as client_key (of inbound: as key)",
                                    &out->key, why);
    if (error == 0)
        error = pair_check(files, out, why);
    if (error != 0)
        client_cert_free(out);
    return error;
}

void client_cert_free(struct client_cert *cert)
{
    X509_free(cert->leaf);
    sk_X509_pop_free(cert->chain, X509_free);
    EVP_PKEY_free(cert->key);
    *cert = (struct client_cert){0};
}

/* What is wrong with its time, NULL where nothing is. */
static const char *force_fault(const struct client_cert *cert)
{
    if (X509_cmp_current_time(X509_get0_notAfter(cert->leaf)) < 0)
        return "has expired";
    if (X509_cmp_current_time(X509_get0_notBefore(cert->leaf)) > 0)
        return "is not valid yet";
    return NULL;
}

size_t client_cert_doubts(const struct cfg_client *files, const struct client_cert *cert,
                          struct hk_why doubt[CLIENT_CERT_DOUBTS])
{
    const char *fault = force_fault(cert);
    struct stat st;
    size_t count = 0;

    if (fault != NULL)
        (void)why_set(&doubt[count++], 0, "%s: the client certificate %s: receivers will refuse it",
                      files->certificate, fault);
    if (X509_check_purpose(cert->leaf, X509_PURPOSE_SSL_CLIENT, 0) != 1)
        (void)why_set(
            &doubt[count++], 0,
            "%s: the certificate is not for clients (no clientAuth in its extended key usage): receivers "
            "may refuse it",
            files->certificate);
    if (stat(files->key, &st) == 0 && (st.st_mode & 077) != 0)
        (void)why_set(&doubt[count++], 0, "%s can be read by others (mode %03o); chmod 600 it", files->key,
                      (unsigned)(st.st_mode & 0777));
    return count;
}
