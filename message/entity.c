/* entity.c - see entity.h. */
#include "entity.h"

#include <ctype.h>
#include <stdarg.h>
#include <strings.h>

struct reader {
    const char *at, *end;
    uint32_t line;
    struct entity_fault *fault;
    unsigned parts;
};

static int entity_refuse(struct reader *r, uint32_t line, const char *format, ...) HK_PRINTF(3, 4);
static int entity_refuse(struct reader *r, uint32_t line, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(r->fault->words, sizeof r->fault->words, format, args);
    va_end(args);
    r->fault->line = line;
    return HK_EINVAL;
}

/* Take the next line, without its end; false at the end of the text. */
static bool read_line(struct reader *r, struct slice *line)
{
    const char *p = r->at;

    if (p == r->end)
        return false;
    while (p < r->end && *p != '\r' && *p != '\n')
        p++;
    *line = (struct slice){r->at, (size_t)(p - r->at)};
    if (p < r->end)
        p += *p == '\r' && p + 1 < r->end && p[1] == '\n' ? 2 : 1;
    r->at = p;
    r->line++;
    return true;
}

bool slice_is(struct slice slice, const char *text)
{
    return slice.length == strlen(text) && strncasecmp(slice.at, text, slice.length) == 0;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct slice slice_trim(struct slice slice)
{
    while (slice.length > 0 && is_blank(slice.at[0])) {
        slice.at++;
        slice.length--;
    }
    while (slice.length > 0 && is_blank(slice.at[slice.length - 1]))
        slice.length--;
    return slice;
}

const struct entity_field *entity_field(const struct entity *entity, const char *name)
{
    for (size_t i = 0; i < entity->field_count; i++) {
        if (slice_is(entity->field[i].name, name))
            return &entity->field[i];
    }
    return NULL;
}

static int field_add(struct reader *r, struct entity *entity, struct slice line, uint32_t number)
{
    const char *colon = memchr(line.at, ':', line.length);
    size_t length = colon != NULL ? (size_t)(colon - line.at) : 0;
    struct entity_field *field;

    while (length > 0 && (line.at[length - 1] == ' ' || line.at[length - 1] == '\t'))
        length--;
    for (size_t i = 0; i < length; i++) {
        if (line.at[i] <= ' ' || line.at[i] > '~')
            length = 0;
    }
    if (length == 0)
        return entity_refuse(r, number,
                             "not a header field; write \"Name: value\", and an empty line "
                             "between header and text");
    if (line.at[0] == '.') /* the one way a header line could want dot-stuffing */
        return entity_refuse(r, number, "the name of a header field may not begin with a dot");
    if (length > ENTITY_NAME_MAX)
        return entity_refuse(r, number, "the name of this header field has more than %d characters",
                             ENTITY_NAME_MAX);
    if (entity->field_count == ENTITY_FIELDS_MAX)
        return entity_refuse(r, number, "more than %d header fields", ENTITY_FIELDS_MAX);
    field = realloc(entity->field, (entity->field_count + 1) * sizeof *field);
    if (field == NULL)
        return HK_ENOMEM;
    entity->field = field;
    field[entity->field_count++] = (struct entity_field){
        {line.at, length}, {colon + 1, (size_t)(line.at + line.length - colon - 1)}, number};
    return 0;
}

static int read_header(struct reader *r, struct entity *entity)
{
    struct slice line;

    entity->line = r->line + 1;
    /* The separator line of an mbox: some programs save one message so. */
    if (r->line == 0 && r->end - r->at > 5 && memcmp(r->at, "From ", 5) == 0)
        (void)read_line(r, &line);
    while (read_line(r, &line) && line.length > 0) {
        bool continued = line.at[0] == ' ' || line.at[0] == '\t';
        int error = 0;

        if (continued && entity->field_count == 0)
            return entity_refuse(r, r->line, "the first line of a header begins with a blank");
        if (continued) {
            struct slice *value = &entity->field[entity->field_count - 1].value;

            value->length = (size_t)(line.at + line.length - value->at);
        } else {
            error = field_add(r, entity, line, r->line);
        }
        if (error != 0)
            return error;
    }
    entity->body = (struct slice){r->at, (size_t)(r->end - r->at)};
    entity->body_line = r->line + 1;
    return 0;
}

/* One "name=value" of a Content-Type at *p, behind its ';'. Quoted strings may hold a ';'. */
static struct slice read_param(const char **p, const char *end)
{
    struct slice param = {*p, 0};
    bool quoted = false;

    for (; *p < end && (quoted || **p != ';'); ++*p) {
        if (**p == '\\' && quoted && *p + 1 < end)
            ++*p;
        else if (**p == '"')
            quoted = !quoted;
    }
    param.length = (size_t)(*p - param.at);
    return slice_trim(param);
}

/* Unquote the value of name=value into out; false if it does not fit. */
static bool param_value(struct slice param, char *out, size_t size)
{
    const char *equals = memchr(param.at, '=', param.length);
    struct slice value =
        slice_trim((struct slice){equals + 1, (size_t)(param.at + param.length - equals - 1)});
    bool quoted = value.length > 0 && value.at[0] == '"';
    size_t used = 0;

    for (size_t i = quoted ? 1 : 0; i < value.length && (!quoted || value.at[i] != '"'); i++) {
        if (quoted && value.at[i] == '\\' && i + 1 < value.length)
            i++;
        if (!quoted && (value.at[i] == '(' || is_blank(value.at[i])))
            break;
        if (used + 1 >= size || value.at[i] == '\r' || value.at[i] == '\n')
            return false;
        out[used++] = value.at[i];
    }
    out[used] = 0;
    return true;
}

static bool param_is(struct slice param, const char *name)
{
    const char *equals = memchr(param.at, '=', param.length);

    return equals != NULL &&
           slice_is(slice_trim((struct slice){param.at, (size_t)(equals - param.at)}), name);
}

static int read_content_type(struct reader *r, struct entity *entity)
{
    const struct entity_field *field = entity_field(entity, "Content-Type");
    const char *p, *end;
    struct slice type;

    (void)snprintf(entity->type, sizeof entity->type, "text/plain");
    if (field == NULL)
        return 0;
    p = field->value.at;
    end = p + field->value.length;
    type = read_param(&p, end);
    if (type.length >= sizeof entity->type || memchr(type.at, '/', type.length) == NULL)
        return entity_refuse(r, field->line, "Content-Type has no type/subtype");
    for (size_t i = 0; i < type.length; i++) {
        if (type.at[i] <= ' ' || type.at[i] > '~' || strchr("()<>@,;:\\\"[]?=", type.at[i]) != NULL)
            return entity_refuse(r, field->line, "Content-Type has no clean type/subtype");
        entity->type[i] = (char)tolower((unsigned char)type.at[i]);
    }
    entity->type[type.length] = 0;
    while (p < end) {
        struct slice param = (p++, read_param(&p, end));

        if (param.length == 0)
            continue;
        if (entity->param_count == ENTITY_PARAMS_MAX)
            return entity_refuse(r, field->line, "Content-Type has more than %d parameters",
                                 ENTITY_PARAMS_MAX);
        if (param_is(param, "charset") && !param_value(param, entity->charset, sizeof entity->charset))
            return entity_refuse(r, field->line, "the charset is too long");
        if (param_is(param, "boundary") && !param_value(param, entity->boundary, sizeof entity->boundary))
            return entity_refuse(r, field->line, "the boundary has more than %d characters",
                                 ENTITY_BOUNDARY_MAX);
        entity->param[entity->param_count++] = param;
    }
    return 0;
}

static int read_encoding(struct reader *r, struct entity *entity)
{
    static const char *const names[] = {"7bit", "8bit", "binary", "quoted-printable", "base64"};
    const struct entity_field *field = entity_field(entity, "Content-Transfer-Encoding");

    entity->encoding = ENCODING_7BIT;
    if (field == NULL)
        return 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (slice_is(slice_trim(field->value), names[i])) {
            entity->encoding = (enum entity_encoding)i;
            return 0;
        }
    }
    return entity_refuse(r, field->line,
                         "Content-Transfer-Encoding is none of 7bit, 8bit, binary, "
                         "quoted-printable, base64");
}

static int read_entity(struct reader *r, struct entity *entity, unsigned depth);

enum delimiter { DELIMITER_NONE, DELIMITER_NEXT, DELIMITER_LAST };

static enum delimiter delimiter_kind(struct slice line, const struct entity *entity)
{
    size_t length = strlen(entity->boundary);
    struct slice rest;

    if (line.length < length + 2 || memcmp(line.at, "--", 2) != 0 ||
        memcmp(line.at + 2, entity->boundary, length) != 0)
        return DELIMITER_NONE;
    rest = slice_trim((struct slice){line.at + 2 + length, line.length - 2 - length});
    if (rest.length == 0)
        return DELIMITER_NEXT;
    return slice_is(rest, "--") ? DELIMITER_LAST : DELIMITER_NONE;
}

/* The octets from `start` to the line at `line`, without the line end that belongs to the delimiter. */
static size_t part_length(const char *start, const char *line)
{
    const char *end = line;

    if (end > start && end[-1] == '\n')
        end--;
    if (end > start && end[-1] == '\r' && (end + 1 == line || end == line))
        end--;
    return (size_t)(end - start);
}

static int child_add(struct reader *r, struct entity *entity, const char *start, const char *line,
                     uint32_t number, unsigned depth)
{
    struct reader inner = {start, start + part_length(start, line), number, r->fault, r->parts + 1};
    struct entity *child;
    int error;

    if (inner.parts > ENTITY_PARTS_MAX)
        return entity_refuse(r, number, "more than %d parts", ENTITY_PARTS_MAX);
    child = realloc(entity->child, (entity->child_count + 1) * sizeof *child);
    if (child == NULL)
        return HK_ENOMEM;
    entity->child = child;
    child += entity->child_count++;
    *child = (struct entity){0};
    error = read_entity(&inner, child, depth + 1);
    r->parts = inner.parts;
    return error;
}

static int read_multipart(struct reader *r, struct entity *entity, unsigned depth)
{
    struct reader lines = {entity->body.at, entity->body.at + entity->body.length, entity->body_line - 1,
                           r->fault, r->parts};
    const char *start = NULL, *at = lines.at;
    uint32_t number = 0;
    struct slice line;

    if (entity->boundary[0] == 0)
        return entity_refuse(r, entity->line, "a multipart without a boundary");
    if (depth == ENTITY_DEPTH_MAX)
        return entity_refuse(r, entity->line, "parts are nested deeper than %d", ENTITY_DEPTH_MAX);
    for (; read_line(&lines, &line); at = lines.at) {
        enum delimiter kind = delimiter_kind(line, entity);
        int error = 0;

        if (kind == DELIMITER_NONE)
            continue;
        if (start != NULL)
            error = child_add(&lines, entity, start, at, number, depth);
        r->parts = lines.parts;
        if (error != 0)
            return error;
        start = lines.at;
        number = lines.line;
        if (kind == DELIMITER_LAST)
            return entity->child_count > 0 ? 0 : entity_refuse(r, number, "a multipart without a part");
    }
    return entity_refuse(r, entity->body_line, "this multipart is never closed by --%.70s--",
                         entity->boundary);
}

/* A signed or encrypted part must not be touched: it stays a leaf. */
static bool is_taken_apart(const struct entity *entity)
{
    return strncmp(entity->type, "multipart/", 10) == 0 && strcmp(entity->type, "multipart/signed") != 0 &&
           strcmp(entity->type, "multipart/encrypted") != 0;
}

static int read_entity(struct reader *r, struct entity *entity, unsigned depth)
{
    int error = read_header(r, entity);

    if (error == 0)
        error = read_content_type(r, entity);
    if (error == 0)
        error = read_encoding(r, entity);
    if (error == 0 && is_taken_apart(entity))
        error = read_multipart(r, entity, depth);
    return error;
}

int entity_parse(const char *bytes, size_t length, struct entity *out, struct entity_fault *fault)
{
    struct reader reader = {bytes, bytes + length, 0, fault, 0};

    *out = (struct entity){0};
    *fault = (struct entity_fault){0};
    return read_entity(&reader, out, 0);
}

void entity_free(struct entity *entity)
{
    for (size_t i = 0; i < entity->child_count; i++)
        entity_free(&entity->child[i]);
    free(entity->child);
    free(entity->field);
    *entity = (struct entity){0};
}
