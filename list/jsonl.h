/* jsonl.h - JSON Lines: cut a stream of bytes into lines, and a line into the values of a recipient.
 *
 * One JSON object a line; lines end in LF or CRLF. No file and no meaning of values in here, so tests and the
 * fuzzer drive it directly. Memory is bounded: of a line longer than JSONL_LINE_MAX only that much is kept, and it
 * is marked. What is wrong with one line is told in words and the next one is read.
 */
#ifndef LIST_JSONL_H
#define LIST_JSONL_H

#include <jansson.h>

#include "columns.h"

#define JSONL_LINE_MAX (1u << 20)

struct jsonl_line {
    const char *text; /* without its end; good until the next call */
    size_t length;
    uint64_t line; /* of the file; the first is 1 */
    bool too_long;
};

struct jsonl_reader {
    char *text; /* of a line that began in an earlier piece */
    size_t used, capacity;
    bool open, too_long, given;
    uint64_t line;
};

void jsonl_init(struct jsonl_reader *reader);
void jsonl_free(struct jsonl_reader *reader);
/* Read on from *at, no further than `end`, and move *at. 1: a line; 0: all bytes are read and the line goes on;
 * HK_ENOMEM. */
int jsonl_next(struct jsonl_reader *reader, const char **at, const char *end,
               struct jsonl_line *line) HK_MUST_USE;
/* No more bytes will come: 1 and the last line, which has no end, or 0. */
int jsonl_finish(struct jsonl_reader *reader, struct jsonl_line *line) HK_MUST_USE;

/* The object that a line holds. HK_EINVAL: none, with the reason; HK_ENOMEM. The caller drops *out
 * (json_decref). */
int jsonl_parse(const struct jsonl_line *line, json_t **out, struct hk_why *reason) HK_MUST_USE;
/* Its keys as the columns of the list, in their order. */
int jsonl_columns(const json_t *object, const char *list, uint64_t line, struct columns *out,
                  struct hk_why *why) HK_MUST_USE;

/* Values of one object, as texts: a string as it is, a number as short as it can be written, true as "true";
 * false, null and a missing key as nothing. */
struct jsonl_values {
    struct segment_field field[SEGMENT_COLUMNS_MAX]; /* into the object or into `number` */
    char number[SEGMENT_COLUMNS_MAX][32];
};
/* 0, or HK_EINVAL: an unknown key, a value that is an object or an array, or one too long. */
int jsonl_values(const json_t *object, const struct columns *columns, struct jsonl_values *out,
                 struct hk_why *reason) HK_MUST_USE;

#endif
