/* ruleset.c - read a file of rules (etc/replies.rules tells how one is written), and keep the set in use.
 *
 * The lines are few kinds: a word, and what belongs to it. The first line that cannot be used ends the reading, with
 * file, line and what to write instead. Memory is that of a start: without it the process ends.
 */
#include "ruleset.h"

#include <ctype.h>
#include <stdarg.h>
#include <string.h>
#include <strings.h>

extern const char rules_builtin_text[];
extern const size_t rules_builtin_text_length;

#define BUILTIN_FILE "etc/replies.rules"

struct reader {
    struct rules *rules;
    const char *file;
    unsigned line;
    bool sets_only,
        rules_only;    /* the built-in sets are read before the user's file, the built-in rules behind it */
    size_t first_rule; /* of this file */
    struct hk_why *why;
};

static int fault(const struct reader *r, const char *format, ...) HK_PRINTF(2, 3);
static int fault(const struct reader *r, const char *format, ...)
{
    char words[384];
    va_list list;

    va_start(list, format);
    vsnprintf(words, sizeof words, format, list);
    va_end(list);
    return why_set(r->why, HK_EINVAL, "%s:%u: %s", r->file, r->line, words);
}

/* --- words of a line --- */

/* The next word of *at, ended by blanks; its length, 0 at the end of the line. */
static size_t next_word(const char **at, const char **word)
{
    *at += strspn(*at, " \t");
    *word = *at;
    *at += strcspn(*at, " \t");
    return (size_t)(*at - *word);
}

static bool number_at(const char **at, uint16_t *out)
{
    unsigned long n = 0;
    const char *from = *at;

    while (isdigit((unsigned char)**at) && n < 10000)
        n = n * 10 + (unsigned long)(*(*at)++ - '0');
    *out = (uint16_t)n;
    return *at > from && n < 1000;
}

static bool is_name(const char *name)
{
    return name[0] != '\0' && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(name);
}

enum log_phase log_phase_of_word(const char *word, size_t length)
{
    static const struct {
        const char *word;
        enum log_phase phase;
    } words[] = {
#define PHASE_WORD(name, word) {word, LOG_PHASE_##name},
        SMTP_LOG_PHASES(PHASE_WORD)
#undef PHASE_WORD
            {"helo", LOG_PHASE_EHLO}, /* as bounce mails name commands */
        {"conn", LOG_PHASE_BANNER},
        {"bdat", LOG_PHASE_DOT},
        {"quit", LOG_PHASE_DOT},
    };

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strlen(words[i].word) == length && strncasecmp(words[i].word, word, length) == 0)
            return words[i].phase;
    return LOG_PHASES;
}

/* --- what a line of a rule says --- */

static int take_class(struct reader *r, struct rule *rule, const char *text)
{
    char known[320] = "";
    size_t used = 0;

    rule->reply_class = reply_class_of_word(text);
    if (rule->reply_class != CLASS_NONE)
        return 0;
    for (int c = CLASS_NONE + 1; c < CLASSES && used < sizeof known; c++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", used > 0 ? ", " : "",
                                 reply_class_name((enum reply_class)c));
    return fault(r, "there is no class '%.40s'; write one of %s", text, known);
}

static int take_disposition(struct reader *r, struct rule *rule, const char *text)
{
    if (!disposition_of_word(text, &rule->disposition))
        return fault(r, "there is no disposition '%.40s'; write none, count, block or suppress", text);
    rule->has_disposition = true;
    return 0;
}

static int take_reason(struct reader *r, struct rule *rule, const char *text)
{
    if (!is_name(text))
        return fault(r, "a reason is one word of a-z, 0-9 and '-'");
    free(rule->reason);
    rule->reason = hk_xstrdup(text);
    return 0;
}

static int take_phases(struct reader *r, struct rule *rule, const char *text)
{
    const char *word;
    size_t length;

    while ((length = next_word(&text, &word)) > 0) {
        enum log_phase phase = log_phase_of_word(word, length);
        if (phase == LOG_PHASES)
            return fault(r,
                         "there is no phase '%.*s'; write connect, banner, ehlo, starttls, auth, mail, rcpt, "
                         "data or dot",
                         (int)length, word);
        rule->phases |= 1u << phase;
    }
    return 0;
}

/* "550", "530-538", "4xx", "none" */
static bool read_code(const char *word, size_t length, struct code_range *out)
{
    const char *at = word;

    if (length == 4 && memcmp(word, "none", 4) == 0) {
        *out = (struct code_range){0, 0};
        return true;
    }
    if (length == 3 && (word[0] == '4' || word[0] == '5') && memcmp(word + 1, "xx", 2) == 0) {
        uint16_t first = (uint16_t)((word[0] - '0') * 100);
        *out = (struct code_range){first, (uint16_t)(first + 99)};
        return true;
    }
    if (!number_at(&at, &out->from))
        return false;
    out->to = out->from;
    if (*at == '-' && (at++, !number_at(&at, &out->to)))
        return false;
    return at == word + length && out->from >= 400 && out->from <= out->to && out->to < 600;
}

static int take_codes(struct reader *r, struct rule *rule, const char *text)
{
    const char *word;
    size_t length;

    while ((length = next_word(&text, &word)) > 0)
        if (rule->codes >= RULE_RANGES || !read_code(word, length, &rule->code[rule->codes++]))
            return fault(r, "'%.*s' is no code; write such as 550, 530-538, 4xx or none", (int)length, word);
    return 0;
}

/* "x.1.1", "x.7.500-649" */
static bool read_status(const char *word, size_t length, struct status_range *out)
{
    const char *at = word + 2;

    if (length < 5 || word[0] != 'x' || word[1] != '.' || !number_at(&at, &out->subject) || *at++ != '.' ||
        !number_at(&at, &out->from))
        return false;
    out->to = out->from;
    if (*at == '-' && (at++, !number_at(&at, &out->to)))
        return false;
    return at == word + length && out->from <= out->to;
}

static int take_statuses(struct reader *r, struct rule *rule, const char *text)
{
    const char *word;
    size_t length;

    while ((length = next_word(&text, &word)) > 0)
        if (rule->statuses >= RULE_RANGES || !read_status(word, length, &rule->status[rule->statuses++]))
            return fault(r, "'%.*s' is no enhanced code; write such as x.1.1 or x.7.500-649", (int)length,
                         word);
    return 0;
}

static int add_pattern(struct reader *r, struct rule *rule, const char *text, bool raw)
{
    struct hk_why why = {""};
    struct pattern *p;
    int error;

    rule->pattern = hk_xrealloc(rule->pattern, rule->patterns + 1, sizeof *rule->pattern);
    p = &rule->pattern[rule->patterns];
    memset(p, 0, sizeof *p);
    error = raw ? pattern_compile_raw(text, p, &why) : pattern_compile(r->rules, text, p, &why);
    if (error < 0)
        return fault(r, "%s", why.text);
    rule->patterns++;
    return 0;
}

static int take_match(struct reader *r, struct rule *rule, const char *text)
{
    return add_pattern(r, rule, text, false);
}

static int take_regex(struct reader *r, struct rule *rule, const char *text)
{
    return add_pattern(r, rule, text, true);
}

static int add_example(struct reader *r, struct rule *rule, const char *text, bool is_own)
{
    struct rules *rules = r->rules;
    struct rule_example example = {.phase = LOG_PHASES, .line = r->line, .is_own = is_own};
    const char *colon = strchr(text, ':');

    example.rule = (size_t)(rule - rules->rule);
    if (colon != NULL && log_phase_of_word(text, (size_t)(colon - text)) != LOG_PHASES) {
        example.phase = log_phase_of_word(text, (size_t)(colon - text));
        text = colon + 1 + strspn(colon + 1, " \t");
    }
    example.text = hk_xstrdup(text);
    if (is_own && rule->first_example == NULL)
        rule->first_example = hk_xstrdup(text);
    rules->example = hk_xrealloc(rules->example, rules->examples + 1, sizeof *rules->example);
    rules->example[rules->examples++] = example;
    return 0;
}

static int take_example(struct reader *r, struct rule *rule, const char *text)
{
    return add_example(r, rule, text, true);
}

static int take_not(struct reader *r, struct rule *rule, const char *text)
{
    return add_example(r, rule, text, false);
}

static const struct {
    const char *word;
    int (*take)(struct reader *r, struct rule *rule, const char *text);
} rule_lines[] = {
    {"class", take_class},     {"disposition", take_disposition},
    {"reason", take_reason},   {"phase", take_phases},
    {"code", take_codes},      {"status", take_statuses},
    {"match", take_match},     {"regex", take_regex},
    {"example", take_example}, {"not", take_not},
};

/* --- the lines of a file --- */

static int begin_set(struct reader *r, const char *text)
{
    struct rules *rules = r->rules;
    const char *word;
    size_t length = next_word(&text, &word);
    char *name = hk_xasprintf("%.*s", (int)length, word);

    text += strspn(text, " \t");
    for (size_t i = 0; i < rules->sets; i++) {
        if (strcmp(rules->set[i].name, name) == 0) {
            free(name);
            return fault(r, "there is a set {%s} already", rules->set[i].name);
        }
    }
    if (!is_name(name) || *text == '\0') {
        free(name);
        return fault(r, "a set is written: set NAME WORD | WORDS | {OTHER}");
    }
    rules->set = hk_xrealloc(rules->set, rules->sets + 1, sizeof *rules->set);
    rules->set[rules->sets++] = (struct rule_set_name){.name = name, .words = hk_xstrdup(text)};
    return 0;
}

static int begin_rule(struct reader *r, const char *text)
{
    struct rules *rules = r->rules;

    if (!is_name(text))
        return fault(r, "a rule has a name of a-z, 0-9 and '-': rule NAME");
    for (size_t i = 0; i < rules->rules; i++)
        if (strcmp(rules->rule[i].name, text) == 0)
            return fault(r, "there is a rule %s already, in %s:%u", text, rules->rule[i].file,
                         rules->rule[i].line);
    if (rules->rules - r->first_rule >= RULES_MAX)
        return fault(r, "more than %u rules", RULES_MAX);
    rules->rule = hk_xrealloc(rules->rule, rules->rules + 1, sizeof *rules->rule);
    rules->rule[rules->rules++] =
        (struct rule){.name = hk_xstrdup(text), .reason = hk_xstrdup(""), .file = r->file, .line = r->line};
    return 0;
}

/* A rule is whole when the next one begins, or the file ends. */
static int end_rule(struct reader *r)
{
    struct rules *rules = r->rules;
    const struct rule *rule = rules->rules > r->first_rule ? &rules->rule[rules->rules - 1] : NULL;
    struct reader at = *r;

    if (rule == NULL)
        return 0;
    at.line = rule->line;
    if (rule->reply_class == CLASS_NONE)
        return fault(&at, "rule %s has no class", rule->name);
    if (rule->patterns + rule->codes + rule->statuses == 0)
        return fault(&at, "rule %s has no match, regex, status or code", rule->name);
    if (rule->first_example == NULL)
        return fault(&at, "rule %s has no example", rule->name);
    return 0;
}

static int read_rule_line(struct reader *r, const char *word, size_t length, const char *rest)
{
    struct rules *rules = r->rules;

    for (size_t i = 0; i < sizeof rule_lines / sizeof *rule_lines; i++) {
        if (strlen(rule_lines[i].word) != length || memcmp(rule_lines[i].word, word, length) != 0)
            continue;
        if (rules->rules == r->first_rule)
            return fault(r, "'%s' stands before the first rule", rule_lines[i].word);
        if (*rest == '\0')
            return fault(r, "behind '%s' is nothing", rule_lines[i].word);
        return rule_lines[i].take(r, &rules->rule[rules->rules - 1], rest);
    }
    return fault(
        r,
        "'%.*s' is no word for a rule; write set, rule, class, disposition, reason, phase, code, status, "
        "match, regex, example or not",
        (int)(length < 40 ? length : 40), word);
}

static int read_line(struct reader *r, char *line)
{
    size_t length = strlen(line);
    const char *at = line, *word;
    int error = 0;

    while (length > 0 && isspace((unsigned char)line[length - 1]))
        line[--length] = '\0';
    length = next_word(&at, &word);
    at += strspn(at, " \t");
    if (length == 0 || word[0] == '#')
        return 0;
    if (length == 3 && memcmp(word, "set", 3) == 0)
        return r->rules_only ? 0 : begin_set(r, at);
    if (r->sets_only)
        return 0;
    if (length == 4 && memcmp(word, "rule", 4) == 0) {
        error = end_rule(r);
        return error < 0 ? error : begin_rule(r, at);
    }
    return read_rule_line(r, word, length, at);
}

static int read_text(struct reader *r, const char *text, size_t length)
{
    char line[RULE_LINE_MAX];
    int error = 0;

    r->first_rule = r->rules->rules;
    r->line = 0;
    for (size_t at = 0, end; at < length && error == 0; at = end + 1) {
        const char *newline = memchr(text + at, '\n', length - at);
        end = newline == NULL ? length : (size_t)(newline - text);
        r->line++;
        if (end - at >= sizeof line)
            return fault(r, "a line of more than %zu bytes", sizeof line - 1);
        if (memchr(text + at, '\0', end - at) != NULL)
            return fault(r, "a NUL byte: this is no text");
        memcpy(line, text + at, end - at);
        line[end - at] = '\0';
        error = read_line(r, line);
    }
    return error < 0 || r->sets_only ? error : end_rule(r);
}

/* Of the places that a pattern needs the one with the fewest words is in the fewest texts. */
static void rule_find_any(struct rule *rule, const unsigned words[WORDS_PLACES])
{
    memset(&rule->any, 0, sizeof rule->any);
    rule->is_open = false;
    for (size_t i = 0; i < rule->patterns; i++) {
        const struct pattern *p = &rule->pattern[i];
        uint16_t best = p->places > 0 ? p->place[0] : 0;
        for (size_t k = 1; k < p->places; k++)
            if (words[p->place[k]] < words[best])
                best = p->place[k];
        rule->is_open |= p->places == 0;
        rule->any.place[best / 64] |= UINT64_C(1) << best % 64;
    }
}

static void find_any(struct rules *rules)
{
    unsigned words[WORDS_PLACES] = {0};

    for (size_t i = 1; i < rules->words.count; i++)
        words[rules->words.word[i].place]++;
    for (size_t i = 0; i < rules->rules; i++)
        rule_find_any(&rules->rule[i], words);
}

int rules_read(struct rules *rules, const char *file, const char *own, size_t own_length, struct hk_why *why)
{
    struct reader sets = {.rules = rules, .file = BUILTIN_FILE, .sets_only = true, .why = why};
    struct reader mine = {.rules = rules, .file = file, .why = why};
    struct reader rest = {.rules = rules, .file = BUILTIN_FILE, .rules_only = true, .why = why};
    int error = read_text(&sets, rules_builtin_text, rules_builtin_text_length);

    if (error == 0 && own != NULL)
        error = read_text(&mine, own, own_length);
    if (error == 0)
        error = read_text(&rest, rules_builtin_text, rules_builtin_text_length);
    if (error == 0)
        find_any(rules);
    return error;
}

struct rules *rules_new(void)
{
    struct rules *rules = hk_xcalloc(1, sizeof *rules);

    rules->match = pcre2_match_data_create(1, NULL);
    rules->context = pcre2_match_context_create(NULL);
    HK_BUG_ON(rules->match == NULL || rules->context == NULL);
    pcre2_set_match_limit(rules->context, RULE_MATCH_LIMIT);
    return rules;
}

int rules_load(const char *path, struct rules **out, struct hk_why *why)
{
    struct rules *rules;
    char *own = NULL;
    size_t length = 0;
    int error;

    if (path != NULL && (error = hk_read_file(path, RULES_BYTES_MAX, &own, &length, why)) < 0)
        return error;
    rules = rules_new();
    rules->file = path == NULL ? NULL : hk_xstrdup(path);
    error = rules_read(rules, rules->file, own, length, why);
    free(own);
    if (error < 0)
        rules_free(rules);
    else
        *out = rules;
    return error;
}

static void rule_free(struct rule *rule)
{
    for (size_t i = 0; i < rule->patterns; i++)
        pattern_free(&rule->pattern[i]);
    free(rule->pattern);
    free(rule->name);
    free(rule->reason);
    free(rule->first_example);
}

void rules_free(struct rules *rules)
{
    if (rules == NULL)
        return;
    for (size_t i = 0; i < rules->rules; i++)
        rule_free(&rules->rule[i]);
    for (size_t i = 0; i < rules->examples; i++)
        free(rules->example[i].text);
    for (size_t i = 0; i < rules->sets; i++) {
        free(rules->set[i].name);
        free(rules->set[i].words);
    }
    for (size_t i = 0; i < rules->places; i++)
        free(rules->place[i].text);
    free(rules->place);
    free(rules->rule);
    free(rules->example);
    free(rules->set);
    free(rules->file);
    words_free(&rules->words);
    pcre2_match_data_free(rules->match);
    pcre2_match_context_free(rules->context);
    free(rules);
}

/* --- the set in use --- */

static struct rules *in_use;

void rules_use(struct rules *rules)
{
    if (in_use != rules)
        rules_free(in_use);
    in_use = rules;
}

struct rules *rules_in_use(void)
{
    struct hk_why why;

    if (in_use == NULL && rules_load(NULL, &in_use, &why) < 0) {
        log_error("%s", why.text); /* a test holds the built-in rules to being readable */
        HK_BUG_ON(in_use == NULL);
    }
    return in_use;
}
