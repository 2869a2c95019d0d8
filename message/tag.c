/* tag.c - see tag.h. */
#include "tag.h"

#include <stdarg.h>

struct tag {
    char sigil;       /* 0, '{', '&', '#', '^', '/', '!', or one that we refuse */
    const char *name; /* trimmed */
    size_t name_length;
    const char *at; /* the whole tag */
    size_t length;
};

struct tag_parser {
    const char *text;
    size_t length;
    size_t start; /* of the text token under way */
    const struct tag_names *names;
    bool lines;
    struct token_list *out;
    struct tag_fault *fault;
    struct {
        struct tag tag;
        uint32_t token;
    } open[TAG_NESTING_MAX];
    unsigned depth;
};

size_t tag_find(const char *text, size_t length, size_t from)
{
    while (from + 1 < length) {
        const char *brace = memchr(text + from, '{', length - from - 1);

        if (brace == NULL)
            return length;
        if (brace[1] == '{')
            return (size_t)(brace - text);
        from = (size_t)(brace - text) + 1;
    }
    return length;
}

size_t tag_span(const char *text, size_t length)
{
    bool triple = length > 2 && text[2] == '{';
    const char *close = triple ? "}}}" : "}}";
    const char *end = memmem(text + 2, length - 2, close, strlen(close));

    return end == NULL ? 0 : (size_t)(end - text) + strlen(close);
}

static int tag_refuse(struct tag_parser *p, const struct tag *tag, const char *format, ...) HK_PRINTF(3, 4);
static int tag_refuse(struct tag_parser *p, const struct tag *tag, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(p->fault->words, sizeof p->fault->words, format, args);
    va_end(args);
    p->fault->tag = tag->at;
    p->fault->tag_length = tag->length;
    return HK_EINVAL;
}

static int token_add(struct tag_parser *p, const struct token *token)
{
    struct token_list *list = p->out;

    if (list->count == list->room) {
        size_t room = list->room != 0 ? list->room * 2 : 8;
        struct token *at = realloc(list->at, room * sizeof *at);

        if (at == NULL)
            return HK_ENOMEM;
        list->at = at;
        list->room = room;
    }
    list->at[list->count++] = *token;
    return 0;
}

static int token_add_text(struct tag_parser *p, size_t end)
{
    struct token token = {.kind = TOKEN_TEXT, .text = p->text + p->start, .length = end - p->start};

    return end > p->start ? token_add(p, &token) : 0;
}

/* Words for a name, cut to what fits in a line and made safe for it. */
static const char *name_words(const char *name, size_t length, char out[64])
{
    (void)hk_clean_text(out, 64, name, length);
    return out;
}

static int tag_unknown(struct tag_parser *p, const struct tag *tag)
{
    char list[256], name[64], column[64];
    size_t used = 0;

    list[0] = 0;
    for (uint32_t i = 0; i < p->names->column_count && used + 3 < sizeof list; i++) {
        int n = snprintf(list + used, sizeof list - used, "%s%s", i > 0 ? ", " : "",
                         name_words(p->names->column[i], strlen(p->names->column[i]), column));

        if (n < 0 || (size_t)n >= sizeof list - used) {
            (void)snprintf(list + (used < sizeof list - 4 ? used : sizeof list - 4), 4, "%s", "...");
            break;
        }
        used += (size_t)n;
    }
    return tag_refuse(p, tag, "tag {{%s}} has no column; the list has: %s",
                      name_words(tag->name, tag->name_length, name), list);
}

static bool name_is(const struct tag *tag, const char *name)
{
    return tag->name_length == strlen(name) && memcmp(tag->name, name, tag->name_length) == 0;
}

static int tag_resolve(struct tag_parser *p, const struct tag *tag, uint32_t *source)
{
    static const struct {
        const char *name;
        enum tag_source source;
    } built_in[] = {
        {"email", SOURCE_EMAIL},
        {"campaign", SOURCE_CAMPAIGN},
        {"unsubscribe_url", SOURCE_UNSUBSCRIBE_URL},
        {"message_id", SOURCE_MESSAGE_ID},
    };

    if (name_is(tag, "unsubscribe_url") && !p->names->has_unsubscribe_url)
        return tag_refuse(p, tag,
                          "tag {{unsubscribe_url}} needs sender { unsubscribe_url = \"https://...\" } "
                          "in the configuration");
    for (size_t i = 0; i < sizeof built_in / sizeof built_in[0]; i++) {
        if (name_is(tag, built_in[i].name)) {
            *source = built_in[i].source;
            return 0;
        }
    }
    for (uint32_t i = 0; i < p->names->column_count; i++) {
        if (name_is(tag, p->names->column[i])) {
            *source = i;
            return 0;
        }
    }
    return tag_unknown(p, tag);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static int tag_read(struct tag_parser *p, size_t at, struct tag *tag)
{
    const char *from = p->text + at + 2, *to;

    tag->at = p->text + at;
    tag->length = tag_span(p->text + at, p->length - at);
    if (tag->length == 0) {
        tag->length = p->length - at < 24 ? p->length - at : 24;
        return tag_refuse(p, tag, "a tag is opened by {{ and never closed by }}");
    }
    to = tag->at + tag->length - (*from == '{' ? 3 : 2);
    tag->sigil = 0;
    if (from < to && strchr("{&#^/!>=", *from) != NULL)
        tag->sigil = *from++;
    while (from < to && is_blank(*from))
        from++;
    while (to > from && is_blank(to[-1]))
        to--;
    tag->name = from;
    tag->name_length = (size_t)(to - from);
    return 0;
}

static int section_open(struct tag_parser *p, const struct tag *tag)
{
    struct token token = {.kind = tag->sigil == '#' ? TOKEN_IF : TOKEN_UNLESS};
    int error = tag_resolve(p, tag, &token.source);

    if (error != 0)
        return error;
    if (p->depth == TAG_NESTING_MAX)
        return tag_refuse(p, tag, "sections are nested deeper than %d", TAG_NESTING_MAX);
    p->open[p->depth].tag = *tag;
    p->open[p->depth++].token = (uint32_t)p->out->count;
    return token_add(p, &token);
}

static int section_close(struct tag_parser *p, const struct tag *tag)
{
    const struct tag *open = p->depth > 0 ? &p->open[p->depth - 1].tag : NULL;
    char name[64], other[64];

    (void)name_words(tag->name, tag->name_length, name);
    if (open == NULL)
        return tag_refuse(p, tag, "{{/%s}} closes a section that is not open", name);
    if (open->name_length != tag->name_length || memcmp(open->name, tag->name, tag->name_length) != 0)
        return tag_refuse(p, tag, "{{/%s}} stands where {{/%s}} should close the section", name,
                          name_words(open->name, open->name_length, other));
    p->out->at[p->open[--p->depth].token].jump = (uint32_t)p->out->count;
    return 0;
}

static int tag_act(struct tag_parser *p, const struct tag *tag)
{
    struct token token = {.kind = TOKEN_VALUE, .raw = tag->sigil == '{' || tag->sigil == '&'};
    int error;

    switch (tag->sigil) {
    case '!':
        return 0;
    case '#':
    case '^':
        return section_open(p, tag);
    case '/':
        return section_close(p, tag);
    case '>':
        return tag_refuse(p, tag, "partials {{> }} are not supported; put the text here");
    case '=':
        return tag_refuse(p, tag, "{{= =}} (other delimiters) is not supported");
    default:
        error = tag_resolve(p, tag, &token.source);
        return error != 0 ? error : token_add(p, &token);
    }
}

/* Is the tag alone on its line? Then *from and *to become the bounds of the whole line. */
static bool tag_has_line(const struct tag_parser *p, size_t *from, size_t *to)
{
    size_t left = *from, right = *to;

    while (left > p->start && (p->text[left - 1] == ' ' || p->text[left - 1] == '\t'))
        left--;
    while (right < p->length && (p->text[right] == ' ' || p->text[right] == '\t'))
        right++;
    if (left > 0 && p->text[left - 1] != '\n')
        return false;
    if (right + 1 < p->length && p->text[right] == '\r' && p->text[right + 1] == '\n')
        right += 2;
    else if (right < p->length && p->text[right] == '\n')
        right += 1;
    else if (right < p->length)
        return false;
    *from = left;
    *to = right;
    return true;
}

static int tag_parse_one(struct tag_parser *p, size_t at, size_t *next)
{
    struct tag tag = {0};
    size_t from = at, to;
    int error = tag_read(p, at, &tag);

    if (error != 0)
        return error;
    if (p->out->count >= TAG_TOKENS_MAX)
        return tag_refuse(p, &tag, "more than %u tags in one text", TAG_TOKENS_MAX / 2);
    to = at + tag.length;
    if (p->lines && tag.sigil != 0 && strchr("#^/!", tag.sigil) != NULL)
        (void)tag_has_line(p, &from, &to);
    error = token_add_text(p, from);
    if (error == 0)
        error = tag_act(p, &tag);
    p->start = *next = to;
    return error;
}

int tag_parse(const char *text, size_t length, const struct tag_names *names, bool lines,
              struct token_list *out, struct tag_fault *fault)
{
    struct tag_parser p = {
        .text = text, .length = length, .names = names, .lines = lines, .out = out, .fault = fault};
    int error = 0;

    *out = (struct token_list){0};
    *fault = (struct tag_fault){0};
    for (size_t at = tag_find(text, length, 0); at < length && error == 0;) {
        size_t next = length;

        error = tag_parse_one(&p, at, &next);
        at = tag_find(text, length, next);
    }
    if (error == 0)
        error = token_add_text(&p, length);
    if (error == 0 && p.depth > 0) {
        const struct tag *open = &p.open[p.depth - 1].tag;
        char name[64];

        error = tag_refuse(&p, open, "section {{%c%s}} is never closed by {{/%s}} in the same text",
                           open->sigil, name_words(open->name, open->name_length, name), name);
    }
    if (error != 0)
        token_list_free(out);
    return error;
}

void token_list_free(struct token_list *list)
{
    free(list->at);
    *list = (struct token_list){0};
}

bool token_list_has_tags(const struct token_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->at[i].kind != TOKEN_TEXT)
            return true;
    }
    return false;
}
