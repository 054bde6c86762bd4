/* SPDX-License-Identifier: BSD-2-Clause */
/* --help, from the table that is parsed by. It keeps to 80 columns, whatever the rows say. */
#include "vmm/options.h"

#include <string.h>

#define WIDTH       80
#define TEXT_COLUMN 28
#define KEY_INDENT  4

/* The next line's worth of words off *text: its length, with *text moved behind the blanks that follow. */
static int take_line(const char **text, int width)
{
    const char *start = *text;
    size_t length = strlen(start);
    size_t end = (size_t)width;

    if (length > end) {
        while (end > 0 && start[end] != ' ')
            end--;
        if (end == 0) /* one word wider than the column */
            end = strcspn(start, " ");
        length = end;
    }
    *text = start + length;
    *text += strspn(*text, " ");
    return (int)length;
}

/* "  --cpus N         text", the text wrapped in its own column. */
static void print_entry(FILE *stream, int indent, const char *left, const char *text)
{
    int column = fprintf(stream, "%*s%s", indent, "", left);

    if (column > TEXT_COLUMN - 2) {
        fputc('\n', stream);
        column = 0;
    }
    while (*text) {
        const char *start = text;
        int length = take_line(&text, WIDTH - TEXT_COLUMN);

        fprintf(stream, "%*s%.*s\n", column < TEXT_COLUMN ? TEXT_COLUMN - column : 0, "", length, start);
        column = 0;
    }
}

static void print_row(FILE *stream, int indent, const struct option_row *row, bool key)
{
    char left[80];
    char text[600];
    char letter[] = {'-', row->letter, ',', ' ', '\0'};

    if (key)
        (void)snprintf(left, sizeof(left), "%s=%s", row->name, row->argument);
    else
        (void)snprintf(left, sizeof(left), "%s--%s%s%s", row->letter ? letter : "", row->name, row->argument ? " " : "",
                       row->argument ? row->argument : "");
    (void)snprintf(text, sizeof(text), "%s%s%s%s", row->help, row->fallback ? " (default: " : "",
                   row->fallback ? row->fallback : "", row->fallback ? ")" : "");
    print_entry(stream, indent, left, text);
    for (const struct option_row *inner = row->keys; inner && inner->name; inner++)
        print_row(stream, indent + KEY_INDENT, inner, true);
}

void options_print_help(const struct option_table *table, FILE *stream)
{
    fprintf(stream, "Usage: ringvmm %s %s\n", table->command, table->synopsis);
    for (const char *text = table->summary; *text;) {
        const char *start = text;
        int length = take_line(&text, WIDTH);

        fprintf(stream, "%.*s\n", length, start);
    }
    for (const struct option_row *row = table->rows; row->name; row++) {
        if (row->group)
            fprintf(stream, "\n%s:\n", row->group);
        print_row(stream, 2, row, false);
    }
    if (table->epilogue)
        fputs(table->epilogue, stream);
}
