/* load_options.c - load's command line. Every error is one line that says what to write instead; exit 2. */
#include <getopt.h>
#include <string.h>

#include "load.h"
#include "net.h"
#include "options.h"

#define AT(field)   offsetof(struct load_options, field)
#define HOUR_MS     3600000u
#define DEFAULT_RUN 10000u /* ms, where neither a time nor a number of messages is given */

static const struct option_row option_table[] = {
    {"to", OPTION_TEXT, AT(to), 0, 0, "HOST:PORT", "the server; an IPv6 address in brackets"},
    {"i-own-this-server", OPTION_TEXT, AT(owned), 0, 0, "HOST",
     "the host of --to once more: needed where it is not loopback"},
    {"rate", OPTION_NUMBER, AT(rate), 1, 1000000, "N",
     "open loop: so many messages a second, whatever the server does (without: closed loop)"},
    {"arrivals", OPTION_OWN, 0, 0, 0, "even | poisson", "how they are spread over the second (even)"},
    {"ramp", OPTION_OWN, 0, 0, 0, "FROM..TO:STEP",
     "open loop with a rising rate, up to the knee: 500..20000:500, or 500..20000:x1.2"},
    {"step-time", OPTION_TIME, AT(step_ms), 1000, HOUR_MS, "TIME", "of each step of the ramp (5s)"},
    {"knee-rate", OPTION_SHARE, AT(bounds.rate_share), 0, 0, "SHARE",
     "a step in which less than this share of its rate was answered is above the knee (0.95)"},
    {"knee-p99", OPTION_TIME, AT(bounds.p99_ms), 1, HOUR_MS, "TIME", "one whose p99 is above this (1s)"},
    {"knee-errors", OPTION_SHARE, AT(bounds.error_share), 0, 0, "SHARE",
     "one in which more than this share failed (0.01)"},
    {"connections", OPTION_NUMBER, AT(connections), 1, LOAD_CONNECTIONS_MAX, "N",
     "at once; in the open loop as many of them as are needed (10, or --connections-per-source each)"},
    {"messages-per-connection", OPTION_NUMBER, AT(per_connection), 1, 1000000000, "N",
     "then it is closed and another opened (no limit)"},
    {"source", OPTION_OWN, 0, 0, 0, "ADDRESS[..ADDRESS]",
     "connect from here; may be given again. Sources are used in turn"},
    {"connections-per-source", OPTION_NUMBER, AT(per_source), 1, LOAD_CONNECTIONS_MAX, "N",
     "at once, from each"},
    {"messages", OPTION_NUMBER, AT(messages), 1, UINT64_MAX, "N", "end after so many"},
    {"time", OPTION_TIME, AT(time_ms), 100, 24 * HOUR_MS, "TIME",
     "end after so long (10s without --messages)"},
    {"drain", OPTION_TIME, AT(drain_ms), 0, HOUR_MS, "TIME",
     "how long to wait at the end for what is unanswered (10s)"},
    {"size", OPTION_OWN, 0, 0, 0, "SIZE",
     "octets of a message: 10k, 1k..100k, or parts 1k:50,10k:40,100k:10 (10k)"},
    {"message", OPTION_TEXT, AT(message_file), 0, 0, "FILE", "send this message instead of made-up ones"},
    {"from", OPTION_TEXT, AT(from), 0, 0, "ADDRESS", "envelope sender (load@sender.test)"},
    {"rcpt", OPTION_TEXT, AT(rcpt), 0, 0, "PATTERN",
     "recipients; %d is a number that counts up (user%d@domain.test)"},
    {"rcpt-count", OPTION_NUMBER, AT(rcpt_modulo), 1, UINT64_MAX, "N",
     "begin again after so many recipients"},
    {"rcpt-file", OPTION_TEXT, AT(rcpt_file), 0, 0, "FILE", "recipients, one a line, in turn"},
    {"rcpts-per-message", OPTION_NUMBER, AT(rcpts), 1, LOAD_RECIPIENTS_MAX, "N", "(1)"},
    {"helo", OPTION_TEXT, AT(helo), 0, 0, "NAME", "how to greet (load.test)"},
    {"tls", OPTION_OWN, 0, 0, 0, "starttls | implicit", "encrypt (RFC 3207, RFC 8314)"},
    {"tls-ca", OPTION_TEXT, AT(tls_ca), 0, 0, "FILE | system",
     "verify the certificate against these authorities (not looked at)"},
    {"tls-resume", OPTION_FLAG, AT(tls_resume), 0, 0, NULL, "resume sessions on later connections"},
    {"auth", OPTION_OWN, 0, 0, 0, "plain | login", "mechanism (the one that is offered); only under TLS"},
    {"user", OPTION_TEXT, AT(user), 0, 0, "NAME", "log in as"},
    {"password-file", OPTION_TEXT, AT(password_file), 0, 0, "FILE", "its first line is the password"},
    {"no-pipelining", OPTION_FLAG, AT(no_pipelining), 0, 0, NULL, "a round trip for each command"},
    {"timeout", OPTION_TIME, AT(timeout_ms), 100, HOUR_MS, "TIME",
     "give up on a reply after, and on a server that takes no connection (60s)"},
    {"seed", OPTION_NUMBER, AT(seed), 0, UINT64_MAX, "N", "of sizes and arrivals (1)"},
    {"json", OPTION_FLAG, AT(json), 0, 0, NULL, "report as JSON (docs/load.schema.json)"},
    {"help", OPTION_OWN, 0, 0, 0, NULL, "this text"},
};
#define OPTIONS (sizeof option_table / sizeof option_table[0])

static _Noreturn void help(void)
{
    puts("load - load-tests an SMTP server that is yours.\n\n"
         "  load --to 127.0.0.1:2525 --connections 20                       as fast as 20 connections go\n"
         "  load --to 127.0.0.1:2525 --rate 2000 --connections 500          2,000 messages a second\n"
         "  load --to 127.0.0.1:2525 --ramp 500..20000:500 --connections 500  how many it can take\n");
    options_print(option_table, OPTIONS);
    puts("\nLatency counts from when a message was due, not from when it could be written, so a server that "
         "stalls\n"
         "shows it. Percentiles are at most 0.8 % too high. Ctrl-C ends with the report so far.\n"
         "Exit status: 0, 1 messages failed or were not answered, 2 bad usage, 3 the server cannot be "
         "reached.");
    exit(0);
}

/* Which of the words is it? */
static unsigned word_of(const struct option_row *row, const char *const *words, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (strcmp(optarg, words[i]) == 0)
            return i;
    option_usage("--%s %s: write %s", row->name, optarg, row->value);
}

static void source_take(struct load_options *out)
{
    out->source = hk_xrealloc(out->source, out->source_count + 1, sizeof *out->source);
    out->source[out->source_count++] = optarg;
}

static void own_take(void *to, const struct option_row *row, int argc, char **argv)
{
    static const char *const arrivals[] = {"even", "poisson"}, *const tls[] = {"starttls", "implicit"},
                             *const auth[] = {"plain", "login"};
    struct load_options *out = to;
    struct hk_why why = {{0}};
    int rc = HK_OK;
    (void)argc;
    (void)argv;

    if (strcmp(row->name, "help") == 0)
        help();
    else if (strcmp(row->name, "arrivals") == 0)
        out->poisson = word_of(row, arrivals, 2) == 1;
    else if (strcmp(row->name, "tls") == 0)
        out->tls = word_of(row, tls, 2) == 0 ? LOAD_TLS_STARTTLS : LOAD_TLS_IMPLICIT;
    else if (strcmp(row->name, "auth") == 0)
        out->auth = word_of(row, auth, 2) == 0 ? LOAD_AUTH_PLAIN : LOAD_AUTH_LOGIN;
    else if (strcmp(row->name, "source") == 0)
        source_take(out);
    else if (strcmp(row->name, "size") == 0)
        rc = load_sizes_parse(optarg, &out->sizes, &why);
    else
        out->ramp = (rc = load_ramp_parse(optarg, &out->plan, &why)) == HK_OK;
    if (rc < 0)
        option_usage("%s", why.text);
}

static void target_check(struct load_options *out)
{
    char *end;
    unsigned long port;

    if (out->to == NULL)
        option_usage("the server is not said: write --to 127.0.0.1:2525");
    if (net_split(out->to, out->host, sizeof out->host, &out->port) < 0)
        option_usage("--to %s: write HOST:PORT, as 127.0.0.1:2525 or [::1]:2525", out->to);
    port = strtoul(out->port, &end, 10);
    if (out->port[0] < '0' || out->port[0] > '9' || *end != '\0' || port == 0 || port > 65535)
        option_usage("--to %s: the port is a number from 1 to 65535, as in 127.0.0.1:2525", out->to);
}

static void names_check(const struct load_options *out)
{
    struct smtp_command command;
    struct hk_why why = {{0}};
    char line[300];
    int n = snprintf(line, sizeof line, "EHLO %s", out->helo);

    if (n < 0 || (size_t)n >= sizeof line || utf8_ascii_length(line, (size_t)n) < (size_t)n)
        option_usage("--helo %s: write a host name of up to 255 octets", out->helo);
    smtp_command_parse(line, (size_t)n, &command);
    if (command.verb != VERB_EHLO || command.bad_syntax || command.argument_length != strlen(out->helo))
        option_usage("--helo %s: write a host name, as load.test", out->helo);
    if (out->from[0] != '\0' && load_address_check(out->from, &why) < 0)
        option_usage("--from %s: %s", out->from, why.text);
    if (out->rcpt != NULL && out->rcpt_file != NULL)
        option_usage("--rcpt and --rcpt-file: write one of them");
    if (out->rcpt_file != NULL && out->rcpt_modulo > 0)
        option_usage("--rcpt-count goes with --rcpt, and --rcpt-file begins again by itself: leave it out");
}

static void tls_check(struct load_options *out)
{
    if (out->tls == LOAD_TLS_NONE && (out->tls_ca != NULL || out->tls_resume))
        option_usage("--tls-ca and --tls-resume need --tls starttls or --tls implicit");
    if (out->user == NULL && (out->auth != LOAD_AUTH_NONE || out->password_file != NULL))
        option_usage("--auth and --password-file need --user NAME");
    if (out->user == NULL)
        return;
    if (out->password_file == NULL)
        option_usage("--user %s needs --password-file FILE", out->user);
    if (out->tls == LOAD_TLS_NONE)
        option_usage(
            "a password goes out under TLS only: write --tls starttls or --tls implicit with --user");
    if (out->auth == LOAD_AUTH_NONE)
        out->auth = LOAD_AUTH_ANY;
}

static void amounts_check(struct load_options *out)
{
    if (out->ramp && out->rate > 0)
        option_usage("--rate and --ramp: write one of them");
    if (out->poisson && !out->ramp && out->rate == 0)
        option_usage("--arrivals poisson needs --rate or --ramp: the closed loop has no arrivals");
    if (out->message_file != NULL && out->sizes.count > 0)
        option_usage("--message and --size: write one of them, a file has its own size");
    if (out->sizes.count == 0)
        out->sizes = (struct load_sizes){.count = 1, .weight_sum = 1, .size = {{10240, 10240, 1}}};
    if (!out->ramp && out->messages == 0 && out->time_ms == 0)
        out->time_ms = DEFAULT_RUN;
    if (out->connections == 0 && out->per_source == 0)
        out->connections = 10;
}

void load_options_parse(int argc, char **argv, struct load_options *out)
{
    *out = (struct load_options){
        .bounds = {.rate_share = 0.95, .error_share = 0.01, .p99_ms = 1000},
        .step_ms = 5000,
        .drain_ms = 10000,
        .timeout_ms = 60000,
        .from = "load@sender.test",
        .rcpts = 1,
        .helo = "load.test",
        .seed = 1,
    };
    options_read("load", option_table, OPTIONS, own_take, out, argc, argv);
    target_check(out);
    names_check(out);
    tls_check(out);
    amounts_check(out);
    if (out->rcpt == NULL && out->rcpt_file == NULL)
        out->rcpt = "user%d@domain.test";
}
