/* classify.h - what a reply means for the recipient: class and disposition (one library, used in the session
 * and later).
 *
 * Suppressing wrongly is the worst error, missing one the next: where the evidence is thin the answer is the
 * mild one.
 */
#ifndef HIKYAKU_CLASSIFY_H
#define HIKYAKU_CLASSIFY_H

#include "hikyaku/base.h"
#include "hikyaku/region.h"

/* clang-format off */
#define REPLY_CLASSES(X)                                                                                     \
    X(NONE, "")                                    X(MAILBOX_UNKNOWN, "mailbox-unknown")                     \
    X(RECIPIENT_REFUSED, "recipient-refused")      X(MAILBOX_INACTIVE, "mailbox-inactive")                   \
    X(MAILBOX_FULL, "mailbox-full")                X(DOMAIN_INVALID, "domain-invalid")                       \
    X(CONTENT_POLICY, "content-policy")            X(SENDER_BLOCKED, "sender-blocked")                       \
    X(AUTH_SECURITY, "auth-security")              X(RATE_LIMITED, "rate-limited")                           \
    X(TOO_LARGE, "too-large")                      X(NETWORK, "network")                                     \
    X(SYSTEM, "system")                            X(UNKNOWN, "unknown")                                     \
    X(COMPLAINT, "complaint")                      X(AUTOREPLY, "autoreply")                                 \
    X(DELIVERED, "delivered")                      X(PROVIDER_SUPPRESSED, "provider-suppressed")
/* clang-format on */
enum reply_class {
#define REPLY_CLASS_ENUM(name, words) CLASS_##name,
    REPLY_CLASSES(REPLY_CLASS_ENUM)
#undef REPLY_CLASS_ENUM
        CLASSES
};
const char *reply_class_name(enum reply_class c);
enum reply_class reply_class_of_word(const char *word); /* CLASS_NONE for no such word */

enum disposition { DISPOSITION_NONE, DISPOSITION_COUNT, DISPOSITION_BLOCK, DISPOSITION_SUPPRESS };
const char *disposition_name(enum disposition d);
/* False, and *out untouched, for no such word. */
bool disposition_of_word(const char *word, enum disposition *out) HK_MUST_USE;

struct verdict {
    enum reply_class reply_class;
    enum disposition disposition;
    bool by_text;       /* the words said it; else only a code or the phase did */
    const char *rule;   /* the name of the rule that decided (etc/replies.rules); NULL: none was asked */
    const char *reason; /* its word for what is wrong, finer than the class: "userunknown" */
};

/* The word for a class where no rule has a finer one; "" for none. */
const char *reply_class_reason(enum reply_class c);

/* Classify a 4xx or 5xx reply (or code 0: no reply, our words) given in `phase`. The enhanced code is a hint,
 * the text is the evidence, the phase decides what a text can mean: "Unknown user" after the final dot is no
 * unknown user. */
struct verdict reply_classify(enum log_phase phase, uint16_t code, const uint8_t enhanced[3],
                              const char *text, size_t length);

/* What somebody else says of a reply, or instead of one: the diagnosis in a bounce mail. What is not known stays 0,
 * and LOG_PHASES for the phase. */
struct diagnosis {
    enum log_phase phase;
    uint16_t code;      /* SMTP reply code */
    uint16_t status[3]; /* RFC 3463 */
    const char *text;   /* not ended; UTF-8, though any bytes will do; belongs to the caller */
    size_t length;
};

/* "rcpt", and also the command as bounce mails name it: "RCPT", "HELO", "CONN"; LOG_PHASES for no such word. */
enum log_phase log_phase_of_word(const char *word, size_t length);

/* Find code, status and phase in a text such as "host mx.test[192.0.2.1] said: 550 5.1.1 ... (in reply to RCPT TO
 * command)". What *d has already stays; a code is only believed where it stands as a reply does, and a code of another
 * class than d's status is not. */
void diagnosis_read(struct diagnosis *d);
struct verdict diagnosis_classify(const struct diagnosis *d);

/* What a relay that we log in to says about our account. No recipient is to blame, whatever the code says. */
enum account_fault {
    ACCOUNT_FINE = 0,
    ACCOUNT_RATE,     /* faster than the account may */
    ACCOUNT_QUOTA,    /* no more today */
    ACCOUNT_IDENTITY, /* from here on nothing helps but a person: an address is not verified, or the sandbox */
    ACCOUNT_CLOSED,   /* it may not send at all */
    ACCOUNT_SETTING,  /* the configuration set does not exist */
    ACCOUNT_MESSAGE,  /* what is wrong with the message is wrong with every copy */
    ACCOUNT_LOGIN,
};
/* The reply of a relay; is_ses: of Amazon SES, whose words are known. */
enum account_fault account_fault_of(bool is_ses, uint16_t code, const char *text, size_t length);
bool account_fault_stops(enum account_fault fault);   /* going on would only bring the same for everyone */
const char *account_advice(enum account_fault fault); /* what a person has to do */

/* "Ok <id>", as SES says after a message: where the id stands and its length, 0 none. */
#define SES_MESSAGE_ID_MAX 128u
size_t ses_message_id(const char *text, size_t length, const char **id);

#endif
