/* pattern.c - the patterns of rules: words and gaps, made into expressions of PCRE2.
 *
 *   user unknown          these words, one behind the other
 *   {user} .. not found   {user}: one of the words of a set; ..: up to RULE_GAP_MAX bytes between
 *   (quota|space) [is] exceed*    one of some; a word that may be missing; a word that begins so
 *
 * Words are whole words, but those that begin or end with a letter beyond ASCII may stand anywhere: Japanese has no
 * blanks. Each place at which one of some words has to stand is told to words.c, so that a pattern is tried on few
 * texts. PCRE2 runs with a limit of steps, so no text takes long.
 */
#include <ctype.h>
#include <string.h>

#include "ruleset.h"

#define ALTERNATIVES_MAX 256u
#define SET_DEPTH        4

struct maker {
    struct rules *rules;
    struct pattern *pattern;
    FILE *out;
    struct hk_why *why;
    size_t gaps;
    bool glued; /* no blank before the next place: a gap or an optional word stands there */
};

struct choice {
    char *word[ALTERNATIVES_MAX]; /* normalised, '*' as written */
    size_t count;
};

static void choice_free(struct choice *c)
{
    for (size_t i = 0; i < c->count; i++)
        free(c->word[i]);
}

/* One word of a pattern as it stands in a normalised text. */
static void put_normal_word(FILE *out, const char *word, size_t length)
{
    char normal[NORMAL_SIZE];
    bool star_before = length > 0 && word[0] == '*';
    bool star_behind = length > 1 && word[length - 1] == '*';
    size_t size;

    if (length == 1 && word[0] == '@') {
        fputc('@', out);
        return;
    }
    size = normal_text(word + star_before, length - star_before - star_behind, normal);
    if (star_before)
        fputc('*', out);
    if (size > 2)
        fwrite(normal + 1, 1, size - 2, out);
    if (star_behind)
        fputc('*', out);
}

static char *normal_words(const char *text, size_t length)
{
    char *words = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&words, &size);

    HK_BUG_ON(out == NULL);
    for (size_t at = 0, end; at < length; at = end) {
        while (at < length && text[at] == ' ')
            at++;
        for (end = at; end < length && text[end] != ' ';)
            end++;
        if (end == at)
            break;
        if (ftell(out) > 0)
            fputc(' ', out);
        put_normal_word(out, text + at, end - at);
    }
    HK_BUG_ON(fclose(out) != 0);
    return words;
}

static const char *find_set(const struct rules *rules, const char *name, size_t length)
{
    for (size_t i = 0; i < rules->sets; i++)
        if (strlen(rules->set[i].name) == length && memcmp(rules->set[i].name, name, length) == 0)
            return rules->set[i].words;
    return NULL;
}

/* "a|b c|{set}" into words. */
static int choose(const struct rules *rules, const char *text, size_t length, int depth, struct choice *out,
                  struct hk_why *why)
{
    for (size_t at = 0, end; at <= length; at = end + 1) {
        size_t from = at, to;
        for (end = at; end < length && text[end] != '|';)
            end++;
        to = end;
        while (from < to && text[from] == ' ')
            from++;
        while (to > from && text[to - 1] == ' ')
            to--;
        if (to > from + 1 && text[from] == '{' && text[to - 1] == '}') {
            const char *set = find_set(rules, text + from + 1, to - from - 2);
            if (set == NULL || depth >= SET_DEPTH)
                return why_set(why, HK_EINVAL, "there is no set %.*s above", (int)(to - from), text + from);
            int error = choose(rules, set, strlen(set), depth + 1, out, why);
            if (error < 0)
                return error;
            continue;
        }
        if (to == from || memchr(text + from, '{', to - from) != NULL)
            return why_set(why, HK_EINVAL, "between two '|' stands a word, some words, or one {set}");
        if (out->count >= ALTERNATIVES_MAX)
            return why_set(why, HK_EINVAL, "more than %u words at one place", ALTERNATIVES_MAX);
        out->word[out->count++] = normal_words(text + from, to - from);
    }
    return 0;
}

/* The longest run of a word without '*'. */
static size_t longest_run(const char *word, const char **run)
{
    size_t best = 0;

    for (const char *at = word; *at != '\0';) {
        size_t length = strcspn(at, "*");
        if (length > best) {
            best = length;
            *run = at;
        }
        at += length + (at[length] == '*');
    }
    return best;
}

/* The place where one of these words stands: that of another pattern which has the same one, or a new one. */
static int find_place(struct maker *m, const char *text, size_t length, const struct choice *c,
                      uint16_t *place)
{
    struct rules *rules = m->rules;
    const char *run = NULL;

    for (size_t i = 0; i < rules->places; i++) {
        if (strlen(rules->place[i].text) == length && memcmp(rules->place[i].text, text, length) == 0) {
            *place = rules->place[i].place;
            return 0;
        }
    }
    if (words_place(&rules->words, place) < 0)
        return why_set(m->why, HK_EFULL, "too many patterns: there is room for %u places of words",
                       WORDS_PLACES);
    for (size_t i = 0; i < c->count; i++) {
        size_t size = longest_run(c->word[i], &run);
        words_add(&rules->words, *place, run, size);
    }
    rules->place = hk_xrealloc(rules->place, rules->places + 1, sizeof *rules->place);
    rules->place[rules->places++] =
        (struct rule_place){.text = hk_xasprintf("%.*s", (int)length, text), .place = *place};
    return 0;
}

/* One of these words has to be in the text; nothing is said where a word is too short to be looked for. */
static int tell_words(struct maker *m, const char *text, size_t length, const struct choice *c)
{
    const char *run = NULL;
    uint16_t place;
    int error;

    if (m->pattern->places >= PATTERN_PLACES)
        return 0;
    for (size_t i = 0; i < c->count; i++)
        if (longest_run(c->word[i], &run) < WORD_MIN)
            return 0;
    error = find_place(m, text, length, c, &place);
    if (error == 0)
        m->pattern->place[m->pattern->places++] = place;
    return error;
}

static bool is_ascii(char c)
{
    return (unsigned char)c < 0x80 && c != '*';
}

/* At the beginning of a pattern "*end" may be looked for without what stands before it. */
static void put_word(FILE *out, const char *word, bool first)
{
    size_t length = strlen(word);

    if (length == 0)
        return;
    if (is_ascii(word[0]))
        fputs("(?<= )", out);
    for (size_t i = 0; i < length; i++) {
        if (word[i] == '*')
            fputs(i == 0 && first ? "" : "[^ ]{0,60}", out);
        else
            fprintf(out, strchr(".@'-", word[i]) != NULL ? "\\%c" : "%c", word[i]);
    }
    if (is_ascii(word[length - 1]))
        fputs("(?= )", out);
}

static int put_place(struct maker *m, const char *text, size_t length, bool optional)
{
    struct choice c = {.count = 0};
    bool first = ftell(m->out) == 0;
    int error = choose(m->rules, text, length, 0, &c, m->why);

    if (error == 0 && !optional)
        error = tell_words(m, text, length, &c);
    if (error == 0) {
        fputs(m->glued ? "" : " ?", m->out);
        fputs(optional ? "(?:(?:" : "(?:", m->out);
        for (size_t i = 0; i < c.count; i++) {
            fputs(i > 0 ? "|" : "", m->out);
            put_word(m->out, c.word[i], first);
        }
        fputs(optional ? ") )?" : ")", m->out);
        m->glued = optional;
    }
    choice_free(&c);
    return error;
}

/* What stands at `text`: a word, a group, a set, an optional word or a gap. Its length, or an error. */
static int put_next(struct maker *m, const char *text, size_t *length)
{
    char close = text[0] == '(' ? ')' : text[0] == '[' ? ']' : '\0';

    if (close != '\0') {
        const char *end = strchr(text, close);
        if (end == NULL)
            return why_set(m->why, HK_EINVAL, "a '%c' has no '%c'", text[0], close);
        *length = (size_t)(end - text) + 1;
        return put_place(m, text + 1, *length - 2, close == ']');
    }
    *length = strcspn(text, " ");
    if (*length == 2 && memcmp(text, "..", 2) == 0) {
        if (++m->gaps > RULE_GAPS || ftell(m->out) == 0)
            return why_set(m->why, HK_EINVAL, "'..' stands between words, %u times at most", RULE_GAPS);
        fprintf(m->out, ".{0,%u}?", RULE_GAP_MAX);
        m->glued = true;
        return 0;
    }
    if (strpbrk(text, "()|[]\\") != NULL && strcspn(text, "()|[]\\") < *length)
        return why_set(m->why, HK_EINVAL, "'%c' in a word: a group stands between blanks",
                       text[strcspn(text, "()|[]\\")]);
    return put_place(m, text, *length, false);
}

static int compile_expression(const char *expression, struct pattern *out, struct hk_why *why)
{
    int error;
    PCRE2_SIZE at;
    PCRE2_UCHAR words[128];

    out->code = pcre2_compile((PCRE2_SPTR)expression, PCRE2_ZERO_TERMINATED, PCRE2_DOTALL, &error, &at, NULL);
    if (out->code != NULL)
        return 0;
    pcre2_get_error_message(error, words, sizeof words);
    return why_set(why, HK_EINVAL, "%s (at byte %zu)", (const char *)words, (size_t)at);
}

int pattern_compile(struct rules *rules, const char *text, struct pattern *out, struct hk_why *why)
{
    char *expression = NULL;
    size_t size = 0, length = 0;
    struct maker m = {.rules = rules, .pattern = out, .why = why, .glued = true};
    int error = 0;

    m.out = open_memstream(&expression, &size);
    HK_BUG_ON(m.out == NULL);
    for (size_t at = strspn(text, " "); text[at] != '\0' && error == 0; at += strspn(text + at, " ")) {
        error = put_next(&m, text + at, &length);
        at += error == 0 ? length : 0;
    }
    if (error == 0 && m.gaps > 0 && m.glued && strlen(text) >= 2 &&
        strcmp(text + strlen(text) - 2, "..") == 0)
        error = why_set(why, HK_EINVAL, "a pattern does not end with '..'");
    HK_BUG_ON(fclose(m.out) != 0);
    if (error == 0)
        error = compile_expression(expression, out, why);
    free(expression);
    if (error == 0)
        out->text = hk_xstrdup(text);
    return error;
}

int pattern_compile_raw(const char *text, struct pattern *out, struct hk_why *why)
{
    int error = compile_expression(text, out, why);

    if (error == 0)
        out->text = hk_xstrdup(text);
    return error;
}

bool pattern_matches(const struct rules *rules, struct pattern *p, const struct words_found *found,
                     const char *text, size_t length)
{
    for (size_t i = 0; i < p->places; i++)
        if (!words_has(found, p->place[i]))
            return false;
    if (!p->tried_jit) { /* where there is none, as under a policy of W^X, it goes without */
        p->tried_jit = true;
        (void)pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE);
    }
    return pcre2_match(p->code, (PCRE2_SPTR)text, length, 0, 0, rules->match, rules->context) >= 0;
}

void pattern_free(struct pattern *p)
{
    pcre2_code_free(p->code);
    free(p->text);
    memset(p, 0, sizeof *p);
}
