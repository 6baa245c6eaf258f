/*
 * Named checks, made of expectations, and the table of functions that they are about.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef LGS_VALIDATOR_CHECK_H
#define LGS_VALIDATOR_CHECK_H

#include "library.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One line of the outcome. */
typedef struct named_check {
    const char *name;
    /* What the contract says: a sentence for whoever has failed it. */
    const char *rule;
    void (*run)(void);
} named_check_t;

/* What the program was called with, and what all checks use. */
typedef struct subject {
    /* Paths; libtorch may be null, and then only what needs none is checked. */
    const char *library, *manifest, *libtorch, *scratch;
} subject_t;

extern subject_t subject;
extern const lgs_api_t *lgs;

/* One expectation of the check under way; what fails is kept, with where it is. */
void expect(const char *file, int line, int holds, const char *format, ...);

/* How many have failed in this process so far. */
long failures_so_far(void);

/* Says why a check cannot be made on this system; it passes. */
void not_checked(const char *why);

#define CHECK(condition) expect(__FILE__, __LINE__, (condition), "expected %s", #condition)

/* That a call was refused with this status and a sentence that holds `words`; uses the error up. */
void expect_refused(const char *file, int line, const char *call, lgs_status_t status, lgs_error_t *error,
                    lgs_status_t expected, const char *words);

/* REFUSED(status, words, lgs->function(..., &error)): `error` is the macro's own. */
#define REFUSED(expected, words, call)                                                                                 \
    do {                                                                                                               \
        lgs_error_t *error = NULL;                                                                                     \
        lgs_status_t status = (call);                                                                                  \
        expect_refused(__FILE__, __LINE__, #call, status, error, (expected), (words));                                 \
    } while (0)

/* ACCEPTED(lgs->function(..., &error)): `error` is the macro's own, and must be left alone. */
#define ACCEPTED(call)                                                                                                 \
    do {                                                                                                               \
        lgs_error_t *error = NULL;                                                                                     \
        lgs_status_t status = (call);                                                                                  \
        expect(__FILE__, __LINE__, status == LGS_OK, "%s: status %d: %s", #call, (int)status,                          \
               lgs->error_message(error));                                                                             \
        expect(__FILE__, __LINE__, error == NULL, "%s: expected no error object", #call);                              \
        lgs->error_delete(error);                                                                                      \
    } while (0)

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* What is never dereferenced, and what an out parameter holds that must be left alone. */
extern int sentinel;
#define SENTINEL ((void *)&sentinel)

/* Memory, or the end of the program. */
void *allocate(size_t size);

/* Runs checks, each in a process of its own, so that one that crashes or hangs is named like one that fails, and the
 * others are made all the same. `only`: those whose name begins with it, or all (null). */
void run_checks(const named_check_t *checks, size_t count, const char *only);

/* Writes what was found as JSON; the text of a path or "-". */
void write_json(const char *path);

/* The longest that one check may take, in seconds; each takes one or so. */
extern unsigned longest;

/* How many checks were made, and how many of them failed. */
extern int checks_made, checks_failed;

/* The checks that need no torch, and those that do. */
extern const named_check_t library_checks[], engine_checks[], call_checks[], lasting_checks[];
extern const size_t library_check_count, engine_check_count, call_check_count, lasting_check_count;

#endif
