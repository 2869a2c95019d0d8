/* import.h - the import with its row limit as a parameter, so that a test can reach the limit. */
#ifndef LIST_IMPORT_H
#define LIST_IMPORT_H

#include "hikyaku/segment.h"

/* list_import() with rows_max (at most IMPORT_ROWS_MAX) for the rows it takes. */
int import_run(const struct import_options *options, uint32_t rows_max, struct import_result *out,
               struct hk_why *why) HK_MUST_USE;

#endif
