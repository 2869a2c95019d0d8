/* bounce.c - hikyaku bounce classify: what mails that came back say, one JSON line a file.
 *
 * Needs no node, and a configuration only for rules of the user's own. Files are read as streams, so their size does not matter.
 */
#include "hikyaku/bounce.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "commands.h"
#include "hikyaku/rules.h"
#include "replies.h"

#define READ_BYTES (256u << 10)

struct classifying {
    struct bounce_reader *reader;
    struct intake *intake;
    char *bytes;
    FILE *line; /* of the file at hand: in memory until all of it was read */
    char *text;
    size_t length, bounces;
};

/* A string of JSON. The text is made valid UTF-8 without controls, so these two are all that has to be escaped. */
static void put_string(FILE *out, const char *text)
{
    char clean[2048];
    size_t length = hk_clean_text(clean, sizeof clean, text, strlen(text));

    (void)putc_unlocked('"', out);
    for (size_t at = 0, run; at < length; at += run + 1) {
        run = strcspn(clean + at, "\"\\");
        (void)fwrite_unlocked(clean + at, 1, run, out);
        if (at + run < length) {
            (void)putc_unlocked('\\', out);
            (void)putc_unlocked(clean[at + run], out);
        }
    }
    (void)putc_unlocked('"', out);
}

static void put_member(FILE *out, const char *before, const char *text)
{
    (void)fputs_unlocked(before, out);
    put_string(out, text);
}

static void add_bounce(void *context, const struct bounce *b)
{
    struct classifying *c = context;

    put_member(c->line, c->bounces++ > 0 ? ",{\"recipient\":" : "{\"recipient\":", b->recipient);
    put_member(c->line, ",\"class\":", reply_class_name(b->verdict.reply_class));
    put_member(c->line, ",\"disposition\":", disposition_name(b->verdict.disposition));
    put_member(c->line, ",\"reason\":",
               b->verdict.reason != NULL ? b->verdict.reason : reply_class_reason(b->verdict.reply_class));
    put_member(c->line, ",\"status\":", b->status);
    put_member(c->line, ",\"kind\":", bounce_kind_name(b->kind));
    put_member(c->line, ",\"text\":", b->reason);
    (void)putc_unlocked('}', c->line);
}

static int read_mail(void *context, const char *mail, size_t length)
{
    struct classifying *c = context;

    return bounce_read(c->reader, mail, length, add_bounce, c);
}

static int read_all(struct classifying *c, int fd, const char *file, struct hk_why *why)
{
    ssize_t got;
    int error = 0;

    while (error == 0 && (got = read(fd, c->bytes, READ_BYTES)) != 0) {
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return why_set(why, HK_EIO, "%s: cannot be read: %s", file, strerror(errno));
        error = intake_put(c->intake, c->bytes, (size_t)got);
    }
    if (error == 0)
        error = intake_end(c->intake);
    return error < 0 ? why_set(why, error, "%s: %s", file, hk_strerror(error)) : 0;
}

static void begin_line(struct classifying *c, const char *file)
{
    rewind(c->line);
    put_member(c->line, "{\"file\":", file);
    (void)fputs_unlocked(",\"bounces\":[", c->line);
    c->bounces = 0;
}

static int print_line(struct classifying *c, struct hk_why *why)
{
    (void)fputs_unlocked("]}\n", c->line);
    if (fflush(c->line) != 0 || ferror(c->line))
        return why_set(why, HK_ENOMEM, "hikyaku bounce classify: out of memory");
    if (fwrite(c->text, 1, c->length, stdout) != c->length)
        return why_set(why, HK_EIO, "standard output: %s", strerror(errno));
    return 0;
}

static int classify_file(struct classifying *c, const char *file, struct hk_why *why)
{
    bool is_stdin = strcmp(file, "-") == 0;
    int fd = is_stdin ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC), error;

    if (fd < 0)
        return why_set(why, HK_EINVAL, "%s: cannot be opened: %s", file, strerror(errno));
    begin_line(c, file);
    error = read_all(c, fd, file, why);
    if (error == 0)
        error = print_line(c, why);
    if (!is_stdin)
        (void)close(fd);
    return error;
}

/* Rules of the user's own, where a configuration names them. */
static int use_rules(const char *config_path, struct hk_why *why)
{
    struct config *config;
    struct rules *rules;
    int error;

    if (config_path == NULL)
        return 0;
    error = config_load(config_path, &config, why);
    if (error < 0)
        return error;
    error = rules_load(config->rules_file, &rules, why);
    config_free(config);
    if (error == 0)
        rules_use(rules);
    return error;
}

static int classify_mails(const struct cli_options *options)
{
    struct classifying c = {.reader = bounce_reader_new(), .bytes = malloc(READ_BYTES)};
    char *standard_input[] = {(char[]){"-"}};
    char **file = options->operands > 0 ? options->operand : standard_input;
    size_t files = options->operands > 0 ? options->operands : 1;
    int status = EXIT_SETTLED;
    struct hk_why why;

    c.intake = intake_new(read_mail, &c);
    c.line = open_memstream(&c.text, &c.length);
    if (c.reader == NULL || c.bytes == NULL || c.intake == NULL || c.line == NULL) {
        (void)why_set(&why, HK_ENOMEM, "hikyaku bounce classify: out of memory");
        status = cli_fail(HK_ENOMEM, &why);
        files = 0;
    }
    for (size_t i = 0; i < files; i++)
        if (classify_file(&c, file[i], &why) < 0) {
            fprintf(stderr, "%s\n", why.text);
            status = EXIT_USAGE;
        }
    if (c.line != NULL)
        (void)fclose(c.line);
    intake_free(c.intake);
    bounce_reader_free(c.reader);
    free(c.text);
    free(c.bytes);
    return status;
}

int cmd_bounce_classify(const struct cli_options *options)
{
    struct hk_why why;
    int error = use_rules(options->config, &why);

    if (error < 0)
        return cli_fail(error, &why);
    return options->replies != NULL ? replies_classify(options) : classify_mails(options);
}
