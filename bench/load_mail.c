/* load_mail.c - see load_mail.h. */
#include "load_mail.h"

#include <errno.h>
#include <string.h>

#include "hikyaku/reply.h"
#include "sink_table.h"

#define LINE_BYTES   72u  /* of made-up text, its CRLF included */
#define LINE_LONGEST 998u /* RFC 5321 4.5.3.1.6 */

/* A size as "100", "10k" or "1m" at the front of text; where it ends, NULL where there is none. */
static const char *size_read(const char *text, uint32_t *out)
{
    char *end;
    unsigned long long value;

    if (*text < '0' || *text > '9')
        return NULL;
    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno != 0 || value > LOAD_SIZE_MAX)
        return NULL;
    if (*end == 'k')
        value *= 1024;
    else if (*end == 'm')
        value *= 1048576;
    if (*end == 'k' || *end == 'm')
        end++;
    *out = (uint32_t)value;
    return value == 0 || value > LOAD_SIZE_MAX ? NULL : end;
}

/* "SIZE", "SIZE..SIZE", each with ":PART" behind it. */
static const char *size_row_read(const char *at, struct load_size *row)
{
    char *end;

    row->weight = 1;
    at = size_read(at, &row->min);
    if (at == NULL)
        return NULL;
    row->max = row->min;
    if (strncmp(at, "..", 2) == 0) {
        at = size_read(at + 2, &row->max);
        if (at == NULL || row->max < row->min)
            return NULL;
    }
    if (*at != ':')
        return at;
    if (at[1] < '0' || at[1] > '9')
        return NULL;
    row->weight = strtod(at + 1, &end);
    return row->weight > 0 && row->weight <= 1e9 ? end : NULL;
}

int load_sizes_parse(const char *text, struct load_sizes *out, struct hk_why *why)
{
    const char *at = text;

    *out = (struct load_sizes){0};
    do {
        if (out->count == LOAD_SIZES_MAX)
            return why_set(why, HK_EINVAL, "--size %s: at most %u sizes", text, LOAD_SIZES_MAX);
        at = size_row_read(at, &out->size[out->count]);
        if (at == NULL || (*at != '\0' && *at != ','))
            return why_set(
                why, HK_EINVAL,
                "--size %s: write a size (10k), a range (1k..100k) or parts (1k:50,10k:40,100k:10), "
                "up to 64m",
                text);
        out->weight_sum += out->size[out->count++].weight;
    } while (*at++ == ',');
    return HK_OK;
}

size_t load_sizes_draw(const struct load_sizes *sizes, uint64_t number, uint64_t seed)
{
    const struct load_size *row = sizes->size;
    double at;

    if (sizes->count > 1) {
        at = sink_hash_share(number, seed) * sizes->weight_sum;
        while (row < &sizes->size[sizes->count - 1] && at >= row->weight)
            at -= row++->weight;
    }
    if (row->min == row->max)
        return row->min;
    return row->min + (size_t)(sink_hash_share(number, seed + 1) * (double)(row->max - row->min + 1));
}

uint32_t load_sizes_max(const struct load_sizes *sizes)
{
    uint32_t max = 0;

    for (size_t i = 0; i < sizes->count; i++)
        max = sizes->size[i].max > max ? sizes->size[i].max : max;
    return max;
}

uint32_t load_sizes_min(const struct load_sizes *sizes)
{
    uint32_t min = LOAD_SIZE_MAX;

    for (size_t i = 0; i < sizes->count; i++)
        min = sizes->size[i].min < min ? sizes->size[i].min : min;
    return min;
}

int load_address_check(const char *text, struct hk_why *why)
{
    struct smtp_command command;
    char line[ADDRESS_MAX + 16];
    int n = snprintf(line, sizeof line, "RCPT TO:<%s>", text);

    if (n < 0 || (size_t)n >= sizeof line)
        return why_set(why, HK_EINVAL, "is longer than an address can be");
    if (utf8_ascii_length(line, (size_t)n) < (size_t)n)
        return why_set(why, HK_EINVAL, "is not ASCII: write the domain as xn--...");
    smtp_command_parse(line, (size_t)n, &command);
    /* What was parsed has to be all of it: a route or a parameter in it is none of ours. */
    if (command.verb != VERB_RCPT || command.bad_syntax || command.argument_length != strlen(text))
        return why_set(why, HK_EINVAL, "is no address: write user@domain.test");
    return HK_OK;
}

char *load_number_put(uint64_t number, char *out)
{
    char digits[LOAD_WIRE_NUMBER];
    size_t at = sizeof digits;

    do
        digits[--at] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    memcpy(out, digits + at, sizeof digits - at);
    return out + sizeof digits - at;
}

static char *piece_put(const struct load_addresses *addresses, size_t i, char *out)
{
    memcpy(out, addresses->piece[i], addresses->piece_length[i]);
    return out + addresses->piece_length[i];
}

char *load_address_put(const struct load_addresses *addresses, uint64_t number, char *out)
{
    if (addresses->line != NULL) {
        for (const char *at = addresses->line[number % addresses->lines]; *at != '\0'; at++)
            *out++ = *at;
        return out;
    }
    if (addresses->modulo > 0)
        number %= addresses->modulo;
    out = piece_put(addresses, 0, out);
    for (size_t i = 1; i < addresses->pieces; i++)
        out = piece_put(addresses, i, load_number_put(number, out));
    return out;
}

/* Cut the text at each %d, and make %% one sign, in place. False: another sign behind a %, or too many numbers. */
static bool pattern_cut(struct load_addresses *out)
{
    char *to = out->text;

    out->piece[out->pieces++] = to;
    for (const char *at = out->text; *at != '\0'; at++) {
        if (*at == '%' && at[1] == 'd') {
            if (out->pieces == LOAD_PIECES_MAX)
                return false;
            out->piece_length[out->pieces - 1] = (size_t)(to - out->piece[out->pieces - 1]);
            out->piece[out->pieces++] = to;
            at++;
            continue;
        }
        if (*at == '%' && *++at != '%')
            return false;
        *to++ = *at;
    }
    out->piece_length[out->pieces - 1] = (size_t)(to - out->piece[out->pieces - 1]);
    return true;
}

int load_addresses_pattern(const char *pattern, uint64_t modulo, struct load_addresses *out,
                           struct hk_why *why)
{
    char longest[2 * ADDRESS_MAX + LOAD_PIECES_MAX * LOAD_WIRE_NUMBER];
    struct hk_why fault;

    *out = (struct load_addresses){.modulo = modulo};
    if (strlen(pattern) > ADDRESS_MAX)
        return why_set(why, HK_EINVAL, "--rcpt %s: is longer than an address can be", pattern);
    out->text = hk_xstrdup(pattern);
    if (!pattern_cut(out))
        return why_set(
            why, HK_EINVAL,
            "--rcpt %s: write %%d where the number stands (at most %u times), and %%%% for a percent sign",
            pattern, LOAD_PIECES_MAX - 1);
    *load_address_put(out, modulo > 0 ? modulo - 1 : UINT64_MAX, longest) = '\0';
    out->longest = strlen(longest);
    if (load_address_check(longest, &fault) < 0)
        return why_set(why, HK_EINVAL, "--rcpt %s: %s %s", pattern, longest, fault.text);
    return HK_OK;
}

static int file_lines(const char *path, struct load_addresses *out, struct hk_why *why)
{
    char *at = out->text, *line;
    struct hk_why fault;
    size_t number = 0;

    while ((line = strsep(&at, "\n")) != NULL) {
        line[strcspn(line, "\r")] = '\0';
        number++;
        if (line[0] == '\0')
            continue;
        if (load_address_check(line, &fault) < 0)
            return why_set(why, HK_EINVAL, "%s:%zu: %.100s", path, number, fault.text);
        if (strlen(line) > out->longest)
            out->longest = strlen(line);
        out->line[out->lines++] = line;
    }
    if (out->lines == 0)
        return why_set(why, HK_EINVAL, "%s: there is no address in it: write one a line", path);
    return HK_OK;
}

int load_addresses_file(const char *path, struct load_addresses *out, struct hk_why *why)
{
    size_t length, lines = 1;
    int rc;

    *out = (struct load_addresses){0};
    rc = hk_read_file(path, LOAD_FILE_MAX, &out->text, &length, why);
    if (rc < 0)
        return rc;
    if (memchr(out->text, '\0', length) != NULL)
        return why_set(why, HK_EINVAL, "%s: has a NUL in it: write one address a line", path);
    for (size_t i = 0; i < length; i++)
        lines += out->text[i] == '\n';
    out->line = calloc(lines, sizeof *out->line);
    if (out->line == NULL)
        return why_set(why, HK_ENOMEM, "%s: out of memory", path);
    return file_lines(path, out, why);
}

void load_addresses_free(struct load_addresses *addresses)
{
    free(addresses->text);
    free(addresses->line);
}

int load_text_make(uint32_t size, struct load_text *out, struct hk_why *why)
{
    *out = (struct load_text){.length = size};
    out->bytes = malloc((size_t)size + LINE_BYTES);
    if (out->bytes == NULL)
        return why_set(why, HK_ENOMEM, "--size: out of memory for %u octets", size);
    for (size_t at = 0; at < size; at += LINE_BYTES) {
        memset(out->bytes + at, 'x', LINE_BYTES - 2);
        memcpy(out->bytes + at + LINE_BYTES - 2, "\r\n", 2);
    }
    return HK_OK;
}

const char *load_text_end(const struct load_text *text, size_t length, size_t *taken)
{
    /* A CR of the text that came last would stand before the CR of the line end. */
    if (length > 2 && text->bytes[length - 3] == '\r') {
        *taken = length - 3;
        return "x\r\n.\r\n";
    }
    *taken = length - 2;
    return "\r\n.\r\n";
}

/* One line, without its end, as it goes over the wire; where it ends. */
static char *line_put(char *to, const char *line, size_t length)
{
    if (length > 0 && line[0] == '.')
        *to++ = '.';
    for (size_t i = 0; i < length; i++)
        *to++ = line[i];
    *to++ = '\r';
    *to++ = '\n';
    return to;
}

static int lines_take(const char *path, const char *text, size_t length, struct load_text *out,
                      struct hk_why *why)
{
    char *to = out->bytes;
    size_t number = 1;

    for (size_t at = 0, n; at < length; at += n + 1, number++) {
        const char *end = memchr(text + at, '\n', length - at);
        size_t line;

        n = end != NULL ? (size_t)(end - text) - at : length - at;
        line = n > 0 && text[at + n - 1] == '\r' ? n - 1 : n;
        if (line > LINE_LONGEST || memchr(text + at, '\r', line) != NULL ||
            memchr(text + at, '\0', line) != NULL)
            return why_set(why, HK_EINVAL,
                           "%s:%zu: a line of a message has up to %u octets, no NUL and no CR but at its end",
                           path, number, LINE_LONGEST);
        to = line_put(to, text + at, line);
    }
    out->length = (size_t)(to - out->bytes);
    out->eight_bit = utf8_ascii_length(out->bytes, out->length) < out->length;
    return HK_OK;
}

int load_text_file(const char *path, struct load_text *out, struct hk_why *why)
{
    char *text;
    size_t length;
    int rc;

    *out = (struct load_text){.file = true};
    rc = hk_read_file(path, LOAD_SIZE_MAX, &text, &length, why);
    if (rc < 0)
        return rc;
    /* A line end becomes two octets, a dot two. */
    out->bytes = malloc(2 * length + 2);
    if (length == 0)
        rc = why_set(why, HK_EINVAL, "%s: is empty: write a message into it", path);
    else if (out->bytes == NULL)
        rc = why_set(why, HK_ENOMEM, "%s: out of memory", path);
    else
        rc = lines_take(path, text, length, out, why);
    free(text);
    return rc;
}

void load_text_free(struct load_text *text)
{
    free(text->bytes);
}
