/* test_charsets.c - a confined process still reads every charset that mails come in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <iconv.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hikyaku/bounce.h"
#include "hikyaku/process.h"

/* "\u65e5\u672c" (or "\u00e9") in each. */
static const struct {
    const char *charset, *bytes, *utf8;
} rows[] = {
    {"iso-8859-1", "\xe9", "\u00e9"},
    {"CP1252", "\xe9", "\u00e9"},
    {"EUC-JP-MS", "\xc6\xfc\xcb\xdc", "\u65e5\u672c"},
    {"CP932", "\x93\xfa\x96\x7b", "\u65e5\u672c"},
    {"shift_jis", "\x93\xfa\x96\x7b", "\u65e5\u672c"},
    {"iso-2022-jp", "\x1b$BF|K\\\x1b(B", "\u65e5\u672c"},
    {"gb2312", "\xc8\xd5\xb1\xbe", "\u65e5\u672c"},
    {"big5", "\xa4\xe9\xa5\xbb", "\u65e5\u672c"},
    {"koi8-r", "\xc4\xc1", "\u0434\u0430"},
    {"utf-16le", "\xe5\x65\x2c\x67", "\u65e5\u672c"},
};

/* The number of the first row that cannot be read, 0 none, 255 no confinement. */
static int first_unread(void)
{
    struct hk_why why;

    charsets_load();
    if (process_confine(&why) != 0)
        return 255;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *from = (char *)(uintptr_t)rows[i].bytes, text[32] = "", *to = text;
        size_t left = strlen(rows[i].bytes), room = sizeof text - 1;
        iconv_t cd = iconv_open("UTF-8", rows[i].charset);
        if (strcmp(rows[i].charset, "utf-16le") == 0)
            left = 4;
        if (cd == (iconv_t)-1 || iconv(cd, &from, &left, &to, &room) == (size_t)-1 ||
            strcmp(text, rows[i].utf8) != 0)
            return (int)i + 1;
        iconv_close(cd);
    }
    return 0;
}

static void a_confined_process_reads_them_all(void **state)
{
    int status;
    pid_t pid = fork();

    (void)state;
    if (pid == 0)
        _exit(first_unread());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_confined_process_reads_them_all)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
