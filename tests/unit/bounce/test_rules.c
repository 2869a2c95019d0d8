/* The rules as data: what is in the file holds, what is wrong with one is said, and no text takes long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "ruleset.h"

static void print_fault(void *context, const char *words)
{
    (void)context;
    print_message("    %s\n", words);
}

static void every_built_in_rule_decides_its_examples(void **state)
{
    (void)state;
    assert_true(rules_count(rules_in_use()) > 50);
    assert_int_equal(rules_check(rules_in_use(), print_fault, NULL), 0);
}

/* --- rules of one's own --- */

static struct rules *read_own(const char *text, struct hk_why *why)
{
    struct rules *rules = rules_new();

    why->text[0] = '\0';
    if (rules_read(rules, "own.rules", text, strlen(text), why) < 0) {
        rules_free(rules);
        return NULL;
    }
    return rules;
}

static struct rule_finding explain(struct rules *rules, const char *text)
{
    struct diagnosis d = {.phase = LOG_PHASES, .text = text, .length = strlen(text)};
    struct rule_finding finding;

    diagnosis_read(&d);
    rules_explain(rules, &d, &finding);
    return finding;
}

static void own_rules_are_asked_before_the_built_in_ones(void **state)
{
    struct hk_why why;
    struct rules *rules =
        read_own("rule partner\n  class recipient-refused\n  reason partner\n  disposition block\n"
                 "  match {user} unknown .. at partner\n  example 550 5.1.1 User unknown here, at partner\n",
                 &why);
    struct rule_finding finding;
    (void)state;

    assert_non_null(rules);
    finding = explain(rules, "550 5.1.1 User unknown, ask at partner");
    assert_int_equal(finding.verdict.reply_class, CLASS_RECIPIENT_REFUSED);
    assert_int_equal(finding.verdict.disposition, DISPOSITION_BLOCK);
    assert_string_equal(finding.verdict.reason, "partner");
    assert_string_equal(finding.verdict.rule, "partner");
    assert_string_equal(finding.pattern, "{user} unknown .. at partner");
    finding = explain(rules, "550 5.1.1 User unknown");
    assert_int_equal(finding.verdict.reply_class, CLASS_MAILBOX_UNKNOWN);
    assert_int_equal(rules_check(rules, print_fault, NULL), 0);
    rules_free(rules);
}

static void a_rule_cannot_make_a_temporary_reply_suppress(void **state)
{
    struct hk_why why;
    struct rules *rules =
        read_own("rule r\nclass mailbox-unknown\ndisposition suppress\nmatch zzz\nexample 550 zzz\n", &why);
    (void)state;

    assert_non_null(rules);
    assert_int_equal(explain(rules, "550 zzz").verdict.disposition, DISPOSITION_SUPPRESS);
    assert_int_equal(explain(rules, "450 zzz").verdict.disposition, DISPOSITION_COUNT);
    rules_free(rules);
}

static void every_kind_of_condition_counts(void **state)
{
    struct hk_why why;
    struct rules *rules =
        read_own("set z zig | zag zag\n"
                 "rule a\nclass system\nphase dot\ncode 550-559\nstatus x.9.9\nmatch {z} .. (end|ende)\n"
                 "example dot: 555 5.9.9 zig to the end\n"
                 "rule b\nclass network\nregex \\bq{3}\\b\nexample 450 qqq\n"
                 "rule c\nclass too-large\nmatch pre* [very] *fix\nexample 550 prefixed very suffix\n",
                 &why);
    (void)state;

    assert_non_null(rules);
    assert_int_equal(rules_check(rules, print_fault, NULL), 0);
    assert_string_equal(explain(rules, "550 5.9.9 zig to the end").verdict.rule, "bare-550"); /* phase */
    assert_string_equal(explain(rules, "450 qqq").verdict.rule, "b");
    assert_string_equal(explain(rules, "450 qqqq").verdict.rule, "bare-temporary");
    assert_string_equal(explain(rules, "450 pre suffix").verdict.rule, "c");
    assert_string_equal(explain(rules, "450 pre not suffix").verdict.rule, "bare-temporary");
    rules_free(rules);
}

static void what_cannot_be_used_is_told_with_its_line(void **state)
{
    static const struct {
        const char *text, *said;
    } wrong[] = {
        {"rule r\nclass nonsense\n", "own.rules:2: there is no class 'nonsense'"},
        {"rule r\nclass system\nmatch x\n", "own.rules:1: rule r has no example"},
        {"rule r\nmatch x\nexample x\n", "own.rules:1: rule r has no class"},
        {"rule r\nclass system\nexample x\n", "own.rules:1: rule r has no match, regex, status or code"},
        {"\n# c\nclass system\n", "own.rules:3: 'class' stands before the first rule"},
        {"rule r\nclass system\nmatch (a|b\n", "own.rules:3: a '(' has no ')'"},
        {"rule r\nclass system\nmatch {nobody}\n", "own.rules:3: there is no set {nobody}"},
        {"rule r\nclass system\nmatch .. a\n", "own.rules:3: '..' stands between words"},
        {"rule r\nclass system\nmatch a ..\n", "own.rules:3: a pattern does not end with '..'"},
        {"rule r\nclass system\nmatch a|b\n", "own.rules:3: '|' in a word"},
        {"rule r\nclass system\nmatch (a||b)\n", "own.rules:3: between two '|'"},
        {"rule r\nclass system\nregex (\n", "own.rules:3: missing closing parenthesis"},
        {"rule r\nclass system\ncode 99\n", "own.rules:3: '99' is no code"},
        {"rule r\nclass system\ncode 559-550\n", "own.rules:3: '559-550' is no code"},
        {"rule r\nclass system\nstatus 5.1.1\n", "own.rules:3: '5.1.1' is no enhanced code"},
        {"rule r\nclass system\nphase lunch\n", "own.rules:3: there is no phase 'lunch'"},
        {"rule r\ndisposition maybe\n", "own.rules:2: there is no disposition 'maybe'"},
        {"rule r\nreason two words\n", "own.rules:2: a reason is one word"},
        {"rule r\nclass\n", "own.rules:2: behind 'class' is nothing"},
        {"rule r\nclas system\n", "own.rules:2: 'clas' is no word for a rule"},
        {"rule R\n", "own.rules:1: a rule has a name"},
        {"set user x\n", "own.rules:1: there is a set {user} already"},
        {"set x\n", "own.rules:1: a set is written"},
        {"rule r\nclass system\nmatch a\nexample a\nrule r\n",
         "own.rules:5: there is a rule r already, in own.rules:1"},
        {"rule bare\nclass system\nmatch a\nexample a\n", "there is a rule bare already, in own.rules:1"},
    };
    struct hk_why why;
    (void)state;

    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_null(read_own(wrong[i].text, &why));
        if (strstr(why.text, wrong[i].said) == NULL)
            fail_msg("said \"%s\", not \"%s\"", why.text, wrong[i].said);
    }
}

static void bytes_that_are_no_text_are_refused(void **state)
{
    struct hk_why why;
    struct rules *rules = rules_new();
    static char line[RULE_LINE_MAX + 8];
    (void)state;

    assert_int_equal(rules_read(rules, "own.rules", "rule a\0b\n", 9, &why), HK_EINVAL);
    assert_non_null(strstr(why.text, "own.rules:1: a NUL byte"));
    rules_free(rules);
    memset(line, 'x', sizeof line - 1);
    assert_null(read_own(line, &why));
    assert_non_null(strstr(why.text, "own.rules:1: a line of more than"));
    assert_int_equal(rules_load("/nonexistent/own.rules", &rules, &why), HK_ENOENT);
}

static char last_fault[1024];
static void keep_fault(void *context, const char *words)
{
    (void)context;
    snprintf(last_fault, sizeof last_fault, "%s", words);
}

static void an_example_that_another_rule_decides_is_a_fault(void **state)
{
    struct hk_why why;
    struct rules *rules =
        read_own("rule first\nclass system\nmatch alpha\nexample 550 alpha\n"
                 "rule second\nclass network\nmatch beta\nexample 550 beta alpha\nexample 550 beta\n",
                 &why);
    (void)state;

    assert_non_null(rules);
    assert_int_equal(rules_check(rules, keep_fault, NULL), 1);
    assert_non_null(
        strstr(last_fault, "own.rules:8: first (own.rules:1, match alpha) decides this example of second"));
    rules_free(rules);
    rules = read_own("rule first\nclass system\nmatch alpha\nexample 550 alpha\nnot 550 alpha too\n", &why);
    assert_non_null(rules);
    assert_int_equal(rules_check(rules, keep_fault, NULL), 1);
    assert_non_null(strstr(
        last_fault, "own.rules:5: first (own.rules:1, match alpha) decides what is named as not of first"));
    rules_free(rules);
    rules = read_own("rule first\nclass system\nmatch alpha\nexample 250 alpha\n",
                     &why); /* a success, which no rule decides */
    assert_non_null(rules);
    assert_int_equal(rules_check(rules, keep_fault, NULL), 1);
    assert_non_null(strstr(last_fault, "own.rules:4: no rule decides this example of first"));
    rules_free(rules);
}

/* --- the text --- */

static void assert_normal(const char *text, const char *wanted)
{
    char out[NORMAL_SIZE];

    normal_text(text, strlen(text), out);
    assert_string_equal(out, wanted);
}

static void texts_are_compared_without_what_says_nothing(void **state)
{
    (void)state;
    assert_normal("5.1.1 <Taro@x.test>:  User  UNKNOWN", " @ user unknown ");
    assert_normal("see https://x.test/a?b=c#spam", " see x.test ");
    assert_normal("over-quota, E-Mail (#5.2.2)", " over quota email ");
    assert_normal("mx-1.x.test said", " mx-1.x.test said ");
    assert_normal("'Access denied'", " access denied ");
    assert_normal("doesn\342\200\231t don't", " doesn't don't ");
    assert_normal("Empf\303\244nger \303\234berf\303\274llt Stra\303\237"
                  "e",
                  " empfanger uberfullt strasse ");
    assert_normal("Empf\344nger voll", " empfanger voll "); /* Latin-1 */
    assert_normal("\320\235\320\225\320\242", " \320\275\320\265\321\202 ");
    assert_normal("\357\274\265\357\275\223\357\275\205\357\275\222", " user "); /* full width */
    assert_normal("\345\256\233\345\205\210"
                  "a@x.test\343\201\214",
                  " \345\256\233\345\205\210 @ \343\201\214 ");
    assert_normal("", " ");
}

/* --- hostile texts --- */

static void no_text_takes_long(void **state)
{
    static const char *const pieces[] = {"user ",
                                         "unknown ",
                                         "user mailbox full quota exceed ",
                                         "aaaaaaaa",
                                         "550 5.1.1 ",
                                         "@",
                                         "a@",
                                         "reject the message from your ip sender address ",
                                         "\xe5\xae\x9b",
                                         "\xff",
                                         "-",
                                         "'5.",
                                         "mail mail mail message ",
                                         "not ",
                                         "  ",
                                         "https://a/"};
    static char text[4096];
    clock_t begun; /* of the CPU's time: a busy machine takes longer */
    (void)state;

    (void)rules_in_use();
    for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++) {
        struct diagnosis d = {.phase = LOG_PHASES, .text = text, .length = sizeof text};
        for (size_t at = 0; at < sizeof text; at++)
            text[at] = pieces[p][at % strlen(pieces[p])];
        diagnosis_read(&d);
        (void)diagnosis_classify(&d);
        begun = clock();
        for (int i = 0; i < 10; i++)
            (void)diagnosis_classify(&d);
        begun = (clock() - begun) / (CLOCKS_PER_SEC / 1000000);
        if (begun / 10 > 20000) /* a hundredth of that is usual; sanitizers take more */
            fail_msg("%ld us for 4 KB of '%s'", (long)begun / 10, pieces[p]);
    }
}

static void an_expression_that_explodes_does_not_match(void **state)
{
    struct hk_why why;
    struct rules *rules = read_own("rule r\nclass system\nregex (a+)+$\nexample 550 aaa aaaa\n", &why);
    char text[2000];
    struct diagnosis d = {.phase = LOG_PHASES, .text = text, .length = sizeof text};
    struct rule_finding finding;
    (void)state;

    assert_non_null(rules);
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = '!';
    rules_explain(rules, &d, &finding);
    assert_int_equal(finding.verdict.reply_class, CLASS_UNKNOWN);
    rules_free(rules);
}

/* --- replies of common servers --- */

static bool is_one_of(const char *word, const char *list)
{
    size_t length = strlen(word);

    for (const char *at = list; at != NULL; at = strchr(at, '|'), at += at != NULL)
        if (strncmp(at, word, length) == 0 && (at[length] == '|' || at[length] == '\0'))
            return true;
    return false;
}

static void unescape_newlines(char *text)
{
    for (char *at; (at = strstr(text, "\\n")) != NULL;) {
        *at = '\n';
        memmove(at + 1, at + 2, strlen(at + 2) + 1);
    }
}

static bool is_right(char *line)
{
    char *save, *class = strtok_r(line, " ", &save), *disposition = strtok_r(NULL, " ", &save),
                *text = strtok_r(NULL, "", &save);
    struct diagnosis d = {.phase = LOG_PHASES};
    struct rule_finding f;
    size_t word;

    assert_non_null(text);
    word = strcspn(text, ":");
    if (text[word] == ':' && log_phase_of_word(text, word) != LOG_PHASES) {
        d.phase = log_phase_of_word(text, word);
        text += word + 2;
    }
    unescape_newlines(text);
    d.text = text;
    d.length = strlen(text);
    diagnosis_read(&d);
    rules_explain(rules_in_use(), &d, &f);
    if (is_one_of(reply_class_name(f.verdict.reply_class), class) &&
        is_one_of(disposition_name(f.verdict.disposition), disposition))
        return true;
    print_message("    %s, %s by %s; wanted %s, %s: %s\n", reply_class_name(f.verdict.reply_class),
                  disposition_name(f.verdict.disposition), f.verdict.rule, class, disposition, text);
    return false;
}

static void replies_of_common_servers_mean_what_their_makers_say(void **state)
{
    FILE *f = fopen("tests/data/replies.txt", "r");
    char line[2048];
    unsigned rows = 0, right = 0;
    (void)state;

    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '#' || line[0] == '\0')
            continue;
        rows++;
        right += is_right(line);
    }
    fclose(f);
    assert_true(rows > 250);
    assert_int_equal(right, rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_built_in_rule_decides_its_examples),
        cmocka_unit_test(own_rules_are_asked_before_the_built_in_ones),
        cmocka_unit_test(a_rule_cannot_make_a_temporary_reply_suppress),
        cmocka_unit_test(every_kind_of_condition_counts),
        cmocka_unit_test(what_cannot_be_used_is_told_with_its_line),
        cmocka_unit_test(bytes_that_are_no_text_are_refused),
        cmocka_unit_test(an_example_that_another_rule_decides_is_a_fault),
        cmocka_unit_test(texts_are_compared_without_what_says_nothing),
        cmocka_unit_test(no_text_takes_long),
        cmocka_unit_test(an_expression_that_explodes_does_not_match),
        cmocka_unit_test(replies_of_common_servers_mean_what_their_makers_say),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
