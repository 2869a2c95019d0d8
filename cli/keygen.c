/* keygen.c - hikyaku keygen dkim | verp: make a key file, once, and say what to do with it. */
#include <string.h>

#include "cli.h"
#include "commands.h"
#include "hikyaku/message.h"

int cmd_keygen_dkim(const struct cli_options *options)
{
    const char *type = options->type ? options->type : "rsa";
    struct hk_why why;
    char *record = NULL;
    int error;

    if (strcmp(type, "rsa") != 0 && strcmp(type, "ed25519") != 0) {
        fprintf(stderr,
                "hikyaku keygen dkim: there is no such kind of key; write --type rsa or --type ed25519\n");
        return EXIT_USAGE;
    }
    error = keygen_dkim(strcmp(type, "rsa") == 0 ? DKIM_RSA2048 : DKIM_ED25519, options->domain,
                        options->selector, options->out, &record, &why);
    if (error < 0)
        return cli_fail(error, &why);
    printf("%s\n", record);
    free(record);
    return EXIT_SETTLED;
}

int cmd_keygen_verp(const struct cli_options *options)
{
    struct hk_why why;
    int error = keygen_verp(options->out, &why);
    return error < 0 ? cli_fail(error, &why) : EXIT_SETTLED;
}
