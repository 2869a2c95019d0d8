/* Mails that came back: a collection in the shapes of many mail systems (tests/data/bounces/notices.txt), the same mails in
 * other clothes, and what must never be believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "hikyaku/bounce.h"

#define NOTICES     "tests/data/bounces/notices.txt"
#define RESULTS_MAX 8u

struct results {
    struct bounce row[RESULTS_MAX];
    size_t rows;
};

static struct bounce_reader *reader;

static int open_reader(void **state)
{
    (void)state;
    reader = bounce_reader_new();
    return reader == NULL;
}

static int close_reader(void **state)
{
    (void)state;
    bounce_reader_free(reader);
    return 0;
}

static void keep(void *context, const struct bounce *b)
{
    struct results *r = context;

    if (r->rows < RESULTS_MAX)
        r->row[r->rows] = *b;
    r->rows++;
}

static struct results read_mail(const char *mail, size_t length)
{
    struct results r = {.rows = 0};

    assert_int_equal(bounce_read(reader, mail, length, keep, &r), 0);
    return r;
}

/* --- the collection --- */

struct notice_case {
    char name[128], recipients[256], class[64], disposition[32], kind[32];
    char *mail;
    size_t length;
};

static struct notice_case cases[256];
static size_t case_count;
static char *collection;

static void cut_title(char *title, struct notice_case *c)
{
    char *field[] = {c->name, c->recipients, c->class, c->disposition, c->kind};
    const size_t size[] = {sizeof c->name, sizeof c->recipients, sizeof c->class, sizeof c->disposition,
                           sizeof c->kind};

    for (size_t i = 0; i < 5; i++) {
        char *end = strstr(title, " | ");
        size_t length = end != NULL ? (size_t)(end - title) : strlen(title);
        assert_true(length < size[i]);
        memcpy(field[i], title, length);
        field[i][length] = '\0';
        assert_true(i == 4 || end != NULL);
        title = end != NULL ? end + 3 : title + length;
    }
}

static int load_cases(void **state)
{
    size_t length;
    struct hk_why why;

    (void)state;
    if (hk_read_file(NOTICES, 1u << 20, &collection, &length, &why) < 0)
        return 1;
    for (char *at = strstr(collection, "\n=== "); at != NULL && case_count < sizeof cases / sizeof *cases;) {
        struct notice_case *c = &cases[case_count++];
        char *title = at + 5, *body = strchr(title, '\n');
        assert_non_null(body);
        *body++ = '\0';
        cut_title(title, c);
        at = strstr(body, "\n=== ");
        c->mail = body;
        c->length = at != NULL ? (size_t)(at + 1 - body) : strlen(body);
    }
    return open_reader(state);
}

static int free_cases(void **state)
{
    free(collection);
    return close_reader(state);
}

static bool is_among(const char *recipients, const char *recipient)
{
    size_t length = strlen(recipient);

    if (recipients[0] == '"') /* one that has blanks in it */
        return strcmp(recipients, recipient) == 0;
    for (const char *at = recipients; (at = strstr(at, recipient)) != NULL; at++)
        if ((at == recipients || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0'))
            return true;
    return false;
}

/* Is it one of them, or the beginning of one? */
static bool begins_one(const char *recipients, const char *recipient)
{
    for (const char *at = recipients; (at = strstr(at, recipient)) != NULL; at++)
        if (at == recipients || at[-1] == ' ')
            return true;
    return false;
}

static size_t words_in(const char *recipients)
{
    size_t words = 1;

    if (strcmp(recipients, "-") == 0)
        return 0;
    for (const char *at = recipients; *at != '\0' && recipients[0] != '"'; at++)
        words += *at == ' ';
    return words;
}

static bool fits(const char *wanted, const char *got)
{
    return strcmp(wanted, "*") == 0 || strcmp(wanted, got) == 0;
}

static void judge(const struct notice_case *c, const struct results *r, const char *how)
{
    if (r->rows != words_in(c->recipients))
        fail_msg("%s%s: %zu recipients (the first is %s)", c->name, how, r->rows,
                 r->rows > 0 ? r->row[0].recipient : "-");
    for (size_t i = 0; i < r->rows; i++) {
        const struct bounce *b = &r->row[i];
        const char *class = reply_class_name(b->verdict.reply_class);
        const char *disposition = disposition_name(b->verdict.disposition);
        if (!is_among(c->recipients, b->recipient) || !fits(c->class, class) ||
            !fits(c->disposition, disposition) || !fits(c->kind, bounce_kind_name(b->kind)))
            fail_msg("%s%s: got %s, %s, %s, %s: %s", c->name, how, b->recipient, class, disposition,
                     bounce_kind_name(b->kind), b->reason);
    }
}

static void every_notice_is_read_as_a_person_reads_it(void **state)
{
    (void)state;
    assert_true(case_count > 50);
    for (size_t i = 0; i < case_count; i++) {
        struct results r = read_mail(cases[i].mail, cases[i].length);
        judge(&cases[i], &r, "");
    }
}

/* --- the same in other clothes --- */

/* Replace every LF by `end`. */
static char *with_ends(const struct notice_case *c, const char *end, size_t *length)
{
    char *out = malloc(c->length * 2 + 1);

    assert_non_null(out);
    *length = 0;
    for (size_t i = 0; i < c->length; i++) {
        if (c->mail[i] != '\n') {
            out[(*length)++] = c->mail[i];
            continue;
        }
        memcpy(out + *length, end, strlen(end));
        *length += strlen(end);
    }
    return out;
}

static void line_ends_change_nothing(void **state)
{
    static const char *const ends[] = {"\r\n", "\r"};

    (void)state;
    for (size_t i = 0; i < case_count; i++)
        for (size_t e = 0; e < 2; e++) {
            size_t length;
            char *mail = with_ends(&cases[i], ends[e], &length);
            struct results r = read_mail(mail, length);
            judge(&cases[i], &r, e == 0 ? " (CRLF)" : " (CR)");
            free(mail);
        }
}

static void hops_and_noise_change_nothing(void **state)
{
    static const char hop[] =
        "Received: from a.test by b.test with ESMTP id 550; Thu, 1 Jan 2026 05:50:00 +0000\n"
        "X-Noise: 550 5.1.1 <noise@noise.test>: User unknown\n";
    static char mail[1u << 16];

    (void)state;
    for (size_t i = 0; i < case_count; i++) {
        size_t used = 0;
        assert_true(cases[i].length < sizeof mail / 2);
        while (used + sizeof hop < 30 * sizeof hop) {
            memcpy(mail + used, hop, sizeof hop - 1);
            used += sizeof hop - 1;
        }
        memcpy(mail + used, cases[i].mail, cases[i].length);
        used += cases[i].length;
        memcpy(mail + used, "\0\0\0\n\n", 5);
        struct results r = read_mail(mail, used + 5);
        judge(&cases[i], &r, " (30 hops, NULs behind)");
    }
}

/* A gateway puts the mail into a part and its own words behind it (RFC 2046 allows any header to be repeated). */
static void a_disclaimer_around_it_changes_nothing(void **state)
{
    static char mail[1u << 16];

    (void)state;
    for (size_t i = 0; i < case_count; i++) {
        const char *body = strstr(cases[i].mail, "\n\n"), *type = strcasestr(cases[i].mail, "\ncontent-");
        size_t head, used;
        if (type == NULL || type > body || strstr(cases[i].mail, "\nContent-Transfer-Encoding") != NULL)
            continue; /* not MIME, or its fields are not together */
        head = (size_t)(type + 1 - cases[i].mail);
        used = (size_t)snprintf(
            mail, sizeof mail,
            "%.*sContent-Type: multipart/mixed; boundary=\"outer 1\"\n\n--outer 1\n%.*s\n--outer 1\n"
            "Content-Type: text/plain\n\nThis mail is confidential. Ask help@gate.test.\n"
            "--outer 1--\n",
            (int)head, cases[i].mail, (int)(cases[i].length - head), type + 1);
        assert_true(used < sizeof mail);
        struct results r = read_mail(mail, used);
        judge(&cases[i], &r, " (wrapped)");
    }
}

/* NUL and octets above 126 where none may be: in a field that nobody reads, and in the subject of a bounce. */
static void octets_that_no_header_may_have_change_nothing(void **state)
{
    static const char field[] = "X-Odd: a\0b\x80\xff\xfe\x1b\x7f\0\n", octets[] = " \0\xe9\xff\x80";
    static char mail[1u << 16];

    (void)state;
    for (size_t i = 0; i < case_count; i++) {
        const char *subject = strstr(cases[i].mail, "\nSubject: ");
        bool whole =
            subject == NULL || strcmp(cases[i].kind, "bounce") != 0; /* "unsubscribe" alone says so */
        size_t before = whole ? 0 : (size_t)(strchr(subject + 1, '\n') - cases[i].mail),
               used = sizeof field - 1;
        memcpy(mail, field, used);
        memcpy(mail + used, cases[i].mail, before);
        used += before;
        memcpy(mail + used, octets, before > 0 ? sizeof octets - 1 : 0);
        used += before > 0 ? sizeof octets - 1 : 0;
        assert_true(used + cases[i].length < sizeof mail);
        memcpy(mail + used, cases[i].mail + before, cases[i].length - before);
        used += cases[i].length - before;
        struct results r = read_mail(mail, used);
        judge(&cases[i], &r, " (odd octets)");
    }
}

/* The name of the boundary was changed on the way, and not its lines. */
static void parts_are_read_where_the_boundary_names_none_of_them(void **state)
{
    static const char type[] = "boundary=", other[] = "boundary=\"what-a-gateway-made-of-it\"; x-was=";
    static char mail[1u << 16];
    size_t tried = 0;

    (void)state;
    for (size_t i = 0; i < case_count; i++) {
        const char *head_end = strstr(cases[i].mail, "\n\n"), *at = strstr(cases[i].mail, type);
        if (strstr(cases[i].mail, "\nContent-Type: multipart/report;") == NULL || at == NULL ||
            at > head_end || strcmp(cases[i].kind, "bounce") != 0)
            continue;
        tried++;
        int used = snprintf(mail, sizeof mail, "%.*s%s%.*s", (int)(at - cases[i].mail), cases[i].mail, other,
                            (int)(cases[i].mail + cases[i].length - at) - (int)(sizeof type - 1),
                            at + sizeof type - 1);
        struct results r = read_mail(mail, (size_t)used);
        judge(&cases[i], &r, " (another boundary)");
    }
    assert_true(tried > 5);
}

/* As UTF-16, little-endian with its mark (RFC 2781); ASCII alone. */
static size_t to_utf16(const char *text, size_t length, char *out)
{
    memcpy(out, "\xff\xfe", 2);
    for (size_t i = 0; i < length; i++)
        out[2 + 2 * i] = text[i], out[3 + 2 * i] = '\0';
    return 2 + 2 * length;
}

static bool is_ascii(const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] > 126)
            return false;
    return true;
}

/* The body in UTF-16 and said to be; and all of the mail, which no mail system sends and nobody may be suppressed by. */
static void a_mail_in_utf16_is_read_where_it_says_so(void **state)
{
    static const char type[] =
        "Content-Type: text/plain; charset=utf-16\nContent-Transfer-Encoding: 8bit\n\n";
    static char mail[1u << 16];
    size_t tried = 0;

    (void)state;
    for (size_t i = 0; i < case_count; i++) {
        const char *body = strstr(cases[i].mail, "\n\n") + 2;
        size_t head = (size_t)(body - cases[i].mail) - 1, length = cases[i].length - head - 1;
        struct results r;
        assert_true(cases[i].length * 2 + sizeof type + 2 < sizeof mail);
        r = read_mail(mail, to_utf16(cases[i].mail, cases[i].length, mail));
        for (size_t j = 0; j < r.rows && j < RESULTS_MAX; j++)
            if (!is_among(cases[i].recipients, r.row[j].recipient))
                fail_msg("%s all in UTF-16: %s", cases[i].name, r.row[j].recipient);
        if (memmem(cases[i].mail, head, "Content-", 8) != NULL || !is_ascii(body, length))
            continue;
        tried++;
        memcpy(mail, cases[i].mail, head);
        memcpy(mail + head, type, sizeof type - 1);
        r = read_mail(mail, head + sizeof type - 1 + to_utf16(body, length, mail + head + sizeof type - 1));
        judge(&cases[i], &r, " (UTF-16)");
    }
    assert_true(tried > 10);
}

/* Whatever is cut off, nobody is made up: each recipient of a part is one of the whole. */
static void a_mail_cut_anywhere_names_nobody_else(void **state)
{
    (void)state;
    for (size_t i = 0; i < case_count; i++)
        for (size_t length = 0; length < cases[i].length; length += 7) {
            struct results r = read_mail(cases[i].mail, length);
            for (size_t j = 0; j < r.rows && j < RESULTS_MAX; j++) {
                const struct bounce *b = &r.row[j];
                if (b->verdict.disposition == DISPOSITION_SUPPRESS && strcmp(cases[i].recipients, "-") != 0 &&
                    !begins_one(cases[i].recipients, b->recipient))
                    fail_msg("%s cut at %zu suppresses %s", cases[i].name, length, b->recipient);
            }
        }
}

/* --- bounds --- */

static void ten_thousand_recipients_are_told_once_each(void **state)
{
    static const char head[] =
        "From: MAILER-DAEMON@mx.test\nContent-Type: multipart/report; boundary=D\n\n--D\n"
        "Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.test\n\n";
    char *mail = malloc(4u << 20);
    size_t used = sizeof head - 1;
    struct results r;

    (void)state;
    assert_non_null(mail);
    memcpy(mail, head, used);
    for (unsigned i = 0; i < 20000; i++)
        used += (size_t)snprintf(
            mail + used, 200, "Final-Recipient: rfc822; user%u@rcpt.test\nAction: failed\nStatus: 5.1.1\n\n",
            i % 10000);
    r = read_mail(mail, used);
    assert_int_equal(r.rows, 10000);
    assert_string_equal(r.row[0].recipient, "user0@rcpt.test");
    assert_int_equal(r.row[0].verdict.disposition, DISPOSITION_SUPPRESS);
    free(mail);
}

static void depth_is_bounded_and_what_lies_deeper_is_left_alone(void **state)
{
    char *mail = malloc(2u << 20);
    size_t used;
    struct results r;

    (void)state;
    assert_non_null(mail);
    for (unsigned deep = 4; deep <= 10000; deep += 9996) {
        used = (size_t)snprintf(mail, 100, "From: MAILER-DAEMON@mx.test\nSubject: failure notice\n");
        for (unsigned i = 0; i < deep; i++)
            used += (size_t)snprintf(mail + used, 100,
                                     "Content-Type: multipart/mixed; boundary=b%u\n\n--b%u\n", i, i);
        used += (size_t)snprintf(mail + used, 200,
                                 "Content-Type: message/delivery-status\n\n"
                                 "Final-Recipient: rfc822; taro@rcpt.test\nAction: failed\n"
                                 "Status: 5.1.1\n");
        r = read_mail(mail, used);
        assert_int_equal(r.rows, deep == 4 ? 1 : 0);
    }
    free(mail);
}

static void status_code_and_reason_are_told(void **state)
{
    static const char mail[] =
        "Return-Path: <>\nFrom: MAILER-DAEMON@mx.test\nSubject: failure notice\n\n"
        "I wasn't able to deliver your message to the following addresses.\n\n"
        "<taro@rcpt.test>:\nRemote host said: 552-5.2.3 Too\n552 5.2.3 large\x01\xff\n";
    struct results r = read_mail(mail, sizeof mail - 1);

    (void)state;
    assert_int_equal(r.rows, 1);
    assert_string_equal(r.row[0].recipient, "taro@rcpt.test");
    assert_string_equal(r.row[0].status, "5.2.3");
    assert_int_equal(r.row[0].code, 552);
    assert_non_null(strstr(r.row[0].reason, "Too large?"));
}

/* "ta" is nobody: an address is told whole or not at all. */
static void an_address_in_quotes_is_not_cut_at_a_nul(void **state)
{
    static const char mail[] = "Return-Path: <>\nFrom: MAILER-DAEMON@mx.test\nTo: b@bounce.test\n"
                               "Subject: Undelivered Mail Returned to Sender\n\n"
                               "<\"ta\0 ro\"@rcpt.test>: 550 5.1.1 User unknown\n\n"
                               "<\"ha na\"@rcpt.test>: 550 5.1.1 User unknown\n";
    struct results r = read_mail(mail, sizeof mail - 1);

    (void)state;
    assert_true(r.rows >= 1);
    for (size_t i = 0; i < r.rows; i++)
        assert_string_equal(r.row[i].recipient, "\"ha na\"@rcpt.test");
}

static void a_reader_forgets_the_mail_before(void **state)
{
    for (size_t round = 0; round < 3; round++)
        every_notice_is_read_as_a_person_reads_it(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_notice_is_read_as_a_person_reads_it),
        cmocka_unit_test(line_ends_change_nothing),
        cmocka_unit_test(hops_and_noise_change_nothing),
        cmocka_unit_test(a_disclaimer_around_it_changes_nothing),
        cmocka_unit_test(octets_that_no_header_may_have_change_nothing),
        cmocka_unit_test(parts_are_read_where_the_boundary_names_none_of_them),
        cmocka_unit_test(a_mail_in_utf16_is_read_where_it_says_so),
        cmocka_unit_test(a_mail_cut_anywhere_names_nobody_else),
        cmocka_unit_test(ten_thousand_recipients_are_told_once_each),
        cmocka_unit_test(depth_is_bounded_and_what_lies_deeper_is_left_alone),
        cmocka_unit_test(status_code_and_reason_are_told),
        cmocka_unit_test(an_address_in_quotes_is_not_cut_at_a_nul),
        cmocka_unit_test(a_reader_forgets_the_mail_before),
    };

    return cmocka_run_group_tests(tests, load_cases, free_cases);
}
