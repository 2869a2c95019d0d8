/* Does it work for programs that nobody had seen? For each family of the public collection (one mail program or provider) the
 * phrases that only its mails need are taken away, and what is left is held against its mails. Prints the table; the collection
 * is read where it lies, if it is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

/* The look-up is this program's own: it counts which phrase fires on whose mails, and leaves phrases out. */
#define phrases_in library_phrases_in
#include "phrase.c"  // NOLINT(bugprone-suspicious-include)
#include "phrases.c" // NOLINT(bugprone-suspicious-include)
#undef phrases_in

#include <cmocka.h>
#include <jansson.h>

#include "hikyaku/bounce.h"

#define PHRASES_MAX  1024u
#define FAMILIES_MAX 128u

static struct {
    char name[64];
    bool fires[PHRASES_MAX];
    unsigned mails, detected, recipients;
} family[FAMILIES_MAX];
static size_t families;
static bool off[PHRASES_MAX];
static bool *fires; /* of the family whose mail is read, NULL: nobody asks */

uint32_t phrases_in(struct folded *scratch, struct slice text, uint32_t wanted)
{
    uint32_t found = 0;

    folded_set(scratch, text);
    for (size_t i = 0; i < phrase_count; i++) {
        if ((phrases[i].meaning & wanted) == 0 || off[i] || !phrase_is_in(scratch, phrases[i].pattern))
            continue;
        found |= phrases[i].meaning;
        if (fires != NULL)
            fires[i] = true;
    }
    return found & wanted;
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
    unsigned rows, right;
};

static bool names(const json_t *bounce, const char *recipient)
{
    const json_t *other;
    size_t i;

    if (strcasecmp(json_string_value(json_object_get(bounce, "recipient")), recipient) == 0)
        return true;
    json_array_foreach(json_object_get(bounce, "recipient_alt"), i, other)
    {
        if (strcasecmp(json_string_value(other), recipient) == 0)
            return true;
    }
    return false;
}

static void judge(void *context, const struct bounce *b)
{
    struct found *f = context;
    const json_t *bounce;
    size_t i;

    f->rows++;
    json_array_foreach(f->bounces, i, bounce)
    {
        const char *recipient = json_string_value(json_object_get(bounce, "recipient"));
        if (names(bounce, b->recipient) || strstr(recipient, ".invalid") != NULL) {
            f->right++;
            return;
        }
    }
}

/* All mails of a family (or of all), with the phrases that are on. */
static void read_mails(struct bounce_reader *reader, const char *shared, const json_t *truth, size_t only,
                       bool count)
{
    const json_t *mail;
    size_t i;

    json_array_foreach(truth, i, mail)
    {
        const char *file = json_string_value(json_object_get(mail, "file"));
        size_t of = family_of(json_string_value(json_object_get(mail, "family")));
        struct found f = {.bounces = json_object_get(mail, "bounces")};
        char path[512], *bytes;
        size_t length;
        struct hk_why why;

        if ((only != SIZE_MAX && of != only) || strncmp(file, "maildir/bsd/", 12) != 0 ||
            json_array_size(f.bounces) == 0)
            continue;
        snprintf(path, sizeof path, "%s/data/bounce/mails/%s", shared, file);
        assert_int_equal(hk_read_file(path, 4u << 20, &bytes, &length, &why), 0);
        fires = count ? family[of].fires : NULL;
        assert_int_equal(bounce_read(reader, bytes, length, judge, &f), 0);
        free(bytes);
        if (count)
            continue;
        family[of].mails++;
        family[of].detected += f.rows > 0;
        family[of].recipients += f.rows > 0 && f.right == f.rows && f.rows == json_array_size(f.bounces);
    }
}

/* Of the phrases that fire on its mails, those that fire on nobody else's; how many. */
static unsigned leave_out(size_t of)
{
    unsigned left = 0;

    for (size_t i = 0; i < phrase_count; i++) {
        bool others = false;
        for (size_t f = 0; f < families; f++)
            others |= f != of && family[f].fires[i];
        off[i] = family[of].fires[i] && !others;
        left += off[i];
    }
    return left;
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

static void a_family_without_its_own_phrases_is_still_understood(void **state)
{
    const char *shared = getenv("HK_SHARED") == NULL ? "../shared" : getenv("HK_SHARED");
    json_t *truth = read_truth(shared);
    struct bounce_reader *reader = bounce_reader_new();
    unsigned mails = 0, detected = 0, recipients = 0;

    (void)state;
    assert_true(phrase_count < PHRASES_MAX);
    assert_non_null(reader);
    if (truth == NULL) {
        bounce_reader_free(reader);
        return;
    }
    read_mails(reader, shared, truth, SIZE_MAX, true);
    for (size_t f = 0; f < families; f++) {
        unsigned own = leave_out(f);
        read_mails(reader, shared, truth, f, false);
        mails += family[f].mails;
        detected += family[f].detected;
        recipients += family[f].recipients;
        if (own > 0)
            print_message("    %-24s %3u mails, %2u phrases left out: detected %u, recipients %u\n",
                          family[f].name, family[f].mails, own, family[f].detected, family[f].recipients);
    }
    print_message("    all, each family without its own phrases: %u mails, detected %u, recipients %u\n",
                  mails, detected, recipients);
    assert_true(mails > 300);
    assert_true(detected * 100 >= mails * 90);
    assert_true(recipients * 100 >= mails * 90);
    bounce_reader_free(reader);
    json_decref(truth);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_family_without_its_own_phrases_is_still_understood),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
