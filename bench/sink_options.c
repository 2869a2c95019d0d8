/* sink_options.c - the sink's command line. Every error is one line that says what to write instead; exit 2. */
#include <getopt.h>
#include <stdarg.h>
#include <string.h>

#include "sink.h"

enum option_kind { KIND_FLAG, KIND_NUMBER, KIND_SHARE, KIND_TEXT, KIND_REPLY, KIND_OTHER };

#define AT(field) offsetof(struct sink_options, field)

/* One row per option: the parser, getopt's table and --help come from here. */
static const struct option_row {
    const char *name;
    enum option_kind kind;
    size_t at;
    uint64_t min, max; /* of a number; max > UINT32_MAX says that the field has 64 bits */
    const char *value, *help;
} option_table[] = {
    {"listen", KIND_OTHER, 0, 0, 0, "ADDRESS:PORT",
     "where to listen; may be given again. Port 0: the system chooses"},
    {"tls", KIND_OTHER, 0, 0, 0, "auto | CERT KEY",
     "offer STARTTLS, with a certificate made in memory or from PEM files"},
    {"starttls", KIND_TEXT, AT(starttls), 0, 0, "refuse | hang | inject",
     "454; or 220 and then silence; or 220 with another reply behind it, in the clear (wants --tls)"},
    {"implicit-tls", KIND_FLAG, AT(implicit_tls), 0, 0, NULL, "TLS from the first byte (wants --tls)"},
    {"no-pipelining", KIND_FLAG, AT(no_pipelining), 0, 0, NULL, "do not offer PIPELINING"},
    {"latency", KIND_NUMBER, AT(latency_ms), 0, 600000, "MS", "wait before each reply"},
    {"latency-dot", KIND_NUMBER, AT(latency_dot_ms), 0, 600000, "MS",
     "wait before the reply to a message (instead of --latency)"},
    {"defer", KIND_SHARE, AT(defer), 0, 0, "SHARE",
     "of addresses: 451 the first time, taken when they come again"},
    {"unknown", KIND_SHARE, AT(unknown), 0, 0, "SHARE", "of addresses: 550 5.1.1, always the same ones"},
    {"unknown-file", KIND_TEXT, AT(unknown_file), 0, 0, "FILE", "addresses, one a line: 550 5.1.1"},
    {"drop", KIND_SHARE, AT(drop), 0, 0, "SHARE",
     "of connections and of transactions: dropped at a random phase"},
    {"drop-dot", KIND_SHARE, AT(drop_dot), 0, 0, "SHARE",
     "of transactions: message taken, dropped before the reply"},
    {"cap-connections", KIND_NUMBER, AT(cap_connections), 1, 1000000, "N",
     "at once, for each listener; 421 above"},
    {"cap-messages", KIND_NUMBER, AT(cap_messages), 1, 1000000000, "N",
     "on one connection; 421 at the next MAIL"},
    {"reply-mail", KIND_REPLY, AT(reply_mail), 0, 0, "\"CODE TEXT\"",
     "answer every MAIL with this (\\n begins a new line)"},
    {"reply-rcpt", KIND_REPLY, AT(reply_rcpt), 0, 0, "\"CODE TEXT\"", "answer every RCPT with this"},
    {"reply-data", KIND_REPLY, AT(reply_data), 0, 0, "\"CODE TEXT\"", "answer every DATA with this"},
    {"reply-dot", KIND_REPLY, AT(reply_dot), 0, 0, "\"CODE TEXT\"", "answer every message with this"},
    {"seed", KIND_NUMBER, AT(seed), 0, UINT64_MAX, "N", "of the shares: the same seed, the same choices (1)"},
    {"store", KIND_TEXT, AT(store_dir), 0, 0, "DIR",
     "keep each message as NUMBER.eml, its envelope as NUMBER.json"},
    {"store-every", KIND_NUMBER, AT(store_every), 1, 1000000000, "N", "keep one message in N (1)"},
    {"ledger", KIND_TEXT, AT(ledger_file), 0, 0, "FILE", "figures as JSON, at the end and on SIGUSR1"},
    {"log", KIND_TEXT, AT(log_file), 0, 0, "FILE",
     "a line for each recipient: time_us event connection tls port address"},
    {"log-mail", KIND_FLAG, AT(log_mail), 0, 0, NULL,
     "lines for MAIL, connect and disconnect too (wants --log)"},
    {"log-dot", KIND_FLAG, AT(log_dot), 0, 0, NULL,
     "a line for when each message's last octet came, by the kernel's clock (wants --log, not with --tls)"},
    {"quiet", KIND_FLAG, AT(quiet), 0, 0, NULL, "no summary at the end"},
    {"help", KIND_OTHER, 0, 0, 0, NULL, "this text"},
};
#define OPTIONS (sizeof option_table / sizeof option_table[0])

static _Noreturn HK_PRINTF(1, 2) void usage(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fputs("sink: ", stderr);
    vfprintf(stderr, format, args);
    fputs(" (sink --help lists the options)\n", stderr);
    va_end(args);
    exit(2);
}

static _Noreturn void help(void)
{
    puts("sink - an SMTP receiver for load tests: takes everything, counts it, misbehaves when told to.\n\n"
         "  sink --listen 127.0.0.1:2525 --tls auto --defer 0.05 --ledger ledger.json\n");
    for (size_t i = 0; i < OPTIONS; i++) {
        char left[48];

        snprintf(left, sizeof left, "--%s %s", option_table[i].name,
                 option_table[i].value != NULL ? option_table[i].value : "");
        printf("  %-28s %s\n", left, option_table[i].help);
    }
    puts(
        "\nPrints \"ready ADDRESS:PORT\" for each listener, then runs until SIGTERM or SIGINT. A SHARE lies\n"
        "between 0 and 1. Exit status: 0, 2 bad usage, 3 an address or file is not to be had.\n"
        "Events in the log: accepted, ambiguous (taken, no reply sent), refused, deferred, message-refused;\n"
        "with --log-mail also mail, connect, disconnect; with --log-dot also dot, or dot-by where more had\n"
        "come behind the message before it was read: then the time is that of the last of it.");
    exit(0);
}

static uint64_t number_read(const struct option_row *row, const char *text)
{
    unsigned long long value;
    char *end;

    value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || value < row->min || value > row->max)
        usage("--%s %s: write a whole number from %llu to %llu", row->name, text,
              (unsigned long long)row->min, (unsigned long long)row->max);
    return value;
}

static double share_read(const struct option_row *row, const char *text)
{
    double value;
    char *end;

    value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= 0 && value <= 1))
        usage("--%s %s: write a share from 0 to 1, as 0.05", row->name, text);
    return value;
}

/* "550 no\nreally" becomes "550-no\r\n550 really\r\n"; the two octets \n stand for a new line. */
static struct sink_reply reply_read(const struct option_row *row, const char *text)
{
    struct sink_reply out = {0};
    size_t size = strlen(text) * 4 + 16, length = 0;
    const char *at = text + 4;

    if (strlen(text) < 4 || strspn(text, "0123456789") != 3 || text[3] != ' ' || text[0] < '2' ||
        text[0] > '5')
        usage("--%s \"%s\": write a code from 200 to 599, a blank and a text", row->name, text);
    out.code = (unsigned)strtoul(text, NULL, 10);
    out.wire = hk_xcalloc(1, size);
    for (;;) {
        const char *next = strstr(at, "\\n");
        int line = next != NULL ? (int)(next - at) : (int)strlen(at);
        int n = snprintf(out.wire + length, size - length, "%.3s%c%.*s\r\n", text, next != NULL ? '-' : ' ',
                         line, at);

        HK_BUG_ON(n < 0 || (size_t)n >= size - length);
        length += (size_t)n;
        if (next == NULL)
            break;
        at = next + 2;
    }
    out.length = length;
    return out;
}

static void tls_read(struct sink_options *out, int argc, char **argv)
{
    out->tls = true;
    if (strcmp(optarg, "auto") == 0)
        return;
    if (optind >= argc || argv[optind][0] == '-')
        usage("--tls %s: write a certificate and a key (--tls CERT KEY), or --tls auto", optarg);
    out->tls_certificate = optarg;
    out->tls_key = argv[optind++];
}

static void option_take(struct sink_options *out, const struct option_row *row, int argc, char **argv)
{
    void *field = (char *)out + row->at;

    switch (row->kind) {
    case KIND_FLAG:
        *(bool *)field = true;
        return;
    case KIND_NUMBER:
        if (row->max > UINT32_MAX)
            *(uint64_t *)field = number_read(row, optarg);
        else
            *(uint32_t *)field = (uint32_t)number_read(row, optarg);
        return;
    case KIND_SHARE:
        *(double *)field = share_read(row, optarg);
        return;
    case KIND_TEXT:
        *(const char **)field = optarg;
        return;
    case KIND_REPLY:
        *(struct sink_reply *)field = reply_read(row, optarg);
        return;
    case KIND_OTHER:
        break;
    }
    if (strcmp(row->name, "help") == 0)
        help();
    if (strcmp(row->name, "tls") == 0) {
        tls_read(out, argc, argv);
        return;
    }
    if (out->listen_count == SINK_LISTENERS_MAX)
        usage("--listen: at most %u addresses", SINK_LISTENERS_MAX);
    out->listen = hk_xrealloc(out->listen, out->listen_count + 1, sizeof *out->listen);
    out->listen[out->listen_count++] = optarg;
}

static void options_check(const struct sink_options *out)
{
    if (out->listen_count == 0)
        usage("where to listen is not said: write --listen 127.0.0.1:2525");
    if (out->implicit_tls && !out->tls)
        usage("--implicit-tls needs --tls auto or --tls CERT KEY");
    if (out->starttls != NULL &&
        (!out->tls || (strcmp(out->starttls, "refuse") != 0 && strcmp(out->starttls, "hang") != 0 &&
                       strcmp(out->starttls, "inject") != 0)))
        usage("--starttls is refuse, hang or inject, and needs --tls auto or --tls CERT KEY");
    if (out->log_mail && out->log_file == NULL)
        usage("--log-mail needs --log FILE");
    if (out->log_dot && (out->log_file == NULL || out->tls))
        usage("--log-dot needs --log FILE, and goes without --tls: TLS hides what came when");
}

void sink_options_parse(int argc, char **argv, struct sink_options *out)
{
    struct option options[OPTIONS + 1] = {{0}};
    int index, got;

    *out = (struct sink_options){.seed = 1, .store_every = 1, .latency_dot_ms = UINT32_MAX};
    for (size_t i = 0; i < OPTIONS; i++)
        options[i] = (struct option){option_table[i].name,
                                     option_table[i].kind != KIND_FLAG && option_table[i].value != NULL
                                         ? required_argument
                                         : no_argument,
                                     NULL, 0};
    opterr = 0;
    while ((got = getopt_long(argc, argv, "+:", options, &index)) != -1) {
        if (got == ':')
            usage("%s: its value is missing", argv[optind - 1]);
        if (got != 0)
            usage("%s: no such option", argv[optind - 1]);
        option_take(out, &option_table[index], argc, argv);
    }
    if (optind < argc)
        usage("%s: what is this? Options begin with --", argv[optind]);
    if (out->latency_dot_ms == UINT32_MAX)
        out->latency_dot_ms = out->latency_ms;
    options_check(out);
}

void sink_options_free(struct sink_options *options)
{
    free(options->listen);
    free(options->reply_mail.wire);
    free(options->reply_rcpt.wire);
    free(options->reply_data.wire);
    free(options->reply_dot.wire);
}
