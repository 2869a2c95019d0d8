/* commands.h - the commands of hikyaku: one table drives parsing, --help and the words of every usage error.
 *
 * A command gets its options checked: required ones are there, none is given twice, no argument is left over.
 * Option values belong to the caller of the command and outlive it; they are copies, because the master later
 * writes its title over the program's arguments. A command returns an exit status (enum hk_exit) after it has
 * said on standard error what went wrong.
 */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "hikyaku/base.h"
#include "hikyaku/config.h"

/*    id         name          value  field       what it is */
#define CLI_OPTIONS(X)                                                                                       \
    X(CONFIG, "config", "F", config, "the configuration file")                                               \
    X(CAMPAIGN, "campaign", "ID", campaign, "the campaign: letters, digits, '.', '_', '-'")                  \
    X(LIST, "list", "F", list, "the recipients: CSV or JSON Lines with a column email; '-': standard input") \
    X(MESSAGE, "message", "F", message, "the message: an RFC 5322 file with {{tags}}")                       \
    X(DRY_RUN, "dry-run", NULL, dry_run,                                                                     \
      "send nothing: write the first copies to files, and say what would go")                                \
    X(TEST, "test", "ADDRESS,...", test,                                                                     \
      "send the first row's copy to these addresses, and make no campaign")                                  \
    X(JSON, "json", NULL, json, "print a JSON document on standard output")                                  \
    X(RECIPIENTS, "recipients", NULL, recipients, "print one JSON line for every recipient")                 \
    X(DOMAIN, "domain", "D", domain, "the domain that signs, as in From")                                    \
    X(SELECTOR, "selector", "S", selector, "the selector: its record stands at S._domainkey")                \
    X(OUT, "out", "F", out, "the file to write; never one that is there already")                            \
    X(TYPE, "type", "rsa|ed25519", type, "the kind of key (rsa: 2048 bits; the default)")                    \
    X(SCOPE, "scope", "all|sender|list", scope, "for whose mail: everyone's, this sender's, this list's")    \
    X(REASON, "reason", "WORD", reason, "why: a word such as complaint or unsubscribe (default: manual)")    \
    X(ENCODING, "encoding", "NAME", encoding,                                                                \
      "what the list is encoded in, such as Shift_JIS (default: UTF-8)")                                     \
    X(REJECTED, "rejected", "F", rejected, "write the rows that could not be used there, and why")           \
    X(EXTEND, "extend", NULL, extend,                                                                        \
      "add whom the list has and the campaign has not; who is in it stays in it")                            \
    X(FIRST, "first", "N", first, "send to the first N rows of the list, and stop as paused")                \
    X(AS, "as", "sent|bounced|pending", as, "what they are from now on (pending: sent to again)")            \
    X(ALL, "all", NULL, all, "everyone whom the list of these shows")                                        \
    X(RECIPIENT, "recipient", "ADDRESS", recipient, "of the envelope, where standard input is one mail")     \
    X(SITE, "site", "S", site, "the site: the title of a route or provider, else the first MX host")         \
    X(FORCE, "force", NULL, force, "also one that is not settled: nobody will know who has it")              \
    X(REPLIES, "replies", NULL, replies, "one SMTP reply a line: bare text, or JSON {reply, phase}")

enum cli_option_id {
#define CLI_OPTION_ENUM(id, name, value, field, help) OPTION_##id,
    CLI_OPTIONS(CLI_OPTION_ENUM)
#undef CLI_OPTION_ENUM
        CLI_OPTIONS_COUNT
};

/* NULL where not given; a flag that was given is "". */
struct cli_options {
#define CLI_OPTION_FIELD(id, name, value, field, help) char *field;
    CLI_OPTIONS(CLI_OPTION_FIELD)
#undef CLI_OPTION_FIELD
    char **operand; /* what stands behind the options */
    size_t operands;
};

struct command {
    const char *name;    /* one or two words */
    const char *summary; /* one line of `hikyaku --help` */
    const char *help;    /* what `hikyaku NAME --help` says below the options */
    uint32_t required;   /* bits of enum cli_option_id */
    uint32_t optional;
    const char *list_help; /* what --list is here, where it is not a list */
    const char *operands;  /* how the usage line shows them; NULL: none is taken */
    size_t operands_min, operands_max;
    int (*run)(const struct cli_options *options);
};
#define OPTION_BIT(id) (1u << OPTION_##id)

/* Find and run the command that argv names; the exit status of the program. */
int commands_main(int argc, char **argv);

/* Read the options of `command` from argv (argv[0] is skipped). 0, or HK_EINVAL with a line in why that says
 * what to write instead; *help is set when --help was asked for. cli_options_free in either case. */
int commands_parse(const struct command *command, int argc, char **argv, struct cli_options *out, bool *help,
                   struct hk_why *why) HK_MUST_USE;
void cli_options_free(struct cli_options *options);

/* The command whose name argv begins with, and how many words that took; NULL and why when there is none. */
const struct command *commands_find(int argc, char **argv, int *words, struct hk_why *why);
void commands_usage_line(const struct command *command, char *out, size_t size);

/* One function per command, in the file of its name. */
int cmd_send(const struct cli_options *options);
int cmd_serve(const struct cli_options *options);
int cmd_status(const struct cli_options *options);
int cmd_report(const struct cli_options *options);
int cmd_bounce_ingest(const struct cli_options *options);
int cmd_bounce_held(const struct cli_options *options);
int cmd_bounce_apply(const struct cli_options *options);
int cmd_bounce_drop(const struct cli_options *options);
int cmd_suppress_add(const struct cli_options *options);
int cmd_suppress_remove(const struct cli_options *options);
int cmd_suppress_check(const struct cli_options *options);
int cmd_suppress_import(const struct cli_options *options);
int cmd_suppress_export(const struct cli_options *options);
int cmd_list_import(const struct cli_options *options);
int cmd_list_show(const struct cli_options *options);
int cmd_list_export(const struct cli_options *options);
int cmd_pause(const struct cli_options *options);
int cmd_resume(const struct cli_options *options);
int cmd_cancel(const struct cli_options *options);
int cmd_release(const struct cli_options *options);
int cmd_why(const struct cli_options *options);
int cmd_campaigns_list(const struct cli_options *options);
int cmd_campaigns_purge(const struct cli_options *options);
int cmd_campaigns_restore(const struct cli_options *options);
int cmd_unknown_list(const struct cli_options *options);
int cmd_unknown_settle(const struct cli_options *options);
int cmd_bounce_classify(const struct cli_options *options);
int cmd_rules_check(const struct cli_options *options);
int cmd_rules_show(const struct cli_options *options);
int cmd_config_check(const struct cli_options *options);
int cmd_keygen_dkim(const struct cli_options *options);
int cmd_keygen_verp(const struct cli_options *options);

#endif
