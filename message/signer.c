/* signer.c - load the DKIM keys and VERP secrets that the configuration names, and use them (RFC 6376, 8301,
 * 8463, 2104).
 *
 * Reads files, writes none. Every refusal says the file and what to do. Does not know messages.
 */
#include "signer.h"

#include <ctype.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/rsa.h>
#include <sodium.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>

#include "hikyaku/address.h"
#include "note.h"

#define SECRET_FILE_MAX 65536u
#define RSA_BITS_MIN    1024 /* RFC 8301 3.2 */
#define RSA_BITS_GOOD   2048
#define RSA_BITS_MAX    8192
#define SECRETS_MAX     16
#define SECRET_OCTETS   32
#define HMAC_BLOCK      64
#define UNSUBSCRIBE_MAX 700

struct dkim_key {
    char domain[DOMAIN_MAX + 1];
    char selector[DOMAIN_MAX + 1];
    bool is_rsa;
    EVP_PKEY *pkey;
    EVP_PKEY_CTX *rsa; /* ready to sign a digest */
    uint8_t ed25519[crypto_sign_ed25519_SECRETKEYBYTES];
};

/* An HMAC key as the hash states behind its two pads: a MAC then costs two short hashes. */
struct secret {
    uint8_t id;     /* of the key itself, so that files can be joined: the first octet of its SHA-256 */
    uint16_t until; /* VERP_DAY on which it was given up; UINT16_MAX: it is in use */
    EVP_MD_CTX *inner, *outer;
};

struct signer {
    struct dkim_key *key;
    size_t key_count;
    struct secret secret[SECRETS_MAX];
    size_t secret_count;
    EVP_MD *sha256;
    EVP_MD_CTX *body, *header, *spare, *mac;
    char from_domain[DOMAIN_MAX + 1], return_path[DOMAIN_MAX + 1];
    struct note_list notes;
};

bool domain_is_aligned(const char *one, const char *other)
{
    size_t a = strlen(one), b = strlen(other);
    const char *longer = a > b ? one : other, *shorter = a > b ? other : one;
    size_t cut = a > b ? a - b : b - a;

    if (strcasecmp(longer + cut, shorter) != 0)
        return false;
    /* "com" is above every .com: a single label is nobody's. */
    return cut == 0 || (longer[cut - 1] == '.' && strchr(shorter, '.') != NULL);
}

static int note_mode(struct signer *signer, const char *path)
{
    struct stat st;

    if (stat(path, &st) != 0 || (st.st_mode & 077) == 0)
        return 0;
    return note_add(&signer->notes, true, "%s can be read by others (mode %03o); chmod 600 it", path,
                    (unsigned)(st.st_mode & 0777));
}

static int key_ready_rsa(struct dkim_key *key, const EVP_MD *sha256)
{
    key->rsa = EVP_PKEY_CTX_new(key->pkey, NULL);
    if (key->rsa == NULL || EVP_PKEY_sign_init(key->rsa) <= 0 ||
        EVP_PKEY_CTX_set_rsa_padding(key->rsa, RSA_PKCS1_PADDING) <= 0 ||
        EVP_PKEY_CTX_set_signature_md(key->rsa, sha256) <= 0)
        return HK_ENOMEM;
    return 0;
}

/* libsodium makes the same signature (RFC 8032 leaves no choice) in half of the time that OpenSSL 3.0 takes for it. */
static int key_ready_ed25519(struct dkim_key *key)
{
    uint8_t seed[crypto_sign_ed25519_SEEDBYTES], public[crypto_sign_ed25519_PUBLICKEYBYTES];
    size_t length = sizeof seed;
    bool ok = sodium_init() >= 0 && EVP_PKEY_get_raw_private_key(key->pkey, seed, &length) == 1 &&
              length == sizeof seed && crypto_sign_ed25519_seed_keypair(public, key->ed25519, seed) == 0;

    OPENSSL_cleanse(seed, sizeof seed);
    return ok ? 0 : HK_ENOMEM;
}

static int key_check(struct signer *signer, struct dkim_key *key, const char *path, struct hk_why *why)
{
    int bits = EVP_PKEY_get_bits(key->pkey);

    if (EVP_PKEY_is_a(key->pkey, "ED25519"))
        return key_ready_ed25519(key);
    if (!EVP_PKEY_is_a(key->pkey, "RSA"))
        return why_set(why, HK_EINVAL,
                       "%s: DKIM knows RSA and Ed25519 keys; make one with hikyaku keygen dkim", path);
    if (bits < RSA_BITS_MIN || bits > RSA_BITS_MAX)
        return why_set(why, HK_EINVAL, "%s: an RSA key of %d bits; it has to have %d to %d (2048 is usual)",
                       path, bits, RSA_BITS_MIN, RSA_BITS_MAX);
    if (bits < RSA_BITS_GOOD &&
        note_add(&signer->notes, true, "%s: an RSA key of %d bits is weak; 2048 is what receivers expect",
                 path, bits) != 0)
        return HK_ENOMEM;
    key->is_rsa = true;
    return key_ready_rsa(key, signer->sha256);
}

static bool selector_is_valid(const char *selector)
{
    bool dot = true;

    for (const char *p = selector; *p != 0; p++) {
        if (*p == '.' ? dot : !isalnum((unsigned char)*p) && *p != '-' && *p != '_')
            return false;
        dot = *p == '.';
    }
    return selector[0] != 0 && !dot && strlen(selector) <= 63;
}

static int key_load(const struct config *config, const struct cfg_dkim *from, struct signer *signer,
                    struct dkim_key *key, struct hk_why *why)
{
    struct hk_why reason;
    int error;

    if (!selector_is_valid(from->selector))
        return why_set(why, HK_EINVAL,
                       "%s: dkim \"%.80s\": the title is the selector: letters, digits, '-' and '.'",
                       config->file, from->selector);
    if (domain_to_ascii(from->domain, strlen(from->domain), key->domain, &reason) != 0)
        return why_set(why, HK_EINVAL, "%s: dkim \"%s\": domain: %.200s", config->file, from->selector,
                       reason.text);
    if (!domain_is_aligned(key->domain, signer->from_domain))
        return why_set(
            why, HK_EINVAL,
            "%s: dkim \"%s\": domain %s does not align with sender.from_domain %s; sign with %s or a "
            "domain above it",
            config->file, from->selector, key->domain, signer->from_domain, signer->from_domain);
    (void)snprintf(key->selector, sizeof key->selector, "%s", from->selector);
    error = hk_read_private_key(from->key_file, "make one with hikyaku keygen dkim", &key->pkey, why);
    if (error == HK_ENOENT)
        return why_set(
            why, error,
            "dkim \"%.60s\": key_file: %.100s is not there; make it with hikyaku keygen dkim --domain %.60s "
            "--selector %.60s --out %.100s",
            from->selector, from->key_file, from->domain, from->selector, from->key_file);
    if (error == 0)
        error = note_mode(signer, from->key_file);
    return error != 0 ? error : key_check(signer, key, from->key_file, why);
}

static int hash_of(const struct signer *signer, EVP_MD_CTX *ctx, const void *bytes, size_t length,
                   uint8_t *out)
{
    return EVP_DigestInit_ex2(ctx, signer->sha256, NULL) == 1 && EVP_DigestUpdate(ctx, bytes, length) == 1 &&
                   EVP_DigestFinal_ex(ctx, out, NULL) == 1
               ? 0
               : HK_ENOMEM;
}

static int secret_pad(const struct signer *signer, const uint8_t *key, uint8_t pad, EVP_MD_CTX **out)
{
    uint8_t block[HMAC_BLOCK];
    bool ok;

    for (size_t i = 0; i < HMAC_BLOCK; i++)
        block[i] = (uint8_t)((i < SECRET_OCTETS ? key[i] : 0) ^ pad);
    *out = EVP_MD_CTX_new();
    ok = *out != NULL && EVP_DigestInit_ex2(*out, signer->sha256, NULL) == 1 &&
         EVP_DigestUpdate(*out, block, HMAC_BLOCK) == 1;
    OPENSSL_cleanse(block, sizeof block); /* as good as the key */
    return ok ? 0 : HK_ENOMEM;
}

static int secret_add(struct signer *signer, const uint8_t key[SECRET_OCTETS], uint16_t until,
                      const char *path, unsigned line, struct hk_why *why)
{
    struct secret *secret = &signer->secret[signer->secret_count];
    uint8_t digest[SHA256_OCTETS];

    if (signer->secret_count == SECRETS_MAX)
        return why_set(why, HK_EINVAL, "%s:%u: more than %d secrets; drop the oldest", path, line,
                       SECRETS_MAX);
    if (hash_of(signer, signer->spare, key, SECRET_OCTETS, digest) != 0)
        return HK_ENOMEM;
    for (size_t i = 0; i < signer->secret_count; i++) {
        if (signer->secret[i].id == digest[0])
            return why_set(
                why, HK_EINVAL,
                "%s:%u: this secret has the id of one above; make another with hikyaku keygen verp", path,
                line);
    }
    if (signer->secret_count == 0 && until != UINT16_MAX)
        return why_set(
            why, HK_EINVAL,
            "%s:%u: the first secret makes return paths, so it cannot be given up; put a new one above it",
            path, line);
    secret->id = digest[0];
    secret->until = until;
    signer->secret_count++;
    if (secret_pad(signer, key, 0x36, &secret->inner) != 0 ||
        secret_pad(signer, key, 0x5C, &secret->outer) != 0)
        return HK_ENOMEM;
    return 0;
}

/* Behind the digits: nothing, or " until YYYY-MM-DD". A day that no calendar has is refused: timegm() would make a later one
 * of it, and a stolen secret would count for longer. */
static bool secret_until(const char *text, size_t length, uint16_t *until)
{
    char word[32], rest;
    struct tm tm = {0}, read;
    time_t time;

    *until = UINT16_MAX;
    if (length == 0)
        return true;
    if (length >= sizeof word)
        return false;
    memcpy(word, text, length);
    word[length] = 0;
    if (sscanf(word, " until %4d-%2d-%2d%c", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &rest) != 3)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    read = tm;
    time = timegm(&tm);
    *until = (uint16_t)(time / 86400);
    return tm.tm_mday == read.tm_mday && tm.tm_mon == read.tm_mon && tm.tm_year == read.tm_year &&
           time >= 0 && time / 86400 < UINT16_MAX;
}

/* One line of the file: a comment, blank, or 64 hex digits and perhaps the day on which they were given up. */
static int secret_line(struct signer *signer, const char *text, size_t length, const char *path,
                       unsigned line, struct hk_why *why)
{
    uint8_t key[SECRET_OCTETS];
    uint16_t until;
    int error;

    while (length > 0 && isspace((unsigned char)text[length - 1]))
        length--;
    if (length == 0 || text[0] == '#')
        return 0;
    if (length < 2 * SECRET_OCTETS || strspn(text, "0123456789abcdefABCDEF") != 2 * SECRET_OCTETS ||
        !secret_until(text + 2 * SECRET_OCTETS, length - 2 * SECRET_OCTETS, &until))
        return why_set(
            why, HK_EINVAL,
            "%s:%u: a secret is %d hex digits, and 'until 2026-11-29' behind them where it was given "
            "up on that day; make one with hikyaku keygen verp --out FILE",
            path, line, 2 * SECRET_OCTETS);
    for (size_t i = 0; i < SECRET_OCTETS; i++) {
        char digits[3] = {text[2 * i], text[2 * i + 1], 0};

        key[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    error = secret_add(signer, key, until, path, line, why);
    OPENSSL_cleanse(key, sizeof key);
    return error;
}

static int secrets_load(const struct config *config, struct signer *signer, struct hk_why *why)
{
    const char *path = config->sender.secret_file;
    char *text, *next;
    size_t length;
    unsigned line = 0;
    int error;

    if (path == NULL)
        return why_set(why, HK_EINVAL,
                       "%s: sender.secret_file is missing; make it with hikyaku keygen verp --out verp.key",
                       config->file);
    error = hk_read_file(path, SECRET_FILE_MAX, &text, &length, why);
    if (error == HK_ENOENT)
        return why_set(
            why, error,
            "%s: sender.secret_file: %.150s is not there; make it with hikyaku keygen verp --out %.150s",
            config->file, path, path);
    if (error != 0)
        return error;
    error = note_mode(signer, path);
    for (char *p = text; p != NULL && error == 0; p = next) {
        next = strchr(p, '\n');
        error = secret_line(signer, p, next != NULL ? (size_t)(next - p) : strlen(p), path, ++line, why);
        next = next != NULL ? next + 1 : NULL;
    }
    OPENSSL_cleanse(text, length);
    free(text);
    if (error == 0 && signer->secret_count == 0)
        error = why_set(why, HK_EINVAL, "%s: no secret in it; make one with hikyaku keygen verp --out FILE",
                        path);
    return error;
}

static int sender_domain(const struct config *config, const char *key, const char *value, char *out,
                         struct hk_why *why)
{
    struct hk_why reason;

    if (value == NULL)
        return why_set(why, HK_EINVAL, "%s: sender.%s is missing", config->file, key);
    if (domain_to_ascii(value, strlen(value), out, &reason) != 0)
        return why_set(why, HK_EINVAL, "%s: sender.%s: %.200s", config->file, key, reason.text);
    return 0;
}

static bool is_visible_ascii(const char *text)
{
    for (; *text != 0; text++) {
        if (*text <= ' ' || *text > '~' || strchr("<>\"\\", *text) != NULL)
            return false;
    }
    return true;
}

static int sender_check(const struct config *config, struct signer *signer, struct hk_why *why)
{
    const char *url = config->sender.unsubscribe_url, *list_id = config->sender.list_id;
    int error = sender_domain(config, "from_domain", config->sender.from_domain, signer->from_domain, why);

    if (error == 0)
        error = sender_domain(config, "return_path", config->sender.return_path, signer->return_path, why);
    if (error != 0)
        return error;
    if (url != NULL && ((strncmp(url, "https://", 8) != 0 && strncmp(url, "http://", 7) != 0) ||
                        !is_visible_ascii(url) || strlen(url) > UNSUBSCRIBE_MAX))
        return why_set(
            why, HK_EINVAL,
            "%s: sender.unsubscribe_url: write https://HOST/..., ASCII without blanks, at most %d characters",
            config->file, UNSUBSCRIBE_MAX);
    if (url != NULL && strncmp(url, "https://", 8) != 0 &&
        note_add(&signer->notes, true,
                 "%s: sender.unsubscribe_url is not https: no List-Unsubscribe-Post (RFC 8058 wants https)",
                 config->file) != 0)
        return HK_ENOMEM;
    if (list_id != NULL && (!is_visible_ascii(list_id) || list_id[0] == 0 || strlen(list_id) > DOMAIN_MAX))
        return why_set(why, HK_EINVAL, "%s: sender.list_id: write a domain name such as news.%s",
                       config->file, signer->from_domain);
    return 0;
}

static int contexts_make(struct signer *signer)
{
    signer->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    signer->body = EVP_MD_CTX_new();
    signer->header = EVP_MD_CTX_new();
    signer->spare = EVP_MD_CTX_new();
    signer->mac = EVP_MD_CTX_new();
    return signer->sha256 != NULL && signer->body != NULL && signer->header != NULL &&
                   signer->spare != NULL && signer->mac != NULL
               ? 0
               : HK_ENOMEM;
}

static int fill_tokens(const struct config *config, struct signer *signer, struct hk_why *why)
{
    int error = contexts_make(signer);

    if (error == 0)
        error = sender_check(config, signer, why);
    return error == 0 ? secrets_load(config, signer, why) : error;
}

static int fill(const struct config *config, struct signer *signer, struct hk_why *why)
{
    int error = fill_tokens(config, signer, why);

    if (error == 0 && config->dkim_count == 0)
        error =
            note_add(&signer->notes, true,
                     "%s: no dkim section: messages are not signed, and big receivers refuse unsigned mail",
                     config->file);
    signer->key = calloc(config->dkim_count + 1, sizeof *signer->key);
    if (signer->key == NULL)
        return HK_ENOMEM;
    for (size_t i = 0; i < config->dkim_count && error == 0; i++)
        error = key_load(config, &config->dkim[i], signer, &signer->key[signer->key_count++], why);
    return error;
}

static int load(const struct config *config,
                int (*fill_it)(const struct config *, struct signer *, struct hk_why *), struct signer **out,
                struct hk_why *why)
{
    struct signer *signer = calloc(1, sizeof *signer);
    int error;

    *out = NULL;
    if (signer == NULL)
        return why_set(why, HK_ENOMEM, "%s", hk_strerror(HK_ENOMEM));
    error = fill_it(config, signer, why);
    if (error == HK_ENOMEM)
        (void)why_set(why, error, "%s", hk_strerror(error));
    if (error != 0) {
        signer_free(signer);
        return error;
    }
    *out = signer;
    return 0;
}

int signer_load(const struct config *config, struct signer **out, struct hk_why *why)
{
    return load(config, fill, out, why);
}

int signer_load_tokens(const struct config *config, struct signer **out, struct hk_why *why)
{
    return load(config, fill_tokens, out, why);
}

void signer_free(struct signer *signer)
{
    if (signer == NULL)
        return;
    for (size_t i = 0; i < signer->key_count; i++) {
        EVP_PKEY_CTX_free(signer->key[i].rsa);
        EVP_PKEY_free(signer->key[i].pkey);
        OPENSSL_cleanse(signer->key[i].ed25519, sizeof signer->key[i].ed25519);
    }
    free(signer->key);
    for (size_t i = 0; i < signer->secret_count; i++) {
        EVP_MD_CTX_free(signer->secret[i].inner);
        EVP_MD_CTX_free(signer->secret[i].outer);
    }
    EVP_MD_CTX_free(signer->body);
    EVP_MD_CTX_free(signer->header);
    EVP_MD_CTX_free(signer->spare);
    EVP_MD_CTX_free(signer->mac);
    EVP_MD_free(signer->sha256);
    note_list_free(&signer->notes);
    free(signer);
}

const struct note *signer_notes(const struct signer *signer, size_t *count)
{
    *count = signer->notes.count;
    return signer->notes.at;
}

const EVP_MD *signer_sha256(const struct signer *signer)
{
    return signer->sha256;
}

const char *signer_from_domain(const struct signer *signer)
{
    return signer->from_domain;
}

const char *signer_return_path(const struct signer *signer)
{
    return signer->return_path;
}

size_t signer_key_count(const struct signer *signer)
{
    return signer->key_count;
}

const char *signer_key_domain(const struct signer *signer, size_t key)
{
    return signer->key[key].domain;
}

const char *signer_key_selector(const struct signer *signer, size_t key)
{
    return signer->key[key].selector;
}

const char *signer_key_algorithm(const struct signer *signer, size_t key)
{
    return signer->key[key].is_rsa ? "rsa-sha256" : "ed25519-sha256";
}

size_t signer_key_octets(const struct signer *signer, size_t key)
{
    return signer->key[key].is_rsa ? (size_t)EVP_PKEY_get_size(signer->key[key].pkey)
                                   : crypto_sign_ed25519_BYTES;
}

EVP_MD_CTX *signer_body_hash(const struct signer *signer)
{
    return signer->body;
}

EVP_MD_CTX *signer_header_hash(const struct signer *signer)
{
    return signer->header;
}

size_t signer_sign(const struct signer *signer, size_t number, const uint8_t digest[SHA256_OCTETS],
                   uint8_t *out)
{
    const struct dkim_key *key = &signer->key[number];
    size_t length = SIGNATURE_OCTETS_MAX;

    if (!key->is_rsa) { /* RFC 8463 3: PureEdDSA over the digest */
        int error = crypto_sign_ed25519_detached(out, NULL, digest, SHA256_OCTETS, key->ed25519);
        return error == 0 ? crypto_sign_ed25519_BYTES : 0;
    }
    if (EVP_PKEY_sign(key->rsa, out, &length, digest, SHA256_OCTETS) == 1)
        return length;
    ERR_clear_error();
    return 0;
}

static int secret_mac(const struct signer *signer, const struct secret *secret, const void *bytes,
                      size_t length, uint8_t out[SHA256_OCTETS])
{
    bool ok = EVP_MD_CTX_copy_ex(signer->mac, secret->inner) == 1 &&
              EVP_DigestUpdate(signer->mac, bytes, length) == 1 &&
              EVP_DigestFinal_ex(signer->mac, out, NULL) == 1 &&
              EVP_MD_CTX_copy_ex(signer->mac, secret->outer) == 1 &&
              EVP_DigestUpdate(signer->mac, out, SHA256_OCTETS) == 1 &&
              EVP_DigestFinal_ex(signer->mac, out, NULL) == 1;

    if (ok)
        return 0;
    ERR_clear_error();
    return HK_ENOMEM; /* each copy of a context takes memory; software SHA-256 fails for nothing else */
}

int signer_mac(const struct signer *signer, const void *bytes, size_t length, uint8_t out[SHA256_OCTETS])
{
    return secret_mac(signer, &signer->secret[0], bytes, length, out);
}

uint8_t signer_secret_id(const struct signer *signer)
{
    return signer->secret[0].id;
}

int signer_mac_by(const struct signer *signer, uint8_t id, const void *bytes, size_t length,
                  uint8_t out[SHA256_OCTETS])
{
    for (size_t i = 0; i < signer->secret_count; i++)
        if (signer->secret[i].id == id)
            return secret_mac(signer, &signer->secret[i], bytes, length, out);
    return HK_EPROTO;
}

uint16_t signer_secret_until(const struct signer *signer, uint8_t id)
{
    for (size_t i = 0; i < signer->secret_count; i++)
        if (signer->secret[i].id == id)
            return signer->secret[i].until;
    return 0;
}
