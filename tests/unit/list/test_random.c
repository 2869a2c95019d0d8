/* test_random.c - 100,000 random rows against a reference that knows them before they were written as CSV.
 *
 * The reference shares no code with the importer: it builds rows from parts, so it knows which are good and what
 * their mailbox is; finds duplicates by sorting; and groups by plain loops over a sorted table of domains.
 */
#include "import.h"
#include "tools.h"

#define ROWS    100000u
#define DOMAINS 3000u

struct made {
    char email[64]; /* as written, without blanks around it */
    char wire[64];
    char mailbox[64]; /* lower case */
    uint32_t domain;
    char field[2][64];
    uint32_t row;
    bool good, first;
};

struct truth {
    struct made row[ROWS];
    struct made *sorted[ROWS];
    uint32_t domain_count[DOMAINS], domain_first_row[DOMAINS];
    uint32_t order[DOMAINS], used_domains;
    uint32_t good, duplicates;
    unsigned short seed[3];
};

static uint32_t pick(struct truth *t, uint32_t below)
{
    return (uint32_t)nrand48(t->seed) % below;
}

static void lower(char *out, const char *text)
{
    do
        *out++ = (char)(*text >= 'A' && *text <= 'Z' ? *text + 32 : *text);
    while (*text++ != '\0');
}

static void make_row(struct truth *t, uint32_t i)
{
    static const char *const texts[] = {
        "",         "plain", "a,b", "say \"hi\"", "two\nlines", "\r\n", "\xe6\x97\xa5\xe6\x9c\xac",
        " blanks ", "\"",    "x\ty"};
    struct made *m = &t->row[i];
    /* A few domains take most rows, as in life. */
    uint32_t domain = pick(t, 10) < 6 ? pick(t, 5) : pick(t, DOMAINS);
    bool upper = pick(t, 3) == 0;

    m->row = i + 1;
    m->domain = domain;
    m->good = pick(t, 20) != 0;
    snprintf(m->email, sizeof m->email, "%s%u%s%s%u.test", upper ? "User" : "user", pick(t, 60000),
             m->good ? "@" : "", upper ? "D" : "d", domain);
    lower(m->mailbox, m->email);
    snprintf(m->wire, sizeof m->wire, "%s", m->email);
    lower(m->wire + strcspn(m->wire, "@"), m->email + strcspn(m->email, "@"));
    for (int k = 0; k < 2; k++)
        snprintf(m->field[k], sizeof m->field[k], "%s", texts[pick(t, sizeof texts / sizeof texts[0])]);
}

static void write_field(FILE *f, const char *text, bool quote)
{
    if (!quote && strpbrk(text, ",\"\r\n") == NULL) {
        fputs(text, f);
        return;
    }
    fputc('"', f);
    for (; *text != '\0'; text++)
        fputs((char[]){*text, *text == '"' ? '"' : '\0', '\0'}, f);
    fputc('"', f);
}

static void write_list(struct truth *t, const char *path)
{
    static const char *const ends[] = {"\n", "\r\n", "\r", "\n\n"};
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs("first,email,last\n", f);
    for (uint32_t i = 0; i < ROWS; i++) {
        const struct made *m = &t->row[i];
        char email[80];
        write_field(f, m->field[0], pick(t, 2) == 0);
        fputc(',', f);
        snprintf(email, sizeof email, "%s%s%s", pick(t, 5) == 0 ? " " : "", m->email,
                 pick(t, 5) == 0 ? "\t" : "");
        write_field(f, email, pick(t, 2) == 0);
        fputc(',', f);
        write_field(f, m->field[1], pick(t, 2) == 0);
        fputs(ends[pick(t, 4)], f);
    }
    assert_int_equal(fclose(f), 0);
}

static int by_mailbox(const void *a, const void *b)
{
    const struct made *x = *(struct made *const *)a, *y = *(struct made *const *)b;
    int order = strcmp(x->mailbox, y->mailbox);

    return order != 0 ? order : (x->row > y->row) - (x->row < y->row);
}

static void find_first_ones(struct truth *t)
{
    for (uint32_t i = 0; i < ROWS; i++)
        t->sorted[i] = &t->row[i];
    qsort(t->sorted, ROWS, sizeof(void *), by_mailbox);
    for (uint32_t i = 0; i < ROWS; i++) {
        struct made *m = t->sorted[i];
        if (!m->good)
            continue;
        m->first = i == 0 || strcmp(t->sorted[i - 1]->mailbox, m->mailbox) != 0;
        t->good += m->first;
        t->duplicates += !m->first;
        if (!m->first)
            continue;
        if (t->domain_count[m->domain]++ == 0 || m->row < t->domain_first_row[m->domain])
            t->domain_first_row[m->domain] = m->row;
    }
}

/* Big domains before small ones, then by first appearance. */
static void order_domains(struct truth *t)
{
    for (uint32_t d = 0; d < DOMAINS; d++) {
        uint32_t at = t->used_domains;
        bool big = t->domain_count[d] >= SPAN_MAX / 4;
        if (t->domain_count[d] == 0)
            continue;
        for (; at > 0; at--) {
            uint32_t before = t->order[at - 1];
            bool before_big = t->domain_count[before] >= SPAN_MAX / 4;
            if (before_big > big ||
                (before_big == big && t->domain_first_row[before] < t->domain_first_row[d]))
                break;
            t->order[at] = before;
        }
        t->order[at] = d;
        t->used_domains++;
    }
}

static void compare_record(const struct segment *s, uint32_t index, const struct made *m,
                           struct segment_record *r)
{
    assert_int_equal(segment_record(s, index, r), 0);
    assert_int_equal(r->row, m->row);
    assert_text(r->email, r->email_length, m->email);
    assert_text(r->wire, r->wire_length, m->wire);
    assert_text(r->field[0].text, r->field[0].length, m->field[0]);
    assert_text(r->field[1].text, r->field[1].length, m->email);
    assert_text(r->field[2].text, r->field[2].length, m->field[1]);
}

static void compare_spans(const struct segment *s)
{
    for (uint32_t i = 0; i < segment_span_count(s); i++) {
        struct segment_span span = segment_span(s, i);
        for (uint32_t d = span.domain_first; d < span.domain_first + span.domain_count; d++) {
            struct segment_domain domain = segment_domain(s, d);
            if (domain.count >= SPAN_MAX / 4) {
                assert_int_equal(span.domain_count, 1);
                continue;
            }
            assert_true(domain.first >= span.first);
            assert_true(domain.first + domain.count <= span.first + span.count);
        }
    }
}

/* However little memory there is, and so however many runs are merged from disk, the bytes are the same. */
static void compare_spilled(struct place *p)
{
    static const size_t memory[] = {60000, 300000, 1u << 20, 8u << 20};
    struct import_options options = p->options;
    struct import_result result;
    char other[128], *one, *two;
    size_t one_length, two_length;

    snprintf(other, sizeof other, "%s/other.seg", p->folder);
    options.segment_path = other;
    options.rejected_path = NULL;
    assert_int_equal(hk_read_file(p->segment, 1u << 30, &one, &one_length, &p->why), 0);
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) {
        struct import_limits limits = {IMPORT_ROWS_MAX, memory[i]};
        if (import_run(&options, &limits, &result, &p->why) != 0)
            fail_msg("%s", p->why.text);
        assert_memory_equal(&result, &p->result, sizeof result);
        assert_int_equal(hk_read_file(other, 1u << 30, &two, &two_length, &p->why), 0);
        assert_int_equal(one_length, two_length);
        assert_memory_equal(one, two, one_length);
        free(two);
        assert_int_equal(unlink(other), 0);
    }
    free(one);
}

static void a_random_list_comes_out_as_a_simple_reference_says(void **state)
{
    struct segment_record *r = hk_xcalloc(1, sizeof *r);
    struct truth *t = hk_xcalloc(1, sizeof *t);
    struct place *p = *state;
    struct segment *s;
    static uint32_t next[DOMAINS]; /* index of the domain's next recipient */
    uint32_t index = 0;

    t->seed[0] = 42;
    for (uint32_t i = 0; i < ROWS; i++)
        make_row(t, i);
    write_list(t, p->list);
    find_first_ones(t);
    order_domains(t);
    if (list_import(&p->options, &p->result, &p->why) != 0)
        fail_msg("%s", p->why.text);
    assert_int_equal(p->result.rows, ROWS);
    assert_int_equal(p->result.recipients, t->good);
    assert_int_equal(p->result.duplicates, t->duplicates);
    assert_int_equal(p->result.rejected, ROWS - t->good - t->duplicates);
    assert_true(t->duplicates > 1000 && t->good > 50000);
    s = place_open(p);
    assert_int_equal(segment_domain_count(s), t->used_domains);
    for (uint32_t d = 0; d < t->used_domains; d++) {
        struct segment_domain domain = segment_domain(s, d);
        char name[32];
        snprintf(name, sizeof name, "d%u.test", t->order[d]);
        assert_string_equal(domain.name, name);
        assert_int_equal(domain.first, index);
        next[t->order[d]] = index;
        assert_int_equal(domain.count, t->domain_count[t->order[d]]);
        index += domain.count;
    }
    for (uint32_t i = 0; i < ROWS; i++)
        if (t->row[i].first)
            compare_record(s, next[t->row[i].domain]++, &t->row[i], r);
    assert_int_equal(index, segment_count(s));
    compare_spans(s);
    segment_close(s);
    compare_spilled(p);
    free(t);
    free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        place_test(a_random_list_comes_out_as_a_simple_reference_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
