/* test_bounce_whose.c - who is meant by a mail that came back: the token decides (cli/bounce_whose.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "bounce_whose.h"

#define DAY_US 86400000000ull

static char directory[] = "/tmp/hikyaku-whose-XXXXXX";
static char from_domain[] = "news.test", return_path[] = "bounce.news.test", secret[64], other_secret[64];
static struct config config;
static struct whose *whose;

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
    assert_int_equal(whose_open(&config, NULL, &whose, &why), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    whose_close(whose);
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
    return whose_token(whose, envelope, mail, strlen(mail), token);
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
    struct verp_token token;
    uint64_t before_ms = clock_now_ms();

    (void)state;
    for (size_t i = 0; i < length; i++)
        mail[i] = "b-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa@bounce.news.test "[i % 70];
    assert_int_equal(whose_token(whose, NULL, mail, length, &token), WHOSE_NONE);
    memset(mail, '@', length);
    assert_int_equal(whose_token(whose, NULL, mail, length, &token), WHOSE_NONE);
    assert_true(clock_now_ms() - before_ms < 5000);
    free(mail);
}

static void an_address_that_the_token_proves_becomes_the_recipient(void **state)
{
    char path[ADDRESS_MAX + 1];
    struct verp_token token;
    struct recipient recipient = {0};

    (void)state;
    path_by(secret, return_path, 7, 0, path);
    assert_int_equal(look(path, "\n", &token), WHOSE_TOKEN);
    assert_false(whose_is_named(whose, &token, &recipient, "bob@a.test"));
    assert_false(whose_is_named(whose, &token, &recipient, "no address"));
    assert_string_equal(recipient.address, "");
    assert_true(whose_is_named(whose, &token, &recipient, "ANN@a.TEST"));
    assert_string_equal(recipient.address, "ANN@a.test");
    assert_true(whose_is_named(whose, &token, &recipient, "ann@a.test"));
    assert_false(whose_is_named(whose, &token, &recipient, "bob@a.test"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_is_found_in_envelope_header_and_body),
        cmocka_unit_test(the_envelope_goes_before_the_header_and_the_header_before_the_body),
        cmocka_unit_test(what_is_forged_foreign_old_or_of_tomorrow_counts_for_nothing),
        cmocka_unit_test(a_mail_full_of_at_signs_is_read_in_no_time),
        cmocka_unit_test(an_address_that_the_token_proves_becomes_the_recipient),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
