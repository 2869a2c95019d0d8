/* Credentials: the password of SES, what goes on the wire, and what may stand in a log. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "login.h"

static char path[64];

static void write_file(const char *text)
{
    FILE *file;
    int fd;

    snprintf(path, sizeof path, "/tmp/hikyaku-login-XXXXXX");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    file = fdopen(fd, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void the_password_of_ses_is_made_of_the_secret_key(void **state)
{
    static const char *const cases[][3] = {
        {"some+secret+key", "eu-central-1", "BMXhUYlu5Z3gSXVQORxlVa7XPaz91aGWdfHxvkOZdWZ2"},
        {"another+secret+key", "eu-central-1", "BBbphbrQmrKMx42d1N6+C7VINYEBGI5v9VsZeTxwskfh"},
        {"some+secret+key", "us-west-1", "BH+jbMzper5WwlwUar9E1ySBqHa9whi0GPo+sJ0mVYJj"},
        {"another+secret+key", "us-west-1", "BKVmjjMDFk/qqw8EROW99bjCS65PF8WKvK5bSr4Y6EqF"},
    };
    char out[SES_PASSWORD_SIZE];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(ses_password(cases[i][0], cases[i][1], out), 0);
        assert_string_equal(out, cases[i][2]);
    }
}

static void a_secret_key_file_gives_the_password_of_its_region(void **state)
{
    struct login login = {0};
    struct hk_why why;

    (void)state;
    write_file("some+secret+key\n");
    assert_int_equal(login_load(&(struct cfg_route){.domain = "*",
                                                    .profile = RELAY_SES,
                                                    .region = "us-west-1",
                                                    .user = "AKIA",
                                                    .secret_key_file = path},
                                &login, &why),
                     0);
    unlink(path);
    assert_true(login.given);
    assert_string_equal(login.secret, "BH+jbMzper5WwlwUar9E1ySBqHa9whi0GPo+sJ0mVYJj");
    assert_string_equal(login.user, "QUtJQQ==");
}

static void only_the_first_line_counts_and_every_form_is_masked(void **state)
{
    char text[256] = "who is AG1lAGNvcnJlY3QgaG9yc2U= or Y29ycmVjdCBob3JzZQ== or correct horse?";
    struct login login = {0};
    struct hk_why why;

    (void)state;
    write_file("correct horse\r\nmore\n");
    assert_int_equal(
        login_load(&(struct cfg_route){.domain = "*", .user = "me", .password_file = path}, &login, &why), 0);
    unlink(path);
    assert_string_equal(login.plain, "AG1lAGNvcnJlY3QgaG9yc2U=");
    login_mask(&login, text, strlen(text));
    assert_string_equal(text, "who is ************************ or ******************** or *************?");
    login_mask(NULL, text, strlen(text));
}

static void what_cannot_be_a_password_is_refused_by_the_name_of_its_file(void **state)
{
    struct cfg_route route = {.domain = "*", .user = "me", .password_file = path};
    struct login login = {0};
    struct hk_why why;
    char long_one[DIALOGUE_SECRET_MAX + 3];

    (void)state;
    write_file("\nsecond line\n");
    assert_int_equal(login_load(&route, &login, &why), HK_EINVAL);
    assert_non_null(strstr(why.text, path));
    assert_null(strstr(why.text, "second"));
    unlink(path);
    memset(long_one, 'x', sizeof long_one - 1);
    long_one[sizeof long_one - 1] = '\0';
    write_file(long_one);
    assert_int_equal(login_load(&route, &login, &why), HK_EINVAL);
    assert_null(strstr(why.text, "xxx"));
    unlink(path);
    assert_true(login_load(&route, &login, &why) < 0); /* gone */
    assert_false(login.given);
}

static void without_a_user_there_is_no_log_in(void **state)
{
    struct login login = {0};
    struct hk_why why;

    (void)state;
    assert_int_equal(login_load(&(struct cfg_route){.domain = "*"}, &login, &why), 0);
    assert_false(login.given);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_password_of_ses_is_made_of_the_secret_key),
        cmocka_unit_test(a_secret_key_file_gives_the_password_of_its_region),
        cmocka_unit_test(only_the_first_line_counts_and_every_form_is_masked),
        cmocka_unit_test(what_cannot_be_a_password_is_refused_by_the_name_of_its_file),
        cmocka_unit_test(without_a_user_there_is_no_log_in),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
