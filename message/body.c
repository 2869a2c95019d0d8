/* body.c - compile the body: MIME parts become a flat program of static runs and values.
 *
 * Static text is encoded once, here. Quoted-printable: a run is encoded as if it began a line, and a soft line
 * break is put before it at render when it does not. Base64: a run is encoded three times, for the number of
 * octets (none, one, two) that the value before it leaves over; so no static octet is encoded per copy,
 * whatever the values are. Appends to the message's wire, canon, run and op.
 */
#include "entity.h"
#include "internal.h"

#define BASE64_RUN_MIN 60 /* a shorter text is encoded for each copy */

static struct run *run_add(struct message *m)
{
    if (m->run_count == m->run_room) {
        size_t room = m->run_room != 0 ? m->run_room * 2 : 16;
        struct run *more = realloc(m->run, room * sizeof *more);

        if (more == NULL)
            return NULL;
        m->run = more;
        m->run_room = room;
    }
    m->run[m->run_count] = (struct run){0};
    return &m->run[m->run_count++];
}

static int op_add(struct message *m, const struct op *op)
{
    if (m->op_count == m->op_room) {
        size_t room = m->op_room != 0 ? m->op_room * 2 : 16;
        struct op *more = realloc(m->op, room * sizeof *more);

        if (more == NULL)
            return HK_ENOMEM;
        m->op = more;
        m->op_room = room;
    }
    m->op[m->op_count++] = *op;
    return 0;
}

/* Keep the canonical form of text; where it is the text itself, cut short at both ends, it is not stored. */
static void run_canon(struct message *m, struct run *run, const char *text, size_t length, bool is_wire)
{
    const char *same;
    size_t first = 0;

    canon_run_make(text, length, &run->canon, &m->canon);
    if (!is_wire || m->canon.failed)
        return;
    while (first < length && strchr(" \t\r\n", text[first]) != NULL && text[first] != 0)
        first++;
    same = m->canon.at + run->canon.at;
    if (run->canon.length > 0 && first + run->canon.length <= length &&
        memcmp(same, text + first, run->canon.length) == 0) {
        m->canon.length = run->canon.at;
        run->canon.at = run->at + first;
        run->canon_is_wire = true;
    }
}

/* The receiver's view of dot-stuffed lines. */
static void unstuff(const char *text, size_t length, struct buf *out)
{
    size_t from = 0;

    for (size_t i = 0; i < length; i++) {
        if (text[i] != '.' || (i > 0 && text[i - 1] != '\n'))
            continue;
        buf_put(out, text + from, i - from);
        from = i + 1;
    }
    buf_put(out, text + from, length - from);
}

/* Make an op of the static octets put on the wire since the last one. They begin where a line begins, or
 * with a line end. */
static int static_flush(struct compile *c)
{
    struct message *m = c->message;
    size_t length = m->wire.length - c->static_from;
    struct op op = {.kind = OP_STATIC, .run = (uint32_t)m->run_count};
    const char *text = m->wire.at + c->static_from;
    struct run *run;
    struct buf plain = {0};

    if (length == 0)
        return 0;
    run = run_add(m);
    if (run == NULL || m->wire.failed)
        return HK_ENOMEM;
    run->at = c->static_from;
    run->length = length;
    if (text[0] == '.' || memmem(text, length, "\n.", 2) != NULL) {
        unstuff(text, length, &plain);
        run_canon(m, run, plain.at, plain.length, false);
    } else {
        run_canon(m, run, text, length, true);
    }
    bool failed = plain.failed || m->canon.failed;
    buf_free(&plain);
    if (failed)
        return HK_ENOMEM;
    c->static_from = m->wire.length;
    return op_add(m, &op);
}

static int qp_text(struct compile *c, const char *text, size_t length)
{
    struct message *m = c->message;
    struct op op = {.kind = OP_QP_TEXT, .run = (uint32_t)m->run_count};
    struct run *run = run_add(m);

    if (run == NULL)
        return HK_ENOMEM;
    run->at = m->wire.length;
    run->joins_line = length >= 2 && text[0] == '\r';
    qp_encode(text, length, &run->end_col, &m->wire);
    if (m->wire.failed)
        return HK_ENOMEM;
    run->length = m->wire.length - run->at;
    run_canon(m, run, m->wire.at + run->at, run->length, true);
    return m->canon.failed ? HK_ENOMEM : op_add(m, &op);
}

static int base64_run(struct message *m, const char *text, size_t length, size_t skip)
{
    struct run *run = run_add(m);
    struct base64 state = {0};
    size_t whole = (length - skip) / 3 * 3;

    if (run == NULL)
        return HK_ENOMEM;
    run->at = m->wire.length;
    base64_put(&state, text + skip, whole, &run->end_col, &m->wire);
    if (m->wire.failed)
        return HK_ENOMEM;
    run->length = m->wire.length - run->at;
    run->head_length = (uint8_t)skip;
    memcpy(run->head, text, skip);
    run->tail_length = (uint8_t)(length - skip - whole);
    memcpy(run->tail, text + skip + whole, run->tail_length);
    run_canon(m, run, m->wire.at + run->at, run->length, true);
    return m->canon.failed ? HK_ENOMEM : 0;
}

static int base64_text(struct compile *c, const char *text, size_t length)
{
    struct message *m = c->message;
    struct op op = {.kind = OP_BASE64_TEXT, .run = (uint32_t)m->run_count};
    int error = 0;

    if (length < BASE64_RUN_MIN) {
        struct run *run = run_add(m);

        if (run == NULL)
            return HK_ENOMEM;
        op.kind = OP_BASE64_SHORT;
        run->at = m->canon.length;
        run->length = length;
        buf_put(&m->canon, text, length);
        return m->canon.failed ? HK_ENOMEM : op_add(m, &op);
    }
    for (size_t skip = 0; skip < 3 && error == 0; skip++)
        error = base64_run(m, text, length, skip);
    return error != 0 ? error : op_add(m, &op);
}

static int token_compile(struct compile *c, const struct part *part, const struct token *token, bool html,
                         size_t first_op)
{
    struct op op = {.source = token->source};

    switch (token->kind) {
    case TOKEN_TEXT:
        return part->base64 ? base64_text(c, token->text, token->length)
                            : qp_text(c, token->text, token->length);
    case TOKEN_VALUE:
        op.kind = part->base64 ? OP_BASE64_VALUE : OP_QP_VALUE;
        op.html = html && !token->raw;
        break;
    case TOKEN_IF:
    case TOKEN_UNLESS:
        /* One op for each token, so a token's number is an op's number. */
        op.kind = token->kind == TOKEN_IF ? OP_IF : OP_UNLESS;
        op.jump = (uint32_t)(first_op + token->jump);
        break;
    }
    return op_add(c->message, &op);
}

static int encoded_part(struct compile *c, const struct entity *entity, const struct part *part)
{
    bool html = strcmp(entity->type, "text/html") == 0;
    size_t first_op;
    int error = static_flush(c);

    first_op = c->message->op_count;
    for (size_t i = 0; i < part->tokens.count && error == 0; i++)
        error = token_compile(c, part, &part->tokens.at[i], html, first_op);
    if (error == 0 && part->base64)
        error = op_add(c->message, &(struct op){.kind = OP_BASE64_END});
    c->static_from = c->message->wire.length;
    return error;
}

/* A body that stays as it was written: CRLF, and a dot more where a line begins with one. */
static void raw_part(struct compile *c, struct slice body)
{
    struct buf *wire = &c->message->wire;
    bool line_start = true;
    size_t from = 0;

    for (size_t i = 0; i < body.length; i++) {
        char ch = body.at[i];

        if (ch == '.' && line_start) {
            buf_put(wire, body.at + from, i - from);
            buf_byte(wire, '.');
            from = i;
        }
        line_start = ch == '\r' || ch == '\n';
        if (!line_start)
            continue;
        buf_put(wire, body.at + from, i - from);
        buf_put(wire, "\r\n", 2);
        i += ch == '\r' && i + 1 < body.length && body.at[i + 1] == '\n' ? 1 : 0;
        from = i + 1;
    }
    buf_put(wire, body.at + from, body.length - from);
}

/* The header of a part inside a multipart. Tags have no place there: a file name or a boundary is not text. */
static int part_header(struct compile *c, const struct entity *entity, const struct part *part)
{
    struct buf *wire = &c->message->wire;

    for (size_t i = 0; i < entity->field_count; i++) {
        const struct entity_field *field = &entity->field[i];

        if (tag_find(field->value.at, field->value.length, 0) < field->value.length)
            return compile_refuse(c, field->line, "tags in the header of a part are not supported");
        if (!field_is_clean(field->value.at, field->value.length))
            return compile_refuse(
                c, field->line,
                "%.76s of a part has octets that are not ASCII, or a line that is too long; encode "
                "it (RFC 2047, for a file name RFC 2231)",
                strndupa(field->name.at, field->name.length));
        if (slice_is(field->name, "Content-Type") || slice_is(field->name, "Content-Transfer-Encoding"))
            continue;
        field_put_raw(wire, field->name.at, field->name.length, field->value.at, field->value.length);
    }
    part_put_content_fields(entity, part, wire);
    buf_text(wire, "\r\n");
    return 0;
}

static int body_entity(struct compile *c, const struct entity *entity, const struct part *part);

static int body_multipart(struct compile *c, const struct entity *entity)
{
    struct buf *wire = &c->message->wire;
    int error = 0;

    if (entity->encoding >= ENCODING_QP)
        return compile_refuse(c, entity->line, "a multipart may not be quoted-printable or base64");
    for (size_t i = 0; i < entity->child_count && error == 0; i++) {
        const struct entity *child = &entity->child[i];
        struct part part = {0};

        if (child->child_count == 0)
            error = part_read(c, child, &part);
        if (error != 0)
            return error;
        buf_text(wire, "--");
        buf_text(wire, entity->boundary);
        buf_text(wire, "\r\n");
        error = part_header(c, child, &part);
        if (error == 0)
            error = body_entity(c, child, &part);
        part_free(&part);
        buf_text(wire, "\r\n");
    }
    buf_text(wire, "--");
    buf_text(wire, entity->boundary);
    buf_text(wire, "--\r\n");
    return error;
}

static int body_entity(struct compile *c, const struct entity *entity, const struct part *part)
{
    if (entity->child_count > 0)
        return body_multipart(c, entity);
    if (part->encode)
        return encoded_part(c, entity, part);
    raw_part(c, entity->body);
    return 0;
}

int body_compile(struct compile *c, const struct entity *entity, const struct part *root)
{
    struct buf *wire = &c->message->wire;
    int error;

    c->static_from = wire->length;
    error = body_entity(c, entity, root);
    if (error != 0)
        return error;
    /* The last line of a body that stays as it is ends in CRLF; a rendered one does so when it is known. */
    if (!wire->failed && wire->length > c->static_from && wire->at[wire->length - 1] != '\n')
        buf_text(wire, "\r\n");
    error = static_flush(c);
    if (error == 0)
        error = op_add(c->message, &(struct op){.kind = OP_LINE_END});
    return wire->failed ? HK_ENOMEM : error;
}
