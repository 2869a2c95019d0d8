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

/* What was given as --reason to this command ("suppress add"), before anything is asked: HK_EINVAL says what is wrong with it. */
int suppress_reason_check(const char *command, const char *reason, struct hk_why *why) HK_MUST_USE;

/* Entries that are changed together: a request of the node's, that runs or is ours for a moment, after another. */
struct changes {
    enum suppress_change change;
    size_t most; /* entries in one request */
    /* The next entry: 1 and *out, 0 there is none, or an error with the words, which ends it. It stays until it is told. */
    int (*next)(void *context, struct suppress_entry *out, struct hk_why *why);
    /* What became of each, in the same order; not 0 ends it. */
    int (*told)(void *context, const struct suppress_entry *entry, bool changed, struct hk_why *why);
    void *context;
};
int suppress_change(struct reach *reach, const struct changes *changes, struct hk_why *why) HK_MUST_USE;

#endif
