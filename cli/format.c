/* format.c - figures as people read them. Pure. */
#include "format.h"

const char *format_count(uint64_t value, char out[FORMAT_SIZE])
{
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
    size_t used = 0;
    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            out[used++] = ',';
        out[used++] = digits[i];
    }
    out[used] = '\0';
    return out;
}

const char *format_duration(uint64_t ms, char out[FORMAT_SIZE])
{
    unsigned long long s = (ms + 500) / 1000;
    if (ms < 1000)
        snprintf(out, FORMAT_SIZE, "%llu ms", (unsigned long long)ms);
    else if (ms < 9950)
        snprintf(out, FORMAT_SIZE, "%.1f s", (double)ms / 1000);
    else if (s < 60)
        snprintf(out, FORMAT_SIZE, "%llu s", s);
    else if (s < 3600)
        snprintf(out, FORMAT_SIZE, "%llu min %llu s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(out, FORMAT_SIZE, "%llu h %llu min", s / 3600, s % 3600 / 60);
    else
        snprintf(out, FORMAT_SIZE, "%llu d %llu h", s / 86400, s % 86400 / 3600);
    return out;
}

const char *format_rate(double per_second, char out[FORMAT_SIZE])
{
    if (per_second >= 99.5)
        return format_count((uint64_t)(per_second + 0.5), out);
    snprintf(out, FORMAT_SIZE, "%.1f", per_second);
    return out;
}

const char *format_share(uint64_t part, uint64_t whole, char out[FORMAT_SIZE])
{
    double share = whole ? 100.0 * (double)part / (double)whole : 0;
    if (part > 0 && share < 0.1)
        share = 0.1;
    if (part < whole && share > 99.9)
        share = 99.9;
    snprintf(out, FORMAT_SIZE, "%.1f %%", share);
    return out;
}
