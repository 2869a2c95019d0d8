/* options.h - the command line of a program in bench/, from a table with a row for each option.
 *
 * The parser, getopt's table and --help come from the rows. Every error is one line on standard error that says what to
 * write instead, and exit status 2.
 */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include "hikyaku/base.h"

enum option_kind {
    OPTION_FLAG,   /* bool */
    OPTION_NUMBER, /* uint32_t, or uint64_t where max says so */
    OPTION_SHARE,  /* double, 0 to 1 */
    OPTION_TIME,   /* uint32_t milliseconds; "500ms", "10s", "5min" */
    OPTION_TEXT,   /* const char * */
    OPTION_OWN,    /* the program's own function reads optarg */
};

struct option_row {
    const char *name;
    enum option_kind kind;
    size_t at;         /* of the field in the program's options */
    uint64_t min, max; /* of a number, or milliseconds; max > UINT32_MAX says that the field has 64 bits */
    const char *value, *help;
};

/* Reads optarg, and more words from argv[optind] on if it moves optind. */
typedef void option_own(void *out, const struct option_row *row, int argc, char **argv);

/* Fill `out` from the arguments; only options, nothing else. `program` is how errors begin. */
void options_read(const char *program, const struct option_row *table, size_t rows, option_own *own,
                  void *out, int argc, char **argv);
/* A line for each row. */
void options_print(const struct option_row *table, size_t rows);
_Noreturn void option_usage(const char *format, ...) HK_PRINTF(1, 2);

#endif
