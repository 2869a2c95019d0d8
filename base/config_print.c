/* config_print.c - what is in force, as a file that config_load reads to the same (design 13).
 *
 * Every key is a line. A value that equals its default says so in a comment; a key without a value is a comment.
 * Built-in provider rows that no own section touches are comments too: written out they would be own rows, which
 * are matched before the built-in ones.
 */
#include <string.h>
#include <unistd.h>

#include "config_table.h"

struct printer {
    const struct config *config;
    FILE *out;
    const char *prefix; /* "# " for what is shown only */
};

static char *text_of(const char *key, const struct config *config)
{
    return config_value_text(config_row_find(key), config, config);
}

static char *machine_text(const struct config *config)
{
    char name[256] = "";
    struct config fake = {.hostname = name};

    if (gethostname(name, sizeof name - 1) != 0 || name[0] == '\0')
        return NULL;
    return config_value_text(config_row_find("hostname"), config, &fake);
}

/* The default of a row that is derived from other keys. */
static char *derived_text(const struct config_row *row, const struct config *config, const void *base)
{
    if (strcmp(row->standard, "=machine") == 0)
        return machine_text(config);
    if (strcmp(row->standard, "=hostname") == 0)
        return text_of("hostname", config);
    if (strcmp(row->standard, "=tls.policy") == 0)
        return text_of("tls.policy", config);
    if (strcmp(row->standard, "=route") == 0)
        return ((const struct cfg_route *)base)->user != NULL ? hk_xstrdup(tls_policy_name(TLS_VERIFIED))
                                                              : text_of("tls.policy", config);
    return NULL;
}

static char *default_text(const struct config_row *row, const struct config *config, const void *base)
{
    struct config_place place = {.directory = "/", .config = config};
    struct config *scratch; /* larger than any item, and every field of both starts empty */
    char *text;

    if (row->standard == NULL)
        return NULL;
    if (row->standard[0] == '=')
        return derived_text(row, config, base);
    scratch = hk_xcalloc(1, sizeof *scratch);
    config_value_default(row, &place, scratch);
    text = config_value_text(row, config, scratch);
    config_value_clear(row, scratch);
    free(scratch);
    return text;
}

static void print_row(const struct printer *p, const char *indent, const struct config_row *row,
                      const void *base)
{
    char *text = config_value_text(row, p->config, base);
    char *standard = default_text(row, p->config, base);
    bool is_default = text != NULL && standard != NULL && strcmp(text, standard) == 0;

    if (text == NULL)
        fprintf(p->out, "%s%s# %s is not set: %s\n", p->prefix, indent, config_row_key(row), row->meaning);
    else if (is_default)
        fprintf(p->out, "%s%s%s = %s  # default\n", p->prefix, indent, config_row_key(row), text);
    else
        fprintf(p->out, "%s%s%s = %s\n", p->prefix, indent, config_row_key(row), text);
    free(text);
    free(standard);
}

static void print_rows(const struct printer *p, const char *indent, const struct config_section *section,
                       const void *base)
{
    for (size_t i = 0; i < config_row_count; i++)
        if (config_row_is_in(&config_rows[i], section))
            print_row(p, indent, &config_rows[i], base);
}

static void print_auth(const struct printer *p, const struct cfg_route *route)
{
    if (route->user == NULL) {
        fprintf(p->out, "    # auth is not set: no log-in\n");
        return;
    }
    fprintf(p->out, "    auth {\n");
    print_rows(p, "        ", config_section_find("route.auth"), route);
    fprintf(p->out, "    }\n");
}

static void print_item(const struct printer *p, const struct config_section *section, const void *item)
{
    fprintf(p->out, "\n%s%s \"%s\" {\n", p->prefix, section->name,
            *(char *const *)((const char *)item + section->title_at));
    print_rows(p, "    ", section, item);
    if (strcmp(section->name, "route") == 0)
        print_auth(p, item);
    fprintf(p->out, "%s}\n", p->prefix);
}

static void print_items(const struct printer *p, const struct config_section *section)
{
    const struct config *c = p->config;
    const char *item = *(char *const *)((const char *)c + section->array_at);
    size_t count = *(const size_t *)((const char *)c + section->count_at);
    bool providers = strcmp(section->name, "provider") == 0;

    if (count == 0)
        fprintf(p->out, "\n# no section %s\n", section->name);
    for (size_t i = 0; i < count; i++, item += section->item_bytes) {
        struct printer one = *p;
        if (providers && !c->provider[i].own) {
            fprintf(p->out, "\n# built in:");
            one.prefix = "# ";
        }
        if ((*(char *const *)(item + section->title_at))[0] == '\0')
            fprintf(p->out,
                    "\n# no section source: the system chooses the address, the greeting is hostname\n");
        else
            print_item(&one, section, item);
    }
}

void config_print(const struct config *config, FILE *out)
{
    struct printer p = {.config = config, .out = out, .prefix = ""};

    for (size_t i = 0; i < config_section_count; i++) {
        const struct config_section *section = &config_sections[i];
        if (section->name[0] == '\0') {
            print_rows(&p, "", section, config);
        } else if (section->item_bytes > 0) {
            print_items(&p, section);
        } else if (strcmp(section->name, "route.auth") != 0) {
            fprintf(out, "\n%s {\n", section->name);
            print_rows(&p, "    ", section, config);
            fprintf(out, "}\n");
        }
    }
}
