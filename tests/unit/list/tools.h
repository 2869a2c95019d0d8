/* tools.h - a folder for one test, files in it, and an import between them. */
#ifndef TEST_LIST_TOOLS_H
#define TEST_LIST_TOOLS_H

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "hikyaku/segment.h"

struct place {
    char folder[64];
    char list[96], segment[96], segment_tmp[96], rejected[96], rejected_tmp[96];
    struct import_options options;
    struct import_result result;
    struct hk_why why;
};

static inline int place_setup(void **state)
{
    struct place *p = hk_xcalloc(1, sizeof *p);

    snprintf(p->folder, sizeof p->folder, "/tmp/hikyaku-list-XXXXXX");
    if (mkdtemp(p->folder) == NULL)
        return -1;
    snprintf(p->list, sizeof p->list, "%s/list.csv", p->folder);
    snprintf(p->segment, sizeof p->segment, "%s/list.seg", p->folder);
    snprintf(p->segment_tmp, sizeof p->segment_tmp, "%s/list.seg.tmp", p->folder);
    snprintf(p->rejected, sizeof p->rejected, "%s/rejected.csv", p->folder);
    snprintf(p->rejected_tmp, sizeof p->rejected_tmp, "%s/rejected.csv.tmp", p->folder);
    p->options.list_path = p->list;
    p->options.segment_path = p->segment;
    p->options.rejected_path = p->rejected;
    *state = p;
    return 0;
}

static inline int place_teardown(void **state)
{
    struct place *p = *state;
    bool clean = access(p->segment_tmp, F_OK) != 0 && access(p->rejected_tmp, F_OK) != 0;

    unlink(p->list);
    unlink(p->segment);
    unlink(p->segment_tmp);
    unlink(p->rejected);
    unlink(p->rejected_tmp);
    clean = rmdir(p->folder) == 0 && clean;
    free(p);
    return clean ? 0 : -1; /* no test may leave a temporary file */
}

#define place_test(f) cmocka_unit_test_setup_teardown(f, place_setup, place_teardown)

static inline void place_write(struct place *p, const char *bytes, size_t length)
{
    assert_int_equal(hk_write_file(p->list, 0600, bytes, length, &p->why), 0);
}

static inline int place_import_bytes(struct place *p, const char *bytes, size_t length)
{
    place_write(p, bytes, length);
    return list_import(&p->options, &p->result, &p->why);
}

static inline int place_import(struct place *p, const char *text)
{
    return place_import_bytes(p, text, strlen(text));
}

/* Import what must be taken. */
static inline void place_take(struct place *p, const char *text)
{
    if (place_import(p, text) != 0)
        fail_msg("refused: %s", p->why.text);
}

static inline void place_assert_file(const char *path, const char *text)
{
    struct hk_why why = {""};
    char *bytes;
    size_t length;

    if (hk_read_file(path, 1u << 30, &bytes, &length, &why) != 0)
        fail_msg("%s", why.text);
    assert_string_equal(bytes, text);
    assert_int_equal(length, strlen(text));
    free(bytes);
}

static inline struct segment *place_open(struct place *p)
{
    struct segment *segment;

    if (segment_open(p->segment, true, &segment, &p->why) != 0)
        fail_msg("%s", p->why.text);
    assert_string_equal(segment_sha256(segment), p->result.segment_sha256);
    return segment;
}

static inline void assert_text(const char *text, size_t length, const char *expected)
{
    if (length != strlen(expected) || memcmp(text, expected, length) != 0)
        fail_msg("\"%.*s\" is not \"%s\"", (int)length, text, expected);
}

#endif
