/* notice.c - who a notice is about, and what it says of each (notice.h). */
#include "notice.h"

#include <ctype.h>

#define WINDOW_BYTES 300u /* before a line: where "the following address failed" may stand */

/* --- where the returned message begins --- */

static bool is_ornament(char c)
{
    return strchr("-=*#|_+~ \t", c) != NULL;
}

/* A field that only the header of a message has, not a summary of one. */
static bool is_trace_field(struct slice line)
{
    static const char *const names[] = {
        "Received:",  "Return-Path:",  "DKIM-Signature:",        "X-Received:",          "ARC-Seal:",
        "Received :", "X-Apparently-", "X-Originating-",         "DomainKey-Signature:", "Delivered-To:",
        "X-Google-",  "Received-SPF:", "Authentication-Results:"};

    if (line.length == 0 || strchr("RrDdXxAa", line.at[0]) == NULL)
        return false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (slice_begins(line, names[i]))
            return true;
    return false;
}

static bool is_header_field(struct slice line)
{
    static const char *const names[] = {
        "From",       "To",           "Subject",      "Date",
        "Message-ID", "Mime-Version", "Content-Type", "X-Mailer",
        "Cc",         "Reply-To",     "Sender",       "List-ID",
        "Precedence", "User-Agent",   "In-Reply-To",  "Content-Transfer-Encoding"};
    struct slice name, value;

    if (is_trace_field(line))
        return true;
    if (!field_split(line, &name, &value))
        return false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (slice_is(name, names[i]))
            return true;
    return slice_begins(name, "X-");
}

/* "----- Original message -----", "Message headers follow.", "Original Message:" */
static bool is_separator(struct notice *notice, struct slice line)
{
    struct slice core = slice_trim(line);
    size_t ornaments = 0;

    if (core.length < 8 || core.length > 120)
        return false;
    while (ornaments < core.length && is_ornament(core.at[ornaments]))
        ornaments++;
    if (ornaments < 2 && core.at[core.length - 1] != ':' && !slice_has(core, "follow"))
        return false;
    return phrases_in(notice->folded, core, SAYS_ORIGINAL) != 0;
}

/* Nothing but the header of a message, or nothing at all, comes next. */
static bool header_follows(const char *at, const char *end)
{
    struct slice line;

    for (int lines = 0; lines < 6 && line_next(&at, end, &line); lines++) {
        struct slice core = slice_trim(line);
        size_t ornaments = 0;
        while (ornaments < core.length && is_ornament(core.at[ornaments]))
            ornaments++;
        if (ornaments < core.length)
            return is_header_field(core);
    }
    return at >= end;
}

static void find_original(struct notice *notice, struct slice text)
{
    const char *at = text.at, *end = slice_end(text);
    struct slice line;

    notice->said = text;
    notice->original = (struct slice){end, 0};
    for (;;) {
        const char *here = at;
        if (!line_next(&at, end, &line))
            return;
        bool separator = is_separator(notice, line) && header_follows(at, end);
        if (!separator && !(is_trace_field(line) && here > text.at))
            continue;
        notice->said = slice_between(text.at, here);
        if (separator) {
            const char *next = at;
            while (line_next(&next, end, &line) && !is_header_field(slice_trim(line)))
                at = next;
            here = at;
        }
        notice->original = slice_between(here, end);
        return;
    }
}

/* --- the place of one address --- */

struct line_scan {
    struct notice *notice;
    const char *begin; /* of the line */
    struct slice line;
    bool in_transcript;
    const char *talk;       /* where the present conversation of a transcript began */
    const char *trouble_at; /* up to where the trouble that was spoken of reaches */
    enum notice_place last; /* of the address before in this line */
};

static bool window_says(struct line_scan *scan, uint32_t meaning, const char *from, const char *to)
{
    if (to - from > (ptrdiff_t)(2 * WINDOW_BYTES))
        to = from + 2 * WINDOW_BYTES;
    return phrases_in(scan->notice->folded, slice_between(from, to), meaning) != 0;
}

/* Is something said to be wrong, just before this line or in it? A list of addresses may be long. */
static bool is_in_trouble(struct line_scan *scan)
{
    const char *end = slice_end(scan->line), *from = scan->begin;

    if (scan->trouble_at != NULL && scan->begin <= scan->trouble_at)
        return true;
    from -= (size_t)(from - scan->notice->said.at) > WINDOW_BYTES ? WINDOW_BYTES
                                                                  : (size_t)(from - scan->notice->said.at);
    return window_says(scan, SAYS_TROUBLE, from, end);
}

/* "550", "<<< 550 5.1.1", "554-": a reply up to the address. */
static bool is_reply_head(struct slice before)
{
    size_t at = 0;

    while (at < before.length && (before.at[at] == '<' || is_blank(before.at[at])))
        at++;
    if (at + 3 > before.length || (before.at[at] != '4' && before.at[at] != '5') ||
        !isdigit((unsigned char)before.at[at + 1]) || !isdigit((unsigned char)before.at[at + 2]))
        return false;
    for (at += 3; at < before.length; at++)
        if (!isdigit((unsigned char)before.at[at]) && strchr(" .-\t", before.at[at]) == NULL)
            return false;
    return true;
}

static struct slice strip_bullets(struct slice s)
{
    s = slice_trim(s);
    while (s.length > 0 && strchr("*->|#.'\"[(,;", s.at[0]) != NULL)
        s = slice_trim(slice_between(s.at + 1, slice_end(s)));
    if (s.length > 0 && s.length < 4 && isdigit((unsigned char)s.at[0]) &&
        (s.at[s.length - 1] == '.' || s.at[s.length - 1] == ')'))
        s.length = 0; /* "1." */
    return s;
}

static bool ends_with_word(struct slice s, const char *word)
{
    size_t length = strlen(word);

    return s.length >= length && strncasecmp(slice_end(s) - length, word, length) == 0 &&
           (s.length == length || !isalnum((unsigned char)s.at[s.length - length - 1]));
}

/* Words before an address that make it the recipient. */
static bool is_label(struct slice before, bool *colon)
{
    static const char *const words[] = {"to",
                                        "for",
                                        "recipient",
                                        "recipients",
                                        "recipient(s)",
                                        "address",
                                        "addresses",
                                        "address(es)",
                                        "user",
                                        "users",
                                        "mailbox",
                                        "rcpt to",
                                        "rcpt",
                                        "account",
                                        "alias",
                                        "addressee",
                                        "destinataire",
                                        "destinatario",
                                        "empf\xc3\xa4nger",
                                        "получатель",
                                        "email",
                                        "e-mail",
                                        "mail",
                                        "mailbox for",
                                        "宛先",
                                        "受信者"};

    while (before.length > 0 && strchr(" \t:=<([\"'", before.at[before.length - 1]) != NULL) {
        *colon |= before.at[before.length - 1] == ':';
        before.length--;
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (ends_with_word(before, words[i]))
            return true;
    return false;
}

static enum notice_place place_of(struct line_scan *scan, struct slice before, struct slice after,
                                  bool *is_reply)
{
    struct slice head = strip_bullets(before);
    bool colon = false, label;

    *is_reply = is_reply_head(before);
    if (*is_reply)
        return PLACE_HEAD;
    if (head.length == 0)
        return is_in_trouble(scan) ? PLACE_HEAD : PLACE_MIDDLE;
    if (slice_is(head, "To:") || slice_is(head, "To"))
        return PLACE_SUMMARY;
    if (slice_has(head, "rcpt"))
        return PLACE_LABEL;
    if (head.length > 48)
        head = slice_between(slice_end(head) - 48, slice_end(head));
    if (window_says(scan, SAYS_NOT_HIM, head.at, slice_end(head)))
        return PLACE_NOWHERE;
    label = is_label(head, &colon);
    if ((label || colon) && is_in_trouble(scan))
        return PLACE_LABEL;
    (void)after;
    return PLACE_MIDDLE;
}

/* --- all of them --- */

static struct notice_address *address_add(struct notice *notice)
{
    if (notice->addresses == notice->room) {
        size_t room = notice->room == 0 ? 16 : notice->room * 2;
        struct notice_address *more;
        if (notice->room >= NOTICE_ADDRESSES_MAX)
            return NULL;
        more = reallocarray(notice->address, room, sizeof *more);
        if (more == NULL) {
            notice->failed = true;
            return NULL;
        }
        notice->address = more;
        notice->room = room;
    }
    return &notice->address[notice->addresses++];
}

static bool same_address(struct slice a, struct slice b)
{
    return a.length == b.length && strncasecmp(a.at, b.at, a.length) == 0;
}

/* Where the server's answers end that follow this line: a refusal of RCPT shows in what it says to the next command. */
static const char *answers_end(const struct line_scan *scan)
{
    const char *end = slice_end(scan->line), *limit = slice_end(scan->notice->said), *at = end;
    struct slice line;

    (void)line_next(&at, limit, &line); /* the end of this line */
    while (line_next(&at, limit, &line) && (line.length == 0 || slice_begins(line, "<<<")) && at - end < 400)
        end = slice_end(line);
    return end;
}

static void take_address(struct line_scan *scan, struct slice address, struct slice before)
{
    struct slice after = slice_between(slice_end(address), slice_end(scan->line));
    bool is_reply;
    enum notice_place place = place_of(scan, before, after, &is_reply);
    struct notice_address *a;

    if (before.at > scan->begin && strip_bullets(before).length == 0)
        place = scan->last; /* one more of a list, or the same in brackets */
    scan->last = place;

    if (place == PLACE_NOWHERE)
        return;
    a = address_add(scan->notice);
    if (a == NULL)
        return;
    *a = (struct notice_address){.address = address,
                                 .hash = mention_hash(address),
                                 .place = place,
                                 .is_reply = is_reply,
                                 .whole = slice_between(scan->begin, slice_end(scan->line))};
    if (place == PLACE_HEAD)
        scan->trouble_at = slice_end(scan->line) + WINDOW_BYTES;
    if (is_reply && scan->in_transcript && scan->talk != NULL) {
        a->before = slice_between(scan->talk, answers_end(scan));
        if (scan->begin < slice_end(scan->line) && isdigit((unsigned char)*scan->begin))
            scan->talk = slice_end(scan->line); /* the mailer's own last word on it */
    }
}

static void scan_line(struct line_scan *scan)
{
    struct slice line = scan->line;
    size_t from = 0;

    scan->last = PLACE_MIDDLE;

    if (slice_has(line, "transcript of session") || slice_begins(slice_trim(line), "... while talking") ||
        slice_begins(slice_trim(line), "While talking")) {
        if (!scan->in_transcript || !slice_has(line, "transcript"))
            scan->talk = scan->begin;
        scan->in_transcript = true;
    }
    for (size_t at = 0; at < line.length && scan->notice->addresses < NOTICE_ADDRESSES_MAX; at++) {
        const char *sign = memchr(line.at + at, '@', line.length - at);
        struct slice address;
        bool tight;
        if (sign == NULL)
            return;
        at = (size_t)(sign - line.at);
        if (!mention_at(line, at, &address, &tight) || address.at < line.at + from)
            continue;
        size_t begin = (size_t)(address.at - line.at) - tight;
        take_address(scan, address, slice_between(line.at + from, line.at + begin));
        from = (size_t)(slice_end(address) - line.at) + tight;
        at = from > 0 ? from - 1 : 0;
    }
}

static bool is_own(const struct notice *notice, struct slice address)
{
    return same_address(address, notice->own[0]) || same_address(address, notice->own[1]);
}

static void drop_own(struct notice *notice)
{
    size_t others = 0, kept = 0;

    for (size_t i = 0; i < notice->addresses; i++)
        others += !is_own(notice, notice->address[i].address) && notice->address[i].place <= PLACE_LABEL;
    if (others == 0)
        return;
    for (size_t i = 0; i < notice->addresses; i++)
        if (!is_own(notice, notice->address[i].address))
            notice->address[kept++] = notice->address[i];
    notice->addresses = kept;
}

/* Only the addresses of the best place stay; one that is said again has to begin nothing new. */
static void keep_best(struct notice *notice)
{
    enum notice_place best = PLACE_NOWHERE;
    size_t kept = 0;

    for (size_t i = 0; i < notice->addresses; i++)
        if (notice->address[i].place < best)
            best = notice->address[i].place;
    for (size_t i = 0; i < notice->addresses; i++) {
        if (notice->address[i].place != best ||
            (kept > 0 && same_address(notice->address[i].address, notice->address[kept - 1].address) &&
             !notice->address[i].is_reply))
            continue;
        notice->address[kept++] = notice->address[i];
    }
    notice->addresses = kept;
}

/* The paragraph that begins with `from`: where the first line says nothing but the address, the next one that says more. */
static const char *paragraph_end(const char *from, const char *end)
{
    const char *at = from, *last = from;
    struct slice line;
    size_t said = 0;

    while (line_next(&at, end, &line)) {
        if (slice_trim(line).length == 0 && said > 1)
            break;
        said += slice_trim(line).length > 0;
        last = slice_end(line);
    }
    return last;
}

static void bound_sections(struct notice *notice)
{
    for (size_t i = 0; i < notice->addresses; i++) {
        struct notice_address *a = &notice->address[i];
        size_t next = i + 1;
        while (next < notice->addresses && (same_address(notice->address[next].address, a->address) ||
                                            notice->address[next].whole.at == a->whole.at))
            next++;
        const char *end = next < notice->addresses ? notice->address[next].whole.at : slice_end(notice->said);
        a->whole = slice_between(a->whole.at, end);
        a->near = slice_between(a->whole.at, paragraph_end(a->whole.at, end));
        if (a->near.length < slice_trim(a->near).length)
            a->near = slice_trim(a->near);
    }
}

/* Order: address, then place in the text. Of equal ones the first stays, with the conversation that any of them ends. */
static int by_hash(const void *a, const void *b)
{
    const struct notice_address *const *x = a, *const *y = b;

    return (*x)->hash != (*y)->hash ? ((*x)->hash < (*y)->hash ? -1 : 1)
                                    : ((*x)->address.at < (*y)->address.at ? -1 : 1);
}

static void drop_doubles(struct notice *notice)
{
    struct notice_address **order;
    size_t kept = 0;

    if (notice->addresses < 2)
        return;
    order = reallocarray(NULL, notice->addresses, sizeof(void *));
    if (order == NULL) {
        notice->failed = true;
        return;
    }
    for (size_t i = 0; i < notice->addresses; i++)
        order[i] = &notice->address[i];
    qsort(order, notice->addresses, sizeof(void *), by_hash);
    for (size_t i = 1, first = 0; i < notice->addresses; i++) {
        if (!same_address(order[first]->address, order[i]->address)) {
            first = i;
            continue;
        }
        if (order[first]->before.length == 0)
            order[first]->before = order[i]->before;
        order[i]->place = PLACE_NOWHERE;
    }
    free(order);
    for (size_t i = 0; i < notice->addresses; i++)
        if (notice->address[i].place != PLACE_NOWHERE)
            notice->address[kept++] = notice->address[i];
    notice->addresses = kept;
}

void notice_read(struct notice *notice, struct slice text)
{
    struct line_scan scan = {.notice = notice};
    const char *at;

    notice->addresses = 0;
    find_original(notice, text);
    at = notice->said.at;
    for (;;) {
        scan.begin = at;
        if (!line_next(&at, slice_end(notice->said), &scan.line))
            break;
        scan_line(&scan);
    }
    drop_own(notice);
    keep_best(notice);
    bound_sections(notice);
    drop_doubles(notice);
}

const struct notice_address *notice_find(const struct notice *notice, const char *address)
{
    struct slice want = {address, strlen(address)};
    uint64_t hash = mention_hash(want);

    for (size_t i = 0; i < notice->addresses; i++)
        if (notice->address[i].hash == hash && same_address(notice->address[i].address, want))
            return &notice->address[i];
    return NULL;
}

void notice_free(struct notice *notice)
{
    free(notice->address);
    notice->address = NULL;
    notice->addresses = notice->room = 0;
}

bool notice_unquote(struct slice text, struct text *out)
{
    const char *at = text.at, *end = slice_end(text);
    size_t lines = 0, quoted = 0;
    struct slice line;

    while (line_next(&at, end, &line)) {
        lines += slice_trim(line).length > 0;
        quoted += line.length > 0 && line.at[0] == '>';
    }
    if (lines < 4 || quoted * 2 < lines)
        return false;
    for (at = text.at; line_next(&at, end, &line);) {
        size_t skip = line.length > 0 && line.at[0] == '>' ? 1 : 0;
        skip += skip == 1 && line.length > 1 && line.at[1] == ' ';
        text_put(out, line.at + skip, line.length - skip);
        text_byte(out, '\n');
    }
    return true;
}
