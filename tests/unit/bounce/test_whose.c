/* test_whose.c - who is meant by a mail that came back: the token decides (bounce/whose.c). */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "hikyaku/whose.h"

#define DAY_US 86400000000ull

static char directory[] = "/tmp/hikyaku-whose-XXXXXX";
static char from_domain[] = "news.test", return_path[] = "bounce.news.test", secret[64], other_secret[64];
static struct config config;
static struct signer *own;
static struct whose whose;

static int set_up(void **state)
{
    struct hk_why why;

    (void)state;
    assert_non_null(mkdtemp(directory));
    (void)snprintf(secret, sizeof secret, "%s/verp.key", directory);
    (void)snprintf(other_secret, sizeof other_secret, "%s/other.key", directory);
    assert_int_equal(keygen_verp(secret, &why), 0);
    assert_int_equal(keygen_verp(other_secret, &why), 0);
    config.sender.from_domain = from_domain;
    config.sender.return_path = return_path;
    config.sender.secret_file = secret;
    config.bounce.token_age_s = 90 * 86400;
    assert_int_equal(signer_load_tokens(&config, &own, &why), 0);
    whose = (struct whose){.signer = own, .token_age_s = config.bounce.token_age_s};
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    signer_free(own);
    (void)unlink(secret);
    (void)unlink(other_secret);
    return rmdir(directory);
}

static void path_by(char *key, char *domain, uint32_t index, unsigned days_ago, char *out)
{
    struct config maker = config;
    struct signer *signer;
    struct hk_why why;
    const struct token_subject subject = {.campaign = "c1",
                                          .address = "ann@a.test",
                                          .address_length = 10,
                                          .index = index,
                                          .day = VERP_DAY(clock_wall_us() - days_ago * DAY_US)};

    maker.sender.secret_file = key;
    maker.sender.return_path = domain;
    assert_int_equal(signer_load_tokens(&maker, &signer, &why), 0);
    assert_int_equal(verp_make(signer, &subject, out), 0);
    signer_free(signer);
}

static enum whose_token look(const char *envelope, const char *mail, struct verp_token *token)
{
    struct whose_path path = {.address = ""};
    enum whose_token found = whose_find(&whose, envelope, mail, strlen(mail), &path);

    if (found == WHOSE_TOKEN) {
        *token = path.token;
        assert_int_equal(whose_judge(&whose, path.address, strlen(path.address), token), WHOSE_TOKEN);
    }
    return found;
}

static void a_token_is_found_in_envelope_header_and_body(void **state)
{
    char path[ADDRESS_MAX + 1], mail[2048];
    struct verp_token token;
    static const char *const shapes[] = {
        "To: <%s>\n\nhello",
        "Subject: x\nDelivered-To: %s\n\n",
        "Received: from x by y for <%s>; now\r\n\r\nbody",
        "Subject: x\r\rReturn-Path: <%s>\r",
        "Subject: x\n\nOriginal-Mail-From: %s.\n",
    };

    (void)state;
    path_by(secret, return_path, 7, 0, path);
    assert_int_equal(look(path, "Subject: x\n\n", &token), WHOSE_TOKEN);
    assert_int_equal(token.index, 7);
    assert_string_equal(token.campaign, "c1");
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        memset(&token, 0, sizeof token);
        (void)snprintf(mail, sizeof mail, shapes[i], path);
        assert_int_equal(look(NULL, mail, &token), WHOSE_TOKEN);
        assert_int_equal(token.index, 7);
        assert_int_equal(look("abuse@news.test", mail, &token), WHOSE_TOKEN);
    }
}

static void the_envelope_goes_before_the_header_and_the_header_before_the_body(void **state)
{
    char one[ADDRESS_MAX + 1], two[ADDRESS_MAX + 1], three[ADDRESS_MAX + 1], mail[2048];
    struct verp_token token;

    (void)state;
    path_by(secret, return_path, 1, 0, one);
    path_by(secret, return_path, 2, 0, two);
    path_by(secret, return_path, 3, 0, three);
    (void)snprintf(mail, sizeof mail, "To: %s\n\nReturn-Path: <%s>\n", two, three);
    assert_int_equal(look(one, mail, &token), WHOSE_TOKEN);
    assert_int_equal(token.index, 1);
    assert_int_equal(look(NULL, mail, &token), WHOSE_TOKEN);
    assert_int_equal(token.index, 2);
    (void)snprintf(mail, sizeof mail, "To: x@y.test\n\n%s\n%s\n%s\n", three, three, two);
    assert_int_equal(look(NULL, mail, &token), WHOSE_SEVERAL);
    (void)snprintf(mail, sizeof mail, "To: x@y.test\n\n%s\n%s\n", three, three);
    assert_int_equal(look(NULL, mail, &token), WHOSE_TOKEN);
    assert_int_equal(token.index, 3);
}

static void what_is_forged_foreign_old_or_of_tomorrow_counts_for_nothing(void **state)
{
    static char elsewhere[] = "bounce.elsewhere.test";
    char path[ADDRESS_MAX + 1], genuine[ADDRESS_MAX + 1], mail[2048];
    struct verp_token token;
    char *at;

    (void)state;
    path_by(other_secret, return_path, 7, 0, path);
    assert_int_equal(look(path, "\n", &token), WHOSE_FORGED);
    path_by(secret, return_path, 7, 0, genuine);
    memcpy(path, genuine, sizeof path);
    at = strchr(path, '@') - 4;
    *at = *at == 'a' ? 'b' : 'a';
    assert_int_equal(look(path, "\n", &token), WHOSE_FORGED);
    /* A forged envelope is not made good by what the mail says. */
    (void)snprintf(mail, sizeof mail, "To: %s\n\n", genuine);
    assert_int_equal(look(path, mail, &token), WHOSE_FORGED);
    path_by(secret, elsewhere, 7, 0, path);
    assert_int_equal(look(path, "\n", &token), WHOSE_NONE);
    path_by(secret, return_path, 7, 90, path);
    assert_int_equal(look(path, "\n", &token), WHOSE_TOKEN);
    path_by(secret, return_path, 7, 91, path);
    assert_int_equal(look(path, "\n", &token), WHOSE_OLD);
    path_by(secret, return_path, 7, (unsigned)-3, path);
    assert_int_equal(look(path, "\n", &token), WHOSE_FORGED);
    assert_int_equal(look(NULL, "To: b-@bounce.news.test, b-aaaa@bounce.news.test\n\n@@@b-@", &token),
                     WHOSE_NONE);
    assert_int_equal(look("", "", &token), WHOSE_NONE);
}

static void a_mail_full_of_at_signs_is_read_in_no_time(void **state)
{
    const size_t length = 4u << 20;
    char *mail = malloc(length);
    struct whose_path path;
    clock_t before = clock(); /* of the CPU's time: a busy machine takes longer */

    (void)state;
    for (size_t i = 0; i < length; i++)
        mail[i] = "b-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@bounce.news.test "[i % 70];
    assert_int_equal(whose_find(&whose, NULL, mail, length, &path), WHOSE_NONE);
    memset(mail, '@', length);
    assert_int_equal(whose_find(&whose, NULL, mail, length, &path), WHOSE_NONE);
    assert_true(clock() - before < 5 * CLOCKS_PER_SEC);
    free(mail);
}

static void only_an_address_that_the_token_proves_is_named(void **state)
{
    char path[ADDRESS_MAX + 1];
    struct verp_token token;

    (void)state;
    path_by(secret, return_path, 7, 0, path);
    assert_int_equal(look(path, "\n", &token), WHOSE_TOKEN);
    assert_false(whose_is_named(&whose, &token, "bob@a.test"));
    assert_false(whose_is_named(&whose, &token, "no address"));
    assert_true(whose_is_named(&whose, &token, "ANN@a.TEST"));
    assert_true(whose_is_named(&whose, &token, "ann@a.test"));
}

/* A report about two people, of whom the token is one. */
static const char report[] = "To: %s\nSubject: Undelivered Mail Returned to Sender\nMIME-Version: 1.0\n"
                             "Content-Type: multipart/report; report-type=delivery-status; boundary=x\n\n"
                             "--x\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.a.test\n\n"
                             "Final-Recipient: rfc822; %s\nAction: failed\nStatus: 5.1.1\n"
                             "Diagnostic-Code: smtp; 550 5.1.1 User unknown\n\n"
                             "Final-Recipient: rfc822; %s\nAction: failed\nStatus: 4.2.2\n"
                             "Diagnostic-Code: smtp; 452 4.2.2 Mailbox full\n\n--x--\n";

static void what_the_mail_says_of_the_one_that_is_meant_counts(void **state)
{
    struct bounce_reader *reader = bounce_reader_new();
    char path[ADDRESS_MAX + 1], mail[4096];
    struct whose_said said;
    json_t *entry;
    static const struct {
        const char *first, *second, *reply_class;
    } rows[] = {{"ann@a.test", "bob@a.test", "mailbox-unknown"},
                {"bob@a.test", "ann@a.test", "mailbox-full"},
                /* neither is: the mildest counts */
                {"bob@a.test", "cid@a.test", "mailbox-full"}};

    (void)state;
    assert_non_null(reader);
    path_by(secret, return_path, 7, 0, path);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        (void)snprintf(mail, sizeof mail, report, path, rows[i].first, rows[i].second);
        assert_int_equal(whose_read(&whose, reader, path, mail, strlen(mail), &said), 0);
        assert_true(said.tells);
        assert_int_equal(said.found, WHOSE_TOKEN);
        entry = whose_entry(&said);
        assert_string_equal(json_string_value(json_object_get(entry, "token")), path);
        assert_string_equal(json_string_value(json_object_get(entry, "class")), rows[i].reply_class);
        assert_string_equal(json_string_value(json_object_get(entry, "ignored")), "");
        json_decref(entry);
    }
    (void)snprintf(mail, sizeof mail, report, "nobody@a.test", "ann@a.test", "ann@a.test");
    assert_int_equal(whose_read(&whose, reader, NULL, mail, strlen(mail), &said), 0);
    assert_int_equal(said.found, WHOSE_NONE);
    entry = whose_entry(&said);
    assert_string_equal(json_string_value(json_object_get(entry, "token")), "");
    assert_string_not_equal(json_string_value(json_object_get(entry, "ignored")), "");
    json_decref(entry);
    bounce_reader_free(reader);
}

/* Somebody's answer to us came back to us: our return path is who was not reached. */
static void a_bounce_of_our_own_return_path_is_about_nobody(void **state)
{
    struct bounce_reader *reader = bounce_reader_new();
    char path[ADDRESS_MAX + 1], capitals[ADDRESS_MAX + 1], mail[4096];
    struct whose_said said;

    (void)state;
    assert_non_null(reader);
    path_by(secret, return_path, 7, 0, path);
    memcpy(capitals, path, sizeof path);
    for (char *at = strchr(capitals, '@'); *at != '\0'; at++)
        *at = (char)toupper((unsigned char)*at);
    (void)snprintf(mail, sizeof mail, report, path, path, capitals);
    assert_int_equal(whose_read(&whose, reader, path, mail, strlen(mail), &said), 0);
    assert_int_equal(said.found, WHOSE_TOKEN);
    assert_false(said.tells);
    assert_int_equal(whose_read(&whose, reader, NULL, mail, strlen(mail), &said), 0);
    assert_false(said.tells);
    /* Who is named beside it is told of. */
    (void)snprintf(mail, sizeof mail, report, path, path, "ann@a.test");
    assert_int_equal(whose_read(&whose, reader, path, mail, strlen(mail), &said), 0);
    assert_true(said.tells);
    assert_string_equal(said.bounce.recipient, "ann@a.test");
    bounce_reader_free(reader);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_is_found_in_envelope_header_and_body),
        cmocka_unit_test(the_envelope_goes_before_the_header_and_the_header_before_the_body),
        cmocka_unit_test(what_is_forged_foreign_old_or_of_tomorrow_counts_for_nothing),
        cmocka_unit_test(a_mail_full_of_at_signs_is_read_in_no_time),
        cmocka_unit_test(only_an_address_that_the_token_proves_is_named),
        cmocka_unit_test(what_the_mail_says_of_the_one_that_is_meant_counts),
        cmocka_unit_test(a_bounce_of_our_own_return_path_is_about_nobody),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
