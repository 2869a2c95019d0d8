/* Files into mails: one mail, an mbox, pieces of any size, and what is too long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "hikyaku/bounce.h"

struct mails {
    char text[16][256];
    size_t length[16];
    size_t count;
    int answer;
};

static int keep(void *context, const char *mail, size_t length)
{
    struct mails *m = context;

    if (m->count < 16) {
        memcpy(m->text[m->count], mail, length < 255 ? length : 255);
        m->text[m->count][length < 255 ? length : 255] = '\0';
        m->length[m->count] = length;
    }
    m->count++;
    return m->answer;
}

static int put_text(struct intake *intake, const char *text)
{
    return intake_put(intake, text, strlen(text));
}

/* All of `bytes` in pieces of `piece`. */
static struct mails take(const char *bytes, size_t length, size_t piece)
{
    struct mails m = {.count = 0};
    struct intake *intake = intake_new(keep, &m);

    assert_non_null(intake);
    for (size_t at = 0; at < length; at += piece)
        assert_int_equal(intake_put(intake, bytes + at, length - at < piece ? length - at : piece), 0);
    assert_int_equal(intake_end(intake), 0);
    intake_free(intake);
    return m;
}

static void a_file_is_one_mail_whatever_the_pieces(void **state)
{
    static const char *const files[] = {
        "Subject: a\n\nFrom here on\n\nFrom there on 10:10\nnothing\n",
        "Subject: a\r\n\r\n--B\r\n\r\nb\r\n--B--\r\n",
        "Subject: a\r\r--B\r\rb\r--B--",
        "x",
        "--",
        "From: a\n\nFrom a 10:10\nb: c\n",
    };

    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        for (size_t piece = 1; piece <= strlen(files[i]); piece++) {
            struct mails m = take(files[i], strlen(files[i]), piece);
            assert_int_equal(m.count, 1);
            assert_string_equal(m.text[0], files[i]);
        }
}

static void an_mbox_is_cut_at_its_from_lines_alone(void **state)
{
    static const char first[] =
        "From a@x Thu Jan  1 00:00:00 2026\nSubject: 1\n\nFrom here on: 12:00\nno separator\n\n"
        "From me to you at 12:00\nnot a field\n\n>From quoted Thu Jan  1 00:00:00\nX: y\n\n";
    static const char second[] = "From b@x Thu Jan  1 00:00:01 2026\nSubject: 2\n\ntext\n\n";
    static const char third[] =
        "From c@x Thu Jan  1 00:00:02 2026\n>From d@x Thu Jan  1 00:00:03 2026\nSubject: 3\n";
    char file[1024];
    size_t length = (size_t)snprintf(file, sizeof file, "%s%s%s", first, second, third);

    (void)state;
    for (size_t piece = 1; piece <= length; piece++) {
        struct mails m = take(file, length, piece);
        assert_int_equal(m.count, 3);
        assert_string_equal(m.text[0], first);
        assert_string_equal(m.text[1], second);
        assert_string_equal(m.text[2], third);
    }
}

static void an_mbox_may_have_any_line_ends(void **state)
{
    static const char *const ends[] = {"\r\n", "\r"};
    char file[512];

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        const char *e = ends[i];
        size_t length = (size_t)snprintf(
            file, sizeof file, "From a 10:10:10%sSubject: 1%s%sx%s%sFrom b 10:10:10%sSubject: 2%s%sy%s", e, e,
            e, e, e, e, e, e, e);
        for (size_t piece = 1; piece <= length; piece++)
            assert_int_equal(take(file, length, piece).count, 2);
    }
}

static void nothing_is_no_mail(void **state)
{
    (void)state;
    assert_int_equal(take("", 0, 1).count, 0);
}

/* A returned message of 40 MB, and the report behind it. */
static void the_middle_of_a_long_run_is_left_out_and_parts_behind_it_are_not(void **state)
{
    static char chunk[1u << 20];
    struct mails m = {.count = 0};
    struct intake *intake = intake_new(keep, &m);

    (void)state;
    assert_non_null(intake);
    memset(chunk, 'A', sizeof chunk);
    for (size_t at = 76; at < sizeof chunk; at += 77)
        chunk[at] = '\n';
    assert_int_equal(put_text(intake, "Subject: a\n\n--B\n"), 0);
    for (int i = 0; i < 40; i++)
        assert_int_equal(intake_put(intake, chunk, sizeof chunk), 0);
    assert_int_equal(put_text(intake, "\n--B\nX: end\n--B--\n"), 0);
    assert_int_equal(intake_end(intake), 0);
    assert_int_equal(m.count, 1);
    assert_true(m.length[0] > INTAKE_RUN_MAX && m.length[0] < INTAKE_RUN_MAX + 4096);
    intake_free(intake);
}

static void no_mail_is_longer_than_the_bound(void **state)
{
    static char chunk[3u << 20];
    struct mails m = {.count = 0};
    struct intake *intake = intake_new(keep, &m);

    (void)state;
    assert_non_null(intake);
    for (size_t at = 0; at < sizeof chunk; at += 3)
        memcpy(chunk + at, "--\n", 3);
    assert_int_equal(put_text(intake, "From a 10:10\nSubject: a\n\n"), 0);
    for (int i = 0; i < 14; i++)
        assert_int_equal(intake_put(intake, chunk, sizeof chunk), 0);
    assert_int_equal(put_text(intake, "\nFrom b 10:10\nSubject: b\n\ntext\n"), 0);
    assert_int_equal(intake_end(intake), 0);
    assert_int_equal(m.count, 2);
    assert_int_equal(m.length[0], INTAKE_MAIL_MAX);
    assert_string_equal(m.text[1], "From b 10:10\nSubject: b\n\ntext\n");
    intake_free(intake);
}

static void what_the_reader_answers_ends_it(void **state)
{
    struct mails m = {.answer = HK_ENOMEM};
    struct intake *intake = intake_new(keep, &m);

    (void)state;
    assert_non_null(intake);
    assert_int_equal(put_text(intake, "From a 10:10\nA: b\n\n\nFrom b 10:10\nA: b\n"), HK_ENOMEM);
    intake_free(intake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_one_mail_whatever_the_pieces),
        cmocka_unit_test(an_mbox_is_cut_at_its_from_lines_alone),
        cmocka_unit_test(an_mbox_may_have_any_line_ends),
        cmocka_unit_test(nothing_is_no_mail),
        cmocka_unit_test(the_middle_of_a_long_run_is_left_out_and_parts_behind_it_are_not),
        cmocka_unit_test(no_mail_is_longer_than_the_bound),
        cmocka_unit_test(what_the_reader_answers_ends_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
