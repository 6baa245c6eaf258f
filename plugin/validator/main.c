/*
 * lgs-validate: takes a liblgs and its engine through the contract of lgs.h, as a host would, and as no host should.
 *
 *     cc -std=c11 -I../include *.c -o lgs-validate -lm -lpthread -ldl
 *     x86_64-w64-mingw32-gcc -std=c11 -I../include *.c -o lgs-validate.exe -lpsapi -lshell32
 *     lgs-validate [OPTIONS] LIBRARY ENGINES_JSON [LIBTORCH_CPU]
 *
 *     --json FILE       what was found, once more
 *     --only NAME       the checks whose name begins with it
 *     --timeout SECONDS the longest that one check may take
 *     --scratch FOLDER  where files may be written
 *
 * A line a check, and under one that failed what was expected and what came. The exit status is 0 where all hold, 1
 * where one does not, and 2 where the program could not begin. Without LIBTORCH_CPU, the path of torch's own library,
 * only what needs no torch is checked. `python -m lgs validate` makes these checks where there is no C compiler, and
 * those of a host's side.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "apart.h"
#include "torch.h"

static int usage(const char *program)
{
    fprintf(stderr,
            "usage: %s [--json FILE] [--only NAME] [--timeout SECONDS] [--scratch FOLDER] LIBRARY ENGINES_JSON "
            "[LIBTORCH_CPU]\n",
            program);
    return 2;
}

static const struct {
    const named_check_t *checks;
    const size_t *count;
} with_torch[] = {
    {engine_checks, &engine_check_count},
    {call_checks, &call_check_count},
    {lasting_checks, &lasting_check_count},
};

static void make_one_of(const named_check_t *checks, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(checks[i].name, name) == 0) {
            end_with(&checks[i]);
        }
    }
}

/* Makes the check that this process was started for, as the one that started it would have. */
static void make_one(const char *name)
{
    make_one_of(library_checks, library_check_count, name);
    load_torch(subject.libtorch);
    for (size_t i = 0; i < COUNT(with_torch); i++) {
        make_one_of(with_torch[i].checks, *with_torch[i].count, name);
    }
    exit(2);
}

int main(int argc, char **argv)
{
    const char *json = NULL, *only = NULL, *timeout = NULL;
    int at = 1;
    program_arguments(&argc, &argv);
    subject.scratch = ".";
    for (; at + 1 < argc && strncmp(argv[at], "--", 2) == 0; at += 2) {
        const char **value = strcmp(argv[at], "--json") == 0      ? &json
                             : strcmp(argv[at], "--only") == 0    ? &only
                             : strcmp(argv[at], "--timeout") == 0 ? &timeout
                             : strcmp(argv[at], "--scratch") == 0 ? &subject.scratch
                                                                  : NULL;
        if (!value) {
            return usage(argv[0]);
        }
        *value = argv[at + 1];
    }
    if (timeout && (longest = (unsigned)strtoul(timeout, NULL, 10)) == 0) {
        return usage(argv[0]);
    }
    if (argc - at < 2 || argc - at > 3) {
        return usage(argv[0]);
    }
    subject.library = argv[at];
    subject.manifest = argv[at + 1];
    subject.libtorch = argv[at + 2];
    lgs = find_get_api(subject.library)(LGS_ABI_VERSION);
    if (!lgs) {
        fprintf(stderr, "%s: no table for version %u of the interface\n", subject.library, LGS_ABI_VERSION);
        return 2;
    }
    if (started_for()) {
        make_one(started_for());
    }
    run_checks(library_checks, library_check_count, only);
    if (subject.libtorch) {
        load_torch(subject.libtorch);
        for (size_t i = 0; i < COUNT(with_torch); i++) {
            run_checks(with_torch[i].checks, *with_torch[i].count, only);
        }
    }
    printf("%d checks, %d failed\n", checks_made, checks_failed);
    if (json) {
        write_json(json);
    }
    return checks_failed || !checks_made;
}
