/* client_cert.h - the certificate and key by which we say who we are to a receiver that asks (RFC 5246 7.4.6, RFC 8446 4.4.2).
 *
 * From PEM files: the certificate first, then those of the authorities between it and a root. One reader for the check at
 * start and for the workers, so that both judge alike. Reads files, writes none; knows no TLS.
 */
#ifndef HIKYAKU_CLIENT_CERT_H
#define HIKYAKU_CLIENT_CERT_H

#include "hikyaku/base.h"
#include "hikyaku/config.h"

/* OpenSSL's X509, STACK_OF(X509) and EVP_PKEY, by the names that need none of its headers. */
struct client_cert {
    struct x509_st *leaf;
    struct stack_st_X509 *chain; /* may be empty */
    struct evp_pkey_st *key;
};

/* Read what a section names (files->certificate is not NULL). 0, and the caller frees it with client_cert_free();
 * HK_EINVAL, HK_ENOENT, HK_EIO, HK_ETOOBIG, HK_ENOMEM with words that name the file. */
int client_cert_load(const struct cfg_client *files, struct client_cert *out, struct hk_why *why) HK_MUST_USE;
void client_cert_free(struct client_cert *cert);

#define CLIENT_CERT_DOUBTS 3u
/* What is no error and may still be one: out of force, made for servers alone, a key that others can read. How many, each in
 * words. */
size_t client_cert_doubts(const struct cfg_client *files, const struct client_cert *cert,
                          struct hk_why doubt[CLIENT_CERT_DOUBTS]);

#endif
