/* identity.c - state_dir/node.id (identity.h). */
#include "identity.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/random.h>

#define IDENTITY_FILE      "node.id"
#define IDENTITY_BYTES_MAX 128u

static int make_id(char id[LEASE_ID_SIZE], struct hk_why *why)
{
    uint8_t bytes[(LEASE_ID_SIZE - 1) / 2];

    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return why_set(why, HK_EIO, "no random bytes are to be had: %s", strerror(errno));
    hk_hex(bytes, sizeof bytes, id);
    return 0;
}

static bool read_id(const char *text, struct node_place *place)
{
    return sscanf(text, "%32[0-9a-f] %" SCNu64, place->id, &place->epoch) == 2 &&
           strlen(place->id) == LEASE_ID_SIZE - 1;
}

int identity_open(const struct config *config, struct node_place *place, struct hk_why *why)
{
    char path[4096], *text = NULL;
    size_t length;
    int rc = config_path(config, path, sizeof path, IDENTITY_FILE);
    bool known;

    if (rc != 0)
        return why_set(why, HK_ETOOBIG, "%s: state_dir is too long a path", config->state_dir);
    rc = hk_read_file(path, IDENTITY_BYTES_MAX, &text, &length, why);
    if (rc != 0 && rc != HK_ENOENT && rc != HK_ETOOBIG)
        return rc;
    known = rc == 0 && read_id(text, place);
    free(text);
    if (known)
        return 0;
    if (rc != HK_ENOENT)
        log_warning("%s is damaged: this state_dir gets a new identity", path);
    place->epoch = 0;
    return make_id(place->id, why);
}

int identity_keep(const struct config *config, const struct node_place *place, struct hk_why *why)
{
    char path[4096], text[IDENTITY_BYTES_MAX];
    int length = snprintf(text, sizeof text, "%s %" PRIu64 "\n", place->id, place->epoch);

    if (config_path(config, path, sizeof path, IDENTITY_FILE) != 0)
        return why_set(why, HK_ETOOBIG, "%s: state_dir is too long a path", config->state_dir);
    return hk_write_file(path, 0600, text, (size_t)length, why);
}
