/* feedback.h - what comes back after a message was sent (RFC 3464, RFC 5965), as it counts in Redis.
 *
 *   hikyaku:soft:CLASS:KEY       sorted set: message -> second, soft bounces of an address; lives as long as they count
 *   hikyaku:bounce:unknown:DOMAIN  sorted set: address key -> second, who became unknown within the breaker's period
 *   hikyaku:bounce:trip:DOMAIN   while what comes of that domain is held: the second of the last one that was
 *   hikyaku:bounce:held          hash: address key -> entry as in suppress.h: held back until a person decides
 *   hikyaku:bounce:heard:ID      exists for a while behind a notice that was handled
 *   hikyaku:ses:DAY:BUCKET       hash: id of a relay, hashed -> token of our message (state/sent_ids.h), lives for sns.remember
 *   hikyaku:bounce:block:CLASS   sorted set: message -> second, refusals of the last hour that are our own fault
 *
 * Everything is counted by the message that it is about, so a mail that is taken twice counts once. The circuit breaker:
 * of a domain whose people are gone, a mailing list has a few each day; where most of its people became unknown within an
 * hour, the domain is at fault and not they. Then nobody of them is suppressed: what came before, within the period, is
 * taken back, and all of it is held until a person says which it was.
 */
#ifndef HIKYAKU_FEEDBACK_H
#define HIKYAKU_FEEDBACK_H

#include "hikyaku/classify.h"
#include "hikyaku/suppress.h"

#define FEEDBACK_HELD_MAX \
    1000000u /* addresses; more are left alone: they bounce again with the next campaign */
#define FEEDBACK_BLOCKS_MAX  10000u /* counted of the last hour, for each class */
#define FEEDBACK_MESSAGE_MAX (CAMPAIGN_ID_MAX + 16)

struct feedback {
    struct suppress_entry entry; /* what stands in the list where it suppresses */
    char message
        [FEEDBACK_MESSAGE_MAX];   /* which one it is about: campaign and index, any words without a blank */
    enum disposition disposition; /* SUPPRESS, COUNT or BLOCK */
    const char *reply_class;      /* its name (reply_class_name) */
    bool may_be_held;             /* by the breaker: it may be a whole domain's fault */
    uint32_t
        domain_recipients; /* of the address's domain in that list; 0: nobody knows, the breaker then counts alone */
};

enum feedback_done {
    FEEDBACK_SUPPRESSED, /* new, or by its count of soft bounces */
    FEEDBACK_KNOWN,      /* was suppressed before: when it was last heard is kept */
    FEEDBACK_COUNTED,
    FEEDBACK_NEAR,    /* too close to the soft bounce before it: one and the same trouble */
    FEEDBACK_AGAIN,   /* this message was counted before */
    FEEDBACK_BLOCKED, /* `count` of that class within the hour */
    FEEDBACK_HELD,
    FEEDBACK_TRIPPED, /* held, and the first one: `count` of the domain within the period */
    FEEDBACK_FULL,    /* would be held, but FEEDBACK_HELD_MAX are */
};
/* The word for it, as feedback.lua and the control socket say it; a constant. */
const char *feedback_done_word(enum feedback_done done);

struct feedback_result {
    enum feedback_done done;
    uint32_t count;
    uint32_t limit; /* soft bounces that suppress; 0: none does */
};

/* How many of a domain's recipients have to become unknown before its breaker trips. */
uint32_t feedback_breaker_need(const struct config *config, uint32_t domain_recipients);

/* Apply `count` of them, in few round trips; result has room for as many. Blocks. HK_EINVAL: an entry that cannot be
 * added, and nothing was changed by the 256 that go together. What was applied before an error stays, and is not counted
 * again. */
int feedback_apply(struct store *store, const struct config *config, const struct feedback *feedback,
                   size_t count, struct feedback_result *result, struct hk_why *why) HK_MUST_USE;
/* Asynchronous, for the master, as ledger_suppress(): goes out before every op of the ledger's next flush, and is not
 * counted again when it is sent again. The answer comes to ledger_callbacks.fed_back, and a node's view learns of it from the
 * stream. HK_EINVAL, HK_ENOMEM, HK_EFULL. */
int ledger_feedback(struct ledger *ledger, const struct config *config,
                    const struct feedback *feedback) HK_MUST_USE;
/* Mail reached these addresses: their soft bounces are forgotten. One round trip. HK_EINVAL: one is none; those before it are. */
int feedback_delivered(struct store *store, const struct config *config, const char *const *address,
                       size_t count, struct hk_why *why) HK_MUST_USE;

/* Texts by which somebody who tells us the same thing twice is known again (SNS delivers at least once), remembered for
 * FEEDBACK_HEARD_S. known[i]: id[i] is. One round trip for all of them. */
#define FEEDBACK_HEARD_S (3u * 86400u)
int feedback_was_heard(struct store *store, const char *const *id, size_t count, bool *known,
                       struct hk_why *why) HK_MUST_USE;
int feedback_hear(struct store *store, const char *const *id, size_t count, struct hk_why *why) HK_MUST_USE;

/* What a relay called a message that it took ("250 Ok ID"), and the token by which it is ours, for notices that carry none.
 * Asynchronous, for the master, as ledger_feedback(); kept for config->sns.remember_s, and of a day (UTC) at most
 * remember_most: one more is left out, with a word in the log. `token`: what verp_make() gives, between "b-" and '@'.
 * HK_EINVAL, HK_ENOMEM, HK_EFULL. */
#define FEEDBACK_TOKEN_MAX 62u
int ledger_remember(struct ledger *ledger, const struct config *config, const char *id, size_t length,
                    const char *token, uint64_t time_us) HK_MUST_USE;
/* 1 and the token, 0: nobody remembers. */
int feedback_token_of(struct store *store, const struct config *config, const char *id,
                      char token[FEEDBACK_TOKEN_MAX + 1], struct hk_why *why) HK_MUST_USE;

/* Soft bounces of an address: fn for each class of config->soft that has some; `last_s` is the newest. */
int feedback_soft(struct store *store, const struct config *config, const char *address,
                  void (*fn)(void *context, const struct cfg_soft *soft, uint32_t count, uint64_t last_s),
                  void *context, struct hk_why *why) HK_MUST_USE;

/* Who is held: as suppress_walk(). A person decides about them by suppress_change_all(). */
int feedback_held_walk(struct store *store, int (*fn)(void *context, const struct suppress_entry *entry),
                       void *context, struct hk_why *why) HK_MUST_USE;

/* Which of them are: as suppress_find_all(). */
int feedback_held_find(struct store *store, const struct suppress_entry *entry, size_t count,
                       struct suppress_entry *there, bool *found, struct hk_why *why) HK_MUST_USE;

#endif
