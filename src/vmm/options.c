/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The parser. It knows types of options, not options: those are rows of a table. A row is applied the same way whether
 * its value comes from argv, from between the commas of another option (a key), or from the row's own default.
 */
#include "vmm/options.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include "vmm/parse.h"

/* Room for a quoted value in an error's line; two of them and the words around must fit. */
#define QUOTE_BYTES 120

/* Where an error is: "--rtc base", and what to fill. */
struct cursor {
    const struct option_table *table;
    void *out;
    struct options_error *error;
    const char *outer; /* the option around a key, or NULL */
};

void options_fail(struct options_error *error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(error->line, sizeof(error->line), format, args);
    va_end(args);
}

/* "--cpus", or "--rtc base". */
static const char *row_title(const struct cursor *at, const struct option_row *row, char *buf, size_t size)
{
    if (at->outer)
        (void)snprintf(buf, size, "--%s %s", at->outer, row->name);
    else
        (void)snprintf(buf, size, "--%s", row->name);
    return buf;
}

static bool reject(const struct cursor *at, const struct option_row *row, const char *value, const char *why)
{
    char title[64];
    char quoted[QUOTE_BYTES];

    options_fail(at->error, "%s %s: %s", row_title(at, row, title, sizeof(title)),
                 parse_quote(value, quoted, sizeof(quoted)), why);
    return false;
}

static bool twice(const struct cursor *at, const struct option_row *row, const char *before, const char *now)
{
    char title[64];
    char quoted[2][QUOTE_BYTES];

    row_title(at, row, title, sizeof(title));
    if (before && now)
        options_fail(at->error, "%s given twice: %s and %s", title, parse_quote(before, quoted[0], sizeof(quoted[0])),
                     parse_quote(now, quoted[1], sizeof(quoted[1])));
    else
        options_fail(at->error, "%s given twice", title);
    return false;
}

static const char *next_row(const void *list, unsigned index)
{
    const struct option_row *rows = list;

    return rows[index].name;
}

static const char *next_choice(const void *list, unsigned index)
{
    const struct option_choice *choices = list;

    return choices[index].name;
}

const char *options_closest(const char *word, const char *(*next)(const void *list, unsigned index), const void *list)
{
    const char *closest = NULL;
    const char *name;
    size_t length = strlen(word);
    /* One slip in a short word, two in a longer one, three in the longest: beyond that it is another word. */
    unsigned limit = length < 4 ? 1 : length < 9 ? 2 : 3;

    for (unsigned i = 0; (name = next(list, i)) != NULL; i++) {
        unsigned distance = parse_distance(word, name);

        if (distance <= limit) {
            closest = name;
            limit = distance - (distance > 0);
        }
    }
    /* An abbreviation, as getopt_long would have taken it. */
    for (unsigned i = 0; !closest && length >= 2 && (name = next(list, i)) != NULL; i++) {
        if (strncmp(name, word, length) == 0)
            closest = name;
    }
    return closest;
}

static void list_choices(const struct option_choice *choices, char *buf, size_t size)
{
    size_t used = 0;

    for (; choices->name && used < size; choices++) {
        int length = snprintf(buf + used, size - used, "%s%s", choices->name, choices[1].name ? ", " : "");

        used += (size_t)length;
    }
}

static bool reject_choice(const struct cursor *at, const struct option_row *row, const char *value)
{
    char names[160];
    char why[240];
    const char *closest = options_closest(value, next_choice, row->choices);

    list_choices(row->choices, names, sizeof(names));
    if (closest)
        (void)snprintf(why, sizeof(why), "not one of %s; did you mean '%s'?", names, closest);
    else
        (void)snprintf(why, sizeof(why), "not %s%s", row->choices[1].name ? "one of " : "", names);
    return reject(at, row, value, why);
}

static const struct option_choice *find_choice(const struct option_choice *choices, const char *name)
{
    for (; choices->name; choices++) {
        if (strcmp(choices->name, name) == 0)
            return choices;
    }
    return NULL;
}

static bool apply_number(const struct cursor *at, const struct option_row *row, const char *value)
{
    uint64_t number;
    char why[120];

    if (parse_number(value, row->min, row->max, &number) == 0) {
        *(int *)((char *)at->out + row->offset) = (int)number;
        return true;
    }
    if (row->type == OPTION_PORT)
        (void)snprintf(why, sizeof(why), "not a port from 0x%llx to 0x%llx", (unsigned long long)row->min,
                       (unsigned long long)row->max);
    else
        (void)snprintf(why, sizeof(why), "not a number%s%s from %llu to %llu", row->unit ? " of " : "",
                       row->unit ? row->unit : "", (unsigned long long)row->min, (unsigned long long)row->max);
    return reject(at, row, value, why);
}

static void print_size(uint64_t bytes, char *buf, size_t size)
{
    static const char suffixes[] = "KMG";
    unsigned i = 2;

    while (i > 0 && bytes % (1ull << (10 * (i + 1))) != 0)
        i--;
    (void)snprintf(buf, size, "%llu%c", (unsigned long long)(bytes >> (10 * (i + 1))), suffixes[i]);
}

static bool apply_size(const struct cursor *at, const struct option_row *row, const char *value)
{
    uint64_t bytes;
    char least[24];
    char most[24];
    char why[120];
    int error = parse_size(value, &bytes);

    if (error == -EDOM)
        return reject(at, row, value, "a size needs its unit: K, M or G, as in 64M");
    if (error == -EINVAL)
        return reject(at, row, value, "not a size such as 64M (a number and K, M or G)");
    if (error == 0 && bytes >= row->min && bytes <= row->max) {
        if (bytes % row->step == 0) {
            *(uint64_t *)(void *)((char *)at->out + row->offset) = bytes;
            return true;
        }
        print_size(row->step, least, sizeof(least));
        (void)snprintf(why, sizeof(why), "not a multiple of %s", least);
        return reject(at, row, value, why);
    }
    print_size(row->min, least, sizeof(least));
    print_size(row->max, most, sizeof(most));
    (void)snprintf(why, sizeof(why), "not from %s to %s", least, most);
    return reject(at, row, value, why);
}

static bool apply_set(const struct cursor *at, const struct option_row *row, const char *value)
{
    const char *rest = value;
    unsigned sum = 0;

    while (rest) {
        char piece[64];
        const struct option_choice *choice;

        if (parse_piece(&rest, piece, sizeof(piece)))
            return reject_choice(at, row, rest);
        choice = find_choice(row->choices, piece);
        if (!choice)
            return reject_choice(at, row, piece);
        if (sum & (unsigned)choice->value) {
            options_fail(at->error, "--%s: '%s' given twice", row->name, choice->name);
            return false;
        }
        sum |= (unsigned)choice->value;
    }
    *(unsigned *)(void *)((char *)at->out + row->offset) = sum;
    return true;
}

static const struct option_row *find_row(const struct option_row *rows, const char *name, size_t length)
{
    for (; rows && rows->name; rows++) {
        if (strncmp(rows->name, name, length) == 0 && rows->name[length] == '\0')
            return rows;
    }
    return NULL;
}

static bool apply(const struct cursor *at, const struct option_row *row, const char *value);

static bool unknown_key(const struct cursor *at, const struct option_row *row, const char *key)
{
    char quoted[QUOTE_BYTES];
    const char *closest = options_closest(key, next_row, row->keys);
    char names[120] = "";
    size_t used = 0;

    for (const struct option_row *known = row->keys; known && known->name && used < sizeof(names); known++)
        used +=
            (size_t)snprintf(names + used, sizeof(names) - used, "%s%s=", known == row->keys ? "" : ", ", known->name);
    options_fail(at->error, "--%s: unknown key %s; %s %s%s", row->name, parse_quote(key, quoted, sizeof(quoted)),
                 closest ? "did you mean" : "it takes", closest ? closest : names, closest ? "=?" : "");
    return false;
}

static void apply_defaults(const struct cursor *at, const struct option_row *rows);

/* What the keys fill: the struct itself, or one more element of the row's array. */
static void *keys_target(const struct cursor *at, const struct option_row *row)
{
    unsigned *count;

    if (!row->repeat)
        return at->out;
    count = (unsigned *)(void *)((char *)at->out + row->count_offset);
    return (char *)at->out + row->offset + row->stride * (*count)++;
}

static bool lacks_leading(const struct cursor *at, const struct option_row *row)
{
    options_fail(at->error, "--%s needs a %s: --%s %s", row->name, row->keys->argument, row->name, row->argument);
    return false;
}

static bool apply_keys(const struct cursor *at, const struct option_row *row, const char *value)
{
    const struct cursor inside = {
        .table = at->table, .out = keys_target(at, row), .error = at->error, .outer = row->name};
    char seen[OPTIONS_MAX_ROWS][QUOTE_BYTES];
    uint64_t given = 0;
    const char *rest = value;

    if (row->repeat)
        apply_defaults(&inside, row->keys);
    while (rest) {
        char piece[PATH_MAX + 64];
        const char *content;
        char *equals;
        const struct option_row *key;
        size_t index;

        if (parse_piece(&rest, piece, sizeof(piece)))
            return reject(at, row, rest, "too long");
        equals = strchr(piece, '=');
        content = equals ? equals + 1 : "";
        if (row->leading && !given && !(equals && find_row(row->keys, piece, (size_t)(equals - piece)))) {
            key = row->keys; /* its value may have an equals sign in it */
            content = piece;
        } else {
            if (equals)
                *equals = '\0';
            key = find_row(row->keys, piece, strlen(piece));
        }
        if (!key)
            return unknown_key(at, row, piece);
        if (content[0] == '\0') {
            options_fail(at->error, "--%s: %s needs a value: %s=%s", row->name, key->name, key->name, key->argument);
            return false;
        }
        index = (size_t)(key - row->keys);
        assert(index < OPTIONS_MAX_ROWS);
        if (given >> index & 1)
            return twice(&inside, key, seen[index], content);
        given |= 1ull << index;
        (void)snprintf(seen[index], sizeof(seen[index]), "%s", content);
        if (!apply(&inside, key, content))
            return false;
    }
    return !row->leading || given & 1 || lacks_leading(at, row);
}

static bool apply(const struct cursor *at, const struct option_row *row, const char *value)
{
    void *field = (char *)at->out + row->offset;
    const struct option_choice *choice;
    const char *why;

    switch (row->type) {
    case OPTION_HELP:
        return true;
    case OPTION_FLAG:
        *(bool *)field = true;
        return true;
    case OPTION_SWITCH:
        if (strcmp(value, "on") != 0 && strcmp(value, "off") != 0)
            return reject(at, row, value, "not 'on' or 'off'");
        *(bool *)field = value[1] == 'n';
        return true;
    case OPTION_NUMBER:
    case OPTION_PORT:
        return apply_number(at, row, value);
    case OPTION_SIZE:
        return apply_size(at, row, value);
    case OPTION_CHOICE:
        choice = find_choice(row->choices, value);
        if (!choice)
            return reject_choice(at, row, value);
        *(int *)field = choice->value;
        return true;
    case OPTION_SET:
        return apply_set(at, row, value);
    case OPTION_TEXT:
        *(const char **)field = value;
        return true;
    case OPTION_KEYS:
        return apply_keys(at, row, value);
    case OPTION_CUSTOM:
        why = row->set(at->out, value);
        return why ? reject(at, row, value, why) : true;
    }
    return true;
}

static void apply_defaults(const struct cursor *at, const struct option_row *rows)
{
    for (; rows->name; rows++) {
        if (rows->type == OPTION_NUMBER || rows->type == OPTION_PORT)
            *(int *)(void *)((char *)at->out + rows->offset) = -1;
        if (rows->keys && !rows->repeat)
            apply_defaults(at, rows->keys);
        if (rows->fallback) {
            bool good = apply(at, rows, rows->fallback);

            assert(good);
            (void)good;
        }
    }
}

static bool takes_value(const struct option_row *row)
{
    return row->type != OPTION_HELP && row->type != OPTION_FLAG;
}

static const struct option_row *find_letter(const struct option_row *rows, const char *argument)
{
    for (; rows->name; rows++) {
        if (rows->letter && argument[1] == rows->letter && argument[2] == '\0')
            return rows;
    }
    return NULL;
}

static enum options_result unknown_option(const struct cursor *at, const char *argument)
{
    char quoted[QUOTE_BYTES];
    char shown[QUOTE_BYTES];
    char name[PARSE_LONGEST_WORD + 2]; /* one more than can be close */
    const char *start = argument + strspn(argument, "-");
    const char *closest;

    (void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(start, "="), start);
    closest = options_closest(name, next_row, at->table->rows);
    (void)snprintf(shown, sizeof(shown), "%.*s", (int)strcspn(argument, "="), argument);
    parse_quote(shown, quoted, sizeof(quoted));
    if (closest)
        options_fail(at->error, "unknown option %s; did you mean '--%s'? See 'ringvmm %s --help'", quoted, closest,
                     at->table->command);
    else
        options_fail(at->error, "unknown option %s; see 'ringvmm %s --help'", quoted, at->table->command);
    return OPTIONS_ERROR;
}

static enum options_result stray_argument(const struct cursor *at, const char *argument)
{
    char quoted[QUOTE_BYTES];

    options_fail(at->error, "unexpected argument %s; see 'ringvmm %s --help'",
                 parse_quote(argument, quoted, sizeof(quoted)), at->table->command);
    return OPTIONS_ERROR;
}

/* Finds argument's row, and in *value what follows its '=' (NULL: nothing does). */
static const struct option_row *find_option(const struct option_row *rows, const char *argument, const char **value)
{
    size_t length;

    *value = NULL;
    if (argument[1] != '-')
        return find_letter(rows, argument);
    length = strcspn(argument + 2, "=");
    if (argument[2 + length] == '=')
        *value = argument + 2 + length + 1;
    return find_row(rows, argument + 2, length);
}

static enum options_result check_value(const struct cursor *at, const struct option_row *row, const char *value)
{
    char quoted[QUOTE_BYTES];

    if (!takes_value(row)) {
        if (!value)
            return OPTIONS_OK;
        options_fail(at->error, "--%s takes no value, but has %s", row->name,
                     parse_quote(value, quoted, sizeof(quoted)));
        return OPTIONS_ERROR;
    }
    if (value && value[0] != '\0')
        return OPTIONS_OK;
    options_fail(at->error, "--%s needs a value: --%s %s", row->name, row->name, row->argument);
    return OPTIONS_ERROR;
}

enum options_result options_parse(const struct option_table *table, int argc, char *const *argv, void *out,
                                  struct options_error *error)
{
    const struct cursor at = {.table = table, .out = out, .error = error};
    const char *seen[OPTIONS_MAX_ROWS] = {NULL};

    error->line[0] = '\0';
    apply_defaults(&at, table->rows);
    for (int i = 0; i < argc; i++) {
        const struct option_row *row;
        const char *value;
        size_t index;

        if (argv[i][0] != '-' || argv[i][1] == '\0')
            return stray_argument(&at, argv[i]);
        row = find_option(table->rows, argv[i], &value);
        if (!row)
            return unknown_option(&at, argv[i]);
        if (takes_value(row) && !value && i + 1 < argc && strncmp(argv[i + 1], "--", 2) != 0)
            value = argv[++i];
        if (check_value(&at, row, value) != OPTIONS_OK)
            return OPTIONS_ERROR;
        index = (size_t)(row - table->rows);
        assert(index < OPTIONS_MAX_ROWS);
        if (row->repeat && *(unsigned *)(void *)((char *)out + row->count_offset) == row->repeat) {
            options_fail(error, "--%s given more than %u times", row->name, row->repeat);
            return OPTIONS_ERROR;
        }
        if (seen[index] && !row->repeat) {
            twice(&at, row, takes_value(row) ? seen[index] : NULL, value);
            return OPTIONS_ERROR;
        }
        seen[index] = value ? value : "";
        if (row->type == OPTION_HELP)
            return OPTIONS_HELP;
        if (!apply(&at, row, value))
            return OPTIONS_ERROR;
    }
    return OPTIONS_OK;
}
