/* mail.c - what an address is to us, and what becomes of a message: read here, decided in the master (inbound.h).
 *
 * What strangers wrote is taken apart in this process and nowhere else; the master gets a kind, a class, a few clean words and
 * the token, which it judges once more.
 */
#include <jansson.h>
#include <string.h>
#include <strings.h>

#include "inbound.h"

static bool local_is(const char *address, size_t local, const char *word)
{
    return local == strlen(word) && strncasecmp(address, word, local) == 0;
}

static enum rcpt_kind unsubscribe_kind(const struct inbound *in, const char *token, size_t length)
{
    struct verp_token parsed;
    int error = unsubscribe_parse(in->signer, token, length, &parsed);

    return error == 0 ? RCPT_UNSUBSCRIBE : error == HK_ENOMEM ? RCPT_LATER : RCPT_UNKNOWN;
}

enum rcpt_kind mail_rcpt(const struct inbound *in, const char *address, size_t length)
{
    const char *domain = in->config->sender.return_path, *at = memrchr(address, '@', length);
    size_t local = at != NULL ? (size_t)(at - address) : length;
    struct verp_token token;

    if (at != NULL &&
        (length - local - 1 != strlen(domain) || strncasecmp(at + 1, domain, strlen(domain)) != 0))
        return RCPT_FOREIGN;
    if (local_is(address, local, "postmaster"))
        return RCPT_DESK; /* also without a domain (RFC 5321 4.5.1) */
    if (at == NULL)
        return RCPT_FOREIGN;
    if (local_is(address, local, "abuse") || local_is(address, local, "fbl"))
        return RCPT_DESK;
    if (local > 2 && strncasecmp(address, "u-", 2) == 0)
        return unsubscribe_kind(in, address + 2, local - 2);
    switch (whose_judge(&in->whose, address, length, &token)) {
    case WHOSE_TOKEN:
        return RCPT_TOKEN;
    case WHOSE_OLD:
        return RCPT_OLD;
    case WHOSE_LATER:
        return RCPT_LATER;
    case WHOSE_NONE:
    case WHOSE_FORGED:
    case WHOSE_SEVERAL:
        break;
    }
    return RCPT_UNKNOWN;
}

/* Nobody reads what comes to postmaster or abuse, so it is refused, unless it tells of one of our messages. */
static bool is_for_desk(const struct whose_said *said)
{
    return said->found == WHOSE_TOKEN && said->tells &&
           (said->bounce.kind == KIND_FEEDBACK || said->bounce.kind == KIND_BOUNCE);
}

static void take_for(struct inbound *in, struct session *s, unsigned nth, void *whose)
{
    const struct session_recipient *r = &s->recipient[nth];
    struct whose_said said;

    if (r->kind == RCPT_UNSUBSCRIBE) {
        const char *token = r->address + 2;
        desk_unsubscribe(in->desk, "mailto", token, strcspn(token, "@"), whose, nth);
    } else if (whose_read(&in->whose, in->reader, r->kind == RCPT_TOKEN ? r->address : NULL, s->body,
                          s->body_length, &said) != 0) {
        session_answer(s, nth, SESSION_LATER);
    } else if (r->kind == RCPT_DESK && !is_for_desk(&said)) {
        session_answer(s, nth, SESSION_NOT_OURS);
    } else if (!said.tells) {
        log_info("a mail about recipient %u of campaign %s is no bounce: nothing to do",
                 said.path.token.index, said.path.token.campaign);
        session_answer(s, nth, SESSION_TAKEN);
    } else {
        desk_bounce(in->desk, whose_entry(&said), whose, nth);
    }
}

void mail_take(struct inbound *in, struct session *session, void *whose)
{
    const unsigned recipients = session->recipients; /* with the last answer there are none any more */

    for (unsigned i = 0; i < recipients; i++)
        take_for(in, session, i, whose);
}
