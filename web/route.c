/* route.c - see route.h. */
#include "route.h"

#include <ctype.h>
#include <openssl/crypto.h>
#include <string.h>
#include <strings.h>

/* As message/ does it: behind a slash or an equals sign directly, else as a query. */
static const char *joint_of(const char *url)
{
    if (strchr("/=?&", url[strlen(url) - 1]) != NULL)
        return "";
    return strchr(url, '?') != NULL ? "&" : "?";
}

static int unsubscribe_prefix(const char *url, char *out, struct hk_why *why)
{
    const char *host = strstr(url, "://"), *path;

    if (host == NULL || strchr(url, '#') != NULL)
        return why_set(why, HK_EINVAL, "sender.unsubscribe_url has no host, or a fragment");
    path = host + 3 + strcspn(host + 3, "/?");
    if (snprintf(out, ROUTE_PREFIX_MAX, "%s%s%s", path[0] == '/' ? "" : "/", path, joint_of(url)) >=
        (int)ROUTE_PREFIX_MAX)
        return why_set(why, HK_EINVAL, "sender.unsubscribe_url is too long");
    return 0;
}

static bool is_secret(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)text[i]) && text[i] != '-' && text[i] != '_')
            return false;
    return length >= ROUTE_SECRET_MIN && length <= ROUTE_SECRET_MAX;
}

int route_table_make(const struct config *config, const char *secret, struct route_table *out,
                     struct hk_why *why)
{
    int error = 0;

    memset(out, 0, sizeof *out);
    if (config->sender.unsubscribe_url != NULL)
        error = unsubscribe_prefix(config->sender.unsubscribe_url, out->unsubscribe, why);
    if (error != 0 || (config->sns.topics.count == 0 && secret == NULL))
        return error;
    if (snprintf(out->sns, sizeof out->sns, "%s", config->sns.path) >= (int)sizeof out->sns)
        return why_set(why, HK_EINVAL, "sns.path is too long");
    if (secret == NULL)
        return 0;
    if (!is_secret(secret, strlen(secret)))
        return why_set(
            why, HK_EINVAL,
            "sns.secret_file has to have %u to %u letters, digits, '-' or '_' in its first line; make one "
            "with: openssl rand -hex 24",
            ROUTE_SECRET_MIN, ROUTE_SECRET_MAX);
    (void)snprintf(out->secret, sizeof out->secret, "%s", secret);
    return 0;
}

/* A token, and what mail programs and scanners put behind it: further parameters. */
static bool read_token(const char *text, char *out)
{
    size_t length = 0;

    while (isalnum((unsigned char)text[length]))
        length++;
    if (length == 0 || length > ROUTE_TOKEN_MAX ||
        (text[length] != '\0' && strchr("?&/", text[length]) == NULL))
        return false;
    if (text[length] == '/' && text[length + 1] != '\0')
        return false;
    for (size_t i = 0; i < length; i++)
        out[i] = (char)tolower((unsigned char)text[i]);
    out[length] = '\0';
    return true;
}

/* In a time that does not tell how much of it was right. */
static bool is_the_secret(const struct route_table *table, const char *text)
{
    char padded[ROUTE_SECRET_MAX + 1] = {0}, right[ROUTE_SECRET_MAX + 1] = {0};
    size_t length = strcspn(text, "?");

    if (table->secret[0] == '\0' || length > ROUTE_SECRET_MAX)
        return false;
    memcpy(padded, text, length);
    memcpy(right, table->secret, strlen(table->secret));
    return CRYPTO_memcmp(padded, right, sizeof right) == 0;
}

static const char *behind(const char *target, const char *prefix)
{
    size_t length = strlen(prefix);

    return length > 0 && strncmp(target, prefix, length) == 0 ? target + length : NULL;
}

void route_read(const struct route_table *table, const char *target, struct route *out)
{
    const char *rest = behind(target, table->sns);

    memset(out, 0, sizeof *out);
    if (rest != NULL && (rest[0] == '\0' || rest[0] == '?')) {
        out->what = ROUTE_SNS;
        return;
    }
    if (rest != NULL && rest[0] == '/' && is_the_secret(table, rest + 1)) {
        out->what = ROUTE_RAW;
        return;
    }
    rest = behind(target, table->unsubscribe);
    if (rest == NULL)
        return;
    out->what = ROUTE_UNSUBSCRIBE;
    if (!read_token(rest, out->token))
        out->token[0] = '\0';
}

/* ---- languages ---- */

/* ";q=0.5" in thousandths; 1000 where there is none, 0 where it cannot be read. */
static unsigned quality(const char *text, const char *end)
{
    unsigned thousandths = 0, scale = 1000;

    while (text < end && (*text == ';' || *text == ' ' || *text == '\t'))
        text++;
    if (text == end)
        return 1000;
    if (end - text < 3 || (text[0] != 'q' && text[0] != 'Q') || text[1] != '=' ||
        !isdigit((unsigned char)text[2]))
        return 0;
    for (text += 2; text < end && (isdigit((unsigned char)*text) || *text == '.') && scale > 0; text++)
        if (*text != '.') {
            thousandths += (unsigned)(*text - '0') * scale;
            scale /= 10;
        }
    return thousandths > 1000 ? 1000 : thousandths;
}

static bool is_language(const char *text, size_t length, const char *tag)
{
    size_t n = strlen(tag);

    return length >= n && strncasecmp(text, tag, n) == 0 && (length == n || text[n] == '-');
}

enum route_language route_language(const char *accept)
{
    unsigned best[2] = {0, 0}; /* by language */
    unsigned any = 0;

    if (accept == NULL)
        return LANGUAGE_EN;
    for (unsigned i = 0; i < 64 && *accept != '\0'; i++) {
        const char *end = accept + strcspn(accept, ",");
        size_t length;
        unsigned q;
        accept += strspn(accept, " \t");
        if (accept > end)
            accept = end;
        length = strcspn(accept, ";, \t");
        q = quality(accept + length, end);
        if (is_language(accept, length, "en") && q > best[LANGUAGE_EN])
            best[LANGUAGE_EN] = q;
        else if (is_language(accept, length, "ja") && q > best[LANGUAGE_JA])
            best[LANGUAGE_JA] = q;
        else if (length == 1 && accept[0] == '*')
            any = q;
        accept = end + (*end == ',');
    }
    return best[LANGUAGE_JA] > (best[LANGUAGE_EN] > any ? best[LANGUAGE_EN] : any) ? LANGUAGE_JA
                                                                                   : LANGUAGE_EN;
}
