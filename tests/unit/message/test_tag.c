/* test_tag.c - Mustache tags: what they stand for, and what is refused in which words. */
#include "fixture.h"

#define HEAD "From: a@example.com\r\nSubject: s\r\n\r\n"

static void body_is(struct fixture *f, const char *body, const char *name, const char *city, const char *want)
{
    char template[1024];

    (void)snprintf(template, sizeof template, HEAD "%s", body);
    assert_string_equal(body_of(rendered(f, template, name, city)), want);
}

static void a_tag_becomes_its_value(void **state)
{
    struct fixture *f = *state;

    body_is(f, "{{name}}, {{ city }}; {{{name}}}{{&city}}\r\n", "Ann", "Edo",
            "Ann=\r\n,=20Edo=\r\n;=20AnnEdo\r\n");
    body_is(f, "{{email}} {{campaign}}\r\n", "", "", "user@example.net=\r\n=20spring\r\n");
    body_is(f, "a{{! a comment }}b\r\n", "", "", "a=\r\nb\r\n");
}

static void a_section_stands_when_its_value_is_not_empty(void **state)
{
    struct fixture *f = *state;

    body_is(f, "{{#name}}yes{{/name}}{{^name}}no{{/name}}\r\n", "Ann", "", "yes\r\n");
    body_is(f, "{{#name}}yes{{/name}}{{^name}}no{{/name}}\r\n", "", "", "no\r\n");
    body_is(f, "{{#name}}yes{{/name}}\r\n", "false", "", "yes\r\n");
    body_is(f, "{{#name}}{{#city}}both{{/city}}{{^city}}one{{/city}}{{/name}}\r\n", "Ann", "", "one\r\n");
    body_is(f, "{{#name}}{{#city}}both{{/city}}{{^city}}one{{/city}}{{/name}}\r\n", "", "Edo", "\r\n");
}

static void a_section_tag_alone_takes_its_line_with_it(void **state)
{
    struct fixture *f = *state;

    body_is(f, "a\r\n  {{#name}}\r\nb\r\n{{/name}} \r\n{{! x }}\r\nc\r\n", "Ann", "", "a\r\nb\r\nc\r\n");
    body_is(f, "a\r\n{{#name}}\r\nb\r\n{{/name}}\r\nc\r\n", "", "", "a\r\nc\r\n");
    body_is(f, "a {{#name}}\r\nb{{/name}}\r\n", "Ann", "", "a=20\r\nb\r\n");
}

static void a_tag_without_a_column_is_refused_with_its_line_and_the_columns(void **state)
{
    struct fixture *f = *state;

    refused(f, HEAD "one\r\ntwo {{naem}}\r\n",
            "m.eml:5: tag {{naem}} has no column; the list has: email, name, city");
    refused(f, "From: a@example.com\nSubject: Hello\n  {{naem}}\n\nx",
            "m.eml:3: tag {{naem}} has no column; the list has: email, name, city");
    refused(f, "From: a@example.com\nTo: {{Name}} <{{email}}>\n\nx",
            "m.eml:2: tag {{Name}} has no column; the list has: email, name, city");
    refused(f, HEAD "{{#naem}}x{{/naem}}",
            "m.eml:4: tag {{naem}} has no column; the list has: email, name, city");
    refused(f, "From: a@example.com\nContent-Transfer-Encoding: base64\n\ne3tuYWVtfX0=\n",
            "m.eml:4: tag {{naem}} has no column; the list has: email, name, city");
    refused(f, "From: a@example.com\nSubject: =?utf-8?B?e3tuYWVtfX0=?=\n\nx",
            "m.eml:2: tag {{naem}} has no column; the list has: email, name, city");
}

static void broken_tags_are_refused_in_words(void **state)
{
    struct fixture *f = *state;

    refused(f, HEAD "a {{name\r\n", "m.eml:4: a tag is opened by {{ and never closed by }}");
    refused(f, HEAD "\n\n{{#name}}x",
            "m.eml:6: section {{#name}} is never closed by {{/name}} in the same text");
    refused(f, HEAD "{{/name}}", "m.eml:4: {{/name}} closes a section that is not open");
    refused(f, HEAD "{{#name}}{{#city}}{{/name}}{{/city}}",
            "m.eml:4: {{/name}} stands where {{/city}} should close the section");
    refused(f, HEAD "{{>part}}", "m.eml:4: partials {{> }} are not supported; put the text here");
    refused(f, HEAD "{{=<% %>=}}", "m.eml:4: {{= =}} (other delimiters) is not supported");
    refused(f, HEAD "{{unsubscribe_url}}",
            "m.eml:4: tag {{unsubscribe_url}} needs sender { unsubscribe_url = \"https://...\" } in the "
            "configuration");
}

static void sections_nested_too_deep_are_refused(void **state)
{
    struct fixture *f = *state;
    static const char head[] = HEAD, tag[] = "{{#name}}";
    char template[1024] = HEAD;

    for (size_t i = 0; i < 33; i++)
        memcpy(template + sizeof head - 1 + i * (sizeof tag - 1), tag, sizeof tag);
    refused(f, template, "m.eml:4: sections are nested deeper than 32");
}

static void a_long_list_of_columns_is_cut_in_the_words(void **state)
{
    struct fixture *f = *state;
    static char names[60][32];
    const char *column[60];
    struct message *message;

    for (unsigned i = 0; i < 60; i++) {
        (void)snprintf(names[i], sizeof names[i], "a_rather_long_column_name_%u", i);
        column[i] = names[i];
    }
    assert_int_equal(message_compile("m.eml", HEAD "{{x}}", strlen(HEAD "{{x}}"), &f->config, f->signer, "c",
                                     column, 60, &message, &f->why),
                     HK_EINVAL);
    assert_non_null(
        strstr(f->why.text, "tag {{x}} has no column; the list has: a_rather_long_column_name_0, "));
    assert_string_equal(f->why.text + strlen(f->why.text) - 3, "...");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tag_becomes_its_value),
        cmocka_unit_test(a_section_stands_when_its_value_is_not_empty),
        cmocka_unit_test(a_section_tag_alone_takes_its_line_with_it),
        cmocka_unit_test(a_tag_without_a_column_is_refused_with_its_line_and_the_columns),
        cmocka_unit_test(broken_tags_are_refused_in_words),
        cmocka_unit_test(sections_nested_too_deep_are_refused),
        cmocka_unit_test(a_long_list_of_columns_is_cut_in_the_words),
    };

    return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
