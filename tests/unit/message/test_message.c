/* test_message.c - headers and parts of a copy: what is made, kept, encoded, refused. */
#include "fixture.h"

#define FROM "From: a@example.com\r\n"

static void header_is(struct fixture *f, const char *field, const char *name, const char *city,
                      const char *header, const char *want)
{
    char template[4096], *got;

    (void)snprintf(template, sizeof template, "%s%s\r\n\r\nx\r\n",
                   strncmp(field, "From:", 5) == 0 ? "" : FROM, field);
    got = header_of(rendered(f, template, name, city), header);
    if (want == NULL)
        assert_null(got);
    else if (got == NULL)
        fail_msg("no %s", header);
    else
        assert_string_equal(got, want);
}

/* RFC 5322 3.6 */
static void a_copy_has_the_headers_that_a_message_needs(void **state)
{
    struct fixture *f = *state;
    const char *text = rendered(f, FROM "Subject: s\r\n\r\nx\r\n", "Ann", "Edo");

    assert_string_equal(header_of(text, "Date"), "Wed, 18 Nov 2026 11:06:40 +0000");
    assert_string_equal(header_of(text, "To"), "<user@example.net>");
    assert_string_equal(header_of(text, "MIME-Version"), "1.0");
    assert_null(header_of(text, "List-Unsubscribe"));
    assert_null(header_of(text, "List-ID"));
    assert_non_null(strstr(header_of(text, "Message-ID"), "@example.com>"));
    assert_non_null(strstr(f->mail_from, "@bounce.example.com"));
}

static void a_copy_marked_for_ses_is_the_same_behind_two_fields(void **state)
{
    struct fixture *f = *state;
    struct segment_record record = fixture_record("user@example.net", "", "");
    const char *template = FROM "Subject: s\r\n\r\nx\r\n";
    struct message *message;
    struct copy copy = {0};
    struct iovec was[64];
    char want[256];
    size_t count, bytes;

    assert_int_equal(fixture_compile(f, template, strlen(template), &message), 0);
    for (int set = 0; set < 2; set++) {
        assert_int_equal(copy_made(message, &record, 7, &copy), 0);
        count = copy.iov_count;
        bytes = copy.bytes;
        assert_true(count <= sizeof was / sizeof *was);
        memcpy(was, copy.iov, count * sizeof *was);
        assert_int_equal(copy_mark_ses(&copy, set ? "news" : NULL), 0);
        assert_int_equal(copy.iov_count, count + 1);
        assert_memory_equal(copy.iov + 1, was, count * sizeof *was);
        (void)snprintf(want, sizeof want, "%sX-SES-MESSAGE-TAGS: hikyaku=%.*s\r\n",
                       set ? "X-SES-CONFIGURATION-SET: news\r\n" : "", (int)strcspn(copy.mail_from, "@"),
                       copy.mail_from);
        assert_int_equal(copy.iov[0].iov_len, strlen(want));
        assert_memory_equal(copy.iov[0].iov_base, want, strlen(want));
        assert_int_equal(copy.bytes, bytes + strlen(want));
    }
    copy_free(&copy);
    message_free(message);
}

static void what_is_told_to_ses_may_not_stand_in_the_template(void **state)
{
    struct fixture *f = *state;
    static const char tags[] = FROM "X-SES-Message-Tags: a=b\r\n\r\nx\r\n",
                      named[] = FROM "X-SES-Configuration-Set: a\r\n\r\nx\r\n";
    char set[] = "news";
    struct cfg_route route = {.profile = RELAY_SES};
    struct message *message;

    f->config.route = &route;
    f->config.route_count = 1;
    assert_int_equal(fixture_compile(f, tags, strlen(tags), &message), HK_EINVAL);
    assert_non_null(strstr(f->why.text, "m.eml:2: X-SES-Message-Tags is written by hikyaku"));
    assert_int_equal(fixture_compile(f, named, strlen(named), &message), 0);
    message_free(message);
    route.configuration_set = set;
    assert_int_equal(fixture_compile(f, named, strlen(named), &message), HK_EINVAL);
    assert_non_null(strstr(f->why.text, "or configuration_set of the route"));
    route.profile = RELAY_PLAIN;
    assert_int_equal(fixture_compile(f, tags, strlen(tags), &message), 0);
    message_free(message);
    f->config.route_count = 0;
}

/* RFC 5322 3.6 */
static void two_recipients_never_share_a_message_id(void **state)
{
    struct fixture *f = *state;
    struct segment_record record = fixture_record("user@example.net", "", "");
    struct message *message;
    char seen[3][ADDRESS_MAX + 1];
    struct copy copy = {0};

    assert_int_equal(
        fixture_compile(f, FROM "\r\n{{message_id}}", strlen(FROM "\r\n{{message_id}}"), &message), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(copy_made(message, &record, i, &copy), 0);
        (void)snprintf(seen[i], sizeof seen[i], "%s", copy.mail_from);
        for (unsigned k = 0; k < i; k++)
            assert_string_not_equal(seen[i], seen[k]);
    }
    copy_free(&copy);
    message_free(message);
}

static void the_templates_own_envelope_headers_are_left_out_with_a_word(void **state)
{
    struct fixture *f = *state;
    int kept = log_capture_begin();
    const char *text =
        rendered(f,
                 FROM "Message-ID: <o.l.d@x>\r\nDate: never\r\nBcc: b@example.net\r\nReturn-Path: <r@x>\r\n"
                      "DKIM-Signature: v=1; o.l.d\r\nSubject: s\r\n\r\nx\r\n",
                 "", "");
    const char *words = log_capture_end(kept);
    static const char *const said[] = {"m.eml:2: the message's own Message-ID",
                                       "m.eml:3: the message's own Date", "m.eml:4: the message's own Bcc",
                                       "m.eml:5: the message's own Return-Path",
                                       "m.eml:6: the message's own DKIM-Signature"};

    assert_null(strstr(text, "o.l.d")); /* no token has a dot */
    assert_null(strstr(text, "never"));
    assert_null(header_of(text, "Bcc"));
    assert_null(header_of(text, "Return-Path"));
    for (size_t i = 0; i < sizeof said / sizeof said[0]; i++)
        assert_non_null(strstr(words, said[i]));
}

static void what_a_mailbox_and_a_mail_program_wrote_is_left_out_in_a_note_each(void **state)
{
    struct fixture *f = *state;
    int kept = log_capture_begin();
    const char *text = rendered(
        f,
        "Delivered-To: me@example.com\r\nReceived: from a\r\n by b; now\r\nReceived: from c\r\n"
        "ARC-Seal: i=1\r\nAuthentication-Results: mx; dkim=pass\r\nX-MS-Exchange-Organization-SCL: 1\r\n"
        "Resent-From: x@example.com\r\nResent-To: y@example.com\r\n" FROM
        "To: Me <me@example.com>\r\nCc: you@example.com\r\nX-Mailer: Apple Mail (2.3)\r\nX-Unsent: 1\r\n"
        "Thread-Index: AQHa\r\nDisposition-Notification-To: a@example.com\r\nX-Ours: kept\r\n"
        "X-SES-CONFIGURATION-SET: ours\r\nSubject: s\r\n\r\nx\r\n",
        "", "");
    const char *words = log_capture_end(kept);
    static const char transport[] =
        "m.eml: left out, written on the way to a mailbox (6): Delivered-To, Received, ARC-Seal, "
        "Authentication-Results, X-MS-Exchange-Organization-SCL\n";
    static const char *const said[] = {
        transport,
        "m.eml: left out, written by one who sent it on (2): Resent-From, Resent-To\n",
        "m.eml: left out, a mail program's own marks (3): X-Mailer, X-Unsent, Thread-Index\n",
        "m.eml:11: To has no tag",
        "m.eml:12: Cc is shown to every recipient",
        "warning test: m.eml:16: Disposition-Notification-To asks every recipient for a receipt"};
    static const char *const gone[] = {"Delivered-To",
                                       "Received",
                                       "ARC-Seal",
                                       "Authentication-Results",
                                       "X-MS-Exchange-Organization-SCL",
                                       "Resent-From",
                                       "Resent-To",
                                       "X-Mailer",
                                       "X-Unsent",
                                       "Thread-Index"};

    for (size_t i = 0; i < sizeof gone / sizeof gone[0]; i++)
        assert_null(header_of(text, gone[i]));
    for (size_t i = 0; i < sizeof said / sizeof said[0]; i++) {
        if (strstr(words, said[i]) == NULL)
            fail_msg("not said: %s\nbut: %s", said[i], words);
    }
    assert_string_equal(header_of(text, "To"), "Me <me@example.com>");
    assert_string_equal(header_of(text, "X-Ours"), "kept");
    assert_string_equal(header_of(text, "X-SES-CONFIGURATION-SET"), "ours");
    assert_string_equal(header_of(text, "Disposition-Notification-To"), "a@example.com");
}

static void more_names_than_a_note_holds_are_counted(void **state)
{
    struct fixture *f = *state;
    char template[8192] = FROM;
    size_t used = strlen(template);
    const char *words;
    int kept;

    for (unsigned i = 0; i < 60; i++)
        used += (size_t)snprintf(template + used, sizeof template - used,
                                 "X-MS-Exchange-CrossTenant-Number-%u: x\r\n", i);
    (void)snprintf(template + used, sizeof template - used, "\r\nx\r\n");
    kept = log_capture_begin();
    (void)rendered(f, template, "", "");
    words = log_capture_end(kept);
    assert_non_null(strstr(words, "(60): X-MS-Exchange-CrossTenant-Number-0, "));
    assert_non_null(strstr(words, " more\n"));
}

static void an_mbox_line_in_front_is_no_header(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(
        header_of(rendered(f, "From - Tue Nov 24 09:00:00 2026\r\n" FROM "Subject: s\r\n\r\nx", "", ""),
                  "Subject"),
        "s");
    refused(f, "From - Tue Nov 24 09:00:00 2026\r\n" FROM "oops\r\n\r\nx",
            "m.eml:3: not a header field; write \"Name: value\", and an empty line between header and text");
}

static void encoded_words_of_any_charset_are_read_around_tags(void **state)
{
    struct fixture *f = *state;

    header_is(f, "Subject: =?ISO-2022-JP?B?GyRCOzNFRBsoQg==?= {{name}}", "Ann", "", "Subject",
              "=?UTF-8?B?5bGx55SwIEFubg==?=");
    /* U+2460 and U+3231 are in the set of Windows only. */
    header_is(f, "Subject: {{name}} =?iso-2022-jp?B?GyRCLSEtahsoQg==?=", "1", "", "Subject",
              "=?UTF-8?B?MSDikaDjiLE=?=");
    /* A character cut in two between words of one charset. */
    header_is(f, "Subject: =?UTF-8?B?6aOb6IQ=?= =?UTF-8?B?mg==?= {{name}}", "x", "", "Subject",
              "=?UTF-8?B?6aOb6ISaIHg=?=");
    header_is(f, "Subject: =?shift_jis?B?h0A=?= =?UTF-8?Q?{{name}}?=", "x", "", "Subject",
              "=?UTF-8?B?4pGgeA==?=");
    /* Not encoded at all. */
    header_is(f, "Subject: \x1B$B;3ED\x1B(B", "", "", "Subject", "=?UTF-8?B?5bGx55Sw?=");
    header_is(f, "To: \x1B$B;3ED\x1B(B <{{email}}>", "", "", "To", "=?UTF-8?B?5bGx55Sw?= <user@example.net>");
    refused(f, FROM "Subject: \x1B$B;\x1B(B {{name}}\r\n\r\nx",
            "m.eml:2: Subject is not UTF-8, or has an encoded-word of an unknown charset; write it in UTF-8");
}

static void iso_2022_jp_stays_without_tags_and_becomes_utf8_with(void **state)
{
    struct fixture *f = *state;
    static const char type[] = FROM "Content-Type: text/plain; charset=ISO-2022-JP\r\n\r\n";
    char template[512];

    (void)snprintf(template, sizeof template, "%s\x1B$B-!;3ED\x1B(I12\x1B(B\r\n", type);
    assert_string_equal(body_of(rendered(f, template, "", "")), "\x1B$B-!;3ED\x1B(I12\x1B(B\r\n");
    assert_string_equal(header_of(f->text, "Content-Type"), "text/plain; charset=ISO-2022-JP");
    (void)snprintf(template, sizeof template, "%s\x1B$B-!;3ED\x1B(I12\x1B(B {{name}}\r\n", type);
    /* The quoted-printable or base64 of the circled 1, Yamada, and two half-width kana. */
    assert_string_equal(body_of(rendered(f, template, "!", "")), "4pGg5bGx55Sw772x772yICENCg==\r\n");
    assert_string_equal(header_of(f->text, "Content-Type"), "text/plain; charset=UTF-8");
}

static void a_meta_charset_says_what_the_part_becomes(void **state)
{
    struct fixture *f = *state;
    static const char type[] = FROM "Content-Type: text/html; charset=windows-1252\r\n\r\n";
    char template[512];

    (void)snprintf(template, sizeof template,
                   "%s<META charset = 'windows-1252'><metal charset=x>{{name}}\x96\r\n", type);
    assert_non_null(strstr(rendered(f, template, "", ""), "<META charset =3D 'UTF-8'><metal charset=3Dx>"));
    (void)snprintf(
        template, sizeof template,
        "%s<meta http-equiv=\"Content-Type\" content=\"text/html; charset=windows-1252\">{{name}}\r\n", type);
    (void)rendered(f, template, "", "");
    assert_non_null(strstr(f->text, "charset=3DUTF-8"));
    assert_null(strstr(f->text, "1252"));
    (void)snprintf(template, sizeof template, "%s<meta name=charset content=x>{{name}}<meta charset", type);
    assert_non_null(
        strstr(rendered(f, template, "", ""), "<meta name=3Dcharset content=3Dx>=\r\n<meta charset"));
    (void)snprintf(template, sizeof template, "%s<meta charset=windows-1252>\x96\r\n", type);
    assert_non_null(strstr(rendered(f, template, "", ""), "<meta charset=3Dwindows-1252>=96"));
}

static void a_signed_part_passes_untouched_or_is_refused_for_its_tags(void **state)
{
    struct fixture *f = *state;
    static const char sealed[] = FROM "Content-Type: multipart/signed; boundary=b; micalg=sha-256;\r\n"
                                      " protocol=\"application/pkcs7-signature\"\r\n\r\n"
                                      "preamble\r\n--b\r\nContent-Type: text/plain\r\n\r\n%s\r\n--b\r\n"
                                      "Content-Type: application/pkcs7-signature\r\n\r\nMII=\r\n--b--\r\n";
    char template[1024];

    (void)snprintf(template, sizeof template, sealed, "not a tag: {{ }\r\ntrailing \t");
    assert_string_equal(body_of(rendered(f, template, "", "")), body_of(template));
    (void)snprintf(template, sizeof template, sealed, "Dear {{name}}");
    refused(f, template,
            "m.eml:9: this part is multipart/signed and may not be changed, so a tag in it cannot be filled; "
            "send it without the signature, or without tags");
}

static void a_value_cannot_add_a_header(void **state)
{
    struct fixture *f = *state;

    header_is(f, "Subject: Hi {{name}}", "a\r\nBcc: x@y", "", "Subject", "Hi a  Bcc: x@y");
    header_is(f, "Subject: {{{name}}}",
              "\x01"
              "a\tb\x7f\xC2\x85"
              "c",
              "", "Subject", "a b  c");
    header_is(f, "X-A: {{name}}", "=?utf-8?q?x?=", "", "X-A", "=?UTF-8?B?PT91dGYtOD9xP3g/PQ==?=");
    header_is(f, "Subject: {{name}}", "", "", "Subject", "");
}

static void text_that_is_not_ascii_is_an_encoded_word(void **state)
{
    struct fixture *f = *state;

    header_is(f, "Subject: 飛脚", "", "", "Subject", "=?UTF-8?B?6aOb6ISa?=");
    header_is(f, "Subject: a caf\xC3\xA9 for {{name}}", "Ann Lee", "", "Subject",
              "=?UTF-8?Q?a_caf=C3=A9_for_Ann_Lee?=");
    header_is(f, "Subject: =?ISO-8859-1?Q?caf=E9?= =?UTF-8?Q?_{{name}}?=", "Ann", "", "Subject",
              "=?UTF-8?B?Y2Fmw6kgQW5u?=");
    header_is(f, "Subject: =?ISO-8859-1?Q?caf=E9?=", "", "", "Subject", "=?ISO-8859-1?Q?caf=E9?=");
    refused(f, FROM "Subject: caf\xE9\r\n\r\nx",
            "m.eml:2: Subject is not UTF-8, or has an encoded-word of an unknown charset; write it in UTF-8");
}

/* RFC 5321 4.5.3.1.6 */
static void a_long_header_is_folded(void **state)
{
    struct fixture *f = *state;
    char value[2001], *p;

    memset(value, 'x', 2000);
    value[2000] = 0;
    header_is(f,
              "Subject: {{name}} 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 "
              "0123456789 01234",
              "A", "", "Subject",
              "A 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789\r\n 0123456789 01234");
    /* No blank to fold at: encoded-words can be cut anywhere. */
    p = strstr(rendered(f, FROM "Subject: {{name}}\r\n\r\nx", value, ""), "Subject: =?UTF-8?");
    assert_non_null(p);
    for (char *end; (end = strstr(p, "\r\n")) != NULL && end != p; p = end + 2)
        assert_true(end - p <= 78);
}

static void a_static_header_stays_but_for_comments_and_long_lines(void **state)
{
    struct fixture *f = *state;

    header_is(f, "X-A: a  b\r\n\tc", "", "", "X-A", "a  b\r\n\tc");
    header_is(f, "Subject: a{{! hush }}b", "", "", "Subject", "ab");
    header_is(f, "Subject: {{#name}}Dear {{name}}{{/name}}{{^name}}Hello{{/name}}", "Ann", "", "Subject",
              "Dear Ann");
    header_is(f, "Subject: {{#name}}Dear {{name}}{{/name}}{{^name}}Hello{{/name}}", "", "", "Subject",
              "Hello");
    header_is(f, "Subject: 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789", "",
              "", "Subject",
              "0123456789 0123456789 0123456789 0123456789 0123456789 0123456789\r\n 0123456789");
    header_is(f, "To: undisclosed-recipients:;", "", "", "To", "undisclosed-recipients:;");
    assert_non_null(rendered(f, "\xEF\xBB\xBF" FROM "\r\nx", "", ""));
}

static void a_display_name_is_never_parsed(void **state)
{
    struct fixture *f = *state;

    header_is(f, "To: {{name}} <{{email}}>", "Ann Lee", "", "To", "Ann Lee <user@example.net>");
    header_is(f, "To: {{name}} <{{email}}>", "Lee, Ann", "", "To", "\"Lee, Ann\" <user@example.net>");
    header_is(f, "To: \"{{name}}\" <{{email}}>", "A \"x\" \\", "", "To",
              "\"A \\\"x\\\" \\\\\" <user@example.net>");
    header_is(f, "To: {{name}} <{{email}}>", "x <evil@example.org>,", "", "To",
              "\"x <evil@example.org>,\" <user@example.net>");
    header_is(f, "To: {{name}}様 <{{email}}>", "山田", "", "To",
              "=?UTF-8?B?5bGx55Sw5qeY?= <user@example.net>");
    header_is(f, "To: {{name}} <{{email}}>", " ", "", "To", "<user@example.net>");
    header_is(f, "To: {{email}}", "", "", "To", "<user@example.net>");
    header_is(f, "From: {{name}} <a@example.com>", "Bob\r\nX: y", "", "From",
              "\"Bob  X: y\" <a@example.com>");
    header_is(f, "From: 飛脚 <a@example.com>", "", "", "From", "=?UTF-8?B?6aOb6ISa?= <a@example.com>");
    header_is(f, "Reply-To: =?UTF-8?B?e3tuYW1lfX0=?= <r@example.com>", "Ann", "", "Reply-To",
              "Ann <r@example.com>");
}

static void an_address_from_a_value_cannot_break_out(void **state)
{
    struct fixture *f = *state;

    header_is(f, "Reply-To: {{name}}", "r@example.org", "", "Reply-To", "<r@example.org>");
    header_is(f, "Reply-To: {{name}}, b@example.com", "not an address", "", "Reply-To", "<b@example.com>");
    header_is(f, "Reply-To: {{name}}", "a@b.example, c@d.example", "", "Reply-To", NULL);
    header_is(f, "To: {{name}}", "nobody", "", "To", "<user@example.net>");
    header_is(f, "From: {{name}}@example.com", "rep", "", "From", "<rep@example.com>");
    header_is(f, "From: {{name}}@example.com", "x@evil.example>, <y", "", "From",
              "<\"x@evil.example>, <y\"@example.com>");
    header_is(f, "From: {{name}}@example.com", "", "", "From", "<\"\"@example.com>");
}

static void a_local_part_that_is_no_atom_is_quoted(void **state)
{
    struct fixture *f = *state;
    struct segment_record legacy = fixture_record("a..b.@docomo.ne.jp", "", "");
    struct segment_record hostile = fixture_record("a>,<\"b@example.net", "", "");

    assert_string_equal(header_of(rendered_record(f, FROM "\r\nx", &legacy), "To"),
                        "<\"a..b.\"@docomo.ne.jp>");
    assert_string_equal(header_of(rendered_record(f, FROM "To: {{email}}\r\n\r\nx", &hostile), "To"),
                        "<\"a>,<\\\"b\"@example.net>");
}

static void from_is_one_address_of_our_domain(void **state)
{
    struct fixture *f = *state;

    refused(f, "Subject: s\r\n\r\nx",
            "m.eml:1: the message has no From; write From: Name <local@example.com>");
    refused(f, FROM "From: b@example.com\r\n\r\nx", "m.eml:2: From stands twice; it may stand once");
    refused(f, "From: a@example.com, b@example.com\r\n\r\nx", "m.eml:1: From has to name one address");
    refused(f, "From: a@{{city}}\r\n\r\nx",
            "m.eml:1: the domain of From has to be written out; a tag may stand before its @");
    refused(f, FROM "Reply-To: {{name}}@exa mple.com\r\n\r\nx",
            "m.eml:2: \"exa mple.com\" is not a domain in ASCII (xn--...)");
    refused(
        f, "From: a@example.org\r\n\r\nx",
        "m.eml:1: From is of example.org, which is not sender.from_domain example.com nor above or below it");
    refused(f, "From: a@xexample.com\r\n\r\nx",
            "m.eml:1: From is of xexample.com, which is not sender.from_domain example.com nor above or "
            "below it");
    header_is(f, "From: a@news.example.com", "", "", "From", "a@news.example.com");
}

/* RFC 8058 */
static void unsubscribe_headers_come_in_a_pair(void **state)
{
    struct fixture *f = *state;
    static char url[] = "https://u.example.com/", id[] = "news.example.com";
    struct verp_token token;
    const char *text;
    char *list;

    f->config.sender.unsubscribe_url = url;
    f->config.sender.list_id = id;
    text = rendered(
        f,
        FROM "List-Unsubscribe: <mailto:o.l.d@x>\r\nList-Unsubscribe-Post: o.l.d\r\nList-ID: <o.l.d.x>\r\n"
             "Content-Type: text/html\r\n\r\n<a href=\"{{unsubscribe_url}}\">",
        "", "");
    list = header_of(text, "List-Unsubscribe");
    assert_int_equal(strncmp(list, "<https://u.example.com/", 23), 0);
    assert_int_equal(unsubscribe_parse(f->signer, list + 23, strlen(list) - 24, &token), 0);
    assert_string_equal(token.campaign, "spring");
    assert_int_equal(token.index, 7);
    assert_string_equal(header_of(text, "List-Unsubscribe-Post"), "List-Unsubscribe=One-Click");
    assert_string_equal(header_of(text, "List-ID"), "<news.example.com>");
    assert_null(strstr(text, "o.l.d")); /* no token has a dot */
    header_is(f, "List-Unsubscribe: <https://x.example/?u={{name}}>", "a b>, <mailto:x>", "",
              "List-Unsubscribe", "<https://x.example/?u=a%20b%3E,%20%3Cmailto:x%3E>");
    assert_null(header_of(f->text, "List-Unsubscribe-Post"));
    header_is(f, "List-Unsubscribe: <{{unsubscribe_url}}>,\r\n <mailto:u@example.com>", "", "",
              "List-Unsubscribe-Post", "List-Unsubscribe=One-Click");
    header_is(f, "List-Unsubscribe: <https://x.example/{{name}}> =?UTF-8?B?6aOb?=", "a", "",
              "List-Unsubscribe", "<https://x.example/a> =?UTF-8?B?6aOb?=");
    f->config.sender.unsubscribe_url = NULL;
    f->config.sender.list_id = NULL;
    header_is(f, "List-Unsubscribe: <mailto:u@example.com>", "", "", "List-Unsubscribe",
              "<mailto:u@example.com>");
}

static void a_url_too_long_for_a_line_is_left_out(void **state)
{
    struct fixture *f = *state;
    char value[1200];

    memset(value, 'u', sizeof value - 1);
    value[sizeof value - 1] = 0;
    header_is(f, "List-Help: <https://x.example/{{name}}>", value, "", "List-Help", NULL);
}

static void a_url_is_ascii_whatever_it_is_written_in(void **state)
{
    struct fixture *f = *state;

    refused(f, FROM "List-Help: <https://x.example/\xE5\xB1\xB1> {{name}}\r\n\r\nx",
            "m.eml:2: a URL has octets that are not ASCII; write them as %XX");
    refused(f, FROM "List-Help: <https://x.example/\x1B$B;3\x1B(B> {{name}}\r\n\r\nx",
            "m.eml:2: a URL has octets that are not ASCII; write them as %XX");
}

static void a_value_is_escaped_for_its_part(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(
        body_of(rendered(f, FROM "Content-Type: text/html\r\n\r\n{{name}}|{{{name}}}\r\n", "<b>&", "")),
        "&lt;b&gt;&amp;=\r\n|<b>&\r\n");
    assert_string_equal(body_of(rendered(f, FROM "\r\n{{name}}\r\n", "<b>&", "")), "<b>&\r\n");
    assert_string_equal(header_of(f->text, "Content-Type"), "text/plain; charset=UTF-8");
    assert_string_equal(header_of(f->text, "Content-Transfer-Encoding"), "quoted-printable");
}

/* RFC 5321 4.5.2 */
static void a_value_cannot_end_the_message_or_a_part(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(body_of(rendered(f, FROM "\r\n{{name}}\r\n", "a\r\n.\r\nb\n--x", "")),
                        "a\r\n=2E\r\nb\r\n=2D-x\r\n");
}

/* RFC 5321 4.5.2 */
static void a_text_without_tags_stays_but_for_its_dots_and_line_ends(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(body_of(rendered(f, FROM "\n.a\n..\nb \rc", "", "")), "..a\r\n...\r\nb \r\nc\r\n");
    assert_null(header_of(f->text, "Content-Transfer-Encoding"));
    assert_null(header_of(f->text, "Content-Type"));
    assert_string_equal(body_of(rendered(f, FROM "\r\n", "", "")), "");
    assert_string_equal(body_of(rendered(f, FROM, "", "")), "");
}

/* RFC 6152 */
static void a_text_that_is_not_seven_bit_is_encoded(void **state)
{
    struct fixture *f = *state;
    char template[1200] = FROM "\r\n";

    assert_string_equal(body_of(rendered(f, FROM "\r\n日本語\r\n", "", "")), "5pel5pys6KqeDQo=\r\n");
    assert_string_equal(header_of(f->text, "Content-Type"), "text/plain; charset=UTF-8");
    assert_string_equal(body_of(rendered(f,
                                         FROM "Content-Type: text/plain; charset=iso-8859-1\r\n"
                                              "Content-Transfer-Encoding: 8bit\r\n\r\nlong caf\xE9 long\r\n",
                                         "", "")),
                        "long caf=E9 long\r\n");
    assert_string_equal(header_of(f->text, "Content-Type"), "text/plain; charset=iso-8859-1");
    memset(template + strlen(template), 'x', 999);
    assert_non_null(strstr(body_of(rendered(f, template, "", "")), "xxx=\r\nxxx"));
    refused(f, FROM "\r\nfine\r\ncaf\xE9\r\n",
            "m.eml:4: this text is not UTF-8; save it as UTF-8 or name its charset in Content-Type");
}

static void a_part_with_tags_of_another_charset_becomes_utf8(void **state)
{
    struct fixture *f = *state;

    assert_string_equal(body_of(rendered(f,
                                         FROM "Content-Type: text/plain; format=flowed; "
                                              "charset=\"iso-8859-1\"\r\n\r\ncaf\xE9 and more {{name}}\r\n",
                                         "山", "")),
                        "caf=C3=A9 and more=20=E5=B1=B1\r\n");
    assert_string_equal(header_of(f->text, "Content-Type"), "text/plain; charset=UTF-8;\r\n format=flowed");
    refused(f, FROM "Content-Type: text/plain; charset=x-none\r\n\r\n{{name}}\r\n",
            "m.eml:4: this part cannot be read as charset x-none, so its tags cannot be filled; save it as "
            "UTF-8");
}

static void an_attachment_passes_unchanged(void **state)
{
    struct fixture *f = *state;
    static const char body[] = "--b\r\nContent-Type: text/plain\r\n\r\n{{name}}\r\n--b\r\n"
                               "Content-Type: application/pdf; name=\"a.pdf\"\r\n"
                               "Content-Transfer-Encoding: base64\r\n\r\ne3tuYW1lfX0=\r\n--b--\r\n";
    char template[512];

    (void)snprintf(template, sizeof template, FROM "Content-Type: multipart/mixed; boundary=b\r\n\r\n%s",
                   body);
    assert_non_null(strstr(rendered(f, template, "Ann", ""), strstr(body, "Content-Type: application/pdf")));
    assert_non_null(strstr(f->text, "\r\n\r\nAnn\r\n--b\r\n"));
}

static void a_file_that_is_no_message_is_refused_with_its_line(void **state)
{
    struct fixture *f = *state;

    refused(f, FROM "oops\r\n\r\nx",
            "m.eml:2: not a header field; write \"Name: value\", and an empty line between header and text");
    refused(f, FROM ".Subject: s\r\n\r\nx", "m.eml:2: the name of a header field may not begin with a dot");
    refused(f, FROM "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n",
            "m.eml:4: this multipart is never closed by --b--");
    refused(f, FROM "Content-Type: multipart/mixed\r\n\r\n", "m.eml:1: a multipart without a boundary");
    refused(f, FROM "Content-Transfer-Encoding: uuencode\r\n\r\n",
            "m.eml:2: Content-Transfer-Encoding is none of 7bit, 8bit, binary, quoted-printable, base64");
    refused(f, FROM "Content-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\nDear {{name}},\r\n",
            "m.eml:5: this part says \"Content-Transfer-Encoding: base64\" and is no base64 from here on; "
            "encode it, or "
            "leave that line out of its header");
    refused(f,
            FROM "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: application/pdf\r\n"
                 "Content-Transfer-Encoding: base64\r\n\r\nJVBERi0\r\n%%EOF\r\n--b--\r\n",
            "m.eml:9: this part says \"Content-Transfer-Encoding: base64\" and is no base64 from here on; "
            "encode it, or "
            "leave that line out of its header");
    refused(f, FROM "Subject: a\r\nSubject: b\r\n\r\n", "m.eml:3: Subject stands twice; it may stand once");
    refused(f, FROM "Content-Type: text/{{name}}\r\n\r\n", "m.eml:2: Content-Type may not have tags");
    refused(f, FROM "To: {{name}} <\r\n\r\n", "m.eml:2: not a mailbox; write Name <local@domain>");
}

static void rendering_holds_the_size_limit(void **state)
{
    struct fixture *f = *state;
    enum { VALUE = 60000, TAGS = 400, TAG = sizeof "{{name}}" - 1 };
    static const char head[] = FROM "\r\n";
    char *value = hk_xcalloc(VALUE + 1, 1), *template = hk_xcalloc(sizeof head + (size_t)TAGS * TAG, 1);
    struct segment_record record;
    struct message *message;
    struct copy copy = {0};

    memset(value, 1, VALUE);
    memcpy(template, head, sizeof head - 1);
    for (size_t i = 0; i < TAGS; i++)
        memcpy(template + sizeof head - 1 + i * TAG, "{{name}}", TAG);
    record = fixture_record("user@example.net", value, "");
    assert_int_equal(fixture_compile(f, template, strlen(template), &message), 0);
    assert_int_equal(copy_made(message, &record, 0, &copy), HK_ETOOBIG);
    record = fixture_record("user@example.net", "small", "");
    assert_int_equal(copy_made(message, &record, 0, &copy), 0);
    copy_free(&copy);
    message_free(message);
    free(value);
    free(template);
}

static void a_copy_has_few_pieces(void **state)
{
    struct fixture *f = *state;

    (void)rendered(
        f, FROM "To: {{name}} <{{email}}>\r\nSubject: {{name}}\r\n\r\nHi {{name}}, text\r\n{{city}}\r\n", "A",
        "B");
    assert_true(f->iov_count <= 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_has_the_headers_that_a_message_needs),
        cmocka_unit_test(a_copy_marked_for_ses_is_the_same_behind_two_fields),
        cmocka_unit_test(what_is_told_to_ses_may_not_stand_in_the_template),
        cmocka_unit_test(two_recipients_never_share_a_message_id),
        cmocka_unit_test(the_templates_own_envelope_headers_are_left_out_with_a_word),
        cmocka_unit_test(what_a_mailbox_and_a_mail_program_wrote_is_left_out_in_a_note_each),
        cmocka_unit_test(more_names_than_a_note_holds_are_counted),
        cmocka_unit_test(an_mbox_line_in_front_is_no_header),
        cmocka_unit_test(encoded_words_of_any_charset_are_read_around_tags),
        cmocka_unit_test(iso_2022_jp_stays_without_tags_and_becomes_utf8_with),
        cmocka_unit_test(a_meta_charset_says_what_the_part_becomes),
        cmocka_unit_test(a_signed_part_passes_untouched_or_is_refused_for_its_tags),
        cmocka_unit_test(a_value_cannot_add_a_header),
        cmocka_unit_test(text_that_is_not_ascii_is_an_encoded_word),
        cmocka_unit_test(a_long_header_is_folded),
        cmocka_unit_test(a_static_header_stays_but_for_comments_and_long_lines),
        cmocka_unit_test(a_display_name_is_never_parsed),
        cmocka_unit_test(an_address_from_a_value_cannot_break_out),
        cmocka_unit_test(a_local_part_that_is_no_atom_is_quoted),
        cmocka_unit_test(from_is_one_address_of_our_domain),
        cmocka_unit_test(unsubscribe_headers_come_in_a_pair),
        cmocka_unit_test(a_url_too_long_for_a_line_is_left_out),
        cmocka_unit_test(a_url_is_ascii_whatever_it_is_written_in),
        cmocka_unit_test(a_value_is_escaped_for_its_part),
        cmocka_unit_test(a_value_cannot_end_the_message_or_a_part),
        cmocka_unit_test(a_text_without_tags_stays_but_for_its_dots_and_line_ends),
        cmocka_unit_test(a_text_that_is_not_seven_bit_is_encoded),
        cmocka_unit_test(a_part_with_tags_of_another_charset_becomes_utf8),
        cmocka_unit_test(an_attachment_passes_unchanged),
        cmocka_unit_test(a_file_that_is_no_message_is_refused_with_its_line),
        cmocka_unit_test(rendering_holds_the_size_limit),
        cmocka_unit_test(a_copy_has_few_pieces),
    };

    return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
