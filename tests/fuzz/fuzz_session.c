/* fuzz_session.c - whole sessions, many messages over one connection, with a receiver that parses what it is sent.
 *
 * The receiver answers when the input says so, well or with any code, in pieces of any size, and may put bytes of its
 * own between. What must hold: each letter is settled once; a message comes whole at most once and then it is that
 * letter's, byte for byte; who was sent to has it, and who is not unknown and not sent to has not been promised
 * delivery, as long as the receiver kept to its turn; and with a receiver that behaves from now on every session ends with
 * nobody waiting.
 *
 * Input: a byte of options, then a byte for what happens: three bits which, five how.
 */
#include <string.h>

#include "dialogue.h"

#define LETTERS     16
#define HEARD_BYTES 16384

enum turn { TURN_NONE, TURN_GREET, TURN_HELLO, TURN_MAIL, TURN_RCPT, TURN_DATA, TURN_DOT, TURN_OTHER };

struct server {
    char heard[HEARD_BYTES]; /* from the client, not yet looked at */
    size_t length;
    bool greeted, in_body, promiscuous; /* the last: DATA is granted without a recipient */
    bool has_mail;
    int rcpt; /* whose message this would be; -1: none */
};

struct fuzz {
    struct config config;
    struct dialogue_terms terms;
    struct dialogue talk;
    struct outbox box;
    struct reply_reader reader;
    struct server server;
    char text[DIALOGUE_TEXT_BYTES];
    struct letter letter[LETTERS];
    struct iovec iov[LETTERS][3];
    char body[LETTERS][64], rcpt[LETTERS][16];
    unsigned settled[LETTERS], whole[LETTERS], promised[LETTERS];
    enum flight_result result[LETTERS];
    uint32_t used;
    bool in_turn; /* the receiver never spoke unasked */
    bool late;    /* letters are rendered when the input says so */
    bool late_signed;
    bool over;
};

static void op_prepare(void *context, struct letter *letter)
{
    struct fuzz *f = context;
    letter->complete = !f->late_signed;
    if (!f->late)
        dialogue_prepared(&f->talk, letter);
}

static void op_sign(void *context, struct letter *letter)
{
    const struct fuzz *f = context;
    HK_BUG_ON(!f->late_signed || letter->complete);
}

static void op_commit(void *context, struct letter *letter)
{
    (void)context;
    HK_BUG_ON(!letter->asked || letter->granted || !letter->complete);
}

static void op_flight(void *context, struct letter *letter, enum flight_phase phase)
{
    (void)context;
    HK_BUG_ON(phase == FLIGHT_DOT && (!letter->granted || !letter->dot_put));
    HK_BUG_ON(phase == FLIGHT_CONTENT && !letter->complete);
}

static void op_settle(void *context, struct letter *letter, const struct outcome *outcome)
{
    struct fuzz *f = context;
    HK_BUG_ON(f->settled[letter->slot]++ != 0);
    f->result[letter->slot] = outcome->result;
    HK_BUG_ON(outcome->result == RESULT_SENT && (outcome->reply->code / 100 != 2 || !letter->dot_out));
    memset(letter, 0xee, sizeof *letter);
}

static void op_fail(void *context, enum log_phase log_phase, const struct reply *reply, const char *words)
{
    (void)context;
    (void)log_phase;
    HK_BUG_ON((reply == NULL) == (words == NULL));
}

static void op_bug(void *context, const char *words)
{
    (void)context;
    hk_bug(__FILE__, __LINE__, words); /* no server can make us wrong */
}

static const struct dialogue_ops ops = {op_prepare, op_sign, op_commit, op_flight,
                                        op_settle,  op_fail, op_bug};

static void heed(struct fuzz *f, enum dialogue_verdict verdict)
{
    HK_BUG_ON(verdict ==
              DIALOGUE_START_TLS); /* none is offered by who keeps to his turn, and none is wanted */
    if (verdict == DIALOGUE_FAILED || verdict == DIALOGUE_ENDED)
        f->over = true;
}

/* Bytes of the receiver, in pieces of at most `piece`. */
static void hear(struct fuzz *f, const char *bytes, size_t length, size_t piece)
{
    struct reply reply;
    char *where;
    while (length > 0 && !f->over) {
        size_t room = reply_room(&f->reader, &where);
        size_t take = length < piece ? length : piece;
        take = take < room ? take : room;
        memcpy(where, bytes, take);
        reply_filled(&f->reader, take);
        bytes += take;
        length -= take;
        int got;
        while (!f->over && (got = reply_next(&f->reader, &reply)) != 0)
            heed(f, got < 0 ? dialogue_garbled(&f->talk, "garbage") : dialogue_reply(&f->talk, &reply));
        if (!f->over)
            heed(f, dialogue_pump(&f->talk));
    }
}

/* The client writes up to `most` bytes. */
static void write_some(struct fuzz *f, size_t most)
{
    struct iovec iov[8];
    bool has_dot;
    size_t left = most;
    if (f->over || outbox_is_empty(&f->box))
        return;
    size_t count = outbox_gather(&f->box, iov, 8, 4096, &has_dot);
    if (has_dot)
        dialogue_dot_leaves(&f->talk);
    for (size_t i = 0; i < count && left > 0; i++) {
        size_t take = iov[i].iov_len < left ? iov[i].iov_len : left;
        HK_BUG_ON(take >
                  HEARD_BYTES - f->server.length); /* the client writes more than it may without an answer */
        memcpy(f->server.heard + f->server.length, iov[i].iov_base, take);
        f->server.length += take;
        left -= take;
    }
    dialogue_wrote(&f->talk, most - left, has_dot);
    heed(f, dialogue_pump(&f->talk));
}

/* The receiver. */

static void server_forget(struct server *s, size_t length)
{
    memmove(s->heard, s->heard + length, s->length - length);
    s->length -= length;
}

/* A whole message, with its dot: it has to be the recipient's, and the only one. */
static void server_judge_body(struct fuzz *f, size_t length)
{
    int rcpt = f->server.rcpt;
    if (!f->in_turn)
        return; /* who answers what was not asked has himself to blame for what he takes for a message */
    if (rcpt < 0) {
        HK_BUG_ON(length != 0); /* DATA was granted without a recipient: nothing but a lone dot may come */
        return;
    }
    HK_BUG_ON(length != strlen(f->body[rcpt]) || memcmp(f->server.heard, f->body[rcpt], length) != 0);
    HK_BUG_ON(f->whole[rcpt]++ != 0);
}

/* The next thing it was sent whole; taken out of what was heard. */
static enum turn server_next(struct fuzz *f)
{
    struct server *s = &f->server;
    char line[256];
    if (!s->greeted) {
        s->greeted = true;
        return TURN_GREET;
    }
    if (s->in_body) {
        const char *dot = s->length >= 3 && memcmp(s->heard, ".\r\n", 3) == 0 ? s->heard : NULL;
        const char *end = dot != NULL ? dot : memmem(s->heard, s->length, "\r\n.\r\n", 5);
        if (end == NULL)
            return TURN_NONE;
        size_t length = dot != NULL ? 0 : (size_t)(end - s->heard) + 2;
        server_judge_body(f, length);
        server_forget(s, length + 3);
        s->in_body = false;
        return TURN_DOT;
    }
    const char *lf = memchr(s->heard, '\n', s->length);
    if (lf == NULL)
        return TURN_NONE;
    size_t length = (size_t)(lf - s->heard) + 1;
    if (length < 6 || length >= sizeof line || lf[-1] != '\r') {
        HK_BUG_ON(f->in_turn);
        server_forget(s, length); /* a piece of a message, for who thinks that it was no message */
        return TURN_OTHER;
    }
    memcpy(line, s->heard, length);
    line[length] = '\0';
    server_forget(s, length);
    if (memcmp(line, "RCPT TO:<u", 10) == 0) {
        s->rcpt = (line[10] - '0') * 10 + line[11] - '0';
        return TURN_RCPT;
    }
    return memcmp(line + 1, "HLO", 3) == 0 || memcmp(line, "HELO", 4) == 0 ? TURN_HELLO
           : memcmp(line, "MAIL", 4) == 0                                  ? TURN_MAIL
           : memcmp(line, "DATA", 4) == 0                                  ? TURN_DATA
                                                                           : TURN_OTHER;
}

/* What it says when it behaves. */
static const char *server_good(const struct fuzz *f, enum turn asked)
{
    const struct server *s = &f->server;
    switch (asked) {
    case TURN_GREET:
        return "220 hi\r\n";
    case TURN_HELLO:
        return f->terms.no_pipelining ? "250 hi\r\n" : "250-hi\r\n250-SIZE 9000\r\n250 PIPELINING\r\n";
    case TURN_RCPT:
        return s->has_mail ? "250 ok\r\n" : "503 no MAIL\r\n";
    case TURN_DATA:
        return s->has_mail && (s->rcpt >= 0 || s->promiscuous) ? "354 go on\r\n" : "554 no recipients\r\n";
    default:
        return "250-2.0.0 so\r\n250 2.0.0 be it\r\n";
    }
}

static const char *const refusals[] = {"450 4.2.1 later\r\n", "550-5.1.1 no\r\n550 5.1.1 no\r\n",
                                       "421 closing\r\n",     "552 too much\r\n",
                                       "503 sequence\r\n",    "354 what\r\n",
                                       "250 fine\r\n",        "521 never\r\n"};

static void server_remember(struct fuzz *f, enum turn asked, char first)
{
    struct server *s = &f->server;
    bool taken = first == '2' || first == '3';
    if (asked == TURN_MAIL)
        s->has_mail = taken;
    if (asked == TURN_RCPT && (!taken || !s->has_mail))
        s->rcpt = -1;
    if (asked == TURN_DATA)
        s->in_body = first == '3';
    if (asked == TURN_DOT && s->rcpt >= 0 && first == '2')
        f->promised[s->rcpt]++;
    if (asked == TURN_DOT || asked == TURN_OTHER) {
        s->has_mail = false;
        s->rcpt = -1;
    }
}

/* One answer; refusal NULL: it behaves; piece 0: the answer never arrives. False: it was asked nothing. */
static bool server_answer(struct fuzz *f, const char *refusal, size_t piece)
{
    enum turn asked = server_next(f);
    if (asked == TURN_NONE)
        return false;
    const char *reply = refusal != NULL ? refusal : server_good(f, asked);
    server_remember(f, asked, reply[0]);
    if (piece > 0)
        hear(f, reply, strlen(reply), piece);
    return true;
}

/* What happens. */

static void queue_letter(struct fuzz *f)
{
    if (f->used == LETTERS || dialogue_is_closing(&f->talk))
        return;
    uint32_t n = f->used++;
    (void)snprintf(f->rcpt[n], sizeof f->rcpt[n], "u%02u@x.test", n);
    (void)snprintf(f->body[n], sizeof f->body[n], "S: %02u\r\n\r\n..\r\n...hi\r\n\r\n", n);
    size_t length = strlen(f->body[n]);
    f->iov[n][0] = (struct iovec){f->body[n], 7};
    f->iov[n][1] = (struct iovec){f->body[n] + 7, 0};
    f->iov[n][2] = (struct iovec){f->body[n] + 7, length - 7};
    f->letter[n] = (struct letter){.slot = n,
                                   .rcpt = f->rcpt[n],
                                   .rcpt_length = (uint32_t)strlen(f->rcpt[n]),
                                   .mail_from = "b@me.test",
                                   .iov = f->iov[n],
                                   .iov_count = 3,
                                   .bytes = length};
    dialogue_queue(&f->talk, &f->letter[n]);
}

static void render(struct fuzz *f)
{
    struct letter *letter = f->talk.head;
    if (letter == NULL || letter->ready || !letter->preparing)
        return;
    dialogue_prepared(&f->talk, letter);
}

static void sign(struct fuzz *f, const char *fault)
{
    struct letter *letter = f->talk.out;
    if (letter != NULL && !letter->complete)
        heed(f, dialogue_signed(&f->talk, letter, fault));
}

static void master_answers(struct fuzz *f, uint8_t how)
{
    uint32_t slot = how % LETTERS;
    if (slot >= f->used || f->settled[slot] != 0)
        return;
    if (how < LETTERS)
        dialogue_grant(&f->talk, &f->letter[slot]);
    else if (f->talk.opened)
        heed(f, dialogue_deny(&f->talk, &f->letter[slot]));
}

static void time_passes(struct fuzz *f)
{
    uint64_t deadline_ms = dialogue_deadline_ms(&f->talk);
    if (deadline_ms == UINT64_MAX)
        return;
    f->talk.now_ms = deadline_ms;
    heed(f, dialogue_expired(&f->talk));
}

static void end_somehow(struct fuzz *f, uint8_t how)
{
    switch (how) {
    case 0:
        heed(f, dialogue_lost(&f->talk, "lost"));
        return;
    case 1:
        heed(f, dialogue_stop(&f->talk));
        return;
    case 2:
        time_passes(f);
        return;
    case 5:
    case 6: /* the receiver did as it was asked, but its word is lost, and the connection with it */
        (void)server_answer(f, NULL, 0);
        heed(f, how == 5 ? dialogue_lost(&f->talk, "lost") : dialogue_stop(&f->talk));
        if (!f->over)
            heed(f, dialogue_garbled(&f->talk, "lost"));
        return;
    case 3:
        dialogue_drain(&f->talk);
        return;
    case 4:
        dialogue_quit(&f->talk);
        return;
    case 7:
        sign(f, NULL);
        return;
    case 8:
        sign(f, "out of memory");
        return;
    default:
        render(f);
    }
}

static size_t act(struct fuzz *f, uint8_t what, const uint8_t *more, size_t left)
{
    uint8_t how = what & 31;
    switch (what >> 5) {
    case 0:
        (void)server_answer(f, NULL, how == 0 ? SIZE_MAX : how);
        return 0;
    case 1:
        (void)server_answer(f, refusals[how % 8], how < 8 ? SIZE_MAX : how / 8);
        return 0;
    case 2:
        f->in_turn = false;
        hear(f, (const char *)more, how < left ? how : left, SIZE_MAX);
        return how < left ? how : left;
    case 3:
        queue_letter(f);
        return 0;
    case 4:
        write_some(f, how == 31 ? SIZE_MAX : how);
        return 0;
    case 5:
        master_answers(f, how);
        return 0;
    case 6:
        end_somehow(f, how);
        return 0;
    default: /* a good turn for everybody */
        sign(f, NULL);
        master_answers(f, how % LETTERS);
        write_some(f, SIZE_MAX);
        (void)server_answer(f, NULL, SIZE_MAX);
        return 0;
    }
}

/* From here on all behave: whoever waits has his turn, and nothing is left. */
static void finale(struct fuzz *f)
{
    for (unsigned turn = 0; turn < LETTERS * 16 && !f->over; turn++) {
        render(f);
        heed(f, dialogue_pump(&f->talk));
        sign(f, NULL);
        for (uint32_t i = 0; i < f->used; i++)
            if (f->settled[i] == 0 && !f->over)
                dialogue_grant(&f->talk, &f->letter[i]);
        heed(f, dialogue_pump(&f->talk));
        write_some(f, SIZE_MAX);
        (void)server_answer(f, NULL, SIZE_MAX);
    }
    HK_BUG_ON(!f->over && f->in_turn && (f->talk.head != NULL || f->talk.in != NULL || f->talk.out != NULL));
    if (!f->over)
        heed(f, dialogue_lost(&f->talk, "the end"));
    dialogue_drain(&f->talk);
}

static void judge(const struct fuzz *f)
{
    for (uint32_t i = 0; i < f->used; i++) {
        bool sent = f->result[i] == RESULT_SENT;
        HK_BUG_ON(f->settled[i] != 1);
        HK_BUG_ON(f->in_turn && sent && (f->whole[i] != 1 || f->promised[i] != 1));
        HK_BUG_ON(f->in_turn && !sent && f->promised[i] > 0 && f->result[i] != RESULT_UNKNOWN);
    }
}

static void begin(struct fuzz *f, uint8_t options)
{
    f->in_turn = true;
    f->late = (options & 1) != 0;
    f->late_signed = (options & 8) != 0;
    f->server.promiscuous = (options & 2) != 0;
    f->server.rcpt = -1;
    f->terms = (struct dialogue_terms){
        .config = &f->config, .hostname = "me.test", .no_pipelining = (options & 4) != 0};
    outbox_init(&f->box, f->text, sizeof f->text);
    reply_reader_init(&f->reader);
    f->talk.ops = &ops;
    f->talk.context = f;
    dialogue_begin(&f->talk, &f->terms, &f->box);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz *f = hk_xcalloc(1, sizeof *f);
    begin(f, size > 0 ? data[0] : 0);
    for (size_t at = 1; at < size && !f->over;) {
        uint8_t what = data[at++];
        at += act(f, what, data + at, size - at);
        if (!f->over)
            heed(f, dialogue_pump(&f->talk));
    }
    finale(f);
    judge(f);
    free(f);
    return 0;
}
