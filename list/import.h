/* import.h - the import with its limits as parameters, so that a test can reach them. */
#ifndef LIST_IMPORT_H
#define LIST_IMPORT_H

#include "hikyaku/segment.h"

struct import_limits {
    uint32_t rows; /* that are taken; at most IMPORT_ROWS_MAX */
    size_t memory; /* bytes of recipients; what is more is sorted on disk */
};

/* list_import() within other limits. */
int import_run(const struct import_options *options, const struct import_limits *limits,
               struct import_result *out, struct hk_why *why) HK_MUST_USE;

#endif
