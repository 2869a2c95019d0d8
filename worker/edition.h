/* edition.h - what a worker keeps of each campaign: its segments, mapped as one, and its message, compiled for them.
 *
 * Keyed by the region's campaign slot and its generation. Loaded from state_dir/campaigns/ID/ when
 * the first descriptor asks. Letters hold references: when a slot is used for another campaign, what is still
 * under way keeps the old edition alive. A campaign that cannot be loaded is said once in the log, tried again not
 * sooner than EDITION_AGAIN_MS, and its words go back with every descriptor.
 */
#ifndef WORKER_EDITION_H
#define WORKER_EDITION_H

#include "hikyaku/message.h"
#include "hikyaku/region.h"
#include "hikyaku/segment.h"

#define EDITION_AGAIN_MS 5000u

struct edition {
    struct segment *segment;
    struct message *message;
    uint32_t refs; /* the shelf's own, and one for each letter */
};

struct shelf; /* all editions of one worker */

struct shelf *shelf_new(const struct config *config, const struct region *region,
                        const struct signer *signer);
void shelf_free(struct shelf *shelf);

/* A reference to the edition, or NULL with *fault (good until the next call). */
struct edition *edition_get(struct shelf *shelf, uint32_t campaign, uint64_t now_ms, const char **fault);
void edition_unref(struct edition *edition);

#endif
