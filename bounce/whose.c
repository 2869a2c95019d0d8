/* whose.c - whose mail came back (whose.h). */
#include "hikyaku/whose.h"

#include <ctype.h>
#include <jansson.h>
#include <string.h>

#define CANDIDATES_MAX 1000u /* tokens that are tried in one mail */

/* ---- the token ---- */

const char *whose_token_words(enum whose_token found)
{
    static const char *const words[] = {
        [WHOSE_TOKEN] = "",
        [WHOSE_NONE] = "no token of ours",
        [WHOSE_FORGED] = "a forged token, or one of a secret that is gone",
        [WHOSE_OLD] = "a token that is too old",
        [WHOSE_SEVERAL] = "tokens of several recipients",
        [WHOSE_LATER] = "not enough memory to look at its token",
    };

    return words[found];
}

static bool is_old(const struct whose *whose, const struct verp_token *token)
{
    uint32_t today = VERP_DAY(clock_wall_us());
    uint32_t days = (whose->token_age_s + 86399u) / 86400u;

    return today > token->day && today - token->day > days;
}

enum whose_token whose_judge(const struct whose *whose, const char *address, size_t length,
                             struct verp_token *out)
{
    int error = verp_parse(whose->signer, address, length, out);

    if (error == HK_ENOMEM)
        return WHOSE_LATER;
    if (error != 0)
        return error == HK_EINVAL ? WHOSE_NONE : WHOSE_FORGED;
    if (out->day > VERP_DAY(clock_wall_us()) + 1)
        return WHOSE_FORGED; /* made on a day that has not come */
    return is_old(whose, out) ? WHOSE_OLD : WHOSE_TOKEN;
}

static enum whose_token judge_path(const struct whose *whose, const char *address, size_t length,
                                   struct whose_path *out)
{
    enum whose_token found = whose_judge(whose, address, length, &out->token);

    if (found == WHOSE_TOKEN) {
        HK_BUG_ON(length >= sizeof out->address); /* one that holds is no longer than those that we make */
        memcpy(out->address, address, length);
        out->address[length] = '\0';
    }
    return found;
}

static bool is_same(const struct verp_token *a, const struct verp_token *b)
{
    return a->index == b->index && strcmp(a->campaign, b->campaign) == 0;
}

/* What stands on both sides of an '@', as far as it may belong to a return path. */
static bool around(const char *text, size_t length, size_t at, const char **address, size_t *address_length)
{
    size_t from = at, to = at + 1;

    while (from > 0 && at - from < ADDRESS_LOCAL_MAX &&
           (isalnum((unsigned char)text[from - 1]) || text[from - 1] == '-'))
        from--;
    while (to < length && to - at <= DOMAIN_MAX &&
           (isalnum((unsigned char)text[to]) || text[to] == '-' || text[to] == '.'))
        to++;
    while (to > at + 1 && text[to - 1] == '.')
        to--;
    *address = text + from;
    *address_length = to - from;
    return at - from > 2 && (text[from] == 'b' || text[from] == 'B') && text[from + 1] == '-';
}

/* All tokens of a text. One that holds is worth more than any number of those that do not. */
static enum whose_token search(const struct whose *whose, const char *text, size_t length,
                               struct whose_path *out)
{
    enum whose_token found = WHOSE_NONE;
    unsigned tried = 0;

    for (const char *at = memchr(text, '@', length); at != NULL && tried < CANDIDATES_MAX;
         at = memchr(at + 1, '@', length - (size_t)(at + 1 - text))) {
        struct whose_path path;
        const char *address;
        size_t address_length;
        enum whose_token this;
        if (!around(text, length, (size_t)(at - text), &address, &address_length))
            continue;
        tried++;
        this = judge_path(whose, address, address_length, &path);
        if (this == WHOSE_LATER)
            return this;
        if (this == WHOSE_TOKEN && found == WHOSE_TOKEN && !is_same(&path.token, &out->token))
            return WHOSE_SEVERAL;
        if (this == WHOSE_TOKEN)
            *out = path;
        if (this == WHOSE_TOKEN || found == WHOSE_NONE)
            found = this;
    }
    return found;
}

/* Where the header ends: at the first empty line, whatever the line ends are. */
static size_t header_length(const char *mail, size_t length)
{
    for (size_t i = 0; i + 1 < length; i++) {
        bool ends = mail[i] == '\n' || mail[i] == '\r';
        if (!ends)
            continue;
        if (mail[i + 1] == mail[i] || (mail[i] == '\n' && mail[i + 1] == '\r'))
            return i + 1;
    }
    return length;
}

enum whose_token whose_find(const struct whose *whose, const char *envelope, const char *mail, size_t length,
                            struct whose_path *out)
{
    size_t header = header_length(mail, length);
    enum whose_token found = WHOSE_NONE;

    if (envelope != NULL)
        found = judge_path(whose, envelope, strlen(envelope), out);
    if (found == WHOSE_NONE)
        found = search(whose, mail, header, out);
    return found != WHOSE_NONE ? found : search(whose, mail + header, length - header, out);
}

bool whose_is_named(const struct whose *whose, const struct verp_token *token, const char *named)
{
    struct address address;

    return address_parse(named, strlen(named), &address, NULL) == 0 &&
           verp_is_about(whose->signer, token, address.text, address.length);
}

/* ---- what the mail says ---- */

struct reading {
    const struct whose *whose;
    struct whose_said *said;
    bool named; /* what was chosen names whom the token is of */
};

/* How much it would do. Of several that name somebody else the mildest counts: a mail may tell of others whom our message was
 * passed on to. */
static int weight(const struct bounce *bounce)
{
    if (bounce->kind != KIND_BOUNCE && bounce->kind != KIND_FEEDBACK)
        return bounce->kind == KIND_DELAY ? 1 : 0;
    return bounce->verdict.disposition == DISPOSITION_SUPPRESS ? 3
           : bounce->verdict.disposition == DISPOSITION_NONE   ? 0
                                                               : 2;
}

static void note_bounce(void *context, const struct bounce *bounce)
{
    struct reading *r = context;
    struct whose_said *said = r->said;
    bool named = said->found == WHOSE_TOKEN && bounce->recipient[0] != '\0' &&
                 whose_is_named(r->whose, &said->path.token, bounce->recipient);

    /* A loop: it was our return path that somebody could not reach. Whom we wrote to is not to blame. */
    if (said->found == WHOSE_TOKEN && strcasecmp(bounce->recipient, said->path.address) == 0)
        return;
    if (said->tells && r->named && !named)
        return;
    /* Of one recipient the last word counts: what was given up was delayed before. */
    if (said->tells && r->named == named &&
        (named ? weight(bounce) <= weight(&said->bounce) : weight(bounce) >= weight(&said->bounce)))
        return;
    said->bounce = *bounce;
    said->tells = true;
    r->named = named;
}

int whose_read(const struct whose *whose, struct bounce_reader *reader, const char *envelope,
               const char *mail, size_t length, struct whose_said *out)
{
    struct reading r = {.whose = whose, .said = out};

    memset(out, 0, sizeof *out);
    out->found = whose_find(whose, envelope, mail, length, &out->path);
    if (out->found == WHOSE_LATER)
        return HK_ENOMEM;
    return bounce_read(reader, mail, length, note_bounce, &r);
}

/* ---- for the node ---- */

static json_t *clean(const char *text)
{
    char out[1024];

    (void)hk_clean_text(out, sizeof out, text, strlen(text));
    return json_string(out);
}

/* An automatic answer and a delay are no verdict about anybody, whatever they say. */
static enum disposition disposition_of(const struct bounce *bounce)
{
    return bounce->kind == KIND_BOUNCE || bounce->kind == KIND_FEEDBACK ? bounce->verdict.disposition
                                                                        : DISPOSITION_NONE;
}

json_t *whose_entry_of(const char *token, const char *ignored, const struct bounce *b)
{
    return json_pack("{s:o,s:s,s:s,s:s,s:s,s:i,s:s,s:o,s:o}", "token", clean(token), "ignored", ignored,
                     "kind", bounce_kind_name(b->kind), "class", reply_class_name(b->verdict.reply_class),
                     "disposition", disposition_name(disposition_of(b)), "code", (int)b->code, "status",
                     b->status, "text", clean(b->reason), "reported", clean(b->recipient));
}

json_t *whose_entry(const struct whose_said *said)
{
    return whose_entry_of(said->found == WHOSE_TOKEN ? said->path.address : "",
                          whose_token_words(said->found), &said->bounce);
}
