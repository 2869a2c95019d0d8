/* part.c - one leaf of the MIME tree: decode it, find its tags, decide how it goes on the wire.
 *
 * Everything ends up 7-bit with lines of at most 998 octets. A part without tags stays as it was written if it
 * is that already; a part with tags becomes UTF-8 in quoted-printable or base64, whichever is shorter.
 */
#include <ctype.h>
#include <strings.h>

#include "entity.h"
#include "internal.h"

#define LINE_MAX_OCTETS 998

static bool is_text(const struct entity *entity)
{
    return strncmp(entity->type, "text/", 5) == 0;
}

/* Contents that an encoding would break: RFC 2046 5.2 and 5.1 allow none, signatures forbid any change. */
static bool is_sealed(const struct entity *entity)
{
    return strncmp(entity->type, "message/", 8) == 0 || strncmp(entity->type, "multipart/", 10) == 0;
}

static bool charset_is_utf8(const char *charset)
{
    return charset[0] == 0 || strcasecmp(charset, "utf-8") == 0 || strcasecmp(charset, "utf8") == 0 ||
           strcasecmp(charset, "us-ascii") == 0 || strcasecmp(charset, "ascii") == 0;
}

static bool charset_is_named_utf8(const char *charset)
{
    return strcasecmp(charset, "utf-8") == 0 || strcasecmp(charset, "utf8") == 0;
}

/* The octets that a charset's name may have in `charset=NAME`, from `from` on: where they end. */
static size_t charset_name_end(const char *text, size_t length, size_t from)
{
    while (from < length &&
           (isalnum((unsigned char)text[from]) || (text[from] != 0 && strchr("-_.:+", text[from]) != NULL)))
        from++;
    return from;
}

static size_t skip_octets(const char *text, size_t length, size_t from, const char *octets)
{
    while (from < length && text[from] != 0 && strchr(octets, text[from]) != NULL)
        from++;
    return from;
}

/* Append one <meta ...> of an HTML text; a charset that it names becomes UTF-8. */
static void meta_put(const char *text, size_t length, struct buf *out)
{
    for (size_t i = 0; i + 7 < length; i++) {
        size_t from, end;

        if (strncasecmp(text + i, "charset", 7) != 0)
            continue;
        from = skip_octets(text, length, i + 7, " \t\r\n");
        if (from == length || text[from] != '=')
            continue;
        from = skip_octets(text, length, from + 1, " \t\r\n\"'");
        end = charset_name_end(text, length, from);
        if (end == from)
            continue;
        buf_put(out, text, from);
        buf_text(out, "UTF-8");
        buf_put(out, text + end, length - end);
        return;
    }
    buf_put(out, text, length);
}

/* Append an HTML text that became UTF-8: its <meta charset> has to say so, for programs that believe it more
 * than Content-Type, and for whoever saves the part. */
static void html_put(const char *text, size_t length, struct buf *out)
{
    size_t from = 0;

    for (size_t i = 0; i + 5 < length; i++) {
        const char *end;

        if (text[i] != '<' || strncasecmp(text + i + 1, "meta", 4) != 0 ||
            isalnum((unsigned char)text[i + 5]))
            continue;
        end = memchr(text + i, '>', length - i);
        if (end == NULL)
            break;
        buf_put(out, text + from, i - from);
        meta_put(text + i, (size_t)(end - text) - i, out);
        from = (size_t)(end - text);
        i = from;
    }
    buf_put(out, text + from, length - from);
}

/* Put the text of a part that is UTF-8 from now on into it, with CRLF line ends. */
static void part_put_utf8(const struct entity *entity, const char *text, size_t length, struct part *part)
{
    struct buf html = {0};

    part->utf8 = true;
    if (strcmp(entity->type, "text/html") == 0) {
        html_put(text, length, &html);
        part->text.failed |= html.failed;
        text_normalise(html.at, html.length, &part->text);
        buf_free(&html);
    } else {
        text_normalise(text, length, &part->text);
    }
}

/* 7-bit, no NUL, no line over 998 octets? */
static bool body_is_clean(struct slice body)
{
    size_t line = 0;

    for (size_t i = 0; i < body.length; i++) {
        unsigned char c = (unsigned char)body.at[i];

        if (c == 0 || c >= 0x80)
            return false;
        line = c == '\r' || c == '\n' ? 0 : line + 1;
        if (line > LINE_MAX_OCTETS)
            return false;
    }
    return true;
}

static void body_decode(const struct entity *entity, struct buf *out)
{
    if (entity->encoding == ENCODING_QP)
        qp_decode(entity->body.at, entity->body.length, out);
    else if (entity->encoding == ENCODING_BASE64)
        base64_decode(entity->body.at, entity->body.length, out);
    else
        buf_put(out, entity->body.at, entity->body.length);
}

/* The line of octet `offset` of the body, as the file has it. */
static uint32_t raw_line(const struct entity *entity, size_t offset)
{
    uint32_t line = entity->body_line;

    for (size_t i = 0; i < offset && i < entity->body.length; i++) {
        bool cr =
            entity->body.at[i] == '\r' && (i + 1 == entity->body.length || entity->body.at[i + 1] != '\n');

        line += entity->body.at[i] == '\n' || cr ? 1u : 0u;
    }
    return line;
}

/* The line of octet `offset` of the decoded text, if the text is as the file has it, else the part's first. */
static uint32_t decoded_line(const struct entity *entity, size_t offset)
{
    if (entity->encoding == ENCODING_QP || entity->encoding == ENCODING_BASE64)
        return entity->body_line;
    return raw_line(entity, offset);
}

static int refuse_not_utf8(const struct compile *c, const struct entity *entity, size_t fault)
{
    return compile_refuse(c, decoded_line(entity, fault - 1),
                          "this text is not UTF-8; save it as UTF-8 or name its charset in Content-Type");
}

static void choose_encoding(struct part *part)
{
    part->base64 = (part->text.length + 2) / 3 * 4 < qp_size(part->text.at, part->text.length);
    part->encoding = part->base64 ? "base64" : "quoted-printable";
    part->encode = true;
}

/* A text that holds tags: decoded, UTF-8, CRLF, cut into tokens. */
static int part_with_tags(const struct compile *c, const struct entity *entity, const struct buf *utf8,
                          struct part *part)
{
    struct tag_fault fault;
    int error;

    part_put_utf8(entity, utf8->at, utf8->length, part);
    if (part->text.failed)
        return HK_ENOMEM;
    choose_encoding(part);
    error = tag_parse(part->text.at, part->text.length, &c->names, true, &part->tokens, &fault);
    if (error == HK_EINVAL)
        return compile_refuse_tag(c, &fault, entity->body.at, entity->body.length, entity->body_line);
    return error;
}

/* No tags, but it cannot go as it is: encode what it decodes to. */
static int part_encode(const struct compile *c, const struct entity *entity, const struct buf *decoded,
                       struct part *part)
{
    if (is_sealed(entity))
        return compile_refuse(
            c, entity->body_line,
            "this %.60s part has 8-bit octets or lines over %d octets and may not be encoded; "
            "make it 7-bit",
            entity->type, LINE_MAX_OCTETS);
    if (!is_text(entity)) {
        buf_put(&part->text, decoded->at, decoded->length);
        part->encode = part->base64 = true;
        part->encoding = "base64";
    } else {
        size_t wrong = charset_is_utf8(entity->charset) ? utf8_fault(decoded->at, decoded->length) : 0;

        if (wrong != 0)
            return refuse_not_utf8(c, entity, wrong);
        if (charset_is_utf8(entity->charset) && !charset_is_named_utf8(entity->charset) &&
            !text_is_ascii(decoded->at, decoded->length))
            part_put_utf8(entity, decoded->at, decoded->length, part);
        else
            text_normalise(decoded->at, decoded->length, &part->text);
        choose_encoding(part);
    }
    if (part->text.failed)
        return HK_ENOMEM;
    /* One text token, without a look at what it holds. */
    if (part->text.length == 0)
        return 0;
    part->tokens.at = calloc(1, sizeof *part->tokens.at);
    if (part->tokens.at == NULL)
        return HK_ENOMEM;
    part->tokens.at[0] =
        (struct token){.kind = TOKEN_TEXT, .text = part->text.at, .length = part->text.length};
    part->tokens.count = part->tokens.room = 1;
    return 0;
}

/* Look for tags in a text part, and take it apart if it has any. A charset that cannot be read is a fault only
 * where "{{" stands in its octets. */
static int part_find_tags(const struct compile *c, const struct entity *entity, const struct buf *decoded,
                          struct part *part, bool *found)
{
    bool unicode = charset_is_utf8(entity->charset);
    struct buf utf8 = {0};
    size_t fault;
    int error = 0;

    if (unicode)
        buf_put(&utf8, decoded->at, decoded->length);
    else
        error = charset_to_utf8(entity->charset, decoded->at, decoded->length, &utf8);
    if (utf8.failed)
        error = HK_ENOMEM;
    if (error == HK_EINVAL) {
        if (tag_find(decoded->at, decoded->length, 0) < decoded->length)
            error = compile_refuse(c, entity->body_line,
                                   "this part cannot be read as charset %.40s, so its tags cannot be filled; "
                                   "save it as UTF-8",
                                   entity->charset);
        else
            error = 0;
    } else if (error == 0 && tag_find(utf8.at, utf8.length, 0) < utf8.length) {
        *found = true;
        fault = utf8_fault(utf8.at, utf8.length);
        error = fault != 0 ? refuse_not_utf8(c, entity, fault) : part_with_tags(c, entity, &utf8, part);
    }
    buf_free(&utf8);
    return error;
}

/* A signed or encrypted part goes out octet for octet: a tag in it could only go out as it is. */
static int refuse_sealed_tags(const struct compile *c, const struct entity *entity)
{
    struct slice body = entity->body;
    size_t at = tag_find(body.at, body.length, 0);

    if (strncmp(entity->type, "multipart/", 10) != 0 || at == body.length ||
        tag_span(body.at + at, body.length - at) == 0)
        return 0;
    return compile_refuse(
        c, raw_line(entity, at),
        "this part is %.60s and may not be changed, so a tag in it cannot be filled; send it "
        "without the signature, or without tags",
        entity->type);
}

/* Decoders pass over what is no base64, so whoever gets such a part sees rubbish, or nothing, and nobody else does. */
static int refuse_not_base64(const struct compile *c, const struct entity *entity)
{
    size_t fault = 0;

    if (entity->encoding == ENCODING_BASE64)
        fault = base64_fault(entity->body.at, entity->body.length);
    if (fault == 0)
        return 0;
    return compile_refuse(
        c, raw_line(entity, fault - 1),
        "this part says \"Content-Transfer-Encoding: base64\" and is no base64 from here on; encode "
        "it, or leave that line out of its header");
}

int part_read(const struct compile *c, const struct entity *entity, struct part *part)
{
    struct buf decoded = {0};
    bool found = false;
    int error = 0;

    *part = (struct part){0};
    if (is_sealed(entity) && entity->encoding >= ENCODING_QP)
        return compile_refuse(c, entity->line, "a %.60s part may not be %s", entity->type,
                              entity->encoding == ENCODING_QP ? "quoted-printable" : "base64");
    error = refuse_sealed_tags(c, entity);
    if (error == 0)
        error = refuse_not_base64(c, entity);
    if (error != 0)
        return error;
    if (is_text(entity)) {
        body_decode(entity, &decoded);
        error = decoded.failed ? HK_ENOMEM : part_find_tags(c, entity, &decoded, part, &found);
    }
    if (error == 0 && !found) {
        if (body_is_clean(entity->body) && entity->encoding != ENCODING_BINARY) {
            part->encoding = entity->encoding == ENCODING_8BIT ? "7bit" : NULL;
        } else {
            if (!is_text(entity))
                body_decode(entity, &decoded);
            error = decoded.failed ? HK_ENOMEM : part_encode(c, entity, &decoded, part);
        }
    }
    buf_free(&decoded);
    if (error != 0)
        part_free(part);
    return error;
}

void part_free(struct part *part)
{
    buf_free(&part->text);
    token_list_free(&part->tokens);
}

static void put_content_type(const struct entity *entity, const struct part *part, struct buf *out)
{
    const struct entity_field *field = entity_field(entity, "Content-Type");

    if (!part->utf8) {
        if (field != NULL)
            field_put_raw(out, field->name.at, field->name.length, field->value.at, field->value.length);
        return;
    }
    buf_text(out, "Content-Type: ");
    buf_text(out, entity->type);
    buf_text(out, "; charset=UTF-8");
    for (size_t i = 0; i < entity->param_count; i++) {
        if (entity->param[i].length >= 7 && strncasecmp(entity->param[i].at, "charset", 7) == 0)
            continue;
        buf_text(out, ";\r\n ");
        field_unfold(entity->param[i].at, entity->param[i].length, out);
    }
    buf_text(out, "\r\n");
}

void part_put_content_fields(const struct entity *entity, const struct part *part, struct buf *out)
{
    const struct entity_field *field = entity_field(entity, "Content-Transfer-Encoding");

    put_content_type(entity, part, out);
    if (part->encoding != NULL) {
        buf_text(out, "Content-Transfer-Encoding: ");
        buf_text(out, part->encoding);
        buf_text(out, "\r\n");
    } else if (field != NULL && entity->child_count == 0) {
        field_put_raw(out, field->name.at, field->name.length, field->value.at, field->value.length);
    }
}
