/* load_tls.c - load's side of TLS, and its credentials.
 *
 * By default a certificate is taken as it is: what is measured is the server, and it is on loopback or the user's own.
 */
#include <arpa/inet.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "load.h"

static int openssl_failed(struct hk_why *why, int error, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());

    return why_set(why, error, "%s: %s", what, reason != NULL ? reason : "OpenSSL gives no reason");
}

/* TLS 1.3 gives a new session in messages behind the handshake; the newest is kept for the next connection. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct load *load = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

    SSL_SESSION_free(load->session);
    load->session = session;
    return 1;
}

int load_tls_setup(struct load *load, struct hk_why *why)
{
    const struct load_options *o = &load->options;
    int found = 1;

    if (o->tls == LOAD_TLS_NONE)
        return HK_OK;
    load->tls = SSL_CTX_new(TLS_client_method());
    if (load->tls == NULL)
        return openssl_failed(why, HK_ENOMEM, "TLS");
    SSL_CTX_set_app_data(load->tls, load);
    SSL_CTX_set_mode(load->tls, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (o->tls_resume) {
        SSL_CTX_set_session_cache_mode(load->tls, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(load->tls, on_session);
    } else {
        SSL_CTX_set_session_cache_mode(load->tls, SSL_SESS_CACHE_OFF);
    }
    if (o->tls_ca == NULL)
        return HK_OK;
    SSL_CTX_set_verify(load->tls, SSL_VERIFY_PEER, NULL);
    if (strcmp(o->tls_ca, "system") == 0)
        found = SSL_CTX_set_default_verify_paths(load->tls);
    else
        found = SSL_CTX_load_verify_locations(load->tls, o->tls_ca, NULL);
    return found == 1 ? HK_OK : openssl_failed(why, HK_EINVAL, o->tls_ca);
}

/* The name goes out (SNI) and is what a certificate is verified for; an address is only the latter. */
static bool name_set(const struct load *load, SSL *ssl)
{
    const char *host = load->options.host;
    unsigned char address[16];

    if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    return SSL_set_tlsext_host_name(ssl, host) == 1 && SSL_set1_host(ssl, host) == 1;
}

SSL *load_tls_new(struct load *load, int fd)
{
    SSL *ssl = SSL_new(load->tls);

    if (ssl == NULL || SSL_set_fd(ssl, fd) != 1 || !name_set(load, ssl)) {
        SSL_free(ssl);
        return NULL;
    }
    if (load->session != NULL)
        (void)SSL_set_session(ssl, load->session);
    SSL_set_connect_state(ssl);
    return ssl;
}

static void base64(char *out, size_t size, const void *bytes, size_t length)
{
    HK_BUG_ON((length + 2) / 3 * 4 >= size);
    (void)EVP_EncodeBlock((unsigned char *)out, bytes, (int)length);
}

int load_auth_setup(struct load *load, struct hk_why *why)
{
    const struct load_options *o = &load->options;
    char both[2 * LOAD_SECRET_MAX + 2], *text;
    size_t length, user, password;
    int rc;

    if (o->user == NULL)
        return HK_OK;
    rc = hk_read_file(o->password_file, 4096, &text, &length, why);
    if (rc < 0)
        return rc;
    user = strlen(o->user);
    password = strcspn(text, "\r\n");
    if (user == 0 || user > LOAD_SECRET_MAX || password == 0 || password > LOAD_SECRET_MAX) {
        rc = why_set(why, HK_EINVAL, "--user and the first line of %s need 1 to %u octets each",
                     o->password_file, LOAD_SECRET_MAX);
    } else {
        /* RFC 4616: no authorization identity, NUL, user, NUL, password. */
        both[0] = '\0';
        memcpy(both + 1, o->user, user);
        both[1 + user] = '\0';
        memcpy(both + 2 + user, text, password);
        snprintf(load->secret, sizeof load->secret, "%.*s", (int)password, text);
        base64(load->auth_plain, sizeof load->auth_plain, both, 2 + user + password);
        base64(load->auth_user, sizeof load->auth_user, o->user, user);
        base64(load->auth_password, sizeof load->auth_password, text, password);
        OPENSSL_cleanse(both, sizeof both);
    }
    OPENSSL_cleanse(text, length);
    free(text);
    return rc;
}

static bool has(const char *text, size_t length, const char *word)
{
    return word[0] != '\0' && memmem(text, length, word, strlen(word)) != NULL;
}

bool load_auth_is_told(const struct load *load, const char *text, size_t length)
{
    return has(text, length, load->auth_plain) || has(text, length, load->auth_password) ||
           has(text, length, load->secret);
}
