/* message.h - a campaign's message: compiled once from an RFC 5322 file, rendered and signed for each
 * recipient.
 *
 * Compiling refuses in words whatever could go wrong later, so that rendering can only fail for lack of
 * memory or size. Rendering copies no static text: a copy is an iovec of static runs and rendered pieces,
 * ready for the wire (CRLF, dot-stuffed, ending in CRLF, without the final dot). All parts are 7-bit on the
 * wire (quoted-printable or base64), so 8BITMIME is never needed for them.
 */
#ifndef HIKYAKU_MESSAGE_H
#define HIKYAKU_MESSAGE_H

#include <sys/uio.h>

#include "hikyaku/address.h"
#include "hikyaku/base.h"
#include "hikyaku/config.h"
#include "hikyaku/segment.h"

/* What is worth a word though nothing is wrong. Nothing in message/ writes to the log: the one command that
 * makes a campaign says it, and the workers, who compile the same message, do not. One line, no line end. */
struct note {
    bool is_warning;
    char *text;
};
void notes_log(const struct note *notes, size_t count);

#define MESSAGE_TEMPLATE_MAX (40u * 1024 * 1024) /* bytes of a template file */
#define MESSAGE_COPY_MAX     (50u * 1024 * 1024) /* bytes of one rendered copy */

/* What signs and marks every copy: DKIM keys parsed once (parsing costs more than signing), the VERP secret.
 */
struct signer;
/* Reads the files the configuration names. Refuses keys that are missing, unreadable, shorter than 1024 bits,
 * or of a domain that does not align with sender.from_domain (same organisational tree: equal, or one is a
 * parent of the other). A key file that others can read, a weak key, no dkim section (unsigned): a note. */
int signer_load(const struct config *config, struct signer **out, struct hk_why *why) HK_MUST_USE;
void signer_free(struct signer *signer);
const struct note *signer_notes(const struct signer *signer, size_t *count);

/* The same without DKIM keys: for whoever only takes tokens apart, and should hold no more than that needs. */
int signer_load_tokens(const struct config *config, struct signer **out, struct hk_why *why) HK_MUST_USE;

/* VERP (RFC 3696 safe characters only): "b-" campaign/recipient token and HMAC "@" return_path. The token
 * carries the campaign id, index, day of sending, a proof of the address, a key id and a truncated HMAC-SHA256, in
 * at most 64 octets of local part (a long campaign id goes in as a hash). */
#define VERP_DAY(wall_us) ((uint16_t)((wall_us) / 86400000000u)) /* days since 1970, until 2149 */
#define VERP_PROOF        4u
struct token_subject {
    const char *campaign;
    const char *address; /* as it stands behind RCPT TO, not NUL-terminated; any case */
    size_t address_length;
    uint32_t index;
    uint16_t day; /* VERP_DAY */
};
/* `out` holds ADDRESS_MAX + 1 bytes. 0 or HK_ENOMEM. */
int verp_make(const struct signer *signer, const struct token_subject *subject, char *out) HK_MUST_USE;
struct verp_token {
    char campaign[CAMPAIGN_ID_MAX + 1]; /* or the hash of it where it was too long */
    uint32_t index;
    uint16_t day;
    uint8_t key;
    uint8_t proof[VERP_PROOF];
};
/* Take a token apart and check its HMAC. 0, HK_EINVAL not a token, HK_EPROTO a wrong HMAC, an unknown key id, or a day
 * after its key was given up, HK_ENOMEM: it may be one. How old it may be is the caller's matter. */
int verp_parse(const struct signer *signer, const char *address, size_t length,
               struct verp_token *out) HK_MUST_USE;
/* Is the token one of this address (local part '@' A-label domain, any case)? Of another one it is with a chance of one
 * in 2^32. */
bool verp_is_about(const struct signer *signer, const struct verp_token *token, const char *address,
                   size_t length);
/* What verp_parse shows for a campaign: its id, or "~" and a hash where the id has more than 16 octets. */
void verp_campaign(const char *campaign, char out[CAMPAIGN_ID_MAX + 1]);
/* The same for the token behind sender.unsubscribe_url in {{unsubscribe_url}} and List-Unsubscribe. */
int unsubscribe_parse(const struct signer *signer, const char *token, size_t length,
                      struct verp_token *out) HK_MUST_USE;

struct message;

/* Compile template bytes (`path` is for the words in why: "PATH:LINE: ..."). Tags are the columns and the
 * built-in email, campaign, unsubscribe_url, message_id; one without a column is an error. Headers the sender
 * makes itself (Message-ID, Date, Bcc, DKIM-Signature, Return-Path) are dropped, and so is what a mail program
 * or the way to a mailbox left in a draft or a received copy; a note says which. The signer and the configuration have to outlive the message. */
int message_compile(const char *path, const char *bytes, size_t length, const struct config *config,
                    const struct signer *signer, const char *campaign, const char *const *column,
                    uint32_t column_count, struct message **out, struct hk_why *why) HK_MUST_USE;
void message_free(struct message *message);
/* What was left out, and what the sender may not have meant. */
const struct note *message_notes(const struct message *message, size_t *count);

/* One copy: memory that is used again from copy to copy, one for each session that holds a copy. */
struct copy {
    /* set by message_render */
    struct iovec *iov; /* the whole message for the wire, dot-stuffed, without the final ".\r\n" */
    size_t iov_count;
    size_t bytes;                    /* sum of iov */
    bool to_sign;                    /* it may not leave before message_sign() */
    char mail_from[ADDRESS_MAX + 1]; /* the VERP return path, without angle brackets */
    /* owned by message/ */
    struct copy_arena *arena;
};

/* Render record `record` of segment `segment` at list index `index`. `wall_us` is the time for Date and t=. 0, HK_ENOMEM, or
 * HK_ETOOBIG (more than MESSAGE_COPY_MAX). The iovec is good until the next render into the same copy or copy_free; static
 * runs in it until message_free. The signatures, whose length is known, are left blank: most of a copy's time goes into them,
 * and its envelope need not wait for that. */
int message_render(const struct message *message, const struct segment_record *record, uint16_t segment,
                   uint32_t index, uint64_t wall_us, struct copy *copy) HK_MUST_USE;
/* Fill in the signatures (RFC 6376 3.5, b=) of a copy that was rendered of this message. 0 or HK_ENOMEM. */
int message_sign(const struct message *message, struct copy *copy) HK_MUST_USE;
/* Mark a rendered copy for Amazon SES: X-SES-CONFIGURATION-SET (NULL: none) and X-SES-MESSAGE-TAGS with the local part of
 * its return path, `hikyaku=b-...`, by which any node can tell campaign and recipient of a notification: verp_parse() of it
 * at sender.return_path. SES takes both fields out, so they stand in front of the signature and outside of it. 0 or
 * HK_ENOMEM. */
int copy_mark_ses(struct copy *copy, const char *configuration_set) HK_MUST_USE;
void copy_free(struct copy *copy); /* a zeroed struct copy is a valid empty one */

/* keygen: write a new key (file mode 0600, never over an existing file). `record_out` (malloc'd, the caller
 * frees) gets the DNS record to publish: owner name, TXT, the value in quoted strings of at most 255 octets.
 */
enum dkim_key_type { DKIM_RSA2048, DKIM_ED25519 };
int keygen_dkim(enum dkim_key_type type, const char *domain, const char *selector, const char *path,
                char **record_out, struct hk_why *why) HK_MUST_USE;
int keygen_verp(const char *path, struct hk_why *why) HK_MUST_USE;

#endif
