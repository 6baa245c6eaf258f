/*
 * Checks that are counted, and the table of functions that they are made on.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef LGS_TESTS_CHECKS_H
#define LGS_TESTS_CHECKS_H

#include "library.h"

#include <stdarg.h>

static int checks, failures;

/* One check; a failure is printed with where it is. */
static void check(int line, int holds, const char *format, ...)
{
    va_list arguments;
    checks++;
    if (holds) {
        return;
    }
    failures++;
    fprintf(stderr, "line %d: ", line);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

#define CHECK(condition) check(__LINE__, (condition), "expected %s", #condition)

/* What `main` returns; the count is printed so that the suite can see that checks were made. */
static int outcome(void)
{
    printf("%d checks, %d failures\n", checks, failures);
    return failures ? 1 : 0;
}

/* The table of functions; set by `load`. */
static const lgs_api_t *lgs;

static void load(const char *path)
{
    lgs_get_api_t get_api = find_get_api(path);
    CHECK(get_api(0) == NULL);
    CHECK(get_api(LGS_ABI_VERSION + 1) == NULL);
    CHECK(get_api(UINT32_MAX) == NULL);
    lgs = get_api(LGS_ABI_VERSION);
    if (!lgs) {
        fprintf(stderr, "%s: no table for version %u of the interface\n", path, LGS_ABI_VERSION);
        exit(2);
    }
    CHECK(lgs == get_api(LGS_ABI_VERSION));
    CHECK(lgs->struct_size == sizeof *lgs);
    CHECK(lgs->abi_version == LGS_ABI_VERSION);
    CHECK(lgs->reserved == 0);
}

/* That a call was refused with this status and a sentence that holds `words`; uses the error up. */
static void refused(int line, const char *call, lgs_status_t status, lgs_error_t *error, lgs_status_t expected,
                    const char *words)
{
    const char *message = lgs->error_message(error);
    check(line, status == expected, "%s: expected status %d, got %d: %s", call, expected, status, message);
    check(line, error != NULL, "%s: expected an error object", call);
    check(line, lgs->error_status(error) == status, "%s: the error has status %d", call, lgs->error_status(error));
    check(line, strstr(message, words) != NULL, "%s: expected \"%s\" in: %s", call, words, message);
    check(line, strchr(message, ' ') != NULL, "%s: expected a sentence, got: %s", call, message);
    lgs->error_delete(error);
}

/* REFUSED(status, words, lgs->function(..., &error)): `error` is the macro's own. */
#define REFUSED(expected, words, call)                                                                                 \
    do {                                                                                                               \
        lgs_error_t *error = NULL;                                                                                     \
        lgs_status_t status = (call);                                                                                  \
        refused(__LINE__, #call, status, error, (expected), (words));                                                  \
    } while (0)

/* ACCEPTED(lgs->function(..., &error)): `error` is the macro's own, and must be left alone. */
#define ACCEPTED(call)                                                                                                 \
    do {                                                                                                               \
        lgs_error_t *error = NULL;                                                                                     \
        lgs_status_t status = (call);                                                                                  \
        check(__LINE__, status == LGS_OK, "%s: status %d: %s", #call, status, lgs->error_message(error));              \
        check(__LINE__, error == NULL, "%s: expected no error object", #call);                                         \
        lgs->error_delete(error);                                                                                      \
    } while (0)

#endif
