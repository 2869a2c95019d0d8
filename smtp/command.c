/* command.c - the server's side of the grammar: one command line into verb, argument, parameters (RFC 5321 4.1).
 *
 * Pure, no allocation: the result points into the line. Never fails: a verb that is not known is
 * VERB_UNKNOWN, and what stands wrongly behind a known one is bad_syntax (a server answers 500 and 501).
 */
#include <string.h>
#include <strings.h>

#include "hikyaku/address.h"
#include "hikyaku/reply.h"

enum argument_rule {
    ARGUMENT_NONE,    /* nothing may follow */
    ARGUMENT_ANY,     /* anything or nothing */
    ARGUMENT_NEEDED,  /* anything but nothing */
    ARGUMENT_HOST,    /* one word */
    ARGUMENT_REVERSE, /* FROM:<path> parameters; <> is the null path */
    ARGUMENT_FORWARD, /* TO:<path> parameters */
};

static const struct verb_row {
    const char *word;
    enum smtp_verb verb;
    enum argument_rule rule;
} verb_table[] = {
    {"MAIL", VERB_MAIL, ARGUMENT_REVERSE}, {"RCPT", VERB_RCPT, ARGUMENT_FORWARD},
    {"DATA", VERB_DATA, ARGUMENT_NONE},    {"EHLO", VERB_EHLO, ARGUMENT_HOST},
    {"HELO", VERB_HELO, ARGUMENT_HOST},    {"QUIT", VERB_QUIT, ARGUMENT_NONE},
    {"RSET", VERB_RSET, ARGUMENT_NONE},    {"NOOP", VERB_NOOP, ARGUMENT_ANY},
    {"AUTH", VERB_AUTH, ARGUMENT_NEEDED},  {"STARTTLS", VERB_STARTTLS, ARGUMENT_NONE},
    {"VRFY", VERB_VRFY, ARGUMENT_NEEDED},  {"HELP", VERB_HELP, ARGUMENT_ANY},
    {"LHLO", VERB_LHLO, ARGUMENT_HOST},
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

/* An octet of an unquoted local part: atext (RFC 5322 3.2.3), a dot, or UTF-8 (RFC 6531). */
static bool is_local(char c)
{
    return is_alnum(c) || (unsigned char)c >= 0x80 ||
           (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~.", c) != NULL);
}

static bool is_domain(char c)
{
    return is_alnum(c) || (unsigned char)c >= 0x80 || c == '-' || c == '.' || c == '_';
}

/* Octets of a quoted string at the front, its quotes included; 0 when it does not close. */
static size_t quoted_length(const char *at, size_t length)
{
    for (size_t i = 1; i < length; i++) {
        if (is_control(at[i]))
            return 0;
        if (at[i] == '"')
            return i + 1;
        if (at[i] == '\\' && (++i >= length || is_control(at[i])))
            return 0;
    }
    return 0;
}

/* Octets of a local part at the front; 0 when there is none. */
static size_t local_length(const char *at, size_t length)
{
    size_t i = 0;

    if (length > 0 && at[0] == '"')
        return quoted_length(at, length);
    while (i < length && is_local(at[i]))
        i++;
    return i;
}

/* A name, or a literal in brackets (RFC 5321 4.1.3), up to the end of the path. */
static bool domain_is_valid(const char *at, size_t length)
{
    if (length == 0 || length > DOMAIN_MAX)
        return false;
    if (at[0] == '[') {
        if (length < 3 || at[length - 1] != ']')
            return false;
        for (size_t i = 1; i < length - 1; i++)
            if (is_control(at[i]) || at[i] == '[' || at[i] == ']' || at[i] == ' ')
                return false;
        return true;
    }
    for (size_t i = 0; i < length; i++)
        if (!is_domain(at[i]) || (at[i] == '.' && (i == 0 || at[i - 1] == '.')))
            return false;
    return true;
}

static bool mailbox_is_valid(const char *at, size_t length)
{
    size_t local = local_length(at, length);

    if (local == 0 || local > ADDRESS_LOCAL_MAX || local >= length || at[local] != '@')
        return false;
    return domain_is_valid(at + local + 1, length - local - 1);
}

/* Where the path ends: the '>' that is not inside quotes. NULL when there is none. */
static const char *path_end(const char *at, const char *end)
{
    while (at < end && *at != '>') {
        if (*at == '"') {
            size_t quoted = quoted_length(at, (size_t)(end - at));

            if (quoted == 0)
                return NULL;
            at += quoted;
        } else {
            at++;
        }
    }
    return at < end ? at : NULL;
}

/* Blank-separated esmtp parameters (RFC 5321 4.1.2): keyword, or keyword=value. */
static bool parameters_are_valid(const char *at, size_t length)
{
    size_t i = 0;

    while (i < length) {
        size_t keyword = 0, value = 0;

        for (; i < length && (is_alnum(at[i]) || (keyword > 0 && at[i] == '-')); i++)
            keyword++;
        if (keyword == 0)
            return false;
        if (i < length && at[i] == '=') {
            for (i++; i < length && at[i] != '=' && !is_blank(at[i]) && !is_control(at[i]); i++)
                value++;
            if (value == 0)
                return false;
        }
        if (i < length && !is_blank(at[i]))
            return false;
        while (i < length && is_blank(at[i]))
            i++;
    }
    return true;
}

/* Leave out "@one.test,@two.test:" (RFC 5321 C: accepted and ignored). */
static const char *route_skip(const char *at, const char *end)
{
    const char *colon = at < end && *at == '@' ? memchr(at, ':', (size_t)(end - at)) : NULL;

    return colon != NULL ? colon + 1 : at;
}

/* "FROM:<path> parameters" or "TO:<path> parameters"; argument holds it all and is narrowed to the path. */
static bool path_parse(struct smtp_command *out, const char *word, bool reverse)
{
    const char *at = out->argument, *end = out->argument + out->argument_length, *close;
    size_t word_length = strlen(word), length;

    if (out->argument_length < word_length || strncasecmp(at, word, word_length) != 0)
        return false;
    for (at += word_length; at < end && is_blank(*at); at++)
        ;
    if (at >= end || *at != '<')
        return false;
    close = path_end(++at, end);
    if (close == NULL)
        return false;
    at = route_skip(at, close);
    length = (size_t)(close - at);
    out->argument = at;
    out->argument_length = length;
    if (close + 1 < end && !is_blank(close[1]))
        return false;
    for (close++; close < end && is_blank(*close); close++)
        ;
    out->parameters = close;
    out->parameters_length = (size_t)(end - close);
    if (!parameters_are_valid(out->parameters, out->parameters_length))
        return false;
    if (length == 0)
        return reverse;
    if (!reverse && length == 10 && strncasecmp(at, "postmaster", 10) == 0)
        return true;
    return mailbox_is_valid(at, length);
}

static bool argument_is_valid(struct smtp_command *out, enum argument_rule rule)
{
    switch (rule) {
    case ARGUMENT_NONE:
        return out->argument_length == 0;
    case ARGUMENT_ANY:
        return true;
    case ARGUMENT_NEEDED:
        return out->argument_length > 0;
    case ARGUMENT_HOST:
        for (size_t i = 0; i < out->argument_length; i++)
            if (is_blank(out->argument[i]))
                return false;
        return out->argument_length > 0;
    case ARGUMENT_REVERSE:
        return path_parse(out, "FROM:", true);
    case ARGUMENT_FORWARD:
        return path_parse(out, "TO:", false);
    }
    return false;
}

static const struct verb_row *verb_find(const char *line, size_t length)
{
    for (size_t i = 0; i < sizeof verb_table / sizeof verb_table[0]; i++)
        if (strlen(verb_table[i].word) == length && strncasecmp(verb_table[i].word, line, length) == 0)
            return &verb_table[i];
    return NULL;
}

void smtp_command_parse(const char *line, size_t length, struct smtp_command *out)
{
    const struct verb_row *row;
    size_t verb = 0, at;
    bool control = false;

    while (length > 0 && is_blank(line[length - 1]))
        length--;
    while (verb < length && !is_blank(line[verb]))
        verb++;
    for (at = verb; at < length && is_blank(line[at]); at++)
        ;
    *out = (struct smtp_command){.argument = line + at,
                                 .argument_length = length - at,
                                 .parameters = line + length,
                                 .verb = VERB_UNKNOWN};
    row = verb_find(line, verb);
    if (row == NULL)
        return;
    out->verb = row->verb;
    for (size_t i = verb; i < length; i++)
        control = control || (is_control(line[i]) && line[i] != '\t');
    out->bad_syntax = !argument_is_valid(out, row->rule) || control;
}
