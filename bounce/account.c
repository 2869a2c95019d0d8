/* account.c - replies of a relay that are about our account with it, not about a recipient (bounce-facts 2, Amazon SES).
 *
 * Pure: no allocation, no state. Only what a relay says to those who log in is looked for, so the caller asks for relays
 * alone: the same words of a receiver are another matter (classify.c).
 */
#include <ctype.h>
#include <string.h>

#include "hikyaku/classify.h"

static const struct {
    const char *text; /* lower case, found anywhere in the reply */
    uint16_t code;
    enum account_fault fault;
} ses_rules[] = {
    {"maximum sending rate exceeded", 454, ACCOUNT_RATE},
    {"daily message quota exceeded", 454, ACCOUNT_QUOTA},
    {"is not verified", 554, ACCOUNT_IDENTITY},
    {"failed the check in region", 554, ACCOUNT_IDENTITY},
    {"sending paused", 554, ACCOUNT_CLOSED},
    {"sending suspended", 554, ACCOUNT_CLOSED},
    {"access denied", 554, ACCOUNT_CLOSED},
    {"account is suspended", 554, ACCOUNT_CLOSED},
    {"account is paused", 554, ACCOUNT_CLOSED},
    {"configuration set", 554, ACCOUNT_SETTING},
    {"duplicate header", 554, ACCOUNT_MESSAGE},
};

static bool holds(const char *text, size_t length, const char *words)
{
    size_t want = strlen(words);

    for (size_t at = 0; at + want <= length; at++) {
        size_t i = 0;
        while (i < want && (tolower((unsigned char)text[at + i]) == words[i] ||
                            (words[i] == ' ' && text[at + i] == '\n')))
            i++;
        if (i == want)
            return true;
    }
    return false;
}

enum account_fault account_fault_of(bool is_ses, uint16_t code, const char *text, size_t length)
{
    if (code == 530 || code == 534 || code == 535 || code == 538)
        return ACCOUNT_LOGIN;
    for (size_t i = 0; is_ses && i < sizeof ses_rules / sizeof *ses_rules; i++)
        if (ses_rules[i].code == code && holds(text, length, ses_rules[i].text))
            return ses_rules[i].fault;
    return ACCOUNT_FINE;
}

bool account_fault_stops(enum account_fault fault)
{
    return fault > ACCOUNT_QUOTA;
}

const char *account_advice(enum account_fault fault)
{
    static const char *const advice[] = {
        [ACCOUNT_FINE] = "",
        [ACCOUNT_RATE] = "slower",
        [ACCOUNT_QUOTA] = "later",
        [ACCOUNT_IDENTITY] =
            "verify the named address or its domain in SES, in the region of the route; if it is the "
            "recipient's, the account is in the sandbox: ask AWS for production access",
        [ACCOUNT_CLOSED] =
            "the account may not send: see the account dashboard of SES, and that the IAM user has the "
            "right ses:SendRawEmail",
        [ACCOUNT_SETTING] = "make the configuration set in SES, or mend configuration_set of the route",
        [ACCOUNT_MESSAGE] =
            "SES does not take this message from anybody: mend it, and send it as another campaign",
        [ACCOUNT_LOGIN] =
            "the relay does not accept the log-in: see user and password_file (SES: secret_key_file and "
            "region) in auth of the route",
    };

    return (unsigned)fault < sizeof advice / sizeof *advice ? advice[fault] : "";
}

size_t ses_message_id(const char *text, size_t length, const char **id)
{
    static const char ok[] = "ok ";
    size_t at = 0, end;

    while (at < sizeof ok - 1 && at < length && tolower((unsigned char)text[at]) == ok[at])
        at++;
    if (at < sizeof ok - 1)
        return 0;
    end = at;
    while (end < length && (isalnum((unsigned char)text[end]) || text[end] == '-' || text[end] == '.'))
        end++;
    *id = text + at;
    return end - at <= SES_MESSAGE_ID_MAX ? end - at : 0;
}
