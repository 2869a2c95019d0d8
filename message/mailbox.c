/* mailbox.c - address header fields with tags: From, Sender, Reply-To, To, Cc (RFC 5322 3.4).
 *
 * A value in the display name becomes atoms, a quoted-string or encoded-words; a value in the address becomes
 * an addr-spec or the mailbox is left out. Values are never parsed as a list. Groups are not supported where
 * a field has tags or octets that need encoding. Owns the token lists it makes through the field.
 */
#include "internal.h"

struct splitter {
    const char *text;
    size_t length, i;
    unsigned comment;
    bool quoted, angle;
};

/* Step over one octet, escape or tag; true if the octet stands outside quotes, comments and angle brackets.
 * (The bracket that closes an angle counts as outside.) */
static bool split_step(struct splitter *s, char *c)
{
    size_t left = s->length - s->i;
    size_t tag =
        left >= 2 && s->text[s->i] == '{' && s->text[s->i + 1] == '{' ? tag_span(s->text + s->i, left) : 0;

    *c = s->text[s->i];
    if (tag > 0) {
        s->i += tag;
        return false;
    }
    s->i++;
    if (*c == '\\' && (s->quoted || s->comment > 0) && s->i < s->length) {
        s->i++;
        return false;
    }
    if (s->comment > 0) {
        s->comment += *c == '(' ? 1u : 0u;
        s->comment -= *c == ')' ? 1u : 0u;
        return false;
    }
    if (*c == '"') {
        s->quoted = !s->quoted;
        return false;
    }
    if (s->quoted)
        return false;
    if (*c == '(') {
        s->comment++;
        return false;
    }
    if (*c == '<')
        s->angle = true;
    else if (*c == '>')
        s->angle = false;
    return !s->angle || *c == '<';
}

static int mailbox_fault(struct tag_fault *fault, const char *words)
{
    *fault = (struct tag_fault){0};
    (void)snprintf(fault->words, sizeof fault->words, "%s", words);
    return HK_EINVAL;
}

/* The display name without quotes, escapes and comments; encoded-words decoded; tags left for tag_parse. */
static int phrase_decode(const char *text, size_t length, struct buf *out)
{
    struct splitter s = {.text = text, .length = length};
    struct buf plain = {0};
    int error;

    while (s.i < length) {
        size_t from = s.i;
        bool quoted = s.quoted, comment = s.comment > 0;
        char c;

        (void)split_step(&s, &c);
        if (comment || s.comment > 0)
            continue;
        if (c == '"' && s.i == from + 1 && quoted != s.quoted)
            continue;
        if (c == '\\' && quoted)
            from++;
        buf_put(&plain, text + from, s.i - from);
    }
    error = plain.failed ? HK_ENOMEM : words_decode(plain.at, plain.length, out);
    if (error == 0 && utf8_fault(out->at, out->length) != 0)
        error = HK_EINVAL;
    buf_free(&plain);
    return error;
}

static int display_parse(const char *text, size_t length, const struct tag_names *names,
                         struct message *message, struct token_list *out, struct tag_fault *fault)
{
    struct buf name = {0};
    int error = phrase_decode(text, length, &name);
    char *clean;

    if (error == HK_EINVAL)
        (void)mailbox_fault(fault, "the display name is not UTF-8 and its charset is not known");
    if (error == 0 && name.length > 0) {
        if (message_keep(message, name.at) == NULL)
            return HK_ENOMEM;
        clean = header_clean(name.at, &name.length);
        return tag_parse(clean, name.length, names, false, out, fault);
    }
    buf_free(&name);
    return error;
}

/* Without tags the address has to be one; with tags, note whether its domain is written out. */
static int address_check(struct mailbox *mailbox, const char *text, size_t length, struct tag_fault *fault)
{
    const struct token_list *tokens = &mailbox->address;
    const struct token *last;
    struct address address;
    struct hk_why why = {{0}};
    char words[384], domain[DOMAIN_MAX + 1];
    size_t domain_length;
    const char *at;

    if (!token_list_has_tags(tokens)) {
        if (address_parse(text, length, &address, &why) == 0 && !address.smtputf8) {
            mailbox->domain_is_fixed = true;
            return 0;
        }
        (void)snprintf(words, sizeof words, "\"%.*s\" is not an address: %.200s",
                       (int)(length < 100 ? length : 100), text,
                       why.text[0] != 0 ? why.text : "its local part is not ASCII");
        return mailbox_fault(fault, words);
    }
    last = &tokens->at[tokens->count - 1];
    at = last->kind == TOKEN_TEXT ? memrchr(last->text, '@', last->length) : NULL;
    mailbox->domain_is_fixed = at != NULL;
    if (at == NULL)
        return 0;
    domain_length = (size_t)(last->text + last->length - at - 1);
    if (text_is_ascii(at + 1, domain_length) && domain_to_ascii(at + 1, domain_length, domain, &why) == 0)
        return 0;
    (void)snprintf(words, sizeof words, "\"%.*s\" is not a domain in ASCII (xn--...)",
                   (int)(domain_length < 100 ? domain_length : 100), at + 1);
    return mailbox_fault(fault, words);
}

static void trim(const char **text, size_t *length)
{
    while (*length > 0 && **text == ' ') {
        ++*text;
        --*length;
    }
    while (*length > 0 && (*text)[*length - 1] == ' ')
        --*length;
}

/* Where '<' and '>' stand in one mailbox; false if they are not a pair, or something follows them. */
static bool mailbox_bounds(const char *text, size_t length, size_t *open, size_t *close)
{
    struct splitter s = {.text = text, .length = length};

    *open = *close = length;
    while (s.i < length) {
        char c;
        bool outside = split_step(&s, &c);

        if (!outside)
            continue;
        if (*close < length && c != ' ')
            return false;
        if (c == '<' && *open == length)
            *open = s.i - 1;
        else if (c == '>' && *open < length)
            *close = s.i - 1;
        else if (c == '<' || c == '>')
            return false;
    }
    return !s.quoted && s.comment == 0 && (*open < length) == (*close < length);
}

static int mailbox_parse(const char *text, size_t length, const struct tag_names *names,
                         struct message *message, struct mailbox *out, struct tag_fault *fault)
{
    size_t open, close, address_length;
    const char *address;
    int error = 0;

    trim(&text, &length);
    if (!mailbox_bounds(text, length, &open, &close))
        return mailbox_fault(fault, "not a mailbox; write Name <local@domain>");
    address = open < length ? text + open + 1 : text;
    address_length = open < length ? close - open - 1 : length;
    trim(&address, &address_length);
    if (address_length == 0)
        return mailbox_fault(fault, "a mailbox has no address; write Name <local@domain>");
    if (open < length)
        error = display_parse(text, open, names, message, &out->display, fault);
    if (error == 0)
        error = tag_parse(address, address_length, names, false, &out->address, fault);
    return error != 0 ? error : address_check(out, address, address_length, fault);
}

static struct mailbox *mailbox_add(struct field *field)
{
    struct mailbox *more = realloc(field->mailbox, (field->mailbox_count + 1) * sizeof *more);

    if (more == NULL)
        return NULL;
    field->mailbox = more;
    more += field->mailbox_count++;
    *more = (struct mailbox){0};
    return more;
}

int mailboxes_parse(const char *value, size_t length, const struct tag_names *names, struct message *message,
                    struct field *field, struct tag_fault *fault)
{
    struct splitter s = {.text = value, .length = length};
    size_t start = 0;

    while (start <= length) {
        struct mailbox *mailbox;
        char c = 0;
        bool outside = false;
        int error;

        while (s.i < length && !(outside && c == ','))
            outside = split_step(&s, &c);
        if (outside && c == ';')
            return mailbox_fault(fault, "groups of addresses are not supported here");
        mailbox = mailbox_add(field);
        if (mailbox == NULL)
            return HK_ENOMEM;
        error = mailbox_parse(value + start, (outside && c == ',' ? s.i - 1 : s.i) - start, names, message,
                              mailbox, fault);
        if (error != 0)
            return error;
        if (!(outside && c == ','))
            break;
        start = s.i;
    }
    return 0;
}

static bool is_dot_atom(const char *text, size_t length, bool utf8)
{
    bool dot = true;

    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c == '.' && dot)
            return false;
        dot = c == '.';
        if (!dot && !(c >= '0' && c <= '9') && !(c >= 'A' && c <= 'Z') && !(c >= 'a' && c <= 'z') &&
            !(c >= 0x80 && utf8) && (c == 0 || strchr("!#$%&'*+-/=?^_`{|}~", c) == NULL))
            return false;
    }
    return length > 0 && !dot;
}

/* Is it a quoted-string as it stands, with every quote inside it escaped? */
static bool is_quoted_string(const char *text, size_t length, bool utf8)
{
    if (length < 2 || text[0] != '"' || text[length - 1] != '"')
        return false;
    for (size_t i = 1; i + 1 < length; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c < ' ' || c == 0x7F || c == '"' || (c >= 0x80 && !utf8))
            return false;
        if (c == '\\' && (++i + 1 >= length || (unsigned char)text[i] < ' ' || (unsigned char)text[i] > '~'))
            return false;
    }
    return true;
}

void address_put(struct buf *out, const char *local, size_t local_length, const char *domain,
                 size_t domain_length, bool utf8)
{
    if (is_dot_atom(local, local_length, utf8) || is_quoted_string(local, local_length, utf8)) {
        buf_put(out, local, local_length);
    } else {
        buf_byte(out, '"');
        for (size_t i = 0; i < local_length; i++) {
            unsigned char c = (unsigned char)local[i];

            if (c == '"' || c == '\\')
                buf_byte(out, '\\');
            buf_byte(out, c < ' ' || c == 0x7F || (c >= 0x80 && !utf8) ? '?' : local[i]);
        }
        buf_byte(out, '"');
    }
    buf_byte(out, '@');
    for (size_t i = 0; i < domain_length; i++) {
        unsigned char c = (unsigned char)domain[i];

        if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' ||
            c == '.' || c == '_' || (c >= 0x80 && utf8))
            buf_byte(out, domain[i]);
    }
}

/* Append the address, or nothing: the value is none, or the session will not be allowed to carry it. */
static void mailbox_address(const struct mailbox *mailbox, const struct render *render, struct buf *text,
                            struct buf *out)
{
    const struct segment_record *record = render->record;
    bool utf8 = record != NULL && record->smtputf8;
    const struct token *first = mailbox->address.at;
    struct address address;
    size_t length;
    char *clean, *at;

    if (record != NULL && mailbox->address.count == 1 && first->kind == TOKEN_VALUE &&
        first->source == SOURCE_EMAIL) {
        address_put(out, record->wire, record->wire_local_length,
                    record->wire + record->wire_local_length + 1,
                    record->wire_length - record->wire_local_length - 1, utf8);
        return;
    }
    text->length = 0;
    tokens_render(&mailbox->address, render, text);
    length = text->length;
    clean = header_clean(text->at, &length);
    if (address_parse(clean, length, &address, NULL) == 0 && (!address.smtputf8 || utf8)) {
        address_put(out, address.text, address.local_length, address.text + address.local_length + 1,
                    (size_t)address.length - address.local_length - 1, utf8);
        return;
    }
    at = mailbox->domain_is_fixed ? memrchr(clean, '@', length) : NULL;
    if (at != NULL) {
        size_t local = (size_t)(at - clean);

        address_put(out, clean, local < ADDRESS_LOCAL_MAX ? local : ADDRESS_LOCAL_MAX, at + 1,
                    length - local - 1, utf8);
    }
}

void mailboxes_render(const struct field *field, const struct render *render, struct buf *text,
                      struct buf *out)
{
    struct buf address = {0};
    struct fold fold;
    size_t start = out->length;
    bool any = false;

    fold_begin(&fold, out, field->name, strlen(field->name));
    for (size_t i = 0; i < field->mailbox_count && !address.failed; i++) {
        const struct mailbox *mailbox = &field->mailbox[i];
        size_t length;
        char *clean;

        address.length = 0;
        buf_byte(&address, '<');
        mailbox_address(mailbox, render, text, &address);
        if (address.length == 1)
            continue;
        if (any)
            fold_glue(&fold, ",");
        any = true;
        text->length = 0;
        tokens_render(&mailbox->display, render, text);
        length = text->length;
        clean = header_clean(text->at, &length);
        if (length > 0)
            fold_phrase(&fold, clean, length);
        buf_byte(&address, '>');
        fold_word(&fold, address.at, address.length);
    }
    fold_end(&fold);
    out->failed |= address.failed;
    if (!any)
        out->length = start;
    buf_free(&address);
}
