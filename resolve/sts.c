/* sts.c - MTA-STS policy files (RFC 8461 3.2, 4.1). See sts.h. */
#include "sts.h"

#include <stdarg.h>
#include <string.h>

#include "packet.h"

struct text {
    const char *at;
    size_t length;
};

/* What was found so far of the fields that count once. */
struct sts_reader {
    struct sts_policy *policy;
    size_t room; /* of policy->mx */
    bool has_version, has_mode, has_age;
};

static const char *const mode_names[] = {"none", "testing", "enforce"};

const char *sts_mode_name(enum sts_mode mode)
{
    return mode_names[mode];
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static struct text text_trim(struct text text)
{
    while (text.length > 0 && is_blank(text.at[0])) {
        text.at++;
        text.length--;
    }
    while (text.length > 0 && is_blank(text.at[text.length - 1]))
        text.length--;
    return text;
}

static bool text_is(struct text text, const char *word)
{
    return text.length == strlen(word) && memcmp(text.at, word, text.length) == 0;
}

/* Cut the next line off `rest`: without LF or CRLF. */
static struct text line_cut(struct text *rest)
{
    const char *end = memchr(rest->at, '\n', rest->length);
    struct text line = {rest->at, end != NULL ? (size_t)(end - rest->at) : rest->length};
    size_t used = line.length + (end != NULL ? 1 : 0);

    rest->at += used;
    rest->length -= used;
    if (line.length > 0 && line.at[line.length - 1] == '\r')
        line.length--;
    return text_trim(line);
}

static int line_why(struct hk_why *why, struct text line, const char *words)
{
    char clean[80];

    (void)hk_clean_text(clean, sizeof clean, line.at, line.length < 60 ? line.length : 60);
    return why_set(why, HK_EINVAL, "%s: \"%s\"", words, clean);
}

static int take_version(struct sts_reader *reader, struct text value, struct hk_why *why)
{
    if (!reader->has_version && !text_is(value, "STSv1"))
        return line_why(why, value, "its version is not STSv1");
    reader->has_version = true;
    return 0;
}

static int take_mode(struct sts_reader *reader, struct text value, struct hk_why *why)
{
    if (reader->has_mode)
        return 0;
    for (unsigned mode = 0; mode < sizeof mode_names / sizeof mode_names[0]; mode++) {
        if (!text_is(value, mode_names[mode]))
            continue;
        reader->policy->mode = (uint8_t)mode;
        reader->has_mode = true;
        return 0;
    }
    return line_why(why, value, "its mode is not enforce, testing or none");
}

static int take_max_age(struct sts_reader *reader, struct text value, struct hk_why *why)
{
    uint64_t seconds = 0;

    if (reader->has_age)
        return 0;
    if (value.length == 0 || value.length > 10)
        return line_why(why, value, "its max_age is no number of 1 to 10 digits");
    for (size_t i = 0; i < value.length; i++) {
        if (value.at[i] < '0' || value.at[i] > '9')
            return line_why(why, value, "its max_age is no number of 1 to 10 digits");
        seconds = seconds * 10 + (uint64_t)(value.at[i] - '0');
    }
    reader->policy->max_age_s = seconds > STS_AGE_MAX_S ? STS_AGE_MAX_S : (uint32_t)seconds;
    reader->has_age = true;
    return 0;
}

static char *mx_room(struct sts_reader *reader, size_t more)
{
    struct sts_policy *policy = reader->policy;

    if (policy->mx_bytes + more > reader->room) {
        size_t room = 2 * (policy->mx_bytes + more);
        char *mx = realloc(policy->mx, room);

        if (mx == NULL)
            return NULL;
        policy->mx = mx;
        reader->room = room;
    }
    return policy->mx + policy->mx_bytes;
}

static int take_mx(struct sts_reader *reader, struct text value, struct hk_why *why)
{
    char name[DOMAIN_MAX + 3];
    char *to;
    size_t length = value.length;

    if (length > 0 && value.at[length - 1] == '.')
        length--; /* an absolute name means the same */
    if (length == 0 || length >= sizeof name)
        return line_why(why, value, "an mx of it is no host name");
    for (size_t i = 0; i < length; i++)
        name[i] = (char)(value.at[i] >= 'A' && value.at[i] <= 'Z' ? value.at[i] | 0x20 : value.at[i]);
    name[length] = '\0';
    if (strlen(name) != length || !packet_name_is_host(strncmp(name, "*.", 2) == 0 ? name + 2 : name))
        return line_why(why, value, "an mx of it is no host name");
    to = mx_room(reader, length + 1);
    if (to == NULL)
        return why_set(why, HK_ENOMEM, "no memory for the policy");
    memcpy(to, name, length + 1);
    reader->policy->mx_bytes += length + 1;
    reader->policy->mx_count++;
    return 0;
}

static int line_take(struct sts_reader *reader, struct text line, struct hk_why *why)
{
    const char *colon = memchr(line.at, ':', line.length);
    struct text name, value;

    if (colon == NULL)
        return line_why(why, line, "a line of it is no \"name: value\"");
    name = text_trim((struct text){line.at, (size_t)(colon - line.at)});
    value = text_trim((struct text){colon + 1, line.length - (size_t)(colon - line.at) - 1});
    if (text_is(name, "version"))
        return take_version(reader, value, why);
    if (text_is(name, "mode"))
        return take_mode(reader, value, why);
    if (text_is(name, "max_age"))
        return take_max_age(reader, value, why);
    if (text_is(name, "mx"))
        return take_mx(reader, value, why);
    return 0; /* an extension */
}

static int reader_complete(const struct sts_reader *reader, struct hk_why *why)
{
    if (!reader->has_version)
        return why_set(why, HK_EINVAL, "it has no version");
    if (!reader->has_mode)
        return why_set(why, HK_EINVAL, "it has no mode");
    if (!reader->has_age)
        return why_set(why, HK_EINVAL, "it has no max_age");
    if (reader->policy->mode != STS_NONE && reader->policy->mx_count == 0)
        return why_set(why, HK_EINVAL, "it has no mx");
    return 0;
}

int sts_policy_parse(const char *bytes, size_t length, struct sts_policy *out, struct hk_why *why)
{
    struct text rest = {bytes, length};
    struct sts_reader reader = {.policy = out};
    int rc = 0;

    memset(out, 0, sizeof *out);
    if (length > STS_FILE_MAX)
        return why_set(why, HK_ETOOBIG, "it is larger than %u bytes", STS_FILE_MAX);
    while (rc == 0 && rest.length > 0) {
        struct text line = line_cut(&rest);

        if (line.length > 0)
            rc = line_take(&reader, line, why);
    }
    if (rc == 0)
        rc = reader_complete(&reader, why);
    if (rc)
        sts_policy_clear(out);
    return rc;
}

void sts_policy_clear(struct sts_policy *policy)
{
    free(policy->mx);
    memset(policy, 0, sizeof *policy);
}

static bool pattern_matches(const char *pattern, const char *host)
{
    const char *dot;

    if (strncmp(pattern, "*.", 2) != 0)
        return strcmp(pattern, host) == 0;
    dot = strchr(host, '.');
    return dot != NULL && dot != host && strcmp(pattern + 1, dot) == 0;
}

bool sts_policy_lists(const struct sts_policy *policy, const char *host)
{
    for (const char *mx = policy->mx, *end = mx + policy->mx_bytes; mx < end; mx += strlen(mx) + 1)
        if (pattern_matches(mx, host))
            return true;
    return false;
}

/* Append a line that fits as a whole. */
static void HK_PRINTF(3, 4) text_line(char *out, size_t size, const char *format, ...)
{
    size_t used = strlen(out);
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(out + used, size - used, format, args);
    va_end(args);
    if (length < 0 || (size_t)length >= size - used)
        out[used] = '\0';
}

void sts_policy_text(const struct sts_policy *policy, char *out, size_t size)
{
    out[0] = '\0';
    text_line(out, size, "version: STSv1\n");
    text_line(out, size, "mode: %s\n", mode_names[policy->mode]);
    text_line(out, size, "max_age: %u\n", policy->max_age_s);
    for (const char *mx = policy->mx, *end = mx + policy->mx_bytes; mx < end; mx += strlen(mx) + 1)
        text_line(out, size, "mx: %s\n", mx);
}
