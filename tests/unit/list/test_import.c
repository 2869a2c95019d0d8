/* test_import.c - which lists and rows are taken, the words for the others, and that nothing is left of a
 * failure. */
#include "tools.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "import.h"

/* ---- lists that are refused ---- */

static void assert_nothing_left(struct place *p)
{
    assert_int_not_equal(access(p->segment, F_OK), 0);
    assert_int_not_equal(access(p->segment_tmp, F_OK), 0);
    assert_int_not_equal(access(p->rejected_tmp, F_OK), 0);
}

static void assert_refused(struct place *p, int error, const char *place, const char *words)
{
    if (strstr(p->why.text, words) == NULL || strstr(p->why.text, place) == NULL)
        fail_msg("\"%s\" does not say \"%s\" and \"%s\"", p->why.text, place, words);
    assert_nothing_left(p);
    assert_int_not_equal(access(p->rejected, F_OK), 0);
    assert_true(error < 0);
}

static void a_list_that_cannot_be_used_is_refused_with_file_line_and_a_way_out(void **state)
{
    static const struct {
        const char *bytes;
        size_t length;
        const char *place, *words;
    } cases[] = {
#define CASE(bytes, place, words) {bytes, sizeof(bytes) - 1, place, words}
        CASE("", "list.csv:1:", "empty; write a header"),
        CASE("\xef\xbb\xbf", "list.csv:1:", "empty; write a header"),
        CASE("\n\n \n", "list.csv:1:", "empty; write a header"),
        CASE("email\n", "list.csv:1:", "no rows behind the header"),
        CASE("\n\nemail,name\n\n \n", "list.csv:3:", "no rows behind the header"),
        CASE("mail,name\na@x.test,A\n",
             "list.csv:1:", "no column is named email (2 columns, the first is \"mail\")"),
        CASE("email,name,Name , name\n", "list.csv:1:", "columns 2 and 4 have the same name \"name\""),
        CASE("email,EMAIL\na@x.test,b\n", "list.csv:1:", "columns 1 and 2 have the same name \"EMAIL\""),
        CASE("email,,\na@x.test,b,c\n", "list.csv:1:", "columns 2 and 3 have the same name \"\""),
        CASE("email,\"na\"me\n", "list.csv:1:", "no valid CSV"),
        CASE("email,\xff\na@x.test,A\n", "list.csv:1:", "not UTF-8"),
        CASE("email,name\na@x.test,\"A\nb@x.test,B\n", "list.csv:2:", "never closes"),
        CASE("email,name\n\"a\n\n@x.test\",A\nb@x.test,\"", "list.csv:5:", "never closes"),
        CASE("\"email\na@x.test\n", "list.csv:1:", "never closes"),
        CASE("\0\0\0\0\0\0\0\0", "list.csv:1:", "not a text file"),
        CASE("\x7f"
             "ELF\2\1\1\0\0\nemail\n",
             "list.csv:1:", "not a text file"),
        CASE("\xff\xfe"
             "e\0m\0",
             "list.csv:1:", "UTF-16"),
        CASE("\xfe\xff\0e\0m", "list.csv:1:", "UTF-16"),
#undef CASE
    };
    struct place *p = *state;

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(place_import_bytes(p, cases[i].bytes, cases[i].length), HK_EINVAL);
        assert_refused(p, HK_EINVAL, cases[i].place, cases[i].words);
    }
}

static void what_is_no_file_is_refused(void **state)
{
    struct place *p = *state;
    char missing[128];

    assert_int_equal(list_import(&p->options, &p->result, &p->why), HK_ENOENT);
    assert_refused(p, HK_ENOENT, p->list, "cannot open the list");
    p->options.list_path = p->folder;
    assert_int_equal(list_import(&p->options, &p->result, &p->why), HK_EINVAL);
    assert_refused(p, HK_EINVAL, p->folder, "is a directory");
    place_write(p, "email\na@x.test\n", 15);
    p->options.list_path = p->list;
    snprintf(missing, sizeof missing, "%s/none/x.seg", p->folder);
    p->options.segment_path = missing;
    assert_int_equal(list_import(&p->options, &p->result, &p->why), HK_EIO);
    assert_refused(p, HK_EIO, missing, "cannot write");
}

/* A header of `columns` columns and one row of as many fields. */
static void write_columns(struct place *p, unsigned columns)
{
    FILE *f = fopen(p->list, "w");

    assert_non_null(f);
    fputs("email", f);
    for (unsigned i = 1; i < columns; i++)
        fprintf(f, ",c%u", i);
    fputs("\na@x.test", f);
    for (unsigned i = 1; i < columns; i++)
        fputc(',', f);
    assert_int_equal(fclose(f), 0);
}

static void more_columns_than_are_taken_are_refused(void **state)
{
    struct place *p = *state;

    write_columns(p, SEGMENT_COLUMNS_MAX);
    assert_int_equal(list_import(&p->options, &p->result, &p->why), 0);
    unlink(p->segment);
    unlink(p->rejected);
    write_columns(p, SEGMENT_COLUMNS_MAX + 1);
    assert_int_equal(list_import(&p->options, &p->result, &p->why), HK_EINVAL);
    assert_refused(p, HK_EINVAL, "list.csv:1:", "257 columns; at most 256");
}

static void more_rows_than_are_taken_are_refused(void **state)
{
    struct place *p = *state;

    place_write(p, "email\na@x.test\n\nb@x.test\nc@x.test\n", 34);
    assert_int_equal(import_run(&p->options, &(struct import_limits){3, 1 << 20}, &p->result, &p->why), 0);
    unlink(p->segment);
    unlink(p->rejected);
    assert_int_equal(import_run(&p->options, &(struct import_limits){2, 1 << 20}, &p->result, &p->why),
                     HK_ETOOBIG);
    assert_refused(p, HK_ETOOBIG, "list.csv:5:", "up to 2 rows are taken; split the list");
}

/* ---- rows ---- */

static bool docomo_only(void *context, const char *domain)
{
    ++*(unsigned *)context;
    return strcmp(domain, "docomo.test") == 0;
}

static void rows_are_rejected_with_their_number_reason_and_text(void **state)
{
    static const char list[] = "email,name\r\n"
                               "a@x.test,A\r\n"                  /* 1 */
                               "\r\n"                            /* not counted */
                               "b@x.test\n"                      /* 2 */
                               "c@x.test,C,\"3,\"\"3\"\"\"\n"    /* 3 */
                               ",nobody\n"                       /* 4 */
                               "Taro <d@x.test>,D\n"             /* 5 */
                               "e@x.test,\x93\xfa\x96\x7b\n"     /* 6: Shift_JIS */
                               "f@x.test,a\0b\n"                 /* 7 */
                               "g..h@x.test,G\n"                 /* 8 */
                               "g..h@docomo.test,G\n"            /* 9: taken */
                               "h@,H\n"                          /* 10 */
                               "\"i@x.test\"i,I\n"               /* 11 */
                               " J@x.test\t,\xe6\x97\xa5\n"      /* 12: taken */
                               "a@X.TEST,again\n"                /* 13: duplicate */
                               "k@x.test,\xe3\x81\n"             /* 14: half a character here */
                               "\xe3,\x81\x82\n"                 /* 15: one and a half across a comma */
                               "l@x.test,\"line\nbreak\"more\n"; /* 16 */
    static const char rejected[] =
        "row,reason,text\n"
        "2,\"1 field where the header has 2\",\"b@x.test\"\n"
        "3,\"3 fields where the header has 2\",\"c@x.test,C,\"\"3,\"\"\"\"3\"\"\"\"\"\"\"\n"
        "4,\"the email field is empty\",\",nobody\"\n"
        "5,\"write only the address, without a name and without < >\",\"Taro <d@x.test>,D\"\n"
        "6,\"not UTF-8; give the list's encoding with --encoding\",\"e@x.test,???{\"\n"
        "7,\"NUL byte in the row\",\"f@x.test,a?b\"\n"
        "8,\"dots at an end of the local part or side by side; x.test is not known to take that\","
        "\"g..h@x.test,G\"\n"
        "10,\"no domain\",\"h@,H\"\n"
        "11,\"text behind a closing quote; double a quote that belongs to the text\",\"i@x.testi,I\"\n"
        "14,\"not UTF-8; give the list's encoding with --encoding\",\"k@x.test,??\"\n"
        "15,\"not UTF-8; give the list's encoding with --encoding\",\"?,??\"\n"
        "16,\"text behind a closing quote; double a quote that belongs to the text\","
        "\"l@x.test,\"\"line?breakmore\"\"\"\n";
    struct place *p = *state;
    unsigned asked = 0;
    struct segment *s;

    p->options.legacy_allowed = docomo_only;
    p->options.context = &asked;
    if (place_import_bytes(p, list, sizeof list - 1) != 0)
        fail_msg("%s", p->why.text);
    place_assert_file(p->rejected, rejected);
    assert_int_equal(asked, 2);
    assert_int_equal(p->result.rows, 16);
    assert_int_equal(p->result.recipients, 3);
    assert_int_equal(p->result.duplicates, 1);
    assert_int_equal(p->result.rejected, 12);
    assert_int_equal(p->result.domains, 2);
    s = place_open(p);
    assert_int_equal(segment_count(s), 3);
    segment_close(s);
}

static void without_a_callback_no_provider_takes_legacy_local_parts(void **state)
{
    struct place *p = *state;

    place_take(p, "email\na.@docomo.test\n\"\"\"a.\"\"@docomo.test\"\n");
    assert_int_equal(p->result.recipients, 1);
    assert_int_equal(p->result.rejected, 1);
}

/* Two rows, the first with a field of `length` bytes. */
static void take_long_field(struct place *p, size_t length)
{
    FILE *f = fopen(p->list, "w");

    assert_non_null(f);
    fputs("email,n\na@x.test,", f);
    for (size_t i = 0; i < length; i++)
        fputc('x', f);
    fputs("\nb@x.test,\n", f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(list_import(&p->options, &p->result, &p->why), 0);
}

static void a_field_that_is_too_long_rejects_its_row_and_no_other(void **state)
{
    struct place *p = *state;
    char *bytes;
    size_t length;

    take_long_field(p, IMPORT_FIELD_MAX + 1);
    assert_int_equal(p->result.recipients, 1);
    assert_int_equal(p->result.rejected, 1);
    assert_int_equal(hk_read_file(p->rejected, 1u << 20, &bytes, &length, NULL), 0);
    assert_non_null(strstr(bytes, "1,\"a field is longer than 65536 bytes\",\"a@x.test,xxx"));
    assert_non_null(strstr(bytes, "xxx...\"\n"));
    assert_true(length < 1200);
    free(bytes);
    take_long_field(p, IMPORT_FIELD_MAX);
    assert_int_equal(p->result.recipients, 2);
}

static void a_list_of_rejected_rows_only_is_refused_and_says_where_to_look(void **state)
{
    struct place *p = *state;

    assert_int_equal(place_import(p, "email\nx\ny\n"), HK_EINVAL);
    assert_non_null(strstr(p->why.text, "list.csv:1: no valid recipient in 2 rows (the first: no @); see "));
    assert_non_null(strstr(p->why.text, p->rejected));
    assert_nothing_left(p);
    place_assert_file(p->rejected, "row,reason,text\n1,\"no @\",\"x\"\n2,\"no @\",\"y\"\n");
}

static void the_first_of_the_same_mailbox_wins(void **state)
{
    struct segment_record *r = hk_xcalloc(1, sizeof *r);
    struct place *p = *state;
    struct segment *s;

    /* Only ASCII letters are folded, wherever they stand in a word of eight bytes; '@' and '`' are no letters. */
    place_take(p,
               "email,n\nTaro@X.test,1\ntARO@x.TEST,2\ntaro@y.test,3\n\xc3\x84@x.test,4\n\xc3\xa4@x.test,5\n"
               "abcdefgh@x.test,6\nABCDEFGH@x.test,7\na[b@x.test,8\n\"\"\"a@b\"\"@x.test\",9\n"
               "\"\"\"A`b\"\"@x.test\",10\n\"\"\"A@b\"\"@x.test\",11\n"
               "a@B\xc3\x9c"
               "cher.test,12\nA@xn--bcher-kva.test,13\n");
    assert_int_equal(p->result.duplicates, 4);
    assert_int_equal(p->result.rejected, 1); /* 8: a bracket */
    s = place_open(p);
    assert_int_equal(segment_count(s), 8);
    assert_int_equal(segment_record(s, 0, r), 0);
    assert_text(r->email, r->email_length, "Taro@X.test");
    assert_text(r->field[1].text, r->field[1].length, "1");
    segment_close(s);
    free(r);
}

static void every_line_end_and_a_missing_last_one_are_read(void **state)
{
    struct place *p = *state;

    place_take(p, "email\r\na@x.test\nb@x.test\rc@x.test\r\n\r\nd@x.test");
    assert_int_equal(p->result.rows, 4);
    assert_int_equal(p->result.recipients, 4);
    place_assert_file(p->rejected, "row,reason,text\n");
}

static void a_list_comes_from_standard_input_too(void **state)
{
    struct place *p = *state;
    int ends[2], saved = dup(STDIN_FILENO);

    assert_int_equal(pipe(ends), 0);
    assert_int_equal(hk_write_all(ends[1], "email\na@x.test\n", 15), 0);
    close(ends[1]);
    dup2(ends[0], STDIN_FILENO);
    close(ends[0]);
    p->options.list_path = "-";
    assert_int_equal(list_import(&p->options, &p->result, &p->why), 0);
    assert_int_equal(p->result.recipients, 1);
    assert_int_equal(list_import(&p->options, &p->result, &p->why), HK_EINVAL);
    assert_non_null(strstr(p->why.text, "standard input:1: the list is empty"));
    dup2(saved, STDIN_FILENO);
    close(saved);
}

/* ---- what may happen to files meanwhile ---- */

static void write_rows(struct place *p, unsigned rows)
{
    FILE *f = fopen(p->list, "w");

    assert_non_null(f);
    fputs("email,name\n", f);
    for (unsigned i = 0; i < rows; i++)
        fprintf(f, "u%u@d%u.test,\"name %u\"\n", i, i % 1000, i);
    assert_int_equal(fclose(f), 0);
}

static void cut_list(void *context, uint64_t rows)
{
    struct place *p = context;

    assert_true(rows > 0);
    assert_int_equal(truncate(p->list, 100), 0);
}

static void a_list_that_is_cut_while_it_is_read_is_refused(void **state)
{
    struct place *p = *state;

    write_rows(p, 200000);
    p->options.progress = cut_list;
    p->options.context = p;
    assert_int_equal(list_import(&p->options, &p->result, &p->why), HK_ECHANGED);
    assert_refused(p, HK_ECHANGED, p->list, "changed while it was read");
}

/* The file size limit stands in for a full disk: write() fails in the middle of a segment. */
static void a_write_that_fails_leaves_nothing_and_is_told(void **state)
{
    struct place *p = *state;
    int status;
    pid_t pid;

    write_rows(p, 100000);
    pid = fork();
    if (pid == 0) {
        struct rlimit limit = {1u << 20, 1u << 20};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        status = list_import(&p->options, &p->result, &p->why);
        _exit(status == HK_EIO && strstr(p->why.text, strerror(EFBIG)) != NULL ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_nothing_left(p);
    assert_int_not_equal(access(p->rejected, F_OK), 0);
}

static void what_a_killed_import_left_is_taken_over(void **state)
{
    struct place *p = *state;
    struct segment *s;
    struct stat st;

    assert_int_equal(
        hk_write_file(p->segment_tmp, 0600, "half a segment, longer than the whole one", 41, NULL), 0);
    place_take(p, "email\na@x.test\n");
    assert_int_not_equal(access(p->segment_tmp, F_OK), 0);
    assert_int_equal(stat(p->segment, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    s = place_open(p);
    segment_close(s);
}

struct second {
    struct place *p;
    int status;
    struct hk_why why;
};

static bool import_again(void *context, const char *domain)
{
    struct second *second = context;
    struct import_options options = second->p->options;
    struct import_result result;

    (void)domain;
    options.legacy_allowed = NULL;
    second->status = list_import(&options, &result, &second->why);
    return true;
}

static void a_second_writer_of_the_same_segment_is_refused(void **state)
{
    struct place *p = *state;
    struct second second = {.p = p};

    p->options.legacy_allowed = import_again;
    p->options.context = &second;
    place_take(p, "email\na.@x.test\nb@x.test\n");
    assert_int_equal(second.status, HK_EBUSY);
    assert_non_null(strstr(second.why.text, "another process is writing it"));
    assert_int_equal(p->result.recipients, 2);
}

/* ---- in a child ---- */

static void wait_for_child(struct import_child *child)
{
    uint64_t deadline = clock_now_ms() + 60000;

    while (!child->done && clock_now_ms() < deadline) {
        usleep(1000);
        list_import_poll(child);
    }
    assert_true(child->done);
    list_import_poll(child); /* harmless once done */
}

static void a_child_reports_progress_and_the_same_result(void **state)
{
    struct place *p = *state;
    struct import_child child;
    struct segment *s;

    write_rows(p, 150000);
    assert_int_equal(list_import_start(&p->options, &child, &p->why), 0);
    wait_for_child(&child);
    assert_int_equal(child.status, 0);
    assert_int_equal(child.rows, 150000);
    p->result = child.result;
    s = place_open(p);
    assert_int_equal(segment_count(s), 150000);
    segment_close(s);
    assert_int_equal(list_import(&p->options, &p->result, &p->why), 0);
    assert_memory_equal(&child.result, &p->result, sizeof p->result);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nobody is left to be collected */
}

static void a_child_tells_why_it_failed(void **state)
{
    struct place *p = *state;
    struct import_child child;

    place_write(p, "mail\na@x.test\n", 14);
    assert_int_equal(list_import_start(&p->options, &child, &p->why), 0);
    wait_for_child(&child);
    assert_int_equal(child.status, HK_EINVAL);
    assert_non_null(strstr(child.why.text, "list.csv:1: no column is named email"));
    assert_nothing_left(p);
}

static bool never_answer(void *context, const char *domain)
{
    (void)context;
    (void)domain;
    while (pause() != 0) {
    }
    return false;
}

static void a_killed_child_is_told_and_leaves_no_segment(void **state)
{
    struct place *p = *state;
    struct import_child child;

    p->options.legacy_allowed = never_answer;
    place_write(p, "email\na.@x.test\n", 16);
    assert_int_equal(list_import_start(&p->options, &child, &p->why), 0);
    list_import_poll(&child);
    assert_false(child.done);
    assert_int_equal(kill(child.pid, SIGKILL), 0);
    wait_for_child(&child);
    assert_int_equal(child.status, HK_EIO);
    assert_non_null(strstr(child.why.text, "signal 9"));
    assert_int_not_equal(access(p->segment, F_OK), 0);
    unlink(p->segment_tmp); /* the next import would take them over */
    unlink(p->rejected_tmp);
}

static void a_child_dies_with_its_parent(void **state)
{
    struct place *p = *state;
    struct import_child child;
    int ends[2], status;
    pid_t parent, pid = 0;

    p->options.legacy_allowed = never_answer;
    place_write(p, "email\na.@x.test\n", 16);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    assert_int_equal(pipe(ends), 0);
    parent = fork();
    if (parent == 0) {
        if (list_import_start(&p->options, &child, &p->why) != 0 ||
            write(ends[1], &child.pid, sizeof child.pid) != (ssize_t)sizeof child.pid)
            _exit(1);
        for (;;)
            pause();
    }
    assert_int_equal(read(ends[0], &pid, sizeof pid), sizeof pid);
    while (access(p->segment_tmp, F_OK) != 0)
        usleep(1000); /* the child is at work */
    assert_int_equal(kill(parent, SIGKILL), 0);
    assert_int_equal(waitpid(parent, &status, 0), parent);
    assert_int_equal(waitpid(pid, &status, 0), pid); /* we inherit it; ctest's time limit is the deadline */
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0), 0);
    close(ends[0]);
    close(ends[1]);
    unlink(p->segment_tmp);
    unlink(p->rejected_tmp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        place_test(a_list_that_cannot_be_used_is_refused_with_file_line_and_a_way_out),
        place_test(what_is_no_file_is_refused),
        place_test(more_columns_than_are_taken_are_refused),
        place_test(more_rows_than_are_taken_are_refused),
        place_test(rows_are_rejected_with_their_number_reason_and_text),
        place_test(without_a_callback_no_provider_takes_legacy_local_parts),
        place_test(a_field_that_is_too_long_rejects_its_row_and_no_other),
        place_test(a_list_of_rejected_rows_only_is_refused_and_says_where_to_look),
        place_test(the_first_of_the_same_mailbox_wins),
        place_test(every_line_end_and_a_missing_last_one_are_read),
        place_test(a_list_comes_from_standard_input_too),
        place_test(a_list_that_is_cut_while_it_is_read_is_refused),
        place_test(a_write_that_fails_leaves_nothing_and_is_told),
        place_test(what_a_killed_import_left_is_taken_over),
        place_test(a_second_writer_of_the_same_segment_is_refused),
        place_test(a_child_reports_progress_and_the_same_result),
        place_test(a_child_tells_why_it_failed),
        place_test(a_killed_child_is_told_and_leaves_no_segment),
        place_test(a_child_dies_with_its_parent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
