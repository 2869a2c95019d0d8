/* secret.c - memory for what children of a process must not have: a fork leaves them a page of zeros (base.h). */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "hikyaku/base.h"

int hk_secret_new(size_t size, char **out, struct hk_why *why)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int error;

    if (memory == MAP_FAILED)
        return why_set(why, HK_ENOMEM, "not enough memory for a secret");
    if (madvise(memory, size, MADV_WIPEONFORK) != 0) {
        error = errno;
        (void)munmap(memory, size);
        return why_set(why, HK_EDOWN,
                       "this kernel has no memory that children do not inherit (MADV_WIPEONFORK): %s",
                       strerror(error));
    }
    (void)madvise(memory, size, MADV_DONTDUMP);
    *out = memory;
    return 0;
}

void hk_secret_free(char *secret, size_t size)
{
    if (secret == NULL)
        return;
    explicit_bzero(secret, size);
    (void)munmap(secret, size);
}
