/* bounce.c - hikyaku bounce classify: what mails that came back say, one JSON line a file.
 *
 * Needs no node, and a configuration only for rules of the user's own. Files are read as streams, so their size does not matter.
 */
#include "hikyaku/bounce.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
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
    json_t *bounces; /* of the file at hand */
    char *bytes;
};

static json_t *clean_string(const char *text)
{
    char clean[2048];

    (void)hk_clean_text(clean, sizeof clean, text, strlen(text));
    return json_string(clean);
}

static void add_bounce(void *context, const struct bounce *b)
{
    struct classifying *c = context;
    json_t *row = json_pack("{s:o, s:s, s:s, s:o, s:s, s:s}", "recipient", clean_string(b->recipient),
                            "class", reply_class_name(b->verdict.reply_class), "disposition",
                            disposition_name(b->verdict.disposition), "reason", clean_string(b->reason),
                            "status", b->status, "kind", bounce_kind_name(b->kind));

    HK_BUG_ON(row == NULL || json_array_append_new(c->bounces, row) != 0);
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

static int print_line(const struct classifying *c, const char *file)
{
    json_t *line = json_pack("{s:o, s:O}", "file", clean_string(file), "bounces", c->bounces);
    char *text = line != NULL ? json_dumps(line, JSON_COMPACT) : NULL;

    json_decref(line);
    if (text == NULL)
        return HK_ENOMEM;
    (void)puts(text);
    free(text);
    return 0;
}

static int classify_file(struct classifying *c, const char *file, struct hk_why *why)
{
    bool is_stdin = strcmp(file, "-") == 0;
    int fd = is_stdin ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC), error;

    if (fd < 0)
        return why_set(why, HK_EINVAL, "%s: cannot be opened: %s", file, strerror(errno));
    c->bounces = json_array();
    error =
        c->bounces == NULL ? why_set(why, HK_ENOMEM, "%s: out of memory", file) : read_all(c, fd, file, why);
    if (error == 0)
        error = print_line(c, file);
    json_decref(c->bounces);
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
    if (c.reader == NULL || c.bytes == NULL || c.intake == NULL) {
        (void)why_set(&why, HK_ENOMEM, "hikyaku bounce classify: out of memory");
        status = cli_fail(HK_ENOMEM, &why);
        files = 0;
    }
    for (size_t i = 0; i < files; i++)
        if (classify_file(&c, file[i], &why) < 0) {
            fprintf(stderr, "%s\n", why.text);
            status = EXIT_USAGE;
        }
    intake_free(c.intake);
    bounce_reader_free(c.reader);
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
