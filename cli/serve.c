/* serve.c - hikyaku serve: be the node until told to stop. */
#include "cli.h"
#include "commands.h"
#include "hikyaku/message.h"
#include "hikyaku/resolve.h"

/* The workers load the keys, each for itself and without a word: what is wrong with them is said here, once. */
static int check_keys(const struct config *config, struct hk_why *why)
{
    struct signer *signer;
    size_t count;
    int error = signer_load(config, &signer, why);

    if (error < 0)
        return error;
    const struct note *note = signer_notes(signer, &count);
    notes_log(note, count);
    signer_free(signer);
    return 0;
}

int cmd_serve(const struct cli_options *options)
{
    struct process_table processes = {.worker = worker_main, .resolver = resolver_main};
    struct node_options node = {.processes = &processes};
    struct config *config = cli_config_load(options->config);
    struct node_place place;
    struct hk_why why;
    int status;

    if (config == NULL)
        return EXIT_USAGE;
    int error = check_keys(config, &why);
    if (error == 0)
        error = node_enter(config, CLI_PLACE_WAIT_MS, &place, &why);
    if (error < 0) {
        status = cli_fail(error, &why);
    } else {
        status = node_run(config, &place, &node);
        node_leave(config, &place);
    }
    config_free(config);
    return status;
}
