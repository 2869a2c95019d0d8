/* bounce_ingest.c - hikyaku bounce ingest: mails that came back to another MTA, from files, an mbox, a maildir or a pipe.
 *
 * Each mail becomes one entry of a request to the node (master/returned.c), or of a short-lived one in its place; a line says
 * what was done about it. Never answers anybody. A mail of a maildir leaves new/ when the node has taken it; what cannot be read
 * there stays, is told, and keeps no other mail. A pipe gives EX_TEMPFAIL for whatever is not the mail's own fault, so that the
 * MTA keeps it: every mail may be taken twice.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "commands.h"
#include "errand.h"
#include "hikyaku/bounce.h"
#include "hikyaku/rules.h"
#include "hikyaku/whose.h"

#define READ_BYTES  (256u << 10)
#define BATCH_MAX   256u /* entries of one request (master/returned.h) */
#define HERE_BYTES  (1u << 20)
#define FRAME_BYTES 64u /* of a request around its entries */
#define SHOWN_BYTES 160u

/* One mail between reading and its line. */
struct entry {
    char *name; /* as it is shown */
    char *move; /* name of a file in new/; NULL: it stays where it is */
    json_t *json;
    char what[400]; /* the line where the node has nothing to add */
};

struct ingest {
    const struct config *config;
    struct reach reach;
    bool reached;
    struct signer *signer;
    struct whose whose;
    struct bounce_reader *reader;
    struct intake *intake;
    char *bytes;
    const char *envelope; /* recipient of the envelope, for the one mail of a pipe */
    const char *file;     /* being read */
    const char *maildir;  /* it lies in there; NULL: in none */
    bool passed_over;     /* something in a maildir could not be read */
    unsigned nth;         /* mail of that file */
    struct entry batch[BATCH_MAX];
    size_t count, batch_bytes;
    struct hk_why why;
};

/* ---- what was done ---- */

static const char *word_at(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text != NULL ? text : "";
}

static void describe_done(const struct entry *entry, const json_t *done, char *out, size_t size)
{
    static const struct {
        const char *done, *words;
    } table[] = {
        {"suppressed", "suppressed"},
        {"known", "was suppressed already"},
        {"near", "not counted: the same trouble as a soft bounce shortly before"},
        {"again", "was counted already"},
        {"blocked", "our own fault, nothing against the recipient"},
        {"held", "held: most of the domain is unknown"},
        {"tripped", "held: most of the domain is unknown"},
        {"full", "left alone: too many are held"},
    };
    const char *word = word_at(done, "done");
    unsigned count = (unsigned)json_integer_value(json_object_get(done, "count"));
    unsigned limit = (unsigned)json_integer_value(json_object_get(done, "limit"));

    (void)snprintf(out, size, "%s", entry->what);
    if (word_at(done, "ignored")[0] != '\0')
        (void)snprintf(out, size, "ignored: %s", word_at(done, "ignored"));
    if (strcmp(word, "counted") == 0 && limit > 0)
        (void)snprintf(out, size, "counted, %u of %u", count, limit);
    else if (strcmp(word, "counted") == 0)
        (void)snprintf(out, size, "counted, %u", count);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(table[i].done, word) == 0)
            (void)snprintf(out, size, "%s", table[i].words);
}

static int print_entry(struct ingest *in, const struct entry *entry, const json_t *done)
{
    const char *who = word_at(done, "recipient"), *campaign = word_at(done, "campaign");
    char text[SHOWN_BYTES], words[400];
    int printed;

    describe_done(entry, done, words, sizeof words);
    (void)hk_clean_text(text, sizeof text, word_at(entry->json, "text"),
                        strlen(word_at(entry->json, "text")));
    if (who[0] == '\0')
        who = word_at(entry->json, "reported");
    printed =
        entry->json == NULL
            ? printf("%s: %s\n", entry->name, words)
            : printf("%s: %s%s%s, %s%s%s: %s%s%s%s\n", entry->name, who[0] != '\0' ? who : "somebody",
                     campaign[0] != '\0' ? " of campaign " : "", campaign, word_at(entry->json, "kind"),
                     word_at(entry->json, "class")[0] != '\0' ? " " : "", word_at(entry->json, "class"),
                     words,
                     json_is_true(json_object_get(done, "again")) ? " (this mail was taken before)" : "",
                     text[0] != '\0' ? ": " : "", text);
    return printed < 0 ? cli_output_failed(&in->why) : 0;
}

/* ---- the batch ---- */

static void entry_free(struct entry *entry)
{
    free(entry->name);
    free(entry->move);
    json_decref(entry->json);
    memset(entry, 0, sizeof *entry);
}

static int move_taken(struct ingest *in, const struct entry *entry)
{
    char *from, *to;
    int error = 0;

    if (entry->move == NULL)
        return 0;
    from = hk_xasprintf("%s/new/%s", in->maildir, entry->move);
    to = hk_xasprintf("%s/cur/%s%s", in->maildir, entry->move,
                      strstr(entry->move, ":2,") != NULL ? "" : ":2,S");
    /* Gone: somebody else has taken it as well, which is no harm. */
    if (rename(from, to) != 0 && (errno != ENOENT || access(from, F_OK) == 0))
        error = why_set(&in->why, HK_EIO, "%s: cannot be moved to cur/: %s", from, strerror(errno));
    free(from);
    free(to);
    return error;
}

/* Has the node anything to hear of it? */
static bool is_told(const struct entry *entry)
{
    return entry->json != NULL;
}

static int ask(struct ingest *in, json_t **reply)
{
    json_t *array = json_array();
    int error, status;

    *reply = NULL;
    for (size_t i = 0; i < in->count; i++)
        if (is_told(&in->batch[i]) && json_array_append(array, in->batch[i].json) != 0) {
            json_decref(array); /* answers come in this order: one that is missing would shift them */
            return why_set(&in->why, HK_ENOMEM, "hikyaku: not enough memory for a request to the node");
        }
    if (json_array_size(array) == 0) {
        json_decref(array);
        return 0;
    }
    error = errand_do_reached(&in->reach, json_pack("{s:s,s:o}", "command", "bounce", "bounces", array),
                              reply, &in->why);
    if (error != 0 || json_is_true(json_object_get(*reply, "ok")))
        return error;
    status = (int)json_integer_value(json_object_get(*reply, "exit"));
    error = why_set(&in->why, status == EXIT_USAGE ? HK_EINVAL : HK_EDOWN, "hikyaku: %s",
                    word_at(*reply, "error"));
    json_decref(*reply);
    *reply = NULL;
    return error;
}

static int flush(struct ingest *in)
{
    const json_t *bounces;
    json_t *reply;
    size_t told = 0;
    int error = ask(in, &reply);

    bounces = json_object_get(reply, "bounces");
    for (size_t i = 0; i < in->count; i++) {
        struct entry *entry = &in->batch[i];
        const json_t *done = is_told(entry) ? json_array_get(bounces, told++) : NULL;
        if (error == 0)
            error = print_entry(in, entry, done);
        if (error == 0)
            error = move_taken(in, entry);
        entry_free(entry);
    }
    in->count = in->batch_bytes = 0;
    json_decref(reply);
    return error;
}

static int add_entry(struct ingest *in, struct entry *entry)
{
    size_t most = in->reach.node_runs ? NODE_REQUEST_MAX - FRAME_BYTES : HERE_BYTES;
    char *text = entry->json != NULL ? json_dumps(entry->json, JSON_COMPACT) : NULL;
    size_t bytes = text != NULL ? strlen(text) + 1 : 0;
    int error = 0;

    free(text);
    if (in->count == BATCH_MAX || in->batch_bytes + bytes > most)
        error = flush(in);
    if (error != 0) {
        entry_free(entry);
        return error;
    }
    in->batch[in->count++] = *entry;
    in->batch_bytes += bytes;
    return 0;
}

/* ---- one mail ---- */

static int take_mail(void *context, const char *mail, size_t length)
{
    struct ingest *in = context;
    struct whose_said said;
    struct entry entry = {0};

    if (whose_read(&in->whose, in->reader, in->envelope, mail, length, &said) != 0)
        return why_set(&in->why, HK_ENOMEM, "%s: not enough memory to read it", in->file);
    in->nth++;
    entry.name = in->nth == 1 ? hk_xstrdup(in->file) : hk_xasprintf("%s:%u", in->file, in->nth);
    (void)snprintf(entry.what, sizeof entry.what, said.tells ? "nothing to do" : "no bounce: nothing to do");
    if (said.tells) {
        entry.json = whose_entry(&said);
        if (entry.json == NULL) {
            entry_free(&entry);
            return why_set(&in->why, HK_ENOMEM, "%s: not enough memory to tell of it", in->file);
        }
    }
    return add_entry(in, &entry);
}

/* ---- where mails come from ---- */

static int read_stream(struct ingest *in, int fd)
{
    ssize_t got;
    int error = 0;

    in->why.text[0] = '\0';
    while (error == 0 && (got = read(fd, in->bytes, READ_BYTES)) != 0) {
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return why_set(&in->why, HK_EIO, "%s: cannot be read: %s", in->file, strerror(errno));
        error = intake_put(in->intake, in->bytes, (size_t)got);
    }
    if (error == 0)
        error = intake_end(in->intake);
    if (error != 0 && in->why.text[0] == '\0')
        (void)why_set(&in->why, error, "%s: %s", in->file, hk_strerror(error));
    return error;
}

static int read_file(struct ingest *in, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), error;

    if (fd < 0)
        return why_set(&in->why, HK_ENOENT, "%s: cannot be opened: %s", path, strerror(errno));
    in->file = path;
    in->nth = 0;
    error = read_stream(in, fd);
    (void)close(fd);
    return error;
}

static int is_mail(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

/* Something in new/ that an MTA did not put there, or not for us. */
static int pass_over(struct ingest *in, const char *file, const char *reason)
{
    fprintf(stderr, "%s: cannot be read, and stays: %s\n", file, reason);
    in->passed_over = true;
    return 0;
}

/* What waits for a writer must not have us wait. */
static int open_mail(struct ingest *in, const char *file, int *fd)
{
    struct stat st;

    *fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (*fd < 0)
        return errno == ENOENT ? 0 : pass_over(in, file, strerror(errno)); /* somebody else has taken it */
    if (fstat(*fd, &st) == 0 && S_ISREG(st.st_mode))
        return 0;
    (void)close(*fd);
    *fd = -1;
    return pass_over(in, file, "no ordinary file");
}

static int read_maildir_file(struct ingest *in, const char *file)
{
    struct entry entry = {0};
    int fd, error = open_mail(in, file, &fd);

    if (fd < 0)
        return error;
    in->file = file;
    in->nth = 0;
    error = read_stream(in, fd);
    (void)close(fd);
    if (error == 0 && in->nth == 0) {
        entry.name = hk_xstrdup(file);
        (void)snprintf(entry.what, sizeof entry.what, "no mail in it");
        error = add_entry(in, &entry);
    }
    /* It leaves with the last of its mails. */
    if (error == 0)
        in->batch[in->count - 1].move = hk_xstrdup(strrchr(file, '/') + 1);
    return error;
}

/* In the order of their names, which begin with the time of their delivery. */
static int read_maildir(struct ingest *in, const char *path)
{
    char *folder = hk_xasprintf("%s/new", path);
    struct dirent **name = NULL;
    int count = scandir(folder, &name, is_mail, alphasort), error = 0;

    if (count < 0)
        error = why_set(&in->why, HK_ENOENT, "%s: no maildir: its folder new/ cannot be read: %s", path,
                        strerror(errno));
    in->maildir = path;
    for (int i = 0; i < count; i++) {
        char *file = hk_xasprintf("%s/%s", folder, name[i]->d_name);
        if (error == 0 && !cli_interrupted())
            error = read_maildir_file(in, file);
        free(file);
        free(name[i]);
    }
    if (error == 0)
        error = flush(in); /* what is in the batch lies in this maildir */
    in->maildir = NULL;
    free((void *)name);
    free(folder);
    return error;
}

static int read_operand(struct ingest *in, const char *path)
{
    struct stat st;

    if (strcmp(path, "-") == 0) {
        in->file = "-";
        in->nth = 0;
        return read_stream(in, STDIN_FILENO);
    }
    if (stat(path, &st) != 0)
        return why_set(&in->why, HK_ENOENT, "%s: cannot be opened: %s", path, strerror(errno));
    return S_ISDIR(st.st_mode) ? read_maildir(in, path) : read_file(in, path);
}

/* ---- the command ---- */

/* Postfix' local(8), Exim's pipe and OpenSMTPD's mda tell the envelope's recipient like that. The original one is what the
 * sender of the bounce wrote, before any alias. */
static const char *envelope_recipient(const struct cli_options *options)
{
    const char *original = getenv("ORIGINAL_RECIPIENT"), *recipient = getenv("RECIPIENT");

    if (options->recipient != NULL)
        return options->recipient;
    return original != NULL && original[0] != '\0' ? original : recipient;
}

/* Rules of the user's own are asked as they are in a session. */
static int use_rules(struct ingest *in)
{
    struct rules *rules;
    int error = in->config->rules_file != NULL ? rules_load(in->config->rules_file, &rules, &in->why) : 0;

    if (error == 0 && in->config->rules_file != NULL)
        rules_use(rules);
    return error;
}

static int ingest_open(struct ingest *in)
{
    int error = use_rules(in);

    if (error == 0)
        error = reach_open(in->config, &in->reach, &in->why);
    in->reached = error == 0;
    if (error != 0)
        return error;
    in->reader = bounce_reader_new();
    in->bytes = malloc(READ_BYTES);
    in->intake = intake_new(take_mail, in);
    if (in->reader == NULL || in->bytes == NULL || in->intake == NULL)
        error = why_set(&in->why, HK_ENOMEM, "hikyaku: not enough memory to read mails");
    if (error == 0)
        error = signer_load_tokens(in->config, &in->signer, &in->why);
    in->whose = (struct whose){.signer = in->signer, .token_age_s = in->config->bounce.token_age_s};
    return error;
}

static void ingest_close(struct ingest *in)
{
    for (size_t i = 0; i < in->count; i++)
        entry_free(&in->batch[i]);
    signer_free(in->signer);
    intake_free(in->intake);
    bounce_reader_free(in->reader);
    free(in->bytes);
    if (in->reached)
        reach_close(&in->reach);
}

static int ingest_all(struct ingest *in, char **operand, size_t operands)
{
    int error = 0;

    for (size_t i = 0; i < operands && error == 0; i++)
        error = read_operand(in, operand[i]);
    return error == 0 ? flush(in) : error;
}

int cmd_bounce_ingest(const struct cli_options *options)
{
    static char dash[] = "-";
    char *standard_input[] = {dash};
    struct ingest *in = hk_xcalloc(1, sizeof *in);
    struct config *config = cli_config_load(options->config);
    bool is_pipe =
        options->operands == 0 || (options->operands == 1 && strcmp(options->operand[0], "-") == 0);
    int error, status = EXIT_SETTLED;

    in->config = config;
    if (is_pipe)
        in->envelope = envelope_recipient(options);
    if (config != NULL) {
        cli_signals_catch();
        error = ingest_open(in);
        if (error == 0)
            error = ingest_all(in, options->operands > 0 ? options->operand : standard_input,
                               options->operands > 0 ? options->operands : 1);
        ingest_close(in);
        status = error != 0          ? cli_fail(error, &in->why)
                 : cli_interrupted() ? EXIT_STOPPED
                 : in->passed_over   ? EXIT_USAGE
                                     : EXIT_SETTLED;
        config_free(config);
    } else {
        status = EXIT_USAGE;
    }
    free(in);
    /* For an MTA everything else would mean that the mail is at fault, and it would drop it. */
    return status != EXIT_SETTLED && (is_pipe || status == EXIT_NEEDED) ? EX_TEMPFAIL : status;
}
