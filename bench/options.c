/* options.c - see options.h. */
#include "options.h"

#include <getopt.h>
#include <stdarg.h>
#include <string.h>

#define OPTIONS_MAX 64u

static const char *program_name = "";

_Noreturn void option_usage(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fprintf(stderr, "%s: ", program_name);
    vfprintf(stderr, format, args);
    fprintf(stderr, " (%s --help lists the options)\n", program_name);
    va_end(args);
    exit(2);
}

void options_print(const struct option_row *table, size_t rows)
{
    for (size_t i = 0; i < rows; i++) {
        char left[48];

        snprintf(left, sizeof left, "--%s %s", table[i].name, table[i].value != NULL ? table[i].value : "");
        printf("  %-28s %s\n", left, table[i].help);
    }
}

static uint64_t number_read(const struct option_row *row, const char *text)
{
    unsigned long long value;
    char *end;

    value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || value < row->min || value > row->max)
        option_usage("--%s %s: write a whole number from %llu to %llu", row->name, text,
                     (unsigned long long)row->min, (unsigned long long)row->max);
    return value;
}

static double share_read(const struct option_row *row, const char *text)
{
    double value;
    char *end;

    value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= 0 && value <= 1))
        option_usage("--%s %s: write a share from 0 to 1, as 0.05", row->name, text);
    return value;
}

static uint32_t time_read(const struct option_row *row, const char *text)
{
    static const struct {
        const char *name;
        uint64_t ms;
    } unit[] = {{"ms", 1}, {"s", 1000}, {"min", 60000}, {"h", 3600000}};
    unsigned long long value;
    char *end;

    value = strtoull(text, &end, 10);
    if (text[0] >= '0' && text[0] <= '9' && value <= UINT32_MAX)
        for (size_t i = 0; i < sizeof unit / sizeof unit[0]; i++)
            if (strcmp(end, unit[i].name) == 0 && value * unit[i].ms >= row->min &&
                value * unit[i].ms <= row->max)
                return (uint32_t)(value * unit[i].ms);
    option_usage("--%s %s: write a time from %llums to %llus, as 500ms, 10s or 5min", row->name, text,
                 (unsigned long long)row->min, (unsigned long long)row->max / 1000);
}

static void option_take(void *out, const struct option_row *row)
{
    void *field = (char *)out + row->at;

    switch (row->kind) {
    case OPTION_FLAG:
        *(bool *)field = true;
        return;
    case OPTION_NUMBER:
        if (row->max > UINT32_MAX)
            *(uint64_t *)field = number_read(row, optarg);
        else
            *(uint32_t *)field = (uint32_t)number_read(row, optarg);
        return;
    case OPTION_SHARE:
        *(double *)field = share_read(row, optarg);
        return;
    case OPTION_TIME:
        *(uint32_t *)field = time_read(row, optarg);
        return;
    case OPTION_TEXT:
        *(const char **)field = optarg;
        return;
    case OPTION_OWN:
        break;
    }
}

void options_read(const char *program, const struct option_row *table, size_t rows, option_own *own,
                  void *out, int argc, char **argv)
{
    struct option options[OPTIONS_MAX + 1] = {{0}};
    int index, got;

    HK_BUG_ON(rows > OPTIONS_MAX);
    program_name = program;
    for (size_t i = 0; i < rows; i++)
        options[i] =
            (struct option){table[i].name, table[i].value != NULL ? required_argument : no_argument, NULL, 0};
    opterr = 0;
    while ((got = getopt_long(argc, argv, "+:", options, &index)) != -1) {
        if (got == ':')
            option_usage("%s: its value is missing", argv[optind - 1]);
        if (got != 0)
            option_usage("%s: no such option", argv[optind - 1]);
        if (table[index].kind == OPTION_OWN)
            own(out, &table[index], argc, argv);
        else
            option_take(out, &table[index]);
    }
    if (optind < argc)
        option_usage("%s: what is this? Options begin with --", argv[optind]);
}
