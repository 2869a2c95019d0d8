/* compile.c - message_compile: from the bytes of a template to a struct message, or to words.
 *
 * Everything that could go wrong for a copy is looked for here, so that rendering fails for lack of memory or
 * size only. Owns the message until it is handed over.
 */
#include <stdarg.h>

#include "dkim.h"
#include "entity.h"
#include "internal.h"
#include "signer.h"

int compile_refuse(const struct compile *c, uint32_t line, const char *format, ...)
{
    char words[400];
    va_list args;

    va_start(args, format);
    (void)vsnprintf(words, sizeof words, format, args);
    va_end(args);
    return why_set(c->why, HK_EINVAL, "%s:%u: %s", c->path, line, words);
}

int compile_refuse_tag(const struct compile *c, const struct tag_fault *fault, const char *raw, size_t length,
                       uint32_t line)
{
    const char *at = fault->tag != NULL ? memmem(raw, length, fault->tag, fault->tag_length) : NULL;

    for (const char *p = raw; at != NULL && p < at; p++)
        line += *p == '\n' || (*p == '\r' && p[1] != '\n') ? 1u : 0u;
    return compile_refuse(c, line, "%s", fault->words);
}

void *message_keep(struct message *message, void *memory)
{
    void **more;

    if (memory == NULL)
        return NULL;
    more = realloc(message->kept, (message->kept_count + 1) * sizeof *more);
    if (more == NULL) {
        free(memory);
        return NULL;
    }
    message->kept = more;
    more[message->kept_count++] = memory;
    return memory;
}

/* The empty line behind the header: static, unsigned. */
static int header_end(struct message *m)
{
    struct field *more = realloc(m->field, (m->field_count + 1) * sizeof *more);

    if (more == NULL)
        return HK_ENOMEM;
    m->field = more;
    m->field[m->field_count++] = (struct field){
        .kind = FIELD_TEXT, .name = "", .is_static = true, .wire_at = m->wire.length, .wire_length = 2};
    buf_text(&m->wire, "\r\n");
    return m->wire.failed ? HK_ENOMEM : 0;
}

static int compile_parts(struct compile *c, const struct entity *entity)
{
    struct message *m = c->message;
    struct part root = {0};
    int error = 0;

    if (entity->child_count == 0)
        error = part_read(c, entity, &root);
    if (error != 0)
        return error;
    error = header_compile(c, entity, &root);
    if (error == 0)
        error = header_end(m);
    if (error == 0)
        error = body_compile(c, entity, &root);
    part_free(&root);
    if (error == 0 && m->wire.length > MESSAGE_COPY_MAX)
        error = compile_refuse(c, 1, "a copy of this message would have more than %u MB",
                               MESSAGE_COPY_MAX / 1048576u);
    if (error == 0 && m->is_signed)
        error = dkim_compile(m);
    buf_fit(&m->wire);
    buf_fit(&m->canon);
    return error != 0 ? error : render_prefix(m);
}

static int compile_bytes(struct compile *c, size_t length)
{
    struct entity_fault fault;
    struct entity entity;
    int error;

    if (length > MESSAGE_TEMPLATE_MAX)
        return why_set(c->why, HK_ETOOBIG, "%s: a message of more than %u MB", c->path,
                       MESSAGE_TEMPLATE_MAX / 1048576u);
    if (length >= 3 &&
        memcmp(c->bytes, "\xEF\xBB\xBF", 3) == 0) { /* some editors put a BOM in front of UTF-8 */
        c->bytes += 3;
        length -= 3;
    }
    error = entity_parse(c->bytes, length, &entity, &fault);
    if (error == HK_EINVAL)
        error = compile_refuse(c, fault.line, "%s", fault.words);
    if (error == 0)
        error = compile_parts(c, &entity);
    entity_free(&entity);
    return error;
}

/* A column named like a built-in tag is hidden by it: said aloud, because the values differ. */
static int note_hidden_columns(const struct compile *c)
{
    static const char *const names[] = {"campaign", "unsubscribe_url", "message_id"};

    for (uint32_t i = 0; i < c->names.column_count; i++) {
        for (size_t k = 0; k < sizeof names / sizeof names[0]; k++) {
            if (strcmp(c->names.column[i], names[k]) == 0 &&
                note_add(&c->message->notes, true,
                         "%s: the list has a column %s, but {{%s}} is what hikyaku makes", c->path, names[k],
                         names[k]) != 0)
                return HK_ENOMEM;
        }
    }
    return 0;
}

int message_compile(const char *path, const char *bytes, size_t length, const struct config *config,
                    const struct signer *signer, const char *campaign, const char *const *column,
                    uint32_t column_count, struct message **out, struct hk_why *why)
{
    struct message *m = calloc(1, sizeof *m);
    struct compile c = {.path = path, .bytes = bytes, .message = m, .why = why};
    int error;

    *out = NULL;
    if (m == NULL)
        return why_set(why, HK_ENOMEM, "%s", hk_strerror(HK_ENOMEM));
    HK_BUG_ON(strlen(campaign) > CAMPAIGN_ID_MAX || column_count > SEGMENT_COLUMNS_MAX);
    m->config = config;
    m->signer = signer;
    m->wants_unsubscribe_url = config->sender.unsubscribe_url != NULL;
    m->wants_unsubscribe_mail = config->sender.unsubscribe_mail == UNSUBSCRIBE_MAIL_YES;
    m->is_signed = signer_key_count(signer) > 0;
    (void)snprintf(m->campaign, sizeof m->campaign, "%s", campaign);
    c.names = (struct tag_names){column, column_count, m->wants_unsubscribe_url};
    error = note_hidden_columns(&c);
    if (error == 0)
        error = compile_bytes(&c, length);
    if (error == HK_ENOMEM)
        (void)why_set(why, error, "%s: %s", path, hk_strerror(error));
    if (error != 0) {
        message_free(m);
        return error;
    }
    *out = m;
    return 0;
}

void message_free(struct message *m)
{
    if (m == NULL)
        return;
    for (size_t i = 0; i < m->field_count; i++) {
        for (size_t k = 0; k < m->field[i].mailbox_count; k++) {
            token_list_free(&m->field[i].mailbox[k].display);
            token_list_free(&m->field[i].mailbox[k].address);
        }
        free(m->field[i].mailbox);
        token_list_free(&m->field[i].tokens);
    }
    free(m->field);
    free(m->op);
    free(m->run);
    dkim_free(m);
    EVP_MD_CTX_free(m->body_prefix);
    for (size_t i = 0; i < m->kept_count; i++)
        free(m->kept[i]);
    free(m->kept);
    note_list_free(&m->notes);
    buf_free(&m->wire);
    buf_free(&m->canon);
    free(m);
}

const struct note *message_notes(const struct message *message, size_t *count)
{
    *count = message->notes.count;
    return message->notes.at;
}
