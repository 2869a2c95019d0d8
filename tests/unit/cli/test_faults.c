/* test_faults.c - commands whose calls fail or come short: words and a status, no half file, and the next try is right.
 *
 * Against a Redis of the test's own where a campaign is made or reported. What hk_xcalloc() and its like ask for is no
 * case: a command without memory for that ends with a word.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../state/fixture.h"
#include "campaign.h"
#include "faults.h"
#include "files.h"
#include "preview.h"
#include "records.h"
#include "report.h"
#include "trial.h"

#define ROWS  30u
#define WORDS strlen("out of memory") /* the least that is said */

static const struct {
    const char *name;
    unsigned kinds;
} all_faults[] = {{"memory", FAULT_MEMORY}, {"open", FAULT_OPEN}, {"read", FAULT_READ},
                  {"write", FAULT_WRITE},   {"file", FAULT_FILE}, {"socket", FAULT_SOCKET},
                  {"fork", FAULT_FORK}};
#define FAULTS (sizeof all_faults / sizeof all_faults[0])

static struct fixture f;
static struct config *config;
static char list_path[64], message_path[64], said_path[64];
static int real_stdout, real_stderr;

static void path_of(char out[64], const char *name)
{
    snprintf(out, 64, "%s/%s", f.dir, name);
}

static void write_text(const char *path, const char *text)
{
    struct hk_why why;

    if (hk_write_file(path, 0600, text, strlen(text), &why) != 0)
        fail_msg("%s", why.text);
}

static void write_list(void)
{
    FILE *out = fopen(list_path, "w");

    assert_non_null(out);
    fputs("email,name\n", out);
    for (unsigned i = 0; i < ROWS; i++)
        fprintf(out, "u%u@d%u.test,\"Name %0200u\"\n%s", i, i % 7, i, i % 10 == 0 ? "no address,\n" : "");
    assert_int_equal(fclose(out), 0);
}

static int start(void **state)
{
    char conf[64], key[64], text[512];
    struct hk_why why = {""};

    (void)state;
    log_threshold = LOG_LEVEL_ERROR;
    json_set_alloc_funcs(malloc, free); /* as they are wrapped */
    fixture_dir(&f);
    fixture_start(&f);
    path_of(list_path, "list.csv");
    path_of(message_path, "message.eml");
    path_of(said_path, "said");
    path_of(conf, "h.conf");
    path_of(key, "verp.key");
    assert_int_equal(keygen_verp(key, &why), 0);
    snprintf(text, sizeof text,
             "hostname = \"mta.news.test\"\nstate_dir = \"%s\"\nsender { from_domain = \"news.test\" "
             "return_path = "
             "\"b.news.test\" secret_file = \"%s\" }\n",
             f.dir, key);
    write_text(conf, text);
    write_text(message_path,
               "From: News <news@news.test>\r\nTo: {{email}}\r\nSubject: To {{name}}\r\n\r\nDear "
               "{{name}}\r\n.\r\nYours\r\n");
    write_list();
    if (config_load(conf, &config, &why) != 0)
        fail_msg("%s", why.text);
    real_stdout = dup(1);
    real_stderr = dup(2);
    return 0;
}

static int end(void **state)
{
    (void)state;
    config_free(config);
    fixture_end(&f);
    return 0;
}

/* From here on what is printed goes nowhere, and what is said on standard error into a file. */
static void listen_to_it(void)
{
    int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC),
        said = open(said_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    fflush(stdout);
    fflush(stderr);
    dup2(nowhere, 1);
    dup2(said, 2);
    close(nowhere);
    close(said);
}

/* How many bytes were said. */
static size_t listen_no_more(void)
{
    struct stat st;

    fflush(stdout);
    fflush(stderr);
    dup2(real_stdout, 1);
    dup2(real_stderr, 2);
    assert_int_equal(stat(said_path, &st), 0);
    return (size_t)st.st_size;
}

/* The number of files of a folder that end in `suffix`; any that is none of those that may be there is a failure. */
static unsigned count_files(const char *folder, const char *suffix)
{
    static const char *const known[] = {".eml", "rejected.csv", "segment-0.seg", "preview", "manifest"};
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    unsigned count = 0;

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        size_t length = strlen(entry->d_name);
        bool is_known = entry->d_name[0] == '.';
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
            is_known = is_known || (length >= strlen(known[i]) &&
                                    strcmp(entry->d_name + length - strlen(known[i]), known[i]) == 0);
        if (!is_known)
            fail_msg("%s/%s is left", folder, entry->d_name);
        count += length >= strlen(suffix) && strcmp(entry->d_name + length - strlen(suffix), suffix) == 0;
    }
    if (dir != NULL)
        closedir(dir);
    return count;
}

static void remove_all(const char *name)
{
    char command[128];

    snprintf(command, sizeof command, "rm -rf '%s/%s'", f.dir, name);
    assert_int_equal(system(command), 0);
}

/* ---- tables ---- */

struct source {
    const char *text;
    size_t at, length, piece;
    size_t fails_at; /* bytes that can be read; SIZE_MAX: all */
};

static ssize_t source_read(void *cookie, char *out, size_t room)
{
    struct source *source = cookie;
    size_t left = (source->fails_at < source->length ? source->fails_at : source->length) - source->at;
    size_t some = left < source->piece ? left : source->piece;

    if (left == 0 && source->fails_at < source->length) {
        errno = EIO;
        return -1;
    }
    some = some < room ? some : room;
    memcpy(out, source->text + source->at, some);
    source->at += some;
    return (ssize_t)some;
}

/* The fields of all rows behind each other, and what ended them. */
static int read_rows(struct source source, char out[256], int *error)
{
    static struct records records;
    FILE *in = fopencookie(&source, "r", (cookie_io_functions_t){.read = source_read});
    size_t used = 0;
    int rc;

    assert_non_null(in);
    out[0] = '\0';
    records_begin(&records, in);
    while ((rc = records_next(&records)) == 1)
        for (uint32_t i = 0; i < records.record.fields; i++)
            used += (size_t)snprintf(out + used, 256 - used, "%s|", record_field(&records.record, i));
    *error = records.error;
    fclose(in);
    return rc;
}

static void a_table_is_the_same_in_pieces_and_a_read_that_fails_is_its_error(void **state)
{
    static const char text[] = "email,reason\r\n\"a\"\"@x.test\",\"two\r\nlines\"\nb@x.test,\n";
    char whole[256], got[256];
    int error;

    (void)state;
    assert_int_equal(read_rows((struct source){text, 0, sizeof text - 1, 1000, SIZE_MAX}, whole, &error), 0);
    assert_string_equal(whole, "email|reason|a\"@x.test|two\r\nlines|b@x.test||");
    for (size_t piece = 1; piece < sizeof text; piece++) {
        assert_int_equal(read_rows((struct source){text, 0, sizeof text - 1, piece, SIZE_MAX}, got, &error),
                         0);
        assert_string_equal(got, whole);
    }
    for (size_t at = 0; at < sizeof text - 1; at++) {
        assert_int_equal(read_rows((struct source){text, 0, sizeof text - 1, 7, at}, got, &error), HK_EIO);
        assert_int_equal(error, EIO);
        assert_memory_equal(got, whole, strlen(got));
    }
}

/* ---- the list of a test ---- */

static void the_list_of_a_test_is_whole_or_not_there(void **state)
{
    char path[64], out[64], *address[] = {(char[]){"a@x.test"}, (char[]){"b@x.test"}}, *text;
    struct import_options options = {.list_path = list_path, .segment_path = path};
    struct import_result result;
    struct segment_record record;
    struct segment *segment;
    struct hk_why why;
    size_t length;

    (void)state;
    path_of(path, "trial.seg");
    path_of(out, "trial.csv");
    assert_int_equal(list_import(&options, &result, &why), 0);
    assert_int_equal(segment_open(path, true, &segment, &why), 0);
    assert_int_equal(segment_record(segment, 0, &record), 0);
    for (size_t k = 0; k < FAULTS; k++) {
        bool struck = true;
        for (unsigned nth = 1; struck; nth++) {
            (void)unlink(out);
            why.text[0] = '\0';
            fault_arm(all_faults[k].kinds, nth);
            int rc = trial_list_write(out, segment, &record, address, 2, &why);
            struck = fault_disarm();
            assert_true(struck ? rc == HK_EIO || rc == HK_ENOMEM : rc == 0);
            assert_true(!struck || strlen(why.text) > strlen(out) + 5);
            if (access(out, F_OK) != 0)
                continue;
            assert_int_equal(hk_read_file(out, 10000, &text, &length, &why), 0);
            assert_true(strstr(text, "\"b@x.test\",\"Name ") != NULL && text[length - 1] == '\n');
            free(text);
        }
        assert_int_equal(access(out, F_OK), 0);
    }
    fault_shorten(3);
    assert_int_equal(trial_list_write(out, segment, &record, address, 2, &why), 0);
    assert_true(fault_disarm());
    segment_close(segment);
    (void)unlink(path);
    (void)unlink(out);
}

/* ---- send --dry-run ---- */

static void a_dry_run_whose_calls_fail_says_so_and_leaves_no_half_copy(void **state)
{
    struct cli_options options = {
        .campaign = (char[]){"dry"}, .list = list_path, .message = message_path, .dry_run = (char[]){""}};
    char folder[128];

    (void)state;
    snprintf(folder, sizeof folder, "%s/campaigns/dry/preview", f.dir);
    for (size_t k = 0; k < FAULTS; k++) {
        unsigned failed = 0;
        int status = EXIT_NEEDED;
        bool struck = true;
        for (unsigned nth = 1; struck || status != EXIT_SETTLED; nth++) {
            remove_all("campaigns");
            listen_to_it();
            fault_arm(all_faults[k].kinds, nth);
            status = preview_run(config, &options);
            struck = fault_disarm(); /* of the import's process we see the status alone */
            size_t said = listen_no_more();
            if (status == EXIT_SETTLED) {
                assert_int_equal(count_files(folder, ".eml"), PREVIEW_COPIES_MAX);
                continue;
            }
            failed++;
            if (said < WORDS)
                fail_msg("%s, call %u: status %d, %zu bytes said", all_faults[k].name, nth, status, said);
            (void)count_files(folder, ".eml");
        }
        assert_true(failed > 0 || all_faults[k].kinds == FAULT_SOCKET);
    }
    remove_all("campaigns");
}

/* ---- send --test ---- */

static unsigned open_that_fails; /* behind the node's run, 0: none */

int __wrap_node_run(const struct config *place, struct node_place *entered,
                    const struct node_options *options);

/* A node that has sent the one message of its campaign. */
int __wrap_node_run(const struct config *place, struct node_place *entered,
                    const struct node_options *options)
{
    (void)entered;
    (void)options;
    write_text(place->events.file,
               "{\"type\":\"attempt\",\"recipient\":\"me@x.test\",\"outcome\":\"sent\"}\n");
    if (open_that_fails > 0)
        fault_arm(FAULT_OPEN, open_that_fails);
    return EXIT_SETTLED;
}

static void a_test_whose_outcome_cannot_be_read_does_not_say_that_nothing_was_sent(void **state)
{
    struct cli_options options = {
        .campaign = (char[]){"c"}, .list = list_path, .message = message_path, .test = (char[]){"me@x.test"}};

    (void)state;
    for (open_that_fails = 0; open_that_fails < 2; open_that_fails++) {
        listen_to_it();
        int status = trial_run(config, &options);
        bool struck = fault_disarm();
        (void)listen_no_more();
        assert_int_equal(struck, open_that_fails);
        assert_int_equal(status, open_that_fails > 0 ? EXIT_NEEDED : EXIT_SETTLED);
    }
}

/* ---- making a campaign ---- */

static int create(struct store *store, struct hk_why *why)
{
    struct campaign_source source;
    struct manifest manifest;
    int rc = campaign_source_open(config, "c", list_path, message_path, &source, why);

    if (rc == 0)
        rc = campaign_create(&source, store, &manifest, why);
    campaign_source_close(&source);
    return rc;
}

/* Who tries again finds nothing in his way, and the campaign is there once and whole. */
static void a_campaign_that_could_not_be_made_is_made_by_the_next_try(void **state)
{
    struct store *store = fixture_store(&f);
    char folder[64];

    (void)state;
    path_of(folder, "campaigns/c");
    for (size_t k = 0; k < FAULTS; k++) {
        unsigned failed = 0;
        int rc = HK_EIO;
        bool struck = true;
        for (unsigned nth = 1; struck || rc != 0; nth++) {
            struct hk_why why = {""};
            struct manifest m;
            remove_all("campaigns");
            fixture_do(&f, "FLUSHALL");
            listen_to_it();
            fault_arm(all_faults[k].kinds, nth);
            rc = create(store, &why);
            struck = fault_disarm();
            if (rc < 0) {
                struct hk_why none = {""};
                failed++;
                int there = store_campaign_get(store, "c", &m, &none), again = create(store, &none);
                (void)listen_no_more();
                if (strlen(why.text) < WORDS)
                    fail_msg("%s, call %u: %d: %s", all_faults[k].name, nth, rc, why.text);
                assert_int_equal(there, HK_ENOENT);
                if (again != 0)
                    fail_msg("%s, call %u, again: %s", all_faults[k].name, nth, none.text);
            } else {
                (void)listen_no_more();
            }
            assert_int_equal(store_campaign_get(store, "c", &m, &why), 0);
            assert_int_equal(m.recipients, ROWS);
            assert_int_equal(m.rejected, ROWS / 10);
            assert_int_equal(count_files(folder, ".eml"), 1);
            assert_int_equal(count_files(folder, ".seg"), 1);
        }
        assert_true(failed > 0 || all_faults[k].kinds == FAULT_SOCKET);
    }
    store_close(store);
}

static void a_campaign_is_the_same_where_all_comes_in_pieces(void **state)
{
    struct store *store = fixture_store(&f);
    struct manifest whole, pieces;
    struct hk_why why;

    (void)state;
    for (int i = 0; i < 2; i++) {
        remove_all("campaigns");
        fixture_do(&f, "FLUSHALL");
        listen_to_it();
        if (i > 0)
            fault_shorten(4096); /* what the import tells comes whole through its pipe: PIPE_BUF */
        int rc = create(store, &why);
        (void)fault_disarm();
        (void)listen_no_more();
        if (rc != 0)
            fail_msg("%s", why.text);
        assert_int_equal(store_campaign_get(store, "c", i == 0 ? &whole : &pieces, &why), 0);
    }
    assert_string_equal(pieces.list_sha256, whole.list_sha256);
    assert_string_equal(pieces.message_sha256, whole.message_sha256);
    assert_int_equal(pieces.recipients, ROWS);
    store_close(store);
}

/* ---- reading what there is ---- */

static void a_report_without_memory_says_so_and_counts_nobody_twice(void **state)
{
    static const uint32_t spans[] = {5, 700, 12};
    struct manifest m = fixture_campaign(&f, "r", spans, 3, 0);
    struct store *store = fixture_store(&f);
    unsigned failed = 0;
    bool struck = true;

    (void)state;
    fixture_do(&f, "HSET {r}:site 0.0 one.test 0.1 two.test 0.2 one.test");
    for (unsigned nth = 1; struck; nth++) {
        struct hk_why why = {""};
        struct report report;
        fault_arm(FAULT_MEMORY, nth);
        int rc = report_read(store, &m, &report, &why);
        struck = fault_disarm();
        if (rc < 0) {
            assert_true(struck && rc == HK_ENOMEM && strlen(why.text) >= WORDS);
            failed++;
            continue;
        }
        assert_int_equal(report.site_count, 2);
        assert_string_equal(report.site[0].name, "two.test");
        assert_int_equal(report.site[1].counts[LEDGER_PENDING], 17);
        listen_to_it();
        fault_arm(FAULT_MEMORY, nth);
        rc = report_json_print(&report, stdout);
        struck = fault_disarm() || struck;
        (void)listen_no_more();
        assert_true(rc == 0 || (struck && rc == HK_ENOMEM) || (struck && rc == HK_EIO));
        report_free(&report);
    }
    assert_true(failed > 5);
    store_close(store);
}

static void a_file_that_the_configuration_names_and_nobody_can_read_is_named(void **state)
{
    static const unsigned kinds[] = {FAULT_OPEN, FAULT_READ, FAULT_MEMORY};
    char password[64];
    struct config with;

    (void)state;
    path_of(password, "password");
    write_text(password, "a password\n");
    with = *config;
    with.redis.password_file = password;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++) {
        bool struck = true;
        unsigned failed = 0;
        for (unsigned nth = 1; struck; nth++) {
            struct hk_why why = {""};
            fault_arm(kinds[k], nth);
            int rc = files_check(&with, false, &why);
            struck = fault_disarm();
            assert_true(rc == 0 || (struck && strlen(why.text) >= WORDS));
            failed += rc != 0;
        }
        assert_true(failed > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_is_the_same_in_pieces_and_a_read_that_fails_is_its_error),
        cmocka_unit_test(the_list_of_a_test_is_whole_or_not_there),
        cmocka_unit_test(a_dry_run_whose_calls_fail_says_so_and_leaves_no_half_copy),
        cmocka_unit_test(a_test_whose_outcome_cannot_be_read_does_not_say_that_nothing_was_sent),
        cmocka_unit_test(a_campaign_that_could_not_be_made_is_made_by_the_next_try),
        cmocka_unit_test(a_campaign_is_the_same_where_all_comes_in_pieces),
        cmocka_unit_test(a_report_without_memory_says_so_and_counts_nobody_twice),
        cmocka_unit_test(a_file_that_the_configuration_names_and_nobody_can_read_is_named),
    };

    return cmocka_run_group_tests(tests, start, end);
}
