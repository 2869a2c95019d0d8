/* Does it work for programs that nobody had seen? For each family of the public collection (one mail program or provider) the
 * phrases and the patterns of rules that only its mails need are taken away, and what is left is held against its mails, from
 * their bytes to class and disposition. Prints the table; with --table nothing else, as docs/classification.md has it. The
 * collection is read where it lies, if it is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

/* The look-ups are this program's own: it counts what fires on whose mails, and leaves it out. */
#define phrases_in      library_phrases_in
#define pattern_matches library_pattern_matches
#include "pattern.c" // NOLINT(bugprone-suspicious-include)
#include "phrase.c"  // NOLINT(bugprone-suspicious-include)
#include "phrases.c" // NOLINT(bugprone-suspicious-include)
#undef phrases_in
#undef pattern_matches

#include <cmocka.h>
#include <jansson.h>

#include "hikyaku/bounce.h"

#define PHRASES_MAX  1024u
#define PATTERNS_MAX 2048u
#define FAMILIES_MAX 128u
#define SHOWN_MIN    5u /* mails of a family that has a line of its own in the page */

/* What is known of one phrase or pattern of a family: does it fire on its mails? */
struct evidence_of {
    bool phrase[PHRASES_MAX], pattern[PATTERNS_MAX];
};

struct figures { /* nothing but counts: add() */
    unsigned families, mails, phrases, patterns, detected, recipients;
    unsigned rows, class_right, disposition_right, false_suppress, must_suppress, missed_suppress;
};

static struct {
    char name[64];
    struct evidence_of fires;
    struct figures figures;
} family[FAMILIES_MAX];
static size_t families;
static struct evidence_of off;
static struct evidence_of *fires; /* of the family whose mail is read, NULL: nobody asks */
static const struct pattern *pattern_at[PATTERNS_MAX]; /* that fired on any mail */
static size_t patterns;

uint32_t phrases_in(struct folded *scratch, struct slice text, uint32_t wanted)
{
    uint32_t found = 0;

    folded_set(scratch, text);
    for (size_t i = 0; i < phrase_count; i++) {
        if ((phrases[i].meaning & wanted) == 0 || off.phrase[i] || !phrase_is_in(scratch, phrases[i].pattern))
            continue;
        found |= phrases[i].meaning;
        if (fires != NULL)
            fires->phrase[i] = true;
    }
    return found & wanted;
}

bool pattern_matches(const struct rules *rules, struct pattern *p, const struct words_found *found,
                     const char *text, size_t length)
{
    size_t i = 0;

    if (!library_pattern_matches(rules, p, found, text, length))
        return false;
    while (i < patterns && pattern_at[i] != p)
        i++;
    assert_true(i < PATTERNS_MAX);
    if (i == patterns)
        pattern_at[patterns++] = p;
    if (off.pattern[i])
        return false;
    if (fires != NULL)
        fires->pattern[i] = true;
    return true;
}

static size_t family_of(const char *name)
{
    size_t i = 0;

    while (i < families && strcmp(family[i].name, name) != 0)
        i++;
    assert_true(i < FAMILIES_MAX);
    if (i == families)
        snprintf(family[families++].name, sizeof family[0].name, "%s", name);
    return i;
}

struct found {
    const json_t *bounces; /* of the truth */
    struct figures *figures;
    unsigned rows, right;
    uint64_t used; /* a bit for each row of the truth that has its bounce */
};

static const char *text_of(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));

    return text == NULL ? "" : text;
}

static bool is_among(const json_t *list, const char *word)
{
    const json_t *other;
    size_t i;

    json_array_foreach(list, i, other)
    {
        if (strcasecmp(json_string_value(other), word) == 0)
            return true;
    }
    return false;
}

static bool names(const json_t *row, const char *recipient)
{
    return strcasecmp(text_of(row, "recipient"), recipient) == 0 ||
           is_among(json_object_get(row, "recipient_alt"), recipient);
}

static void judge_verdict(const json_t *row, const struct verdict *v, struct figures *figures)
{
    const json_t *wanted = json_object_get(row, "disposition");
    const char *class_name = reply_class_name(v->reply_class);

    figures->class_right += strcmp(class_name, text_of(row, "class")) == 0 ||
                            is_among(json_object_get(row, "class_alt"), class_name);
    figures->disposition_right += is_among(wanted, disposition_name(v->disposition));
    if (v->disposition == DISPOSITION_SUPPRESS) {
        figures->false_suppress += !is_among(wanted, "suppress");
        figures->missed_suppress -= json_array_size(wanted) == 1 && is_among(wanted, "suppress");
    }
}

static void judge(void *context, const struct bounce *b)
{
    struct found *f = context;
    const json_t *row;
    size_t i, at = SIZE_MAX;

    f->rows++;
    json_array_foreach(f->bounces, i, row)
    {
        bool is_hidden = strstr(text_of(row, "recipient"), ".invalid") != NULL;
        if ((f->used & UINT64_C(1) << i) != 0 || !(names(row, b->recipient) || is_hidden))
            continue;
        f->right++;
        at = i;
        break;
    }
    if (at == SIZE_MAX && f->rows <= json_array_size(f->bounces) &&
        (f->used & UINT64_C(1) << (f->rows - 1)) == 0)
        at = f->rows - 1; /* of another name */
    if (at == SIZE_MAX)
        return;
    f->used |= UINT64_C(1) << at;
    judge_verdict(json_array_get(f->bounces, at), &b->verdict, f->figures);
}

/* What a mail whose bounces are these may get. */
static void expect(const json_t *bounces, struct figures *figures)
{
    const json_t *row;
    size_t i;

    assert_true(json_array_size(bounces) <= 64);
    figures->mails++;
    json_array_foreach(bounces, i, row)
    {
        const json_t *wanted = json_object_get(row, "disposition");
        bool must = json_array_size(wanted) == 1 && is_among(wanted, "suppress");
        figures->rows++;
        figures->must_suppress += must;
        figures->missed_suppress += must; /* until it is found */
    }
}

/* All mails of a family (or of all), with what is on. */
static void read_mails(struct bounce_reader *reader, const char *shared, const json_t *truth, size_t only,
                       struct figures *all)
{
    const json_t *mail;
    size_t i;

    json_array_foreach(truth, i, mail)
    {
        const char *file = text_of(mail, "file");
        size_t of = family_of(text_of(mail, "family"));
        struct found f = {.bounces = json_object_get(mail, "bounces"),
                          .figures = all != NULL ? all : &family[of].figures};
        char path[512], *bytes;
        size_t length;
        struct hk_why why;

        if ((only != SIZE_MAX && of != only) || strncmp(file, "maildir/bsd/", 12) != 0 ||
            json_array_size(f.bounces) == 0)
            continue;
        snprintf(path, sizeof path, "%s/data/bounce/mails/%s", shared, file);
        assert_int_equal(hk_read_file(path, 4u << 20, &bytes, &length, &why), 0);
        expect(f.bounces, f.figures);
        fires = only == SIZE_MAX ? &family[of].fires : NULL;
        assert_int_equal(bounce_read(reader, bytes, length, judge, &f), 0);
        free(bytes);
        f.figures->detected += f.rows > 0;
        f.figures->recipients += f.rows > 0 && f.right == f.rows && f.rows == json_array_size(f.bounces);
    }
}

/* Of what fires on its mails, what fires on nobody else's. */
static void leave_out(size_t of)
{
    struct figures *figures = &family[of].figures;

    memset(&off, 0, sizeof off);
    for (size_t i = 0; i < phrase_count; i++) {
        bool others = false;
        for (size_t f = 0; f < families; f++)
            others |= f != of && family[f].fires.phrase[i];
        off.phrase[i] = family[of].fires.phrase[i] && !others;
        figures->phrases += off.phrase[i];
    }
    for (size_t i = 0; i < patterns; i++) {
        bool others = false;
        for (size_t f = 0; f < families; f++)
            others |= f != of && family[f].fires.pattern[i];
        off.pattern[i] = family[of].fires.pattern[i] && !others;
        figures->patterns += off.pattern[i];
    }
}

static json_t *read_truth(const char *shared)
{
    char path[512];
    static char line[1u << 18];
    json_t *truth = json_array();
    FILE *f;

    snprintf(path, sizeof path, "%s/data/bounce/truth.jsonl", shared);
    f = fopen(path, "r");
    if (f == NULL) {
        print_message("    left out: no %s (HK_SHARED names the folder)\n", path);
        json_decref(truth);
        return NULL;
    }
    while (fgets(line, sizeof line, f) != NULL)
        assert_int_equal(json_array_append_new(truth, json_loads(line, 0, NULL)), 0);
    fclose(f);
    return truth;
}

/* --- the table --- */

static void add(struct figures *sum, const struct figures *figures)
{
    const unsigned *from = (const unsigned *)figures;
    unsigned *to = (unsigned *)sum;

    for (size_t i = 0; i < sizeof *sum / sizeof *to; i++)
        to[i] += from[i];
}

static void print_row(const char *name, const struct figures *f)
{
    printf("| %s | %u | %u, %u | %u | %u | %u | %u | %u | %u | %u of %u |\n", name, f->mails, f->phrases,
           f->patterns, f->detected, f->recipients, f->rows, f->class_right, f->disposition_right,
           f->false_suppress, f->missed_suppress, f->must_suppress);
}

static int by_mails(const void *a, const void *b)
{
    const size_t x = *(const size_t *)a, y = *(const size_t *)b;

    if (family[x].figures.mails != family[y].figures.mails)
        return family[x].figures.mails < family[y].figures.mails ? 1 : -1;
    return strcmp(family[x].name, family[y].name);
}

/* shown_min: families of fewer mails share a line. */
static void print_table(unsigned shown_min, const struct figures *all, const struct figures *whole)
{
    size_t order[FAMILIES_MAX];
    struct figures others = {0};
    char name[64];

    for (size_t i = 0; i < families; i++)
        order[i] = i;
    qsort(order, families, sizeof *order, by_mails);
    printf("| family | mails | phrases, patterns out | detected | recipients | rows | class | disposition | "
           "falsely "
           "suppressed | suppression missed |\n");
    printf("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for (size_t i = 0; i < families; i++) {
        const struct figures *f = &family[order[i]].figures;
        if (f->mails >= shown_min && f->mails > 0)
            print_row(family[order[i]].name, f);
        else
            add(&others, f);
    }
    snprintf(name, sizeof name, "%u others", others.families);
    if (others.mails > 0)
        print_row(name, &others);
    print_row("all", all);
    printf("| in per cent | | | %.1f | %.1f | | %.1f | %.1f | | |\n", 100.0 * all->detected / all->mails,
           100.0 * all->recipients / all->mails, 100.0 * all->class_right / all->rows,
           100.0 * all->disposition_right / all->rows);
    print_row("nothing left out", whole);
}

/* The figures of each family, of all of them, and of the same mails with nothing left out. False: there are no mails. */
static bool measure(struct figures *all, struct figures *whole)
{
    const char *shared = getenv("HK_SHARED") == NULL ? "../shared" : getenv("HK_SHARED");
    json_t *truth = read_truth(shared);
    struct bounce_reader *reader = bounce_reader_new();

    assert_true(phrase_count < PHRASES_MAX);
    assert_non_null(reader);
    if (truth != NULL) {
        read_mails(reader, shared, truth, SIZE_MAX, whole);
        for (size_t f = 0; f < families; f++) {
            leave_out(f);
            read_mails(reader, shared, truth, f, NULL);
            family[f].figures.families = family[f].figures.mails > 0;
            add(all, &family[f].figures);
        }
    }
    bounce_reader_free(reader);
    json_decref(truth);
    return truth != NULL;
}

static void a_family_without_its_own_phrases_and_patterns_is_still_understood(void **state)
{
    struct figures all = {0}, whole = {0};

    (void)state;
    if (!measure(&all, &whole))
        return;
    print_table(0, &all, &whole);
    for (size_t i = 0; i < families; i++) {
        const struct figures *f = &family[i].figures;
        if (f->mails >= SHOWN_MIN) /* of fewer each is more than a tenth */
            assert_true(f->detected * 10 >= f->mails * 9 && f->recipients * 10 >= f->mails * 9);
    }
    assert_true(all.mails > 300);
    assert_true(all.detected * 100 >= all.mails * 90);
    assert_true(all.recipients * 100 >= all.mails * 90);
    assert_true(all.class_right * 100 >= all.rows * 85);
    assert_true(all.disposition_right * 100 >= all.rows * 90);
    assert_true(all.class_right < whole.class_right); /* something was left out */
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_family_without_its_own_phrases_and_patterns_is_still_understood),
    };

    if (argc == 2 && strcmp(argv[1], "--table") == 0) {
        struct figures all = {0}, whole = {0};
        if (!measure(&all, &whole))
            return 1;
        print_table(SHOWN_MIN, &all, &whole);
        return 0;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
