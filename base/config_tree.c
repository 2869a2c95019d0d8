/* config_tree.c - libConfuse over the directive table: a file into a tree of texts, and the tree into fields.
 *
 * libConfuse gets every key as text, so that types, ranges and their errors are the table's and not its own. It
 * hands its errors to a callback without an argument of ours; they end up in `parsing`, which is set for the time
 * of a parse only (configuration is read by one thread, at start). Its words are kept and the advice is added.
 */
#include <stdarg.h>
#include <string.h>

#include "config_table.h"

static struct {
    const char *file;
    struct hk_why *why;
    bool failed; /* the first error tells; those after it follow from it */
} parsing;

/* --- unknown keys --- */

#define WORD_BYTES 32u

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Letters to add, drop, change or swap with their neighbour between two words; SIZE_MAX for long ones. */
static size_t distance(const char *a, const char *b)
{
    size_t d[WORD_BYTES + 1][WORD_BYTES + 1], la = strlen(a), lb = strlen(b);

    if (la > WORD_BYTES || lb > WORD_BYTES)
        return SIZE_MAX;
    for (size_t i = 0; i <= la; i++)
        d[i][0] = i;
    for (size_t j = 0; j <= lb; j++)
        d[0][j] = j;
    for (size_t i = 1; i <= la; i++) {
        for (size_t j = 1; j <= lb; j++) {
            size_t changed = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            d[i][j] = smaller(changed, smaller(d[i - 1][j], d[i][j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                d[i][j] = smaller(d[i][j], d[i - 2][j - 2] + 1);
        }
    }
    return d[la][lb];
}

/* The name of a section within another, without it: "route.auth" -> "auth" in "route". NULL: not in it. */
static const char *name_within(const struct config_section *inner, const char *outer)
{
    const char *dot = strrchr(inner->name, '.');
    size_t length = dot == NULL ? 0 : (size_t)(dot - inner->name);

    if (inner->name[0] == '\0' || strlen(outer) != length || strncmp(inner->name, outer, length) != 0)
        return NULL;
    return dot == NULL ? inner->name : dot + 1;
}

static void consider(const char *known, const char *wanted, const char **best, size_t *best_distance)
{
    size_t d = distance(known, wanted);

    if (d < *best_distance)
        *best = known, *best_distance = d;
}

/* The key or section of `section` that is one slip away from what was written; NULL: none is near. */
static const char *nearest(const struct config_section *section, const char *wanted)
{
    const char *best = NULL;
    size_t best_distance = smaller(strlen(wanted) / 3 + 1, 4);

    if (strlen(wanted) > 2 && best_distance < 2)
        best_distance = 2;
    for (size_t i = 0; i < config_row_count; i++)
        if (config_row_is_in(&config_rows[i], section))
            consider(config_row_key(&config_rows[i]), wanted, &best, &best_distance);
    for (size_t i = 0; i < config_section_count; i++)
        if (name_within(&config_sections[i], section->name) != NULL)
            consider(name_within(&config_sections[i], section->name), wanted, &best, &best_distance);
    return best;
}

/* What may stand in the section: its keys, then its sections. */
static void list_known(const struct config_section *section, char *out, size_t size)
{
    size_t at = (size_t)snprintf(out, size, "write one of");

    for (size_t i = 0; i < config_row_count && at < size; i++)
        if (config_row_is_in(&config_rows[i], section))
            at += (size_t)snprintf(out + at, size - at, " %s", config_row_key(&config_rows[i]));
    for (size_t i = 0; i < config_section_count && at < size; i++)
        if (name_within(&config_sections[i], section->name) != NULL)
            at += (size_t)snprintf(out + at, size - at, " %s{}",
                                   name_within(&config_sections[i], section->name));
}

static void advise(const struct config_section *section, const char *wanted, char *out, size_t size)
{
    const char *near = nearest(section, wanted);

    if (near != NULL) {
        snprintf(out, size, "did you mean %s?", near);
        return;
    }
    for (size_t i = 0; i < config_row_count; i++) {
        if (strcmp(config_row_key(&config_rows[i]), wanted) != 0 || strchr(config_rows[i].key, '.') == NULL)
            continue;
        snprintf(out, size, "write it as %s, in the section of that name", config_rows[i].key);
        return;
    }
    list_known(section, out, size);
}

/* --- libConfuse's errors --- */

static const struct config_section *section_of(const cfg_t *cfg)
{
    const char *name = cfg == NULL || cfg->name == NULL ? "" : cfg->name;

    for (size_t i = 0; i < config_section_count; i++) {
        const char *dot = strrchr(config_sections[i].name, '.');
        if (strcmp(dot == NULL ? config_sections[i].name : dot + 1, name) == 0)
            return &config_sections[i];
    }
    return &config_sections[0];
}

static const struct {
    const char *said, *advice;
} advices[] = {
    {"missing equal sign", "write key = value"},
    {"missing opening brace", "write its name, a title in quotes only where it has one, and { ... }"},
    {"missing title", "write the title in quotes behind the name of the section"},
    {"duplicate title", "write the section once, or give it another title"},
    {"premature end of file", "write key = value, and } behind the last key of a section"},
    {"", "write key = value, lists as key = { a, b }, sections as name { ... } or name \"title\" { ... }"},
};

/* The name between the quotes of libConfuse's message. */
static void quoted_name(const char *message, char *out, size_t size)
{
    const char *from = strchr(message, '\''), *to = strrchr(message, '\'');

    out[0] = '\0';
    if (from != NULL && to > from)
        snprintf(out, size, "%.*s", (int)(to - from - 1), from + 1);
}

static void on_error(cfg_t *cfg, const char *format, va_list ap)
{
    char said[200], clean[200], name[64], advice[300];
    int line = cfg == NULL ? 1 : cfg->line;
    size_t i = 0;

    if (parsing.failed)
        return;
    parsing.failed = true;
    vsnprintf(said, sizeof said, format, ap);
    hk_clean_text(clean, sizeof clean, said, strlen(said));
    if (strstr(clean, "no such option") != NULL) {
        quoted_name(clean, name, sizeof name);
        advise(section_of(cfg), name, advice, sizeof advice);
        why_set(parsing.why, HK_EINVAL, "%s:%d: unknown key \"%s\"%s%s; %s", parsing.file, line, name,
                section_of(cfg)->name[0] == '\0' ? "" : " in section ", section_of(cfg)->name, advice);
        return;
    }
    while (strstr(clean, advices[i].said) == NULL)
        i++;
    why_set(parsing.why, HK_EINVAL, "%s:%d: %s; %s", parsing.file, line, clean, advices[i].advice);
}

/* --- the table as libConfuse's options --- */

static size_t fill_options(const struct config_section *section, cfg_opt_t *opts)
{
    size_t n = 0;

    for (size_t i = 0; i < config_row_count; i++) {
        const struct config_row *row = &config_rows[i];
        if (!config_row_is_in(row, section))
            continue;
        if (config_type_is_list(row->type))
            opts[n++] = (cfg_opt_t)CFG_STR_LIST(config_row_key(row), NULL, CFGF_NODEFAULT);
        else
            opts[n++] = (cfg_opt_t)CFG_STR(config_row_key(row), NULL, CFGF_NODEFAULT);
    }
    return n;
}

static cfg_opt_t *make_options(const struct config_section *section)
{
    cfg_opt_t *opts = hk_xcalloc(config_row_count + config_section_count + 1, sizeof *opts);
    size_t n = fill_options(section, opts);

    for (size_t i = 0; i < config_section_count; i++) {
        const struct config_section *inner = &config_sections[i];
        const char *name = name_within(inner, section->name);
        cfg_flag_t flags = CFGF_MULTI | (inner->item_bytes > 0 ? CFGF_TITLE | CFGF_NO_TITLE_DUPES : 0);
        if (name != NULL)
            opts[n++] = (cfg_opt_t)CFG_SEC(name, make_options(inner), flags);
    }
    opts[n] = (cfg_opt_t)CFG_END();
    return opts;
}

/* libConfuse copies what it is given. */
static void free_options(cfg_opt_t *opts)
{
    for (cfg_opt_t *o = opts; o->name != NULL; o++)
        if (o->type == CFGT_SEC)
            free_options(o->subopts);
    free(opts);
}

/* --- keys and sections written twice --- */

static int refuse_twice(const struct config_scan *scan, const char *kind, const char *name,
                        const struct config_mark *first, const struct config_mark *second, struct hk_why *why)
{
    return why_set(why, HK_EINVAL, "%s:%u: %s %s is written twice, first on line %u; write it once",
                   scan->file, second->line, kind, name, first->line);
}

static int check_keys_once(const struct config_scan *scan, const struct config_section *section,
                           uint32_t number, struct hk_why *why)
{
    for (size_t i = 0; i < config_row_count; i++) {
        const struct config_mark *first, *second;
        const char *key = config_row_key(&config_rows[i]);
        if (!config_row_is_in(&config_rows[i], section))
            continue;
        first = config_scan_find(scan, number, key, 0);
        second = config_scan_find(scan, number, key, 1);
        if (second != NULL)
            return refuse_twice(scan, "key", key, first, second, why);
    }
    return 0;
}

static int check_once(const struct config_scan *scan, const struct config_section *section, uint32_t number,
                      struct hk_why *why)
{
    int rc = check_keys_once(scan, section, number, why);

    for (size_t i = 0; rc == 0 && i < config_section_count; i++) {
        const char *name = name_within(&config_sections[i], section->name);
        const struct config_mark *mark;
        if (name == NULL)
            continue;
        for (size_t n = 0; rc == 0 && (mark = config_scan_find(scan, number, name, n)) != NULL; n++) {
            if (n > 0 && config_sections[i].item_bytes == 0)
                return refuse_twice(scan, "section", name, config_scan_find(scan, number, name, 0), mark,
                                    why);
            rc = check_once(scan, &config_sections[i], mark->number, why);
        }
    }
    return rc;
}

/* --- */

int config_tree_parse(const char *file, const char *text, size_t length, struct config_tree *out,
                      struct hk_why *why)
{
    cfg_opt_t *opts;
    int rc = config_scan(file, text, length, &out->scan, why);

    out->root = NULL;
    if (rc != 0)
        return rc;
    opts = make_options(&config_sections[0]);
    out->root = cfg_init(opts, CFGF_NONE);
    free_options(opts);
    HK_BUG_ON(out->root == NULL);
    cfg_set_error_function(out->root, on_error);
    parsing.file = file;
    parsing.why = why;
    parsing.failed = false;
    if (cfg_parse_buf(out->root, out->scan.text) != CFG_SUCCESS) {
        rc = HK_EINVAL;
        if (!parsing.failed)
            why_set(why, rc, "%s:1: not understood; %s", file,
                    advices[sizeof advices / sizeof *advices - 1].advice);
    } else {
        rc = check_once(&out->scan, &config_sections[0], 0, why);
    }
    parsing.why = NULL;
    if (rc != 0)
        config_tree_free(out);
    return rc;
}

void config_tree_free(struct config_tree *tree)
{
    if (tree->root != NULL)
        cfg_free(tree->root);
    tree->root = NULL;
    config_scan_free(&tree->scan);
}

static int apply_key(const struct config_tree *tree, cfg_t *from, uint32_t number,
                     const struct config_row *row, const struct config_place *place, void *base,
                     struct hk_why *why)
{
    const char *key = config_row_key(row);
    const struct config_mark *mark;
    char what[CONFIG_WHAT_BYTES] = "", clean[CONFIG_WHAT_BYTES];
    cfg_opt_t *opt = cfg_getopt(from, key);
    unsigned count = opt == NULL ? 0 : cfg_opt_size(opt);
    int rc = 0;

    if (count == 0 || cfg_opt_getnstr(opt, 0) == NULL)
        return 0; /* not in the file */
    config_value_clear(row, base);
    for (unsigned i = 0; i < count && rc == 0; i++) {
        rc = config_value_set(row, place, base, cfg_opt_getnstr(opt, i), what);
    }
    if (rc == 0)
        return 0;
    mark = config_scan_find(&tree->scan, number, key, 0);
    hk_clean_text(clean, sizeof clean, what, strlen(what));
    return why_set(why, rc, "%s:%u: %s", tree->scan.file, mark == NULL ? 1u : mark->line, clean);
}

int config_tree_apply(const struct config_tree *tree, cfg_t *from, uint32_t number,
                      const struct config_section *section, const struct config_place *place, void *base,
                      struct hk_why *why)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < config_row_count; i++)
        if (config_row_is_in(&config_rows[i], section))
            rc = apply_key(tree, from, number, &config_rows[i], place, base, why);
    return rc;
}

cfg_t *config_tree_section(const struct config_tree *tree, const char *name, size_t nth,
                           const struct config_mark **mark)
{
    if (nth >= cfg_size(tree->root, name))
        return NULL;
    *mark = config_scan_find(&tree->scan, 0, name, nth);
    return *mark == NULL ? NULL : cfg_getnsec(tree->root, name, (unsigned)nth);
}
