/* test_session.c - the dialogue of the bounce receiver: the same replies however the bytes are cut, and bounds that hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "session.h"

struct world {
    struct session session;
    char replies[65536];
    size_t length;
    char message[4096]; /* the last that was taken */
    size_t message_length;
    unsigned messages, recipients;
    enum session_verdict verdict[SESSION_RECIPIENTS_MAX];
    bool answers_later;
    ssize_t memory, memory_max;
};

static enum rcpt_kind rcpt(void *context, const char *address, size_t length)
{
    (void)context;
    if (length >= 2 && memcmp(address, "b-", 2) == 0)
        return RCPT_TOKEN;
    if (length >= 2 && memcmp(address, "o-", 2) == 0)
        return RCPT_OLD;
    if (length >= 5 && memcmp(address, "later", 5) == 0)
        return RCPT_LATER;
    return length >= 2 && memcmp(address, "n-", 2) == 0 ? RCPT_UNKNOWN : RCPT_FOREIGN;
}

static const char *may_mail(void *context)
{
    (void)context;
    return NULL;
}

static bool memory(void *context, ssize_t more)
{
    struct world *w = context;

    if (w->memory + more > w->memory_max)
        return false;
    w->memory += more;
    return true;
}

static void answer_all(struct world *w)
{
    unsigned recipients = w->session.recipients;

    for (unsigned i = 0; i < recipients; i++)
        session_answer(&w->session, i, w->verdict[i]);
}

static void message(void *context, struct session *session)
{
    struct world *w = context;

    w->messages++;
    w->recipients = session->recipients;
    w->message_length = session->body_length < sizeof w->message ? session->body_length : sizeof w->message;
    memcpy(w->message, session->body, w->message_length);
    if (!w->answers_later)
        answer_all(w);
}

static const struct session_host host = {
    .rcpt = rcpt, .mail = may_mail, .memory = memory, .message = message};
static const struct session_settings smtp = {.hostname = "mta.test", .message_max = 2000, .tls = true};
static const struct session_settings lmtp = {.hostname = "mta.test", .message_max = 2000, .lmtp = true};

static void begin(struct world *w, const struct session_settings *settings)
{
    memset(w, 0, sizeof *w);
    w->memory_max = 1 << 20;
    session_begin(&w->session, settings, &host, w);
}

static void flush(struct world *w)
{
    assert_true(w->length + w->session.out_length < sizeof w->replies);
    memcpy(w->replies + w->length, w->session.out, w->session.out_length);
    w->length += w->session.out_length;
    w->replies[w->length] = '\0';
    session_written(&w->session, w->session.out_length);
}

/* In pieces of `step` bytes. */
static void say(struct world *w, const char *bytes, size_t length, size_t step)
{
    for (size_t at = 0; at < length;) {
        size_t piece = length - at < step ? length - at : step;
        size_t taken = session_input(&w->session, bytes + at, piece);
        flush(w);
        if (taken == 0 && w->session.waiting)
            answer_all(w);
        at += taken;
        if (w->session.closing)
            return;
    }
    flush(w);
}

static void tell(struct world *w, const char *script)
{
    say(w, script, strlen(script), strlen(script));
}

static void end(struct world *w)
{
    session_end(&w->session);
    assert_int_equal(w->memory, 0);
}

/* The first digits of all replies, the lines of one reply once. */
static void codes(const struct world *w, char *out)
{
    const char *at = w->replies;

    while (*at != '\0') {
        if (at[3] == ' ') {
            memcpy(out, at, 4);
            out += 4;
        }
        at = strchr(at, '\n') + 1;
    }
    *out = '\0';
}

static void expect(const struct session_settings *settings, const char *script, const char *replies)
{
    static struct world w;
    char found[1024];

    for (size_t step = 1; step <= strlen(script); step = step < 4 ? step + 1 : step * 3) {
        begin(&w, settings);
        say(&w, script, strlen(script), step);
        codes(&w, found);
        assert_string_equal(found, replies);
        end(&w);
    }
}

static void a_session_is_the_same_however_it_is_cut(void **state)
{
    (void)state;
    expect(
        &smtp,
        "EHLO x\r\nMAIL FROM:<> SIZE=10\r\nRCPT TO:<b-1@r.test>\r\nDATA\r\nSubject: x\r\n\r\n..y\r\n.\r\n"
        "MAIL FROM:<a@b.test>\r\nRCPT TO:<b-2@r.test>\r\nRCPT TO:<x@y.test>\r\nRCPT TO:<n-@r.test>\r\nRCPT "
        "TO:<o-@r.test>\r\nRSET\r\nQUIT\r\n",
        "220 250 250 250 354 250 250 250 550 550 550 250 221 ");
    expect(&smtp, "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<later@r.test>\r\nRCPT TO:<b-1@r.test>\r\nQUIT\r\n",
           "220 250 250 451 250 221 ");
    expect(&smtp, "HELO x\r\nDATA\r\nMAIL FROM:<>\r\nDATA\r\nMAIL FROM:<>\r\nBDAT 3\r\nQUIT\r\n",
           "220 250 503 250 554 503 500 221 ");
    expect(&lmtp,
           "EHLO x\r\nHELO x\r\nLHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b-1@r.test>\r\nRCPT "
           "TO:<b-2@r.test>\r\nDATA\r\n"
           "x\r\n.\r\nQUIT\r\n",
           "220 500 500 250 250 250 250 354 250 250 221 ");
}

static void a_bare_line_feed_ends_it_and_hides_nothing(void **state)
{
    (void)state;
    expect(&smtp, "EHLO x\nMAIL FROM:<>\r\n", "220 500 ");
    expect(&smtp,
           "EHLO x\r\nMAIL FROM:<>\r\nRCPT "
           "TO:<b-1@r.test>\r\nDATA\r\nx\n.\r\ny\r\n.\ny\n.\nz\r.\r\r\n.\r\nQUIT\r\n",
           "220 250 250 250 354 250 221 ");
}

static void a_message_comes_as_it_was_before_its_dots_were_doubled(void **state)
{
    static const char script[] =
        "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b-1@r.test>\r\nDATA\r\n..\r\n...a\r\nb.\nc\r\n.\r\n";
    static const char wanted[] = ".\r\n..a\r\nb.\nc\r\n";
    static struct world w;

    (void)state;
    for (size_t step = 1; step < sizeof script; step++) {
        begin(&w, &smtp);
        say(&w, script, sizeof script - 1, step);
        assert_int_equal(w.messages, 1);
        assert_int_equal(w.message_length, sizeof wanted - 1);
        assert_memory_equal(w.message, wanted, sizeof wanted - 1);
        end(&w);
    }
}

static void nothing_is_read_until_the_answer_and_the_worst_one_counts(void **state)
{
    static const char script[] =
        "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b-1@r.test>\r\nRCPT TO:<b-2@r.test>\r\nDATA\r\nx\r\n.\r\n";
    static const struct {
        enum session_verdict one, two;
        const char *reply;
    } rows[] = {{SESSION_TAKEN, SESSION_TAKEN, "250 "},
                {SESSION_TAKEN, SESSION_LATER, "451 "},
                {SESSION_NOT_OURS, SESSION_TAKEN, "250 "},
                {SESSION_NOT_OURS, SESSION_NOT_OURS, "550 "}};
    static struct world w;

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        begin(&w, &smtp);
        w.answers_later = true;
        assert_int_equal(session_input(&w.session, script, sizeof script - 1), sizeof script - 1);
        assert_true(w.session.waiting);
        assert_int_equal(session_input(&w.session, "QUIT\r\n", 6), 0);
        flush(&w);
        w.length = 0;
        session_answer(&w.session, 1, rows[i].two);
        assert_true(w.session.waiting);
        session_answer(&w.session, 0, rows[i].one);
        assert_false(w.session.waiting);
        flush(&w);
        assert_memory_equal(w.replies, rows[i].reply, 4);
        end(&w);
    }
}

static void what_is_too_large_is_read_to_its_end_and_kept_nowhere(void **state)
{
    static struct world w;
    static char line[1000];

    (void)state;
    memset(line, 'x', sizeof line);
    memcpy(line + sizeof line - 2, "\r\n", 2);
    begin(&w, &smtp);
    tell(&w,
         "EHLO x\r\nMAIL FROM:<> SIZE=2001\r\nMAIL FROM:<> SIZE=2000\r\nRCPT TO:<b-1@r.test>\r\nDATA\r\n");
    for (int i = 0; i < 10000; i++)
        say(&w, line, sizeof line, sizeof line);
    assert_int_equal(w.memory, 0);
    tell(&w, ".\r\nRSET\r\n");
    assert_non_null(strstr(w.replies, "354 go ahead\r\n552 5.3.4 too large\r\n250 "));
    assert_int_equal(w.messages, 0);
    end(&w);
    begin(&w, &smtp);
    w.memory_max = 10;
    tell(&w, "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b-1@r.test>\r\nDATA\r\nx\r\n.\r\n");
    assert_non_null(strstr(w.replies, "452 4.3.1"));
    end(&w);
}

static void tls_forgets_what_was_said_before(void **state)
{
    static struct world w;

    (void)state;
    begin(&w, &smtp);
    tell(&w, "EHLO x\r\n");
    assert_non_null(strstr(w.replies, "STARTTLS"));
    assert_int_equal(session_input(&w.session, "STARTTLS\r\nMAIL FROM:<>\r\n", 24), 24);
    assert_true(w.session.upgrading);
    flush(&w);
    session_upgraded(&w.session);
    w.length = 0;
    tell(&w, "MAIL FROM:<>\r\nEHLO x\r\nSTARTTLS\r\n");
    assert_memory_equal(w.replies, "503 ", 4);
    assert_null(strstr(w.replies, "250-STARTTLS"));
    assert_non_null(strstr(w.replies, "503 5.5.1 TLS is there"));
    end(&w);
}

static void errors_and_replies_that_nobody_reads_have_an_end(void **state)
{
    static struct world w;
    char many[7 * 1000];

    (void)state;
    begin(&w, &smtp);
    for (size_t i = 0; i < sizeof many; i += 7)
        memcpy(many + i, "x yyy\r\n", 7);
    say(&w, many, sizeof many, sizeof many);
    assert_true(w.session.closing);
    assert_non_null(strstr(w.replies, "421 "));
    end(&w);
    begin(&w, &smtp);
    for (size_t i = 0; i + 8 <= sizeof many; i += 8)
        memcpy(many + i, "EHLO x\r\n", 8);
    assert_true(session_input(&w.session, many, sizeof many) <
                sizeof many); /* it stops, and asks to be read */
    assert_true(w.session.out_length <= sizeof w.session.out);
    end(&w);
}

/* Each of these is good, and a step: time alone would let it go on for an hour. */
static void commands_without_a_message_have_an_end_and_those_of_messages_have_none(void **state)
{
    static struct world w;

    (void)state;
    begin(&w, &smtp);
    for (int i = 0; i < 300 && !w.session.closing; i++) {
        w.length = 0;
        tell(&w, i % 2 == 0 ? "EHLO x\r\n" : "RSET\r\n");
        assert_true(i < 200 || w.session.closing);
    }
    assert_true(w.session.closing);
    assert_string_equal(w.replies, "421 4.7.0 too many commands and no message\r\n");
    end(&w);
    begin(&w, &smtp);
    tell(&w, "EHLO x\r\n");
    for (int i = 0; i < 300; i++) {
        w.length = 0;
        tell(&w, "MAIL FROM:<>\r\nRCPT TO:<b-1@r.test>\r\nDATA\r\nx\r\n.\r\n");
        assert_non_null(strstr(w.replies, "250 2.0.0 taken"));
    }
    end(&w);
}

static void an_address_that_is_named_again_is_the_same_recipient(void **state)
{
    static struct world w;

    (void)state;
    begin(&w, &smtp);
    tell(&w, "EHLO x\r\nMAIL FROM:<>\r\n");
    for (unsigned i = 0; i < 2 * SESSION_RECIPIENTS_MAX; i++)
        tell(&w, i % 2 == 0 ? "RCPT TO:<b-1@r.test>\r\n" : "RCPT TO:<b-12@r.test>\r\n");
    assert_null(strstr(w.replies, "452 "));
    tell(&w, "DATA\r\nx\r\n.\r\n");
    assert_int_equal(w.messages, 1);
    assert_int_equal(w.recipients, 2);
    end(&w);
    begin(&w, &lmtp);
    tell(&w, "LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b-1@r.test>\r\nRCPT TO:<b-1@r.test>\r\nDATA\r\nx\r\n.\r\n");
    assert_int_equal(w.recipients, 2);
    assert_non_null(strstr(w.replies, "250 2.0.0 taken\r\n250 2.0.0 taken\r\n"));
    end(&w);
}

/* Else those who rest would leave none of the memory that all share. */
static void a_session_that_rests_holds_no_memory(void **state)
{
    static struct world w;

    (void)state;
    begin(&w, &smtp);
    tell(&w, "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b-1@r.test>\r\nDATA\r\nx\r\n");
    assert_true(w.memory > 0);
    tell(&w, ".\r\n");
    assert_int_equal(w.messages, 1);
    assert_int_equal(w.memory, 0);
    tell(&w, "MAIL FROM:<>\r\nRCPT TO:<b-1@r.test>\r\nDATA\r\ny\r\n.\r\n");
    assert_int_equal(w.messages, 2);
    assert_memory_equal(w.message, "y\r\n", 3);
    assert_int_equal(w.memory, 0);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_is_the_same_however_it_is_cut),
        cmocka_unit_test(a_bare_line_feed_ends_it_and_hides_nothing),
        cmocka_unit_test(a_message_comes_as_it_was_before_its_dots_were_doubled),
        cmocka_unit_test(nothing_is_read_until_the_answer_and_the_worst_one_counts),
        cmocka_unit_test(what_is_too_large_is_read_to_its_end_and_kept_nowhere),
        cmocka_unit_test(tls_forgets_what_was_said_before),
        cmocka_unit_test(errors_and_replies_that_nobody_reads_have_an_end),
        cmocka_unit_test(commands_without_a_message_have_an_end_and_those_of_messages_have_none),
        cmocka_unit_test(an_address_that_is_named_again_is_the_same_recipient),
        cmocka_unit_test(a_session_that_rests_holds_no_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
