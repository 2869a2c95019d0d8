/* fuzz_dialogue.c - any server, any order of grants, denials, short writes, time-outs and ends: each letter is settled
 * exactly once, and never as something that cannot be.
 *
 * Input: one byte for what happens, and for server bytes a length and the bytes.
 */
#include <string.h>

#include "dialogue.h"

#define LETTERS 12

struct fuzz {
    struct config config;
    struct dialogue_terms terms;
    struct dialogue talk;
    struct outbox box;
    struct reply_reader reader;
    char text[DIALOGUE_TEXT_BYTES];
    struct letter letter[LETTERS];
    unsigned settled[LETTERS], failures;
    uint32_t used;
    struct iovec iov;
    bool over;
};

static void op_prepare(void *context, struct letter *letter)
{
    struct fuzz *f = context;
    letter->complete = letter->slot % 4 != 3;
    dialogue_prepared(&f->talk, letter);
}

static void op_sign(void *context, struct letter *letter)
{
    (void)context;
    HK_BUG_ON(letter->complete);
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
}

static void op_settle(void *context, struct letter *letter, const struct outcome *outcome)
{
    struct fuzz *f = context;
    HK_BUG_ON(f->settled[letter->slot]++ != 0);
    HK_BUG_ON(letter->dot_out && (outcome->result == RESULT_RETURNED || outcome->result == RESULT_DENIED));
    HK_BUG_ON(!letter->dot_out && (outcome->result == RESULT_SENT || outcome->result == RESULT_UNKNOWN));
    HK_BUG_ON(outcome->result == RESULT_RETURNED && outcome->words != NULL && letter->complete);
    HK_BUG_ON(outcome->result == RESULT_SENT && outcome->reply->code / 100 != 2);
    HK_BUG_ON(outcome->result == RESULT_BOUNCED && outcome->reply != NULL && outcome->reply->code / 100 != 5);
    memset(letter, 0xee, sizeof *letter);
}

static void op_fail(void *context, enum log_phase log_phase, const struct reply *reply, const char *words)
{
    struct fuzz *f = context;
    (void)log_phase;
    HK_BUG_ON((reply == NULL) == (words == NULL) || f->failures++ != 0);
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
    if (verdict == DIALOGUE_START_TLS)
        heed(f, dialogue_secured(&f->talk));
    if (verdict == DIALOGUE_FAILED || verdict == DIALOGUE_ENDED)
        f->over = true;
}

static void hear(struct fuzz *f, const uint8_t *bytes, size_t length)
{
    char *where;
    struct reply reply;
    size_t room = reply_room(&f->reader, &where);
    length = length < room ? length : room;
    memcpy(where, bytes, length);
    reply_filled(&f->reader, length);
    while (!f->over) {
        int got = reply_next(&f->reader, &reply);
        if (got == 0)
            return;
        heed(f, got < 0 ? dialogue_garbled(&f->talk, "garbage") : dialogue_reply(&f->talk, &reply));
    }
}

static void write_some(struct fuzz *f, size_t most)
{
    struct iovec iov[8];
    bool has_dot;
    size_t bytes = 0;
    if (outbox_is_empty(&f->box))
        return;
    size_t count = outbox_gather(&f->box, iov, 8, 4096, &has_dot);
    for (size_t i = 0; i < count; i++)
        bytes += iov[i].iov_len;
    if (has_dot)
        dialogue_dot_leaves(&f->talk);
    dialogue_wrote(&f->talk, bytes < most ? bytes : most, has_dot);
}

static void queue_letter(struct fuzz *f)
{
    if (f->used == LETTERS || dialogue_is_closing(&f->talk))
        return;
    struct letter *letter = &f->letter[f->used];
    *letter = (struct letter){.slot = f->used++,
                              .rcpt = "a@x.test",
                              .rcpt_length = 8,
                              .smtputf8 = f->used % 5 == 0,
                              .legacy = f->used % 3 == 1,
                              .mail_from = "b@me.test",
                              .iov = &f->iov,
                              .iov_count = 1,
                              .bytes = f->iov.iov_len};
    dialogue_queue(&f->talk, letter);
}

static void answer(struct fuzz *f, uint8_t what)
{
    uint32_t slot = what % LETTERS;
    if (slot >= f->used || f->settled[slot] != 0)
        return;
    if (what & 0x10)
        dialogue_grant(&f->talk, &f->letter[slot]);
    else if (f->talk.opened)
        heed(f, dialogue_deny(&f->talk, &f->letter[slot]));
}

static void sign(struct fuzz *f, const char *fault)
{
    struct letter *letter = f->talk.out;
    if (letter != NULL && !letter->complete)
        heed(f, dialogue_signed(&f->talk, letter, fault));
}

static void act(struct fuzz *f, uint8_t what)
{
    switch (what >> 5) {
    case 1:
        queue_letter(f);
        return;
    case 2:
        answer(f, what);
        return;
    case 3:
        write_some(f, what & 0x10 ? SIZE_MAX : what & 0xf);
        return;
    case 4:
        f->talk.now_ms = dialogue_deadline_ms(&f->talk);
        if (f->talk.now_ms != UINT64_MAX)
            heed(f, dialogue_expired(&f->talk));
        return;
    case 5:
        if (what & 1)
            dialogue_quit(&f->talk);
        else
            dialogue_drain(&f->talk);
        return;
    case 6:
        heed(f, what & 1 ? dialogue_stop(&f->talk) : dialogue_lost(&f->talk, "lost"));
        return;
    default:
        sign(f, what & 0x10 ? "out of memory" : NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz *f = hk_xcalloc(1, sizeof *f);
    f->iov = (struct iovec){(void *)(uintptr_t) "S: x\r\n\r\nhi\r\n", 12};
    f->terms = (struct dialogue_terms){.config = &f->config, .hostname = "me.test"};
    outbox_init(&f->box, f->text, sizeof f->text);
    reply_reader_init(&f->reader);
    f->talk.ops = &ops;
    f->talk.context = f;
    if (size > 0) {
        f->terms.tls = (enum tls_policy)(data[0] & 3);
        f->terms.no_pipelining = (data[0] & 4) != 0;
        f->terms.local_part = (data[0] & 32) != 0 ? LOCAL_PART_REJECT : LOCAL_PART_QUOTE;
        f->terms.auth_plain = data[0] & 8 ? "AHUAcA==" : NULL;
        f->terms.auth_user = f->terms.auth_password = "dQ==";
    }
    dialogue_begin(&f->talk, &f->terms, &f->box);
    for (size_t at = 1; at < size && !f->over;) {
        uint8_t what = data[at++];
        if (what >= 0x20) {
            act(f, what);
        } else {
            size_t length = size - at < what ? size - at : what;
            hear(f, data + at, length);
            at += length;
        }
        if (!f->over)
            heed(f, dialogue_pump(&f->talk));
    }
    if (!f->over)
        heed(f, dialogue_lost(&f->talk, "the end"));
    dialogue_drain(&f->talk);
    for (uint32_t i = 0; i < f->used; i++)
        HK_BUG_ON(f->settled[i] != 1);
    free(f);
    return 0;
}
