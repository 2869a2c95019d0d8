/* test_progress.c - the progress line says what is true and fits where it is drawn. */
#include "progress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct node_progress halfway(void)
{
    return (struct node_progress){
        .campaign = "c",
        .recipients = 10000,
        .counts = {[LEDGER_PENDING] = 4500,
                   [LEDGER_SENDING] = 300,
                   [LEDGER_SENT] = 4900,
                   [LEDGER_DEFERRED] = 200,
                   [LEDGER_BOUNCED] = 100},
        .rate = 500,
    };
}

static void what_is_deferred_or_under_way_is_not_done(void **state)
{
    struct node_progress now = halfway();
    (void)state;
    assert_int_equal(progress_done(&now), 5000);
}

static void the_line_has_done_rate_deferred_bounced_and_time_left(void **state)
{
    struct node_progress now = halfway();
    char line[256];
    (void)state;
    progress_line(&now, 200, false, line, sizeof line);
    assert_string_equal(line, "5,000 of 10,000  50.0 %  500/s  deferred 200  bounced 100  10 s left");
}

static void the_bar_is_drawn_only_where_it_fits_with_the_figures(void **state)
{
    struct node_progress now = halfway();
    char line[256];
    (void)state;
    progress_line(&now, 120, true, line, sizeof line);
    assert_memory_equal(line, "[############............] 5,000 of", 35);
    progress_line(&now, 79, true, line, sizeof line);
    assert_memory_equal(line, "5,000 of", 8);
}

static void no_line_is_wider_than_its_terminal(void **state)
{
    struct node_progress now = halfway();
    char line[256];
    (void)state;
    for (size_t width = 0; width < 250; width++)
        assert_true(strlen(progress_line(&now, width, true, line, sizeof line)) <= width);
}

static void the_end_of_the_line_says_why_nothing_moves(void **state)
{
    struct node_progress now = halfway();
    char line[256];
    (void)state;
    now.rate = 0;
    now.next_due_ms = 20000;
    assert_non_null(strstr(progress_line(&now, 200, false, line, sizeof line), "next retry in 20 s"));
    now.paused = true;
    assert_non_null(strstr(progress_line(&now, 200, false, line, sizeof line), "paused"));
    now.draining = true;
    assert_non_null(
        strstr(progress_line(&now, 200, false, line, sizeof line), "finishing what is under way"));
    now.redis_down = true;
    assert_non_null(strstr(progress_line(&now, 200, false, line, sizeof line), "waiting for Redis"));
}

static void elsewhere_than_on_a_terminal_a_line_comes_at_most_every_ten_seconds(void **state)
{
    struct node_progress now = halfway();
    struct progress progress;
    char text[1024];
    FILE *out = tmpfile();
    (void)state;
    assert_non_null(out);
    progress_init(&progress, out);
    for (int i = 0; i < 5; i++)
        progress_show(&progress, &now);
    progress_end(&progress);
    rewind(out);
    size_t length = fread(text, 1, sizeof text - 1, out);
    text[length] = '\0';
    fclose(out);
    assert_ptr_equal(strchr(text, '\n'), text + length - 1);
    assert_null(strchr(text, '\r'));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_deferred_or_under_way_is_not_done),
        cmocka_unit_test(the_line_has_done_rate_deferred_bounced_and_time_left),
        cmocka_unit_test(the_bar_is_drawn_only_where_it_fits_with_the_figures),
        cmocka_unit_test(no_line_is_wider_than_its_terminal),
        cmocka_unit_test(the_end_of_the_line_says_why_nothing_moves),
        cmocka_unit_test(elsewhere_than_on_a_terminal_a_line_comes_at_most_every_ten_seconds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
