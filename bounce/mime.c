/* mime.c - mails as fields and parts (mime.h).
 *
 * Boundaries of the multiparts that are open lie on a stack; each line that begins with "--" is held against them, the
 * innermost first. A boundary of an outer one closes what is inside. Where a mail says that it is a multipart and no line
 * has its boundary, or says nothing of MIME at all, the boundary is guessed: a line "--X" with a Content- field behind it.
 */
#include "mime.h"

#include <ctype.h>

#define PREAMBLE_MAX 160u /* bytes before a boundary that nobody announced */

struct content {
    enum mime_kind kind;
    enum mime_encoding encoding;
    bool is_multipart, is_report, is_delivery_report, attachment, has_type;
    struct slice charset;
    char boundary[MIME_BOUNDARY_MAX];
    size_t boundary_length;
};

struct walk {
    const char *at, *end;
    struct mime_mail *out;
    struct {
        char text[MIME_BOUNDARY_MAX];
        size_t length;
    } open[MIME_DEPTH_MAX];
    unsigned depth;
    bool matched; /* a boundary line was seen */
};

/* --- fields --- */

/* The next field of a header, with the lines that belong to it; false at the blank line (which is taken) or the end. A line
 * that is no field continues the one before: some mailers fold without a blank. */
static bool field_next(const char **at, const char *end, struct slice *name, struct slice *value)
{
    struct slice line, n, v;
    const char *from = *at;

    for (;;) {
        if (!line_next(&from, end, &line))
            return false;
        *at = from;
        if (line.length == 0)
            return false;
        if (line.at[0] != ' ' && line.at[0] != '\t' && field_split(line, name, value))
            break;
    }
    while (line_next(&from, end, &line) && line.length > 0) {
        if (line.at[0] != ' ' && line.at[0] != '\t' &&
            (field_split(line, &n, &v) || (line.length > 2 && line.at[0] == '-' && line.at[1] == '-')))
            break;
        *value = slice_between(value->at, slice_end(line));
        *at = from;
    }
    return true;
}

static void field_keep(struct mail_fields *out, struct slice name, struct slice value)
{
    static const struct {
        const char *name;
        size_t offset;
    } known[] = {
#define MAIL_FIELD(field, name) {name, offsetof(struct mail_fields, field)},
        MAIL_FIELDS(MAIL_FIELD)
#undef MAIL_FIELD
    };

    out->count++;
    if (slice_is(name, "X-Failed-Recipients")) {
        if (out->failed_count < sizeof out->failed / sizeof *out->failed)
            out->failed[out->failed_count++] = value;
        return;
    }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        struct slice *field = (struct slice *)(void *)((char *)out + known[i].offset);
        if ((name.at[0] | 0x20) == (known[i].name[0] | 0x20) && slice_is(name, known[i].name)) {
            if (field->at == NULL)
                *field = slice_trim(value);
            return;
        }
    }
}

/* --- Content-Type and its parameters --- */

static enum mime_kind kind_of(struct slice type)
{
    static const struct {
        const char *type;
        enum mime_kind kind;
    } known[] = {
        {"text/plain", MIME_TEXT},
        {"text", MIME_TEXT},
        {"text/html", MIME_HTML},
        {"message/delivery-status", MIME_DELIVERY_STATUS},
        {"message/global-delivery-status", MIME_DELIVERY_STATUS},
        {"text/delivery-status", MIME_DELIVERY_STATUS},
        {"message/feedback-report", MIME_FEEDBACK},
        {"message/disposition-notification", MIME_DISPOSITION},
        {"message/global-disposition-notification", MIME_DISPOSITION},
        {"message/rfc822", MIME_MESSAGE},
        {"message/global", MIME_MESSAGE},
        {"message/partial", MIME_MESSAGE},
        {"message/rfc822-headers", MIME_HEADERS},
        {"text/rfc822-headers", MIME_HEADERS},
        {"text/rfc822-header", MIME_HEADERS},
        {"text/rfc822", MIME_HEADERS},
        {"message/global-headers", MIME_HEADERS},
    };

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (slice_is(type, known[i].type))
            return known[i].kind;
    return slice_begins(type, "text/") ? MIME_TEXT : MIME_OTHER;
}

static bool is_token(char c)
{
    return !is_blank(c) && c != ';' && c != '"' && c != '=' && c != '\0';
}

/* The value of a parameter: quoted, or up to a blank or semicolon. Its bytes go to `out`, quotes and folding undone. */
static const char *param_value(const char *at, const char *end, char *out, size_t room, size_t *length)
{
    bool quoted = at < end && *at == '"';

    *length = 0;
    for (at += quoted; at < end; at++) {
        if (quoted ? *at == '"' : *at == ';' || is_blank(*at))
            break;
        if (*at == '\r' || *at == '\n')
            continue;
        if (quoted && *at == '\\' && at + 1 < end)
            at++;
        if (*length < room)
            out[(*length)++] = *at;
    }
    return at < end && quoted ? at + 1 : at;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : isxdigit((unsigned char)c) ? (c | 0x20) - 'a' + 10 : -1;
}

/* RFC 2231 4: charset'language'text with %XX. */
static size_t extended_value(char *value, size_t length, bool first)
{
    size_t from = 0, to = 0;

    if (first) {
        const char *quote = memchr(value, '\'', length);
        const char *second =
            quote != NULL ? memchr(quote + 1, '\'', length - (size_t)(quote + 1 - value)) : NULL;
        from = second != NULL ? (size_t)(second + 1 - value) : 0;
    }
    for (; from < length; from++) {
        int high = from + 2 < length && value[from] == '%' ? hex_digit(value[from + 1]) : -1;
        int low = high >= 0 ? hex_digit(value[from + 2]) : -1;
        value[to++] = low >= 0 ? (char)(high << 4 | low) : value[from];
        from += low >= 0 ? 2 : 0;
    }
    return to;
}

/* boundary=x, boundary*=x, boundary*0=x, boundary*1*=x: all of it in the order it comes. */
static void boundary_add(struct content *content, struct slice attribute, char *value, size_t length)
{
    bool numbered = attribute.length > 9 && isdigit((unsigned char)attribute.at[9]) && attribute.at[9] != '0';

    if (attribute.length > 8 && attribute.at[attribute.length - 1] == '*')
        length = extended_value(value, length, !numbered);
    if (!numbered && content->boundary_length > 0)
        return; /* the first one counts */
    if (length > sizeof content->boundary - content->boundary_length)
        length = sizeof content->boundary - content->boundary_length;
    memcpy(content->boundary + content->boundary_length, value, length);
    content->boundary_length += length;
}

static void param_keep(struct content *content, struct slice attribute, struct slice raw, char *value,
                       size_t length)
{
    struct slice v = {value, length};

    if (slice_begins(attribute, "boundary") && (attribute.length == 8 || attribute.at[8] == '*'))
        boundary_add(content, attribute, value, length);
    else if (slice_is(attribute, "charset"))
        content->charset = raw;
    else if (slice_is(attribute, "report-type"))
        content->is_delivery_report = slice_is(v, "delivery-status");
}

static void type_read(struct content *content, struct slice value)
{
    const char *at = value.at, *end = slice_end(value);
    char text[MIME_BOUNDARY_MAX];
    struct slice type, attribute;
    size_t length;

    while (at < end && is_blank(*at))
        at++;
    type.at = at;
    while (at < end && is_token(*at))
        at++;
    type = slice_between(type.at, at);
    content->has_type = type.length > 0;
    content->is_multipart = slice_begins(type, "multipart/");
    content->is_report = slice_is(type, "multipart/report");
    content->kind = kind_of(type);
    while (at < end) {
        while (at < end && !is_token(*at))
            at++;
        attribute.at = at;
        while (at < end && is_token(*at))
            at++;
        attribute = slice_between(attribute.at, at);
        while (at < end && is_blank(*at))
            at++;
        if (at >= end || *at != '=')
            continue;
        at++;
        while (at < end && is_blank(*at))
            at++;
        const char *from = at + (at < end && *at == '"');
        at = param_value(at, end, text, sizeof text, &length);
        param_keep(content, attribute, slice_between(from, from + length < end ? from + length : end), text,
                   length);
    }
    /* RFC 2046 5.1.1: a boundary does not end with a blank. */
    while (content->boundary_length > 0 && is_blank(content->boundary[content->boundary_length - 1]))
        content->boundary_length--;
}

static void content_keep(struct content *content, struct slice name, struct slice value)
{
    struct slice v = slice_trim(value);

    if (name.length < 12 || strncasecmp(name.at, "Content-", 8) != 0)
        return;
    if (slice_is(name, "Content-Type") && !content->has_type) {
        type_read(content, v);
    } else if (slice_is(name, "Content-Transfer-Encoding")) {
        if (slice_begins(v, "base64"))
            content->encoding = MIME_BASE64;
        else if (slice_begins(v, "quoted-printable"))
            content->encoding = MIME_QUOTED_PRINTABLE;
    } else if (slice_is(name, "Content-Disposition")) {
        content->attachment = slice_begins(v, "attachment");
    }
}

/* Does a header begin here? A part may have none and begin with its text. */
static bool header_is_at(const char *at, const char *end)
{
    struct slice line, name, value;

    return line_next(&at, end, &line) && (line.length == 0 || field_split(line, &name, &value));
}

static const char *header_read(const char *at, const char *end, struct content *content,
                               struct mail_fields *fields)
{
    struct slice name, value, line;

    *content = (struct content){.kind = MIME_TEXT};
    if (fields == NULL && !header_is_at(at, end))
        return at;
    for (;;) {
        const char *here = at;
        if (fields == NULL && line_next(&here, end, &line) && line.length > 2 && line.at[0] == '-' &&
            line.at[1] == '-')
            return at; /* the next part begins in this one's header */
        if (!field_next(&at, end, &name, &value))
            return at;
        content_keep(content, name, value);
        if (fields != NULL)
            field_keep(fields, name, value);
    }
}

/* --- parts --- */

/* Which open multipart has this line for a boundary: its place + 1, 0 for none. */
static unsigned boundary_of(const struct walk *w, struct slice line, bool *closing)
{
    for (unsigned i = w->depth; i > 0; i--) {
        size_t length = w->open[i - 1].length;
        if (line.length < length + 2 || memcmp(line.at + 2, w->open[i - 1].text, length) != 0)
            continue;
        struct slice rest = slice_between(line.at + 2 + length, slice_end(line));
        *closing = rest.length >= 2 && rest.at[0] == '-' && rest.at[1] == '-';
        if (slice_trim(*closing ? slice_between(rest.at + 2, slice_end(rest)) : rest).length == 0)
            return i;
    }
    return 0;
}

static void part_add(struct walk *w, const struct content *content, const char *from, const char *to)
{
    struct mime_mail *out = w->out;

    if (out->parts == MIME_PARTS_MAX)
        return;
    out->part[out->parts++] = (struct mime_part){.kind = content->kind,
                                                 .encoding = content->encoding,
                                                 .attachment = content->attachment,
                                                 .charset = content->charset,
                                                 .body = slice_between(from, to)};
}

static bool multipart_open(struct walk *w, const struct content *content)
{
    if (!content->is_multipart || content->boundary_length == 0 || w->depth == MIME_DEPTH_MAX)
        return false;
    memcpy(w->open[w->depth].text, content->boundary, content->boundary_length);
    w->open[w->depth].length = content->boundary_length;
    w->depth++;
    return true;
}

/* From the body of the mail to its end: parts into w->out. */
static void parts_walk(struct walk *w, struct content content)
{
    bool in_part = !multipart_open(w, &content), closing;
    const char *from = w->at;
    struct slice line;

    for (;;) {
        const char *here = w->at;
        if (!line_next(&w->at, w->end, &line))
            break;
        if (line.length < 2 || line.at[0] != '-' || line.at[1] != '-')
            continue;
        unsigned which = boundary_of(w, line, &closing);
        if (which == 0)
            continue;
        w->matched = true;
        if (in_part)
            part_add(w, &content, from, here);
        w->depth = closing ? which - 1 : which;
        in_part = false;
        if (closing)
            continue;
        w->at = header_read(w->at, w->end, &content, NULL);
        w->out->is_report |= content.is_report;
        w->out->is_delivery_report |= content.is_delivery_report;
        in_part = !multipart_open(w, &content);
        from = w->at;
    }
    if (in_part)
        part_add(w, &content, from, w->end);
}

/* A line "--X" with a Content- field behind it: X is a boundary that somebody used without saying so. Where nothing said
 * multipart, only a line or two may stand before it: behind a long text it is a message that is quoted. */
static bool boundary_guess(struct slice body, struct content *content)
{
    const char *at = body.at, *end = slice_end(body);
    struct slice line, next;
    size_t before = 0;

    while (line_next(&at, end, &line)) {
        const char *ahead = at;
        line = slice_trim(line);
        if (line.length < 3 || line.at[0] != '-' || line.at[1] != '-' || line.length > MIME_BOUNDARY_MAX ||
            !line_next(&ahead, end, &next) || !slice_begins(next, "Content-")) {
            before += line.length;
            continue;
        }
        if (before > PREAMBLE_MAX && !content->is_multipart)
            return false;
        content->is_multipart = true;
        content->boundary_length = line.length - 2;
        memcpy(content->boundary, line.at + 2, line.length - 2);
        return true;
    }
    return false;
}

void mime_fields(struct slice bytes, struct mail_fields *out)
{
    struct content content;

    memset(out, 0, sizeof *out);
    (void)header_read(bytes.at, slice_end(bytes), &content, out);
}

void mime_read(struct slice mail, struct mime_mail *out)
{
    struct walk w = {.end = slice_end(mail), .out = out};
    struct content content;
    const char *at = mail.at, *from;
    struct slice line;

    memset(&out->fields, 0, sizeof out->fields);
    out->parts = 0;
    from = at;
    if (line_next(&from, w.end, &line) && (slice_begins(line, "From ") || slice_begins(line, ">From ")))
        at = from; /* the envelope of an mbox */
    at = header_read(at, w.end, &content, &out->fields);
    out->body = slice_between(at, w.end);
    out->is_report = content.is_report;
    out->is_delivery_report = content.is_delivery_report;
    w.at = at;
    parts_walk(&w, content);
    if (w.matched || (content.has_type && !content.is_multipart))
        return;
    out->parts = 0;
    w.at = at;
    w.depth = 0;
    if (!boundary_guess(out->body, &content))
        content = (struct content){.kind = MIME_TEXT, .encoding = content.encoding};
    parts_walk(&w, content);
}
