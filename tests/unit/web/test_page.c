/* Pages are whole, in two languages, and need nothing from elsewhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include "hikyaku/address.h"
#include "page.h"

static void every_page_is_there_in_both_languages(void **state)
{
    (void)state;
    for (int page = 0; page < PAGES_COUNT; page++)
        for (int language = LANGUAGE_EN; language <= LANGUAGE_JA; language++) {
            char *text = page_text((enum page)page, (enum route_language)language, "news.example.com");
            assert_non_null(text);
            assert_true(utf8_is_valid(text, strlen(text)));
            assert_non_null(
                strstr(text, language == LANGUAGE_JA ? "<html lang=\"ja\">" : "<html lang=\"en\">"));
            assert_non_null(strstr(text, "width=device-width"));
            assert_non_null(strstr(text, "</html>"));
            /* Nothing is loaded, nothing runs. */
            assert_null(strstr(text, "<script"));
            assert_null(strstr(text, "http:"));
            assert_null(strstr(text, "https:"));
            assert_null(strstr(text, "src="));
            assert_null(strstr(text, "href="));
            assert_null(strstr(text, "style="));
            assert_true((strstr(text, "<form method=\"post\">") != NULL) == (page == PAGE_ASK));
            assert_true(page_status((enum page)page) >= 200 && page_status((enum page)page) < 600);
            free(text);
        }
}

static void the_list_is_named_where_there_is_one(void **state)
{
    char *with = page_text(PAGE_ASK, LANGUAGE_EN, "news.example.com"),
         *without = page_text(PAGE_ASK, LANGUAGE_EN, NULL);

    (void)state;
    assert_non_null(strstr(with, "this list (news.example.com)?"));
    assert_non_null(strstr(without, "this list?"));
    free(with);
    free(without);
}

/* A browser applies the style only if its hash is the one in the policy. */
static void the_policy_names_the_style_of_the_pages(void **state)
{
    char *text = page_text(PAGE_ASK, LANGUAGE_JA, NULL), hash[64];
    const char *from = strstr(text, "<style>") + 7, *to = strstr(text, "</style>");
    unsigned char digest[SHA256_DIGEST_LENGTH];

    (void)state;
    SHA256((const unsigned char *)from, (size_t)(to - from), digest);
    EVP_EncodeBlock((unsigned char *)hash, digest, sizeof digest);
    assert_non_null(strstr(page_policy(), hash));
    assert_non_null(strstr(page_policy(), "default-src 'none'"));
    assert_null(strstr(page_policy(), "unsafe"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_page_is_there_in_both_languages),
        cmocka_unit_test(the_list_is_named_where_there_is_one),
        cmocka_unit_test(the_policy_names_the_style_of_the_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
