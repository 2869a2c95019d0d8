/* fuzz_whose.c - any bytes as a mail that came back: whatever stands around a token of ours (a byte 0x01 stands for one, 0x02 for one
 * of another recipient, 0x03 for a forged one), no other one is ever found. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hikyaku/whose.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAIL_MAX 65536u

static struct whose whose;
static struct bounce_reader *reader;
static char path[3][ADDRESS_MAX + 1];
static char *mail;

static void make_paths(const struct signer *signer)
{
    for (uint32_t i = 0; i < 3; i++) {
        const struct token_subject subject = {.campaign = "c1",
                                              .address = "ann@a.test",
                                              .address_length = 10,
                                              .index = 1 + i % 2,
                                              .day = VERP_DAY(clock_wall_us())};
        HK_BUG_ON(verp_make(signer, &subject, path[i]) != 0);
    }
    char *last = strchr(path[2], '@') - 1;
    *last = *last == 'a' ? 'c' : 'a';
}

static void set_up(void)
{
    static char from_domain[] = "news.test", return_path[] = "bounce.news.test";
    static char directory[] = "/tmp/hikyaku-fuzz-whose-XXXXXX", secret[64];
    static struct config config;
    struct signer *signer;
    struct hk_why why;

    HK_BUG_ON(mkdtemp(directory) == NULL);
    (void)snprintf(secret, sizeof secret, "%s/verp.key", directory);
    HK_BUG_ON(keygen_verp(secret, &why) != 0);
    config.sender.from_domain = from_domain;
    config.sender.return_path = return_path;
    config.sender.secret_file = secret;
    HK_BUG_ON(signer_load_tokens(&config, &signer, &why) != 0);
    (void)unlink(secret);
    (void)rmdir(directory);
    make_paths(signer);
    whose = (struct whose){.signer = signer, .token_age_s = 90 * 86400};
    reader = bounce_reader_new();
    mail = malloc(MAIL_MAX);
    HK_BUG_ON(reader == NULL || mail == NULL);
}

/* With the paths in their places. */
static size_t write_mail(const uint8_t *data, size_t size)
{
    size_t length = 0;

    for (size_t i = 0; i < size && length + ADDRESS_MAX + 1 < MAIL_MAX; i++) {
        if (data[i] < 1 || data[i] > 3) {
            mail[length++] = (char)data[i];
            continue;
        }
        size_t bytes = strlen(path[data[i] - 1]);
        memcpy(mail + length, path[data[i] - 1], bytes);
        length += bytes;
    }
    return length;
}

/* The two that hold are all that there are: no other can be made without the secret. */
static bool is_one_of_ours(const struct whose_path *found)
{
    return (found->token.index == 1 || found->token.index == 2) &&
           strcasecmp(found->address, path[found->token.index - 1]) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct whose_said said;
    json_t *entry;

    if (reader == NULL)
        set_up();
    size_t length = write_mail(data, size);
    HK_BUG_ON(whose_read(&whose, reader, NULL, mail, length, &said) < 0);
    HK_BUG_ON(said.found == WHOSE_TOKEN && !is_one_of_ours(&said.path));
    entry = whose_entry(&said);
    HK_BUG_ON(entry == NULL);
    json_decref(entry);
    return 0;
}
