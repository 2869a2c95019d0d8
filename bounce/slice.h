/* slice.h - bytes that lie in somebody else's memory, and lines of them. A line ends in LF, CRLF or a bare CR, and
 * one mail may have them all. */
#ifndef BOUNCE_SLICE_H
#define BOUNCE_SLICE_H

#include <endian.h>
#include <string.h>
#include <strings.h>

#include "hikyaku/base.h"

struct slice {
    const char *at;
    size_t length;
};

static inline struct slice slice_between(const char *from, const char *to)
{
    return (struct slice){from, to > from ? (size_t)(to - from) : 0};
}

static inline const char *slice_end(struct slice s)
{
    return s.at + s.length;
}

static inline bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static inline struct slice slice_trim(struct slice s)
{
    while (s.length > 0 && is_blank(s.at[0]))
        s.at++, s.length--;
    while (s.length > 0 && is_blank(s.at[s.length - 1]))
        s.length--;
    return s;
}

/* Case does not count. */
static inline bool slice_is(struct slice s, const char *text)
{
    return strlen(text) == s.length && strncasecmp(s.at, text, s.length) == 0;
}

static inline bool slice_begins(struct slice s, const char *text)
{
    size_t length = strlen(text);

    return s.length >= length && strncasecmp(s.at, text, length) == 0;
}

/* Case of ASCII letters does not count; `text` is lower case. */
bool slice_has(struct slice s, const char *text);

/* A byte of `word` that is `byte` has its high bit set in what comes back; the lowest of them is a true one. */
static inline uint64_t bytes_equal(uint64_t word, unsigned char byte)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    uint64_t other = word ^ ones * byte;

    return (other - ones) & ~other & ones << 7;
}

/* The first LF or CR, or `end`: eight bytes at a time, for most bytes of a mail are looked at for this alone. */
static inline const char *line_end_at(const char *at, const char *end)
{
    while (end - at >= 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        word = le64toh(word);
        word = bytes_equal(word, '\n') | bytes_equal(word, '\r');
        if (word != 0)
            return at + __builtin_ctzll(word) / 8;
        at += 8;
    }
    while (at < end && *at != '\n' && *at != '\r')
        at++;
    return at;
}

/* The line at *at, without its end; *at moves behind that. False at the end of the bytes. */
static inline bool line_next(const char **at, const char *end, struct slice *line)
{
    const char *from = *at, *to;

    if (from >= end)
        return false;
    to = line_end_at(from, end);
    *line = slice_between(from, to);
    if (to < end)
        to += *to == '\r' && to + 1 < end && to[1] == '\n' ? 2 : 1;
    *at = to;
    return true;
}

/* A header field: a name, blanks, a colon (RFC 5322 2.2, 4.5). Where the line has that shape the name and what is behind
 * the colon. */
#define FIELD_NAME_MAX 76u
static inline bool field_split(struct slice line, struct slice *name, struct slice *value)
{
    size_t length = 0, colon;

    while (length < line.length && line.at[length] > ' ' && line.at[length] < 0x7f && line.at[length] != ':')
        length++;
    colon = length;
    while (colon < line.length && (line.at[colon] == ' ' || line.at[colon] == '\t'))
        colon++;
    if (length == 0 || length > FIELD_NAME_MAX || colon >= line.length || line.at[colon] != ':')
        return false;
    *name = (struct slice){line.at, length};
    *value = slice_between(line.at + colon + 1, slice_end(line));
    return true;
}

/* A growing run of bytes with a ceiling: what does not fit is left out, and `cut` says so. */
struct text {
    char *at;
    size_t length, room, max;
    bool cut, failed; /* failed: no memory */
};

bool text_room(struct text *text, size_t more);
void text_free(struct text *text);

static inline void text_put(struct text *text, const char *bytes, size_t length)
{
    if (text->room - text->length < length && !text_room(text, length))
        length = text->room - text->length;
    if (length == 0)
        return;
    memcpy(text->at + text->length, bytes, length);
    text->length += length;
}

static inline void text_byte(struct text *text, char byte)
{
    if (text->length == text->room && !text_room(text, 1))
        return;
    text->at[text->length++] = byte;
}

static inline struct slice text_slice(const struct text *text)
{
    return (struct slice){text->at, text->length};
}

#endif
