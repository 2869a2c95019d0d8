/* fuzz_template.c - any bytes as a template: compiled or refused in words, then rendered with hostile values.
 *
 * The last octets of the input choose the values. What is checked beside the sanitizers: words on refusal, the
 * sum of the iovec, no bare CR or LF, no line over 998 octets, no octet above ASCII, no dot line.
 */
#include <string.h>
#include <unistd.h>

#include "hikyaku/message.h"

static const char *const COLUMN[] = {"email", "name", "city"};

static struct config config;
static struct signer *signer;

static void setup(void)
{
    static char secret[64], from[] = "example.com", url[] = "https://u.example.com/",
                            list_id[] = "news.example.com", file[] = "fuzz.conf";
    struct hk_why why;

    log_setup(LOG_LEVEL_ERROR, "fuzz");
    config.file = file;
    config.sender.from_domain = from;
    config.sender.return_path = from;
    (void)snprintf(secret, sizeof secret, "/tmp/hikyaku-fuzz-verp.%d", (int)getpid());
    config.sender.secret_file = secret;
    config.sender.unsubscribe_url = url;
    config.sender.list_id = list_id;
    HK_BUG_ON(keygen_verp(secret, &why) != 0);
    HK_BUG_ON(signer_load(&config, &signer, &why) != 0);
    (void)remove(secret);
}

static void check_wire(const struct copy *copy)
{
    size_t sum = 0, line = 0;
    bool cr = false, dot = false;

    for (size_t i = 0; i < copy->iov_count; i++) {
        const unsigned char *at = copy->iov[i].iov_base;

        sum += copy->iov[i].iov_len;
        for (size_t k = 0; k < copy->iov[i].iov_len; k++) {
            HK_BUG_ON(at[k] >= 0x80 || (at[k] == '\n') != cr);
            HK_BUG_ON(dot && line == 1 && at[k] != '.');
            cr = at[k] == '\r';
            line = at[k] == '\n' ? 0 : line + 1;
            dot = line == 1 && at[k] == '.';
            HK_BUG_ON(line > 999 + 1); /* CR, and a stuffed dot */
        }
    }
    HK_BUG_ON(sum != copy->bytes || line != 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const values[] = {
        "",        "Ann", "山田", "a\r\n.\r\nb", "\r\n--b\r\n", "=?utf-8?q?x?=",
        "\"<,>\"", "\n",  "x y",  ". ",          "\x01\x02",    "-----------------------------"};
    static const char email[] = "user@example.net";
    struct segment_record record = {
        .email = email, .wire = email, .email_length = 16, .wire_length = 16, .wire_local_length = 4};
    struct message *message;
    struct hk_why why = {{0}};
    struct copy copy = {0};

    if (signer == NULL)
        setup();
    for (unsigned i = 1; i < 3; i++) {
        const char *value = values[size > i ? data[size - i] % (sizeof values / sizeof values[0]) : 0];

        record.field[i] = (struct segment_field){value, (uint32_t)strlen(value)};
    }
    if (message_compile("fuzz", (const char *)data, size, &config, signer, "c", COLUMN, 3, &message, &why) !=
        0) {
        HK_BUG_ON(why.text[0] == 0);
        return 0;
    }
    for (unsigned i = 0; i < 2; i++) {
        HK_BUG_ON(message_render(message, &record, 0, i, 1795000000000000u, &copy) != 0);
        HK_BUG_ON(message_sign(message, &copy) != 0);
        check_wire(&copy);
    }
    copy_free(&copy);
    message_free(message);
    return 0;
}
