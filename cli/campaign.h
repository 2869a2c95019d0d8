/* campaign.h - make a campaign out of what `send` was given, or hold what was given against the one there is.
 *
 * The files of a campaign are put in place by rename, and Redis is told last: a kill at any moment leaves either
 * no campaign (and files that the next `send` writes over) or a whole one. A lock on the campaign's directory
 * keeps two commands from preparing the same one.
 */
#ifndef CLI_CAMPAIGN_H
#define CLI_CAMPAIGN_H

#include "cli.h"
#include "hikyaku/message.h"
#include "hikyaku/segment.h"

struct campaign_source {
    const struct config *config;
    const char *id, *list_path, *message_path;
    const char *encoding;       /* of the list; NULL: UTF-8. Set by the caller behind campaign_source_open */
    const char *const *earlier; /* segments whose recipients the import leaves out */
    uint32_t earlier_count;
    char *message; /* the template as read */
    size_t message_length;
    struct signer *signer;
    int lock_fd;
    char input_sha256[HK_SHA256_HEX], message_sha256[HK_SHA256_HEX], sender_sha256[HK_SHA256_HEX];
};

/* Read and hash what was given (but for a list on standard input, which can be read once only: it has no hash yet), make
 * and lock the campaign's directory. campaign_source_close in either case. */
int campaign_source_open(const struct config *config, const char *id, const char *list_path,
                         const char *message_path, struct campaign_source *out,
                         struct hk_why *why) HK_MUST_USE;
void campaign_source_close(struct campaign_source *source);

/* Import the list through a child process; a signal to us ends it. rejected_path may be NULL. */
int campaign_import(const struct campaign_source *source, const char *segment_path, const char *rejected_path,
                    struct import_result *result, struct hk_why *why) HK_MUST_USE;
/* Compile the message against the segment's columns. */
int campaign_compile(const struct campaign_source *source, const struct segment *segment,
                     struct message **out, struct hk_why *why) HK_MUST_USE;

/* There is no such campaign yet: import, check the message against the columns, create. */
int campaign_create(const struct campaign_source *source, struct store *store, struct manifest *out,
                    struct hk_why *why) HK_MUST_USE;

/* There is one: is it the same list, message and sender? HK_ECHANGED says in numbers what differs. Puts back
 * files of this campaign that are missing on this machine. */
int campaign_compare(const struct campaign_source *source, const struct manifest *manifest,
                     struct hk_why *why) HK_MUST_USE;

/* There is one, and its list is to grow (--extend): whom the list has and the campaign has not stands in one segment more.
 * Says the difference in numbers. *manifest becomes the new one; a list with nobody new leaves it as it is. */
int campaign_extend(struct campaign_source *source, struct store *store, struct manifest *manifest,
                    struct hk_why *why) HK_MUST_USE;

/* Redis has forgotten the campaign, or a part of it: make what can be made of the files that are here. A campaign that is
 * gone is there again, as paused and with nobody sent to; one that is not loses what is of no use. *manifest is filled.
 * HK_ENOENT: nothing is kept here; HK_ECHANGED: the list is not the one it was made of. */
int campaign_rebuild(const struct config *config, const char *id, struct store *store,
                     struct manifest *manifest, bool *anew, struct hk_why *why) HK_MUST_USE;

/* How two lists differ in addresses; a local part counts without case, as the import counts duplicates. */
struct campaign_difference {
    uint64_t added, gone;
};
int campaign_segments_compare(const struct segment *before, const struct segment *after,
                              struct campaign_difference *out) HK_MUST_USE;

#endif
