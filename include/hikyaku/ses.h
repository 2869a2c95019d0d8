/* ses.h - what Amazon SES tells of messages it took from us: identity notifications ("notificationType") and event publishing
 * through a configuration set ("eventType"), as the same `struct bounce` that mails which came back are read into.
 *
 *   Bounce          bounce: class and disposition by our own classifier from diagnosticCode and status, SES' type as a second
 *                   opinion: it decides alone where there are no words, and never makes a verdict harsher that words gave
 *   Complaint       feedback: suppresses, unless its type is auth-failure or not-spam
 *   Delivery        delivered: soft bounces are forgotten
 *   Reject          bounce, our own fault (SES found a virus): it names nobody, whoever the message was for is meant
 *   DeliveryDelay   delay: nothing follows from it
 *   all others      nothing
 *
 * Pure. Whom a notice names is not whom we hold to be meant: a complaint names everyone at a domain who may have complained.
 */
#ifndef HIKYAKU_SES_H
#define HIKYAKU_SES_H

#include "hikyaku/bounce.h"

#define SES_BODY_MAX       (1u << 20)
#define SES_DEPTH_MAX      16u
#define SES_RECIPIENTS_MAX 64u /* of one notice; SES sends a message to 50 at most. More are left out */
#define SES_ID_MAX         128u

enum ses_event { SES_NOTHING, SES_BOUNCE, SES_COMPLAINT, SES_DELIVERY, SES_REJECT, SES_DELAY };

struct ses_notice {
    enum ses_event event;
    char message_id[SES_ID_MAX + 1];  /* as "250 Ok ID" said; "" where it is missing */
    char feedback_id[SES_ID_MAX + 1]; /* of a bounce or complaint; "" */
    /* Where our token may stand: the tag `hikyaku`, which is the local part of our return path, and the envelope's sender.
     * "" where there is none, or it is longer than ours are. Not checked here. */
    char tag[ADDRESS_LOCAL_MAX + 1];
    char source[ADDRESS_MAX + 1];
};

/* Read one, and call `found` for each recipient that it tells about; of a reject once, with recipient "". 0, HK_EINVAL with
 * words: no notice of SES, and nothing was told; HK_ETOOBIG, HK_ENOMEM. */
int ses_read(const char *text, size_t length, struct ses_notice *out, bounce_found *found, void *context,
             struct hk_why *why) HK_MUST_USE;

#endif
