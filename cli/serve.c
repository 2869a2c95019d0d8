/* serve.c - hikyaku serve: be the node until told to stop. */
#include <signal.h>

#include "cli.h"
#include "commands.h"
#include "files.h"
#include "hikyaku/inbound.h"
#include "hikyaku/resolve.h"
#include "hikyaku/web.h"

/* What faces the network, and what it may ask of the master. */
static const char *const inbound_requests[] = {"bounce", "unsubscribe", NULL};
static const char *const web_requests[] = {"bounce", "unsubscribe", NULL};
static const struct front_kind fronts[] = {
    {.name = "inbound", .listens = inbound_listens, .main = inbound_main, .requests = inbound_requests},
    {.name = "web", .listens = web_listens, .main = web_main, .requests = web_requests},
};

int cmd_serve(const struct cli_options *options)
{
    struct process_table processes = {.worker = worker_main,
                                      .resolver = resolver_main,
                                      .front = fronts,
                                      .fronts = sizeof fronts / sizeof fronts[0]};
    struct node_options node = {.processes = &processes};
    struct config *config = cli_config_load(options->config);
    struct node_place place;
    struct hk_why why;
    int status;

    if (config == NULL)
        return EXIT_USAGE;
    cli_signals_catch();
    (void)signal(SIGHUP, SIG_IGN); /* of the terminal it was started from: nothing is read anew */
    int error = files_check(config, true, &why);
    if (error == 0)
        error = cli_enter(config, &place, &why);
    if (error == HK_EBUSY && cli_interrupted()) {
        status = EXIT_SETTLED; /* told to stop before it was there */
    } else if (error < 0) {
        status = cli_fail(error, &why);
    } else {
        status = node_run(config, &place, &node);
        node_leave(config, &place);
    }
    config_free(config);
    return status;
}
