/*
 * Opening libraries and files at run time.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "library.h"

#include <stdlib.h>
#include <string.h>

#if defined(_WIN32)
#include <windows.h>
/* After windows.h, of which it uses the types. */
#include <shellapi.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void *checked(void *pointer)
{
    if (!pointer) {
        fprintf(stderr, "no memory\n");
        exit(2);
    }
    return pointer;
}

/* The caller frees it. */
static wchar_t *wide(const char *text)
{
    int size = MultiByteToWideChar(CP_UTF8, 0, text, -1, NULL, 0);
    wchar_t *result = checked(malloc((size_t)size * sizeof(wchar_t)));
    MultiByteToWideChar(CP_UTF8, 0, text, -1, result, size);
    return result;
}

/* What main is given is in the system's code page, which has not every letter. */
void program_arguments(int *argc, char ***argv)
{
    wchar_t **arguments = checked(CommandLineToArgvW(GetCommandLineW(), argc));
    *argv = checked(calloc((size_t)*argc + 1, sizeof **argv));
    for (int i = 0; i < *argc; i++) {
        int size = WideCharToMultiByte(CP_UTF8, 0, arguments[i], -1, NULL, 0, NULL, NULL);
        (*argv)[i] = checked(malloc((size_t)size));
        WideCharToMultiByte(CP_UTF8, 0, arguments[i], -1, (*argv)[i], size, NULL, NULL);
    }
    LocalFree(arguments);
}

FILE *open_file(const char *path, const char *mode)
{
    wchar_t *wide_path = wide(path), *wide_mode = wide(mode);
    FILE *file = _wfopen(wide_path, wide_mode);
    free(wide_path);
    free(wide_mode);
    return file;
}
#else
#include <dlfcn.h>

void program_arguments(int *argc, char ***argv)
{
    (void)argc, (void)argv;
}

FILE *open_file(const char *path, const char *mode)
{
    return fopen(path, mode);
}
#endif

void *open_library(const char *path)
{
#if defined(_WIN32)
    char problem[60];
    /* Paths of 260 characters and more have to have this form; those of other machines are left as they are. */
    wchar_t *wide_path = wide(path), whole_path[4096] = L"\\\\?\\";
    /* What the library needs is looked for beside it, as for Python's ctypes; that asks for the whole path. */
    DWORD search = LOAD_LIBRARY_SEARCH_DEFAULT_DIRS | LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR;
    DWORD room = COUNT(whole_path) - 4, length = GetFullPathNameW(wide_path, room, whole_path + 4, NULL);
    const wchar_t *name = length < MAX_PATH || whole_path[4] == L'\\' ? whole_path + 4 : whole_path;
    void *library = length < room ? (void *)LoadLibraryExW(name, NULL, search) : NULL;
    snprintf(problem, sizeof problem, "expected a library, got error %lu of Windows", GetLastError());
    free(wide_path);
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
