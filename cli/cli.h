/* cli.h - what the commands share: the configuration, words and status of a failure, and the way to the state.
 *
 * Errors go to standard error in one line each. Nothing here exits.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "hikyaku/node.h"

#define CLI_PLACE_WAIT_MS  30000u /* how long a command waits for another one to be done (design 3) */
#define CLI_PLACE_QUIET_MS 500u   /* of that without a word */

/* Read the configuration and set the log's level from it; NULL after the reason was printed. */
struct config *cli_config_load(const char *path);

/* Print why on standard error; the exit status that goes with the error: what the user can mend in his input
 * is EXIT_USAGE, what the machine refuses is EXIT_NEEDED, and a wait that a signal cut short EXIT_STOPPED. */
int cli_fail(int error, const struct hk_why *why);

/* Standard output does not take what was written (errno says why): HK_EIO with the words, and with none where the reader
 * just left, as `| head` does: cli_fail then prints nothing. */
int cli_output_failed(struct hk_why *why);
/* At the end of every command: what it printed has to arrive. `status`, or EXIT_NEEDED with the words, which are said once. */
int cli_output_end(int status) HK_MUST_USE;

/* Is `text` a campaign ID? Prints what is wrong where it is not. */
bool cli_campaign_id_check(const char *text);

/* A list from standard input has to come from a pipe or a file: prints what to write where it is a terminal. */
bool cli_standard_input_check(const char *list);

/* SIGINT and SIGTERM from now on only set a flag, until node_run takes them over. */
void cli_signals_catch(void);
bool cli_interrupted(void);

/* node_enter() that says for whom it waits. */
int cli_enter(const struct config *config, struct node_place *place, struct hk_why *why) HK_MUST_USE;

/* Redis, either beside a running node or in its place. A place is held until reach_close: no node can start
 * meanwhile. */
struct reach {
    const struct config *config;
    struct store *store;
    struct node_place place;
    bool node_runs;    /* the place is a running node's, not ours */
    bool node_answers; /* it has, once */
};
int reach_open(const struct config *config, struct reach *out, struct hk_why *why) HK_MUST_USE;
void reach_close(struct reach *reach);
/* Was a running node found that is none any more? Who did not get his answer closes and opens again: what it left is there. */
bool reach_node_ended(const struct reach *reach) HK_MUST_USE;
/* The manifest of a campaign; HK_ENOENT with words for the user when there is none. */
int reach_campaign(const struct reach *reach, const char *campaign, struct manifest *out,
                   struct hk_why *why) HK_MUST_USE;
/* Is there a campaign that was begun here and of which Redis knows nothing any more? HK_EDOWN, and why says what to do; else 0. */
int reach_lost(const struct reach *reach, struct hk_why *why) HK_MUST_USE;

#endif
