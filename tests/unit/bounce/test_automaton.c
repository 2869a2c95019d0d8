/* test_automaton.c - one walk finds what a look-up of each pattern finds, and no more: patterns and texts of few letters, so that
 * they overlap in every way, and the phrases over notices as mail systems write them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "automaton.h"
#include "phrase.h"

static uint32_t seed = 1;

static uint32_t draw(uint32_t below)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)seed * below >> 32);
}

/* A word of a, b and single blanks. */
static size_t draw_pattern(char *out)
{
    size_t length = 1 + draw(6);

    for (size_t i = 0; i < length; i++) {
        out[i] = "ab "[draw(3)];
        if (out[i] == ' ' && i > 0 && out[i - 1] == ' ')
            out[i] = 'a';
    }
    out[length] = '\0';
    return length;
}

static size_t draw_text(char *out)
{
    size_t length = draw(60);

    for (size_t i = 0; i < length; i++)
        out[i] = "abABc \t\r\n\0"[draw(10)];
    return length;
}

static uint64_t find_each(char pattern[][8], size_t patterns, struct slice text)
{
    static struct folded folded;
    uint64_t found = 0;

    folded_set(&folded, text);
    for (size_t i = 0; i < patterns; i++)
        if (strstr(folded.text, pattern[i]) != NULL)
            found |= UINT64_C(1) << i;
    return found;
}

static void overlapping_patterns_are_found_as_if_each_was_looked_for(void **state)
{
    char pattern[20][8], text[64];
    unsigned hits = 0;

    (void)state;
    for (int round = 0; round < 300; round++) {
        struct automaton *a = automaton_new();
        size_t patterns = 1 + draw(20);
        for (size_t i = 0; i < patterns; i++)
            automaton_add(a, pattern[i], draw_pattern(pattern[i]), UINT64_C(1) << i);
        automaton_build(a);
        for (int n = 0; n < 100; n++) {
            struct slice s = {text, draw_text(text)};
            uint64_t all = find_each(pattern, patterns, s);
            uint64_t enough = UINT64_C(1) << draw((uint32_t)patterns);
            assert_int_equal(automaton_find(a, s, UINT64_MAX), all);
            assert_int_equal(automaton_find(a, s, enough) & enough, all & enough);
            hits += all != 0;
        }
        automaton_free(a);
    }
    assert_true(hits > 1000);
}

static uint32_t phrases_each(struct folded *folded, struct slice text)
{
    uint32_t found = 0;

    folded_set(folded, text);
    for (size_t i = 0; i < phrase_count; i++)
        if (phrase_is_in(folded, phrases[i].pattern))
            found |= phrases[i].meaning;
    return found;
}

static void assert_same_phrases(struct slice text, unsigned meanings[32])
{
    static struct folded folded, scratch;
    uint32_t all = phrases_each(&folded, text);

    assert_int_equal(phrases_in(&scratch, text, UINT16_MAX), all);
    for (unsigned bit = 0; bit < 16; bit++) {
        assert_int_equal(phrases_in(&scratch, text, 1u << bit), all & 1u << bit);
        meanings[bit] += all >> bit & 1;
    }
}

static void phrases_of_notices_are_found_as_if_each_was_looked_for(void **state)
{
    unsigned meanings[32] = {0};
    struct hk_why why;
    char *text;
    size_t length;

    (void)state;
    assert_int_equal(hk_read_file("tests/data/bounces/notices.txt", 1u << 20, &text, &length, &why), 0);
    for (size_t at = 0; at < length; at += 97) {
        size_t left = length - at;
        assert_same_phrases((struct slice){text + at, left < 500 ? left : 500}, meanings);
    }
    free(text);
    for (size_t i = 0; i < phrase_count; i++) {
        assert_same_phrases((struct slice){phrases[i].pattern, strlen(phrases[i].pattern)}, meanings);
        assert_true((phrases[i].meaning & UINT16_MAX) == phrases[i].meaning);
    }
    assert_true(meanings[0] > 10 && meanings[1] > 10 && meanings[7] > 10);
}

static void of_a_long_text_the_beginning_counts(void **state)
{
    static char text[FOLDED_MAX * 3];
    static struct folded folded;
    static const char phrase[] = "undeliver";

    (void)state;
    /* Blanks that fold away do not count: the place of the phrase in what is folded decides. */
    for (size_t blanks = 1; blanks <= 2; blanks++) {
        for (size_t before = FOLDED_MAX - 30; before <= FOLDED_MAX + 5; before++) {
            size_t at = 0;
            for (size_t n = 1; n < before; n += 2) {
                text[at++] = 'x';
                memset(text + at, ' ', blanks);
                at += blanks;
            }
            memcpy(text + at, phrase, sizeof phrase - 1);
            struct slice s = {text, at + sizeof phrase - 1};
            folded_set(&folded, s);
            assert_int_equal(phrases_in(&folded, s, SAYS_FAILED) != 0, strstr(folded.text, phrase) != NULL);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(overlapping_patterns_are_found_as_if_each_was_looked_for),
        cmocka_unit_test(phrases_of_notices_are_found_as_if_each_was_looked_for),
        cmocka_unit_test(of_a_long_text_the_beginning_counts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
