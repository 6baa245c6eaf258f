/*
 * Running checks and telling what came of them.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "apart.h"

#include <stdarg.h>
#include <stdatomic.h>

/* Of a check that fails often the first few are told. */
enum { TOLD = 5 };

subject_t subject;
const lgs_api_t *lgs;
int sentinel;
int checks_made, checks_failed;
unsigned longest = 60;

/* What the check under way has found, in a file: a process that died has written there up to then. */
static FILE *notes;
/* Atomic, for a check may make its expectations on several threads. */
static atomic_long expectations, failures;

typedef struct outcome {
    const named_check_t *check;
    long expectations, failures;
    char *detail;
} outcome_t;

static outcome_t *outcomes;

void *allocate(size_t size)
{
    void *memory = malloc(size);
    if (!memory) {
        perror("malloc");
        exit(2);
    }
    return memory;
}

void expect(const char *file, int line, int holds, const char *format, ...)
{
    va_list arguments;
    const char *name = strrchr(file, '/');
    expectations++;
    if (holds || ++failures > TOLD) {
        return;
    }
    fprintf(notes, "%s:%d: ", name ? name + 1 : file, line);
    va_start(arguments, format);
    vfprintf(notes, format, arguments);
    va_end(arguments);
    fputc('\n', notes);
    fflush(notes);
}

void expect_refused(const char *file, int line, const char *call, lgs_status_t status, lgs_error_t *error,
                    lgs_status_t expected, const char *words)
{
    const char *message = lgs->error_message(error);
    expect(file, line, message != NULL, "%s: expected a message", call);
    message = message ? message : "";
    expect(file, line, status == expected, "%s: expected status %d, got %d: %s", call, (int)expected, (int)status, message);
    expect(file, line, error != NULL, "%s: expected an error object", call);
    expect(file, line, lgs->error_status(error) == status, "%s: the error has status %d, the call %d", call,
           (int)lgs->error_status(error), (int)status);
    expect(file, line, strstr(message, words) != NULL, "%s: expected \"%s\" in: %s", call, words, message);
    expect(file, line, strchr(message, ' ') != NULL, "%s: expected a sentence, got: %s", call, message);
    lgs->error_delete(error);
}

long failures_so_far(void)
{
    return failures;
}

void not_checked(const char *why)
{
    fprintf(notes, "not checked: %s\n", why);
    fflush(notes);
    expectations++;
}

static char *read_notes(void)
{
    long size;
    char *text;
    fflush(notes);
    fseek(notes, 0, SEEK_END);
    size = ftell(notes);
    text = allocate((size_t)size + 1);
    rewind(notes);
    text[fread(text, 1, (size_t)size, notes)] = 0;
    return text;
}

found_t make_check(const named_check_t *check, FILE *told)
{
    notes = told;
    expectations = failures = 0;
    check->run();
    return (found_t){expectations, failures};
}

static void run_check(const named_check_t *check)
{
    outcome_t *outcome;
    const char *end;
    found_t found = {0, 0};
    notes = new_notes();
    outcomes = realloc(outcomes, ((size_t)checks_made + 1) * sizeof *outcomes);
    if (!notes || !outcomes) {
        perror("a file for what was found");
        exit(2);
    }
    outcome = &outcomes[checks_made++];
    end = make_check_apart(check, notes, &found);
    fseek(notes, 0, SEEK_END);
    if (end) {
        found.failures++;
        fputs(end, notes);
    } else if (found.expectations == 0) {
        found.failures++;
        fputs("the check tested nothing (a bug in the validator)\n", notes);
    }
    if (found.failures > TOLD) {
        fprintf(notes, "and %ld more\n", found.failures - TOLD);
    }
    outcome->check = check;
    outcome->expectations = found.expectations;
    outcome->failures = found.failures;
    outcome->detail = read_notes();
    fclose(notes);
    checks_failed += found.failures > 0;
    printf("%s  %-36s %6ld\n", found.failures ? "FAIL" : "ok  ", check->name, found.expectations);
    if (found.failures) {
        printf("      %s\n", check->rule);
    }
    {
        for (char *line = outcome->detail; *line;) {
            int length = (int)strcspn(line, "\n");
            printf("      %.*s\n", length, line);
            line += length + (line[length] == '\n');
        }
    }
    fflush(stdout);
}

void run_checks(const named_check_t *checks, size_t count, const char *only)
{
    for (size_t i = 0; i < count; i++) {
        if (!only || strncmp(checks[i].name, only, strlen(only)) == 0) {
            run_check(&checks[i]);
        }
    }
}

static void write_text(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            fprintf(out, "\\%c", c);
        } else if (c < 0x20) {
            fprintf(out, "\\u%04x", c);
        } else {
            fputc(c, out);
        }
    }
    fputc('"', out);
}

void write_json(const char *path)
{
    FILE *out = strcmp(path, "-") == 0 ? stderr : open_file(path, "wb");
    if (!out) {
        perror(path);
        exit(2);
    }
    fprintf(out, "{\"passed\": %s, \"checks\": [", checks_failed || !checks_made ? "false" : "true");
    for (int i = 0; i < checks_made; i++) {
        fprintf(out, "%s\n  {\"name\": ", i ? "," : "");
        write_text(out, outcomes[i].check->name);
        fprintf(out, ", \"passed\": %s, \"expectations\": %ld, \"rule\": ", outcomes[i].failures ? "false" : "true",
                outcomes[i].expectations);
        write_text(out, outcomes[i].check->rule);
        fprintf(out, ", \"detail\": ");
        write_text(out, outcomes[i].detail);
        fputc('}', out);
    }
    fprintf(out, "\n]}\n");
    if (out != stderr && fclose(out) != 0) {
        perror(path);
        exit(2);
    }
}
