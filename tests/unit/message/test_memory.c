/* test_memory.c - no memory, at every place where memory is asked for: HK_ENOMEM, and nothing lost or broken. */
#include "fixture.h"

#include "faults.h"
#include "openssl_faults.h"

static const char template[] =
    "Received: from x\r\nMessage-ID: <old@x>\r\nCc: c@example.com\r\nX-Jis: \x1B$B;3ED\x1B(B\r\n"
    "X-Cut: =?ISO-2022-JP?B?GyRCOzNFRBsoQg==?= =?UTF-8?Q?=E6?= =?UTF-8?Q?=97=A5?= {{name}}\r\n"
    "From: 飛脚 {{name}} <a@example.com>\r\nTo: {{name}} <{{email}}>\r\nReply-To: {{city}}, b@example.com\r\n"
    "Subject: =?UTF-8?B?44GT?= {{name}}\r\nX-Long: 日本 {{#name}}{{city}}{{/name}}\r\n"
    "Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\n\r\nDear {{name}},\r\n.\r\n{{city}}\r\n"
    "--b\r\nContent-Type: text/html; charset=iso-2022-jp\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    "PG1ldGEgY2hhcnNldD1pc28tMjAyMi1qcD57e25hbWV9fTwvYj4=\r\n--b\r\nContent-Type: text/plain; "
    "charset=utf-8\r\n\r\n"
    "日本語の本文がここにあり、六十オクテットより長いので三回まで符号化されるはずです。{{name}} "
    "終わり\r\n--b\r\n"
    "Content-Type: text/plain; charset=x-none\r\n\r\n.stuffed\r\n--b--\r\n";

/* The n-th allocation fails: no memory, or the very message that it should be. False when there was no n-th. */
static bool try_once(struct fixture *f, unsigned nth, const struct segment_record *record)
{
    struct message *message = NULL;
    struct copy copy = {0};
    size_t used = 0;
    int error;

    fault_arm(FAULT_MEMORY, nth);
    error = fixture_compile(f, template, sizeof template - 1, &message);
    if (error == 0)
        error = copy_made(message, record, 7, &copy);
    bool failed = fault_disarm();
    assert_true(error == 0 || (failed && error == HK_ENOMEM));
    if (message != NULL) {
        assert_int_equal(copy_made(message, record, 7, &copy), 0);
        assert_int_equal(copy.bytes, strlen(f->text));
        for (size_t i = 0; i < copy.iov_count; used += copy.iov[i++].iov_len)
            assert_memory_equal(copy.iov[i].iov_base, f->text + used, copy.iov[i].iov_len);
    }
    copy_free(&copy);
    message_free(message);
    return failed;
}

static void compile_and_render_survive_any_allocation_that_fails(void **state)
{
    struct fixture *f = *state;
    struct segment_record record = fixture_record("user@example.net", "山田 <b>", "Edo");
    unsigned nth = 1;

    (void)rendered_record(f, template, &record);
    while (try_once(f, nth, &record))
        nth++;
    assert_true(nth > 50);
}

static void loading_a_signer_survives_any_allocation_that_fails(void **state)
{
    struct fixture *f = *state;
    int error = HK_ENOMEM;

    f->config.dkim_count = 2;
    for (unsigned nth = 1; error != 0; nth++) {
        struct signer *signer;

        fault_arm(FAULT_MEMORY, nth);
        error = signer_load(&f->config, &signer, &f->why);
        assert_int_equal(error != 0, fault_disarm());
        if (error == 0)
            signer_free(signer);
    }
    f->config.dkim_count = 0;
}

static char *text_of(const struct copy *copy)
{
    char *text = malloc(copy->bytes + 1);
    size_t used = 0;

    assert_non_null(text);
    for (size_t i = 0; i < copy->iov_count; used += copy->iov[i++].iov_len)
        memcpy(text + used, copy->iov[i].iov_base, copy->iov[i].iov_len);
    text[used] = '\0';
    return text;
}

/* Both signatures, of RSA and of Ed25519, with the n-th allocation of OpenSSL failing: none, or the very same copy. */
static void a_copy_that_openssl_cannot_sign_is_none(void **state)
{
    struct fixture *f = *state;
    struct segment_record record = fixture_record("user@example.net", "Yamada", "Edo");
    struct signer *unsigned_signer = f->signer;
    struct message *message;
    struct copy copy = {0};
    bool struck = true;
    unsigned nth = 1, none = 0;

    f->config.dkim_count = 2;
    assert_int_equal(signer_load(&f->config, &f->signer, &f->why), 0);
    assert_int_equal(fixture_compile(f, template, sizeof template - 1, &message), 0);
    assert_int_equal(copy_made(message, &record, 7, &copy), 0);
    char *whole = text_of(&copy), mail_from[sizeof copy.mail_from];
    (void)snprintf(mail_from, sizeof mail_from, "%s", copy.mail_from);
    assert_non_null(strstr(whole, "a=rsa-sha256"));
    assert_non_null(strstr(whole, "a=ed25519-sha256"));
    for (; struck; nth++) {
        copy.mail_from[0] = '\0';
        fault_arm(FAULT_LIBRARY, nth);
        int error = copy_made(message, &record, 7, &copy);
        struck = fault_disarm();
        none += error != 0;
        if (error != 0) {
            assert_true(struck);
            assert_int_equal(error, HK_ENOMEM);
            continue;
        }
        char *text = text_of(&copy);
        assert_string_equal(text, whole);
        assert_string_equal(copy.mail_from, mail_from);
        free(text);
    }
    assert_true(none > 10);
    free(whole);
    copy_free(&copy);
    message_free(message);
    signer_free(f->signer);
    f->signer = unsigned_signer;
    f->config.dkim_count = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compile_and_render_survive_any_allocation_that_fails),
        cmocka_unit_test(loading_a_signer_survives_any_allocation_that_fails),
        cmocka_unit_test(a_copy_that_openssl_cannot_sign_is_none),
    };

    if (!openssl_ask(fault_strikes))
        return 1;

    return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
