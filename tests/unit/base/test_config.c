/* The configuration: what is in force, and one line with file, line and advice for everything that is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "hikyaku/address.h"
#include "hikyaku/config.h"

#define SENDER                                                                                     \
    "sender { from_domain = \"example.test\" return_path = \"bounce.example.test\" secret_file = " \
    "\"verp.key\" }\n"

static char directory[64];
static char path[128];

static int make_directory(void **state)
{
    (void)state;
    snprintf(directory, sizeof directory, "%s", "/tmp/hk-config-XXXXXX");
    if (mkdtemp(directory) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/c.conf", directory);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(directory);
}

static void write_bytes(const char *text, size_t length)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, length, f), length);
    assert_int_equal(fclose(f), 0);
}

static struct config *load(const char *text)
{
    struct config *config = NULL;
    struct hk_why why = {""};
    int rc;

    write_bytes(text, strlen(text));
    rc = config_load(path, &config, &why);
    if (rc != 0)
        fail_msg("%s", why.text);
    return config;
}

static char *printed(const struct config *config)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);

    assert_non_null(f);
    config_print(config, f);
    fclose(f);
    return text;
}

/* The load fails, the words begin with FILE:line: and hold every part. */
static void assert_refused(const char *text, size_t length, unsigned line, const char *part,
                           const char *other)
{
    struct config *config = (struct config *)1;
    struct hk_why why = {""};
    char begin[160];

    write_bytes(text, length);
    assert_int_equal(config_load(path, &config, &why), HK_EINVAL);
    assert_null(config);
    snprintf(begin, sizeof begin, "%s:%u: ", path, line);
    if (strncmp(why.text, begin, strlen(begin)) != 0 || strstr(why.text, part) == NULL ||
        strstr(why.text, other) == NULL || strstr(why.text, "; ") == NULL || strchr(why.text, '\n') != NULL)
        fail_msg("wanted line %u, \"%s\", \"%s\"; got \"%s\"\nfor:\n%s", line, part, other, why.text, text);
}

static void a_minimal_file_gives_the_defaults(void **state)
{
    struct config *c = load(SENDER);
    char name[256] = "";
    (void)state;

    gethostname(name, sizeof name - 1);
    assert_string_equal(c->file, path);
    assert_string_equal(c->hostname, name);
    assert_string_equal(c->state_dir, "/var/lib/hikyaku");
    assert_in_range(c->workers, 1, 256);
    assert_string_equal(c->log_level, "info");
    assert_int_equal(c->redis.mode, REDIS_EMBEDDED);
    assert_int_equal(c->source_count, 1);
    assert_string_equal(c->source[0].name, "");
    assert_null(c->source[0].address);
    assert_string_equal(c->source[0].hostname, name);
    assert_int_equal(c->pool_count + c->dkim_count + c->route_count + c->limit_count, 0);
    assert_int_equal(c->smtp.port, 25);
    assert_int_equal(c->smtp.connections, 2000);
    assert_int_equal(c->smtp.connect_ms, 30000);
    assert_int_equal(c->smtp.banner_ms, 300000);
    assert_int_equal(c->smtp.starttls_ms, 120000);
    assert_int_equal(c->smtp.data_ms, 120000);
    assert_int_equal(c->smtp.block_ms, 180000);
    assert_int_equal(c->smtp.dot_ms, 600000);
    assert_int_equal(c->smtp.quit_ms, 10000);
    assert_int_equal(c->smtp.idle_ms, 5000);
    assert_int_equal(c->tls.policy, TLS_OPPORTUNISTIC);
    assert_int_equal(c->retry.schedule_count, 4);
    assert_int_equal(c->retry.schedule_s[0], 300);
    assert_int_equal(c->retry.schedule_s[3], 14400);
    assert_int_equal(c->retry.give_up_s, 345600);
    assert_false(c->campaign.resend_unknown);
    assert_string_equal(c->node.name, name);
    assert_int_equal(c->node.lease_ms, 30000);
    assert_int_equal(c->node.drain_ms, 30000);
    assert_int_equal(c->node.orphan_ms, 10000);
    assert_string_equal(c->events.file, "/var/lib/hikyaku/events.jsonl");
    assert_int_equal(c->events.rotate_bytes, 1u << 30);
    config_free(c);
}

static const char full[] =
    "# the example of the manual, all sections\n"
    "hostname  = \"mta1.example.com\"\n"
    "state_dir = \"state\"   // below the file\n"
    "workers   = 3\n"
    "log_level = debug\n"
    "redis    { mode = external host = \"redis.test\" port = 6380 user = \"u\" password_file = \"redis.pw\" "
    "}\n"
    "source \"mta1\" { address = \"10.0.1.6\" public_address = \"203.0.113.6\" hostname = "
    "\"one.example.com\" }\n"
    "source \"mta2\" { address = \"2001:db8::6\" }\n"
    "pool \"main\" { sources = { \"mta2\", \"mta1\" } weights = { 3, 1 } }\n"
    "pool \"even\" { sources = { \"mta1\", \"mta2\" } }\n"
    "sender   { from_domain = \"example.com\" return_path = \"bounce.example.com\" secret_file = "
    "\"verp.key\"\n"
    "           unsubscribe_url = \"https://u.example.com/\" list_id = \"news.example.com\" }\n"
    "dkim \"s1\" { domain = \"example.com\" key_file = \"s1.pem\" }\n"
    "dkim \"s2\" { domain = \"example.com\" key_file = \"/etc/keys/s2.pem\" }\n"
    "resolver { servers = { \"127.0.0.1:5300\", \"[::1]:53\" } trust_anchor_file = \"root.key\" }\n"
    "smtp     { port = 2525 connections = 50 connect_timeout = 250ms dot_timeout = 2min }\n"
    "tls      { policy = none ca_file = \"ca.pem\" }\n"
    "route \"example.test\" { relay = \"127.0.0.1:2525\" implicit_tls = yes\n"
    "    auth { user = \"me\" password_file = \"relay.pw\" } }\n"
    "route \"*\" { relay = \"[::1]:587\" tls = required }\n"
    "provider \"docomo\" { domains = { \"docomo.ne.jp\" } mx = { \"*.docomo.ne.jp\" } max_connections = 3\n"
    "    max_connection_rate = \"1/s\" rate = \"30/h\" burst = 2 messages_per_connection = none tls = "
    "verified }\n"
    "provider \"x\" { domains = { \"x.test\" } rate = none }\n"
    "limit \"dkim:example.com\" { scope = cluster rate = \"500/s\" burst = 100 }\n"
    "retry    { schedule = { 1s, 2min } give_up = 1h }\n"
    "campaign { unknown = resend }\n"
    "web      { listen = { \"127.0.0.1:8080\", \"[::1]:8080\" } connections = 100 timeout = 5s }\n"
    "sns      { topics = { \"arn:aws:sns:us-east-1:123456789012:a\", "
    "\"arn:aws-cn:sns:cn-north-1:123456789012:b\" }\n"
    "           path = \"/hooks/sns\" secret_file = \"raw.secret\" proxy = \"http://127.0.0.1:3128\" }\n"
    "node     { name = \"n1\" lease = 3s drain = 1min orphan = 500ms }\n"
    "events   { file = \"log/events.jsonl\" rotate = 10mb }\n";

static void assert_below(const char *name, const char *file)
{
    char want[256];

    snprintf(want, sizeof want, "%s/%s", directory, file);
    assert_string_equal(name, want);
}

static void every_section_is_read(void **state)
{
    struct config *c = load(full);
    (void)state;

    assert_string_equal(c->hostname, "mta1.example.com");
    assert_below(c->state_dir, "state");
    assert_int_equal(c->workers, 3);
    assert_int_equal(c->redis.mode, REDIS_EXTERNAL);
    assert_string_equal(c->redis.host, "redis.test");
    assert_int_equal(c->redis.port, 6380);
    assert_below(c->redis.password_file, "redis.pw");
    assert_int_equal(c->source_count, 2);
    assert_string_equal(c->source[0].public_address, "203.0.113.6");
    assert_string_equal(c->source[1].hostname, "mta1.example.com");
    assert_int_equal(c->pool[0].source[0], 1);
    assert_int_equal(c->pool[0].weight[0], 3);
    assert_int_equal(c->pool[1].weight[1], 1);
    assert_below(c->sender.secret_file, "verp.key");
    assert_string_equal(c->sender.unsubscribe_url, "https://u.example.com/");
    assert_int_equal(c->dkim_count, 2);
    assert_string_equal(c->dkim[1].key_file, "/etc/keys/s2.pem");
    assert_int_equal(c->resolver.server_count, 2);
    assert_string_equal(c->resolver.server[1].host, "::1");
    assert_int_equal(c->resolver.server[0].port, 5300);
    assert_int_equal(c->smtp.connect_ms, 250);
    assert_int_equal(c->smtp.dot_ms, 120000);
    assert_int_equal(c->tls.policy, TLS_NONE);
    assert_int_equal(c->limit[0].rate.count, 500);
    assert_string_equal(c->limit[0].scope, "cluster");
    assert_int_equal(c->retry.schedule_count, 2);
    assert_int_equal(c->retry.give_up_s, 3600);
    assert_true(c->campaign.resend_unknown);
    assert_string_equal(c->node.name, "n1");
    assert_int_equal(c->node.orphan_ms, 500);
    assert_below(c->events.file, "state/log/events.jsonl");
    assert_int_equal(c->events.rotate_bytes, 10u << 20);
    config_free(c);
}

static void a_route_to_ses_has_the_endpoint_of_its_region(void **state)
{
    static const char *const ses = SENDER "route \"*\" { relay = ses region = \"ap-northeast-1\" auth { user "
                                          "= \"u\" secret_key_file = \"k\" } }\n"
                                          "route \"a.test\" { relay = ses region = \"eu-west-1\" "
                                          "implicit_tls = yes configuration_set = \"news\"\n"
                                          "    auth { user = \"u\" password_file = \"p\" } }\n"
                                          "route \"b.test\" { relay = { \"one:587\", \"two:25\" } }\n"
                                          "route \"c.test\" { relay = \"127.0.0.1:2525\" profile = ses auth "
                                          "{ user = \"u\" password_file = \"p\" } }\n";
    struct config *c = load(ses);
    const struct cfg_route *route = config_route(c, "x.test");

    (void)state;
    assert_string_equal(route->relay->host, "email-smtp.ap-northeast-1.amazonaws.com");
    assert_int_equal(route->relay->port, 587);
    assert_int_equal(route->relay_count, 1);
    assert_int_equal(route->profile, RELAY_SES);
    assert_int_equal(route->tls, TLS_VERIFIED);
    assert_below(route->secret_key_file, "k");
    route = config_route(c, "a.test");
    assert_int_equal(route->relay->port, 465);
    assert_string_equal(route->configuration_set, "news");
    route = config_route(c, "b.test");
    assert_int_equal(route->relay_count, 2);
    assert_string_equal(route->relay[1].host, "two");
    assert_int_equal(route->relay[1].port, 25);
    assert_int_equal(route->profile, RELAY_PLAIN);
    assert_int_equal(config_route(c, "c.test")->profile, RELAY_SES);
    config_free(c);
}

static void a_route_is_found_by_name_before_the_star(void **state)
{
    struct config *c = load(full);
    (void)state;

    assert_string_equal(config_route(c, "Example.TEST")->domain, "example.test");
    assert_int_equal(config_route(c, "example.test")->tls, TLS_VERIFIED);
    assert_true(config_route(c, "example.test")->implicit_tls);
    assert_below(config_route(c, "example.test")->password_file, "relay.pw");
    assert_string_equal(config_route(c, "other.test")->domain, "*");
    assert_string_equal(config_route(c, "other.test")->relay->host, "::1");
    assert_int_equal(config_route(c, "other.test")->relay->port, 587);
    assert_null(config_route(c, "other.test")->user);
    config_free(c);
    c = load(SENDER);
    assert_null(config_route(c, "example.test"));
    config_free(c);
}

static const struct cfg_provider *by_domain(const struct config *c, const char *domain)
{
    return config_provider(c, domain, NULL, 0);
}

static const struct cfg_provider *by_mx(const struct config *c, const char *domain, const char *mx)
{
    return config_provider(c, domain, &mx, 1);
}

static void the_builtin_table_knows_carriers_and_large_providers(void **state)
{
    struct config *c = load(SENDER);
    const struct cfg_provider *row;
    (void)state;

    row = by_domain(c, "DOCOMO.ne.jp");
    assert_string_equal(row->name, "docomo");
    assert_int_equal(row->max_connections, 2);
    assert_int_equal(row->rate.count, 2);
    assert_int_equal(row->rate.per_ms, 1000);
    assert_int_equal(row->messages_per_connection, 20);
    assert_int_equal(row->max_connection_rate.count, 100);
    assert_true(row->legacy_local_part);
    assert_int_equal(row->local_part, LOCAL_PART_QUOTE);
    assert_false(row->own);
    row = by_domain(c, "gmail.com");
    assert_string_equal(row->name, "google");
    assert_int_equal(row->rate.count, 0);
    assert_int_equal(row->tls, TLS_REQUIRED);
    assert_string_equal(by_mx(c, "corp.test", "aspmx.l.google.com")->name, "google");
    assert_string_equal(by_mx(c, "tenant.test", "x.mail.protection.outlook.com")->name, "office365");
    assert_string_equal(by_mx(c, "hot.test", "x.olc.protection.outlook.com")->name, "outlook_consumer");
    assert_string_equal(by_domain(c, "biz.ezweb.ne.jp")->name, "au");
    assert_string_equal(by_domain(c, "nowhere.test")->name, "default");
    assert_int_equal(by_domain(c, "nowhere.test")->rate.count, 100);
    assert_string_equal(c->provider[c->provider_count - 1].name, "default");
    config_free(c);
}

static void the_longest_pattern_wins_and_a_domain_before_an_mx(void **state)
{
    struct config *c = load(SENDER);
    (void)state;

    assert_string_equal(by_mx(c, "one.test", "ymx1.softbank.ne.jp")->name, "ymobile");
    assert_string_equal(by_mx(c, "one.test", "ymx2.softbank.ne.jp")->name, "softbank");
    assert_string_equal(by_mx(c, "yahoo.co.jp", "mx.google.com")->name, "yahoo_co_jp");
    config_free(c);
    c = load(SENDER "provider \"wide\" { domains = { \"*.test\" } }\n"
                    "provider \"narrow\" { domains = { \"*.a.test\" } mx = { \"*.com\" } }\n");
    assert_string_equal(by_domain(c, "x.a.test")->name, "narrow");
    assert_string_equal(by_domain(c, "x.b.test")->name, "wide");
    /* An own MX pattern stands before a built-in domain. */
    assert_string_equal(by_mx(c, "docomo.ne.jp", "mx.example.com")->name, "narrow");
    assert_string_equal(by_mx(c, "docomo.ne.jp", "mx.example.org")->name, "docomo");
    config_free(c);
}

/* As by looking at each pattern of each row: of a label's octet more or less, a dot in front, another row, an exact name. */
static const struct cfg_provider *by_looking_at_all(const struct config *c, const char *domain,
                                                    const char *mx)
{
    const struct cfg_provider *best;
    size_t length;

    for (int own = 1; own >= 0; own--)
        for (int kind = 0; kind < 2; kind++) {
            best = NULL;
            length = 0;
            for (size_t i = 0; i < c->provider_count; i++) {
                const struct cfg_list *list = kind == 0 ? &c->provider[i].domains : &c->provider[i].mx;
                for (size_t k = 0; c->provider[i].own == (own == 1) && k < list->count; k++)
                    if (strlen(list->item[k]) > length &&
                        domain_matches(list->item[k], kind == 0 ? domain : mx)) {
                        best = &c->provider[i];
                        length = strlen(list->item[k]);
                    }
            }
            if (best != NULL)
                return best;
        }
    return &c->provider[c->provider_count - 1];
}

static void a_provider_is_found_as_by_looking_at_every_pattern(void **state)
{
    static const char *const before[] = {"", "x", "x.", ".", "a.b.", "X.", "mail-"};
    struct config *c =
        load(SENDER "provider \"one\" { domains = { \"*.b.test\" } mx = { \"*.mail.test\" } }\n"
                    "provider \"two\" { domains = { \"a.b.test\", \"*.test\" } }\n"
                    "provider \"docomo\" { mx = { \"*.docomo.ne.jp\" } }\n");
    char name[300];
    size_t tried = 0;

    (void)state;
    for (size_t i = 0; i < c->provider_count; i++)
        for (int kind = 0; kind < 2; kind++) {
            const struct cfg_list *list = kind == 0 ? &c->provider[i].domains : &c->provider[i].mx;
            for (size_t k = 0; k < list->count; k++)
                for (size_t n = 0; n < sizeof before / sizeof before[0]; n++, tried++) {
                    const char *item = list->item[k];
                    (void)snprintf(name, sizeof name, "%s%s", before[n],
                                   item + (item[0] == '*' ? 1 + tried % 2 : 0));
                    assert_ptr_equal(by_domain(c, name), by_looking_at_all(c, name, ""));
                    assert_ptr_equal(by_mx(c, "none.example", name),
                                     by_looking_at_all(c, "none.example", name));
                    assert_ptr_equal(by_mx(c, name, name), by_looking_at_all(c, name, name));
                }
        }
    assert_true(tried > 500);
    assert_string_equal(by_domain(c, "a.b.test")->name,
                        "one"); /* "*.b.test" is as long, and of an earlier row */
    config_free(c);
}

static void own_provider_sections_override_key_by_key(void **state)
{
    struct config *c =
        load(SENDER "provider \"docomo\" { rate = \"1/min\" mx = { \"mx.docomo.test\" } }\n"
                    "provider \"default\" { max_connections = 4 burst = 7 }\n"
                    "provider \"x\" { domains = { \"x.test\" } messages_per_connection = 1 }\n");
    const struct cfg_provider *row = by_domain(c, "docomo.ne.jp");
    (void)state;

    assert_true(row->own);
    assert_int_equal(row->rate.per_ms, 60000);
    assert_int_equal(row->max_connections, 2);
    assert_int_equal(row->mx.count, 1);
    assert_string_equal(by_mx(c, "y.test", "mfsmax.docomo.ne.jp")->name, "default");
    row = by_domain(c, "x.test");
    assert_int_equal(row->messages_per_connection, 1);
    assert_int_equal(row->max_connections, 4);
    assert_int_equal(row->burst, 7);
    assert_int_equal(row->rate.count, 100);
    row = by_domain(c, "y.test");
    assert_string_equal(row->name, "default");
    assert_int_equal(row->max_connections, 4);
    assert_int_equal(by_domain(c, "gmail.com")->burst, 7);
    config_free(c);
}

static void the_tls_policy_reaches_the_provider_rows(void **state)
{
    struct config *c =
        load(SENDER "tls { policy = verified }\nprovider \"x\" { domains = { \"x.test\" } tls = none }\n");
    (void)state;

    assert_int_equal(by_domain(c, "y.test")->tls, TLS_VERIFIED);
    assert_int_equal(by_domain(c, "gmail.com")->tls, TLS_VERIFIED);
    assert_int_equal(by_domain(c, "x.test")->tls, TLS_NONE);
    config_free(c);
    c = load(SENDER "tls { policy = none }\n");
    assert_int_equal(by_domain(c, "y.test")->tls, TLS_NONE);
    assert_int_equal(by_domain(c, "gmail.com")->tls, TLS_REQUIRED);
    config_free(c);
}

static void assert_prints_the_same_when_read_again(const char *text)
{
    struct config *c = load(text);
    char *once = printed(c), *twice;

    config_free(c);
    c = load(once);
    twice = printed(c);
    config_free(c);
    assert_string_equal(once, twice);
    free(once);
    free(twice);
}

static void what_is_printed_is_read_to_the_same(void **state)
{
    (void)state;
    assert_prints_the_same_when_read_again(SENDER);
    assert_prints_the_same_when_read_again(full);
    assert_prints_the_same_when_read_again(
        SENDER
        "route \"*\" { relay = ses region = \"eu-west-1\" configuration_set = \"news\" implicit_tls = yes\n"
        "    auth { user = \"u\" secret_key_file = \"k\" } }\n");
    assert_prints_the_same_when_read_again(SENDER "events { file = '${x} \"and\" \\\\ more' }\n");
    assert_prints_the_same_when_read_again(SENDER
                                           "provider \"default\" { rate = none max_connections = none }\n");
}

static void a_client_certificate_is_of_its_route_or_provider(void **state)
{
    static const char text[] =
        SENDER "route \"a.test\" { relay = \"h:25\" tls = required client_certificate = \"a.pem\" }\n"
               "route \"b.test\" { relay = \"h:25\" client_certificate = \"b.pem\" client_key = \"b.key\" }\n"
               "route \"c.test\" { relay = \"h:25\" }\n"
               "provider \"default\" { client_certificate = \"d.pem\" client_key = \"d.key\" }\n"
               "provider \"own\" { domains = { \"own.test\" } client_certificate = \"o.pem\" }\n"
               "provider \"plain\" { domains = { \"plain.test\" } tls = none }\n";
    struct config *c = load(text);
    (void)state;

    assert_below(config_route(c, "a.test")->client.certificate, "a.pem");
    assert_below(config_route(c, "a.test")->client.key, "a.pem");
    assert_below(config_route(c, "b.test")->client.key, "b.key");
    assert_null(config_route(c, "c.test")->client.certificate);
    assert_below(by_domain(c, "x.test")->client.certificate, "d.pem");
    assert_below(by_domain(c, "docomo.ne.jp")->client.key, "d.key");
    assert_below(by_domain(c, "own.test")->client.certificate, "o.pem");
    assert_below(by_domain(c, "own.test")->client.key, "o.pem"); /* d.key is none of this one */
    assert_null(by_domain(c, "plain.test")->client.certificate);
    config_free(c);
    assert_prints_the_same_when_read_again(text);
}

static void what_inbound_needs_is_said_and_what_it_has_is_kept(void **state)
{
    static const char text[] = SENDER
        "inbound { listen = { \"0.0.0.0:25\", \"[::]:25\" } lmtp = { \"127.0.0.1:2424\" } certificate = "
        "\"i.pem\" rate_per_address = \"5/s\" }\n";
    static const char *const wrong[][2] = {
        {"inbound { certificate = \"i.pem\" }\n", "listens nowhere"},
        {"inbound { listen = { \"a:1\" } key = \"i.key\" }\n", "no certificate"},
        {"inbound { listen = { \"a:1\" } message_size = 40mb }\n", "inbound.memory"},
        {"inbound { listen = { \"a:1\",\"a:2\",\"a:3\",\"a:4\",\"a:5\",\"a:6\",\"a:7\",\"a:8\",\"a:9\" } }\n",
         "more than 8"}};
    struct config *c = load(text);
    char whole[1024];
    (void)state;

    assert_int_equal(c->inbound.listen_count, 2);
    assert_int_equal(c->inbound.listen[1].port, 25);
    assert_int_equal(c->inbound.lmtp_count, 1);
    assert_below(c->inbound.tls.key, "i.pem");
    assert_int_equal(c->inbound.rate_each.count, 5);
    assert_int_equal(c->inbound.message_bytes, 10u << 20);
    config_free(c);
    assert_prints_the_same_when_read_again(text);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        unsigned line = 1;
        snprintf(whole, sizeof whole, "%s%s", SENDER, wrong[i][0]);
        for (const char *at = SENDER; *at != '\0'; at++)
            line += *at == '\n';
        assert_refused(whole, strlen(whole), line, "inbound", wrong[i][1]);
    }
}

static void printing_tells_defaults_from_what_is_written(void **state)
{
    struct config *c = load(SENDER "smtp { port = 2525 }\n");
    char *text = printed(c);
    (void)state;

    assert_non_null(strstr(text, "    port = 2525\n"));
    assert_non_null(strstr(text, "    connect_timeout = 30s  # default\n"));
    assert_non_null(strstr(text, "    schedule = { 5min, 20min, 1h, 4h }  # default\n"));
    assert_non_null(strstr(text, "    rotate = 1gb  # default\n"));
    assert_non_null(strstr(text, "# provider \"docomo\" {\n"));
    free(text);
    config_free(c);
}

struct fault {
    unsigned line;
    const char *text, *part, *other;
};

static void assert_all_refused(const struct fault *faults, size_t count)
{
    for (size_t i = 0; i < count; i++)
        assert_refused(faults[i].text, strlen(faults[i].text), faults[i].line, faults[i].part,
                       faults[i].other);
}
#define ASSERT_ALL_REFUSED(faults) assert_all_refused(faults, sizeof(faults) / sizeof *(faults))

static void faults_of_structure_name_their_line(void **state)
{
    static const struct fault faults[] = {
        {2, SENDER "prot = 25\n", "unknown key \"prot\"", "write one of hostname"},
        {2, SENDER "smtp { prot = 25 }\n", "unknown key \"prot\" in section smtp", "did you mean port?"},
        {2, SENDER "smpt { port = 25 }\n", "unknown key \"smpt\"", "did you mean smtp?"},
        {2, SENDER "give_up = 4d\n", "unknown key \"give_up\"", "retry.give_up"},
        {3, SENDER "route \"x\" { relay = \"h:25\"\n auht { user = \"u\" } }\n", "unknown key \"auht\"",
         "auth"},
        {3, SENDER "workers = 2\nworkers = 2\n", "key workers is written twice", "first on line 2"},
        {3, SENDER "smtp { port = 25\nport = 26 }\n", "key port is written twice", "first on line 2"},
        {3, SENDER "resolver { servers = { \"127.0.0.1:1\" }\nservers = { \"127.0.0.1:2\" } }\n",
         "servers is written twice", "line 2"},
        {4, SENDER "smtp { port = 25 }\n# a comment\nsmtp { connections = 26 }\n",
         "section smtp is written twice", "first on line 2"},
        {3, SENDER "source \"a\" { }\nsource \"a\" { }\n", "duplicate title 'a'", "another title"},
        {3, SENDER "/* two\nlines */ provider \"docomo\" {} provider 'docomo' {}\n", "duplicate title",
         "title"},
        {2, SENDER "smtp { port = 25\n", "never ends", "write }"},
        {2, SENDER "smtp {\n tls { policy = none }\n\n", "never ends", "write }"},
        {2, SENDER "resolver { servers = { \"127.0.0.1:53\"\n", "never ends", "write }"},
        {2, SENDER "}\n", "} without its {", "take it out"},
        {2, SENDER "smtp \"title\" { }\n", "missing opening brace", "smtp"},
        {2, SENDER "source { }\n", "missing title", "source"},
        {2, SENDER "workers 3\n", "missing equal sign", "key = value"},
        {2, SENDER "workers = { 3 }\n", "unexpected token", "key = value"},
        {2, SENDER "workers =", "premature end", "key = value"},
        {2, SENDER "resolver { servers = { } }\n", "without an entry", "leave the key out"},
        {2, SENDER "log_level += info\n", "+ has no meaning", "in quotes"},
        {2, SENDER "provider \"x\" { mx = { *.x.test } }\n", "outside quotes", "*.example.com"},
        {2, SENDER "hostname = \"a.test\n", "never ends", "quotes"},
        {2, SENDER "/* never closed\n", "never ends", "*/"},
        {2, SENDER "include(\"/etc/passwd\")\n", "brackets", "quotes"},
        {2, SENDER "source \"a b\" { }\n", "title", "letters"},
        {2, SENDER "source \"\" { }\n", "title", "letters"},
        {2, SENDER "\"sm\\x74p\" { port = 26 }\n", "in the name", "plain word"},
    };
    (void)state;

    ASSERT_ALL_REFUSED(faults);
}

static void values_out_of_type_or_range_are_refused_with_the_range(void **state)
{
    static const struct fault faults[] = {
        {2, SENDER "smtp { port = 70000 }\n", "out of range", "1 to 65535"},
        {2, SENDER "smtp { port = 25; }\n", "port \"25;\"", "port number"},
        {2, SENDER "smtp { port = -1 }\n", "not understood", "port number"},
        {2, SENDER "smtp { connections = 0 }\n", "out of range", "1 to 1000000"},
        {2, SENDER "workers = many\n", "not understood", "auto"},
        {2, SENDER "workers = 257\n", "out of range", "1 to 256"},
        {2, SENDER "workers = 99999999999999999999\n", "not understood", "number"},
        {2, SENDER "smtp { dot_timeout = 2h }\n", "out of range", "100ms to 1h"},
        {2, SENDER "smtp { dot_timeout = 10 }\n", "not understood", "30s"},
        {2, SENDER "smtp { dot_timeout = 10m }\n", "not understood", "5min"},
        {3, SENDER "retry {\n schedule = { 1s, 10ms } }\n", "out of range", "1s to 7d"},
        {2, SENDER "retry { give_up = 1500ms }\n", "whole number of seconds", "write 2s"},
        {2, SENDER "soft \"mailbox-full\" { expires = soon }\n", "not understood", "or never"},
        {2, SENDER "soft \"mailbox-full\" { expires = 0d }\n", "out of range", "1s to"},
        {2, SENDER "soft \"mailbox-unknown\" { expires = 90d }\n", "never expires", "mailbox-full"},
        {2, SENDER "soft \"recipient-refused\" { expires = 90d }\n", "never expires", "mailbox-full"},
        {2, SENDER "soft \"domain-invalid\" { expires = 90d }\n", "never expires", "mailbox-full"},
        {2, SENDER "soft \"complaint\" { expires = 90d }\n", "no class that is counted", "mailbox-full"},
        {2, SENDER "events { rotate = 1tb }\n", "not understood", "1gb"},
        {2, SENDER "events { rotate = 1kb }\n", "out of range", "64kb"},
        {2, SENDER "log_level = loud\n", "not understood", "error|warning|info|debug"},
        {2, SENDER "tls { policy = maybe }\n", "not understood", "opportunistic"},
        {2, SENDER "campaign { unknown = yes }\n", "not understood", "skip|resend"},
        {2, SENDER "provider \"x\" { domains = { \"x.test\" } rate = 2 }\n", "not understood", "1/min"},
        {2, SENDER "provider \"x\" { domains = { \"x.test\" } rate = \"0/s\" }\n", "out of range", "1 to"},
        {2, SENDER "provider \"x\" { domains = { \"x.test\" } rate = \"2/week\" }\n", "not understood",
         "100/d"},
        {2, SENDER "provider \"x\" { domains = { \"*x.test\" } }\n", "not understood", "*.example.com"},
        {2, SENDER "provider \"x\" { rate = \"2/s\" }\n", "matches nothing", "domains"},
        {2, SENDER "provider \"default\" { domains = { \"x.test\" } }\n", "no other matches",
         "another title"},
        {2, SENDER "source \"a\" { address = \"10.0.0.300\" }\n", "no IP address", "192.0.2.1"},
        {2, SENDER "source \"a\" { address = \"mta1\" }\n", "no IP address", "192.0.2.1"},
        {2, SENDER "resolver { servers = { \"127.0.0.1\" } }\n", "not understood", "host:port"},
        {2, SENDER "resolver { servers = { \"300.0.0.1:53\" } }\n", "no valid address", "host:port"},
        {2, SENDER "resolver { servers = { \"::1:53\" } }\n", "no valid address", "[v6]:port"},
        {2, SENDER "route \"*\" { relay = \"h.test:0\" }\n", "1 to 65535", "host:port"},
        {2, SENDER "route \"*\" { relay = \"[::1]\" }\n", "not understood", "host:port"},
        {2, SENDER "hostname = \"no good\"\n", "no host or domain name", "example.com"},
        {2, SENDER "hostname = \"\"\n", "is empty", "leave the key out"},
        {2, SENDER "redis { mode = external host = \"a\\nb\" }\n", "control character", "one line"},
        {1,
         "sender { from_domain = \"a.test\" return_path = \"a.test\" secret_file = \"k\" unsubscribe_url = "
         "\"ftp://x\" }\n",
         "unsubscribe_url", "https://"},
    };
    (void)state;

    ASSERT_ALL_REFUSED(faults);
}

static void what_belongs_together_is_asked_for(void **state)
{
    static const struct fault faults[] = {
        {1, "", "sender.from_domain is missing", "from_domain ="},
        {2, "\nsender { return_path = \"b.test\" secret_file = \"k\" }\n", "sender.from_domain is missing",
         "example.com"},
        {1, "sender { from_domain = \"a.test\" secret_file = \"k\" }\n", "sender.return_path is missing",
         "bounce"},
        {1, "sender { from_domain = \"a.test\" return_path = \"b.test\" }\n", "sender.secret_file is missing",
         "hikyaku keygen verp --out verp.key"},
        {2, SENDER "sns { topics = { \"news\" } }\n", "\"news\" is no topic", "arn:aws:sns:"},
        {2, SENDER "sns { topics = { \"arn:aws:sqs:us-east-1:123456789012:a\" } }\n", "is no topic",
         "arn:aws:sns:"},
        {2, SENDER "sns { path = \"sns\" }\n", "sns.path is \"sns\"", "\"/sns\""},
        {2, SENDER "sns { path = \"/sns/\" }\n", "sns.path", "\"/sns\""},
        {2, SENDER "web { listen = \"8080\" }\n", "listen \"8080\"", "host:port"},
        {2, SENDER "pool \"p\" { sources = { \"nobody\" } }\n", "no source \"nobody\"",
         "source \"nobody\" {"},
        {2, SENDER "pool \"p\" { }\n", "has no sources", "sources = {"},
        {4, SENDER "source \"a\" { }\npool \"p\" { sources = { \"a\" }\n weights = { 1, 2 } }\n",
         "more weights", "one weight"},
        {3,
         SENDER
         "source \"a\" { } source \"b\" { }\npool \"p\" { sources = { \"a\", \"b\" } weights = { 1 } }\n",
         "fewer weights", "one weight"},
        {3, SENDER "source \"a\" { }\npool \"p\" { sources = { \"a\", \"a\" } }\n", "twice", "once"},
        {2, SENDER "dkim \"s\" { key_file = \"k\" }\n", "has no domain", "domain ="},
        {2, SENDER "dkim \"s\" { domain = \"a.test\" }\n", "has no key_file",
         "hikyaku keygen dkim --domain a.test"},
        {2, SENDER "route \"*\" { }\n", "has no relay", "host:port"},
        {2, SENDER "route \"*\" { relay = ses auth { user = \"u\" secret_key_file = \"k\" } }\n",
         "has no region", "ap-northeast-1"},
        {2,
         SENDER "route \"*\" { relay = ses region = \"x.evil.test/\" auth { user = \"u\" secret_key_file = "
                "\"k\" } }\n",
         "none of AWS", "ap-northeast-1"},
        {2, SENDER "route \"*\" { relay = ses region = \"us-west-1\" }\n", "wants a log-in",
         "secret_key_file"},
        {2, SENDER "route \"*\" { relay = { ses, \"h:25\" } region = \"us-west-1\" }\n",
         "beside other relays", "alone"},
        {2, SENDER "route \"*\" { relay = \"h:25\" client_key = \"k\" }\n", "client_key alone",
         "client_certificate"},
        {2, SENDER "route \"*\" { relay = \"h:25\" tls = none client_certificate = \"c\" }\n",
         "no TLS (tls = none)", "tls = required"},
        {2, SENDER "provider \"docomo\" { client_key = \"k\" }\n", "client_key alone", "client_certificate"},
        {2, SENDER "provider \"docomo\" { tls = none client_certificate = \"c\" }\n", "no TLS (tls = none)",
         "tls = required"},
        {2, SENDER "provider \"default\" { tls = none client_certificate = \"c\" }\n", "no TLS (tls = none)",
         "tls = required"},
        {2, SENDER "route \"*\" { relay = \"h:25\" configuration_set = \"c\" }\n", "is for SES",
         "profile = ses"},
        {2,
         SENDER "route \"*\" { relay = ses region = \"us-west-1\" configuration_set = \"a b\"\n"
                "auth { user = \"u\" secret_key_file = \"k\" } }\n",
         "no name of SES", "64 letters"},
        {2,
         SENDER
         "route \"*\" { relay = ses region = \"us-west-1\" auth { user = \"u\" secret_key_file = \"k\" "
         "password_file = \"p\" } }\n",
         "password_file and a secret_key_file", "one of them"},
        {2, SENDER "route \"*\" { relay = \"h:25\" auth { user = \"u\" secret_key_file = \"k\" } }\n",
         "secret_key_file of SES", "profile = ses"},
        {4,
         SENDER
         "dkim \"a\" { domain = \"example.com\" key_file = \"a\" }\n"
         "dkim \"b\" { domain = \"example.com\" key_file = \"b\" }\n"
         "route \"*\" { relay = ses region = \"us-west-1\" auth { user = \"u\" secret_key_file = \"k\" } }\n",
         "two signatures", "one dkim"},
        {2,
         SENDER
         "route \"*\" { relay = { \"h:1\", \"h:2\", \"h:3\", \"h:4\", \"h:5\", \"h:6\", \"h:7\", \"h:8\", "
         "\"h:9\" } }\n",
         "one too many", "8"},
        {3,
         SENDER "route \"*\" { relay = \"h:25\" auth { user = \"u\" password_file = \"p\" }\n tls = none }\n",
         "without TLS", "tls = verified"},
        {2,
         SENDER
         "route \"*\" { relay = \"h:25\" tls = opportunistic auth { user = \"u\" password_file = \"p\" } }\n",
         "without TLS", "tls = verified"},
        {2, SENDER "route \"*\" { relay = \"h:25\" auth { user = \"u\" } }\n", "needs both", "password_file"},
        {2, SENDER "route \"*\" { relay = \"h:25\" implicit_tls = yes tls = none }\n", "implicit_tls",
         "tls = required"},
        {3, SENDER "route \"a.test\" { relay = \"h:25\" }\nroute \"A.Test\" { relay = \"h:25\" }\n",
         "written twice", "once"},
        {2, SENDER "route \"a@b\" { relay = \"h:25\" }\n", "no domain", "example.com"},
        {2, SENDER "redis { host = \"r.test\" }\n", "mode = embedded", "mode = external"},
        {2, SENDER "redis { mode = external }\n", "no server", "socket ="},
        {2, SENDER "redis { mode = external host = \"r\" socket = \"s\" }\n", "a host and a socket",
         "one of them"},
        {2, SENDER "redis { mode = external host = \"r\" user = \"s\" }\n", "without a password",
         "password_file"},
        {2, SENDER "limit \"all\" { rate = \"1/s\" }\n", "what it limits", "dkim:example.com"},
        {2, SENDER "limit \"dkim:x.test\" { rate = \"1/s\" }\n", "dkim:x.test", "dkim section"},
        {2, SENDER "limit \"route:*\" { rate = \"1/s\" }\n", "route:*", "no route"},
        {2, SENDER "limit \"provider:nobody\" { rate = \"1/s\" }\n", "provider:nobody", "no provider"},
    };
    (void)state;

    ASSERT_ALL_REFUSED(faults);
}

static void the_environment_never_gets_into_a_value(void **state)
{
    struct config *c = load(SENDER "# ${HOME} in a comment says nothing\nevents { file = '${HOME}' }\n");
    static const struct fault faults[] = {
        {2, SENDER "state_dir = ${HOME}\n", "${...} is not replaced", "the value itself"},
        {2, SENDER "state_dir = \"/x/${HOME}/y\"\n", "${...} is not replaced", "the value itself"},
    };
    (void)state;

    assert_string_equal(c->events.file, "/var/lib/hikyaku/${HOME}");
    config_free(c);
    ASSERT_ALL_REFUSED(faults);
}

static void bytes_that_are_no_text_are_refused(void **state)
{
    static const char nul[] = SENDER "workers = 2\n\0state_dir = \"/evil\"\n";
    static const char bell[] = "\n\n\a" SENDER;
    (void)state;

    assert_refused(nul, sizeof nul - 1, 3, "control byte (0x00)", "plain text");
    assert_refused(bell, sizeof bell - 1, 3, "control byte (0x07)", "plain text");
}

static void lines_are_right_behind_comments_of_all_kinds(void **state)
{
    static const char text[] =
        SENDER "# one\n// two\n/* three\n four */ /* more */\nhostname = \"a\\\n.test\"\nsmtp { port = 0 }\n";
    (void)state;

    assert_refused(text, sizeof text - 1, 8, "port 0 is out of range", "65535");
}

static void files_with_a_byte_order_mark_and_crlf_are_read(void **state)
{
    struct config *c = load("\xef\xbb\xbf" SENDER "smtp {\r\n port = 26\r\n}\r\n");
    (void)state;

    assert_int_equal(c->smtp.port, 26);
    config_free(c);
}

static void international_names_become_a_labels(void **state)
{
    struct config *c = load(SENDER "provider \"x\" { domains = { \"*.\xe4\xbe\x8b\xe3\x81\x88.test\" } }\n"
                                   "route \"\xe4\xbe\x8b\xe3\x81\x88.test\" { relay = \"h.test:25\" }\n");
    (void)state;

    assert_string_equal(by_domain(c, "a.xn--r8jz45g.test")->name, "x");
    assert_non_null(config_route(c, "xn--r8jz45g.test"));
    config_free(c);
}

static void a_file_that_is_not_there_says_so(void **state)
{
    struct config *c = NULL;
    struct hk_why why = {""};
    (void)state;

    assert_int_equal(config_load("/nonexistent/hikyaku.conf", &c, &why), HK_ENOENT);
    assert_non_null(strstr(why.text, "/nonexistent/hikyaku.conf"));
    assert_non_null(strstr(why.text, "--config"));
    assert_int_equal(config_load(directory, &c, &why), HK_EINVAL);
    assert_non_null(strstr(why.text, "directory"));
    assert_null(c);
}

static void a_file_beyond_the_bound_is_refused(void **state)
{
    struct config *c = NULL;
    struct hk_why why = {""};
    size_t size = (1u << 20) + 1;
    char *text = malloc(size + 1);
    (void)state;

    assert_non_null(text);
    memset(text, '\n', size);
    write_bytes(text, size);
    assert_int_equal(config_load(path, &c, &why), HK_EINVAL);
    assert_non_null(strstr(why.text, "larger than"));
    for (size_t i = 0; i < size; i++)
        text[i] = "a={"[i % 3]; /* nested without end, in a file that may be that large */
    text[size - 2] = '\0';
    assert_refused(text, strlen(text), 1, "too deep", "}");
    free(text);
}

static void a_failed_load_is_followed_by_a_good_one(void **state)
{
    struct config *c;
    (void)state;

    assert_refused(SENDER "workers = \"2\n", strlen(SENDER "workers = \"2\n"), 2, "never ends", "quotes");
    assert_refused(SENDER "smtp { tls { } }\n", strlen(SENDER "smtp { tls { } }\n"), 2, "unknown key", "");
    c = load(SENDER "workers = 2\n");
    assert_int_equal(c->workers, 2);
    config_free(c);
}

static void paths_are_below_the_state_directory(void **state)
{
    struct config *c = load(SENDER "state_dir = \"/s\"\n");
    char out[sizeof "/s/campaigns/id" - 1];
    (void)state;

    assert_int_equal(config_path(c, out, sizeof out, "c/%s", "id"), 0);
    assert_string_equal(out, "/s/c/id");
    assert_int_equal(config_path(c, out, sizeof out, "campaigns/%s", "id"), HK_ETOOBIG);
    assert_int_equal(config_path(c, out, 2, "x"), HK_ETOOBIG);
    config_free(c);
}

static void campaign_ids_are_plain_words(void **state)
{
    char id[CAMPAIGN_ID_MAX + 2];
    (void)state;

    memset(id, 'a', sizeof id);
    id[CAMPAIGN_ID_MAX + 1] = '\0';
    assert_false(campaign_id_is_valid(id));
    id[CAMPAIGN_ID_MAX] = '\0';
    assert_true(campaign_id_is_valid(id));
    assert_true(campaign_id_is_valid("2026-11_news.1"));
    assert_false(campaign_id_is_valid(""));
    assert_false(campaign_id_is_valid(".hidden"));
    assert_false(campaign_id_is_valid("../x"));
    assert_false(campaign_id_is_valid("a/b"));
    assert_false(campaign_id_is_valid("a b"));
    assert_false(campaign_id_is_valid("\xe3\x81\x82"));
}

static void the_sender_is_its_section_and_its_domains_in_any_order(void **state)
{
    struct cfg_dkim one[] = {{.selector = "s1", .domain = "a.test"}, {.selector = "s2", .domain = "b.test"}};
    struct cfg_dkim two[] = {{.selector = "s3", .domain = "b.test"}, {.selector = "s4", .domain = "a.test"}};
    struct config config = {
        .sender = {.from_domain = "a.test", .return_path = "b.a.test"}, .dkim = one, .dkim_count = 2};
    char first[HK_SHA256_HEX], second[HK_SHA256_HEX];
    (void)state;
    config_sender_sha256(&config, first);
    config.dkim = two;
    config_sender_sha256(&config, second);
    assert_string_equal(first, second);
    config.sender.list_id = "news.a.test";
    config_sender_sha256(&config, second);
    assert_string_not_equal(first, second);
    config.sender.list_id = NULL;
    config.sender.unsubscribe_url = "news.a.test";
    config_sender_sha256(&config, first);
    assert_string_not_equal(first, second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sender_is_its_section_and_its_domains_in_any_order),
        cmocka_unit_test(a_minimal_file_gives_the_defaults),
        cmocka_unit_test(every_section_is_read),
        cmocka_unit_test(a_route_to_ses_has_the_endpoint_of_its_region),
        cmocka_unit_test(a_route_is_found_by_name_before_the_star),
        cmocka_unit_test(the_builtin_table_knows_carriers_and_large_providers),
        cmocka_unit_test(the_longest_pattern_wins_and_a_domain_before_an_mx),
        cmocka_unit_test(a_provider_is_found_as_by_looking_at_every_pattern),
        cmocka_unit_test(own_provider_sections_override_key_by_key),
        cmocka_unit_test(the_tls_policy_reaches_the_provider_rows),
        cmocka_unit_test(a_client_certificate_is_of_its_route_or_provider),
        cmocka_unit_test(what_inbound_needs_is_said_and_what_it_has_is_kept),
        cmocka_unit_test(what_is_printed_is_read_to_the_same),
        cmocka_unit_test(printing_tells_defaults_from_what_is_written),
        cmocka_unit_test(faults_of_structure_name_their_line),
        cmocka_unit_test(values_out_of_type_or_range_are_refused_with_the_range),
        cmocka_unit_test(what_belongs_together_is_asked_for),
        cmocka_unit_test(the_environment_never_gets_into_a_value),
        cmocka_unit_test(bytes_that_are_no_text_are_refused),
        cmocka_unit_test(lines_are_right_behind_comments_of_all_kinds),
        cmocka_unit_test(files_with_a_byte_order_mark_and_crlf_are_read),
        cmocka_unit_test(international_names_become_a_labels),
        cmocka_unit_test(a_file_that_is_not_there_says_so),
        cmocka_unit_test(a_file_beyond_the_bound_is_refused),
        cmocka_unit_test(a_failed_load_is_followed_by_a_good_one),
        cmocka_unit_test(paths_are_below_the_state_directory),
        cmocka_unit_test(campaign_ids_are_plain_words),
    };

    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
