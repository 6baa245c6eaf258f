/*
 * Opening liblgs, any library or a file, from C.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef LGS_VALIDATOR_LIBRARY_H
#define LGS_VALIDATOR_LIBRARY_H

#include "lgs.h"

#include <stdio.h>

/* Arguments and paths are UTF-8, as they are in lgs.h. */

/* The arguments of this program, in place of those that main was given. */
void program_arguments(int *argc, char ***argv);

/* fopen. */
FILE *open_file(const char *path, const char *mode);

/* A library, loaded for the life of the process; what cannot be loaded ends it, as what cannot be found does. */
void *open_library(const char *path);
/* Stores the address of a function in `function`, a pointer to a function pointer. */
void find(void *library, const char *name, void *function);
lgs_get_api_t find_get_api(const char *path);

#endif
