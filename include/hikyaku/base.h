/* base.h - what every folder stands on: error codes, words for a person, clocks, small tools.
 *
 * Three things never mix: a call of ours failed -> a negative HK_E*; a server answered -> an outcome
 * (region.h), never an error; we are wrong -> HK_BUG_ON, which stops the process and leaves the flight table
 * to tell.
 */
#ifndef HIKYAKU_BASE_H
#define HIKYAKU_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define HK_MUST_USE     __attribute__((warn_unused_result))
#define HK_PRINTF(f, a) __attribute__((format(printf, f, a)))

/* One row per error: the code, and the words for it. */
#define HK_ERRORS(X)                                 \
    X(HK_EINVAL, -1, "bad input")                    \
    X(HK_ENOMEM, -2, "out of memory")                \
    X(HK_EIO, -3, "input or output failed")          \
    X(HK_ENOENT, -4, "not found")                    \
    X(HK_EEXIST, -5, "exists already")               \
    X(HK_ETOOBIG, -6, "too large")                   \
    X(HK_EPROTO, -7, "not what the protocol allows") \
    X(HK_EBUSY, -8, "in use by another process")     \
    X(HK_ECHANGED, -9, "not the same as before")     \
    X(HK_EDOWN, -10, "not to be reached")            \
    X(HK_EFULL, -11, "no room left")

enum hk_error {
    HK_OK = 0,
#define HK_ERROR_ENUM(name, value, words) name = value,
    HK_ERRORS(HK_ERROR_ENUM)
#undef HK_ERROR_ENUM
};

const char *hk_strerror(int error);

/* Why a call failed, in words for the person who typed the command: one line, no newline at its end. Input
 * errors begin with "FILE:LINE: " and say what to write instead. Filled by the callee that first knows; cut
 * at its end. */
struct hk_why {
    char text[512];
};

/* Format into why (which may be NULL) and return `error`, so that a failing call can end with `return
 * why_set(...)`. */
int why_set(struct hk_why *why, int error, const char *format, ...) HK_PRINTF(3, 4);

/* A broken invariant of ours. Prints file, line and condition to standard error and aborts. */
_Noreturn void hk_bug(const char *file, int line, const char *what);
#define HK_BUG_ON(condition)                        \
    do {                                            \
        if (__builtin_expect(!!(condition), 0))     \
            hk_bug(__FILE__, __LINE__, #condition); \
    } while (0)

/* Memory for start-up and for configuration, where there is nothing to go on with: abort with a word when
 * there is none. Everything sized by outside input uses malloc and returns HK_ENOMEM. */
void *hk_xcalloc(size_t count, size_t size);
void *hk_xrealloc(void *old, size_t count, size_t size);
char *hk_xstrdup(const char *text);
char *hk_xasprintf(const char *format, ...) HK_PRINTF(1, 2);

/* Clocks. CLOCK_BOOTTIME for intervals (it counts sleep, and no operator can set it), wall clock for what
 * people read. */
uint64_t clock_now_ms(void);
uint64_t clock_now_us(void);
uint64_t clock_wall_us(void);
/* "2026-11-24T09:00:00.123456Z" of microseconds since 1970; `out` holds at least CLOCK_RFC3339_SIZE bytes. Returns
 * where its NUL stands. */
#define CLOCK_RFC3339_SIZE 32
char *clock_rfc3339(uint64_t wall_us, char *out);
/* The same back; false: it is not written so, or of before 1970. */
bool clock_rfc3339_parse(const char *text, uint64_t *wall_us) HK_MUST_USE;

/* Write all of `length` bytes to fd, through short writes and EINTR. 0 or HK_EIO (errno says why). */
int hk_write_all(int fd, const void *bytes, size_t length) HK_MUST_USE;
/* Read `length` bytes that stand at `at`, through short reads and EINTR: how many there are (fewer: the file ends), or -1
 * (errno says why). */
ssize_t hk_pread_all(int fd, void *bytes, size_t length, off_t at) HK_MUST_USE;
/* May a file that was written beside it be renamed to this name? HK_EINVAL: a device, a pipe, a link stands there. */
int hk_may_replace(const char *path, struct hk_why *why) HK_MUST_USE;
/* Write `length` bytes to `path` through a temporary file beside it and rename, with mode and fsync. 0 or
 * HK_EIO. */
int hk_write_file(const char *path, unsigned mode, const void *bytes, size_t length,
                  struct hk_why *why) HK_MUST_USE;
/* Read a whole file into malloc'd memory (a NUL is added behind it). Refuses more than max_bytes
 * (HK_ETOOBIG), directories and what is not there; a pipe's writer may pause for 10 s, not longer (HK_EIO). The caller
 * frees *out. */
int hk_read_file(const char *path, size_t max_bytes, char **out, size_t *length,
                 struct hk_why *why) HK_MUST_USE;

/* Memory for a secret that no child has: after a fork it holds zeros there, whoever the child is and whenever it is made. Nor
 * is it in a core file. `size` > 0 bytes of zeros; HK_ENOMEM, or HK_EDOWN where the kernel is older than Linux 4.14. Free it
 * with the same size, which wipes it. What is copied elsewhere is the caller's to wipe. */
int hk_secret_new(size_t size, char **out, struct hk_why *why) HK_MUST_USE;
void hk_secret_free(char *secret, size_t size); /* NULL: nothing */

/* OpenSSL's callback for the pass phrase of a PEM text: there is none. Without it OpenSSL asks at the terminal. */
int hk_no_pass_phrase(char *buf, int size, int rwflag, void *context);
struct evp_pkey_st; /* OpenSSL's EVP_PKEY */
/* The private key in a PEM file; the caller frees it. HK_EINVAL: it has none that can be read, and the words
 * end with `advice`; else as hk_read_file(). */
int hk_read_private_key(const char *path, const char *advice, struct evp_pkey_st **out,
                        struct hk_why *why) HK_MUST_USE;

/* `length` octets as lower-case hex digits and a NUL: `out` holds 2 * length + 1. */
void hk_hex(const void *bytes, size_t length, char *out);
/* SHA-256 as 64 lower-case hex digits and a NUL. OpenSSL takes a little memory for it: without, it aborts like
 * hk_xcalloc(). */
#define HK_SHA256_HEX 65
void hk_sha256_hex(const void *bytes, size_t length, char out[HK_SHA256_HEX]);
int hk_sha256_file(const char *path, char out[HK_SHA256_HEX], struct hk_why *why) HK_MUST_USE;

/* Make text from outside safe for a log line or a terminal: control bytes and invalid UTF-8 become '?'.
 * Writes at most size - 1 bytes and a NUL, never splits a UTF-8 sequence; returns the length written. */
size_t hk_clean_text(char *out, size_t size, const char *text, size_t length);

/* What printf does for a text and a number, where it is done for each message: put it at `to`, as far as it fits before `end`
 * with the NUL that follows (to < end). Returns where that NUL stands, for the next one to go there. */
char *hk_put(char *to, const char *end, const char *text);
char *hk_put_number(char *to, const char *end, uint64_t number);

/* The diagnostic log, for people: one line each on standard error ("2026-... level process: text"), from any
 * process of ours. Nothing is formatted when the level is off. */
enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
void log_setup(enum log_level level, const char *process);
extern enum log_level log_threshold;
void log_write(enum log_level level, const char *format, ...) HK_PRINTF(2, 3);
#define log_at(level, ...)                   \
    do {                                     \
        if ((level) <= log_threshold)        \
            log_write((level), __VA_ARGS__); \
    } while (0)
#define log_error(...)   log_at(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_at(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...)    log_at(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)   log_at(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* What a child does first (base/process.c): own session (setsid), die with the master (PR_SET_PDEATHSIG with
 * `signal` and a check of the parent), default signal handlers, its name in /proc/PID/cmdline ("hikyaku:
 * worker 0"), every descriptor above 2 closed but those in keep[]. */
void process_child_setup(const char *title, int parent_pid, int signal, const int *keep, size_t keep_count);
/* Remember where the program's arguments lie, so that a title can be written over them. Call first in main().
 */
void process_title_init(int argc, char **argv);
void process_title_set(const char *title);
/* Give memory that was freed and is not used again back to the system, by and by. jemalloc does that only when something is
 * allocated, so a process that rests keeps the pages of its busiest moment: call it every second or so. */
void process_memory_settle(void);
/* From now on this process, and whom it forks, takes the core from nobody when it wakes: it goes on when who works there sleeps, or
 * some milliseconds later (SCHED_BATCH). What came meanwhile is done in one turn, one write, one call. A policy that somebody
 * chose for us (chrt) stays; so it does where the system allows no other. */
void process_batch(void);
/* Say it and end with status 2 when a mapped file is cut under us (SIGBUS): whoever cut it has to put it back. */
void process_bus_tell(void);
/* How many connections the limit of open files leaves to this process: as many as `key` of the configuration wants, or, after a
 * word in the log, fewer. The limit is raised for them as far as it may be. HK_EDOWN: not one. */
int process_connections(const char *key, uint32_t wanted, uint32_t *out, struct hk_why *why) HK_MUST_USE;
/* SIGINT and SIGTERM from now on only set a flag, until somebody blocks them and reads them himself. */
void process_stop_catch(void);
/* Is this process told to end: was one of them caught, or does one wait that is blocked? What may take long looks here. */
bool process_stop_asked(void);

#endif
