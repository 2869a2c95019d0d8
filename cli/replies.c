/* replies.c - hikyaku bounce classify --replies: SMTP replies, one a line, into class and disposition.
 *
 * A line is bare text ("550 5.1.1 User unknown"), or a JSON object with `reply` and, if they are known, `phase` and
 * `status`. Needs no
 * node and no Redis. Memory is bounded: one line at a time.
 */
#include "replies.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "cli.h"
#include "hikyaku/rules.h"

#define REPLY_LINE_MAX 65536u

struct replies {
    const char *name; /* for words to a person */
    FILE *in;
    unsigned line;
    char text[REPLY_LINE_MAX];
    struct hk_why *why;
};

static int bad_line(const struct replies *r, const char *what)
{
    return why_set(r->why, HK_EINVAL, "%s:%u: %s", r->name, r->line, what);
}

/* 1 and a line without its end, 0 at the end of the file. */
static int next_line(struct replies *r, size_t *length)
{
    if (fgets(r->text, sizeof r->text, r->in) == NULL)
        return ferror(r->in) ? why_set(r->why, HK_EIO, "%s: %s", r->name, strerror(errno)) : 0;
    r->line++;
    *length = strlen(r->text);
    if (*length + 1 == sizeof r->text && r->text[*length - 1] != '\n')
        return bad_line(r, "a line of more than 65,534 bytes: one reply a line");
    while (*length > 0 && (r->text[*length - 1] == '\n' || r->text[*length - 1] == '\r'))
        r->text[--*length] = '\0';
    return 1;
}

static void print_verdict(const struct verdict *v)
{
    printf("{\"class\": \"%s\", \"disposition\": \"%s\", \"reason\": \"%s\", \"rule\": ",
           reply_class_name(v->reply_class), disposition_name(v->disposition), v->reason);
    printf(v->rule == NULL ? "null}\n" : "\"%s\"}\n", v->rule);
}

static void classify(struct diagnosis d)
{
    struct verdict v;

    diagnosis_read(&d);
    v = diagnosis_classify(&d);
    print_verdict(&v);
}

static int phase_of_json(const struct replies *r, const json_t *row, enum log_phase *out)
{
    const json_t *value = json_object_get(row, "phase");
    const char *word = json_string_value(value);

    *out = LOG_PHASES;
    if (value == NULL || json_is_null(value) || (word != NULL && word[0] == '\0'))
        return 0;
    if (word != NULL)
        *out = log_phase_of_word(word, strlen(word));
    return *out != LOG_PHASES
               ? 0
               : bad_line(r, "phase is no phase; write connect, banner, ehlo, starttls, auth, mail, "
                             "rcpt, data, dot, or nothing");
}

/* The enhanced code of a bounce mail, where the text has none of its own. */
static int status_of_json(const struct replies *r, const json_t *row, uint16_t out[3])
{
    const json_t *value = json_object_get(row, "status");
    const char *word = json_string_value(value);
    unsigned a, b, c;
    int end = 0;

    if (value == NULL || json_is_null(value) || (word != NULL && word[0] == '\0'))
        return 0;
    if (word == NULL || sscanf(word, "%1u.%3u.%3u%n", &a, &b, &c, &end) != 3 || word[end] != '\0')
        return bad_line(r, "status is no enhanced code; write such as 5.1.1, or nothing");
    out[0] = (uint16_t)a;
    out[1] = (uint16_t)b;
    out[2] = (uint16_t)c;
    return 0;
}

static int classify_json(const struct replies *r)
{
    struct diagnosis d = {.phase = LOG_PHASES};
    json_error_t error;
    json_t *row = json_loads(r->text, JSON_ALLOW_NUL, &error);
    const json_t *reply = json_object_get(row, "reply");
    int result;

    if (row == NULL)
        result =
            bad_line(r, "no JSON: write {\"reply\": \"550 ...\", \"phase\": \"rcpt\"}, or the bare text");
    else if (!json_is_string(reply))
        result = bad_line(r, "there is no text `reply`; write {\"reply\": \"550 ...\", \"phase\": \"rcpt\"}");
    else
        result = phase_of_json(r, row, &d.phase);
    if (result == 0)
        result = status_of_json(r, row, d.status);
    if (result == 0) {
        d.text = json_string_value(reply);
        d.length = json_string_length(reply);
        classify(d);
    }
    json_decref(row);
    return result;
}

static int classify_stream(struct replies *r)
{
    size_t length = 0;
    int got, error = 0;

    while (error == 0 && (got = next_line(r, &length)) != 0) {
        size_t blank = strspn(r->text, " \t");
        if (got < 0)
            return got;
        if (r->text[blank] == '{')
            error = classify_json(r);
        else if (blank < length)
            classify(
                (struct diagnosis){.phase = LOG_PHASES, .text = r->text + blank, .length = length - blank});
    }
    return error;
}

static int classify_file(const char *path, struct hk_why *why)
{
    struct replies *r = hk_xcalloc(1, sizeof *r);
    bool is_stdin = strcmp(path, "-") == 0;
    int error;

    *r = (struct replies){.name = is_stdin ? "standard input" : path, .why = why};
    r->in = is_stdin ? stdin : fopen(path, "r");
    if (r->in == NULL)
        error = why_set(why, errno == ENOENT ? HK_ENOENT : HK_EIO, "%s: %s", path, strerror(errno));
    else
        error = classify_stream(r);
    if (r->in != NULL && !is_stdin)
        fclose(r->in);
    free(r);
    return error;
}

int replies_classify(const struct cli_options *options)
{
    struct hk_why why;
    int error = 0;

    if (options->operands == 0)
        error = classify_file("-", &why);
    for (size_t i = 0; i < options->operands && error == 0; i++)
        error = classify_file(options->operand[i], &why);
    return error < 0 ? cli_fail(error, &why) : EXIT_SETTLED;
}
