/* columns.h - the columns of a list: their names, and which one holds the addresses. */
#ifndef LIST_COLUMNS_H
#define LIST_COLUMNS_H

#include "hikyaku/segment.h"

struct columns {
    char *name[SEGMENT_COLUMNS_MAX];
    uint32_t count, email;
};

/* Take a column. `list` and `line` are for words. 0; HK_EINVAL: one too many, or there is one of that name;
 * HK_ENOMEM. */
int columns_add(struct columns *columns, const char *list, uint64_t line, struct segment_field name,
                struct hk_why *why) HK_MUST_USE;
/* All are taken: find the column of addresses. 0 or HK_EINVAL. */
int columns_close(struct columns *columns, const char *list, uint64_t line, struct hk_why *why) HK_MUST_USE;
void columns_free(struct columns *columns);

#endif
