/*
 * A check in a process of its own.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef LGS_VALIDATOR_APART_H
#define LGS_VALIDATOR_APART_H

#include "check.h"

/* What came of a check: how many expectations it made, and how many failed. */
typedef struct found {
    long expectations, failures;
} found_t;

/* Makes the check in this process; what it has to tell goes to `notes`. */
found_t make_check(const named_check_t *check, FILE *notes);

/* A new file, gone once it is closed. */
FILE *new_notes(void);

/* Makes the check in another process. Null, or why that came to no end, in words. */
const char *make_check_apart(const named_check_t *check, FILE *notes, found_t *found);

/* The name of the check that this process was started for, or null. Where there is no fork, the other process is this
 * program once more, with the same arguments. */
const char *started_for(void);

/* Makes that check, and ends the process. */
void end_with(const named_check_t *check);

#endif
