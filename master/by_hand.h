/* by_hand.h - what a person changes of the suppression lists: a line in the event log, then Redis.
 *
 * `suppress add | remove | import` and `bounce apply | drop` come here, from whoever types them while the node runs, or in a
 * short-lived one. What changes nothing has no line. The line says all that the entry has, so that told again on an empty
 * Redis it makes the same one:
 *   {"type":"suppression","change":"added","recipient":...,"scope":...,"reason":...,"source":...,"since":TIME}
 * change is added, removed, applied or dropped (suppress.h); "evidence" and "until" where the entry has them. Of a removal
 * it is what was there.
 */
#ifndef MASTER_BY_HAND_H
#define MASTER_BY_HAND_H

#include <jansson.h>

#include "master.h"

#define BY_HAND_MAX 4096u /* in one request */

/* The answer to {"command":"suppress", "change":WORD, "entries":[[address, scope, reason, source, evidence, time_us, until_s],
 * ...]}; the caller's. "changed": an array of true and false, one for each. */
json_t *by_hand_take(struct node *node, const json_t *request);

/* A line that is told again. */
struct by_hand_line {
    enum suppress_change change;
    struct suppress_entry entry;
    uint64_t time_us; /* of the line */
};
/* Read one (without its newline); false: it is none. Pure. */
bool by_hand_line(const char *text, size_t length, struct by_hand_line *out) HK_MUST_USE;
/* With the ledger's next flush. HK_ENOMEM, HK_EFULL. */
int by_hand_retell(struct node *node, const struct by_hand_line *line) HK_MUST_USE;

#endif
