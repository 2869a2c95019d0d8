/* tag.h - cut a text with Mustache tags into tokens (mustache(5): variables, sections, inverted sections).
 *
 * Pure but for memory: knows no file, no MIME, no log. A fault gives words without a place and the tag as it
 * was written; the caller, who knows where the text came from, makes the line. Text tokens point into the
 * text, which has to outlive them.
 */
#ifndef MESSAGE_TAG_H
#define MESSAGE_TAG_H

#include "buf.h"
#include "hikyaku/segment.h"

#define TAG_NESTING_MAX 32
#define TAG_TOKENS_MAX  100000u

/* What a tag stands for: a column's number, or one of these. */
enum tag_source {
    SOURCE_EMAIL = SEGMENT_COLUMNS_MAX,
    SOURCE_CAMPAIGN,
    SOURCE_UNSUBSCRIBE_URL,
    SOURCE_MESSAGE_ID,
};

enum token_kind {
    TOKEN_TEXT,
    TOKEN_VALUE,
    TOKEN_IF,     /* go on at `jump` when the value is empty */
    TOKEN_UNLESS, /* go on at `jump` when it is not */
};

struct token {
    enum token_kind kind;
    bool raw;        /* {{{name}}} or {{&name}} */
    uint32_t source; /* a column or enum tag_source */
    uint32_t jump;   /* number of a token, at most the count */
    const char *text;
    size_t length;
};

struct token_list {
    struct token *at;
    size_t count, room;
};

struct tag_names {
    const char *const *column;
    uint32_t column_count;
    bool has_unsubscribe_url;
};

struct tag_fault {
    char words[384];
    const char *tag; /* in the text, or NULL */
    size_t tag_length;
};

/* `lines`: a section tag or comment alone on its line takes the line with it (bodies, not headers). 0,
 * HK_EINVAL with *fault, HK_ENOMEM. On success the caller frees *out with token_list_free. */
int tag_parse(const char *text, size_t length, const struct tag_names *names, bool lines,
              struct token_list *out, struct tag_fault *fault) HK_MUST_USE;
void token_list_free(struct token_list *list);
bool token_list_has_tags(const struct token_list *list);

/* The octets of the tag that begins at text ("{{" stands there), or 0 if it never closes. */
size_t tag_span(const char *text, size_t length);
/* The first "{{" at or behind `from`, or length. */
size_t tag_find(const char *text, size_t length, size_t from);

#endif
