/* sink_tls.c - the sink's TLS context: from PEM files, or a self-signed P-256 certificate made in memory.
 *
 * P-256, so that handshakes cost the sink little and what is measured is the sender.
 */
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "sink.h"

static int openssl_failed(struct hk_why *why, const char *what)
{
    unsigned long error = ERR_peek_error();
    const char *reason =
        ERR_SYSTEM_ERROR(error) ? strerror(ERR_GET_REASON(error)) : ERR_reason_error_string(error);

    return why_set(why, HK_EIO, "%s: %s", what, reason != NULL ? reason : "OpenSSL gives no reason");
}

static bool extension_add(X509 *x, int nid, const char *value)
{
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    bool ok = e != NULL && X509_add_ext(x, e, -1) == 1;

    X509_EXTENSION_free(e);
    return ok;
}

static bool certificate_fill(X509 *x, EVP_PKEY *key)
{
    X509_NAME *name = X509_get_subject_name(x);

    return X509_set_version(x, 2) == 1 && ASN1_INTEGER_set(X509_get_serialNumber(x), 1) == 1 &&
           X509_gmtime_adj(X509_getm_notBefore(x), -3600) != NULL &&
           X509_gmtime_adj(X509_getm_notAfter(x), 30L * 86400) != NULL &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"sink.test", -1, -1,
                                      0) == 1 &&
           X509_set_issuer_name(x, name) == 1 && X509_set_pubkey(x, key) == 1 &&
           extension_add(x, NID_subject_alt_name,
                         "DNS:sink.test,DNS:localhost,IP:127.0.0.1,IP:0:0:0:0:0:0:0:1") &&
           X509_sign(x, key, EVP_sha256()) > 0;
}

static int certificate_make(SSL_CTX *ctx, struct hk_why *why)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    int rc = HK_OK;

    if (key == NULL || x == NULL || !certificate_fill(x, key) || SSL_CTX_use_certificate(ctx, x) != 1 ||
        SSL_CTX_use_PrivateKey(ctx, key) != 1)
        rc = openssl_failed(why, "making a certificate");
    X509_free(x);
    EVP_PKEY_free(key);
    return rc;
}

static int certificate_load(SSL_CTX *ctx, const struct sink_options *options, struct hk_why *why)
{
    if (SSL_CTX_use_certificate_chain_file(ctx, options->tls_certificate) != 1)
        return openssl_failed(why, options->tls_certificate);
    if (SSL_CTX_use_PrivateKey_file(ctx, options->tls_key, SSL_FILETYPE_PEM) != 1)
        return openssl_failed(why, options->tls_key);
    if (SSL_CTX_check_private_key(ctx) != 1)
        return why_set(why, HK_EINVAL, "%s is not the key of %s", options->tls_key, options->tls_certificate);
    return HK_OK;
}

SSL_CTX *sink_tls_context(const struct sink_options *options, struct hk_why *why)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    int rc;

    if (ctx == NULL) {
        (void)openssl_failed(why, "TLS");
        return NULL;
    }
    rc = options->tls_certificate != NULL ? certificate_load(ctx, options, why) : certificate_make(ctx, why);
    if (rc < 0) {
        SSL_CTX_free(ctx);
        return NULL;
    }
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    /* One read for many records instead of two for each. */
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_default_read_buffer_len(ctx, 65536);
    return ctx;
}
