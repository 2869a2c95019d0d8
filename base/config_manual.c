/* config_manual.c - print docs/configuration.md from the directive table. A program of the build (scripts/docs), and no
 * part of hikyaku. The words are those of the rows, so the manual cannot say anything else than the reader does.
 */
#include <string.h>

#include "config_table.h"

static const char *const type_words[] = {
#define CONFIG_TYPE_WORDS(name, words) words,
    CONFIG_TYPES(CONFIG_TYPE_WORDS)
#undef CONFIG_TYPE_WORDS
};

/* What is said of each section, beside its rows. */
static const struct {
    const char *section, *words;
} section_words[] = {
    {"", "At the top of the file, outside of any section."},
    {"redis", "Without this section a private redis-server runs in `state_dir`. With `mode = external` "
              "either `host` or `socket` is "
              "needed. A host name is looked up once, at start: where a fail-over lets it mean another "
              "server, start hikyaku again. "
              "The server has to be 6.2 or later, no replica and no part of a Redis Cluster, with "
              "`maxmemory-policy noeviction`; "
              "`appendonly yes` with `appendfsync always` is what the private one has, and less is told at "
              "every start. Its user "
              "needs `~* &* +@all -@admin -@dangerous +info +config|get +acl|getuser`. Leave the user "
              "`default` on (give it a "
              "password): Redis 7.0 does not read back its own append-only file while that user is off. "
              "hikyaku speaks no TLS to "
              "Redis: put stunnel between, and name its local port."},
    {"source",
     "Once for each address to send from; the title is its name. Without any, the system chooses. "
     "An MX that has one of these names or addresses, or one that an interface of the machine has (but for "
     "loopback), is this host: neither it nor an MX of no better preference is sent to. A route for the "
     "domain says where its mail goes instead."},
    {"pool", "A set of sources; the title is its name."},
    {"dkim", "Once for each key; the title is the selector. Without any, messages are not signed."},
    {"route",
     "A smarthost instead of MX look-ups; the title is a recipient domain, or `*` for all. The limits of a "
     "provider whose `mx` names the relay's host apply, else those of `default`. With several relays, `{ "
     "\"a:587\", \"b:587\" }`, the "
     "first is used as long as it can be had, then the next; what the first has not taken goes there.\n\n"
     "    route \"*\" {\n        relay = ses\n        region = \"ap-northeast-1\"\n"
     "        configuration_set = \"news\"\n"
     "        auth { user = \"AKIA...\" secret_key_file = \"ses.key\" }\n    }\n\n"
     "SES, told by `relay = ses` or `profile = ses`: every copy carries X-SES-CONFIGURATION-SET and our "
     "token in "
     "X-SES-MESSAGE-TAGS; the id of its reply is `remote_id` in the event log; its maximum sending rate is "
     "found by itself; at the end of the daily quota the route rests for the steps of `retry.schedule`; an "
     "address that is not verified, or an account that may not send, stops the campaign with the reason. "
     "No recipient is charged with any of that. SES refuses two signatures: one `dkim` section at most.\n\n"
     "A `client_certificate` is shown to a relay that asks for one. The file has the certificate first, then "
     "those of the authorities between it and a root; it is read at start."},
    {"route.auth", "Inside a route. A password is only said under TLS, and stands in no log."},
    {"provider",
     "Limits of a mailbox provider, laid over the built-in table (`hikyaku config check` prints "
     "it); the title is its name. "
     "The one named `default` is for everyone else. A `client_certificate` is shown to a host of the "
     "provider that asks for one."},
    {"limit", "Messages of several sites, sources or nodes together, beside the limits of a provider, which "
              "count per source. The "
              "title says what counts: `dkim:DOMAIN` whatever this domain signs, `route:TITLE` what goes to "
              "the relays of a route, "
              "`provider:TITLE` what goes to a provider. With `scope = node` all sources of this node share "
              "it; with `scope = "
              "cluster` all nodes of one Redis, which grants it in blocks that reach no further than a "
              "second: shares follow what "
              "each could send, what one leaves is the others', and while Redis is away nothing passes."},
    {"bounce",
     "What comes back later, by `inbound` or `hikyaku bounce ingest`. A bounce counts for the recipient whom "
     "the token of our return "
     "path names, for `token_age`. A list loses a few people of a domain at a time: where within "
     "`breaker_period` at "
     "least `breaker_count` and `breaker_share` percent of whom the campaign has there are "
     "suddenly unknown, the "
     "domain is at fault; then nobody of them is suppressed, the event log has an `alarm`, and "
     "`hikyaku bounce held` "
     "lists them."},
    {"web",
     "HTTP for the page of `sender.unsubscribe_url` and for Amazon SNS, plain: a web server in front of it "
     "speaks TLS ([web.md](web.md) has examples). It runs with `serve`, in a process that holds the secret "
     "of "
     "the tokens and no other key."},
    {"sns",
     "What Amazon SES tells of bounces and complaints, by SNS ([web.md](web.md) shows how that is set up). A "
     "message is taken when its topic is named here and its signature holds; a subscription to such a topic "
     "is "
     "confirmed. Nothing is ever fetched but from https://sns.REGION.amazonaws.com."},
    {"inbound", "A process of `hikyaku serve` that takes what comes back to `sender.return_path`, by SMTP "
                "(`listen`) and from "
                "another MTA of this machine by LMTP (`lmtp`); without one of them it does not run. It takes "
                "mail for return paths "
                "whose token holds, for the addresses of List-Unsubscribe, and complaints at abuse@, fbl@ "
                "and postmaster@ of that domain; "
                "it relays nothing and answers nobody. How to set it up stands in operation.md.\n\n"
                "    inbound { listen = { \"0.0.0.0:25\", \"[::]:25\" } certificate = \"bounce.pem\" key = "
                "\"bounce.key\" }"},
    {"soft",
     "Soft bounces are counted for each address and class; the title is the class. Without a section: "
     "recipient-refused 2; mailbox-unknown, mailbox-inactive and domain-invalid (where the refusal was a "
     "passing "
     "one) 3; mailbox-full 5; network, system and unknown 7.\n\n"
     "Who is suppressed by soft bounces of a class that recovers is written to again after `expires`: "
     "mailbox-full "
     "and mailbox-inactive 180d; network, system and unknown 90d. A mailbox that does not exist, a domain "
     "that does "
     "not, and a recipient who refuses the sender do not come back, and neither does anybody who was "
     "suppressed for "
     "good by one reply, who complained or who unsubscribed: there `expires` is `never`, and cannot be set. "
     "A changed "
     "value counts for who is suppressed from then on.\n\n"
     "    soft \"mailbox-full\" { count = 3 within = 30d expires = 90d }"},
    {"smtp", "Every connection is a file descriptor. Where the limit of open files is too low for "
             "`connections`, the node says so "
             "at its start and runs with as many as fit; `LimitNOFILE` in a unit of systemd raises it."},
};

static void print_cell(const char *text)
{
    for (; *text != '\0'; text++)
        fputs(*text == '|' ? "\\|" : (char[]){*text, '\0'}, stdout);
}

static void print_duration(uint64_t ms)
{
    static const struct {
        uint64_t ms;
        const char *unit;
    } unit[] = {
        {24 * 3600 * 1000ull, "d"}, {3600 * 1000ull, "h"}, {60 * 1000ull, "min"}, {1000, "s"}, {1, "ms"}};
    size_t i = 0;

    while (ms % unit[i].ms != 0)
        i++;
    printf("%llu%s", (unsigned long long)(ms / unit[i].ms), unit[i].unit);
}

static void print_bound(const struct config_row *row, uint64_t bound)
{
    if (row->type == CONF_TIME_MS || row->type == CONF_TIME_S || row->type == CONF_TIMES_S ||
        row->type == CONF_EXPIRY_S)
        print_duration(bound);
    else
        printf("%llu", (unsigned long long)bound);
}

static void print_value(const struct config_row *row)
{
    print_cell(type_words[row->type]);
    if (row->words != NULL) {
        fputs(": ", stdout);
        print_cell(row->words);
    }
    if (row->max != 0) {
        fputs(", ", stdout);
        print_bound(row, row->min);
        fputs(" to ", stdout);
        print_bound(row, row->max);
    }
}

static void print_default(const struct config_row *row)
{
    static const char *const derived[][2] = {
        {"=machine", "the machine's name"},
        {"=hostname", "that of `hostname`"},
        {"=tls.policy", "that of `tls.policy`"},
        {"=route", "`tls.policy`; `verified` with auth"},
        {"=equal", "equal shares"},
        {"=class", "by class, see above"},
        {"=client_certificate", "that of `client_certificate`"},
        {"=certificate", "that of `certificate`"},
    };
    const char *word;
    size_t length;

    if (row->standard == NULL)
        return;
    for (size_t i = 0; i < sizeof derived / sizeof derived[0]; i++)
        if (strcmp(row->standard, derived[i][0]) == 0) {
            fputs(derived[i][1], stdout);
            return;
        }
    /* a list, as it would be typed */
    printf(strchr(row->standard, ' ') != NULL ? "`{ " : "`");
    for (word = row->standard; *word != '\0'; word += length + strspn(word + length, " ")) {
        length = strcspn(word, " ");
        printf("%s%.*s", word != row->standard ? ", " : "", (int)length, word);
    }
    printf(strchr(row->standard, ' ') != NULL ? " }`" : "`");
}

static void print_section(const struct config_section *section)
{
    printf("\n## %s%s\n\n", *section->name ? section->name : "The top",
           section->item_bytes != 0 ? " \"title\"" : "");
    for (size_t i = 0; i < sizeof section_words / sizeof section_words[0]; i++)
        if (strcmp(section_words[i].section, section->name) == 0)
            printf("%s\n\n", section_words[i].words);
    puts("| key | value | default | meaning |\n| --- | --- | --- | --- |");
    for (size_t i = 0; i < config_row_count; i++) {
        const struct config_row *row = &config_rows[i];
        if (!config_row_is_in(row, section))
            continue;
        printf("| `%s` | ", config_row_key(row));
        print_value(row);
        fputs(" | ", stdout);
        print_default(row);
        fputs(" | ", stdout);
        print_cell(row->meaning);
        puts(" |");
    }
}

int main(void)
{
    puts("# Configuration\n\n"
         "Made by `scripts/docs` from the directive table (`base/config_table.c`): change that, not this "
         "file.\n\n"
         "A file of `key = value` and `section \"title\" { ... }`, lists in braces, comments behind `#`. A "
         "key that is\n"
         "unknown, or given twice where one is meant, is an error with file and line. Files that are named "
         "are looked\n"
         "for beside the configuration file; what hikyaku writes lies in `state_dir` unless absolute. "
         "Mandatory are\n"
         "`sender.from_domain`, `sender.return_path` and `sender.secret_file`. `hikyaku config check "
         "--config F` prints\n"
         "what is in force, with every default.");
    for (size_t i = 0; i < config_section_count; i++)
        print_section(&config_sections[i]);
    return fflush(stdout) == 0 ? 0 : 1;
}
