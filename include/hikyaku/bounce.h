/* bounce.h - what a mail that came back says: which recipients, what happened to each, and whether it is a bounce
 * at all (RFC 3464 and 6533 delivery reports, RFC 5965 feedback, RFC 3834 automatic replies, and the many notices
 * that follow no standard).
 *
 * Everything here is written by strangers: depth, parts, text and results are bounded, work is linear in the bytes,
 * and nothing in here trusts a length or a label. Who is meant by a bounce is not decided here: a forged one says
 * whatever it likes.
 */
#ifndef HIKYAKU_BOUNCE_H
#define HIKYAKU_BOUNCE_H

#include "hikyaku/address.h"
#include "hikyaku/classify.h"

/* clang-format off */
#define BOUNCE_KINDS(X)                                                                                      \
    X(BOUNCE, "bounce")       /* given up: the message was not delivered */                                  \
    X(DELAY, "delay")         /* not yet: it is still being tried; never suppresses */                       \
    X(FEEDBACK, "feedback")   /* a complaint, or another report about what was delivered */                  \
    X(AUTOREPLY, "autoreply")                                                                                \
    X(DELIVERED, "delivered")
/* clang-format on */
enum bounce_kind {
#define BOUNCE_KIND_ENUM(name, words) KIND_##name,
    BOUNCE_KINDS(BOUNCE_KIND_ENUM)
#undef BOUNCE_KIND_ENUM
};
const char *bounce_kind_name(enum bounce_kind kind);

#define BOUNCE_STATUS_MAX 17u
#define BOUNCE_REASON_MAX 511u
#define BOUNCES_MAX       50000u /* of one mail; more are dropped */

struct bounce {
    enum bounce_kind kind;
    struct verdict verdict;
    char recipient[ADDRESS_MAX + 1];    /* as the notice writes it; "" where it does not say */
    char status[BOUNCE_STATUS_MAX + 1]; /* RFC 3463; "" where none was given */
    uint16_t code;                      /* the SMTP reply code, 0 where none was given */
    char reason[BOUNCE_REASON_MAX + 1]; /* the words of whoever refused: valid UTF-8, without controls */
};

/* Buffers that are kept from mail to mail. One mail at a time. */
struct bounce_reader;
struct bounce_reader *bounce_reader_new(void) HK_MUST_USE; /* NULL: no memory */
void bounce_reader_free(struct bounce_reader *reader);

/* Read one mail (RFC 5322; any line ends) and call `found` for each recipient that it tells about. 0, also where it
 * tells about none, or HK_ENOMEM. The bounce is good until `found` returns. */
typedef void bounce_found(void *context, const struct bounce *bounce);
int bounce_read(struct bounce_reader *reader, const char *mail, size_t length, bounce_found *found,
                void *context) HK_MUST_USE;

/* Load the converters of the charsets that mails come in, for a process that is to open no file any more. */
void charsets_load(void);

/* Cut what stands in a file into mails: one mail, or an mbox (it begins with a "From " line). Memory is bounded: of a
 * run of more than INTAKE_RUN_MAX bytes in which no line begins with "--", and of a mail of more than
 * INTAKE_MAIL_MAX, the rest is left out. */
#define INTAKE_RUN_MAX  (12u << 20)
#define INTAKE_MAIL_MAX (32u << 20)
struct intake;
typedef int intake_mail(void *context, const char *mail, size_t length); /* negative: stop with that */
struct intake *intake_new(intake_mail *mail, void *context) HK_MUST_USE;
int intake_put(struct intake *intake, const char *bytes, size_t length) HK_MUST_USE;
int intake_end(struct intake *intake) HK_MUST_USE; /* the file ends; the intake is ready for the next one */
void intake_free(struct intake *intake);

#endif
