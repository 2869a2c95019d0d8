/* render.c - one copy of a message: an iovec of static runs and rendered pieces, hashed, and signed when that is asked for.
 *
 * Static octets are never copied or encoded here. Rendered pieces go into one buffer of the copy, in the order
 * of the wire; its memory may move while it grows, so their iovecs get their base at the end. The signature's
 * field stands first, is made last, and filled in by message_sign(). Fails for lack of memory or size only.
 */
#include "dkim.h"
#include "internal.h"
#include "signer.h"

#define COPY_KEEP_BYTES 1048576u /* a copy's buffer that grew beyond this is given back */
#define CANON_FLUSH     4096u

static size_t copy_first(const struct message *message)
{
    return message->is_signed ? 1 : 0;
}

/* May the octets join the last iovec? `base` as for copy_push. */
static bool copy_joins(const struct copy *copy, size_t first, const char *base)
{
    const struct iovec *last;

    if (copy->iov_count <= first)
        return false;
    last = &copy->iov[copy->iov_count - 1];
    if (base == NULL || last->iov_base == NULL)
        return base == last->iov_base;
    return (const char *)last->iov_base + last->iov_len == base;
}

/* Add octets to the iovec; a NULL base is the next `length` octets of the dynamic buffer. */
static void copy_push(const struct render *render, const char *base, size_t length)
{
    struct copy *copy = render->copy;
    struct copy_arena *arena = copy->arena;

    arena->bytes += length;
    if (length == 0)
        return;
    if (copy->iov != NULL && copy_joins(copy, copy_first(render->message), base)) {
        copy->iov[copy->iov_count - 1].iov_len += length;
        return;
    }
    if (copy->iov == NULL || copy->iov_count == arena->iov_room) {
        size_t room = arena->iov_room != 0 ? arena->iov_room * 2 : 16;
        struct iovec *more = realloc(copy->iov, room * sizeof *more);

        if (more == NULL) {
            arena->failed = true;
            return;
        }
        copy->iov = more;
        arena->iov_room = room;
    }
    /* iovec has no const; nobody writes through it. */
    copy->iov[copy->iov_count++] = (struct iovec){(void *)(uintptr_t)base, length};
}

/* ---- body ---- */

static void canon_flush(struct body_state *state, size_t above)
{
    struct buf *canon = &state->render->copy->arena->canon;

    if (canon->length <= above)
        return;
    if (state->hash != NULL && EVP_DigestUpdate(state->hash, canon->at, canon->length) != 1)
        state->render->copy->arena->failed = true;
    canon->length = 0;
}

/* What was appended to the dynamic buffer since `from` goes on the wire and into the hash. */
static void body_dynamic(struct body_state *state, size_t from)
{
    struct copy_arena *arena = state->render->copy->arena;

    if (arena->dynamic.failed || arena->dynamic.length == from)
        return;
    copy_push(state->render, NULL, arena->dynamic.length - from);
    if (!state->render->message->is_signed)
        return;
    canon_feed(&state->canon, arena->dynamic.at + from, arena->dynamic.length - from, &arena->canon);
    canon_flush(state, CANON_FLUSH);
}

static void body_text(struct body_state *state, const char *text)
{
    struct buf *dynamic = &state->render->copy->arena->dynamic;
    size_t from = dynamic->length;

    buf_text(dynamic, text);
    body_dynamic(state, from);
}

static void body_static(struct body_state *state, const struct run *run)
{
    const struct message *m = state->render->message;
    struct buf *canon = &state->render->copy->arena->canon;
    const char *octets = (run->canon_is_wire ? m->wire.at : m->canon.at) + run->canon.at;

    copy_push(state->render, m->wire.at + run->at, run->length);
    state->col = run->end_col;
    if (!m->is_signed)
        return;
    canon_run_join(&state->canon, &run->canon, canon);
    if (run->canon.length > CANON_FLUSH / 4) {
        canon_flush(state, 0);
        if (state->hash != NULL && EVP_DigestUpdate(state->hash, octets, run->canon.length) != 1)
            state->render->copy->arena->failed = true;
    } else if (run->canon.length > 0) {
        buf_put(canon, octets, run->canon.length);
        canon_flush(state, CANON_FLUSH);
    }
}

/* The value for a text part: CRLF line ends, entities in HTML; only copied where that changes it. */
static struct slice_value body_value(const struct body_state *state, const struct op *op)
{
    struct slice_value value = render_value(state->render, op->source);
    struct buf *text = &state->render->copy->arena->text;

    if (text_is_plain(value.text, value.length, op->html))
        return value;
    text->length = 0;
    text_escape(value.text, value.length, op->html, text);
    return (struct slice_value){text->at, text->length};
}

static void body_base64(struct body_state *state, const char *text, size_t length)
{
    struct buf *dynamic = &state->render->copy->arena->dynamic;
    size_t from = dynamic->length;

    base64_put(&state->base64, text, length, &state->col, dynamic);
    body_dynamic(state, from);
}

static void body_base64_text(struct body_state *state, const struct op *op)
{
    size_t skip = (3u - state->base64.carry_length) % 3u;
    const struct run *run = &state->render->message->run[op->run + skip];

    body_base64(state, (const char *)run->head, run->head_length);
    if (state->col != 0)
        body_text(state, "\r\n");
    body_static(state, run);
    memcpy(state->base64.carry, run->tail, run->tail_length);
    state->base64.carry_length = run->tail_length;
}

static void body_base64_end(struct body_state *state)
{
    struct buf *dynamic = &state->render->copy->arena->dynamic;
    size_t from = dynamic->length;

    base64_end(&state->base64, &state->col, dynamic);
    body_dynamic(state, from);
}

static void body_op(struct body_state *state, const struct op *op, size_t *next)
{
    const struct message *m = state->render->message;
    struct buf *dynamic = &state->render->copy->arena->dynamic;
    const struct run *run = &m->run[op->run];
    size_t from = dynamic->length;
    struct slice_value value;

    switch (op->kind) {
    case OP_QP_TEXT:
        /* The run was encoded as a line's begin; a soft line break makes it one. */
        if (state->col != 0 && !run->joins_line)
            body_text(state, "=\r\n");
        body_static(state, run);
        break;
    case OP_STATIC:
        body_static(state, run);
        break;
    case OP_QP_VALUE:
        value = body_value(state, op);
        qp_encode(value.text, value.length, &state->col, dynamic);
        body_dynamic(state, from);
        break;
    case OP_BASE64_TEXT:
        body_base64_text(state, op);
        break;
    case OP_BASE64_SHORT:
        body_base64(state, m->canon.at + run->at, run->length);
        break;
    case OP_BASE64_VALUE:
        value = body_value(state, op);
        body_base64(state, value.text, value.length);
        break;
    case OP_BASE64_END:
        body_base64_end(state);
        break;
    case OP_LINE_END:
        if (state->col != 0)
            body_text(state, "\r\n");
        break;
    case OP_IF:
    case OP_UNLESS:
        value = render_value(state->render, op->source);
        if ((op->kind == OP_IF) == (value.length == 0))
            *next = op->jump;
        break;
    }
}

void body_run(struct body_state *state, size_t from, size_t to)
{
    const struct message *m = state->render->message;
    const struct copy_arena *arena = state->render->copy->arena;

    for (size_t i = from; i < to && arena->bytes <= MESSAGE_COPY_MAX && !arena->failed;) {
        size_t next = i + 1;

        body_op(state, &m->op[i], &next);
        i = next;
    }
    canon_flush(state, 0);
}

/* The whole body; its digest into `digest` where the message is signed. */
static void render_body(const struct render *render, uint8_t *digest)
{
    const struct message *m = render->message;
    struct copy_arena *arena = render->copy->arena;
    struct body_state state = {.render = render};

    /* What stands before the first tag was hashed at compile: here it only goes into the iovec. */
    body_run(&state, 0, m->prefix_ops);
    if (m->is_signed) {
        state.hash = signer_body_hash(m->signer);
        if (EVP_MD_CTX_copy_ex(state.hash, m->body_prefix) != 1)
            arena->failed = true;
    }
    body_run(&state, m->prefix_ops, m->op_count);
    if (!m->is_signed || arena->failed)
        return;
    canon_end(&state.canon, &arena->canon);
    canon_flush(&state, 0);
    if (EVP_DigestFinal_ex(state.hash, digest, NULL) != 1)
        arena->failed = true;
}

/* ---- header and the whole ---- */

static void render_header(const struct render *render)
{
    const struct message *m = render->message;
    struct copy_arena *arena = render->copy->arena;

    for (size_t i = 0; i < m->field_count; i++) {
        const struct field *field = &m->field[i];
        size_t from = arena->dynamic.length;

        if (field->is_static) {
            copy_push(render, m->wire.at + field->wire_at, field->wire_length);
            continue;
        }
        field_render(field, render, &arena->text, &arena->dynamic);
        if (arena->dynamic.failed || arena->dynamic.length == from)
            continue;
        copy_push(render, NULL, arena->dynamic.length - from);
        if (m->is_signed && field->is_signed)
            canon_field(arena->dynamic.at + from, arena->dynamic.length - from, &arena->header);
    }
}

/* The token behind sender.unsubscribe_url, as a path, or as a query where it has one; and the same one as an address. */
static int unsubscribe_make(struct render *render, const struct token_head *head)
{
    const struct message *m = render->message;
    const char *url = m->wants_unsubscribe_url ? m->config->sender.unsubscribe_url : NULL;
    char token[TOKEN_TEXT_MAX];

    if (token_make(m->signer, TOKEN_UNSUBSCRIBE, head, token) != 0)
        return HK_ENOMEM;
    if (url != NULL) {
        const char *end = render->unsubscribe_url + sizeof render->unsubscribe_url;
        char last = url[strlen(url) - 1];
        const char *joint = strchr("/=?&", last) != NULL ? "" : strchr(url, '?') != NULL ? "&" : "?";
        (void)hk_put(hk_put(hk_put(render->unsubscribe_url, end, url), end, joint), end, token);
    }
    if (m->wants_unsubscribe_mail) {
        const char *end = render->unsubscribe_mail + sizeof render->unsubscribe_mail;
        char *at = hk_put(hk_put(render->unsubscribe_mail, end, "u-"), end, token);
        (void)hk_put(hk_put(at, end, "@"), end, signer_return_path(m->signer));
    }
    return 0;
}

static int copy_begin(struct copy *copy)
{
    struct copy_arena *arena = copy->arena;

    if (arena == NULL) {
        arena = copy->arena = calloc(1, sizeof *arena);
        if (arena == NULL)
            return HK_ENOMEM;
    }
    buf_reset(&arena->dynamic, COPY_KEEP_BYTES);
    buf_reset(&arena->signature, COPY_KEEP_BYTES);
    buf_reset(&arena->blanks, COPY_KEEP_BYTES);
    buf_reset(&arena->text, COPY_KEEP_BYTES);
    buf_reset(&arena->canon, COPY_KEEP_BYTES);
    buf_reset(&arena->header, COPY_KEEP_BYTES);
    copy->iov_count = 0;
    copy->to_sign = false;
    arena->bytes = 0;
    arena->failed = false;
    return 0;
}

/* The signature's iovec stands first; until it is known it has no octets. */
static int copy_begin_for(const struct render *render)
{
    int error = copy_begin(render->copy);

    if (error == 0 && render->message->is_signed) {
        copy_push(render, "", 1);
        render->copy->arena->bytes = 0;
        if (render->copy->arena->failed)
            error = HK_ENOMEM;
    }
    return error;
}

static int copy_settle(const struct render *render)
{
    struct copy *copy = render->copy;
    struct copy_arena *arena = copy->arena;
    char *next = arena->dynamic.at;

    if (arena->failed || arena->dynamic.failed || arena->text.failed || arena->canon.failed ||
        arena->header.failed || arena->signature.failed)
        return HK_ENOMEM;
    if (render->message->is_signed) {
        copy->iov[0] = (struct iovec){arena->signature.at, arena->signature.length};
        arena->bytes += arena->signature.length;
    }
    for (size_t i = copy_first(render->message); i < copy->iov_count; i++) {
        if (copy->iov[i].iov_base == NULL) {
            copy->iov[i].iov_base = next;
            next += copy->iov[i].iov_len;
        }
    }
    copy->bytes = arena->bytes;
    return arena->bytes > MESSAGE_COPY_MAX ? HK_ETOOBIG : 0;
}

int message_render(const struct message *m, const struct segment_record *record, uint16_t segment,
                   uint32_t index, uint64_t wall_us, struct copy *copy)
{
    const struct token_subject subject = {.campaign = m->campaign,
                                          .address = record->wire,
                                          .address_length = record->wire_length,
                                          .index = index,
                                          .day = VERP_DAY(wall_us)};
    struct token_head head;
    struct render render;
    uint8_t digest[SHA256_OCTETS];
    int error;

    render.message = m;
    render.record = record;
    render.copy = copy;
    render.wall_us = wall_us;
    render.unsubscribe_url[0] = render.unsubscribe_mail[0] = 0;
    error = copy_begin_for(&render);
    if (error != 0)
        return error;
    error = token_head_make(m->signer, &subject, &head);
    if (error == 0)
        error = token_return_path(m->signer, &head, copy->mail_from);
    if (error == 0)
        error = message_id_make(m->signer, m->campaign, segment, index, render.message_id,
                                sizeof render.message_id);
    if (error == 0 && (m->wants_unsubscribe_url || m->wants_unsubscribe_mail))
        error = unsubscribe_make(&render, &head);
    if (error != 0)
        return error;
    render_header(&render);
    render_body(&render, digest);
    if (m->is_signed && copy->arena->bytes <= MESSAGE_COPY_MAX && !copy->arena->failed &&
        !dkim_begin(&render, digest))
        return HK_ENOMEM;
    copy->to_sign = m->is_signed;
    return copy_settle(&render);
}

int message_sign(const struct message *m, struct copy *copy)
{
    if (copy->to_sign && !dkim_sign(m, copy->arena))
        return HK_ENOMEM;
    copy->to_sign = false;
    return 0;
}

int copy_mark_ses(struct copy *copy, const char *configuration_set)
{
    struct copy_arena *arena = copy->arena;
    struct buf *mark = &arena->mark;
    struct iovec *more;

    buf_reset(mark, COPY_KEEP_BYTES);
    if (configuration_set != NULL) {
        buf_text(mark, "X-SES-CONFIGURATION-SET: ");
        buf_text(mark, configuration_set);
        buf_text(mark, "\r\n");
    }
    buf_text(mark, "X-SES-MESSAGE-TAGS: hikyaku=");
    buf_put(mark, copy->mail_from, strcspn(copy->mail_from, "@"));
    buf_text(mark, "\r\n");
    if (mark->failed)
        return HK_ENOMEM;
    if (copy->iov_count == arena->iov_room) {
        more = realloc(copy->iov, (arena->iov_room + 1) * sizeof *more);
        if (more == NULL)
            return HK_ENOMEM;
        copy->iov = more;
        arena->iov_room++;
    }
    memmove(copy->iov + 1, copy->iov, copy->iov_count++ * sizeof *copy->iov);
    copy->iov[0] = (struct iovec){mark->at, mark->length};
    copy->bytes += mark->length;
    return 0;
}

int render_prefix(struct message *m)
{
    struct copy copy = {0};
    struct render render = {.message = m, .copy = &copy};
    struct body_state state = {.render = &render};
    int error = copy_begin(&copy);

    m->body_prefix = EVP_MD_CTX_new();
    if (error == 0 &&
        (m->body_prefix == NULL || EVP_DigestInit_ex2(m->body_prefix, signer_sha256(m->signer), NULL) != 1))
        error = HK_ENOMEM;
    while (m->prefix_ops < m->op_count && m->op[m->prefix_ops].kind != OP_QP_VALUE &&
           m->op[m->prefix_ops].kind != OP_BASE64_VALUE && m->op[m->prefix_ops].kind < OP_IF)
        m->prefix_ops++;
    state.hash = m->body_prefix;
    if (error == 0)
        body_run(&state, 0, m->prefix_ops);
    if (error == 0 && (copy.arena->failed || copy.arena->canon.failed || copy.arena->dynamic.failed))
        error = HK_ENOMEM;
    copy_free(&copy);
    return error;
}

void copy_free(struct copy *copy)
{
    if (copy->arena != NULL) {
        buf_free(&copy->arena->dynamic);
        buf_free(&copy->arena->signature);
        buf_free(&copy->arena->blanks);
        buf_free(&copy->arena->mark);
        buf_free(&copy->arena->text);
        buf_free(&copy->arena->canon);
        buf_free(&copy->arena->header);
        free(copy->arena);
    }
    free(copy->iov);
    *copy = (struct copy){0};
}
