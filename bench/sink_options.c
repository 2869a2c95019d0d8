/* sink_options.c - the sink's command line. Every error is one line that says what to write instead; exit 2. */
#include <getopt.h>
#include <string.h>

#include "options.h"
#include "sink.h"

#define AT(field) offsetof(struct sink_options, field)

static const struct option_row option_table[] = {
    {"listen", OPTION_OWN, 0, 0, 0, "ADDRESS:PORT",
     "where to listen; may be given again. Port 0: the system chooses"},
    {"tls", OPTION_OWN, 0, 0, 0, "auto | CERT KEY",
     "offer STARTTLS, with a certificate made in memory or from PEM files"},
    {"starttls", OPTION_TEXT, AT(starttls), 0, 0, "refuse | hang | inject",
     "454; or 220 and then silence; or 220 with another reply behind it, in the clear (wants --tls)"},
    {"implicit-tls", OPTION_FLAG, AT(implicit_tls), 0, 0, NULL, "TLS from the first byte (wants --tls)"},
    {"no-pipelining", OPTION_FLAG, AT(no_pipelining), 0, 0, NULL, "do not offer PIPELINING"},
    {"latency", OPTION_NUMBER, AT(latency_ms), 0, 600000, "MS", "wait before each reply"},
    {"latency-dot", OPTION_NUMBER, AT(latency_dot_ms), 0, 600000, "MS",
     "wait before the reply to a message (instead of --latency)"},
    {"defer", OPTION_SHARE, AT(defer), 0, 0, "SHARE",
     "of addresses: 451 the first time, taken when they come again"},
    {"unknown", OPTION_SHARE, AT(unknown), 0, 0, "SHARE", "of addresses: 550 5.1.1, always the same ones"},
    {"unknown-file", OPTION_TEXT, AT(unknown_file), 0, 0, "FILE", "addresses, one a line: 550 5.1.1"},
    {"drop", OPTION_SHARE, AT(drop), 0, 0, "SHARE",
     "of connections and of transactions: dropped at a random phase"},
    {"drop-dot", OPTION_SHARE, AT(drop_dot), 0, 0, "SHARE",
     "of transactions: message taken, dropped before the reply"},
    {"cap-connections", OPTION_NUMBER, AT(cap_connections), 1, 1000000, "N",
     "at once, for each listener; 421 above"},
    {"cap-messages", OPTION_NUMBER, AT(cap_messages), 1, 1000000000, "N",
     "on one connection; 421 at the next MAIL"},
    {"reply-mail", OPTION_OWN, AT(reply_mail), 0, 0, "\"CODE TEXT\"",
     "answer every MAIL with this (\\n begins a new line)"},
    {"reply-rcpt", OPTION_OWN, AT(reply_rcpt), 0, 0, "\"CODE TEXT\"", "answer every RCPT with this"},
    {"reply-data", OPTION_OWN, AT(reply_data), 0, 0, "\"CODE TEXT\"", "answer every DATA with this"},
    {"reply-dot", OPTION_OWN, AT(reply_dot), 0, 0, "\"CODE TEXT\"", "answer every message with this"},
    {"seed", OPTION_NUMBER, AT(seed), 0, UINT64_MAX, "N",
     "of the shares: the same seed, the same choices (1)"},
    {"store", OPTION_TEXT, AT(store_dir), 0, 0, "DIR",
     "keep each message as NUMBER.eml, its envelope as NUMBER.json"},
    {"store-every", OPTION_NUMBER, AT(store_every), 1, 1000000000, "N", "keep one message in N (1)"},
    {"ledger", OPTION_TEXT, AT(ledger_file), 0, 0, "FILE", "figures as JSON, at the end and on SIGUSR1"},
    {"log", OPTION_TEXT, AT(log_file), 0, 0, "FILE",
     "a line for each recipient: time_us event connection tls port address"},
    {"log-mail", OPTION_FLAG, AT(log_mail), 0, 0, NULL,
     "lines for MAIL, connect and disconnect too (wants --log)"},
    {"log-dot", OPTION_FLAG, AT(log_dot), 0, 0, NULL,
     "a line for when each message's last octet came, by the kernel's clock (wants --log, not with --tls)"},
    {"quiet", OPTION_FLAG, AT(quiet), 0, 0, NULL, "no summary at the end"},
    {"help", OPTION_OWN, 0, 0, 0, NULL, "this text"},
};
#define OPTIONS (sizeof option_table / sizeof option_table[0])

static _Noreturn void help(void)
{
    puts("sink - an SMTP receiver for load tests: takes everything, counts it, misbehaves when told to.\n\n"
         "  sink --listen 127.0.0.1:2525 --tls auto --defer 0.05 --ledger ledger.json\n");
    options_print(option_table, OPTIONS);
    puts(
        "\nPrints \"ready ADDRESS:PORT\" for each listener, then runs until SIGTERM or SIGINT. A SHARE lies\n"
        "between 0 and 1. Exit status: 0, 2 bad usage, 3 an address or file is not to be had.\n"
        "Events in the log: accepted, ambiguous (taken, no reply sent), refused, deferred, message-refused;\n"
        "with --log-mail also mail, connect, disconnect; with --log-dot also dot, or dot-by where more had\n"
        "come behind the message before it was read: then the time is that of the last of it.");
    exit(0);
}

/* "550 no\nreally" becomes "550-no\r\n550 really\r\n"; the two octets \n stand for a new line. */
static struct sink_reply reply_read(const struct option_row *row, const char *text)
{
    struct sink_reply out = {0};
    size_t size = strlen(text) * 4 + 16, length = 0;
    const char *at = text + 4;

    if (strlen(text) < 4 || strspn(text, "0123456789") != 3 || text[3] != ' ' || text[0] < '2' ||
        text[0] > '5')
        option_usage("--%s \"%s\": write a code from 200 to 599, a blank and a text", row->name, text);
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
        option_usage("--tls %s: write a certificate and a key (--tls CERT KEY), or --tls auto", optarg);
    out->tls_certificate = optarg;
    out->tls_key = argv[optind++];
}

static void own_take(void *to, const struct option_row *row, int argc, char **argv)
{
    struct sink_options *out = to;

    if (strcmp(row->name, "help") == 0)
        help();
    if (strncmp(row->name, "reply-", 6) == 0) {
        *(struct sink_reply *)(void *)((char *)out + row->at) = reply_read(row, optarg);
        return;
    }
    if (strcmp(row->name, "tls") == 0) {
        tls_read(out, argc, argv);
        return;
    }
    if (out->listen_count == SINK_LISTENERS_MAX)
        option_usage("--listen: at most %u addresses", SINK_LISTENERS_MAX);
    out->listen = hk_xrealloc(out->listen, out->listen_count + 1, sizeof *out->listen);
    out->listen[out->listen_count++] = optarg;
}

static void options_check(const struct sink_options *out)
{
    if (out->listen_count == 0)
        option_usage("where to listen is not said: write --listen 127.0.0.1:2525");
    if (out->implicit_tls && !out->tls)
        option_usage("--implicit-tls needs --tls auto or --tls CERT KEY");
    if (out->starttls != NULL &&
        (!out->tls || (strcmp(out->starttls, "refuse") != 0 && strcmp(out->starttls, "hang") != 0 &&
                       strcmp(out->starttls, "inject") != 0)))
        option_usage("--starttls is refuse, hang or inject, and needs --tls auto or --tls CERT KEY");
    if (out->log_mail && out->log_file == NULL)
        option_usage("--log-mail needs --log FILE");
    if (out->log_dot && (out->log_file == NULL || out->tls))
        option_usage("--log-dot needs --log FILE, and goes without --tls: TLS hides what came when");
}

void sink_options_parse(int argc, char **argv, struct sink_options *out)
{
    *out = (struct sink_options){.seed = 1, .store_every = 1, .latency_dot_ms = UINT32_MAX};
    options_read("sink", option_table, OPTIONS, own_take, out, argc, argv);
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
