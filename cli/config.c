/* config.c - hikyaku config check: is this configuration right, and what does it mean in full. */
#include "cli.h"
#include "commands.h"

int cmd_config_check(const struct cli_options *options)
{
    struct config *config = cli_config_load(options->config);
    if (config == NULL)
        return EXIT_USAGE;
    config_print(config, stdout);
    config_free(config);
    return fflush(stdout) == 0 ? EXIT_SETTLED : EXIT_NEEDED;
}
