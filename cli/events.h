/* events.h - what the event log says: its newest part, line by line. */
#ifndef CLI_EVENTS_H
#define CLI_EVENTS_H

#include <jansson.h>

#include "cli.h"

/* Call fn for each line of the newest `bytes` of the current event log that names `campaign` (NULL: whatever it names) and
 * holds `text`, in their order. Lines that are no JSON are passed over, and so is a log that cannot be read: it is a help, the ledger rules. */
void events_scan(const struct config *config, uint64_t bytes, const char *campaign, const char *text,
                 void (*fn)(void *context, const json_t *line), void *context);

#endif
