/* login.c - see login.h. */
#include "login.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#define SES_VERSION      0x04
#define SES_KEY_BYTES    32u /* HMAC-SHA256 */
#define PASSWORD_BYTES   4096u
#define MASKED_ANYWAY_AT 6u /* a shorter secret is a word that replies are full of */

static void base64(char *out, size_t size, const void *bytes, size_t length)
{
    HK_BUG_ON((length + 2) / 3 * 4 >= size);
    (void)EVP_EncodeBlock((unsigned char *)out, bytes, (int)length);
}

int ses_password(const char *secret_key, const char *region, char out[SES_PASSWORD_SIZE])
{
    const char *const step[] = {"11111111", region, "ses", "aws4_request", "SendRawEmail"};
    unsigned char key[DIALOGUE_SECRET_MAX + 8], versioned[1 + SES_KEY_BYTES];
    int length = snprintf((char *)key, sizeof key, "AWS4%s", secret_key);
    int error = length < 0 || (size_t)length >= sizeof key ? HK_ETOOBIG : 0;

    for (size_t i = 0; error == 0 && i < sizeof step / sizeof *step; i++) {
        unsigned int made = SES_KEY_BYTES;
        if (HMAC(EVP_sha256(), key, length, (const unsigned char *)step[i], strlen(step[i]), versioned + 1,
                 &made) == NULL)
            error = HK_ENOMEM;
        memcpy(key, versioned + 1, SES_KEY_BYTES);
        length = (int)SES_KEY_BYTES;
    }
    if (error == 0) {
        versioned[0] = SES_VERSION;
        base64(out, SES_PASSWORD_SIZE, versioned, sizeof versioned);
    }
    OPENSSL_cleanse(key, sizeof key);
    OPENSSL_cleanse(versioned, sizeof versioned);
    return error;
}

static void login_make(const struct cfg_route *route, struct login *login)
{
    char both[2 * DIALOGUE_SECRET_MAX + 2];
    size_t user = strlen(route->user), password = strlen(login->secret);

    both[0] = '\0';
    memcpy(both + 1, route->user, user);
    both[1 + user] = '\0';
    memcpy(both + 2 + user, login->secret, password);
    base64(login->plain, sizeof login->plain, both, user + 2 + password);
    base64(login->user, sizeof login->user, route->user, user);
    base64(login->password, sizeof login->password, login->secret, password);
    login->given = true;
    OPENSSL_cleanse(both, sizeof both);
}

int login_load(const struct cfg_route *route, struct login *login, struct hk_why *why)
{
    const char *path = route->secret_key_file != NULL ? route->secret_key_file : route->password_file;
    char key[DIALOGUE_SECRET_MAX + 1], *text = NULL;
    size_t length = 0;
    int error;

    if (route->user == NULL)
        return 0;
    error = hk_read_file(path, PASSWORD_BYTES, &text, &length, why);
    if (error != 0)
        return error;
    length = strcspn(text, "\r\n");
    if (length == 0 || length > DIALOGUE_SECRET_MAX || route->user[0] == '\0' ||
        strlen(route->user) > DIALOGUE_SECRET_MAX) {
        error =
            why_set(why, HK_EINVAL, "route %s: user and password need 1 to %u bytes (the first line of %s)",
                    route->domain, DIALOGUE_SECRET_MAX, path);
    } else {
        memcpy(login->secret, text, length);
        login->secret[length] = '\0';
    }
    if (error == 0 && route->secret_key_file != NULL) {
        memcpy(key, login->secret, sizeof key);
        error = ses_password(key, route->region, login->secret);
        OPENSSL_cleanse(key, sizeof key);
    }
    if (error == 0)
        login_make(route, login);
    OPENSSL_cleanse(text, strlen(text));
    free(text);
    return error;
}

static void mask(char *text, size_t length, const char *secret)
{
    size_t secret_length = strlen(secret);
    char *at;

    while (secret_length > 0 && (at = memmem(text, length, secret, secret_length)) != NULL)
        memset(at, '*', secret_length);
}

void login_mask(const struct login *login, char *text, size_t length)
{
    if (login == NULL || !login->given)
        return;
    mask(text, length, login->plain);
    mask(text, length, login->password);
    if (strlen(login->secret) >= MASKED_ANYWAY_AT)
        mask(text, length, login->secret);
}
