/* openssl_faults.h - OpenSSL's allocations fail where the test says, for tests made by hk_fault_test() (faults.h). */
#ifndef TEST_OPENSSL_FAULTS_H
#define TEST_OPENSSL_FAULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

#include <openssl/crypto.h>

void *__real_malloc(size_t size);
void *__real_realloc(void *old, size_t size);

static bool (*openssl_fails)(void);

static inline void *openssl_malloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return openssl_fails() ? NULL : __real_malloc(size);
}

static inline void *openssl_realloc(void *old, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return openssl_fails() ? NULL : __real_realloc(old, size);
}

static inline void openssl_free(void *memory, const char *file, int line)
{
    (void)file;
    (void)line;
    free(memory);
}

/* Ask `fails` about each from now on; before OpenSSL's first allocation. False: it is too late. */
static inline bool openssl_ask(bool (*fails)(void))
{
    openssl_fails = fails;
    return CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) == 1;
}

#endif
