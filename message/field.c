/* field.c - one header field of a copy, rendered for the wire: folded, encoded, never more than one field.
 *
 * Pure but for memory. Values come in as the list has them; controls become blanks, and what could be read as
 * anything but text is encoded. A field whose value cannot stand is left out.
 */
#include "internal.h"

#include <time.h>

struct slice_value render_value(const struct render *render, uint32_t source)
{
    const struct segment_record *record = render->record;

    switch (source) {
    case SOURCE_EMAIL:
        return (struct slice_value){record->email, record->email_length};
    case SOURCE_CAMPAIGN:
        return (struct slice_value){render->message->campaign, strlen(render->message->campaign)};
    case SOURCE_UNSUBSCRIBE_URL:
        return (struct slice_value){render->unsubscribe_url, strlen(render->unsubscribe_url)};
    case SOURCE_MESSAGE_ID:
        return (struct slice_value){render->message_id, strlen(render->message_id)};
    default:
        HK_BUG_ON(source >= SEGMENT_COLUMNS_MAX);
        return (struct slice_value){record->field[source].text, record->field[source].length};
    }
}

/* Make a value safe inside <URL>: nothing that ends the bracket, the line or the URL itself. */
static void url_put(struct buf *out, const char *text, size_t length)
{
    static const char hex[] = "0123456789ABCDEF";

    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        const char escape[3] = {'%', hex[c >> 4], hex[c & 15]};

        if (c > ' ' && c < 0x7F && strchr("<>\"\\^`{|}", c) == NULL)
            buf_byte(out, text[i]);
        else
            buf_put(out, escape, 3);
    }
}

static void tokens_put(const struct token_list *tokens, const struct render *render, bool url,
                       struct buf *out)
{
    for (size_t i = 0; i < tokens->count; i++) {
        const struct token *token = &tokens->at[i];
        struct slice_value value = {token->text, token->length};

        if (token->kind != TOKEN_TEXT)
            value = render_value(render, token->source);
        if (token->kind == TOKEN_VALUE && url)
            url_put(out, value.text, value.length);
        else if (token->kind <= TOKEN_VALUE)
            buf_put(out, value.text, value.length);
        else if ((token->kind == TOKEN_IF) == (value.length == 0))
            i = token->jump - 1u;
    }
}

void tokens_render(const struct token_list *tokens, const struct render *render, struct buf *out)
{
    tokens_put(tokens, render, false, out);
}

void tokens_render_url(const struct token_list *tokens, const struct render *render, struct buf *out)
{
    tokens_put(tokens, render, true, out);
}

static void text_render(const struct field *field, const struct render *render, struct buf *text,
                        struct buf *out)
{
    struct fold fold;
    size_t length;
    char *clean;

    text->length = 0;
    tokens_render(&field->tokens, render, text);
    length = text->length;
    clean = header_clean(text->at, &length);
    fold_begin(&fold, out, field->name, strlen(field->name));
    fold_text(&fold, clean, length);
    fold_end(&fold);
}

/* Left out if it is empty, or if a word of it is too long for any line: a URL has no encoded form. */
static void url_render(const struct field *field, const struct render *render, struct buf *text,
                       struct buf *out)
{
    size_t start = out->length, length;
    struct fold fold;
    char *clean;

    text->length = 0;
    tokens_render_url(&field->tokens, render, text);
    length = text->length;
    clean = header_clean(text->at, &length);
    fold_begin(&fold, out, field->name, strlen(field->name));
    while (length > 0) {
        const char *blank = memchr(clean, ' ', length);
        size_t word = blank != NULL ? (size_t)(blank - clean) : length;

        if (word > WORD_PLAIN_MAX) {
            out->length = start;
            return;
        }
        if (word > 0)
            fold_word(&fold, clean, word);
        clean += word < length ? word + 1 : word;
        length -= word < length ? word + 1 : word;
    }
    fold_end(&fold);
    if (!fold.begun)
        out->length = start;
}

static void date_render(uint64_t wall_us, struct buf *out)
{
    static const char day[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char month[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    static char line[96]; /* of the second before: hundreds of copies have the same */
    static time_t line_s;
    time_t seconds = (time_t)(wall_us / 1000000);
    struct tm tm;

    if (line[0] == '\0' || seconds != line_s) {
        HK_BUG_ON(gmtime_r(&seconds, &tm) == NULL);
        /* Not strftime: names of days and months are English whatever the locale. */
        (void)snprintf(line, sizeof line, "Date: %s, %d %s %d %02d:%02d:%02d +0000\r\n", day[tm.tm_wday],
                       tm.tm_mday, month[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
        line_s = seconds;
    }
    buf_text(out, line);
}

static void recipient_render(const struct render *render, struct buf *out)
{
    const struct segment_record *record = render->record;
    uint32_t local = record->wire_local_length;

    buf_text(out, "To: <");
    address_put(out, record->wire, local, record->wire + local + 1, record->wire_length - local - 1,
                record->smtputf8);
    buf_text(out, ">\r\n");
}

/* RFC 2369 3.2: what is preferred stands first. Two lines: each is short of 998 octets by itself. */
static void unsubscribe_render(const struct render *render, struct buf *out)
{
    bool has_url = render->unsubscribe_url[0] != '\0', has_mail = render->unsubscribe_mail[0] != '\0';

    buf_text(out, "List-Unsubscribe: ");
    if (has_url) {
        buf_text(out, "<");
        buf_text(out, render->unsubscribe_url);
        buf_text(out, has_mail ? ">,\r\n " : ">");
    }
    if (has_mail) {
        buf_text(out, "<mailto:");
        buf_text(out, render->unsubscribe_mail);
        buf_text(out, "?subject=unsubscribe>");
    }
    buf_text(out, "\r\n");
}

void field_render(const struct field *field, const struct render *render, struct buf *text, struct buf *out)
{
    size_t start = out->length;

    if (!buf_need(text, 1)) {
        out->failed = true;
        return;
    }
    switch (field->kind) {
    case FIELD_TEXT:
        text_render(field, render, text, out);
        break;
    case FIELD_URL:
        url_render(field, render, text, out);
        break;
    case FIELD_ADDRESS:
        mailboxes_render(field, render, text, out);
        if (field->falls_back_to_recipient && out->length == start)
            recipient_render(render, out);
        break;
    case FIELD_DATE:
        date_render(render->wall_us, out);
        break;
    case FIELD_MESSAGE_ID:
        buf_text(out, "Message-ID: <");
        buf_text(out, render->message_id);
        buf_text(out, ">\r\n");
        break;
    case FIELD_UNSUBSCRIBE:
        unsubscribe_render(render, out);
        break;
    case FIELD_TO:
        recipient_render(render, out);
        break;
    }
    out->failed |= text->failed;
}
