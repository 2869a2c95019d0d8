/* login.h - a route's credentials, read once at start and ready for the wire; and their absence from every log. */
#ifndef WORKER_LOGIN_H
#define WORKER_LOGIN_H

#include "dialogue.h"
#include "hikyaku/config.h"

struct login {
    /* base64 (RFC 4616, and AUTH LOGIN) */
    char plain[DIALOGUE_BASE64_SIZE], user[DIALOGUE_BASE64_SIZE], password[DIALOGUE_BASE64_SIZE];
    char secret[DIALOGUE_SECRET_MAX + 1]; /* the password itself, to find it in what a server repeats */
    bool given;
};

/* Read the file that the route names; login->given stays false where the route has no auth. HK_EINVAL, HK_ENOENT, HK_EIO,
 * HK_ENOMEM with words that name the file and never what stands in it. */
int login_load(const struct cfg_route *route, struct login *login, struct hk_why *why) HK_MUST_USE;

/* Amazon SES' SMTP password of an IAM user's secret access key in one region (version 4), into `out`; HK_ENOMEM when
 * OpenSSL has none. */
#define SES_PASSWORD_SIZE 45u /* base64 of 33 octets, and a NUL */
int ses_password(const char *secret_key, const char *region, char out[SES_PASSWORD_SIZE]) HK_MUST_USE;

/* Put asterisks over what a server repeats of our password, in any of the forms in which it was told. NULL: no log-in. */
void login_mask(const struct login *login, char *text, size_t length);

#endif
