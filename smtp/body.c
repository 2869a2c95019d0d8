/* body.c - find the final dot with memchr, line by line; any cut of the input gives the same end. */
#include <string.h>

#include "hikyaku/body.h"

enum { LINE_START, DOT, DOT_CR, TEXT, TEXT_CR };

void body_reader_init(struct body_reader *body)
{
    memset(body, 0, sizeof *body);
    body->state = LINE_START;
}

static void line_ends(struct body_reader *body, size_t octets)
{
    body->line += octets;
    if (body->line > BODY_LINE_MAX)
        body->long_lines++;
    body->line = 0;
}

/* Inside a line: up to its LF or the end of the piece. */
static const char *text_take(struct body_reader *body, const char *p, const char *end)
{
    const char *lf = memchr(p, '\n', (size_t)(end - p));

    if (lf == NULL) {
        body->line += (size_t)(end - p);
        body->state = end[-1] == '\r' ? TEXT_CR : TEXT;
        return end;
    }
    line_ends(body, (size_t)(lf - p) + 1);
    if (lf > p && lf[-1] == '\r') {
        body->state = LINE_START;
    } else {
        body->bare_lf++;
        body->state = TEXT;
    }
    return lf + 1;
}

/* One octet in a state where it matters which; in all others the line goes on as text. */
static const char *octet_take(struct body_reader *body, const char *p, bool *ended)
{
    uint8_t next = TEXT;

    if (body->state == LINE_START && *p == '.')
        next = DOT;
    else if (body->state == DOT && *p == '\r')
        next = DOT_CR;
    else if (body->state == DOT_CR && *p == '\n')
        *ended = true;
    else if (body->state == TEXT_CR && *p == '\n')
        next = LINE_START;
    body->state = next;
    if (next == TEXT && !*ended)
        return p;
    if (next == LINE_START)
        line_ends(body, 1);
    else
        body->line++;
    return p + 1;
}

size_t body_reader_take(struct body_reader *body, const char *bytes, size_t length, bool *ended)
{
    const char *p = bytes, *end = bytes + length;

    *ended = false;
    while (p < end && !*ended)
        p = body->state == TEXT ? text_take(body, p, end) : octet_take(body, p, ended);
    body->bytes += (size_t)(p - bytes);
    return (size_t)(p - bytes);
}

size_t body_unstuff(char *bytes, size_t length)
{
    size_t from = 0, to = 0;
    bool line_start = true;

    length = length >= 3 ? length - 3 : 0; /* ".\r\n" */
    while (from < length) {
        const char *lf;
        size_t take;

        if (line_start && bytes[from] == '.')
            from++;
        lf = memchr(bytes + from, '\n', length - from);
        take = lf != NULL ? (size_t)(lf - (bytes + from)) + 1 : length - from;
        line_start = lf != NULL && lf > bytes && lf[-1] == '\r';
        memmove(bytes + to, bytes + from, take);
        from += take;
        to += take;
    }
    return to;
}
