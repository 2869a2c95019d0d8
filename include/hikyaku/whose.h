/* whose.h - whose mail came back: the token of our return path in it decides, whatever the mail says.
 *
 * The token stands in the envelope, in the header, or in the message that was sent back with a complaint. Its HMAC proves that
 * whoever wrote the mail has one of ours; its day, that it is not too old; its proof, whose address it was made for. No list
 * is needed for that, so strangers' mails are read by a process that has none; who stands at the token's place in a list
 * is found by the master (master/meant.h).
 */
#ifndef HIKYAKU_WHOSE_H
#define HIKYAKU_WHOSE_H

#include "hikyaku/address.h"
#include "hikyaku/bounce.h"
#include "hikyaku/message.h"

struct json_t;

/* What tells our own tokens from others. */
struct whose {
    const struct signer *signer;
    uint32_t token_age_s; /* bounce.token_age */
};

/* What a mail, or an address, has of ours. */
enum whose_token {
    WHOSE_TOKEN,
    WHOSE_NONE,
    WHOSE_FORGED,
    WHOSE_OLD,
    WHOSE_SEVERAL,
    WHOSE_LATER, /* no memory to look at one: it may be ours */
};
const char *whose_token_words(enum whose_token found);

/* Is this address a return path of ours that counts? */
enum whose_token whose_judge(const struct whose *whose, const char *address, size_t length,
                             struct verp_token *out);

/* A return path of ours as it was found. */
struct whose_path {
    char address[ADDRESS_MAX + 1];
    struct verp_token token;
};
/* Look for the token. `envelope`: the recipient of the mail's envelope, NULL where it is not known; one that looks like a
 * token decides alone. */
enum whose_token whose_find(const struct whose *whose, const char *envelope, const char *mail, size_t length,
                            struct whose_path *out);

/* Does the token prove that it is one of the address that a mail names? */
bool whose_is_named(const struct whose *whose, const struct verp_token *token, const char *named);

/* What a mail says about whom its token is of. */
struct whose_said {
    enum whose_token found;
    struct whose_path path; /* where `found` is WHOSE_TOKEN */
    bool tells; /* `bounce` is there: the mail is a bounce, a complaint, an automatic answer ... */
    struct bounce bounce;
};
/* Read a mail. 0 or HK_ENOMEM. */
int whose_read(const struct whose *whose, struct bounce_reader *reader, const char *envelope,
               const char *mail, size_t length, struct whose_said *out) HK_MUST_USE;

/* What is told of somebody as an entry of a request to the node ({"command":"bounce"}, node.h); the caller's. `ignored`: why it
 * counts for nothing, "" it counts. NULL: no memory. */
struct json_t *whose_entry_of(const char *token, const char *ignored,
                              const struct bounce *bounce) HK_MUST_USE;
/* The same of a mail. NULL: no memory. */
struct json_t *whose_entry(const struct whose_said *said) HK_MUST_USE;

#endif
