/* intake.c - files into mails (hikyaku/bounce.h): an mbox is cut at its "From " lines, and what is too long is shortened.
 *
 * A bounce of 100 MB is a few kilobytes of diagnosis and a returned message. Of such a run only the beginning is kept,
 * up to the next line that begins with "--": every boundary of a multipart does, so all parts are still found. The memory is
 * one mapping of which only what is written to exists.
 *
 * In an mbox a mail begins at a line "From someone ... 12:34 ..." behind a blank line, with a header field below it: a
 * body may have such a line without any of these.
 */
#include <ctype.h>
#include <string.h>
#include <sys/mman.h>

#include "hikyaku/bounce.h"
#include "slice.h"

#define SLACK (64u << 10) /* for a "From " line and the one below it, where a mail is full */
#define KEEP  (1u << 20)  /* memory that stays from mail to mail */
#define HELD  5u          /* bytes that decide what a line is: "From " */

struct intake {
    intake_mail *mail;
    void *context;
    char *at; /* INTAKE_MAIL_MAX + SLACK bytes */
    size_t length, touched;
    size_t run;       /* bytes since the last line that begins with "--" */
    size_t line_at;   /* where the present line begins, if it was kept */
    size_t from_at;   /* of a line that may begin the next mail; SIZE_MAX: none */
    bool line_begins; /* the next byte is the first of a line */
    bool line_kept;
    bool line_is_blank, blank_before;
    bool first_line, is_mbox;
    char held[HELD];
    size_t held_length;
};

static void begin_mail(struct intake *in)
{
    in->run = 0;
    in->from_at = SIZE_MAX;
}

static void begin_file(struct intake *in)
{
    in->length = 0;
    in->line_at = 0;
    in->line_begins = in->first_line = true;
    in->is_mbox = in->blank_before = false;
    in->held_length = 0;
    begin_mail(in);
}

struct intake *intake_new(intake_mail *mail, void *context)
{
    struct intake *in = calloc(1, sizeof *in);

    if (in == NULL)
        return NULL;
    in->at = mmap(NULL, INTAKE_MAIL_MAX + SLACK, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (in->at == MAP_FAILED) {
        free(in);
        return NULL;
    }
    in->mail = mail;
    in->context = context;
    begin_file(in);
    return in;
}

void intake_free(struct intake *in)
{
    if (in == NULL)
        return;
    (void)munmap(in->at, INTAKE_MAIL_MAX + SLACK);
    free(in);
}

/* Give the first `length` bytes on; what is behind them begins the next mail. */
static int give(struct intake *in, size_t length)
{
    int error = length > 0 ? in->mail(in->context, in->at, length) : 0;

    memmove(in->at, in->at + length, in->length - length);
    in->length -= length;
    if (in->touched > KEEP) {
        (void)madvise(in->at + KEEP, INTAKE_MAIL_MAX + SLACK - KEEP, MADV_DONTNEED);
        in->touched = KEEP;
    }
    return error < 0 ? error : 0;
}

/* "From someone Thu Jan  1 00:00:00 2026" */
static bool is_from_line(struct slice line)
{
    if (!(line.length > 9 && memcmp(line.at, "From ", 5) == 0))
        return false;
    for (size_t i = 6; i + 1 < line.length; i++)
        if (line.at[i] == ':' && isdigit((unsigned char)line.at[i - 1]) &&
            isdigit((unsigned char)line.at[i + 1]))
            return true;
    return false;
}

static void keep_bytes(struct intake *in, const char *bytes, size_t length)
{
    size_t max = in->from_at != SIZE_MAX ? INTAKE_MAIL_MAX + SLACK : INTAKE_MAIL_MAX;

    if (in->run > INTAKE_RUN_MAX || in->length >= max) {
        in->line_kept = false;
        in->run += length;
        return;
    }
    if (length > max - in->length)
        length = max - in->length;
    memcpy(in->at + in->length, bytes, length);
    in->length += length;
    in->run += length;
    if (in->touched < in->length)
        in->touched = in->length;
}

static void line_start(struct intake *in, const char *bytes, size_t length)
{
    bool from = in->is_mbox && in->blank_before && length >= 5 && memcmp(bytes, "From ", 5) == 0;

    if ((length >= 2 && bytes[0] == '-' && bytes[1] == '-') || from)
        in->run = 0;
    if (from && in->from_at == SIZE_MAX)
        in->from_at = in->length;
    in->line_at = in->length;
    in->line_kept = true;
    in->line_is_blank = length == 0 || bytes[0] == '\n' || bytes[0] == '\r';
    in->line_begins = false;
}

/* A line is complete: does it show that the one before it began a mail? */
static int line_end(struct intake *in)
{
    struct slice line = slice_between(in->at + in->line_at, in->at + in->length), name, value;
    size_t from_at = in->from_at;
    int error = 0;

    line = slice_trim(line);
    if (in->first_line) {
        in->is_mbox = is_from_line(line);
        in->first_line = false;
    }
    in->blank_before = in->line_is_blank;
    in->line_begins = true;
    if (from_at == SIZE_MAX)
        return 0;
    if (in->line_at == from_at) {
        if (!is_from_line(line))
            in->from_at = SIZE_MAX;
        return 0;
    }
    in->from_at = SIZE_MAX;
    if (in->line_kept && (field_split(line, &name, &value) || slice_begins(line, ">From "))) {
        error = give(in, from_at);
        in->run = in->length;
        in->line_at = 0;
    } else if (in->length > INTAKE_MAIL_MAX) {
        in->length = INTAKE_MAIL_MAX;
    }
    return error;
}

/* Bytes of one line; `ends`: its end is the last of them. */
static int put_piece(struct intake *in, const char *bytes, size_t length, bool ends)
{
    if (in->line_begins)
        line_start(in, bytes, length);
    keep_bytes(in, bytes, length);
    return ends ? line_end(in) : 0;
}

/* CR LF is two ends of one line: the LF alone must not look like a blank line. */
static int put_lines(struct intake *in, const char *at, const char *end)
{
    const char *lf = at, *cr = at;
    int error = 0;

    while (at < end && error == 0) {
        if (lf < at || (lf == at && *lf != '\n'))
            lf = memchr(at, '\n', (size_t)(end - at));
        if (lf == NULL)
            lf = end;
        if (cr < at || (cr == at && *cr != '\r'))
            cr = memchr(at, '\r', (size_t)(end - at));
        if (cr == NULL)
            cr = end;
        const char *stop = lf < cr ? lf : cr;
        if (stop < end && *stop == '\n' && stop == at && in->line_begins && in->length > 0 &&
            in->at[in->length - 1] == '\r') {
            keep_bytes(in, at, 1); /* the second half of CR LF */
            at++;
            continue;
        }
        if (stop == end && in->line_begins && (size_t)(end - at) < HELD) {
            memcpy(in->held, at, (size_t)(end - at)); /* too few to know what this line is */
            in->held_length = (size_t)(end - at);
            return 0;
        }
        error = put_piece(in, at, (size_t)(stop - at) + (stop < end), stop < end);
        at = stop + (stop < end);
    }
    return error;
}

int intake_put(struct intake *in, const char *bytes, size_t length)
{
    char first[2 * HELD];
    size_t more = in->held_length > 0 ? (length < HELD ? length : HELD) : 0, held = in->held_length;
    int error = 0;

    if (held > 0) {
        memcpy(first, in->held, held);
        memcpy(first + held, bytes, more);
        in->held_length = 0;
        error = put_lines(in, first, first + held + more);
        if (error < 0 || more == length)
            return error;
        if (in->held_length > 0) { /* those bytes had more than one line */
            held = in->held_length;
            more -= held < more ? held : more;
            in->held_length = 0;
        }
    }
    return put_lines(in, bytes + more, bytes + length);
}

int intake_end(struct intake *in)
{
    int error = 0;

    if (in->held_length > 0) {
        size_t length = in->held_length;
        in->held_length = 0;
        error = put_piece(in, in->held, length, false);
    }
    if (error == 0)
        error = give(in, in->length);
    begin_file(in);
    return error;
}
