/*
 * Opening a library at run time.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "library.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#include <windows.h>
#else
#include <dlfcn.h>
#endif

void *open_library(const char *path)
{
#if defined(_WIN32)
    void *library = (void *)LoadLibraryA(path);
    const char *problem = "LoadLibrary failed";
#else
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const char *problem = library ? "" : dlerror();
#endif
    if (!library) {
        fprintf(stderr, "%s: %s\n", path, problem);
        exit(2);
    }
    return library;
}

/* ISO C has no cast between pointers to functions and to objects. */
void find(void *library, const char *name, void *function)
{
#if defined(_WIN32)
    FARPROC address = GetProcAddress((HMODULE)library, name);
#else
    void *address = dlsym(library, name);
#endif
    if (!address) {
        fprintf(stderr, "%s: no such symbol\n", name);
        exit(2);
    }
    memcpy(function, &address, sizeof address);
}

lgs_get_api_t find_get_api(const char *path)
{
    lgs_get_api_t get_api;
    find(open_library(path), "lgs_get_api", &get_api);
    return get_api;
}
