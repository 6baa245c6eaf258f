/*
 * Prints, as JSON, how this compiler lays out the structs of lgs.h, beside what the library says of
 * itself: its layout, manifest and version. test_layout.py compares.
 *
 *     layout LIBRARY
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "library.h"

#include <stdio.h>

struct field {
    const char *name;
    size_t offset, size;
};

#define FIELD(type, name) {#name, offsetof(type, name), sizeof(((type *)NULL)->name)}
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The fields of every struct, and STRUCTS(DO): DO(tag, separator) for each. conftest.py writes it from the header. */
#include "structs.inc"

static void print(const char *name, size_t size, const struct field *fields, size_t count, const char *end)
{
    printf("\"%s\": {\"size\": %zu, \"fields\": {", name, size);
    for (size_t i = 0; i < count; i++) {
        printf("%s\"%s\": [%zu, %zu]", i ? ", " : "", fields[i].name, fields[i].offset, fields[i].size);
    }
    printf("}}%s", end);
}

int main(int argc, char **argv)
{
    const lgs_api_t *lgs;
    if (argc != 2) {
        fprintf(stderr, "usage: %s LIBRARY\n", argv[0]);
        return 2;
    }
    lgs = find_get_api(argv[1])(LGS_ABI_VERSION);
    if (!lgs) {
        fprintf(stderr, "%s: no table for version %u of the interface\n", argv[1], LGS_ABI_VERSION);
        return 2;
    }
    printf("{\"c\": {");
#define PRINT(tag, end) print(#tag, sizeof(tag##_t), tag##_fields, COUNT(tag##_fields), end);
    STRUCTS(PRINT)
    printf("}, ");
    printf("\"library\": %s, ", lgs->layout());
    printf("\"version\": \"%s\", ", lgs->version());
    printf("\"manifest\": %s}\n", lgs->manifest());
    return 0;
}
