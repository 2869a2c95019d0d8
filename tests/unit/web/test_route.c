/* A request line is a place of ours with a token or secret, or nothing; and the language is the one that is liked best. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "route.h"

#define SECRET "abcdefghijklmnop-Q"

static struct route_table table_of(char *url, const char *secret)
{
    static char topic[] = "arn:aws:sns:us-east-1:123456789012:ses", path[] = "/hooks/sns";
    static char *topics[] = {topic};
    struct config config = {.sender.unsubscribe_url = url,
                            .sns = {.topics = {.item = topics, .count = 1}, .path = path}};
    struct route_table table;

    assert_int_equal(route_table_make(&config, secret, &table, NULL), 0);
    return table;
}

static void is(const struct route_table *table, const char *target, enum route_what what, const char *token)
{
    struct route route;

    route_read(table, target, &route);
    if (route.what != what || strcmp(route.token, token) != 0)
        fail_msg("%s: %d \"%s\"", target, (int)route.what, route.token);
}

static void a_token_stands_behind_the_url_as_a_path_or_a_query(void **state)
{
    char path[] = "https://u.test/u/", query[] = "https://u.test/u?t=", bare[] = "https://u.test";
    struct route_table a = table_of(path, NULL), b = table_of(query, NULL), c = table_of(bare, NULL);

    (void)state;
    is(&a, "/u/abc234", ROUTE_UNSUBSCRIBE, "abc234");
    is(&a, "/u/ABC234", ROUTE_UNSUBSCRIBE, "abc234");
    is(&a, "/u/abc234?utm=x", ROUTE_UNSUBSCRIBE, "abc234");
    is(&a, "/u/abc234/", ROUTE_UNSUBSCRIBE, "abc234");
    is(&a, "/u/abc234/x", ROUTE_UNSUBSCRIBE, "");
    is(&a, "/u/", ROUTE_UNSUBSCRIBE, "");
    is(&a, "/u/a%20b", ROUTE_UNSUBSCRIBE, "");
    is(&a, "/u/../etc", ROUTE_UNSUBSCRIBE, "");
    is(&a, "/u/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", ROUTE_UNSUBSCRIBE, "");
    is(&a, "/u", ROUTE_NONE, "");
    is(&a, "/", ROUTE_NONE, "");
    is(&a, "", ROUTE_NONE, "");
    is(&b, "/u?t=abc", ROUTE_UNSUBSCRIBE, "abc");
    is(&b, "/u?t=abc&x=1", ROUTE_UNSUBSCRIBE, "abc");
    is(&b, "/u?s=abc", ROUTE_NONE, "");
    is(&c, "/?abc", ROUTE_UNSUBSCRIBE, "abc");
}

static void raw_delivery_needs_all_of_its_secret(void **state)
{
    struct route_table with = table_of(NULL, SECRET), without = table_of(NULL, NULL);

    (void)state;
    is(&with, "/hooks/sns", ROUTE_SNS, "");
    is(&with, "/hooks/sns?x=1", ROUTE_SNS, "");
    is(&with, "/hooks/sns/" SECRET, ROUTE_RAW, "");
    is(&with, "/hooks/sns/" SECRET "x", ROUTE_NONE, "");
    is(&with, "/hooks/sns/abcdefghijklmnop-", ROUTE_NONE, "");
    is(&with, "/hooks/sns/", ROUTE_NONE, "");
    is(&with, "/hooks/snsx", ROUTE_NONE, "");
    is(&without, "/hooks/sns", ROUTE_SNS, "");
    is(&without, "/hooks/sns/", ROUTE_NONE, "");
    is(&without, "/u/abc", ROUTE_NONE, "");
}

static void a_secret_that_can_be_guessed_is_refused(void **state)
{
    struct config config = {.sns.path = NULL};
    char path[] = "/sns";
    struct route_table table;

    (void)state;
    config.sns.path = path;
    assert_int_equal(route_table_make(&config, "short", &table, NULL), HK_EINVAL);
    assert_int_equal(route_table_make(&config, "", &table, NULL), HK_EINVAL);
    assert_int_equal(route_table_make(&config, "abcdefghijklmnop/../", &table, NULL), HK_EINVAL);
    assert_int_equal(route_table_make(&config, SECRET, &table, NULL), 0);
}

static void the_language_that_is_liked_best_is_taken(void **state)
{
    static const struct {
        const char *accept;
        enum route_language language;
    } cases[] = {
        {"", LANGUAGE_EN},
        {"ja", LANGUAGE_JA},
        {"ja-JP", LANGUAGE_JA},
        {"JA", LANGUAGE_JA},
        {"jax", LANGUAGE_EN},
        {"ja,en-US;q=0.9,en;q=0.8", LANGUAGE_JA},
        {"en-US,en;q=0.9,ja;q=0.8", LANGUAGE_EN},
        {"en;q=0.2, ja;q=0.3", LANGUAGE_JA},
        {"de, ja;q=0.1", LANGUAGE_JA},
        {"*, ja;q=0.5", LANGUAGE_EN},
        {"ja;q=0", LANGUAGE_EN},
        {"ja;q=x", LANGUAGE_EN},
        {"ja;q=", LANGUAGE_EN},
        {"ja;q=99999999999999999999999", LANGUAGE_JA},
        {",,,;;;===", LANGUAGE_EN},
        {" \t ja \t ;q=0.7", LANGUAGE_JA},
    };

    (void)state;
    assert_int_equal(route_language(NULL), LANGUAGE_EN);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (route_language(cases[i].accept) != cases[i].language)
            fail_msg("%s", cases[i].accept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_token_stands_behind_the_url_as_a_path_or_a_query),
        cmocka_unit_test(raw_delivery_needs_all_of_its_secret),
        cmocka_unit_test(a_secret_that_can_be_guessed_is_refused),
        cmocka_unit_test(the_language_that_is_liked_best_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
