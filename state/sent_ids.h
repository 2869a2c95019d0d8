/* sent_ids.h - where Redis keeps what a relay called messages of ours (feedback.h), and the call that adds some (private to
 * state/).
 *
 *   hikyaku:ses:DAY:BUCKET  hash: the id's own hash in hex -> token; DAY of sending, since 1970
 *   hikyaku:ses:DAY:count   how many there are of the day
 * The hash of an id is a place to look at, not a proof: what is found is a token, which proves itself.
 */
#ifndef HIKYAKU_STATE_SENT_IDS_H
#define HIKYAKU_STATE_SENT_IDS_H

#include "hikyaku/feedback.h"

#define SENT_IDS_BUCKETS   8192u /* with 128 entries each, which is what Redis keeps small, a million a day */
#define SENT_IDS_CALL_MAX  64u   /* messages in one call */
#define SENT_IDS_ARGC_MAX  (6 + 3 * SENT_IDS_CALL_MAX)
#define SENT_IDS_KEY_BYTES 40u

struct sent_id {
    uint64_t day;
    char bucket[SENT_IDS_KEY_BYTES];
    char field[17];
    char token[FEEDBACK_TOKEN_MAX + 1];
};

/* HK_EINVAL: the token is too long to be one, or there is no id. */
int sent_id_make(struct sent_id *out, const char *id, size_t length, const char *token,
                 uint64_t time_us) HK_MUST_USE;
/* Where a message of that id would be if it was sent `days` days before `now_us`. */
void sent_id_look(struct sent_id *out, const char *id, size_t length, uint64_t now_us, unsigned days);

/* A call of sent_ids.lua, of messages of one day; they stay the caller's until it is sent. */
struct sent_ids_call {
    char count[SENT_IDS_KEY_BYTES], keys[16], ttl[16], most[16];
    const char *argv[SENT_IDS_ARGC_MAX];
    size_t length[SENT_IDS_ARGC_MAX];
    int argc;
};
void sent_ids_call_make(struct sent_ids_call *call, const char *sha1, const struct config *config,
                        const struct sent_id *const *one, uint32_t count);

#endif
