/* config_value.c - one text of the configuration into its field and back, for each type of the directive table.
 *
 * A read checks everything that can be said about the value alone, range included, and answers with "what is
 * wrong; what to write". No look-up of names, no file is opened.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <string.h>

#include "config_table.h"
#include "hikyaku/address.h"

#define TEXT_MAX       1024u
#define NAME_MAX_BYTES 253u

/* What a reader works on. */
struct input {
    const struct config_row *row;
    const struct config_place *place;
    void *base;
    void *field;
    const char *text;
    char *what;
};

static const char *const type_words[] = {
#define CONFIG_TYPE_WORDS(name, words) words,
    CONFIG_TYPES(CONFIG_TYPE_WORDS)
#undef CONFIG_TYPE_WORDS
};

bool config_type_is_list(enum config_type type)
{
    return type == CONF_PATTERNS || type == CONF_TEXTS || type == CONF_ADDRESSES || type == CONF_RELAYS ||
           type == CONF_TIMES_S || type == CONF_SOURCES || type == CONF_WEIGHTS;
}

static size_t *count_of(const struct config_row *row, void *base)
{
    if (row->type == CONF_PATTERNS || row->type == CONF_TEXTS)
        return &((struct cfg_list *)((char *)base + row->at))->count;
    return (size_t *)((char *)base + row->count_at);
}

HK_PRINTF(2, 3) static int refuse(const struct input *in, const char *format, ...)
{
    char said[CONFIG_WHAT_BYTES / 2];
    va_list ap;

    va_start(ap, format);
    vsnprintf(said, sizeof said, format, ap);
    va_end(ap);
    snprintf(in->what, CONFIG_WHAT_BYTES, "%s", said);
    return HK_EINVAL;
}

/* "port = "x" is no port number; write ..." */
static int refuse_form(const struct input *in)
{
    return refuse(in, "%s \"%.60s\" is not understood; write %s", config_row_key(in->row), in->text,
                  type_words[in->row->type]);
}

/* --- numbers --- */

/* Digits at the start of *text; moves it behind them. False: none, or more than anyone can mean. */
static bool take_number(const char **text, uint64_t *out)
{
    const char *at = *text;

    *out = 0;
    while (isdigit((unsigned char)*at) && at - *text < 12)
        *out = *out * 10 + (uint64_t)(*at++ - '0');
    if (at == *text || isdigit((unsigned char)*at))
        return false;
    *text = at;
    return true;
}

struct unit {
    const char *word;
    uint64_t factor;
};

static const struct unit time_units[] = {
    {"d", 86400000}, {"h", 3600000}, {"min", 60000}, {"s", 1000}, {"ms", 1}, {NULL, 0},
};
static const struct unit size_units[] = {
    {"gb", 1u << 30}, {"mb", 1u << 20}, {"kb", 1u << 10}, {"b", 1}, {NULL, 0},
};
static const struct unit rate_units[] = {
    {"/d", 86400000}, {"/h", 3600000}, {"/min", 60000}, {"/s", 1000}, {NULL, 0},
};

static const struct unit *find_unit(const struct unit *units, const char *word)
{
    for (; units->word != NULL; units++)
        if (strcmp(units->word, word) == 0)
            return units;
    return NULL;
}

/* The largest unit that leaves no rest. */
static char *text_with_unit(const struct unit *units, uint64_t value)
{
    while (value == 0 ? units[1].word != NULL : value % units->factor != 0)
        units++;
    return hk_xasprintf("%llu%s", (unsigned long long)(value / units->factor), units->word);
}

static char *range_text(enum config_type type, uint64_t value)
{
    if (type == CONF_TIME_MS || type == CONF_TIME_S || type == CONF_TIMES_S || type == CONF_EXPIRY_S)
        return text_with_unit(time_units, value);
    if (type == CONF_SIZE)
        return text_with_unit(size_units, value);
    return hk_xasprintf("%llu", (unsigned long long)value);
}

static int check_range(const struct input *in, uint64_t value)
{
    const struct config_row *row = in->row;
    char *min, *max;

    if (value >= row->min && value <= row->max)
        return 0;
    min = range_text(row->type, row->min);
    max = range_text(row->type, row->max);
    refuse(in, "%s %.60s is out of range; write %s to %s", config_row_key(row), in->text, min, max);
    free(min);
    free(max);
    return HK_EINVAL;
}

static int read_number(const struct input *in, uint64_t *out)
{
    const char *at = in->text;

    if (!take_number(&at, out) || *at != '\0')
        return refuse_form(in);
    return check_range(in, *out);
}

static int read_with_unit(const struct input *in, const struct unit *units, uint64_t *out)
{
    const char *at = in->text;
    const struct unit *unit;

    if (!take_number(&at, out))
        return refuse_form(in);
    unit = find_unit(units, at);
    if (unit == NULL)
        return refuse_form(in);
    *out *= unit->factor; /* 12 digits times a day's milliseconds: below 2^63 */
    return check_range(in, *out);
}

static int read_count(const struct input *in)
{
    uint64_t value;
    int rc;

    if (in->row->type == CONF_LIMIT && strcmp(in->text, "none") == 0) {
        *(uint32_t *)in->field = UINT32_MAX;
        return 0;
    }
    rc = read_number(in, &value);
    if (rc == 0)
        *(uint32_t *)in->field = (uint32_t)value;
    return rc;
}

static int read_workers(const struct input *in)
{
    cpu_set_t usable;
    int n;

    if (strcmp(in->text, "auto") != 0)
        return read_count(in);
    n = sched_getaffinity(0, sizeof usable, &usable) == 0 ? CPU_COUNT(&usable) : 1;
    if (n > (int)in->row->max)
        n = (int)in->row->max;
    *(uint32_t *)in->field = n < 1 ? 1u : (uint32_t)n;
    return 0;
}

static int read_port(const struct input *in)
{
    uint64_t value;
    int rc = read_number(in, &value);

    if (rc == 0)
        *(uint16_t *)in->field = (uint16_t)value;
    return rc;
}

static int read_time(const struct input *in)
{
    uint64_t ms;
    int rc = read_with_unit(in, time_units, &ms);

    if (rc != 0)
        return rc;
    if (in->row->type != CONF_TIME_MS && ms % 1000 != 0)
        return refuse(in, "%s %.60s is no whole number of seconds; write %" PRIu64 "s",
                      config_row_key(in->row), in->text, ms / 1000 + 1);
    *(uint32_t *)in->field = (uint32_t)(in->row->type == CONF_TIME_MS ? ms : ms / 1000);
    return 0;
}

static int read_expiry(const struct input *in)
{
    if (strcmp(in->text, "never") != 0)
        return read_time(in);
    *(uint32_t *)in->field = UINT32_MAX;
    return 0;
}

static int read_size(const struct input *in)
{
    uint64_t bytes;
    int rc = read_with_unit(in, size_units, &bytes);

    if (rc == 0)
        *(uint64_t *)in->field = bytes;
    return rc;
}

static int read_rate(const struct input *in)
{
    const char *at = in->text;
    const struct unit *unit;
    uint64_t count;
    int rc;

    if (strcmp(in->text, "none") == 0) {
        *(struct cfg_rate *)in->field = (struct cfg_rate){0};
        return 0;
    }
    if (!take_number(&at, &count) || (unit = find_unit(rate_units, at)) == NULL)
        return refuse_form(in);
    rc = check_range(in, count);
    if (rc == 0)
        *(struct cfg_rate *)in->field =
            (struct cfg_rate){.count = (uint32_t)count, .per_ms = (uint32_t)unit->factor};
    return rc;
}

/* --- words --- */

static size_t word_length(const char *words)
{
    return strcspn(words, "|");
}

/* The position of text in "a|b|c", or -1. */
static int word_position(const char *words, const char *text)
{
    for (int i = 0;; i++) {
        size_t length = word_length(words);
        if (strlen(text) == length && memcmp(words, text, length) == 0)
            return i;
        if (words[length] == '\0')
            return -1;
        words += length + 1;
    }
}

static char *word_at(const char *words, int position)
{
    for (; position > 0; position--)
        words += word_length(words) + 1;
    return hk_xasprintf("%.*s", (int)word_length(words), words);
}

static int read_word(const struct input *in)
{
    int position = word_position(in->row->words, in->text);

    if (position < 0)
        return refuse(in, "%s \"%.60s\" is not understood; write one of %s", config_row_key(in->row),
                      in->text, in->row->words);
    if (in->row->type == CONF_CHOICE)
        *(int *)in->field = position;
    else if (in->row->type == CONF_FLAG)
        *(bool *)in->field = position == 1;
    else
        *(char **)in->field = hk_xstrdup(in->text);
    return 0;
}

/* --- texts --- */

static int check_text(const struct input *in)
{
    if (in->text[0] == '\0')
        return refuse(in, "%s is empty; write %s, or leave the key out", config_row_key(in->row),
                      type_words[in->row->type]);
    if (strlen(in->text) > TEXT_MAX)
        return refuse(in, "%s is longer than %u bytes; write %s", config_row_key(in->row), TEXT_MAX,
                      type_words[in->row->type]);
    for (const char *c = in->text; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f)
            return refuse(in, "%s holds a control character; write %s in one line", config_row_key(in->row),
                          type_words[in->row->type]);
    return 0;
}

static int read_text(const struct input *in)
{
    int rc = check_text(in);

    if (rc == 0)
        *(char **)in->field = hk_xstrdup(in->text);
    return rc;
}

static bool name_is_valid(const char *name)
{
    size_t label = 0, length = strlen(name);

    if (length == 0 || length > NAME_MAX_BYTES)
        return false;
    for (size_t i = 0; i < length; i++) {
        if (name[i] == '.') {
            if (label == 0)
                return false;
            label = 0;
        } else if (isalnum((unsigned char)name[i]) || name[i] == '-' || name[i] == '_') {
            if (++label > 63)
                return false;
        } else {
            return false;
        }
    }
    return label > 0;
}

/* A valid name as it goes on the wire, allocated; NULL: it is none. */
static char *wire_name(const char *text)
{
    char ascii[DOMAIN_MAX + 1];

    if (name_is_valid(text))
        return hk_xstrdup(text);
    if (text[strcspn(text, "*@ ")] != '\0' || domain_to_ascii(text, strlen(text), ascii, NULL) != 0 ||
        !name_is_valid(ascii))
        return NULL;
    return hk_xstrdup(ascii);
}

static int read_name(const struct input *in)
{
    int rc = check_text(in);
    char *name = rc == 0 ? wire_name(in->text) : NULL;

    if (rc != 0)
        return rc;
    if (name == NULL)
        return refuse(in, "%s \"%.60s\" is no host or domain name; write one such as \"example.com\"",
                      config_row_key(in->row), in->text);
    *(char **)in->field = name;
    return 0;
}

static int read_url(const struct input *in)
{
    const char *host;
    int rc = check_text(in);

    if (rc != 0)
        return rc;
    host = strncmp(in->text, "https://", 8) == 0  ? in->text + 8
           : strncmp(in->text, "http://", 7) == 0 ? in->text + 7
                                                  : "";
    if (!isalnum((unsigned char)host[0]) && host[0] != '[')
        return refuse_form(in);
    if (strpbrk(in->text, " <>\"") != NULL)
        return refuse(in, "%s \"%.60s\" holds a character that no URL has; write it percent-encoded",
                      config_row_key(in->row), in->text);
    *(char **)in->field = hk_xstrdup(in->text);
    return 0;
}

static bool literal_is_valid(const char *text)
{
    unsigned char binary[16];

    return inet_pton(AF_INET, text, binary) == 1 || inet_pton(AF_INET6, text, binary) == 1;
}

static int read_literal(const struct input *in)
{
    if (!literal_is_valid(in->text))
        return refuse(in, "%s \"%.60s\" is no IP address; write one such as \"192.0.2.1\" or \"2001:db8::1\"",
                      config_row_key(in->row), in->text);
    *(char **)in->field = hk_xstrdup(in->text);
    return 0;
}

static int read_file(const struct input *in)
{
    const char *directory =
        in->row->type == CONF_STATE_FILE ? in->place->config->state_dir : in->place->directory;
    int rc = check_text(in);

    if (rc != 0)
        return rc;
    *(char **)in->field =
        in->text[0] == '/' ? hk_xstrdup(in->text) : hk_xasprintf("%s/%s", directory, in->text);
    return 0;
}

/* --- host:port --- */

static bool looks_like_ipv4(const char *host)
{
    return host[strspn(host, "0123456789.")] == '\0';
}

static int read_address_into(const struct input *in, struct cfg_address *out)
{
    const char *text = in->text, *colon = strrchr(text, ':'), *at;
    bool bracketed = text[0] == '[';
    uint64_t port;
    char *host;

    if (colon == NULL || colon == text || (bracketed && colon[-1] != ']'))
        return refuse_form(in);
    at = colon + 1;
    if (!take_number(&at, &port) || *at != '\0' || port < 1 || port > 65535)
        return refuse(in, "%s \"%.60s\" has no port from 1 to 65535 behind its colon; write %s",
                      config_row_key(in->row), text, type_words[in->row->type]);
    host = bracketed ? hk_xasprintf("%.*s", (int)(colon - text - 2), text + 1)
                     : hk_xasprintf("%.*s", (int)(colon - text), text);
    if (bracketed || looks_like_ipv4(host) ? !literal_is_valid(host) : !name_is_valid(host)) {
        free(host);
        return refuse(in, "%s \"%.60s\" holds no valid address or name; write %s", config_row_key(in->row),
                      text, type_words[in->row->type]);
    }
    *out = (struct cfg_address){.host = host, .port = (uint16_t)port};
    return 0;
}

/* --- lists: one entry more --- */

static int read_addresses(const struct input *in)
{
    struct cfg_address **list = in->field, one;
    size_t *count = count_of(in->row, in->base);
    int rc = read_address_into(in, &one);

    if (rc != 0)
        return rc;
    *list = hk_xrealloc(*list, *count + 1, sizeof one);
    (*list)[(*count)++] = one;
    return 0;
}

/* The word ses stands as a host without a port, which no address can be, until the route's region is known. */
static int read_relays(const struct input *in)
{
    struct cfg_address **list = in->field;
    size_t *count = count_of(in->row, in->base);

    if (*count == ROUTE_RELAYS_MAX)
        return refuse(in, "relay \"%.60s\" is one too many; write up to %u of them", in->text,
                      ROUTE_RELAYS_MAX);
    if (strcmp(in->text, "ses") != 0)
        return read_addresses(in);
    *list = hk_xrealloc(*list, *count + 1, sizeof **list);
    (*list)[(*count)++] = (struct cfg_address){.host = hk_xstrdup("ses")};
    return 0;
}

static int read_pattern(const struct input *in)
{
    struct cfg_list *list = in->field;
    bool below = strncmp(in->text, "*.", 2) == 0;
    char *name = wire_name(in->text + (below ? 2 : 0));

    if (name == NULL)
        return refuse_form(in);
    list->item = hk_xrealloc(list->item, list->count + 1, sizeof *list->item);
    list->item[list->count++] = hk_xasprintf("%s%s", below ? "*." : "", name);
    free(name);
    return 0;
}

/* What it has to look like, the section's own check says. */
static int read_text_of_list(const struct input *in)
{
    struct cfg_list *list = in->field;

    if (in->text[0] == '\0')
        return refuse_form(in);
    list->item = hk_xrealloc(list->item, list->count + 1, sizeof *list->item);
    list->item[list->count++] = hk_xstrdup(in->text);
    return 0;
}

static void grow_numbers(uint32_t **list, size_t *count, uint32_t value)
{
    *list = hk_xrealloc(*list, *count + 1, sizeof **list);
    (*list)[(*count)++] = value;
}

static int read_times(const struct input *in)
{
    uint32_t seconds;
    struct input one = *in;
    int rc;

    one.field = &seconds;
    rc = read_time(&one);
    if (rc == 0)
        grow_numbers(in->field, count_of(in->row, in->base), seconds);
    return rc;
}

static int read_source(const struct input *in)
{
    const struct config *config = in->place->config;
    struct cfg_pool *pool = in->base;

    for (uint32_t i = 0; i < config->source_count; i++) {
        if (strcmp(config->source[i].name, in->text) != 0)
            continue;
        for (size_t k = 0; k < pool->count; k++)
            if (pool->source[k] == i)
                return refuse(in, "source \"%.60s\" stands in the pool twice; write it once, with its weight",
                              in->text);
        grow_numbers(in->field, &pool->count, i);
        return 0;
    }
    return refuse(
        in,
        "there is no source \"%.60s\"; write source \"%.60s\" { address = \"...\" }, or the title of one "
        "that is there",
        in->text, in->text);
}

/* The row of the weights comes behind the row of the sources, whose number is the count of both. */
static int read_weight(const struct input *in)
{
    struct cfg_pool *pool = in->base;
    uint64_t value;
    size_t have = 0;
    int rc = read_number(in, &value);

    if (rc != 0)
        return rc;
    if (pool->weight == NULL)
        pool->weight = hk_xcalloc(pool->count, sizeof *pool->weight);
    while (have < pool->count && pool->weight[have] != 0)
        have++;
    if (have == pool->count)
        return refuse(in, "pool \"%.60s\" has more weights than sources; write one weight for each source",
                      pool->name);
    pool->weight[have] = (uint32_t)value;
    return 0;
}

/* --- the types --- */

static int (*const readers[])(const struct input *) = {
    [CONF_TEXT] = read_text,          [CONF_WORD] = read_word,        [CONF_CHOICE] = read_word,
    [CONF_FLAG] = read_word,          [CONF_NAME] = read_name,        [CONF_URL] = read_url,
    [CONF_LITERAL] = read_literal,    [CONF_FILE] = read_file,        [CONF_STATE_FILE] = read_file,
    [CONF_COUNT] = read_count,        [CONF_LIMIT] = read_count,      [CONF_WORKERS] = read_workers,
    [CONF_PORT] = read_port,          [CONF_TIME_MS] = read_time,     [CONF_TIME_S] = read_time,
    [CONF_EXPIRY_S] = read_expiry,    [CONF_SIZE] = read_size,        [CONF_RATE] = read_rate,
    [CONF_RELAYS] = read_relays,      [CONF_PATTERNS] = read_pattern, [CONF_ADDRESSES] = read_addresses,
    [CONF_TIMES_S] = read_times,      [CONF_SOURCES] = read_source,   [CONF_WEIGHTS] = read_weight,
    [CONF_TEXTS] = read_text_of_list,
};

int config_value_set(const struct config_row *row, const struct config_place *place, void *base,
                     const char *text, char what[CONFIG_WHAT_BYTES])
{
    struct input in = {.row = row,
                       .place = place,
                       .base = base,
                       .field = (char *)base + row->at,
                       .text = text,
                       .what = what};

    return readers[row->type](&in);
}

void config_value_default(const struct config_row *row, const struct config_place *place, void *base)
{
    char what[CONFIG_WHAT_BYTES] = "";
    char *copy, *left, *word;

    if (row->standard == NULL || row->standard[0] == '=')
        return;
    copy = left = hk_xstrdup(row->standard);
    while ((word = strsep(&left, " ")) != NULL)
        HK_BUG_ON(config_value_set(row, place, base, word, what) != 0);
    free(copy);
}

static void free_list(struct cfg_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->item[i]);
    free(list->item);
    *list = (struct cfg_list){0};
}

static void clear_array(const struct config_row *row, void *base)
{
    void **array = (void **)((char *)base + row->at);
    size_t *count = count_of(row, base);

    if (row->type == CONF_ADDRESSES || row->type == CONF_RELAYS)
        for (size_t i = 0; i < *count; i++)
            free(((struct cfg_address *)*array)[i].host);
    free(*array);
    *array = NULL;
    if (row->type != CONF_WEIGHTS)
        *count = 0;
}

void config_value_clear(const struct config_row *row, void *base)
{
    void *field = (char *)base + row->at;

    switch (row->type) {
    case CONF_TEXT:
    case CONF_WORD:
    case CONF_NAME:
    case CONF_URL:
    case CONF_LITERAL:
    case CONF_FILE:
    case CONF_STATE_FILE:
        free(*(char **)field);
        *(char **)field = NULL;
        break;
    case CONF_PATTERNS:
    case CONF_TEXTS:
        free_list(field);
        break;
    case CONF_ADDRESSES:
    case CONF_RELAYS:
    case CONF_TIMES_S:
    case CONF_SOURCES:
    case CONF_WEIGHTS:
        clear_array(row, base);
        break;
    default:
        break; /* a number: it owns nothing, and what comes overwrites it */
    }
}

/* --- back into text --- */

/* In double quotes. '$' is written so that libConfuse sees no variable in it. */
static char *quoted(const char *text)
{
    size_t length = strlen(text), at = 0;
    char *out = hk_xcalloc(4 * length + 3, 1);

    out[at++] = '"';
    for (; *text != '\0'; text++) {
        if (*text == '$' && text[1] == '{') {
            at += (size_t)snprintf(out + at, 5, "\\x24");
            continue;
        }
        if (*text == '"' || *text == '\\')
            out[at++] = '\\';
        out[at++] = *text;
    }
    out[at] = '"';
    return out;
}

static char *address_text(const struct cfg_address *address)
{
    if (address->host == NULL)
        return NULL;
    return strchr(address->host, ':') != NULL ? hk_xasprintf("\"[%s]:%u\"", address->host, address->port)
                                              : hk_xasprintf("\"%s:%u\"", address->host, address->port);
}

static char *rate_text(const struct cfg_rate *rate)
{
    const struct unit *unit = rate_units;

    if (rate->count == 0)
        return hk_xstrdup("none");
    while (unit[1].word != NULL && unit->factor != rate->per_ms)
        unit++;
    return hk_xasprintf("\"%u%s\"", rate->count, unit->word);
}

static char *entry_text(const struct config_row *row, const struct config *config, const void *field,
                        size_t i)
{
    switch (row->type) {
    case CONF_PATTERNS:
    case CONF_TEXTS:
        return quoted(((const struct cfg_list *)field)->item[i]);
    case CONF_ADDRESSES:
    case CONF_RELAYS:
        return address_text(*(struct cfg_address *const *)field + i);
    case CONF_TIMES_S:
        return text_with_unit(time_units, (*(uint32_t *const *)field)[i] * 1000ull);
    case CONF_SOURCES:
        return quoted(config->source[(*(uint32_t *const *)field)[i]].name);
    default:
        return hk_xasprintf("%u", (*(uint32_t *const *)field)[i]);
    }
}

static char *list_text(const struct config_row *row, const struct config *config, const void *base)
{
    const void *field = (const char *)base + row->at;
    size_t count = row->type == CONF_PATTERNS || row->type == CONF_TEXTS
                       ? ((const struct cfg_list *)field)->count
                       : *(const size_t *)((const char *)base + row->count_at);
    char *out = NULL, *longer;

    for (size_t i = 0; i < count; i++) {
        char *entry = entry_text(row, config, field, i);
        longer = hk_xasprintf("%s%s%s", out == NULL ? "{ " : out, out == NULL ? "" : ", ", entry);
        free(entry);
        free(out);
        out = longer;
    }
    if (out == NULL)
        return NULL;
    longer = hk_xasprintf("%s }", out);
    free(out);
    return longer;
}

char *config_value_text(const struct config_row *row, const struct config *config, const void *base)
{
    const void *field = (const char *)base + row->at;
    const char *text;

    switch (row->type) {
    case CONF_CHOICE:
        return word_at(row->words, *(const int *)field);
    case CONF_FLAG:
        return word_at(row->words, *(const bool *)field ? 1 : 0);
    case CONF_COUNT:
    case CONF_WORKERS:
    case CONF_LIMIT:
        if (row->type == CONF_LIMIT && *(const uint32_t *)field == UINT32_MAX)
            return hk_xstrdup("none");
        return hk_xasprintf("%u", *(const uint32_t *)field);
    case CONF_PORT:
        return hk_xasprintf("%u", *(const uint16_t *)field);
    case CONF_TIME_MS:
        return text_with_unit(time_units, *(const uint32_t *)field);
    case CONF_EXPIRY_S:
        if (*(const uint32_t *)field == UINT32_MAX)
            return hk_xstrdup("never");
        return text_with_unit(time_units, *(const uint32_t *)field * 1000ull);
    case CONF_TIME_S:
        return text_with_unit(time_units, *(const uint32_t *)field * 1000ull);
    case CONF_SIZE:
        return text_with_unit(size_units, *(const uint64_t *)field);
    case CONF_RATE:
        return rate_text(field);
    case CONF_PATTERNS:
    case CONF_TEXTS:
    case CONF_ADDRESSES:
    case CONF_RELAYS:
    case CONF_TIMES_S:
    case CONF_SOURCES:
    case CONF_WEIGHTS:
        return list_text(row, config, base);
    default:
        text = *(char *const *)field;
        return text == NULL ? NULL : quoted(text);
    }
}
