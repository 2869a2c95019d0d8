/* dkim_copies.c - render generated templates into files, for dkim_verify.py to judge; or measure rendering.
 *
 *   dkim_copies make FOLDER    keys, N.eml (as a receiver stores it: CRLF, dots not stuffed), N.json with what
 *                              has to be in it, records.json with the DNS records of the keys
 *   dkim_copies bench          copies per CPU-second, unsigned and signed, and the cost of a large attachment
 *
 * Each case is a template as a marketer might write it, with values as a hostile list might hold them. What is
 * expected is put down from the values alone, never from what was rendered.
 */
#include <iconv.h>
#include <jansson.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "hikyaku/message.h"

#define COLUMNS 5

static const char *const COLUMN[COLUMNS] = {"email", "name", "text", "html", "url"};

struct bench_setup {
    struct config config;
    struct cfg_dkim dkim[2];
    struct signer *signer;
    char folder[512];
    char path[3][600];
};

static _Noreturn void die(const char *format, ...) HK_PRINTF(1, 2);
static _Noreturn void die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputc('\n', stderr);
    exit(1);
}

/* ---- a growing text ---- */

struct text {
    char *at;
    size_t length, room;
};

static void text_put(struct text *text, const char *bytes, size_t length)
{
    if (text->at == NULL || text->room - text->length < length + 1) {
        text->room = (text->room + length + 1) * 2;
        text->at = hk_xrealloc(text->at, text->room, 1);
    }
    memcpy(text->at + text->length, bytes, length);
    text->length += length;
    text->at[text->length] = 0;
}

static void text_add(struct text *text, const char *bytes)
{
    text_put(text, bytes, strlen(bytes));
}

static void text_free(struct text *text)
{
    free(text->at);
    *text = (struct text){0};
}

/* ---- set-up ---- */

static void setup_open(struct bench_setup *s, const char *folder, size_t keys)
{
    static const enum dkim_key_type type[2] = {DKIM_RSA2048, DKIM_ED25519};
    static char domain[] = "example.com", return_path[] = "bounce.example.com",
                list_id[] = "news.example.com", url[] = "https://u.example.com/?t=", file[] = "test.conf",
                rsa[] = "rsa", ed[] = "ed";
    json_t *records = json_object();
    struct hk_why why = {{0}};

    memset(s, 0, sizeof *s);
    (void)snprintf(s->folder, sizeof s->folder, "%s", folder);
    (void)snprintf(s->path[2], sizeof s->path[2], "%s/verp.key", folder);
    if (keygen_verp(s->path[2], &why) != 0)
        die("%s", why.text);
    for (size_t i = 0; i < 2; i++) {
        char *record;

        (void)snprintf(s->path[i], sizeof s->path[i], "%s/%s.pem", folder, i == 0 ? rsa : ed);
        if (keygen_dkim(type[i], domain, i == 0 ? rsa : ed, s->path[i], &record, &why) != 0)
            die("%s", why.text);
        (void)json_object_set_new(records, i == 0 ? rsa : ed, json_string(record));
        free(record);
        s->dkim[i] = (struct cfg_dkim){i == 0 ? rsa : ed, domain, s->path[i]};
    }
    s->config.file = file;
    s->config.sender.from_domain = domain;
    s->config.sender.return_path = return_path;
    s->config.sender.secret_file = s->path[2];
    s->config.sender.unsubscribe_url = url;
    s->config.sender.list_id = list_id;
    s->config.dkim = s->dkim;
    s->config.dkim_count = keys;
    if (signer_load(&s->config, &s->signer, &why) != 0)
        die("%s", why.text);
    (void)snprintf(s->folder, sizeof s->folder, "%s", folder);
    {
        char path[600];

        (void)snprintf(path, sizeof path, "%s/records.json", folder);
        if (json_dump_file(records, path, 0) != 0)
            die("%s", path);
    }
    json_decref(records);
}

static struct segment_record record_of(const char *const value[COLUMNS])
{
    struct segment_record record = {.email = value[0], .email_length = (uint32_t)strlen(value[0])};
    const char *at = strrchr(value[0], '@');

    record.wire = value[0];
    record.wire_length = record.email_length;
    record.wire_local_length = (uint32_t)(at - value[0]);
    for (size_t i = 0; i < COLUMNS; i++)
        record.field[i] = (struct segment_field){value[i], (uint32_t)strlen(value[i])};
    return record;
}

/* ---- one case ---- */

struct expected {
    json_t *headers; /* name: decoded value */
    json_t *parts;   /* type, text */
};

static struct expected expected_new(void)
{
    return (struct expected){json_object(), json_array()};
}

static void expect_header(struct expected *e, const char *name, const char *value)
{
    (void)json_object_set_new(e->headers, name, json_string(value));
}

static void expect_part(struct expected *e, const char *type, const char *text, size_t length)
{
    (void)json_array_append_new(e->parts, json_pack("{s:s, s:s%}", "type", type, "text", text, length));
}

/* Octets that are no text, in base64. */
static void expect_binary(struct expected *e, const char *type, const char *base64)
{
    (void)json_array_append_new(e->parts, json_pack("{s:s, s:s}", "type", type, "base64", base64));
}

/* What a receiver stores: the octets of the wire without the stuffed dots. */
static void store(const struct copy *copy, const char *path)
{
    FILE *file = fopen(path, "wb");
    bool line_start = true;

    if (file == NULL)
        die("%s", path);
    for (size_t i = 0; i < copy->iov_count; i++) {
        const char *at = copy->iov[i].iov_base;

        for (size_t k = 0; k < copy->iov[i].iov_len; k++) {
            if (!(line_start && at[k] == '.'))
                (void)fputc(at[k], file);
            line_start = at[k] == '\n';
        }
    }
    if (fclose(file) != 0)
        die("%s", path);
}

static unsigned case_number;

static void case_run(struct bench_setup *s, const char *name, const struct text *template,
                     const char *const value[COLUMNS], struct expected *e)
{
    struct segment_record record = record_of(value);
    struct message *message;
    struct hk_why why = {{0}};
    struct copy copy = {0};
    char path[600];
    json_t *json;

    if (message_compile(name, template->at, template->length, &s->config, s->signer, "campaign-1", COLUMN,
                        COLUMNS, &message, &why) != 0)
        die("%s: %s", name, why.text);
    /* Twice into the same copy: memory that is used again must not show. */
    for (unsigned i = 0; i < 2; i++) {
        if (message_render(message, &record, 0, case_number, 1795000000000000u, &copy) != 0 ||
            message_sign(message, &copy) != 0)
            die("%s: not rendered", name);
    }
    (void)snprintf(path, sizeof path, "%s/%u.eml", s->folder, case_number);
    store(&copy, path);
    json = json_pack("{s:s, s:o, s:o}", "name", name, "headers", e->headers, "parts", e->parts);
    (void)snprintf(path, sizeof path, "%s/%u.json", s->folder, case_number);
    if (json == NULL || json_dump_file(json, path, 0) != 0)
        die("%s", path);
    json_decref(json);
    copy_free(&copy);
    message_free(message);
    case_number++;
}

/* ---- hostile values ---- */

static char *long_value(size_t length)
{
    char *text = hk_xcalloc(length + 1, 1);

    memset(text, 'x', length);
    return text;
}

#define HOSTILE 19
static const char *hostile[HOSTILE] = {
    "",
    "Ann",
    "山田 太郎",
    "a\r\nBcc: victim@example.net",
    "a\nX-Injected: 1\n\nbody",
    "\r\n.\r\nMAIL FROM:<x@example.net>\r\n",
    "\r\n--b1\r\nContent-Type: text/html\r\n\r\n<b>",
    "--b1--",
    ".",
    "..leading dots",
    "\" <evil@example.net>, \"",
    "evil@example.net, other",
    "=?utf-8?B?QmNjOiB2aWN0aW0=?=",
    "=?utf-8?Q?=0D=0ABcc:=20x?= tail",
    "trailing blanks   \t",
    "\x01\x02\x7f\x1b[31m control",
    "<script>alert('x')</script> & \"q\"",
    "From the start =3D =\r\n=20",
    NULL, /* very long, see below */
};

/* A header value as a person sees it: controls are blanks, both ends trimmed, runs of blanks alike. */
static char *header_view(const char *prefix, const char *value)
{
    char *out = hk_xasprintf("%s%s", prefix, value);

    for (char *p = out; *p != 0; p++) {
        if ((unsigned char)*p < ' ' || *p == 0x7F)
            *p = ' ';
    }
    return out;
}

static void normalised(struct text *out, const char *value, bool html)
{
    for (const char *p = value; *p != 0; p++) {
        const char *entity = !html        ? NULL
                             : *p == '&'  ? "&amp;"
                             : *p == '<'  ? "&lt;"
                             : *p == '>'  ? "&gt;"
                             : *p == '"'  ? "&quot;"
                             : *p == '\'' ? "&#39;"
                                          : NULL;

        if (entity != NULL) {
            text_add(out, entity);
        } else if (*p == '\r' || *p == '\n') {
            text_add(out, "\r\n");
            p += *p == '\r' && p[1] == '\n' ? 1 : 0;
        } else {
            text_put(out, p, 1);
        }
    }
}

/* Every hostile value at every place: all headers, both ends of every part, and beside long lines. */
static void case_hostile(struct bench_setup *s, const char *value, const char *ending, bool base64)
{
    static const char long_line[] =
        "A line that is longer than any encoder would leave in one piece, with  blanks, = signs, and so on: "
        "0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789 0123456789";
    static const char japanese[] =
        "飛脚は江戸時代に手紙や荷物を運んだ人々のことです。お客様へ大切なお知らせをお届けします。";
    const char *filler = base64 ? japanese : long_line;
    const char *const values[COLUMNS] = {"user@example.net", value, value, value, value};
    struct text template = {0}, plain = {0}, html = {0};
    struct expected e = expected_new();
    char line[512], *subject = header_view("お知らせ ", value), *tail = header_view("", value);
    const char *const lines[] = {"From: 飛脚 {{name}} <news@example.com>",
                                 "To: {{name}} <{{email}}>",
                                 "Reply-To: \"{{name}}\" <r@example.com>",
                                 "Cc: {{name}} x <c@example.com>",
                                 "Subject: お知らせ {{name}}",
                                 "X-Name: {{name}}",
                                 "X-Raw: {{{name}}}",
                                 "MIME-Version: 1.0",
                                 "Content-Type: multipart/alternative; boundary=\"b1\"",
                                 "",
                                 "preamble",
                                 "--b1",
                                 "Content-Type: text/plain; charset=utf-8",
                                 ""};

    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        text_add(&template, lines[i]);
        text_add(&template, ending);
    }
    (void)snprintf(line, sizeof line, "{{text}}%s%s{{text}}%s", filler, ending, ending);
    text_add(&template, line);
    (void)snprintf(line, sizeof line, "%s{{text}}%s%s.dot %s{{text}}", filler, filler, ending, ending);
    text_add(&template, line);
    (void)snprintf(line, sizeof line, "%s--b1%sContent-Type: text/html; charset=utf-8%s%s", ending, ending,
                   ending, ending);
    text_add(&template, line);
    (void)snprintf(line, sizeof line, "{{html}}<p title=\"{{html}}\">%s {{html}}</p>%s{{{html}}}%s--b1--%s",
                   filler, ending, ending, ending);
    text_add(&template, line);

    normalised(&plain, value, false);
    text_add(&plain, filler);
    text_add(&plain, "\r\n");
    normalised(&plain, value, false);
    text_add(&plain, "\r\n");
    text_add(&plain, filler);
    normalised(&plain, value, false);
    text_add(&plain, filler);
    text_add(&plain, "\r\n.dot \r\n");
    normalised(&plain, value, false);
    normalised(&html, value, true);
    text_add(&html, "<p title=\"");
    normalised(&html, value, true);
    text_add(&html, "\">");
    text_add(&html, filler);
    text_add(&html, " ");
    normalised(&html, value, true);
    text_add(&html, "</p>\r\n");
    normalised(&html, value, false);
    expect_header(&e, "Subject", subject);
    expect_header(&e, "X-Name", tail);
    expect_header(&e, "X-Raw", tail);
    expect_header(&e, "display:To", tail);
    expect_header(&e, "display:Reply-To", tail);
    expect_header(&e, "address:To", "user@example.net");
    expect_header(&e, "address:Reply-To", "r@example.com");
    expect_header(&e, "address:From", "news@example.com");
    expect_header(&e, "address:Cc", "c@example.com");
    expect_part(&e, "text/plain", plain.at, plain.length);
    expect_part(&e, "text/html", html.at, html.length);
    case_run(s, "hostile", &template, values, &e);
    text_free(&template);
    text_free(&plain);
    text_free(&html);
    free(subject);
    free(tail);
}

/* One text part of `size` octets, the tag at its start, its end, both or nowhere. */
static void case_size(struct bench_setup *s, size_t size, unsigned tags, const char *ending,
                      const char *pattern)
{
    const char *const values[COLUMNS] = {"user@example.net", "Ann", "the value", "h", "u"};
    struct text template = {0}, plain = {0};
    struct expected e = expected_new();
    size_t pattern_length = strlen(pattern);

    text_add(&template, "From: a@example.com");
    text_add(&template, ending);
    text_add(&template, "Subject: Hi {{name}}");
    text_add(&template, ending);
    text_add(&template, "Content-Type: text/plain; charset=UTF-8");
    text_add(&template, ending);
    text_add(&template, ending);
    text_add(&template, (tags & 1) != 0 ? "{{text}}" : "");
    text_add(&plain, (tags & 1) != 0 ? values[2] : "");
    for (size_t done = 0; done + pattern_length <= size; done += pattern_length) {
        text_add(&template, pattern);
        normalised(&plain, pattern, false);
    }
    text_add(&template, (tags & 2) != 0 ? "{{text}}" : "");
    text_add(&plain, (tags & 2) != 0 ? values[2] : "");
    expect_header(&e, "Subject", "Hi Ann");
    expect_header(&e, "address:To", "user@example.net");
    expect_part(&e, "text/plain", plain.at != NULL ? plain.at : "", plain.length);
    case_run(s, "size", &template, values, &e);
    text_free(&template);
    text_free(&plain);
}

/* Parts that stay, parts that must be encoded, and tags inside quoted-printable and base64. */
static void case_parts(struct bench_setup *s)
{
    static const char template_bytes[] =
        "From: =?UTF-8?B?6aOb6ISa?= <news@example.com>\r\n"
        "To: =?UTF-8?B?e3tuYW1lfX3mp5g=?= <{{email}}>\r\n"
        "Subject: =?UTF-8?Q?{{name}}=E6=A7=98?= =?ISO-2022-JP?B?GyRCJCsbKEI=?=\r\n"
        "Content-Type: multipart/mixed; boundary=outer\r\n"
        "\r\n"
        "--outer\r\n"
        "Content-Type: multipart/alternative; boundary=inner\r\n"
        "\r\n"
        "--inner\r\n"
        "Content-Type: text/plain; charset=iso-8859-1\r\n"
        "Content-Transfer-Encoding: quoted-printable\r\n"
        "\r\n"
        "caf=E9 {{na=\r\nme}} =3D  =\r\nend   \r\n.\r\n--inner\r\n"
        "Content-Type: text/html; charset=utf-8\r\n"
        "Content-Transfer-Encoding: base64\r\n"
        "\r\n"
        "PGI+e3todG1s\r\nfX08L2I+\r\n"
        "--inner--\r\n"
        "--outer\r\n"
        "Content-Type: text/plain\r\n"
        "\r\n"
        ".one\r\n..two\r\n. three  \r\nblank end \r\n\r\n"
        "--outer\r\n"
        "Content-Type: application/octet-stream\r\n"
        "Content-Transfer-Encoding: base64\r\n"
        "Content-Disposition: attachment; filename=a.bin\r\n"
        "\r\n"
        "AAECe3s=\r\n"
        "--outer--\r\nepilogue\r\n";
    const char *const values[COLUMNS] = {"user@example.net", "山田", "t", "<i>&", "u"};
    struct text template = {0};
    struct expected e = expected_new();

    text_put(&template, template_bytes, sizeof template_bytes - 1);
    expect_header(&e, "Subject", "山田様か");
    expect_header(&e, "display:To", "山田様");
    expect_header(&e, "display:From", "飛脚");
    expect_part(&e, "text/plain", "café 山田 =  end\r\n.", strlen("café 山田 =  end\r\n."));
    expect_part(&e, "text/html", "<b>&lt;i&gt;&amp;</b>", strlen("<b>&lt;i&gt;&amp;</b>"));
    expect_part(&e, "text/plain", ".one\r\n..two\r\n. three  \r\nblank end \r\n",
                strlen(".one\r\n..two\r\n. three  \r\nblank end \r\n"));
    expect_part(&e, "application/octet-stream", "\x00\x01\x02{{", 5);
    case_run(s, "parts", &template, values, &e);
    text_free(&template);
}

/* `text`, which is UTF-8, in another charset. */
static void text_convert(struct text *out, const char *charset, const char *text)
{
    iconv_t cd = iconv_open(charset, "UTF-8");
    char octets[1024], *to = octets, *from = (char *)(uintptr_t)text;
    size_t room = sizeof octets, left = strlen(text);

    if (cd == (iconv_t)-1 || iconv(cd, &from, &left, &to, &room) == (size_t)-1 ||
        iconv(cd, NULL, NULL, &to, &room) == (size_t)-1)
        die("%s cannot be written in %s", text, charset);
    (void)iconv_close(cd);
    text_put(out, octets, sizeof octets - room);
}

static void text_quoted(struct text *out, const struct text *octets)
{
    char escape[8];

    for (size_t i = 0; i < octets->length; i++) {
        if (i % 20 == 19)
            text_add(out, "=\r\n");
        (void)snprintf(escape, sizeof escape, "=%02X", (unsigned)(unsigned char)octets->at[i]);
        text_add(out, escape);
    }
}

/* An HTML part in a charset that is not UTF-8, plain or quoted-printable, with tags: it becomes UTF-8 and says so. */
static void case_charset(struct bench_setup *s, const char *name, const char *charset, const char *text,
                         bool quoted)
{
    const char *const values[COLUMNS] = {"user@example.net", "Zoë 山田", "t", "<i>", "u"};
    struct text template = {0}, body = {0};
    struct expected e = expected_new();
    char *source = hk_xasprintf("<html><head><meta charset=\"%s\"></head>\r\n<p>%s {{name}} {{html}}</p>\r\n",
                                name, text);
    char *want =
        hk_xasprintf("<html><head><meta charset=\"UTF-8\"></head>\r\n<p>%s Zoë 山田 &lt;i&gt;</p>\r\n", text);
    char *head =
        hk_xasprintf("From: a@example.com\r\nSubject: {{name}}\r\nContent-Type: text/html; charset=%s\r\n"
                     "Content-Transfer-Encoding: %s\r\n\r\n",
                     name, quoted ? "quoted-printable" : "8bit");

    text_convert(&body, charset, source);
    text_add(&template, head);
    if (quoted)
        text_quoted(&template, &body);
    else
        text_put(&template, body.at, body.length);
    expect_header(&e, "Subject", values[1]);
    expect_part(&e, "text/html", want, strlen(want));
    case_run(s, name, &template, values, &e);
    text_free(&template);
    text_free(&body);
    free(source);
    free(want);
    free(head);
}

static void case_charsets(struct bench_setup *s)
{
    static const struct {
        const char *name, *charset, *text;
    } known[] = {
        {"windows-1252", "WINDOWS-1252", "café – “x” €5"},
        {"iso-8859-1", "WINDOWS-1252", "café – €5"}, /* what programs mean by it */
        {"ISO-8859-15", "ISO-8859-15", "café €5"},
        {"iso-2022-jp", "ISO-2022-JP", "山田 太郎 様、お知らせ"},
        {"Shift_JIS", "CP932", "①山田 髙橋 ﾊﾝｶｸ"},
        {"euc-jp", "EUC-JP", "山田 太郎"},
        {"gb2312", "GB18030", "中文 简体"},
        {"big5", "BIG5", "中文 繁體"},
        {"ks_c_5601-1987", "CP949", "한국어 똠"},
        {"koi8-r", "KOI8-R", "Привет"},
        {"windows-1251", "WINDOWS-1251", "Привет"},
    };

    for (size_t i = 0; i < 2 * sizeof known / sizeof known[0]; i++)
        case_charset(s, known[i / 2].name, known[i / 2].charset, known[i / 2].text, i % 2 == 1);
}

/* An inline image, a signed part, a forwarded message and an attachment, nested as mail programs nest them. */
static void case_nested(struct bench_setup *s)
{
    static const char bytes[] =
        "From: a@example.com\r\nSubject: {{name}}\r\n"
        "Content-Type: multipart/mixed; boundary=m\r\n\r\n"
        "--m\r\nContent-Type: multipart/alternative; boundary=m.a\r\n\r\n"
        "--m.a\r\nContent-Type: text/plain; charset=iso-2022-jp\r\n\r\n\x1B$B;3ED\x1B(B {{text}}\r\n"
        "--m.a\r\nContent-Type: multipart/related; type=\"text/html\"; boundary=\"m a r\"\r\n\r\n"
        "--m a r\r\nContent-Type: text/html; charset=windows-1252\r\n\r\n"
        "<img src=cid:i@x>\x80 {{html}}\r\n"
        "--m a r\r\nContent-Type: image/gif\r\nContent-ID: <i@x>\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        "R0lGe3s=\r\n--m a r--\r\n--m.a--\r\n"
        "--m\r\nContent-Type: multipart/signed; micalg=pgp-sha256; boundary=m.s;\r\n"
        " protocol=\"application/pgp-signature\"\r\n\r\n"
        "--m.s\r\nContent-Type: text/plain\r\n\r\n.signed =20 \r\n"
        "--m.s\r\nContent-Type: application/pgp-signature\r\n\r\n-----BEGIN PGP SIGNATURE-----\r\n--m.s--\r\n"
        "--m\r\nContent-Type: message/rfc822\r\n\r\nSubject: s\r\nDKIM-Signature: "
        "theirs\r\n\r\n{{untouched}}\r\n"
        "--m\r\nContent-Type: text/csv; name=l.csv\r\nContent-Disposition: attachment\r\n"
        "Content-Transfer-Encoding: quoted-printable\r\n\r\na=2Cb=\r\n,c\r\n"
        "--m\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n"
        "\x01\x02\xFF{{not_a_tag}}\r\n--m--\r\n";
    const char *const values[COLUMNS] = {"user@example.net", "Ann", "様", "<b>", "u"};
    struct text template = {0};
    struct expected e = expected_new();

    text_put(&template, bytes, sizeof bytes - 1);
    expect_header(&e, "Subject", "Ann");
    expect_part(&e, "text/plain", "山田 様", strlen("山田 様"));
    expect_part(&e, "text/html", "<img src=cid:i@x>€ &lt;b&gt;", strlen("<img src=cid:i@x>€ &lt;b&gt;"));
    expect_part(&e, "image/gif", "GIF{{", 5);
    expect_part(&e, "text/plain", ".signed =20 ", 12);
    expect_part(&e, "application/pgp-signature", "-----BEGIN PGP SIGNATURE-----", 29);
    expect_part(&e, "text/plain", "{{untouched}}", 13);
    expect_part(&e, "text/csv", "a,b,c", 5);
    expect_binary(&e, "application/octet-stream", "AQL/e3tub3RfYV90YWd9fQ==");
    case_run(s, "nested", &template, values, &e);
    text_free(&template);
}

static void make(const char *folder)
{
    static const char *const endings[2] = {"\r\n", "\n"};
    static const size_t sizes[] = {0, 1, 2, 75, 76, 77, 998, 1000, 65536, 1048576};
    static const char *const patterns[] = {"x", "line of text\n", ". \n", " \t\n", "日本語の本文。\n", "\r"};
    struct bench_setup s;
    char *very_long = long_value(60000);

    setup_open(&s, folder, 2);
    hostile[HOSTILE - 1] = very_long;
    for (unsigned i = 0; i < HOSTILE; i++) {
        for (unsigned k = 0; k < 4; k++)
            case_hostile(&s, hostile[i], endings[k & 1], k >= 2);
    }
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (unsigned k = 0; k < sizeof patterns / sizeof patterns[0]; k++) {
            for (unsigned tags = 0; tags < (sizes[i] < 100000 ? 4u : 2u); tags++)
                case_size(&s, sizes[i], tags, endings[k & 1], patterns[k]);
        }
    }
    case_parts(&s);
    case_nested(&s);
    case_charsets(&s);
    printf("%u copies\n", case_number);
    free(very_long);
    signer_free(s.signer);
}

/* ---- measuring ---- */

static void bench_template(struct text *out)
{
    text_add(
        out,
        "From: Hikyaku News <news@example.com>\r\nTo: {{name}} <{{email}}>\r\nSubject: Hello {{name}}\r\n"
        "Content-Type: multipart/alternative; boundary=b1\r\n\r\n--b1\r\n"
        "Content-Type: text/plain; charset=utf-8\r\n\r\nDear {{name}},\r\n");
    for (unsigned i = 0; i < 40; i++)
        text_add(out, "The quick brown fox jumps over the lazy dog near the river.\r\n");
    text_add(
        out,
        "{{unsubscribe_url}}\r\n--b1\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Dear {{name}},</p>");
    for (unsigned i = 0; i < 80; i++)
        text_add(out,
                 "<p class=\"x\">The quick brown fox jumps over the <b>lazy</b> dog near the river.</p>\r\n");
    text_add(out, "<a href=\"{{unsubscribe_url}}\">unsubscribe</a>\r\n--b1--\r\n");
}

/* Processor time: other processes on the machine do not count. */
static uint64_t cpu_us(void)
{
    struct timespec now;

    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now) != 0)
        die("clock_gettime");
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

static void bench_one(struct bench_setup *s, const char *label, size_t keys)
{
    const char *const values[COLUMNS] = {"user@example.net", "Yamada Taro", "t", "h", "u"};
    struct segment_record record = record_of(values);
    struct text template = {0};
    struct message *message;
    struct signer *signer;
    struct hk_why why = {{0}};
    struct copy copy = {0};
    uint64_t start, elapsed;
    uint32_t count = 0;

    bench_template(&template);
    s->config.dkim_count = keys;
    if (signer_load(&s->config, &signer, &why) != 0)
        die("%s", why.text);
    if (message_compile("bench", template.at, template.length, &s->config, signer, "bench", COLUMN, COLUMNS,
                        &message, &why) != 0)
        die("%s", why.text);
    start = cpu_us();
    do {
        for (unsigned i = 0; i < 64; i++) {
            if (message_render(message, &record, 0, count++, 1795000000000000u, &copy) != 0 ||
                message_sign(message, &copy) != 0)
                die("not rendered");
        }
        elapsed = cpu_us() - start;
    } while (elapsed < 2000000);
    printf("%-10s %8.0f copies/CPU-s  %7.2f us each  %zu octets  %zu iovecs\n", label,
           (double)count * 1e6 / (double)elapsed, (double)elapsed / count, copy.bytes, copy.iov_count);
    copy_free(&copy);
    message_free(message);
    signer_free(signer);
    text_free(&template);
}

/* The largest attachment that a template may have: what compiling costs, and that a copy shares it. */
static void bench_attachment(struct bench_setup *s)
{
    static const char line[] =
        "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5ejAxMjM0\r\n";
    const char *const values[COLUMNS] = {"user@example.net", "Ann", "t", "h", "u"};
    struct segment_record record = record_of(values);
    struct text template = {0};
    struct message *message;
    struct hk_why why = {{0}};
    struct copy copy[8] = {{0}};
    struct rusage before, compiled, rendered;
    uint64_t start, compile_us, render_us;

    text_add(&template,
             "From: a@example.com\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n{{name}}\r\n"
             "--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n");
    while (template.length + 2 * sizeof line < MESSAGE_TEMPLATE_MAX)
        text_put(&template, line, sizeof line - 1);
    text_add(&template, "--b--\r\n");
    (void)getrusage(RUSAGE_SELF, &before);
    start = cpu_us();
    if (message_compile("bench", template.at, template.length, &s->config, s->signer, "bench", COLUMN,
                        COLUMNS, &message, &why) != 0)
        die("%s", why.text);
    compile_us = cpu_us() - start;
    (void)getrusage(RUSAGE_SELF, &compiled);
    start = cpu_us();
    for (uint32_t i = 0; i < 8; i++) {
        if (message_render(message, &record, 0, i, 1795000000000000u, &copy[i]) != 0 ||
            message_sign(message, &copy[i]) != 0)
            die("not rendered");
    }
    render_us = (cpu_us() - start) / 8;
    (void)getrusage(RUSAGE_SELF, &rendered);
    printf("attachment %zu octets: compile %.0f ms, +%ld MB at its peak; a copy %.1f ms, 8 copies +%ld MB\n",
           template.length, (double)compile_us / 1e3, (compiled.ru_maxrss - before.ru_maxrss) / 1024,
           (double)render_us / 1e3, (rendered.ru_maxrss - compiled.ru_maxrss) / 1024);
    for (size_t i = 0; i < 8; i++)
        copy_free(&copy[i]);
    message_free(message);
    text_free(&template);
}

static void bench(void)
{
    char folder[] = "/tmp/hikyaku-bench-XXXXXX";
    struct bench_setup s;

    if (mkdtemp(folder) == NULL)
        die("mkdtemp");
    setup_open(&s, folder, 1);
    bench_one(&s, "unsigned", 0);
    bench_one(&s, "rsa2048", 1);
    bench_attachment(&s);
    signer_free(s.signer);
    for (size_t i = 0; i < 3; i++)
        (void)unlink(s.path[i]);
    (void)snprintf(s.path[0], sizeof s.path[0], "%s/records.json", folder);
    (void)unlink(s.path[0]);
    (void)rmdir(folder);
}

int main(int argc, char **argv)
{
    log_setup(LOG_LEVEL_ERROR, "dkim_copies");
    if (argc == 3 && strcmp(argv[1], "make") == 0)
        make(argv[2]);
    else if (argc == 2 && strcmp(argv[1], "bench") == 0)
        bench();
    else
        die("usage: dkim_copies make FOLDER | bench");
    return 0;
}
