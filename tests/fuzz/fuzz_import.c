/* fuzz_import.c - the import as a whole: whatever the list and its encoding, it ends in a segment that can be read or
 * in words.
 *
 * The first byte chooses the encoding and how little memory there is, so that decoding, the guesses and the sort on
 * disk are reached; the rest is the list, fed through a file of its own.
 */
#include <string.h>
#include <unistd.h>

#include "import.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char folder[64], list[96], out[96], rejected[96];

static void clean_up(void)
{
    unlink(list);
    unlink(out);
    unlink(rejected);
    rmdir(folder);
}

/* In memory where there is such a place: a sync to a disk for each input would leave no time for the import. */
static void make_folder(void)
{
    snprintf(folder, sizeof folder, "%s/hikyaku-fuzz-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    HK_BUG_ON(mkdtemp(folder) == NULL);
    snprintf(list, sizeof list, "%s/list", folder);
    snprintf(out, sizeof out, "%s/out", folder);
    snprintf(rejected, sizeof rejected, "%s/rejected", folder);
    HK_BUG_ON(atexit(clean_up) != 0);
}

static void read_segment(const char *path, uint64_t recipients)
{
    struct segment_record record;
    struct segment *segment;
    struct hk_why why = {""};

    HK_BUG_ON(segment_open(path, true, &segment, &why) != 0);
    HK_BUG_ON(segment_count(segment) != recipients);
    for (uint32_t i = 0; i < segment_count(segment); i++)
        HK_BUG_ON(segment_record(segment, i, &record) != 0);
    segment_close(segment);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const encodings[] = {NULL,     "Shift_JIS",    "EUC-JP", "ISO-2022-JP",
                                            "UTF-16", "windows-1252", "UTF-8",  "UTF-32LE"};
    struct import_options options = {.list_path = list, .segment_path = out, .rejected_path = rejected};
    struct import_limits limits = {1000, 1u << 20};
    struct import_result result;
    struct hk_why why = {""};
    int rc;

    if (size < 1)
        return 0;
    if (folder[0] == '\0')
        make_folder();
    options.encoding = encodings[data[0] % 8];
    limits.memory = data[0] >= 128 ? 0 : limits.memory;
    HK_BUG_ON(hk_write_file(list, 0600, data + 1, size - 1, &why) != 0);
    rc = import_run(&options, &limits, &result, &why);
    if (rc == 0)
        read_segment(out, result.recipients);
    else
        HK_BUG_ON(why.text[0] == '\0' || strchr(why.text, '\n') != NULL);
    return 0;
}
