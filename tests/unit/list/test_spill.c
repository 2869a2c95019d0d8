/* test_spill.c - lists that do not fit into memory, and lists that add to earlier segments. */
#include "tools.h"

#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "import.h"

static const struct import_limits tiny = {IMPORT_ROWS_MAX, 60000};

/* u0@d0.test ... in `f`, every `step`-th of `count` from `first` on. */
static void add_rows(FILE *f, unsigned first, unsigned count, unsigned step)
{
    for (unsigned i = first; i < count; i += step)
        fprintf(f, "u%u@d%u.test,%u\n", i, i % 3 == 0 ? 0 : i % 501, i);
}

static FILE *begin_list(struct place *p)
{
    FILE *f = fopen(p->list, "w");

    assert_non_null(f);
    fputs("email,n\n", f);
    return f;
}

static int import_tiny(struct place *p)
{
    return import_run(&p->options, &tiny, &p->result, &p->why);
}

static void duplicates_are_found_across_runs_and_the_first_row_wins(void **state)
{
    struct segment_record *r = hk_xcalloc(1, sizeof *r);
    struct place *p = *state;
    FILE *f = begin_list(p);
    struct segment *s;

    add_rows(f, 0, 20000, 1);
    add_rows(f, 0, 20000, 2);
    fputs("U5@D5.TEST,no digit\n", f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(import_tiny(p), 0);
    assert_int_equal(p->result.rows, 30001);
    assert_int_equal(p->result.recipients, 20000);
    assert_int_equal(p->result.duplicates, 10001);
    s = place_open(p);
    for (uint32_t i = 0; i < segment_count(s); i++) {
        assert_int_equal(segment_record(s, i, r), 0);
        assert_true(r->row <= 20000);
    }
    segment_close(s);
    free(r);
}

static void nothing_but_the_outputs_is_left(void **state)
{
    struct place *p = *state;
    FILE *f = begin_list(p);
    struct dirent *entry;
    unsigned files = 0;
    DIR *folder;

    add_rows(f, 0, 5000, 1);
    assert_int_equal(fclose(f), 0);
    /* What a killed one of old left under the name is taken over. */
    char spill[128];
    snprintf(spill, sizeof spill, "%s.spill", p->segment);
    assert_int_equal(hk_write_file(spill, 0600, "old", 3, NULL), 0);
    assert_int_equal(import_tiny(p), 0);
    folder = opendir(p->folder);
    assert_non_null(folder);
    while ((entry = readdir(folder)) != NULL)
        files += entry->d_name[0] != '.';
    closedir(folder);
    assert_int_equal(files, 3); /* list, segment, rejected */
}

static void a_spill_that_cannot_be_written_is_told(void **state)
{
    struct place *p = *state;
    FILE *f = begin_list(p);
    int status;
    pid_t pid;

    add_rows(f, 0, 50000, 1);
    assert_int_equal(fclose(f), 0);
    pid = fork();
    if (pid == 0) {
        struct rlimit limit = {1u << 20, 1u << 20};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        status = import_tiny(p);
        _exit(status == HK_EIO && strstr(p->why.text, "cannot sort the list on disk: File too large") != NULL
                  ? 0
                  : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_not_equal(access(p->segment, F_OK), 0);
}

static void long_fields_pass_through_the_merge_whole(void **state)
{
    struct segment_record *r = hk_xcalloc(1, sizeof *r);
    struct place *p = *state;
    FILE *f = begin_list(p);
    struct segment *s;

    for (unsigned i = 0; i < 200; i++) {
        fprintf(f, "u%u@d%u.test,", i, i % 7);
        for (unsigned k = 0; k < i * 300; k++)
            fputc('a' + (int)(i % 26), f);
        fputc('\n', f);
    }
    assert_int_equal(fclose(f), 0);
    assert_int_equal(import_tiny(p), 0);
    s = place_open(p);
    assert_int_equal(segment_count(s), 200);
    for (uint32_t i = 0; i < 200; i++) {
        assert_int_equal(segment_record(s, i, r), 0);
        assert_int_equal(r->field[1].length, (r->row - 1) * 300);
        for (uint32_t k = 0; k < r->field[1].length; k++)
            assert_int_equal(r->field[1].text[k], 'a' + (int)((r->row - 1) % 26));
    }
    segment_close(s);
    free(r);
}

/* ---- lists that add to earlier segments ---- */

static char earlier_path[128];
static const char *const earlier[] = {earlier_path};

/* Import what is the list now as the earlier segment. */
static void make_earlier(struct place *p)
{
    const char *path = p->options.segment_path;

    snprintf(earlier_path, sizeof earlier_path, "%s/earlier.seg", p->folder);
    p->options.segment_path = earlier_path;
    assert_int_equal(list_import(&p->options, &p->result, &p->why), 0);
    p->options.segment_path = path;
    p->options.earlier = earlier;
    p->options.earlier_count = 1;
}

static void assert_counts(const struct place *p, unsigned recipients, unsigned already, unsigned gone,
                          unsigned duplicates)
{
    assert_int_equal(p->result.recipients, recipients);
    assert_int_equal(p->result.already, already);
    assert_int_equal(p->result.gone, gone);
    assert_int_equal(p->result.duplicates, duplicates);
}

static void only_who_is_new_is_added_and_the_difference_is_told(void **state)
{
    struct segment_record *r = hk_xcalloc(1, sizeof *r);
    struct place *p = *state;
    struct segment *s;

    place_write(p, "email,n\na@x.test,1\nb@y.test,2\nc@x.test,3\n", 41);
    make_earlier(p);
    place_take(
        p, "email,n\nB@Y.test,new field\nd@z.test,4\nb@y.test,\nD@z.test,\na@x.test,1\nbad\ne@x.test,5\n");
    assert_counts(p, 2, 2, 1, 2);
    assert_int_equal(p->result.rejected, 1);
    assert_int_equal(p->result.domains, 2); /* y.test has nobody left */
    s = place_open(p);
    assert_int_equal(segment_domain_count(s), 2);
    assert_string_equal(segment_domain(s, 0).name, "z.test");
    assert_int_equal(segment_record(s, 0, r), 0);
    assert_text(r->email, r->email_length, "d@z.test");
    assert_int_equal(r->row, 2);
    segment_close(s);
    free(r);
    unlink(earlier_path);
}

static void a_list_without_anybody_new_writes_no_segment_and_is_no_error(void **state)
{
    struct place *p = *state;

    place_write(p, "email,n\na@x.test,1\nb@y.test,2\n", 30);
    make_earlier(p);
    place_take(p, "email,n\nA@x.test,\nno at,\n");
    assert_counts(p, 0, 1, 1, 0);
    assert_int_not_equal(access(p->segment, F_OK), 0);
    assert_int_equal(access(p->rejected, F_OK), 0);
    assert_int_equal(place_import(p, "email,n\nno at,\n"), HK_EINVAL);
    p->options.earlier = (const char *const[]){p->list};
    assert_int_equal(place_import(p, "email,n\na@x.test,\n"), HK_EPROTO);
    assert_non_null(strstr(p->why.text, "no segment at all"));
    unlink(earlier_path);
}

static void a_long_addition_is_the_same_bytes_however_it_is_sorted(void **state)
{
    char first[HK_SHA256_HEX];
    struct place *p = *state;
    FILE *f = begin_list(p);

    add_rows(f, 0, 30000, 3);
    assert_int_equal(fclose(f), 0);
    make_earlier(p);
    f = begin_list(p);
    add_rows(f, 3000, 40000, 1);
    add_rows(f, 3000, 40000, 5);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(list_import(&p->options, &p->result, &p->why), 0);
    assert_counts(p, 37000 - 9000, 9000, 1000, 7400);
    memcpy(first, p->result.segment_sha256, sizeof first);
    assert_int_equal(import_tiny(p), 0);
    assert_counts(p, 37000 - 9000, 9000, 1000, 7400);
    assert_string_equal(first, p->result.segment_sha256);
    unlink(earlier_path);
}

static void several_segments_are_read_as_one_behind_another(void **state)
{
    struct segment_record *r = hk_xcalloc(1, sizeof *r), *own = hk_xcalloc(1, sizeof *own);
    struct segment *all, *part[2];
    struct place *p = *state;
    const char *path[2] = {earlier_path, p->segment};
    char text[2 * HK_SHA256_HEX], sha256[HK_SHA256_HEX];
    FILE *f = begin_list(p);
    uint32_t base[3] = {0, 0, 0};

    add_rows(f, 0, 9000, 2);
    assert_int_equal(fclose(f), 0);
    make_earlier(p);
    f = begin_list(p);
    add_rows(f, 0, 14000, 1);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(list_import(&p->options, &p->result, &p->why), 0);
    assert_int_equal(segment_open_all(path, 2, true, &all, &p->why), 0);
    for (unsigned k = 0; k < 2; k++) {
        assert_int_equal(segment_open(path[k], true, &part[k], &p->why), 0);
        for (uint32_t i = 0; i < segment_count(part[k]); i++) {
            assert_int_equal(segment_record(part[k], i, own), 0);
            assert_int_equal(segment_record(all, base[0] + i, r), 0);
            assert_memory_equal(r->wire, own->wire, own->wire_length);
            assert_int_equal(r->domain, base[1] + own->domain);
            assert_int_equal(segment_domain_of(all, base[0] + i), r->domain);
            assert_int_equal(segment_span_of(all, base[0] + i), base[2] + segment_span_of(part[k], i));
        }
        base[0] += segment_count(part[k]);
        base[1] += segment_domain_count(part[k]);
        base[2] += segment_span_count(part[k]);
    }
    assert_int_equal(segment_count(all), base[0]);
    assert_int_equal(segment_count(all), 14000);
    assert_int_equal(segment_domain_count(all), base[1]);
    assert_int_equal(segment_span_count(all), base[2]);
    for (uint32_t i = 0, next = 0; i < base[2]; i++) {
        struct segment_span span = segment_span(all, i);
        assert_int_equal(span.first, next);
        assert_true(segment_domain(all, span.domain_first).first <= next);
        next += span.count;
    }
    assert_string_equal(segment_column(all, 1), "n");
    snprintf(text, sizeof text, "%s%s", segment_sha256(part[0]), segment_sha256(part[1]));
    hk_sha256_hex(text, strlen(text), sha256);
    assert_string_equal(segment_sha256(all), sha256);
    for (unsigned k = 0; k < 2; k++)
        segment_close(part[k]);
    segment_close(all);
    free(r);
    free(own);
    unlink(earlier_path);
}

static void segments_of_other_columns_or_damage_are_not_put_together(void **state)
{
    struct place *p = *state;
    const char *path[2] = {earlier_path, p->segment};
    struct segment *all;

    place_write(p, "email,n\na@x.test,1\n", 19);
    make_earlier(p);
    place_take(p, "email,m\nb@x.test,1\n");
    assert_int_equal(segment_open_all(path, 2, true, &all, &p->why), HK_ECHANGED);
    assert_non_null(strstr(p->why.text, "list.seg: has other columns than the first segment"));
    assert_null(all);
    path[1] = p->list;
    assert_int_equal(segment_open_all(path, 2, true, &all, &p->why), HK_EPROTO);
    assert_int_equal(segment_open_all(path, 1, true, &all, &p->why), 0);
    segment_close(all);
    unlink(earlier_path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        place_test(duplicates_are_found_across_runs_and_the_first_row_wins),
        place_test(nothing_but_the_outputs_is_left),
        place_test(a_spill_that_cannot_be_written_is_told),
        place_test(long_fields_pass_through_the_merge_whole),
        place_test(only_who_is_new_is_added_and_the_difference_is_told),
        place_test(a_list_without_anybody_new_writes_no_segment_and_is_no_error),
        place_test(a_long_addition_is_the_same_bytes_however_it_is_sorted),
        place_test(several_segments_are_read_as_one_behind_another),
        place_test(segments_of_other_columns_or_damage_are_not_put_together),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
