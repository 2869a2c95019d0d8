/* fuzz_web.c - what a stranger writes into a request: the first byte chooses a request target or an Accept-Language (route.h).
 * A token that is taken is one that could be looked up, whatever the bytes. */
#include <ctype.h>
#include <string.h>

#include "route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char secret[] = "abcdefghijklmnop-Q";

static const struct route_table *tables(void)
{
    static struct route_table table[2];
    static char topic[] = "arn:aws:sns:us-east-1:123456789012:ses", path[] = "/sns",
                one[] = "https://u.test/u/", two[] = "https://u.test/s?t=";
    static char *topics[] = {topic};
    struct config config = {.sns = {.topics = {.item = topics, .count = 1}, .path = path}};

    if (table[0].sns[0] == '\0') {
        config.sender.unsubscribe_url = one;
        HK_BUG_ON(route_table_make(&config, secret, &table[0], NULL) != 0);
        config.sender.unsubscribe_url = two;
        HK_BUG_ON(route_table_make(&config, NULL, &table[1], NULL) != 0);
    }
    return table;
}

static void check_target(const char *text)
{
    for (int i = 0; i < 2; i++) {
        const struct route_table *table = tables() + i;
        struct route route;
        route_read(table, text, &route);
        HK_BUG_ON(route.token[0] != '\0' && route.what != ROUTE_UNSUBSCRIBE);
        HK_BUG_ON(strlen(route.token) > ROUTE_TOKEN_MAX);
        for (const char *c = route.token; *c != '\0'; c++)
            HK_BUG_ON(!isdigit((unsigned char)*c) && !islower((unsigned char)*c));
        if (route.what == ROUTE_RAW)
            HK_BUG_ON(i == 1 || strncmp(text, "/sns/", 5) != 0 ||
                      strncmp(text + 5, secret, sizeof secret - 1) != 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text;

    if (size == 0)
        return 0;
    text = malloc(size); /* of exactly its size, for the address sanitizer */
    HK_BUG_ON(text == NULL);
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    if (data[0] & 1)
        check_target(text);
    else
        HK_BUG_ON(route_language(text) != LANGUAGE_EN && route_language(text) != LANGUAGE_JA);
    free(text);
    return 0;
}
