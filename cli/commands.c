/* commands.c - the command table, and everything that is driven by it: parsing, help, usage errors.
 *
 * Touches no file and no socket. A new command is a row here and a file with its function.
 */
#include "commands.h"

#include <getopt.h>
#include <string.h>

#include "cli.h"

static const struct command command_table[] = {
    {
        .name = "send",
        .summary = "send a campaign, and follow it until every recipient is settled",
        .help =
            "Reads the list, checks the message against its columns, and sends each recipient one copy.\n"
            "The same command again goes on where a campaign stopped, after Ctrl-C as after a crash; when\n"
            "everyone is settled it says so and does nothing. A campaign's list and message are fixed: a\n"
            "changed one is refused; with --extend whom a changed list has more is added, and nobody is\n"
            "taken out. Where a node runs on this state_dir the campaign is given to it;\n"
            "else this command is the node. A paused campaign goes on.\n"
            "--dry-run writes the first 10 copies to state_dir/campaigns/ID/preview/ and needs no network.\n"
            "--test sends the first row's copy now, from a place of its own: the campaign hears nothing of "
            "it.\n",
        .required = OPTION_BIT(CONFIG) | OPTION_BIT(CAMPAIGN) | OPTION_BIT(LIST) | OPTION_BIT(MESSAGE),
        .optional = OPTION_BIT(ENCODING) | OPTION_BIT(JSON) | OPTION_BIT(DRY_RUN) | OPTION_BIT(TEST) |
                    OPTION_BIT(FIRST) | OPTION_BIT(EXTEND),
        .run = cmd_send,
    },
    {
        .name = "serve",
        .summary = "run the node until told to stop; it sends every campaign it is given",
        .help = "SIGTERM or Ctrl-C: messages under way are finished, nothing new is begun, then it ends.\n",
        .required = OPTION_BIT(CONFIG),
        .run = cmd_serve,
    },
    {
        .name = "status",
        .summary = "what the node is doing now",
        .help = "Works without a running node too: then it shows what is stored.\n",
        .required = OPTION_BIT(CONFIG),
        .optional = OPTION_BIT(CAMPAIGN) | OPTION_BIT(JSON),
        .run = cmd_status,
    },
    {
        .name = "report",
        .summary = "what became of a campaign's recipients",
        .help = "With --recipients: one JSON object a line for every recipient, in the order of sending.\n",
        .required = OPTION_BIT(CONFIG) | OPTION_BIT(CAMPAIGN),
        .optional = OPTION_BIT(JSON) | OPTION_BIT(RECIPIENTS),
        .run = cmd_report,
    },
    {
        .name = "suppress add",
        .summary = "never write to these addresses again",
        .help = "When the command returns, a running node knows it too: nothing more goes to them, but for\n"
                "messages whose last bytes were under way. The scope is all unless given; the first reason\n"
                "of an address stays.\n",
        .required = OPTION_BIT(CONFIG),
        .optional = OPTION_BIT(SCOPE) | OPTION_BIT(REASON),
        .operands = "ADDRESS...",
        .operands_min = 1,
        .operands_max = SIZE_MAX,
        .run = cmd_suppress_add,
    },
    {
        .name = "suppress remove",
        .summary = "these addresses may be written to again",
        .help = "Without --scope: in every scope that applies to this configuration's sender. Campaigns\n"
                "that settled an address as suppressed leave it so.\n",
        .required = OPTION_BIT(CONFIG),
        .optional = OPTION_BIT(SCOPE),
        .operands = "ADDRESS...",
        .operands_min = 1,
        .operands_max = SIZE_MAX,
        .run = cmd_suppress_remove,
    },
    {
        .name = "suppress check",
        .summary = "say whether these addresses are suppressed",
        .help = "A line for each scope that an address is suppressed in: since when, why and by what; or one "
                "that it\n"
                "is in none. Without --scope: every scope that applies to this configuration's sender. Exit "
                "status:\n"
                "0 none of them is suppressed, 1 at least one is.\n",
        .required = OPTION_BIT(CONFIG),
        .optional = OPTION_BIT(SCOPE),
        .operands = "ADDRESS...",
        .operands_min = 1,
        .operands_max = SIZE_MAX,
        .run = cmd_suppress_check,
    },
    {
        .name = "suppress import",
        .summary = "add the addresses of a CSV file",
        .help =
            "The file, or standard input, has a header row and a column email; scope, reason, source,\n"
            "evidence, time and until (when it ends) are read where they are there, other columns are\n"
            "passed over. Rows without a scope or reason get what --scope and --reason say, else all and\n"
            "import. CSV exports of SendGrid, Amazon SES and Mailgun are understood as they are. What is\n"
            "there already keeps its first reason. Exit status: 1 when a row was bad: each is told with\n"
            "its line, the others are in.\n",
        .required = OPTION_BIT(CONFIG),
        .optional = OPTION_BIT(SCOPE) | OPTION_BIT(REASON),
        .operands = "[FILE]",
        .operands_max = 1,
        .run = cmd_suppress_import,
    },
    {
        .name = "suppress export",
        .summary = "write the suppression lists as a CSV file",
        .help = "What is written, to FILE or standard output, can be imported again. Without --scope: all\n"
                "scopes, those of other senders too.\n",
        .required = OPTION_BIT(CONFIG),
        .optional = OPTION_BIT(SCOPE),
        .operands = "[FILE]",
        .operands_max = 1,
        .run = cmd_suppress_export,
    },
    {
        .name = "list import",
        .summary = "compile a list into a segment file, as send does",
        .help =
            "Checks every address, drops duplicates (the first row wins) and groups by domain. The list is\n"
            "CSV with a header row, its fields separated by commas, or by semicolons or tabs where the\n"
            "header has no comma; or JSON Lines. With --config: local parts with '..' or a dot at an end\n"
            "are taken where a provider allows them (legacy_local_part).\n",
        .required = OPTION_BIT(LIST) | OPTION_BIT(OUT),
        .optional = OPTION_BIT(REJECTED) | OPTION_BIT(ENCODING) | OPTION_BIT(CONFIG),
        .run = cmd_list_import,
    },
    {
        .name = "list show",
        .summary = "what a segment file holds",
        .help = "Its SHA-256 is checked first. F is what 'list import' wrote, or a campaign's segment in\n"
                "state_dir/campaigns/ID/.\n",
        .list_help = "a segment file",
        .required = OPTION_BIT(LIST),
        .run = cmd_list_show,
    },
    {
        .name = "list export",
        .summary = "print the recipients of a segment file as CSV",
        .help = "In UTF-8, in the order of sending; imported again it gives the same recipients in the same\n"
                "order.\n",
        .list_help = "a segment file",
        .required = OPTION_BIT(LIST),
        .run = cmd_list_export,
    },
    {
        .name = "bounce classify",
        .summary = "say what mails that came back, or replies, tell about their recipients",
        .help =
            "One JSON line a file: {\"file\", \"bounces\": [{\"recipient\", \"class\", \"disposition\", "
            "\"reason\",\n"
            "\"status\", \"kind\", \"text\"}]}; no bounces where the mail tells of none. A file is one mail, "
            "or\n"
            "an mbox whose bounces all stand in its line. FILE '-', or none: standard input. Nothing is "
            "suppressed\n"
            "and nothing is written. Exit status: 2 when a file could not be read; the others are.\n"
            "--replies: each line of a FILE is one SMTP reply, as bare text (550 5.1.1 User unknown) or as "
            "JSON\n"
            "with reply and phase (connect banner ehlo starttls auth mail rcpt data dot). For each it prints "
            "one\n"
            "JSON object with class, disposition (suppress, count, block, none), reason and the rule that "
            "decided;\n"
            "'hikyaku rules show' tells more. A line that cannot be read ends it. With --config rules.file "
            "of the\n"
            "configuration is asked before the built-in rules.\n",
        .optional = OPTION_BIT(REPLIES) | OPTION_BIT(CONFIG),
        .operands = "[FILE...|-]",
        .operands_max = SIZE_MAX,
        .run = cmd_bounce_classify,
    },
    {
        .name = "bounce ingest",
        .summary = "take mails that came back: suppress, count, mark in the ledger",
        .help =
            "FILE is one mail, an mbox, or a maildir, whose mails leave new/ for cur/ when they were taken;\n"
            "FILE '-', or none: standard input, as from an MTA's pipe. A line for each mail says what was\n"
            "done. Who is meant says the token of our return path alone: in the envelope (--recipient, or\n"
            "ORIGINAL_RECIPIENT or RECIPIENT of the environment), in the header, or in the message that was\n"
            "sent back. Without one that is ours and not too old a mail counts for nothing. A mail that is\n"
            "taken twice counts once. Exit status: 0 all were taken, those that count for nothing too; 75\n"
            "(EX_TEMPFAIL) the state cannot be reached, and from a pipe whatever else went wrong, so that\n"
            "the MTA keeps the mail; 2 a file cannot be read (in a maildir it is told and stays, and the\n"
            "others are taken), or the configuration is wrong.\n",
        .required = OPTION_BIT(CONFIG),
        .optional = OPTION_BIT(RECIPIENT),
        .operands = "[FILE...|-]",
        .operands_max = SIZE_MAX,
        .run = cmd_bounce_ingest,
    },
    {
        .name = "bounce held",
        .summary = "who is not suppressed because most of a domain became unknown at once",
        .help = "One line for each, with what came back. Without operands: all of them.\n",
        .required = OPTION_BIT(CONFIG),
        .operands = "[ADDRESS|DOMAIN...]",
        .operands_max = SIZE_MAX,
        .run = cmd_bounce_held,
    },
    {
        .name = "bounce apply",
        .summary = "suppress who is held: they are gone indeed",
        .help = "Name addresses or domains, or write --all.\n",
        .required = OPTION_BIT(CONFIG),
        .optional = OPTION_BIT(ALL),
        .operands = "[ADDRESS|DOMAIN...]",
        .operands_max = SIZE_MAX,
        .run = cmd_bounce_apply,
    },
    {
        .name = "bounce drop",
        .summary = "let go who is held: it was the domain's fault",
        .help = "Name addresses or domains, or write --all. What comes back later counts anew.\n",
        .required = OPTION_BIT(CONFIG),
        .optional = OPTION_BIT(ALL),
        .operands = "[ADDRESS|DOMAIN...]",
        .operands_max = SIZE_MAX,
        .run = cmd_bounce_drop,
    },
    {
        .name = "pause",
        .summary = "let no more messages of a campaign leave until 'hikyaku resume'",
        .help =
            "Returns when none is on its way any more; those that still are after 10 seconds it names, and\n"
            "gives 1. What was handed over already gets its outcome.\n",
        .required = OPTION_BIT(CONFIG) | OPTION_BIT(CAMPAIGN),
        .run = cmd_pause,
    },
    {
        .name = "resume",
        .summary = "let a paused campaign go on",
        .help = "Where no node runs it is only written down: 'hikyaku send' or 'hikyaku serve' sends then.\n",
        .required = OPTION_BIT(CONFIG) | OPTION_BIT(CAMPAIGN),
        .run = cmd_resume,
    },
    {
        .name = "cancel",
        .summary = "call a campaign off: nobody who has not got it yet will get it",
        .help = "Who waits becomes cancelled; who has it stays sent, and what is unknown stays unknown. "
                "There is\n"
                "no way back. Returns when no message is on its way any more; those that still are after 10\n"
                "seconds it names, and gives 1.\n",
        .required = OPTION_BIT(CONFIG) | OPTION_BIT(CAMPAIGN),
        .run = cmd_cancel,
    },
    {
        .name = "why",
        .summary = "what became of one address, in each campaign, and why",
        .help =
            "Shows the state, the last reply's class and code, when it is tried again, and the newest lines\n"
            "about it in the event log.\n",
        .required = OPTION_BIT(CONFIG),
        .optional = OPTION_BIT(CAMPAIGN) | OPTION_BIT(JSON),
        .operands = "ADDRESS",
        .operands_min = 1,
        .operands_max = 1,
        .run = cmd_why,
    },
    {
        .name = "release",
        .summary = "send to a suspended site again, before its time",
        .help =
            "A relay that takes no more today rests on every node that shares the Redis, also when one is\n"
            "started again. Where it does take more, this says so to all of them.\n",
        .required = OPTION_BIT(CONFIG) | OPTION_BIT(SITE),
        .run = cmd_release,
    },
    {
        .name = "campaigns list",
        .summary = "every campaign there is, and how far it got",
        .help = "",
        .required = OPTION_BIT(CONFIG),
        .optional = OPTION_BIT(JSON),
        .run = cmd_campaigns_list,
    },
    {
        .name = "campaigns purge",
        .summary = "forget a campaign: its ledger in Redis and its files in state_dir",
        .help =
            "Only one that is settled, unless --force is given. A purged campaign's name is free again, and\n"
            "nothing remembers who got it.\n",
        .required = OPTION_BIT(CONFIG) | OPTION_BIT(CAMPAIGN),
        .optional = OPTION_BIT(FORCE),
        .run = cmd_campaigns_purge,
    },
    {
        .name = "campaigns restore",
        .summary = "tell a Redis that has lost a campaign, or a part of it, what the event log knows",
        .help = "After a FLUSHALL, an eviction, or a Redis that came back with less than it had: sending "
                "stands still until\n"
                "this was done. No node may run on the state_dir. A campaign that Redis had forgotten as a "
                "whole is paused\n"
                "afterwards: where several nodes sent it, restore it on each of them, then 'hikyaku resume'. "
                "It is refused\n"
                "where a part of the event log is missing, for then nobody knows who was sent to.\n",
        .required = OPTION_BIT(CONFIG) | OPTION_BIT(CAMPAIGN),
        .run = cmd_campaigns_restore,
    },
    {
        .name = "unknown list",
        .summary = "the recipients of whom nobody knows whether they have the message",
        .help =
            "With the time and the server of the event, where the event log still has it. --json: one JSON\n"
            "object a line.\n",
        .required = OPTION_BIT(CONFIG) | OPTION_BIT(CAMPAIGN),
        .optional = OPTION_BIT(JSON),
        .run = cmd_unknown_list,
    },
    {
        .name = "unknown settle",
        .summary = "decide what unknown recipients are: sent, bounced, or to be sent to again",
        .help = "Name the addresses, or --all. Recipients in another state are left as they are.\n",
        .required = OPTION_BIT(CONFIG) | OPTION_BIT(CAMPAIGN) | OPTION_BIT(AS),
        .optional = OPTION_BIT(ALL),
        .operands = "[ADDRESS...]",
        .operands_max = SIZE_MAX,
        .run = cmd_unknown_settle,
    },
    {
        .name = "rules check",
        .summary = "hold the rules of classification against their examples",
        .help = "The built-in rules, and before them those of FILE, or of rules.file in the configuration. "
                "Every\n"
                "example has to be decided by the rule that it stands in. Exit status: 1 one is not, or a "
                "line of\n"
                "FILE cannot be used; each is told with file and line.\n",
        .optional = OPTION_BIT(CONFIG),
        .operands = "[FILE]",
        .operands_max = 1,
        .run = cmd_rules_check,
    },
    {
        .name = "rules show",
        .summary = "list the rules of classification, or say which one decides a text",
        .help =
            "Without TEXT: every rule with its class, its file and line, its patterns and an example. With\n"
            "TEXT, a reply or what a bounce mail says: what it means, which rule decides it and by what. A "
            "phase\n"
            "may stand before it, as in 'dot: 550 User unknown'. With --config rules.file is asked first.\n",
        .optional = OPTION_BIT(CONFIG),
        .operands = "[TEXT...]",
        .operands_max = SIZE_MAX,
        .run = cmd_rules_show,
    },
    {
        .name = "config check",
        .summary = "check a configuration and print what is in force",
        .help = "What is printed can be used as a configuration file.\n",
        .required = OPTION_BIT(CONFIG),
        .run = cmd_config_check,
    },
    {
        .name = "keygen dkim",
        .summary = "make a DKIM key and print its DNS record",
        .help = "The file is readable for its owner only. Publish the record before sending.\n",
        .required = OPTION_BIT(DOMAIN) | OPTION_BIT(SELECTOR) | OPTION_BIT(OUT),
        .optional = OPTION_BIT(TYPE),
        .run = cmd_keygen_dkim,
    },
    {
        .name = "keygen verp",
        .summary = "make the secret that protects bounce addresses",
        .help = "Name the file as sender.secret_file in the configuration, and keep it.\n",
        .required = OPTION_BIT(OUT),
        .run = cmd_keygen_verp,
    },
};
#define COMMANDS (sizeof command_table / sizeof command_table[0])

struct option_row {
    const char *name, *value, *help;
    size_t offset;
};

static const struct option_row option_table[CLI_OPTIONS_COUNT] = {
#define CLI_OPTION_ROW(id, name, value, field, help) {name, value, help, offsetof(struct cli_options, field)},
    CLI_OPTIONS(CLI_OPTION_ROW)
#undef CLI_OPTION_ROW
};

static char **option_field(struct cli_options *options, size_t id)
{
    return (char **)(void *)((char *)options + option_table[id].offset);
}

void cli_options_free(struct cli_options *options)
{
    for (size_t id = 0; id < CLI_OPTIONS_COUNT; id++)
        free(*option_field(options, id));
    for (size_t i = 0; i < options->operands; i++)
        free(options->operand[i]);
    free(options->operand);
    memset(options, 0, sizeof *options);
}

void commands_usage_line(const struct command *command, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, "hikyaku %s", command->name);
    for (size_t id = 0; id < CLI_OPTIONS_COUNT && used < size; id++) {
        const struct option_row *row = &option_table[id];
        bool required = command->required & (1u << id);
        if (!required && !(command->optional & (1u << id)))
            continue;
        used += (size_t)snprintf(out + used, size - used, " %s--%s%s%s%s", required ? "" : "[", row->name,
                                 row->value ? " " : "", row->value ? row->value : "", required ? "" : "]");
    }
    if (command->operands != NULL && used < size)
        (void)snprintf(out + used, size - used, " %s", command->operands);
}

static int usage_error(const struct command *command, struct hk_why *why, const char *what,
                       const char *subject)
{
    char usage[512];
    commands_usage_line(command, usage, sizeof usage);
    return why_set(why, HK_EINVAL, "hikyaku %s: %s%s; write: %s", command->name, what, subject, usage);
}

/* How many leading words of argv are the words of `name`; 0 unless all of them are there. */
static int words_matched(const char *name, int argc, char **argv)
{
    const char *rest = name;
    int words = 0;
    while (words < argc) {
        size_t length = strcspn(rest, " ");
        if (strlen(argv[words]) != length || memcmp(argv[words], rest, length) != 0)
            return 0;
        words++;
        if (rest[length] == '\0')
            return words;
        rest += length + 1;
    }
    return 0;
}

static bool is_in_group(const struct command *command, const char *group)
{
    size_t length = strlen(group);
    return strncmp(command->name, group, length) == 0 && command->name[length] == ' ';
}

/* "hikyaku keygen" and "hikyaku config chek": name the commands that begin with the first word. */
static void why_unknown(int argc, char **argv, struct hk_why *why)
{
    char clean[64], known[256] = "";
    size_t used = 0;
    hk_clean_text(clean, sizeof clean, argv[0], strlen(argv[0]));
    for (size_t i = 0; i < COMMANDS && used < sizeof known; i++)
        if (is_in_group(&command_table[i], argv[0]))
            used += (size_t)snprintf(known + used, sizeof known - used, "%s'hikyaku %s'", used ? " or " : "",
                                     command_table[i].name);
    if (used > 0)
        (void)why_set(why, HK_EINVAL, "hikyaku %s: %s; write %s", clean,
                      argc > 1 ? "there is no such command" : "a word is missing", known);
    else
        (void)why_set(why, HK_EINVAL,
                      "hikyaku: there is no command '%s'; 'hikyaku --help' lists what there is", clean);
}

const struct command *commands_find(int argc, char **argv, int *words, struct hk_why *why)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        *words = words_matched(command_table[i].name, argc, argv);
        if (*words > 0)
            return &command_table[i];
    }
    why_unknown(argc, argv, why);
    return NULL;
}

/* The rows of `command` in the shape getopt_long wants, and --help; val is the option's id. */
static void options_for_getopt(const struct command *command, struct option out[CLI_OPTIONS_COUNT + 2])
{
    size_t n = 0;
    for (size_t id = 0; id < CLI_OPTIONS_COUNT; id++) {
        if (!((command->required | command->optional) & (1u << id)))
            continue;
        out[n++] = (struct option){.name = option_table[id].name,
                                   .has_arg = option_table[id].value ? required_argument : no_argument,
                                   .val = (int)id};
    }
    out[n++] = (struct option){.name = "help", .has_arg = no_argument, .val = 'h'};
    out[n] = (struct option){0};
}

static int check_complete(const struct command *command, int argc, char **argv, struct cli_options *options,
                          struct hk_why *why)
{
    char clean[64];
    for (size_t id = 0; id < CLI_OPTIONS_COUNT; id++)
        if ((command->required & (1u << id)) && *option_field(options, id) == NULL)
            return usage_error(command, why, "missing: --", option_table[id].name);
    size_t given = (size_t)(argc - optind);
    if (given < command->operands_min)
        return usage_error(command, why, "missing: ", command->operands);
    if (given > command->operands_max) {
        const char *word = argv[(size_t)optind + command->operands_max];
        hk_clean_text(clean, sizeof clean, word, strlen(word));
        return usage_error(command, why, "one argument too many: ", clean);
    }
    options->operand = hk_xcalloc(given + 1, sizeof *options->operand);
    while (options->operands < given) {
        options->operand[options->operands] = hk_xstrdup(argv[(size_t)optind + options->operands]);
        options->operands++;
    }
    return 0;
}

/* The word that getopt_long does not know, or that lacks its value. It is behind it, but for letters behind one dash: there it
 * stands still until it has looked at the last of them. */
static const char *word_at_fault(int argc, char **argv)
{
    const char *here = optind < argc ? argv[optind] : "";

    if (here[0] == '-' && here[1] != '-' && here[1] != '\0' && here[1] == optopt)
        return here;
    return argv[optind > 0 ? optind - 1 : 0];
}

int commands_parse(const struct command *command, int argc, char **argv, struct cli_options *out, bool *help,
                   struct hk_why *why)
{
    struct option known[CLI_OPTIONS_COUNT + 2];
    char clean[64];
    int id;

    memset(out, 0, sizeof *out);
    *help = false;
    options_for_getopt(command, known);
    opterr = 0;
    optind = 0; /* GNU: begin anew */
    while ((id = getopt_long(argc, argv, ":h", known, NULL)) != -1) {
        if (id == 'h') {
            *help = true;
            return 0;
        }
        if (id == '?' || id == ':') {
            const char *word = word_at_fault(argc, argv);
            hk_clean_text(clean, sizeof clean, word, strlen(word));
            return usage_error(command, why,
                               id == ':' ? "a value is missing behind " : "unknown option: ", clean);
        }
        if (*option_field(out, (size_t)id) != NULL)
            return usage_error(command, why, "given twice: --", option_table[id].name);
        *option_field(out, (size_t)id) = hk_xstrdup(optarg ? optarg : "");
    }
    return check_complete(command, argc, argv, out, why);
}

/* The commands whose first word is `group`, or all; how many there are. */
static size_t print_commands(const char *group, FILE *out)
{
    size_t shown = 0;
    for (size_t i = 0; i < COMMANDS; i++) {
        if (group != NULL && !is_in_group(&command_table[i], group))
            continue;
        fprintf(out, "  hikyaku %-17s %s\n", command_table[i].name, command_table[i].summary);
        shown++;
    }
    return shown;
}

static void print_help(FILE *out)
{
    fputs("hikyaku sends one campaign to many people, each exactly once.\n\n", out);
    print_commands(NULL, out);
    fputs("\n'hikyaku COMMAND --help' tells the options of a command.\n"
          "Exit status: 0 all settled; 1 stopped with recipients left; 2 bad usage, configuration or input;\n"
          "3 something that is needed (Redis, a lock, an address) is not to be had.\n",
          out);
}

static void print_command_help(const struct command *command)
{
    char usage[512];
    commands_usage_line(command, usage, sizeof usage);
    printf("%s\n\n%s.\n\n", usage, command->summary);
    for (size_t id = 0; id < CLI_OPTIONS_COUNT; id++) {
        char left[64];
        if (!((command->required | command->optional) & (1u << id)))
            continue;
        snprintf(left, sizeof left, "--%s %s", option_table[id].name,
                 option_table[id].value ? option_table[id].value : "");
        printf("  %-20s %s\n", left,
               id == OPTION_LIST && command->list_help != NULL ? command->list_help : option_table[id].help);
    }
    printf("\n%s", command->help);
}

/* "help" alone, or with the words of a command. */
static int help_main(int argc, char **argv)
{
    const struct command *command;
    struct hk_why why;
    int words;

    if (argc == 0) {
        print_help(stdout);
        return cli_output_end(EXIT_SETTLED);
    }
    if (argc == 1 && print_commands(argv[0], stdout) > 0)
        return cli_output_end(EXIT_SETTLED);
    command = commands_find(argc, argv, &words, &why);
    if (command == NULL) {
        fprintf(stderr, "%s\n", why.text);
        return EXIT_USAGE;
    }
    print_command_help(command);
    return cli_output_end(EXIT_SETTLED);
}

int commands_main(int argc, char **argv)
{
    struct cli_options options;
    struct hk_why why;
    bool help;
    int words, status;

    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0)
        return help_main(argc - 2, argv + 2);
    if (strcmp(argv[1], "--version") == 0) {
        printf("hikyaku %s\n", HK_VERSION);
        return cli_output_end(EXIT_SETTLED);
    }
    const struct command *command = commands_find(argc - 1, argv + 1, &words, &why);
    if (command == NULL && argc == 3 && (strcmp(argv[2], "--help") == 0 || strcmp(argv[2], "-h") == 0))
        return help_main(1, argv + 1);
    if (command == NULL) {
        fprintf(stderr, "%s\n", why.text);
        return EXIT_USAGE;
    }
    if (commands_parse(command, argc - words, argv + words, &options, &help, &why) < 0) {
        fprintf(stderr, "%s\n", why.text);
        status = EXIT_USAGE;
    } else if (help) {
        print_command_help(command);
        status = EXIT_SETTLED;
    } else {
        status = command->run(&options);
    }
    cli_options_free(&options);
    return cli_output_end(status);
}
