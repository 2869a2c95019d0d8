/* config_table.h - the directive table and what is built on it (private to base/).
 *
 * A row says everything about one key; the reader, the range errors, config_print and the manual come from it.
 * A value is read into and printed from a "base": struct config for plain sections, the item (struct cfg_route,
 * ...) for titled ones. Everything here runs once at start, so memory is hk_x*: no way to go on without it.
 */
#ifndef HIKYAKU_BASE_CONFIG_TABLE_H
#define HIKYAKU_BASE_CONFIG_TABLE_H

#include <confuse.h>

#include "hikyaku/config.h"

/*       type        what is written                           field                                       */
#define CONFIG_TYPES(X)                                                                                      \
    X(TEXT, "a text in quotes")                       /* char *                                        */    \
    X(WORD, "one of the words")                       /* char *, one of row->words                     */    \
    X(CHOICE, "one of the words")                     /* enum: the position in row->words              */    \
    X(FLAG, "one of the words")                       /* bool: the position in row->words              */    \
    X(NAME, "a host or domain name")                  /* char *                                        */    \
    X(URL, "a URL with https:// or http://")          /* char *                                        */    \
    X(LITERAL, "an IPv4 or IPv6 address")             /* char *                                        */    \
    X(FILE, "a file name")                            /* char *, absolute, beside the configuration    */    \
    X(STATE_FILE, "a file name")                      /* char *, absolute, below state_dir             */    \
    X(COUNT, "a whole number")                        /* uint32_t                                      */    \
    X(LIMIT, "a whole number or none")                /* uint32_t, none: UINT32_MAX                    */    \
    X(WORKERS, "a whole number or auto")              /* uint32_t                                      */    \
    X(PORT, "a port number")                          /* uint16_t                                      */    \
    X(TIME_MS, "a time such as 500ms, 30s, 5min, 1h") /* uint32_t, milliseconds                        */    \
    X(TIME_S, "a time such as 30s, 5min, 1h, 4d")     /* uint32_t, seconds                             */    \
    X(EXPIRY_S,                                                                                              \
      "a time such as 30s, 5min, 1h, 4d, or never") /* uint32_t, seconds; never: UINT32_MAX      */          \
    X(SIZE, "a size such as 10kb, 1mb, 1gb")        /* uint64_t, bytes                               */      \
    X(RATE, "a rate such as \"2/s\", \"1/min\", \"30/h\", \"100/d\", or none") /* struct cfg_rate         */ \
    X(PATTERNS, "names such as \"example.com\" or \"*.example.com\"") /* struct cfg_list                  */ \
    X(TEXTS, "texts in quotes")                   /* struct cfg_list                               */        \
    X(ADDRESSES, "host:port or [v6]:port")        /* struct cfg_address *, and a count             */        \
    X(RELAYS, "host:port or [v6]:port, or ses")   /* struct cfg_address *, and a count             */        \
    X(TIMES_S, "times such as 30s, 5min, 1h, 4d") /* uint32_t *, and a count                       */        \
    X(SOURCES, "titles of source sections")       /* uint32_t *, and a count                       */        \
    X(WEIGHTS, "whole numbers")                   /* uint32_t *, no count of its own: that of SOURCES */
enum config_type {
#define CONFIG_TYPE_ENUM(name, words) CONF_##name,
    CONFIG_TYPES(CONFIG_TYPE_ENUM)
#undef CONFIG_TYPE_ENUM
};
bool config_type_is_list(enum config_type type);

enum config_change { AT_START, ANY_TIME }; /* when a changed value may come into force */

struct config_row {  /* NOLINT(clang-analyzer-optin.performance.Padding): in the order of the table */
    const char *key; /* "smtp.port": the section, then the key */
    enum config_type type;
    size_t at;       /* the field in the base */
    size_t count_at; /* arrays: the field with the number of entries */
    const char *words;
    const char *standard; /* the default as it would be written; "=..." names a derived one; NULL none */
    uint64_t min, max;    /* ms for times, bytes for sizes, the count of a rate */
    enum config_change change;
    const char *meaning;
};

struct config_section {
    const char *name;  /* "" for the top, "route.auth" for a section within one */
    size_t item_bytes; /* 0: written at most once, its base is struct config (or its parent's item) */
    size_t array_at, count_at, title_at;
};

extern const struct config_row config_rows[];
extern const size_t config_row_count;
extern const struct config_section config_sections[];
extern const size_t config_section_count;

/* The key of a row without its section; is the row one of this section. */
const char *config_row_key(const struct config_row *row);
bool config_row_is_in(const struct config_row *row, const struct config_section *section);
const struct config_row *config_row_find(const char *key);
const struct config_section *config_section_find(const char *name);

/* --- config_value.c --- */
struct config_place {
    const char *directory; /* absolute: where the configuration file lies */
    const struct config *config;
};
#define CONFIG_WHAT_BYTES 400
/* Read one text into the field (a list grows by one). 0, or HK_EINVAL and "what is wrong; what to write". */
int config_value_set(const struct config_row *row, const struct config_place *place, void *base,
                     const char *text, char what[CONFIG_WHAT_BYTES]) HK_MUST_USE;
/* Put the row's default into the field. Derived defaults are left to whoever derives them. */
void config_value_default(const struct config_row *row, const struct config_place *place, void *base);
/* Free what the field owns and make it empty. */
void config_value_clear(const struct config_row *row, void *base);
/* The value as it would be written, allocated; NULL where nothing is set. */
char *config_value_text(const struct config_row *row, const struct config *config, const void *base);

/* --- config_scan.c --- */
struct config_mark { /* one `key =` or `section {` of the file */
    uint32_t parent; /* number of the section it stands in */
    uint32_t number; /* sections: from 1 in the order of the file (0 is the top); keys: 0 */
    uint32_t line;
    uint32_t name_at, name_length; /* in the text */
};
struct config_scan {
    const char *file;
    char *text; /* a copy with the comments blanked: what libConfuse gets */
    size_t length;
    struct config_mark *mark; /* sorted by parent, name, line */
    size_t mark_count;
};
int config_scan(const char *file, const char *text, size_t length, struct config_scan *out,
                struct hk_why *why) HK_MUST_USE;
void config_scan_free(struct config_scan *scan);
/* The nth mark of that name in a section; NULL where there are not so many. */
const struct config_mark *config_scan_find(const struct config_scan *scan, uint32_t parent, const char *name,
                                           size_t nth);

/* --- config_tree.c --- */
struct config_tree {
    struct config_scan scan;
    cfg_t *root;
};
int config_tree_parse(const char *file, const char *text, size_t length, struct config_tree *out,
                      struct hk_why *why) HK_MUST_USE;
void config_tree_free(struct config_tree *tree);
/* Lay what a section of the tree says over the base. `number` is the section's in the scan. */
int config_tree_apply(const struct config_tree *tree, cfg_t *from, uint32_t number,
                      const struct config_section *section, const struct config_place *place, void *base,
                      struct hk_why *why) HK_MUST_USE;
/* The nth section of that name at the top, and its mark. NULL where there is none. */
cfg_t *config_tree_section(const struct config_tree *tree, const char *name, size_t nth,
                           const struct config_mark **mark);

/* --- config_provider.c --- */
/* The key stands in the certificate's file where no other is named. */
void config_client_derive(struct cfg_client *client);
int config_provider_load(const struct config_tree *tree, const struct config_place *place,
                         struct config *config, struct hk_why *why) HK_MUST_USE;
extern const char config_builtin_providers[]; /* etc/providers.conf, embedded by the build */
extern const size_t config_builtin_providers_length;

#endif
