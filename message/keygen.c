/* keygen.c - make DKIM keys and VERP secrets (RFC 6376 3.6.1, RFC 8463).
 *
 * Writes one new file, mode 0600, never over an existing one; a file that could not be written whole is taken
 * away again. Prints nothing: the record goes to the caller.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "buf.h"
#include "encode.h"
#include "hikyaku/address.h"
#include "hikyaku/message.h"

#define RECORD_STRING_MAX 255
#define SECRET_OCTETS     32

static int write_new(const char *path, const void *bytes, size_t length, struct hk_why *why)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600), saved;

    if (fd < 0 && errno == EEXIST)
        return why_set(why, HK_EEXIST, "%s exists already; a key is never written over: name another file",
                       path);
    if (fd < 0)
        return why_set(why, HK_EIO, "%s: %s", path, strerror(errno));
    /* The mode is 0600 whatever the umask took away. */
    if (fchmod(fd, 0600) == 0 && hk_write_all(fd, bytes, length) == 0 && fsync(fd) == 0 && close(fd) == 0)
        return 0;
    saved = errno;
    (void)close(fd);
    (void)unlink(path);
    return why_set(why, HK_EIO, "%s: %s", path, strerror(saved));
}

static int write_pem(EVP_PKEY *pkey, const char *path, struct hk_why *why)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    char *pem = NULL;
    long length;
    int error;

    if (bio == NULL || PEM_write_bio_PKCS8PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL) != 1) {
        BIO_free(bio);
        return why_set(why, HK_ENOMEM, "%s", hk_strerror(HK_ENOMEM));
    }
    length = BIO_get_mem_data(bio, &pem);
    error = write_new(path, pem, (size_t)length, why);
    BIO_free(bio);
    return error;
}

/* The value of p=: the SubjectPublicKeyInfo of an RSA key, the 32 octets of an Ed25519 key. */
static int public_base64(enum dkim_key_type type, EVP_PKEY *pkey, struct buf *out)
{
    unsigned char raw[32], *der = NULL;
    size_t raw_length = sizeof raw;
    int length;

    if (type == DKIM_ED25519) {
        if (EVP_PKEY_get_raw_public_key(pkey, raw, &raw_length) != 1)
            return HK_ENOMEM;
        base64_line(raw, raw_length, out);
        return out->failed ? HK_ENOMEM : 0;
    }
    length = i2d_PUBKEY(pkey, &der);
    if (length <= 0)
        return HK_ENOMEM;
    base64_line(der, (size_t)length, out);
    OPENSSL_free(der);
    return out->failed ? HK_ENOMEM : 0;
}

/* SELECTOR._domainkey.DOMAIN. IN TXT "..." "...", one line of a zone file. */
static int record_make(enum dkim_key_type type, EVP_PKEY *pkey, const char *domain, const char *selector,
                       char **record_out)
{
    struct buf value = {0}, record = {0};
    int error;

    buf_text(&value, type == DKIM_ED25519 ? "v=DKIM1; k=ed25519; p=" : "v=DKIM1; k=rsa; p=");
    error = public_base64(type, pkey, &value);
    buf_text(&record, selector);
    buf_text(&record, "._domainkey.");
    buf_text(&record, domain);
    buf_text(&record, ". IN TXT");
    for (size_t from = 0; from < value.length; from += RECORD_STRING_MAX) {
        size_t left = value.length - from;

        buf_text(&record, " \"");
        buf_put(&record, value.at + from, left < RECORD_STRING_MAX ? left : RECORD_STRING_MAX);
        buf_text(&record, "\"");
    }
    buf_byte(&record, 0);
    buf_free(&value);
    if (error != 0 || record.failed) {
        buf_free(&record);
        return HK_ENOMEM;
    }
    *record_out = record.at;
    return 0;
}

/* A selector is one or more labels of letters, digits and '-'. */
static bool selector_is_name(const char *selector)
{
    bool edge = true;

    for (const char *p = selector; *p != 0; p++) {
        bool inner = isalnum((unsigned char)*p) != 0;

        if (!inner && (edge || (*p != '.' && *p != '-')))
            return false;
        edge = *p == '.' || (*p == '-' && (p[1] == '.' || p[1] == 0));
    }
    return !edge && strlen(selector) <= 63;
}

int keygen_dkim(enum dkim_key_type type, const char *domain, const char *selector, const char *path,
                char **record_out, struct hk_why *why)
{
    char ascii[DOMAIN_MAX + 1];
    struct hk_why reason;
    EVP_PKEY *pkey;
    int error;

    *record_out = NULL;
    if (domain_to_ascii(domain, strlen(domain), ascii, &reason) != 0)
        return why_set(why, HK_EINVAL, "--domain %.100s: %.200s", domain, reason.text);
    if (!selector_is_name(selector))
        return why_set(why, HK_EINVAL, "--selector %.80s: letters, digits and '-', such as s1", selector);
    pkey = type == DKIM_ED25519 ? EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")
                                : EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
    if (pkey == NULL)
        return why_set(why, HK_ENOMEM, "OpenSSL makes no key");
    error = record_make(type, pkey, ascii, selector, record_out);
    if (error == HK_ENOMEM)
        (void)why_set(why, error, "%s", hk_strerror(error));
    if (error == 0)
        error = write_pem(pkey, path, why);
    EVP_PKEY_free(pkey);
    if (error != 0) {
        free(*record_out);
        *record_out = NULL;
    }
    return error;
}

int keygen_verp(const char *path, struct hk_why *why)
{
    static const char head[] =
        "# VERP secrets of hikyaku, one a line. The first makes return paths, all are\n"
        "# understood: to change the secret, put a new one on top and keep the old ones,\n"
        "# with ' until YYYY-MM-DD' behind each, the day of the change: nothing that is\n"
        "# dated later counts for it. After bounce.token_age take the line out.\n";
    uint8_t secret[SECRET_OCTETS];
    char text[sizeof head + 2 * SECRET_OCTETS + 1];
    size_t used = sizeof head - 1;
    int error;

    if (RAND_priv_bytes(secret, sizeof secret) != 1)
        return why_set(why, HK_EIO, "OpenSSL gives no random octets");
    memcpy(text, head, used);
    hk_hex(secret, sizeof secret, text + used);
    used += 2 * sizeof secret;
    text[used++] = '\n';
    error = write_new(path, text, used, why);
    OPENSSL_cleanse(secret, sizeof secret);
    OPENSSL_cleanse(text, sizeof text);
    return error;
}
