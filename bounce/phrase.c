/* phrase.c - look phrases up in a text (phrase.h). The table is made at the first look-up; from then on nothing is allocated. */
#include "phrase.h"

#include "automaton.h"

struct slice folded_part(struct slice text)
{
    size_t folded = 1, i = 0;
    char before = ' ';

    if (text.length < FOLDED_MAX)
        return text;
    for (; i < text.length && folded < FOLDED_MAX; i++) {
        char c = folded_byte(text.at[i]);
        folded += c != ' ' || before != ' ';
        before = c;
    }
    return (struct slice){text.at, i};
}

void folded_set(struct folded *folded, struct slice text)
{
    size_t length = 0;
    char before = ' ';

    folded->text[length++] = ' ';
    for (size_t i = 0; i < text.length && length < FOLDED_MAX; i++) {
        char c = folded_byte(text.at[i]);
        if (c == ' ' && before == ' ')
            continue;
        folded->text[length++] = c;
        before = c;
    }
    folded->text[length++] = ' ';
    folded->text[length] = '\0';
    folded->length = length;
}

static bool rest_matches(const char *text, const char *pattern)
{
    size_t length = strcspn(pattern, "*");

    for (size_t gap = 0; gap <= PHRASE_GAP_MAX; gap++) {
        if (strncmp(text + gap, pattern, length) == 0 &&
            (pattern[length] == '\0' || rest_matches(text + gap + length, pattern + length + 1)))
            return true;
        if (text[gap] == '\0')
            return false;
    }
    return false;
}

bool phrase_is_in(const struct folded *folded, const char *pattern)
{
    size_t length = strcspn(pattern, "*");
    const char *at = folded->text;

    while ((at = memmem(at, folded->length - (size_t)(at - folded->text), pattern, length)) != NULL) {
        if (pattern[length] == '\0' || rest_matches(at + length, pattern + length + 1))
            return true;
        at++;
    }
    return false;
}

/* A phrase with a gap has a bit of its own, for what stands before the gap. */
#define GAPS_SHIFT 16u
#define GAPS_MAX   48u

static struct {
    struct automaton *automaton;
    const struct phrase *gap[GAPS_MAX];
    unsigned gaps;
} table;

static void table_make(void)
{
    table.automaton = automaton_new();
    for (size_t i = 0; i < phrase_count; i++) {
        size_t length = strcspn(phrases[i].pattern, "*");
        uint64_t mask = phrases[i].meaning;
        HK_BUG_ON(mask >> GAPS_SHIFT != 0);
        if (phrases[i].pattern[length] == '*') {
            HK_BUG_ON(table.gaps == GAPS_MAX);
            mask = UINT64_C(1) << (GAPS_SHIFT + table.gaps);
            table.gap[table.gaps++] = &phrases[i];
        }
        automaton_add(table.automaton, phrases[i].pattern, length, mask);
    }
    automaton_build(table.automaton);
}

uint32_t phrases_in(struct folded *scratch, struct slice text, uint32_t wanted)
{
    uint64_t found;
    bool folded = false;

    if (table.automaton == NULL)
        table_make();
    text = folded_part(text);
    found = automaton_find(table.automaton, text, wanted);
    for (unsigned i = 0; i < table.gaps && found >> GAPS_SHIFT != 0; i++) {
        if ((found >> (GAPS_SHIFT + i) & 1) == 0 || (table.gap[i]->meaning & wanted & ~found) == 0)
            continue;
        if (!folded)
            folded_set(scratch, text);
        folded = true;
        if (phrase_is_in(scratch, table.gap[i]->pattern))
            found |= table.gap[i]->meaning;
    }
    return (uint32_t)found & wanted;
}
