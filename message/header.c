/* header.c - compile the header: the template's fields, and those that the sender makes.
 *
 * A field without tags that is 7-bit, free of controls and within the line limits stays octet for octet (but
 * for its line ends). Everything else is decoded here and written anew. Fields that are made for each copy
 * come first, so that they and the signature lie in one piece of memory.
 */
#include "drop.h"
#include "entity.h"
#include "internal.h"
#include "signer.h"

#define RULE_SINGLE  1u /* may stand once (RFC 5322 3.6) */
#define RULE_SIGNED  2u
#define RULE_DROP    4u /* the sender makes its own */
#define RULE_CONTENT 8u /* belongs to MIME: no tags */

static const struct field_rule {
    const char *name;
    enum field_kind kind;
    unsigned flags;
} RULES[] = {
    {"From", FIELD_ADDRESS, RULE_SINGLE | RULE_SIGNED},
    {"Sender", FIELD_ADDRESS, RULE_SINGLE | RULE_SIGNED},
    {"Reply-To", FIELD_ADDRESS, RULE_SINGLE | RULE_SIGNED},
    {"To", FIELD_ADDRESS, RULE_SINGLE | RULE_SIGNED},
    {"Cc", FIELD_ADDRESS, RULE_SINGLE | RULE_SIGNED},
    {"Subject", FIELD_TEXT, RULE_SINGLE | RULE_SIGNED},
    {"In-Reply-To", FIELD_TEXT, RULE_SINGLE},
    {"References", FIELD_TEXT, RULE_SINGLE},
    {"List-ID", FIELD_TEXT, RULE_SINGLE | RULE_SIGNED},
    {"Feedback-ID", FIELD_TEXT, RULE_SINGLE | RULE_SIGNED},
    {"List-Unsubscribe", FIELD_URL, RULE_SINGLE | RULE_SIGNED},
    {"List-Unsubscribe-Post", FIELD_TEXT, RULE_SINGLE | RULE_SIGNED},
    {"List-Help", FIELD_URL, 0},
    {"List-Subscribe", FIELD_URL, 0},
    {"List-Post", FIELD_URL, 0},
    {"List-Owner", FIELD_URL, 0},
    {"List-Archive", FIELD_URL, 0},
    {"MIME-Version", FIELD_TEXT, RULE_SINGLE | RULE_SIGNED | RULE_CONTENT},
    {"Content-Type", FIELD_TEXT, RULE_SINGLE | RULE_SIGNED | RULE_CONTENT},
    {"Content-Transfer-Encoding", FIELD_TEXT, RULE_SINGLE | RULE_SIGNED | RULE_CONTENT},
    {"Content-Disposition", FIELD_TEXT, RULE_SINGLE | RULE_CONTENT},
    {"Message-ID", FIELD_TEXT, RULE_DROP},
    {"Date", FIELD_TEXT, RULE_DROP},
    {"Bcc", FIELD_TEXT, RULE_DROP},
    {"DKIM-Signature", FIELD_TEXT, RULE_DROP},
    {"Return-Path", FIELD_TEXT, RULE_DROP},
};

static const struct field_rule *rule_of(struct slice name)
{
    static const struct field_rule other = {"", FIELD_TEXT, 0};

    for (size_t i = 0; i < sizeof RULES / sizeof RULES[0]; i++) {
        if (slice_is(name, RULES[i].name))
            return &RULES[i];
    }
    return &other;
}

bool field_is_clean(const char *value, size_t length)
{
    size_t line = ENTITY_NAME_MAX + 1;
    bool blank = false; /* a first line may be empty, a continued one may not */

    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)value[i];

        if (c == '\r' || c == '\n') {
            if (blank)
                return false;
            i += c == '\r' && i + 1 < length && value[i + 1] == '\n' ? 1 : 0;
            line = 0;
            blank = true;
            continue;
        }
        if ((c < ' ' && c != '\t') || c >= 0x7F || ++line > 998)
            return false;
        blank = blank && (c == ' ' || c == '\t');
    }
    return !blank;
}

void field_put_raw(struct buf *out, const char *name, size_t name_length, const char *value, size_t length)
{
    buf_put(out, name, name_length);
    buf_byte(out, ':');
    text_normalise(value, length, out);
    buf_put(out, "\r\n", 2);
}

void field_unfold(const char *value, size_t length, struct buf *out)
{
    for (size_t i = 0; i < length; i++) {
        if (value[i] != '\r' && value[i] != '\n')
            buf_byte(out, (char)(value[i] == '\t' ? ' ' : value[i]));
    }
}

static struct field *field_add(struct message *m, enum field_kind kind, const char *name, size_t name_length,
                               bool is_signed)
{
    char *kept = message_keep(m, strndup(name, name_length));
    struct field *more = kept != NULL ? realloc(m->field, (m->field_count + 1) * sizeof *more) : NULL;

    if (more == NULL)
        return NULL;
    m->field = more;
    more += m->field_count++;
    *more = (struct field){.kind = kind, .name = kept, .is_signed = is_signed};
    return more;
}

/* Make the field static: its octets are those put on the wire since `at`. */
static int field_is_done(struct message *m, struct field *field, size_t at)
{
    field->is_static = true;
    field->wire_at = at;
    field->wire_length = m->wire.length - at;
    return m->wire.failed ? HK_ENOMEM : 0;
}

static int static_add(struct compile *c, const char *name, const char *value)
{
    struct message *m = c->message;
    size_t at = m->wire.length;
    struct field *field = field_add(m, FIELD_TEXT, name, strlen(name), true);

    if (field == NULL)
        return HK_ENOMEM;
    buf_text(&m->wire, name);
    buf_text(&m->wire, ": ");
    buf_text(&m->wire, value);
    buf_text(&m->wire, "\r\n");
    return field_is_done(m, field, at);
}

/* A field without tags that has to be written anew. */
static int field_settle(struct compile *c, struct field *field)
{
    struct render render = {.message = c->message};
    struct buf text = {0};
    size_t at = c->message->wire.length;

    field_render(field, &render, &text, &c->message->wire);
    buf_free(&text);
    return field_is_done(c->message, field, at);
}

static bool field_has_tags(const struct field *field)
{
    for (size_t i = 0; i < field->mailbox_count; i++) {
        if (token_list_has_tags(&field->mailbox[i].display) ||
            token_list_has_tags(&field->mailbox[i].address))
            return true;
    }
    return token_list_has_tags(&field->tokens);
}

/* The domain of From, which receivers compare with the signature's (RFC 9989), has to be ours. */
static int from_check(struct compile *c, const struct entity_field *source, const struct field *field)
{
    const struct mailbox *mailbox = field->mailbox;
    const char *ours = signer_from_domain(c->message->signer), *at;
    const struct token *last;
    char domain[DOMAIN_MAX + 1];
    struct hk_why why;

    if (field->mailbox_count != 1)
        return compile_refuse(c, source->line, "From has to name one address");
    if (!mailbox->domain_is_fixed)
        return compile_refuse(c, source->line,
                              "the domain of From has to be written out; a tag may stand before its @");
    last = &mailbox->address.at[mailbox->address.count - 1];
    at = memrchr(last->text, '@', last->length);
    if (domain_to_ascii(at + 1, (size_t)(last->text + last->length - at - 1), domain, &why) != 0)
        return compile_refuse(c, source->line, "the domain of From is no domain: %.200s", why.text);
    if (!domain_is_aligned(domain, ours))
        return compile_refuse(c, source->line,
                              "From is of %s, which is not sender.from_domain %s nor above or below it",
                              domain, ours);
    return 0;
}

static int refuse_charset(const struct compile *c, const struct entity_field *source)
{
    return compile_refuse(
        c, source->line, "%.*s is not UTF-8, or has an encoded-word of an unknown charset; write it in UTF-8",
        (int)source->name.length, source->name.at);
}

/* ISO-2022-JP in a header without encoded-words, as Japanese programs wrote it before RFC 2047. */
static int jis_decode(struct buf *flat)
{
    struct buf utf8 = {0};
    int error = charset_to_utf8("iso-2022-jp", flat->at, flat->length, &utf8);

    buf_free(flat);
    *flat = utf8;
    return error;
}

/* The value as one line of UTF-8. The display names of an address field are decoded where they
 * are found; a URL has no encoded-words. */
static int field_decode(const struct entity_field *source, enum field_kind kind, struct buf *text)
{
    struct buf flat = {0};
    int error = 0;

    field_unfold(source->value.at, source->value.length, &flat);
    buf_byte(&flat, ' '); /* never empty, so that there is memory to keep */
    if (!flat.failed && memmem(flat.at, flat.length, "\x1B$", 2) != NULL)
        error = jis_decode(&flat);
    if (error == 0 && (kind == FIELD_ADDRESS || kind == FIELD_URL))
        buf_put(text, flat.at, flat.length);
    else if (error == 0 && !flat.failed)
        error = words_decode(flat.at, flat.length, text);
    if (flat.failed || text->failed)
        error = HK_ENOMEM;
    if (error == 0 && utf8_fault(text->at, text->length) != 0)
        error = HK_EINVAL;
    buf_free(&flat);
    return error;
}

/* Decode the value and cut it into tokens or mailboxes. *decoded is false where a clean value cannot be
 * decoded: then it has no tags that we could see, and stays. */
static int field_read(struct compile *c, const struct entity_field *source, struct field *field, bool clean,
                      bool *decoded)
{
    struct buf text = {0};
    struct tag_fault fault;
    size_t length;
    char *kept, *start;
    int error = field_decode(source, field->kind, &text);

    *decoded = error == 0;
    if (error != 0) {
        bool keep = error == HK_EINVAL && clean &&
                    tag_find(source->value.at, source->value.length, 0) == source->value.length;

        buf_free(&text);
        if (keep)
            return 0;
        return error == HK_EINVAL ? refuse_charset(c, source) : error;
    }
    length = text.length;
    kept = message_keep(c->message, text.at);
    if (kept == NULL)
        return HK_ENOMEM;
    start = header_clean(kept, &length);
    if (field->kind == FIELD_ADDRESS)
        error = mailboxes_parse(start, length, &c->names, c->message, field, &fault);
    else
        error = tag_parse(start, length, &c->names, false, &field->tokens, &fault);
    return error == HK_EINVAL
               ? compile_refuse_tag(c, &fault, source->value.at, source->value.length, source->line)
               : error;
}

/* Has an address field tags, seen or hidden in an encoded-word? A field without, and clean, is not parsed:
 * groups and comments may stand in it. */
static bool address_needs_reading(const struct entity_field *source, bool clean)
{
    struct buf flat = {0}, text = {0};
    bool needs = !clean || slice_is(source->name, "From");

    field_unfold(source->value.at, source->value.length, &flat);
    if (!needs) /* no memory for the look: then reading it finds that out */
        needs = flat.failed || words_decode(flat.at, flat.length, &text) == HK_ENOMEM ||
                tag_find(text.at, text.length, 0) < text.length ||
                tag_find(flat.at, flat.length, 0) < flat.length;
    buf_free(&flat);
    buf_free(&text);
    return needs;
}

static bool value_has_tag(const struct entity_field *field)
{
    return field != NULL && tag_find(field->value.at, field->value.length, 0) < field->value.length;
}

/* Has an unstructured value a line that a fold would make shorter? */
static bool field_is_long(const struct entity_field *source, const struct field_rule *rule)
{
    size_t line = source->name.length + 1;

    if (rule->kind != FIELD_TEXT || (rule->flags & RULE_CONTENT) != 0)
        return false;
    for (size_t i = 0; i < source->value.length; i++) {
        line = source->value.at[i] == '\r' || source->value.at[i] == '\n' ? 0 : line + 1;
        if (line > WORD_LINE_MAX)
            return true;
    }
    return false;
}

static int field_compile(struct compile *c, const struct entity_field *source, const struct field_rule *rule)
{
    struct message *m = c->message;
    struct field *field =
        field_add(m, rule->kind, source->name.at, source->name.length, (rule->flags & RULE_SIGNED) != 0);
    bool clean = field_is_clean(source->value.at, source->value.length), decoded = false;
    size_t at = m->wire.length;
    int error = 0;

    if (field == NULL)
        return HK_ENOMEM;
    field->falls_back_to_recipient = slice_is(source->name, "To");
    /* ESC: ISO-2022-JP, whose octets are ASCII and mean none of it. */
    if (rule->kind == FIELD_URL && (!text_is_ascii(source->value.at, source->value.length) ||
                                    memchr(source->value.at, '\x1B', source->value.length) != NULL))
        return compile_refuse(c, source->line, "a URL has octets that are not ASCII; write them as %%XX");
    if (rule->kind != FIELD_ADDRESS || address_needs_reading(source, clean))
        error = field_read(c, source, field, clean, &decoded);
    if (error == 0 && slice_is(source->name, "From"))
        error = from_check(c, source, field);
    if (error != 0 || (decoded && field_has_tags(field)))
        return error;
    /* A "{{" that is no tag any more is a comment; it does not go out. */
    if (!clean || (decoded && (value_has_tag(source) || field_is_long(source, rule))))
        return field_settle(c, field);
    field_put_raw(&m->wire, source->name.at, source->name.length, source->value.at, source->value.length);
    return field_is_done(m, field, at);
}

static int note_dropped(const struct compile *c, const struct entity_field *field, const char *instead)
{
    return note_add(&c->message->notes, false, "%s:%u: the message's own %.*s is left out: %s", c->path,
                    field->line, (int)field->name.length, field->name.at, instead);
}

static bool makes_unsubscribe(const struct compile *c)
{
    return c->names.has_unsubscribe_url || c->message->wants_unsubscribe_mail;
}

/* Does the template's own List-Unsubscribe stay? With a tag always; without one only where we have none. */
static bool unsubscribe_is_own(const struct compile *c, const struct entity *entity)
{
    const struct entity_field *field = entity_field(entity, "List-Unsubscribe");

    return value_has_tag(field) || (field != NULL && !makes_unsubscribe(c));
}

/* Why a field is replaced by one of ours; NULL: it is not. */
static const char *field_instead(const struct compile *c, const struct entity *entity,
                                 const struct entity_field *field, const struct field_rule *rule)
{
    const char *instead = NULL;

    if ((rule->flags & RULE_DROP) != 0)
        instead = slice_is(field->name, "Bcc")              ? "every recipient gets a copy of his own"
                  : slice_is(field->name, "DKIM-Signature") ? "it does not hold for a copy"
                                                            : "each copy gets its own";
    else if (slice_is(field->name, "List-ID") && c->message->config->sender.list_id != NULL)
        instead = "sender.list_id stands in its place";
    else if (slice_is(field->name, "List-Unsubscribe") && !unsubscribe_is_own(c, entity))
        instead = c->names.has_unsubscribe_url ? "sender.unsubscribe_url stands in its place"
                                               : "sender.unsubscribe_mail stands in its place";
    else if (slice_is(field->name, "List-Unsubscribe-Post") && !unsubscribe_is_own(c, entity))
        instead = "it belongs to a List-Unsubscribe that is not the message's own";
    return instead;
}

/* Addresses that every recipient sees: a draft's or a received copy's may not be meant for them. */
static int note_addresses(const struct compile *c, const struct entity_field *field)
{
    bool has_address = memchr(field->value.at, '@', field->value.length) != NULL;

    if (slice_is(field->name, "Disposition-Notification-To") || slice_is(field->name, "Return-Receipt-To") ||
        slice_is(field->name, "X-Confirm-Reading-To"))
        return note_add(&c->message->notes, true, "%s:%u: %.*s asks every recipient for a receipt", c->path,
                        field->line, (int)field->name.length, field->name.at);
    if (!has_address || value_has_tag(field))
        return 0;
    if (slice_is(field->name, "To"))
        return note_add(&c->message->notes, false,
                        "%s:%u: To has no tag: every copy shows this address; write To: {{email}} for the "
                        "recipient's own",
                        c->path, field->line);
    if (slice_is(field->name, "Cc"))
        return note_add(&c->message->notes, false,
                        "%s:%u: Cc is shown to every recipient, and nobody in it gets a copy", c->path,
                        field->line);
    return 0;
}

static int generated_dynamic(struct compile *c, const struct entity *entity)
{
    struct message *m = c->message;

    if (field_add(m, FIELD_DATE, "Date", 4, true) == NULL ||
        field_add(m, FIELD_MESSAGE_ID, "Message-ID", 10, true) == NULL ||
        (entity_field(entity, "To") == NULL && field_add(m, FIELD_TO, "To", 2, true) == NULL))
        return HK_ENOMEM;
    if (makes_unsubscribe(c) && !unsubscribe_is_own(c, entity) &&
        field_add(m, FIELD_UNSUBSCRIBE, "List-Unsubscribe", 16, true) == NULL)
        return HK_ENOMEM;
    return 0;
}

/* One-click (RFC 8058) is what our own page answers; another's List-Unsubscribe speaks for itself. */
static bool wants_one_click(const struct compile *c, const struct entity *entity)
{
    const struct entity_field *own = entity_field(entity, "List-Unsubscribe");
    const char *url = c->message->config->sender.unsubscribe_url;

    if (!c->names.has_unsubscribe_url || strncmp(url, "https://", 8) != 0)
        return false;
    if (!unsubscribe_is_own(c, entity))
        return true;
    return memmem(own->value.at, own->value.length, "unsubscribe_url", 15) != NULL &&
           entity_field(entity, "List-Unsubscribe-Post") == NULL;
}

static int generated_static(struct compile *c, const struct entity *entity)
{
    const char *list_id = c->message->config->sender.list_id;
    char value[DOMAIN_MAX + 8];
    int error = 0;

    if (entity_field(entity, "MIME-Version") == NULL)
        error = static_add(c, "MIME-Version", "1.0");
    if (error == 0 && wants_one_click(c, entity))
        error = static_add(c, "List-Unsubscribe-Post", "List-Unsubscribe=One-Click");
    if (error == 0 && list_id != NULL) {
        (void)snprintf(value, sizeof value, "<%.*s>", DOMAIN_MAX, list_id);
        error = static_add(c, "List-ID", value);
    }
    return error;
}

static int field_check(struct compile *c, const struct entity *entity, size_t number,
                       const struct field_rule *rule)
{
    const struct entity_field *field = &entity->field[number];

    if ((rule->flags & RULE_SINGLE) != 0 && entity_field(entity, rule->name) != field)
        return compile_refuse(c, field->line, "%s stands twice; it may stand once", rule->name);
    if ((rule->flags & RULE_CONTENT) == 0)
        return 0;
    if (value_has_tag(field))
        return compile_refuse(c, field->line, "%s may not have tags", rule->name);
    if (!field_is_clean(field->value.at, field->value.length))
        return compile_refuse(c, field->line, "%s has octets that are not ASCII, or too long a line",
                              rule->name);
    return 0;
}

/* Content-Type and Content-Transfer-Encoding as the body needs them, each a signed static field. */
static int content_fields(struct compile *c, const struct entity *entity, const struct part *root)
{
    struct message *m = c->message;
    size_t end;
    struct buf both = {0};
    int error = 0;

    part_put_content_fields(entity, root, &both);
    /* Two fields at most: the second begins where a line begins with 'C' of its own name. */
    for (size_t from = 0; from < both.length && error == 0; from = end) {
        struct field *field;
        size_t at = m->wire.length;
        const char *colon = memchr(both.at + from, ':', both.length - from);

        for (end = from + 1;
             end < both.length && (both.at[end - 1] != '\n' || both.at[end] == ' ' || both.at[end] == '\t');)
            end++;
        field = field_add(m, FIELD_TEXT, both.at + from, (size_t)(colon - both.at) - from, true);
        buf_put(&m->wire, both.at + from, end - from);
        error = field == NULL ? HK_ENOMEM : field_is_done(m, field, at);
    }
    if (both.failed)
        error = HK_ENOMEM;
    buf_free(&both);
    return error;
}

/* What we tell SES ourselves in each copy (copy_mark_ses) may not be told twice. */
static int check_relay_mark(struct compile *c, const struct entity_field *field)
{
    bool set = slice_is(field->name, "X-SES-CONFIGURATION-SET");
    const struct config *config = c->message->config;

    if (!set && !slice_is(field->name, "X-SES-MESSAGE-TAGS"))
        return 0;
    for (size_t i = 0; i < config->route_count; i++) {
        const struct cfg_route *route = &config->route[i];
        if (route->profile == RELAY_SES && (!set || route->configuration_set != NULL))
            return compile_refuse(
                c, field->line, "%.*s is written by hikyaku where a route goes to SES; leave it out%s",
                (int)field->name.length, field->name.at, set ? ", or configuration_set of the route" : "");
    }
    return 0;
}

/* One field of the template; the content fields wait for content_fields(). */
static int template_field(struct compile *c, const struct entity *entity, size_t number)
{
    const struct entity_field *field = &entity->field[number];
    const struct field_rule *rule = rule_of(field->name);
    const char *instead;
    int error;

    if (drop_is_due(field->name))
        return 0;
    instead = field_instead(c, entity, field, rule);
    if (instead != NULL)
        return note_dropped(c, field, instead);
    error = check_relay_mark(c, field);
    if (error == 0)
        error = field_check(c, entity, number, rule);
    if (error != 0 || slice_is(field->name, "Content-Type") ||
        slice_is(field->name, "Content-Transfer-Encoding"))
        return error;
    error = note_addresses(c, field);
    return error != 0 ? error : field_compile(c, field, rule);
}

int header_compile(struct compile *c, const struct entity *entity, const struct part *root)
{
    int error = 0;

    if (entity_field(entity, "From") == NULL)
        return compile_refuse(c, 1, "the message has no From; write From: Name <local@%s>",
                              signer_from_domain(c->message->signer));
    error = generated_dynamic(c, entity);
    for (size_t i = 0; i < entity->field_count && error == 0; i++)
        error = template_field(c, entity, i);
    if (error == 0)
        error = drop_note(entity, c->path, &c->message->notes);
    if (error == 0)
        error = generated_static(c, entity);
    return error != 0 ? error : content_fields(c, entity, root);
}
