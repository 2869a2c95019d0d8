/* test_faults.c - a worker whose calls fail, come short or are interrupted: every letter gets one outcome, and the right
 * one by what the receiver took. Never a crash, a leak (address sanitizer) or a hang.
 *
 * What was taken is sent or unknown, never to be sent again; what is called sent was taken, once and whole. Memory asked
 * of hk_xcalloc() aborts by design and is not made to fail; a write to an eventfd cannot fail.
 */
#include <errno.h>

#include "openssl_faults.h"
#include "stage.h"

static struct stage *stage;

static int make_stage(void **state)
{
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    stage = stage_new();
    return 0;
}

static int end_stage(void **state)
{
    (void)state;
    stage_free(stage);
    stage = NULL;
    return 0;
}

/* Every test begins with the same stage. */
static int set_stage(void **state)
{
    (void)state;
    stage->tls = TLS_NONE;
    stage->pipelining = true;
    stage->starttls = true;
    stage->signs = false;
    stage->reset_after = 0;
    stage->receive_buffer = 0;
    stage->hold_at = 0;
    stage->lines = 200;
    return 0;
}

/* ---- what must be true ---- */

static void assert_flight(unsigned i, unsigned nth)
{
    const struct flight *f = &stage->flight[i];
    const char *words = f->reply.text;
    bool sound;

    if (stage->done[i] != 1 || f->phase != FLIGHT_DONE)
        fail_msg("fault %u, letter %u: told %u times, phase %u", nth, i, stage->done[i], f->phase);
    switch ((enum flight_result)f->result) {
    case RESULT_SENT:
        sound = stage->accepted[i] == 1 && stage->granted[i] && f->reply.code == 250 &&
                f->bytes == stage->wire_bytes[i];
        break;
    case RESULT_UNKNOWN: /* its dot has left, so the receiver has it, if he did not throw it away himself */
        sound = ((stage->struck && stage->accepted[i] == 1) || stage->reset) && stage->granted[i] &&
                f->reply.text_length > 0;
        break;
    case RESULT_DEFERRED:
        sound = (stage->struck || stage->reset) && stage->accepted[i] == 0 && f->reply.text_length > 0;
        break;
    case RESULT_RETURNED:
        sound = (stage->struck || stage->reset) && stage->accepted[i] == 0;
        break;
    default: /* nothing here is a reason to bounce, and nothing was denied */
        sound = false;
        break;
    }
    if (!sound)
        fail_msg("fault %u, letter %u: result %u (%.*s), taken %u times", nth, i, f->result,
                 (int)f->reply.text_length, words, stage->accepted[i]);
}

static void assert_run(unsigned nth)
{
    if (!WIFEXITED(stage->status))
        fail_msg("fault %u: the worker died by signal %d", nth, WTERMSIG(stage->status));
    if (WEXITSTATUS(stage->status) == WORKER_BAD_CONFIG || WEXITSTATUS(stage->status) == WORKER_NO_MEMORY) {
        assert_true(stage->struck);
        assert_int_equal(stage->opened, 0);
        return;
    }
    assert_int_equal(WEXITSTATUS(stage->status), WORKER_ENDED);
    assert_int_equal(stage->closed, 1);
    for (unsigned i = 0; i < stage->sent; i++)
        assert_flight(i, nth);
    if (stage->opened == 0) {
        assert_true(stage->struck || stage->reset);
        assert_true(stage->failure.text_length > 5);
    }
}

static unsigned results(enum flight_result result)
{
    unsigned count = 0;

    for (unsigned i = 0; i < stage->sent; i++)
        count += stage->flight[i].result == result;
    return count;
}

static void run(void (*arm)(unsigned nth), unsigned nth)
{
    stage_run(stage, arm, nth);
    assert_run(nth);
}

static void assert_all_sent(void)
{
    assert_int_equal(WEXITSTATUS(stage->status), WORKER_ENDED);
    assert_int_equal(stage->opened, 1);
    assert_int_equal(results(RESULT_SENT), STAGE_LETTERS);
    for (unsigned i = 0; i < STAGE_LETTERS; i++)
        assert_int_equal(stage->accepted[i], 1);
}

/* The nth call fails, for each n until there is none: what came of the letters, summed over all runs. How many calls a run
 * makes depends on how replies fall into reads, so one run without an nth call is not the end. */
static unsigned sum[RESULT_UNKNOWN + 1];

static unsigned try_all(void (*arm)(unsigned nth))
{
    unsigned nth = 0, struck = 0;

    memset(sum, 0, sizeof sum);
    for (unsigned spared = 0; spared < 4;) {
        run(arm, ++nth);
        for (unsigned r = 0; r <= RESULT_UNKNOWN; r++)
            sum[r] += results((enum flight_result)r);
        spared = stage->struck ? 0 : spared + 1;
        struck += stage->struck;
    }
    assert_all_sent();
    return struck;
}

/* ---- short and interrupted ---- */

static void arm_short(unsigned most)
{
    fault_shorten(most);
}

static void short_and_interrupted_reads_and_writes_change_nothing(void **state)
{
    static const unsigned most[] = {1, 2, 7, 61, 1021, 4099};

    (void)state;
    for (unsigned pipelining = 0; pipelining < 2; pipelining++)
        for (size_t i = 0; i < sizeof most / sizeof *most; i++) {
            stage->pipelining = pipelining;
            run(arm_short, most[i]);
            assert_true(stage->struck);
            assert_all_sent();
        }
}

static void arm_not_ready(unsigned nth)
{
    fault_arm_error(FAULT_SEND | FAULT_RECEIVE, nth, EAGAIN);
}

static void arm_interrupted(unsigned nth)
{
    fault_arm_error(FAULT_SEND | FAULT_RECEIVE, nth, EINTR);
}

static void a_socket_that_is_not_ready_after_all_is_asked_again(void **state)
{
    (void)state;
    assert_true(try_all(arm_not_ready) > 10);
    assert_int_equal(sum[RESULT_DEFERRED] + sum[RESULT_RETURNED] + sum[RESULT_UNKNOWN], 0);
    assert_true(try_all(arm_interrupted) > 10);
    assert_int_equal(sum[RESULT_DEFERRED] + sum[RESULT_RETURNED] + sum[RESULT_UNKNOWN], 0);
}

/* ---- the n-th call fails ---- */

static void arm_send(unsigned nth)
{
    fault_arm(FAULT_SEND, nth);
}

static void arm_receive(unsigned nth)
{
    fault_arm(FAULT_RECEIVE, nth);
}

static void arm_socket(unsigned nth)
{
    fault_arm(FAULT_SOCKET, nth);
}

static void arm_file(unsigned nth)
{
    fault_arm(FAULT_OPEN | FAULT_READ | FAULT_FILE, nth);
}

static void arm_memory(unsigned nth)
{
    fault_arm(FAULT_MEMORY, nth);
}

static void arm_memory_from(unsigned nth)
{
    fault_arm_from(FAULT_MEMORY, nth);
}

static void a_write_that_fails_never_calls_unsent_what_was_taken(void **state)
{
    (void)state;
    for (unsigned pipelining = 0; pipelining < 2; pipelining++) {
        stage->pipelining = pipelining;
        assert_true(try_all(arm_send) >= 5);
        assert_true(sum[RESULT_DEFERRED] > 0 && sum[RESULT_SENT] > STAGE_LETTERS);
    }
}

static void a_read_that_fails_makes_unknown_of_what_waited_for_its_reply(void **state)
{
    (void)state;
    for (unsigned pipelining = 0; pipelining < 2; pipelining++) {
        stage->pipelining = pipelining;
        assert_true(try_all(arm_receive) >= 5);
        assert_true(sum[RESULT_DEFERRED] > 0 && sum[RESULT_UNKNOWN] > 0);
    }
}

static void a_socket_that_cannot_be_made_is_a_failed_connection(void **state)
{
    (void)state;
    assert_true(try_all(arm_socket) >= 3); /* socket, connect, getsockopt */
    assert_int_equal(sum[RESULT_DEFERRED] + sum[RESULT_RETURNED] + sum[RESULT_UNKNOWN], 0);
}

/* A letter that cannot be made goes back with words; the master's campaign stands still and says them. */
static void assert_words_of_returned(void)
{
    for (unsigned i = 0; i < stage->sent; i++)
        if (stage->flight[i].result == RESULT_RETURNED)
            assert_true(stage->flight[i].reply.text_length > 5);
}

/* A worker that cannot begin ends with `status`: the master tries again where it was memory. */
static unsigned try_all_with_words(void (*arm)(unsigned nth), int status)
{
    unsigned nth = 0, returned = 0, not_begun = 0;

    do {
        run(arm, ++nth);
        if (WEXITSTATUS(stage->status) != WORKER_ENDED) {
            assert_int_equal(WEXITSTATUS(stage->status), status);
            not_begun++;
        }
        assert_words_of_returned();
        assert_int_equal(results(RESULT_DEFERRED) + results(RESULT_UNKNOWN), 0);
        returned += results(RESULT_RETURNED);
    } while (stage->struck);
    assert_all_sent();
    assert_true(returned > 0 && not_begun > 0);
    return nth - 1;
}

static void a_campaign_whose_files_cannot_be_read_is_returned_with_words(void **state)
{
    (void)state;
    assert_true(try_all_with_words(arm_file, WORKER_BAD_CONFIG) > 5);
}

static void without_memory_letters_are_returned_with_words(void **state)
{
    (void)state;
    assert_true(try_all_with_words(arm_memory, WORKER_NO_MEMORY) > 30);
    assert_true(try_all_with_words(arm_memory_from, WORKER_NO_MEMORY) > 30);
}

/* ---- TLS ---- */

static void set_tls(void)
{
    stage->tls = TLS_VERIFIED;
}

static void assert_in_tls(void)
{
    for (unsigned i = 0; i < STAGE_LETTERS; i++)
        assert_int_equal(stage->in_tls[i], stage->accepted[i]);
}

static void arm_small_buffers(unsigned bytes)
{
    fault_shrink_send_buffers((int)bytes);
}

/* A record of 16 KB goes in many pieces, and each is put off in its middle. */
static void records_come_whole_through_a_small_send_buffer(void **state)
{
    (void)state;
    stage->receive_buffer = 2048;
    stage->lines = 4000;
    for (unsigned pipelining = 0; pipelining < 2; pipelining++) {
        stage->pipelining = pipelining;
        run(arm_small_buffers, 1024);
        assert_all_sent();
        assert_int_equal(stage->in_tls[0], 0);
        set_tls();
        run(arm_small_buffers, 1024);
        assert_all_sent();
        assert_in_tls();
        stage->tls = TLS_NONE;
    }
}

/* The grant comes while the body's last record is put off: it is written again from another place, with the dot behind. */
static void a_dot_may_follow_a_record_that_was_put_off(void **state)
{
    (void)state;
    stage->receive_buffer = 2048;
    stage->lines = 500;
    stage->hold_at = 12000; /* less than the first record, and the second is more than the buffers hold */
    for (unsigned tls = 0; tls < 2; tls++) {
        stage->tls = tls ? TLS_VERIFIED : TLS_NONE;
        run(arm_small_buffers, 1024);
        assert_all_sent();
        assert_int_equal(stage->in_tls[0], tls);
    }
}

static void without_memory_for_tls_nothing_goes_in_plain(void **state)
{
    unsigned nth = 0, failed = 0;

    (void)state;
    set_tls();
    do {
        run(arm_memory, ++nth);
        assert_words_of_returned();
        assert_in_tls();
        if (stage->opened == 0 && WEXITSTATUS(stage->status) == WORKER_ENDED) {
            failed++;
            assert_int_equal(stage->failure.log_phase, LOG_PHASE_STARTTLS);
        }
    } while (stage->struck);
    assert_all_sent();
    assert_in_tls();
    assert_int_equal(failed, 1); /* what an SSL carries for its sessions */
}

/* OpenSSL's allocations are asked about from the moment the worker has somebody to talk to (FLIGHT_FREE), or the first letter has
 * come this far. Those of its start abort by design, as ours do. */
static enum flight_phase failing_from;

static bool calls_of_openssl_fail(void)
{
    if (stage == NULL || stage->region.base == NULL)
        return false;
    bool begun = failing_from != FLIGHT_FREE ? region_flight(&stage->region, 0, 0)->phase >= failing_from
                                             : region_conn(&stage->region, 0, 0)->family != 0;
    return begun && fault_strikes();
}

static void arm_openssl(unsigned nth)
{
    fault_arm(FAULT_LIBRARY, nth);
}

/* A handshake has some thousands, so the steps grow. */
static void without_memory_in_openssl_nothing_goes_in_plain(void **state)
{
    unsigned nth = 1, unopened = 0;

    (void)state;
    set_tls();
    for (failing_from = FLIGHT_FREE;; nth += 1 + nth / 20) {
        run(arm_openssl, nth);
        assert_in_tls();
        unopened += stage->opened == 0;
        if (!stage->struck)
            break;
    }
    assert_all_sent();
    assert_true(nth > 1000 && unopened > 50);
}

static void without_memory_in_openssl_a_letter_is_returned_with_words(void **state)
{
    unsigned nth = 0, returned = 0;

    (void)state;
    failing_from = FLIGHT_TAKEN;
    do {
        run(arm_openssl, ++nth);
        assert_words_of_returned();
        returned += results(RESULT_RETURNED);
    } while (stage->struck);
    assert_all_sent();
    assert_true(returned > 5);
}

/* Behind its MAIL, for that does not wait: the session ends, and whoever else it has goes back as well, to be sent by another. */
static void a_letter_that_cannot_be_signed_is_returned_with_words(void **state)
{
    unsigned nth = 0, returned = 0;

    (void)state;
    stage->signs = true;
    failing_from = FLIGHT_ENVELOPE;
    do {
        run(arm_openssl, ++nth);
        const struct flight *first = &stage->flight[0];
        if (first->result != RESULT_RETURNED)
            continue;
        assert_true(first->reply.text_length > 5);
        assert_int_equal(results(RESULT_RETURNED), STAGE_LETTERS);
        returned++;
    } while (stage->struck);
    assert_all_sent();
    assert_true(returned > 5);
}

/* The receiver resets the connection at every so many bytes: in the handshake, the envelope, a record, behind a dot. */
static void a_connection_reset_anywhere_never_calls_unsent_what_was_taken(void **state)
{
    unsigned unopened, unsent, unknown, sent;

    (void)state;
    for (unsigned tls = 0; tls < 2; tls++) {
        unopened = unsent = unknown = sent = 0;
        stage->tls = tls ? TLS_VERIFIED : TLS_NONE;
        stage->reset_after = 1;
        do {
            run(NULL, 0);
            unopened += stage->opened == 0;
            unsent += results(RESULT_DEFERRED) + results(RESULT_RETURNED);
            unknown += results(RESULT_UNKNOWN);
            sent += results(RESULT_SENT);
            stage->reset_after += stage->reset_after < 2500 ? 61u : 701u;
        } while (stage->reset);
        assert_all_sent();
        assert_true(unopened > 0 && unsent > 0 && sent > STAGE_LETTERS);
        (void)unknown; /* the reply and the reset may come in either order */
    }
}

#define stage_test(f) cmocka_unit_test_setup(f, set_stage)

int main(void)
{
    const struct CMUnitTest tests[] = {
        stage_test(short_and_interrupted_reads_and_writes_change_nothing),
        stage_test(a_socket_that_is_not_ready_after_all_is_asked_again),
        stage_test(a_write_that_fails_never_calls_unsent_what_was_taken),
        stage_test(a_read_that_fails_makes_unknown_of_what_waited_for_its_reply),
        stage_test(a_socket_that_cannot_be_made_is_a_failed_connection),
        stage_test(a_campaign_whose_files_cannot_be_read_is_returned_with_words),
        stage_test(without_memory_letters_are_returned_with_words),
        stage_test(records_come_whole_through_a_small_send_buffer),
        stage_test(a_dot_may_follow_a_record_that_was_put_off),
        stage_test(without_memory_for_tls_nothing_goes_in_plain),
        stage_test(without_memory_in_openssl_nothing_goes_in_plain),
        stage_test(without_memory_in_openssl_a_letter_is_returned_with_words),
        stage_test(a_letter_that_cannot_be_signed_is_returned_with_words),
        stage_test(a_connection_reset_anywhere_never_calls_unsent_what_was_taken),
    };

    if (!openssl_ask(calls_of_openssl_fail))
        return 1;
    return cmocka_run_group_tests(tests, make_stage, end_stage);
}
