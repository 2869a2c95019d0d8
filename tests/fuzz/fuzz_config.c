/* fuzz_config.c - any bytes as a configuration: read or refused with a line, and what is read prints and reads
 * to the same. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hikyaku/config.h"

static char *printed(const struct config *config)
{
    char *text = NULL;
    size_t size;
    FILE *f = open_memstream(&text, &size);

    HK_BUG_ON(f == NULL);
    config_print(config, f);
    fclose(f);
    return text;
}

static int load(const void *bytes, size_t length, struct config **out)
{
    struct hk_why why = {""};
    char path[64];
    int fd = memfd_create("config", 0), rc;

    HK_BUG_ON(fd < 0 || hk_write_all(fd, bytes, length) != 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    rc = config_load(path, out, &why);
    HK_BUG_ON(rc != 0 && (*out != NULL || strncmp(why.text, path, strlen(path)) != 0));
    close(fd);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config *first, *second;
    char *once, *twice;

    if (load(data, size, &first) != 0)
        return 0;
    once = printed(first);
    HK_BUG_ON(load(once, strlen(once), &second) != 0);
    twice = printed(second);
    HK_BUG_ON(strcmp(once, twice) != 0);
    free(once);
    free(twice);
    config_free(first);
    config_free(second);
    return 0;
}
