/* suppress.h - what the suppress commands share: which scopes are meant, and telling a running node. */
#ifndef CLI_SUPPRESS_H
#define CLI_SUPPRESS_H

#include "cli.h"
#include "hikyaku/suppress.h"

struct scopes {
    char name[3][SUPPRESS_SCOPE_MAX];
    size_t count;
};

/* One scope as typed (all, sender, list), or with NULL every scope that applies to this sender. HK_EINVAL in words. */
int suppress_scopes(const struct config *config, const char *typed, struct scopes *out,
                    struct hk_why *why) HK_MUST_USE;

/* Have the running node read what was changed, all of it; where none runs, the next one reads it. */
int suppress_tell_node(const struct reach *reach, struct hk_why *why) HK_MUST_USE;

#endif
