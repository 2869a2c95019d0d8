/* test_gmime.c - a second opinion: of mails that are well-formed, GMime sees the parts that we see (bounce/mime.c, decode.c).
 *
 * Well-formed is what GMime has nothing to say against, and what names its parts by MIME. Compared are number and order of the
 * parts, what each is, how it is encoded, its charset and its bytes, the fields that we ask for, and those of the returned
 * message. The collection in tests/data/bounces is everybody's; the public one is read where it lies, if it is there. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <gmime/gmime.h>

#include "decode.h"
#include "mime.h"

#define NOTICES     "tests/data/bounces/notices.txt"
#define MAIL_MAX    (8u << 20)
#define NOTICES_MIN 20u  /* well-formed ones, of 59 */
#define PUBLIC_MIN  200u /* of 370 */

static struct mime_mail ours;
static unsigned warnings, mails, well_formed, parts_seen;
static const char *name; /* of the mail, for words to a person */

/* --- what GMime sees --- */

struct leaf {
    GMimeObject *object; /* the message's */
    enum mime_kind kind;
};
static struct leaf leaf[MIME_PARTS_MAX];
static unsigned leaves;
static bool has_empty; /* a multipart without a part */

static enum mime_kind kind_of(GMimeContentType *type)
{
    static const struct {
        const char *type;
        enum mime_kind kind;
    } known[] = {
        {"text/html", MIME_HTML},
        {"message/delivery-status", MIME_DELIVERY_STATUS},
        {"message/global-delivery-status", MIME_DELIVERY_STATUS},
        {"message/feedback-report", MIME_FEEDBACK},
        {"message/disposition-notification", MIME_DISPOSITION},
        {"message/rfc822", MIME_MESSAGE},
        {"message/global", MIME_MESSAGE},
        {"message/partial", MIME_MESSAGE},
        {"text/rfc822-headers", MIME_HEADERS},
        {"message/rfc822-headers", MIME_HEADERS},
        {"text/rfc822", MIME_HEADERS},
        {"text/rfc822-header", MIME_HEADERS},
        {"message/global-headers", MIME_HEADERS},
        {"message/global-disposition-notification", MIME_DISPOSITION},
        {"text/delivery-status", MIME_DELIVERY_STATUS},
    };
    char *text = g_mime_content_type_get_mime_type(type);
    enum mime_kind kind = strncasecmp(text, "text/", 5) == 0 ? MIME_TEXT : MIME_OTHER;

    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcasecmp(text, known[i].type) == 0)
            kind = known[i].kind;
    g_free(text);
    return kind;
}

static void walk(GMimeObject *object)
{
    if (GMIME_IS_MULTIPART(object)) {
        GMimeMultipart *multipart = GMIME_MULTIPART(object);
        has_empty |= g_mime_multipart_get_count(multipart) == 0;
        for (int i = 0; i < g_mime_multipart_get_count(multipart); i++)
            walk(g_mime_multipart_get_part(multipart, i));
    } else if (leaves < MIME_PARTS_MAX) {
        leaf[leaves++] = (struct leaf){object, kind_of(g_mime_object_get_content_type(object))};
    }
}

static void on_warning(gint64 offset, GMimeParserWarning code, const gchar *item, gpointer context)
{
    (void)offset;
    (void)item;
    (void)context;
    /* These are about what is no fault, or no matter of the parts. */
    if (code != GMIME_WARN_DUPLICATED_HEADER)
        warnings++;
}

static GMimeMessage *parse(const char *mail, size_t length)
{
    GMimeStream *stream = g_mime_stream_mem_new_with_buffer(mail, length);
    GMimeParser *parser = g_mime_parser_new_with_stream(stream);
    GMimeParserOptions *options = g_mime_parser_options_new();
    GMimeMessage *message;

    g_mime_parser_options_set_warning_callback(options, on_warning, NULL);
    g_mime_parser_set_format(parser,
                             strncmp(mail, "From ", 5) == 0 ? GMIME_FORMAT_MBOX : GMIME_FORMAT_MESSAGE);
    warnings = 0;
    message = g_mime_parser_construct_message(parser, options);
    g_mime_parser_options_free(options);
    g_object_unref(parser);
    g_object_unref(stream);
    return message;
}

/* --- the comparison --- */

static struct slice trim_ends(struct slice s)
{
    while (s.length > 0 && (s.at[s.length - 1] == '\n' || s.at[s.length - 1] == '\r'))
        s.length--;
    return s;
}

static void same_slice(struct slice ours_is, struct slice theirs, const char *what)
{
    if (ours_is.length != theirs.length ||
        (theirs.length > 0 && memcmp(ours_is.at, theirs.at, theirs.length) != 0))
        fail_msg("%s: %s is '%.*s', GMime says '%.*s'", name, what,
                 (int)(ours_is.length < 300 ? ours_is.length : 300), ours_is.length > 0 ? ours_is.at : "",
                 (int)(theirs.length < 300 ? theirs.length : 300), theirs.length > 0 ? theirs.at : "");
}

/* The first field of a name, as it is written. */
static struct slice field_of(GMimeObject *object, const char *field)
{
    GMimeHeaderList *list = g_mime_object_get_header_list(object);

    for (int i = 0; i < g_mime_header_list_get_count(list); i++) {
        GMimeHeader *header = g_mime_header_list_get_header_at(list, i);
        const char *raw = g_mime_header_get_raw_value(header);
        if (strcasecmp(g_mime_header_get_name(header), field) == 0 && raw != NULL)
            return slice_trim((struct slice){raw, strlen(raw)});
    }
    return (struct slice){"", 0};
}

static void same_fields(const struct mail_fields *fields, GMimeObject *object)
{
#define SAME_FIELD(field, words) same_slice(slice_trim(fields->field), field_of(object, words), words);
    MAIL_FIELDS(SAME_FIELD)
#undef SAME_FIELD
}

static enum mime_encoding encoding_of(GMimeObject *object)
{
    GMimeContentEncoding encoding = GMIME_IS_PART(object)
                                        ? g_mime_part_get_content_encoding(GMIME_PART(object))
                                        : GMIME_CONTENT_ENCODING_DEFAULT;

    return encoding == GMIME_CONTENT_ENCODING_BASE64            ? MIME_BASE64
           : encoding == GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE ? MIME_QUOTED_PRINTABLE
                                                                : MIME_IDENTITY;
}

static void same_bytes(const struct mime_part *part, GMimeObject *object)
{
    GMimeDataWrapper *content = g_mime_part_get_content(GMIME_PART(object));
    GMimeStream *stream = g_mime_stream_mem_new();
    struct text decoded = {.max = MAIL_MAX};
    GByteArray *bytes;

    if (content != NULL)
        g_mime_data_wrapper_write_to_stream(content, stream);
    bytes = g_mime_stream_mem_get_byte_array(GMIME_STREAM_MEM(stream));
    decode_transfer(part->encoding, part->body, &decoded);
    same_slice(trim_ends(text_slice(&decoded)),
               trim_ends((struct slice){(const char *)bytes->data, bytes->len}), "a part");
    text_free(&decoded);
    g_object_unref(stream);
}

static void same_part(const struct mime_part *part, const struct leaf *other)
{
    const char *charset =
        g_mime_content_type_get_parameter(g_mime_object_get_content_type(other->object), "charset");
    struct mail_fields fields;

    if (part->kind != other->kind || part->encoding != encoding_of(other->object))
        fail_msg("%s: a part is of kind %d in encoding %d, GMime says %d and %d", name, (int)part->kind,
                 (int)part->encoding, (int)other->kind, (int)encoding_of(other->object));
    if (charset != NULL)
        same_slice(part->charset, (struct slice){charset, strlen(charset)}, "a charset");
    if (GMIME_IS_MESSAGE_PART(other->object)) {
        GMimeMessage *inner = g_mime_message_part_get_message(GMIME_MESSAGE_PART(other->object));
        mime_fields(part->body, &fields);
        if (inner != NULL)
            same_fields(&fields, GMIME_OBJECT(inner));
    } else if (GMIME_IS_PART(other->object)) {
        same_bytes(part, other->object);
    }
    parts_seen++;
}

/* One that says nothing of MIME is one text, and what we guess of it is no matter of GMime's. */
static bool is_well_formed(GMimeMessage *message)
{
    GMimeObject *body = g_mime_message_get_mime_part(message);

    /* GMime keeps the fields of MIME with the part. */
    if (body == NULL || warnings > 0 || field_of(GMIME_OBJECT(message), "MIME-Version").length == 0 ||
        field_of(body, "Content-Type").length == 0)
        return false;
    leaves = 0;
    has_empty = false;
    walk(body);
    return !has_empty && leaves > 0;
}

static void compare(const char *mail, size_t length)
{
    GMimeMessage *message = parse(mail, length);

    mails++;
    if (message != NULL && is_well_formed(message)) {
        well_formed++;
        mime_read((struct slice){mail, length}, &ours);
        same_fields(&ours.fields, GMIME_OBJECT(message));
        if (ours.parts != leaves)
            fail_msg("%s: %u parts, GMime says %u", name, (unsigned)ours.parts, leaves);
        for (unsigned i = 0; i < leaves; i++)
            same_part(&ours.part[i], &leaf[i]);
    }
    if (message != NULL)
        g_object_unref(message);
}

/* --- the collections --- */

static void begin(void)
{
    mails = well_formed = parts_seen = 0;
}

static void gmime_sees_the_parts_of_our_own_notices_as_we_do(void **state)
{
    struct hk_why why;
    char *text, *at, *next;
    size_t length;

    (void)state;
    begin();
    assert_int_equal(hk_read_file(NOTICES, 1u << 20, &text, &length, &why), 0);
    for (at = strstr(text, "\n=== "); at != NULL; at = next) {
        char *title = at + 5, *mail = strchr(title, '\n') + 1;
        next = strstr(mail, "\n=== ");
        mail[-1] = '\0';
        name = title;
        compare(mail, next != NULL ? (size_t)(next + 1 - mail) : strlen(mail));
        name = NULL;
    }
    free(text);
    print_message("    %u of %u mails are well-formed, with %u parts\n", well_formed, mails, parts_seen);
    assert_true(well_formed >= NOTICES_MIN);
}

static void compare_file(const char *path)
{
    struct hk_why why;
    char *text;
    size_t length;

    assert_int_equal(hk_read_file(path, MAIL_MAX, &text, &length, &why), 0);
    name = path;
    compare(text, length);
    name = NULL;
    free(text);
}

static void compare_folder(const char *path)
{
    DIR *folder = opendir(path);
    struct dirent *entry;
    struct stat st;
    char file[4096 + 257];

    if (folder == NULL) {
        print_message("    left out: no %s (HK_SHARED names the folder)\n", path);
        return;
    }
    while ((entry = readdir(folder)) != NULL) {
        (void)snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
        if (stat(file, &st) == 0 && S_ISREG(st.st_mode))
            compare_file(file);
    }
    (void)closedir(folder);
    print_message("    %u of %u mails are well-formed, with %u parts\n", well_formed, mails, parts_seen);
    assert_true(well_formed >= PUBLIC_MIN);
}

static void gmime_sees_the_parts_of_the_public_mails_as_we_do(void **state)
{
    const char *shared = getenv("HK_SHARED") == NULL ? "../shared" : getenv("HK_SHARED");
    char path[4096];

    (void)state;
    begin();
    (void)snprintf(path, sizeof path, "%s/data/bounce/mails/maildir/bsd", shared);
    compare_folder(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gmime_sees_the_parts_of_our_own_notices_as_we_do),
        cmocka_unit_test(gmime_sees_the_parts_of_the_public_mails_as_we_do),
    };
    int failed;

    g_mime_init();
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    g_mime_shutdown();
    return failed;
}
