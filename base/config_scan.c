/* config_scan.c - what libConfuse lets through, found before it reads: a walk over the tokens of the file.
 *
 * libConfuse takes a key or a section twice, an open section, an open comment and an empty list in silence, drops
 * '+' and '*' outside quotes, expands ${NAME} from the environment, and counts lines wrongly behind a comment. So the text is
 * walked once with its token rules (words, quotes, = { } , and comments # // and C style): faults end the load
 * with their line, comments are blanked, and every key and section is marked with its line, which is where
 * all later errors take theirs from. What a key means is not known here.
 */
#include <string.h>

#include "config_table.h"

#define SCAN_DEPTH_MAX 8u
#define SCAN_MARKS_MAX 32768u

enum token { TOKEN_END, TOKEN_WORD, TOKEN_EQUALS, TOKEN_OPEN, TOKEN_CLOSE, TOKEN_COMMA, TOKEN_BAD };

struct open_section {
    uint32_t number; /* 0: a list */
    uint32_t line;
    bool is_list;
};

struct walk {
    struct config_scan *scan;
    struct hk_why *why;
    size_t at;
    uint32_t line;
    size_t word_at, word_length; /* of the last word, without its quotes */
    uint32_t word_line;
    uint32_t sections;
    struct open_section open[SCAN_DEPTH_MAX];
    uint32_t depth;
};

static enum token walk_refuse(struct walk *w, uint32_t line, const char *what)
{
    why_set(w->why, HK_EINVAL, "%s:%u: %s", w->scan->file, line, what);
    return TOKEN_BAD;
}

static char walk_peek(const struct walk *w, size_t ahead)
{
    return w->at + ahead < w->scan->length ? w->scan->text[w->at + ahead] : '\0';
}

/* Blank up to `end`, keeping the lines. */
static void walk_blank(struct walk *w, size_t end)
{
    for (; w->at < end; w->at++) {
        if (w->scan->text[w->at] == '\n')
            w->line++;
        else
            w->scan->text[w->at] = ' ';
    }
}

static bool walk_comment(struct walk *w)
{
    const char *from = w->scan->text + w->at;
    size_t left = w->scan->length - w->at;

    if (from[0] == '/' && left > 1 && from[1] == '*') {
        const char *end = memmem(from + 2, left - 2, "*/", 2);
        if (end == NULL) {
            walk_refuse(w, w->line, "a comment that begins here never ends; write */ behind it");
            return false;
        }
        walk_blank(w, (size_t)(end + 2 - w->scan->text));
    } else {
        const char *end = memchr(from, '\n', left);
        walk_blank(w, end == NULL ? w->scan->length : (size_t)(end - w->scan->text));
    }
    return true;
}

/* Skip white space and comments. */
static bool walk_space(struct walk *w)
{
    while (w->at < w->scan->length) {
        char c = walk_peek(w, 0);
        if (c == '#' || (c == '/' && (walk_peek(w, 1) == '/' || walk_peek(w, 1) == '*'))) {
            if (!walk_comment(w))
                return false;
            continue;
        }
        if (c != ' ' && c != '\t' && c != '\n' && c != '\r')
            break;
        w->line += c == '\n';
        w->at++;
    }
    return true;
}

static enum token walk_quoted(struct walk *w, char quote)
{
    uint32_t line = w->line;

    w->word_line = line;
    w->word_at = ++w->at;
    for (; w->at < w->scan->length; w->at++) {
        char c = walk_peek(w, 0);
        if (c == quote) {
            w->word_length = w->at - w->word_at;
            w->at++;
            return TOKEN_WORD;
        }
        if (quote == '"' && c == '$' && walk_peek(w, 1) == '{')
            return walk_refuse(w, w->line, "${...} is not replaced here; write the value itself");
        if (c == '\\' && walk_peek(w, 1) != '\0')
            c = walk_peek(w, 1), w->at++;
        w->line += c == '\n';
    }
    return walk_refuse(w, line, "a text that begins here never ends; close its quotes");
}

static enum token walk_bare(struct walk *w)
{
    w->word_at = w->at;
    w->word_line = w->line;
    while (w->at < w->scan->length && strchr(" \t\r\n\"'#{}=,()+*", walk_peek(w, 0)) == NULL) {
        if (walk_peek(w, 0) == '$' && walk_peek(w, 1) == '{')
            return walk_refuse(w, w->line, "${...} is not replaced here; write the value itself");
        w->at++;
    }
    w->word_length = w->at - w->word_at;
    return TOKEN_WORD;
}

static enum token walk_next(struct walk *w)
{
    char c;

    if (!walk_space(w))
        return TOKEN_BAD;
    if (w->at == w->scan->length)
        return TOKEN_END;
    c = walk_peek(w, 0);
    switch (c) {
    case '=':
        w->at++;
        return TOKEN_EQUALS;
    case '{':
        w->at++;
        return TOKEN_OPEN;
    case '}':
        w->at++;
        return TOKEN_CLOSE;
    case ',':
        w->at++;
        return TOKEN_COMMA;
    case '"':
    case '\'':
        return walk_quoted(w, c);
    case '(':
    case ')':
        return walk_refuse(w, w->line, "brackets have no meaning here; put a text that holds them in quotes");
    case '*': /* libConfuse would drop it */
        return walk_refuse(w, w->line,
                           "a * stands outside quotes; write the text in quotes, as in \"*.example.com\"");
    case '+':
        return walk_refuse(
            w, w->line,
            "+ has no meaning here; write lists whole (key = { a, b }) and texts with a + in quotes");
    default:
        return walk_bare(w);
    }
}

static bool walk_mark(struct walk *w, uint32_t number, size_t at, size_t length, uint32_t line)
{
    struct config_scan *s = w->scan;

    if (memchr(s->text + at, '\\', length) != NULL) {
        walk_refuse(w, line, "a \\ in the name of a key or section; write the plain word");
        return false;
    }
    if (s->mark_count == SCAN_MARKS_MAX) {
        walk_refuse(w, line, "more than 32768 keys and sections; split the configuration over several nodes");
        return false;
    }
    if (s->mark_count % 256 == 0)
        s->mark = hk_xrealloc(s->mark, s->mark_count + 256, sizeof *s->mark);
    s->mark[s->mark_count++] = (struct config_mark){
        .parent = w->depth > 0 ? w->open[w->depth - 1].number : 0,
        .number = number,
        .line = line,
        .name_at = (uint32_t)at,
        .name_length = (uint32_t)length,
    };
    return true;
}

static bool walk_open(struct walk *w, bool is_list)
{
    if (w->depth == SCAN_DEPTH_MAX) {
        walk_refuse(w, w->line, "braces within braces too deep; close the sections before this one with }");
        return false;
    }
    w->open[w->depth++] =
        (struct open_section){.number = is_list ? 0 : w->sections, .line = w->line, .is_list = is_list};
    return true;
}

/* The words since the last key or brace: a key or a section's name, and a title. */
struct words {
    size_t at, length;
    uint32_t line;
    uint32_t count;
};

static bool walk_brace(struct walk *w, struct words *words, enum token last)
{
    if (last != TOKEN_EQUALS) {
        w->sections++;
        if (words->count > 0 && !walk_mark(w, w->sections, words->at, words->length, words->line))
            return false;
    }
    words->count = 0;
    return walk_open(w, last == TOKEN_EQUALS);
}

static bool walk_close(struct walk *w, enum token last)
{
    if (w->depth == 0) {
        walk_refuse(w, w->line, "a } without its {; take it out, or open the section before it");
        return false;
    }
    if (w->open[--w->depth].is_list && last == TOKEN_OPEN) {
        walk_refuse(w, w->line, "a list without an entry; write at least one, or leave the key out");
        return false;
    }
    return true;
}

/* One token further. */
static bool walk_step(struct walk *w, enum token token, enum token last, struct words *words)
{
    switch (token) {
    case TOKEN_WORD:
        if (last == TOKEN_EQUALS || (w->depth > 0 && w->open[w->depth - 1].is_list))
            return true; /* a value */
        if (words->count++ == 0)
            words->at = w->word_at, words->length = w->word_length, words->line = w->word_line;
        return true;
    case TOKEN_EQUALS:
        if (words->count > 0 && !walk_mark(w, 0, words->at, words->length, words->line))
            return false;
        words->count = 0;
        return true;
    case TOKEN_OPEN:
        return walk_brace(w, words, last);
    case TOKEN_CLOSE:
        return walk_close(w, last);
    default:
        return true;
    }
}

static bool walk_all(struct walk *w)
{
    struct words words = {0};
    enum token last = TOKEN_END;

    for (;;) {
        enum token token = walk_next(w);
        if (token == TOKEN_BAD)
            return false;
        if (token == TOKEN_END)
            break;
        if (!walk_step(w, token, last, &words))
            return false;
        last = token;
    }
    if (w->depth == 0)
        return true;
    walk_refuse(w, w->open[w->depth - 1].line,
                w->open[w->depth - 1].is_list
                    ? "a list that is opened here never ends; write } behind its entries"
                    : "a section that is opened here never ends; write } behind its keys");
    return false;
}

/* Bytes that have no place in a text file. */
static bool bytes_are_text(struct walk *w)
{
    uint32_t line = 1;

    for (size_t i = 0; i < w->scan->length; i++) {
        unsigned char c = (unsigned char)w->scan->text[i];
        line += c == '\n';
        if ((c < ' ' && c != '\t' && c != '\n' && c != '\r') || c == 0x7f) {
            char what[80];
            snprintf(what, sizeof what, "a control byte (0x%02x) in the file; write plain text (UTF-8)", c);
            walk_refuse(w, line, what);
            return false;
        }
    }
    return true;
}

static int compare_names(const char *text, const struct config_mark *a, const char *name, size_t length)
{
    size_t shorter = a->name_length < length ? a->name_length : length;
    int order = memcmp(text + a->name_at, name, shorter);

    return order != 0 ? order : (a->name_length > length) - (a->name_length < length);
}

static int compare_marks(const void *left, const void *right, void *text)
{
    const struct config_mark *a = left, *b = right;
    int order = (a->parent > b->parent) - (a->parent < b->parent);

    if (order == 0)
        order = compare_names(text, a, (const char *)text + b->name_at, b->name_length);
    return order != 0 ? order : (a->name_at > b->name_at) - (a->name_at < b->name_at);
}

int config_scan(const char *file, const char *text, size_t length, struct config_scan *out,
                struct hk_why *why)
{
    struct walk w = {.scan = out, .why = why, .line = 1};

    *out = (struct config_scan){.file = file, .length = length, .text = hk_xcalloc(length + 1, 1)};
    memcpy(out->text, text, length);
    if (length >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
        memset(out->text, ' ', 3); /* a byte order mark says nothing in UTF-8 */
    if (!bytes_are_text(&w) || !walk_all(&w)) {
        config_scan_free(out);
        return HK_EINVAL;
    }
    if (out->mark_count > 0)
        qsort_r(out->mark, out->mark_count, sizeof *out->mark, compare_marks, out->text);
    return 0;
}

void config_scan_free(struct config_scan *scan)
{
    free(scan->text);
    free(scan->mark);
    *scan = (struct config_scan){0};
}

const struct config_mark *config_scan_find(const struct config_scan *scan, uint32_t parent, const char *name,
                                           size_t nth)
{
    size_t low = 0, high = scan->mark_count, length = strlen(name);
    const struct config_mark *mark;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        mark = &scan->mark[middle];
        if (mark->parent < parent ||
            (mark->parent == parent && compare_names(scan->text, mark, name, length) < 0))
            low = middle + 1;
        else
            high = middle;
    }
    if (low + nth >= scan->mark_count)
        return NULL;
    mark = &scan->mark[low + nth];
    return mark->parent == parent && compare_names(scan->text, mark, name, length) == 0 ? mark : NULL;
}
