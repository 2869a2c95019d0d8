/* test_segment.c - what a segment holds and in which order, and that a damaged one is harmless. */
#include "tools.h"

#include "format.h"
#include "segment_bytes.h"

static void a_record_has_what_the_row_had(void **state)
{
    struct place *p = *state;
    struct segment_record *r = hk_xcalloc(1, sizeof *r);
    struct segment *s;

    place_take(p, "\xef\xbb\xbfname, EMail ,note\r\n"
                  "\xe5\xb1\xb1\xe7\x94\xb0, Taro@B\xc3\x9c"
                  "cher.TEST ,\"a \"\"b\"\",\nc\"\r\n"
                  ",\xe9\xa3\x9b@x.test,\r\n");
    s = place_open(p);
    assert_int_equal(segment_count(s), 2);
    assert_int_equal(segment_column_count(s), 3);
    assert_string_equal(segment_column(s, 0), "name");
    assert_string_equal(segment_column(s, 1), "EMail"); /* as written: a tag may be written so too */
    assert_string_equal(segment_column(s, 2), "note");
    assert_int_equal(segment_record(s, 0, r), 0);
    assert_text(r->email, r->email_length,
                "Taro@B\xc3\x9c"
                "cher.TEST");
    assert_text(r->wire, r->wire_length, "Taro@xn--bcher-kva.test");
    assert_int_equal(r->wire_local_length, 4);
    assert_false(r->smtputf8);
    assert_int_equal(r->row, 1);
    assert_string_equal(segment_domain(s, r->domain).name, "xn--bcher-kva.test");
    assert_text(r->field[0].text, r->field[0].length, "\xe5\xb1\xb1\xe7\x94\xb0");
    assert_text(r->field[1].text, r->field[1].length,
                "Taro@B\xc3\x9c"
                "cher.TEST");
    assert_text(r->field[2].text, r->field[2].length, "a \"b\",\nc");
    assert_int_equal(segment_record(s, 1, r), 0);
    assert_true(r->smtputf8);
    assert_text(r->wire, r->wire_length, "\xe9\xa3\x9b@x.test");
    assert_ptr_equal(r->wire, r->email);
    assert_int_equal(r->field[0].length, 0);
    assert_int_equal(r->row, 2);
    segment_close(s);
    free(r);
}

/* Write `count` recipients of a domain. */
static void add_rows(FILE *f, const char *domain, unsigned from, unsigned count)
{
    for (unsigned i = from; i < from + count; i++)
        fprintf(f, "u%u@%s\n", i, domain);
}

static FILE *begin_list(struct place *p)
{
    FILE *f = fopen(p->list, "w");

    assert_non_null(f);
    fputs("email\n", f);
    return f;
}

static struct segment *take_list(struct place *p, FILE *f)
{
    assert_int_equal(fclose(f), 0);
    assert_int_equal(list_import(&p->options, &p->result, &p->why), 0);
    return place_open(p);
}

static void assert_span(const struct segment *s, uint32_t span, uint32_t first, uint32_t count,
                        uint32_t domain_first, uint32_t domain_count)
{
    struct segment_span is = segment_span(s, span);

    assert_int_equal(is.first, first);
    assert_int_equal(is.count, count);
    assert_int_equal(is.domain_first, domain_first);
    assert_int_equal(is.domain_count, domain_count);
    assert_int_equal(segment_span_of(s, first), span);
    assert_int_equal(segment_span_of(s, first + count - 1), span);
}

static void big_domains_come_first_alone_and_small_ones_are_packed_whole(void **state)
{
    /* In order of first appearance. Big: b (two pieces), d (exactly SPAN_MAX / 4). */
    static const struct {
        const char *name;
        unsigned count;
    } in[] = {{"a.test", 3},    {"b.test", 5000}, {"c.test", 1023}, {"d.test", 1024}, {"e.test", 1000},
              {"f.test", 1000}, {"g.test", 1000}, {"h.test", 70},   {"i.test", 1},    {"j.test", 1}};
    static const char *const out[] = {"b.test", "d.test", "a.test", "c.test", "e.test",
                                      "f.test", "g.test", "h.test", "i.test", "j.test"};
    struct place *p = *state;
    FILE *f = begin_list(p);
    struct segment *s;

    for (unsigned i = 0; i < 10; i++)
        add_rows(f, in[i].name, 0, 1);
    for (unsigned i = 10; i-- > 0;)
        add_rows(f, in[i].name, 1, in[i].count - 1);
    s = take_list(p, f);
    assert_int_equal(segment_domain_count(s), 10);
    for (uint32_t i = 0; i < 10; i++)
        assert_string_equal(segment_domain(s, i).name, out[i]);
    assert_int_equal(segment_span_count(s), 5);
    assert_span(s, 0, 0, 4096, 0, 1);
    assert_span(s, 1, 4096, 904, 0, 1);
    assert_span(s, 2, 5000, 1024, 1, 1);
    /* 3 + 1023 + 3 x 1000 + 70 = 4096 fills a span to the last place */
    assert_span(s, 3, 6024, 4096, 2, 6);
    assert_span(s, 4, 10120, 2, 8, 2);
    assert_int_equal(segment_count(s), 10122);
    segment_close(s);
}

static void a_small_domain_that_does_not_fit_begins_the_next_span(void **state)
{
    static const char *const names[] = {"a.test", "b.test", "c.test", "d.test", "e.test"};
    struct place *p = *state;
    FILE *f = begin_list(p);
    struct segment *s;

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        add_rows(f, names[i], 0, 1023);
    s = take_list(p, f);
    assert_int_equal(segment_span_count(s), 2);
    assert_span(s, 0, 0, 4 * 1023, 0, 4);
    assert_span(s, 1, 4 * 1023, 1023, 4, 1);
    segment_close(s);
}

static void input_order_stays_inside_a_domain(void **state)
{
    static const uint32_t rows[] = {1, 3, 6, 2, 5, 4};
    struct segment_record *r = hk_xcalloc(1, sizeof *r);
    struct place *p = *state;
    struct segment *s;

    place_take(p, "email\na@x.test\na@y.test\nb@x.test\na@z.test\nb@y.test\nc@X.test\n");
    s = place_open(p);
    for (uint32_t i = 0; i < 6; i++) {
        assert_int_equal(segment_record(s, i, r), 0);
        assert_int_equal(r->row, rows[i]);
        assert_int_equal(segment_domain_of(s, i), r->domain);
    }
    assert_int_equal(segment_domain(s, 1).first, 3);
    assert_int_equal(segment_domain(s, 1).count, 2);
    segment_close(s);
    free(r);
}

static void the_same_input_gives_the_same_bytes(void **state)
{
    struct place *p = *state;
    char *first, *second;
    size_t first_length, second_length;

    place_take(p, "email,n\na@x.test,1\nb@y.test,2\nA@x.test,3\n");
    assert_int_equal(hk_read_file(p->segment, 1u << 20, &first, &first_length, NULL), 0);
    place_take(p, "email,n\na@x.test,1\nb@y.test,2\nA@x.test,3\n");
    assert_int_equal(hk_read_file(p->segment, 1u << 20, &second, &second_length, NULL), 0);
    assert_int_equal(first_length, second_length);
    assert_memory_equal(first, second, first_length);
    free(first);
    free(second);
    /* ... on every node: the value is pinned, so another machine, compiler or version of ours that writes
     * other bytes fails here and has to raise SEGMENT_VERSION. */
    assert_string_equal(p->result.segment_sha256,
                        "e39261ceeb1d2f067f943a5796b1fb66bc5ca800c2a7048d176b2b9aebb7c15d");
}

/* Touch everything that a segment offers. Returns how many records could not be read. */
static unsigned walk(const struct segment *s, struct segment_record *r)
{
    volatile unsigned char sink = 0;
    unsigned bad = 0;

    for (uint32_t i = 0; i < segment_column_count(s); i++)
        sink ^= (unsigned char)strlen(segment_column(s, i));
    for (uint32_t i = 0; i < segment_domain_count(s); i++)
        assert_true(strlen(segment_domain(s, i).name) <= 255);
    for (uint32_t i = 0; i < segment_span_count(s); i++)
        assert_true(segment_span(s, i).count <= SPAN_MAX);
    for (uint32_t i = 0; i < segment_count(s); i++) {
        assert_true(segment_span_of(s, i) < segment_span_count(s));
        if (segment_record(s, i, r) != 0) {
            bad++;
            continue;
        }
        assert_true(r->wire_length <= 320 && r->wire_local_length <= 64);
        for (uint32_t k = 0; k < r->wire_length; k++)
            sink ^= (unsigned char)r->wire[k];
        for (uint32_t c = 0; c < segment_column_count(s); c++)
            for (uint32_t k = 0; k < r->field[c].length; k++)
                sink ^= (unsigned char)r->field[c].text[k];
    }
    (void)sink;
    return bad;
}

static char *sample(struct place *p, size_t *length)
{
    char *bytes;

    place_take(p, "email,name,note\na@x.test,Taro,1\nb@B\xc3\x9c"
                  "cher.test,\"J, K\",\n\xe9\xa3\x9b@y.test,,22\n"
                  "c@x.test,,\n\"q r\"@z.test,x,y\n");
    assert_int_equal(hk_read_file(p->segment, 1u << 20, &bytes, length, NULL), 0);
    return bytes;
}

static void a_flipped_byte_is_found_by_the_sum_and_harmless_without_it(void **state)
{
    struct segment_record *r = hk_xcalloc(1, sizeof *r);
    unsigned opened = 0, refused = 0, bad = 0;
    struct segment *s;
    size_t length;
    char *bytes = sample(*state, &length);

    for (size_t i = 0; i < length; i++) {
        for (unsigned mask = 1; mask < 512; mask <<= 1) {
            char flip = (char)(mask < 256 ? mask : 255);
            char *copy = malloc(length); /* exactly as long, so that a sanitizer sees the end */
            assert_non_null(copy);
            memcpy(copy, bytes, length);
            copy[i] ^= flip;
            assert_int_equal(segment_from_bytes("s", copy, length, true, &s, NULL), HK_EPROTO);
            assert_null(s);
            if (segment_from_bytes("s", copy, length, false, &s, NULL) == 0) {
                opened++;
                bad += walk(s, r);
                segment_close(s);
            } else {
                refused++;
            }
            free(copy);
        }
    }
    assert_true(opened > 0 && refused > 0 && bad > 0);
    free(bytes);
    free(r);
}

/* A record of 200 columns whose index says that it begins at the very end of the records: its head is there, the
 * lengths of its fields are not. */
static void a_record_never_runs_on_behind_its_end(void **state)
{
    struct segment_record *r = hk_xcalloc(1, sizeof *r);
    struct place *p = *state;
    FILE *f = fopen(p->list, "w");
    struct segment_header header;
    struct segment *s;
    size_t length;
    uint64_t begin;
    char *bytes, *copy;

    assert_non_null(f);
    for (unsigned i = 0; i < 199; i++)
        fprintf(f, "c%u,", i);
    fputs("email\n", f);
    for (unsigned i = 0; i < 199; i++)
        fputc(',', f);
    fputs("a@x.test\n", f);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(list_import(&p->options, &p->result, &p->why), 0);
    assert_int_equal(hk_read_file(p->segment, 1u << 20, &bytes, &length, NULL), 0);
    memcpy(&header, bytes, sizeof header);
    begin = htole64(le64toh(header.records_bytes) - SEGMENT_RECORD_HEAD);
    memcpy(bytes + segment_layout(&header).index, &begin, sizeof begin);
    memset(bytes + segment_layout(&header).records, 0x01,
           length - segment_layout(&header).records - sizeof SEGMENT_END_MAGIC + 1);
    copy = malloc(length); /* without the NUL behind it */
    assert_non_null(copy);
    memcpy(copy, bytes, length);
    assert_int_equal(segment_from_bytes("s", copy, length, false, &s, NULL), 0);
    assert_int_equal(segment_record(s, 0, r), HK_EPROTO);
    segment_close(s);
    free(copy);
    free(bytes);
    free(r);
}

static void a_cut_segment_is_refused_at_every_length(void **state)
{
    struct segment *s;
    size_t length;
    char *bytes = sample(*state, &length);

    for (size_t i = 0; i < length; i++) {
        char *copy = malloc(i + 1);
        assert_non_null(copy);
        memcpy(copy, bytes, i);
        assert_int_equal(segment_from_bytes("s", copy, i, false, &s, NULL), HK_EPROTO);
        free(copy);
    }
    free(bytes);
}

static void random_damage_is_harmless(void **state)
{
    struct segment_record *r = hk_xcalloc(1, sizeof *r);
    unsigned opened = 0;
    struct segment *s;
    size_t length;
    char *bytes = sample(*state, &length);
    unsigned short seed[3] = {1, 2, 3};

    for (unsigned round = 0; round < 20000; round++) {
        char *copy = malloc(length);
        assert_non_null(copy);
        memcpy(copy, bytes, length);
        for (unsigned k = 0; k < 1 + round % 4; k++) {
            size_t at = (size_t)nrand48(seed) % length;
            copy[at] = (char)nrand48(seed);
        }
        if (segment_from_bytes("s", copy, length, false, &s, NULL) == 0) {
            opened++;
            (void)walk(s, r);
            segment_close(s);
        }
        free(copy);
    }
    assert_true(opened > 1000);
    free(bytes);
    free(r);
}

static void what_is_no_segment_is_refused_in_words(void **state)
{
    struct place *p = *state;
    struct segment *s;

    assert_int_equal(segment_open(p->segment, false, &s, &p->why), HK_ENOENT);
    assert_int_equal(segment_open(p->folder, false, &s, &p->why), HK_EPROTO);
    place_write(p, "", 0);
    assert_int_equal(segment_open(p->list, false, &s, &p->why), HK_EPROTO);
    place_write(p,
                "email\na@x.test\nthis is the list itself, long enough to hold a header and a trailer, "
                "which are sixty-four and forty bytes",
                120);
    assert_int_equal(segment_open(p->list, false, &s, &p->why), HK_EPROTO);
    assert_non_null(strstr(p->why.text, "no segment at all"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        place_test(a_record_has_what_the_row_had),
        place_test(big_domains_come_first_alone_and_small_ones_are_packed_whole),
        place_test(a_small_domain_that_does_not_fit_begins_the_next_span),
        place_test(input_order_stays_inside_a_domain),
        place_test(the_same_input_gives_the_same_bytes),
        place_test(a_flipped_byte_is_found_by_the_sum_and_harmless_without_it),
        place_test(a_record_never_runs_on_behind_its_end),
        place_test(a_cut_segment_is_refused_at_every_length),
        place_test(random_damage_is_harmless),
        place_test(what_is_no_segment_is_refused_in_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
