/* config.c - hikyaku config check: is this configuration right, and what does it mean in full. */
#include "cli.h"
#include "commands.h"
#include "files.h"

int cmd_config_check(const struct cli_options *options)
{
    struct config *config = cli_config_load(options->config);
    struct hk_why why;
    int error, status;

    if (config == NULL)
        return EXIT_USAGE;
    error = files_check(config, true, &why);
    if (error < 0) {
        status = cli_fail(error, &why);
    } else {
        config_print(config, stdout);
        status = EXIT_SETTLED;
    }
    config_free(config);
    return status;
}
