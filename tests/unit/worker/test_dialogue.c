/* test_dialogue.c - the client's side of SMTP without a socket: what is said, and what becomes of each recipient. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "dialogue.h"

#define LETTERS 6

struct rig {
    struct config config;
    struct dialogue_terms terms;
    struct dialogue talk;
    struct outbox box;
    struct reply_reader reader;
    char text[DIALOGUE_TEXT_BYTES];
    char wire[32768];   /* what was written since the last look */
    char told[4096];    /* outcomes and failures, in order */
    char signs[128];    /* asked, in order */
    char commits[128];  /* asked, in order */
    char flights[1024]; /* phases stored, in order */
    struct letter letter[LETTERS];
    struct iovec iov[LETTERS];
    char rcpt[LETTERS][64];
    enum dialogue_verdict verdict;
    unsigned bugs;
    bool hold_render; /* op_prepare does nothing: the test renders */
    bool hold_sign;   /* op_sign does nothing: the test signs */
};

static void note(char *to, size_t size, const char *format, ...) HK_PRINTF(3, 4);
static void note(char *to, size_t size, const char *format, ...)
{
    va_list args;
    size_t used = strlen(to);
    va_start(args, format);
    (void)vsnprintf(to + used, size - used, format, args);
    va_end(args);
}

static void op_prepare(void *context, struct letter *letter)
{
    struct rig *rig = context;
    letter->complete = !rig->hold_sign;
    if (!rig->hold_render)
        dialogue_prepared(&rig->talk, letter);
}

static void op_sign(void *context, struct letter *letter)
{
    struct rig *rig = context;
    assert_true(rig->hold_sign);
    note(rig->signs, sizeof rig->signs, "%u ", letter->slot);
}

static void op_commit(void *context, struct letter *letter)
{
    struct rig *rig = context;
    note(rig->commits, sizeof rig->commits, "%u ", letter->slot);
}

static void op_flight(void *context, struct letter *letter, enum flight_phase phase)
{
    static const char *const names[] = {"free", "taken", "envelope", "content", "dot", "done"};
    struct rig *rig = context;
    note(rig->flights, sizeof rig->flights, "%u:%s ", letter->slot, names[phase]);
}

static void op_settle(void *context, struct letter *letter, const struct outcome *outcome)
{
    static const char *const names[] = {"none", "returned", "denied",  "refused",
                                        "sent", "deferred", "bounced", "unknown"};
    struct rig *rig = context;
    note(rig->told, sizeof rig->told, "%u %s %s %u|", letter->slot, names[outcome->result],
         outcome->result == RESULT_RETURNED ? "-" : log_phase_name(outcome->log_phase),
         outcome->reply != NULL ? outcome->reply->code : 0u);
    memset(letter, 0xee, sizeof *letter); /* nobody may look at it again */
}

static void op_fail(void *context, enum log_phase log_phase, const struct reply *reply, const char *words)
{
    struct rig *rig = context;
    note(rig->told, sizeof rig->told, "failed %s %u%s%s|", log_phase_name(log_phase),
         reply != NULL ? reply->code : 0u, words != NULL ? " " : "", words != NULL ? words : "");
}

static void op_bug(void *context, const char *words)
{
    struct rig *rig = context;
    (void)words;
    rig->bugs++;
}

static const struct dialogue_ops ops = {op_prepare, op_sign, op_commit, op_flight,
                                        op_settle,  op_fail, op_bug};

/* Pump and write all, as the session does. */
static void work(struct rig *rig)
{
    for (int i = 0; i < 8; i++) {
        struct iovec iov[64];
        bool has_dot;
        size_t bytes = 0;
        enum dialogue_verdict verdict = dialogue_pump(&rig->talk);
        if (outbox_is_empty(&rig->box) && rig->talk.head != NULL && rig->talk.head->ready)
            verdict = dialogue_pump(&rig->talk); /* op_prepare rendered it */
        if (verdict != DIALOGUE_GO_ON)
            rig->verdict = verdict;
        if (outbox_is_empty(&rig->box) || rig->talk.phase == DIALOGUE_OVER)
            return;
        size_t count = outbox_gather(&rig->box, iov, 64, 65536, &has_dot);
        if (has_dot)
            dialogue_dot_leaves(&rig->talk);
        for (size_t j = 0; j < count; j++) {
            note(rig->wire, sizeof rig->wire, "%.*s", (int)iov[j].iov_len, (char *)iov[j].iov_base);
            bytes += iov[j].iov_len;
        }
        dialogue_wrote(&rig->talk, bytes, has_dot);
    }
}

/* The server says this (LF for CRLF). */
static void hear(struct rig *rig, const char *lines)
{
    struct reply reply;
    char *where;
    size_t room = reply_room(&rig->reader, &where);
    assert_true(room >= strlen(lines));
    size_t length = strlen(lines);
    memcpy(where, lines, length); /* NOLINT(bugprone-not-null-terminated-result): bytes, no string */
    reply_filled(&rig->reader, length);
    while (rig->talk.phase != DIALOGUE_OVER && reply_next(&rig->reader, &reply) == 1) {
        rig->verdict = dialogue_reply(&rig->talk, &reply);
        if (rig->verdict == DIALOGUE_START_TLS)
            return;
    }
    work(rig);
}

static void expect_wire(struct rig *rig, const char *wire)
{
    assert_string_equal(rig->wire, wire);
    rig->wire[0] = '\0';
}

static void rig_start(struct rig *rig)
{
    outbox_init(&rig->box, rig->text, sizeof rig->text);
    reply_reader_init(&rig->reader);
    rig->talk.ops = &ops;
    rig->talk.context = rig;
    rig->talk.now_ms = 1000;
    dialogue_begin(&rig->talk, &rig->terms, &rig->box);
}

static struct rig *rig_new(void)
{
    struct rig *rig = calloc(1, sizeof *rig);
    assert_non_null(rig);
    rig->config.smtp.banner_ms = 101;
    rig->config.smtp.ehlo_ms = 102;
    rig->config.smtp.starttls_ms = 103;
    rig->config.smtp.auth_ms = 104;
    rig->config.smtp.mail_ms = 105;
    rig->config.smtp.rcpt_ms = 106;
    rig->config.smtp.data_ms = 107;
    rig->config.smtp.block_ms = 108;
    rig->config.smtp.dot_ms = 109;
    rig->config.smtp.quit_ms = 110;
    rig->config.smtp.idle_ms = 111;
    rig->terms = (struct dialogue_terms){.config = &rig->config, .hostname = "me.test"};
    rig_start(rig);
    return rig;
}

static struct rig *rig_opened(const char *offers)
{
    struct rig *rig = rig_new();
    hear(rig, "220 hi\n");
    expect_wire(rig, "EHLO me.test\r\n");
    hear(rig, offers);
    assert_int_equal(rig->verdict, DIALOGUE_OPENED);
    assert_string_equal(rig->wire, "");
    return rig;
}

static void send_letter(struct rig *rig, uint32_t slot)
{
    struct letter *letter = &rig->letter[slot];
    (void)snprintf(rig->rcpt[slot], sizeof rig->rcpt[slot], "r%u@x.test", slot);
    rig->iov[slot] = (struct iovec){(void *)"S: x\r\n\r\nhi\r\n", 12};
    *letter = (struct letter){.slot = slot,
                              .rcpt = rig->rcpt[slot],
                              .rcpt_length = (uint32_t)strlen(rig->rcpt[slot]),
                              .mail_from = "b@me.test",
                              .iov = &rig->iov[slot],
                              .iov_count = 1,
                              .bytes = 12};
    dialogue_queue(&rig->talk, letter);
}

static void grant(struct rig *rig, uint32_t slot)
{
    dialogue_grant(&rig->talk, &rig->letter[slot]);
    work(rig);
}

#define PIPE    "250-mx.test\n250 PIPELINING\n"
#define PLAIN   "250 mx.test\n"
#define MAIL    "MAIL FROM:<b@me.test>\r\n"
#define RCPT(n) "RCPT TO:<r" #n "@x.test>\r\n"
#define ENV(n)  MAIL RCPT(n) "DATA\r\n"
#define BODY    "S: x\r\n\r\nhi\r\n"

/* RFC 2920 */
static void with_pipelining_a_message_costs_one_round_trip(void **state)
{
    struct rig *rig = rig_opened(PIPE);
    (void)state;
    send_letter(rig, 0);
    send_letter(rig, 1);
    send_letter(rig, 2);
    work(rig);
    expect_wire(rig, ENV(0));
    hear(rig, "250 ok\n250 ok\n354 go\n");
    assert_string_equal(rig->commits, "0 ");
    expect_wire(rig, ""); /* so small a body goes with its dot and the next envelope */
    grant(rig, 0);
    expect_wire(rig, BODY ".\r\n" ENV(1));
    hear(rig, "250 queued\n250 ok\n250 ok\n354 go\n");
    assert_string_equal(rig->told, "0 sent dot 250|");
    expect_wire(rig, "");
    grant(rig, 1);
    expect_wire(rig, BODY ".\r\n" ENV(2));
    hear(rig, "250 queued\n250 ok\n");
    grant(rig, 2); /* before RCPT was answered: not asked, not heard */
    hear(rig, "250 ok\n");
    grant(rig, 2);
    expect_wire(rig, "");
    hear(rig, "354 go\n");
    expect_wire(rig, BODY ".\r\n");
    hear(rig, "250 queued\n");
    assert_string_equal(rig->told, "0 sent dot 250|1 sent dot 250|2 sent dot 250|");
    assert_string_equal(rig->flights,
                        "0:envelope 0:content 1:envelope 0:dot 1:content 2:envelope 1:dot 2:content 2:dot ");
    assert_int_equal(rig->talk.phase, DIALOGUE_IDLE);
    free(rig);
}

static void a_large_body_is_under_way_while_the_grant_is_awaited(void **state)
{
    static char body[DIALOGUE_HELD_BYTES + 2];
    struct rig *rig = rig_opened(PIPE);
    (void)state;
    memset(body, 'x', sizeof body - 1);
    for (size_t bytes = sizeof body - 1; bytes >= DIALOGUE_HELD_BYTES; bytes--) {
        body[bytes] = '\0';
        send_letter(rig, 0);
        rig->iov[0] = (struct iovec){body, bytes};
        rig->letter[0].bytes = bytes;
        work(rig);
        expect_wire(rig, ENV(0));
        hear(rig, "250 ok\n250 ok\n354 go\n");
        if (bytes > DIALOGUE_HELD_BYTES)
            expect_wire(rig, body);
        assert_string_equal(rig->wire, "");
        grant(rig, 0);
        if (bytes > DIALOGUE_HELD_BYTES)
            expect_wire(rig, ".\r\n");
        assert_true(rig->wire[0] == '\0' || strcmp(rig->wire + bytes, ".\r\n") == 0);
        rig->wire[0] = '\0';
        hear(rig, "250 queued\n");
    }
    assert_string_equal(rig->told, "0 sent dot 250|0 sent dot 250|");
    free(rig);
}

static void a_small_body_that_is_denied_never_leaves(void **state)
{
    struct rig *rig = rig_opened(PIPE);
    (void)state;
    send_letter(rig, 0);
    work(rig);
    expect_wire(rig, ENV(0));
    hear(rig, "250 ok\n250 ok\n354 go\n");
    assert_int_equal(dialogue_deny(&rig->talk, &rig->letter[0]), DIALOGUE_ENDED);
    work(rig);
    expect_wire(rig, "");
    assert_string_equal(rig->told, "0 denied data 0|");
    assert_string_equal(rig->flights, "0:envelope ");
    free(rig);
}

static void without_pipelining_each_command_waits_for_its_reply(void **state)
{
    struct rig *rig = rig_opened(PLAIN);
    (void)state;
    send_letter(rig, 0);
    send_letter(rig, 1);
    work(rig);
    expect_wire(rig, MAIL);
    hear(rig, "250 ok\n");
    expect_wire(rig, RCPT(0));
    hear(rig, "550 5.1.1 no such user\n");
    assert_string_equal(rig->told, "0 bounced rcpt 550|");
    expect_wire(rig, "RSET\r\n"); /* or the next MAIL would be a nested one */
    hear(rig, "250 ok\n");
    expect_wire(rig, MAIL);
    hear(rig, "250 ok\n");
    expect_wire(rig, RCPT(1));
    hear(rig, "250 ok\n");
    expect_wire(rig, "DATA\r\n");
    grant(rig, 1);
    expect_wire(rig, "");
    hear(rig, "354 go\n");
    expect_wire(rig, BODY ".\r\n");
    hear(rig, "250 ok\n");
    assert_string_equal(rig->told, "0 bounced rcpt 550|1 sent dot 250|");
    free(rig);
}

static void the_off_switch_for_pipelining_holds(void **state)
{
    struct rig *rig = rig_new();
    (void)state;
    rig->terms.no_pipelining = true;
    hear(rig, "220 hi\n");
    hear(rig, PIPE);
    rig->wire[0] = '\0';
    send_letter(rig, 0);
    work(rig);
    expect_wire(rig, MAIL);
    free(rig);
}

static void a_refused_recipient_costs_the_next_one_nothing(void **state)
{
    struct rig *rig = rig_opened(PIPE);
    (void)state;
    send_letter(rig, 0);
    send_letter(rig, 1);
    work(rig);
    expect_wire(rig, ENV(0));
    hear(rig, "250 ok\n550 5.1.1 unknown\n354 go on\n");
    expect_wire(rig, ".\r\n" ENV(1)); /* RFC 2920 3.1 */
    hear(rig, "554 no recipients\n250 ok\n250 ok\n354 go\n");
    grant(rig, 1);
    expect_wire(rig, BODY ".\r\n");
    hear(rig, "250 ok\n");
    assert_string_equal(rig->told, "0 bounced rcpt 550|1 sent dot 250|");
    free(rig);
}

static void a_refused_data_is_followed_by_rset_and_the_next_envelope_in_one_write(void **state)
{
    struct rig *rig = rig_opened(PIPE);
    (void)state;
    send_letter(rig, 0);
    send_letter(rig, 1);
    work(rig);
    rig->wire[0] = '\0';
    hear(rig, "250 ok\n450 later\n554 no valid recipients\n");
    expect_wire(rig, "RSET\r\n" ENV(1));
    hear(rig, "250 ok\n250 ok\n250 ok\n354 go\n");
    grant(rig, 1);
    hear(rig, "250 ok\n");
    assert_string_equal(rig->told, "0 deferred rcpt 450|1 sent dot 250|");
    free(rig);
}

/* RFC 2920 */
static void a_refused_mail_takes_its_pipelined_companions_along(void **state)
{
    struct rig *rig = rig_opened(PIPE);
    (void)state;
    send_letter(rig, 0);
    send_letter(rig, 1);
    work(rig);
    hear(rig, "550 5.7.1 blocked\n503 need MAIL\n503 need RCPT\n");
    assert_string_equal(rig->told, "0 bounced mail 550|");
    assert_false(rig->talk.broken_sync);
    rig->wire[0] = '\0';
    hear(rig, "250 reset\n250 ok\n250 ok\n354 go\n");
    grant(rig, 1);
    hear(rig, "250 ok\n");
    assert_string_equal(rig->told, "0 bounced mail 550|1 sent dot 250|");
    free(rig);
}

static void replies_decide_by_phase(void **state)
{
    static const struct {
        const char *replies, *told;
    } cases[] = {
        {"450 4.7.1 slow\n503 x\n503 x\n", "0 deferred mail 450|"},
        {"250 ok\n552 too many\n554 x\n", "0 deferred rcpt 552|"},
        {"250 ok\n250 ok\n554 no\n", "0 bounced data 554|"},
        {"250 ok\n250 ok\n451 no\n", "0 deferred data 451|"},
        {"250 ok\n421 bye\n", "0 deferred rcpt 421|"},
        {"421 bye\n", "0 deferred mail 421|"},
        {"250 ok\n250 ok\n354 go\n", ""},
        {"250 ok\n250 ok\n354 go\n552 5.3.4 too big\n", "0 bounced data 552|"}, /* no dot was written yet */
        {"250 ok\n250 ok\n354 go\n250 ok\n", "0 deferred data 0|"},
        {"354 go\n", "0 deferred mail 0|"},
        {"250 ok\n503 nested\n", "0 deferred rcpt 503|"}, /* out of step, not a refusal */
        {"250 ok\n250 ok\n503 no\n", "0 deferred data 503|"},
        {"503 no\n", "0 deferred mail 503|"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig *rig = rig_opened(PIPE);
        send_letter(rig, 0);
        work(rig);
        hear(rig, cases[i].replies);
        assert_string_equal(rig->told, cases[i].told);
        assert_int_equal(rig->bugs, 0);
        free(rig);
    }
}

static void after_the_dot_replies_decide_or_nobody_knows(void **state)
{
    static const struct {
        const char *replies, *told;
    } cases[] = {
        {"250 ok\n", "0 sent dot 250|"},
        {"452 full\n", "0 deferred dot 452|"},
        {"552 full\n", "0 bounced dot 552|"},
        {"554 5.7.1 spam\n", "0 bounced dot 554|"},
        {"421 4.3.2 bye\n", "0 deferred dot 421|1 returned - 0|"},
        {"354 go\n", "0 unknown dot 0|1 returned - 0|"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig *rig = rig_opened(PIPE);
        send_letter(rig, 0);
        send_letter(rig, 1);
        work(rig);
        hear(rig, "250 ok\n250 ok\n354 go\n");
        grant(rig, 0);
        hear(rig, cases[i].replies);
        assert_string_equal(rig->told, cases[i].told);
        free(rig);
    }
}

/* Everything up to here was heard; then the line goes dead. */
static void a_lost_connection_is_told_by_where_it_was(void **state)
{
    static const struct {
        const char *replies;
        bool granted;
        const char *told;
    } cases[] = {
        {"", false, "0 deferred mail 0|1 returned - 0|"},
        {"250 ok\n", false, "0 deferred rcpt 0|1 returned - 0|"},
        {"250 ok\n250 ok\n", false, "0 deferred data 0|1 returned - 0|"},
        {"250 ok\n250 ok\n354 go\n", false, "0 deferred data 0|1 returned - 0|"},
        {"250 ok\n250 ok\n354 go\n", true, "0 unknown dot 0|1 returned - 0|"},
        {"250 ok\n550 no\n", false, "0 bounced rcpt 550|1 returned - 0|"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig *rig = rig_opened(PIPE);
        send_letter(rig, 0);
        send_letter(rig, 1);
        work(rig);
        hear(rig, cases[i].replies);
        if (cases[i].granted)
            grant(rig, 0);
        assert_int_equal(dialogue_lost(&rig->talk, "connection reset"), DIALOGUE_ENDED);
        assert_string_equal(rig->told, cases[i].told);
        free(rig);
    }
}

static void a_server_that_closed_an_idle_connection_costs_no_attempt(void **state)
{
    struct rig *rig = rig_opened(PIPE);
    (void)state;
    send_letter(rig, 0);
    work(rig);
    hear(rig, "250 ok\n250 ok\n354 go\n");
    grant(rig, 0);
    hear(rig, "250 ok\n");
    send_letter(rig, 1);
    work(rig);
    assert_int_equal(dialogue_lost(&rig->talk, "closed"), DIALOGUE_ENDED);
    assert_string_equal(rig->told, "0 sent dot 250|1 returned - 0|");
    free(rig);
}

static void a_time_out_on_a_reused_connection_is_an_attempt(void **state)
{
    struct rig *rig = rig_opened(PIPE);
    (void)state;
    send_letter(rig, 0);
    work(rig);
    hear(rig, "250 ok\n250 ok\n354 go\n");
    grant(rig, 0);
    hear(rig, "250 ok\n");
    send_letter(rig, 1);
    work(rig);
    rig->talk.now_ms = dialogue_deadline_ms(&rig->talk);
    assert_int_equal(dialogue_expired(&rig->talk), DIALOGUE_ENDED);
    assert_string_equal(rig->told, "0 sent dot 250|1 deferred mail 0|");
    free(rig);
}

static void a_denied_message_never_gets_its_dot(void **state)
{
    static const char *const before[] = {"250 ok\n250 ok\n", "250 ok\n250 ok\n354 go\n"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct rig *rig = rig_opened(PIPE);
        send_letter(rig, 0);
        send_letter(rig, 1);
        work(rig);
        hear(rig, before[i]);
        assert_int_equal(dialogue_deny(&rig->talk, &rig->letter[0]), DIALOGUE_ENDED);
        work(rig);
        assert_null(strstr(rig->wire, "\r\n.\r\n"));
        assert_string_equal(rig->told, "0 denied data 0|1 returned - 0|");
        free(rig);
    }
}

static void without_an_answer_to_the_commit_the_message_goes_back_after_twenty_seconds(void **state)
{
    struct rig *rig = rig_opened(PIPE);
    (void)state;
    send_letter(rig, 0);
    work(rig);
    hear(rig, "250 ok\n250 ok\n354 go\n");
    assert_int_equal(dialogue_deadline_ms(&rig->talk), 1000 + DIALOGUE_GRANT_MS);
    rig->talk.now_ms = 1000 + DIALOGUE_GRANT_MS;
    assert_int_equal(dialogue_expired(&rig->talk), DIALOGUE_ENDED);
    assert_string_equal(rig->told, "0 returned - 0|");
    assert_null(strstr(rig->wire, "\r\n.\r\n"));
    free(rig);
}

/* RFC 5321 4.5.3.2 */
static void each_phase_has_its_own_time_limit(void **state)
{
    struct rig *rig = rig_new();
    (void)state;
    assert_int_equal(dialogue_deadline_ms(&rig->talk), 1101);
    hear(rig, "220 hi\n");
    assert_int_equal(dialogue_deadline_ms(&rig->talk), 1102);
    hear(rig, PIPE);
    assert_int_equal(dialogue_deadline_ms(&rig->talk), 1111);
    rig->talk.now_ms = 2000;
    send_letter(rig, 0);
    work(rig);
    assert_int_equal(dialogue_deadline_ms(&rig->talk), 2105);
    hear(rig, "250 ok\n");
    assert_int_equal(dialogue_deadline_ms(&rig->talk), 2106);
    hear(rig, "250 ok\n");
    assert_int_equal(dialogue_deadline_ms(&rig->talk), 2107);
    hear(rig, "354 go\n");
    rig->talk.now_ms = 3000;
    grant(rig, 0);
    assert_int_equal(dialogue_deadline_ms(&rig->talk), 3109);
    rig->talk.now_ms = 3109;
    assert_int_equal(dialogue_expired(&rig->talk), DIALOGUE_ENDED);
    assert_string_equal(rig->told, "0 unknown dot 0|");
    free(rig);
}

static void an_idle_connection_says_quit_by_itself(void **state)
{
    struct rig *rig = rig_opened(PIPE);
    (void)state;
    rig->talk.now_ms = dialogue_deadline_ms(&rig->talk);
    assert_int_equal(dialogue_expired(&rig->talk), DIALOGUE_GO_ON);
    work(rig);
    expect_wire(rig, "QUIT\r\n");
    assert_true(dialogue_is_closing(&rig->talk));
    hear(rig, "221 bye\n");
    assert_int_equal(rig->verdict, DIALOGUE_ENDED);
    assert_string_equal(rig->told, "");
    free(rig);
}

static void quit_waits_for_what_is_queued(void **state)
{
    struct rig *rig = rig_opened(PIPE);
    (void)state;
    send_letter(rig, 0);
    dialogue_quit(&rig->talk);
    work(rig);
    expect_wire(rig, ENV(0));
    hear(rig, "250 ok\n250 ok\n354 go\n");
    send_letter(rig, 1);
    grant(rig, 0);
    expect_wire(rig, BODY ".\r\n" ENV(1));
    hear(rig, "250 ok\n550 no\n550 no\n");
    expect_wire(rig, "");
    hear(rig, "550 no\n");
    expect_wire(rig, "QUIT\r\n");
    assert_string_equal(rig->told, "0 sent dot 250|1 bounced mail 550|");
    free(rig);
}

static struct rig *rig_parting(const char *offers)
{
    struct rig *rig = rig_opened(offers);
    send_letter(rig, 0);
    work(rig);
    rig->wire[0] = '\0';
    dialogue_quit(&rig->talk);
    work(rig);
    expect_wire(rig, "");
    return rig;
}

/* RFC 2920 3.1 */
static void quit_goes_in_one_group_with_the_last_dot(void **state)
{
    static const struct {
        const char *dot, *told;
    } answers[] = {{"250 ok\n", "0 sent dot 250|"}, {"451 later\n", "0 deferred dot 451|"}};
    (void)state;
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        struct rig *rig = rig_parting(PIPE);
        hear(rig, "250 ok\n250 ok\n354 go\n");
        expect_wire(rig, "");
        grant(rig, 0);
        expect_wire(rig, BODY ".\r\nQUIT\r\n");
        rig->talk.now_ms = 2000;
        hear(rig, answers[i].dot);
        assert_string_equal(rig->told, answers[i].told);
        assert_int_equal(rig->talk.phase, DIALOGUE_QUIT);
        assert_int_equal(dialogue_deadline_ms(&rig->talk), 2110);
        expect_wire(rig, "");
        hear(rig, "221 bye\n");
        assert_int_equal(rig->verdict, DIALOGUE_ENDED);
        assert_string_equal(rig->told, answers[i].told);
        assert_int_equal(rig->bugs, 0);
        free(rig);
    }
}

static void without_pipelining_quit_waits_for_the_reply_to_the_dot(void **state)
{
    struct rig *rig = rig_parting(PLAIN);
    (void)state;
    hear(rig, "250 ok\n");
    hear(rig, "250 ok\n");
    grant(rig, 0);
    rig->wire[0] = '\0';
    hear(rig, "354 go\n");
    expect_wire(rig, BODY ".\r\n");
    hear(rig, "250 ok\n");
    expect_wire(rig, "QUIT\r\n");
    free(rig);
}

static void with_quit_behind_the_dot_its_reply_still_decides(void **state)
{
    static const char *const told[] = {"0 unknown dot 0|", "0 deferred dot 421|", "0 unknown dot 0|"};
    (void)state;
    for (unsigned way = 0; way < 3; way++) {
        struct rig *rig = rig_parting(PIPE);
        hear(rig, "250 ok\n250 ok\n354 go\n");
        grant(rig, 0);
        if (way == 0)
            assert_int_equal(dialogue_lost(&rig->talk, "gone"), DIALOGUE_ENDED);
        else
            hear(rig, way == 1 ? "421 busy\n" : "354 what\n");
        assert_string_equal(rig->told, told[way]);
        assert_int_equal(rig->talk.phase, DIALOGUE_OVER);
        free(rig);
    }
}

static void a_drain_returns_what_has_no_mail_and_finishes_the_rest(void **state)
{
    struct rig *rig = rig_opened(PIPE);
    (void)state;
    send_letter(rig, 0);
    send_letter(rig, 1);
    work(rig);
    dialogue_drain(&rig->talk);
    assert_string_equal(rig->told, "1 returned - 0|");
    hear(rig, "250 ok\n250 ok\n354 go\n");
    grant(rig, 0);
    hear(rig, "250 ok\n");
    assert_string_equal(rig->told, "1 returned - 0|0 sent dot 250|");
    free(rig);
}

static void without_a_master_no_new_dot_leaves_and_one_under_way_is_waited_for(void **state)
{
    (void)state;
    struct rig *rig = rig_opened(PIPE);
    send_letter(rig, 0);
    work(rig);
    hear(rig, "250 ok\n250 ok\n354 go\n");
    assert_int_equal(dialogue_stop(&rig->talk), DIALOGUE_ENDED);
    assert_string_equal(rig->told, "0 returned - 0|");
    free(rig);

    rig = rig_opened(PIPE);
    send_letter(rig, 0);
    send_letter(rig, 1);
    work(rig);
    hear(rig, "250 ok\n250 ok\n354 go\n");
    grant(rig, 0); /* takes the envelope of 1 along */
    assert_int_equal(dialogue_stop(&rig->talk), DIALOGUE_GO_ON);
    assert_string_equal(rig->told, "1 returned - 0|");
    hear(rig, "250 ok\n");
    assert_int_equal(rig->verdict, DIALOGUE_ENDED);
    assert_string_equal(rig->told, "1 returned - 0|0 sent dot 250|");
    free(rig);
}

/* RFC 5321 4.1.1.1 */
static void ehlo_refused_gives_way_to_helo(void **state)
{
    struct rig *rig = rig_new();
    (void)state;
    hear(rig, "220 hi\n");
    hear(rig, "502 what\n");
    expect_wire(rig, "EHLO me.test\r\nHELO me.test\r\n");
    hear(rig, "250 mx\n");
    assert_int_equal(rig->verdict, DIALOGUE_OPENED);
    send_letter(rig, 0);
    work(rig);
    expect_wire(rig, MAIL);
    free(rig);
}

static void openings_fail_with_the_phase_and_the_words(void **state)
{
    static const struct {
        enum tls_policy tls;
        const char *replies, *told;
    } cases[] = {
        {TLS_NONE, "421 busy\n", "failed banner 421|"},
        {TLS_NONE, "554 go away\n", "failed banner 554|"},
        {TLS_NONE, "354 what\n", "failed banner 0 the server's reply makes no sense here|"},
        {TLS_NONE, "220 hi\n450 later\n", "failed ehlo 450|"},
        {TLS_NONE, "220 hi\n502 no\n500 no\n", "failed ehlo 500|"},
        {TLS_REQUIRED, "220 hi\n250 mx\n", "failed starttls 0 TLS is required and STARTTLS is not offered|"},
        {TLS_VERIFIED, "220 hi\n502 no\n250 mx\n",
         "failed starttls 0 TLS is required and STARTTLS is not offered|"},
        {TLS_OPPORTUNISTIC, "220 hi\n250-mx\n250 STARTTLS\n454 not now\n", "failed starttls 454|"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig *rig = rig_new();
        rig->terms.tls = cases[i].tls;
        send_letter(rig, 0);
        for (const char *line = cases[i].replies; *line != '\0' && rig->talk.phase != DIALOGUE_OVER;) {
            char one[64] = "";
            size_t length = strcspn(line, "\n") + 1;
            memcpy(one, line, length);
            hear(rig, one);
            line += length;
        }
        assert_int_equal(rig->verdict, DIALOGUE_FAILED);
        assert_string_equal(rig->told, cases[i].told);
        rig_start(rig); /* the next address: what was queued goes there */
        hear(rig, "220 hi\n");
        assert_ptr_equal(rig->talk.head, &rig->letter[0]);
        free(rig);
    }
}

/* Where a session can stand, and what brings it there. Letters 0 and 1 are queued, 0 is granted when asked for. */
static const struct stand {
    enum dialogue_phase phase;
    const char *replies; /* one a line of the script; a reply ends with LF */
    enum tls_policy tls;
    bool auth, no_letters, no_grant, quit;
    const char *told_421, *told_lost; /* outcomes, in order */
} stands[] = {
    {DIALOGUE_BANNER, "", .told_421 = "failed banner 421|", .told_lost = "failed banner 0 gone|"},
    {DIALOGUE_EHLO, "220 hi\n", .told_421 = "failed ehlo 421|", .told_lost = "failed ehlo 0 gone|"},
    {DIALOGUE_HELO, "220 hi\n502 no\n", .told_421 = "failed ehlo 421|", .told_lost = "failed ehlo 0 gone|"},
    {DIALOGUE_STARTTLS, "220 hi\n250-mx\n250 STARTTLS\n", TLS_REQUIRED, .told_421 = "failed starttls 421|",
     .told_lost = "failed starttls 0 gone|"},
    {DIALOGUE_AUTH, "220 hi\n250-mx\n250 AUTH PLAIN\n", .auth = true, .told_421 = "failed auth 421|",
     .told_lost = "failed auth 0 gone|"},
    {DIALOGUE_AUTH_USER, "220 hi\n250-mx\n250 AUTH LOGIN\n", .auth = true, .told_421 = "failed auth 421|",
     .told_lost = "failed auth 0 gone|"},
    {DIALOGUE_AUTH_PASSWORD, "220 hi\n250-mx\n250 AUTH LOGIN\n334 u\n", .auth = true,
     .told_421 = "failed auth 421|", .told_lost = "failed auth 0 gone|"},
    {DIALOGUE_IDLE, "220 hi\n" PIPE, .no_letters = true, .told_421 = "failed mail 421|",
     .told_lost = "failed mail 0 gone|"},
    {DIALOGUE_MAIL, "220 hi\n" PIPE, .told_421 = "0 deferred mail 421|1 returned - 0|",
     .told_lost = "0 deferred mail 0|1 returned - 0|"},
    {DIALOGUE_SKIP, "220 hi\n" PIPE "450 no\n",
     .told_421 = "0 deferred mail 450|failed rcpt 421|1 returned - 0|",
     .told_lost = "0 deferred mail 450|1 returned - 0|"},
    {DIALOGUE_RCPT, "220 hi\n" PIPE "250 ok\n", .told_421 = "0 deferred rcpt 421|1 returned - 0|",
     .told_lost = "0 deferred rcpt 0|1 returned - 0|"},
    {DIALOGUE_DATA, "220 hi\n" PIPE "250 ok\n250 ok\n", .told_421 = "0 deferred data 421|1 returned - 0|",
     .told_lost = "0 deferred data 0|1 returned - 0|"},
    {DIALOGUE_VOID, "220 hi\n" PIPE "250 ok\n550 no\n",
     .told_421 = "0 bounced rcpt 550|failed data 421|1 returned - 0|",
     .told_lost = "0 bounced rcpt 550|1 returned - 0|"},
    {DIALOGUE_LONE, "220 hi\n" PIPE "250 ok\n550 no\n354 go\n",
     .told_421 = "0 bounced rcpt 550|failed dot 421|1 returned - 0|",
     .told_lost = "0 bounced rcpt 550|1 returned - 0|"},
    {DIALOGUE_RSET, "220 hi\n" PIPE "250 ok\n550 no\n554 no\n",
     .told_421 = "0 bounced rcpt 550|failed mail 421|1 returned - 0|",
     .told_lost = "0 bounced rcpt 550|1 returned - 0|"},
    {DIALOGUE_DOT, "220 hi\n" PIPE "250 ok\n250 ok\n354 go\n", .no_grant = true,
     .told_421 = "0 deferred data 421|1 returned - 0|", .told_lost = "0 deferred data 0|1 returned - 0|"},
    {DIALOGUE_DOT, "220 hi\n" PIPE "250 ok\n250 ok\n354 go\n",
     .told_421 = "0 deferred dot 421|1 returned - 0|", .told_lost = "0 unknown dot 0|1 returned - 0|"},
    {DIALOGUE_QUIT, "220 hi\n" PIPE, .no_letters = true, .quit = true, .told_421 = "", .told_lost = ""},
};

static struct rig *rig_standing(const struct stand *stand)
{
    struct rig *rig = rig_new();
    const char *line = stand->replies;

    rig->terms.tls = stand->tls;
    if (stand->auth) {
        rig->terms.auth_plain = "AHUAcA==";
        rig->terms.auth_user = "dQ==";
        rig->terms.auth_password = "cA==";
        rig->talk.secured = true;
    }
    for (uint32_t slot = 0; slot < 2 && !stand->no_letters; slot++)
        send_letter(rig, slot);
    while (*line != '\0') {
        char one[64] = "";
        size_t length = strcspn(line, "\n") + 1;
        memcpy(one, line, length);
        hear(rig, one);
        line += length;
        if (rig->talk.in == &rig->letter[0] && rig->talk.in->asked && !stand->no_grant)
            grant(rig, 0);
    }
    if (stand->quit) {
        dialogue_quit(&rig->talk);
        work(rig);
    }
    assert_int_equal(rig->talk.phase, stand->phase);
    return rig;
}

/* RFC 5321 3.8, 4.2.3: at any point, and it is about the host's state, never the end of a recipient. */
static void a_421_is_heeded_wherever_it_comes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof stands / sizeof *stands; i++) {
        struct rig *rig = rig_standing(&stands[i]);
        hear(rig, "421 4.3.2 closing\n");
        assert_int_equal(rig->talk.phase, DIALOGUE_OVER);
        assert_int_equal(rig->verdict, rig->talk.opened ? DIALOGUE_ENDED : DIALOGUE_FAILED);
        assert_string_equal(rig->told, stands[i].told_421);
        assert_int_equal(rig->bugs, 0);
        free(rig);
    }
}

/* RFC 5321 3.8, 4.5.4.1: a connection lost in each phase; only behind the dot nobody knows. */
static void a_connection_lost_in_any_phase_leaves_nobody_out(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof stands / sizeof *stands; i++) {
        struct rig *rig = rig_standing(&stands[i]);
        enum dialogue_verdict verdict = dialogue_lost(&rig->talk, "gone");
        assert_int_equal(verdict, rig->talk.opened ? DIALOGUE_ENDED : DIALOGUE_FAILED);
        assert_string_equal(rig->told, stands[i].told_lost);
        assert_int_equal(rig->bugs, 0);
        free(rig);
    }
}

/* RFC 7504: HELO would get no other answer. */
static void a_521_to_ehlo_is_no_reason_for_helo(void **state)
{
    struct rig *rig = rig_new();
    (void)state;
    hear(rig, "220 hi\n");
    hear(rig, "521 5.3.2 no mail here\n");
    assert_int_equal(rig->verdict, DIALOGUE_FAILED);
    expect_wire(rig, "EHLO me.test\r\n");
    assert_string_equal(rig->told, "failed ehlo 521|");
    free(rig);
}

static void send_legacy(struct rig *rig, uint32_t slot, const char *rcpt)
{
    send_letter(rig, slot);
    (void)snprintf(rig->rcpt[slot], sizeof rig->rcpt[slot], "%s", rcpt);
    rig->letter[slot].rcpt_length = (uint32_t)strlen(rcpt);
    rig->letter[slot].legacy = true;
}

/* RFC 5321 4.1.2: Local-part = Dot-string / Quoted-string. */
static void a_legacy_local_part_goes_out_quoted_and_once_more_as_it_is(void **state)
{
    static const struct {
        const char *reply;
        bool again;
    } cases[] = {
        {"501 what\n", true},           {"553 5.1.3 what\n", true},
        {"550 5.1.3 what\n", true},     {"550 Syntax error in address\n", true},
        {"550 5.1.1 unknown\n", false}, {"550 Unknown user\n", false},
        {"450 4.1.3 later\n", false},   {"552 full\n", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct rig *rig = rig_opened(PIPE);
        send_legacy(rig, 0, "a..b@x.test");
        send_letter(rig, 1);
        work(rig);
        expect_wire(rig, MAIL "RCPT TO:<\"a..b\"@x.test>\r\n");
        hear(rig, "250 ok\n");
        hear(rig, cases[i].reply);
        expect_wire(rig, cases[i].again ? "RCPT TO:<a..b@x.test>\r\nDATA\r\n" : "RSET\r\n" ENV(1));
        if (cases[i].again) {
            hear(rig, cases[i].reply);
            assert_string_equal(rig->wire, "");
            hear(rig, "554 none\n"); /* DATA: then the next one, and no third try */
            expect_wire(rig, "RSET\r\n" ENV(1));
        }
        hear(rig, "250 ok\n250 ok\n250 ok\n354 go\n");
        grant(rig, 1);
        hear(rig, "250 queued\n");
        assert_non_null(strstr(rig->told, "|1 sent dot 250|"));
        assert_int_equal(rig->bugs, 0);
        free(rig);
    }
}

/* RFC 3207 */
static void offers_from_before_tls_are_forgotten(void **state)
{
    struct rig *rig = rig_new();
    (void)state;
    rig->terms.tls = TLS_OPPORTUNISTIC;
    hear(rig, "220 hi\n");
    hear(rig, "250-mx\n250-PIPELINING\n250 STARTTLS\n");
    hear(rig, "220 go\n");
    assert_int_equal(rig->verdict, DIALOGUE_START_TLS);
    rig->wire[0] = '\0';
    assert_int_equal(dialogue_secured(&rig->talk), DIALOGUE_GO_ON);
    work(rig);
    expect_wire(rig, "EHLO me.test\r\n");
    hear(rig, PLAIN);
    assert_int_equal(rig->verdict, DIALOGUE_OPENED);
    assert_false(rig->talk.pipelining);
    free(rig);
}

/* RFC 4954 */
static void a_password_goes_out_under_tls_only(void **state)
{
    (void)state;
    for (int secured = 0; secured < 2; secured++) {
        struct rig *rig = rig_new();
        rig->terms.auth_plain = "AHUAcA==";
        rig->terms.auth_user = "dQ==";
        rig->terms.auth_password = "cA==";
        rig->talk.secured = secured != 0;
        hear(rig, "220 hi\n");
        hear(rig, "250-mx\n250 AUTH LOGIN PLAIN\n");
        if (secured == 0) {
            assert_int_equal(rig->verdict, DIALOGUE_FAILED);
            assert_string_equal(rig->told, "failed auth 0 no TLS, so no password is sent|");
            assert_null(strstr(rig->wire, "AUTH"));
        } else {
            assert_non_null(strstr(rig->wire, "AUTH PLAIN AHUAcA==\r\n"));
            hear(rig, "535 5.7.8 no\n");
            assert_string_equal(rig->told, "failed auth 535|");
        }
        free(rig);
    }
}

static void auth_login_answers_what_it_is_asked(void **state)
{
    struct rig *rig = rig_new();
    (void)state;
    rig->terms.auth_plain = "AHUAcA==";
    rig->terms.auth_user = "dQ==";
    rig->terms.auth_password = "cA==";
    rig->talk.secured = true;
    hear(rig, "220 hi\n");
    hear(rig, "250-mx\n250 AUTH LOGIN\n");
    hear(rig, "334 VXNlcm5hbWU6\n");
    hear(rig, "334 UGFzc3dvcmQ6\n");
    hear(rig, "235 ok\n");
    assert_int_equal(rig->verdict, DIALOGUE_OPENED);
    assert_non_null(strstr(rig->wire, "AUTH LOGIN\r\ndQ==\r\ncA==\r\n"));
    free(rig);
}

/* RFC 1870 */
static void what_the_receiver_lacks_is_told_before_mail(void **state)
{
    struct rig *rig = rig_opened("250-mx\n250-PIPELINING\n250 SIZE 11\n");
    (void)state;
    send_letter(rig, 0);
    work(rig);
    send_letter(rig, 1);
    rig->letter[1].bytes = rig->iov[1].iov_len = 11;
    rig->letter[1].smtputf8 = true;
    work(rig);
    send_letter(rig, 2);
    rig->letter[2].bytes = rig->iov[2].iov_len = 11;
    work(rig);
    assert_string_equal(rig->told, "0 bounced mail 0|1 bounced mail 0|");
    expect_wire(rig, "MAIL FROM:<b@me.test> SIZE=11\r\n" RCPT(2) "DATA\r\n");
    free(rig);
}

static void a_control_character_in_an_address_never_reaches_the_wire(void **state)
{
    struct rig *rig = rig_opened(PIPE);
    (void)state;
    send_letter(rig, 0);
    memcpy(rig->rcpt[0], "a\r\nDATA@x", 9);
    work(rig);
    assert_string_equal(rig->told, "0 bounced mail 0|");
    assert_int_equal(rig->bugs, 1);
    expect_wire(rig, "");
    free(rig);
}

static void the_dot_does_not_wait_for_a_copy_that_is_not_rendered(void **state)
{
    struct rig *rig = rig_opened(PIPE);
    (void)state;
    rig->hold_render = true;
    send_letter(rig, 0);
    send_letter(rig, 1);
    work(rig);
    expect_wire(rig, "");
    dialogue_prepared(&rig->talk, &rig->letter[0]);
    work(rig);
    hear(rig, "250 ok\n250 ok\n354 go\n");
    rig->wire[0] = '\0';
    grant(rig, 0);
    expect_wire(rig, BODY ".\r\n");
    dialogue_prepared(&rig->talk, &rig->letter[1]);
    work(rig);
    expect_wire(rig, ENV(1)); /* behind the dot, before its reply */
    hear(rig, "250 ok\n250 ok\n250 ok\n354 go\n");
    assert_string_equal(rig->told, "0 sent dot 250|");
    free(rig);
}

/* Two letters, the first with its envelope out and not signed. */
static struct rig *rig_unsigned(void)
{
    struct rig *rig = rig_opened(PIPE);
    rig->hold_sign = true;
    send_letter(rig, 0);
    send_letter(rig, 1);
    work(rig);
    expect_wire(rig, ENV(0));
    assert_string_equal(rig->signs, "0 ");
    return rig;
}

static void envelopes_do_not_wait_for_signatures(void **state)
{
    struct rig *rig = rig_unsigned();
    (void)state;
    hear(rig, "250 ok\n250 ok\n354 go\n");
    assert_string_equal(rig->commits, ""); /* nobody is promised what is not there */
    assert_int_equal(dialogue_deadline_ms(&rig->talk), UINT64_MAX);
    assert_int_equal(dialogue_signed(&rig->talk, &rig->letter[0], NULL), DIALOGUE_GO_ON);
    assert_string_equal(rig->commits, "0 ");
    grant(rig, 0);
    expect_wire(rig, BODY ".\r\n" ENV(1));
    assert_string_equal(rig->signs, "0 1 ");
    assert_int_equal(dialogue_signed(&rig->talk, &rig->letter[1], NULL), DIALOGUE_GO_ON);
    assert_string_equal(rig->commits, "0 "); /* its RCPT has no answer yet */
    hear(rig, "250 ok\n250 ok\n250 ok\n354 go\n");
    assert_string_equal(rig->commits, "0 1 ");
    grant(rig, 1);
    expect_wire(rig, BODY ".\r\n");
    hear(rig, "250 ok\n");
    assert_string_equal(rig->told, "0 sent dot 250|1 sent dot 250|");
    free(rig);
}

static void a_large_body_waits_for_its_signature(void **state)
{
    struct rig *rig = rig_unsigned();
    (void)state;
    rig->letter[0].bytes = DIALOGUE_HELD_BYTES + 1;
    hear(rig, "250 ok\n250 ok\n354 go\n");
    expect_wire(rig, "");
    rig->letter[0].bytes = rig->iov[0].iov_len;
    free(rig);
}

static void who_is_refused_needs_no_signature(void **state)
{
    struct rig *rig = rig_unsigned();
    (void)state;
    hear(rig, "250 ok\n550 nobody\n554 no recipients\n");
    assert_string_equal(rig->told, "0 bounced rcpt 550|");
    expect_wire(rig, "RSET\r\n" ENV(1));
    assert_string_equal(rig->signs, "0 1 ");
    free(rig);
}

static void a_message_that_cannot_be_signed_is_returned_and_ends_the_session(void **state)
{
    struct rig *rig = rig_unsigned();
    (void)state;
    hear(rig, "250 ok\n250 ok\n354 go\n");
    assert_int_equal(dialogue_signed(&rig->talk, &rig->letter[0], "out of memory"), DIALOGUE_ENDED);
    assert_string_equal(rig->told, "0 returned - 0|1 returned - 0|");
    free(rig);
}

static void what_cannot_be_signed_takes_nothing_from_the_message_before_it(void **state)
{
    struct rig *rig = rig_unsigned();
    (void)state;
    hear(rig, "250 ok\n250 ok\n354 go\n");
    assert_int_equal(dialogue_signed(&rig->talk, &rig->letter[0], NULL), DIALOGUE_GO_ON);
    grant(rig, 0);
    rig->verdict = dialogue_signed(&rig->talk, &rig->letter[1], "out of memory");
    assert_int_equal(rig->verdict, DIALOGUE_GO_ON);
    assert_string_equal(rig->told, "1 returned - 0|");
    hear(rig, "250 ok\n");
    assert_int_equal(rig->verdict, DIALOGUE_ENDED);
    assert_string_equal(rig->told, "1 returned - 0|0 sent dot 250|");
    free(rig);
}

static void a_reply_nobody_asked_for_ends_the_session(void **state)
{
    struct rig *rig = rig_opened(PIPE);
    (void)state;
    hear(rig, "250 surplus\n");
    assert_int_equal(rig->verdict, DIALOGUE_ENDED);
    assert_true(rig->talk.broken_sync);
    free(rig);
}

static void a_write_that_comes_short_of_the_dot_is_not_a_dot(void **state)
{
    struct rig *rig = rig_opened(PIPE);
    (void)state;
    send_letter(rig, 0);
    work(rig);
    hear(rig, "250 ok\n250 ok\n");
    dialogue_grant(&rig->talk, &rig->letter[0]);
    struct reply go = {.code = 354, .text = "go", .length = 2};
    assert_int_equal(dialogue_reply(&rig->talk, &go), DIALOGUE_GO_ON);
    assert_int_equal(dialogue_pump(&rig->talk), DIALOGUE_GO_ON);
    dialogue_dot_leaves(&rig->talk);
    dialogue_wrote(&rig->talk, 13, true); /* "." is out, its line end is not */
    assert_string_equal(rig->flights, "0:envelope 0:content 0:dot 0:content ");
    assert_int_equal(dialogue_lost(&rig->talk, "reset"), DIALOGUE_ENDED);
    assert_string_equal(rig->told, "0 deferred data 0|");
    free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_pipelining_a_message_costs_one_round_trip),
        cmocka_unit_test(a_large_body_is_under_way_while_the_grant_is_awaited),
        cmocka_unit_test(a_small_body_that_is_denied_never_leaves),
        cmocka_unit_test(without_pipelining_each_command_waits_for_its_reply),
        cmocka_unit_test(the_off_switch_for_pipelining_holds),
        cmocka_unit_test(a_refused_recipient_costs_the_next_one_nothing),
        cmocka_unit_test(a_refused_data_is_followed_by_rset_and_the_next_envelope_in_one_write),
        cmocka_unit_test(a_refused_mail_takes_its_pipelined_companions_along),
        cmocka_unit_test(replies_decide_by_phase),
        cmocka_unit_test(after_the_dot_replies_decide_or_nobody_knows),
        cmocka_unit_test(a_lost_connection_is_told_by_where_it_was),
        cmocka_unit_test(a_server_that_closed_an_idle_connection_costs_no_attempt),
        cmocka_unit_test(a_time_out_on_a_reused_connection_is_an_attempt),
        cmocka_unit_test(a_denied_message_never_gets_its_dot),
        cmocka_unit_test(without_an_answer_to_the_commit_the_message_goes_back_after_twenty_seconds),
        cmocka_unit_test(each_phase_has_its_own_time_limit),
        cmocka_unit_test(an_idle_connection_says_quit_by_itself),
        cmocka_unit_test(quit_waits_for_what_is_queued),
        cmocka_unit_test(quit_goes_in_one_group_with_the_last_dot),
        cmocka_unit_test(without_pipelining_quit_waits_for_the_reply_to_the_dot),
        cmocka_unit_test(with_quit_behind_the_dot_its_reply_still_decides),
        cmocka_unit_test(a_drain_returns_what_has_no_mail_and_finishes_the_rest),
        cmocka_unit_test(without_a_master_no_new_dot_leaves_and_one_under_way_is_waited_for),
        cmocka_unit_test(ehlo_refused_gives_way_to_helo),
        cmocka_unit_test(openings_fail_with_the_phase_and_the_words),
        cmocka_unit_test(offers_from_before_tls_are_forgotten),
        cmocka_unit_test(a_password_goes_out_under_tls_only),
        cmocka_unit_test(auth_login_answers_what_it_is_asked),
        cmocka_unit_test(what_the_receiver_lacks_is_told_before_mail),
        cmocka_unit_test(a_421_is_heeded_wherever_it_comes),
        cmocka_unit_test(a_connection_lost_in_any_phase_leaves_nobody_out),
        cmocka_unit_test(a_521_to_ehlo_is_no_reason_for_helo),
        cmocka_unit_test(a_legacy_local_part_goes_out_quoted_and_once_more_as_it_is),
        cmocka_unit_test(a_control_character_in_an_address_never_reaches_the_wire),
        cmocka_unit_test(the_dot_does_not_wait_for_a_copy_that_is_not_rendered),
        cmocka_unit_test(envelopes_do_not_wait_for_signatures),
        cmocka_unit_test(a_large_body_waits_for_its_signature),
        cmocka_unit_test(who_is_refused_needs_no_signature),
        cmocka_unit_test(a_message_that_cannot_be_signed_is_returned_and_ends_the_session),
        cmocka_unit_test(what_cannot_be_signed_takes_nothing_from_the_message_before_it),
        cmocka_unit_test(a_reply_nobody_asked_for_ends_the_session),
        cmocka_unit_test(a_write_that_comes_short_of_the_dot_is_not_a_dot),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
