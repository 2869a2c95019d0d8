/* format.h - figures as people read them. Pure; every function writes into `out` and returns it. */
#ifndef CLI_FORMAT_H
#define CLI_FORMAT_H

#include "hikyaku/base.h"

#define FORMAT_SIZE 40

/* 1234567 as "1,234,567". */
const char *format_count(uint64_t value, char out[FORMAT_SIZE]);
/* 412 ms, 4.2 s, 41 s, 1 min 12 s, 3 h 5 min, 2 d 3 h: two units at most. */
const char *format_duration(uint64_t ms, char out[FORMAT_SIZE]);
/* 0.4, 12.5, 138, 12,345: a rate, as exact as it is worth. */
const char *format_rate(double per_second, char out[FORMAT_SIZE]);
/* part of whole as "97.3 %"; what is neither none nor all never reads as 0.0 or 100.0. */
const char *format_share(uint64_t part, uint64_t whole, char out[FORMAT_SIZE]);

#endif
