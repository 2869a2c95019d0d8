/* fixture.h - a configuration, a signer and a rendered message for the tests of message/. */
#ifndef MESSAGE_FIXTURE_H
#define MESSAGE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hikyaku/address.h"
#include "hikyaku/message.h"

#define FIXTURE_WALL_US 1795000000000000u

static const char *const FIXTURE_COLUMN[] = {"email", "name", "city"};

struct fixture {
    char folder[64], rsa[96], ed[96], verp[96];
    struct config config;
    struct cfg_dkim dkim[2];
    struct signer *signer;
    struct hk_why why;
    char *text; /* the rendered message, without stuffed dots undone */
    char mail_from[321];
    size_t iov_count;
};

static inline void fixture_keys(struct fixture *f)
{
    char *record;

    (void)snprintf(f->folder, sizeof f->folder, "/tmp/hikyaku-message-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    (void)snprintf(f->rsa, sizeof f->rsa, "%s/s1.pem", f->folder);
    (void)snprintf(f->ed, sizeof f->ed, "%s/ed.pem", f->folder);
    (void)snprintf(f->verp, sizeof f->verp, "%s/verp.key", f->folder);
    assert_int_equal(keygen_dkim(DKIM_RSA2048, "example.com", "s1", f->rsa, &record, &f->why), 0);
    free(record);
    assert_int_equal(keygen_dkim(DKIM_ED25519, "example.com", "ed", f->ed, &record, &f->why), 0);
    free(record);
    assert_int_equal(keygen_verp(f->verp, &f->why), 0);
}

static inline int fixture_open(void **state)
{
    static char from[] = "example.com", return_path[] = "bounce.example.com", file[] = "test.conf",
                s1[] = "s1", ed[] = "ed";
    struct fixture *f = hk_xcalloc(1, sizeof *f);

    log_setup(LOG_LEVEL_ERROR, "test");
    fixture_keys(f);
    f->config.file = file;
    f->config.sender.from_domain = from;
    f->config.sender.return_path = return_path;
    f->config.sender.secret_file = f->verp;
    f->config.dkim = f->dkim;
    f->dkim[0] = (struct cfg_dkim){s1, from, f->rsa};
    f->dkim[1] = (struct cfg_dkim){ed, from, f->ed};
    assert_int_equal(signer_load(&f->config, &f->signer, &f->why), 0);
    *state = f;
    return 0;
}

/* Standard error into a file, and what was written there: the notes are a promise too. */
static inline int log_capture_begin(void)
{
    FILE *file = tmpfile();
    int kept = dup(STDERR_FILENO);

    assert_non_null(file);
    assert_true(dup2(fileno(file), STDERR_FILENO) >= 0);
    (void)fclose(file);
    log_setup(LOG_LEVEL_INFO, "test");
    return kept;
}

static inline const char *log_capture_end(int kept)
{
    static char text[4096];
    ssize_t length;

    (void)fflush(stderr);
    length = pread(STDERR_FILENO, text, sizeof text - 1, 0);
    assert_true(length >= 0);
    text[length] = 0;
    assert_true(dup2(kept, STDERR_FILENO) >= 0);
    (void)close(kept);
    log_setup(LOG_LEVEL_ERROR, "test");
    return text;
}

static inline int fixture_close(void **state)
{
    struct fixture *f = *state;

    signer_free(f->signer);
    (void)unlink(f->rsa);
    (void)unlink(f->ed);
    (void)unlink(f->verp);
    (void)rmdir(f->folder);
    free(f->text);
    free(f);
    return 0;
}

static inline int fixture_compile(struct fixture *f, const char *template, size_t length,
                                  struct message **out)
{
    memset(&f->why, 0, sizeof f->why);
    return message_compile("m.eml", template, length, &f->config, f->signer, "spring", FIXTURE_COLUMN, 3, out,
                           &f->why);
}

/* Compile must fail, with these words. */
static inline void refused(struct fixture *f, const char *template, const char *words)
{
    struct message *message;

    assert_int_equal(fixture_compile(f, template, strlen(template), &message), HK_EINVAL);
    assert_string_equal(f->why.text, words);
}

static inline struct segment_record fixture_record(const char *email, const char *name, const char *city)
{
    struct segment_record record = {.email = email, .wire = email};

    record.email_length = record.wire_length = (uint32_t)strlen(email);
    record.wire_local_length = (uint32_t)(strrchr(email, '@') - email);
    record.field[0] = (struct segment_field){email, record.email_length};
    record.field[1] = (struct segment_field){name, (uint32_t)strlen(name)};
    record.field[2] = (struct segment_field){city, (uint32_t)strlen(city)};
    return record;
}

/* A whole copy: rendered and signed. */
static inline int copy_made(const struct message *message, const struct segment_record *record,
                            uint32_t index, struct copy *copy)
{
    int error = message_render(message, record, 0, index, FIXTURE_WALL_US, copy);

    return error != 0 ? error : message_sign(message, copy);
}

static inline const char *rendered_record(struct fixture *f, const char *template,
                                          const struct segment_record *record)
{
    struct message *message;
    struct copy copy = {0};
    size_t used = 0, notes;
    const struct note *note;

    if (fixture_compile(f, template, strlen(template), &message) != 0)
        fail_msg("%s", f->why.text);
    note = message_notes(message, &notes);
    notes_log(note, notes);
    assert_int_equal(copy_made(message, record, 7, &copy), 0);
    f->text = hk_xrealloc(f->text, copy.bytes + 1, 1);
    for (size_t i = 0; i < copy.iov_count; i++) {
        memcpy(f->text + used, copy.iov[i].iov_base, copy.iov[i].iov_len);
        used += copy.iov[i].iov_len;
    }
    assert_int_equal(used, copy.bytes);
    f->text[used] = 0;
    f->iov_count = copy.iov_count;
    memcpy(f->mail_from, copy.mail_from, sizeof f->mail_from);
    copy_free(&copy);
    message_free(message);
    return f->text;
}

static inline const char *rendered(struct fixture *f, const char *template, const char *name,
                                   const char *city)
{
    struct segment_record record = fixture_record("user@example.net", name, city);

    return rendered_record(f, template, &record);
}

/* One field of the rendered header, its folding included, without the last line end; NULL if it is not there. */
static inline char *header_of(const char *message, const char *name)
{
    static char value[8192];
    const char *end = strstr(message, "\r\n\r\n");
    size_t length = strlen(name);

    for (const char *line = message; line < end; line = strstr(line, "\r\n") + 2) {
        const char *stop = line;

        if (strncmp(line, name, length) != 0 || line[length] != ':')
            continue;
        do {
            stop = strstr(stop + 1, "\r\n");
        } while (stop[2] == ' ' || stop[2] == '\t');
        (void)snprintf(value, sizeof value, "%.*s", (int)(stop - line - (long)length - 2), line + length + 2);
        return value;
    }
    return NULL;
}

static inline const char *body_of(const char *message)
{
    return strstr(message, "\r\n\r\n") + 4;
}

#endif
