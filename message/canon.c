/* canon.c - see canon.h. */
#include "canon.h"

static bool is_wsp(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_blank(char c)
{
    return is_wsp(c) || c == '\r' || c == '\n';
}

/* Write what waited, because a visible octet follows. */
static void canon_flush(struct canon *canon, struct buf *out)
{
    for (; canon->crlf > 0; canon->crlf--)
        buf_put(out, "\r\n", 2);
    if (canon->wsp)
        buf_byte(out, ' ');
    canon->wsp = false;
    canon->any = true;
}

/* White space and line ends from `i` on: counted, and the offset of the first visible octet given back. */
static size_t canon_blank(struct canon *canon, const char *text, size_t length, size_t i)
{
    for (; i < length; i++) {
        if (is_wsp(text[i])) {
            canon->wsp = true;
        } else if (text[i] == '\r' && i + 1 < length && text[i + 1] == '\n') {
            canon->crlf++;
            canon->wsp = false;
            i++;
        } else {
            break;
        }
    }
    return i;
}

void canon_feed(struct canon *canon, const char *text, size_t length, struct buf *out)
{
    for (size_t i = 0; i < length;) {
        size_t end;

        i = canon_blank(canon, text, length, i);
        if (i == length)
            break;
        canon_flush(canon, out);
        for (end = i + 1; end < length && !is_wsp(text[end]) && text[end] != '\r'; end++)
            continue;
        buf_put(out, text + i, end - i);
        i = end;
    }
}

void canon_end(const struct canon *canon, struct buf *out)
{
    if (canon->any)
        buf_put(out, "\r\n", 2);
}

void canon_run_make(const char *text, size_t length, struct canon_run *run, struct buf *out)
{
    struct canon lead = {0}, tail = {0};
    size_t first = canon_blank(&lead, text, length, 0);

    run->lead_crlf = lead.crlf;
    run->lead_wsp = lead.wsp;
    run->at = out->length;
    canon_feed(&tail, text + first, length - first, out);
    run->length = out->length - run->at;
    run->tail_crlf = tail.crlf;
    run->tail_wsp = tail.wsp;
}

void canon_run_join(struct canon *canon, const struct canon_run *run, struct buf *out)
{
    if (run->lead_crlf > 0)
        canon->wsp = false;
    canon->crlf += run->lead_crlf;
    canon->wsp |= run->lead_wsp;
    if (run->length == 0)
        return;
    canon_flush(canon, out);
    canon->crlf = run->tail_crlf;
    canon->wsp = run->tail_wsp;
}

void canon_field(const char *field, size_t length, struct buf *out)
{
    bool wsp = false;
    size_t i = 0, start;

    for (; i < length && field[i] != ':'; i++) {
        if (!is_wsp(field[i]))
            buf_byte(out, (char)(field[i] >= 'A' && field[i] <= 'Z' ? field[i] + ('a' - 'A') : field[i]));
    }
    buf_byte(out, ':');
    start = out->length;
    for (i++; i < length;) {
        size_t from = i;

        while (i < length && !is_blank(field[i]))
            i++;
        if (i > from) {
            if (wsp && out->length > start)
                buf_byte(out, ' ');
            buf_put(out, field + from, i - from);
            wsp = false;
        }
        for (; i < length && is_blank(field[i]); i++)
            wsp |= is_wsp(field[i]);
    }
    buf_put(out, "\r\n", 2);
}
