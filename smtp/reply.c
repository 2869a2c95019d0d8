/* reply.c - the reply reader of reply.h: lines in, whole replies out (RFC 5321 4.2, RFC 2034).
 *
 * Touches nothing but the reader it is given. A reply is looked at from its first byte each time more has
 * come: it is bounded by REPLY_MAX, and so a server that sends byte by byte costs little and no state can go
 * wrong between two pieces. Fails with HK_EPROTO and HK_ETOOBIG, and never reads past reader->end.
 */
#include <string.h>

#include "hikyaku/reply.h"

/* One line of a reply, cut out of the reader's buffer. */
struct reply_line {
    uint16_t code;
    bool last;        /* no '-' behind the code */
    const char *text; /* behind the code and its separator */
    size_t length;
    size_t taken; /* octets of the buffer, line end included */
};

void reply_reader_init(struct reply_reader *reader)
{
    reader->start = 0;
    reader->end = 0;
    reader->text[0] = '\0';
}

size_t reply_room(struct reply_reader *reader, char **where)
{
    if (reader->start > 0) {
        memmove(reader->buffer, reader->buffer + reader->start, reader->end - reader->start);
        reader->end -= reader->start;
        reader->start = 0;
    }
    *where = reader->buffer + reader->end;
    return REPLY_MAX - reader->end;
}

void reply_filled(struct reply_reader *reader, size_t count)
{
    HK_BUG_ON(count > REPLY_MAX - reader->end);
    reader->end += count;
}

size_t reply_pending(const struct reply_reader *reader)
{
    return reader->end - reader->start;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Can these first octets of a line still become a reply line? A CR may be the beginning of its end. */
static bool line_begins_well(const char *at, size_t length, char first_digit)
{
    if (length > 0 && (at[0] < '2' || at[0] > '5'))
        return false;
    if (length > 0 && first_digit != '\0' && at[0] != first_digit)
        return false;
    for (size_t i = 1; i < length && i < 3; i++)
        if (!is_digit(at[i]))
            return false;
    return length < 4 || (at[3] != '\0' && strchr(" -\r\n", at[3]) != NULL);
}

/* 1 and the line at `at`, 0 when its end has not come, HK_EPROTO. */
static int line_cut(const char *at, size_t length, char first_digit, struct reply_line *out)
{
    const char *lf = memchr(at, '\n', length);
    size_t body = lf != NULL ? (size_t)(lf - at) : length;

    if (!line_begins_well(at, body, first_digit))
        return HK_EPROTO;
    if (lf == NULL)
        return 0;
    /* Some servers send CR CR LF. */
    while (body > 0 && at[body - 1] == '\r')
        body--;
    if (body < 3 || (body > 3 && at[3] == '\r'))
        return HK_EPROTO;
    out->code = (uint16_t)((at[0] - '0') * 100 + (at[1] - '0') * 10 + (at[2] - '0'));
    out->last = body == 3 || at[3] == ' ';
    out->text = body > 3 ? at + 4 : at + 3;
    out->length = body > 3 ? body - 4 : 0;
    out->taken = (size_t)(lf - at) + 1;
    return 1;
}

/* One to three digits, at most 255 (none in the registry is larger). Octets taken, 0 when it is no such
 * number. */
static size_t enhanced_number(const char *at, size_t length, uint8_t *out)
{
    unsigned value = 0;
    size_t i = 0;

    while (i < length && is_digit(at[i]) && i < 3)
        value = value * 10 + (unsigned)(at[i++] - '0');
    if (value > UINT8_MAX)
        return 0;
    *out = (uint8_t)value;
    return i;
}

/* An enhanced code at the beginning of a line's text (RFC 3463 2), if its class is that of the reply. */
static void enhanced_parse(const struct reply_line *line, uint8_t out[3])
{
    uint8_t number[3];
    size_t at = 0;

    for (size_t i = 0; i < 3; i++) {
        size_t digits;

        if (i > 0 && (at >= line->length || line->text[at++] != '.'))
            return;
        digits = enhanced_number(line->text + at, line->length - at, &number[i]);
        if (digits == 0 || (i == 0 && digits != 1))
            return;
        at += digits;
    }
    if (at < line->length && line->text[at] != ' ' && line->text[at] != '\t')
        return;
    if (number[0] != line->code / 100 || number[0] == 3)
        return;
    memcpy(out, number, sizeof number);
}

/* Append a line to the reply's text. It always fits: what is written is shorter than what was read. */
static void text_append(struct reply_reader *reader, size_t *length, const struct reply_line *line,
                        bool first)
{
    char *to;

    if (!first)
        reader->text[(*length)++] = '\n';
    to = reader->text + *length;
    for (size_t i = 0; i < line->length; i++)
        to[i] = line->text[i] != '\0' ? line->text[i] : '?';
    *length += line->length;
}

/* 1 and the octets of the whole reply at the front, 0 when its last line is not there, HK_EPROTO. */
static int reply_measure(const struct reply_reader *reader, size_t *octets)
{
    struct reply_line line;
    size_t at = reader->start;
    char first_digit = '\0';

    for (;;) {
        int found = line_cut(reader->buffer + at, reader->end - at, first_digit, &line);

        if (found <= 0)
            return found;
        first_digit = reader->buffer[at];
        at += line.taken;
        if (line.last)
            break;
    }
    *octets = at - reader->start;
    return 1;
}

int reply_next(struct reply_reader *reader, struct reply *out)
{
    struct reply_line line;
    size_t octets, end, length = 0;
    int found = reply_measure(reader, &octets);

    if (found == 0 && reply_pending(reader) >= REPLY_MAX)
        return HK_ETOOBIG;
    if (found <= 0)
        return found;
    memset(out->enhanced, 0, sizeof out->enhanced);
    end = reader->start + octets;
    for (size_t at = reader->start; at < end; at += line.taken) {
        found = line_cut(reader->buffer + at, end - at, '\0', &line);
        HK_BUG_ON(found != 1);
        if (out->enhanced[0] == 0)
            enhanced_parse(&line, out->enhanced);
        text_append(reader, &length, &line, at == reader->start);
        out->code = line.code;
    }
    reader->text[length] = '\0';
    reader->start = end;
    out->text = reader->text;
    out->length = length;
    return 1;
}
