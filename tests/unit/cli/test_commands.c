/* test_commands.c - what is typed is understood, and what cannot be says what to write instead. */
#include "commands.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "hikyaku/node.h"

static struct cli_options options;
static struct hk_why why;
static bool help;

/* Parse words (NULL at the end) as a whole command line behind "hikyaku"; 0 or the error. */
static int parse(char **words)
{
    int argc = 0, used;
    cli_options_free(&options);
    while (words[argc] != NULL)
        argc++;
    const struct command *command = commands_find(argc, words, &used, &why);
    if (command == NULL)
        return HK_ENOENT;
    return commands_parse(command, argc - used + 1, words + used - 1, &options, &help, &why);
}
#define PARSE(...) parse((char *[]){__VA_ARGS__, NULL})

static int forget(void **state)
{
    (void)state;
    cli_options_free(&options);
    return 0;
}

static void options_are_read_in_any_order_and_with_an_equals_sign(void **state)
{
    (void)state;
    assert_int_equal(PARSE("send", "--json", "--message", "m.eml", "--list=l.csv", "--campaign", "c",
                           "--config", "h.conf"),
                     0);
    assert_string_equal(options.config, "h.conf");
    assert_string_equal(options.list, "l.csv");
    assert_string_equal(options.message, "m.eml");
    assert_string_equal(options.campaign, "c");
    assert_non_null(options.json);
    assert_null(options.recipients);
}

static void option_values_are_copies_because_titles_are_written_over_arguments(void **state)
{
    char file[] = "h.conf";
    (void)state;
    assert_int_equal(PARSE("serve", "--config", file), 0);
    memset(file, 'x', sizeof file - 1);
    assert_string_equal(options.config, "h.conf");
}

static void a_command_of_two_words_is_found(void **state)
{
    (void)state;
    assert_int_equal(PARSE("keygen", "dkim", "--domain", "d.test", "--selector", "s", "--out", "k.pem"), 0);
    assert_string_equal(options.domain, "d.test");
}

static void half_a_command_names_the_whole_ones(void **state)
{
    (void)state;
    assert_int_equal(PARSE("keygen"), HK_ENOENT);
    assert_string_equal(why.text,
                        "hikyaku keygen: a word is missing; write 'hikyaku keygen dkim' or 'hikyaku "
                        "keygen verp'");
    assert_int_equal(PARSE("config", "chek"), HK_ENOENT);
    assert_non_null(strstr(why.text, "write 'hikyaku config check'"));
}

static void a_command_that_is_not_there_is_said_to_be_none(void **state)
{
    (void)state;
    assert_int_equal(PARSE("wibble", "--config", "f"), HK_ENOENT);
    assert_string_equal(why.text,
                        "hikyaku: there is no command 'wibble'; 'hikyaku --help' lists what there is");
    assert_int_equal(PARSE("sen"), HK_ENOENT);
    assert_int_equal(PARSE("\033[31m"), HK_ENOENT);
    assert_null(strchr(why.text, '\033'));
}

static void every_usage_error_shows_the_whole_command(void **state)
{
    (void)state;
    assert_int_equal(PARSE("report", "--config", "f"), HK_EINVAL);
    assert_string_equal(why.text,
                        "hikyaku report: missing: --campaign; write: hikyaku report --config F --campaign "
                        "ID [--json] [--recipients]");
    assert_int_equal(PARSE("serve", "--config", "f", "--wibble"), HK_EINVAL);
    assert_non_null(strstr(why.text, "unknown option: --wibble; write: hikyaku serve --config F"));
    assert_int_equal(PARSE("suppress", "check", "--config", "f", "-ab@x.test"), HK_EINVAL);
    assert_non_null(strstr(why.text, "unknown option: -ab@x.test; write"));
    assert_int_equal(PARSE("suppress", "check", "--config", "f", "-a"), HK_EINVAL);
    assert_non_null(strstr(why.text, "unknown option: -a; write"));
    assert_int_equal(PARSE("serve", "--config"), HK_EINVAL);
    assert_non_null(strstr(why.text, "a value is missing behind --config"));
    assert_int_equal(PARSE("serve", "--config", "f", "more"), HK_EINVAL);
    assert_non_null(strstr(why.text, "one argument too many: more"));
}

static void operands_are_copied_wherever_they_stand(void **state)
{
    (void)state;
    assert_int_equal(PARSE("suppress", "add", "a@x.test", "--config", "f", "b@x.test", "--", "-c@x.test"), 0);
    assert_int_equal(options.operands, 3);
    assert_string_equal(options.operand[0], "a@x.test");
    assert_string_equal(options.operand[2], "-c@x.test");
    assert_int_equal(PARSE("suppress", "export", "--config", "f"), 0);
    assert_int_equal(options.operands, 0);
}

static void too_few_and_too_many_operands_are_said(void **state)
{
    (void)state;
    assert_int_equal(PARSE("suppress", "check", "--config", "f"), HK_EINVAL);
    assert_string_equal(why.text,
                        "hikyaku suppress check: missing: ADDRESS...; write: hikyaku suppress check "
                        "--config F [--scope all|sender|list] ADDRESS...");
    assert_int_equal(PARSE("suppress", "import", "--config", "f", "one.csv", "two.csv"), HK_EINVAL);
    assert_non_null(strstr(why.text, "one argument too many: two.csv"));
}

static void an_option_given_twice_is_an_error(void **state)
{
    (void)state;
    assert_int_equal(PARSE("serve", "--config", "f", "--config", "g"), HK_EINVAL);
    assert_non_null(strstr(why.text, "given twice: --config"));
}

static void an_option_of_another_command_is_unknown_here(void **state)
{
    (void)state;
    assert_int_equal(PARSE("serve", "--config", "f", "--list", "l"), HK_EINVAL);
    assert_non_null(strstr(why.text, "unknown option: "));
}

static void help_needs_no_other_option(void **state)
{
    (void)state;
    assert_int_equal(PARSE("send", "--help"), 0);
    assert_true(help);
}

static void a_program_without_a_command_is_bad_usage(void **state)
{
    (void)state;
    assert_int_equal(commands_main(1, (char *[]){"hikyaku", NULL}), EXIT_USAGE);
    assert_int_equal(commands_main(2, (char *[]){"hikyaku", "wibble", NULL}), EXIT_USAGE);
    assert_int_equal(commands_main(3, (char *[]){"hikyaku", "wibble", "--help", NULL}), EXIT_USAGE);
    assert_int_equal(commands_main(3, (char *[]){"hikyaku", "suppress", "--help", NULL}), EXIT_SETTLED);
    assert_int_equal(commands_main(3, (char *[]){"hikyaku", "help", "suppress", NULL}), EXIT_SETTLED);
    assert_int_equal(commands_main(2, (char *[]){"hikyaku", "suppress", NULL}), EXIT_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(options_are_read_in_any_order_and_with_an_equals_sign, forget),
        cmocka_unit_test_teardown(option_values_are_copies_because_titles_are_written_over_arguments, forget),
        cmocka_unit_test_teardown(a_command_of_two_words_is_found, forget),
        cmocka_unit_test_teardown(half_a_command_names_the_whole_ones, forget),
        cmocka_unit_test_teardown(a_command_that_is_not_there_is_said_to_be_none, forget),
        cmocka_unit_test_teardown(every_usage_error_shows_the_whole_command, forget),
        cmocka_unit_test_teardown(operands_are_copied_wherever_they_stand, forget),
        cmocka_unit_test_teardown(too_few_and_too_many_operands_are_said, forget),
        cmocka_unit_test_teardown(an_option_given_twice_is_an_error, forget),
        cmocka_unit_test_teardown(an_option_of_another_command_is_unknown_here, forget),
        cmocka_unit_test_teardown(help_needs_no_other_option, forget),
        cmocka_unit_test_teardown(a_program_without_a_command_is_bad_usage, forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
